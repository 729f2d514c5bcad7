"""Predictive entropy of class probabilities."""

import numpy as np

from gan_augment.types import FloatArray

__all__ = ["entropy_of"]


def entropy_of(probs: FloatArray) -> FloatArray:
    """Returns the entropy `(N,)` in nats of class probabilities `(N, num_classes)`: 0 to log(num_classes)."""
    wide = probs.astype(np.float64)
    entropy: FloatArray = -(wide * np.log(wide.clip(1e-12))).sum(1).clip(max=0).astype(np.float32)
    return entropy
