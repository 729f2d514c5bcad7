"""What a user orders a pool with, checked; and what a part of the pool tells of it."""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import versions
from gan_augment.balance import SamplingStrategy, class_index, numbers_to_add
from gan_augment.errors import ConfigError, DataMismatchWarning, probability, whole
from gan_augment.fingerprint import FittedOn, group_name, hash_items, hash_json
from gan_augment.images import ImageSpec
from gan_augment.pool.plan import as_json
from gan_augment.selection.compose import extractors_of
from gan_augment.source import RawView
from gan_augment.synthesizers.combined import origins_of
from gan_augment.types import IntArray, Selector, Synthesizer

__all__ = ["Order", "deciding", "seen_by"]

_MOST_RESERVE = 1e6


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """What is to be drawn, for whom and by whom.

    Attributes:
        synthesizer: Who draws.
        view: The dataset.
        selector: Who decides; None to keep all.
        needed: Images of each class that are needed, by its index among the dataset's classes.
        names: Of the domains, sorted; None where none were given.
        domain: The number of each item's domain among them, `(N,)`.
        reserve: Candidates for each image needed.
        floor: Least share of candidates that must be kept of a class for it to be drawn in full.
        licence: Of the images.
        seed: Of all draws.
    """

    synthesizer: Synthesizer
    view: RawView
    selector: Selector | None
    needed: Mapping[int, int]
    names: list[str] | None = None
    domain: IntArray | None = None
    reserve: float = 1.0
    floor: float = 0.0
    licence: str | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        synthesizer: Any,
        like: Any,
        *,
        selector: Any,
        sampling_strategy: SamplingStrategy,
        counts: Mapping[Any, int] | None,
        domains: Sequence[Any] | npt.NDArray[Any] | None,
        reserve: float,
        floor: float,
        licence: str | None,
        seed: int,
        progress: bool,
        held: Mapping[str, int] | None = None,
    ) -> Self:
        """Checks what a user gave to `SyntheticPool.build`, whose arguments and errors these are.

        `held` are images of each class, by name, that a pool to be extended holds already.
        """
        _check_parts(synthesizer, selector)
        if isinstance(reserve, bool) or not 1 <= reserve <= _MOST_RESERVE:
            raise ConfigError(
                f"expected reserve= of at least 1 candidate for each needed image, {_MOST_RESERVE:g} at most, found "
                f"{reserve}"
            )
        if licence is not None and not isinstance(licence, str):
            raise ConfigError(f"expected licence= as text such as 'CC-BY-4.0', found {licence!r}")
        view = RawView.of(like, progress=progress)
        names, domain = _domains(domains, len(view))
        own = getattr(synthesizer, "licence", None)
        return cls(
            synthesizer=synthesizer,
            view=view,
            selector=selector,
            needed=_needed(view, sampling_strategy, counts, held or {}),
            names=names,
            domain=domain,
            reserve=float(reserve),
            floor=probability("floor=", floor),
            licence=licence if licence is not None else own if isinstance(own, str) else None,
            seed=whole("seed=", seed, least=0),
        )

    @property
    def planned(self) -> dict[int, int]:
        """Candidates of each class."""
        return {label: math.ceil(number * self.reserve) for label, number in self.needed.items()}

    @property
    def chain(self) -> dict[str, Any]:
        """The fingerprints of who draws, for whom, and who decides."""
        own = getattr(self.synthesizer, "fingerprint", None)
        return {
            "synthesizer": own if isinstance(own, dict) else "unknown",
            "like": hash_items(self.view.hashes),
            **deciding(self.selector),
        }

    @property
    def known(self) -> bool:
        """Whether a fingerprint tells the synthesizer from another."""
        own = self.chain["synthesizer"]
        return isinstance(own, dict) and "unknown" not in own.values()

    def asked(self, spec: ImageSpec, chunk: int) -> dict[str, Any]:
        """Returns all that the rows depend on, as JSON values: a build goes on where these are the same.

        Raises:
            ConfigError: The selector's settings are no JSON values.
        """
        view = self.view
        settings = {
            **self.chain,
            "classes": list(view.classes),
            "values": list(view.values),
            "identity": view.identity,
            "groups": None if view.groups is None else hash_json(view.group_hashes.tolist()),
            "domains": None if self.domain is None else hash_json([self.names, self.domain.tolist()]),
            "needed": {view.classes[label]: int(number) for label, number in self.needed.items()},
            "reserve": self.reserve,
            "floor": self.floor,
            "seed": self.seed,
            "selection": None if self.selector is None else self.selector.settings(),
            "image_spec": spec.to_json(),
            "chunk": chunk,
            "licence": self.licence,
        }
        checked: dict[str, Any] = as_json(settings)
        return checked

    def provenance(self, settings: Mapping[str, Any], stopped: Mapping[str, Any]) -> dict[str, Any]:
        """Returns what a part tells of the order in `pool.json`."""
        view, selector = self.view, self.selector
        return {
            "needed": {view.classes[label]: int(number) for label, number in self.needed.items()},
            "reserve": self.reserve,
            "floor": self.floor,
            "stopped": dict(stopped),
            "seed": self.seed,
            "selector": None if selector is None else selector.settings(),
            "notes": [] if selector is None else selector.notes(view.classes),
            "domains": self.names,
            "like": {"items": len(view), "identity": view.identity},
            "fingerprint": self.chain,
            "licence": self.licence,
            "origins": origins_of(self.synthesizer),
            "versions": versions(),
            "settings": dict(settings),
        }

    def form(self, spec: ImageSpec) -> dict[str, Any]:
        """Returns the raw form of the images, as JSON values."""
        return dict(vars(replace(spec.form, shape=spec.raw_shape)))


def deciding(selector: Selector | None) -> dict[str, Any]:
    """Returns the links of the chain that tell who decides: extractor and selector, None where there is none."""
    seeing = [extractor.fingerprint for extractor in extractors_of(selector)]
    return {
        "extractor": None if not seeing else seeing[0] if len(seeing) == 1 else hash_json(seeing),
        "selector": None if selector is None else hash_json(selector.settings()),
    }


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


def _needed(
    view: RawView, strategy: SamplingStrategy, counts: Mapping[Any, int] | None, held: Mapping[str, int]
) -> dict[int, int]:
    if counts is not None:
        there = {key: view.counts[class_index(key, view.classes, view.values, "counts=")] for key in counts}
        strategy, held = {key: int(number) + int(there[key]) for key, number in counts.items()}, {}
    needed = numbers_to_add(strategy, view.targets, view.classes, view.values)
    lacking = {label: number - held.get(view.classes[label], 0) for label, number in needed.items()}
    lacking = {label: number for label, number in lacking.items() if number > 0}
    if not lacking:
        told = " beyond what the pool holds" if held and needed else ""
        raise ConfigError(
            f"expected a class that needs images under sampling_strategy={strategy!r}{told}, found none (the classes "
            f"have {', '.join(map(str, view.counts))} images); give counts={{class: number}}"
        )
    return lacking
