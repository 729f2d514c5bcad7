"""Distances: exact, far from zero too, and in forked workers."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.errors import ConfigError
from gan_augment.neighbours import centroid_distances, nearest, nearest_of_class, nearest_other
from tests.helpers import run_python


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


@given(count=st.integers(0, 50), classes=st.integers(1, 9), dim=st.integers(1, 9), offset=st.sampled_from([0, 7, 1e4]))
def test_centroid_distances_are_a_float64_brute_force(count: int, classes: int, dim: int, offset: float) -> None:
    features, centroids = cloud(count, dim, 0, offset), cloud(classes, dim, 1, offset)
    found = centroid_distances(features, centroids)
    assert found.shape == (count, classes)
    assert found.dtype == np.float32
    assert found == pytest.approx(brute_force(features, centroids), rel=1e-3, abs=5e-3)


def test_blocks_meet_without_a_seam() -> None:
    features, centroids = cloud(8192 * 2 + 5, 3, 0), cloud(4, 3, 1)
    assert centroid_distances(features, centroids) == pytest.approx(brute_force(features, centroids), abs=1e-3)
    distances, _ = nearest(features, centroids, 4)
    assert distances == pytest.approx(np.sort(brute_force(features, centroids), axis=1), abs=1e-5)


_FORKED = """
import multiprocessing
import numpy as np
from gan_augment.neighbours import nearest
features = np.random.default_rng(0).normal(size=(20000, 64)).astype(np.float32)
expected = nearest(features[:500], features, 3)
def work(queue):
    queue.put(nearest(features[:500], features, 3))
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=work, args=(queue,), daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        found = queue.get(timeout=60)
        print(all(np.array_equal(a, b) for a, b in zip(found, expected)))
    for worker in workers:
        worker.join(60)
        print(worker.exitcode)
"""


def test_a_forked_worker_searches_after_its_parent_did() -> None:
    done = run_python(_FORKED, env={"OMP_NUM_THREADS": "4"}, timeout=100)  # a hang would need threads
    assert done.stdout.split() == ["True", "True", "0", "0"], done.stderr


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
