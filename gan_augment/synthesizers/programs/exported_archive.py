"""Reads what `torch.export.save` wrote, JSON and raw numbers, without torch's own loader."""

import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, GanAugmentError
from gan_augment.synthesizers.programs.call import file_size, read_error
from gan_augment.synthesizers.readers.archive import read_bytes

__all__ = ["DTYPES", "WHAT", "Archive", "damaged", "sizes_of"]

WHAT = "a program that torch.export.save wrote"

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Types of numbers by their number in the file."""

_SCHEMA = 8
_MOST_BYTES = 2**36
_MOST_JSON = 64 * 2**20
_MOST_ENTRIES = 100_000
_DAMAGED = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError, RuntimeError, OSError,
    EOFError, ArithmeticError, AssertionError, zipfile.BadZipFile, zlib.error,
    struct.error, NotImplementedError, MemoryError,
)  # fmt: skip


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turns whatever a malformed file makes reading it raise into an ArtifactError."""
    try:
        yield
    except GanAugmentError:
        raise
    except _DAMAGED as error:
        raise read_error(WHAT, path, f"a damaged one ({type(error).__name__}: {error!s:.200})") from None


class Archive:
    """A `.pt2` file, held to be stored uncompressed, so that what it unpacks to is no larger than the file.

    Attributes:
        graph: The graph's JSON.
        signature: The JSON that says what the graph's inputs and outputs are.
        ranges: Least and most of each free size.
        weights: Parameters, buffers and constants by name.
    """

    def __init__(self, path: Path) -> None:
        """Reads it.

        Raises:
            ArtifactError: There is no such file, or it is no such archive; nothing in it was executed.
        """
        size = file_size(path, WHAT, _MOST_BYTES)
        with damaged(path), open(path, "rb") as file, _stored(file, size, path) as archive:
            program = self._read(archive, size, path)
            found = program["schema_version"]["major"]
            if found != _SCHEMA:
                raise read_error(WHAT, path, f"schema version {found!r:.20} instead of {_SCHEMA}")
            module = program["graph_module"]
            self.graph: dict[str, Any] = module["graph"]
            self.signature: dict[str, Any] = module["signature"]
            self.ranges: dict[str, Any] = program.get("range_constraints") or {}

    def _read(self, archive: zipfile.ZipFile, size: int, path: Path) -> dict[str, Any]:
        names = archive.namelist()
        if "serialized_exported_program.json" in names:  # torch 2.6 and 2.7
            self.weights = _old_tensors(archive, "serialized_state_dict", path)
            self.weights |= _old_tensors(archive, "serialized_constants", path)
            return _json(archive, "serialized_exported_program.json", path)
        models = [name for name in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", name)]
        if len(models) != 1:
            raise read_error(WHAT, path, f"{len(models)} programs")
        root, _, model = models[0].partition("/models/")
        order = f"{root}/byteorder"
        if order in names and archive.read(order) != b"little":
            raise read_error(WHAT, path, "numbers that are not little-endian")
        self.weights = {}
        for kind in ("weights", "constants"):
            folder = f"{root}/data/{kind}/"
            config = _json(archive, f"{folder}{model.removesuffix('.json')}_{kind}_config.json", path)["config"]
            self.weights |= _tensors(archive, folder, config, path)
        return _json(archive, models[0], path)


@contextmanager
def _stored(file: Any, size: int, path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive of distinct, uncompressed entries that together are no larger than the file."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        packed = any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries)
        total = sum(entry.file_size for entry in entries)
        if len(entries) > _MOST_ENTRIES or len(names) != len(entries) or packed or total > size:
            why = "compressed" if packed else f"{len(entries)} entries of {total} bytes in {size} bytes"
            raise read_error(WHAT, path, f"an archive that torch does not write ({why})")
        yield archive


def _json(archive: zipfile.ZipFile, name: str, path: Path) -> dict[str, Any]:
    if archive.getinfo(name).file_size > _MOST_JSON:
        raise read_error(WHAT, path, f"more than {_MOST_JSON >> 20} MiB of {name!r:.80}")
    value: dict[str, Any] = json.loads(archive.read(name))
    return value


def _old_tensors(archive: zipfile.ZipFile, stem: str, path: Path) -> dict[str, Tensor]:
    """Reads the state dict that older releases stored as a torch.save file; nothing that it names is called."""
    name = next(name for name in (f"{stem}.pt", f"{stem}.json") if name in archive.namelist())
    content = archive.read(name)
    if not content:
        return {}
    try:
        value = read_bytes(content)
    except ArtifactError as error:
        raise read_error(WHAT, path, f"a damaged {name}: {error}") from None
    if not isinstance(value, dict) or not all(isinstance(part, Tensor) for part in value.values()):
        raise read_error(WHAT, path, f"something else than tensors in {name}")
    return {str(name): part for name, part in value.items()}


def _tensors(archive: zipfile.ZipFile, folder: str, config: dict[str, Any], path: Path) -> dict[str, Tensor]:
    stores: dict[str, Tensor] = {}
    tensors = {}
    for name, entry in config.items():
        file = entry["path_name"]
        if entry["use_pickle"] or not isinstance(file, str) or not re.fullmatch(r"(weight|tensor)_\d+", file):
            raise read_error(WHAT, path, f"{name!r:.80} stored as a Python object ({file!r:.80}), which is not opened")
        meta = entry["tensor_meta"]
        if file not in stores:
            stores[file] = _raw(archive, folder + file)
        tensors[name] = _strided(stores[file], meta)
    return tensors


def _raw(archive: zipfile.ZipFile, name: str) -> Tensor:
    store = torch.empty(archive.getinfo(name).file_size, dtype=torch.uint8)
    with archive.open(name) as file:
        view, filled = memoryview(store.numpy()), 0  # type: ignore[arg-type]
        while filled < len(view):
            count = file.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                raise EOFError(f"{name} ends early")
            filled += count
        if file.read(1):
            raise EOFError(f"{name} does not end")
    return store


def _strided(store: Tensor, meta: dict[str, Any]) -> Tensor:
    """Returns the tensor that lies in `store`, after checking that it lies inside."""
    dtype, sizes, strides = DTYPES[meta["dtype"]], sizes_of(meta["sizes"]), sizes_of(meta["strides"])
    (offset,) = sizes_of([meta["storage_offset"]])
    count = store.numel() // dtype.itemsize
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    whole = math.prod(sizes)
    if whole > count or (whole and last >= count):
        raise ValueError(f"a tensor {tuple(sizes)} in {store.numel()} bytes")
    if not whole:
        return torch.empty(sizes, dtype=dtype)
    return store[: count * dtype.itemsize].view(dtype).as_strided(sizes, strides, offset)


def sizes_of(entries: list[dict[str, Any]]) -> list[int]:
    """Returns sizes that must all be plain numbers.

    Raises:
        ValueError: One is symbolic or negative.
    """
    sizes = [entry.get("as_int") for entry in entries]
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**62 for size in sizes):
        raise ValueError(f"sizes {sizes!r:.80}")
    return [int(size) for size in sizes if size is not None]
