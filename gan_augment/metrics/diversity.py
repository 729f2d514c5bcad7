"""How varied a set of images is: effective number of different images, likeness within a class."""

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.search import squared_distances
from gan_augment.types import FloatArray

__all__ = ["ms_ssim", "ms_ssim_scales", "spread", "vendi"]

_PAIRS = 25
_BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_SIGMAS = {11: 1.5, 7: 0.95, 5: 0.7}
"""Side of the Gaussian window and the standard deviation from which torchmetrics makes a window of that side."""


def vendi(features: FloatArray, bandwidth: float) -> float:
    """Returns the Vendi score exp(-sum l log l) of a set, from 1 (all alike) to N (Friedman and Dieng 2023).

    l are the eigenvalues of K / N with the kernel K_ij = exp(-|x_i - x_j|^2 / (2 bandwidth^2)).

    Args:
        features: `(N, D)`.
        bandwidth: Distance at which two images begin to count as different; `spread` of real images.

    Raises:
        ConfigError: There is no image, or the bandwidth is not positive.
    """
    if not len(features) or not bandwidth > 0:
        raise ConfigError(f"expected images and a positive bandwidth, found {len(features)} and {bandwidth}")
    kernel = np.exp(-squared_distances(features, features) / (2 * bandwidth**2))
    values = np.linalg.eigvalsh(kernel / len(features))
    values = values[values > 0]
    return float(np.exp(-(values * np.log(values)).sum()))


def spread(features: FloatArray) -> float:
    """Returns the median distance between two different rows of `(N, D)`, N at least 2."""
    return float(np.sqrt(np.median(squared_distances(features, features)[np.triu_indices(len(features), 1)])))


def ms_ssim_scales(side: int) -> tuple[int, int]:
    """Returns the number of scales and the window's side that fit images of a least side of `side` pixels.

    The published five scales with a window of 11 need 176 pixels. Below that as many scales as leave a window of at
    least 5 on the smallest; 28 pixels get three scales and a window of 7, 8 pixels one scale and a window of 7.

    Raises:
        ConfigError: `side` is less than 5.
    """
    for scales in range(len(_BETAS), 0, -1):
        for window in _SIGMAS:
            if side >> (scales - 1) >= window and side // max(1, scales - 1) ** 2 >= window and side >= 2**scales:
                return scales, window
    raise ConfigError(f"expected images of at least 5 pixels a side for SSIM, found {side}")


def ms_ssim(images: Tensor, *, pairs: int = 100, seed: int = 0) -> float:
    """Returns the mean MS-SSIM of random pairs of different rows (Wang et al. 2003; Odena et al. 2017).

    1 where all are the same image. The exponents of the scales that fit are those published, made to sum to 1.

    Args:
        images: `(N, C, *spatial)` in [-1, 1], of one class, N at least 2.
        pairs: Number of pairs.
        seed: Of the pairs.

    Raises:
        ConfigError: There are fewer than two images, or they are too small.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as measure

    if len(images) < 2:
        raise ConfigError(f"expected at least two images to compare, found {len(images)}")
    rng = np.random.Generator(np.random.Philox(seed))
    first = rng.integers(0, len(images), pairs)
    second = (first + rng.integers(1, len(images), pairs)) % len(images)
    scales, window = ms_ssim_scales(min(images.shape[2:]))
    values = []
    for start in range(0, pairs, _PAIRS):
        part = slice(start, start + _PAIRS)
        values.append(
            measure(
                images[torch.from_numpy(first[part])],
                images[torch.from_numpy(second[part])],
                kernel_size=window,
                sigma=_SIGMAS[window],
                data_range=2.0,
                betas=tuple(beta / sum(_BETAS[:scales]) for beta in _BETAS[:scales]),
                reduction="none",
            )
        )
    return float(torch.cat(values).mean())
