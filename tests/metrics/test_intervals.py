"""Intervals: parity with scipy, known answers, and how often they cover."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gan_augment.metrics import Interval, holm, interval, paired_difference

VALUES = [0.7, 0.8, 0.75, 0.9]


def test_is_students_t_test() -> None:
    found, expected = interval(VALUES), stats.ttest_1samp(VALUES, 0)
    limits = expected.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((limits.low, limits.high, expected.pvalue))
    assert found.mean == pytest.approx(np.mean(VALUES))
    assert found.values == tuple(VALUES)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_difference_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    if np.std(first - second) < 1e-6:
        return
    found, expected = paired_difference(first, second), stats.ttest_rel(first, second)
    limits = expected.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((limits.low, limits.high, expected.pvalue), abs=1e-9)


def test_folds_have_the_variance_of_nadeau_and_bengio() -> None:
    """Five folds: n_test / n_train = 1/4, so the variance of the mean is (1/5 + 1/4) s^2."""
    values = [0.1, 0.2, 0.3, 0.2, 0.1]
    found, error = interval(values, overlap=0.25), math.sqrt((1 / 5 + 1 / 4) * np.var(values, ddof=1))
    half = stats.t.ppf(0.975, 4) * error
    assert (found.low, found.high) == pytest.approx((0.18 - half, 0.18 + half))
    assert found.p == pytest.approx(2 * stats.t.sf(0.18 / error, 4))


def test_test_items_add_in_quadrature() -> None:
    plain, found = interval(VALUES), interval(VALUES, test_error=0.1)
    expected = math.hypot(plain.high - plain.mean, stats.norm.ppf(0.975) * 0.1)
    assert found.high - found.mean == pytest.approx(expected)


def test_with_test_items_alone_it_is_the_normal_test() -> None:
    found = interval([0.1, 0.1], test_error=0.05)
    assert found.p == pytest.approx(2 * stats.norm.sf(2.0))
    assert found.high == pytest.approx(0.1 + stats.norm.ppf(0.975) * 0.05)


@given(st.integers(0, 10**6), st.floats(0, 0.1), st.floats(0, 0.5))
def test_p_is_the_level_at_which_the_interval_touches_zero(seed: int, test_error: float, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(0.05, 0.05, int(rng.integers(2, 7)))
    p = interval(values, test_error=test_error, overlap=overlap).p
    if p > 1e-6:
        found = interval(values, 1 - p, test_error=test_error, overlap=overlap)
        assert min(abs(found.low), abs(found.high)) == pytest.approx(0.0, abs=1e-6)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 0.2))
def test_p_and_verdict_agree(values: list[float], test_error: float) -> None:
    found = interval(values, test_error=test_error)
    assert 0 <= found.p <= 1
    if abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (found.verdict != 0)


def test_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = [interval(rng.normal(1.0, 2.0, 5)) for _ in range(2000)]
    assert np.mean([value.low < 1.0 < value.high for value in hits]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("spread", "test_error"), [(0.02, 0.02), (0.002, 0.02), (0.02, 0.002)])
def test_covers_where_seeds_share_a_test_set(spread: float, test_error: float) -> None:
    """The seeds' mean is off by the test set's own error, which their spread does not show."""
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(500):
        values = 0.1 + rng.normal(0, test_error) + rng.normal(0, spread, 3)
        found = interval(values, test_error=test_error)
        hits.append(found.low < 0.1 < found.high)
    assert np.mean(hits) > 0.93


def test_verdict_needs_the_whole_interval() -> None:
    assert interval([0.1, 0.11, 0.12]).verdict == 1
    assert interval([-0.1, -0.11, -0.12]).verdict == -1
    assert interval([-0.1, 0.2, 0.1]).verdict == 0


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan], [math.nan]])
def test_what_is_not_known_is_nan_and_null(values: list[float]) -> None:
    found = interval(values, test_error=0.1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(found.p)
    assert found.verdict == 0
    told = found.to_json()
    assert (told["low"], told["high"], told["p"]) == (None, None, None)
    assert told["values"] == [None if math.isnan(value) else value for value in values]


def test_equal_values_have_no_width() -> None:
    assert interval([0.0, 0.0]) == Interval(0.0, 0.0, 0.0, (0.0, 0.0), 1.0)
    assert interval([0.5, 0.5]).p == 0


def test_pairing_takes_out_what_is_common() -> None:
    base = np.array([0.1, 0.5, 0.9, 0.3])
    found = paired_difference(base + np.array([0.02, 0.021, 0.019, 0.02]), base)
    assert found.mean == pytest.approx(0.02)
    assert found.low > 0.018
    with pytest.raises(ValueError, match="argument"):
        paired_difference([1.0], [1.0, 2.0])


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling."""
    given_p = {"c": 0.03, "a": 0.01, "d": 0.04, "b": 0.02}
    assert holm(given_p) == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06})
    assert list(holm(given_p)) == list(given_p)
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_leaves_out_what_is_not_known() -> None:
    found = holm({"a": 0.01, "b": math.nan, "c": 0.02})
    assert found["a"] == pytest.approx(0.02)
    assert found["c"] == pytest.approx(0.02)
    assert math.isnan(found["b"])


def test_holm_errs_in_one_of_twenty_families() -> None:
    rng = np.random.default_rng(0)
    families = [holm(dict(enumerate(rng.uniform(0, 1, 6)))) for _ in range(2000)]
    assert np.mean([min(family.values()) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)
