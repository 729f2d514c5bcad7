"""Counts nearest to shares, against all counts there are."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.transforms.plan import added_counts, wanted_counts


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    classes = draw(st.integers(2, 4))
    counts = np.array(draw(st.lists(st.integers(0, 5), min_size=classes, max_size=classes)), np.int64)
    counts[0] += 1
    weights = draw(st.lists(st.integers(0, 4), min_size=classes, max_size=classes))
    shares = np.array(weights) + (0 if any(weights) else 1)
    can_grow = np.array(draw(st.lists(st.booleans(), min_size=classes, max_size=classes)))
    order = np.array(draw(st.permutations(range(classes))))
    return counts, shares / shares.sum(), can_grow, order


def all_counts(total: int, classes: int) -> np.ndarray:
    found = [c for c in itertools.product(range(total + 1), repeat=classes) if sum(c) == total]
    return np.array(found)


@given(problems())
def test_counts_are_nearest_with_the_fewest_changes(problem: tuple[np.ndarray, ...]) -> None:
    counts, shares, _, order = problem
    wanted = wanted_counts(counts, shares, np.ones(len(counts), bool), order)
    every = all_counts(int(counts.sum()), len(counts))
    distance = np.round(np.abs(every - shares * counts.sum()).sum(axis=1), 9)
    changes = np.maximum(counts - every, 0).sum(axis=1)
    nearest = every[distance == distance.min()]
    assert wanted.tolist() in nearest.tolist()
    assert np.maximum(counts - wanted, 0).sum() == changes[distance == distance.min()].min()


@given(problems())
def test_classes_that_cannot_grow_do_not(problem: tuple[np.ndarray, ...]) -> None:
    counts, shares, can_grow, order = problem
    wanted = wanted_counts(counts, shares, can_grow, order)
    assert wanted.sum() == counts.sum()
    assert (wanted >= 0).all()
    assert (wanted[~can_grow] <= counts[~can_grow]).all()
    assert not (wanted > counts)[shares == 0].any()


def test_a_class_that_is_short_leaves_the_rest_in_proportion() -> None:
    counts, can_grow = np.array([1, 9, 2]), np.array([False, True, True])
    assert wanted_counts(counts, np.array([0.5, 0.2, 0.3]), can_grow, np.arange(3)).tolist() == [1, 4, 7]
    only = wanted_counts(counts, np.array([1.0, 0.0, 0.0]), can_grow, np.arange(3))
    assert only.tolist() == [1, 9, 2]  # nothing is wanted that could be drawn


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_order_decides_between_equals(order: tuple[int, ...]) -> None:
    wanted = wanted_counts(np.array([4, 0, 0]), np.full(3, 1 / 3), np.ones(3, bool), np.array(order))
    assert wanted.tolist() == [2, 1, 1]  # the class that has more gives one less
    even = added_counts(np.array([2, 2, 2]), np.full(3, 1 / 3), np.ones(3, bool), 2, np.array(order))
    assert even.tolist() == [0, 0, 0]
    near = added_counts(np.array([3, 0, 0]), np.full(3, 1 / 3), np.ones(3, bool), 1, np.array(order))
    first = next(label for label in order if label)
    assert near.tolist() == [0, int(first == 1), int(first == 2)]


@given(problems(), st.integers(0, 5))
def test_additions_are_nearest_with_the_fewest(problem: tuple[np.ndarray, ...], most: int) -> None:
    counts, shares, can_grow, order = problem
    added = added_counts(counts, shares, can_grow, most, order)
    able = can_grow & (shares > 0)
    assert not added[~able].any()
    assert added.sum() <= most
    every = [c for total in range(most + 1) for c in all_counts(total, len(counts)) if not c[~able].any()]
    distance = [np.round(np.abs((counts + c) / (counts + c).sum() - shares).sum(), 9) for c in every]
    own = np.round(np.abs((counts + added) / (counts + added).sum() - shares).sum(), 9)
    assert own == min(distance)
    assert added.sum() == min(c.sum() for c, d in zip(every, distance, strict=True) if d == min(distance))
