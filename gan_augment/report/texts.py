"""Numbers and names as the page tells them: what is not known is a dash."""

import math
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from gan_augment.metrics import Interval

__all__ = ["DASH", "flat", "known", "listed", "number", "p_value", "percent", "points", "spread", "titled"]

DASH = "\N{EN DASH}"
_TITLES = {"f1": "F1", "auroc": "AUROC"}


def known(value: Any) -> bool:
    """Tells whether a value is a finite number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any, form: str = "{:.3g}") -> str:
    """Returns a number in a form; a dash for what is none."""
    return form.format(value) if known(value) else DASH


def percent(value: Any, form: str = "{:.1f}") -> str:
    """Returns a share in percent, without the sign."""
    return number(value * 100 if known(value) else None, form)


def points(value: Any) -> str:
    """Returns a difference of shares in points, with its sign."""
    return percent(value, "{:+.1f}")


def spread(value: Interval, *, sign: bool = False) -> str:
    """Returns the ends of an interval in percent; empty where they are not known."""
    told = points if sign else percent
    return f"{told(value.low)} to {told(value.high)}" if known(value.low) and known(value.high) else ""


def p_value(value: Any) -> str:
    """Returns a p-value."""
    return "<0.001" if known(value) and value < 0.001 else number(value, "{:.3f}")


def titled(name: str) -> str:
    """Returns the name of a metric in words."""
    return " ".join(_TITLES.get(word, word) for word in name.split("_"))


def listed(names: Iterable[Any], most: int = 10) -> str:
    """Returns names with commas, at most so many."""
    every = [str(name) for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Returns nested settings as one level of names and texts, in words; long hashes are shortened."""
    told: dict[str, str] = {}
    for name, value in values.items():
        title = f"{before}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            told |= flat(value, f"{title}: ")
        elif isinstance(value, list | tuple):
            told[title] = listed(value) or DASH
        elif isinstance(value, float):
            told[title] = number(value, "{:g}")
        else:
            told[title] = DASH if value is None else _shortened(str(value))
    return told


def _shortened(text: str) -> str:
    digits = len(text) >= 16 and all(letter in "0123456789abcdef" for letter in text)
    return f"{text[:8]}…" if digits else text
