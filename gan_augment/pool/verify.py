"""Whether a pool is what it says: its files by their checksums, its rows by drawing them again from their seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from gan_augment.types import NeedsParents, Synthesizer

if TYPE_CHECKING:
    from gan_augment.pool.drawing import Drawing

__all__ = ["Verified", "check_files", "check_resumed", "check_same", "same_chunk", "verify_rows"]

_SLACK = 0.02
"""Share of rows about which machines may decide differently: those that lie at a limit."""

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
        different: Rows of the folder that differ by more, or in their parents or masks.
        untried: Rows of parts that another synthesizer drew, or that were made elsewhere.
    """

    rows: int
    identical: int
    close: int
    worst: float
    different: list[int]
    untried: int = 0

    def __bool__(self) -> bool:
        return not self.different

    def __str__(self) -> str:
        told = f"{self.rows} rows drawn again: {self.identical} identical, {self.close} within one level"
        if self.different:
            told += f", {len(self.different)} others, by up to {self.worst:.0f} levels: rows {self.different[:10]}"
        if self.untried:
            told += f"; {self.untried} rows are not of this synthesizer"
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
    chunks = _chunks(store, getattr(synthesizer, "fingerprint", None))
    if not chunks:
        raise ConfigError(
            "expected rows that this synthesizer drew, found a pool of images made elsewhere or drawn by others (their "
            "fingerprints differ); give the synthesizer that drew them, with the class map that it had (--map)"
        )
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
        untried=len(store) - sum(stop - start for _, start, stop in chunks),
    )


def _chunks(store: Store, fingerprint: Any) -> list[tuple[int, int, int]]:
    """Returns part, first row and row behind the last of each chunk that a synthesizer drew, or may have drawn."""
    found, first = [], 0
    for number, part in enumerate(store.document["parts"]):
        drew = part["fingerprint"].get("synthesizer") if "settings" in part else None
        known = [isinstance(own, Mapping) and "unknown" not in own.values() for own in (drew, fingerprint)]
        if drew is not None and (not all(known) or drew == fingerprint):
            for start in range(first, first + part["rows"], part["chunk"]):
                found.append((number, start, min(start + part["chunk"], first + part["rows"])))
        first += part["rows"]
    return found


def _drawer(store: Store, synthesizer: Synthesizer, like: Any, number: int) -> Drawer:
    """Returns who draws the rows of a part again, whose labels are the pool's, as they were drawn for its dataset."""
    part, classes = store.document["parts"][number], store.document["classes"]
    drawn_for = part["settings"]["classes"]
    needed = [drawn_for.index(name) for name in part["needed"]]
    own = match_classes(drawn_for, synthesizer.num_classes, synthesizer.class_names, needed)
    mapping = np.array([own[drawn_for.index(name)] if name in drawn_for else -1 for name in classes], np.int64)
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents and like is not None:
        view = RawView.of(like)
        if view.identity != part["like"]["identity"]:
            raise DataError(
                f"expected the dataset that the pool was built for ({part['like']['items']} items), from whose images "
                f"its rows were made, found another ({len(view)} items)"
            )
        synthesizer.bind(view)
    return Drawer(synthesizer, mapping, ImageSpec.from_json(part["settings"]["image_spec"]), [], classes)


def _levels(drawer: Drawer, store: Store, start: int, stop: int) -> npt.NDArray[np.float64]:
    """Returns by how many levels each row differs from what is drawn now, infinite where its parent or mask does."""
    columns = store.columns[start:stop]
    drawn = drawer.draw(np.asarray(columns.label), np.asarray(columns.seed))
    levels = _differences(drawn.arrays, store.block(start, stop), drawer.spec)
    levels[drawn.parents != columns.parent] = np.inf
    if store.masks is not None and drawn.masks is not None:
        changed = (drawn.masks != store.mask_block(start, stop)).reshape(len(levels), -1).any(axis=1)
        levels[changed] = np.inf
    return levels


def _differences(drawn: npt.NDArray[Any], stored: npt.NDArray[Any], spec: ImageSpec) -> npt.NDArray[np.float64]:
    """Returns the greatest difference in each row `(n,)`, in quantisation levels."""
    if drawn.shape != stored.shape:
        return np.full(len(stored), np.inf)
    widths = np.subtract(spec.high, spec.low).reshape(1, -1, *[1] * (drawn.ndim - 2))
    level = 1.0 if np.dtype(spec.form.dtype).kind in "ui" else widths / _FLOAT_LEVELS
    difference = np.abs(drawn.astype(np.float64) - stored.astype(np.float64)) / level
    worst: npt.NDArray[np.float64] = np.nan_to_num(difference.reshape(len(drawn), -1).max(axis=1), nan=np.inf)
    return worst


def same_chunk(
    drawn: npt.NDArray[Any],
    stored: npt.NDArray[Any],
    keep: npt.NDArray[np.bool_],
    kept: npt.NDArray[np.bool_],
    spec: ImageSpec,
) -> bool:
    """Tells whether rows are the same within a level, and decisions about them but for a few near a limit."""
    same = bool((_differences(drawn, stored, spec) <= 1).all())
    return same and len(keep) == len(kept) and bool((keep != kept).mean() <= _SLACK)


def check_resumed(work: FolderWork, drawing: "Drawing", folder: Path, finished: set[int]) -> None:
    """Raises unless rows of finished shards, some of each class, are what is drawn and decided now.

    Raises:
        ArtifactError: They are not.
    """
    plan, left = work.plan, set(work.plan.counts)
    for shard in sorted(finished):
        for start, stop in plan.chunks(shard):
            labels, seeds = plan.columns(start, stop)
            if not left & set(labels.tolist()):
                continue
            left -= set(labels.tolist())
            at = slice(start - shard * plan.shard_rows, stop - shard * plan.shard_rows)
            stored = np.load(work.folder / shard_file("images", shard), mmap_mode="r", allow_pickle=False)[at]
            drawn = drawing.drawer.draw(labels, seeds)
            _refuse_others(_differences(drawn.arrays, stored, drawing.drawer.spec), folder)
            before = work.rows_of(shard).decision
            if before is not None and drawing.order.selector is not None:
                seen = drawing.drawer.candidates(drawn.arrays, labels, seeds, drawn.parents)
                changed = (drawing.order.selector.decide(seen).keep != before[at].keep).mean()
                if changed > _SLACK:
                    raise ArtifactError(
                        f"expected the selector that decided about the rows of {folder}, found that it decides "
                        f"otherwise about {changed:.0%} of those drawn again; give that selector and judge, give "
                        "another out=, or delete what is unfinished there"
                    )


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
