"""Measures: pure functions of labels, probabilities, features and repeated values."""

from gan_augment.metrics.classification import (
    FEW,
    MANY,
    calibration_error,
    classification_scores,
    recalls,
    shots,
)
from gan_augment.metrics.intervals import Interval, holm, interval, paired_difference

__all__ = [
    "FEW",
    "MANY",
    "Interval",
    "calibration_error",
    "classification_scores",
    "holm",
    "interval",
    "paired_difference",
    "recalls",
    "shots",
]
