"""Adversarial losses of logits `(N,)`."""

from torch import Tensor
from torch.nn import functional

__all__ = ["hinge_discriminator", "hinge_generator"]


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Returns mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))) (Lim and Ye 2017; Miyato et al. 2018)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Returns -mean D(G(z))."""
    return -fake.mean()
