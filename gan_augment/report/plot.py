"""The plot of a comparison, as SVG that follows the page's colours."""

import math
from html import escape

from gan_augment.evaluation import Comparison

__all__ = ["arms_plot"]

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 680, 240, 24, 34, 14


def arms_plot(comparison: Comparison, metric: str) -> str:
    """Returns an SVG: a row an arm, each replicate as a small dot, the mean as a large one, the interval as a bar."""
    arms = {name: metrics[metric] for name, metrics in comparison.arms.items()}
    ends = [end for arm in arms.values() for end in (arm.low, arm.high, *arm.values) if math.isfinite(end)]
    low, high = min(ends), max(ends)
    pad = max(0.01, (high - low) * 0.05)
    low, high = max(0.0, low - pad), min(1.0, high + pad)
    height = _TOP + _ROW * len(arms) + 40

    def x(value: float) -> float:
        return _LEFT + (min(max(value, low), high) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(metric.replace("_", " "))} of each arm">'
    ]
    bottom = _TOP + _ROW * len(arms)
    for tick in range(5):
        value = low + (high - low) * tick / 4
        parts.append(f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{value * 100:.1f}</text>')
    for line, (name, arm) in enumerate(arms.items()):
        y = _TOP + _ROW * (line + 0.5)
        kind = "synthetic" if name.endswith("synthetic") else "plain"
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        if math.isfinite(arm.low):
            parts.append(f'<line class="{kind}" x1="{x(arm.low):.1f}" x2="{x(arm.high):.1f}" y1="{y}" y2="{y}"/>')
        parts += [f'<circle class="{kind} dot" cx="{x(v):.1f}" cy="{y}" r="3"/>' for v in arm.values]
        parts.append(f'<circle class="{kind}" cx="{x(arm.mean):.1f}" cy="{y}" r="6"/>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{escape(metric.replace("_", " "))}, %</text></svg>'
    )
    return "".join(parts)
