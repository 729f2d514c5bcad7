"""The drawing of a part: a selector made ready, shards drawn one by one, and what was decided about their rows."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import SmallClassWarning
from gan_augment.images import ImageSpec
from gan_augment.pool.columns import Columns
from gan_augment.pool.draw import Drawer, drawn_spec
from gan_augment.pool.order import Order
from gan_augment.pool.plan import Plan
from gan_augment.pool.progress import Progress
from gan_augment.pool.rows import ShardRows
from gan_augment.pool.work import Work
from gan_augment.seeds import derive, row_seeds
from gan_augment.selection.compose import extractors_of
from gan_augment.selection.domain import DomainSelector
from gan_augment.synthesizers.checks import match_classes
from gan_augment.types import Candidates, Decision, NeedsParents

__all__ = ["CALIBRATION", "Drawing", "drawer_of"]

CALIBRATION = 128
"""Rows of each class that a selector's limits are set by."""


def drawer_of(order: Order) -> Drawer:
    """Returns who draws rows of the dataset's form, and shows them to the selector's extractors.

    Raises:
        SynthesizerError: The synthesizer lacks a class, or draws images that do not fit.
        ConfigError: An extractor was fitted on images of another type, or lacks a class.
    """
    synthesizer, view = order.synthesizer, order.view
    needed = sorted(order.needed)
    mapping = match_classes(view.classes, synthesizer.num_classes, synthesizer.class_names, needed)
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
        synthesizer.bind(view)
    spec: ImageSpec = drawn_spec(synthesizer, view, int(mapping[needed[0]]))
    return Drawer(synthesizer, mapping, spec, extractors_of(order.selector), view.classes)


class Drawing:
    """Draws the rows of an order; its selector is fitted when this is made.

    Args:
        order: What is to be drawn.
        drawer: From `drawer_of`.

    Attributes:
        plan: The rows.
        at_once: Whether the selector decides over the whole set, when all is drawn.
        by_row: Whether it decides row by row.
        stopped: What is known of classes of which next to nothing was kept, by name.
        domain_report: What a `DomainSelector` says when all is decided.
        reasons: Why rows were rejected, once all is decided; the first is empty.
    """

    def __init__(self, order: Order, drawer: Drawer) -> None:
        self.order, self.drawer = order, drawer
        self.stopped: dict[str, dict[str, Any]] = {}
        self.domain_report: Any = None
        self.reasons: list[str] = [""]
        selector = order.selector
        self.at_once = selector is not None and (selector.whole_set or isinstance(selector, DomainSelector))
        self.by_row = selector is not None and not self.at_once
        counts = order.planned
        if selector is not None:
            selector.fit(drawer.real(order.view, order.domain))
            seen = self._calibration()
            selector.calibrate(seen)
            if order.floor and not selector.whole_set:
                counts = self._above_the_floor(counts, seen, selector.decide(seen))
        self.plan = Plan(counts=counts, seed=order.seed, chunk=drawer.chunk)

    def _calibration(self) -> Candidates:
        parts, seed = [], derive(self.order.seed, "calibration")
        for label in sorted(self.order.needed):
            wanted = np.full(CALIBRATION, label)
            seeds = row_seeds(seed, label, CALIBRATION)
            drawn = self.drawer.draw(wanted, seeds)
            parts.append(self.drawer.candidates(drawn.arrays, wanted, seeds, drawn.parents))
        return Candidates.concatenate(parts)

    def _above_the_floor(self, counts: dict[int, int], seen: Candidates, decision: Decision) -> dict[int, int]:
        """Draws no more of a class than to look at, where a draw shows that next to nothing of it will be kept."""
        counts = dict(counts)
        for label, planned in counts.items():
            own = seen.labels == label
            kept = int(decision.keep[own].sum())
            if kept / CALIBRATION < self.order.floor and planned > CALIBRATION:
                counts[label] = CALIBRATION
                why = decision[own].dropped()
                name = self.order.view.classes[label]
                self.stopped[name] = {"kept": kept, "of": CALIBRATION, "planned": planned, "rejected": why}
        return counts

    def warn(self, stacklevel: int) -> None:
        """Warns of classes of which next to nothing is kept."""
        for name, found in self.stopped.items():
            why = next(iter(found["rejected"]), "")
            warnings.warn(
                f"expected at least {self.order.floor:.1%} of the candidates of {name} to be kept, found "
                f"{found['kept']} of {found['of']} in a first draw (most are {why}): drew {CALIBRATION} to look at "
                f"(pool.rejected()) instead of {found['planned']}. Train the synthesizer longer or on more "
                "images of the class, loosen the selector, or give floor=0 to draw them all",
                SmallClassWarning,
                stacklevel=stacklevel + 1,
            )

    def draw(self, work: Work, shards: Iterable[int], progress: Progress) -> None:
        """Draws shards.

        Raises:
            SynthesizerError: It draws NaN, or images of other channels.
            StorageError: The disk refused.
        """
        selector = self.order.selector
        for number in shards:
            parents, seen, decisions = [], [], []
            with work.shard(number) as sink:
                for start, stop in self.plan.chunks(number):
                    labels, seeds = self.plan.columns(start, stop)
                    drawn = self.drawer.draw(labels, seeds)
                    sink.append(drawn.arrays, drawn.masks)
                    parents.append(drawn.parents)
                    if selector is not None:
                        seen.append(self.drawer.candidates(drawn.arrays, labels, seeds, drawn.parents))
                        if not self.at_once:
                            decisions.append(selector.decide(seen.pop()))
                    progress.add(labels, decisions[-1] if decisions else None)
                sink.finish(
                    ShardRows(
                        np.concatenate(parents),
                        Decision.concatenate(decisions) if decisions else None,
                        Candidates.concatenate(seen) if seen else None,
                    )
                )

    def decide(self, work: Work) -> Iterator[Columns]:
        """Returns the columns of one shard after the other; the selector of whole sets decides now.

        `reasons` and `domain_report` are known when this returns.
        """
        selector = self.order.selector
        numbers = range(len(self.plan.shards))
        every: Decision | None = None
        if selector is not None and self.at_once:
            seen = Candidates.concatenate([_seen(work.rows_of(number)) for number in numbers])
            every = selector.decide(seen)
            if isinstance(selector, DomainSelector):
                self.domain_report = selector.report(seen, every, self.order.view.classes).to_json()
            texts = set(np.unique(every.reason).tolist())
        else:
            found = (work.rows_of(number).decision for number in numbers)  # one shard's at a time
            texts = {text for one in found if one is not None for text in np.unique(one.reason).tolist()}
        self.reasons = ["", *sorted(texts - {""})]
        return (self._columns(work.rows_of(number), number, every) for number in numbers)

    def _columns(self, rows: ShardRows, number: int, every: Decision | None) -> Columns:
        start = number * self.plan.shard_rows
        labels, seeds = self.plan.columns(start, start + self.plan.shards[number])
        decision = rows.decision if every is None else every[start : start + len(labels)]
        known: dict[str, npt.NDArray[Any]] = {"seed": seeds, "parent": rows.parents}
        if decision is not None:
            index = {text: code for code, text in enumerate(self.reasons)}
            texts, codes = np.unique(decision.reason, return_inverse=True)
            known["reason"] = np.array([index[text] for text in texts.tolist()], np.uint16)[codes]
            known |= {"keep": decision.keep, "score": decision.score}
            known |= {} if decision.weight is None else {"weight": decision.weight}
        return Columns.of(labels, **known)

    def record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what the part tells of its origin in `pool.json`, when all is decided."""
        report = {} if self.domain_report is None else {"domain_report": self.domain_report}
        return {**self.order.provenance(settings, self.stopped), **report}


def _seen(rows: ShardRows) -> Candidates:
    assert rows.seen is not None
    return rows.seen
