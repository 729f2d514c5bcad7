"""Lightning: a data module whose training set is rebalanced, and a callback that tells epochs and logs the mix."""

import copy
import inspect
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from gan_augment.optional import needed


def _host() -> str:
    """Returns the name of Lightning: that of the package which the user has imported, or has."""
    names = ("lightning", "pytorch_lightning")
    loaded = [name for name in names if name in sys.modules]
    found = loaded or [name for name in names if find_spec(name) is not None]
    return found[0] if found else "lightning"


_HOST = _host()
needed(_HOST, "lightning", "gan_augment.integrations.lightning", oldest="2.4", below="3")

if _HOST == "lightning":
    from lightning.pytorch import Callback, LightningDataModule
else:
    from pytorch_lightning import Callback, LightningDataModule
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch.utils.data import IterableDataset

from gan_augment.dataset import GANAugmentedDataset, GANAugmentedIterableDataset
from gan_augment.dataset.loaders import augmented_within, loader_over, order_of
from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.opened import opened_source
from gan_augment.types import Synthesizer

__all__ = ["GANAugmentCallback", "GANAugmentedDataModule"]


class GANAugmentedDataModule(LightningDataModule):  # type: ignore[misc]  # Lightning's types are not followed
    """A data module whose training set is rebalanced with synthetic images; all else is that of the one it wraps.

    `train_dataloader` gives the wrapped module's loader over a `GANAugmentedDataset` of its dataset: the same class,
    batch size, workers, collate_fn and order (shuffled, in sequence, or a DistributedSampler). Every other hook,
    attribute and hyperparameter is read from and set on the wrapped module, whose class this one also passes for: so
    checkpoints go from the one to the other, and `lightning` and `pytorch_lightning` both take it.

    The rebalanced dataset is made when the loader is asked for, after `prepare_data` and `setup`, and is kept for as
    long as the module loads the same dataset object. Give the trainer a `GANAugmentCallback`, which tells it the epoch.

    Args:
        datamodule: The module to wrap.
        source: A pool, a synthesizer, or the path of one, which may be written as late as in `prepare_data`. None
            needs `synthetic_share=0`.
        loader: Which loader to rebalance, by key or position, where `train_dataloader` gives several.
        **settings: Of `GANAugmentedDataset`: `sampling_strategy`, `synthetic_share`, `schedule`, `seed` and so on.

    Attributes:
        datamodule: The wrapped module.
        augmented: The rebalanced dataset; None until the first training loader.

    Warns:
        UserWarning: The trainer has no `GANAugmentCallback`.

    Raises:
        ConfigError: There is no data module, source or loader to work with, or the loader's sampler chooses among the
            items of the dataset as it was.
        TypeError: A setting is none of `GANAugmentedDataset`'s.

    Example:
        >>> data = GANAugmentedDataModule(SkinDataModule("data", batch_size=64), "runs/skin/pool")  # doctest: +SKIP
        >>> Trainer(callbacks=[GANAugmentCallback()]).fit(model, data)  # doctest: +SKIP
    """

    def __init__(
        self,
        datamodule: Any,
        source: SyntheticPool | Synthesizer | str | os.PathLike[str] | None,
        *,
        loader: str | int | None = None,
        **settings: Any,
    ) -> None:
        if not any(kind.__name__ == "LightningDataModule" for kind in type(datamodule).__mro__):
            raise ConfigError(
                f"expected a LightningDataModule, found {type(datamodule).__name__}; where you have none, wrap the "
                "training set: DataLoader(GANAugmentedDataset(train_set, pool), ...)"
            )
        if not isinstance(source, str | os.PathLike | None):
            opened_source(source)
        inspect.signature(GANAugmentedDataset).bind(None, source, **settings)
        # The one attribute that is not set on the wrapped module.
        object.__setattr__(self, "_mixer", _Mixer(datamodule, source, loader, settings))

    def train_dataloader(self) -> Any:
        """Returns what the wrapped module's `train_dataloader` does, its loader over the rebalanced dataset."""
        loaders = self._mixer.loaders(self.datamodule.train_dataloader())
        trainer = getattr(self.datamodule, "trainer", None)
        if trainer is not None:
            self.augmented.set_epoch(_epoch(trainer))  # workers may begin to load before any hook of a callback
            if not any(isinstance(callback, GANAugmentCallback) for callback in trainer.callbacks):
                rank_zero_warn(
                    "expected a GANAugmentCallback among the trainer's callbacks, found none: every epoch will have "
                    "the same synthetic images, and a schedule= will not move; give Trainer(callbacks="
                    "[GANAugmentCallback()])"
                )
        return loaders

    @property
    def datamodule(self) -> Any:
        """The wrapped module."""
        return self._mixer.datamodule

    @property
    def augmented(self) -> Any:
        """The rebalanced dataset; None until the first training loader."""
        return self._mixer.augmented

    def __repr__(self) -> str:
        return f"GANAugmentedDataModule({type(self.datamodule).__name__}, {self._mixer.source!r})"

    # -- passing for the wrapped module -------------------------------------------------------------------------------

    @property  # type: ignore[misc]  # a class of its own only to `type`
    def __class__(self) -> Any:
        return type(self.datamodule)

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_mixer").datamodule, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.datamodule, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.datamodule, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(self.datamodule), *_OWN})

    def __reduce__(self) -> Any:
        return _restored, (self._mixer,)


_OWN = frozenset({"augmented", "datamodule", "train_dataloader", "_mixer"})


def _restored(mixer: "_Mixer") -> GANAugmentedDataModule:
    new = object.__new__(GANAugmentedDataModule)
    object.__setattr__(new, "_mixer", mixer)
    return new


class _Mixer:
    """What makes the loaders of a data module load a rebalanced dataset, and that dataset once it is made."""

    def __init__(self, datamodule: Any, source: Any, loader: str | int | None, settings: dict[str, Any]) -> None:
        self.datamodule, self.source, self.loader, self.settings = datamodule, source, loader, settings
        self.augmented: GANAugmentedDataset | None = None
        self._base: Any = None

    def loaders(self, given: Any) -> Any:
        """Returns a loader, or a collection of several, with the wanted one over the rebalanced dataset."""
        if hasattr(given, "dataset"):
            return self._rebalanced(given)
        several = getattr(given, "iterables", given)  # a CombinedLoader's
        if not isinstance(several, Mapping | list | tuple):
            raise ConfigError(
                f"expected train_dataloader to give a DataLoader, a list or a dict of them, found "
                f"{type(given).__name__}; wrap the dataset before its loader is made: GANAugmentedDataset(data, pool)"
            )
        old = several[self._key(several)]
        if not hasattr(old, "dataset"):
            raise ConfigError(f"expected loader={self.loader!r} to be a DataLoader, found {type(old).__name__}")
        new = self._rebalanced(old)
        if several is not given:
            combined = copy.copy(given)
            combined.flattened = [new if loader is old else loader for loader in given.flattened]
            return combined
        if isinstance(several, Mapping):
            return {key: new if loader is old else loader for key, loader in several.items()}
        return type(several)([new if loader is old else loader for loader in several])

    def _key(self, several: Any) -> Any:
        keys = list(several) if isinstance(several, Mapping) else list(range(len(several)))
        if self.loader is None and len(keys) == 1:
            return keys[0]
        if self.loader not in keys:
            raise ConfigError(
                f"expected loader= one of the training loaders, {', '.join(map(repr, keys))}, found {self.loader!r}; "
                "name the one whose dataset is to be rebalanced"
            )
        return self.loader

    def _rebalanced(self, loader: Any) -> Any:
        base = loader.dataset
        if isinstance(base, GANAugmentedDataset | GANAugmentedIterableDataset):
            raise ConfigError(
                "expected a training set as it was, found one that is rebalanced already; wrap the data module or the "
                "dataset, not both"
            )
        if isinstance(base, IterableDataset):
            raise ConfigError(
                f"expected a dataset with items by number, found the stream {type(base).__name__}; give its loader "
                "GANAugmentedIterableDataset(stream, pool)"
            )
        order_of(loader)  # refused before a pool is drawn
        if self.augmented is None or base is not self._base:
            if isinstance(self.source, str | os.PathLike):
                self.source = opened_source(self.source)
            self.augmented, self._base = GANAugmentedDataset(base, self.source, **self.settings), base
        new = loader_over(loader, self.augmented)
        _note(new, base, self.augmented)
        return new


def _note(loader: Any, old: Any, new: Any) -> None:
    """Puts the new dataset into what Lightning noted of a loader, to make it anew with a sampler for several processes.

    Lightning notes with which arguments a loader is made within its hooks. Where the dataset is none of them, the
    notes would bring back the old one; without them Lightning reads the loader's attributes.
    """
    noted = vars(loader)
    args, named = noted.get("__pl_saved_args", ()), noted.get("__pl_saved_kwargs", {})
    if any(value is old for value in (*args, *named.values())):
        noted["__pl_saved_args"] = tuple(new if value is old else value for value in args)
        noted["__pl_saved_kwargs"] = {key: new if value is old else value for key, value in named.items()}
        noted["__dataset"] = new
        return
    for name in [name for name in noted if name.startswith("__pl_") or name == "__dataset"]:
        del noted[name]


class GANAugmentCallback(Callback):  # type: ignore[misc]  # Lightning's types are not followed
    """Tells every rebalanced dataset of the training loaders which epoch begins, and logs the mix.

    It finds each `GANAugmentedDataset` and `GANAugmentedIterableDataset` of `trainer.train_dataloader`, also within
    Subset, ConcatDataset and collections of loaders. So synthetic images change from epoch to epoch, a
    `schedule=PhaseOut(...)` moves on, in workers that keep running too, and a training that is resumed from a
    checkpoint goes on with the right epoch.

    Once an epoch it logs, to the trainer's loggers and `callback_metrics`, of each `GANAugmentedDataset`:
    `gan_augment/synthetic_share` (the probability that a slot is synthetic), and of each class that has slots
    `gan_augment/slots/CLASS` and `gan_augment/synthetic/CLASS` (how many of them are synthetic, on average). Where
    there are several datasets, their number follows `gan_augment`.

    Args:
        log: Whether to log.

    Warns:
        UserWarning: There is no such dataset.
    """

    def __init__(self, log: bool = True) -> None:
        super().__init__()
        self.logs = log  # `log` is the model's method, which the trainer puts here

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Tells the first epoch. Workers have begun to load by then: where the epoch is another, they begin anew."""
        datasets, epoch = augmented_within(trainer.train_dataloader), _epoch(trainer)
        if not datasets:
            rank_zero_warn(
                "expected a GANAugmentedDataset in the training loaders for GANAugmentCallback, found none: it does "
                "nothing; wrap the data module in GANAugmentedDataModule, or the training set in GANAugmentedDataset"
            )
        late = any(dataset.epoch != epoch for dataset in datasets)
        _tell(datasets, epoch)
        if late and not _stateful(trainer.train_dataloader):
            iter(trainer.fit_loop._data_fetcher)  # as the trainer itself does before each later epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Tells the epoch, and logs."""
        datasets = augmented_within(trainer.train_dataloader)
        _tell(datasets, _epoch(trainer))
        if not self.logs:
            return
        values = _logged([dataset for dataset in datasets if isinstance(dataset, GANAugmentedDataset)])
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers if values else ():
            logger.log_metrics({**values, "epoch": _epoch(trainer)}, step=trainer.global_step)


def _epoch(trainer: Any) -> int:
    """Returns the epoch that begins or goes on, also while a checkpoint's progress is being taken up."""
    epoch: int = trainer.fit_loop.epoch_progress.current.processed
    return epoch


def _tell(datasets: Any, epoch: int) -> None:
    for dataset in datasets:
        dataset.set_epoch(epoch)


def _stateful(loaders: Any) -> bool:
    """Tells whether a loader goes on within an epoch by itself, which it would forget if it began anew."""
    if isinstance(loaders, Mapping | list | tuple):
        return any(_stateful(loader) for loader in (loaders.values() if isinstance(loaders, Mapping) else loaders))
    return hasattr(loaders, "load_state_dict")


def _logged(datasets: list[GANAugmentedDataset]) -> dict[str, float]:
    values: dict[str, float] = {}
    for number, dataset in enumerate(datasets):
        name = "gan_augment" if len(datasets) == 1 else f"gan_augment/{number}"
        values[f"{name}/synthetic_share"] = dataset.share()
        for row in dataset.report().classes:
            if row.slots:
                values |= {f"{name}/slots/{row.name}": float(row.slots), f"{name}/synthetic/{row.name}": row.synthetic}
    return values
