"""GANAugmentedDataset: the reals unchanged, then a slot for each item that the balance asks for."""

import copy
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset

from gan_augment.balance import MIN_IMAGES, SamplingStrategy, numbers_to_add
from gan_augment.errors import ConfigError, DataError, DataMismatchWarning, SmallClassWarning
from gan_augment.fingerprint import FittedOn
from gan_augment.pipelines import call_transform, preserved_rng
from gan_augment.pool import SyntheticPool
from gan_augment.seeds import slot_uniforms
from gan_augment.source import RawView
from gan_augment.types import IntArray, Origin, Synthesizer

__all__ = ["GANAugmentedDataset", "PhaseOut"]


@dataclass(frozen=True)
class PhaseOut:
    """Synthetic images in the first part of a training only.

    Attributes:
        epochs: Epochs of the whole training.
        until: Share of them with synthetic images; after it every slot repeats a real one.
    """

    epochs: int
    until: float = 0.6

    def __post_init__(self) -> None:
        if self.epochs < 1 or not 0 <= self.until <= 1:
            raise ConfigError(f"expected epochs of at least 1 and until from 0 to 1, found {self}")

    def share(self, epoch: int, synthetic_share: float) -> float:
        """Returns the share of synthetic images in an epoch, counted from 0."""
        return synthetic_share if epoch < self.until * self.epochs else 0.0


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
            a pool in memory. None needs `synthetic_share=0`.
        sampling_strategy: imbalanced-learn's over-sampling vocabulary: "auto" fills every class up to the largest.
        synthetic_share: Probability that a slot is synthetic, 0 to 1.
        schedule: Changes the share by epoch; needs `set_epoch`.
        targets: One class for each item, where the base does not say.
        groups: One group for each item; kept for checks.
        transform: "inherit" for the base's own on synthetic images, None for none, or a callable on the raw image.
        seed: Of all choices.
        min_images: The slots of a class with fewer real images repeat reals, unless at least as many candidates of it
            were kept.
        progress: Whether to show bars on a terminal.

    Attributes:
        sampling_strategy_: `{label: number of slots}`.
        targets: `(len,)`, the label of every item.
        classes: Class names.

    Warns:
        SmallClassWarning: The slots of a class repeat real images.
        DataMismatchWarning: The pool was built like another dataset.

    Raises:
        DataError: The pool's images are not twins of the base's: another dtype, size or number of channels.
        ConfigError: A parameter has a value that cannot work.

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
        source: SyntheticPool | Synthesizer | None,
        *,
        sampling_strategy: SamplingStrategy = "auto",
        synthetic_share: float = 0.5,
        schedule: PhaseOut | None = None,
        targets: npt.ArrayLike | None = None,
        groups: Sequence[Any] | None = None,
        transform: Literal["inherit"] | Callable[[Any], Any] | None = "inherit",
        seed: int = 0,
        min_images: int = MIN_IMAGES,
        progress: bool = True,
    ) -> None:
        if not 0 <= synthetic_share <= 1:
            raise ConfigError(f"expected synthetic_share from 0 to 1, found {synthetic_share}")
        if source is None and synthetic_share > 0:
            raise ConfigError("expected a pool or a synthesizer, found None; give one, or synthetic_share=0")
        if isinstance(transform, str) and transform != "inherit":
            raise ConfigError(f"expected transform='inherit', None or a callable, found {transform!r}")
        self.synthetic_share, self.schedule, self.transform = synthetic_share, schedule, transform
        self.seed = int(seed)
        self._view = RawView.of(base, targets, groups, progress=progress)
        self.base = self._view.base
        self.classes = self._view.classes
        wanted = numbers_to_add(sampling_strategy, self._view.targets, self.classes, self._view.values)
        self._slots = np.repeat(sorted(wanted), [wanted[label] for label in sorted(wanted)]).astype(np.int64)
        self.sampling_strategy_ = {self._view.values[label]: number for label, number in sorted(wanted.items())}
        self._members = [self._view.of_class(label) for label in range(self._view.num_classes)]
        self._labels: dict[int, Any] = {}
        self.pool = self._as_pool(source, wanted, progress)
        self._rows = self._pool_rows(wanted, min_images)
        self._parents_are_here = self._check_like()
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    # -- setting up -----------------------------------------------------------------------------------------------

    def _as_pool(self, source: Any, wanted: Mapping[int, int], progress: bool) -> SyntheticPool | None:
        if source is None or not wanted or self.synthetic_share == 0:
            return None
        if isinstance(source, SyntheticPool):
            pool = source
        elif isinstance(source, Synthesizer):
            counts = {self._view.values[label]: number for label, number in wanted.items()}
            pool = SyntheticPool.build(
                source, self._view, counts=counts, reserve=1.0, seed=self.seed, progress=progress
            )
        else:
            raise ConfigError(f"expected a SyntheticPool or a Synthesizer, found {type(source).__name__}")
        self._check_twins(pool)
        return pool

    def _check_twins(self, pool: SyntheticPool) -> None:
        """Synthetic images must be of the raw form of the base's; a pool in another layout or kind is turned.

        A grey pool goes into a set of RGB images, as a loader that converts grey files to RGB would have it.
        """
        own = self._view.form
        self._form = replace(own, shape=pool.form.shape)
        names = ("dtype",) if (pool.form.channels, own.channels) == (1, 3) else ("dtype", "channels")
        different = own.differences(pool.form, names)
        if not different and len(pool) and own.shape != pool.form.shape:
            different = self._different_size(pool)
        if different:
            raise DataError(
                f"expected synthetic images like the dataset's own, found others: {different} (dataset against pool); "
                "build the pool with like=this dataset, or give arrays of its type, size and channels"
            )

    def _different_size(self, pool: SyntheticPool) -> str:
        """Returns in words how finished sizes differ; empty where a transform or mixed sizes of the reals allow it."""
        view, label = self._view, int(self._view.targets[0])
        if len(pool.form.shape or ()) == len(view.form.shape or ()):
            with preserved_rng():
                items = view.finish(view.raw(0), label), self._finish(pool.array(int(pool.rows[0])), label)
            images = [view.structure.split(item)[0] for item in items]
            sizes = [image.size if isinstance(image, Image.Image) else np.shape(image) for image in images]
            if sizes[0] == sizes[1] or view.full_form.shape is None:
                return ""
        return view.form.differences(pool.form, ("shape",))

    def _pool_rows(self, wanted: Mapping[int, int], min_images: int) -> list[IntArray]:
        rows = [np.empty(0, np.int64)] * self._view.num_classes
        if self.pool is None:
            return rows
        position = self._pool_labels(self.pool)
        for label, number in wanted.items():
            own = self.pool.rows[self.pool.labels == position.get(label, -1)]
            few = len(self._members[label]) < min_images and len(own) < min_images
            if few or not len(own):
                warnings.warn(
                    f"class {self.classes[label]} has {len(self._members[label])} real images and {len(own)} kept "
                    f"synthetic ones: its {number} slots repeat reals. Draw more candidates (reserve=) or keep more",
                    SmallClassWarning,
                    stacklevel=3,
                )
                continue
            rows[label] = own
        return rows

    def _pool_labels(self, pool: SyntheticPool) -> dict[int, int]:
        """Returns the pool's class for each class of the dataset: by class name, or by label for a pool of arrays."""
        names = self.classes if pool.named else [str(value) for value in self._view.values]
        index = {name: i for i, name in enumerate(pool.classes)}
        found = {label: index[name] for label, name in enumerate(names) if name in index}
        if not found:
            raise DataError(
                f"expected a pool of the classes {', '.join(names)}, found {', '.join(pool.classes)}; build the pool "
                "with like=this dataset"
            )
        return found

    def _check_like(self) -> bool:
        """Tells whether the pool was built like this very dataset, and warns if it was built like another."""
        like = None if self.pool is None else self.pool.about.get("like")
        if like is None or like == {"items": len(self._view), "identity": self._view.identity}:
            return like is not None
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
        return FittedOn.union(self._view.fitted_on, FittedOn.of(self.pool))

    # -- epochs ---------------------------------------------------------------------------------------------------

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch begins, in this process and in workers that are already running."""
        self._epoch[0] = int(epoch)

    @property
    def epoch(self) -> int:
        """The epoch that `set_epoch` set last; 0 at first."""
        return int(self._epoch[0])

    def share(self, epoch: int | None = None) -> float:
        """Returns the probability that a slot is synthetic in an epoch (None: the present one)."""
        epoch = self.epoch if epoch is None else epoch
        return self.synthetic_share if self.schedule is None else self.schedule.share(epoch, self.synthetic_share)

    # -- items ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"GANAugmentedDataset({len(self._view)} real, {len(self._slots)} slots, share {self.share():g})"

    def __len__(self) -> int:
        return len(self._view) + len(self._slots)

    @property
    def targets(self) -> npt.NDArray[Any]:
        """The label of every item, reals and slots."""
        values: npt.NDArray[Any] = np.asarray(self._view.values)
        labels: npt.NDArray[Any] = values[np.concatenate([self._view.targets, self._slots])]
        return labels

    def origin(self, index: int) -> Origin:
        """Returns where item `index` comes from in the present epoch."""
        index = self._checked(index)
        reals = len(self._view)
        if index < reals:
            return Origin("real", int(self._view.targets[index]), index=index)
        label = int(self._slots[index - reals])
        dice, which, _ = slot_uniforms(self.seed, self.epoch, index)
        rows = self._rows[label]
        if self.pool is not None and len(rows) and dice < self.share():
            row = int(rows[int(which * len(rows))])
            seed, parent = self.pool.provenance(row)
            parent = parent if self._parents_are_here else None
            return Origin("synthetic", label, row=row, seed=seed, parent=parent)
        members = self._members[label]
        return Origin("repeat", label, index=int(members[int(which * len(members))]))

    def _checked(self, index: int) -> int:
        index, length = operator.index(index), len(self)
        if not -length <= index < length:
            raise IndexError(f"expected an index below {length}, found {index}")
        return index + length if index < 0 else index

    def __getitem__(self, index: int) -> Any:
        """Returns a real item, a repeated one, or a synthetic one of the same form."""
        index = operator.index(index)
        if 0 <= index < len(self._view):
            return self.base[index]
        origin = self.origin(index)
        if origin.row is None:
            return self.base[origin.index]
        assert self.pool is not None
        return self._finish(self.pool.array(origin.row), origin.label)

    def synthetic_items(self) -> Iterator[Any]:
        """Yields every row of the pool's view as an item of this dataset, in the order of the rows."""
        if self.pool is None:
            return
        labels = {own: label for label, own in self._pool_labels(self.pool).items()}
        for row, label in zip(self.pool.rows.tolist(), self.pool.labels.tolist(), strict=True):
            if label in labels:
                yield self._finish(self.pool.array(row), labels[label])

    def _finish(self, array: npt.NDArray[Any], label: int) -> Any:
        if len(array) != self._form.channels:
            array = np.broadcast_to(array, (self._form.channels, *array.shape[1:]))
        image = self._form.raw(array)
        if self.transform == "inherit":
            return self._view.finish(image, label)
        if self.transform is not None:
            image = call_transform(self.transform, image)
        return self._view.structure.assemble(image, self._finished_label(label))

    def _finished_label(self, label: int) -> Any:
        """Returns the label of a class as the base's finished items hold it, after any `target_transform`."""
        if label not in self._labels:
            with preserved_rng():
                item = self._view.finish(self._view.raw(int(self._members[label][0])), label)
            self._labels[label] = self._view.structure.split(item)[1]
        return copy.deepcopy(self._labels[label])
