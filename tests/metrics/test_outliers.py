"""Residuals and Mahalanobis distances: known answers, and reals of a rare class that are no outliers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from gan_augment.metrics.outliers import mahalanobis, residuals


def plane(count: int, seed: int) -> Any:
    """Points near a plane in 12 dimensions."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).normal(size=(2, 12))
    return (rng.normal(size=(count, 2)) @ axes + rng.normal(0, 0.01, (count, 12))).astype(np.float32)


@pytest.mark.parametrize("score", [residuals, mahalanobis])
def test_new_ones_score_as_the_others_and_noise_does_not(score: Callable[..., Any]) -> None:
    own, new = score(plane(300, 0), plane(200, 1))
    assert np.median(new) == pytest.approx(np.median(own), rel=0.15)
    _, noise = score(plane(300, 0), np.random.default_rng(2).normal(size=(50, 12)).astype(np.float32))
    assert noise.min() > 2 * np.quantile(own, 0.99)


def test_mahalanobis_is_scikit_learns_on_the_other_folds() -> None:
    real = np.random.default_rng(0).normal(0, range(1, 7), (6000, 6)).astype(np.float32)
    expected = np.sqrt(LedoitWolf().fit(real).mahalanobis(real[:20]))
    assert mahalanobis(real, real[:20])[1] == pytest.approx(expected, rel=0.05)


def test_few_images() -> None:
    own, new = residuals(plane(6, 0), plane(3, 1))
    assert np.isfinite(own).all()
    assert new.shape == (3,)
