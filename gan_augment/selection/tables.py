"""Reports as tables: rows of JSON values, printed as text."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Rows with the same keys; printed as a table with a heading.

    Attributes:
        rows: Each a dict of JSON values; None for what is not known.
    """

    rows: Sequence[dict[str, Any]]

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the rows as JSON values."""
        return copy.deepcopy(list(self.rows))

    def __str__(self) -> str:
        if not self.rows:
            return "(nothing)"
        names = list(self.rows[0])
        cells = [
            [name.replace("_", " ") for name in names],
            *[[_cell(row[name]) for name in names] for row in self.rows],
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        number = [all(isinstance(row[name], (int, float, type(None))) for row in self.rows) for name in names]
        lines = []
        for line in cells:
            padded = [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, number, strict=True)
            ]
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines)


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
