"""The plot of a comparison, as SVG that follows the page's colours."""

import math
from html import escape

from gan_augment.evaluation import EvaluationResult

__all__ = ["arms_plot"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 680, 240, 24, 34, 14


def arms_plot(comparison: EvaluationResult, metric: str) -> str:
    """Returns an SVG: a row an arm, each replicate as a small dot, the mean as a large one, the interval as a bar."""
    arms = {name: metrics[metric] for name, metrics in comparison.arms.items()}
    ends = [end for arm in arms.values() for end in (arm.low, arm.high, *arm.values) if math.isfinite(end)]
    ticks = _ticks(max(0.0, min(ends)), min(1.0, max(ends)))
    low, high = ticks[0], ticks[-1]
    height = _TOP + _ROW * len(arms) + 40

    def x(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(metric.replace("_", " "))} of each arm">'
    ]
    bottom = _TOP + _ROW * len(arms)
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick * 100:.3g}</text>')
    for line, (name, arm) in enumerate(arms.items()):
        y = _TOP + _ROW * (line + 0.5)
        kind = "synthetic" if name.endswith("synthetic") else "plain"
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        if math.isfinite(arm.low):
            parts.append(f'<line class="{kind}" x1="{x(arm.low):.1f}" x2="{x(arm.high):.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="{kind}" cx="{x(arm.mean):.1f}" cy="{y}" r="6"/>')
        parts += [f'<circle class="{kind} dot" cx="{x(v):.1f}" cy="{y + 11}" r="2.5"/>' for v in arm.values]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(metric.replace("_", " "))}, %</text></svg>'
    )
    return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about five round shares that enclose low and high."""
    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.25) if (high - low) / step <= 6)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 6) for number in range(first, max(last, first + 1) + 1)]
