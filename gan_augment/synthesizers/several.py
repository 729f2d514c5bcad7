"""Unconditional generators for several classes: one generator a class, or one whose images a judge labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, SynthesizerError, probability, whole
from gan_augment.fingerprint import FittedOn, hash_json
from gan_augment.images import ImageSpec, as_channels, resize
from gan_augment.seeds import derive, row_seeds, uniforms
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.combined import Combined, conditions_for
from gan_augment.types import Extractor, IntArray, NeedsParents, Samples, Synthesizer

__all__ = ["LabelledSynthesizer", "PerClassSynthesizer", "labelled_by", "per_class"]

_AT_ONCE = 64
_STREAM = 6


class PerClassSynthesizer(Combined):
    """One synthesizer for each class; made by `per_class`.

    Args:
        parts: For each class by name, who draws it, and as which of its own classes.
    """

    def __init__(self, parts: Mapping[str, tuple[Synthesizer, int]]) -> None:
        super().__init__([part for part, _ in parts.values()])
        self.class_names = list(parts)
        self.num_classes = len(parts)
        self._labels = [label for _, label in parts.values()]

    def __repr__(self) -> str:
        return f"PerClassSynthesizer({', '.join(self.class_names)})"

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: a hash of those of all parts; unknown where one is."""
        known = all("unknown" not in chain.values() for chain in self.chains)
        told = [self.chains, self._labels, self.class_names]
        return {"weights": hash_json(told) if known else "unknown"}

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *spatial)` in [-1, 1].

        Raises:
            SynthesizerError: There is no such class, or the parts draw images of different shapes.
        """
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        found: list[tuple[Tensor, Samples]] = []
        for label in sorted(set(labels.tolist())) or [0]:
            rows, part = np.flatnonzero(labels == label), self.parts[label]
            at = torch.from_numpy(rows)
            given = conditions_for(part, conditions, at)
            own = np.full(len(rows), self._labels[label])
            found.append((at, part.sample(own, seeds[rows], conditions=given)))
        return _together(found, len(labels))


def _together(found: list[tuple[Tensor, Samples]], count: int) -> Samples:
    """Returns the samples of several parts, each at its rows; a part without masks has empty ones."""
    shapes = {tuple(drawn.images.shape[1:]) for _, drawn in found}
    if len(shapes) > 1:
        raise SynthesizerError(
            f"expected images of one shape from all parts, found {', '.join(map(str, sorted(shapes)))}; give each "
            "as ga.adapt(part, like=train_set)"
        )
    images = torch.empty(count, *shapes.pop())
    parents = np.full(count, -1, np.int64)
    masks: Tensor | None = None
    for rows, drawn in found:
        images[rows] = drawn.images
        if drawn.parents is not None:
            parents[rows.numpy()] = drawn.parents
        if drawn.masks is not None:
            masks = drawn.masks.new_zeros(count, *drawn.masks.shape[1:]) if masks is None else masks
            masks[rows] = drawn.masks
    told = any(drawn.parents is not None for _, drawn in found)
    return Samples(images, masks=masks, parents=parents if told else None)


def per_class(parts: Mapping[str, Any]) -> PerClassSynthesizer:
    """Makes one synthesizer of one for each class, such as an unconditional GAN a class.

    Args:
        parts: For each class by name a synthesizer, which must have a class of that name or a single class; or a pair
            of a synthesizer and its class, by number or name.

    Raises:
        ConfigError: There are none, or one has no such class.

    Example:
        >>> from gan_augment.synthesizers import wrap
        >>> draws = lambda y, seeds: torch.zeros(len(y), 1, 8, 8)
        >>> gan = per_class({"nevus": wrap(draws, num_classes=1), "melanoma": wrap(draws, num_classes=1)})
        >>> gan.sample([1, 0], seeds=[1, 2]).images.shape
        torch.Size([2, 1, 8, 8])
    """
    if not isinstance(parts, Mapping) or not parts:
        raise ConfigError("expected a synthesizer for each class by name, found none")
    taken = {}
    for name, given in parts.items():
        if not isinstance(name, str):
            raise ConfigError(f"expected classes by name, as text, found {name!r}")
        part, own = given if isinstance(given, tuple) else (given, name)
        if not isinstance(part, Synthesizer):
            raise ConfigError(f"expected a synthesizer for {name}, found {type(part).__name__}")
        names = list(part.class_names or ())
        if isinstance(own, str):
            if own not in names and (isinstance(given, tuple) or part.num_classes != 1):
                raise ConfigError(
                    f"expected a synthesizer with a class {own}, or of a single class, found one of "
                    f"{', '.join(names) or part.num_classes}; give (synthesizer, its class)"
                )
            own = names.index(own) if own in names else 0
        taken[name] = part, whole(f"the class of {name}", own, 0)
        if taken[name][1] >= part.num_classes:
            raise ConfigError(f"expected a class from 0 to {part.num_classes - 1} for {name}, found {own}")
    return PerClassSynthesizer(taken)


class LabelledSynthesizer(Combined):
    """A synthesizer whose images get the label that a judge gives them; made by `labelled_by`.

    A sample of a class is the first of a row of draws, each from a seed of its own, that the judge takes for that
    class: still a function of label and seed.

    Args:
        synthesizer: Who draws.
        judge: Who labels.
        classes: The judge's classes.
        confidence: Least probability of the label.
        tries: Draws for one sample, at most.
    """

    def __init__(
        self, synthesizer: Synthesizer, judge: Extractor, classes: Sequence[str], confidence: float, tries: int
    ) -> None:
        super().__init__([synthesizer])
        self.synthesizer, self.judge = synthesizer, judge
        self.class_names = list(classes)
        self.num_classes = len(self.class_names)
        self.confidence, self.tries = confidence, tries
        self._seen: ImageSpec | None = getattr(judge, "image_spec", None)

    def __repr__(self) -> str:
        return f"LabelledSynthesizer({self.num_classes} classes, of {self.synthesizer!r})"

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: the synthesizer's, and judge and settings."""
        told = [self.judge.fingerprint, self.class_names, self.confidence, self.tries]
        return {**self.chains[0], "labelled": hash_json(told)}

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of what synthesizer and judge were fitted on."""
        return FittedOn.union(FittedOn.of(self.synthesizer), FittedOn.of(self.judge))

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *spatial)` in [-1, 1].

        Raises:
            SynthesizerError: There is no such class, conditions are given, or none of `tries` draws was taken for it.
        """
        if conditions:
            raise SynthesizerError(f"expected no conditions for a labelled synthesizer, found {', '.join(conditions)}")
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        if not len(labels):
            return self.synthesizer.sample(labels, seeds)
        images: Tensor | None = None
        pending, done = np.arange(len(labels)), 0
        while len(pending) and done < self.tries:
            several = min(self.tries - done, max(1, _AT_ONCE // len(pending)))
            tried = self._tried(seeds[pending], done, several)
            drawn, good = self._judged(tried.reshape(-1), np.repeat(labels[pending], several))
            good = good.reshape(len(pending), several)
            first, taken = good.argmax(1), good.any(1)
            if images is None:
                images = torch.empty(len(labels), *drawn.shape[1:])
            at = np.arange(len(pending)) * several + first
            images[torch.from_numpy(pending[taken])] = drawn[torch.from_numpy(at[taken])]
            pending, done = pending[~taken], done + several
        if len(pending):
            lacking = sorted({self.class_names[label] for label in labels[pending].tolist()})
            raise SynthesizerError(
                f"expected an image that the judge takes for {', '.join(lacking)} (with {self.confidence:.0%} or more) "
                f"among {self.tries} draws, found none; the generator may not know the class. Raise tries=, lower "
                "confidence=, or leave the class out with sampling_strategy="
            )
        assert images is not None
        return Samples(images)

    def _tried(self, seeds: IntArray, done: int, several: int) -> IntArray:
        """Returns seeds `(n, several)` of the draws from number `done` on for each sample."""
        return np.stack([row_seeds(derive(int(seed), "tries"), 0, several, done) for seed in seeds])

    def _judged(self, seeds: IntArray, labels: IntArray) -> tuple[Tensor, npt.NDArray[np.bool_]]:
        own = self.synthesizer.num_classes
        classes = np.minimum((uniforms(seeds, 1, _STREAM)[:, 0] * own).astype(np.int64), own - 1)
        drawn = self.synthesizer.sample(classes, seeds).images
        seen = drawn if self._seen is None else resize(as_channels(drawn, self._seen.channels), self._seen.grid)
        probs = self.judge.extract(seen.clamp(-1, 1)).probs
        assert probs is not None
        sure = probs[np.arange(len(labels)), labels] >= self.confidence
        return drawn, sure & (probs.argmax(1) == labels)


def labelled_by(synthesizer: Any, judge: Any, *, confidence: float = 0.5, tries: int = 256) -> LabelledSynthesizer:
    """Makes a synthesizer that knows no classes, or others, draw those of a judge, who labels what it draws.

    Such images are as right as the judge, and none is of a kind that the judge does not know; a rare class takes as
    many draws as it is rare among what is drawn. Measure whether it helps with a judge that did not choose.

    Args:
        synthesizer: Who draws; all of its classes alike often.
        judge: An extractor with class probabilities and `classes`, such as `ga.TrainedExtractor.fit(train_set)`.
        confidence: Least probability that the judge must give to the class.
        tries: Draws for one sample, at most.

    Raises:
        ConfigError: The judge has no classes, or a parameter has a value that cannot work.
    """
    if not isinstance(synthesizer, Synthesizer):
        raise ConfigError(f"expected a synthesizer, found {type(synthesizer).__name__}")
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
        raise ConfigError("expected a synthesizer that draws from latents, found one that makes images of real ones")
    classes = getattr(judge, "classes", None)
    if not classes or not isinstance(judge, Extractor):
        raise ConfigError(f"expected a judge with classes, such as ga.TrainedExtractor, found {type(judge).__name__}")
    return LabelledSynthesizer(
        synthesizer, judge, classes, probability("confidence=", confidence), whole("tries=", tries)
    )
