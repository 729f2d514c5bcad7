"""GANAugmentedDataset: the reals unchanged, then a slot for each item that the balance asks for."""

import functools
import operator
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from gan_augment.balance import MIN_IMAGES, SamplingStrategy, numbers_to_add
from gan_augment.dataset.extras import Extras, Labeller
from gan_augment.dataset.report import MixReport, class_rows
from gan_augment.dataset.seeding import WorkerSeeds
from gan_augment.dataset.slots import PhaseOut, Plan, SharedEpoch, Slots
from gan_augment.dataset.supply import LiveSupply, PoolSupply, rows_of, supply_of
from gan_augment.dataset.twins import Fill, Transform, Twins
from gan_augment.errors import ConfigError, DataMismatchWarning, probability
from gan_augment.fingerprint import FittedOn
from gan_augment.pool import SyntheticPool
from gan_augment.pool.cached import cache_folder
from gan_augment.seeds import slot_seeds
from gan_augment.source import RawView
from gan_augment.types import IntArray, Origin, Synthesizer

__all__ = ["GANAugmentedDataset"]


class GANAugmentedDataset(Dataset[Any]):
    """A training set rebalanced with synthetic images, for any DataLoader.

    Items 0 to `len(base) - 1` are the base's own. After them stands one slot for each item that `sampling_strategy`
    adds, with its class. A slot gives a synthetic image of its class with probability `synthetic_share`, else it
    repeats a real one: 0 is exactly random oversampling, 1 fills up with synthetic images. Each choice is a function of
    (seed, epoch, index), so it is the same for any number of workers and any start method.

    A synthetic item has the type, shape, dtype and label type of a real one and goes through the base's own transform.

    Args:
        base: The training split.
        source: The pool; its kept rows are used, or the rows of the view given. A Synthesizer is drawn from once, into
            a pool that is kept in `cache`, or, with `live`, each time a synthetic item is asked for. Or the path of
            either. None needs `synthetic_share=0`.
        sampling_strategy: How many items each class gets: imbalanced-learn's over-sampling vocabulary ("auto" fills
            every class up to the largest), "sqrt", "effective", or a `Balance` with caps.
        synthetic_share: Probability that a slot is synthetic, 0 to 1.
        schedule: Changes the share by epoch; needs `set_epoch`.
        targets: One class for each item, where the base does not say.
        groups: One group for each item; kept for checks.
        transform: "inherit" for the base's own on synthetic images, None for none, or a callable on the raw image; on
            image and mask where items have masks.
        seed: Of all choices.
        fill: Where items hold more than image, label and mask: what stands there in synthetic ones. A value for each
            index or key, or a function of the item's `Origin`; "like" for what a real item of the class holds.
        extras: What items tell besides: source, weight, soft labels.
        live: Whether a synthesizer draws anew each time; an image-conditioned one from the real image that the slot
            would have repeated. Values depend on the size of batches to float tolerance.
        cache: Folder where pools drawn from a synthesizer are kept; "default" for $GAN_AUGMENT_CACHE or the user's
            cache folder, None for memory.
        min_images: The slots of a class with fewer real images repeat reals, unless at least as many candidates of it
            were kept. Images that are drawn live have no such limit.
        progress: Whether to show bars on a terminal.

    Attributes:
        sampling_strategy_: `{label: number of slots}`.
        targets: `(len,)`, the label of every item.
        classes: Class names.

    Warns:
        SmallClassWarning: The slots of a class repeat real images.
        DataMismatchWarning: The pool was built like another dataset, or its images are plainly in other units.

    Raises:
        DataError: The pool's images are not twins of the base's: another dtype, size or number of channels, no masks.
        ConfigError: A parameter has a value that cannot work, or is missing for this base.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> base = TensorDataset(torch.rand(9, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1]))
        >>> pool = SyntheticPool.from_arrays(torch.rand(30, 1, 8, 8), torch.ones(30, dtype=int))
        >>> train = GANAugmentedDataset(base, pool)
        >>> len(train), train.sampling_strategy_
        (12, {1: 3})
    """

    def __init__(
        self,
        base: Any,
        source: SyntheticPool | Synthesizer | str | os.PathLike[str] | None,
        *,
        sampling_strategy: SamplingStrategy = "auto",
        synthetic_share: float = 0.5,
        schedule: PhaseOut | None = None,
        targets: npt.ArrayLike | None = None,
        groups: Sequence[Any] | None = None,
        transform: Transform = "inherit",
        seed: int = 0,
        fill: Fill = None,
        extras: Extras | None = None,
        live: bool = False,
        cache: "Literal['default'] | str | os.PathLike[str] | None" = "default",
        min_images: int = MIN_IMAGES,
        progress: bool = True,
    ) -> None:
        probability("synthetic_share", synthetic_share)
        if source is None and synthetic_share > 0:
            raise ConfigError("expected a pool or a synthesizer, found None; give one, or synthetic_share=0")
        if isinstance(transform, str) and transform != "inherit":
            raise ConfigError(f"expected transform='inherit', None or a callable, found {transform!r}")
        self.synthetic_share, self.schedule, self.transform = synthetic_share, schedule, transform
        self.seed, self._strategy, self._epoch = int(seed), sampling_strategy, SharedEpoch()
        self._view = RawView.of(base, targets, groups, progress=progress)
        self.base = self._view.base
        self._reals = len(self._view)
        self.classes = self._view.classes
        wanted = numbers_to_add(sampling_strategy, self._view.targets, self.classes, self._view.values)
        self.sampling_strategy_ = {self._view.values[label]: number for label, number in sorted(wanted.items())}
        asked = source if wanted and synthetic_share > 0 else None
        folder = cache_folder() if cache == "default" else cache
        self._supply = supply_of(asked, self._view, wanted, live=live, folder=folder, seed=self.seed, progress=progress)
        self.pool = getattr(self._supply, "pool", None)
        rows, self._notes = rows_of(self._supply, self._view, wanted, min_images)
        self._twins = None
        if self._supply is not None:
            self._twins = Twins(self._view, self._supply.form, self._supply.has_masks, transform, fill)
        self._parents_are_here = self._check_like() or getattr(self._supply, "from_items", False)
        labels = np.repeat(sorted(wanted), [wanted[label] for label in sorted(wanted)]).astype(np.int64)
        members = [self._view.of_class(label) for label in range(self._view.num_classes)]
        self._slots = Slots(labels, self._reals, members, rows)
        self._check_sizes(rows)
        self._labeller = None
        if extras is not None and extras.names:
            self._labeller = Labeller(extras, self._view, self.pool, live=live)
        self._plan: Plan | None = None
        self._label_makers: dict[int, Any] | None = None
        self._seeds = WorkerSeeds(self.base, transform)

    # -- setting up -----------------------------------------------------------------------------------------------

    def _check_sizes(self, rows: Sequence[IntArray]) -> None:
        """Tries one synthetic item, so that what cannot work is told here and not in a worker."""
        label = next((label for label, own in enumerate(rows) if len(own)), None)
        if label is None or self._twins is None or self._supply is None:
            return
        if self.pool is not None and self.pool.affine is not None:
            self._twins.check_affine(self.pool.affine, [label for label, own in enumerate(rows) if len(own)])
        code = int(rows[label][0])
        live = self.pool is None
        origin = Origin("synthetic", label, row=None if live else code, seed=0, parent=code if live else None)
        array, mask = self._supply.get([origin])[0]
        self._twins.check_sizes(array, mask, label, functools.partial(_itself, origin))
        self._twins.check_units(array, label)

    def _check_like(self) -> bool:
        """Tells whether the pool was built like this very dataset, and warns if it was built like another."""
        likes = [] if self.pool is None else self.pool.about.get("likes", [])
        own = {"items": len(self._view), "identity": self._view.identity}
        like = next((other for other in likes if other != own), None)
        if like is None:
            return self.pool is not None and self.pool.about.get("like") == own
        warnings.warn(
            f"the pool was built like another dataset ({like['items']} items, {len(self._view)} here): its images may "
            "come from images that are not in this one. If you test on those, the test is worth nothing; check with "
            "ga.check_no_overlap(test, pool). Parents are not told",
            DataMismatchWarning,
            stacklevel=3,
        )
        return False

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of the real images and groups, and of those that the pool's synthesizer and judge saw."""
        return FittedOn.union(self._view.fitted_on, FittedOn.of(self._supply))

    # -- epochs ---------------------------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch begins, in this process and in workers that are already running, and to the base."""
        self._epoch.set(int(epoch), self.base)

    @property
    def epoch(self) -> int:
        """The epoch that `set_epoch` set last; 0 at first."""
        return self._epoch.get()

    def share(self, epoch: int | None = None) -> float:
        """Returns the probability that a slot is synthetic in an epoch (None: the present one)."""
        epoch = self.epoch if epoch is None else epoch
        return self.synthetic_share if self.schedule is None else self.schedule.share(epoch, self.synthetic_share)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        """Seeds the random transforms of the base; MONAI's loader calls it in each worker.

        Args:
            seed: The seed; None for one of torch's.
            state: MONAI's other way of telling a seed.
        """
        if seed is None:
            seed = int(torch.randint(2**31, (), device="cpu")) if state is None else int(state.randint(2**31))
        self._seeds.set(seed)
        return self

    # -- items ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._reals} real, {len(self._slots)} slots, share {self.share():g})"

    def __len__(self) -> int:
        return self._reals + len(self._slots)

    @property
    def targets(self) -> npt.NDArray[Any]:
        """The label of every item, reals and slots."""
        values: npt.NDArray[Any] = np.asarray(self._view.values)
        labels: npt.NDArray[Any] = values[np.concatenate([self._view.targets, self._slots.labels])]
        return labels

    def report(self) -> MixReport:
        """Returns what was resolved, class by class: reals, slots, how many are synthetic, and what they come from."""
        strategy = getattr(self._strategy, "__name__", None) or repr(self._strategy)
        return MixReport(
            classes=class_rows(self._view, self._slots, self._supply, self.share(), self._notes),
            strategy=strategy,
            synthetic_share=self.share(),
            epoch=self.epoch,
        )

    def origin(self, index: int) -> Origin:
        """Returns where item `index` comes from in the present epoch."""
        return self._origins([index])[0]

    def _origins(self, indices: Sequence[int]) -> list[Origin]:
        indices = [self._checked(index) for index in indices]
        live = {}
        if isinstance(self._supply, LiveSupply):  # one call for all seeds
            slots = [index for index in indices if index >= self._reals]
            live = dict(zip(slots, slot_seeds(self.seed, self.epoch, np.array(slots, np.int64)).tolist(), strict=True))
        plan = self._now()
        return [self._origin(index, plan, live.get(index, -1)) for index in indices]

    def _origin(self, index: int, plan: Plan, seed: int) -> Origin:
        if index < self._reals:
            return Origin("real", int(self._view.targets[index]), index=index)
        code, label = plan.code(index - self._reals), self._slots.labels.item(index - self._reals)
        if code < 0:
            return Origin("repeat", label, index=-1 - code)
        if self.pool is None:  # drawn live; the code is the item at hand
            parent = code if self._parents_are_here else None
            return Origin("synthetic", label, seed=seed, parent=parent)
        found, parent = self.pool.provenance(code)
        return Origin("synthetic", label, row=code, seed=found, parent=parent if self._parents_are_here else None)

    def _now(self) -> Plan:
        """Returns what the slots are in the present epoch."""
        epoch = self._epoch.get()
        key = (self.seed, epoch, self.share(epoch))
        if self._plan is None or self._plan.key != key:
            self._plan = Plan(self._slots, key)
        return self._plan

    def _checked(self, index: int) -> int:
        index, length = operator.index(index), len(self)
        if not -length <= index < length:
            raise IndexError(f"expected an index below {length}, found {index}")
        return index + length if index < 0 else index

    def __getitem__(self, index: int) -> Any:
        """Returns a real item, a repeated one, or a synthetic one of the same form."""
        if self._seeds.needed:
            self._seeds.refresh()
        index = operator.index(index)
        if 0 <= index < self._reals and self._labeller is None:
            return self.base[index]
        return self._items([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Returns several items, as loaders ask for a batch; images that are drawn live are drawn in one call."""
        if len(indices) == 0:
            return []
        if self._seeds.needed:
            self._seeds.refresh()
        if self._labeller is None and min(indices) >= 0 and max(indices) < self._reals:
            return self._real_items(indices)
        return self._items(indices)

    def _items(self, indices: Sequence[int]) -> list[Any]:
        if self._labeller is None and not isinstance(self._supply, LiveSupply):
            return self._stored_items(indices)
        origins = self._origins(indices)
        items: list[Any] = [None] * len(origins)
        places = [at for at, origin in enumerate(origins) if origin.index is not None]
        self._put_reals(items, places, [origin.index for origin in origins if origin.index is not None])
        drawn = [at for at, origin in enumerate(origins) if origin.index is None]
        if drawn:
            assert self._supply is not None
            assert self._twins is not None
            for at, found in zip(drawn, self._supply.get([origins[at] for at in drawn]), strict=True):
                items[at] = self._twins.finish(*found, origins[at].label, functools.partial(_itself, origins[at]))
        if self._labeller is None:
            return items
        return [self._labeller.add(item, origin) for item, origin in zip(items, origins, strict=True)]

    def _stored_items(self, indices: Sequence[int]) -> list[Any]:
        """Returns reals, repeats and rows of the pool; an `Origin` is made only where it is asked for."""
        items: list[Any] = [None] * len(indices)
        indices, codes = self._codes(indices)
        places = [at for at, code in enumerate(codes) if code < 0]
        self._put_reals(items, places, [-1 - codes[at] for at in places])
        if len(places) == len(codes):
            return items
        assert self.pool is not None
        assert self._twins is not None
        twins, read, labels, reals = self._twins, self.pool.reader(), self._slots.labels, self._reals
        if twins.pairs:
            if self._label_makers is None:
                self._label_makers = twins.label_makers()
            make, makers = twins.make, self._label_makers
            for at, code in enumerate(codes):
                if code >= 0:
                    items[at] = make(read(code)), makers[labels.item(indices[at] - reals)]()
            return items
        for at, code in enumerate(codes):
            if code >= 0:
                index = indices[at]
                label, tell = labels.item(index - reals), functools.partial(self.origin, index)
                items[at] = twins.finish(read(code), self.pool.mask(code), label, tell)
        return items

    def _codes(self, indices: Sequence[int]) -> tuple[Sequence[int], list[int]]:
        """Returns indices from 0, and for each the row of the pool, or -1 - i for item i of the base."""
        if min(indices) < 0 or max(indices) >= len(self) or type(indices[0]) is not int:
            indices = [self._checked(index) for index in indices]
        plan, reals = self._now(), self._reals
        if len(indices) == 1:
            index = indices[0]
            return indices, [-1 - index if index < reals else plan.code(index - reals)]
        if min(indices) >= reals:
            return indices, plan.codes(np.array(indices) - reals)
        slots = iter(plan.codes(np.array([index for index in indices if index >= reals], np.int64) - reals))
        return indices, [-1 - index if index < reals else next(slots) for index in indices]

    def _put_reals(self, items: list[Any], places: Sequence[int], rows: Sequence[int]) -> None:
        if places:
            for at, item in zip(places, self._real_items(rows), strict=True):
                items[at] = item

    def _real_items(self, indices: Sequence[int]) -> list[Any]:
        together = getattr(self.base, "__getitems__", None)
        if callable(together) and len(indices) > 1:
            found = together(list(indices))
            if isinstance(found, list) and len(found) == len(indices):  # some give a batch
                return found
        base = self.base
        return [base[index] for index in indices]

    def synthetic_items(self) -> Iterator[Any]:
        """Yields every row of the pool's view as an item of this dataset, in the order of the rows."""
        if self.pool is None or self._twins is None:
            return
        assert isinstance(self._supply, PoolSupply)
        labels = {own: label for label, own in self._supply.position.items()}
        for row, label in zip(self.pool.rows.tolist(), self.pool.labels.tolist(), strict=True):
            if label in labels:
                origin = Origin("synthetic", labels[label], row=row)
                tell = functools.partial(_itself, origin)
                yield self._twins.finish(self.pool.array(row), self.pool.mask(row), origin.label, tell)

    def __getstate__(self) -> dict[str, Any]:
        """Workers work out their own plan."""
        return {**self.__dict__, "_plan": None, "_label_makers": None}


def _itself(origin: Origin) -> Origin:
    return origin
