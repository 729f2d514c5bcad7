"""DomainSelector: a selector of its own for each domain, where images come from several sites or scanners.

A scanner moves all its images in feature space. One set of centroids then lies between the scanners, near to images of
none, and one limit lets the tighter domain take all. Fitted within each domain, centroids and limits are its own.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.artifacts import new_folder, read_json, read_tensors, versions, write_json, write_tensors
from gan_augment.clusters import kmeans
from gan_augment.errors import ArtifactError, ConfigError, DataError, whole
from gan_augment.neighbours import centroid_distances
from gan_augment.selection.base import KIND, VERSION, State, blocks, joined, told
from gan_augment.selection.compose import extractors_of
from gan_augment.selection.domains import DomainReport, domain_table
from gan_augment.types import Candidates, Decision, Extractor, FloatArray, IntArray, Selector

__all__ = ["DomainSelector"]

_MOST_ROWS = 20_000
_ALL = -1
"""Stands for the selector over all domains."""


class DomainSelector:
    """A selector fitted and calibrated within each domain of the real images, and one over all for what is too small.

    A domain is a value of the column `domain` of `Candidates`, or a cluster of real features. Features are compared
    less the mean of their class: without that, clusters of a judge's features are its classes, not its scanners.

    A candidate's domain is, in this order, its own column, its parent's, and the nearest: by the mean features of each
    domain. With clusters it is always the nearest. A class of which a domain has too few real images, or too few were
    drawn to set its limit, is decided by the selector over all domains, and `notes()` says so.

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
        self.domains: Literal["column"] | int = domains if domains == "column" else whole("domains", domains, 2)
        self.min_images, self.seed = whole("min_images", min_images, 2), whole("seed", seed, 0)
        self.all_: Selector | None = None
        self.within_: dict[int, Selector] = {}
        self.state_: dict[str, npt.NDArray[Any]] = {}
        self._calibrated = False

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

    def settings(self) -> dict[str, Any]:
        """Returns name and settings as JSON values, those of the selector among them."""
        own = {"domains": self.domains, "min_images": self.min_images, "seed": self.seed}
        return {"name": self.name, **own, "selector": self.selector.settings()}

    @property
    def domains_(self) -> IntArray:
        """The domains of the real images, `(K,)`: values of the column, or numbers of clusters."""
        return self._fitted("domains_")["domains"]

    def fit(self, real: Candidates) -> Self:
        """Finds the domains, and fits the selector over all of them and in each.

        Raises:
            DataError: There is no image, or a feature is NaN or infinite.
            ConfigError: There is no column `domain`, or there are fewer real images than clusters.
        """
        self.all_ = self._copy().fit(real)
        self.state_ = self._find_domains(real)
        own = self.state_["own"]
        self.within_ = {
            domain: self._copy().fit(real[own == domain])
            for domain in np.flatnonzero(self.state_["enough"].any(axis=1)).tolist()
        }
        self._calibrated = bool(getattr(self.all_, "calibrated", False))
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes limits that are a share of what the synthesizer draws, in each domain.

        Raises:
            ConfigError: `fit` has not been called.
            DataError: A feature is NaN or infinite.
        """
        state = self._fitted("calibrate")
        assert self.all_ is not None
        from_draws = not getattr(self._copy_of(self.all_, "fitted"), "calibrated", False)
        self.all_.calibrate(drawn)
        domain = self.domain_of(drawn)
        for number, selector in self.within_.items():
            selector.calibrate(drawn[domain == number])
        state["enough"] = state["real"] >= self.min_images
        if from_draws:
            state["enough"] &= self._table(domain, drawn.labels) >= self.min_images
        self._calibrated = True
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides about each row by the selector of its domain."""
        which = self._decided_by(candidates)
        keep, score = np.zeros(len(which), bool), np.zeros(len(which), np.float32)
        reason, weight = np.full(len(which), "", object), np.ones(len(which), np.float32)
        weighted = False
        for number in np.unique(which).tolist() or [_ALL]:
            rows = np.flatnonzero(which == number)
            decision = self._by(number).decide(candidates[rows])
            keep[rows], score[rows], reason[rows] = decision.keep, decision.score, decision.reason
            if decision.weight is not None:
                weight[rows], weighted = decision.weight, True
        return Decision(keep, score, reason.astype(np.str_), weight if weighted else None)
