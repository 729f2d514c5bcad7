"""Shift-tolerant neighbours, authenticity and C_T: known answers, a brute force, scikit-learn and scipy."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from gan_augment.metrics.copies import ShiftIndex, authentic, c_t, shrunk


def noise(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def brute_force(query: torch.Tensor, base: torch.Tensor, margin: int) -> np.ndarray:
    best = torch.full((len(base),), torch.inf)
    height, width = (side - 2 * margin for side in base.shape[2:])
    middle = base[:, :, margin : margin + height, margin : margin + width]
    for y, x in itertools.product(range(2 * margin + 1), repeat=2):
        moved = query[:, y : y + height, x : x + width]
        best = torch.minimum(best, (moved - middle).pow(2).flatten(1).mean(1).sqrt())
    return best.numpy()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 18)])
def test_distances_are_a_brute_force(shape: tuple[int, ...]) -> None:
    base, queries = noise(40, *shape), noise(7, *shape, seed=1)
    index = ShiftIndex(base)
    distances, rows = index.search(queries, 2)
    for query, distance, row in zip(queries, distances, rows, strict=True):
        expected = brute_force(query, base, index.margin)
        assert distance[0] == pytest.approx(expected.min(), abs=1e-5)
        assert distance == pytest.approx(expected[row], abs=1e-5)
        assert row[0] != row[1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (1, 8, 8, 8)])
def test_a_shift_is_no_distance(shape: tuple[int, ...]) -> None:
    base = noise(100, *shape)
    moved = torch.roll(base, (1, -1), (-2, -1))
    distances, rows = ShiftIndex(base).search(moved)
    assert distances[:, 0] == pytest.approx(0, abs=1e-6)
    assert rows[:, 0].tolist() == list(range(100))


def test_one_is_left_out() -> None:
    base = noise(30, 1, 8, 8)
    base[7] = base[3]
    distances, rows = ShiftIndex(base).search(base, 2, left_out=np.arange(30))
    assert rows[3, 0] == 7
    assert distances[3, 0] == 0
    assert (rows != np.arange(30)[:, None]).all()
    assert (np.delete(distances[:, 0], [3, 7]) > 0.1).all()


def test_a_group_is_left_out() -> None:
    base, groups = noise(30, 1, 8, 8), np.arange(30) // 3
    base[1::3] = base[::3]
    distances, rows = ShiftIndex(base).search(base, left_out=np.arange(30), groups=(groups, groups))
    assert (groups[rows[:, 0]] != groups).all()
    assert (distances > 0.1).all()


def test_what_is_not_there_is_infinite() -> None:
    base = noise(2, 1, 8, 8)
    distances, rows = ShiftIndex(base).search(base, 2, left_out=np.arange(2))
    assert rows.tolist() == [[1, -1], [0, -1]]
    assert np.isinf(distances[:, 1]).all()


def test_images_are_shrunk_to_what_copies_are_told_by() -> None:
    assert shrunk(noise(2, 1, 128, 64)).shape == (2, 1, 32, 16)
    assert shrunk(noise(2, 1, 28, 28)).shape == (2, 1, 28, 28)
    assert shrunk(noise(1, 1, 32, 32, 8)).shape == (1, 1, 16, 16, 5)


def test_authentic_is_the_definition() -> None:
    reals = np.random.default_rng(0).normal(size=(50, 3))
    fakes = np.random.default_rng(1).normal(size=(20, 3))
    near = NearestNeighbors(n_neighbors=2).fit(reals)
    distance, row = near.kneighbors(fakes, 1)
    own = near.kneighbors(reals)[0][:, 1]
    found = authentic(distance[:, 0], own[row[:, 0]])
    slow = []
    for fake in fakes:
        to_reals = np.linalg.norm(reals - fake, axis=1)
        star = to_reals.argmin()
        others = np.delete(np.linalg.norm(reals - reals[star], axis=1), star)
        slow.append(to_reals[star] > others.min())
    assert found.tolist() == slow
    assert not authentic(np.zeros(3), np.ones(3)).any()


def test_c_t_is_the_z_score_of_mann_whitney() -> None:
    rng = np.random.default_rng(0)
    fake, held = rng.random(40), rng.random(60)
    u = stats.mannwhitneyu(fake, held).statistic
    assert c_t(fake, held) == pytest.approx((u - 40 * 60 / 2) / np.sqrt(40 * 60 * 101 / 12))
    assert c_t(np.zeros(50), np.ones(50)) < -8
    assert c_t(np.ones(50) * 2, np.ones(50)) > 8
    assert abs(c_t(held, held)) < 1e-9
