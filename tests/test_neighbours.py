"""Nearest rows: exact, far from zero too, in blocks, memory-mapped and without FAISS."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_augment import search
from gan_augment.errors import ConfigError, DataError
from gan_augment.neighbours import nearest, nearest_of_class, nearest_other


def brute_force(queries: npt.NDArray[np.float32], base: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    difference = queries[:, None].astype(np.float64) - base[None].astype(np.float64)
    distances: npt.NDArray[np.float64] = np.sqrt((difference**2).sum(2))
    return distances


def cloud(count: int, dim: int, seed: int, offset: float = 0.0) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(0, 1, (count, dim)) + offset).astype(np.float32)


@given(
    count=st.integers(1, 40),
    queries=st.integers(0, 20),
    dim=st.integers(1, 9),
    offset=st.sampled_from([0.0, 5.0, -300.0, 1e4]),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_nearest_is_a_float64_brute_force(count: int, queries: int, dim: int, offset: float, k: int, seed: int) -> None:
    base, asked, k = cloud(count, dim, seed, offset), cloud(queries, dim, seed + 1, offset), min(k, count)
    distances, indices = nearest(asked, base, k)
    expected = brute_force(asked, base)
    assert distances.shape == indices.shape == (queries, k)
    assert distances == pytest.approx(np.sort(expected, axis=1)[:, :k], rel=1e-5, abs=1e-7)
    assert np.take_along_axis(expected, indices, 1) == pytest.approx(distances, rel=1e-5, abs=1e-7)
    assert all(len(set(row)) == k for row in indices.tolist())


@pytest.mark.parametrize("offset", [0.0, 100.0, 5000.0])
def test_an_image_is_at_distance_0_from_itself(offset: float) -> None:
    base = cloud(2000, 64, 0, offset)
    distances, indices = nearest(base, base)
    assert (distances == 0).all()
    assert (indices[:, 0] == np.arange(2000)).all()


def test_near_duplicates_far_from_zero_are_measured() -> None:
    base = cloud(500, 32, 0, 1000.0)
    step = np.float32(2**-10)
    queries = base.copy()
    queries[:, 0] += step
    distances, indices = nearest(queries, base, 2)
    assert (indices[:, 0] == np.arange(500)).all()
    assert distances[:, 0] == pytest.approx(float(step), rel=1e-6)
    assert (distances[:, 1] > 1).all()


@pytest.mark.parametrize("k", [0, 6, -1])
def test_more_neighbours_than_rows(k: int) -> None:
    with pytest.raises(ConfigError, match=f"k from 1 to the number of rows, 5, found {k}"):
        nearest(cloud(3, 2, 0), cloud(5, 2, 1), k)


@given(
    count=st.integers(2, 60),
    queries=st.integers(1, 30),
    dim=st.integers(1, 9),
    k=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1e4]),
    seed=st.integers(0, 2**32),
    size=st.sampled_from([64, 400, 2**26]),
)
def test_blocks_meet_without_a_seam_and_faiss_equals_the_fallback(
    count: int, queries: int, dim: int, k: int, offset: float, seed: int, size: int
) -> None:
    base, asked, k = cloud(count, dim, seed, offset), cloud(queries, dim, seed + 1, offset), min(k, count)
    whole, rows = nearest(asked, base, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.blocks_of, "__defaults__", (size,))
        blocked, blocked_rows = nearest(asked, base, k)
        by_torch, torch_rows = nearest(asked, base, k, device="cpu")
    assert np.array_equal(blocked, whole)
    assert np.array_equal(by_torch, whole)
    expected = brute_force(asked, base)
    assert whole == pytest.approx(np.sort(expected, axis=1)[:, :k], rel=1e-5, abs=1e-7)
    for found in (rows, blocked_rows, torch_rows):  # of two rows at one distance either will do
        assert np.take_along_axis(expected, found, 1) == pytest.approx(whole, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("device", [None, "cpu"])
def test_of_equal_distances_the_lower_row_comes_first(device: str | None) -> None:
    base = np.repeat(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32), 3, axis=0)
    distances, rows = nearest(np.zeros((2, 2), np.float32), base, 6, device=device)
    assert distances.tolist() == [[0.0, 0.0, 0.0, 5.0, 5.0, 5.0]] * 2
    assert rows.tolist() == [[3, 4, 5, 0, 1, 2]] * 2


@pytest.mark.parametrize("device", [None, "cpu"])
def test_a_far_copy_is_told_from_rows_near_it(device: str | None) -> None:
    """Squared lengths of 1e8 are known to 8 only in float32: copies and rows 0.3 away look alike there."""
    rng = np.random.default_rng(0)
    near = [(rng.normal(0, 3e3, 16) + rng.normal(0, 0.05, (5, 16))).astype(np.float32) for _ in range(40)]
    base = np.concatenate(near)
    distances, rows = nearest(base, base, device=device)
    assert (distances == 0).all()
    assert (rows[:, 0] == np.arange(200)).all()


def test_memory_mapped_features_and_some_of_their_rows(tmp_path: Path) -> None:
    base = cloud(300, 5, 0, 3.0)
    np.save(tmp_path / "features.npy", base)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r", allow_pickle=False)
    assert all(np.array_equal(a, b) for a, b in zip(nearest(mapped, mapped, 3), nearest(base, base, 3), strict=True))
    asked, among = np.arange(0, 300, 7), np.arange(1, 300, 3)
    distances, rows = nearest(mapped, mapped, 2, query_rows=asked, base_rows=among)
    wanted, positions = nearest(base[asked], base[among], 2)
    assert np.array_equal(distances, wanted)
    assert np.array_equal(rows, among[positions])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["queries", "base"])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_features_that_are_not_finite(value: float, side: str, device: str | None) -> None:
    queries, base = cloud(4, 3, 0), cloud(9, 3, 1)
    (queries if side == "queries" else base)[2, 1] = value
    with pytest.raises(DataError, match="finite features"):
        nearest(queries, base, 2, device=device)


def test_dimensions_that_differ() -> None:
    with pytest.raises(ConfigError, match=r"found \(3, 2\) and \(5, 4\)"):
        nearest(cloud(3, 2, 0), cloud(5, 4, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same() -> None:
    base, asked = cloud(5000, 64, 0, 10.0), cloud(700, 64, 1, 10.0)
    distances, rows = nearest(asked, base, 3, device="cuda")
    assert np.array_equal(distances, nearest(asked, base, 3)[0])
    assert np.array_equal(rows, nearest(asked, base, 3)[1])


def test_the_nearest_other_row_leaves_one_out() -> None:
    base = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]], np.float32)
    assert nearest_other(base, base, np.arange(3)).tolist() == [5.0, 5.0, 5.0]
    assert nearest_other(base, base, np.full(3, -1)).tolist() == [0.0, 0.0, 0.0]
    assert nearest_other(base[:1], base, np.array([2])).tolist() == [0.0]


@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=4), k=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_nearest_of_class_is_a_brute_force(sizes: list[int], k: int, seed: int) -> None:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    features = cloud(len(targets), 3, seed)
    rows, counts = nearest_of_class(features, targets, k)
    distances = brute_force(features, features)
    for row, label in enumerate(targets):
        others = [other for other in np.flatnonzero(targets == label) if other != row]
        expected = sorted(others, key=lambda other: distances[row, other])[:k]
        assert counts[row] == len(expected)
        assert rows[row].tolist() == expected + [-1] * (k - len(expected))


def test_an_image_is_no_neighbour_of_itself_among_many_copies() -> None:
    features = np.zeros((6, 2), np.float32)
    rows, counts = nearest_of_class(features, np.zeros(6, np.int64), 2)
    assert (counts == 2).all()
    assert all(row not in near and len(set(near)) == 2 for row, near in enumerate(rows.tolist()))
