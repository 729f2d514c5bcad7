"""The picture of a pool: a row a class, with real, kept and rejected images."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.images import picture
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView

__all__ = ["sample_grid"]

_CELL, _GAP, _LABEL, _HEAD, _EDGE = 0.42, 0.4, 1.75, 0.45, 0.1
"""Inches: side of a cell, space between the groups, room for names, heading, edge."""

_FILL = 0.92


def sample_grid(view: RawView, pool: SyntheticPool, path: Path, *, columns: int = 8) -> None:
    """Writes a PNG: for each class, the first real images, the first kept and the first rejected candidates.

    The candidates are those of the first seeds, in their order; none is picked. Of volumes the middle slice is shown.

    Args:
        view: The training split.
        pool: A pool built like it.
        path: The file.
        columns: Images of each kind.

    Raises:
        ConfigError: The pool is one of arrays, whose range is not known.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = np.argsort(-view.counts, kind="stable").tolist()
    group = columns * _CELL + _GAP
    width, height = _LABEL + 3 * group - _GAP + _EDGE, _HEAD + len(order) * _CELL + _EDGE
    figure = Figure(figsize=(width, height), dpi=160)
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, **settings: Any) -> None:
        figure.text(x / width, 1 - y / height, text, va="center", parse_math=False, **settings)

    write(_LABEL - 0.12, _HEAD / 2, "class (real images)", ha="right", fontsize=8, color="0.35")
    for number, name in enumerate(("real", "kept", "rejected")):
        write(_LABEL + number * group, _HEAD / 2, name, fontsize=10, weight="bold")
    for line, label in enumerate(order):
        top = _HEAD + line * _CELL
        told = f"{view.classes[label][:16]} ({view.counts[label]})"
        write(_LABEL - 0.12, top + _CELL / 2, told, ha="right", fontsize=9)
        for number, images in enumerate(_images(view, pool, label, columns)):
            left = _LABEL + number * group
            if not len(images):
                write(left, top + _CELL / 2, "none", fontsize=8, color="0.45")
            for column, image in enumerate(images):
                place = (left + column * _CELL, height - top - _CELL, _CELL * _FILL, _CELL * _FILL)
                axes = figure.add_axes(tuple(np.divide(place, (width, height, width, height))))
                axes.imshow(picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axes.axis("off")
    figure.savefig(path, facecolor="white")


def _images(view: RawView, pool: SyntheticPool, label: int, columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the first real, kept and rejected images of a class."""
    if pool.image_spec is None:
        raise ConfigError("expected a pool that was built, found one of arrays; its range is not known")
    everything = pool.candidates()
    own = everything.labels == label
    kept = everything.rows[own & everything.kept][:columns]
    rejected = everything.rows[own & ~everything.kept][:columns]
    real = view.images(view.of_class(label)[:columns], spec=pool.image_spec)
    return real, pool.images(kept), pool.images(rejected)
