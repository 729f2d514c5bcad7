"""Which class each file of a folder is of: by the table, else by the folder that it lies in."""

from collections.abc import Mapping, Sequence

from gan_augment.errors import ConfigError, DataError
from gan_augment.pool.exports.about import About
from gan_augment.pool.exports.columns import from_cell, to_cell
from gan_augment.pool.exports.listing import Listing
from gan_augment.pool.exports.table import Line, Table

__all__ = ["class_names", "classes_of"]

_MOST_DIGITS = 9


def class_names(files: Mapping[str, Line | None], listing: Listing, table: Table, about: About) -> list[str]:
    """Returns the class of each file.

    In this order: the column `class`; the column `label` unless it holds numbers; the folder; the number.

    Raises:
        DataError: A file has none of them.
    """
    numbered = table.numbered
    return [_name(file, line, listing, numbered, about) for file, line in files.items()]


def _name(file: str, line: Line | None, listing: Listing, numbered: bool, about: About) -> str:
    if line is not None and line.class_cell is not None:
        own = _exported(line, about)
        if own is not None or line.class_cell:
            return from_cell(line.class_cell) if own is None else own
    if line is not None and line.label_cell and not numbered:
        return from_cell(line.label_cell)
    if folder := listing.folder_of(file):
        known = about.classes is not None and folder in about.folders
        return about.classes[about.folders[folder]] if known and about.classes is not None else folder
    if line is not None and line.label_cell:
        return line.label_cell
    raise DataError(
        f"expected a class for each image, found {file!r:.200} in no folder of a class and without one in "
        "metadata.csv; sort the images into a folder for each class"
    )


def _exported(line: Line, about: About) -> str | None:
    """Returns the class of an exported pool whose cell this is: the label tells two whose cells are alike apart."""
    label = line.label_cell or ""
    if about.classes is None or not label.isdecimal() or len(label) > _MOST_DIGITS or int(label) >= len(about.classes):
        return None
    name = about.classes[int(label)]
    return name if to_cell(name) == line.class_cell else None


def classes_of(names: Sequence[str], given: Sequence[str] | None, about: About) -> list[str]:
    """Returns the classes that labels count: the given ones, those of the exported pool, or what there is, sorted.

    Raises:
        ConfigError: A given one is given twice.
        DataError: A file is of none of them.
    """
    if given is None and about.classes is None:
        return sorted(set(names))
    chosen = list(given if given is not None else about.classes or ())
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"expected classes= of different names, found {', '.join(map(repr, chosen))[:300]}")
    if unknown := sorted(set(names) - set(chosen)):
        raise DataError(
            f"expected images of the classes {', '.join(map(repr, chosen))[:300]}, found some of "
            f"{', '.join(map(repr, unknown))[:300]}; remove them, or give all names as classes="
        )
    return chosen
