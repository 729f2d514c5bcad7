"""What the rooms hand to each other: samples, candidates, decisions, and who makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from gan_augment.images import ImageSpec

__all__ = [
    "Candidates",
    "CrossFitted",
    "Decision",
    "Extractor",
    "Features",
    "HasLogits",
    "NeedsParents",
    "Origin",
    "Samples",
    "Selector",
    "Synthesizer",
]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """What a synthesizer draws.

    Attributes:
        images: `(N, C, *spatial)` float32 in [-1, 1].
        masks: `(N, 1, *spatial)`, or None.
        parents: `(N,)` int64, the index of the real image each sample was made from in the bound dataset;
            None where there is no parent.
    """

    images: Tensor
    masks: Tensor | None = None
    parents: IntArray | None = None


@dataclass(frozen=True)
class Features:
    """What an extractor sees in images.

    Attributes:
        features: `(N, D)` float32.
        probs: `(N, num_classes)` class probabilities, rows sum to 1; None where the extractor has none.
        entropy: `(N,)` predictive entropy in nats, 0 to log(num_classes); None where there is none.
        fold: `(N,)` int64, which of the K judges of a cross-fitted extractor has not seen each image, -1 where all
            have; None where there is one judge.

    The features of a cross-fitted extractor are `(N, K, D)`, one space for each judge.
    """

    features: FloatArray
    probs: FloatArray | None = None
    entropy: FloatArray | None = None
    fold: IntArray | None = None

    def __getitem__(self, rows: Any) -> "Features":
        """Returns the rows that `rows` (a mask, a slice or indices) picks."""
        return replace(self, **_picked(self, rows))

    @classmethod
    def concatenate(cls, parts: "Sequence[Features]") -> "Features":
        """Returns the rows of all parts; a column that one part lacks is None."""
        return cls(**_joined(parts))


@dataclass(frozen=True)
class Candidates:
    """Images seen by a selector, as columns of equal length N; what is not known is None.

    Attributes:
        features: `(N, D)` float32 of the extractor; `(N, K, D)` of the K judges of a cross-fitted one. May be
            memory-mapped.
        labels: `(N,)` int64, the intended class; of real images their own.
        probs: `(N, num_classes)` class probabilities; of real images under a cross-fitted extractor, those of the judge
            that has not seen them.
        entropy: `(N,)` predictive entropy in nats.
        d_logits: `(N,)` logits of the GAN's discriminator.
        domain: `(N,)` int64, scanner or site.
        seeds: `(N,)` int64, the seed each row was drawn from.
        parents: `(N,)` int64, the row among the real images that each was made from; -1 for none.
        groups: `(N,)` int64 of real images, patients numbered from 0.
        fold: `(N,)` int64 of real images, see `Features`.
        also: What further extractors see in the same images, by their fingerprint; for `Compose`.
    """

    features: FloatArray
    labels: IntArray
    probs: FloatArray | None = None
    entropy: FloatArray | None = None
    d_logits: FloatArray | None = None
    domain: IntArray | None = None
    seeds: IntArray | None = None
    parents: IntArray | None = None
    groups: IntArray | None = None
    fold: IntArray | None = None
    also: Mapping[str, Features] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Candidates":
        """Returns the rows that `rows` (a mask, a slice or indices) picks; a slice copies nothing."""
        also = {name: seen[rows] for name, seen in self.also.items()}
        return replace(self, **_picked(self, rows), also=also)

    def by(self, extractor: "Extractor | None") -> "Candidates":
        """Returns these rows as another of the extractors sees them; as they are where it is not among `also`."""
        seen = None if extractor is None or not self.also else self.also.get(extractor.fingerprint)
        if seen is None:
            return self
        # `also` stays, so that a step within a step can ask for another one.
        return replace(self, features=seen.features, probs=seen.probs, entropy=seen.entropy, fold=seen.fold)

    @classmethod
    def concatenate(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """Returns the rows of all parts; a column that one part lacks is None."""
        names = set.intersection(*[set(part.also) for part in parts])
        also = {name: Features.concatenate([part.also[name] for part in parts]) for name in names}
        return cls(**_joined(parts), also=also)


def _columns(table: Any) -> dict[str, Any]:
    return {f.name: getattr(table, f.name) for f in fields(table) if f.name != "also"}


def _picked(table: Any, rows: Any) -> dict[str, Any]:
    return {name: column[rows] for name, column in _columns(table).items() if column is not None}


def _joined(parts: Sequence[Any]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for name in _columns(parts[0]):
        columns = [getattr(part, name) for part in parts]
        joined[name] = None if any(column is None for column in columns) else np.concatenate(columns)
    return joined


@dataclass(frozen=True)
class Decision:
    """What a selector decides about N candidates.

    Attributes:
        keep: `(N,)` bool.
        score: `(N,)` float32, lower is better to what gives it; a band, such as the farthest half, drops low ones too.
        reason: `(N,)` str, empty where kept, else why not.
        weight: `(N,)` float32 of at least 0, how much each should count in a loss; None where all count alike.
    """

    keep: npt.NDArray[np.bool_]
    score: FloatArray
    reason: npt.NDArray[np.str_]
    weight: FloatArray | None = None

    def __getitem__(self, rows: Any) -> "Decision":
        """Returns the rows that `rows` (a mask, a slice or indices) picks."""
        return replace(self, **_picked(self, rows))

    @classmethod
    def concatenate(cls, parts: "Sequence[Decision]") -> "Decision":
        """Returns the rows of all parts; where one has weights, the rows of those that have none weigh 1."""
        if any(part.weight is not None for part in parts):
            ones = [np.ones(len(part.keep), np.float32) if part.weight is None else part.weight for part in parts]
            parts = [replace(part, weight=weight) for part, weight in zip(parts, ones, strict=True)]
        return cls(**_joined(parts))

    def dropped(self) -> dict[str, int]:
        """Returns how many rows were dropped for each reason, the most frequent first."""
        reasons, numbers = np.unique(self.reason[~self.keep], return_counts=True)
        return {str(reasons[i]): int(numbers[i]) for i in np.argsort(-numbers, kind="stable")}


@dataclass(frozen=True)
class Origin:
    """Where an item of a `GANAugmentedDataset` comes from.

    Attributes:
        kind: "real" (an item of the base), "repeat" (a slot that repeats one) or "synthetic".
        label: The class index.
        index: The item of the base; None for a synthetic one.
        row: The row of the pool; None for a real one.
        seed: The seed that the row was drawn from; None for a real one.
        parent: The item of the dataset that the row was made from, where there is one.
    """

    kind: Literal["real", "repeat", "synthetic"]
    label: int
    index: int | None = None
    row: int | None = None
    seed: int | None = None
    parent: int | None = None


@runtime_checkable
class Synthesizer(Protocol):
    """Draws images of a wanted class.

    A sample is a function of its label, its seed and its conditions; device, order and batch do not matter
    beyond float tolerance.
    """

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def class_names(self) -> Sequence[str] | None:
        """Class names; None where they are not known, and classes are matched by position."""
        ...

    @property
    def image_spec(self) -> "ImageSpec | None":
        """How raw images map to [-1, 1]; None where the dataset's is to be taken."""
        ...

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each of `labels` `(N,)` and `seeds` `(N,)`."""
        ...


@runtime_checkable
class NeedsParents(Protocol):
    """A synthesizer that may make its samples from real images."""

    @property
    def needs_parents(self) -> bool:
        """Whether it does."""
        ...

    def bind(self, dataset: Any) -> Self:
        """Gives the real images that parents are drawn from; returns itself."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Turns images in [-1, 1], `(N, C, *spatial)`, into features."""

    def extract(self, images: Tensor) -> Features:
        """Returns the features of `images`, and class probabilities and entropy where it has them."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Writes the extractor as a folder of safetensors and JSON."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of all that the features depend on."""
        ...


@runtime_checkable
class CrossFitted(Protocol):
    """An extractor of K judges, each fitted on all folds of the real images but one."""

    def extract_fitted(self, images: Tensor, hashes: IntArray) -> Features:
        """Returns what the judges see in images `(N, C, *spatial)` that they were fitted on, by their hashes `(N,)`.

        `features` `(N, K, D)` are those of all judges; `probs` and `entropy` those of the judge that has not seen each
        image, whose number is its `fold`. Images that no judge knows have the mean, and fold -1.
        """
        ...


@runtime_checkable
class HasLogits(Protocol):
    """An extractor that is a GAN's own discriminator."""

    def logits(self, images: Tensor, labels: IntArray) -> FloatArray:
        """Returns the discriminator's logits `(N,)` of images for classes `(N,)`."""
        ...


@runtime_checkable
class Selector(Protocol):
    """Decides which candidates are kept."""

    @property
    def extractor(self) -> Extractor | None:
        """What gives it features when a pool is built; None where raw values will do."""
        ...

    @property
    def whole_set(self) -> bool:
        """Whether it decides over a closed set at once (duplicates, coverage), rather than row by row."""
        ...

    def fit(self, real: Candidates) -> Self:
        """Learns from real images where real images of each class lie."""
        ...

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes thresholds that are a share of what the synthesizer draws, on a seeded draw of its own."""
        ...

    def decide(self, candidates: Candidates) -> Decision:
        """Decides: row by row, the same row gets the same answer in any batch and order, unless `whole_set`."""
        ...

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        """Returns what a user should know of the fit: classes too small to decide about, an index's recall."""
        ...

    def settings(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Writes the fitted selector, without its extractor, as a folder of safetensors and JSON."""
        ...


def side_by_side(features: FloatArray) -> FloatArray:
    """Returns features `(N, D)`; those of several judges `(N, K, D)` one beside the other, `(N, K D)`."""
    return features.reshape(len(features), -1)


def as_labels(labels: npt.ArrayLike) -> IntArray:
    """Returns labels as `(N,)` int64, from a tensor, an array, a list or a number."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    return np.atleast_1d(np.asarray(labels)).astype(np.int64).reshape(-1)


def as_tensor(values: IntArray, device: torch.device | str = "cpu") -> Tensor:
    """Returns an int64 tensor of `values` on `device`."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)
