"""Whether a pool is what it says: its files by their checksums, its rows by drawing them again from their seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gan_augment.errors import ArtifactError, ConfigError, DataError, whole
from gan_augment.images import ImageSpec
from gan_augment.pool.draw import Drawer
from gan_augment.pool.layout import column_file, shard_file
from gan_augment.pool.shards import file_hash
from gan_augment.pool.store import Store
from gan_augment.pool.work import FolderWork
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import match_classes
from gan_augment.types import IntArray, NeedsParents, Synthesizer

__all__ = ["Verified", "check_files", "check_resumed", "check_same", "verify_rows"]

_FLOAT_LEVELS = 4096
"""Levels of a float image between its low and its high: those of 12 bits."""


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What came of drawing rows again.

    Attributes:
        rows: Rows that were drawn again.
        identical: Those that are the same bit for bit.
        close: Those whose values differ by one quantisation level at most (of floats 1/4096 of the range): what another
            machine, another number of threads or another release of torch may do.
        worst: The greatest difference, in levels.
        different: Rows of the folder that differ by more.
    """

    rows: int
    identical: int
    close: int
    worst: float
    different: list[int]

    def __bool__(self) -> bool:
        return not self.different

    def __str__(self) -> str:
        told = f"{self.rows} rows drawn again: {self.identical} identical, {self.close} within one level"
        if self.different:
            told += f", {len(self.different)} others, by up to {self.worst:.0f} levels: rows {self.different[:10]}"
        return told


def check_files(store: Store, *, progress: bool = True) -> int:
    """Compares each file of a pool with its SHA-256 in `pool.json`, reviews aside; returns how many were read.

    Raises:
        ConfigError: The pool is in memory.
        ArtifactError: Names the files that are missing or not what they were.
    """
    if store.folder is None:
        raise ConfigError("expected a pool in a folder, found one in memory; write it with pool.save(folder)")
    wanted = {
        store.folder / part["folder"] / name: told
        for part in store.document["parts"]
        for name, told in sorted(part["files"].items())
        if name != column_file("review")
    }
    total = sum(path.stat().st_size for path in wanted if path.is_file())
    damaged = []
    with tqdm(total=total, unit="B", unit_scale=True, desc="checking", disable=None if progress else True) as bar:
        for path, told in wanted.items():
            try:
                found = file_hash(path, bar.update)
            except OSError as error:
                found = error.strerror or str(error)
            if found != told:
                damaged.append(str(path.relative_to(store.folder)))
    if damaged:
        raise ArtifactError(
            f"expected the {len(wanted)} files of {store.folder} as they were written, found {len(damaged)} that are "
            f"not: {', '.join(damaged[:10])}; take them from a copy, or delete the pool and build it again"
        )
    return len(wanted)


def verify_rows(store: Store, synthesizer: Synthesizer, like: Any, sample: int, seed: int, progress: bool) -> Verified:
    """Draws rows again from their seeds, in the chunks that they were drawn in; arguments are `SyntheticPool.verify`'s.

    Raises:
        ConfigError: No row was drawn by a synthesizer.
        SynthesizerError: The synthesizer lacks a class.
        DataError: The parents are in a dataset that is not given.
    """
    whole("sample", sample)
    chunks = list(_chunks(store))
    if not chunks:
        raise ConfigError("expected rows that a synthesizer drew, found a pool of images made elsewhere")
    rng = np.random.Generator(np.random.Philox(derive(seed, "verify")))
    picked = sorted(rng.choice(len(chunks), len(chunks), replace=False)[: max(1, sample)].tolist())
    drawers: dict[int, Drawer] = {}
    levels, rows = [], []
    taken = 0
    for number in tqdm(picked, desc="drawing again", disable=None if progress else True, leave=False):
        part, start, stop = chunks[number]
        if part not in drawers:
            drawers[part] = _drawer(store, synthesizer, like, part)
        levels.append(_levels(drawers[part], store, start, stop))
        rows.append(np.arange(start, stop))
        taken += stop - start
        if taken >= sample:
            break
    every, which = np.concatenate(levels), np.concatenate(rows)
    return Verified(
        rows=len(every),
        identical=int((every == 0).sum()),
        close=int(((every > 0) & (every <= 1)).sum()),
        worst=float(every.max()),
        different=which[every > 1].tolist(),
    )


def _chunks(store: Store) -> list[tuple[int, int, int]]:
    """Returns part, first row and row behind the last of each chunk that was drawn."""
    found, first = [], 0
    for number, part in enumerate(store.document["parts"]):
        if "fingerprint" in part:
            for start in range(first, first + part["rows"], part["chunk"]):
                found.append((number, start, min(start + part["chunk"], first + part["rows"])))
        first += part["rows"]
    return found


def _drawer(store: Store, synthesizer: Synthesizer, like: Any, number: int) -> Drawer:
    part, classes = store.document["parts"][number], store.document["classes"]
    needed = [classes.index(name) for name in part["needed"]]
    mapping = match_classes(classes, synthesizer.num_classes, synthesizer.class_names, needed)
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents and like is not None:
        view = RawView.of(like)
        if view.identity != part["like"]["identity"]:
            raise DataError(
                f"expected the dataset that the pool was built for ({part['like']['items']} items), from whose images "
                f"its rows were made, found another ({len(view)} items)"
            )
        synthesizer.bind(view)
    spec = ImageSpec.from_json(part["settings"]["image_spec"])
    return Drawer(synthesizer, mapping, spec, [], classes)


def _levels(drawer: Drawer, store: Store, start: int, stop: int) -> npt.NDArray[np.float64]:
    columns = store.columns[start:stop]
    return _drawn_levels(drawer, columns.label, columns.seed, store.block(start, stop))


def _drawn_levels(
    drawer: Drawer, labels: IntArray, seeds: IntArray, stored: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Returns by how many quantisation levels each row differs from what is drawn now, `(n,)`."""
    drawn = drawer.draw(np.asarray(labels), np.asarray(seeds)).arrays
    if drawn.shape != stored.shape:
        return np.full(len(stored), np.inf)
    spec = drawer.spec
    widths = np.subtract(spec.high, spec.low).reshape(1, -1, *[1] * (drawn.ndim - 2))
    level = 1.0 if np.dtype(spec.form.dtype).kind in "ui" else widths / _FLOAT_LEVELS
    difference = np.abs(drawn.astype(np.float64) - stored.astype(np.float64)) / level
    worst: npt.NDArray[np.float64] = np.nan_to_num(difference.reshape(len(drawn), -1).max(axis=1), nan=np.inf)
    return worst


def check_resumed(work: FolderWork, drawer: Drawer, folder: Path, shard: int) -> None:
    """Raises unless rows of a finished shard are what is drawn now.

    Raises:
        ArtifactError: They are not.
    """
    start, stop = next(work.plan.chunks(shard))
    labels, seeds = work.plan.columns(start, stop)
    stored = np.load(work.folder / shard_file("images", shard), mmap_mode="r", allow_pickle=False)[: stop - start]
    _refuse_others(_drawn_levels(drawer, labels, seeds, stored), folder)


def check_same(store: Store, drawer: Drawer, folder: Path) -> None:
    """Raises unless the first rows of a pool are what is drawn now.

    Raises:
        ArtifactError: They are not.
    """
    part: Mapping[str, Any] = store.document["parts"][0]
    _refuse_others(_levels(drawer, store, 0, min(part["chunk"], part["rows"])), folder)


def _refuse_others(levels: npt.NDArray[np.float64], folder: Path) -> None:
    if levels.max() > 1:
        raise ArtifactError(
            f"expected the synthesizer that drew the images of {folder}, found that it draws others now: {len(levels)} "
            f"rows drawn again from their seeds differ by up to {levels.max():.0f} levels; give that synthesizer, give "
            "another out=, or delete that folder"
        )
