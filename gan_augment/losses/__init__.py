"""Losses: pure functions of logits, images and latents."""

from gan_augment.losses.adversarial import hinge_discriminator, hinge_generator
from gan_augment.losses.classification import LDAM, balanced_softmax, effective_weights, focal
from gan_augment.losses.diversity import mode_seeking

__all__ = [
    "LDAM",
    "balanced_softmax",
    "effective_weights",
    "focal",
    "hinge_discriminator",
    "hinge_generator",
    "mode_seeking",
]
