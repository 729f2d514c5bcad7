"""Slots: what each item beyond the reals is in an epoch, as a function of (seed, epoch, index)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.errors import ConfigError
from gan_augment.seeds import slots_uniforms
from gan_augment.types import IntArray

__all__ = ["PhaseOut", "Plan", "SharedEpoch", "Slots"]

_BLOCK = 16384


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


class SharedEpoch:
    """The number of an epoch in memory that worker processes share, however they were started."""

    def __init__(self, epoch: int = 0) -> None:
        self._share(torch.tensor([epoch], dtype=torch.int64).share_memory_())

    def _share(self, cell: torch.Tensor) -> None:
        self._cell, self._values = cell, cell.numpy()  # a tensor's own item costs a microsecond to read

    def set(self, epoch: int, base: Any) -> None:
        """Sets the number for every process, and tells it to a base that wants to know."""
        self._values[0] = epoch
        if callable(tell := getattr(base, "set_epoch", None)):
            tell(epoch)

    def get(self) -> int:
        """Returns the number that was set last."""
        return self._values.item(0)  # type: ignore[no-any-return]

    def __getstate__(self) -> torch.Tensor:
        return self._cell

    def __setstate__(self, cell: torch.Tensor) -> None:
        self._share(cell.share_memory_())  # a copy is shared anew


class Slots:
    """The slots of a dataset: the class of each, and what it can be.

    Args:
        labels: `(S,)` class index of each slot.
        first: Index of the first slot in the dataset: the number of reals.
        members: For each class the items of the base.
        rows: For each class the rows of the pool that can be drawn; of images that are drawn live, the items of the
            base that they may be drawn from.
    """

    def __init__(self, labels: IntArray, first: int, members: Sequence[IntArray], rows: Sequence[IntArray]) -> None:
        self.labels, self.first = labels, first
        self._members, self._member_starts, self._member_counts = _flat(members)
        self._rows, self._row_starts, self._row_counts = _flat(rows)

    def __len__(self) -> int:
        return len(self.labels)

    def codes(self, seed: int, epoch: int, share: float, at: slice) -> IntArray:
        """Returns for some slots the row where it is synthetic, else -1 - i for the real item i that it repeats."""
        labels = self.labels[at]
        start = self.first + (at.start or 0)
        dice, which = slots_uniforms(seed, epoch, np.arange(start, start + len(labels), dtype=np.int64))
        counts = self._row_counts[labels]
        synthetic = (counts > 0) & (dice < share)
        codes = -1 - self._members[self._member_starts[labels] + (which * self._member_counts[labels]).astype(np.int64)]
        rows = self._row_starts[labels] + (which * counts).astype(np.int64)
        codes[synthetic] = self._rows[rows[synthetic]]
        return codes

    def expected(self, share: float) -> npt.NDArray[np.float64]:
        """Returns how many slots of each class are synthetic on average."""
        numbers = np.bincount(self.labels, minlength=len(self._row_counts)) * (self._row_counts > 0) * share
        return numbers.astype(np.float64)


def _flat(parts: Sequence[IntArray]) -> tuple[IntArray, IntArray, IntArray]:
    """Returns all parts in one array, where each begins in it, and how long each is."""
    counts = np.array([len(part) for part in parts], np.int64)
    return np.concatenate([np.empty(0, np.int64), *parts]), np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


class Plan:
    """What the slots are in one epoch, worked out block by block where it is asked for.

    Args:
        slots: The slots.
        key: (seed, epoch, share).
    """

    def __init__(self, slots: Slots, key: tuple[int, int, float]) -> None:
        self.slots, self.key = slots, key
        self._codes: IntArray = np.empty(len(slots), np.int64)
        self._done = [False] * -(-len(slots) // _BLOCK)
        self._left = len(self._done)

    def code(self, slot: int) -> int:
        """Returns the row of a slot, or -1 - i for the real item i that it repeats."""
        if self._left and not self._done[slot // _BLOCK]:
            self._fill(slot // _BLOCK)
        code: int = self._codes.item(slot)
        return code

    def codes(self, slots: IntArray) -> list[int]:
        """Returns the same for several slots."""
        if self._left:
            for block in {slot // _BLOCK for slot in slots.tolist()}:
                if not self._done[block]:
                    self._fill(block)
        codes: list[int] = self._codes[slots].tolist()
        return codes

    def _fill(self, block: int) -> None:
        at = slice(block * _BLOCK, (block + 1) * _BLOCK)
        self._codes[at] = self.slots.codes(*self.key, at)
        self._done[block] = True
        self._left -= 1
