"""What every synthesizer must do; a new one is a line in SYNTHESIZERS, a new recipe is picked up from the registry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan_augment.errors import SynthesizerError
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES
from gan_augment.synthesizers import Knobs, adapt, labelled_by, load, per_class, wrap
from gan_augment.training import fit
from gan_augment.types import NeedsParents, Synthesizer
from tests.helpers import Pictures, draw_by_seed, toy_judge, toy_synthesizer
from tests.synthesizers.released import dcgan, style

BASES = {"grey": Pictures((9, 6, 5)), "colour": Pictures((9, 6, 5), channels=3, size=12)}


def trained(recipe: str, base: str) -> Callable[[], Synthesizer]:
    return lambda: fit(BASES[base], recipe, steps=1, min_images=2, progress=False)


SYNTHESIZERS: dict[str, Callable[[], Synthesizer]] = {
    "module": toy_synthesizer,
    "module, one-hot": lambda: wrap(
        lambda z, y: torch.tanh(z[:, :1] + y[:, 1:2])[..., None, None].expand(-1, 1, 8, 8),
        num_classes=3,
        image_shape=(1, 8, 8),
        latent_dim=4,
        labels="onehot",
    ),
    "function": lambda: wrap(draw_by_seed, num_classes=3, image_shape=(1, 8, 8)),
    "released styles": style,
    "released styles, turned": lambda: style(knobs=Knobs(truncation=0.7, mixing=0.5, noise="random")),
    "released latents": dcgan,
    "adapted": lambda: adapt(style(5), class_map={"0": 4, "1": [0, 2], "2": 1}, like=BASES["colour"]),
    "one a class": lambda: per_class({str(label): style(0, seed=label) for label in range(3)}),
    "labelled": lambda: labelled_by(toy_synthesizer(), toy_judge(BASES["grey"]), tries=500),
    **{f"{recipe}, {base}": trained(recipe, base) for recipe in RECIPES for base in BASES},
}

LABELS = np.arange(70) % 3
SEEDS = np.concatenate([[0, 2**63 - 1, 2**32, 2**32 - 1], np.arange(5, 71)])


@pytest.fixture(scope="module", params=SYNTHESIZERS.values(), ids=SYNTHESIZERS)
def synthesizer(request: pytest.FixtureRequest) -> Synthesizer:
    made: Synthesizer = request.param()
    return made


@pytest.fixture(scope="module")
def images(synthesizer: Synthesizer) -> torch.Tensor:
    return synthesizer.sample(LABELS, SEEDS).images


def test_it_is_a_synthesizer(synthesizer: Synthesizer) -> None:
    assert isinstance(synthesizer, Synthesizer)
    assert synthesizer.num_classes == 3
    assert synthesizer.class_names is None or len(synthesizer.class_names) == 3
    assert isinstance(repr(synthesizer), str)


def test_images_are_float32_from_minus_1_to_1(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    spec = synthesizer.image_spec
    told = getattr(synthesizer, "image_shape", (1, 8, 8))
    shape = told if spec is None else (spec.channels, *spec.grid)
    assert images.shape == (70, *shape)
    assert images.dtype == torch.float32
    assert images.device.type == "cpu"
    assert torch.isfinite(images).all()
    assert -1 <= images.min() < images.max() <= 1
    assert not images.requires_grad


def test_order_and_batch_do_not_matter(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    order = np.random.default_rng(0).permutation(70)
    for rows in (order, order[:1], order[:7], order[40:]):
        assert torch.allclose(synthesizer.sample(LABELS[rows], SEEDS[rows]).images, images[rows], atol=1e-5)


def test_batches_larger_than_its_own_do_not_matter(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    many = synthesizer.sample(np.tile(LABELS, 8), np.tile(SEEDS, 8)).images
    assert torch.allclose(many, images.repeat(8, 1, 1, 1), atol=1e-5)


def test_seeds_and_nothing_else_determine_samples(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    state = torch.get_rng_state()
    assert torch.equal(synthesizer.sample(LABELS, SEEDS).images, images)
    assert torch.equal(torch.get_rng_state(), state)
    others = synthesizer.sample(LABELS, SEEDS ^ 1).images
    assert not any(torch.equal(one, other) for one, other in zip(images, others, strict=True))


def test_labels_and_seeds_may_be_lists_arrays_or_tensors(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    for labels, seeds in (
        (LABELS[:2].tolist(), SEEDS[:2].tolist()),
        (torch.from_numpy(LABELS[:2]), torch.from_numpy(SEEDS[:2])),
        (LABELS[:2].astype(np.uint8), SEEDS[:2].astype(np.uint64)),
    ):
        assert torch.allclose(synthesizer.sample(labels, seeds).images, images[:2], atol=1e-5)
    assert torch.allclose(synthesizer.sample(0, 0).images, images[:1], atol=1e-5)


def test_nothing_asked_for_is_nothing_drawn(synthesizer: Synthesizer, images: torch.Tensor) -> None:
    drawn = synthesizer.sample([], [])
    assert drawn.images.shape == (0, *images.shape[1:])
    assert drawn.parents is None or len(drawn.parents) == 0


@pytest.mark.parametrize(
    ("labels", "seeds", "told"),
    [
        ([0, 3], [1, 2], "labels from 0 to 2.*, found 3"),
        ([-1], [1], "labels from 0 to 2.*, found -1"),
        ([0], [-1], r"seeds from 0 to 2\*\*63 - 1, found -1"),
        ([0], np.array([2**63], np.uint64), "seeds from 0"),
        ([0, 1], [1], "found 2 labels and 1 seeds"),
        ([0.5], [1], "labels that are whole numbers, found float64"),
        ([0], [1.5], "seeds that are whole numbers, found float64"),
        (["a"], [1], "labels that are whole numbers"),
    ],
)
def test_requests_that_cannot_be_met(synthesizer: Synthesizer, labels: Any, seeds: Any, told: str) -> None:
    with pytest.raises(SynthesizerError, match=told):
        synthesizer.sample(labels, seeds)


def test_parents_are_told_where_there_are_any(synthesizer: Synthesizer) -> None:
    parents = synthesizer.sample(LABELS, SEEDS).parents
    needs = isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents
    assert (parents is not None) == needs
    if parents is not None:
        assert (parents.shape, parents.dtype) == ((70,), np.int64)


def test_saved_and_loaded_it_draws_the_same(synthesizer: Synthesizer, images: torch.Tensor, tmp_path: Path) -> None:
    if not hasattr(synthesizer, "save"):
        pytest.skip("has no save")
    folder = synthesizer.save(tmp_path / "folder")
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    again = load(folder)
    assert again.fingerprint == synthesizer.fingerprint  # type: ignore[attr-defined]
    assert (again.class_names, again.image_spec) == (synthesizer.class_names, synthesizer.image_spec)
    if again.needs_parents:
        assert not again.is_bound
        again.bind(BASES["colour" if images.shape[1] == 3 else "grey"])
    assert torch.equal(again.sample(LABELS, SEEDS).images, images)


def test_its_fingerprint_is_json(synthesizer: Synthesizer) -> None:
    fingerprint = synthesizer.fingerprint  # type: ignore[attr-defined]
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert fingerprint["weights"]


def test_a_pool_is_built_with_it(synthesizer: Synthesizer, images: torch.Tensor, tmp_path: Path) -> None:
    base = BASES["colour" if images.shape[1] == 3 else "grey"]
    one = SyntheticPool.build(synthesizer, base, out=tmp_path / "pool", progress=False)
    two = SyntheticPool.build(synthesizer, base, progress=False)
    assert one.counts == {1: 6, 2: 8}
    assert all((one.array(row) == two.array(row)).all() for row in range(14))
