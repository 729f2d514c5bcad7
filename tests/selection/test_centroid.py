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
    assert {label: found.tolist() for label, found in selector.centroids_.items()} == {0: [[1, 0]], 1: [[10, 2]]}
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


def test_a_band_drops_both_ends() -> None:
    candidates = rows([[1, d] for d in np.arange(1, 9)], [0] * 8)
    decision = CentroidSelector(keep_share=(0.25, 0.75)).fit(REAL).calibrate(candidates).decide(candidates)
    assert decision.reason.tolist() == ["near its centroid"] + [""] * 5 + ["far from its class"] * 2
    # the second of eight is the 0.25-quantile, and belongs to the band


def test_truth_is_argmax() -> None:
    assert CentroidSelector(agreement=True).settings() == CentroidSelector().settings()
    assert CentroidSelector(agreement=False).settings() == CentroidSelector(agreement=None).settings()
    assert CentroidSelector().settings()["agreement"] == "argmax"


def test_the_centroid_may_judge_beside_probabilities() -> None:
    probs = [[0.1, 0.9], [0.9, 0.1]]
    candidates = rows([[1, 0], [9, 2]], [0, 0], probs)
    by_centroid = CentroidSelector(keep_share=1, agreement="centroid").fit(REAL).calibrate(candidates)
    assert by_centroid.decide(candidates).reason.tolist() == ["", "judge disagrees"]


def judged(count: int, doubt: Any, labels: Any, entropy: Any = None, fold: Any = None) -> Candidates:
    """Rows at the centroid of class 0, whose judge gives their own class 1 - doubt."""
    own = 1 - np.asarray(doubt, np.float32)
    probs = np.stack([own, 1 - own], 1)
    labels = np.asarray(labels)
    entropy = None if entropy is None else np.asarray(entropy, np.float32)
    probs[labels == 1] = probs[labels == 1][:, ::-1]
    features = np.ones((count, 2, 2), np.float32) if fold is not None else np.ones((count, 2), np.float32)
    return Candidates(features, labels, probs, entropy, fold=fold)


def test_calibrated_agreement_asks_what_unseen_reals_have() -> None:
    # Of class 0 all 19 unseen reals have 0.31 to 0.49 of probability, less than the half that argmax asks for.
    doubt = np.concatenate([0.69 - 0.01 * np.arange(19), np.full(19, 0.1)])
    real = judged(38, doubt, np.repeat([0, 1], 19), fold=np.arange(38) % 2)
    strict, fair = (CentroidSelector(agreement=a, keep_share=1).fit(real) for a in ("argmax", "calibrated"))
    candidates = judged(5, [0.5001, 0.68, 0.70, 0.05, 0.2], [0, 0, 0, 1, 1], fold=np.zeros(5, np.int64))
    for selector in (strict, fair):
        selector.calibrate(candidates)
    assert strict.decide(candidates).keep.tolist() == [False, False, False, True, True]
    assert fair.decide(candidates).reason.tolist() == ["", "", "judge disagrees", "", "judge disagrees"]
    assert not fair.notes()


def test_entropy_is_held_against_that_of_reals() -> None:
    entropy = np.arange(1, 20) / 10
    real = judged(19, np.zeros(19), np.zeros(19, np.int64), entropy, np.arange(19) % 2)
    selector = CentroidSelector(entropy_share=0.9, keep_share=1).fit(real)
    candidates = judged(3, np.zeros(3), np.zeros(3, np.int64), [0.1, 1.8, 1.81], np.zeros(3, np.int64))
    # the ceil(20 x 0.9) = 18th of 19 is 1.8
    assert selector.calibrate(candidates).decide(candidates).reason.tolist() == ["", "", "judge unsure"]
    assert CentroidSelector(keep_share=1).fit(real).calibrate(candidates).decide(candidates).keep.all()


def test_a_judge_that_has_seen_the_reals_is_told_once() -> None:
    real = judged(60, np.full(60, 0.1), np.arange(60) % 2, np.full(60, 0.3))
    selector = CentroidSelector(agreement="calibrated", entropy_share=0.99).fit(real)
    told = [note for note in selector.notes() if "surer" in note]
    assert len(told) == 1
    assert told[0].startswith("centroid: ")
    assert any("entropy_share=0.99 takes 99 real images" in note for note in selector.notes())
    seen_by_others = judged(60, np.full(60, 0.1), np.arange(60) % 2, np.full(60, 0.3), np.arange(60) // 2 % 2)
    selector.fit(seen_by_others)
    assert not [note for note in selector.notes() if "surer" in note]


def test_several_centroids_hold_a_class_of_several_kinds() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat([[0, 0], [100, 0], [0, 100]], 60, axis=0)
    few = rng.normal(50, 1, (50, 2))
    real = rows(np.concatenate([kinds + rng.normal(0, 1, (180, 2)), few]), np.repeat([0, 1], [180, 50]))
    selector = CentroidSelector(centroids=3, agreement=None, keep_share=1).fit(real)
    found = selector.centroids_
    assert found[0].shape == (3, 2)
    assert np.round(found[0][np.argsort(found[0] @ [1, 2])]).tolist() == [[0, 0], [100, 0], [0, 100]]
    assert found[1] == pytest.approx(real.features[180:].mean(0, keepdims=True), rel=1e-5)
    at = np.array([[0, 0], [100, 0], [0, 100], [33, 33]])
    assert selector.scores(at, [0] * 4) == pytest.approx([0, 0, 0, np.hypot(33, 33)], abs=0.7)
    assert selector.notes(["lung", "skin"]) == [
        "centroid: 3 centroids take 117 real images of a class; with fewer there is one for each 39: skin"
    ]


def test_cosine_is_one_less_the_cosine() -> None:
    real = rows([[2, 0], [5, 0], [0, 1], [0, 3]], [0, 0, 1, 1])
    selector = CentroidSelector(metric="cosine", agreement="centroid", keep_share=1).fit(real)
    features = [[9, 0], [1, 1], [0, 7], [-2, 0], [0, 0]]
    assert selector.scores(features, [0] * 5) == pytest.approx([0, 1 - 0.5**0.5, 1, 2, 1], abs=1e-6)
    decided = selector.calibrate(rows(features, [0] * 5)).decide(rows([[1, 0.9], [1, 1.1]], [0, 0]))
    assert decided.reason.tolist() == ["", "judge disagrees"]


def test_mahalanobis_is_measured_in_the_spread_within_classes() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    spread = np.array([10, 2])
    real = rows(rng.normal(0, 1, (4000, 2)) * spread + labels[:, None] * [1, 1], labels)
    selector = CentroidSelector(metric="mahalanobis", agreement=None).fit(real)
    features = selector.centroids_[1] + np.array([[10, 0], [0, 2], [20, 4]])
    assert selector.scores(features, [1] * 3) == pytest.approx([1, 1, np.sqrt(8)], rel=0.05)
    # pooled over classes, but about their own means: those that lie far apart do not widen it
    apart = CentroidSelector(metric="mahalanobis", agreement=None).fit(
        rows(real.features + 1000 * labels[:, None], labels)
    )
    assert apart.scores(apart.centroids_[1] + np.array([[10, 0]]), [1]) == pytest.approx([1], rel=0.05)


def test_a_class_of_one_image_has_the_spread_of_the_others() -> None:
    rng = np.random.default_rng(0)
    real = rows(np.concatenate([rng.normal(0, 2, (2000, 3)), [[9, 9, 9]]]), np.repeat([0, 1], [2000, 1]))
    selector = CentroidSelector(metric="mahalanobis", agreement=None).fit(real)
    assert selector.scores([[9, 9, 13]], [1]) == pytest.approx([2], rel=0.05)
    alone = CentroidSelector(metric="mahalanobis", agreement=None).fit(rows([[0, 0], [5, 5]], [0, 1]))
    assert alone.scores([[3, 4]], [0]) == pytest.approx([5])
    assert "no class has two real images" in "".join(alone.notes())


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
    assert (turned.state_["limits"] == selector.state_["limits"]).all()


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


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-3, 1e3))
def test_cosine_does_not_see_lengths(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    real, features, lengths = rng.normal(0, 1, (30, 4)) + 1, rng.normal(0, 1, (20, 4)), rng.uniform(0.01, 100, (20, 1))
    labels = np.arange(20) % 3
    one = CentroidSelector(metric="cosine", agreement=None).fit(rows(real, np.arange(30) % 3))
    other = CentroidSelector(metric="cosine", agreement=None).fit(rows(real * scale, np.arange(30) % 3))
    assert one.scores(features, labels) == pytest.approx(other.scores(features * lengths, labels), abs=1e-5)


@given(seed=st.integers(0, 2**32), scale=st.floats(0.1, 10))
def test_mahalanobis_does_not_see_rotation_scale_and_place(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(0, 1, (4, 4)))
    real, features = rng.normal(0, [1, 2, 3, 4], (60, 4)), rng.normal(0, 3, (20, 4))
    labels = np.arange(20) % 3

    def scores(moved: Any) -> npt.NDArray[np.float32]:
        selector = CentroidSelector(metric="mahalanobis", agreement=None).fit(rows(moved(real), np.arange(60) % 3))
        found: npt.NDArray[np.float32] = selector.scores(moved(features), labels)
        return found

    assert scores(lambda x: x) == pytest.approx(scores(lambda x: x @ turn * scale + 5), rel=1e-3)


def test_mahalanobis_hardly_sees_stretching_where_images_are_many() -> None:
    rng = np.random.default_rng(0)
    real, features = rng.normal(0, 1, (20_000, 3)), rng.normal(0, 2, (50, 3))
    stretch = np.array([[1, 0.5, 0], [0, 3, 1], [0, 0, 0.2]])
    labels, zeros = np.arange(20_000) % 2, np.zeros(50, np.int64)
    plain, stretched = (
        CentroidSelector(metric="mahalanobis", agreement=None).fit(rows(real @ m, labels)).scores(features @ m, zeros)
        for m in (np.eye(3), stretch)
    )
    assert plain == pytest.approx(stretched, rel=0.02)
    lengths = [CentroidSelector(agreement=None).fit(rows(real @ m, labels)) for m in (np.eye(3), stretch)]
    l2 = [s.scores(features @ m, zeros) for s, m in zip(lengths, (np.eye(3), stretch), strict=True)]
    assert l2[0] != pytest.approx(l2[1], rel=0.5)


@given(
    candidates=drawn(), share=shares, metric=st.sampled_from(["l2", "cosine", "mahalanobis"]),
    agreement=st.sampled_from(["argmax", "centroid", None]), data=st.data(),
)  # fmt: skip
def test_no_option_sees_order_or_batches(
    candidates: Candidates, share: float, metric: str, agreement: str | None, data: st.DataObject
) -> None:
    selector = calibrated(share, candidates, metric=metric, agreement=agreement)
    whole = selector.decide(candidates)
    order = np.array(data.draw(st.permutations(range(len(candidates)))))
    for part in (order, order[: len(order) // 2], order[:1]):
        decision = selector.decide(candidates[part])
        assert (decision.keep == whole.keep[part]).all()
        assert (decision.score == whole.score[part]).all()


@pytest.mark.parametrize("metric", ["l2", "cosine", "mahalanobis"])
def test_new_reals_pass_at_least_as_often_as_promised(metric: Any) -> None:
    """Exchangeable reals and candidates: the share of new ones that pass is `real_share` on average, or more."""
    share, count, passed = 0.8, 30, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = np.arange(2 * count + 400) % 2
        features = rng.standard_t(4, (len(labels), 5)) + 3 * labels[:, None]
        real, new = rows(features[:-400], labels[:-400]), rows(features[-400:], labels[-400:])
        selector = CentroidSelector(real_share=share, metric=metric, agreement=None).fit(real)
        passed.append(selector.decide(new).keep.mean())
    error = np.std(passed) / np.sqrt(len(passed))
    assert share - 2 * error <= np.mean(passed) < 0.9


@given(candidates=drawn(), share=shares)
def test_arrays_give_what_candidates_give(candidates: Candidates, share: float) -> None:
    plain = rows(candidates.features, candidates.labels)
    selector = CentroidSelector(keep_share=share).fit(REAL)
    keep = selector.keep(candidates.features, candidates.labels)
    assert not selector.calibrated
    assert (keep == calibrated(share, plain).decide(plain).keep).all()
    frozen = calibrated(share, plain)
    assert (frozen.keep(plain.features[:1], plain.labels[:1]) == keep[:1]).all()


# -- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_shares_that_cannot_work(share: float) -> None:
    with pytest.raises(ConfigError, match=r"keep_share in \(0, 1\]"):
        CentroidSelector(keep_share=share)


def test_calls_in_the_wrong_order() -> None:
    with pytest.raises(ConfigError, match=r"expected fit\(\) before calibrate"):
        CentroidSelector().calibrate(REAL)
    with pytest.raises(ConfigError, match=r"expected fit\(\) and calibrate\(\) before decide\(\)"):
        CentroidSelector().fit(REAL).decide(REAL)
    selector = CentroidSelector().fit(REAL).calibrate(REAL).fit(REAL)
    with pytest.raises(ConfigError, match="limits that are not set"):
        selector.decide(REAL)
    with pytest.raises(ConfigError, match=r"expected fit\(\) before centroids_"):
        _ = CentroidSelector().centroids_


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (np.zeros((0, 2)), "expected real images to fit a selector on, found none"),
        ([[np.nan, 0]], "expected finite features of real images"),
        ([[np.inf, 0]], "expected finite features of real images"),
    ],
)
def test_reals_that_cannot_be_used(features: npt.ArrayLike, told: str) -> None:
    with pytest.raises(DataError, match=told):
        CentroidSelector().fit(rows(features, np.zeros(len(np.asarray(features)))))


@pytest.mark.parametrize(
    "settings",
    [
        {"agreement": "argmin"},
        {"agreement_share": 0},
        {"agreement_share": None},
        {"agreement_share": (0.1, 0.9)},
        {"entropy_share": 1.5},
        {"entropy_share": (0.1, 0.9)},
        {"centroids": 0},
        {"centroids": 1.5},
        {"metric": "l1"},
        {"keep_share": 0.5, "real_share": 0.9},
        {"keep_share": True},
        {"keep_share": "0.5"},
        {"keep_share": (0.8, 0.2)},
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"expected .*{next(iter(settings))}"):
        CentroidSelector(**settings)


@pytest.mark.parametrize(("settings", "column"), [({"agreement": "calibrated"}, "probs"), ({"entropy_share": 0.9}, "")])
def test_columns_that_are_missing_are_told(settings: dict[str, Any], column: str) -> None:
    with pytest.raises(ConfigError, match=f"expected candidates with {column}"):
        CentroidSelector(**settings).fit(REAL)


def test_features_that_are_nan_are_never_kept() -> None:
    with pytest.raises(DataError, match="expected finite features of drawn images"):
        CentroidSelector().fit(REAL).calibrate(rows([[np.nan, 0]], [0]))
    decision = calibrated(1, REAL).decide(rows([[np.nan, 0], [1, 0]], [0, 0]))
    assert decision.keep.tolist() == [False, True]
