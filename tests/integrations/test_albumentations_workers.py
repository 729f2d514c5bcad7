"""The transforms for albumentations in a DataLoader's workers: each draws differently, in each epoch, reproducibly."""

from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from gan_augment.integrations.albumentations import SynthesizeSameClass, SyntheticReference
from gan_augment.pool import SyntheticPool

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
"""Python tells of forks in a process with threads, which torch has."""

METHODS = [
    "fork",
    pytest.param("spawn", marks=pytest.mark.slow),
    pytest.param("forkserver", marks=pytest.mark.slow),
]
ITEMS, PER_CLASS = 64, 120


class Numbered(Dataset[Any]):
    """Items of label 0, as a user's own dataset has them; yields which image of the pool came, 0 for the item's own."""

    def __init__(self, transform: Any, key: str = "image") -> None:
        self.transform, self.key = transform, key

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> int:
        found = self.transform(image=np.zeros((4, 4), np.uint8), label=0)
        image = found["image"] if self.key == "image" else found[self.key][0]
        return int(image.max())


def pool() -> SyntheticPool:
    """Images of which each has a value of its own, from 1."""
    values = np.arange(1, PER_CLASS + 1, dtype=np.uint8).reshape(-1, 1, 1)
    return SyntheticPool.from_arrays(np.broadcast_to(values, (PER_CLASS, 4, 4)).copy(), [0] * PER_CLASS)


def epochs(dataset: Dataset[Any], method: str = "fork", count: int = 2, **settings: Any) -> list[list[list[int]]]:
    """What each of two workers drew in each epoch."""
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context=method, **settings)
    found = []
    for _ in range(count):
        batches = [batch.tolist() for batch in loader]  # worker 0, worker 1, worker 0 ...
        found.append([[value for batch in batches[worker::2] for value in batch] for worker in range(2)])
    return found


def all_differ(runs: list[list[list[int]]]) -> bool:
    """Whether neither images nor which items are replaced agree between any two workers and epochs."""
    streams = [stream for run in runs for stream in run]
    images, places = ({tuple(stream) for stream in streams}, {tuple(v > 0 for v in stream) for stream in streams})
    return len(images) == len(places) == len(streams)


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_worker_and_epoch_draws_differently(method: str, persistent: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pool().save(tmp_path / "pool")
    pipeline = A.Compose([SynthesizeSameClass(tmp_path / "pool", p=0.5), A.HorizontalFlip()], seed=7)
    assert all_differ(epochs(Numbered(pipeline), method, persistent_workers=persistent))


@pytest.mark.parametrize("persistent", [False, True])
def test_the_loaders_seed_makes_it_reproducible(persistent: bool) -> None:
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        pipeline = A.Compose([SynthesizeSameClass(pool(), p=0.5)], seed=7)
        runs.append(epochs(Numbered(pipeline), persistent_workers=persistent))
    assert runs[0] == runs[1] != runs[2]


def test_a_pipeline_without_a_seed_follows_the_loaders() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(epochs(Numbered(A.Compose([SynthesizeSameClass(pool(), p=0.5)]))))
    assert all_differ(runs[0])
    assert runs[0] == runs[1]


def test_a_transform_alone_and_one_deep_in_a_pipeline_draw_differently() -> None:
    torch.manual_seed(0)
    assert all_differ(epochs(Numbered(SynthesizeSameClass(pool(), p=0.5))))
    nested = A.Compose([A.Sequential([SynthesizeSameClass(pool(), p=0.5)], p=1.0)])
    assert all_differ(epochs(Numbered(nested)))


def test_references_differ_too() -> None:
    torch.manual_seed(0)
    runs = epochs(Numbered(A.Compose([SyntheticReference(pool(), "FDA")], seed=1), "fda_metadata"))
    streams = [tuple(stream) for run in runs for stream in run]
    assert len(set(streams)) == 4


def test_the_main_process_draws_by_the_pipelines_seed_alone() -> None:
    runs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        dataset = Numbered(A.Compose([SynthesizeSameClass(pool(), p=0.5)], seed=7))
        runs.append([dataset[index] for index in range(ITEMS)])
    assert runs[0] == runs[1]


class Reseeding(Numbered):
    """Seeds its pipeline for each item, so that items do not depend on the worker that makes them."""

    def __getitem__(self, index: int) -> int:
        self.transform.set_random_seed(index)
        return super().__getitem__(index)


def test_a_seed_that_a_worker_sets_itself_is_kept() -> None:
    if A.__version__ != "2.0.8":
        pytest.skip("later releases add the worker's own seed to any that is set")
    dataset = Reseeding(A.Compose([SynthesizeSameClass(pool(), p=0.5)]))
    alone = [dataset[index] for index in range(ITEMS)]
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context="fork")
    assert [value for batch in loader for value in batch.tolist()] == alone
