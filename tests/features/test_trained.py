"""TrainedExtractor: what it learns, and folders that are damaged on purpose."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gan_augment.errors import ArtifactError, ConfigError, DataError, SynthesizerError
from gan_augment.features import TrainedExtractor
from gan_augment.networks import Classifier, NetworkSpec
from tests.helpers import Pictures, set_in, toy_judge, untrained_judge, view


@pytest.fixture(scope="module")
def judge() -> TrainedExtractor:
    return toy_judge(Pictures((20, 12, 8)))


def test_it_learns_the_classes_of_images_it_has_not_seen(judge: TrainedExtractor) -> None:
    fresh = view(Pictures((30, 30, 30), seed=8))
    assert judge.image_spec is not None
    seen = judge.extract(fresh.images(spec=judge.image_spec))
    assert seen.probs is not None
    assert (seen.probs.argmax(1) == fresh.targets).mean() > 0.95
    assert judge.classes == ["0", "1", "2"]
    assert (judge.fitted_on.images == np.sort(view(Pictures((20, 12, 8))).hashes)).all()


def test_images_between_two_classes_are_the_uncertain_ones(judge: TrainedExtractor) -> None:
    assert judge.image_spec is not None
    low, high = judge.image_spec.low[0], judge.image_spec.high[0]
    levels = np.array([40, 82, 125]) / 255
    images = torch.tensor((levels - low) / (high - low) * 2 - 1, dtype=torch.float32).reshape(3, 1, 1, 1)
    entropy = judge.extract(images.expand(-1, 1, 8, 8).contiguous()).entropy
    assert entropy is not None
    assert entropy[1] > entropy[0]
    assert entropy[1] > entropy[2]


def test_entropy_is_that_of_the_mean_probabilities(judge: TrainedExtractor) -> None:
    seen = judge.extract(torch.rand(9, 1, 8, 8) * 2 - 1)
    assert seen.probs is not None
    expected = -(seen.probs * np.log(seen.probs)).sum(1)
    assert seen.entropy == pytest.approx(expected, abs=1e-5)


def test_more_passes_converge_to_their_expectation(judge: TrainedExtractor) -> None:
    images = torch.rand(20, 1, 8, 8) * 2 - 1
    few, many = (
        TrainedExtractor(judge.network, judge.spec, classes=judge.classes, passes=passes).extract(images).probs
        for passes in (50, 1000)
    )
    assert few is not None
    assert many is not None
    assert not np.array_equal(few, many)
    assert np.abs(few - many).max() < 0.1


def test_without_dropout_the_passes_are_the_network_itself() -> None:
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=2)
    network = Classifier(spec, 32, dropout=0.0)
    images = torch.rand(5, 1, 8, 8)
    probs = TrainedExtractor(network, spec, classes=["a", "b"], passes=3).extract(images).probs
    assert probs == pytest.approx(network.eval()(images).softmax(1).detach().numpy(), abs=1e-6)


def test_the_same_seed_gives_the_same_judge() -> None:
    base = Pictures()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one = toy_judge(base, steps=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert toy_judge(base, steps=3).fingerprint == one.fingerprint
    other = TrainedExtractor.fit(base, steps=3, batch_size=16, width=32, progress=False, seed=1)
    assert other.fingerprint != one.fingerprint


def test_it_sees_raw_images_and_labels_given() -> None:
    base = Pictures(kind="pil", transform=torch.as_tensor)  # a transform that would fail on a PIL image
    with pytest.raises(DataError, match="to be readable"):
        toy_judge(base, steps=1)
    groups = [label % 2 for label in Pictures().targets]
    judge = TrainedExtractor.fit(Pictures(), targets=groups, steps=1, width=32, progress=False)
    assert judge.classes == ["0", "1"]


def test_other_sizes_are_resized_and_other_forms_refused(judge: TrainedExtractor) -> None:
    image = torch.full((1, 1, 8, 8), 0.3)
    large = torch.full((1, 1, 20, 12), 0.3)
    assert judge.extract(large).features == pytest.approx(judge.extract(image).features, abs=1e-5)
    for shape in ((1, 3, 8, 8), (1, 8, 8), (1, 1, 8, 8, 8)):
        with pytest.raises(SynthesizerError, match=r"expected images \(N, 1, \*\(8, 8\)\) for this judge, found"):
            judge.extract(torch.zeros(shape))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"passes": 0}, "passes from 1 to 1000, found 0"),
        ({"classes": ["a", "b"]}, "3 class names for this judge, found 2"),
    ],
)
def test_parts_that_do_not_fit(settings: dict[str, Any], told: str) -> None:
    judge = untrained_judge()
    with pytest.raises(ConfigError, match=told):
        TrainedExtractor(judge.network, judge.spec, **{"classes": judge.classes, **settings})


def test_an_image_spec_of_another_grid_is_refused(judge: TrainedExtractor) -> None:
    other = untrained_judge(grid=(16, 16))
    with pytest.raises(ConfigError, match=r"image_spec= of 1 channels and grid \(16, 16\)"):
        TrainedExtractor(other.network, other.spec, classes=other.classes, image_spec=judge.image_spec)


def test_one_class_cannot_be_judged() -> None:
    with pytest.raises(DataError, match="at least two classes"):
        toy_judge(Pictures((5,)))


# -- folders ----------------------------------------------------------------------------------------------------------


def without_a_weight(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    del tensors["network.linear.bias"]
    save_file(tensors, folder / "weights.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "no weights": (lambda folder: (folder / "weights.safetensors").unlink(), "found no such file"),
    "json cut": (lambda folder: (folder / "extractor.json").write_text("{"), "expected JSON"),
    "a pickle": (lambda folder: torch.save({}, folder / "weights.safetensors"), "damaged file"),
    "newer version": (set_in("version", 7), "newer release"),
    "another kind": (set_in("kind", "gan_augment pool"), "found kind"),
    "another width": (set_in("width", 64), "of another shape"),
    "absurd width": (set_in("width", 2**40), "expected"),
    "absurd grid": (set_in("spec", "grid", [8, 2**60]), "expected"),
    "absurd classes": (set_in("spec", "num_classes", 2**70), "expected"),
    "absurd passes": (set_in("passes", 10**12), "passes from 1 to 1000"),
    "no passes": (set_in("passes", 0), "passes from 1 to 1000"),
    "fewer classes": (set_in("classes", ["0"]), "3 class names for this judge, found 1"),
    "classes are a number": (set_in("classes", 3), "damaged"),
    "spec is text": (set_in("spec", "small"), "damaged"),
    "dropout is text": (set_in("dropout", "half"), "damaged"),
    "dropout beyond 1": (set_in("dropout", 1.5), "damaged"),
    "range missing": (set_in("image_spec", "low", []), "damaged"),
    "another spec": (set_in("image_spec", "grid", [16, 16]), "damaged"),
    "key missing": (without_a_weight, "1 missing: linear.bias"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, judge: TrainedExtractor, damage: Callable[[Path], Any], told: str
) -> None:
    folder = judge.save(tmp_path / "whole")
    shutil.copytree(folder, tmp_path / "judge")
    damage(tmp_path / "judge")
    with pytest.raises(ArtifactError, match=told):
        TrainedExtractor.load(tmp_path / "judge")
    assert TrainedExtractor.load(folder).fingerprint == judge.fingerprint


def test_loading_leaves_the_users_random_state_alone(tmp_path: Path, judge: TrainedExtractor) -> None:
    folder = judge.save(tmp_path / "judge")
    state = torch.get_rng_state()
    TrainedExtractor.load(folder)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ArtifactError, match="not to exist yet"):
        judge.save(folder)


def test_entropy_is_at_most_that_of_a_guess() -> None:
    judge = untrained_judge()
    torch.nn.init.zeros_(judge.network.linear.weight)
    torch.nn.init.zeros_(judge.network.linear.bias)
    assert judge.extract(torch.rand(4, 1, 8, 8)).entropy == pytest.approx(math.log(3), abs=1e-6)
