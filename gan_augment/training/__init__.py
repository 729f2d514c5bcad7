"""Fitting a synthesizer: one loop that names no recipe."""

from gan_augment.training.fit import fit

__all__ = ["fit"]
