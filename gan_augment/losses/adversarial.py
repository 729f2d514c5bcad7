"""Adversarial losses of logits `(N,)`."""

from torch import Tensor
from torch.nn import functional

__all__ = [
    "hinge_discriminator",
    "hinge_generator",
    "logistic_discriminator",
    "logistic_generator",
    "relativistic",
    "wasserstein_discriminator",
]


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Returns mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))) (Lim and Ye 2017; Miyato et al. 2018)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Returns -mean D(G(z)), the generator's side of the hinge and of the Wasserstein loss."""
    return -fake.mean()


def logistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Returns mean softplus(-D(x)) + mean softplus(D(G(z))) (Goodfellow et al. 2014, equation 1, on logits)."""
    return functional.softplus(-real).mean() + functional.softplus(fake).mean()


def logistic_generator(fake: Tensor) -> Tensor:
    """Returns mean softplus(-D(G(z))), the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return functional.softplus(-fake).mean()


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """Returns mean softplus(worse - better), pair by pair (Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024).

    The discriminator's loss with its reals as `better`, the generator's with its fakes.
    """
    return functional.softplus(worse - better).mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """Returns mean D(G(z)) - mean D(x) (Arjovsky et al. 2017)."""
    return fake.mean() - real.mean()
