"""Penalties on the gradient of a discriminator's logits `(N,)` with respect to its images `(N, C, *spatial)`.

Every norm is of one sample: taking one norm over the batch, as is often done, is another and weaker penalty. The
images must require a gradient, and the logits of a sample must not depend on other samples.
"""

import torch
from torch import Tensor

__all__ = ["gradient_norms", "gradient_penalty", "zero_centred_penalty"]


def gradient_norms(logits: Tensor, images: Tensor) -> Tensor:
    """Returns the squared norms `(N,)` of d logit / d image, summed over channels and space; gradients flow through."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


def zero_centred_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Returns the mean squared gradient norm: R1 on reals, R2 on fakes (Mescheder et al. 2018, equation 9).

    The papers weigh it by gamma / 2.
    """
    return gradient_norms(logits, images).mean()


def gradient_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Returns the mean (gradient norm - 1)^2 (Gulrajani et al. 2017, equation 3), on points between reals and fakes."""
    return (gradient_norms(logits, images).clamp_min(1e-12).sqrt() - 1).square().mean()
