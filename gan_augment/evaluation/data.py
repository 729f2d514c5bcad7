"""What the arms train on: the training set with its slots filled as each arm says."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import ConfigError, SmallClassWarning
from gan_augment.evaluation.arms import SAMPLING, Arm, Synthetic
from gan_augment.evaluation.deepsmote import deep_smote
from gan_augment.evaluation.finished import HeldOut
from gan_augment.items import same
from gan_augment.pipelines import preserved_rng
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView

__all__ = ["TrainingSet", "WithWeights"]

_DRAWN = 2000
"""Images of the pool that a classifier is tested on."""

_MOST_BYTES = 2**30
"""Up to here finished items are kept in memory."""


class WithWeights(Dataset[Any]):
    """Items (image, label, weight): that of a synthetic image, or 1."""

    def __init__(self, data: GANAugmentedDataset, weight: float) -> None:
        self.data, self.weight, self.set_epoch = data, weight, data.set_epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        image, label = self.data[index]
        return image, label, self.weight_of(index)

    def weight_of(self, index: int) -> float:
        """Returns what an item counts in the loss in the present epoch."""
        return self.weight if self.data.origin(index).kind == "synthetic" else 1.0


class _Remembering(GANAugmentedDataset):
    """The same dataset, with finished items kept in memory: for transforms that give an image the same item each time.

    `reals` is shared by all arms.
    """

    reals: dict[int, Any]

    def __getitem__(self, index: int) -> Any:
        """Returns the item that the dataset gives."""
        origin = self.origin(index)
        kept, key = (self.reals, origin.index) if origin.row is None else (self._drawn_items, origin.row)
        assert key is not None
        if key not in kept:
            kept[key] = super().__getitem__(index)
        return kept[key]

    @functools.cached_property
    def _drawn_items(self) -> dict[int, Any]:
        return {}


def _repeats(view: RawView) -> bool:
    """Tells whether finished items fit into memory and are the same each time, whatever the random state."""
    rows = np.unique(np.linspace(0, len(view) - 1, 4).astype(int)).tolist()
    items = []
    for seed in (1, 2):
        with preserved_rng(seed):
            items.append([view.base[row] for row in rows])
    image = view.structure.split(items[0][0])[0]
    small = isinstance(image, Tensor) and image.nbytes * int(view.counts.max()) * view.num_classes <= _MOST_BYTES
    return small and same(*items)


@dataclass(kw_only=True)
class TrainingSet:
    """The training set of an evaluation, and what may fill its slots.

    Attributes:
        view: The training split; finished items are (tensor, class index).
        pool: The evaluation's pool; None where no arm needs it.
        unused: Real images of the same form that no arm trains on, for the ceiling.
        min_images: As in `GANAugmentedDataset`.
    """

    view: RawView
    pool: SyntheticPool | None = None
    unused: RawView | None = None
    min_images: int = 20
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._unused_pool: SyntheticPool | None = None
        self._drawn: HeldOut | None = None
        self._kind = _Remembering if _repeats(self.view) else GANAugmentedDataset
        self._reals: dict[int, Any] = {}

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Training images of each class."""
        return self.view.counts

    def totals(self, sampling: str) -> dict[int, int]:
        """Returns how many items each class has with its slots: n_max^(1 - power) n_c^power."""
        power, most = SAMPLING[sampling], int(self.counts.max())
        return {
            label: max(int(count), round(most ** (1 - power) * count**power))
            for label, count in enumerate(self.counts.tolist())
            if count
        }

    def data(self, arm: Arm, *, seed: int) -> Any:
        """Returns the dataset that an arm trains on."""
        if arm.data is not None:
            return arm.data
        pool = None if arm.synthetic is None else self.rows(arm.synthetic, seed)
        if arm.only:
            assert pool is not None
            return self._alone(pool)
        totals = self.totals(arm.sampling)
        if arm.synthetic is not None and sum(totals.values()) == len(self.view):
            told = f"{arm.name}: no class needs images under {arm.sampling} sampling, so no synthetic one was used"
            self.notes += [told] if told not in self.notes else []
        if arm.synthetic is None or pool is None:
            return self._mixed(None, totals, 0.0, seed)
        mixed = self._mixed(pool, totals, arm.synthetic.share, seed)
        return mixed if arm.synthetic.weight == 1 else WithWeights(mixed, arm.synthetic.weight)

    def _mixed(self, pool: Any, totals: dict[int, int], share: float, seed: int) -> GANAugmentedDataset:
        values = self.view.values
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SmallClassWarning)
            mixed = self._kind(
                self.view,
                pool,
                sampling_strategy={values[label]: total for label, total in totals.items()},
                synthetic_share=share,
                seed=seed,
                min_images=self.min_images,
                progress=False,
            )
        self.notes += [str(w.message) for w in caught if str(w.message) not in self.notes]
        if isinstance(mixed, _Remembering):
            mixed.reals = self._reals
        return mixed

    def rows(self, dose: Synthetic, seed: int) -> SyntheticPool:
        """Returns the view of the pool that an arm draws from.

        Raises:
            ConfigError: There are fewer candidates than the control needs.
        """
        if dose.rows == "unused":
            return self._unused()
        if dose.rows == "deep_smote":
            return deep_smote(self.view, seed=seed)
        pool = dose.pool if dose.pool is not None else self.pool
        assert pool is not None
        if dose.rows == "all":
            return pool.candidates()
        if dose.rows == "selected":
            return pool
        without = ("judge disagrees",) if dose.rows == "prefiltered" else ()
        return pool.sample(pool.counts, seed=seed, without=without)

    def drawn(self) -> HeldOut | None:
        """Returns the finished images of the pool, spread evenly over its rows where there are many."""
        if self._drawn is not None or self.pool is None or not len(self.pool):
            return self._drawn
        keep = np.zeros(len(self.pool), bool)
        keep[np.unique(np.linspace(0, len(self.pool) - 1, _DRAWN).astype(int))] = True
        items = self._items(self.pool.filter(keep))
        if items:
            labels = np.array([label for _, label in items])
            self._drawn = HeldOut(torch.stack([image for image, _ in items]), labels)
        return self._drawn

    def _items(self, pool: SyntheticPool) -> list[tuple[Tensor, int]]:
        """Returns the rows of a pool as finished images with their classes."""
        mixed = self._mixed(pool, self.totals("balanced"), 1.0, 0)
        with preserved_rng(0):
            items = [self.view.structure.split(item) for item in mixed.synthetic_items()]
        return [(image.float(), int(label)) for image, label in items]

    def _unused(self) -> SyntheticPool:
        if self.unused is None:
            raise ConfigError("expected unused= for an arm of unused reals, found none")
        if self._unused_pool is None:
            view = self.unused
            arrays = np.stack([view.form.array(view.raw(index)) for index in range(len(view))])
            names = [view.classes[label] for label in view.targets]
            self._unused_pool = SyntheticPool.from_arrays(arrays, names, classes=list(self.view.classes))
        return self._unused_pool

    def _alone(self, pool: SyntheticPool) -> Any:
        """Returns the rows of a pool as finished items; classes are drawn in proportion to their rows."""
        items = self._items(pool)
        if not items:
            raise ConfigError("expected synthetic images for an arm that trains on nothing else, found none that fit")
        labels = [label for _, label in items]
        lacking = set(np.flatnonzero(self.counts)) - set(labels)
        if lacking:
            told = ", ".join(self.view.classes[label] for label in sorted(lacking))
            self.notes.append(f"synthetic only: the pool holds no image of {told}, whose recall can but be 0")
        return TensorDataset(torch.stack([image for image, _ in items]), torch.tensor(labels))

    def takes(self) -> Callable[[npt.NDArray[np.int64]], Tensor]:
        """Returns a function of rows of the training set to their finished images."""
        base, split = self.view.base, self.view.structure.split
        return lambda rows: torch.stack([split(base[int(row)])[0] for row in rows]).float()
