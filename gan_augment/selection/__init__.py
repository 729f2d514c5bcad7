"""Selectors: which candidates are kept."""

from gan_augment.selection.base import FittedSelector, ScoreSelector, SetSelector
from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.compose import Compose
from gan_augment.selection.registry import SELECTORS, load_selector, make_selector

__all__ = [
    "SELECTORS",
    "CentroidSelector",
    "Compose",
    "FittedSelector",
    "ScoreSelector",
    "SetSelector",
    "load_selector",
    "make_selector",
]
