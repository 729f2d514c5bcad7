"""GANAugmentedDataModule and GANAugmentCallback on Lightning's own trainer: hooks, loaders, workers, checkpoints."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
)

from gan_augment.dataset import GANAugmentedDataset, GANAugmentedIterableDataset, PhaseOut
from gan_augment.errors import ConfigError, DependencyError
from gan_augment.integrations.lightning import GANAugmentCallback, GANAugmentedDataModule
from gan_augment.items import same
from tests.helpers import ROOT, Pictures, run_python
from tests.transforms.sources import marked_pool

# What Lightning tells of small trainings on a few cores, and torch of how Lightning calls it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches .* is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:Consider setting `persistent_workers=True`"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
]

COUNTS = (30, 10, 8)
LENGTH = 90
SETTINGS: dict[str, Any] = {"progress": False, "min_images": 1}


def base(seed: int = 0) -> Pictures:
    return Pictures(COUNTS, classes=["a", "b", "c"], seed=seed)


class Data(lightning.LightningDataModule):
    """A user's data module, that notes which hooks were called."""

    def __init__(self, batch_size: int = 10, **loader: Any) -> None:
        super().__init__()
        self.save_hyperparameters("batch_size")
        self.loader, self.called = loader, []
        self.epochs_seen = 0

    def prepare_data(self) -> None:
        self.called.append("prepare_data")

    def setup(self, stage: str) -> None:
        self.called.append("setup")
        self.train, self.held_out = base(), base(seed=1)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, batch_size=self.hparams.batch_size, **self.loader)

    def val_dataloader(self) -> Any:
        return DataLoader(self.held_out, batch_size=48)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.called.append("on_after_batch_transfer")
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"epochs_seen": 7}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs_seen = state_dict["epochs_seen"]

    def teardown(self, stage: str) -> None:
        self.called.append("teardown")


class Model(lightning.LightningModule):
    """Keeps the sum of every image that it is trained on, in the order it comes, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, 3)
        self.seen: dict[int, list[float]] = {}
        self.labels: dict[int, list[int]] = {}
        self.validated = 0

    def training_step(self, batch: Any, index: int) -> Any:
        images, labels = batch
        epoch = self.current_epoch
        self.seen.setdefault(epoch, []).extend(images.double().sum((1, 2, 3)).tolist())
        self.labels.setdefault(epoch, []).extend(labels.tolist())
        return torch.nn.functional.cross_entropy(self.layer(images.flatten(1)), labels)

    def validation_step(self, batch: Any, index: int) -> None:
        self.validated += len(batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


class Dawdling(lightning.Callback):
    """Gives workers the time to load before later callbacks are called."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        time.sleep(0.5)


def trainer(folder: Path, epochs: int = 2, **settings: Any) -> Any:
    quiet: dict[str, Any] = {
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
        "num_sanity_val_steps": 0, "accelerator": "cpu", "callbacks": [GANAugmentCallback()],
    }  # fmt: skip
    return lightning.Trainer(max_epochs=epochs, default_root_dir=folder, **{**quiet, **settings})


LATE = [Dawdling(), GANAugmentCallback()]


def wrapped(data: Any = None, **settings: Any) -> GANAugmentedDataModule:
    return GANAugmentedDataModule(Data() if data is None else data, marked_pool(), **SETTINGS, **settings)


def sums(dataset: Any, epoch: int, order: Any = None) -> list[float]:
    """What a model must see of a dataset in an epoch."""
    dataset.set_epoch(epoch)
    return [dataset[i][0].double().sum().item() for i in (range(len(dataset)) if order is None else order)]


def synthetic(seen: list[float]) -> int:
    """How many images are of one value only; those of the toy pool are."""
    return sum(any(abs(total - 64 * (200 + label) / 255) < 1e-3 for label in range(3)) for total in seen)


# -- the data module --------------------------------------------------------------------------------------------------


def test_only_the_training_set_is_rebalanced(tmp_path: Path) -> None:
    data, model = wrapped(), Model()
    trainer(tmp_path).fit(model, data)
    assert [sorted(labels) for labels in model.labels.values()] == [[0] * 30 + [1] * 30 + [2] * 30] * 2
    assert model.validated == 2 * sum(COUNTS)
    assert data.augmented.base is data.train
    assert type(data.val_dataloader().dataset) is Pictures


def test_every_hook_is_that_of_the_wrapped_module(tmp_path: Path) -> None:
    inner = Data()
    trainer(tmp_path, 1, limit_train_batches=1, limit_val_batches=1).fit(Model(), datamodule=wrapped(inner))
    transferred = "on_after_batch_transfer"
    assert inner.called == ["prepare_data", "setup", transferred, transferred, "teardown"]
    assert inner.trainer is not None


def test_it_passes_for_the_wrapped_module() -> None:
    inner = Data(batch_size=12)
    data = wrapped(inner)
    assert isinstance(data, GANAugmentedDataModule)
    assert isinstance(data, Data)
    assert data.hparams is inner.hparams
    data.setup("fit")
    assert data.train is inner.train
    data.hparams.batch_size = 24  # as a tuner does
    assert data.train_dataloader().batch_size == 24
    data.note = "kept"
    assert inner.note == "kept"
    del data.note
    assert not hasattr(inner, "note")
    assert not hasattr(data, "predictions")
    assert {"train_dataloader", "augmented", "held_out"} <= set(dir(data))
    assert "GANAugmentedDataModule(Data, " in repr(data)
    assert "Train dataloader: size=90" in str(data) or lightning.__version__ < "2.5"


def test_a_hook_that_the_module_lacks_is_not_called(tmp_path: Path) -> None:
    """Lightning looks whether a method is overridden: a wrapper that has them all would have it call them."""

    class Bare(lightning.LightningDataModule):
        def train_dataloader(self) -> Any:
            return DataLoader(base(), batch_size=45)

    model = Model()
    trainer(tmp_path, 1).fit(model, wrapped(Bare()))
    assert (len(model.seen[0]), model.validated) == (LENGTH, 0)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")  # by Lightning, always
def test_loaders_that_are_set_on_a_module_are_wrapped_too(tmp_path: Path) -> None:
    inner = lightning.LightningDataModule.from_datasets(base(), base(1), batch_size=45)
    data, model = wrapped(inner), Model()
    trainer(tmp_path, 1).fit(model, data)
    assert (len(model.seen[0]), model.validated) == (LENGTH, sum(COUNTS))


def test_checkpoints_go_from_one_to_the_other(tmp_path: Path) -> None:
    first = trainer(tmp_path, 1)
    first.fit(Model(), wrapped())
    first.save_checkpoint(tmp_path / "wrapped.ckpt")
    stored = torch.load(tmp_path / "wrapped.ckpt", weights_only=False)
    assert stored["Data"] == {"epochs_seen": 7}
    assert stored["datamodule_hyper_parameters"] == {"batch_size": 10}
    plain = Data()
    trainer(tmp_path, 1, callbacks=[]).fit(Model(), plain, ckpt_path=tmp_path / "wrapped.ckpt")
    assert plain.epochs_seen == 7
    assert Data.load_from_checkpoint(tmp_path / "wrapped.ckpt").hparams.batch_size == 10


def test_it_is_made_once(tmp_path: Path) -> None:
    made = []

    class Noted(Data):
        def train_dataloader(self) -> Any:
            made.append(data.augmented)
            return super().train_dataloader()

    data = wrapped(Noted())
    trainer(tmp_path, 3, reload_dataloaders_every_n_epochs=1, limit_train_batches=1).fit(Model(), data)
    assert len(made) == 3
    assert made[0] is None
    assert made[1] is made[2] is data.augmented


def test_another_dataset_is_rebalanced_anew() -> None:
    data = wrapped()
    data.setup("fit")
    first = data.train_dataloader().dataset
    assert data.train_dataloader().dataset is first
    data.train = base(seed=3)
    assert data.train_dataloader().dataset.base is data.train


def test_a_pool_may_be_written_as_late_as_in_prepare_data(tmp_path: Path) -> None:
    class Drawing(Data):
        def prepare_data(self) -> None:
            marked_pool().save(tmp_path / "pool")

    data = GANAugmentedDataModule(Drawing(), tmp_path / "pool", **SETTINGS)
    trainer(tmp_path, 1, limit_train_batches=1).fit(Model(), data)
    assert data.augmented.pool is not None


def test_it_pickles_and_copies(tmp_path: Path) -> None:
    data = wrapped(synthetic_share=1.0)
    data.setup("fit")
    loader = data.train_dataloader()
    for other in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert isinstance(other, GANAugmentedDataModule)
        assert other.train is not data.train
        assert same(list(other.train_dataloader()), list(loader))


def test_a_pool_in_a_folder_is_not_copied_into_the_pickle(tmp_path: Path) -> None:
    marked_pool([0, 1, 2] * 2000, (1, 8, 8)).save(tmp_path / "pool")  # 1.5 MB of images
    data = GANAugmentedDataModule(Data(), tmp_path / "pool", **SETTINGS)
    data.setup("fit")
    data.train_dataloader()
    plain = len(pickle.dumps(data.datamodule))
    assert len(pickle.dumps(data)) < plain + 250_000


# -- its loaders ------------------------------------------------------------------------------------------------------


def rows(items: list[Any]) -> Any:
    return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])


def init_worker(number: int) -> None:
    pass


def test_a_loader_keeps_all_that_it_is_set_to() -> None:
    generator = torch.Generator().manual_seed(3)
    settings: dict[str, Any] = {
        "batch_size": 7, "num_workers": 2, "collate_fn": rows, "drop_last": True, "timeout": 5.0, "prefetch_factor": 3,
        "worker_init_fn": init_worker, "persistent_workers": True, "generator": generator,
        "multiprocessing_context": "spawn",
    }  # fmt: skip
    inner = Data()
    data = wrapped(inner)
    data.setup("fit")
    inner.train_dataloader = lambda: DataLoader(inner.train, shuffle=True, **settings)
    old, new = inner.train_dataloader(), data.train_dataloader()
    for name in (*settings, "pin_memory", "pin_memory_device"):
        if name != "multiprocessing_context":
            assert getattr(new, name) == getattr(old, name), name
    assert new.multiprocessing_context.get_start_method() == "spawn"
    assert type(new.sampler) is RandomSampler
    assert new.sampler.generator is generator
    assert len(new) == LENGTH // 7
    assert len(old) == sum(COUNTS) // 7


def with_loader(make: Any) -> Any:
    inner = Data()
    inner.setup("fit")
    inner.train_dataloader = lambda: make(inner.train)
    return wrapped(inner).train_dataloader()


def test_orders_are_made_anew() -> None:
    loader = with_loader(lambda data: DataLoader(data, batch_size=9))
    assert type(loader.sampler) is SequentialSampler
    assert same(list(loader), list(DataLoader(loader.dataset, batch_size=9)))
    loader = with_loader(lambda data: DataLoader(data, sampler=RandomSampler(data, True, 55), batch_size=10))
    assert sum(len(labels) for _, labels in loader) == 55
    loader = with_loader(lambda data: DataLoader(data, sampler=DistributedSampler(data, 3, 1, seed=4), batch_size=10))
    assert list(loader.sampler) == list(DistributedSampler(loader.dataset, 3, 1, seed=4))
    batches = with_loader(lambda data: DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 8, True)))
    assert [len(labels) for _, labels in batches] == [8] * 11
    singles = with_loader(lambda data: DataLoader(data, batch_size=None))
    assert len(list(singles)) == LENGTH


class Picky(BatchSampler):
    """A batch sampler of the user's own."""


def test_a_sampler_over_the_old_items_is_refused() -> None:
    weighted = WeightedRandomSampler([1.0] * sum(COUNTS), 20)
    with pytest.raises(ConfigError, match=r"WeightedRandomSampler, which chooses among the 48 items.*shuffle=True"):
        with_loader(lambda data: DataLoader(data, sampler=weighted))
    with pytest.raises(ConfigError, match="found the sampler Picky"):
        with_loader(lambda data: DataLoader(data, batch_sampler=Picky(SequentialSampler(data), 4, False)))


class Own(DataLoader[Any]):
    """A loader whose dataset is none of its arguments."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(base(), batch_size=batch_size, shuffle=True)


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_a_loader_that_lightning_makes_anew_loads_the_rebalanced_dataset(tmp_path: Path) -> None:
    """As it does to put in a sampler, here a sequential one."""
    data, model = wrapped(Data(10, shuffle=True)), Model()
    trainer(tmp_path, 1, overfit_batches=9, limit_val_batches=0).fit(model, data)
    assert model.seen[0] == pytest.approx(sums(data.augmented, 0))
    inner = Data()
    inner.train_dataloader = lambda: Own(10)
    with pytest.raises(Exception, match="it doesn't expose all its attributes"):  # rather than loading reals alone
        trainer(tmp_path, 1, overfit_batches=9, limit_val_batches=0).fit(Model(), wrapped(inner))


def test_loaders_of_other_libraries_stay_what_they_are() -> None:
    monai = pytest.importorskip("monai.data")
    loader = with_loader(lambda data: monai.DataLoader(data, batch_size=9, shuffle=True))
    assert type(loader) is monai.DataLoader
    assert sum(len(labels) for _, labels in loader) == LENGTH


def test_one_of_several_loaders_is_chosen(tmp_path: Path) -> None:
    def several(make: Any, **settings: Any) -> Any:
        inner = Data()
        inner.setup("fit")
        inner.train_dataloader = lambda: make(DataLoader(inner.train, 10), DataLoader(base(5), 4))
        return wrapped(inner, **settings).train_dataloader()

    def lengths(loaders: Any) -> list[int]:
        return [len(loader.dataset) for loader in loaders]

    assert lengths(several(lambda a, b: [a, b], loader=1)) == [48, LENGTH]
    assert lengths(several(lambda a, b: (a,))) == [LENGTH]
    assert lengths(several(lambda a, b: {"real": a, "more": b}, loader="real").values()) == [LENGTH, 48]
    combined = several(lambda a, b: CombinedLoader({"real": a, "more": b}, "min_size"), loader="real")
    assert isinstance(combined, CombinedLoader)
    assert lengths(combined.iterables.values()) == [LENGTH, 48]
    batch, _, _ = next(iter(combined))
    assert len(batch["real"][1]) == 10
    with pytest.raises(ConfigError, match="one of the training loaders, 'real', 'more', found None"):
        several(lambda a, b: {"real": a, "more": b})
    with pytest.raises(ConfigError, match=r"loader=0 to be a DataLoader, found list"):
        several(lambda a, b: [[a], b], loader=0)
    with pytest.raises(ConfigError, match="expected train_dataloader to give a DataLoader"):
        several(lambda a, b: iter(a))


class Stream(IterableDataset[Any]):
    def __init__(self, items: Any = ()) -> None:
        self.items = items

    def __iter__(self) -> Any:
        return iter([self.items[i] for i in range(len(self.items))])


def test_what_cannot_be_wrapped_is_told() -> None:
    pool = marked_pool()
    with pytest.raises(ConfigError, match=r"expected a LightningDataModule, found DataLoader"):
        GANAugmentedDataModule(DataLoader(base()), pool)
    with pytest.raises(ConfigError, match="expected a LightningDataModule, found Model"):
        GANAugmentedDataModule(Model(), pool)
    with pytest.raises(ConfigError, match="expected a SyntheticPool, a Synthesizer, or the path of one, found int"):
        GANAugmentedDataModule(Data(), 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="unexpected keyword argument 'shares'"):
        GANAugmentedDataModule(Data(), pool, shares=0.5)
    with pytest.raises(ConfigError, match="found the stream Stream"):
        with_loader(lambda data: DataLoader(Stream(data)))
    with pytest.raises(ConfigError, match="found one that is rebalanced already"):
        with_loader(lambda data: DataLoader(GANAugmentedDataset(data, pool, **SETTINGS)))


# -- epochs -----------------------------------------------------------------------------------------------------------


def test_each_epoch_has_its_own_synthetic_images(tmp_path: Path) -> None:
    data, model = wrapped(), Model()
    trainer(tmp_path, 3).fit(model, data)
    expected = [sums(data.augmented, epoch) for epoch in range(3)]
    assert [model.seen[epoch] for epoch in range(3)] == [pytest.approx(sums) for sums in expected]
    assert expected[0] != expected[1] != expected[2]


@pytest.mark.parametrize("method", [
    "fork",
    pytest.param("spawn", marks=pytest.mark.slow),
    pytest.param("forkserver", marks=pytest.mark.slow),
])  # fmt: skip
def test_workers_that_keep_running_learn_the_epoch(tmp_path: Path, method: str) -> None:
    inner = Data(45, num_workers=2, persistent_workers=True, multiprocessing_context=method)
    data, model = wrapped(inner), Model()
    trainer(tmp_path, 3).fit(model, data)
    for epoch in range(3):
        assert model.seen[epoch] == pytest.approx(sums(data.augmented, epoch))


def test_a_schedule_moves_on(tmp_path: Path) -> None:
    data, model = wrapped(synthetic_share=1.0, schedule=PhaseOut(4, until=0.5)), Model()
    trainer(tmp_path, 4).fit(model, data)
    assert [synthetic(model.seen[epoch]) for epoch in range(4)] == [42, 42, 0, 0]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_goes_on_with_the_right_epoch(tmp_path: Path, workers: int, plain: bool) -> None:
    """Also where workers began to load before any hook was called; `plain` is a loader without a data module."""

    def data() -> Any:
        if plain:  # slots are in the second batch, which workers load at once
            return DataLoader(GANAugmentedDataset(base(), marked_pool(), **SETTINGS), 45, num_workers=workers)
        return wrapped(Data(45, num_workers=workers))

    keep = ModelCheckpoint(tmp_path, save_last=True)
    trainer(tmp_path, 2, callbacks=[GANAugmentCallback(), keep], enable_checkpointing=True).fit(Model(), data())
    resumed, again = Model(), data()
    trainer(tmp_path, 4, callbacks=LATE).fit(resumed, again, ckpt_path=tmp_path / "last.ckpt")
    assert list(resumed.seen) == [2, 3]
    dataset = again.dataset if plain else again.augmented
    for epoch, seen in resumed.seen.items():
        assert seen == pytest.approx(sums(dataset, epoch))


def test_a_training_that_is_resumed_within_an_epoch_goes_on_with_it(tmp_path: Path) -> None:
    def data() -> Any:
        return DataLoader(GANAugmentedDataset(base(), marked_pool(), **SETTINGS), 30, num_workers=1)

    keep = ModelCheckpoint(tmp_path, every_n_train_steps=4, filename="within", save_top_k=1)
    first = trainer(tmp_path, 2, callbacks=[GANAugmentCallback(), keep], enable_checkpointing=True, max_steps=4)
    first.fit(Model(), data())
    resumed, loader = Model(), data()
    trainer(tmp_path, 2, callbacks=LATE).fit(resumed, loader, ckpt_path=tmp_path / "within.ckpt")
    assert resumed.seen[1] == pytest.approx(sums(loader.dataset, 1)[: len(resumed.seen[1])])
    assert len(resumed.seen[1]) >= 60  # Lightning loads from the first batch on; 2.4 all of them


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize("plain", [False, True])
def test_a_loader_that_keeps_its_own_place_is_resumed(tmp_path: Path, plain: bool) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    class Stateful(Data):
        def train_dataloader(self) -> Any:
            return StatefulDataLoader(self.train, batch_size=30, num_workers=1)

    def data() -> Any:
        if plain:  # a worker of its own would load before the epoch is known, and must not begin anew
            return StatefulDataLoader(GANAugmentedDataset(base(), marked_pool(), **SETTINGS), batch_size=30)
        return wrapped(Stateful())

    keep = ModelCheckpoint(tmp_path, every_n_train_steps=4, filename="within", save_top_k=1)
    first = trainer(tmp_path, 2, callbacks=[GANAugmentCallback(), keep], enable_checkpointing=True, max_steps=4)
    first.fit(Model(), data())
    resumed, again = Model(), data()
    trainer(tmp_path, 2, callbacks=LATE).fit(resumed, again, ckpt_path=tmp_path / "within.ckpt")
    dataset = again.dataset if plain else again.augmented
    assert resumed.seen[1] == pytest.approx(sums(dataset, 1)[-len(resumed.seen[1]) :])


def test_a_second_training_begins_with_epoch_0(tmp_path: Path) -> None:
    train = GANAugmentedDataset(base(), marked_pool(), **SETTINGS)
    loader = DataLoader(train, 45, num_workers=1)
    trainer(tmp_path, 2).fit(Model(), loader)
    assert train.epoch == 1
    model = Model()
    trainer(tmp_path, 1, callbacks=LATE).fit(model, loader)
    assert model.seen[0] == pytest.approx(sums(train, 0))


def test_datasets_are_found_where_they_lie(tmp_path: Path) -> None:
    def train() -> GANAugmentedDataset:
        return GANAugmentedDataset(base(), marked_pool(), **SETTINGS)

    one, two, three = train(), train(), train()
    stream = GANAugmentedIterableDataset(Stream(base()), marked_pool(), classes=["a", "b", "c"])
    loaders = {
        "parts": DataLoader(ConcatDataset([Subset(one, range(4)), two, base()]), 4),
        "list": [DataLoader(Subset(three, [0, 50]), 2), DataLoader(stream, 4)],
        "plain": DataLoader([(torch.zeros(1, 8, 8), 0)] * 4, 2),
    }

    class Several(Model):
        def training_step(self, batch: Any, index: int) -> Any:
            return super().training_step(batch["parts"], index)

    run = trainer(tmp_path, 3, limit_train_batches=2)
    run.fit(Several(), CombinedLoader(loaders, "max_size"))
    assert [dataset.epoch for dataset in (one, two, three, stream)] == [2, 2, 2, 2]
    assert {name for name in run.callback_metrics if name.endswith("share")} == {
        f"gan_augment/{number}/synthetic_share" for number in range(3)
    }


def test_a_stream_learns_the_epoch_in_workers(tmp_path: Path) -> None:
    def stream() -> GANAugmentedIterableDataset:
        return GANAugmentedIterableDataset(
            Stream(base()), marked_pool(), counts=COUNTS, classes=["a", "b", "c"], synthetic_share=0.5
        )

    model, streamed = Model(), stream()
    trainer(tmp_path, 2).fit(model, DataLoader(streamed, 10, num_workers=1, persistent_workers=True))
    alone = stream()
    for epoch in range(2):
        alone.set_epoch(epoch)
        expected = [
            image.double().sum().item() for images, _ in DataLoader(alone, 10, num_workers=1) for image in images
        ]
        assert model.seen[epoch] == pytest.approx(expected)


# -- logs and warnings ------------------------------------------------------------------------------------------------


def test_the_mix_is_logged_once_an_epoch(tmp_path: Path) -> None:
    data = wrapped(schedule=PhaseOut(2, until=0.5))
    logger = CSVLogger(tmp_path, name="", version="")
    run = trainer(tmp_path, 2, logger=logger, limit_train_batches=3)
    run.fit(Model(), data)
    assert run.callback_metrics["gan_augment/synthetic_share"] == 0
    assert run.callback_metrics["gan_augment/slots/c"] == 22
    heads, *lines = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().splitlines()]
    found = [dict(zip(heads, line, strict=True)) for line in lines]
    assert [float(row["gan_augment/synthetic_share"]) for row in found] == [0.5, 0]
    assert [float(row["gan_augment/slots/b"]) for row in found] == [20, 20]
    assert [float(row["gan_augment/synthetic/b"]) for row in found] == [10, 0]
    assert [(row["epoch"], row["step"]) for row in found] == [("0", "0"), ("1", "3")]
    assert "gan_augment/slots/a" not in heads


def test_logging_can_be_left_out(tmp_path: Path) -> None:
    data = wrapped()
    run = trainer(tmp_path, 2, callbacks=[GANAugmentCallback(log=False)], limit_train_batches=1)
    run.fit(Model(), data)
    assert data.augmented.epoch == 1
    assert run.callback_metrics == {}


def test_a_forgotten_callback_is_told(tmp_path: Path) -> None:
    run = trainer(tmp_path, 1, callbacks=[], limit_train_batches=1)
    with pytest.warns(UserWarning, match=r"every epoch will have the same synthetic images.*GANAugmentCallback\(\)"):
        run.fit(Model(), wrapped())


def test_a_callback_with_nothing_to_do_is_told(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="expected a GANAugmentedDataset in the training loaders"):
        trainer(tmp_path, 1, limit_train_batches=1).fit(Model(), Data())


# -- several processes, other versions --------------------------------------------------------------------------------

RANKS = """
import json, sys
from pathlib import Path
from tests.integrations.test_lightning import Data, Model, trainer, wrapped

class Telling(Model):
    def on_train_end(self):
        sampler = type(self.trainer.train_dataloader.sampler).__name__
        told = {"seen": self.seen, "sampler": sampler}
        Path(sys.argv[1], f"{self.global_rank}.json").write_text(json.dumps(told))

if __name__ == "__main__":
    data = wrapped(Data(15, shuffle=True, num_workers=int(sys.argv[2] == "ddp")))
    run = trainer(Path(sys.argv[1]), 2, devices=2, strategy=sys.argv[2], limit_val_batches=0)
    run.fit(Telling(), data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_processes_share_each_epoch_between_them(tmp_path: Path, strategy: str) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    done = subprocess.run(
        [sys.executable, script, tmp_path, strategy], capture_output=True, text=True, timeout=200, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [one["sampler"] for one in told] == ["DistributedSampler"] * 2
    train = GANAugmentedDataset(base(), marked_pool(), **SETTINGS)
    for epoch in range(2):
        both = sorted(told[0]["seen"][str(epoch)] + told[1]["seen"][str(epoch)])
        assert both == pytest.approx(sorted(sums(train, epoch)))


OTHER_NAME = """
import sys
import pytorch_lightning as pl, torch
from torch.utils.data import DataLoader
from gan_augment.integrations.lightning import GANAugmentCallback, GANAugmentedDataModule
from tests.helpers import Pictures
from tests.transforms.sources import marked_pool
assert issubclass(GANAugmentCallback, pl.Callback)
class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Pictures((30, 10, 8)), batch_size=10)
class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(64, 3), 0
    def training_step(self, batch, index):
        self.seen += len(batch[1])
        return self.layer(batch[0].flatten(1)).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)
model, data = Model(), GANAugmentedDataModule(Data(), marked_pool(), progress=False)
pl.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
           enable_model_summary=False, callbacks=GANAugmentCallback()).fit(model, data)
print(model.seen, data.augmented.epoch, "lightning" in sys.modules)
"""


@pytest.mark.slow
def test_lightning_under_its_other_name() -> None:
    pytest.importorskip("pytorch_lightning")
    done = run_python(OTHER_NAME)
    assert done.stdout.split("\n")[-2] == "180 1 False", done.stderr


@pytest.mark.parametrize("version", ["2.3.3", "3.0.0", None])
def test_an_unsupported_version_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    stub = None
    if version is not None:
        stub = ModuleType("lightning")
        stub.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lightning", stub)
    monkeypatch.delitem(sys.modules, "gan_augment.integrations.lightning")
    expected = f"found {version}; pip" if version else "found that it is not installed; pip"
    with pytest.raises(DependencyError, match=expected) as told:
        import_module("gan_augment.integrations.lightning")
    assert str(told.value).startswith("expected lightning")
    assert "pip install 'gan_augment[lightning]'" in str(told.value)


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from docs.examples import lightning_digits

    lightning_digits.main(["--quick", "--out", str(tmp_path)])
    told = capsys.readouterr().out
    assert told.startswith("389 training images, ")
    assert all(f"\n{arm}" in told for arm in ("as it is", "repeated", "half synthetic"))
