"""Fidelity and diversity as overlaps of neighbourhoods in a feature space.

r_k(x) is the distance of x to its k-th nearest neighbour in its own set, itself left out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gan_augment.errors import ConfigError
from gan_augment.neighbours import nearest
from gan_augment.search import blocks_of, mean_of, squared_distances
from gan_augment.types import FloatArray

__all__ = ["Manifold", "manifold_scores", "radii", "realism"]

_BLOCK, _OTHERS = 1024, 4096


class Manifold(NamedTuple):
    """Four overlaps of a synthetic set with a real one.

    Attributes:
        precision: Share of synthetic images inside the ball of radius r_k of a real one, 0 to 1.
        recall: Share of real images inside the ball of radius r_k of a synthetic one, 0 to 1.
        density: Mean number of real balls that hold a synthetic image, over k; about 1 where the sets are alike.
        coverage: Share of real balls that hold a synthetic image, 0 to 1.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def radii(features: FloatArray, k: int = 5) -> FloatArray:
    """Returns r_k of each row `(N, D)`: the distance to the k-th nearest other row, `(N,)`.

    Raises:
        ConfigError: There are not more than `k` rows.
    """
    if not 1 <= k < len(features):
        raise ConfigError(f"expected more than k={k} images for neighbourhoods, found {len(features)}")
    return nearest(features, features, k=k + 1)[0][:, k]


def manifold_scores(real: FloatArray, fake: FloatArray, k: int = 5) -> Manifold:
    """Returns precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    With B(x) the ball around x of radius r_k(x): precision is the mean over g of [g in B(x) for some real x], recall
    the same with the sets exchanged, density the mean over g of #{x: g in B(x)} / k, coverage the mean over x of
    [B(x) holds some g].

    Args:
        real: Features `(N, D)` of real images.
        fake: Features `(M, D)` of synthetic ones.
        k: Neighbours that make a ball.

    Raises:
        ConfigError: A set has not more than `k` images.
    """
    real_radii, fake_radii = radii(real, k), radii(fake, k)
    within = np.zeros(len(fake), np.int64)
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for rows, others, distances in _distances(real, fake):
        inside = distances < real_radii[rows, None]
        within[others] += inside.sum(0)
        recalled[rows] |= (distances < fake_radii[others]).any(1)
        covered[rows] |= inside.any(1)
    return Manifold(float((within > 0).mean()), float(recalled.mean()), float(within.mean() / k), float(covered.mean()))


def realism(real: FloatArray, fake: FloatArray, k: int = 5) -> FloatArray:
    """Returns max over real x of r_k(x) / d(x, g) for each synthetic g, `(M,)`; 1 or more is as real as the reals.

    Kynkaanniemi et al. 2019, equation 3: the half of the reals with the greatest radii does not count.

    Args:
        real: Features `(N, D)` of real images.
        fake: Features `(M, D)` of synthetic ones.
        k: Neighbours that make a ball.

    Raises:
        ConfigError: There are not more than `k` real images.
    """
    size = radii(real, k)
    trusted = size <= np.median(size)
    real, size = real[trusted], size[trusted]
    best = np.zeros(len(fake), np.float32)
    for rows, others, distances in _distances(fake, real):
        best[rows] = np.maximum(best[rows], (size[others] / np.maximum(distances, 1e-12)).max(1))
    return best


def _distances(first: FloatArray, second: FloatArray) -> Iterator[tuple[slice, slice, FloatArray]]:
    """Yields Euclidean distances of blocks of two sets, in float64 inside: FAISS keeps neighbours only, balls need all.

    Blocks are small, so that sets may be memory-mapped and no `(N, M)` is held.
    """
    center = mean_of(second)
    for others in blocks_of(len(second), 1, 4 * _OTHERS):
        for rows in blocks_of(len(first), 1, 4 * _BLOCK):
            squared = squared_distances(first[rows], second[others], center)
            yield rows, others, np.sqrt(squared, out=squared).astype(np.float32)
