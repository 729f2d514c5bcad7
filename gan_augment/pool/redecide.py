"""Another selector's decisions about rows that are there: nothing is drawn, nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_augment.errors import ConfigError
from gan_augment.fingerprint import FittedOn
from gan_augment.images import ImageSpec
from gan_augment.pool.columns import Columns
from gan_augment.pool.draw import Sight
from gan_augment.pool.drawing import CALIBRATION
from gan_augment.pool.order import deciding
from gan_augment.pool.store import Store
from gan_augment.selection.compose import extractors_of
from gan_augment.selection.domain import DomainSelector
from gan_augment.source import RawView
from gan_augment.types import Candidates, Decision, IntArray, Selector

__all__ = ["LEFT_OUT", "check_calibrated", "redecided", "seen_otherwise"]

LEFT_OUT = "left out before"


def redecided(
    store: Store,
    rows: IntArray,
    labels: IntArray,
    selector: Selector,
    *,
    view: RawView | None,
    spec: ImageSpec,
    classes: Sequence[str],
    progress: bool,
) -> Store:
    """Returns a store whose decisions are those of a selector.

    Args:
        store: The rows.
        rows: `(n,)`, those to decide about; the others are not kept.
        labels: `(n,)`, their classes as `classes` counts them.
        selector: Who decides; fitted here where there is a view.
        view: The real images to fit it on; None where it is fitted.
        spec: How raw images map to [-1, 1].
        classes: The class names that it knows.
        progress: Whether to show a bar on a terminal.
    """
    sight = Sight(spec, extractors_of(selector), classes)
    at_once = selector.whole_set or isinstance(selector, DomainSelector)
    columns = store.columns

    def see(at: IntArray) -> Candidates:
        own = rows[at]
        arrays = np.stack([store.image(int(row)) for row in own])
        return sight.candidates(arrays, labels[at], columns.seed[own], columns.parent[own])

    if view is not None:
        selector.fit(sight.real(view))
        picked = np.concatenate([np.flatnonzero(labels == label)[:CALIBRATION] for label in np.unique(labels)])
        selector.calibrate(_seen(see, picked, sight.chunk, progress))
    every = np.arange(len(rows))
    if at_once:
        decision = selector.decide(_seen(see, every, sight.chunk, progress))
    else:
        chunks = np.split(every, range(sight.chunk, len(every), sight.chunk))
        shown = tqdm(chunks, desc="deciding", disable=None if progress else True, leave=False)
        decision = Decision.concatenate([selector.decide(see(chunk)) for chunk in shown])
    decided, document = _applied(store, rows, decision)
    own = store.decided(decided, _told(document, selector, classes))
    own.fitted_on = _fitted_on(store, selector, view)
    return own


def _seen(see: Any, rows: IntArray, chunk: int, progress: bool) -> Candidates:
    chunks = np.split(rows, range(chunk, len(rows), chunk))
    return Candidates.concatenate(
        [see(part) for part in tqdm(chunks, desc="seeing", disable=None if progress else True, leave=False)]
    )


def _applied(store: Store, rows: IntArray, decision: Decision) -> tuple[Columns, dict[str, Any]]:
    old, count = store.columns, len(store)
    texts = ["", *sorted({*np.unique(decision.reason).tolist(), LEFT_OUT, *store.document["reasons"]} - {""})]
    index = {text: code for code, text in enumerate(texts)}
    before = np.array([index[text or LEFT_OUT] for text in store.document["reasons"]], np.uint16)
    reason, keep = before[old.reason], np.zeros(count, bool)
    score, weight = old.score.copy(), np.ones(count, np.float32)
    found, codes = np.unique(decision.reason, return_inverse=True)
    reason[rows] = np.array([index[text] for text in found.tolist()], np.uint16)[codes]
    keep[rows], score[rows] = decision.keep, decision.score
    if decision.weight is not None:
        weight[rows] = decision.weight
    columns = replace(old, keep=keep, score=score, weight=weight, reason=reason)
    return columns, {**store.document, "reasons": texts}


def _told(document: Mapping[str, Any], selector: Selector, classes: Sequence[str]) -> dict[str, Any]:
    """Returns the document with the new selector in the place of the one before."""
    parts = []
    for part in document["parts"]:
        own = {name: value for name, value in part.items() if name != "domain_report"}
        if "fingerprint" in part:
            own |= {
                "selector": selector.settings(),
                "notes": selector.notes(classes),
                "fingerprint": {**part["fingerprint"], **deciding(selector)},
            }
        parts.append(seen_otherwise(own, "decided about anew"))
    return {**document, "parts": parts}


def seen_otherwise(part: Mapping[str, Any], how: str) -> dict[str, Any]:
    """Returns the record of a part whose settings tell that its rows are not kept as they were when it was built."""
    settings = part.get("settings")
    return dict(part) if settings is None else {**part, "settings": {**settings, "view": how}}


def _fitted_on(store: Store, selector: Selector, view: RawView | None) -> FittedOn:
    judges = [FittedOn.of(extractor) for extractor in extractors_of(selector)]
    seen = FittedOn() if view is None else FittedOn(view.hashes, view.group_hashes)
    return FittedOn.union(store.fitted_on, *judges, seen)


def check_calibrated(selector: Selector) -> None:
    """Raises unless a selector is fitted.

    Raises:
        ConfigError: It has seen no real images.
    """
    if not getattr(selector, "calibrated", True) or not getattr(selector, "state_", True):
        raise ConfigError(
            "expected a fitted selector, or like= the training split to fit it on, found one that has seen no real "
            "images; give like="
        )
