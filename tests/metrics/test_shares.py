"""Intervals of shares: the published example, parity, coverage of what cannot be counted."""

import pytest
from scipy.stats import binomtest

from gan_augment.metrics.shares import excess, wilson


@pytest.mark.parametrize(("count", "total"), [(0, 10), (3, 10), (10, 10), (1, 500)])
def test_wilson_is_scipys(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total, 1.959964) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_newcombes_example() -> None:
    assert excess(56, 70, 48, 80) == pytest.approx(0.0524, abs=5e-4)  # table II (a), method 10


def test_nothing_counted_shows_nothing() -> None:
    assert wilson(0, 0) == (0, 1)
    assert excess(0, 0, 1, 2) == excess(1, 2, 0, 0) == -1
