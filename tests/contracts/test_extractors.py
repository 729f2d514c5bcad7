"""What every extractor must do; a new one is a line in EXTRACTORS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan_augment.features import (
    CachedExtractor,
    CrossFittedExtractor,
    DiscriminatorExtractor,
    ModuleExtractor,
    PixelExtractor,
    PrecomputedFeatures,
    TorchvisionExtractor,
    load_extractor,
)
from gan_augment.fingerprint import FittedOn
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import DAGAN, SNGAN, Recipe
from gan_augment.types import CrossFitted, Extractor, Features, HasLogits
from tests.contracts.test_recipes import SPECS, dataset
from tests.features.networks import Net
from tests.features.test_discriminator import untrained
from tests.helpers import Pictures, toy_judge, untrained_judge, view

Shape = tuple[int, ...]


def images_of(shape: Shape) -> torch.Tensor:
    return torch.rand(60, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def cross_fitted() -> CrossFittedExtractor:
    return CrossFittedExtractor.fit(Pictures(), steps=3, batch_size=8, width=32, progress=False)


def precomputed(shape: Shape) -> PrecomputedFeatures:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), 60)
    return PrecomputedFeatures(images_of(shape), rng.normal(size=(60, 7)), probs, classes=["a", "b", "c"])


def discriminator(recipe: Recipe, spec: NetworkSpec) -> DiscriminatorExtractor:
    base = dataset(spec)
    return DiscriminatorExtractor(untrained(recipe, spec, base), base)


EXTRACTORS: dict[str, tuple[Callable[[Path], Extractor], Shape]] = {
    "judge": (lambda _: toy_judge(Pictures(), steps=5), (1, 8, 8)),
    "judge of colour": (lambda _: untrained_judge(3, (16, 12)), (3, 16, 12)),
    "judge of volumes": (lambda _: untrained_judge(1, (8, 8, 8)), (1, 8, 8, 8)),
    "cross-fitted": (lambda _: cross_fitted(), (1, 8, 8)),
    "network": (lambda _: ModuleExtractor(Net(), "body", channels=3, classes=list("abcd")), (1, 9, 8)),
    "network of volumes": (lambda _: ModuleExtractor(Net(1, 3), "head", take="input", image_size=8), (1, 9, 8, 7)),
    "torchvision": (lambda _: TorchvisionExtractor("shufflenet_v2_x0_5", None, image_size=32), (1, 8, 8)),
    "torchvision on volumes": (
        lambda _: TorchvisionExtractor("squeezenet1_1", None, image_size=32),
        (3, 8, 9, 10),
    ),
    "precomputed": (lambda _: precomputed((1, 8, 8)), (1, 8, 8)),
    "precomputed of volumes": (lambda _: precomputed((1, 8, 8, 8)), (1, 8, 8, 8)),
    "pixels": (lambda _: PixelExtractor(6), (3, 8, 8)),
    "voxels": (lambda _: PixelExtractor((4, 5, 6)), (1, 8, 8, 8)),
    "cached": (lambda folder: CachedExtractor(untrained_judge(), folder), (1, 8, 8)),
    "cached, of volumes": (lambda folder: CachedExtractor(untrained_judge(1, (8, 8, 8)), folder), (1, 8, 8, 8)),
    "cached, cross-fitted": (lambda folder: CachedExtractor(cross_fitted(), folder), (1, 8, 8)),
    "discriminator": (lambda _: discriminator(SNGAN(), SPECS["8x8"]), (1, 8, 8)),
    "discriminator of volumes and pairs": (lambda _: discriminator(DAGAN(), SPECS["volume"]), (1, 8, 8, 8)),
    "cached, discriminator": (lambda folder: CachedExtractor(discriminator(SNGAN(), SPECS["8x8"]), folder), (1, 8, 8)),
}
"""How each is made, given a folder of its own, and the shape of the images it sees."""

NETWORKS: dict[str, Callable[[], nn.Module]] = {"network": Net, "network of volumes": lambda: Net(1, 3)}
"""What `load_extractor` is given beside the folder, of those whose folder does not say it."""


@pytest.fixture(scope="module", params=EXTRACTORS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Extractor, torch.Tensor]:
    make, shape = EXTRACTORS[request.param]
    return make(tmp_path_factory.mktemp("extractor")), images_of(shape)


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
    assert seen.features.ndim in (2, 3)
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
    assert none.features.shape == (0, *some.features.shape[1:])
    if some.probs is not None:
        assert none.probs is not None
        assert none.probs.shape == (0, some.probs.shape[1])


def test_saved_and_loaded_it_sees_the_same(case: Case, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    extractor, images = case
    folder = extractor.save(tmp_path / "folder")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    build = NETWORKS.get(request.node.callspec.params["case"])
    again = load_extractor(folder, None if build is None else build())
    assert again.fingerprint == extractor.fingerprint
    assert isinstance(again.fingerprint, str)
    one, other = extractor.extract(images), again.extract(images)
    assert np.array_equal(one.features, other.features)
    assert np.array_equal(one.probs, other.probs) if one.probs is not None else other.probs is None
    for name in ("classes", "image_spec", "stores_images"):
        assert getattr(again, name, None) == (getattr(extractor, name, None) or None)
    assert np.array_equal(FittedOn.of(again).images, FittedOn.of(extractor).images)


def test_classes_name_the_columns_of_probabilities(case: Case) -> None:
    extractor, images = case
    seen, classes = extractor.extract(images), getattr(extractor, "classes", None)
    assert classes is None or seen.probs is None or len(classes) == seen.probs.shape[1]


def test_of_real_images_it_tells_which_judge_has_not_seen_them(case: Case) -> None:
    extractor, images = case
    if not isinstance(extractor, CrossFitted):
        return
    real = view(Pictures())
    known = extractor.extract_fitted(images[: len(real)], real.hashes)
    seen = extractor.extract(images[: len(real)])
    assert close(known.features, seen.features)
    assert known.fold is not None
    assert set(known.fold.tolist()) <= {-1, *range(seen.features.shape[1])}
    strangers = extractor.extract_fitted(images, np.arange(60))
    assert_close(strangers, extractor.extract(images))
    assert strangers.fold is not None
    assert (strangers.fold == -1).all()


def test_logits_are_a_number_for_each_image(case: Case) -> None:
    extractor, images = case
    if not isinstance(extractor, HasLogits):
        return
    logits = extractor.logits(images, np.zeros(60, np.int64))
    assert logits.shape == (60,)
    assert np.isfinite(logits).all()
