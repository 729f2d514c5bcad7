"""From measures to problems: what is told apart from chance, and from how far on it is bad."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gan_augment.metrics.shares import excess
from gan_augment.quality.closeness import Closeness
from gan_augment.quality.material import Material
from gan_augment.quality.measures import FEW, OVERALL
from gan_augment.quality.spaces import agreement

__all__ = ["PROBLEMS", "Finding", "findings"]

Problem = Literal["collapse", "copies", "labels", "unlike real", "too few to tell"]
PROBLEMS: tuple[Problem, ...] = ("collapse", "copies", "labels", "unlike real", "too few to tell")

_ONCE, _EACH = 2.6, 3.3
"""Standard deviations of a test that is made once (one in 200), and of one that is made for each class (1 in 2000)."""

LIMITS = {"collapse": (0.05, 0.10), "copies": (0.005, 0.05), "labels": (0.10, 0.15), "unlike real": (0.10, 0.30)}
"""By how much the pool's share must exceed that of the reals, lower bound: overall, and in a class."""

SEVERE = {"collapse": 0.15, "copies": 0.01, "labels": 0.15, "unlike real": 0.30}
"""From which lower bound on a problem makes the verdict bad."""

_SEEN_MARGIN = 0.4
_LEAST_VENDI, _LEAST_VENDI_CLASS = 0.6, 0.5
_VENDI_IMAGES = 20


@dataclass(frozen=True)
class Finding:
    """A problem that was found.

    Attributes:
        problem: Its word.
        severe: Whether it makes the verdict bad.
        text: A sentence about it.
    """

    problem: Problem
    severe: bool
    text: str


def findings(material: Material, close: Closeness, table: list[dict[str, Any]]) -> list[Finding]:
    """Returns every problem, at most one of a word."""
    found = [
        _shares("collapse", material, close.duplicates, close.duplicates_real, material.train.labels)
        or _little_spread(material, table),
        _shares("copies", material, close.pool.copies, close.reference.copies, close.reference.labels),
        _labels(material, table),
        _shares("unlike real", material, close.far, close.far_real, material.train.labels),
        _few(table),
    ]
    return [finding for finding in found if finding is not None]


_TOLD = {
    "collapse": "{share:.0%} of the synthetic images{where} repeat another one of their class ({real:.1%} of the real)",
    "copies": "{share:.1%} of the synthetic images{where} are near-copies of training images ({real:.1%} of real ones)",
    "unlike real": "{share:.0%} of the synthetic images{where} lie outside of where real ones of any class lie "
    "({real:.1%} of the real)",
}


def _shares(problem: Problem, material: Material, fake: Any, real: Any, real_labels: Any) -> Finding | None:
    """Compares a share of the pool with that of the reals, in all and in each class.

    A class is compared with its own reals and with all reals, whichever have the greater share: of few reals the own
    share is not known well.
    """
    once, each = LIMITS[problem]
    worst, texts = -1.0, []
    bound = excess(int(fake.sum()), len(fake), int(real.sum()), len(real), _ONCE)
    if bound > once:
        worst = bound
        texts.append(_TOLD[problem].format(share=fake.mean(), real=real.mean(), where=""))
    classes = []
    for label in np.unique(material.pool.labels).tolist():
        own, like = fake[material.pool.labels == label], real[real_labels == label]
        share = max(real.mean(), like.mean() if len(like) else 0.0)
        bound = excess(int(own.sum()), len(own), float(share * len(real)), len(real), _EACH)
        if bound > each and len(own) >= FEW:
            classes.append((float(own.mean()), material.classes[label]))
            worst = max(worst, bound * len(own) / len(fake))
    if classes and not texts:
        share = max(classes)[0]
        texts.append(_TOLD[problem].format(share=share, real=real.mean(), where=f" of {max(classes)[1]}"))
    if not texts:
        return None
    apart = [pair for pair in sorted(classes, reverse=True)[:5] if pair[0] > 1.5 * fake.mean()]
    named = ", ".join(f"{name} {share:.0%}" for share, name in apart)
    return Finding(problem, worst > SEVERE[problem], texts[0] + (f"; most in {named}" if named else ""))


def _little_spread(material: Material, table: list[dict[str, Any]]) -> Finding | None:
    """Compares the effective number of different images with that of as many reals."""
    ratios = [
        (row["vendi"] / row["vendi_real"], row["n"], row["class"])
        for row in table
        if row["class"] != OVERALL and row["vendi"] and min(row["n"], row["n_unseen"]) >= _VENDI_IMAGES
    ]
    if not ratios:
        return None
    mean = sum(ratio * n for ratio, n, _ in ratios) / sum(n for _, n, _ in ratios)
    worst = min(ratios)
    if mean < _LEAST_VENDI:
        text = f"the synthetic images of a class count as {mean:.0%} as many different ones as real images do (Vendi)"
        return Finding("collapse", mean < 0.5 * _LEAST_VENDI, text)
    if worst[0] < _LEAST_VENDI_CLASS:
        text = f"the synthetic images of {worst[2]} count as {worst[0]:.0%} as many different ones as real images do"
        return Finding("collapse", False, text)
    return None


def _labels(material: Material, table: list[dict[str, Any]]) -> Finding | None:
    """Compares how often judges take the pool's images for their class with how often they take unseen reals."""
    margin = _SEEN_MARGIN if any(space.seen for space in material.spaces) else 0.0
    wrong, difference, variance, weight = [], 0.0, 0.0, 0
    for label in np.unique(material.pool.labels).tolist():
        pool, real = (agreement(material.spaces, side, label) for side in ("pool", "reals"))
        if pool is None or real is None or not real[1]:
            continue
        (right, n), (right_real, m) = pool, real
        bound = excess(n - right, n, m - right_real, m, _EACH)
        if bound > LIMITS["labels"][1] + margin:
            wrong.append((bound, material.classes[label]))
        difference += n * (right_real / m - right / n)
        variance += n**2 * (_variance(right, n) + _variance(right_real, m))
        weight += n
    overall = (difference - _ONCE * variance**0.5) / weight if weight else -1.0
    if overall <= LIMITS["labels"][0] + margin and not wrong:
        return None
    rows = {row["class"]: row for row in table}
    total = rows[OVERALL]
    text = (
        f"judges that did not select the images agree with {total['agreement']:.0%} of the labels "
        f"({total['agreement_real']:.0%} of real images of these classes)"
    )
    if wrong:
        named = [f"{name} (taken for {rows[name]['taken_for']})" for _, name in sorted(wrong, reverse=True)[:5]]
        text += f"; least for {', '.join(named)}"
    return Finding("labels", bool(wrong) or overall - margin > SEVERE["labels"], text)


def _variance(count: float, total: int) -> float:
    share = (count + 1) / (total + 2)
    return share * (1 - share) / total


def _few(table: list[dict[str, Any]]) -> Finding | None:
    rows = [row for row in table if row["class"] != OVERALL and row["n"]]
    small = [row for row in rows if min(row["n"], row["n_real"]) < FEW]
    if not small:
        return None
    share = sum(row["n"] for row in small) / sum(row["n"] for row in rows)
    named = ", ".join(f"{row['class']} ({row['n']} synthetic, {row['n_real']} real)" for row in small[:5])
    more = f" and {len(small) - 5} more" if len(small) > 5 else ""
    text = f"fewer than {FEW} images of {named}{more}: what is wrong with these alone may not be found"
    if share > 0.5:
        text += f"; they are {share:.0%} of the pool"
    return Finding("too few to tell", False, text)


def mostly_few(table: list[dict[str, Any]]) -> bool:
    """Tells whether most of the pool is of classes too small to judge."""
    rows = [row for row in table if row["class"] != OVERALL and row["n"]]
    small = sum(row["n"] for row in rows if min(row["n"], row["n_real"]) < FEW)
    return bool(small > 0.5 * sum(row["n"] for row in rows))
