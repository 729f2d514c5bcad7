"""Guards: known answers, properties, and what they find among real digits with planted faults."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from gan_augment.errors import ConfigError, DataError
from gan_augment.selection import CopyGuard, DuplicateGuard, LabelGuard, OutlierGuard, load_selector
from gan_augment.selection.duplicates import first_of_each
from gan_augment.types import Candidates
from tests.selection.digits import COUNTS, Digits, load


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load()


def rows(features: Any, labels: Any, **columns: Any) -> Candidates:
    return Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64), **columns)


def two_classes(own: Any, labels: Any) -> npt.NDArray[np.float32]:
    """Probabilities of two classes by that of the intended one."""
    own = np.asarray(own, np.float32)
    return np.where(np.asarray(labels)[:, None] == np.arange(2), own[:, None], 1 - own[:, None]).astype(np.float32)


def crossed(candidates: Candidates, fold: Any = None, judges: int = 3) -> Candidates:
    """The rows as judges see them whose spaces are turned, and of different units."""
    spaces = []
    for judge in range(judges):
        turned = np.linalg.qr(np.random.default_rng(judge).normal(size=(candidates.features.shape[1],) * 2))[0]
        spaces.append(candidates.features @ turned * 10.0**judge)
    return replace(candidates, features=np.stack(spaces, 1).astype(np.float32), fold=fold)


# -- labels -----------------------------------------------------------------------------------------------------------


def test_label_score_and_limit_are_those_of_conformal_prediction() -> None:
    own = np.linspace(0.05, 0.95, 19)
    real = rows(np.zeros((38, 1)), [0] * 19 + [1] * 19, probs=two_classes([*own, *[0.9] * 19], [0] * 19 + [1] * 19))
    guard = LabelGuard(real_share=0.9).fit(replace(real, fold=np.arange(38) % 3))
    # The 18th of 19 scores in order, ceil(20 * 0.9), is that of the second least probability.
    assert guard.state_["limits"][0, 1] == pytest.approx(-np.log(own[1]))
    labels = [0, 0, 0, 1, 1]
    decision = guard.decide(rows(np.zeros((5, 1)), labels, probs=two_classes([0.11, 0.09, 0, 0.91, 0.89], labels)))
    assert decision.keep.tolist() == [True, False, False, True, False]
    assert decision.score[0] == pytest.approx(-np.log(0.11))
    assert set(decision.reason) == {"", "judge disagrees"}
    assert guard.notes() == []


@given(st.integers(0, 2**32), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
@settings(max_examples=20)
def test_the_share_of_unseen_reals_that_was_promised_passes(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 400)
    real, new = (
        rows(np.zeros((800, 1)), labels, probs=two_classes(rng.beta([[8], [2]], 2, (2, 400)).ravel(), labels))
        for _ in range(2)
    )
    guard = LabelGuard(real_share=share).fit(replace(real, fold=np.arange(800) % 3))
    for label in (0, 1):
        # Limit and share are each of 400 images: five standard deviations of both together.
        assert guard.decide(new).keep[labels == label].mean() == pytest.approx(
            share, abs=5 * np.sqrt(0.5 / 400 / 4) * 2
        )


def test_judges_that_are_unequally_sure_count_alike() -> None:
    labels = np.repeat([0, 1], 60)
    own = np.where(np.arange(120) % 3 == 0, 1 - 1e-6, 0.8)  # the first judge is all but certain
    real = rows(np.zeros((120, 2)), labels, probs=two_classes(own, labels), fold=np.arange(120) % 3)
    several = replace(real, features=np.zeros((120, 3, 2), np.float32))
    new = rows(np.zeros((2, 2)), [0, 1], probs=two_classes([0.81, 0.79], [0, 1]))
    for guard, seen in (
        (LabelGuard().fit(real), new),
        (LabelGuard().fit(several), replace(new, features=np.zeros((2, 3, 2), np.float32))),
    ):
        assert guard.decide(seen).keep.tolist() == [True, False]
        assert guard.decide(seen).score == pytest.approx(-np.log([0.81, 0.79]))


def test_it_says_where_the_judge_has_seen_what_sets_its_limits(digits: Digits) -> None:
    assert not any("was trained on" in note for note in LabelGuard().fit(digits.real).notes())
    assert any("CrossFittedExtractor" in note for note in LabelGuard().fit(replace(digits.real, fold=None)).notes())


def test_wrong_labels_are_dropped_and_right_ones_kept(digits: Digits) -> None:
    guard = LabelGuard().fit(digits.real)
    right, wrong = guard.decide(digits.unseen).keep, guard.decide(digits.wrong()).keep
    able = digits.wrong().labels != 9  # two real images of a nine, which all judges have seen
    assert right.mean() > 0.93
    assert wrong[able].mean() < 0.06
    assert wrong[~able].all()
    assert guard.notes(list("abcdefghij"))[-1] == "label: too few real images to decide, all candidates pass: j"
    for label in range(9):
        assert right[digits.unseen.labels == label].mean() > 0.8


def test_probabilities_that_cannot_be_used(digits: Digits) -> None:
    assert digits.real.probs is not None
    with pytest.raises(ConfigError, match="expected candidates with probs"):
        LabelGuard().fit(replace(digits.real, probs=None))
    with pytest.raises(ConfigError, match="probabilities of 10 classes for the selector 'label', found 9"):
        LabelGuard().fit(replace(digits.real, probs=digits.real.probs[:, :9]))
    broken = digits.real.probs.copy()
    broken[3, 3] = np.nan
    with pytest.raises(DataError, match="finite probabilities"):
        LabelGuard().fit(replace(digits.real, probs=broken))


# -- outliers ---------------------------------------------------------------------------------------------------------


def test_noise_is_unlike_real_images_and_new_ones_are_not(digits: Digits) -> None:
    guard = OutlierGuard().fit(digits.real)
    kept = guard.decide(digits.unseen).keep
    assert kept.mean() > 0.95
    assert all(kept[digits.unseen.labels == label].mean() > 0.8 for label in range(10))
    assert guard.decide(digits.noise()).keep.mean() < 0.02
    assert set(guard.decide(digits.noise()).reason) <= {"", "unlike real images"}
    assert (guard.decide(digits.wrong()).score == guard.decide(digits.unseen).score).all()  # whatever their class


def test_a_class_that_lies_further_out_has_a_limit_of_its_own() -> None:
    rng = np.random.default_rng(0)

    def drawn(wide: int) -> Candidates:
        features = [rng.normal(0, 1, (1000, 4)), rng.normal(0, 6, (wide, 4)) + 40]
        return rows(np.concatenate(features), [0] * 1000 + [1] * wide)

    guard, new = OutlierGuard(real_share=0.95).fit(drawn(40)), drawn(200)
    kept = guard.decide(new).keep
    limits = guard.state_["limits"][:, 1]
    assert kept[new.labels == 1].mean() > 0.85
    assert (guard.decide(new).score[new.labels == 1] <= limits[0]).mean() < 0.5
    assert limits[1] > 2 * limits[0]


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_tiny_classes_pass_by_the_limit_of_all(count: int) -> None:
    rng = np.random.default_rng(count)
    real = rows(np.concatenate([rng.normal(0, 1, (200, 3)), rng.normal(3, 1, (count, 3))]), [0] * 200 + [1] * count)
    guard = OutlierGuard().fit(real)
    new = rows(rng.normal(3, 1, (50, 3)), [1] * 50)
    assert guard.decide(new).keep.mean() > 0.8
    assert not guard.decide(rows(np.full((2, 3), 50.0), [0, 1])).keep.any()


def test_too_few_images_promise_nothing() -> None:
    few = rows(np.random.default_rng(0).normal(0, 1, (12, 2)), [0] * 12)
    told = "outlier: real_share=0.99 takes 99 real images to be promised, found 12; the limit is that of the farthest"
    assert OutlierGuard().fit(few).notes()[0].startswith(told)
    alone = OutlierGuard().fit(few[:1])
    assert alone.notes() == ["outlier: too few real images to decide, all candidates pass"]
    assert alone.decide(rows([[1e6, 0]], [0])).keep.all()


# -- copies -----------------------------------------------------------------------------------------------------------


def line(places: Any) -> npt.NDArray[np.float32]:
    return np.stack([np.asarray(places, np.float32), np.zeros(len(places), np.float32)], 1)


REALS = rows(line([0, 1, 3, 7, 15]), [0] * 5)


def test_the_score_is_the_spacing_over_the_distance() -> None:
    guard = CopyGuard(keep_share=1).fit(REALS)
    scores = guard.scores(line([0.5, 3.5, 10, 15.5, 3]), np.zeros(5, np.int64))
    # Spacings are 1, 1, 2, 4 and 8; the nearest are those at 0 or 1, 3, 7, 15 and 3.
    assert scores.tolist() == pytest.approx([1 / 0.5, 2 / 0.5, 4 / 3, 8 / 0.5, 1e6])


def test_left_out_reals_set_the_limit() -> None:
    guard = CopyGuard(real_share=0.8).fit(REALS)
    # Each against the others: 0 to 1 is 1, from there to 3 is 2; and so on.
    assert guard.real_scores(REALS).tolist() == pytest.approx([2, 3, 1 / 2, 2 / 4, 4 / 8])
    assert guard.state_["limits"][0, 1] == pytest.approx(3)  # the 5th of 5, ceil(6 * 0.8)
    assert CopyGuard(real_share=0.8, ratio=0.1).fit(REALS).state_["limits"][0, 1] == pytest.approx(10)


def test_a_parent_does_not_count_unless_it_is_the_same_image() -> None:
    near, same, other = 3.3, 3.1, 7.1
    features, labels = line([near, same, other]), np.zeros(3, np.int64)
    guard = CopyGuard(real_share=0.8).fit(REALS)
    made = Candidates(features, labels, parents=np.array([2, 2, 2]))
    assert guard.decide(made).reason.tolist() == ["", "copy of its parent", "copy of a real image"]
    assert guard.decide(replace(made, parents=None)).reason.tolist() == ["copy of a real image"] * 3
    assert guard.decide(replace(made, parents=np.full(3, -1))).reason.tolist() == ["copy of a real image"] * 3
    inside = CopyGuard(real_share=0.8, parents="in").fit(REALS)
    assert inside.decide(made).reason.tolist() == ["copy of a real image"] * 3


def test_the_spacing_around_a_parent_leaves_it_out() -> None:
    guard = CopyGuard(keep_share=1).fit(REALS)
    made = Candidates(line([1.4]), np.zeros(1, np.int64), parents=np.array([0]))
    # The nearest but the parent is at 1, whose nearest but the parent is at 3.
    assert guard.calibrate(made).decide(made).score.tolist() == pytest.approx([2 / 0.4])


def test_patients_are_left_out_whole() -> None:
    real = replace(REALS, groups=np.array([0, 0, 1, 1, 2]))
    guard = CopyGuard(real_share=1).fit(real)
    # 0 is nearest to 3 of another patient, 3 away, from where its patient and that of 0 left out it is 12 to 15.
    assert guard.real_scores(real)[0] == pytest.approx(12 / 3)
    made = Candidates(line([1.01]), np.zeros(1, np.int64), parents=np.array([0]))
    assert guard.decide(made).keep.all()  # near to another image of the parent's own patient
    assert not CopyGuard(real_share=1).fit(REALS).decide(made).keep.any()


def test_images_that_are_there_twice_set_no_limit_and_hide_no_copy() -> None:
    rng = np.random.default_rng(0)
    single = rng.normal(size=(100, 6)).astype(np.float32)
    twice = rows(np.concatenate([single, single[:60] + np.float32(1e-6)]), [0] * 160)
    guard = CopyGuard().fit(twice)
    assert np.isnan(guard.real_scores(twice)).sum() == 120
    copies = rows(single + rng.normal(0, 0.05, single.shape), [0] * 100)
    new = rows(rng.normal(size=(200, 6)), [0] * 200)
    assert guard.decide(copies).keep.mean() < 0.03
    assert guard.decide(new).keep.mean() > 0.93


def test_planted_copies_are_found_and_new_images_are_not(digits: Digits) -> None:
    guard, rng = CopyGuard().fit(digits.real), np.random.default_rng(1)
    assert guard.decide(digits.unseen).keep.mean() > 0.94
    picked = rng.integers(0, len(digits.real), 200)
    pixels = digits.real.features[picked] + rng.normal(0, 0.05, (200, 64)).astype(np.float32)
    copies = digits.see(pixels, digits.real.labels[picked])
    assert guard.decide(copies).keep.mean() < 0.03
    assert guard.decide(replace(copies, labels=(copies.labels + 1) % 10)).keep.mean() < 0.03  # of whatever class
    assert guard.decide(replace(copies, parents=picked)).keep.mean() > 0.95
    exact = digits.see(digits.real.features[picked], digits.real.labels[picked], picked)
    assert guard.decide(exact).dropped() == {"copy of its parent": 200}


def test_several_judges_find_the_same_copies(digits: Digits) -> None:
    real = crossed(digits.real, digits.real.fold)
    guard, rng = CopyGuard().fit(real), np.random.default_rng(2)
    picked = rng.integers(0, len(real), 150)
    pixels = digits.real.features[picked] + rng.normal(0, 0.03, (150, 64)).astype(np.float32)
    copies = crossed(digits.see(pixels, digits.real.labels[picked], picked))
    assert guard.decide(crossed(digits.unseen)).keep.mean() > 0.94
    assert guard.decide(replace(copies, parents=None)).keep.mean() < 0.03
    assert guard.decide(copies).keep.mean() > 0.9
    exact = crossed(digits.see(digits.real.features[picked], digits.real.labels[picked], picked))
    assert guard.decide(exact).dropped() == {"copy of its parent": 150}


def test_a_set_that_copies_says_so(digits: Digits, tmp_path: Path) -> None:
    CopyGuard().fit(digits.real).save(tmp_path / "guard")
    guard = load_selector(tmp_path / "guard")
    assert isinstance(guard, CopyGuard)
    new = guard.report(digits.unseen)
    assert (new.candidates, new.parent_copies) == (500, 0)
    assert new.authentic == pytest.approx(new.authentic_real, abs=0.1)
    assert 0.4 < new.authentic_real < 0.7
    assert min(new.c_t.values()) > -3
    assert set(new.c_t) == {label for label, count in enumerate(COUNTS) if count >= 20}
    noisy = digits.real.features + np.random.default_rng(0).normal(0, 0.1, (len(digits.real), 64)).astype(np.float32)
    copied = guard.report(digits.see(noisy, digits.real.labels))
    assert max(copied.c_t.values()) < -3
    assert copied.authentic < 0.1
    with pytest.raises(ConfigError, match="with real_share"):
        CopyGuard(keep_share=0.5).fit(digits.real).report(digits.unseen)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_tell_no_copies(count: int) -> None:
    guard = CopyGuard().fit(REALS[:count])
    assert guard.notes() == ["copy: too few real images to decide, all candidates pass"]
    assert guard.decide(REALS).keep.all()


def test_reals_that_are_all_alike_are_told() -> None:
    rng = np.random.default_rng(0)
    single = rng.normal(size=(80, 6))
    alike = rows(np.concatenate([single, single + rng.normal(0, 0.01, single.shape)]), [0] * 160)
    assert any("lie so near to each other" in note for note in CopyGuard().fit(alike).notes())


@pytest.mark.parametrize("wrong", [{"ratio": 0}, {"ratio": float("nan")}, {"parent_ratio": -1}, {"parents": "some"}])
def test_copy_settings_that_cannot_work(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="expected"):
        CopyGuard(**wrong)


# -- duplicates -------------------------------------------------------------------------------------------------------


@st.composite
def clouds(draw: st.DrawFn) -> npt.NDArray[np.float32]:
    """Rows in clumps, some of them the same."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, offset = draw(st.integers(1, 120)), draw(st.sampled_from([0.0, 1000.0]))
    centers = rng.normal(0, 3, (draw(st.integers(1, 12)), 4))
    features = centers[rng.integers(0, len(centers), count)] + rng.normal(0, 0.4, (count, 4)) + offset
    return features[rng.integers(0, count, count)].astype(np.float32)


@given(clouds(), st.floats(0.01, 3))
def test_the_kept_are_apart_and_each_dropped_row_has_one_beside_it(
    features: npt.NDArray[np.float32], limit: float
) -> None:
    keep, distance = first_of_each(features, limit)
    apart = cdist(features, features)
    kept = np.flatnonzero(keep)
    assert keep[0]
    assert len(kept) < 2 or pdist(features[kept].astype(np.float64)).min() > limit - 1e-9
    for row in range(len(features)):
        earlier = kept[kept < row]
        nearest = apart[row, earlier].min() if len(earlier) else np.inf
        assert distance[row] == pytest.approx(nearest, abs=1e-5)
        assert keep[row] == (distance[row] > limit)
    assert first_of_each(features[keep], limit)[0].all()  # deciding again drops none


@given(clouds(), st.floats(0.01, 3), st.integers(0, 120))
def test_rows_added_at_the_end_change_nothing(features: npt.NDArray[np.float32], limit: float, cut: int) -> None:
    assert (first_of_each(features[:cut], limit)[0] == first_of_each(features, limit)[0][:cut]).all()


def test_more_rows_than_a_block() -> None:
    features = np.random.default_rng(0).normal(size=(1500, 3)).astype(np.float32)
    repeated = np.concatenate([features, features[::-1]])
    keep, distance = first_of_each(repeated, 1e-3)
    alone = first_of_each(features, 1e-3)[0]
    assert (keep[:1500] == alone).all()
    assert not keep[1500:].any()
    assert distance[1500:].max() <= 1e-3


def reals_apart(count: int = 40) -> Candidates:
    """Real images of two classes, 1 apart in the one and 10 in the other."""
    places = np.concatenate([np.arange(count), 1000 + 10 * np.arange(count)])
    return rows(line(places), [0] * count + [1] * count)


def test_near_is_what_is_near_in_the_class() -> None:
    guard = DuplicateGuard(ratio=0.25).fit(reals_apart())
    candidates = rows(line([0, 0.2, 0.5, 0, 2.4, 5]), [0, 0, 0, 1, 1, 1], seeds=np.arange(6))
    decision = guard.decide(candidates)
    assert decision.keep.tolist() == [True, False, True, True, False, True]
    assert decision.reason[1] == "repeats another"
    assert decision.score.tolist() == pytest.approx([0, 0.25 / 0.2, 0.25 / 0.5, 0, 2.5 / 2.4, 2.5 / 5])
    first = guard.decide(replace(candidates, seeds=np.array([1, 0, 2, 1, 0, 2])))
    assert first.keep.tolist() == [False, True, True, False, True, True]  # the lowest seed stays


@given(st.permutations(range(30)), st.booleans())
def test_which_one_stays_does_not_depend_on_the_order_of_rows(order: list[int], seeded: bool) -> None:
    rng = np.random.default_rng(0)
    features = line(rng.uniform(0, 4, 30))
    candidates = rows(features, [0] * 30, seeds=rng.permutation(30) if seeded else None)
    guard = DuplicateGuard().fit(reals_apart())
    assert (guard.decide(candidates[order]).keep == guard.decide(candidates).keep[order]).all()


def test_planted_repetitions_are_found(digits: Digits) -> None:
    guard, rng = DuplicateGuard().fit(digits.real), np.random.default_rng(0)
    assert guard.decide(digits.unseen).keep.all()
    again = digits.unseen.features + rng.normal(0, 0.02, (500, 64)).astype(np.float32)
    pixels = np.concatenate([digits.unseen.features, again])
    both = digits.see(pixels, np.concatenate([digits.unseen.labels] * 2))
    assert guard.decide(both).keep.tolist() == [True] * 500 + [False] * 500
    assert guard.decide(replace(both, labels=np.arange(1000) // 500)).keep.all()  # one of a class is no repetition
    several = DuplicateGuard().fit(crossed(digits.real))
    assert (several.decide(crossed(both)).keep == guard.decide(both).keep).mean() > 0.99


def test_tiny_classes_go_by_the_distances_of_all(digits: Digits) -> None:
    guard = DuplicateGuard().fit(digits.real)
    assert guard.notes() == ["duplicate: fewer than 10 real images, distances are those of all classes: 8, 9"]
    alone = DuplicateGuard().fit(REALS[:1])
    assert "all candidates pass" in alone.notes()[0]
    assert alone.decide(rows(line([2, 2]), [0, 0])).keep.all()


def test_reals_that_are_there_twice_do_not_make_distances_nothing() -> None:
    once = reals_apart()
    shaken = replace(once, features=once.features + np.float32(1e-3))
    found = DuplicateGuard().fit(Candidates.concatenate([once, shaken])).state_["scales"]
    assert found == pytest.approx(DuplicateGuard().fit(once).state_["scales"], rel=0.01)


@pytest.mark.parametrize("ratio", [0, -1, float("nan"), float("inf")])
def test_ratios_that_cannot_work(ratio: float) -> None:
    with pytest.raises(ConfigError, match="expected ratio above 0"):
        DuplicateGuard(ratio=ratio)
