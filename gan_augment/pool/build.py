"""Building a pool, or a further part of one: in memory, or in a folder where a later run goes on with it."""

import contextlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_augment.errors import ArtifactError, ConfigError, SmallClassWarning
from gan_augment.fingerprint import FittedOn
from gan_augment.locks import exclusive
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import check_alike
from gan_augment.pool.draw import Drawer
from gan_augment.pool.drawing import Drawing, drawer_of
from gan_augment.pool.folder import as_opened, check_place, document_of, draw_into
from gan_augment.pool.grow import joined
from gan_augment.pool.layout import LOCK, MOST_PARTS, POOL, part_name
from gan_augment.pool.order import Order, seen_by
from gan_augment.pool.plan import check_settings
from gan_augment.pool.progress import Progress
from gan_augment.pool.read import read_store
from gan_augment.pool.shards import remove_partial
from gan_augment.pool.store import Store
from gan_augment.pool.verify import check_same
from gan_augment.pool.work import MemoryWork, clean_part
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
        StorageError: The disk refused; finished shards are kept.
    """
    drawer = drawer_of(order)
    fitted_on = seen_by(order.synthesizer, order.view, order.selector, stacklevel=stacklevel + 2)
    asked = order.asked(drawer.spec, drawer.chunk)
    if out is None:
        drawing = Drawing(order, drawer)
        store = _in_memory(drawing, fitted_on, asked, progress)
        drawing.warn(stacklevel + 1)
        _warn_of_empty(store, stacklevel + 2)
        return store
    folder = Path(out).absolute()  # a generator may go elsewhere
    with Ranks.find() if distributed else Ranks(torch.device("cpu")) as ranks:
        whole = ranks.told(lambda: _is_whole(folder))
        if not whole:
            drawing = Drawing(order, drawer)
            whole = not draw_into(folder, drawing, asked, fitted_on, grown=None, ranks=ranks, progress=progress)
            drawing.warn(stacklevel + 1)
        store = _whole_already(folder, order, drawer, asked, ranks) if whole else read_store(folder)
    _warn_of_empty(store, stacklevel + 2)
    return store


def _is_whole(folder: Path) -> bool:
    if (folder / POOL).exists():
        return True
    check_place(folder)
    return False


def extend_store(store: Store, order: Order, *, progress: bool, distributed: bool, stacklevel: int) -> Store:
    """Draws a further part of a pool; the parts that are there stay as they are.

    Raises:
        DataError: The images would be of another type or size.
        ConfigError: The pool has as many parts as it may have.
        ArtifactError, StorageError: See `build_store`.
    """
    drawer = drawer_of(order)
    fitted_on = seen_by(order.synthesizer, order.view, order.selector, stacklevel=stacklevel + 2)
    asked = order.asked(drawer.spec, drawer.chunk)
    document = store.document
    if store.folder is not None:
        document = as_opened(store.folder, document)  # a view may decide otherwise
    _check_extension(document, order, drawer, asked)
    drawing = Drawing(order, drawer)
    if store.folder is None:
        grown = joined([store, _in_memory(drawing, fitted_on, asked, progress)])
    else:
        with Ranks.find() if distributed else Ranks(torch.device("cpu")) as ranks:
            draw_into(store.folder, drawing, asked, fitted_on, grown=document, ranks=ranks, progress=progress)
        grown = read_store(store.folder)
    drawing.warn(stacklevel + 1)
    _warn_of_empty(grown, stacklevel + 2)
    return grown


def _check_extension(document: Mapping[str, Any], order: Order, drawer: Drawer, asked: Mapping[str, Any]) -> None:
    """Raises, before anything is drawn, where rows cannot come behind those of a pool."""
    if len(document["parts"]) >= MOST_PARTS:
        raise ConfigError(f"expected a pool of fewer than {MOST_PARTS} parts, found {MOST_PARTS}; build another one")
    check_alike(document, {"form": order.form(drawer.spec), "named": True, "parts": []})
    for part in document["parts"]:
        own = part.get("settings") or {}
        again = order.known and all(own.get(name) == asked[name] for name in ("seed", "synthesizer"))
        if again and set(own["needed"]) & set(asked["needed"]):
            raise ArtifactError(
                f"expected a seed of which the pool holds no rows, found {asked['seed']}, by which the same "
                "synthesizer drew rows of the same classes already; give another seed=, or none"
            )


def _whole_already(folder: Path, order: Order, drawer: Drawer, asked: Mapping[str, Any], ranks: Ranks) -> Store:
    """Returns a pool that is whole, where it is the one that is ordered, or began as that one."""
    store = read_store(folder)
    settings = store.document["parts"][0].get("settings")
    if settings is None:
        raise ArtifactError(
            f"expected {folder} not to exist yet, or to be the same pool, found a pool of images that were not drawn "
            "for it; give another out="
        )
    try:
        check_settings(asked, settings, f"the pool in {folder}", "delete that folder")
    except ArtifactError as error:
        raise ArtifactError(f"expected {folder} not to exist yet, or to be the same pool: {error}") from None
    if not order.known:
        check_same(store, drawer, folder)
    if ranks.first:
        with contextlib.suppress(OSError, ArtifactError), exclusive(folder / LOCK, f"the pool {folder}"):
            remove_partial(folder)
            for part in store.document["parts"]:
                clean_part(folder / part["folder"])
    return store


def _in_memory(drawing: Drawing, fitted_on: FittedOn, asked: Mapping[str, Any], progress: bool) -> Store:
    work = MemoryWork(drawing.plan)
    bar = Progress(drawing.plan, drawing.order.view.classes, shown=progress, work=None, mine=work.pending())
    with bar.waiting():
        drawing.draw(work, work.pending(), bar)
    columns = Columns.concatenate(list(drawing.decide(work)))
    images, masks = work.arrays()
    own = {"folder": part_name(0), "rows": len(columns), "chunk": drawing.plan.chunk, "masks": masks is not None}
    document = document_of(drawing, {**own, **drawing.record(asked)})
    return Store([images], columns, document, fitted_on, masks=None if masks is None else [masks])


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
