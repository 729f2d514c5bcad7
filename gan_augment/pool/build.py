"""Building a pool: draw in fixed, padded, numbered chunks; decide; store."""

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gan_augment.artifacts import refuse_existing, versions
from gan_augment.balance import SamplingStrategy, class_index, numbers_to_add
from gan_augment.errors import ConfigError, DataMismatchWarning, SmallClassWarning
from gan_augment.fingerprint import FittedOn, group_name, hash_items, hash_json
from gan_augment.pool.draw import Drawer, drawn_spec
from gan_augment.pool.store import KIND, VERSION, Columns, Store
from gan_augment.pool.write import open_sink
from gan_augment.seeds import derive, row_seeds
from gan_augment.selection.compose import extractors_of
from gan_augment.selection.domain import DomainSelector
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import match_classes
from gan_augment.types import Candidates, Decision, IntArray, NeedsParents, Selector, Synthesizer

__all__ = ["build_store", "seen_by"]

_CALIBRATION = 128


def build_store(
    synthesizer: Synthesizer,
    like: Any,
    *,
    selector: Selector | None,
    sampling_strategy: SamplingStrategy,
    counts: Mapping[Any, int] | None,
    domains: Sequence[Any] | npt.NDArray[Any] | None,
    reserve: float,
    out: str | os.PathLike[str] | None,
    seed: int,
    progress: bool,
) -> Store:
    """Draws candidates for the classes of a dataset, has the selector decide, and stores all of them.

    Arguments, warnings and errors are those of `SyntheticPool.build`. The rows are ordered by class; row i of a class
    is drawn from a seed that depends on `seed`, the class and i.
    """
    folder = None if out is None else Path(out)
    if folder is not None:
        refuse_existing(folder, "pool")
    _check_parts(synthesizer, selector)
    if not (math.isfinite(reserve) and reserve >= 1):
        raise ConfigError(f"expected reserve= of at least 1 candidate for each needed image, found {reserve}")
    view = RawView.of(like, progress=progress)
    needed = _needed(view, sampling_strategy, counts)
    names, domain = _domains(domains, len(view))
    mapping = match_classes(view.classes, synthesizer.num_classes, synthesizer.class_names, sorted(needed))
    fitted_on = seen_by(synthesizer, view, selector, stacklevel=4)
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
        synthesizer.bind(view)
    spec = drawn_spec(synthesizer, view, int(mapping[min(needed)]))
    drawer = Drawer(synthesizer, mapping, spec, extractors_of(selector), view.classes)
    if selector is not None:
        selector.fit(drawer.real(view, domain))
        selector.calibrate(_calibration(drawer, sorted(needed), derive(seed, "calibration")))
    plan = {label: math.ceil(number * reserve) for label, number in needed.items()}
    about = {
        "kind": KIND,
        "version": VERSION,
        "classes": view.classes,
        "named": True,
        "values": view.values,
        "image_spec": spec.to_json(),
        "form": vars(replace(spec.form, shape=spec.raw_shape)),
        "dtype": spec.form.dtype,
        "needed": {view.classes[label]: number for label, number in needed.items()},
        "reserve": float(reserve),
        "seed": int(seed),
        "selector": None if selector is None else selector.settings(),
        "notes": [] if selector is None else selector.notes(view.classes),
        "domains": names,
        "like": {"items": len(view), "identity": view.identity},
        "fingerprint": _chain(synthesizer, view, selector),
        "versions": versions(),
    }
    store = _fill(drawer, plan, selector, about, fitted_on, folder, progress)
    _warn_of_empty(store)
    return store


def _domains(domains: Sequence[Any] | npt.NDArray[Any] | None, items: int) -> tuple[list[str] | None, IntArray | None]:
    """Returns the names of the domains, sorted, and the number of each item's among them."""
    if domains is None:
        return None, None
    if len(domains) != items:
        raise ConfigError(f"expected domains= of each of the {items} items of like=, found {len(domains)}")
    names, numbers = np.unique([group_name(domain) for domain in domains], return_inverse=True)
    return names.tolist(), numbers.astype(np.int64)


def _check_parts(synthesizer: Any, selector: Any) -> None:
    if not isinstance(synthesizer, Synthesizer):
        raise ConfigError(
            f"expected a synthesizer (from ga.fit, ga.load or ga.wrap), found {type(synthesizer).__name__}"
        )
    if selector is not None and (isinstance(selector, type) or not hasattr(selector, "decide")):
        raise ConfigError(f"expected a selector such as ga.CentroidSelector(judge), or None, found {selector!r:.80}")


def seen_by(synthesizer: Synthesizer, view: RawView, selector: Selector | None, *, stacklevel: int) -> FittedOn:
    """Returns what drawn images depend on, and warns if the synthesizer knows images that the dataset does not hold."""
    own: FittedOn = FittedOn.of(synthesizer)
    others = np.setdiff1d(own.images, view.hashes)
    if len(others):
        warnings.warn(
            f"the synthesizer was fitted on {len(own.images)} images of which {len(others)} are not in the dataset; if "
            "they are images that you test on, the test is worth nothing: check with ga.check_no_overlap(test, pool)",
            DataMismatchWarning,
            stacklevel=stacklevel,
        )
    judges = [FittedOn.of(extractor) for extractor in extractors_of(selector)]
    return FittedOn.union(own, *judges, FittedOn(view.hashes, view.group_hashes))


def _warn_of_empty(store: Store) -> None:
    kept = np.bincount(store.columns.label[store.columns.keep], minlength=len(store.about["classes"]))
    drawn = np.bincount(store.columns.label, minlength=len(store.about["classes"]))
    empty = [store.about["classes"][label] for label in np.flatnonzero((drawn > 0) & (kept == 0)).tolist()]
    if empty:
        warnings.warn(
            f"no candidate of {', '.join(empty)} was kept: slots of these classes will repeat real images. Train the "
            "synthesizer for more steps, or look at the rejected ones with pool.rejected()",
            SmallClassWarning,
            stacklevel=4,
        )


def _needed(view: RawView, strategy: SamplingStrategy, counts: Mapping[Any, int] | None) -> dict[int, int]:
    if counts is not None:
        held = {key: view.counts[class_index(key, view.classes, view.values, "counts=")] for key in counts}
        strategy = {key: int(number) + int(held[key]) for key, number in counts.items()}
    needed = numbers_to_add(strategy, view.targets, view.classes, view.values)
    if not needed:
        raise ConfigError(
            f"expected a class that needs images under sampling_strategy={strategy!r}, found none (the classes have "
            f"{', '.join(map(str, view.counts))} images); give counts={{class: number}}"
        )
    return needed


def _chain(synthesizer: Synthesizer, view: RawView, selector: Selector | None) -> dict[str, Any]:
    own = getattr(synthesizer, "fingerprint", None)
    seeing = [extractor.fingerprint for extractor in extractors_of(selector)]
    return {
        "synthesizer": own if isinstance(own, dict) else "unknown",
        "like": hash_items(view.hashes),
        "extractor": None if not seeing else seeing[0] if len(seeing) == 1 else hash_json(seeing),
        "selector": None if selector is None else hash_json(selector.settings()),
    }


def _calibration(drawer: Drawer, labels: list[int], seed: int) -> Candidates:
    parts = []
    for label in labels:
        wanted = np.full(_CALIBRATION, label)
        seeds = row_seeds(seed, label, _CALIBRATION)
        drawn = drawer.draw(wanted, seeds)
        parts.append(drawer.candidates(drawn.arrays, wanted, seeds, drawn.parents))
    return Candidates.concatenate(parts)


def _fill(
    drawer: Drawer,
    plan: Mapping[int, int],
    selector: Selector | None,
    about: dict[str, Any],
    fitted_on: FittedOn,
    out: Path | None,
    progress: bool,
) -> Store:
    """Draws the planned rows chunk by chunk and returns the store they went to."""
    labels = np.repeat(sorted(plan), [plan[label] for label in sorted(plan)])
    at_once = selector is not None and (selector.whole_set or isinstance(selector, DomainSelector))
    draws = derive(about["seed"], "candidates")
    seeds = np.concatenate([row_seeds(draws, label, plan[label]) for label in sorted(plan)])
    shape = (drawer.spec.channels, *drawer.spec.raw_shape)
    with open_sink(out, len(labels), shape, drawer.spec.form.dtype) as sink:
        parents, seen, decisions = [], [], []
        with tqdm(total=len(labels), desc="drawing", disable=None if progress else True, leave=False) as bar:
            for start in range(0, len(labels), drawer.chunk):
                chunk = slice(start, start + drawer.chunk)
                drawn = drawer.draw(labels[chunk], seeds[chunk])
                sink.append(drawn.arrays, drawn.masks)
                parents.append(drawn.parents)
                if selector is not None:
                    seen.append(drawer.candidates(drawn.arrays, labels[chunk], seeds[chunk], drawn.parents))
                    if not at_once:
                        decisions.append(selector.decide(seen.pop()))
                bar.update(len(drawn.arrays))
        if selector is not None and at_once:
            every = Candidates.concatenate(seen)
            decisions = [selector.decide(every)]
            if isinstance(selector, DomainSelector):
                about["domain_report"] = selector.report(every, decisions[0], about["classes"]).to_json()
        decision = Decision.concatenate(decisions) if decisions else None
        reasons, reason = _codes(decision, len(labels))
        weight = None if decision is None else decision.weight
        columns = Columns(
            label=labels,
            seed=seeds,
            score=np.full(len(labels), np.nan, np.float32) if decision is None else decision.score,
            keep=np.ones(len(labels), bool) if decision is None else decision.keep,
            reason=reason,
            parent=np.concatenate(parents),
            weight=np.ones(len(labels), np.float32) if weight is None else weight,
        )
        about = {**about, "rows": len(labels), "reasons": reasons}
        sink.finish(columns, about, fitted_on)
    return sink.store(columns, about, fitted_on)


def _codes(decision: Decision | None, rows: int) -> tuple[list[str], IntArray]:
    """Returns the distinct reasons, the empty one first, and each row's index among them."""
    if decision is None:
        return [""], np.zeros(rows, np.int64)
    found, index = np.unique(decision.reason, return_inverse=True)
    reasons = ["", *(text for text in found.tolist() if text)]
    return reasons, np.array([reasons.index(text) for text in found.tolist()], np.int64)[index]
