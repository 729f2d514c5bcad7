"""Terms that keep the rare classes of a conditional generator from collapsing."""

import torch
from torch import Tensor

__all__ = ["barlow_twins", "group_spectral_norm"]


def group_spectral_norm(parameters: Tensor, groups: int = 8) -> Tensor:
    """Returns the mean over classes of the squared largest singular value of a class's parameters, as a matrix.

    gSR (Rangwani et al. 2022, "Improving GANs for long-tailed data through group spectral regularization", arXiv
    2208.09932): the scale and the shift of a class at a normalisation, `channels` numbers each, are cut into groups,
    the rows of a matrix whose spectral norm explodes when the class collapses. The paper adds them up over
    normalisations. Other than there: the singular value is exact instead of one step of a power iteration, and all
    classes weigh the same instead of the rarer more.

    Args:
        parameters: `(num_classes, channels)`.
        groups: Rows of the matrices; a divisor of the channels.
    """
    norms: Tensor = torch.linalg.matrix_norm(parameters.unflatten(1, (groups, -1)), ord=2)
    return norms.square().mean()


def barlow_twins(first: Tensor, second: Tensor, redundancy: float = 0.05, epsilon: float = 1e-5) -> Tensor:
    """Returns sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, C the correlation of the twins over the batch.

    Zbontar et al. 2021 ("Barlow twins", equation 1), which NoisyTwins (Rangwani et al. 2023, arXiv 2304.05866) asks
    of the styles of one latent under two noisy copies of its class: dimensions agree, and differ from each other,
    so the images of a class cannot all become one. It depends on the statistics of the batch.

    Args:
        first: `(N, D)`.
        second: `(N, D)`.
        redundancy: Weight of the second sum.
        epsilon: Added to the variances.
    """
    one, other = ((twin - twin.mean(0)) * (twin.var(0, correction=0) + epsilon).rsqrt() for twin in (first, second))
    correlation = one.T @ other / len(first)
    same = torch.eye(len(correlation), dtype=torch.bool, device=correlation.device)
    diagonal = correlation[same]
    return (1 - diagonal).square().sum() + redundancy * correlation.masked_fill(same, 0).square().sum()
