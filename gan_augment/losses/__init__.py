"""Losses: pure functions of logits, images and latents."""

from gan_augment.losses.adversarial import (
    hinge_discriminator,
    hinge_generator,
    logistic_discriminator,
    logistic_generator,
    relativistic,
    wasserstein_discriminator,
)
from gan_augment.losses.classification import LDAM, balanced_softmax, effective_weights, focal
from gan_augment.losses.diversity import mode_seeking
from gan_augment.losses.lecam import LeCam
from gan_augment.losses.penalties import gradient_norms, gradient_penalty, zero_centred_penalty
from gan_augment.losses.sharing import barlow_twins, group_spectral_norm

__all__ = [
    "LDAM",
    "LeCam",
    "balanced_softmax",
    "barlow_twins",
    "effective_weights",
    "focal",
    "gradient_norms",
    "gradient_penalty",
    "group_spectral_norm",
    "hinge_discriminator",
    "hinge_generator",
    "logistic_discriminator",
    "logistic_generator",
    "mode_seeking",
    "relativistic",
    "wasserstein_discriminator",
    "zero_centred_penalty",
]
