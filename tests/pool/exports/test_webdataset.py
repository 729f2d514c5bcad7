"""The format "webdataset" as webdataset and Hugging Face read it."""

import gc
import json
import tarfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_augment.errors import ConfigError
from gan_augment.pool.exports import export
from tests.pool.exports.material import drawn_pool, hugging_face, pool_of


def samples(out: Path, *how: str) -> list[dict[str, Any]]:
    import webdataset

    shards = [str(path) for path in sorted(out.glob("*.tar"))]
    return _all_of(webdataset.WebDataset(shards, shardshuffle=False).decode(*how))


def _all_of(samples: Iterable[Any]) -> list[Any]:
    """All samples; the files that webdataset leaves open are closed here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = list(samples)
        gc.collect()
    return found


@pytest.mark.parametrize(
    ("dtype", "shape", "suffix"),
    [
        ("uint8", (9, 7), "png"),
        ("uint8", (9, 7, 3), "png"),
        ("uint8", (9, 7, 4), "png"),
        ("uint8", (5, 9, 7), "npy"),
        ("uint16", (9, 7), "npy"),
        ("uint16", (9, 7, 3), "npy"),
        ("uint32", (9, 7), "npy"),
        ("float16", (9, 7), "npy"),
        ("float64", (9, 7, 3), "npy"),
        ("int16", (5, 6, 7), "npy"),
        ("float32", (2, 5, 6, 7), "npy"),
    ],
)
@pytest.mark.parametrize("most", [0, 3, 300])
def test_webdataset_reads_exact_values(
    dtype: str, shape: tuple[int, ...], suffix: str, most: int, tmp_path: Path
) -> None:
    if most and shape == (5, 9, 7) and dtype == "uint8":
        most = 0  # a volume without channel
    pool = pool_of(dtype, shape, most=most)
    found = samples(export(pool, tmp_path / "out", "webdataset", progress=False), _mode(shape))
    assert sorted(int(sample["__key__"]) for sample in found) == list(range(6))
    for sample in found:
        row = sample["json"]["row"]
        assert sample["cls"] == sample["json"]["label"] == pool.labels[row]
        array = np.asarray(sample[suffix])
        if suffix == "png":
            array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        assert array.dtype == pool.array(row).dtype
        assert np.array_equal(array, pool.array(row))
        if most:
            mask = sample["mask.png"] if "mask.png" in sample else sample["mask.npy"]
            mask = np.asarray(mask) if "mask.npy" in sample else _grey(np.asarray(mask))
            assert np.array_equal(mask.reshape(pool.mask(row).shape), pool.mask(row))  # type: ignore[union-attr]


def _mode(shape: tuple[int, ...]) -> str:
    return {(9, 7, 3): "pilrgb", (9, 7, 4): "pilrgba"}.get(shape, "pill")


def _grey(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 2 else array[..., 0]


def test_each_sample_says_what_it_is(tmp_path: Path) -> None:
    pool = drawn_pool().candidates()
    found = samples(export(pool, tmp_path / "out", "webdataset", progress=False))
    by_row = {sample["json"]["row"]: sample["json"] for sample in found}
    assert set(by_row) == set(pool.rows.tolist())
    for place, row in enumerate(pool.rows.tolist()):
        told = by_row[row]
        assert told["synthetic"] is True
        assert told["description"].startswith("Synthetic image")
        assert (told["seed"], told["kept"]) == (pool.seeds[place], pool.kept[place])
        assert np.float32(told["score"]) == pool.scores[place]
        assert told["class"] == pool.classes[pool.labels[place]]


def test_shards_are_bounded_and_hold_each_sample_once(tmp_path: Path) -> None:
    pool = pool_of("float32", (20, 20))
    out = export(pool, tmp_path / "out", "webdataset", shard_bytes=9000, progress=False)
    shards = sorted(out.glob("*.tar"))
    assert [path.name for path in shards] == [f"synthetic-{number:06d}.tar" for number in range(len(shards))]
    assert len(shards) > 1
    keys = []
    for path in shards:
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
        assert sum(512 + -(-member.size // 512) * 512 for member in members) <= 9000
        keys += [member.name.split(".")[0] for member in members if member.name.endswith(".cls")]
    assert sorted(keys) == [f"{row:08d}" for row in range(6)]
    braces = str(out / f"synthetic-{{000000..{len(shards) - 1:06d}}}.tar")
    assert braces.rpartition("/")[2] in (out / "README.md").read_text()
    import webdataset

    assert len(_all_of(webdataset.WebDataset(braces, shardshuffle=False))) == 6


def test_a_sample_beyond_the_bound_has_a_shard_of_its_own(tmp_path: Path) -> None:
    out = export(pool_of(), tmp_path / "out", "webdataset", shard_bytes=1, progress=False)
    assert len(list(out.glob("*.tar"))) == 6
    with pytest.raises(ConfigError, match="expected shard_bytes of at least 1"):
        export(pool_of(), tmp_path / "other", "webdataset", shard_bytes=0)


def test_the_order_mixes_classes_unless_told_otherwise(tmp_path: Path) -> None:
    pool = drawn_pool().candidates()
    orders = {}
    for seed in (0, 1, None):
        out = export(pool, tmp_path / str(seed), "webdataset", seed=seed, progress=False)
        orders[seed] = [sample["json"]["row"] for sample in samples(out)]
    assert orders[None] == pool.rows.tolist()
    assert orders[0] != orders[1] != orders[None]
    assert sorted(orders[0]) == sorted(orders[1]) == orders[None]


def test_hugging_face_reads_the_shards(tmp_path: Path) -> None:
    pool = pool_of("uint8", (9, 7, 3))
    out = export(pool, tmp_path / "out", "webdataset", progress=False)
    for item in hugging_face(str(out), tmp_path / "cache"):
        array = np.moveaxis(np.asarray(item["png"]), -1, 0)
        assert np.array_equal(array, pool.array(item["json"]["row"]))
        assert item["cls"] == item["json"]["label"]


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    out = export(pool_of(), tmp_path / "out", "webdataset", progress=False)
    with tarfile.open(out / "synthetic-000000.tar") as tar:
        told = [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]  # type: ignore[arg-type]
    assert {one["score"] for one in told} == {None}
