"""The columns of a pool as text: what `metadata.csv` and the samples' JSON say of each row, and how it is read back."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gan_augment.errors import DataError
from gan_augment.pool.pool import SyntheticPool

__all__ = ["COLUMNS", "REVIEWS", "Column", "Record", "from_cell", "records", "to_cell"]

REVIEWS = ("", "keep", "reject", "unsure")
"""What `pool.reviews` counts: 0 is not reviewed."""

_FORMULA = tuple("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_LONGEST = 1000


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a pool says of one row; -1 and None for what is not known."""

    label: int
    class_name: str
    row: int
    seed: int
    score: float | None
    kept: bool
    reason: str
    parent: int
    weight: float | None
    review: str
    synthetic: bool = True

    @property
    def key(self) -> str:
        """The name of the row's files."""
        return f"{self.row:08d}"

    def values(self) -> dict[str, Any]:
        """Returns the columns by name as JSON values; numbers that JSON has not are None."""
        values = {"class" if name == "class_name" else name: value for name, value in asdict(self).items()}
        infinite = [name for name in ("score", "weight") if not math.isfinite(values[name] or 0)]
        return values | dict.fromkeys(infinite)

    def cells(self) -> dict[str, str]:
        """Returns the columns by name as text for a table."""
        cells = {"class" if name == "class_name" else name: value for name, value in asdict(self).items()}
        return {name: to_cell(value) for name, value in cells.items()}


def records(pool: SyntheticPool) -> Iterator[Record]:
    """Gives the columns of each row of a view, in its order."""
    reviews = getattr(pool, "reviews", None)
    reviews = np.zeros(len(pool), np.uint8) if reviews is None else np.asarray(reviews)
    columns = (pool.rows, pool.labels, pool.seeds, pool.kept, pool.reasons, pool.parents, reviews)
    for values in zip(pool.scores, pool.weights, *(column.tolist() for column in columns), strict=True):
        score, weight, row, label, seed, kept, reason, parent, review = values
        yield Record(
            label=label,
            class_name=pool.classes[label],
            row=row,
            seed=seed,
            score=_shortest(score),
            kept=kept,
            reason=reason,
            parent=parent,
            weight=_shortest(weight),
            review=REVIEWS[review] if 0 <= review < len(REVIEWS) else "",
        )


def _shortest(value: Any) -> float | None:
    """Returns the shortest float that gives `value` again as float32."""
    return None if math.isnan(value) else float(str(np.float32(value)))


def to_cell(value: Any) -> str:
    """Returns a value as the text of a table's cell that no spreadsheet takes for a formula.

    Text that begins like one gets an apostrophe in front; what UTF-8 and tables cannot hold is written as an escape.
    """
    if value is None:
        return ""
    text = str(value).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def from_cell(text: str) -> str:
    """Returns the text that `to_cell` made a cell of."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that is read back.

    Attributes:
        dtype: numpy's name.
        unknown: The value of a row that does not tell.
        read: Makes a value of a cell that is not empty.
        expected: What a cell must hold, for the message.
    """

    dtype: str
    unknown: Any
    read: Callable[[str], Any]
    expected: str

    def value(self, cell: str, name: str, where: str) -> Any:
        """Returns the value of a cell.

        Raises:
            DataError: It holds something else.
        """
        if cell == "":
            return self.unknown
        try:
            return self.read(cell)
        except (ValueError, OverflowError):
            raise DataError(
                f"expected {self.expected} in column {name!r} of {where}, found {cell[:60]!r}; a spreadsheet may have "
                "changed it when it was saved: restore the file, or remove the column"
            ) from None


def _whole(cell: str) -> int:
    if len(cell) > 20 or not re.fullmatch(r"-1|[0-9]+", cell) or int(cell) >= 2**63:
        raise ValueError
    return int(cell)


def _number(cell: str) -> float:
    if len(cell) > 60 or "_" in cell:
        raise ValueError
    return float(cell)


def _weight(cell: str) -> float:
    if not 0 <= (value := _number(cell)) <= float(np.finfo(np.float32).max):
        raise ValueError
    return value


def _flag(cell: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[cell.lower()]


def _words(cell: str) -> str:
    if len(cell) > _LONGEST:
        raise ValueError
    return from_cell(cell)


def _checked(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def reader(cell: str) -> Any:
        try:
            return read(cell)
        except KeyError:
            raise ValueError from None

    return reader


_WHOLE = "a whole number from -1 (not known) to 2**63 - 1"

COLUMNS: dict[str, Column] = {
    "row": Column(dtype="int64", unknown=-1, read=_whole, expected=_WHOLE),
    "seed": Column(dtype="int64", unknown=-1, read=_whole, expected=_WHOLE),
    "score": Column(dtype="float32", unknown=math.nan, read=_number, expected="a number"),
    "kept": Column(dtype="bool", unknown=True, read=_checked(_flag), expected="True or False"),
    "reason": Column(dtype="str", unknown="", read=_words, expected=f"at most {_LONGEST} characters"),
    "parent": Column(dtype="int64", unknown=-1, read=_whole, expected=_WHOLE),
    "weight": Column(dtype="float32", unknown=1.0, read=_weight, expected="a finite number of at least 0"),
    "review": Column(
        dtype="uint8", unknown=0, read=_checked(REVIEWS.index), expected=f"one of {', '.join(REVIEWS[1:])}"
    ),
}
"""What is read back of `metadata.csv`, by the name of the column."""
