"""Selectors: which candidates are kept."""

from gan_augment.selection.centroid import CentroidSelector

__all__ = ["CentroidSelector"]
