"""What every extractor must do; a new one is a line in EXTRACTORS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_augment.features import TrainedExtractor
from gan_augment.types import Extractor, Features
from tests.helpers import Pictures, toy_judge, untrained_judge

EXTRACTORS: dict[str, tuple[Callable[[], Extractor], tuple[int, ...]]] = {
    "judge": (lambda: toy_judge(Pictures(), steps=5), (1, 8, 8)),
    "judge of colour": (lambda: untrained_judge(3, (16, 12)), (3, 16, 12)),
    "judge of volumes": (lambda: untrained_judge(1, (8, 8, 8)), (1, 8, 8, 8)),
}


@pytest.fixture(scope="module", params=EXTRACTORS.values(), ids=EXTRACTORS)
def case(request: pytest.FixtureRequest) -> tuple[Extractor, torch.Tensor]:
    make, shape = request.param
    generator = torch.Generator().manual_seed(0)
    return make(), torch.rand(60, *shape, generator=generator) * 2 - 1


Case = tuple[Extractor, torch.Tensor]


def close(one: Any, other: Any) -> bool:
    return (one is None and other is None) or bool(np.allclose(one, other, atol=1e-5))


def assert_close(one: Features, other: Features, rows: Any = slice(None)) -> None:
    for name in ("features", "probs", "entropy"):
        expected = getattr(other, name)
        assert close(getattr(one, name), None if expected is None else expected[rows])


def test_it_is_an_extractor(case: Case) -> None:
    assert isinstance(case[0], Extractor)


def test_features_are_finite_float32(case: Case) -> None:
    extractor, images = case
    seen = extractor.extract(images)
    assert seen.features.ndim == 2
    assert len(seen.features) == 60
    assert seen.features.dtype == np.float32
    assert np.isfinite(seen.features).all()
    assert (seen.features.std(0) > 0).any()


def test_probabilities_and_entropy(case: Case) -> None:
    seen = case[0].extract(case[1])
    assert (seen.probs is None) == (seen.entropy is None)
    if seen.probs is not None and seen.entropy is not None:
        assert seen.probs.shape[0] == len(seen.entropy) == 60
        assert seen.probs.sum(1) == pytest.approx(1, abs=1e-5)
        assert seen.probs.min() >= 0
        assert seen.entropy.min() >= 0
        assert seen.entropy.max() <= np.log(seen.probs.shape[1]) + 1e-6


def test_order_and_batch_do_not_matter(case: Case) -> None:
    extractor, images = case
    whole = extractor.extract(images)
    order = np.random.default_rng(0).permutation(60)
    for rows in (order, order[:1], order[:7]):
        assert_close(extractor.extract(images[rows]), whole, rows)
    many = extractor.extract(images.repeat(6, *[1] * (images.ndim - 1)))
    assert_close(many, whole, np.tile(np.arange(60), 6))


def test_it_is_a_function_of_the_images_alone(case: Case) -> None:
    extractor, images = case
    first = extractor.extract(images)
    torch.manual_seed(5)
    state, content = torch.get_rng_state(), images.clone()
    again = extractor.extract(images)
    assert (again.features == first.features).all()
    assert np.array_equal(again.probs, first.probs) or first.probs is None
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, content)


def test_no_images_have_no_features(case: Case) -> None:
    extractor, images = case
    none, some = extractor.extract(images[:0]), extractor.extract(images)
    assert none.features.shape == (0, some.features.shape[1])
    if some.probs is not None:
        assert none.probs is not None
        assert none.probs.shape == (0, some.probs.shape[1])


def test_saved_and_loaded_it_sees_the_same(case: Case, tmp_path: Path) -> None:
    extractor, images = case
    folder = extractor.save(tmp_path / "folder")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    assert isinstance(extractor, TrainedExtractor)
    again = type(extractor).load(folder)
    assert again.fingerprint == extractor.fingerprint
    assert isinstance(again.fingerprint, str)
    one, other = extractor.extract(images), again.extract(images)
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.probs, other.probs)
    assert (again.classes, again.image_spec) == (extractor.classes, extractor.image_spec)
