"""Streams: reals in their order, synthetic items let in until the wanted shares are met."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gan_augment.dataset import GANAugmentedIterableDataset
from gan_augment.errors import ConfigError, DataError
from gan_augment.items import same
from gan_augment.pool import SyntheticPool

CLASSES = ["cat", "dog", "owl"]
POOL = SyntheticPool.from_arrays(
    np.arange(90, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2) + 150, ["cat", "dog", "owl"] * 30
)


class Stream(IterableDataset[Any]):
    """A stream that splits itself among workers, as streams must."""

    def __init__(self, labels: list[Any], make: Any = None) -> None:
        self.labels, self.make = labels, make

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        at, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number in range(at, len(self.labels), step):
            image, label = np.full((8, 8), number % 100, np.uint8), self.labels[number]
            yield (image, label) if self.make is None else self.make(image, label)


def labels_of(counts: tuple[int, ...], seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).permutation(np.repeat(range(len(counts)), counts)).tolist()


def is_synthetic(item: Any) -> bool:
    return bool(item[0].min() >= 150)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.tuples(*[st.integers(0, 60)] * 3).filter(any),
    shares=st.tuples(*[st.floats(0.05, 1)] * 3),
    seed=st.integers(0, 9),
)
def test_shares_are_met_and_reals_stay_in_order(counts: Any, shares: Any, seed: int) -> None:
    labels = labels_of(counts, seed)
    for known in (None, counts):
        train = GANAugmentedIterableDataset(Stream(labels), POOL, class_shares=shares, counts=known)
        items = list(train)
        reals = [item for item in items if not is_synthetic(item)]
        assert same(reals, list(Stream(labels)))
        added = np.bincount([label for image, label in items if image.min() >= 150], minlength=3)
        seen = np.cumsum(np.eye(3)[labels], axis=0) if known is None else np.array([counts])
        w = train.class_shares
        missing = np.max([w * (real / w).max() - real for real in seen], axis=0).clip(min=0)
        assert added.tolist() == np.floor(missing + 1e-9).tolist()
        for image, label in items:
            if image.min() >= 150:
                assert (int(image[0, 0]) - 150) % 3 == label


def test_shares_are_met_all_along() -> None:
    items = list(GANAugmentedIterableDataset(Stream(labels_of((80, 15, 5))), POOL, counts=(80, 15, 5)))
    assert Counter(label for _, label in items) == {0: 80, 1: 80, 2: 80}
    for upto in range(40, len(items), 10):
        found = np.bincount([label for _, label in items[:upto]], minlength=3)
        assert found.max() - found.min() <= 14  # what the order of the reals itself does


def test_caps_shares_by_name_and_repeats() -> None:
    labels = labels_of((60, 20, 10))
    known = {"cat": 60, "dog": 20, "owl": 10}
    capped = list(GANAugmentedIterableDataset(Stream(labels), POOL, max_ratio=1, counts=known))
    assert Counter(label for _, label in capped) == {0: 60, 1: 40, 2: 20}
    shares = {"cat": 2, "dog": 2, 2: 1}
    named = GANAugmentedIterableDataset(Stream(labels), POOL, class_shares=shares, counts=known)
    assert Counter(label for _, label in named) == {0: 60, 1: 60, 2: 30}
    none = list(GANAugmentedIterableDataset(Stream(labels), POOL, synthetic_share=0, counts=known))
    assert not any(map(is_synthetic, none))
    assert Counter(label for _, label in none) == {0: 60, 1: 60, 2: 60}
    half = list(GANAugmentedIterableDataset(Stream(labels), POOL, synthetic_share=0.5, counts=known))
    assert 25 < sum(map(is_synthetic, half)) < 65


def test_epochs_and_seeds() -> None:
    train = GANAugmentedIterableDataset(Stream(labels_of((40, 10, 5))), POOL)
    first = list(train)
    assert same(list(train), first)
    train.set_epoch(1)
    assert not same(list(train), first)
    assert not same(list(GANAugmentedIterableDataset(Stream(labels_of((40, 10, 5))), POOL, seed=1)), first)
    told = []
    base = Stream([0])
    base.set_epoch = told.append  # type: ignore[attr-defined]
    GANAugmentedIterableDataset(base, POOL).set_epoch(3)
    assert told == [3]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_real_workers(method: str) -> None:
    train = GANAugmentedIterableDataset(Stream(labels_of((60, 12, 8))), POOL, counts=(60, 12, 8))
    loader = DataLoader(train, batch_size=16, num_workers=2, multiprocessing_context=method, persistent_workers=True)
    runs = []
    for epoch in (0, 1, 0):
        train.set_epoch(epoch)
        runs.append(list(loader))
    labels = torch.cat([labels for _, labels in runs[0]])
    found = torch.bincount(labels)
    assert found.max() - found.min() <= 4  # each worker rounds on its own
    assert same(runs[0], runs[2])
    assert not same(runs[0], runs[1])


MADE: dict[str, Any] = {
    "tensor": lambda image, label: (torch.from_numpy(image), torch.tensor(label)),
    "dict": lambda image, label: {"image": image, "label": np.array([label])},
    "names": lambda image, label: (image, CLASSES[label]),
    "int32": lambda image, label: (image, np.int32(label)),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_items_are_twins(make: Any) -> None:
    items = list(GANAugmentedIterableDataset(Stream(labels_of((20, 5, 2)), make), POOL, counts=(20, 5, 2)))
    assert len(items) == 60
    key: Any = "label" if isinstance(items[0], dict) else 1
    for item in items:
        assert type(item[key]) is type(items[0][key])
        assert getattr(item[key], "dtype", None) == getattr(items[0][key], "dtype", None)
    torch.utils.data.default_collate(items)


def test_a_transform_makes_the_streams_images() -> None:
    def to_float(image: Any) -> torch.Tensor:
        return torch.from_numpy(image.astype(np.float32) / 255)[None]

    base = Stream(labels_of((20, 5, 2)), lambda image, label: (to_float(image), label))
    with pytest.raises(DataError, match=r"dtype float32 against uint8.*"):
        list(GANAugmentedIterableDataset(base, POOL))
    items = list(GANAugmentedIterableDataset(base, POOL, transform=to_float))
    assert all(image.shape == (1, 8, 8) for image, _ in items)


def test_other_parts_need_a_filling() -> None:
    base = Stream(labels_of((20, 5, 2)), lambda image, label: {"image": image, "label": label, "id": "p1"})
    with pytest.raises(ConfigError, match=r"fill= with a value for each other part of an item \('id'\)"):
        list(GANAugmentedIterableDataset(base, POOL))
    items = list(GANAugmentedIterableDataset(base, POOL, fill={"id": "synthetic"}))
    assert {item["id"] for item in items} == {"p1", "synthetic"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"class_shares": [1, 2]}, "class_shares= of at least 0 for 3 classes"),
        ({"class_shares": [1, -2, 1]}, "class_shares="),
        ({"class_shares": {"bird": 1}}, "one of the classes cat, dog, owl"),
        ({"synthetic_share": 2}, "synthetic_share from 0 to 1"),
        ({"max_ratio": -1}, "max_ratio"),
        ({"memory": -1}, "memory="),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        GANAugmentedIterableDataset(Stream([0]), POOL, **settings)


def test_what_is_no_stream() -> None:
    with pytest.raises(ConfigError, match="starts anew each epoch"):
        GANAugmentedIterableDataset(iter([1]), POOL)
    with pytest.raises(ConfigError, match="expected a SyntheticPool"):
        GANAugmentedIterableDataset(Stream([0]), "pool")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="found 7; give classes="):
        list(GANAugmentedIterableDataset(Stream([7]), POOL))
    with pytest.raises(TypeError):
        len(GANAugmentedIterableDataset(Stream([0]), POOL))  # type: ignore[arg-type]


def test_a_hugging_face_stream() -> None:
    import datasets

    def rows() -> Iterator[Any]:
        for label in labels_of((30, 8, 4)):
            yield {"image": Image.fromarray(np.full((8, 8), label, np.uint8)), "label": label}

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    base = datasets.IterableDataset.from_generator(rows, features=features)
    items = list(GANAugmentedIterableDataset(base, POOL, counts=(30, 8, 4)))
    assert Counter(item["label"] for item in items) == {0: 30, 1: 30, 2: 30}
    assert {item["image"].mode for item in items} == {"L"}
