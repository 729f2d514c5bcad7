"""Reading `metadata.csv`, whoever wrote it: bounded, nothing taken on trust, nothing outside its folder named."""

import csv
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan_augment.errors import DataError
from gan_augment.pool.exports.columns import COLUMNS, from_cell

__all__ = ["Line", "Table", "read_table"]

_MOST_BYTES = 2**28
_MOST_LINES = 2**22
_MOST_COLUMNS = 256
_LONGEST_PATH = 4096
_NAMES = ("file_name", "mask_file_name", "class", "label")


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the table says of one file.

    Attributes:
        class_cell: The cell of the column `class` as it stands there; None without one.
        label_cell: That of `label`.
        mask: The file of its mask; None without one.
        values: What it says of `COLUMNS`, by name.
    """

    class_cell: str | None
    label_cell: str | None
    mask: str | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The lines of `metadata.csv` by file name, in their order; empty where there is none.

    Attributes:
        lines: The lines.
        numbered: Whether every label is a number.
    """

    lines: dict[str, Line] = field(default_factory=dict)

    @property
    def numbered(self) -> bool:
        """Whether every label is a number, or not told."""
        return all((line.label_cell or "0").isdecimal() for line in self.lines.values())


def read_table(path: Path) -> Table:
    """Reads `metadata.csv`; columns that are not known here are passed over.

    Raises:
        DataError: It is no table, or one of its cells cannot be what its column says.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return Table()
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
        raise DataError(
            f"expected {path} to be a file of at most {_MOST_BYTES >> 20} MiB, found "
            f"{f'{found.st_size} bytes' if stat.S_ISREG(found.st_mode) else 'no regular file'}"
        )
    lines: dict[str, Line] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for number, cells in _rows(csv.reader(file, strict=True), path):
                where = f"line {number} of {path}"
                name = _inside(cells["file_name"], where)
                if name in lines:
                    raise DataError(f"expected each file once in {path}, found {name!r:.200} again in line {number}")
                lines[name] = _line(cells, where)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"expected a table of UTF-8 text in {path}, found something else ({error})") from None
    return Table(lines)


def _rows(reader: Any, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Gives the known cells of each line with its number."""
    header: list[str] = next(reader, [])
    if len(header) > _MOST_COLUMNS or "file_name" not in header:
        raise DataError(f"expected a column file_name in {path}, found the columns {', '.join(header[:20])[:300]!r}")
    wanted = [name for name in (*_NAMES, *COLUMNS) if name in header]
    if twice := [name for name in wanted if header.count(name) > 1]:
        raise DataError(f"expected each column once in {path}, found {', '.join(twice)} again")
    places = {name: header.index(name) for name in wanted}
    count = 0
    for cells in reader:
        if not cells:
            continue
        count += 1
        if len(cells) != len(header) or count > _MOST_LINES:
            raise DataError(
                f"expected at most {_MOST_LINES} lines of {len(header)} cells in {path}, found line {reader.line_num} "
                f"of {len(cells)}"
            )
        yield reader.line_num, {name: cells[place] for name, place in places.items()}


def _line(cells: dict[str, str], where: str) -> Line:
    mask = cells.get("mask_file_name")
    return Line(
        class_cell=cells.get("class"),
        label_cell=cells.get("label"),
        mask=_inside(mask, where) if mask else None,
        values={name: column.value(cells.get(name, ""), name, where) for name, column in COLUMNS.items()},
    )


def _inside(name: str, where: str) -> str:
    """Returns a file name that cannot lead out of the folder, as it stands in a listing."""
    told = from_cell(name).removeprefix("./")
    parts = told.split("/")
    if "\\" in told or "\0" in told or len(told) > _LONGEST_PATH or any(part in ("", ".", "..") for part in parts):
        raise DataError(
            f"expected the path of a file inside the folder, with forward slashes, in {where}, found {name[:200]!r}"
        )
    return told
