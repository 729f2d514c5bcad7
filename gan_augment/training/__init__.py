"""Fitting a synthesizer: one loop that names no recipe."""

from gan_augment.training.fit import fit
from gan_augment.training.table import fit_table

__all__ = ["fit", "fit_table"]
