"""Batches: what is drawn, how often, and that a step's batch does not depend on those before."""

from typing import Any

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.recipes import SNGAN, Need, Part
from gan_augment.training.batches import Batches

COUNTS = (40, 10, 2)


def view() -> ga.RawView:
    targets = np.repeat([0, 1, 2], COUNTS)
    images = np.arange(len(targets), dtype=np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    return ga.RawView(list(zip(images, targets.tolist(), strict=True)), progress=False)


def batches(
    pairing: str, names: tuple[str, ...], power: float = 0.5, size: int = 64, nearest: int = 1, embed: Any = None
) -> Batches:
    source = view()
    need = Need(pairing, names, nearest)  # type: ignore[arg-type]
    recipe = type("Needing", (SNGAN,), {"need": need})(batch_size=size, label_power=power)
    return Batches(source, source.spec(), recipe, seed=1, device=torch.device("cpu"), embed=embed)


def whole(draw: Batches, step: int) -> dict[str, torch.Tensor]:
    return draw(step, Part(0, 1, draw.recipe.batch_size))


def item(images: torch.Tensor) -> np.ndarray:
    """Reads the item's number back off its constant image."""
    return np.rint((images[:, 0, 0, 0].numpy() + 1) / 2 * (sum(COUNTS) - 1)).astype(int)


def test_pairs_are_two_different_images_of_one_class() -> None:
    draw = batches("same-class", ("source", "real"))
    labels = view().targets
    seen = set()
    for step in range(40):
        batch = whole(draw, step)
        first, second = item(batch["source"]), item(batch["real"])
        assert (first != second).all()
        assert (labels[first] == labels[second]).all()
        assert (labels[first] == batch["labels"].numpy()).all()
        seen |= set(zip(first[labels[first] == 2], second[labels[first] == 2], strict=True))
    assert seen == {(50, 51), (51, 50)}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_classes_are_drawn_by_their_power(power: float) -> None:
    draw = batches("single", ("real",), power, size=2000)
    labels = torch.cat([whole(draw, step)["labels"] for step in range(10)]).numpy()
    share = np.bincount(labels, minlength=3) / len(labels)
    expected = np.array(COUNTS) ** power / (np.array(COUNTS) ** power).sum()
    np.testing.assert_allclose(share, expected, atol=0.015)


def test_a_step_does_not_depend_on_those_before() -> None:
    first, second = batches("single", ("real",)), batches("single", ("real",))
    for step in range(5):
        whole(first, step)
    assert torch.equal(whole(first, 9)["real"], whole(second, 9)["real"])
    assert not torch.equal(whole(first, 9)["real"], whole(first, 10)["real"])


def test_more_domains_than_classes_is_refused() -> None:
    with pytest.raises(ga.DataError, match=r"4 domains.*found 3"):
        batches("unpaired", ("a", "b", "c", "d"))


@pytest.mark.parametrize("pairing", ["same-class", "neighbours"])
def test_parts_of_a_batch_are_the_batch(pairing: str) -> None:
    draw = batches(pairing, ("source", "real"), nearest=3, embed=brightness)
    parts = [draw(3, Part(index, 4, 16)) for index in range(4)]
    for name, tensor in whole(draw, 3).items():
        assert torch.equal(torch.cat([part[name] for part in parts]), tensor)


def test_weights_make_every_class_count_alike() -> None:
    for power in (0.0, 0.5, 1.0):
        draw = batches("single", ("real",), power, size=2000)
        every = [whole(draw, step) for step in range(20)]
        labels = torch.cat([batch["labels"] for batch in every]).numpy()
        weights = torch.cat([batch["weights"] for batch in every]).numpy()
        assert weights.dtype == np.float32
        sums = np.bincount(labels, weights) / len(labels)
        np.testing.assert_allclose(sums, 1 / 3, atol=0.04)
    assert (whole(batches("single", ("real",), 0.0), 0)["weights"] == 1).all()


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(1).mean(1, keepdim=True)


def test_neighbours_are_the_nearest_others_of_the_class() -> None:
    draw = batches("neighbours", ("source", "real"), 0.0, nearest=4, embed=brightness)
    labels = view().targets
    seen: set[tuple[int, int]] = set()
    for step in range(60):
        batch = whole(draw, step)
        source, near = item(batch["source"]), item(batch["real"])
        assert (labels[source] == batch["labels"].numpy()).all()
        seen |= set(zip(source.tolist(), near.tolist(), strict=True))
    assert {near for source, near in seen if source == 20} == {18, 19, 21, 22}
    assert {near for source, near in seen if source == 0} == {1, 2, 3, 4}
    assert {near for source, near in seen if source == 49} == {45, 46, 47, 48}  # 50 is of another class
    assert {pair for pair in seen if labels[pair[0]] == 2} == {(50, 51), (51, 50)}


def test_features_are_computed_once_in_chunks_and_with_the_first_batch() -> None:
    seen: list[int] = []

    def embed(images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        return brightness(images)

    draw = batches("neighbours", ("source", "real"), embed=embed)
    draw._chunk = 20  # of 52 images
    assert not seen
    whole(draw, 0)
    whole(draw, 1)
    assert sum(seen) == sum(COUNTS)
    assert max(seen) <= 20


def test_neighbours_need_features() -> None:
    with pytest.raises(ga.ConfigError, match="expected embed="):
        whole(batches("neighbours", ("source", "real")), 0)
