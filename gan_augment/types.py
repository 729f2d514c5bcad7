"""What the rooms hand to each other: samples, candidates, decisions, and who makes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
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
    "Decision",
    "Extractor",
    "Features",
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
    """

    features: FloatArray
    probs: FloatArray | None = None
    entropy: FloatArray | None = None


@dataclass(frozen=True)
class Candidates:
    """Images seen by a selector, as columns of equal length N; what is not known is None.

    Attributes:
        features: `(N, D)` float32 of the extractor.
        labels: `(N,)` int64, the intended class.
        probs: `(N, num_classes)` class probabilities.
        entropy: `(N,)` predictive entropy in nats.
        d_logits: `(N,)` logits of the GAN's discriminator.
        domain: `(N,)` int64, scanner or site.
        seeds: `(N,)` int64, the seed each row was drawn from.
    """

    features: FloatArray
    labels: IntArray
    probs: FloatArray | None = None
    entropy: FloatArray | None = None
    d_logits: FloatArray | None = None
    domain: IntArray | None = None
    seeds: IntArray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> "Candidates":
        """Returns the rows that `rows` (a mask, a slice or indices) picks."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: column[rows] for name, column in picked.items() if column is not None})

    @classmethod
    def concatenate(cls, parts: "Sequence[Candidates]") -> "Candidates":
        """Returns the rows of all parts; a column that one part lacks is None."""
        joined: dict[str, Any] = {}
        for field in fields(cls):
            columns = [getattr(part, field.name) for part in parts]
            joined[field.name] = None if any(column is None for column in columns) else np.concatenate(columns)
        return cls(**joined)


@dataclass(frozen=True)
class Decision:
    """What a selector decides about N candidates.

    Attributes:
        keep: `(N,)` bool.
        score: `(N,)` float32, lower is better.
        reason: `(N,)` str, empty where kept, else why not.
    """

    keep: npt.NDArray[np.bool_]
    score: FloatArray
    reason: npt.NDArray[np.str_]


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
class Selector(Protocol):
    """Decides which candidates are kept."""

    extractor: Extractor | None

    def fit(self, real: Candidates) -> Self:
        """Learns from real images where real images of each class lie."""
        ...

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes thresholds that are a share of what the synthesizer draws, on a seeded draw of its own."""
        ...

    def decide(self, candidates: Candidates) -> Decision:
        """Decides row by row: the same row gets the same answer in any batch and order."""
        ...

    def settings(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        ...

    def save(self, folder: str | Path) -> Path:
        """Writes the fitted selector, without its extractor, as a folder of safetensors and JSON."""
        ...


def as_labels(labels: npt.ArrayLike) -> IntArray:
    """Returns labels as `(N,)` int64, from a tensor, an array, a list or a number."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    return np.atleast_1d(np.asarray(labels)).astype(np.int64).reshape(-1)


def as_tensor(values: IntArray, device: torch.device | str = "cpu") -> Tensor:
    """Returns an int64 tensor of `values` on `device`."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(device)
