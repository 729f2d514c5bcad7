"""Compose: selectors one after the other, each on what the ones before have kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from gan_augment.artifacts import new_folder, read_json
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.selection.base import KIND, VERSION, write_about
from gan_augment.types import Candidates, Decision, Extractor, Selector

__all__ = ["Compose", "extractors_of"]


class Compose:
    """Selectors in order: each is calibrated on, and decides about, what the ones before have kept.

    A kept row has the score of the last selector, and of the weights it was given the product; a dropped one score and
    reason of the one that dropped it.

    Example:
        >>> import gan_augment as ga
        >>> chosen = ga.Compose(ga.LabelGuard(judge), ga.DuplicateGuard(judge))  # doctest: +SKIP

    Args:
        steps: Selectors; each may have an extractor of its own.

    Raises:
        ConfigError: There are none, or one is no selector.
    """

    name = "compose"

    def __init__(self, *steps: Selector) -> None:
        if not steps:
            raise ConfigError("expected selectors to compose, found none")
        for step in steps:
            if isinstance(step, type) or not hasattr(step, "decide"):
                raise ConfigError(f"expected selectors to compose, found {step!r:.80}")
        self.steps = steps

    @property
    def extractor(self) -> Extractor | None:
        """That of the first step that has one."""
        return next(iter(self.extractors), None)

    @property
    def extractors(self) -> list[Extractor]:
        """Those of all steps, each once."""
        found: dict[str, Extractor] = {}
        for step in self.steps:
            own = extractors_of(step)
            found |= {extractor.fingerprint: extractor for extractor in own if extractor.fingerprint not in found}
        return list(found.values())

    @property
    def whole_set(self) -> bool:
        """Whether a step decides over a closed set."""
        return any(step.whole_set for step in self.steps)

    @property
    def calibrated(self) -> bool:
        """Whether no step waits for a draw to set its limits."""
        return all(getattr(step, "calibrated", True) for step in self.steps)

    def settings(self) -> dict[str, Any]:
        """Returns those of the steps as JSON values."""
        return {"name": self.name, "steps": [step.settings() for step in self.steps]}

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        """Returns those of the steps."""
        return [note for step in self.steps for note in step.notes(classes)]

    def fit(self, real: Candidates) -> Self:
        """Fits each step on all real images."""
        for step in self.steps:
            step.fit(real.by(step.extractor))
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes each step's limits on what the steps before keep of a draw."""
        for number, step in enumerate(self.steps):
            seen = drawn.by(step.extractor)
            step.calibrate(seen)
            if number + 1 < len(self.steps):
                drawn = drawn[step.decide(seen).keep]
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides step by step."""
        count = len(candidates)
        left = np.arange(count)
        score, reason = np.full(count, np.nan, np.float32), np.full(count, "", object)
        weight = np.ones(count, np.float32)
        for step in self.steps:
            seen = candidates if len(left) == count else candidates[left]
            decision = step.decide(seen.by(step.extractor))
            score[left], reason[left] = decision.score, decision.reason
            if decision.weight is not None:
                weight[left] *= decision.weight
            left = left[decision.keep]
        keep = np.zeros(count, bool)
        keep[left] = True
        return Decision(keep, score, reason.astype(np.str_), None if (weight == 1).all() else weight)

    def save(self, folder: str | Path) -> Path:
        """Writes each fitted step into a new folder.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called.
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "selector") as work:
            for number, step in enumerate(self.steps):
                step.save(work / f"step-{number}")
            write_about(work, self)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, extractor: "Extractor | Sequence[Extractor] | None" = None) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: The selector's folder.
            extractor: The one of all steps, or one for each.

        Raises:
            ArtifactError: It is missing, damaged or of a newer version.
            ConfigError: There are not as many extractors as steps.
        """
        from gan_augment.selection.registry import load_selector

        about = read_json(Path(folder) / "selector.json", KIND, VERSION)
        try:
            count = len(about["settings"]["steps"])
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"expected a whole selector in {folder}, found {error!r}; it is damaged") from None
        each = list(extractor) if isinstance(extractor, Sequence) else [extractor] * count
        if len(each) != count:
            raise ConfigError(f"expected an extractor for each of the {count} steps, found {len(each)}")
        return cls(*[load_selector(Path(folder) / f"step-{number}", own) for number, own in enumerate(each)])


def extractors_of(selector: Selector | None) -> list[Extractor]:
    """Returns the extractors that a selector needs to see images by, the main one first."""
    if selector is None:
        return []
    own = [] if selector.extractor is None else [selector.extractor]
    return list(getattr(selector, "extractors", own))
