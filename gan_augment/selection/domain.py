"""DomainSelector: a selector of its own for each domain, where images come from several sites or scanners.

A scanner moves all its images in feature space. One centroid then lies between the scanners, near to images of none,
and one limit lets the tighter domain take all. Fitted within each domain, centroids and limits are its own.
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.artifacts import new_folder, read_json, read_tensors, write_tensors
from gan_augment.clusters import kmeans
from gan_augment.errors import ArtifactError, ConfigError, whole
from gan_augment.selection.base import KIND, VERSION, class_list, write_about
from gan_augment.selection.compose import extractors_of
from gan_augment.selection.rows import blocks, group_means, joined, to_centroids
from gan_augment.selection.tables import Table
from gan_augment.types import Candidates, Decision, Extractor, FloatArray, IntArray, Selector

__all__ = ["DomainSelector"]

_ALL = -1
"""Stands for the selector over all domains."""

_MOST_ROWS = 20_000
_STATE = ("domains", "centers", "means", "real", "enough", "own", "from_draws", "known")


class DomainSelector:
    """A selector fitted and calibrated within each domain of the real images, and one over all for what is too small.

    A domain is a value of the column `domain` of `Candidates`, or a cluster of real features. Features are compared
    less the mean of their class: without that, clusters of a judge's features are its classes, not its scanners.

    A candidate's domain is its own column, else its parent's, else the nearest by the mean features of each domain.
    With clusters it is always the nearest. A class of which a domain has too few real images, or of which too few were
    drawn there to set a limit that comes from draws, is decided by the selector over all domains, as are domains
    without real images; `notes()` says so.

    Example:
        >>> import gan_augment as ga
        >>> chosen = ga.DomainSelector(ga.CentroidSelector(judge), domains=3)  # doctest: +SKIP

    Args:
        selector: What is fitted in each domain; it is copied, and stays as it is.
        domains: "column", or the number of clusters, at least 2.
        min_images: Real images, and draws where limits come from draws, that a class needs in a domain.
        seed: Of the clusters.

    Raises:
        ConfigError: A parameter has a value that cannot work.
    """

    name = "domain"

    def __init__(
        self, selector: Selector, domains: Literal["column"] | int = "column", *, min_images: int = 20, seed: int = 0
    ) -> None:
        if isinstance(selector, (type, DomainSelector)) or not hasattr(selector, "decide"):
            raise ConfigError(f"expected a selector to fit in each domain, found {selector!r:.80}")
        self.selector = selector
        self.domains: Literal["column"] | int = "column" if domains == "column" else whole("domains", domains, 2)
        self.min_images, self.seed = whole("min_images", min_images, 2), whole("seed", seed, 0)
        self.within_: dict[int, Selector] = {}
        self.state_: dict[str, npt.NDArray[Any]] = {}

    # -- the contract ---------------------------------------------------------------------------------------------

    @property
    def extractor(self) -> Extractor | None:
        """That of the selector."""
        return self.selector.extractor

    @property
    def extractors(self) -> list[Extractor]:
        """Those of the selector."""
        return extractors_of(self.selector)

    @property
    def whole_set(self) -> bool:
        """Whether the selector decides over a closed set."""
        return self.selector.whole_set

    @property
    def domains_(self) -> IntArray:
        """The domains of the real images, `(K,)`: values of the column, or numbers of clusters."""
        return self._fitted("domains_")["domains"]

    def settings(self) -> dict[str, Any]:
        """Returns name and settings as JSON values, those of the selector among them."""
        own = {"domains": self.domains, "min_images": self.min_images, "seed": self.seed}
        return {"name": self.name, **own, "selector": self.selector.settings()}

    def fit(self, real: Candidates) -> Self:
        """Finds the domains, and fits the selector over all of them and in each.

        Raises:
            DataError: There is no image, or a feature is NaN or infinite.
            ConfigError: There is no column `domain`, or there are fewer real images than clusters.
        """
        # Parents of candidates are rows of all real images, whatever the domain.
        real = dataclasses.replace(real, parents=np.arange(len(real)))
        everywhere = self._copy().fit(real)
        state = self._find_domains(real)
        within = {_ALL: everywhere}
        for domain in np.flatnonzero(state["enough"].any(axis=1)).tolist():
            within[domain] = self._copy().fit(real[state["own"] == domain])
        state["from_draws"] = np.array([not getattr(everywhere, "calibrated", False)])
        self.state_, self.within_ = state, within
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes limits that are a share of what the synthesizer draws, in each domain.

        Raises:
            ConfigError: `fit` has not been called.
            DataError: A feature is NaN or infinite.
        """
        state = self._fitted("calibrate")
        domain = self._domain_rows(drawn)
        for number, selector in self.within_.items():
            selector.calibrate(drawn if number == _ALL else drawn[domain == number])
        state["enough"] = state["real"] >= self.min_images
        if state["from_draws"][0]:
            state["enough"] &= _counts(domain, drawn.labels, state["real"].shape) >= self.min_images
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides about each row by the selector of its domain.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called.
        """
        which = self._decided_by(candidates)
        parts = [(number, np.flatnonzero(which == number)) for number in np.unique(which).tolist() or [_ALL]]
        decisions = [self.within_[number].decide(candidates[rows]) for number, rows in parts]
        back = np.argsort(np.concatenate([rows for _, rows in parts]))
        return Decision.concatenate(decisions)[back]

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        """Returns those of the selector over all domains and of each, and what a domain has too little of."""
        if not self.state_:
            return []
        found = list(self.within_[_ALL].notes(classes))
        for number, domain in enumerate(self.state_["domains"].tolist()):
            own = [] if number not in self.within_ else self.within_[number].notes(classes)
            found += [f"domain {domain}: {note}" for note in own]
            few = np.flatnonzero(self.state_["known"] & ~self.state_["enough"][number]).tolist()
            if few:
                found.append(
                    f"domain {domain}: fewer than {self.min_images} images, decided over all domains: "
                    f"{class_list(few, classes)}"
                )
        return found

    def domain_of(self, candidates: Candidates) -> IntArray:
        """Returns the domain of each row `(N,)`, a value of `domains_`; -1 for one without real images."""
        self._fitted("domain_of")
        rows = self._domain_rows(candidates)
        return np.where(rows < 0, -1, self.state_["domains"][rows])

    def report(
        self, candidates: Candidates, decision: Decision | None = None, classes: Sequence[str] | None = None
    ) -> Table:
        """Returns for each domain and class how many real images there are, and what became of candidates.

        Args:
            candidates: What was decided about.
            decision: What was decided; None to decide now.
            classes: Class names; None for numbers.

        Returns:
            A row for each domain and class with real images or candidates: `domain` (None for candidates of one
            without real images), `class`, `reals`, `candidates`, `kept`, `mean_score` of the candidates with a finite
            one, and `decided_by`, "domain" or "all".
        """
        state = self._fitted("report")
        decision = self.decide(candidates) if decision is None else decision
        domain = self._domain_rows(candidates)
        rows = []
        for number in [*range(len(state["domains"])), _ALL]:
            for label in np.unique([*np.flatnonzero(state["known"]), *candidates.labels]).tolist():
                own = (domain == number) & (candidates.labels == label)
                inside = number != _ALL and 0 <= label < len(state["known"])
                reals = int(state["real"][number, label]) if inside else 0
                if not reals and not own.any():
                    continue
                scores = decision.score[own & np.isfinite(decision.score)]
                rows.append(
                    {
                        "domain": None if number == _ALL else int(state["domains"][number]),
                        "class": class_list([label], classes),
                        "reals": reals,
                        "candidates": int(own.sum()),
                        "kept": int(decision.keep[own].sum()),
                        "mean_score": float(scores.mean()) if len(scores) else None,
                        "decided_by": "domain" if inside and state["enough"][number, label] else "all",
                    }
                )
        return Table(rows)

    # -- domains --------------------------------------------------------------------------------------------------

    def _copy(self) -> Selector:
        """Returns a copy of the selector, with the same extractors rather than copies of them."""
        return copy.deepcopy(self.selector, {id(extractor): extractor for extractor in self.extractors})

    def _fitted(self, verb: str) -> dict[str, npt.NDArray[Any]]:
        if not self.state_:
            raise ConfigError(f"expected fit() before {verb}, found a selector that has seen no real images")
        return self.state_

    def _find_domains(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        counts = np.bincount(real.labels)
        means = group_means(real.features, real.labels, len(counts)).astype(np.float32)
        means[counts == 0] = means[counts > 0].mean(axis=0)
        if self.domains == "column":
            if real.domain is None:
                raise ConfigError(
                    "expected real images with a column domain, found none; give one, or domains= a number of clusters"
                )
            domains, own = np.unique(real.domain, return_inverse=True)
            beside = group_means(real.features, own, len(domains), lambda block, rows: block - means[real.labels[rows]])
            centers = beside.astype(np.float32)
        else:
            if len(real) < self.domains:
                raise ConfigError(f"expected {self.domains} real images or more to cluster, found {len(real)}")
            rows = np.unique(np.linspace(0, len(real) - 1, min(len(real), _MOST_ROWS)).astype(np.int64))
            moved = (joined(real[rows]) - means[real.labels[rows]]).astype(np.float32)
            domains, centers = np.arange(self.domains), kmeans(moved, self.domains, seed=self.seed)
            own = _nearest(real, means, centers)
        there = _counts(own, real.labels, (len(domains), len(counts)))
        return {
            "domains": domains.astype(np.int64),
            "centers": centers,
            "means": means,
            "own": own.astype(np.int64),
            "known": counts > 0,
            "real": there,
            "enough": there >= self.min_images,
        }

    def _domain_rows(self, candidates: Candidates) -> IntArray:
        """Returns the number of each row's domain among `domains_`; -1 for one without real images."""
        state, unknown = self.state_, -2
        found = np.full(len(candidates), unknown, np.int64)
        if self.domains == "column":
            if candidates.parents is not None:
                own = state["own"]
                child = (candidates.parents >= 0) & (candidates.parents < len(own))
                found[child] = own[candidates.parents[child]]
            if candidates.domain is not None:
                told = candidates.domain >= 0
                place = np.minimum(np.searchsorted(state["domains"], candidates.domain), len(state["domains"]) - 1)
                known = state["domains"][place] == candidates.domain
                found[told | known] = np.where(known, place, _ALL)[told | known]
        rows = np.flatnonzero(found == unknown)
        if len(rows):
            found[rows] = _nearest(candidates[rows], state["means"], state["centers"])
        return found

    def _decided_by(self, candidates: Candidates) -> IntArray:
        state = self._fitted("decide()")
        domain, labels = self._domain_rows(candidates), candidates.labels
        inside = (domain >= 0) & (labels >= 0) & (labels < len(state["known"]))
        enough = state["enough"][np.where(inside, domain, 0), np.where(inside, labels, 0)]
        return np.where(inside & enough, domain, _ALL)

    # -- on disk --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Writes the fitted selector of each domain, and that of all, into a new folder.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called.
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        if not self.state_:
            raise ConfigError("expected fit() and calibrate() before save(), found nothing to save")
        with new_folder(folder, "selector") as work:
            for number, selector in self.within_.items():
                selector.save(work / _folder(number))
            tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in self.state_.items()}
            write_tensors(work / "domains.safetensors", tensors)
            write_about(work, self)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, extractor: "Extractor | Sequence[Extractor] | None" = None) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: The selector's folder.
            extractor: The one that the selector was fitted with, or one for each of its steps.

        Raises:
            ArtifactError: It is missing, damaged or of a newer version.
        """
        from gan_augment.selection.registry import load_selector

        about = read_json(Path(folder) / "selector.json", KIND, VERSION)
        tensors = read_tensors(Path(folder) / "domains.safetensors")
        everywhere = load_selector(Path(folder) / _folder(_ALL), extractor)
        try:
            settings = dict(about["settings"])
            if settings.pop("name") != cls.name or settings.pop("selector") != everywhere.settings():
                raise ValueError("another selector")
            found = cls(everywhere, **settings)
            found.state_ = {name: tensors[name].numpy() for name in _STATE}
            found._check_state()
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected whole domains in {folder}, found {error!r}; they are damaged") from None
        there = np.flatnonzero((found.state_["real"] >= found.min_images).any(axis=1)).tolist()
        found.within_ = {_ALL: everywhere}
        found.within_ |= {number: load_selector(Path(folder) / _folder(number), extractor) for number in there}
        return found

    def _check_state(self) -> None:
        state = self.state_
        domains, known, centers = state["domains"], state["known"].astype(bool), state["centers"]
        table = (len(domains), len(known))
        whole_numbers = all(state[name].dtype == np.int64 for name in ("domains", "own", "real"))
        if not whole_numbers or domains.ndim != 1 or not len(domains) or (np.diff(domains) <= 0).any():
            raise ValueError(f"domains {domains!r:.80}")
        if known.ndim != 1 or not known.any() or state["real"].shape != table or state["enough"].shape != table:
            raise ValueError(f"{known.shape} classes of {state['real'].shape}")
        if centers.ndim != 2 or len(centers) != len(domains) or state["means"].shape != (len(known), centers.shape[1]):
            raise ValueError(f"centers {centers.shape} of {domains.shape} domains, means {state['means'].shape}")
        if state["own"].ndim != 1 or not ((state["own"] >= 0) & (state["own"] < len(domains))).all():
            raise ValueError(f"images of {domains.shape} domains")
        if (
            state["from_draws"].shape != (1,)
            or (state["enough"].astype(bool) & (state["real"] < self.min_images)).any()
        ):
            raise ValueError("domains of too few images")
        if not (np.isfinite(centers).all() and np.isfinite(state["means"]).all()):
            raise ValueError("centers that are not finite")
        self.state_ |= {"known": known, "enough": state["enough"].astype(bool)}


def _folder(number: int) -> str:
    return "all" if number == _ALL else f"domain-{number}"


def _counts(domain: IntArray, labels: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Returns how many rows of each domain and class there are, `(K, classes)`."""
    table = np.zeros(shape, np.int64)
    inside = (domain >= 0) & (labels >= 0) & (labels < shape[1])
    np.add.at(table, (domain[inside], labels[inside]), 1)
    return table


def _nearest(candidates: Candidates, means: FloatArray, centers: FloatArray) -> IntArray:
    """Returns the nearest domain's number of each row, by its features less the mean of its class."""
    found = np.empty(len(candidates), np.int64)
    for rows in blocks(candidates):
        part = candidates[rows]
        labels = np.where((part.labels >= 0) & (part.labels < len(means)), part.labels, 0)
        found[rows] = to_centroids(joined(part) - means[labels].astype(np.float64), centers).argmin(axis=1)
    return found
