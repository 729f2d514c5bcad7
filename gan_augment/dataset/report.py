"""What a rebalanced training set holds, class by class, as it was resolved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gan_augment.dataset.slots import Slots
from gan_augment.dataset.supply import LiveSupply, PoolSupply
from gan_augment.source import RawView

__all__ = ["ClassRow", "MixReport", "class_rows"]


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class of a rebalanced training set.

    Attributes:
        name: The class.
        real: Real images.
        slots: Items that were added.
        synthetic: How many of them are synthetic in the present epoch, on average.
        available: Synthetic images that they are drawn from; None where they are drawn live.
        total: Items of the class in an epoch.
        share: Of all items of an epoch.
        note: What is worth knowing; empty where nothing is.
    """

    name: str
    real: int
    slots: int
    synthetic: float
    available: int | None
    total: int
    share: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class MixReport:
    """A table of the classes; as text by `str`, as JSON values by `to_json`.

    Attributes:
        classes: One row a class.
        strategy: The sampling strategy as it was given.
        synthetic_share: Probability that a slot is synthetic in the present epoch.
        epoch: The present epoch.
    """

    classes: tuple[ClassRow, ...]
    strategy: str
    synthetic_share: float
    epoch: int

    def to_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        heads = ("class", "real", "slots", "synthetic", "drawn from", "total", "share", "")
        rows = [heads, *(_cells(row) for row in self.classes)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
        told = f"sampling_strategy={self.strategy}, synthetic_share={self.synthetic_share:g} in epoch {self.epoch}"
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, 7)), row[7]]).rstrip()
            for row in rows
        ]
        return "\n".join([told, *lines])


def class_rows(
    view: RawView, slots: Slots, supply: PoolSupply | LiveSupply | None, share: float, notes: Mapping[int, str]
) -> tuple[ClassRow, ...]:
    """Returns a row for each class.

    Args:
        view: The dataset.
        slots: Its slots.
        supply: Where synthetic images come from.
        share: Probability that a slot is synthetic.
        notes: What is worth knowing, by class.
    """
    numbers = np.bincount(slots.labels, minlength=view.num_classes).tolist()
    synthetic, length = slots.expected(share), len(view) + len(slots)
    return tuple(
        ClassRow(
            name=name,
            real=int(view.counts[label]),
            slots=numbers[label],
            synthetic=float(synthetic[label]),
            available=None if isinstance(supply, LiveSupply) else 0 if supply is None else len(supply.rows(label)),
            total=int(view.counts[label]) + numbers[label],
            share=(int(view.counts[label]) + numbers[label]) / length,
            note=notes.get(label, ""),
        )
        for label, name in enumerate(view.classes)
    )


def _cells(row: ClassRow) -> tuple[str, ...]:
    available = "live" if row.available is None else str(row.available)
    return (
        row.name, str(row.real), str(row.slots), f"{row.synthetic:.0f}", available if row.slots else "", str(row.total),
        f"{row.share:.1%}", row.note,
    )  # fmt: skip
