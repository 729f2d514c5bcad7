"""Distances of two sets of features as distributions: torchmetrics' arithmetic, anyone's features."""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError
from gan_augment.types import FloatArray

__all__ = ["frechet_distance", "kernel_distance"]

_SUBSET = 1000


class _Features(nn.Module):
    """Stands where torchmetrics expects a network: what comes in are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: FloatArray, fake: FloatArray) -> float:
    """Returns FID's |m - m'|^2 + Tr(S + S' - 2 (S S')^(1/2)) of two sets of features (Heusel et al. 2017).

    With no more images than features the covariances are singular and the value is biased upwards: compare only
    values of as many images.

    Args:
        real: `(N, D)`.
        fake: `(M, D)`.

    Raises:
        ConfigError: A set has fewer than two images.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    _check(real, fake)
    metric = FrechetInceptionDistance(feature=_Features(real.shape[1]))
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(fake, np.float64)), real=False)
    return float(metric.compute())


def kernel_distance(
    real: FloatArray, fake: FloatArray, *, subset_size: int | None = None, subsets: int = 20, seed: int = 0
) -> float:
    """Returns KID: the unbiased squared MMD under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018).

    Zero on average where both sets come from one distribution, slightly below it half of the time.

    Args:
        real: `(N, D)`.
        fake: `(M, D)`.
        subset_size: Images of each set in a subset; None for as many as the smaller set has, at most 1000.
        subsets: Number of subsets that are averaged.
        seed: Of the subsets.

    Raises:
        ConfigError: A set has fewer than two images, or fewer than `subset_size`.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    _check(real, fake)
    least = min(len(real), len(fake))
    size = min(least, _SUBSET) if subset_size is None else subset_size
    if not 2 <= size <= least:
        raise ConfigError(f"expected subset_size from 2 to {least}, the images of the smaller set, found {size}")
    if size == len(real) == len(fake):
        subsets = 1  # there is one subset only
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance`", UserWarning)
        metric = KernelInceptionDistance(feature=_Features(real.shape[1]), subsets=subsets, subset_size=size)
    metric.update(torch.from_numpy(np.asarray(real, np.float64)), real=True)
    metric.update(torch.from_numpy(np.asarray(fake, np.float64)), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return float(metric.compute()[0])


def _check(real: FloatArray, fake: FloatArray) -> None:
    if min(len(real), len(fake)) < 2:
        raise ConfigError(f"expected at least two images of each set, found {len(real)} real and {len(fake)} synthetic")
