"""Extras of items: source, weight, soft labels; and the report."""

import json
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from gan_augment.balance import Balance
from gan_augment.dataset import Extras, GANAugmentedDataset, PhaseOut
from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from tests.helpers import Pictures, toy_judge, toy_synthesizer

COUNTS = (30, 22, 20)


def augmented(kind: str = "tensor", extras: Any = None, **settings: Any) -> GANAugmentedDataset:
    base = Pictures(COUNTS, kind)
    pool = SyntheticPool.build(toy_synthesizer(), base, progress=False)
    return GANAugmentedDataset(base, pool, extras=extras, progress=False, **settings)


def test_source_and_weight_in_tuples_and_dicts() -> None:
    extras = Extras(source=True, weight=True, synthetic_weight=0.25)
    for kind in ("tensor", "dict"):
        train = augmented(kind, extras)
        for index in range(len(train)):
            item, synthetic = train[index], train.origin(index).kind == "synthetic"
            source, weight = (item["source"], item["weight"]) if kind == "dict" else item[2:]
            assert (type(source), source) == (int, int(synthetic))
            assert (type(weight), weight) == (np.float32, 0.25 if synthetic else 1.0)
    batch = next(iter(DataLoader(train, batch_size=len(train))))
    assert batch["source"].dtype == torch.int64
    assert batch["weight"].dtype == torch.float32
    assert 0 < batch["source"].sum() < 18


def test_items_of_the_base_are_left_as_they_are() -> None:
    items = [{"image": np.full((8, 8), 9 * i, np.uint8), "label": i % 2} for i in range(9)]
    train = GANAugmentedDataset(items, None, synthetic_share=0, extras=Extras(source=True), progress=False)
    assert train[0]["source"] == 0
    assert set(items[0]) == {"image", "label"}


def test_soft_labels_are_the_judges() -> None:
    base = Pictures(COUNTS)
    judge = toy_judge(base)
    train = augmented(extras=Extras(soft_label=judge))
    assert train.pool is not None
    drawn = [index for index in range(len(train)) if train.origin(index).kind == "synthetic"]
    for index in drawn:
        row = train.origin(index).row
        assert row is not None
        expected = judge.extract(train.pool.images([row])).probs
        assert expected is not None
        np.testing.assert_allclose(train[index][2].numpy(), expected[0], atol=1e-5)
    assert train[0][2].tolist() == [1, 0, 0]
    batch = next(iter(DataLoader(train, batch_size=len(train))))
    assert batch[2].shape == (90, 3)
    np.testing.assert_allclose(batch[2].sum(1), 1, atol=1e-5)


def test_the_judge_does_not_travel_into_workers() -> None:
    import pickle

    train = augmented(extras=Extras(soft_label=toy_judge(Pictures(COUNTS))))
    assert len(pickle.dumps(train)) < len(pickle.dumps(augmented())) + 30_000


Pair = namedtuple("Pair", "image label")


class Named(Dataset[Any]):
    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Any:
        return Pair(np.full((8, 8), index, np.uint8), int(index > 5))


def test_extras_that_have_no_place() -> None:
    train = GANAugmentedDataset(Named(), None, synthetic_share=0, extras=Extras(source=True), progress=False)
    with pytest.raises(ConfigError, match="named tuple Pair"):
        train[0]
    items = [{"image": np.full((8, 8), i, np.uint8), "label": i % 2, "source": "here"} for i in range(9)]
    train = GANAugmentedDataset(items, None, synthetic_share=0, extras=Extras(source=True), progress=False)
    with pytest.raises(ConfigError, match="without the keys source"):
        train[0]
    with pytest.raises(ConfigError, match="synthetic_weight"):
        Extras(synthetic_weight=-1)
    extras = Extras(soft_label=toy_judge(Pictures(COUNTS)))
    with pytest.raises(ConfigError, match="a pool for soft labels"):
        GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), live=True, extras=extras, progress=False)
    without = GANAugmentedDataset(Pictures(COUNTS), None, synthetic_share=0, extras=extras, progress=False)
    assert without[len(without) - 1][2].tolist() == [0, 0, 1]


def test_the_report_tells_what_was_resolved() -> None:
    train = augmented(sampling_strategy=Balance(max_ratio=0.3), schedule=PhaseOut(epochs=10, until=0.5))
    report = train.report()
    assert [(row.name, row.real, row.slots, row.total) for row in report.classes] == [
        ("0", 30, 0, 30),
        ("1", 22, 6, 28),
        ("2", 20, 6, 26),
    ]
    assert [row.synthetic for row in report.classes] == [0, 3, 3]
    assert report.classes[1].available == train.pool.counts[1]  # type: ignore[union-attr]
    assert sum(row.share for row in report.classes) == pytest.approx(1)
    text = str(report).splitlines()
    assert "max_ratio=0.3" in text[0]
    assert text[3].split() == ["1", "22", "6", "3", str(report.classes[1].available), "28", "33.3%"]
    assert json.loads(json.dumps(report.to_json()))["epoch"] == 0
    train.set_epoch(7)
    assert [row.synthetic for row in train.report().classes] == [0, 0, 0]


def test_the_report_names_classes_that_repeat_reals() -> None:
    base = Pictures((30, 20, 5))
    pool = SyntheticPool.from_arrays(np.random.default_rng(0).random((21, 1, 8, 8)).astype(np.float32), [1] * 21)
    with pytest.warns(UserWarning, match="class 2 has 5 real images and 0 kept"):
        report = GANAugmentedDataset(base, pool, progress=False).report()
    assert [row.note for row in report.classes] == ["", "", "repeats reals"]
    assert [row.synthetic for row in report.classes] == [0, 5, 0]
