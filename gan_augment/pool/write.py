"""Writing a pool: images shard by shard as they are drawn, then columns and `pool.json`."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.artifacts import new_folder, storing, write_json, write_tensors
from gan_augment.fingerprint import FittedOn
from gan_augment.pool.store import MASK_DTYPE, Columns, Store, read_store

__all__ = ["FolderSink", "MemorySink", "ShardWriter", "open_sink"]

_SHARD_ROWS = 65536


class ShardWriter:
    """Appends images to one `.npy` file after another; the number of rows is known beforehand.

    Plain writes rather than a writable map: on a full disk a map ends the process with a bus error.

    Args:
        folder: Where the shards go.
        rows: Rows of the whole pool.
        shape: `(C, *raw_shape)` of an image.
        dtype: numpy's name of the raw dtype.
        shard_rows: Rows of a file, the last one aside.
        what: The files' name: "images" or "masks".

    Attributes:
        shards: Name and shape of each shard begun.
    """

    def __init__(
        self,
        folder: Path,
        rows: int,
        shape: tuple[int, ...],
        dtype: str,
        shard_rows: int = _SHARD_ROWS,
        what: str = "images",
    ) -> None:
        self.what = what
        self.folder, self.shape, self.dtype, self.shard_rows = folder, shape, np.dtype(dtype), shard_rows
        self.shards: list[dict[str, Any]] = []
        self._left, self._room = rows, 0
        self._file: io.BufferedWriter | None = None

    def append(self, images: npt.NDArray[Any]) -> None:
        """Writes images `(n, C, *raw_shape)`.

        Raises:
            StorageError: The disk refused.
        """
        with storing(self.folder):
            while len(images):
                if self._file is None:
                    self._open()
                assert self._file is not None
                part, images = images[: self._room], images[self._room :]
                self._file.write(np.ascontiguousarray(part, dtype=self.dtype).tobytes())
                self._room -= len(part)
                if self._room == 0:
                    self.close()

    def _open(self) -> None:
        self._room = min(self._left, self.shard_rows)
        self._left -= self._room
        name = f"{self.what}-{len(self.shards):05d}.npy"
        self.shards.append({"name": name, "shape": [self._room, *self.shape]})
        self._file = open(self.folder / name, "wb")  # noqa: SIM115  (closed by close)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self._room, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Syncs and closes the shard in work."""
        if self._file is not None:
            file, self._file = self._file, None
            with storing(self.folder), file:
                file.flush()
                os.fsync(file.fileno())


class MemorySink:
    """Keeps the images in memory."""

    def __init__(self) -> None:
        self._parts: list[npt.NDArray[Any]] = []
        self._masks: list[npt.NDArray[Any]] = []

    def append(self, images: npt.NDArray[Any], masks: npt.NDArray[Any] | None = None) -> None:
        """Takes images `(n, C, *raw_shape)` and masks `(n, 1, *raw_shape)`."""
        self._parts.append(images)
        if masks is not None:
            self._masks.append(masks)

    def finish(self, columns: Columns, about: dict[str, Any], fitted_on: FittedOn) -> None:
        """Has nothing to write."""

    def store(self, columns: Columns, about: dict[str, Any], fitted_on: FittedOn) -> Store:
        """Returns the store."""
        masks = [np.concatenate(self._masks)] if self._masks else None
        return Store([np.concatenate(self._parts)], columns, about, fitted_on, masks=masks)


class FolderSink:
    """Writes the images beside `out`; the folder takes its place when the context of `open_sink` closes."""

    def __init__(self, out: Path, writer: ShardWriter, masks: ShardWriter) -> None:
        self._out, self._writer, self._masks = out, writer, masks

    def append(self, images: npt.NDArray[Any], masks: npt.NDArray[Any] | None = None) -> None:
        """Takes images `(n, C, *raw_shape)` and masks `(n, 1, *raw_shape)`."""
        self._writer.append(images)
        if masks is not None:
            self._masks.append(masks)

    def finish(self, columns: Columns, about: dict[str, Any], fitted_on: FittedOn) -> None:
        """Writes `columns.safetensors` and, last, `pool.json`."""
        folder, names = self._writer.folder, Columns.__annotations__
        self._writer.close()
        self._masks.close()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(columns, name))) for name in names}
        write_tensors(folder / "columns.safetensors", {**tensors, **fitted_on.tensors()})
        write_json(folder / "pool.json", {**about, "shards": self._writer.shards, "mask_shards": self._masks.shards})

    def store(self, columns: Columns, about: dict[str, Any], fitted_on: FittedOn) -> Store:
        """Opens what was written."""
        return read_store(self._out)


@contextlib.contextmanager
def open_sink(out: Path | None, rows: int, shape: tuple[int, ...], dtype: str) -> Iterator[MemorySink | FolderSink]:
    """Gives where the images of a pool go: a new folder that appears when all went well, or memory.

    Args:
        out: The folder; None for memory.
        rows: Rows of the whole pool.
        shape: `(C, *raw_shape)` of an image.
        dtype: numpy's name of the raw dtype.
    """
    if out is None:
        yield MemorySink()
        return
    with (
        new_folder(out, "pool") as work,
        contextlib.closing(ShardWriter(work, rows, shape, dtype)) as writer,
        contextlib.closing(ShardWriter(work, rows, (1, *shape[1:]), MASK_DTYPE, what="masks")) as masks,
    ):
        yield FolderSink(out, writer, masks)
