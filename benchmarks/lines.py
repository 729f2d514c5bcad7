"""A line of a benchmark's table: two sides, a figure with its range over rounds, and its limit."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HEADS", "Line", "Measured", "of_rounds", "of_values"]

Measured = dict[str, Any]
HEADS = ["case", "A", "B", "found (range)", "limit", "kept"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure: what two sides took, and a number that has a limit, if `least` or `most` names one."""

    case: str
    ours: str
    other: str = ""
    figure: float
    low: float
    high: float
    what: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None where there is none."""
        if self.least is None and self.most is None:
            return None
        return (self.least is None or self.figure >= self.least) and (self.most is None or self.figure <= self.most)

    def cells(self) -> list[str]:
        """Returns the row of the table."""
        told = f"{self.figure:,.3f} ({self.low:,.3f} to {self.high:,.3f})"
        limits = [f"{word} {of:g}" for word, of in (("at least", self.least), ("at most", self.most)) if of is not None]
        kept = {None: "", True: "yes", False: "**no**"}[self.kept]
        return [self.case, self.ours, self.other, f"{told} {self.what}".strip(), ", ".join(limits), kept]


def of_rounds(case: str, result: Measured, side: str, beside: str, **rest: Any) -> Line:
    """Returns the speed of a side as a share of another's."""
    one, two = (result["rounds"][name]["wall"] for name in (side, beside))
    each = [b / a for a, b in zip(one, two, strict=True)]
    figure = statistics.median(two) / statistics.median(one)
    return Line(case=case, figure=figure, low=min(each), high=max(each), **rest)


def of_values(case: str, values: Sequence[float], **rest: Any) -> Line:
    """Returns the median of some values."""
    return Line(case=case, figure=statistics.median(values), low=min(values), high=max(values), **rest)
