"""Centroids: distances to them against float64, and k-means: known clusters, the same again, and without FAISS."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from gan_augment import clusters
from gan_augment.errors import ConfigError, DataError
from gan_augment.neighbours import centroid_distances, kmeans, nearest_centroid
from tests.helpers import run_python
from tests.test_neighbours import brute_force, cloud


@given(
    count=st.integers(0, 50),
    classes=st.integers(1, 9),
    dim=st.integers(1, 9),
    offset=st.sampled_from([0, 1, 7, 1e4]),
    block=st.sampled_from([1, 7, 1024]),
)
def test_centroid_distances_are_a_float64_brute_force(
    count: int, classes: int, dim: int, offset: float, block: int
) -> None:
    features, centroids = cloud(count, dim, 0, offset), cloud(classes, dim, 1, offset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_BLOCK", block)
        found = centroid_distances(features, centroids)
        near, rows = nearest_centroid(features, centroids)
    expected = brute_force(features, centroids)
    assert found.shape == (count, classes)
    assert found.dtype == near.dtype == np.float32
    assert found == pytest.approx(expected, rel=1e-3, abs=5e-3)
    assert near == pytest.approx(expected.min(axis=1), rel=1e-3, abs=5e-3)
    assert np.take_along_axis(expected, rows[:, None], 1)[:, 0] == pytest.approx(near, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1.5, 30.0])
def test_distances_are_as_good_far_from_zero(offset: float) -> None:
    features, centroids = cloud(500, 64, 0, offset), cloud(10, 64, 1, offset)
    assert centroid_distances(features, centroids) == pytest.approx(brute_force(features, centroids), rel=1e-4)


def test_a_rows_distance_does_not_depend_on_the_rows_beside_it() -> None:
    features, centroids = cloud(300, 16, 0), cloud(5, 16, 1)
    order = np.random.default_rng(0).permutation(300)
    assert centroid_distances(features[order], centroids) == pytest.approx(
        centroid_distances(features, centroids)[order], rel=1e-6
    )


def blobs(count: int, k: int, dim: int, seed: int, offset: float = 0.0) -> tuple[npt.NDArray[np.float32], ...]:
    rng = np.random.default_rng(seed)
    means = rng.normal(0, 20, (k, dim)) + offset
    return (means[np.arange(count) % k] + rng.normal(0, 0.1, (count, dim))).astype(np.float32), means.astype(np.float32)


@pytest.mark.parametrize("faiss", [True, False])
@given(k=st.integers(1, 8), dim=st.integers(4, 8), seed=st.integers(0, 2**32), offset=st.sampled_from([0.0, 1e3]))
@settings(max_examples=30)
def test_kmeans_finds_clusters_far_apart(faiss: bool, k: int, dim: int, seed: int, offset: float) -> None:
    features, means = blobs(40 * k, k, dim, seed, offset)
    with pytest.MonkeyPatch.context() as patch:
        if not faiss:
            patch.setattr(clusters, "faiss_module", lambda: None)
        centroids = kmeans(features, k, seed=seed)
        again = kmeans(features, k, seed=seed)
    assert centroids.dtype == np.float32
    assert np.array_equal(centroids, again)
    distances = brute_force(means, centroids)
    # The true means are far apart nearly always; where two fell together, one mean may have both.
    apart = brute_force(means, means)[~np.eye(k, dtype=bool)]
    if not apart.size or apart.min() > 5:
        assert (distances.min(axis=1) < 0.5).all()


@given(count=st.integers(20, 300), k=st.integers(1, 12), spherical=st.booleans(), seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_faiss_equals_the_fallback(count: int, k: int, spherical: bool, seed: int) -> None:
    features = cloud(count, 6, seed, 2.0)
    with pytest.MonkeyPatch.context() as patch:
        by_faiss = kmeans(features, k, seed=seed, spherical=spherical, iterations=5)
        patch.setattr(clusters, "faiss_module", lambda: None)
        by_numpy = kmeans(features, k, seed=seed, spherical=spherical, iterations=5)
    one, other = inertia(features, by_faiss, spherical), inertia(features, by_numpy, spherical)
    assert one == pytest.approx(other, rel=0.02)  # what becomes of an empty cluster is each one's own affair


def inertia(features: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], spherical: bool = False) -> float:
    if spherical:
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return float((brute_force(features, centroids).min(axis=1) ** 2).sum())


def test_kmeans_is_no_worse_than_scikit_learn() -> None:
    features = np.concatenate([blobs(1500, 12, 16, 0)[0] * 0.05, cloud(500, 16, 1)]).astype(np.float32)
    ours = np.median([inertia(features, kmeans(features, 20, seed=seed)) for seed in range(5)])
    peers = [KMeans(20, n_init=1, random_state=seed).fit(features).inertia_ for seed in range(5)]
    assert ours <= 1.02 * np.median(peers)


def test_spherical_centroids_have_length_1_and_ignore_lengths() -> None:
    directions = np.eye(4, dtype=np.float32)[np.arange(400) % 4]
    lengths = np.random.default_rng(0).uniform(0.1, 50, (400, 1)).astype(np.float32)
    centroids = kmeans(directions * lengths, 4, spherical=True)
    assert np.linalg.norm(centroids, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.sort(centroids.argmax(axis=1)).tolist() == [0, 1, 2, 3]
    assert centroids.max(axis=1) == pytest.approx(1, abs=1e-5)


def test_kmeans_of_as_many_centroids_as_rows_and_of_copies() -> None:
    features = cloud(12, 3, 0)
    found = kmeans(features, 12)
    assert brute_force(features, found).min(axis=1) == pytest.approx(0, abs=1e-5)
    copies = np.ones((30, 3), np.float32)
    assert kmeans(copies, 5) == pytest.approx(1, abs=1e-3)


def test_a_large_set_is_sampled_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_ROWS", 500)
    monkeypatch.setattr(clusters, "_MOST_ROWS", 50)
    features, means = blobs(5000, 4, 5, 0)
    found = kmeans(features, 4, seed=1)
    assert np.array_equal(found, kmeans(features, 4, seed=1))
    assert not np.array_equal(found, kmeans(features, 4, seed=2))
    assert (brute_force(means, found).min(axis=1) < 0.1).all()


@pytest.mark.parametrize("k", [0, 6, 2.5])
def test_k_that_cannot_be(k: int) -> None:
    with pytest.raises(ConfigError, match=r"k .*found"):
        kmeans(cloud(5, 2, 0), k)


def test_kmeans_of_features_that_are_not_finite() -> None:
    features = cloud(50, 2, 0)
    features[3, 1] = np.nan
    with pytest.raises(DataError, match="finite features"):
        kmeans(features, 3)


_QUIET = """
import numpy as np
from gan_augment.neighbours import kmeans
kmeans(np.random.default_rng(0).normal(size=(45, 4)).astype(np.float32), 9)
"""


def test_kmeans_of_few_rows_a_centroid_says_nothing() -> None:
    done = run_python(_QUIET)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
