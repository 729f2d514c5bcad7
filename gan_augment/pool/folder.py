"""A part drawn into a folder: claimed, drawn by one process or several, and published when it is whole."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gan_augment.artifacts import refuse_existing, storing, sync_folder, write_json
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.fingerprint import FittedOn, hash_json
from gan_augment.locks import exclusive
from gan_augment.pool.document import appended, new_document, with_part
from gan_augment.pool.drawing import Drawing
from gan_augment.pool.layout import JUDGE, LOCK, PLAN, POOL, part_name, read_about
from gan_augment.pool.plan import as_json
from gan_augment.pool.progress import Progress
from gan_augment.pool.read import check_document
from gan_augment.pool.shards import is_partial
from gan_augment.pool.verify import check_resumed, same_chunk
from gan_augment.pool.work import KEPT, FolderWork
from gan_augment.ranks import Ranks

__all__ = ["as_opened", "check_place", "document_of", "draw_into"]


def check_place(folder: Path) -> None:
    """Raises unless a pool may be drawn to a folder: it is new, empty, or a build was begun there.

    A judge, the lock and files that were being written are what is left of a build that ended early.

    Raises:
        ArtifactError: It holds something else.
    """
    if (folder / part_name(0) / PLAN).exists():
        return
    if folder.is_dir() and not folder.is_symlink():
        part = folder / part_name(0)
        others = [path for path in folder.iterdir() if not (path.name.startswith((JUDGE, f".{JUDGE}")) or path == part)]
        others += list(part.iterdir()) if part.is_dir() else []
        if all(path.name == LOCK or is_partial(path.name) for path in others):
            return
    refuse_existing(folder, "pool")


def draw_into(
    folder: Path,
    drawing: Drawing,
    asked: Mapping[str, Any],
    fitted_on: FittedOn,
    *,
    grown: Mapping[str, Any] | None,
    ranks: Ranks,
    progress: bool,
) -> bool:
    """Draws a part into a folder; returns False, and draws nothing, where another process has finished it meanwhile.

    Args:
        folder: The pool's.
        drawing: What is drawn.
        asked: The settings that a later call must have to go on.
        fitted_on: What synthesizer and judge saw.
        grown: The document of the pool that the part comes behind; None for a new pool.
        ranks: The processes that share the work.
        progress: Whether to show a bar on a terminal.

    Raises:
        ArtifactError: Somebody else works there, what was begun there has other settings, or the pool has grown.
        ConfigError: The processes do not order, or draw, the same.
        StorageError: The disk refused; finished shards are kept.
    """
    spec, number = drawing.drawer.spec, 0 if grown is None else len(grown["parts"])
    work = FolderWork(folder / part_name(number), drawing.plan, (spec.channels, *spec.raw_shape), spec.form.dtype)
    work.at_once, work.by_row = drawing.at_once, drawing.by_row
    with contextlib.ExitStack() as held:
        _agree(ranks, drawing, asked)
        begun = ranks.told(lambda: _begin(held, work, folder, drawing, asked, grown, ranks.count == 1))
        if begun is None:
            return False
        mine = begun[ranks.index :: ranks.count]
        classes = drawing.order.view.classes
        bar = Progress(drawing.plan, classes, shown=progress and ranks.first, work=work, mine=mine)
        with bar.waiting():
            with work.writing():
                drawing.draw(work, mine, bar)
            ranks.any(False)
        ranks.told(lambda: _publish(drawing, work, folder, grown, fitted_on, asked))
    return True


def as_opened(folder: Path, opened: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document of a folder, which has the parts that it had when it was opened.

    Raises:
        ArtifactError: It has others.
    """
    document = read_about(folder)
    if [part["files"] for part in document["parts"]] != [part["files"] for part in opened["parts"]]:
        raise ArtifactError(
            f"expected the pool in {folder} as it was opened, found that it has grown since; open it again, then extend"
        )
    return document


def _agree(ranks: Ranks, drawing: Drawing, asked: Mapping[str, Any]) -> None:
    """Raises in all processes unless they order the same rows and draw and decide about them alike."""
    if ranks.count == 1:
        return
    own = hash_json([asked, sorted(drawing.plan.counts.items())])
    if ranks.any(ranks.told(lambda: own) != own):
        raise ConfigError(
            f"expected the {ranks.count} processes to order the same pool, found different ones; give all the same "
            "synthesizer, dataset, selector and settings"
        )
    start, stop = next(drawing.plan.chunks(0))
    labels, seeds = drawing.plan.columns(start, stop)
    drawn = drawing.drawer.draw(labels, seeds)
    keep = np.ones(len(labels), bool)
    if drawing.by_row and drawing.order.selector is not None:
        seen = drawing.drawer.candidates(drawn.arrays, labels, seeds, drawn.parents)
        keep = drawing.order.selector.decide(seen).keep
    images = ranks.share(np.ascontiguousarray(drawn.arrays).tobytes() if ranks.first else None) or b""
    kept = ranks.share(keep.tobytes() if ranks.first else None) or b""
    others = np.frombuffer(images, drawn.arrays.dtype)
    same = others.size == drawn.arrays.size and same_chunk(
        drawn.arrays, others.reshape(drawn.arrays.shape), keep, np.frombuffer(kept, bool), drawing.drawer.spec
    )
    if ranks.any(not same):
        raise ConfigError(
            f"expected the {ranks.count} processes to draw and keep the same images from the same seeds, found "
            "differences; give all the same weights, judge and library versions"
        )


def _begin(
    held: contextlib.ExitStack,
    work: FolderWork,
    folder: Path,
    drawing: Drawing,
    asked: Mapping[str, Any],
    grown: Mapping[str, Any] | None,
    alone: bool,
) -> list[int] | None:
    """Claims the folder, and returns the shards that are to be drawn, having checked that it is the same drawing."""
    if not folder.exists():
        held.push(_on_failure(lambda: _remove_empty(folder)))
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(exclusive(folder / LOCK, f"the pool {folder}"))
    if grown is None and (folder / POOL).exists():
        return None
    if grown is not None:
        as_opened(folder, grown)
    if alone:
        held.push(_on_failure(work.give_up))
    work.begin(asked)
    pending = work.pending()
    check_resumed(work, drawing, folder, set(range(len(work.plan.shards))) - set(pending))
    return pending


def _on_failure(call: Callable[[], Any]) -> Callable[..., None]:
    def leave(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            call()

    return leave


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def document_of(drawing: Drawing, record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the document of a pool that holds this drawing alone."""
    view, spec = drawing.order.view, drawing.drawer.spec
    return new_document(
        classes=view.classes,
        named=True,
        values=view.values,
        form=drawing.order.form(spec),
        image_spec=spec.to_json(),
        reasons=drawing.reasons,
        parts=[record],
        affine=spec.affine,
    )


def _publish(
    drawing: Drawing,
    work: FolderWork,
    folder: Path,
    grown: Mapping[str, Any] | None,
    fitted_on: FittedOn,
    asked: Mapping[str, Any],
) -> None:
    """Has all be decided, writes the columns and, last, `pool.json`: from then on the part is there."""
    columns = drawing.decide(work)
    if grown is None:
        record = work.finish(columns, fitted_on)
        document = document_of(drawing, {**record, **drawing.record(asked)})
    else:
        masks = bool(grown["parts"][0]["masks"])
        document, recoded = appended(grown, document_of(drawing, {"rows": 0, "masks": masks}))
        record = work.finish(map(recoded, columns), fitted_on)
        if record["masks"] != masks:
            raise DataError("expected a synthesizer that draws masks if and only if those of the pool's rows did")
        document = with_part(document, {**record, **drawing.record(asked)})
    document = as_json(document)
    check_document(document)
    work.published = True
    with storing(folder, left=KEPT):
        write_json(folder / POOL, document)
        sync_folder(folder)
        work.clean()
