"""The public names; adding or taking away one is a decision, and belongs into the changelog."""

import inspect
import subprocess
import sys

import gan_augment as ga

PUBLIC = """
AdaptedSynthesizer Arm ArtifactError Audit Augmentation Balance BalancedBatchSampler CachedExtractor Candidates
CentroidSelector CollapseWarning Compose ConfigError CopyGuard CrossFittedExtractor DataError DataMismatchWarning
Decision DependencyError DiscriminatorExtractor DiscriminatorSelector DomainSelector DuplicateGuard EvaluationResult
Extractor Extras Features GANAugmentedDataset GANAugmentedIterableDataset GanAugmentError GeneratorWarning
GradientSelector HerdingSelector ImageSpec InformativenessSelector KCenterSelector Knobs LabelGuard LicenceWarning
ManifoldSelector ModuleExtractor NeighbourSelector Origin OutlierGuard PasteSynthetic PhaseOut PixelExtractor
PrecomputedFeatures PretrainedSynthesizer Provenance RawView RealismSelector Recommendation Samples Selector
SmallClassWarning StorageError SynthesizeBatch SynthesizeSameClass Synthesizer SynthesizerError Synthetic SyntheticPool
TorchvisionExtractor TrainedExtractor TrainedSynthesizer TrainingError TranslatingSynthesizer adapt arm_set audit
check_no_overlap convert default_selector evaluate fit labelled_by load load_extractor load_selector open_folder
per_class plan random_control recommend select_reals wrap write_report
"""


def test_public_names() -> None:
    assert sorted(ga.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(ga, name) for name in ga.__all__)


def test_signatures_of_the_contract() -> None:
    def names(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert names(ga.fit)[:7] == ["dataset", "recipe", "image_size", "steps", "out", "init", "unlabelled"]
    assert names(ga.SyntheticPool.build)[:8] == [
        "synthesizer", "like", "selector", "sampling_strategy", "counts", "reserve", "out", "seed",
    ]  # fmt: skip
    assert names(ga.GANAugmentedDataset)[:9] == [
        "base", "source", "sampling_strategy", "synthetic_share", "schedule", "targets", "groups", "transform", "seed",
    ]  # fmt: skip
    assert names(ga.plan)[:4] == ["dataset", "recipe", "image_size", "steps"]
    assert set(names(ga.plan)) < set(names(ga.fit))
    assert inspect.signature(ga.wrap).parameters["value_range"].default == (-1.0, 1.0)


def test_everything_public_is_described() -> None:
    for name in ga.__all__:
        thing = getattr(ga, name)
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing):
            for method, value in vars(thing).items():
                if not method.startswith("_") and callable(getattr(thing, method)):
                    assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}: {value}"


def test_import_is_light() -> None:
    heavy = ["faiss", "sklearn", "imblearn", "matplotlib", "scipy.stats", "albumentations", "cv2", "jinja2"]
    code = f"import gan_augment, sys; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_integrations_are_found() -> None:
    code = "import gan_augment.integrations as there; print(there.__doc__)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gan_augment.integrations" in told.stdout
