"""Opening the folder of a pool: nothing in it is trusted."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import check_names, pop_fitted_on, read_tensors
from gan_augment.errors import ArtifactError
from gan_augment.fingerprint import FittedOn
from gan_augment.geometry import as_affine
from gan_augment.images import ImageSpec
from gan_augment.pool.columns import COLUMNS, MASK_DTYPE, Columns
from gan_augment.pool.document import flattened
from gan_augment.pool.layout import (
    FITTED_ON,
    MOST_PARTS,
    MOST_SHARDS,
    column_file,
    files_of_part,
    part_name,
    read_about,
    shard_file,
    shards_of,
)
from gan_augment.pool.store import Store, read_form

__all__ = ["check_document", "map_columns", "map_images", "read_store"]

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
_MOST_ROWS = 2**40
_MOST_CELLS = 2**31
_MOST_HASHES = 2**31
"""Bytes of what a part was fitted on: of 130 million images."""

_SHA256 = re.compile("[0-9a-f]{64}")
_ORIGIN: dict[str, Any] = {
    "fingerprint": Mapping,
    "needed": Mapping,
    "notes": list,
    "settings": Mapping,
    "seed": int,
    "selector": Mapping | None,
    "licence": str | None,
    "like": Mapping | None,
}
"""What a part that was drawn tells, and of which type."""


def read_store(folder: str | Path) -> Store:
    """Opens a pool's folder; images and columns are mapped, not read.

    Raises:
        ArtifactError: It is missing, damaged, half-written or of another version.
    """
    folder = Path(folder).absolute()  # a worker, or a process that unpickles it, may stand elsewhere
    document = read_about(folder)
    try:
        check_document(document)
        flattened(document)
    except _MALFORMED as error:
        raise ArtifactError(f"expected a whole pool in {folder}, found {error!r}; it is damaged") from None
    images, masks = map_images(folder, document)
    columns = map_columns(folder, document)
    try:
        read_form(document)[0].raw(images[0][0])
    except Exception as error:  # a form out of a file fails in many ways
        raise ArtifactError(f"expected the form of raw images in {folder}, found {error!r}; it is damaged") from None
    for name, values, limit in (
        ("label", columns.label, len(document["classes"])),
        ("reason", columns.reason, len(document["reasons"])),
    ):
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            raise ArtifactError(f"expected {name} from 0 to {limit - 1} in {folder}, found others; it is damaged")
    fitted_on = [_fitted_on(folder / part["folder"]) for part in document["parts"]]
    return Store(images, columns, document, FittedOn.union(*fitted_on), folder, masks)


def check_document(document: Mapping[str, Any]) -> None:
    """Checks that `pool.json` is what this library writes.

    Raises:
        KeyError, TypeError, ValueError: It is not.
    """
    form, spec = read_form(document)
    as_affine(document.get("affine"))
    if any(type(side) is not int for side in (form.channels, *document["form"]["shape"])):
        raise TypeError("form")
    if form.channels * math.prod(document["form"]["shape"]) > _MOST_CELLS:
        raise ValueError(f"images of {form.channels} channels and {form.shape}")
    if spec is not None and not (min(spec.grid) > 0 and math.prod(spec.grid) <= _MOST_CELLS):
        raise ValueError(f"grid {spec.grid}")
    check_names(document["classes"], "classes")
    if check_names(document["reasons"], "reasons")[:1] != [""]:
        raise ValueError("reasons")
    if len(document["values"]) != len(document["classes"]) or not isinstance(document["named"], bool):
        raise ValueError("values or named")
    if not all(type(value) in (int, str) for value in document["values"]):
        raise ValueError("values")
    parts = document["parts"]
    if not isinstance(parts, list) or not 1 <= len(parts) <= MOST_PARTS:
        raise ValueError("parts")
    _check_origins(document.get("origins", []))
    for number, part in enumerate(parts):
        _check_part(part, number)
    if document["rows"] != sum(part["rows"] for part in parts):
        raise ValueError(f"{document['rows']} rows beside {sum(part['rows'] for part in parts)} in the parts")
    if len({part["masks"] for part in parts}) > 1:
        raise ValueError("masks in some parts only")


def _check_part(part: Any, number: int) -> None:
    if part["folder"] != part_name(number):
        raise ValueError(f"folder {part['folder']!r:.40}")
    for name in ("rows", "shard_rows", "chunk"):
        if type(part[name]) is not int or not 0 < part[name] < _MOST_ROWS:
            raise ValueError(f"{name} {part[name]!r:.40}")
    if part["shard_rows"] % part["chunk"] or math.ceil(part["rows"] / part["shard_rows"]) > MOST_SHARDS:
        raise ValueError(f"shard_rows {part['shard_rows']}")
    if not isinstance(part["masks"], bool):
        raise TypeError("masks")
    wanted = set(files_of_part(part["rows"], part["shard_rows"], part["masks"]))
    if set(part["files"]) != wanted or not all(_SHA256.fullmatch(told) for told in part["files"].values()):
        raise ValueError(f"files of {part['folder']}")
    if "fingerprint" in part:
        _check_origin(part)


def _check_origins(origins: Any) -> None:
    """Checks what is said of released weights; pools of before say nothing."""
    if not isinstance(origins, list) or not all(isinstance(origin, Mapping) for origin in origins):
        raise TypeError(f"origins {origins!r:.40}")


def _check_origin(part: Mapping[str, Any]) -> None:
    """Checks what a part says of who drew it and for whom."""
    for name, kinds in _ORIGIN.items():
        if not isinstance(part[name], kinds):
            raise TypeError(f"{name} {part[name]!r:.40}")
    _check_origins(part.get("origins", []))
    if not all(type(number) is int for number in part["needed"].values()):
        raise TypeError("needed")
    if (like := part["like"]) is not None:
        int(like["items"]), str(like["identity"])
    if (settings := part.get("settings")) is not None:
        ImageSpec.from_json(settings["image_spec"])
        check_names(settings["classes"], "classes")
        if not set(part["needed"]) <= set(settings["classes"]):
            raise ValueError("needed")


def map_images(
    folder: Path, document: Mapping[str, Any]
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]] | None]:
    """Maps images and masks; None for masks where there are none.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    form, _ = read_form(document)
    spatial = form.shape or ()
    images, masks = [], []
    for part in document["parts"]:
        for number, rows in enumerate(shards_of(part["rows"], part["shard_rows"])):
            place = folder / part["folder"]
            images.append(_map(place / shard_file("images", number), (rows, form.channels, *spatial), form.dtype))
            if part["masks"]:
                masks.append(_map(place / shard_file("masks", number), (rows, 1, *spatial), MASK_DTYPE))
    return images, masks or None


def map_columns(folder: Path, document: Mapping[str, Any]) -> Columns:
    """Maps the columns; those of several parts are joined in memory.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    parts = []
    for part in document["parts"]:
        place, rows = folder / part["folder"], part["rows"]
        found = {n: np.asarray(_map(place / column_file(n), (rows,), dtype)) for n, (dtype, _) in COLUMNS.items()}
        parts.append(Columns(**found))
    return Columns.concatenate(parts)


def _fitted_on(place: Path) -> FittedOn:
    return pop_fitted_on(read_tensors(place / FITTED_ON, most=_MOST_HASHES), place)


def _map(path: Path, shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    if not path.is_file():
        raise ArtifactError(f"expected a file of the pool in {path}, found none; the pool is damaged")
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's parser of headers lets out errors of many types
        raise ArtifactError(f"expected an array in {path}, found a damaged file ({error})") from None
    if found.shape != shape or str(found.dtype) != dtype or not found.flags.c_contiguous:
        raise ArtifactError(
            f"expected {dtype} {shape} in {path}, found {found.dtype} {found.shape}; the file is damaged"
        )
    return found
