"""The table of a comparison as text."""

from collections.abc import Mapping
from typing import Any

from gan_augment.report.texts import percent, points, titled

__all__ = ["comparison_table"]

_METRICS = ("balanced_accuracy", "macro_f1", "few_recall")


def comparison_table(result: Mapping[str, Any]) -> str:
    """Returns an arm a row, in percent with 95% intervals, and the sentence.

    Args:
        result: What `EvaluationResult.to_json` gives, with `seconds` and `machine`, and `advice` where there is some:
            what the demo's `result.json` holds.
    """
    best = result["reference"]
    rows = [["arm", *map(titled, _METRICS), f"against {best}"]]
    for name, arm in result["arms"].items():
        cells = [_cell(arm["metrics"][metric], percent) for metric in _METRICS]
        rows.append([name, *cells, "" if name == best else _cell(arm["difference"][_METRICS[0]], points)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    count = len(result["seeds"])
    about = f"{count} seed{'s' * (count > 1)}, mean and 95% interval in percent; {result['seconds']:.0f} s on "
    return "\n".join(
        [*lines, "", f"{about}{result['machine']}.", f"{result['sentence']} {result.get('advice', '')}".strip()]
    )


def _cell(value: Mapping[str, Any], told: Any) -> str:
    mean, low, high = (told(value[name]) for name in ("mean", "low", "high"))
    return mean if value["low"] is None else f"{mean} [{low}, {high}]"
