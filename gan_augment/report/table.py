"""The table of a comparison as text."""

from collections.abc import Mapping
from typing import Any

__all__ = ["comparison_table"]

_METRICS = ("balanced_accuracy", "macro_f1", "rare_recall")


def comparison_table(result: Mapping[str, Any]) -> str:
    """Returns an arm a row, in percent with 95% intervals, and the sentence, from what `result.json` holds."""
    best = result["best_without_synthetic"]
    reference = result["arms"][best][_METRICS[0]]["values"]
    heads = ["arm", *[metric.replace("_", " ").replace("f1", "F1") for metric in _METRICS], f"against {best}"]
    rows = [heads]
    for name, arm in result["arms"].items():
        cells = [_cell(arm[metric], "{:.1f}") for metric in _METRICS]
        rows.append([name, *cells, "" if name == best else _difference(arm, reference)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    about = f"{len(result['seeds'])} seeds, mean and 95% interval in percent; {result['seconds']:.0f} s on "
    return "\n".join(
        [*lines, "", f"{about}{result['machine']}.", f"{result['sentence']} {result.get('advice', '')}".strip()]
    )


def _difference(arm: Mapping[str, Any], reference: list[float]) -> str:
    from gan_augment.metrics import paired_difference

    return _cell(paired_difference(arm[_METRICS[0]]["values"], reference).to_json(), "{:+.1f}")


def _cell(value: Mapping[str, Any], form: str) -> str:
    mean, low, high = (form.format(100 * value[name]) for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"
