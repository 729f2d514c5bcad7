"""Measures: pure functions of labels, probabilities, features and repeated values."""

from gan_augment.metrics.classification import classification_scores
from gan_augment.metrics.intervals import Interval, interval, paired_difference

__all__ = ["Interval", "classification_scores", "interval", "paired_difference"]
