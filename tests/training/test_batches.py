"""Batches: what is drawn, how often, and that a step's batch does not depend on those before."""

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.recipes import Need
from gan_augment.training.batches import Batches

COUNTS = (40, 10, 2)


def view() -> ga.RawView:
    targets = np.repeat([0, 1, 2], COUNTS)
    images = np.arange(len(targets), dtype=np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    return ga.RawView(list(zip(images, targets.tolist(), strict=True)), progress=False)


def batches(pairing: str, names: tuple[str, ...], power: float = 0.5, size: int = 64) -> Batches:
    source = view()
    need = Need(pairing, names)  # type: ignore[arg-type]
    device = torch.device("cpu")
    return Batches(source, source.spec(), need, batch_size=size, label_power=power, seed=1, device=device)


def item(images: torch.Tensor) -> np.ndarray:
    """Reads the item's number back off its constant image."""
    return np.rint((images[:, 0, 0, 0].numpy() + 1) / 2 * (sum(COUNTS) - 1)).astype(int)


def test_pairs_are_two_different_images_of_one_class() -> None:
    draw = batches("same-class", ("source", "real"))
    labels = view().targets
    seen = set()
    for step in range(40):
        batch = draw(step)
        first, second = item(batch["source"]), item(batch["real"])
        assert (first != second).all()
        assert (labels[first] == labels[second]).all()
        assert (labels[first] == batch["labels"].numpy()).all()
        seen |= set(zip(first[labels[first] == 2], second[labels[first] == 2], strict=True))
    assert seen == {(50, 51), (51, 50)}


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_classes_are_drawn_by_their_power(power: float) -> None:
    draw = batches("single", ("real",), power, size=2000)
    labels = torch.cat([draw(step)["labels"] for step in range(10)]).numpy()
    share = np.bincount(labels, minlength=3) / len(labels)
    expected = np.array(COUNTS) ** power / (np.array(COUNTS) ** power).sum()
    np.testing.assert_allclose(share, expected, atol=0.015)


def test_a_step_does_not_depend_on_those_before() -> None:
    first, second = batches("single", ("real",)), batches("single", ("real",))
    for step in range(5):
        first(step)
    assert torch.equal(first(9)["real"], second(9)["real"])
    assert not torch.equal(first(9)["real"], first(10)["real"])


def test_more_domains_than_classes_is_refused() -> None:
    with pytest.raises(ga.DataError, match=r"4 domains.*found 3"):
        batches("unpaired", ("a", "b", "c", "d"))
