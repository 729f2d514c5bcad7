"""Selectors by neighbours: known answers, parity with the metrics, classes of any size, and real digits."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from gan_augment.errors import ConfigError
from gan_augment.features import PixelExtractor
from gan_augment.metrics.manifold import realism
from gan_augment.neighbours import nearest
from gan_augment.selection import ManifoldSelector, NeighbourSelector, RealismSelector, manifold
from gan_augment.types import Candidates

Kind = type[RealismSelector] | type[ManifoldSelector] | type[NeighbourSelector]
KINDS: list[Kind] = [RealismSelector, ManifoldSelector, NeighbourSelector]

every = pytest.mark.parametrize("kind", KINDS)


def rows(features: npt.ArrayLike, labels: npt.ArrayLike) -> Candidates:
    return Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64))


def line(values: list[float], label: int) -> Candidates:
    return rows([[value] for value in values], [label] * len(values))


def normal(count: int, dimensions: int = 4, *, label: int = 0, at: float = 0.0, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    return rows(rng.normal(at, 1, (count, dimensions)), np.full(count, label))


def both(*parts: Candidates) -> Candidates:
    return Candidates.concatenate(parts)


def score(selector: Any, candidates: Candidates) -> list[float]:
    found: list[float] = selector.scores(candidates.features, candidates.labels).tolist()
    return found


@pytest.fixture(scope="module")
def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels.astype(np.int64)


# -- known answers ----------------------------------------------------------------------------------------------------


def test_realism_of_points_on_a_line() -> None:
    # with k=1 the radii are 1, 1, 4, 4: only 0 and 1 are trusted
    selector = RealismSelector(k=1).fit(line([0, 1, 10, 14], 0))
    assert score(selector, line([2, 3, 10, 0], 0)) == pytest.approx([1, 2, 9, 0])


def test_the_manifold_is_the_union_of_balls() -> None:
    selector = ManifoldSelector(k=1, keep_share=1.0).fit(line([0, 1, 10, 14], 0))
    assert score(selector, line([2, 3, 6, 20], 0)) == pytest.approx([1, 7 / 4, 1, 6 / 4])


def test_neighbours_count_by_the_class_that_is_nearer() -> None:
    # three images a class: k' = 1, a share of 1/4, so each counts by its nearest
    selector = NeighbourSelector().fit(both(line([0, 1, 2], 0), line([10, 11, 12], 1), line([30, 40, 50], 2)))
    candidates = both(line([4], 0), line([4], 1), line([25], 2))
    assert score(selector, candidates) == pytest.approx([2 / 6, 6 / 2, 5 / 13])


def test_neighbours_of_classes_of_different_size_count_at_equal_mass() -> None:
    # 2 images against 8: a share of 1/3, the nearest of the two and the third-nearest of the eight
    selector = NeighbourSelector().fit(both(line([0, 5], 0), line([10, 11, 12, 13, 14, 15, 16, 17], 1)))
    assert score(selector, both(line([7], 0), line([7], 1))) == pytest.approx([2 / 5, 5 / 2])


def test_neighbours_of_the_only_class_are_ranked_by_distance() -> None:
    selector = NeighbourSelector(k=2).fit(line([0, 1, 5], 0))
    assert score(selector, line([2, 9], 0)) == pytest.approx([2, 8])


@pytest.mark.parametrize(("count", "k"), [(40, 5), (40, 1), (6, 5), (3, 2)])
def test_realism_is_that_of_the_metric(count: int, k: int) -> None:
    real, fake = normal(count), normal(50, at=0.5, seed=1)
    expected = 1 / realism(real.features, fake.features, k)
    assert score(RealismSelector(k=k).fit(real), fake) == pytest.approx(expected, rel=1e-5)


def test_blocks_of_reals_and_candidates_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = both(normal(40), normal(9, label=1, at=1)), both(normal(50, seed=1), normal(50, label=1, seed=2))
    whole = [score(kind(keep_share=0.5).fit(real), fake) for kind in KINDS]
    monkeypatch.setattr(manifold, "_ROWS", 7)
    monkeypatch.setattr(manifold, "_REALS", 11)
    assert [score(kind(keep_share=0.5).fit(real), fake) for kind in KINDS] == whole


def test_of_a_great_class_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "_MOST_OF_CLASS", 20)
    selector = NeighbourSelector().fit(both(normal(90), normal(4, label=1)))
    assert np.bincount(selector.state_["0/labels"]).tolist() == [20, 4]


# -- classes of any size ----------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("settings", [{"keep_share": 0.3}, {"real_share": 0.9}, {"keep_share": (0.2, 0.5)}])
def test_of_a_class_with_one_image_all_pass_and_it_is_told(kind: Kind, settings: dict[str, Any]) -> None:
    real = both(normal(40), normal(1, label=1))
    drawn = both(normal(30, seed=1), normal(30, label=1, at=9, seed=2))
    selector = kind(**settings).fit(real).calibrate(drawn)
    keep = selector.decide(drawn).keep
    assert keep[30:].all()
    assert not keep[:30].all()
    told = [note for note in selector.notes(["many", "one"]) if "one" in note.split(": ")[-1].split(", ")]
    assert len(told) == 1
    assert "too few to decide" in told[0] or "too few real images to decide" in told[0]


@every
def test_features_that_are_not_finite_are_never_kept(kind: Kind) -> None:
    real = both(normal(40), normal(1, label=1), normal(9, label=2))
    selector = kind(keep_share=1.0).fit(real).calibrate(real)
    assert not selector.decide(rows(np.full((3, 4), np.nan), [0, 1, 2])).keep.any()


@every
@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_few_images_rank_near_before_far(kind: Kind, count: int) -> None:
    real = both(normal(200), normal(count, label=1, at=6))
    near, far = normal(30, label=1, at=6, seed=1), normal(30, label=1, at=3, seed=2)
    selector = kind(keep_share=1.0).fit(real)
    assert np.mean(score(selector, near)) < np.mean(score(selector, far))


def test_copies_of_reals_have_the_best_score() -> None:
    real = both(normal(20), normal(20, label=1, at=3))
    for selector in (RealismSelector(keep_share=1.0), ManifoldSelector(keep_share=1.0)):
        trusted = np.array(score(selector.fit(real), real)) == 0
        assert trusted.mean() >= 0.5
    assert trusted.all()


def test_images_that_are_there_many_times_are_no_division_by_zero() -> None:
    real = both(rows(np.ones((9, 2)), [0] * 9), normal(9, 2, label=1, at=5))
    for kind in KINDS:
        found = score(kind(keep_share=1.0).fit(real), rows([[1, 1], [2, 2], [5, 5]], [0, 0, 1]))
        assert np.isfinite(found).all()
        assert found[0] == 0 < found[1]
    beside = NeighbourSelector(keep_share=1.0).fit(both(rows(np.ones((9, 2)), [0] * 9), rows(np.ones((9, 2)), [1] * 9)))
    assert score(beside, rows([[1, 1], [2, 2]], [0, 1])) == [1, 1]


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_neighbours_that_cannot_be_counted(k: Any) -> None:
    with pytest.raises(ConfigError, match="expected k of at least 1"):
        RealismSelector(k=k)


# -- properties -------------------------------------------------------------------------------------------------------


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Candidates, Candidates]:
    seed, classes = draw(st.integers(0, 2**32)), draw(st.integers(1, 3))
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.full(draw(st.integers(1, 12)), label) for label in range(classes)])
    grid = draw(st.booleans())  # whole numbers have ties and repetitions
    wanted = rng.integers(0, classes, draw(st.integers(1, 30)))
    features = [rng.normal(own[:, None], 2, (len(own), 3)) for own in (labels, wanted)]
    if grid:
        features = [np.round(part) for part in features]
    return rows(features[0], labels), rows(features[1], wanted)


@every
@given(scene=scenes(), data=st.data())
def test_order_and_batches_of_candidates_do_not_matter(
    kind: Kind, scene: tuple[Candidates, Candidates], data: st.DataObject
) -> None:
    real, candidates = scene
    selector = kind(keep_share=0.5).fit(real).calibrate(candidates)
    whole = selector.decide(candidates)
    order = np.array(data.draw(st.permutations(range(len(candidates)))))
    cut = data.draw(st.integers(0, len(candidates)))
    for part in (order, order[:cut], order[cut:], order[:1]):
        decision = selector.decide(candidates[part])
        assert (decision.keep == whole.keep[part]).all()
        assert (decision.score == whole.score[part]).all()


@every
@given(scene=scenes(), factor=st.sampled_from([0.25, 2.0, 1024.0]), seed=st.integers(0, 99))
def test_the_unit_of_features_and_the_order_of_reals_do_not_matter(
    kind: Kind, scene: tuple[Candidates, Candidates], factor: float, seed: int
) -> None:
    real, candidates = scene
    order = np.random.default_rng(seed).permutation(len(real))
    moved = rows(real.features[order] * factor, real.labels[order])
    one = np.array(score(kind(keep_share=0.5).fit(real), candidates))
    other = np.array(score(kind(keep_share=0.5).fit(moved), rows(candidates.features * factor, candidates.labels)))
    if kind is NeighbourSelector and len(np.unique(real.labels)) == 1:
        one = one * factor
    assert np.allclose(one, other, rtol=1e-5)


@every
@given(scene=scenes(), one=st.floats(0.05, 1), other=st.floats(0.05, 1))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(
    kind: Kind, scene: tuple[Candidates, Candidates], one: float, other: float
) -> None:
    real, candidates = scene
    less, more = (
        kind(keep_share=share).fit(real).calibrate(candidates).decide(candidates).keep for share in sorted((one, other))
    )
    assert (more | ~less).all()


# -- calibrated on reals, cross-fitted --------------------------------------------------------------------------------


@every
def test_the_stated_share_of_new_reals_passes(kind: Kind) -> None:
    passed = []
    for seed in range(5):
        real = both(normal(60, seed=seed), normal(30, label=1, at=2, seed=seed + 50))
        new = both(normal(200, seed=seed + 100), normal(200, label=1, at=2, seed=seed + 150))
        passed.append(kind(real_share=0.8).fit(real).decide(new).keep.mean())
    assert np.mean(passed) == pytest.approx(0.8, abs=0.07)


@every
def test_judges_that_see_the_same_in_other_units_count_alike(kind: Kind) -> None:
    real, new = both(normal(60), normal(30, label=1, at=2)), both(normal(40, seed=1), normal(40, label=1, at=2, seed=2))
    units = np.array([1, 100, 0.01], np.float32)[:, None]

    def crossed(part: Candidates) -> Candidates:
        return Candidates(part.features[:, None] * units, part.labels, fold=np.arange(len(part)) % 3)

    selector = kind(keep_share=1.0).fit(crossed(real))
    found = selector.calibrate(crossed(new)).decide(crossed(new)).score
    one = np.array(score(kind(keep_share=1.0).fit(real), new))
    assert np.corrcoef(found, one)[0, 1] > 0.9


@every
def test_it_is_told_where_features_are_pictures(kind: Kind) -> None:
    real = both(normal(40), normal(40, label=1))
    assert any("holds the real images" in note for note in kind(PixelExtractor(2)).fit(real).notes())
    assert not any("holds the real images" in note for note in kind().fit(real).notes())


# -- real digits ------------------------------------------------------------------------------------------------------

Digits = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def long_tail(digits: Digits, counts: tuple[int, ...], seed: int = 0) -> tuple[Candidates, Candidates]:
    """Returns as many real digits of each class as `counts` says, and 27 or more others of each."""
    pixels, labels = digits
    order = np.random.default_rng(seed).permutation(len(labels))
    own = [order[labels[order] == label] for label in range(10)]
    train = np.concatenate([part[:count] for part, count in zip(own, counts, strict=True)])
    test = np.concatenate([part[150:] for part in own])
    return rows(pixels[train], labels[train]), rows(pixels[test], labels[test])


@every
def test_threes_are_better_threes_than_eights_are(kind: Kind, digits: Digits) -> None:
    """The chance that an unseen three has a better score than an eight, both called threes, of which 20 are known."""
    ordered = []
    for seed in range(3):
        real, new = long_tail(digits, (100,) * 3 + (20,) + (100,) * 6, seed)
        selector = kind(keep_share=1.0).fit(real)
        threes, eights = (new.features[new.labels == label] for label in (3, 8))
        three, eight = (np.array(score(selector, rows(part, np.full(len(part), 3)))) for part in (threes, eights))
        ordered.append((three[:, None] < eight[None]).mean())
    assert np.mean(ordered) > 0.9


def test_rare_digits_win_among_neighbours(digits: Digits) -> None:
    """At a score of 1, which is the share of unseen reals that pass: a vote, and plain distances, fail rare classes."""
    counts = (140, 120, 100, 80, 60, 40, 20, 12, 6, 4)
    passed, voted, plain, wrong = [], [], [], []
    for seed in range(3):
        real, new = long_tail(digits, counts, seed)
        selector = NeighbourSelector(keep_share=1.0).fit(real)
        passed.append([np.mean(np.array(score(selector, new[new.labels == label])) < 1) for label in range(10)])
        moved = rows(new.features, (new.labels + 1 + np.arange(len(new)) % 9) % 10)
        wrong.append(np.mean(np.array(score(selector, moved)) < 1))
        near = real.labels[nearest(new.features, real.features, 5)[1]]
        won = (near == new.labels[:, None]).mean(1) > 0.5
        voted.append([won[new.labels == label].mean() for label in range(10)])
        least = np.stack(
            [nearest(new.features, real.features[real.labels == label], 4)[0].mean(1) for label in range(10)], 1
        ).argmin(1)
        plain.append([(least == label)[new.labels == label].mean() for label in range(10)])
    ours, vote, distance = (np.mean(found, axis=0) for found in (passed, voted, plain))
    assert ours[-2:].mean() > 0.5 > 0.2 > max(vote[-2:].mean(), distance[-2:].mean())
    assert ours.mean() > max(vote.mean(), distance.mean())
    assert np.mean(wrong) < 0.05
