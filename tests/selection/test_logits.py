"""DiscriminatorSelector: known densities, calibration against another solver, and properties of the dice."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy import stats

from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.selection import DiscriminatorSelector
from gan_augment.selection.logits import calibrate_logits, log_acceptance, shift_for
from gan_augment.types import Candidates

Array = npt.NDArray[np.float64]

REAL_MODES = [stats.norm(-1.0, 0.5), stats.norm(1.2, 0.4)]
DRAWN = stats.norm(0.2, 1.3)


def real_cdf(points: Array) -> Array:
    result: Array = 0.7 * REAL_MODES[0].cdf(points) + 0.3 * REAL_MODES[1].cdf(points)
    return result


def log_ratio(points: Array) -> Array:
    density = 0.7 * REAL_MODES[0].pdf(points) + 0.3 * REAL_MODES[1].pdf(points)
    result: Array = np.log(density) - DRAWN.logpdf(points)
    return result


def real_points(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    mode = rng.random(count) < 0.7
    result: Array = np.where(mode, REAL_MODES[0].rvs(count, rng), REAL_MODES[1].rvs(count, rng))
    return result


def rows(logits: npt.ArrayLike, labels: npt.ArrayLike | None = None, seed: int = 0) -> Candidates:
    logits = np.asarray(logits, np.float32)
    own = np.zeros(len(logits), np.int64) if labels is None else np.asarray(labels, np.int64)
    seeds = np.random.default_rng(seed).integers(0, 2**63 - 1, len(logits))
    return Candidates(np.zeros((len(logits), 1), np.float32), own, d_logits=logits, seeds=seeds)


def drawn_points(count: int, seed: int) -> Array:
    result: Array = DRAWN.rvs(count, np.random.default_rng(seed))
    return result


LOSSES: dict[str, Callable[[Array], Array]] = {
    "log-odds": lambda d: d,
    "steeper": lambda d: 4 * d + 3,
    "flatter": lambda d: 0.2 * d - 7,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_with_the_optimal_discriminator_what_passes_is_distributed_as_the_reals(
    loss: Callable[[Array], Array],
) -> None:
    many = drawn_points(20_000, 1)
    exact = float(np.exp(log_ratio(many) - log_ratio(many).max()).mean())
    selector = DiscriminatorSelector(keep_share=exact)
    selector.fit(rows(loss(log_ratio(real_points(20_000, 2)))))
    selector.calibrate(rows(loss(log_ratio(many))))
    points = drawn_points(20_000, 3)
    kept = points[selector.decide(rows(loss(log_ratio(points)))).keep]
    assert len(kept) == pytest.approx(20_000 * exact, abs=4 * np.sqrt(20_000 * exact))
    assert stats.kstest(kept, real_cdf).pvalue > 0.01
    assert stats.kstest(points[: len(kept)], real_cdf).pvalue < 1e-20


def test_a_larger_share_goes_part_of_the_way_and_says_so() -> None:
    draws, points = drawn_points(5000, 1), drawn_points(5000, 3)
    distance = {}
    for share in (0.05, 0.6, 0.95):
        selector = DiscriminatorSelector(keep_share=share).fit(rows(log_ratio(real_points(5000, 2))))
        decision = selector.calibrate(rows(log_ratio(draws))).decide(rows(log_ratio(points)))
        distance[share] = stats.kstest(points[decision.keep], real_cdf).statistic
        assert decision.keep.mean() == pytest.approx(share, abs=4 * 0.5 / np.sqrt(5000))
        assert any("only part of the way towards the reals: 0" in note for note in selector.notes()) == (share > 0.4)
    assert distance[0.05] < 0.08  # 250 points: the distance of as many reals is below that with probability 0.92
    assert distance[0.05] < distance[0.6] < distance[0.95] < stats.kstest(points, real_cdf).statistic


def test_each_class_has_its_own_maximum_and_share() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [4000, 4000])
    real = rows(rng.normal(1, 1, 8000) + 30 * labels, labels)
    drawn = rows(rng.normal(0, 1, 8000) + 30 * labels, labels)
    decision = DiscriminatorSelector(keep_share=0.2).fit(real).calibrate(drawn).decide(drawn)
    for label in (0, 1):
        assert decision.keep[labels == label].mean() == pytest.approx(0.2, abs=0.025)


# -- calibration ------------------------------------------------------------------------------------------------------


def test_the_slope_is_that_of_scikit_learns_logistic_regression_on_the_same_targets() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(3)
    labels = rng.choice(4, 600, p=[0.6, 0.3, 0.07, 0.03])
    real = rng.random(600) < 0.4
    logits = rng.normal(labels + 0.8 * real, 1.3)
    counts = np.stack([np.bincount(labels[real == kind]) for kind in (False, True)])
    target = np.where(real, ((counts[1] + 1) / (counts[1] + 2))[labels], (1 / (counts[0] + 2))[labels])
    columns = np.concatenate([logits[:, None], np.eye(4)[labels]], 1)
    model = LogisticRegression(C=1e8, fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(
        np.concatenate([columns, columns]),
        np.repeat([1, 0], 600),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    assert calibrate_logits(logits, labels, real).slope == pytest.approx(model.coef_[0, 0], rel=1e-4)


def test_slope_and_error_of_logits_that_are_known() -> None:
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels, real = rng.integers(0, 3, 900), rng.random(900) < 0.5
        logits = rng.normal(2.0 * labels + 1.5 * real, 1.0) / 3  # log-odds are 1.5 x + ..., so 4.5 times the logits
        found.append(calibrate_logits(logits, labels, real))
    slopes, errors = np.array([c.slope for c in found]), np.array([c.error for c in found])
    assert slopes.mean() == pytest.approx(4.5, abs=0.2)
    assert errors.mean() == pytest.approx(slopes.std(ddof=1), rel=0.35)


def test_z_tells_log_odds_from_other_logits() -> None:
    rng = np.random.default_rng(0)
    real = rng.random(4000) < 0.25
    logits = rng.normal(1.0 * real, 1.0) - 0.5  # the log-odds of N(1, 1) against N(0, 1)
    labels = np.zeros(4000, np.int64)
    assert abs(calibrate_logits(logits, labels, real).z) < 3
    assert abs(calibrate_logits(logits + 1, labels, real).z) > 10


def test_logits_that_part_real_from_drawn_have_a_finite_slope() -> None:
    logits, real = np.array([-2.0, -1.0, 5.0, 6.0]), np.array([False, False, True, True])
    calibration = calibrate_logits(logits, np.zeros(4, np.int64), real)
    assert 0 < calibration.slope < 10
    assert calibrate_logits(logits * 1e6, np.zeros(4, np.int64), real).slope == pytest.approx(calibration.slope / 1e6)


@pytest.mark.parametrize(
    ("logits", "labels", "real"),
    [
        ([], [], []),
        ([1.0, 2.0], [0, 1], [True, False]),
        ([3.0, 3.0, 3.0], [0, 0, 0], [True, False, True]),
    ],
)
def test_where_nothing_can_be_told_the_slope_is_0(logits: list[float], labels: list[int], real: list[bool]) -> None:
    calibration = calibrate_logits(np.array(logits), np.array(labels, np.int64), np.array(real, bool))
    assert (calibration.slope, calibration.error) == (0, np.inf)


def test_a_discriminator_that_prefers_its_own_samples_is_told_and_leaves_it_to_chance() -> None:
    rng = np.random.default_rng(0)
    real, drawn, others = (rows(rng.normal(mean, 1, 3000), seed=seed) for seed, mean in enumerate([0, 1, 1]))
    selector = DiscriminatorSelector(keep_share=0.3).fit(real).calibrate(drawn)
    decision = selector.decide(others)
    assert decision.keep.mean() == pytest.approx(0.3, abs=0.035)
    assert others.d_logits is not None
    assert others.d_logits[decision.keep].mean() == pytest.approx(others.d_logits.mean(), abs=0.15)
    assert "no higher logits than drawn ones, so candidates are kept by chance" in selector.notes()[0]


def test_notes_are_those_of_the_last_draw() -> None:
    real, drawn = rows([1, 2, 3, 4]), rows([0, 1, 2, 3])
    selector = DiscriminatorSelector().fit(real).calibrate(drawn)
    notes = selector.notes(["cat"])
    assert selector.calibrate(drawn).notes(["cat"]) == notes
    assert "standard error" in notes[0]


# -- acceptance -------------------------------------------------------------------------------------------------------

below = st.lists(st.floats(-60, 0), min_size=1, max_size=30).map(lambda values: np.array([*values, 0.0]))


@given(likelier=below, share=st.floats(0.01, 0.999))
def test_gamma_lets_the_share_pass(likelier: Array, share: float) -> None:
    passing = np.exp(log_acceptance(likelier, shift_for(likelier, share)))
    assert passing.mean() == pytest.approx(share, abs=1e-6)
    assert (np.diff(passing[np.argsort(likelier)]) >= 0).all()
    assert passing.max() <= 1


@given(likelier=below)
def test_at_gamma_0_the_probability_is_the_ratio_itself(likelier: Array) -> None:
    assert np.exp(log_acceptance(likelier, 0.0)) == pytest.approx(np.exp(likelier), abs=1e-5)
    assert (log_acceptance(likelier, -np.inf) == 0).all()


def test_a_logit_above_all_of_the_calibration_passes_as_the_highest_did() -> None:
    rng = np.random.default_rng(0)
    selector = DiscriminatorSelector(keep_share=0.2).fit(rows(rng.normal(1, 1, 500)))
    selector.calibrate(rows(rng.normal(0, 1, 500)))
    highest = float(selector.state_["top"][0])
    scores = selector.decide(rows([highest, highest + 5, highest + 1000])).score
    assert np.isfinite(scores).all()
    assert scores == pytest.approx(scores[0])


# -- rows -------------------------------------------------------------------------------------------------------------


shares = st.sampled_from([0.02, 0.1, 0.3, 0.5, 0.9, 1.0])


@functools.cache
def fitted(share: float, *, sampling: bool = True) -> DiscriminatorSelector:
    rng = np.random.default_rng(7)
    labels = np.arange(120) % 3
    selector = DiscriminatorSelector(keep_share=share, sampling=sampling).fit(rows(rng.normal(1, 1, 120), labels))
    return selector.calibrate(rows(rng.normal(0, 1, 120), labels))


@st.composite
def candidates(draw: st.DrawFn) -> Candidates:
    count = draw(st.integers(1, 40))
    logits = draw(st.lists(st.floats(-30, 30, width=32), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    return rows(logits, labels, draw(st.integers(0, 1000)))


@given(found=candidates(), share=shares, data=st.data())
def test_the_answer_of_a_row_is_its_own(found: Candidates, share: float, data: st.DataObject) -> None:
    selector = fitted(share)
    whole = selector.decide(found)
    order = np.array(data.draw(st.permutations(range(len(found)))))
    for part in (order, order[:1], order[: len(order) // 2]):
        decision = selector.decide(found[part])
        assert (decision.keep == whole.keep[part]).all()
        assert (decision.score == whole.score[part]).all()


@settings(deadline=None)  # two fits an example
@given(seed=st.integers(0, 1000), share=shares)
def test_the_order_of_reals_and_draws_does_not_matter(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 60)
    real, drawn = rows(rng.normal(1, 1, 60), labels), rows(rng.normal(0, 1, 60), labels)
    order = rng.permutation(60)
    one = DiscriminatorSelector(keep_share=share).fit(real).calibrate(drawn).decide(drawn)
    other = DiscriminatorSelector(keep_share=share).fit(real[order]).calibrate(drawn[order]).decide(drawn)
    assert (one.keep == other.keep).all()
    assert (one.score == other.score).all()


@given(found=candidates(), pair=st.tuples(shares, shares))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(found: Candidates, pair: tuple[float, float]) -> None:
    less, more = (fitted(share).decide(found).keep for share in sorted(pair))
    assert (more | ~less).all()


@given(found=candidates())
def test_the_share_1_keeps_all(found: Candidates) -> None:
    decision = fitted(1.0).decide(found)
    assert decision.keep.all()
    assert (decision.score == 0).all()


def test_another_seed_is_another_die() -> None:
    selector = fitted(0.5)
    same_logits = np.full(2000, 0.3)
    one, other = (selector.decide(rows(same_logits, seed=seed)) for seed in (1, 2))
    assert (one.score == other.score).all()
    passing = float(np.exp(-one.score[0]))
    for decision in (one, other):
        assert decision.keep.mean() == pytest.approx(passing, abs=0.05)
    assert (one.keep & other.keep).mean() == pytest.approx(passing**2, abs=0.05)


@given(found=candidates(), share=shares)
def test_without_dice_the_highest_logits_are_kept(found: Candidates, share: float) -> None:
    selector = DiscriminatorSelector(keep_share=share, sampling=False)
    selector.fit(rows([0.0, 0.0, 0.0], [0, 1, 2]))
    decision = selector.calibrate(found).decide(replace(found, seeds=None))
    assert found.d_logits is not None
    for label in np.unique(found.labels):
        own = found.labels == label
        kept, dropped = found.d_logits[own & decision.keep], found.d_logits[own & ~decision.keep]
        assert kept.min() >= dropped.max(initial=-np.inf)
        assert len(kept) >= np.ceil(share * own.sum() - 1e-9)


def test_a_band_of_logits_without_dice() -> None:
    found = rows(np.arange(10))
    selector = DiscriminatorSelector(keep_share=(0.2, 0.6), sampling=False).fit(rows([0.0])).calibrate(found)
    reason = selector.decide(found).reason.tolist()
    assert reason[:4] == ["rejected by the discriminator"] * 4
    assert reason[4:8] == [""] * 4
    assert reason[9] == "too near"


# -- what cannot work -------------------------------------------------------------------------------------------------


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match=r"found real_share=0\.9: the discriminator has seen every real image"):
        DiscriminatorSelector(real_share=0.9)
    with pytest.raises(ConfigError, match=r"found the band \(0.1, 0.5\); give sampling=False"):
        DiscriminatorSelector(keep_share=(0.1, 0.5))
    with pytest.raises(ConfigError, match="sampling True or False, found 1"):
        DiscriminatorSelector(sampling=1)  # type: ignore[arg-type]


def test_columns_that_are_missing() -> None:
    selector, found = fitted(0.5), rows([0.0, 1.0])
    with pytest.raises(ConfigError, match="expected candidates with seeds"):
        selector.decide(replace(found, seeds=None))
    with pytest.raises(ConfigError, match="expected candidates with d_logits"):
        selector.decide(replace(found, d_logits=None))
    with pytest.raises(ConfigError, match="expected candidates with d_logits"):
        DiscriminatorSelector().fit(replace(found, d_logits=None))


def test_logits_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="expected finite d_logits of real images"):
        DiscriminatorSelector().fit(rows([0.0, np.nan]))
    with pytest.raises(DataError, match="expected finite d_logits of drawn images"):
        DiscriminatorSelector().fit(rows([0.0])).calibrate(rows([0.0, np.inf]))
    for sampling in (True, False):
        decision = fitted(0.9, sampling=sampling).decide(rows([np.nan, 3.0, -np.inf]))
        assert not decision.keep[[0, 2]].any()


def test_a_class_that_was_not_drawn_is_not_kept() -> None:
    real = rows([1.0, 2.0, 1.0, 2.0], [0, 0, 1, 1])
    selector = DiscriminatorSelector(keep_share=1.0).fit(real).calibrate(rows([0.0, 1.0], [0, 0]))
    decision = selector.decide(rows([9.0, 9.0, 9.0], [0, 1, 2]))
    assert decision.reason.tolist() == ["", "rejected by the discriminator", "class unknown"]


def test_a_folder_with_numbers_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    folder = fitted(0.5).save(tmp_path / "selector")
    arrays = load_file(folder / "fitted.safetensors")
    for name in ("real_logits", "slope", "top", "gamma", "thinned"):
        save_file({**arrays, name: np.full_like(arrays[name], np.nan)}, folder / "fitted.safetensors")
        with pytest.raises(ArtifactError, match="damaged"):
            DiscriminatorSelector.load(folder)
