"""The format "huggingface" as `datasets` reads it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.exports import export
from tests.pool.exports.material import drawn_pool, hugging_face, pool_of


def loaded(pool: SyntheticPool, folder: Path, **settings: Any) -> Any:
    out = export(pool, folder / "out", "huggingface", progress=False, **settings)
    return hugging_face(str(out), folder / "cache")


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint8", (9, 7)), ("uint8", (9, 7, 3)), ("uint16", (9, 7)), ("int16", (9, 7)), ("float32", (9, 7))],
)
@pytest.mark.parametrize("most", [0, 3])
def test_datasets_reads_exact_values(dtype: str, shape: tuple[int, ...], most: int, tmp_path: Path) -> None:
    pool = pool_of(dtype, shape, most=most)
    found = loaded(pool, tmp_path)
    assert found.features["label"].names == pool.classes
    assert list(found["row"]) == pool.rows.tolist()
    assert list(found["label"]) == pool.labels.tolist()
    for item in found:
        array = np.asarray(item["image"])
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        assert np.array_equal(array, pool.array(item["row"]))
        if most:
            assert np.array_equal(np.asarray(item["mask"]), pool.mask(item["row"])[0])  # type: ignore[index]


def test_columns_and_marks_arrive(tmp_path: Path) -> None:
    import datasets

    pool = drawn_pool().candidates()
    found = loaded(pool, tmp_path)
    assert np.array_equal(np.array(found["score"], np.float32), pool.scores)
    assert list(found["seed"]) == pool.seeds.tolist()
    assert list(found["reason"]) == pool.reasons.tolist()
    assert list(found["kept"]) == pool.kept.tolist()
    assert set(found["synthetic"]) == {True}
    item = found.cast_column("image", datasets.Image(decode=False))[0]["image"]
    with Image.open(io.BytesIO(item["bytes"])) as image:
        assert image.info["Synthetic"] == "true"
        assert image.info["Seed"] == str(pool.seeds[0])


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gan_augment.pool.exports.huggingface._ROWS", 2)
    found = loaded(pool_of(), tmp_path, shard_bytes=1)
    assert list(found["row"]) == list(range(6))
    assert [path.name for path in sorted((tmp_path / "out" / "data").iterdir())] == [
        f"train-{number:05d}.parquet" for number in range(3)
    ]
    with pytest.raises(ConfigError, match="expected shard_bytes"):
        export(pool_of(), tmp_path / "other", "huggingface", shard_bytes=0.5)


def test_hostile_class_names_arrive(tmp_path: Path) -> None:
    classes = ["../x", "", "a\0b", "=1+1", "```\n---", "N" * 300]
    found = loaded(pool_of(classes=classes), tmp_path)
    assert found.features["label"].names == classes
