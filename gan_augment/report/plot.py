"""Plots of an evaluation, as SVG that follows the page's colours."""

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from gan_augment.evaluation import EvaluationResult
from gan_augment.report.texts import known, points, spread, titled

__all__ = ["arms_plot", "gain_plot", "mark", "ticks", "write"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 720, 236, 24, 26, 12
_LONGEST = 26
_NAMED = 12
"""Up to so many classes are named in the plot of gains; the table below names them all."""


def mark(tag: str, kind: str = "", **places: float) -> str:
    """Returns an SVG element without content; an underscore in an attribute's name stands for a hyphen."""
    told = " ".join(f'{name.replace("_", "-")}="{value:.5g}"' for name, value in places.items())
    return f'<{tag} class="{escape(kind)}" {told}/>'


def write(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    """Returns a line of text in SVG, cut where it is long."""
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f'<text class="{kind}" x="{x:.5g}" y="{y:.5g}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    head = f'<svg viewBox="0 0 {width:.5g} {height:.5g}" role="img" aria-label="{escape(label)}">'
    return "".join([head, *parts, "</svg>"])


def arms_plot(evaluation: EvaluationResult, metric: str) -> str:
    """Returns an SVG: a row an arm, each seed as a small dot, the mean as a large one, the interval as a bar."""
    arms = {name: evaluation.interval(name, metric) for name in evaluation.scores}
    ends = [end for arm in arms.values() for end in (arm.mean, arm.low, arm.high, *arm.values) if math.isfinite(end)]
    if not ends:
        return ""
    marks = ticks(max(0.0, min(ends)), min(1.0, max(ends)))
    low, high = marks[0], marks[-1]
    bottom = _TOP + _ROW * len(arms)

    def x(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = []
    for tick in marks:
        parts.append(mark("line", "grid", x1=x(tick), x2=x(tick), y1=_TOP, y2=bottom))
        parts.append(write(x(tick), bottom + 18, f"{tick * 100:.3g}"))
    for line, (name, arm) in enumerate(arms.items()):
        y = _TOP + _ROW * (line + 0.5)
        kind = "plain" if evaluation.kinds[name] == "free" else "synthetic"
        parts.append(write(_LEFT - 12, y + 4, name, "end", "strong" if name == evaluation.reference else ""))
        if not math.isfinite(arm.mean):
            continue
        parts += [mark("circle", f"{kind} dot", cx=x(v), cy=y, r=2.5) for v in arm.values if math.isfinite(v)]
        if math.isfinite(arm.low):
            parts.append(mark("line", kind, x1=x(arm.low), x2=x(arm.high), y1=y, y2=y))
        parts.append(mark("circle", kind, cx=x(arm.mean), cy=y, r=5.5))
    parts.append(write((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, f"{titled(metric)}, %"))
    return _svg(_WIDTH, bottom + 46, f"{titled(metric)} of each arm", parts)


def gain_plot(gains: Sequence[dict[str, Any]]) -> str:
    """Returns an SVG of the gain in recall of each class, with its interval, against its training images.

    Args:
        gains: What `EvaluationResult.gain_by_class` returns.
    """
    shown = [row for row in gains if known(row["gain"].mean)]
    if not shown:
        return ""
    ends = [end for row in shown for end in (row["gain"].mean, row["gain"].low, row["gain"].high) if known(end)]
    marks = ticks(min(0.0, *ends), max(0.0, *ends))
    left, right, top, bottom = 60, 700, 26, 260
    sizes = [math.log10(max(1, row["images"])) for row in shown]
    first, last = min(sizes) - 0.1, max(sizes) + 0.1

    def x(images: float) -> float:
        return left + (math.log10(max(1, images)) - first) / (last - first) * (right - left)

    def y(gain: float) -> float:
        return bottom - (gain - marks[0]) / (marks[-1] - marks[0]) * (bottom - top)

    parts = []
    for tick in marks:
        parts.append(mark("line", "zero" if tick == 0 else "grid", x1=left, x2=right, y1=y(tick), y2=y(tick)))
        parts.append(write(left - 8, y(tick) + 4, f"{100 * tick:+.3g}" if tick else "0", "end"))
    parts += [write(x(images), bottom + 20, f"{images:g}") for images in _sizes(10**first, 10**last)]
    for row, place in zip(shown, _beside([x(row["images"]) for row in shown]), strict=True):
        parts.append(_gain(row, place, y, named=len(shown) <= _NAMED))
    parts.append(write((left + right) / 2, bottom + 42, "training images"))
    return _svg(720, bottom + 52, "Gain in recall of each class against its training images", parts)


def _gain(row: dict[str, Any], x: float, y: Callable[[float], float], *, named: bool) -> str:
    """Returns the mark of a class, with what it stands for as a tooltip, and its name above."""
    gain = row["gain"]
    told = escape(f"{row['class']}, {row['images']} images: {points(gain.mean)} ({spread(gain, sign=True)})")
    bar = mark("line", "synthetic", x1=x, x2=x, y1=y(gain.low), y2=y(gain.high)) if known(gain.low) else ""
    dot = mark("circle", "synthetic", cx=x, cy=y(gain.mean), r=5)
    top = y(gain.high if known(gain.high) else gain.mean) - 9
    name = write(x, top, row["class"][:9], kind="small") if named else ""
    return f"<g><title>{told}</title>{bar}{dot}</g>{name}"


def _sizes(low: float, high: float) -> list[float]:
    """Returns round numbers of images for an axis, few enough to be told apart."""
    steps = (1, 2, 5) if high / low < 300 else (1,)
    every = [step * 10**power for power in range(8) for step in steps]
    return [size for size in every if low <= size <= high] or [round(math.sqrt(low * high))]


def _beside(places: Sequence[float], apart: float = 9) -> list[float]:
    """Returns places moved so that none hides another, in the order of their values."""
    moved: list[float] = []
    for place in places:
        moved.append(place if not moved else max(place, moved[-1] + apart))
    shift = max(0.0, (moved[-1] - places[-1]) / 2)
    return [place - shift if place != original else place for place, original in zip(moved, places, strict=True)]


def ticks(low: float, high: float) -> list[float]:
    """Returns about five round shares that enclose low and high."""
    steps = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    step = next((step for step in steps if (high - low) / step <= 6), steps[-1])
    first, last = math.floor(round(low / step, 9)), math.ceil(round(high / step, 9))
    return [round(step * place, 6) for place in range(first, max(last, first + 1) + 1)]
