"""The columns of a pool: one value a row, one `.npy` file each."""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gan_augment.types import IntArray

__all__ = ["COLUMNS", "MASK_DTYPE", "Columns"]

MASK_DTYPE = "int32"

COLUMNS: dict[str, tuple[str, Any]] = {
    "label": ("int64", 0),
    "seed": ("int64", -1),
    "score": ("float32", np.nan),
    "keep": ("bool", True),
    "reason": ("uint16", 0),
    "parent": ("int64", -1),
    "weight": ("float32", 1.0),
    "review": ("uint8", 0),
}
"""numpy's type of each column, and its value where nothing is known."""


@dataclass(frozen=True, eq=False)
class Columns:
    """One value a row.

    Attributes:
        label: `(N,)` int64, index into the pool's classes.
        seed: `(N,)` int64; -1 where the row was not drawn here.
        score: `(N,)` float32, the selector's; see `Decision`. NaN where there was none.
        keep: `(N,)` bool, the selector's decision.
        reason: `(N,)` uint16, index into the pool's reasons, of which the first is empty.
        parent: `(N,)` int64, the item of the dataset that the row was made from; -1 for none.
        weight: `(N,)` float32, how much the selector would have it count in a loss.
        review: `(N,)` uint8, what a person said: 0 nothing yet, 1 keep, 2 reject, 3 unsure.
    """

    label: IntArray
    seed: IntArray
    score: npt.NDArray[np.float32]
    keep: npt.NDArray[np.bool_]
    reason: npt.NDArray[np.uint16]
    parent: IntArray
    weight: npt.NDArray[np.float32]
    review: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.label)

    @classmethod
    def of(cls, label: npt.NDArray[Any], **known: npt.NDArray[Any]) -> Self:
        """Returns the columns of rows with these labels `(N,)`; what is not `known` has its default."""
        given = {"label": label, **known}
        columns = {}
        for name, (dtype, default) in COLUMNS.items():
            column = given[name] if name in given else np.full(len(label), default)
            columns[name] = np.asarray(column).astype(dtype, copy=False)
        return cls(**columns)

    @classmethod
    def concatenate(cls, parts: "list[Columns]") -> "Columns":
        """Returns the rows of all parts; those of one part are not copied."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def __getitem__(self, rows: Any) -> "Columns":
        """Returns the rows that `rows` (a mask, a slice or indices) picks."""
        return Columns(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})
