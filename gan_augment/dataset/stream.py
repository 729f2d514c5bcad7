"""GANAugmentedIterableDataset: a stream of real items, with synthetic ones let in to meet wanted class shares."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed
from torch.utils.data import IterableDataset, get_worker_info

from gan_augment.balance import class_index
from gan_augment.dataset.seeding import WorkerSeeds
from gan_augment.dataset.slots import SharedEpoch
from gan_augment.dataset.supply import PoolSupply
from gan_augment.errors import ConfigError, DataError, probability, whole
from gan_augment.forms import RawForm
from gan_augment.items import ItemStructure, copied, fresh, label_value
from gan_augment.pipelines import call_transform
from gan_augment.pool import SyntheticPool
from gan_augment.pool.matching import twin_form
from gan_augment.seeds import derive, slots_uniforms
from gan_augment.types import IntArray

__all__ = ["GANAugmentedIterableDataset"]

_DICE = 1024


class GANAugmentedIterableDataset(IterableDataset[Any]):
    """A stream rebalanced with synthetic images: every real item in its order, others let in between.

    Where `counts` says how many real items of each class there are, the right number is let in evenly all along. Where
    it does not, as many are let in as the reals seen so far ask for: at the beginning, or where a stream is sorted,
    that may be more than was needed in the end. In each worker process of a loader this is done on its own, over what
    the base gives there; choices are a function of (seed, epoch, rank, worker, position). A stream has no length and no
    items by number: where the data fit a map-style dataset, use `GANAugmentedDataset`.

    Args:
        base: Any iterable of items that can be iterated again each epoch: an IterableDataset, WebDataset, Hugging
            Face's streams. Items hold an image and a label, in a tuple or a dict.
        pool: Where synthetic images come from.
        class_shares: The wanted share of each class among all items: by label or name, or in the order of `classes`;
            None for equal shares of all classes. They are scaled to a sum of 1.
        counts: Real items of each class in the stream, as for `class_shares`; None where they are not known.
        synthetic_share: Probability that an added item is synthetic; else it repeats a remembered real one.
        max_ratio: At most so many items are added for each real one of the class; None for no cap.
        classes: The class names that integer labels index; None for the pool's.
        transform: What makes an item's image of a raw image of the pool: the transform that the stream applies to
            its own raw images. None where items hold raw images of the pool's type and size.
        fill: A value for each part of an item beside image and label; None where there are none.
        memory: Real items of each class that are remembered for repeats.
        seed: Of all choices.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: While it is iterated: synthetic images would differ from the stream's in type or size, or a label is
            none of the classes.

    Example:
        >>> stream = [(torch.rand(1, 8, 8), 0), (torch.rand(1, 8, 8), 0), (torch.rand(1, 8, 8), 1)]
        >>> pool = SyntheticPool.from_arrays(torch.rand(30, 1, 8, 8), torch.ones(30, dtype=int))
        >>> [label for _, label in GANAugmentedIterableDataset(stream, pool, classes=["0", "1"], counts=[2, 1])]
        [0, 0, 1, 1]
    """

    def __init__(
        self,
        base: Any,
        pool: SyntheticPool,
        *,
        class_shares: Mapping[Any, float] | Sequence[float] | None = None,
        counts: Mapping[Any, float] | Sequence[float] | None = None,
        synthetic_share: float = 1.0,
        max_ratio: float | None = None,
        classes: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        fill: Mapping[Any, Any] | None = None,
        memory: int = 16,
        seed: int = 0,
    ) -> None:
        if not hasattr(base, "__iter__") or isinstance(base, Iterator):
            raise ConfigError(f"expected an iterable that starts anew each epoch, found {type(base).__name__}")
        if not isinstance(pool, SyntheticPool):
            raise ConfigError(f"expected a SyntheticPool, found {type(pool).__name__}; build one of the synthesizer")
        if max_ratio is not None and not max_ratio >= 0:
            raise ConfigError(f"expected max_ratio= of at least 0, found {max_ratio}")
        self.base, self.pool, self.transform = base, pool, transform
        self.synthetic_share = probability("synthetic_share", synthetic_share)
        self.max_ratio, self.seed = max_ratio, int(seed)
        self.memory, self.fill = whole("memory=", memory, 0), dict(fill or {})
        self.classes = list(pool.classes if classes is None else classes)
        self._values: list[Any] = pool.values if classes is None else list(range(len(self.classes)))
        self._supply = PoolSupply(pool, self.classes, self._values)
        shares = self._by_class("class_shares=", np.ones(len(self.classes)) if class_shares is None else class_shares)
        self.class_shares = shares / shares.sum()
        self.counts = None if counts is None else self._by_class("counts=", counts)
        self._epoch = SharedEpoch()
        self._seeds = WorkerSeeds(base, transform)

    def _by_class(self, name: str, given: Any) -> npt.NDArray[np.float64]:
        if isinstance(given, Mapping):
            shares = np.zeros(len(self.classes))
            for key, share in given.items():
                shares[class_index(key, self.classes, self._values, name)] = share
        else:
            shares = np.asarray(given, np.float64)
        if (
            shares.shape != (len(self.classes),)
            or not np.isfinite(shares).all()
            or shares.min() < 0
            or not shares.any()
        ):
            raise ConfigError(f"expected {name} of at least 0 for {len(self.classes)} classes, found {given!r}")
        return shares

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch begins, here, in running workers, and to a base that wants to know."""
        self._epoch.set(int(epoch), self.base)

    @property
    def epoch(self) -> int:
        """The epoch that `set_epoch` set last; 0 at first."""
        return self._epoch.get()

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.2g}" for name, share in zip(self.classes, self.class_shares, strict=True))
        return f"GANAugmentedIterableDataset({type(self.base).__name__}, shares {shares})"

    def __iter__(self) -> Iterator[Any]:
        state = _Pass(self)
        self._seeds.refresh()
        for item in self.base:
            label = state.take(item)
            state.remember(label, item)  # before anybody changes it
            yield item
            while (lacking := state.lacking()) is not None:
                yield state.added(lacking)


class _Pass:
    """One pass over a stream: what was given so far, and the dice."""

    def __init__(self, stream: GANAugmentedIterableDataset) -> None:
        self.stream = stream
        number = len(stream.classes)
        self.real, self.more = np.zeros(number, np.int64), np.zeros(number, np.int64)
        self.rows: list[IntArray] = [stream._supply.rows(label) for label in range(number)]
        self.remembered: list[list[Any]] = [[] for _ in range(number)]
        worker = get_worker_info()
        rank = distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
        self._seed = derive(stream.seed, "stream", rank, 0 if worker is None else worker.id)
        self._dice, self._at, self._drawn = np.empty((0, 2)), 0, 0
        self._structure: ItemStructure | None = None
        self._mould: Any = None
        self._form: RawForm | None = None
        self._twin: RawForm | None = None

    def take(self, item: Any) -> int:
        """Counts a real item and returns its class."""
        if self._structure is None:
            self._learn(item)
        assert self._structure is not None
        value = label_value(self._structure.split(item)[1])
        stream = self.stream
        if isinstance(value, str) and value in stream.classes:
            label = stream.classes.index(value)
        elif value in stream._values:
            label = stream._values.index(value)
        else:
            raise DataError(
                f"expected labels of the classes {', '.join(stream.classes)} in the stream, found {value!r}; give "
                "classes=, the names that its labels index"
            )
        self.real[label] += 1
        return label

    def _learn(self, item: Any) -> None:
        structure = ItemStructure.of(item)
        if structure.label is None or structure.mask is not None:
            raise DataError("expected a stream of images with a label and no mask, found items of another structure")
        if set(structure.extras) != set(self.stream.fill):
            raise ConfigError(
                f"expected fill= with a value for each other part of an item ({', '.join(map(repr, structure.extras))})"
                f", found {self.stream.fill!r}"
            )
        for key, value in self.stream.fill.items():
            if type(value) is not type(item[key]):
                raise ConfigError(
                    f"expected fill= with a {type(item[key]).__name__} for the part {key!r}, as real items have it, "
                    f"found {value!r:.80}"
                )
        self._structure, self._mould = structure, copied(item, structure)
        self._form = RawForm.of(structure.split(item)[0])

    def lacking(self) -> int | None:
        """Returns the class that lacks most of its share, None where none lacks a whole item that can be had."""
        lack = self._wanted() - self.more
        order: list[int] = np.argsort(-lack, kind="stable").tolist()
        for label in order:
            if lack[label] < 1 - 1e-9:
                return None
            if self._can_add(label):
                return label
        return None

    def _wanted(self) -> npt.NDArray[np.float64]:
        """Returns how many of each class should have been added by now."""
        counts = self.stream.counts
        if counts is None:
            return _missing(self.real, self.stream.class_shares)
        wanted: npt.NDArray[np.float64] = _missing(counts, self.stream.class_shares) * (self.real.sum() / counts.sum())
        return wanted

    def _can_add(self, label: int) -> bool:
        if self.stream.max_ratio is not None and self.more[label] + 1 > self.stream.max_ratio * self.real[label]:
            return False
        drawn = len(self.rows[label]) > 0 and self.stream.synthetic_share > 0
        return drawn or bool(self.remembered[label])

    def added(self, label: int) -> Any:
        """Returns an item to let in."""
        dice, which = self._throw()
        self.more[label] += 1
        kept, rows = self.remembered[label], self.rows[label]
        if kept and (dice >= self.stream.synthetic_share or not len(rows)):
            return self._copied(kept[int(which * len(kept))])
        return self._synthetic(int(rows[int(which * len(rows))]), label)

    def _throw(self) -> tuple[float, float]:
        if self._at == len(self._dice):
            positions = np.arange(self._drawn, self._drawn + _DICE)
            self._dice = np.stack(slots_uniforms(self._seed, self.stream._epoch.get(), positions), axis=1)
            self._at, self._drawn = 0, self._drawn + _DICE
        self._at += 1
        dice, which = self._dice[self._at - 1].tolist()
        return dice, which

    def remember(self, label: int, item: Any) -> None:
        """Keeps a real item for repeats, in place of a random one where the memory is full."""
        kept = self.remembered[label]
        if self.stream.synthetic_share == 1 and len(self.rows[label]):
            return
        if len(kept) < self.stream.memory:
            kept.append(self._copied(item))
        elif kept:
            at = int(self._throw()[1] * self.real[label])  # every item so far is as likely to be kept (Vitter 1985)
            if at < len(kept):
                kept[at] = self._copied(item)

    def _copied(self, item: Any) -> Any:
        assert self._structure is not None
        return copied(item, self._structure)

    def _synthetic(self, row: int, label: int) -> Any:
        stream, structure = self.stream, self._structure
        assert structure is not None
        assert self._form is not None
        if stream.transform is None:
            if self._twin is None:
                self._twin = twin_form(self._form, stream.pool.form, "the stream's own")
            image = self._twin.raw(stream.pool.array(row))
        else:
            image = call_transform(stream.transform, stream.pool.raw(row))
        if (found := RawForm.of(image)) != self._form:
            raise DataError(
                f"expected synthetic images like the stream's own, found others: {self._form.differences(found)} "
                "(stream against synthetic); give transform=, the callable that makes the stream's images of raw ones"
            )
        example = structure.split(self._mould)[1]
        value = stream.classes[label] if isinstance(label_value(example), str) else stream._values[label]
        parts = {structure.image: image, structure.label: _label_like(example, value)}
        return structure.replaced(self._mould, {**parts, **{key: fresh(value) for key, value in stream.fill.items()}})


def _missing(counts: npt.NDArray[Any], shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns how many of each class are missing if the class that is largest for its share stays as it is."""
    asked = shares > 0
    missing: npt.NDArray[np.float64] = shares * (counts[asked] / shares[asked]).max() - counts
    return missing.clip(min=0)


def _label_like(example: Any, value: Any) -> Any:
    """Returns a label as an object of the type, shape and dtype of another one."""
    if isinstance(example, Tensor):
        return torch.full_like(example, value)
    if isinstance(example, np.ndarray):
        return np.full_like(example, value)
    if isinstance(example, list | tuple):
        return type(example)([value])
    return type(example)(value)
