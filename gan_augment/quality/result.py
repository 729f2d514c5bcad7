"""Audit: the verdict on a synthetic set, its reasons and the table behind them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Audit"]

Verdict = Literal["good", "doubtful", "bad"]

_SENTENCES = {
    "good": "No problem was found in {n} synthetic images of {classes} classes, beside {reals} real ones.",
    "doubtful": "The {n} synthetic images are doubtful ({classes} classes, {reals} real images).",
    "bad": "The {n} synthetic images are bad: do not train on them as they are ({classes} classes, {reals} real ones).",
}


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What `audit` found.

    Attributes:
        verdict: "good", "doubtful" (look at it before you train on it) or "bad" (do not).
        problems: Words out of "collapse", "copies", "labels", "unlike real" and "too few to tell"; the last alone
            leaves the verdict good unless most of the pool is of such classes.
        table: A row for all ("all") and one for each class of the training split, with `n`, `n_real`, `n_unseen` and
            each measure beside its value for real images (`..._real`); None where it could not be had, with the
            reason in `notes`.
        warnings: What to know before the table, in plain words, the gravest first.
        settings: What the audit was made with.
    """

    verdict: Verdict
    problems: frozenset[str]
    table: Sequence[dict[str, Any]]
    warnings: Sequence[str]
    settings: dict[str, Any]

    def summary(self) -> str:
        """Returns a few lines of plain words: the verdict, warnings, and the main numbers beside the reals'."""
        total = self.table[0]
        classes = sum(1 for row in self.table[1:] if row["n"])
        lines = [_SENTENCES[self.verdict].format(n=total["n"], classes=classes, reals=total["n_real"])]
        lines += [f"- {warning}" for warning in self.warnings]
        told = (
            _pair(total, "copies", "near-copies of training images", "{:.1%}"),
            _pair(total, "duplicates", "repeated in their class", "{:.1%}"),
            _pair(total, "far", "outside of where reals lie", "{:.1%}"),
            _pair(total, "agreement", "labels that judges agree with", "{:.0%}"),
            _pair(total, "coverage", "coverage", "{:.2f}"),
            _pair(total, "kid", "KID", "{:.4f}"),
        )
        numbers = "; ".join(text for text in told if text)
        return "\n".join([*lines, f"In brackets real images in their place: {numbers}."])

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as JSON values."""
        return {
            "verdict": self.verdict,
            "problems": sorted(self.problems),
            "warnings": list(self.warnings),
            "table": copy.deepcopy(list(self.table)),
            "settings": dict(self.settings),
        }

    def __str__(self) -> str:
        return self.summary()


def _pair(row: dict[str, Any], name: str, title: str, form: str) -> str:
    value, real = row[name], row[f"{name}_real"]
    if value is None:
        return ""
    return f"{title} {form.format(value)} ({'unknown' if real is None else form.format(real)})"
