"""What a rebalanced training set holds, class by class, as it was resolved."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["ClassRow", "MixReport"]


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


def _cells(row: ClassRow) -> tuple[str, ...]:
    available = "live" if row.available is None else str(row.available)
    return (
        row.name, str(row.real), str(row.slots), f"{row.synthetic:.0f}", available if row.slots else "", str(row.total),
        f"{row.share:.1%}", row.note,
    )  # fmt: skip
