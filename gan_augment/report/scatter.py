"""Real and synthetic images in two dimensions: a small plot for each class, as SVG."""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from gan_augment.report.gallery import rarest_first
from gan_augment.report.plot import mark
from gan_augment.report.shown import Shown
from gan_augment.report.texts import listed
from gan_augment.types import FloatArray, IntArray, side_by_side

__all__ = ["MOST_PANELS", "Scatter", "scatter"]

MOST_PANELS = 12
_SIDE, _EDGE = 200, 12
_MOST, _MOST_OTHERS = 100, 200
_WITHIN = 99.5
"""Percent of the points between the panel's edges; the others are drawn on the edge."""


@dataclass(frozen=True)
class Scatter:
    """The plots.

    Attributes:
        panels: For each class with synthetic images, the rarest first, its name, counts and SVG.
        space: Whose features they are.
        variance: Shares of the variance along both axes.
        left_out: Names of classes without a panel for lack of space; empty where there are none.
    """

    panels: list[dict[str, Any]]
    space: str
    variance: tuple[float, float]
    left_out: str


def scatter(shown: Shown, extractor: Any = None) -> Scatter | None:
    """Projects on the two principal components of the real images' features; None where there are too few.

    Args:
        shown: The training split and a pool.
        extractor: Gives the features; None for pixels.
    """
    from sklearn.decomposition import PCA

    view = shown.view
    kept = np.flatnonzero(shown.kept)
    if len(view) < 3 or not len(kept):
        return None
    reals = shown.per_class(np.arange(len(view)), view.targets, _MOST)
    drawn = shown.per_class(kept, shown.labels[kept], _MOST)
    features = _features(shown, extractor, reals, drawn)
    if features is None or features[0].shape[1] < 2 or not features[0].var():
        return None
    plane = PCA(2, svd_solver="full" if features[0].shape[1] < 500 else "randomized", random_state=0).fit(features[0])
    real, fake = plane.transform(features[0]), plane.transform(features[1])
    real, fake = _scaled(real, fake)
    order = [label for label in rarest_first(shown) if (shown.labels[drawn] == label).any()]
    panels = []
    for label in order[:MOST_PANELS]:
        own, synthetic = view.targets[reals] == label, shown.labels[drawn] == label
        others = real[~own][:: max(1, int((~own).sum()) // _MOST_OTHERS)]
        name = f"{view.classes[label]}: {own.sum()} real images as rings, {synthetic.sum()} synthetic ones as dots"
        panels.append(
            {"name": view.classes[label], "svg": _panel(name, others, real[own], fake[synthetic])}
            | {"real": int(own.sum()), "synthetic": int(synthetic.sum())}
        )
    space = "pixels" if extractor is None else f"the features of {type(extractor).__name__}"
    first, second = (float(share) for share in plane.explained_variance_ratio_)
    return Scatter(panels, space, (first, second), listed(view.classes[label] for label in order[MOST_PANELS:]))


def _features(shown: Shown, extractor: Any, reals: IntArray, drawn: IntArray) -> tuple[FloatArray, FloatArray] | None:
    if extractor is None:
        both = shown.pixels(reals, real=True), shown.pixels(drawn, real=False)
    else:
        sides = shown.real(reals), shown.synthetic(drawn)
        real, fake = (side_by_side(extractor.extract(images).features) for images in sides)
        both = real, fake
    return both if all(np.isfinite(side).all() for side in both) else None


def _scaled(real: FloatArray, fake: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns both on the panel's axes, which nearly all points share."""
    every = np.concatenate([real, fake])
    low, high = np.percentile(every, 100 - _WITHIN, axis=0), np.percentile(every, _WITHIN, axis=0)
    width = np.where(high > low, high - low, 1)
    inside = _SIDE - 2 * _EDGE
    scaled = [_EDGE + inside * ((side - low) / width).clip(0, 1) for side in (real, fake)]
    return scaled[0], scaled[1]


def _panel(label: str, others: FloatArray, real: FloatArray, fake: FloatArray) -> str:
    marks = [mark("circle", "other", cx=x, cy=_SIDE - y, r=1.6) for x, y in others]
    marks += [mark("circle", "fake", cx=x, cy=_SIDE - y, r=3) for x, y in fake]
    marks += [mark("circle", "ring", cx=x, cy=_SIDE - y, r=4) for x, y in real]
    frame = mark("rect", "frame", x=0.5, y=0.5, width=_SIDE - 1, height=_SIDE - 1)
    head = f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="{escape(label)}">'
    return "".join([head, frame, *marks, "</svg>"])
