"""Every way of loading: samplers, splits, several processes, other libraries' loaders and training loops."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, WeightedRandomSampler, default_collate, random_split

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from tests.helpers import Pictures, run_python, toy_synthesizer

COUNTS = (60, 25, 22)


def augmented(base: Any = None, **settings: Any) -> GANAugmentedDataset:
    base = Pictures(COUNTS) if base is None else base
    return GANAugmentedDataset(
        base, SyntheticPool.build(toy_synthesizer(), base, progress=False), progress=False, **settings
    )


class Together(Pictures):
    """A base that reads batches."""

    def __init__(self) -> None:
        super().__init__(COUNTS)
        self.asked: list[list[int]] = []

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked.append(indices)
        return [self[i] for i in indices]


def test_batches_are_asked_for_at_once() -> None:
    base = Together()
    train = augmented(base)
    base.asked.clear()
    order = [3, 150, 0, 120, 179, 59, -1]
    items = train.__getitems__(order)
    assert all(same(item, train[index]) for item, index in zip(items, order, strict=True))
    reals = [index for index in order if train.origin(index).index is not None]
    assert base.asked == [[train.origin(index).index for index in reals]]
    base.asked.clear()
    assert all(same(item, base[i]) for i, item in enumerate(train.__getitems__([0, 1, 2])))
    assert base.asked == [[0, 1, 2]]
    with pytest.raises(IndexError):
        train.__getitems__([0, 180])
    assert train.__getitems__([]) == []
    assert same(train.__getitems__(torch.tensor([0, 170])), [train[0], train[170]])
    assert same(train.__getitems__(np.array([0, 170])), [train[np.int64(0)], train[np.int64(170)]])


def test_subsets_and_splits() -> None:
    train = augmented()
    part = Subset(train, range(100, 140))
    assert same(part.__getitems__([3, 20]), [train[103], train[120]])
    one, two = random_split(train, [0.25, 0.75], generator=torch.Generator().manual_seed(0))
    assert (len(one), len(two)) == (45, 135)
    loaded = sum(len(labels) for _, labels in DataLoader(two, batch_size=32))
    assert loaded == 135


def test_a_weighted_sampler() -> None:
    train = augmented()
    weights = torch.from_numpy(np.where(train.targets == 2, 1.0, 0.0))
    labels = [
        label
        for _, batch in DataLoader(train, batch_size=20, sampler=WeightedRandomSampler(weights, 60))
        for label in batch
    ]
    assert {int(label) for label in labels} == {2}


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
def test_a_stateful_loader_goes_on_where_it_was() -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    train = augmented()
    assert not hasattr(train, "state_dict")  # or it would be asked for its state at each step

    def loader() -> Any:
        return StatefulDataLoader(train, batch_size=30, shuffle=True, generator=torch.Generator().manual_seed(3))

    whole = list(loader())
    first = loader()
    iterator = iter(first)
    for _ in range(2):
        next(iterator)
    state = first.state_dict()
    again = loader()
    again.load_state_dict(state)
    assert same(list(again), whole[2:])


RANK = """
import sys, numpy as np, torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler
from tests.dataset.test_loaders import augmented
dist.init_process_group("gloo", init_method=sys.argv[1], rank=int(sys.argv[2]), world_size=2)
train = augmented()
sampler = DistributedSampler(train, shuffle=True, seed=5)
seen = []
for epoch in range(2):
    sampler.set_epoch(epoch); train.set_epoch(epoch)
    loader = DataLoader(train, 30, False, sampler)
    sums = [(images.double().sum().item(), labels.sum().item()) for images, labels in loader]
    seen.append(sums)
    checks = [None, None]
    dist.all_gather_object(checks, [train.origin(i) for i in range(len(train))])
    assert checks[0] == checks[1]
whole = [None, None]
dist.all_gather_object(whole, seen)
if dist.get_rank() == 0:
    for epoch in range(2):
        train.set_epoch(epoch)
        expected = sum(train[i][0].double().sum().item() for i in range(len(train)))
        found = sum(total for rank in whole for total, _ in rank[epoch])
        assert abs(found - expected) < 1e-6 * expected, (found, expected)
    print("agreed")
dist.destroy_process_group()
"""


def test_two_processes_share_an_epoch_between_them(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    meeting = f"file://{tmp_path / 'meeting'}"
    with ThreadPoolExecutor() as ranks:
        done = list(ranks.map(lambda rank: run_python(RANK, meeting, rank), range(2)))
    assert [run.returncode for run in done] == [0, 0], done[0].stderr + done[1].stderr
    assert "agreed" in done[0].stdout


# -- other libraries' training loops ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_on_it(tmp_path: Path) -> None:
    import lightning

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(64, 3)
            self.seen: Counter[int] = Counter()

        def training_step(self, batch: Any, index: int) -> Any:
            self.seen.update(batch[1].tolist())
            return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    train, model = augmented(), Model()
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(model, DataLoader(train, batch_size=30, shuffle=True))
    assert model.seen == {0: 120, 1: 120, 2: 120}


@pytest.mark.filterwarnings("ignore")
def test_accelerate_prepares_its_loader() -> None:
    code = """
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from tests.dataset.test_loaders import augmented
train = augmented()
loader = Accelerator(cpu=True).prepare(DataLoader(train, batch_size=30, shuffle=True))
labels = torch.cat([labels for _, labels in loader])
print(torch.bincount(labels).tolist())
"""
    done = run_python(code)
    assert done.stdout.strip() == "[60, 60, 60]", done.stderr


def test_it_names_no_generator() -> None:
    """Accelerate takes an attribute of that name for a torch.Generator."""
    assert not hasattr(augmented(), "generator")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_persistent_workers_of_every_start_method(method: str) -> None:
    train = augmented()
    loader = DataLoader(train, batch_size=30, num_workers=2, persistent_workers=True, multiprocessing_context=method)
    for epoch in range(3):
        train.set_epoch(epoch)
        expected = [default_collate([train[i] for i in range(start, start + 30)]) for start in range(0, 180, 30)]
        assert same(list(loader), expected)


class Rows(Dataset[Any]):
    """Only what the wrapper needs of a base: a length and items."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        if index >= 40:
            raise IndexError(index)
        return np.full((8, 8), index, np.uint8), int(index >= 30)


def test_it_can_be_iterated_as_any_sequence() -> None:
    train = GANAugmentedDataset(Rows(), None, synthetic_share=0, progress=False)
    assert len(list(train)) == len(train) == 60
    assert sys.getrefcount(train) < 10
