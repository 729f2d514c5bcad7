"""The approximate search: its recall is what it says, and it is exact where it would not pay."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gan_augment import index
from gan_augment.errors import ConfigError, DataError
from gan_augment.index import NeighbourIndex
from gan_augment.neighbours import nearest
from tests.test_neighbours import cloud


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_PAYS_ROWS", 0)
    monkeypatch.setattr(index, "_PAYS_PAIRS", 0)


def features(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Points near a surface of 4 dimensions in 24, as features of images lie."""
    mix = np.random.default_rng(9).normal(size=(4, 24))
    rng = np.random.default_rng(seed)
    return (np.tanh(rng.normal(size=(count, 4))) @ mix + rng.normal(0, 0.02, (count, 24)) + 3).astype(np.float32)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("target", [0.7, 0.95])
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_the_recall_that_is_said_is_the_recall_of_all(target: float, k: int, device: str | None) -> None:
    base, queries = features(8000, 0), features(3000, 1)
    found = NeighbourIndex(base=base, exact=False, target=target, device=device).search(queries, k)
    true, _ = nearest(queries, base, k)
    recall = (found.distances <= true[:, -1:] * (1 + 1e-6)).mean()
    assert "lists" in found.note
    assert found.recall == pytest.approx(recall, abs=0.08)  # of 200 queries: 2.5 standard errors at 0.7
    assert target - 0.08 <= recall
    again = np.linalg.norm(queries[:, None].astype(np.float64) - base[found.rows].astype(np.float64), axis=2)
    assert found.distances == pytest.approx(again, rel=1e-6)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert all(len(set(row)) == k for row in found.rows.tolist())


@pytest.mark.usefixtures("any_size")
def test_lists_look_at_less_and_recall_falls_with_them() -> None:
    base, queries = features(8000, 0), features(2000, 1)
    few, many = (NeighbourIndex(base=base, exact=False, target=t).search(queries) for t in (0.4, 0.97))
    assert few.recall < many.recall
    assert (few.distances >= many.distances - 1e-6).mean() > 0.95


@pytest.mark.usefixtures("any_size")
def test_a_space_without_clusters_is_searched_exactly() -> None:
    base, queries = cloud(3000, 64, 0), cloud(500, 64, 1)
    found = NeighbourIndex(base=base, exact=False).search(queries, 2)
    assert found.recall == 1
    assert "every row was compared: 95% recall needs" in found.note
    assert np.array_equal(found.distances, nearest(queries, base, 2)[0])


def test_a_small_search_is_exact_and_so_is_the_default() -> None:
    base = features(500, 0)
    for found in (NeighbourIndex(base=base, exact=False).search(base, 3), NeighbourIndex(base=base).search(base, 3)):
        assert found.recall == 1
        assert np.array_equal(found.rows, nearest(base, base, 3)[1])


@pytest.mark.usefixtures("any_size")
def test_the_same_again_and_from_a_file(tmp_path: Path) -> None:
    base, queries = features(5000, 0), features(900, 1)
    np.save(tmp_path / "base.npy", base)
    mapped = np.load(tmp_path / "base.npy", mmap_mode="r", allow_pickle=False)
    one, other = (NeighbourIndex(base=b, exact=False, seed=3).search(queries, 2) for b in (base, mapped))
    assert np.array_equal(one.rows, other.rows)
    assert one.note == other.note


@pytest.mark.usefixtures("any_size")
def test_many_copies_are_found() -> None:
    base = np.concatenate([features(3000, 0), np.repeat(features(1, 5), 2000, axis=0)])
    found = NeighbourIndex(base=base, exact=False).search(base[-800:], 3)
    assert (found.distances == 0).all()


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0])
def test_a_target_that_cannot_be(target: float) -> None:
    with pytest.raises(ConfigError, match="expected target"):
        NeighbourIndex(base=features(10, 0), exact=False, target=target)


@pytest.mark.usefixtures("any_size")
def test_a_query_that_is_not_finite() -> None:
    queries = features(900, 1)
    queries[450] = np.nan
    with pytest.raises(DataError, match="finite features"):
        NeighbourIndex(base=features(5000, 0), exact=False).search(queries)
