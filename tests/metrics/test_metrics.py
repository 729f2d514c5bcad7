"""Scores of classifiers: known answers, and parity with scikit-learn."""

import math
import warnings

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from gan_augment.metrics import calibration_error, classification_scores, recalls, shots

COUNTS = np.array([200, 60, 10])


def one_hot(predicted: npt.NDArray[np.int64], classes: int = 3) -> npt.NDArray[np.float64]:
    return np.eye(classes)[predicted]


def test_known_answer() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 0, 2, 2])
    scores = classification_scores(labels, one_hot(predicted), COUNTS)
    assert scores["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert scores["macro_f1"] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert [scores[f"{name}_recall"] for name in ("many", "medium", "few")] == pytest.approx([3 / 4, 1 / 2, 1.0])


@given(st.integers(0, 10**6))
def test_equal_to_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 40)])
    probs = rng.dirichlet(np.ones(4), 44)
    scores, predicted = classification_scores(labels, probs, np.array([300, 50, 30, 5])), probs.argmax(1)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert scores["macro_auroc"] == pytest.approx(roc_auc_score(labels, probs, multi_class="ovr", average="macro"))
    assert scores["medium_recall"] == pytest.approx(recalls(labels, predicted, 4)[1:3].mean())


@given(st.integers(0, 10**6))
def test_classes_without_test_images_are_left_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 2], rng.choice([0, 2], 30)])
    probs = rng.dirichlet(np.ones(4), 32)
    scores, predicted = classification_scores(labels, probs, np.array([300, 50, 30, 5])), probs.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that predictions hold classes which the labels have not
        assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    expected = f1_score(labels, predicted, labels=[0, 2], average="macro", zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected)
    assert scores["macro_auroc"] == pytest.approx(
        np.mean([roc_auc_score(labels == label, probs[:, label]) for label in (0, 2)])
    )
    assert math.isnan(scores["few_recall"])
    assert scores["medium_recall"] == pytest.approx((predicted[labels == 2] == 2).mean())
    assert np.isnan(recalls(labels, predicted, 4)).tolist() == [False, True, False, True]


def test_a_single_class_has_no_auroc() -> None:
    scores = classification_scores(np.zeros(4, np.int64), one_hot(np.zeros(4, np.int64)), COUNTS)
    assert math.isnan(scores["macro_auroc"])
    assert scores["balanced_accuracy"] == 1


def test_twenty_and_a_hundred_images_are_medium() -> None:
    found = shots(np.array([101, 100, 20, 19, 0]))
    assert {name: members.tolist() for name, members in found.items()} == {"many": [0], "medium": [1, 2], "few": [3, 4]}


def test_always_sure_and_half_right_is_off_by_a_half() -> None:
    labels = np.array([0, 1] * 20)
    assert calibration_error(labels, one_hot(np.zeros(40, np.int64), 2)) == pytest.approx(0.5)


def test_perfectly_calibrated_is_about_zero() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 1, 40000)
    labels = (rng.uniform(0, 1, 40000) >= first).astype(np.int64)
    assert calibration_error(labels, np.stack([first, 1 - first], axis=1)) < 0.015


def test_calibration_counts_every_class_alike() -> None:
    """Ninety sure and right of one class, ten sure and wrong of another: plain 0.1, by class 0.5."""
    labels = np.array([0] * 90 + [1] * 10)
    probs = one_hot(np.zeros(100, np.int64), 2)
    assert calibration_error(labels, probs) == pytest.approx(0.5)


def test_calibration_known_answer_in_two_bins() -> None:
    """Confidence 0.95 and right, 0.65 and half right: gaps 0.05 and 0.15, each of half the weight."""
    labels = np.array([0, 0, 1, 1, 0, 1, 0, 1])
    sure, unsure = [0.95, 0.05], [0.65, 0.35]
    probs = np.array([sure, sure, sure[::-1], sure[::-1], unsure, unsure, unsure[::-1], unsure[::-1]])
    assert calibration_error(labels, probs) == pytest.approx(0.5 * 0.05 + 0.5 * 0.15)
