"""Building a pool, or a further part of one: in memory, or in a folder where a later run goes on with it."""

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_augment.artifacts import refuse_existing, storing, sync_folder, write_json
from gan_augment.errors import ArtifactError, DataError, SmallClassWarning
from gan_augment.fingerprint import FittedOn
from gan_augment.locks import exclusive
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import appended, new_document, with_part
from gan_augment.pool.draw import Drawer
from gan_augment.pool.drawing import Drawing, drawer_of
from gan_augment.pool.grow import joined
from gan_augment.pool.layout import JUDGE, LOCK, PLAN, POOL, part_name
from gan_augment.pool.order import Order, seen_by
from gan_augment.pool.plan import check_settings
from gan_augment.pool.progress import Progress
from gan_augment.pool.read import read_store
from gan_augment.pool.shards import remove_partial
from gan_augment.pool.store import Store
from gan_augment.pool.verify import check_resumed, check_same
from gan_augment.pool.work import KEPT, FolderWork, MemoryWork, as_json, clean_part
from gan_augment.ranks import Ranks

__all__ = ["build_store", "extend_store"]


def build_store(
    order: Order, out: str | os.PathLike[str] | None, *, progress: bool, distributed: bool, stacklevel: int
) -> Store:
    """Draws candidates for the classes of a dataset, has the selector decide, and stores all of them.

    Args:
        order: What is to be drawn.
        out: The folder; None for memory.
        progress: Whether to show a bar on a terminal.
        distributed: Whether the processes that a launcher started share the work.
        stacklevel: Of warnings, where 1 is the caller.

    Raises:
        ArtifactError: The folder holds something else, or what was begun there has other settings.
        StorageError: The disk refused; what was finished is kept.
    """
    drawer = drawer_of(order)
    fitted_on = seen_by(order.synthesizer, order.view, order.selector, stacklevel=stacklevel + 2)
    asked = as_json(order.asked(drawer.spec, drawer.chunk))
    folder = None if out is None else Path(out)
    if folder is not None and (folder / POOL).exists():
        return _whole_already(folder, order, drawer, asked)
    if folder is not None and not (folder / part_name(0) / PLAN).exists():
        _refuse_others(folder)
    drawing = Drawing(order, drawer)
    if folder is None:
        store = _in_memory(drawing, fitted_on, asked, progress)
    else:
        store = _in_folder(drawing, folder, None, fitted_on, asked, progress, distributed)
    drawing.warn(stacklevel + 1)
    _warn_of_empty(store, stacklevel + 2)
    return store


def extend_store(store: Store, order: Order, *, progress: bool, distributed: bool, stacklevel: int) -> Store:
    """Draws a further part of a pool; the parts that are there stay as they are.

    Raises:
        DataError: The images would be of another type or size.
        ArtifactError, StorageError: See `build_store`.
    """
    drawer = drawer_of(order)
    fitted_on = seen_by(order.synthesizer, order.view, order.selector, stacklevel=stacklevel + 2)
    asked = as_json(order.asked(drawer.spec, drawer.chunk))
    _refuse_same_rows(store, asked)
    drawing = Drawing(order, drawer)
    if store.folder is None:
        grown = joined([store, _in_memory(drawing, fitted_on, asked, progress)])
    else:
        grown = _in_folder(drawing, store.folder, store, fitted_on, asked, progress, distributed)
    drawing.warn(stacklevel + 1)
    return grown


def _refuse_same_rows(store: Store, asked: Mapping[str, Any]) -> None:
    for part in store.document["parts"]:
        own = part.get("settings") or {}
        if all(own.get(name) == asked[name] for name in ("seed", "synthesizer")) and set(own["needed"]) & set(
            asked["needed"]
        ):
            raise ArtifactError(
                f"expected a seed of which the pool holds no rows, found {asked['seed']}, by which the same "
                "synthesizer drew rows of the same classes already; give another seed=, or none"
            )


def _refuse_others(folder: Path) -> None:
    """A judge, and hidden files, are what is left of a build that ended before it began."""
    left = (".", JUDGE)
    if folder.is_dir() and all(path.name.startswith(left) or path.name == part_name(0) for path in folder.iterdir()):
        part = folder / part_name(0)
        if not part.exists() or all(path.name.startswith(".") for path in part.iterdir()):
            return
    refuse_existing(folder, "pool")


def _whole_already(folder: Path, order: Order, drawer: Drawer, asked: Mapping[str, Any]) -> Store:
    """Returns a pool that is whole, where it is the one that is ordered."""
    store = read_store(folder)
    first = store.document["parts"][0]
    try:
        check_settings(asked, first.get("settings"), f"the pool in {folder}")
    except ArtifactError as error:
        raise ArtifactError(f"expected {folder} not to exist yet, or to be the same pool: {error}") from None
    if not order.known:
        check_same(store, drawer, folder)
    with contextlib.suppress(OSError, ArtifactError), exclusive(folder / LOCK, f"the pool {folder}"):
        remove_partial(folder)
        for part in store.document["parts"]:
            clean_part(folder / part["folder"])
    return store


# -- memory ---------------------------------------------------------------------------------------------------------


def _document(drawing: Drawing, record: Mapping[str, Any]) -> dict[str, Any]:
    view, spec = drawing.order.view, drawing.drawer.spec
    return new_document(
        classes=view.classes,
        named=True,
        values=view.values,
        form=drawing.order.form(spec),
        image_spec=spec.to_json(),
        reasons=drawing.reasons,
        parts=[record],
    )


def _in_memory(drawing: Drawing, fitted_on: FittedOn, asked: dict[str, Any], progress: bool) -> Store:
    work = MemoryWork(drawing.plan)
    bar = Progress(drawing.plan, drawing.order.view.classes, shown=progress, work=None, mine=work.pending())
    with bar.waiting():
        drawing.draw(work, work.pending(), bar)
    columns = Columns.concatenate(list(drawing.decide(work)))
    images, masks = work.arrays()
    own = {"folder": part_name(0), "rows": len(columns), "chunk": drawing.plan.chunk, "masks": masks is not None}
    document = _document(drawing, {**own, **drawing.record(asked)})
    return Store([images], columns, document, fitted_on, masks=None if masks is None else [masks])


# -- a folder -------------------------------------------------------------------------------------------------------


def _in_folder(
    drawing: Drawing,
    folder: Path,
    grown: Store | None,
    fitted_on: FittedOn,
    asked: dict[str, Any],
    progress: bool,
    distributed: bool,
) -> Store:
    """Draws a part into a folder, behind those of `grown` where it is given."""
    spec, number = drawing.drawer.spec, 0 if grown is None else len(grown.document["parts"])
    work = FolderWork(folder / part_name(number), drawing.plan, (spec.channels, *spec.raw_shape), spec.form.dtype)
    ranks = Ranks.find() if distributed else Ranks(torch.device("cpu"))
    with _left_as_found(folder, work, ranks.count == 1), ranks, contextlib.ExitStack() as held:
        pending = ranks.told(lambda: _begin(held, work, folder, drawing.drawer, asked))
        mine = pending[ranks.index :: ranks.count]
        classes = drawing.order.view.classes
        bar = Progress(drawing.plan, classes, shown=progress and ranks.first, work=work, mine=mine)
        with bar.waiting():
            with work.writing():
                drawing.draw(work, mine, bar)
            ranks.any(False)
        ranks.told(lambda: _publish(drawing, work, folder, grown, fitted_on, asked))
    return read_store(folder)


def _begin(
    held: contextlib.ExitStack, work: FolderWork, folder: Path, drawer: Drawer, asked: Mapping[str, Any]
) -> list[int]:
    """Claims the folder, and returns the shards that are to be drawn, having checked that it is the same drawing."""
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held.enter_context(exclusive(folder / LOCK, f"the pool {folder}"))
    work.begin(asked)
    pending = work.pending()
    if finished := sorted(set(range(len(work.plan.shards))) - set(pending)):
        check_resumed(work, drawer, folder, finished[0])
    return pending


@contextlib.contextmanager
def _left_as_found(folder: Path, work: FolderWork, alone: bool) -> Iterator[None]:
    """Leaves nothing behind where it fails before a shard is finished; where there are some, a later call goes on."""
    there = folder.exists()
    try:
        yield
    except BaseException:
        if alone and not (folder / LOCK).exists():  # else somebody else works there
            work.give_up()
            if not there:
                with contextlib.suppress(OSError):
                    folder.rmdir()
        raise


def _publish(
    drawing: Drawing,
    work: FolderWork,
    folder: Path,
    grown: Store | None,
    fitted_on: FittedOn,
    asked: dict[str, Any],
) -> None:
    """Has all be decided, writes the columns and, last, `pool.json`: from then on the part is there."""
    columns = drawing.decide(work)
    if grown is None:
        record = work.finish(columns, fitted_on)
        document = _document(drawing, {**record, **drawing.record(asked)})
    else:
        other = _document(drawing, {"rows": 0, "masks": grown.masks is not None})
        document, recoded = appended(grown.document, other)
        record = work.finish(map(recoded, columns), fitted_on)
        if record["masks"] != (grown.masks is not None):
            raise DataError("expected a synthesizer that draws masks if and only if those of the pool's rows did")
        document = with_part(document, {**record, **drawing.record(asked)})
    with storing(folder, left=KEPT):
        write_json(folder / POOL, document)
        sync_folder(folder)
        work.clean()


def _warn_of_empty(store: Store, stacklevel: int) -> None:
    classes = store.document["classes"]
    kept = np.bincount(store.columns.label[store.columns.keep], minlength=len(classes))
    drawn = np.bincount(store.columns.label, minlength=len(classes))
    empty = [classes[label] for label in np.flatnonzero((drawn > 0) & (kept == 0)).tolist()]
    if empty:
        warnings.warn(
            f"no candidate of {', '.join(empty)} was kept: slots of these classes will repeat real images. Train the "
            "synthesizer for more steps, or look at the rejected ones with pool.rejected()",
            SmallClassWarning,
            stacklevel=stacklevel,
        )
