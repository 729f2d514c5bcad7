"""Known answers, and parity with scipy and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from gan_augment.metrics import classification_scores, interval, paired_difference


def one_hot(predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


def test_known_answer() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 2, 2])
    scores = classification_scores(labels, one_hot(predicted, 3), rare=[1, 2])
    assert scores["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert scores["macro_f1"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert scores["rare_recall"] == pytest.approx(0.75)


def test_no_rare_class_is_said_by_nan() -> None:
    labels = np.array([0, 1])
    assert math.isnan(classification_scores(labels, one_hot(labels, 2), rare=[])["rare_recall"])


@given(st.integers(0, 10**6))
def test_equal_to_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 40)])
    probs = rng.random((44, 4), dtype=np.float32)
    scores = classification_scores(labels, probs, rare=[3])
    predicted = probs.argmax(1)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_interval_is_students() -> None:
    values = [0.7, 0.8, 0.75, 0.9]
    found = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.values == tuple(values)


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = [interval(rng.normal(1.0, 2.0, 5)) for _ in range(2000)]
    assert np.mean([value.low < 1.0 < value.high for value in hits]) == pytest.approx(0.95, abs=0.015)


def test_verdict_needs_the_whole_interval() -> None:
    assert interval([0.1, 0.11, 0.12]).verdict == 1
    assert interval([-0.1, -0.11, -0.12]).verdict == -1
    assert interval([-0.1, 0.2, 0.1]).verdict == 0
    assert interval([0.5]).verdict == 0


def test_pairing_takes_out_what_is_common() -> None:
    base = np.array([0.1, 0.5, 0.9, 0.3])
    found = paired_difference(base + np.array([0.02, 0.021, 0.019, 0.02]), base)
    assert found.mean == pytest.approx(0.02)
    assert found.low > 0.018
    with pytest.raises(ValueError, match="argument"):
        paired_difference([1.0], [1.0, 2.0])
