"""The classes of a page: how many images there are of each, and the first of each kind beside their neighbours."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gan_augment.balance import MIN_IMAGES, numbers_to_add
from gan_augment.report.pictures import data_uri
from gan_augment.report.shown import Nearest, Shown
from gan_augment.report.texts import DASH, listed, number
from gan_augment.source import RawView
from gan_augment.types import IntArray

__all__ = ["MOST_CLASSES", "Gallery", "class_counts", "gallery", "rarest_first"]

MOST_CLASSES = 40
MOST_COLUMNS = 12
_MOST_IMAGES = 900
_OPEN = 4
_SMALL = 64
_SIDES = ((200, 128), (500, 96), (_MOST_IMAGES, 64))
"""Up to so many images, so many pixels a side: what keeps the page at a few megabytes."""


def rarest_first(shown: Shown) -> list[int]:
    """Returns the classes, those with synthetic images first, each group from the rarest on."""
    counts, drawn = shown.view.counts, np.bincount(shown.labels, minlength=shown.view.num_classes)
    return [int(label) for label in np.lexsort((counts, drawn == 0))]


def class_counts(shown: Shown) -> list[dict[str, Any]]:
    """Returns a row a class, the largest first: images before and after, candidates, and the lengths of two bars."""
    view, drawn = shown.view, shown.labels
    added = _added(shown)
    after = view.counts + added
    most = max(1, int(after.max()))
    return [
        {
            "name": view.classes[label],
            "real": int(view.counts[label]),
            "candidates": int((drawn == label).sum()),
            "kept": int((drawn[shown.kept] == label).sum()),
            "rejected": _reasons(shown, label),
            "added": int(added[label]),
            "after": int(after[label]),
            "small": bool(view.counts[label] < MIN_IMAGES),
            "bars": (100 * int(view.counts[label]) / most, 100 * int(added[label]) / most),
        }
        for label in np.argsort(-view.counts, kind="stable").tolist()
    ]


def _added(shown: Shown) -> IntArray:
    """Returns the slots of each class: those that the pool was built for, else those of sampling_strategy="auto"."""
    view: RawView = shown.view
    added = np.zeros(view.num_classes, np.int64)
    needed = None if shown.pool is None else shown.pool.about.get("needed")
    if isinstance(needed, dict) and set(needed) <= set(view.classes):
        for name, wanted in needed.items():
            added[view.classes.index(name)] = int(wanted)
    elif len(np.unique(view.targets)) > 1:
        for label, wanted in numbers_to_add("auto", view.targets, view.classes, view.values).items():
            added[label] = wanted
    return added


def _reasons(shown: Shown, label: int) -> str:
    if shown.pool is None:
        return DASH
    why = shown.pool.reasons[(shown.labels == label) & ~shown.kept]
    counted = zip(*np.unique(why, return_counts=True), strict=True)
    return ", ".join(f"{times} {reason}" for reason, times in counted) or DASH


@dataclass(frozen=True)
class Gallery:
    """The images of a page.

    Attributes:
        classes: For each class its name, counts, and figures of real, kept and rejected images.
        columns: Images of each kind.
        left_out: Names of classes that are not shown; empty where all are.
        searched: How many training images neighbours were searched among.
        of: How many training images there are.
        pixelated: Whether the images are so small that their pixels should be seen.
        parents: Whether a parent is shown of any.
        scored: Whether a selector scored them.
    """

    classes: list[dict[str, Any]]
    columns: int
    left_out: str
    searched: int
    of: int
    pixelated: bool
    parents: bool
    scored: bool


def gallery(shown: Shown, columns: int) -> Gallery:
    """Returns the first images of each class and kind, in the order of the data and of the pool; none is picked.

    Args:
        shown: The training split and a pool.
        columns: Images of each kind, at most; fewer where there are many classes.
    """
    order = rarest_first(shown)
    order, left = order[:MOST_CLASSES], order[MOST_CLASSES:]
    kinds = {name: own for name, own in (("kept", shown.kept), ("rejected", ~shown.kept)) if own.any()}
    beside = 1 + int((shown.parents >= 0).any())
    columns = min(columns, MOST_COLUMNS, max(3, _MOST_IMAGES // (len(order) * (1 + len(kinds) * (1 + beside)))))
    reals = {label: shown.view.of_class(label)[:columns] for label in order}
    drawn = {
        label: {name: np.flatnonzero(own & (shown.labels == label))[:columns] for name, own in kinds.items()}
        for label in order
    }
    rows = np.sort(np.concatenate([row for groups in drawn.values() for row in groups.values()]))
    near = Nearest.of(shown, rows)
    images = sum(map(len, reals.values())) + len(rows) * (1 + beside)
    side = next((pixels for most, pixels in _SIDES if images <= most), _SIDES[-1][1])
    return Gallery(
        classes=[
            _class(shown, label, reals[label], drawn[label], near, side)
            | {"open": place < _OPEN and any(map(len, drawn[label].values()))}
            for place, label in enumerate(order)
        ],
        columns=columns,
        left_out=listed(shown.view.classes[label] for label in left),
        searched=near.searched,
        of=len(shown.view),
        pixelated=shown.spec is not None and max(shown.spec.grid) <= _SMALL,
        parents=bool(near.parent),
        scored=shown.pool is not None and not np.isnan(shown.pool.scores).all(),
    )


def _class(
    shown: Shown, label: int, reals: IntArray, drawn: dict[str, IntArray], near: Nearest, side: int
) -> dict[str, Any]:
    own = shown.labels == label
    return {
        "name": shown.view.classes[label],
        "real": int(shown.view.counts[label]),
        "kept": int((own & shown.kept).sum()),
        "rejected": int((own & ~shown.kept).sum()),
        "reals": _real(shown, reals, side),
        "groups": [(kind, _synthetic(shown, rows, near, side)) for kind, rows in drawn.items()],
    }


def _real(shown: Shown, rows: IntArray, side: int) -> list[dict[str, Any]]:
    images = shown.real(rows) if len(rows) else ()
    return [
        {"source": data_uri(image, side), "alt": f"real image {row}"}
        for row, image in zip(rows.tolist(), images, strict=True)
    ]


def _synthetic(shown: Shown, rows: IntArray, near: Nearest, side: int) -> list[dict[str, Any]]:
    """Returns a figure for each candidate: itself, its nearest real image, its parent."""
    assert shown.pool is not None or not len(rows)
    figures = []
    for row, image in zip(rows.tolist(), shown.synthetic(rows) if len(rows) else (), strict=True):
        assert shown.pool is not None
        seed, _ = shown.pool.provenance(row)
        closest, parent = near.row.get(row), int(shown.parents[row])
        figures.append(
            {
                "source": data_uri(image, side),
                "row": row,
                "seed": DASH if seed is None else seed,
                "score": number(float(shown.pool.scores[row]), "{:#.3g}"),
                "reason": str(shown.pool.reasons[row]),
                "nearest": None if closest is None else _beside(shown, closest, near.relative[row], side),
                "parent": None
                if parent < 0 or row not in near.parent
                else _beside(shown, parent, near.parent[row], side),
            }
        )
    return figures


def _beside(shown: Shown, row: int, distance: float, side: int) -> dict[str, Any]:
    image = shown.real(np.array([row]))[0]
    return {
        "source": data_uri(image, side),
        "row": row,
        "class": shown.view.classes[int(shown.view.targets[row])],
        "distance": number(distance, "{:.2f}"),
        "close": distance < 0.5,
    }
