"""What a training is watched against: real images of each class."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.fingerprint import group_name
from gan_augment.images import ImageSpec, batch_rows
from gan_augment.metrics.manifold import radii
from gan_augment.neighbours import centroid_distances
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.training.space import Space
from gan_augment.types import FloatArray, IntArray

__all__ = [
    "LEAST_TO_HOLD_OUT",
    "Reference",
    "References",
    "Space",
    "class_measures",
    "hold_out",
    "mean_distance",
    "repeated",
]

LEAST_TO_HOLD_OUT = 50
"""No image of a class with fewer is ever kept from the training."""

_FOLD = 5
_LEAST_HELD_OUT = 8
_LEAST, _MOST, _MOST_OF_ALL = 32, 256, 2**14
_ALIKE, _NEIGHBOURS = 0.1, 5
_DRAWS, _LARGEST, _SAMPLES = 40, 10, 48
_LEAST_RATIO, _SLACK, _BLIND_RATIO = 0.5, 0.9, 0.2


def hold_out(targets: IntArray, groups: npt.NDArray[Any] | None = None, *, seed: int = 0) -> IntArray:
    """Returns the rows, sorted, that stay out of a training to tell when to stop it: a fifth of each large class.

    Classes with fewer than 50 images give none. Groups stay whole: one that has an image of such a class, or that
    would make it more than a fifth of a class, stays in the training.

    Args:
        targets: `(N,)` classes.
        groups: `(N,)` groups (patients); None where there are none.
        seed: Of the choice.
    """
    rng = np.random.Generator(np.random.Philox(derive(seed, "hold out")))
    counts = np.bincount(targets)
    room = np.where(counts < LEAST_TO_HOLD_OUT, 0, counts // _FOLD)
    if groups is None:
        chosen = [rng.permutation(np.flatnonzero(targets == label))[:most] for label, most in enumerate(room)]
        return np.sort(np.concatenate(chosen))
    names, whole = np.unique(np.array([group_name(group) for group in groups]), return_inverse=True)
    table = np.zeros((len(names), len(counts)), np.int64)
    np.add.at(table, (whole, targets), 1)
    taken = np.zeros(len(names), bool)
    for group in rng.permutation(len(names)):
        if (table[group] <= room).all():
            taken[group], room = True, room - table[group]
    return np.flatnonzero(taken[whole])


@dataclass(frozen=True)
class Reference:
    """Real images of a class.

    Attributes:
        rows: `(m,)` their items in the dataset.
        features: `(m, D)`.
        held_out: Whether the training does not see them.
        radii: `(m,)` distance of each to its fifth nearest other, of fewer where there are not six.
        distance: Mean distance between two of them.
        repeated: How many have another within a tenth of that.
        least_diversity: What no held-out reals fall below, as a share of `distance`.
    """

    rows: IntArray
    features: FloatArray
    held_out: bool
    radii: FloatArray
    distance: float
    repeated: int
    least_diversity: float = _BLIND_RATIO

    @property
    def near(self) -> float:
        """The distance below which two images count as near-duplicates."""
        return _ALIKE * self.distance


@dataclass(frozen=True)
class References:
    """The real images that samples are compared with, at most 256 of a class, and fewer of more than 64 classes.

    Attributes:
        space: Where they are compared.
        classes: By class index; a class without images is not there.
    """

    space: Space
    classes: Mapping[int, Reference]

    @classmethod
    def of(
        cls,
        view: RawView,
        spec: ImageSpec,
        *,
        held_out: IntArray | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Reads the real images.

        Args:
            view: The dataset.
            spec: How raw images map to [-1, 1].
            held_out: Rows that the training does not see. A class with at least 8 of them is compared with those,
                any other with all of its images.
            seed: Of the choice where there are too many.
            device: Where features are computed.
        """
        rng = np.random.Generator(np.random.Philox(derive(seed, "references")))
        most = max(_LEAST, min(_MOST, _MOST_OF_ALL // view.num_classes))
        rows: dict[int, IntArray] = {}
        unseen: dict[int, bool] = {}
        for label in np.flatnonzero(view.counts).tolist():
            own = view.of_class(label)
            kept = own[np.isin(own, held_out)] if held_out is not None else own[:0]
            unseen[label] = len(kept) >= _LEAST_HELD_OUT
            rows[label] = np.sort(rng.permutation(kept if unseen[label] else own)[:most])
        space = Space(spec.channels, spec.grid, device)
        maps = {label: _read(space, view, spec, own) for label, own in rows.items()}
        space.fit(np.concatenate(list(maps.values())))
        found = {label: _reference(rows[label], space.projected(maps[label]), unseen[label]) for label in rows}
        return cls(space, _calibrated(found, rng))


def _read(space: Space, view: RawView, spec: ImageSpec, rows: IntArray) -> FloatArray:
    """Returns the space's maps of images, of which few are in memory at a time."""
    size = batch_rows(spec.grid)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return np.concatenate([space.maps(view.images(part, spec=spec)) for part in parts])


def _reference(rows: IntArray, features: FloatArray, held_out: bool) -> Reference:
    distance = mean_distance(features)
    sizes = radii(features, min(_NEIGHBOURS, len(rows) - 1))
    return Reference(rows, features, held_out, sizes, distance, int(repeated(features, _ALIKE * distance).sum()))


def mean_distance(features: FloatArray) -> float:
    """Returns the mean distance between two different rows of `(N, D)`, N at least 2."""
    return float(centroid_distances(features, features).sum(dtype=np.float64) / (len(features) * (len(features) - 1)))


def repeated(features: FloatArray, near: float) -> npt.NDArray[np.bool_]:
    """Returns which rows of `(N, D)` have another one nearer than `near`."""
    distances = centroid_distances(features, features)
    np.fill_diagonal(distances, np.inf)
    found: npt.NDArray[np.bool_] = distances.min(1) < near
    return found


def class_measures(reference: Reference, fake: FloatArray, parents: IntArray | None = None) -> dict[str, float]:
    """Returns KID, coverage, diversity and the share of near-duplicates of samples of a class.

    KID is the unbiased squared MMD under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018), 0 on average for reals;
    coverage the share of reals whose ball of radius r_k, k = 5 or fewer, holds a sample (Naeem et al. 2020);
    diversity the mean distance between two samples over that between two reals.

    Args:
        reference: Reals of the class.
        fake: `(n, D)` samples, n at least 2.
        parents: `(n,)` item that each was made from, with which it is not compared; None where there is none.
    """
    real = reference.features
    own = np.zeros((len(fake), len(real)), bool) if parents is None else parents[:, None] == reference.rows[None]
    between = ~own
    mixed = _kernel(fake, real)[between].mean() if between.any() else 0.0
    distances = np.where(own.T, np.inf, centroid_distances(real, fake))
    distance = reference.distance
    return {
        "kid": float(_mean_of_pairs(_kernel(fake, fake)) + _mean_of_pairs(_kernel(real, real)) - 2 * mixed),
        "coverage": float((distances < reference.radii[:, None]).any(1).mean()),
        "diversity": mean_distance(fake) / distance if distance > 0 else 1.0,
        "duplicates": float(repeated(fake, reference.near).mean()),
    }


def _kernel(first: FloatArray, second: FloatArray) -> npt.NDArray[np.float64]:
    product = first.astype(np.float64) @ second.T.astype(np.float64)
    values: npt.NDArray[np.float64] = (product / first.shape[1] + 1) ** 3
    return values


def _mean_of_pairs(kernel: npt.NDArray[np.float64]) -> float:
    return float((kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)))


def _calibrated(found: Mapping[int, Reference], rng: np.random.Generator) -> dict[int, Reference]:
    """Sets for each class how little held-out reals may vary against as few reals as the class has.

    Large classes are cut into as many references and unseen reals again and again; the least ratio of their mean
    distances, less a tenth, is the limit, at most a half. Where no class is large enough it is a fifth.
    """
    large = sorted(found.values(), key=lambda reference: -len(reference.rows))[:_LARGEST]
    distances = [centroid_distances(r.features, r.features) for r in large if len(r.rows) >= 2 * _LEAST_HELD_OUT]
    limits: dict[int, float] = {}
    for size in sorted({_size(reference) for reference in found.values()}):
        ratios = [_ratio(d, rng.permutation(len(d)), size) for d in distances for _ in range(_DRAWS)]
        limits[size] = min([_LEAST_RATIO, *(_SLACK * ratio for ratio in ratios)]) if ratios else _BLIND_RATIO
    return {
        label: dataclasses.replace(reference, least_diversity=limits[_size(reference)])
        for label, reference in found.items()
    }


def _size(reference: Reference) -> int:
    """Returns the images of a class as a power of two, rounded down."""
    return 1 << (len(reference.rows).bit_length() - 1)


def _ratio(distances: FloatArray, order: IntArray, size: int) -> float:
    """Returns the ratio of the mean distances within unseen reals and within `size` others, at most half of all."""
    size = min(size, len(order) // 2)
    means = []
    for part in (order[size:][:_SAMPLES], order[:size]):
        means.append(float(distances[np.ix_(part, part)].sum()) / (len(part) * (len(part) - 1)))
    return means[0] / means[1] if means[1] > 0 else math.inf
