"""DiscriminatorExtractor: what it sees beside real images, what a short training taught it, and damaged folders."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.features import DiscriminatorExtractor, TrainedExtractor
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import DAGAN, RECIPES, SNGAN, Recipe
from gan_augment.selection import DiscriminatorSelector
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.types import Extractor, HasLogits
from tests.contracts.cyclegan import CycleShaped
from tests.contracts.test_recipes import SPECS, dataset
from tests.helpers import Pictures, set_in, toy_synthesizer, view

NAMES = ["0", "1", "2"]


def untrained(recipe: Recipe, spec: NetworkSpec = SPECS["8x8"], base: Any = None) -> TrainedSynthesizer:
    """Returns a synthesizer with initial weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        networks = recipe.networks(spec)
    real = RawView(dataset(spec), progress=False) if base is None else view(base)
    return TrainedSynthesizer(
        recipe, networks, spec, class_names=NAMES, image_spec=real.spec(), fitted_on=real.fitted_on
    )


@pytest.fixture(scope="module")
def own() -> DiscriminatorExtractor:
    """The untrained discriminator of dagan, which sees pairs."""
    base = Pictures()
    return DiscriminatorExtractor(untrained(DAGAN(), base=base), base)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("cls", RECIPES.values(), ids=RECIPES)
def test_every_recipe_in_two_and_three_dimensions(cls: type[Recipe], spec: NetworkSpec, tmp_path: Path) -> None:
    base = dataset(spec)
    extractor = DiscriminatorExtractor(untrained(cls(), spec), base)
    assert isinstance(extractor, Extractor)
    assert isinstance(extractor, HasLogits)
    images = torch.rand(7, spec.channels, *spec.grid) * 2 - 1
    labels = np.array([0, 1, 2, 2, 1, 0, 1])
    seen, logits = extractor.extract(images).features, extractor.logits(images, labels)
    assert seen.shape[0] == 7
    assert (seen.dtype, logits.dtype, logits.shape) == (np.float32, np.float32, (7,))
    assert np.isfinite(logits).all()
    order = np.array([3, 0, 6, 5, 1])
    assert extractor.logits(images[order], labels[order]) == pytest.approx(logits[order], rel=1e-4, abs=1e-5)
    loaded = DiscriminatorExtractor.load(extractor.save(tmp_path / "own"))
    assert loaded.fingerprint == extractor.fingerprint
    assert (loaded.logits(images, labels) == logits).all()
    assert (loaded.extract(images).features == seen).all()
    assert (loaded.classes, loaded.image_spec) == (extractor.classes, extractor.image_spec)
    assert (loaded.fitted_on.images == extractor.fitted_on.images).all()


def test_a_pair_discriminator_gives_the_mean_logit_beside_all_reals_of_the_class(own: DiscriminatorExtractor) -> None:
    base = Pictures()
    real, synthesizer = view(base), untrained(DAGAN(), base=base)
    images = torch.rand(4, 1, 8, 8) * 2 - 1
    assert synthesizer.image_spec is not None
    for label in range(3):
        sources = real.images(real.of_class(label), spec=synthesizer.image_spec)
        expected = [
            float(synthesizer.networks["discriminator"](sources, image.expand_as(sources)).mean()) for image in images
        ]
        assert own.logits(images, np.full(4, label)) == pytest.approx(expected, abs=1e-5)


def test_classes_are_matched_by_name_whatever_their_order(own: DiscriminatorExtractor) -> None:
    pictures = Pictures()
    turned = Pictures(labels=[2 - label for label in range(3)], classes=["2", "1", "0"])
    assert (turned.pixels == pictures.pixels).all()
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    other = DiscriminatorExtractor(untrained(DAGAN(), base=pictures), turned)
    labels = np.array([0, 1, 2])
    assert other.logits(images, labels) == pytest.approx(own.logits(images, labels), abs=1e-6)
    assert other.logits(images, labels) != pytest.approx(own.logits(images, 2 - labels), abs=1e-6)


def test_a_class_without_reals_has_no_logit_beside_them() -> None:
    base = Pictures((5, 4), classes=["0", "1"])
    extractor = DiscriminatorExtractor(untrained(DAGAN(), base=Pictures()), base)
    images = torch.rand(2, 1, 8, 8)
    assert np.isfinite(extractor.logits(images, np.array([0, 1]))).all()
    assert np.isfinite(extractor.extract(images).features).all()
    with pytest.raises(ConfigError, match=r"real images of every class in dataset=.*found none of 2"):
        extractor.logits(images, np.array([0, 2]))
    strangers = Pictures((5, 4), classes=["cat", "dog"])
    with pytest.raises(ConfigError, match="images of 0, 1, 2, found classes cat, dog"):
        DiscriminatorExtractor(untrained(DAGAN(), base=Pictures()), strangers)


def test_no_image_leaves_with_it(own: DiscriminatorExtractor, tmp_path: Path) -> None:
    tensors = load_file(own.save(tmp_path / "own") / "weights.safetensors")
    assert tensors["companions"].shape == (3, 64)
    assert not any(name.startswith(("generator", "network")) for name in tensors)


def test_it_knows_what_it_was_fitted_on(own: DiscriminatorExtractor) -> None:
    assert set(view(Pictures()).hashes) <= set(own.fitted_on.images)


def test_other_sizes_are_resized_and_other_forms_refused(own: DiscriminatorExtractor) -> None:
    large = torch.full((1, 1, 20, 12), 0.3)
    small = own.extract(torch.full((1, 1, 8, 8), 0.3)).features
    assert own.extract(large).features == pytest.approx(small, abs=1e-5)
    for shape in ((1, 3, 8, 8), (1, 8, 8), (1, 1, 8, 8, 8)):
        with pytest.raises(SynthesizerError, match="for this discriminator, found"):
            own.extract(torch.zeros(shape))


@pytest.mark.parametrize("labels", [[0], [0, 3], [-1, 0], [0, 1, 2]])
def test_labels_that_do_not_fit(own: DiscriminatorExtractor, labels: list[int]) -> None:
    with pytest.raises(ConfigError, match="expected a label from 0 to 2 for each of 2 images"):
        own.logits(torch.zeros(2, 1, 8, 8), np.array(labels))


def test_parts_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="expected dataset=, the training split, for the discriminator of dagan"):
        DiscriminatorExtractor(untrained(DAGAN()))
    with pytest.raises(ConfigError, match=r"from ga\.fit or ga\.load, found WrappedSynthesizer"):
        DiscriminatorExtractor(toy_synthesizer())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected the network discriminator in recipe"):
        DiscriminatorExtractor(untrained(CycleShaped()))


def test_the_fingerprint_tells_discriminators_and_their_reals_apart(own: DiscriminatorExtractor) -> None:
    others = [
        DiscriminatorExtractor(untrained(DAGAN(), base=Pictures()), Pictures(seed=1)),
        DiscriminatorExtractor(untrained(DAGAN(width=40), base=Pictures()), Pictures()),
        DiscriminatorExtractor(untrained(SNGAN(), base=Pictures())),
    ]
    assert len({own.fingerprint, *[other.fingerprint for other in others]}) == 4
    again = DiscriminatorExtractor(untrained(DAGAN(), base=Pictures()), Pictures())
    assert again.fingerprint == own.fingerprint


# -- after a short training ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["dagan", "sngan"])
def trained(request: pytest.FixtureRequest) -> tuple[TrainedSynthesizer, Pictures]:
    base = Pictures((40, 24, 20))
    recipe = RECIPES[request.param](steps=200, batch_size=16, width=32)  # type: ignore[call-arg]
    return ga.fit(base, recipe=recipe, progress=False), base


@pytest.mark.slow
def test_it_prefers_reals_to_noise(trained: tuple[TrainedSynthesizer, Pictures]) -> None:
    synthesizer, base = trained
    extractor = DiscriminatorExtractor(synthesizer, base)
    fresh = view(Pictures((30, 30, 30), seed=9))
    assert synthesizer.image_spec is not None
    images = fresh.images(spec=synthesizer.image_spec)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    real, other = extractor.logits(images, fresh.targets), extractor.logits(noise, fresh.targets)
    above = (real[:, None] > other[None]).mean()
    assert above > 0.9


@pytest.mark.slow
def test_a_pool_is_built_by_its_rejection(trained: tuple[TrainedSynthesizer, Pictures]) -> None:
    synthesizer, base = trained
    selector = DiscriminatorSelector(DiscriminatorExtractor(synthesizer, base), keep_share=0.5)
    pool = ga.SyntheticPool.build(synthesizer, base, selector=selector, reserve=4.0, progress=False)
    kept = pool.candidates().kept
    assert 0.25 < kept.mean() < 0.75
    assert "rejected by the discriminator" in pool.candidates().about["reasons"]
    assert any("standard error" in note for note in pool.about["notes"])


# -- folders ------------------------------------------------------------------------------------------------------


def changed(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "weights.safetensors")
        change(tensors)
        save_file(tensors, folder / "weights.safetensors")

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "found no such file"),
    "a pickle": (lambda folder: torch.save({}, folder / "weights.safetensors"), "damaged file"),
    "newer version": (set_in("version", 7), "newer release"),
    "another kind": (set_in("kind", "gan_augment extractor"), "found kind"),
    "recipe unknown": (set_in("recipe", "name", "supergan"), "recipe 'supergan'"),
    "setting unknown": (set_in("recipe", "magic", 1), "damaged"),
    "recipe is text": (set_in("recipe", "dagan"), "damaged"),
    "another width": (set_in("recipe", "width", 64), "found others"),
    "absurd grid": (set_in("spec", "grid", [8, 2**60]), "damaged"),
    "another grid": (set_in("spec", "grid", [16, 16]), "do not fit"),
    "absurd classes": (set_in("spec", "num_classes", 2**70), "damaged"),
    "fewer classes": (set_in("classes", ["0"]), "do not fit"),
    "classes are a number": (set_in("classes", 3), "damaged"),
    "range missing": (set_in("image_spec", "low", []), "damaged"),
    "no companions": (changed(lambda tensors: tensors.pop("companions")), "found others"),
    "other companions": (changed(lambda tensors: tensors.update(companions=torch.zeros(1))), "found others"),
    "key missing": (changed(lambda tensors: tensors.pop("discriminator/project.bias")), "1 missing"),
    "other weights": (changed(lambda tensors: tensors["discriminator/project.bias"].add_(1)), "found others"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, own: DiscriminatorExtractor, damage: Callable[[Path], Any], told: str
) -> None:
    folder = own.save(tmp_path / "whole")
    shutil.copytree(folder, tmp_path / "own")
    damage(tmp_path / "own")
    with pytest.raises(ArtifactError, match=told):
        DiscriminatorExtractor.load(tmp_path / "own")
    assert DiscriminatorExtractor.load(folder).fingerprint == own.fingerprint
    with pytest.raises(ArtifactError, match="not to exist"):
        own.save(folder)
    with pytest.raises(ArtifactError, match="found kind"):
        TrainedExtractor.load(folder)


def test_nothing_draws_from_the_users_random_state(own: DiscriminatorExtractor, tmp_path: Path) -> None:
    folder = own.save(tmp_path / "own")
    state = torch.get_rng_state()
    DiscriminatorExtractor.load(folder).extract(torch.zeros(2, 1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
