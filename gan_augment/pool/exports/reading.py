"""read_folder: an image folder as the material of a pool, one that `export` wrote or one from elsewhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import DataError
from gan_augment.forms import RawForm
from gan_augment.pool.arrays import store_of_arrays
from gan_augment.pool.exports.about import read_about
from gan_augment.pool.exports.columns import COLUMNS
from gan_augment.pool.exports.listing import Listing, listed
from gan_augment.pool.exports.naming import class_names, classes_of
from gan_augment.pool.exports.pixels import read_masks, read_pictures
from gan_augment.pool.exports.table import Line, Table, read_table
from gan_augment.pool.pool import SyntheticPool
from gan_augment.types import IntArray

__all__ = ["ReadBack", "read_folder"]

_MOST_BYTES = 2**33

Files = dict[str, Line | None]
"""Files that are read, in order, and what the table says of each."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReadBack:
    """What a folder holds.

    Attributes:
        images: `(N, H, W)`, or of several channels `(N, H, W, C)`, in the raw dtype.
        labels: `(N,)` int64, index into `classes`.
        classes: Class names.
        masks: `(N, H, W)` int32; None where there are none.
        columns: What `metadata.csv` says of each image: row, seed, score, kept, reason, parent, weight, review; what it
            does not say is -1, -1, NaN, True, "", -1, 1 and 0.
        files: The file of each image, from the folder on.
        form: The raw form: that of the exported pool where it is known and the files still have it, else PIL's.
        about: What `gan_augment.json` says, as it stands there: to show, not to trust; empty where there is none.
        notes: In what files and table differ.
    """

    images: npt.NDArray[Any]
    labels: IntArray
    classes: list[str]
    masks: npt.NDArray[np.int32] | None
    columns: dict[str, npt.NDArray[Any]]
    files: list[str]
    form: RawForm
    about: Mapping[str, Any]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.images.shape[1:]))
        return f"ReadBack({len(self)} images of {size} {self.images.dtype}, {len(self.classes)} classes)"

    def pool(self) -> SyntheticPool:
        """Returns the images as a pool in memory, with what the table says of each; a view of the kept ones."""
        known, reasons = self._known(), self._reasons()
        arrays = self.images, self.labels, self.classes, self.masks
        return SyntheticPool(store_of_arrays(*arrays, known=known, reasons=reasons, form=self.form))

    def _reasons(self) -> list[str]:
        return ["", *sorted(set(self.columns["reason"].tolist()) - {""})]

    def _known(self) -> dict[str, npt.NDArray[Any]]:
        index = {text: code for code, text in enumerate(self._reasons())}
        reason = np.array([index[text] for text in self.columns["reason"].tolist()], np.uint16)
        known = {name: self.columns[name] for name in ("seed", "score", "parent", "weight", "review")}
        return {**known, "keep": self.columns["kept"], "reason": reason}


def read_folder(
    folder: str | Path, *, classes: Sequence[str] | None = None, most_bytes: int = _MOST_BYTES, progress: bool = True
) -> ReadBack:
    """Reads an image folder: `<class>/*.png` (jpg, tif, ...), with or without Hugging Face's `metadata.csv`.

    Images that somebody deleted from an exported folder are gone; of one that was moved into the folder of another
    class the new class counts, and what the table says of it is kept. Nothing is written, no link is followed and
    nothing that lies there is run.

    Args:
        folder: The folder.
        classes: Class names in the order of the labels; None for those of the exported pool, or for the names that
            there are, sorted.
        most_bytes: Refuse to hold more of them in memory.
        progress: Whether to show a bar on a terminal.

    Raises:
        DataError: It is no folder of images of one size and type, or what stands beside them is damaged.
    """
    folder = Path(folder)
    listing = listed(folder)
    table, about = read_table(folder / "metadata.csv"), read_about(folder)
    files, notes = _matched(listing, table, exported=bool(about.told))
    names = class_names(files, listing, table, about)
    chosen = classes_of(names, classes, about)
    index = {name: label for label, name in enumerate(chosen)}
    masks = _mask_files(folder, listing, files)
    pixels = read_pictures(folder, list(files), about.form, most_bytes, progress)
    height, width = pixels.arrays.shape[1:3]
    return ReadBack(
        images=pixels.arrays,
        labels=np.array([index[name] for name in names], np.int64),
        classes=chosen,
        masks=read_masks(folder, masks, (height, width), most_bytes) if masks else None,
        columns=_columns(list(files.values())),
        files=list(files),
        form=pixels.form,
        about=about.told,
        notes=notes,
    )


def _matched(listing: Listing, table: Table, *, exported: bool) -> tuple[Files, list[str]]:
    """Returns the images in the order of the table, those that it does not name after them; and what differs."""
    masks = {line.mask for line in table.lines.values()}
    there = {file: None for file in listing.images if file not in masks}
    if not there:
        raise DataError("expected images, found nothing but the masks that metadata.csv names")
    files: Files = {file: line for file, line in table.lines.items() if file in there}
    gone = [file for file in table.lines if file not in there]
    others = [file for file in there if file not in files]
    moved = _moved(gone, others) if exported else {}
    # where it lies now tells its class
    files |= {
        file: replace(table.lines[moved[file]], class_cell=None, label_cell=None) if file in moved else None
        for file in others
    }
    counts = {
        "lie in another folder than metadata.csv says, whose class they are now": len(moved),
        "of metadata.csv are not there and were left out": len(gone) - len(moved),
        "are not in metadata.csv, and nothing but their class is known": len(others) - len(moved) if table.lines else 0,
    }
    return files, [f"{number} images {what}" for what, number in counts.items() if number]


def _moved(gone: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """Returns of files that the table does not name the one that it names instead: of the same name, elsewhere."""
    before, after = (Counter(PurePosixPath(file).name for file in files) for files in (gone, others))
    by_name = {PurePosixPath(file).name: file for file in gone}
    names = {file: PurePosixPath(file).name for file in others}
    return {file: by_name[name] for file, name in names.items() if before[name] == after[name] == 1}


def _mask_files(folder: Path, listing: Listing, files: Files) -> list[str]:
    """Returns the mask of each image, or none where no image has one."""
    there = {*listing.images, *listing.masks.values()}
    masks = []
    for file, line in files.items():
        stem = str(PurePosixPath(file.removeprefix(listing.root)).with_suffix(""))
        mask = line.mask if line is not None and line.mask else listing.masks.get(stem)
        if mask is not None and mask not in there:
            raise DataError(f"expected the mask {mask!r:.200} of {file!r:.200} in {folder}, found no such image")
        masks.append(mask)
    found = [mask for mask in masks if mask is not None]
    if found and len(found) < len(files):
        lacking = [file for file, mask in zip(files, masks, strict=True) if mask is None]
        raise DataError(
            f"expected a mask of each of the {len(files)} images in {folder}, found none of {len(lacking)}: "
            f"{', '.join(lacking[:3])[:300]}; add them, or remove all masks"
        )
    return found


def _columns(lines: Sequence[Line | None]) -> dict[str, npt.NDArray[Any]]:
    """Returns what the table says of each image by column."""
    return {
        name: np.array([column.unknown if line is None else line.values[name] for line in lines], column.dtype)
        for name, column in COLUMNS.items()
    }
