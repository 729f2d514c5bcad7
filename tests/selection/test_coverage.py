"""Set-wise selectors: known answers, bounds by brute force, moments against chance, small classes, real digits."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from gan_augment.errors import ConfigError
from gan_augment.features import PixelExtractor
from gan_augment.selection import (
    Compose,
    DuplicateGuard,
    HerdingSelector,
    KCenterSelector,
    OutlierGuard,
    load_selector,
    random_control,
)
from gan_augment.types import Candidates

Kind = type[HerdingSelector] | type[KCenterSelector]
KINDS: list[Kind] = [HerdingSelector, KCenterSelector]

every = pytest.mark.parametrize("kind", KINDS)


def rows(features: npt.ArrayLike, labels: npt.ArrayLike, seeds: npt.ArrayLike | None = None) -> Candidates:
    numbers = None if seeds is None else np.asarray(seeds, np.int64)
    return Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64), seeds=numbers)


def normal(
    count: int, dimensions: int = 6, *, label: int = 0, at: float = 0.0, seed: int = 0, spread: Any = 1.0
) -> Candidates:
    rng = np.random.default_rng(seed)
    return rows(at + rng.normal(0, 1, (count, dimensions)) * spread, np.full(count, label))


def both(*parts: Candidates) -> Candidates:
    return Candidates.concatenate(parts)


def order_of(decision: Any) -> list[int]:
    """Returns the kept rows in the order in which they were picked."""
    kept = np.flatnonzero(decision.keep)
    found: list[int] = kept[np.argsort(decision.score[kept])].tolist()
    return found


# -- both -------------------------------------------------------------------------------------------------------------


@every
def test_the_share_of_each_class_and_why_others_are_dropped(kind: Kind) -> None:
    real = both(normal(30), normal(30, label=2))
    candidates = both(
        normal(11, seed=1), normal(4, label=2, seed=2), normal(3, label=1), normal(2, label=7), normal(1, label=-1)
    )
    selector = kind(keep_share=0.5).fit(real)
    decision = selector.decide(candidates)
    assert decision.keep[:11].sum() == 6
    assert decision.keep[11:15].sum() == 2
    assert decision.dropped() == {selector.reason: 7, "class unknown": 6}
    assert (decision.score[15:] == np.inf).all()
    assert sorted(decision.score[:11].tolist()) == pytest.approx([0, 1 / 11, 2 / 11, 3 / 11, 4 / 11, 5 / 11] + [1] * 5)


@every
def test_features_that_are_not_finite_are_dropped_and_do_not_count(kind: Kind) -> None:
    candidates = normal(9, seed=1)
    candidates.features[4, 2] = np.nan
    decision = kind(keep_share=0.5).fit(normal(30)).decide(candidates)
    assert decision.keep.sum() == 4
    assert (decision.keep[4], decision.score[4]) == (False, np.inf)
    alone = kind(keep_share=0.5).fit(normal(30)).decide(candidates[4:5])
    assert not alone.keep.any()


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Candidates, Candidates]:
    classes, seed = draw(st.integers(1, 3)), draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.full(draw(st.integers(1, 9)), label) for label in range(classes)])
    wanted = rng.integers(0, classes, draw(st.integers(1, 24)))
    dimensions = draw(st.integers(1, 5))
    features = [rng.normal(own[:, None], 2, (len(own), dimensions)) for own in (labels, wanted)]
    if draw(st.booleans()):  # whole numbers have ties and repetitions
        features = [np.round(part) for part in features]
    seeds = rng.permutation(len(wanted)) if draw(st.booleans()) else None
    return rows(features[0], labels), rows(features[1], wanted, seeds)


@every
@given(scene=scenes(), share=st.floats(0.01, 1), data=st.data())
def test_the_order_of_rows_does_not_matter(
    kind: Kind, scene: tuple[Candidates, Candidates], share: float, data: st.DataObject
) -> None:
    real, candidates = scene
    selector = (
        kind(keep_share=share, dimensions=3).fit(real) if kind is HerdingSelector else kind(keep_share=share).fit(real)
    )
    whole = selector.decide(candidates)
    order = np.array(data.draw(st.permutations(range(len(candidates)))))
    turned = selector.decide(candidates[order])
    if candidates.seeds is not None:
        assert (turned.keep == whole.keep[order]).all()
        assert (turned.score == whole.score[order]).all()
    # Without seeds, of two equal rows either may be the one that is kept.
    for decision, own in ((whole, candidates), (turned, candidates[order])):
        assert decision.keep.sum() == sum(
            np.ceil(share * (own.labels == label).sum() - 1e-9) for label in np.unique(own.labels)
        )
    kept = [
        np.column_stack([own.features, own.labels])[d.keep]
        for d, own in ((whole, candidates), (turned, candidates[order]))
    ]
    assert sorted(map(tuple, kept[0].tolist())) == sorted(map(tuple, kept[1].tolist()))


@every
@given(scene=scenes(), one=st.floats(0.01, 1), other=st.floats(0.01, 1))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(
    kind: Kind, scene: tuple[Candidates, Candidates], one: float, other: float
) -> None:
    real, candidates = scene
    less, more = (kind(keep_share=share).fit(real).decide(candidates).keep for share in sorted((one, other)))
    assert (more | ~less).all()
    assert kind(keep_share=1).fit(real).decide(candidates).keep.all()


@every
def test_after_guards_it_chooses_among_what_they_leave(kind: Kind) -> None:
    real = both(normal(200), normal(200, label=1, at=3))
    good = both(normal(40, seed=1), normal(40, label=1, at=3, seed=2))
    candidates = both(good, good[:10], normal(12, at=40, seed=3))
    chain = Compose(OutlierGuard(), DuplicateGuard(), kind(keep_share=0.5)).fit(real).calibrate(candidates)
    decision = chain.decide(candidates)
    guards = Compose(OutlierGuard(), DuplicateGuard()).fit(real).calibrate(candidates).decide(candidates)
    left = candidates[guards.keep]
    assert not decision.keep[90:].any()
    assert guards.dropped()["repeats another"] >= 10
    for label in (0, 1):
        kept = decision.keep & (candidates.labels == label)
        assert kept.sum() == np.ceil(0.5 * (left.labels == label).sum())
    assert (decision.keep[guards.keep] == kind(keep_share=0.5).fit(real).decide(left).keep).all()


@every
@pytest.mark.parametrize("share", [0, -1, 1.2, float("nan"), (0.1, 0.5), "half"])
def test_shares_that_cannot_work(kind: Kind, share: Any) -> None:
    with pytest.raises(ConfigError, match=r"keep_share in \(0, 1\]"):
        kind(keep_share=share)


# -- herding ----------------------------------------------------------------------------------------------------------


def discrepancy(selector: HerdingSelector, label: int, chosen: npt.NDArray[np.float32]) -> float:
    """The docstring's objective, computed as it is written; of one judge and of all dimensions."""
    middle = selector.state_["centers"][0] + selector.state_["means"][0, label] @ selector.state_["bases"][0].T
    wanted = selector.state_["covariances"][0, label].astype(np.float64)
    left = chosen - middle
    trace = np.trace(wanted)
    second = ((left.T @ left / len(left) - wanted) ** 2).sum() / (trace**2 + (wanted**2).sum())
    return float(second + selector.mean_weight * (left.mean(0) ** 2).sum() / trace)


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_each_pick_makes_the_objective_least(weight: float) -> None:
    """The kernel's running sums pick what trying every candidate picks."""
    selector = HerdingSelector(keep_share=0.4, mean_weight=weight).fit(
        both(normal(40, 3, spread=[1, 2, 3]), normal(5, 3, label=1))
    )
    candidates = normal(20, 3, at=0.5, seed=1)
    picked: list[int] = []
    for _ in range(8):
        rest = [row for row in range(20) if row not in picked]
        tried = [discrepancy(selector, 0, candidates.features[[*picked, row]]) for row in rest]
        picked.append(rest[int(np.argmin(tried))])
    assert order_of(selector.decide(candidates)) == picked


def test_rows_with_the_very_moments_are_found_among_others() -> None:
    real = rows([[2, 0], [-2, 0], [0, 1], [0, -1]], [0] * 4)
    exact = np.sqrt(4 / 3) * real.features  # the covariance divides by n - 1
    candidates = rows(np.concatenate([exact, [[5, 0], [0, 5], [4, 2], [-4, 2]]]), [0] * 8)
    selector = HerdingSelector(keep_share=0.5).fit(real)
    assert discrepancy(selector, 0, exact) == pytest.approx(0, abs=1e-6)
    assert selector.decide(candidates).keep.tolist() == [True] * 4 + [False] * 4


def test_moments_are_nearer_than_those_of_a_random_choice() -> None:
    """Candidates that are too narrow in one direction and too wide in another, about another mean."""
    better = {"mean": 0, "covariance": 0}
    for seed in range(10):
        spread = np.array([3, 2, 1, 1, 1, 1])
        real = both(normal(300, spread=spread, seed=seed), normal(300, label=1))
        candidates = normal(400, at=0.7, spread=spread[::-1], seed=seed + 100)
        keep = HerdingSelector(keep_share=0.25).fit(real).decide(candidates).keep
        chance = random_control(keep, candidates.labels, seed)
        errors = []
        for which in (keep, chance):
            chosen, own = candidates.features[which], real.features[:300]
            errors.append(
                (np.linalg.norm(chosen.mean(0) - own.mean(0)), np.linalg.norm(np.cov(chosen.T) - np.cov(own.T)))
            )
        better["mean"] += errors[0][0] < errors[1][0]
        better["covariance"] += errors[0][1] < errors[1][1]
    assert better == {"mean": 10, "covariance": 10}


def test_the_covariance_of_few_images_is_mostly_that_of_all_classes() -> None:
    real = both(
        normal(2000, 4, spread=2), normal(1, 4, label=1), normal(4, 4, label=2), normal(2000, 4, label=3, spread=1)
    )
    selector = HerdingSelector().fit(real)
    wanted = selector.state_["covariances"][0]
    pooled = 2.5 * np.eye(4)  # of 4 and of 1, from as many images
    assert np.abs(wanted[0] - 4 * np.eye(4)).max() < 0.4
    assert np.abs(wanted[3] - np.eye(4)).max() < 0.2
    assert np.abs(wanted[1] - pooled).max() < 0.2
    own = np.cov(real.features[real.labels == 2].T)
    assert np.linalg.norm(wanted[2] - pooled) < 0.5 * np.linalg.norm(own - pooled)
    assert selector.notes(["a", "b", "c", "d"]) == [
        "herding: one real image, the covariance is that of other classes: b"
    ]


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2]])
def test_one_image_of_each_class_is_enough_to_choose(labels: list[int]) -> None:
    real = rows(np.eye(3)[: len(labels)], labels)
    decision = HerdingSelector().fit(real).decide(rows(np.eye(3)[[0, 0, 1, 2]], [0] * 4, range(4)))
    assert decision.keep.sum() == 2
    assert np.isfinite(decision.score).all()


def test_wide_features_are_compared_in_their_principal_components() -> None:
    """Ten directions that vary among 300 that hardly do: chosen is as in those ten alone."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(0, 1, (300, 10)))[0].T
    spread = np.linspace(3, 1, 10)
    real = both(normal(200, 10, spread=spread), normal(50, 10, label=1, at=1, spread=spread))
    candidates = normal(100, 10, at=0.3, spread=spread, seed=1)
    narrow = HerdingSelector().fit(real).decide(candidates)

    def wide(part: Candidates) -> Candidates:
        return rows(
            part.features @ basis + 1e-4 * rng.normal(0, 1, (len(part), 300)), part.labels, np.arange(len(part))
        )

    decision = HerdingSelector().fit(wide(real)).decide(wide(candidates))
    assert (decision.keep == narrow.keep).mean() > 0.95


def test_many_reals_are_taken_evenly_for_the_components(monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_augment.selection import coverage

    real, candidates = both(normal(900, 40), normal(9, 40, label=1, at=1)), normal(60, 40, seed=1)
    whole = HerdingSelector(dimensions=40).fit(real).decide(candidates)
    monkeypatch.setattr(coverage, "_MOST_ROWS", 100)
    assert (HerdingSelector(dimensions=40).fit(real).decide(candidates).keep == whole.keep).all()
    thinned = HerdingSelector(dimensions=8).fit(real)
    assert thinned.state_["bases"].shape == (1, 40, 8)
    assert thinned.decide(candidates).keep.sum() == 30


def test_moments_are_of_images_that_the_judge_has_not_seen() -> None:
    """Seen images lie at zero in the eyes of the judge that learned them by heart; unseen ones as candidates do."""
    unseen, fold = normal(90, 3, at=2), np.arange(90) % 3
    features = np.zeros((90, 3, 3), np.float32)
    features[np.arange(90), fold] = unseen.features
    real = Candidates(features, unseen.labels, fold=fold)
    selector = HerdingSelector().fit(real)
    middle = (
        selector.state_["centers"] + np.einsum("kcd,kwd->kcw", selector.state_["means"], selector.state_["bases"])[:, 0]
    )
    expected = [unseen.features[fold == judge].mean(0) for judge in range(3)]
    assert middle == pytest.approx(np.stack(expected), abs=1e-4)
    new = normal(30, 3, at=2, seed=1)
    candidates = Candidates(np.stack([new.features] * 3, 1), new.labels)
    seen_by_all = HerdingSelector().fit(Candidates(features, unseen.labels, fold=np.full(90, -1)))
    assert selector.decide(candidates).keep.sum() == seen_by_all.decide(candidates).keep.sum() == 15


@pytest.mark.parametrize(
    ("settings", "told"), [({"dimensions": 0}, "dimensions"), ({"mean_weight": -1}, "mean_weight")]
)
def test_settings_of_herding_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        HerdingSelector(**settings)


def test_herding_stores_no_real_image(tmp_path: Any) -> None:
    real = both(normal(30), normal(30, label=1))
    selector = HerdingSelector(PixelExtractor(2)).fit(real)
    assert not any("real images" in note for note in selector.notes())
    loaded = load_selector(selector.save(tmp_path / "herding"))
    held = np.concatenate([array.reshape(-1) for array in loaded.state_.values()])  # type: ignore[attr-defined]
    assert not np.isin(real.features.reshape(-1), held).any()
    assert any("holds the real images" in note for note in KCenterSelector(PixelExtractor(2)).fit(real).notes())


# -- k-center ---------------------------------------------------------------------------------------------------------


def test_the_farthest_comes_first() -> None:
    real = rows([[0], [1]], [0, 0])
    candidates = rows(np.array([2, 9, 8.5, -3, 0.5])[:, None], [0] * 5)
    assert order_of(KCenterSelector(keep_share=0.6).fit(real).decide(candidates)) == [1, 3, 0]
    assert order_of(KCenterSelector(keep_share=0.6, from_reals=False).fit(real).decide(candidates)) == [4, 1, 3]


def radius(candidates: npt.NDArray[Any], centers: npt.NDArray[Any]) -> float:
    return float(np.linalg.norm(candidates[:, None] - centers[None], axis=2).min(1).max())


@given(
    count=st.integers(2, 8),
    picks=st.integers(1, 4),
    known=st.integers(1, 3),
    from_reals=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_radius_left_is_at_most_twice_the_least(
    count: int, picks: int, known: int, from_reals: bool, seed: int
) -> None:
    picks = min(picks, count)
    rng = np.random.default_rng(seed)
    real, candidates = rng.normal(0, 2, (known, 2)), rng.normal(0, 2, (count, 2))
    selector = KCenterSelector(keep_share=picks / count, from_reals=from_reals).fit(rows(real, [0] * known))
    keep = selector.decide(rows(candidates, [0] * count)).keep
    assert keep.sum() == picks
    given_ = real if from_reals else np.zeros((0, 2))
    tried = [
        radius(candidates, np.concatenate([given_, candidates[list(some)]]))
        for some in itertools.combinations(range(count), picks)
    ]
    assert radius(candidates, np.concatenate([given_, candidates[keep]])) <= 2 * min(tried) + 1e-3


def test_without_reals_as_centers_what_they_cover_is_chosen_too() -> None:
    real, candidates = normal(50, 2, spread=0.1), both(normal(20, 2, spread=0.1, seed=1), normal(20, 2, at=5, seed=2))
    kept = KCenterSelector(keep_share=0.2).fit(real).decide(candidates).keep
    assert not kept[:20].any()
    kept = KCenterSelector(keep_share=0.2, from_reals=False).fit(real).decide(candidates).keep
    assert kept[:20].any()


def test_a_judge_of_greater_numbers_does_not_count_more() -> None:
    real, candidates = normal(40, 4), normal(30, 4, seed=1)

    def crossed(part: Candidates, unit: float) -> Candidates:
        features = np.stack([part.features, unit * part.features[:, ::-1]], 1)
        return Candidates(features, part.labels, seeds=np.arange(len(part)))

    one, other = (
        KCenterSelector().fit(crossed(real, unit)).decide(crossed(candidates, unit)).keep for unit in (1.0, 1024.0)
    )
    assert (one == other).all()


# -- real digits ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int64)


@pytest.mark.parametrize("count", [6, 60])
def test_herded_digits_are_more_like_unseen_ones_than_random_ones(
    digits: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]], count: int
) -> None:
    """Candidates are means of two digits, which vary too little, and a fifth digits of other classes."""
    pixels, labels = digits
    rng = np.random.default_rng(1)
    errors: list[list[float]] = []
    wrong: list[list[float]] = []
    for label in range(10):
        own, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        real = np.concatenate([own[:count], others[:500]])
        pairs, part = rng.integers(60, 90, (2, 160)), rng.random((160, 1)).astype(np.float32)
        mixed = part * pixels[own[pairs[0]]] + (1 - part) * pixels[own[pairs[1]]]
        candidates = rows(np.concatenate([mixed, pixels[others[600:640]]]), np.full(200, label), range(200))
        keep = HerdingSelector(keep_share=0.3).fit(rows(pixels[real], labels[real])).decide(candidates).keep
        chance = random_control(keep, candidates.labels, label)
        unseen = np.cov(pixels[own[90:]].T)
        errors.append([float(np.linalg.norm(np.cov(candidates.features[k].T) - unseen)) for k in (keep, chance)])
        wrong.append([float(k[160:].mean()) for k in (keep, chance)])
    herded, random = np.mean(errors, axis=0)
    assert herded < random
    herded_wrong, random_wrong = np.mean(wrong, axis=0)
    assert herded_wrong < random_wrong
