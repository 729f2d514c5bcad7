"""Losses: pure functions of logits, images and latents."""

from gan_augment.losses.adversarial import hinge_discriminator, hinge_generator
from gan_augment.losses.classification import balanced_softmax
from gan_augment.losses.diversity import mode_seeking

__all__ = ["balanced_softmax", "hinge_discriminator", "hinge_generator", "mode_seeking"]
