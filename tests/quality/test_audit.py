"""Audits of digits: held-out reals pass, every planted fault is found by its word, small sets give notes."""

import functools
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from gan_augment.errors import ConfigError, DataError, SmallClassWarning
from gan_augment.features import CrossFittedExtractor, TrainedExtractor
from gan_augment.folds import folds
from gan_augment.pool import SyntheticPool
from gan_augment.quality import Audit, audit, spaces
from gan_augment.selection import CentroidSelector
from gan_augment.source import RawView
from gan_augment.types import Features
from tests.conftest import untouched_rng
from tests.helpers import Pictures, toy_synthesizer, untrained_judge

FASHION = Path("/usr/share/datasets/fashion-mnist")
Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]


class Pairs:
    """Images and labels as a dataset."""

    def __init__(self, images: npt.NDArray[Any], targets: npt.NDArray[np.int64]) -> None:
        self.images, self.targets = images, targets.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], self.targets[index]


def split(images: npt.NDArray[Any], targets: npt.NDArray[np.int64], counts: Any, held: int) -> tuple[Arrays, Arrays]:
    train, test = [], []
    for label, count in enumerate(counts):
        rows = np.random.default_rng(label).permutation(np.flatnonzero(targets == label))
        test += rows[:held].tolist()
        train += rows[held : held + count].tolist()
    return (images[train], targets[train]), (images[test], targets[test])


@pytest.fixture(scope="module")
def digits() -> tuple[Arrays, Arrays]:
    """Long-tailed training split, 100 down to 2 images, and 40 held-out ones of each class."""
    loaded = load_digits()
    images = np.round(loaded.images * 15.9375).astype(np.uint8)
    return split(images, loaded.target.astype(np.int64), (60, 100, 80, 40, 30, 50, 20, 12, 7, 2), 40)


@pytest.fixture(scope="module")
def train(digits: tuple[Arrays, Arrays]) -> Iterator[RawView]:
    """The training split; its judges are trained once in this module."""

    class Once:
        fit = staticmethod(functools.cache(CrossFittedExtractor.fit))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spaces, "CrossFittedExtractor", Once)
        yield RawView(Pairs(*digits[0]), progress=False)


def audited(train: RawView, images: npt.NDArray[Any], labels: npt.NDArray[np.int64], **settings: Any) -> Audit:
    return audit(SyntheticPool.from_arrays(images, labels), train, steps=250, progress=False, **settings)


# -- what is right passes ---------------------------------------------------------------------------------------------


def test_held_out_reals_pass(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    with untouched_rng():
        found = audited(train, *digits[1])
    assert found.verdict == "good", found.summary()
    assert found.problems == {"too few to tell"}
    assert found.summary().startswith("No problem was found in 400 synthetic images of 10 classes, beside 401 real")
    assert "8 (40 synthetic, 7 real), 9 (40 synthetic, 2 real)" in found.warnings[0]


def test_half_of_the_held_out_reals_passes_beside_the_other_half(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    images, labels = digits[1]
    found = audited(train, images[::2], labels[::2], holdout=Pairs(images[1::2], labels[1::2]))
    assert found.verdict == "good", found.summary()
    assert abs(found.table[0]["c_t"]) < 3
    assert found.settings["holdout"] == 200


# -- what is wrong is found -------------------------------------------------------------------------------------------


def one_image_a_class(train: Arrays, held: Arrays, share: float = 1.0) -> Arrays:
    images = held[0].copy()
    for label in range(10):
        rows = np.flatnonzero(held[1] == label)
        images[rows[: round(share * len(rows))]] = images[rows[0]]
    return images, held[1]


def a_third_is_one_image(train: Arrays, held: Arrays) -> Arrays:
    return one_image_a_class(train, held, 0.3)


def the_training_set(train: Arrays, held: Arrays) -> Arrays:
    return train


def moved(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.pad(images, ((0, 0), (1, 0), (0, 0)), mode="edge")[:, :-1]


def the_training_set_moved(train: Arrays, held: Arrays) -> Arrays:
    return moved(train[0]), train[1]


def some_copies(train: Arrays, held: Arrays, share: float = 0.05, shift: bool = False) -> Arrays:
    images, labels = held[0].copy(), held[1].copy()
    rows = np.random.default_rng(0).choice(len(images), int(share * len(images)), replace=False)
    which = np.random.default_rng(1).choice(len(train[0]), len(rows), replace=False)
    images[rows] = moved(train[0][which]) if shift else train[0][which]
    labels[rows] = train[1][which]
    return images, labels


def some_moved_copies(train: Arrays, held: Arrays) -> Arrays:
    return some_copies(train, held, 0.07, shift=True)


def labels_off_by_one(train: Arrays, held: Arrays) -> Arrays:
    return held[0], (held[1] + 1) % 10


def noise(train: Arrays, held: Arrays) -> Arrays:
    return np.random.default_rng(0).integers(0, 256, held[0].shape).astype(np.uint8), held[1]


FAULTS = {
    one_image_a_class: "collapse",
    a_third_is_one_image: "collapse",
    the_training_set: "copies",
    the_training_set_moved: "copies",
    some_copies: "copies",
    some_moved_copies: "copies",
    labels_off_by_one: "labels",
    noise: "unlike real",
}


@pytest.mark.parametrize(("fault", "problem"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found(fault: Any, problem: str, train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    found = audited(train, *fault(*digits))
    assert problem in found.problems, found.summary()
    assert found.verdict == "bad"
    assert any(warning.startswith(f"{problem}: ") for warning in found.warnings)


def test_two_classes_swapped_are_named(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    images, labels = digits[1]
    swapped = np.where(labels == 2, 5, np.where(labels == 5, 2, labels))
    found = audited(train, images, swapped)
    assert found.problems == {"labels", "too few to tell"}
    assert "2 (taken for 5)" in found.warnings[0]
    assert "5 (taken for 2)" in found.warnings[0]
    rows = {row["class"]: row for row in found.table}
    assert (rows["2"]["taken_for"], rows["5"]["taken_for"]) == ("5", "2")
    assert rows["2"]["agreement"] < 0.2 < 0.8 < rows["1"]["agreement"]


def test_copies_of_the_held_out_are_not_told_as_copies_of_the_training_set(
    train: RawView, digits: tuple[Arrays, Arrays]
) -> None:
    found = audited(train, *digits[1], holdout=Pairs(*digits[1]))
    assert "400 images of holdout= are in the pool" in found.warnings[1]


# -- the table --------------------------------------------------------------------------------------------------------


def test_the_table_has_all_and_every_class(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    found = audited(train, *digits[1])
    assert [row["class"] for row in found.table] == ["all", *"0123456789"]
    assert {tuple(row) for row in found.table} == {tuple(found.table[0])}
    total = found.table[0]
    assert (total["n"], total["n_real"], total["n_unseen"]) == (400, 401, 399)
    assert total["vendi"] / total["vendi_real"] == pytest.approx(1, abs=0.2)
    assert total["ms_ssim"] == pytest.approx(total["ms_ssim_real"], abs=0.1)
    assert total["coverage"] == pytest.approx(total["coverage_real"], abs=0.2)
    assert json.loads(json.dumps(found.to_json()))["verdict"] == "good"


def test_what_cannot_be_had_is_none_and_said(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    images, labels = digits[1]
    rows = np.concatenate(
        [np.flatnonzero(labels == 9)[:2], np.flatnonzero(labels == 1), np.flatnonzero(labels == 3)[:1]]
    )
    found = audited(train, images[rows], labels[rows])
    two, one, none = found.table[10], found.table[4], found.table[1]
    assert two["n_unseen"] == 0
    assert two["fid"] is two["kid"] is two["agreement_real"] is None
    assert one["ms_ssim"] is None
    assert none["n"] == 0
    assert none["agreement"] is none["copies"] is None
    assert "no agreement of real images: every judge was trained on them" in two["notes"]
    assert "no C_T: it needs holdout=" in one["notes"]
    assert "fewer than 10 images: nothing is sure" in two["notes"]
    for row in found.table:
        assert all(not isinstance(value, float) or np.isfinite(value) for value in row.values())


def test_most_images_of_small_classes_make_it_doubtful(train: RawView, digits: tuple[Arrays, Arrays]) -> None:
    images, labels = digits[1]
    found = audited(train, images[labels >= 8], labels[labels >= 8])
    assert found.verdict == "doubtful"
    assert "they are 100% of the pool" in found.warnings[0]


def test_the_same_twice(digits: tuple[Arrays, Arrays]) -> None:
    (images, labels), held = digits
    pool, data = SyntheticPool.from_arrays(*held), Pairs(images, labels)
    one, other = (audit(pool, data, steps=5, seed=3, progress=False).to_json() for _ in range(2))
    assert one == other


# -- a given extractor ------------------------------------------------------------------------------------------------


def test_a_judge_of_the_training_split_is_told(digits: tuple[Arrays, Arrays], train: RawView) -> None:
    judge = TrainedExtractor.fit(train, steps=60, progress=False)
    found = audited(train, *digits[1], extractor=judge)
    assert any("the extractor was trained on 401 of the 401 training images" in told for told in found.warnings)
    assert found.table[0]["precision_real"] is None
    images, labels = digits[1]
    beside = audited(train, images[::2], labels[::2], extractor=judge, holdout=Pairs(images[1::2], labels[1::2]))
    assert not any("was trained on" in told for told in beside.warnings)
    assert beside.table[0]["precision_real"] is not None
    assert beside.verdict == "good", beside.summary()


def test_the_judge_that_selected_is_told() -> None:
    data = Pictures()
    judge = untrained_judge()
    selector = CentroidSelector(judge)
    with pytest.warns(SmallClassWarning):
        pool = SyntheticPool.build(toy_synthesizer(), data, selector, progress=False).candidates()
    found = audit(pool, data, extractor=judge, progress=False)
    assert any("is the judge that selected this pool" in told for told in found.warnings)
    other = audit(pool, data, steps=3, progress=False)
    assert not any("is the judge that selected" in told for told in other.warnings)


class Means:
    """An extractor without classes: the mean of each row of pixels."""

    fingerprint = "means"

    def extract(self, images: torch.Tensor) -> Features:
        return Features(images.flatten(1).reshape(len(images), 8, -1).mean(2).numpy())


def test_an_extractor_without_classes(digits: tuple[Arrays, Arrays], train: RawView) -> None:
    found = audited(train, *digits[1], extractor=Means())
    assert found.verdict == "good", found.summary()
    assert found.table[0]["agreement"] is None
    assert "labels were not checked" in found.warnings[1]


# -- forms ------------------------------------------------------------------------------------------------------------


def test_volumes_in_colour_and_grey_pools() -> None:
    volumes = np.random.default_rng(0).random((40, 1, 8, 9, 8)).astype(np.float32)
    labels = np.arange(40) % 2
    data = TensorDataset(torch.from_numpy(volumes), torch.from_numpy(labels))
    found = audit(
        SyntheticPool.from_arrays(volumes, labels),
        data,
        extractor=untrained_judge(1, (8, 10, 8), 2),
        progress=False,
    )
    assert "copies" in found.problems
    assert 0 < found.table[0]["ms_ssim"] < 1
    colour = Pairs(np.repeat((volumes[:, 0, :, :8] * 255).astype(np.uint8)[..., :1], 3, axis=3)[:, :8], labels)
    grey = SyntheticPool.from_arrays(colour.images[..., 0], labels)
    assert "copies" in audit(grey, colour, steps=2, progress=False).problems


def test_groups_stay_whole() -> None:
    targets = np.repeat([0, 1, 2], [40, 20, 2])
    groups = np.concatenate([np.repeat(range(10), 4), np.repeat(range(10, 15), 4), [99, 99]])
    fold = folds(targets, groups)
    assert all(len(set(fold[groups == group])) == 1 for group in groups)
    assert set(fold[:60]) == {0, 1, 2}
    assert fold[60:].tolist() == [-1, -1]
    assert min(np.bincount(fold[:40], minlength=3)) >= 8


def test_folds_are_even_in_each_class() -> None:
    targets = np.repeat([0, 1, 2, 3], [30, 7, 3, 2])
    fold = folds(targets)
    counts = [np.bincount(fold[(targets == label) & (fold >= 0)], minlength=3) for label in range(4)]
    assert [count.tolist() for count in counts[:1]] == [[10, 10, 10]]
    assert counts[1].max() - counts[1].min() == 1
    assert counts[2].tolist() == [1, 1, 1]
    assert counts[3].sum() == 0


def test_what_cannot_be_audited(digits: tuple[Arrays, Arrays]) -> None:
    (images, labels), held = digits
    data, pool = Pairs(images, labels), SyntheticPool.from_arrays(*held)
    with pytest.raises(ConfigError, match="expected a SyntheticPool, found ndarray"):
        audit(held[0], data, progress=False)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="found an empty one"):
        audit(pool.rejected(), data, progress=False)
    with pytest.raises(DataError, match=r"dtype uint8 against float32"):
        audit(SyntheticPool.from_arrays(held[0].astype(np.float32), held[1]), data, progress=False)
    with pytest.raises(DataError, match=r"shape \(8, 8\) against \(9, 8\)"):
        audit(SyntheticPool.from_arrays(np.pad(held[0], ((0, 0), (0, 1), (0, 0))), held[1]), data, progress=False)
    with pytest.raises(DataError, match="found 10, 11, 12"):
        audit(SyntheticPool.from_arrays(held[0], held[1] + 3), data, progress=False)
    with pytest.raises(DataError, match=r"no images shared between the training data and holdout="):
        audit(pool, data, holdout=Pairs(images[:50], labels[:50]), progress=False)
    with pytest.raises(ConfigError, match="expected an extractor"):
        audit(pool, data, extractor=TrainedExtractor, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="steps of at least 1"):
        audit(pool, data, steps=0, progress=False)


# -- a larger set -----------------------------------------------------------------------------------------------------


def read_idx(name: str) -> npt.NDArray[np.uint8]:
    data = gzip.decompress((FASHION / f"{name}.gz").read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data[4 + 4 * data[3] :], np.uint8).reshape(shape)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not FASHION.exists(), reason=f"needs Fashion-MNIST (Debian's dataset-fashion-mnist) in {FASHION}")
def test_fashion_mnist_with_a_long_tail() -> None:
    images, targets = read_idx("t10k-images-idx3-ubyte"), read_idx("t10k-labels-idx1-ubyte").astype(np.int64)
    counts = np.round(300 * 50 ** (-np.arange(10) / 9)).astype(int)
    learned, held = split(images, targets, counts, 60)
    view = RawView(Pairs(*learned), progress=False)
    passed = audit(SyntheticPool.from_arrays(*held), view, steps=150, progress=False)
    assert passed.verdict == "good", passed.summary()
    faulty = some_copies(learned, (held[0], np.where(held[1] == 1, 3, np.where(held[1] == 3, 1, held[1]))), 0.1, True)
    found = audit(SyntheticPool.from_arrays(*faulty), view, steps=150, progress=False)
    assert found.problems == {"copies", "labels", "too few to tell"}, found.summary()
