"""Selectors: which candidates are kept."""

from gan_augment.selection.base import FittedSelector, ScoreSelector, SetSelector
from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.compose import Compose
from gan_augment.selection.control import random_control
from gan_augment.selection.copies import CopyGuard
from gan_augment.selection.coverage import HerdingSelector, KCenterSelector
from gan_augment.selection.domain import DomainSelector
from gan_augment.selection.duplicates import DuplicateGuard
from gan_augment.selection.guards import LabelGuard, OutlierGuard
from gan_augment.selection.logits import DiscriminatorSelector
from gan_augment.selection.manifold import ManifoldSelector, NeighbourSelector, RealismSelector
from gan_augment.selection.parse import parse_selector
from gan_augment.selection.reals import SelectedReals, choose_rows, select_reals
from gan_augment.selection.registry import SELECTORS, default_selector, load_selector, make_selector
from gan_augment.selection.utility import GradientSelector, InformativenessSelector

__all__ = [
    "SELECTORS",
    "CentroidSelector",
    "Compose",
    "CopyGuard",
    "DiscriminatorSelector",
    "DomainSelector",
    "DuplicateGuard",
    "FittedSelector",
    "GradientSelector",
    "HerdingSelector",
    "InformativenessSelector",
    "KCenterSelector",
    "LabelGuard",
    "ManifoldSelector",
    "NeighbourSelector",
    "OutlierGuard",
    "RealismSelector",
    "ScoreSelector",
    "SelectedReals",
    "SetSelector",
    "choose_rows",
    "default_selector",
    "load_selector",
    "make_selector",
    "parse_selector",
    "random_control",
    "select_reals",
]
