"""Where a part of a pool is drawn to, shard by shard: a folder that a later run goes on with, or memory."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes

from gan_augment.artifacts import read_json, storing, sync_folder, write_bytes, write_json, write_tensors
from gan_augment.errors import ArtifactError
from gan_augment.fingerprint import FittedOn
from gan_augment.pool.columns import COLUMNS, MASK_DTYPE, Columns
from gan_augment.pool.layout import FITTED_ON, PLAN, column_file, part_name, shard_file
from gan_augment.pool.plan import Plan, check_settings
from gan_augment.pool.rows import ShardRows, packed, unpacked
from gan_augment.pool.shards import Background, NpyWriter, file_hash, npy_writer, remove_partial
from gan_augment.types import IntArray

__all__ = ["KEPT", "FolderWork", "MemoryWork", "Sink", "Work", "clean_part"]

_KIND, _VERSION = "gan_augment pool in work", 1
KEPT = "finished shards are kept, and the same call goes on from there"


class Sink(Protocol):
    """Takes the rows of a shard."""

    def append(self, images: npt.NDArray[Any], masks: npt.NDArray[Any] | None) -> None:
        """Takes images `(n, C, *raw_shape)` and masks `(n, 1, *raw_shape)`."""

    def finish(self, rows: ShardRows) -> None:
        """Says that these were all."""


class Work(Protocol):
    """Where a part is drawn to."""

    plan: Plan

    def pending(self) -> list[int]:
        """Returns the shards that are not finished."""

    def shard(self, number: int) -> contextlib.AbstractContextManager[Sink]:
        """Gives where the rows of a shard go."""

    def rows_of(self, number: int) -> ShardRows:
        """Returns what is known of the rows of a finished shard."""


class MemoryWork:
    """Keeps a part in memory.

    Args:
        plan: Its rows.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._images: list[npt.NDArray[Any]] = []
        self._masks: list[npt.NDArray[Any]] = []
        self._rows: dict[int, ShardRows] = {}
        self._number = 0

    def pending(self) -> list[int]:
        """Returns the shards that are not finished."""
        return [number for number in range(len(self.plan.shards)) if number not in self._rows]

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator["MemoryWork"]:
        """Gives where the rows of a shard go; in memory they come in order."""
        self._number = number
        yield self

    def append(self, images: npt.NDArray[Any], masks: npt.NDArray[Any] | None) -> None:
        """Takes images and masks."""
        self._images.append(images)
        if masks is not None:
            self._masks.append(masks)

    def finish(self, rows: ShardRows) -> None:
        """Says that the shard is whole."""
        self._rows[self._number] = rows

    def rows_of(self, number: int) -> ShardRows:
        """Returns what is known of the rows of a finished shard."""
        return self._rows[number]

    def arrays(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Returns all images `(N, C, *raw_shape)`, and masks where there are any."""
        return np.concatenate(self._images), np.concatenate(self._masks) if self._masks else None


class FolderWork:
    """Draws a part into a folder; a shard is finished when its `shard-NNNNN.safetensors` is there.

    Args:
        folder: The part's folder, made by `begin`.
        plan: Its rows.
        shape: `(C, *raw_shape)` of an image.
        dtype: numpy's name of the raw dtype.

    Attributes:
        at_once: Whether finished shards hold what a selector of whole sets is to see.
        by_row: Whether they hold decisions.
        published: Whether `pool.json` may list the part.
    """

    def __init__(self, folder: Path, plan: Plan, shape: tuple[int, ...], dtype: str) -> None:
        self.folder, self.plan, self.shape, self.dtype = folder, plan, shape, dtype
        self.at_once = self.by_row = self.published = False
        self._made = False
        self._background: Background | None = None
        self._sinks: set[_FolderSink] = set()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Makes the folder, or checks that it was begun with the same settings; removes what was not finished.

        Raises:
            ArtifactError: It was begun with other settings; shows which.
            StorageError: The disk refused.
        """
        if self.folder.is_symlink():
            raise ArtifactError(f"expected a folder to write to at {self.folder}, found a link; remove it")
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            plan = self.folder / PLAN
            if plan.exists():
                found = read_json(plan, _KIND, _VERSION)
                whole = self.folder.name == part_name(0)
                what = f"the unfinished pool in {self.folder.parent}" if whole else f"the unfinished part {self.folder}"
                remedy = "delete that folder" if whole else "delete the folder of that part"
                check_settings(settings, found.get("settings"), what, remedy)
            else:
                self._made = True
                write_json(plan, {"kind": _KIND, "version": _VERSION, "settings": settings})
                sync_folder(self.folder.parent)
            remove_partial(self.folder)
            remove_partial(self.folder.parent)

    def pending(self) -> list[int]:
        """Returns the shards that are not finished; one whose images are not whole counts as such."""
        return [number for number, rows in enumerate(self.plan.shards) if not self._is_finished(number, rows)]

    def finished(self) -> dict[int, dict[str, Any]]:
        """Returns the metadata of each finished shard, by its number."""
        numbers = range(len(self.plan.shards))
        return {number: self._about(number) for number in numbers if self._marker(number).exists()}

    def _is_finished(self, number: int, rows: int) -> bool:
        if not self._marker(number).exists():
            return False
        try:
            about, known = self._about(number), self.rows_of(number)
            files = about["files"]
            if set(files) - {shard_file("masks", number)} != {shard_file("images", number)}:
                return False
            if not all(isinstance(about[name], dict) for name in ("drawn", "kept")):
                return False
            if (known.decision is not None, known.seen is not None) != (self.by_row, self.at_once):
                return False
            return known.count() == rows and all(file_hash(self.folder / name) == told for name, told in files.items())
        except (ArtifactError, OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return False

    def _marker(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.safetensors"

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Has shards written in a thread while this is open.

        Raises:
            StorageError: The disk refused.
        """
        with storing(self.folder, left=KEPT):
            try:
                with Background() as self._background:
                    yield
                    self._background.wait()
            finally:
                for sink in self._sinks:
                    sink.drop()
                self._sinks.clear()

    @contextlib.contextmanager
    def shard(self, number: int) -> Iterator["_FolderSink"]:
        """Gives where the rows of a shard go.

        Raises:
            StorageError: The disk refused.
        """
        assert self._background is not None
        sink = _FolderSink(self, number, self._background)
        self._sinks.add(sink)
        yield sink

    def complete(self, sink: "_FolderSink", number: int, rows: ShardRows, files: Mapping[str, str]) -> None:
        """Writes, last of a shard, what tells that it is finished."""
        tensors, about = packed(rows)
        labels, _ = self.plan.columns(*self._span(number))
        kept = labels if rows.decision is None else labels[rows.decision.keep]
        about |= {"files": dict(files), "drawn": _counted(labels), "kept": _counted(kept)}
        write_bytes(self._marker(number), save_bytes(tensors, {"about": json.dumps(about)}))
        self._sinks.discard(sink)

    def _span(self, number: int) -> tuple[int, int]:
        start = number * self.plan.shard_rows
        return start, start + self.plan.shards[number]

    def _about(self, number: int) -> dict[str, Any]:
        with _reading(self._marker(number)), safe_open(self._marker(number), "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {})["about"])
        return about

    def rows_of(self, number: int) -> ShardRows:
        """Returns what is known of the rows of a finished shard.

        Raises:
            ArtifactError: The file is damaged.
        """
        with _reading(self._marker(number)), safe_open(self._marker(number), "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
            return unpacked(tensors, json.loads((file.metadata() or {})["about"]))

    def finish(self, columns: Iterable[Columns], fitted_on: FittedOn) -> dict[str, Any]:
        """Writes the columns and returns the part's record for `pool.json`: rows, shards, a SHA-256 of each file.

        Args:
            columns: Those of one shard after the other.
            fitted_on: What synthesizer and judge saw.

        Raises:
            ArtifactError: Some shards have masks and others none.
            StorageError: The disk refused.
        """
        abouts = self.finished()
        hashes = {name: told for number in sorted(abouts) for name, told in abouts[number]["files"].items()}
        masks = sum(name.startswith("masks-") for name in hashes)
        if masks not in (0, len(self.plan.shards)):
            raise ArtifactError(
                f"expected masks in each of the {len(self.plan.shards)} shards of {self.folder}, found them in "
                f"{masks}; another synthesizer drew them: delete the folder and build it again"
            )
        with storing(self.folder, left=KEPT), contextlib.ExitStack() as stack:
            writers = {
                name: stack.enter_context(npy_writer(self.folder / column_file(name), (self.plan.rows,), dtype))
                for name, (dtype, _) in COLUMNS.items()
            }
            for part in columns:
                for name, writer in writers.items():
                    writer.append(getattr(part, name))
            hashes |= {column_file(name): writer.close() for name, writer in writers.items()}
            hashes[FITTED_ON] = write_tensors(self.folder / FITTED_ON, fitted_on.tensors())
        return {
            "folder": self.folder.name,
            "rows": self.plan.rows,
            "shard_rows": self.plan.shard_rows,
            "chunk": self.plan.chunk,
            "masks": bool(masks),
            "files": hashes,
        }

    def clean(self) -> None:
        """Removes what only the building needed; called when `pool.json` lists the part."""
        clean_part(self.folder)

    def give_up(self) -> None:
        """Removes the folder where this made it and no shard was finished: there is nothing to go on from."""
        if self._made and not self.published and not any(self.folder.glob("shard-*.safetensors")):
            shutil.rmtree(self.folder, ignore_errors=True)


def clean_part(folder: Path) -> None:
    """Removes from a whole part what only its building needed."""
    for path in [*folder.glob("shard-*.safetensors"), folder / PLAN]:
        path.unlink(missing_ok=True)
    remove_partial(folder)


class _FolderSink:
    """The files of one shard."""

    def __init__(self, work: FolderWork, number: int, background: Background) -> None:
        self._work, self._number, self._background = work, number, background
        self._writers: dict[str, NpyWriter] = {}

    def append(self, images: npt.NDArray[Any], masks: npt.NDArray[Any] | None) -> None:
        """Takes images and masks."""
        self._background.submit(self._write, {"images": images} | ({} if masks is None else {"masks": masks}))

    def _write(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        rows = self._work.plan.shards[self._number]
        for what, array in arrays.items():
            if what not in self._writers:
                path = self._work.folder / shard_file(what, self._number)
                dtype = MASK_DTYPE if what == "masks" else self._work.dtype
                self._writers[what] = NpyWriter(path, (rows, *array.shape[1:]), dtype)
            self._writers[what].append(array)

    def finish(self, rows: ShardRows) -> None:
        """Says that these were all."""
        self._background.submit(self._finish, rows)

    def _finish(self, rows: ShardRows) -> None:
        files = {writer.path.name: writer.close() for writer in self._writers.values()}
        self._work.complete(self, self._number, rows, files)

    def drop(self) -> None:
        """Removes what was not finished."""
        for writer in self._writers.values():
            writer.drop()


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"expected a finished shard in {path}, found a damaged file ({error}); delete it") from None


def _counted(labels: IntArray) -> dict[str, int]:
    return {str(label): int(number) for label, number in zip(*np.unique(labels, return_counts=True), strict=True)}
