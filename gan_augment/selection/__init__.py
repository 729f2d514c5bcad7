"""Selectors: which candidates are kept."""

from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.neighbours import centroid_distances, nearest, nearest_other

__all__ = ["CentroidSelector", "centroid_distances", "nearest", "nearest_other"]
