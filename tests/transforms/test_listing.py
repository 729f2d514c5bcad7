from typing import Any

import numpy as np
import pytest

from gan_augment.balance import Balance
from gan_augment.errors import ConfigError, DataError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.references import Pools
from gan_augment.transforms.listing import balanced_list
from gan_augment.transforms.source import ByLabel
from tests.transforms.sources import marked_pool

KEYS = ("image", "label", None)
REALS = [{"image": f"{i}.nii", "label": label} for i, label in enumerate([0] * 40 + [1] * 8 + [2] * 2)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ByLabel:
    """A pool in a folder of thirty rows of each of three classes."""
    folder = tmp_path_factory.mktemp("listing") / "pool"
    marked_pool(np.repeat([0, 1, 2], 30)).save(folder, progress=False)
    return ByLabel(SyntheticPool.open(folder))


def rows(listed: list[dict[str, Any]], label: int) -> list[int]:
    pools = Pools()
    names = [one["image"] for one in listed if one["label"] == label and one["image"].endswith(".synthetic")]
    return [pools.find(name)[1] for name in names]


def repeats(listed: list[dict[str, Any]], label: int) -> list[str]:
    added = listed[len(REALS) :]
    return [one["image"] for one in added if one["label"] == label and not one["image"].endswith(".synthetic")]


@pytest.mark.parametrize(("share", "synthetic"), [(0, [0, 0]), (0.5, [16, 19]), (0.3, [10, 11]), (1, [32, 38])])
def test_a_share_of_what_is_added_is_synthetic(share: float, synthetic: list[int], source: ByLabel) -> None:
    listed = balanced_list(REALS, source, KEYS, synthetic_share=share)
    assert listed[: len(REALS)] == REALS
    assert np.bincount([one["label"] for one in listed]).tolist() == [40, 40, 40]
    assert [len(rows(listed, label)) for label in (0, 1, 2)] == [0, *synthetic]


def test_nothing_comes_again_before_all_else_came(source: ByLabel) -> None:
    listed = balanced_list(REALS, source, KEYS, synthetic_share=1)
    assert sorted(set(rows(listed, 1))) == list(range(30, 60))
    assert np.bincount(rows(listed, 2))[60:].max() == 2  # 38 of 30
    counts = np.unique(repeats(balanced_list(REALS, source, KEYS, synthetic_share=0), 1), return_counts=True)[1]
    assert counts.tolist() == [4] * 8


def test_it_is_a_function_of_its_arguments_alone(source: ByLabel) -> None:
    np.random.seed(0)
    first = balanced_list(REALS, source, KEYS)
    np.random.seed(1)
    assert balanced_list(REALS, ByLabel(str(source.pool.folder)), KEYS) == first  # type: ignore[union-attr]
    assert balanced_list(REALS, source, KEYS, seed=1) != first


def test_dicts_are_nobody_elses(source: ByLabel) -> None:
    listed = balanced_list(REALS, source, KEYS)
    listed[0]["label"] = listed[-1]["label"] = 9
    assert {one["label"] for one in REALS} == {0, 1, 2}


@pytest.mark.parametrize(
    ("strategy", "totals"),
    [({1: 20}, [40, 20, 2]), ("minority", [40, 8, 40]), (Balance(max_ratio=2), [40, 24, 6]), ("sqrt", [40, 18, 9])],
)
def test_strategies_are_those_of_the_library(strategy: Any, totals: list[int], source: ByLabel) -> None:
    listed = balanced_list(REALS, source, KEYS, sampling_strategy=strategy)
    assert np.bincount([one["label"] for one in listed]).tolist() == totals


def test_other_keys_are_filled(source: ByLabel) -> None:
    data = [{**one, "site": "Bonn", "age": i} for i, one in enumerate(REALS)]
    with pytest.raises(ConfigError, match=r"other keys \('age', 'site'\), found None; give a value for each"):
        balanced_list(data, source, KEYS)
    with pytest.raises(ConfigError, match=r"found \{'site': ''\}"):
        balanced_list(data, source, KEYS, fill={"site": ""})
    with pytest.raises(ConfigError, match="there are none"):
        balanced_list(REALS, source, KEYS, fill={"site": ""})
    filled = balanced_list(data, source, KEYS, fill={"site": "", "age": -1}, synthetic_share=1)
    assert {(one["site"], one["age"]) for one in filled[len(data) :]} == {("", -1)}
    like = balanced_list(data, source, KEYS, fill="like", synthetic_share=1)
    assert {one["age"] for one in like[len(data) :] if one["label"] == 1} == set(range(40, 48))


def test_a_view_of_a_pool_gives_its_rows_alone(source: ByLabel) -> None:
    assert source.pool is not None
    listed = balanced_list(REALS, ByLabel(source.pool.sample(25)), KEYS, synthetic_share=1)
    assert len(set(rows(listed, 2))) == 25


def test_what_is_no_list_of_dicts_is_told(source: ByLabel) -> None:
    for data in ([*REALS, {"image": "x.nii"}], [*REALS, "x.nii"]):
        with pytest.raises(DataError, match=r"keys image, label, found .* as item 50"):
            balanced_list(data, source, KEYS)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"expected one class an item.*or name another key than 'label'"):
        balanced_list([{"image": "x.nii", "label": [0, 1]}], source, KEYS)
    with pytest.raises(ConfigError, match="synthetic_share from 0 to 1, found 2"):
        balanced_list(REALS, source, KEYS, synthetic_share=2)
