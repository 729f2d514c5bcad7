"""The picture of a pool: a row a class, with real, kept and rejected images."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView

__all__ = ["sample_grid"]

_COLUMNS = 8
_GAP = 1.2


def sample_grid(view: RawView, pool: SyntheticPool, path: Path, *, columns: int = _COLUMNS) -> None:
    """Writes a PNG: for each class, the first real images, the first kept and the first rejected candidates.

    The candidates are those of the first seeds, in their order; none is picked. Of volumes the middle slice is shown.

    Args:
        view: The training split.
        pool: A pool built like it.
        path: The file.
        columns: Images of each kind.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spec = pool.image_spec
    assert spec is not None
    order = np.argsort(-view.counts, kind="stable")
    groups = ("real", "kept", "rejected")
    figure = Figure(figsize=(1.9 + (3 * columns + 2 * _GAP) * 0.42, 0.95 + len(order) * 0.46), dpi=160)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(order),
        3 * columns + 2,
        width_ratios=[w for i in range(3) for w in ([1.0] * columns + ([_GAP] if i < 2 else []))],
        left=1.75 / figure.get_figwidth(),
        right=1 - 0.1 / figure.get_figwidth(),
        top=1 - 0.75 / figure.get_figheight(),
        bottom=0.1 / figure.get_figheight(),
        wspace=0.06,
        hspace=0.08,
    )
    for line, label in enumerate(order.tolist()):
        rows = (_real(view, label, columns, spec), *_candidates(pool, label, columns))
        for group, images in enumerate(rows):
            for column in range(columns):
                axes = figure.add_subplot(grid[line, group * (columns + 1) + column])
                axes.axis("off")
                if column < len(images):
                    picture = _picture(images[column])
                    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                elif column == 0:
                    axes.text(0, 0.5, "none", va="center", fontsize=8, color="0.45", transform=axes.transAxes)
        box = figure.axes[-1].get_position()
        told = f"{view.classes[label][:14]}  ({view.counts[label]})"
        figure.text(1.65 / figure.get_figwidth(), (box.y0 + box.y1) / 2, told, ha="right", va="center", fontsize=9)
    for group, name in enumerate(groups):
        left = figure.add_subplot(grid[0, group * (columns + 1)]).get_position().x0
        figure.axes[-1].axis("off")
        figure.text(left, 1 - 0.6 / figure.get_figheight(), name, ha="left", va="bottom", fontsize=10, weight="bold")
    figure.text(0.1 / figure.get_figwidth(), 1 - 0.3 / figure.get_figheight(), "class (real images)", fontsize=9)
    figure.savefig(path)


def _real(view: RawView, label: int, columns: int, spec: ImageSpec) -> Tensor:
    return view.images(view.of_class(label)[:columns], spec=spec)


def _candidates(pool: SyntheticPool, label: int, columns: int) -> tuple[Tensor, Tensor]:
    everything = pool.candidates()
    own = everything.labels == label
    kept = everything.rows[own & everything.kept][:columns]
    rejected = everything.rows[own & ~everything.kept][:columns]
    return pool.images(kept), pool.images(rejected)


def _picture(image: Tensor) -> npt.NDArray[Any]:
    """Returns `(H, W)` or `(H, W, 3)` from 0 to 1; of a volume the middle slice."""
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    array: npt.NDArray[Any] = ((image.numpy() + 1) / 2).clip(0, 1)
    return np.moveaxis(array, 0, -1) if len(array) == 3 else array.mean(axis=0)
