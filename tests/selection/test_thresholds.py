"""Shares and limits: known answers, and what a share of unseen real images promises."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.errors import ConfigError
from gan_augment.selection.thresholds import Share, check_share, drawn_limits, images_for, real_limits

ONE_CLASS = np.zeros(1000, np.int64)
bands = st.tuples(st.floats(0, 0.99), st.floats(0.01, 1)).filter(lambda band: band[0] < band[1])
shares: st.SearchStrategy[Share] = st.floats(0.01, 1) | bands
scores = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60)


def array(values: Any) -> Any:
    return np.array(values, np.float32)


# -- shares -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "found"),
    [(0.5, 0.5), (1, 1.0), (np.float32(0.5), 0.5), ((0, 1), (0.0, 1.0)), ([0.25, 0.75], (0.25, 0.75)), (None, None)],
)
def test_shares_that_work(share: Any, found: Any) -> None:
    assert check_share("keep_share", share) == found
    assert type(check_share("keep_share", share)) is type(found)


@pytest.mark.parametrize(
    "share",
    [0, -0.1, 1.1, float("nan"), True, "0.5", "half", (0.5,), (0.1, 0.2, 0.3), (0.6, 0.4), (0.5, 0.5), (0, "1", 2), {}],
)
def test_shares_that_cannot_work(share: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected keep_share in \(0, 1\], or a band"):
        check_share("keep_share", share)


# -- of draws ---------------------------------------------------------------------------------------------------------


def test_limits_of_a_draw() -> None:
    values, labels = array([1, 2, 3, 4, 10, 20]), np.array([0, 0, 0, 0, 2, 2])
    assert drawn_limits(values, labels, 0.5, 3).tolist() == [[-np.inf, 2], [np.inf, -np.inf], [-np.inf, 10]]
    assert drawn_limits(values, labels, (0.25, 0.75), 3)[0].tolist() == [1, 3]


@given(values=scores, share=shares)
def test_a_share_of_the_draw_lies_within(values: list[float], share: Share) -> None:
    low, high = share if isinstance(share, tuple) else (0.0, share)
    found = array(values)
    below, above = drawn_limits(found, ONE_CLASS[: len(found)], share, 1)[0]
    assert (found <= above).mean() >= high - 1e-9
    assert (found < above).mean() < high + 1e-9
    assert (found < below).mean() <= low + 1e-9
    assert ((found >= below) & (found <= above)).any()


# -- of real images ---------------------------------------------------------------------------------------------------


def test_limits_of_reals() -> None:
    own = array(np.arange(1, 20))  # 19 scores make 20 parts
    assert real_limits(own, ONE_CLASS[:19], 0.95, 1).tolist() == [[-np.inf, 19]]
    assert real_limits(own, ONE_CLASS[:19], 0.9, 1).tolist() == [[-np.inf, 18]]
    assert real_limits(own, ONE_CLASS[:19], (0.1, 0.9), 1).tolist() == [[2, 18]]
    assert real_limits(own[:3], ONE_CLASS[:3], 0.95, 1).tolist() == [[-np.inf, 3]]  # cannot be promised: the farthest
    assert real_limits(array([np.nan] * 3), ONE_CLASS[:3], 0.95, 2).tolist() == [[-np.inf, np.inf]] * 2
    assert real_limits(array([5, np.nan, 1]), np.array([0, 0, 1]), 0.5, 2).tolist() == [[-np.inf, 5], [-np.inf, 1]]


@pytest.mark.parametrize(
    ("share", "images"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99), ((0.05, 0.9), 19), ((0.0, 0.5), 1), (1.0, 1)]
)
def test_images_that_a_promise_takes(share: Share, images: int) -> None:
    assert images_for(share) == images


@given(high=st.floats(0.01, 0.999))
def test_with_so_many_images_the_limit_is_one_of_them(high: float) -> None:
    """The place ceil((n + 1) share) is among n scores from `images_for` on, and not before."""
    count = images_for(high)
    assert np.ceil((count + 1) * high - 1e-6) <= count
    assert count == 1 or np.ceil(count * high + 1e-6) > count - 1


@given(values=scores, one=st.floats(0.01, 1), other=st.floats(0.01, 1))
def test_limits_grow_with_the_share(values: list[float], one: float, other: float) -> None:
    less, more = sorted((one, other))
    found, labels = array(values), ONE_CLASS[: len(values)]
    for limits in (real_limits, drawn_limits):
        assert limits(found, labels, less, 1)[0, 1] <= limits(found, labels, more, 1)[0, 1]


@given(values=scores, share=shares, seed=st.integers(0, 2**32))
def test_order_does_not_matter_nor_other_classes(values: list[float], share: Share, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(values))
    found, labels = array(values), ONE_CLASS[: len(values)]
    for limits in (real_limits, drawn_limits):
        alone = limits(found, labels, share, 1)
        assert (limits(found[order], labels, share, 1) == alone).all()
        beside = np.concatenate([found, found * 7]), np.concatenate([labels, labels + 1])
        assert (limits(*beside, share, 2)[0] == alone[0]).all()


@pytest.mark.parametrize("share", [0.5, 0.9, (0.2, 0.8)])
@pytest.mark.parametrize("count", [9, 19, 200])
def test_a_new_image_passes_as_often_as_promised(share: Share, count: int) -> None:
    """Of exchangeable continuous scores a new one passes with a probability from the share to one part more."""
    low, high = share if isinstance(share, tuple) else (0.0, share)
    rng = np.random.default_rng(0)
    rounds = 3000
    passed = np.empty(rounds)
    for number in range(rounds):
        drawn = rng.lognormal(0, 1, count + 1).astype(np.float32)
        below, above = real_limits(drawn[:-1], ONE_CLASS[:count], share, 1)[0]
        passed[number] = below <= drawn[-1] <= above
    error = 3 * passed.std() / np.sqrt(rounds)
    assert high - low - error <= passed.mean() <= high - low + 2 / (count + 1) + error
