"""CentroidSelector: known answers, and properties that hold for any features."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.errors import ConfigError, DataError
from gan_augment.selection import CentroidSelector
from gan_augment.types import Candidates


def rows(features: Any, labels: Any, probs: Any = None) -> Candidates:
    probs = None if probs is None else np.asarray(probs, np.float32)
    return Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64), probs)


REAL = rows([[0, 0], [2, 0], [10, 0], [10, 4]], [0, 0, 1, 1])  # centroids (1, 0) and (10, 2)


@st.composite
def drawn(draw: st.DrawFn) -> Candidates:
    """Rows around the centroids of REAL, of three classes, one of them unknown; some with probabilities."""
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.integers(0, 3, count)
    centers = np.array([[1, 0], [10, 2], [5, 5]])[labels]
    probs = rng.dirichlet(np.ones(2), count) if draw(st.booleans()) else None
    return rows(centers + rng.normal(0, draw(st.sampled_from([0.1, 3, 100])), (count, 2)), labels, probs)


shares = st.floats(0.01, 1)


def calibrated(share: float, on: Candidates, **settings: Any) -> CentroidSelector:
    return CentroidSelector(keep_share=share, **settings).fit(REAL).calibrate(on)


# -- known answers ----------------------------------------------------------------------------------------------------


def test_centroids_and_distances() -> None:
    selector = CentroidSelector().fit(REAL)
    assert selector.centroids_ is not None
    assert selector.centroids_.tolist() == [[1, 0], [10, 2]]
    scores = selector.scores([[4, 4], [10, 2], [1, 0]], [0, 1, 1])
    assert scores.tolist() == pytest.approx([5, 0, np.hypot(9, 2)])


def test_the_closest_share_of_each_class_is_kept() -> None:
    candidates = rows([[1, d] for d in (0.1, 0.2, 0.3, 0.4)] + [[10, 2 + d] for d in (1, 2)], [0] * 4 + [1] * 2)
    decision = calibrated(0.5, candidates).decide(candidates)
    assert decision.keep.tolist() == [True, True, False, False, True, False]
    assert decision.reason.tolist() == ["", "", "far from its class", "far from its class", "", "far from its class"]
    assert decision.score.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 1, 2])


def test_the_judge_must_hold_the_intended_class() -> None:
    features = [[1, 0], [1, 0], [10, 2]]
    held = rows(features, [0, 0, 1], [[0.6, 0.4], [0.4, 0.6], [0.1, 0.9]])
    decision = calibrated(1, held).decide(held)
    assert decision.keep.tolist() == [True, False, True]
    assert decision.reason.tolist() == ["", "judge disagrees", ""]
    assert calibrated(1, held, agreement=False).decide(held).keep.all()


def test_without_probabilities_the_nearest_centroid_is_the_judge() -> None:
    candidates = rows([[1, 0], [9, 2], [9, 2]], [0, 0, 1])
    assert calibrated(1, candidates).decide(candidates).reason.tolist() == ["", "judge disagrees", ""]


def test_rows_that_the_judge_refuses_do_not_move_the_threshold() -> None:
    probs = [[1, 0]] * 2 + [[0, 1]] * 8
    candidates = rows([[1, 1], [1, 2]] + [[1, 0.1]] * 8, [0] * 10, probs)
    assert calibrated(0.5, candidates).decide(candidates).keep.tolist() == [True] + [False] * 9


def test_unknown_classes_are_told_apart() -> None:
    real = rows([[0, 0], [5, 5]], [0, 3])  # classes 1 and 2 have no real image
    selector = CentroidSelector(keep_share=1).fit(real)
    candidates = rows([[0, 0]] * 5, [0, 1, 2, 3, 7])
    decision = selector.calibrate(candidates).decide(candidates)
    assert decision.reason.tolist() == ["", "class unknown", "class unknown", "judge disagrees", "class unknown"]
    assert decision.keep.tolist() == [True, False, False, False, False]
    assert decision.score[[1, 2, 4]].tolist() == [np.inf] * 3
    assert selector.decide(rows([[0, 0]], [-1])).reason.tolist() == ["class unknown"]


def test_a_class_that_was_not_calibrated_is_not_kept() -> None:
    selector = calibrated(1, rows([[1, 0]], [0]))
    assert selector.decide(rows([[10, 2], [1, 0]], [1, 0])).reason.tolist() == ["far from its class", ""]


def test_a_centroid_that_no_class_has_judges_nothing() -> None:
    real = rows([[8, 0], [9, 0]], [0, 2])  # the empty class 1 would lie at the origin, nearest of all
    candidates = rows([[1, 0]], [0])
    assert CentroidSelector(keep_share=1).fit(real).calibrate(candidates).decide(candidates).keep.all()


def test_features_far_from_zero() -> None:
    offset = 30_000.0
    rng = np.random.default_rng(0)
    real = rng.normal(0, 1, (40, 16)) + offset
    features = (rng.normal(0, 1, (50, 16)) + offset).astype(np.float32)
    selector = CentroidSelector().fit(rows(real, [0] * 40))
    exact = np.linalg.norm(features.astype(np.float64) - real.astype(np.float32).astype(np.float64).mean(0), axis=1)
    assert selector.scores(features, np.zeros(50, np.int64)) == pytest.approx(exact, rel=2e-3)


# -- properties -------------------------------------------------------------------------------------------------------


@given(candidates=drawn(), share=shares, data=st.data())
def test_order_and_batches_do_not_matter(candidates: Candidates, share: float, data: st.DataObject) -> None:
    selector = calibrated(share, candidates)
    whole = selector.decide(candidates)
    order = np.array(data.draw(st.permutations(range(len(candidates)))))
    cut = data.draw(st.integers(0, len(candidates)))
    for part in (order, order[:cut], order[cut:], order[:1]):
        decision = selector.decide(candidates[part])
        assert (decision.keep == whole.keep[part]).all()
        assert (decision.score == whole.score[part]).all()
        assert (decision.reason == whole.reason[part]).all()
    turned = calibrated(share, candidates[order])
    assert turned.thresholds_ is not None
    assert selector.thresholds_ is not None
    assert (turned.thresholds_ == selector.thresholds_).all()


@given(candidates=drawn(), one=shares, other=shares)
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(candidates: Candidates, one: float, other: float) -> None:
    less, more = (calibrated(share, candidates).decide(candidates).keep for share in sorted((one, other)))
    assert (more | ~less).all()


@given(candidates=drawn(), share=shares)
def test_the_share_kept_is_the_share_asked_for(candidates: Candidates, share: float) -> None:
    decision = calibrated(share, candidates).decide(candidates)
    confirmed = calibrated(1, candidates).decide(candidates).keep
    for label in range(2):
        own = confirmed & (candidates.labels == label)
        kept = decision.keep & (candidates.labels == label)
        assert not (kept & ~own).any()
        assert kept.sum() == np.ceil(share * own.sum() - 1e-9)


@given(candidates=drawn(), share=shares)
def test_what_is_kept_is_closer_than_what_is_far(candidates: Candidates, share: float) -> None:
    decision = calibrated(share, candidates).decide(candidates)
    assert ((decision.reason == "") == decision.keep).all()
    for label in range(2):
        own = candidates.labels == label
        kept, far = decision.score[own & decision.keep], decision.score[own & (decision.reason == "far from its class")]
        assert kept.max(initial=0) < far.min(initial=np.inf)


@given(candidates=drawn(), share=shares)
def test_arrays_give_what_candidates_give(candidates: Candidates, share: float) -> None:
    plain = rows(candidates.features, candidates.labels)
    selector = CentroidSelector(keep_share=share).fit(REAL)
    keep = selector.keep(candidates.features, candidates.labels)
    assert selector.thresholds_ is None
    assert (keep == calibrated(share, plain).decide(plain).keep).all()
    frozen = calibrated(share, plain)
    assert (frozen.keep(plain.features[:1], plain.labels[:1]) == keep[:1]).all()


# -- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_shares_that_cannot_work(share: float) -> None:
    with pytest.raises(ConfigError, match=r"keep_share in \(0, 1\]"):
        CentroidSelector(keep_share=share)


def test_calls_in_the_wrong_order() -> None:
    with pytest.raises(ConfigError, match=r"expected fit\(\) first"):
        CentroidSelector().calibrate(REAL)
    with pytest.raises(ConfigError, match=r"expected fit\(\) and calibrate\(\) before decide\(\)"):
        CentroidSelector().fit(REAL).decide(REAL)
    selector = CentroidSelector().fit(REAL).calibrate(REAL).fit(REAL)
    with pytest.raises(ConfigError, match="thresholds that are not set"):
        selector.decide(REAL)


@pytest.mark.parametrize("features", [np.zeros((0, 2)), [[np.nan, 0]], [[np.inf, 0]]])
def test_reals_that_cannot_be_used(features: npt.ArrayLike) -> None:
    with pytest.raises(DataError, match="expected finite features of real images"):
        CentroidSelector().fit(rows(features, np.zeros(len(np.asarray(features)))))


def test_features_that_are_nan_are_never_kept() -> None:
    with pytest.raises(DataError, match="expected finite features of drawn images"):
        CentroidSelector().fit(REAL).calibrate(rows([[np.nan, 0]], [0]))
    decision = calibrated(1, REAL).decide(rows([[np.nan, 0], [1, 0]], [0, 0]))
    assert decision.keep.tolist() == [False, True]
