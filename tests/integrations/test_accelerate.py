"""accelerate's loaders over rebalanced datasets: epochs, several processes, dispatching, going on within an epoch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, DataLoaderConfiguration, skip_first_batches
from accelerate.state import AcceleratorState, GradientState, PartialState
from torch.utils.data import DataLoader, IterableDataset

from gan_augment.dataset import GANAugmentedDataset, GANAugmentedIterableDataset, PhaseOut
from gan_augment.dataset.loaders import augmented_within
from gan_augment.items import same
from tests.helpers import ROOT, Pictures
from tests.transforms.sources import marked_pool

COUNTS = (30, 10, 8)
LENGTH = 90


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.items = Pictures(COUNTS)

    def __iter__(self) -> Any:
        return (self.items[i] for i in range(len(self.items)))


def augmented(**settings: Any) -> GANAugmentedDataset:
    return GANAugmentedDataset(Pictures(COUNTS), marked_pool(), progress=False, min_images=1, **settings)


def streamed(**settings: Any) -> GANAugmentedIterableDataset:
    return GANAugmentedIterableDataset(Stream(), marked_pool(), counts=COUNTS, synthetic_share=0.5, **settings)


@pytest.fixture(autouse=True)
def _fresh_states() -> Any:
    """accelerate keeps one state a process."""
    yield
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    PartialState._reset_state()


def prepared(loader: Any, **settings: Any) -> Any:
    return Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**settings)).prepare(loader)


def sums(loader: Any) -> list[float]:
    return [image.double().sum().item() for images, _ in loader for image in images]


def expected(dataset: Any, epoch: int) -> list[float]:
    dataset.set_epoch(epoch)
    return [image.double().sum().item() for image, _ in dataset]


@pytest.mark.parametrize("seedable", [False, True])
def test_a_prepared_loader_gives_every_item_once(seedable: bool) -> None:
    train = augmented()
    loader = prepared(DataLoader(train, batch_size=20, shuffle=True), use_seedable_sampler=seedable)
    labels = torch.cat([labels for _, labels in loader])
    assert labels.bincount().tolist() == [30, 30, 30]
    assert sorted(sums(loader)) == pytest.approx(sorted(expected(train, train.epoch)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seedable", [False, True])
@pytest.mark.parametrize("dispatch", [False, True])
def test_the_epoch_is_told_to_loader_and_dataset(dispatch: bool, seedable: bool, workers: int) -> None:
    train = augmented()
    made = DataLoader(train, 45, shuffle=seedable, num_workers=workers, persistent_workers=workers > 0)
    loader = prepared(made, dispatch_batches=dispatch, use_seedable_sampler=seedable)
    seen = []
    for epoch in (3, 4):
        loader.set_epoch(epoch)
        train.set_epoch(epoch)
        seen.append(sums(loader))
    for epoch, found in zip((3, 4), seen, strict=True):
        assert sorted(found) == pytest.approx(sorted(expected(train, epoch)))
    assert seen[0] != seen[1]


def test_a_loader_that_is_not_told_counts_by_itself() -> None:
    """Why the loader must be told too: at its first pass it says 0."""
    train = augmented()
    loader = prepared(DataLoader(train, 45))
    train.set_epoch(5)
    assert sums(loader) == pytest.approx(expected(train, 0))
    assert sums(loader) == pytest.approx(expected(train, 1))


@pytest.mark.parametrize("dispatch", [False, True])
def test_a_stream_is_told_the_epoch(dispatch: bool) -> None:
    stream, alone = streamed(), streamed()
    loader = prepared(DataLoader(stream, 10), dispatch_batches=dispatch)
    for epoch in range(2):
        loader.set_epoch(epoch)
        found = sums(loader)
        assert found == pytest.approx(expected(alone, epoch))
        assert stream.epoch == epoch


def test_a_schedule_moves_on() -> None:
    train = augmented(synthetic_share=1.0, schedule=PhaseOut(2, until=0.5))
    loader = prepared(DataLoader(train, 45))
    shares = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        train.set_epoch(epoch)
        shares.append((train.share(), sums(loader)))
    assert [share for share, _ in shares] == [1.0, 0.0]
    assert shares[0][1] != shares[1][1]


@pytest.mark.parametrize("seedable", [False, True])
def test_an_epoch_goes_on_where_it_was(seedable: bool) -> None:
    def loader_of(train: Any) -> Any:
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(7)
        made = DataLoader(train, 10, shuffle=True, generator=generator)
        return prepared(made, use_seedable_sampler=seedable)

    def told(part: Any, loader: Any, train: Any) -> Any:
        for one in (loader, part, train):  # the loader tells its sampler, which a skipping one may hide
            one.set_epoch(2)
        return list(part)

    train, again = augmented(), augmented()
    whole, broken = loader_of(train), loader_of(again)
    assert same(told(skip_first_batches(broken, 4), broken, again), told(whole, whole, train)[4:])


def test_rebalanced_datasets_are_found_in_prepared_loaders() -> None:
    train, stream = augmented(), streamed()
    loaders = prepared(DataLoader(train, 10)), prepared(DataLoader(stream, 10)), prepared(DataLoader(Pictures(), 4))
    assert augmented_within(loaders) == [train, stream]


def rounded(totals: list[float]) -> set[float]:
    return {round(total, 3) for total in totals}


RANKS = """
import json, sys
from pathlib import Path
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from tests.integrations.test_accelerate import augmented, streamed, sums

def told(dataset, shuffle, **settings):
    config = DataLoaderConfiguration(**settings)
    accelerator.dataloader_config = config
    loader = accelerator.prepare(DataLoader(dataset, batch_size=8, shuffle=shuffle))
    seen = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        dataset.set_epoch(epoch)
        seen.append(sums(loader))
    return seen

accelerator = Accelerator(cpu=True)
set_seed(3)  # a seeded sampler wants the same seed everywhere
found = {
    "plain": told(augmented(), True),
    "seedable": told(augmented(), True, use_seedable_sampler=True),
    "dispatched": told(augmented(), False, dispatch_batches=True),
    "split": told(augmented(), False, split_batches=True),
    "uneven": told(augmented(), False, even_batches=False),
    "stream": told(streamed(), False, dispatch_batches=True),
}
Path(sys.argv[1], f"{accelerator.process_index}.json").write_text(json.dumps(found))
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_share_each_epoch_between_them(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]  # on the CPU
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        launch += ["--main_process_port", str(found.getsockname()[1])]
    done = subprocess.run(
        [*launch, script, tmp_path], capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    train, stream = augmented(), streamed()
    for epoch in range(2):
        whole = expected(train, epoch)
        for way in ("plain", "seedable", "dispatched", "split", "uneven"):
            both = ranks[0][way][epoch] + ranks[1][way][epoch]
            more = 0 if way == "uneven" else len(both) - LENGTH  # batches are filled up from the beginning
            assert 0 <= more < 16, way
            assert rounded(both) == rounded(whole), way
            assert sum(both) == pytest.approx(sum(whole)) or more, way
        both = ranks[0]["stream"][epoch] + ranks[1]["stream"][epoch]
        assert rounded(both) == rounded(expected(stream, epoch))


def test_the_example_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from docs.examples import accelerate_loop

    accelerate_loop.main(["--quick", "--out", str(tmp_path / "whole")])
    whole = capsys.readouterr().out
    assert whole.startswith("balanced accuracy ")
    for batches in ("20", "30"):
        accelerate_loop.main(["--quick", "--out", str(tmp_path / "parts"), "--stop", batches])
    assert capsys.readouterr().out == ""
    accelerate_loop.main(["--quick", "--out", str(tmp_path / "parts")])
    assert capsys.readouterr().out == whole
