"""The format "folder" as torchvision, Hugging Face, Pillow and we ourselves read it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from gan_augment.errors import DataError
from gan_augment.folders import open_folder
from gan_augment.pool import SyntheticPool
from gan_augment.pool.exports import export, read_folder
from gan_augment.pool.exports.marking import XMP
from tests.pool.exports.material import CLASSES, drawn_pool, hugging_face, pool_of

HELD = [
    ("uint8", (9, 7), "png"),
    ("uint8", (9, 7, 2), "png"),
    ("uint8", (9, 7, 3), "png"),
    ("uint8", (3, 9, 7), "png"),
    ("uint8", (9, 7, 4), "png"),
    ("uint16", (9, 7), "png"),
    ("uint16", (1, 9, 7), "png"),
    ("int8", (9, 7), "tif"),
    ("int16", (9, 7), "tif"),
    ("int32", (9, 7), "tif"),
    ("float16", (9, 7), "tif"),
    ("float32", (9, 7), "tif"),
]


def table(out: Path) -> list[dict[str, str]]:
    with open(out / "metadata.csv", newline="") as file:
        return list(csv.DictReader(file))


def same(back: Any, pool: SyntheticPool) -> None:
    again = back.pool()
    assert again.classes == pool.classes
    assert back.labels.tolist() == pool.labels.tolist()
    for place, row in enumerate(pool.rows.tolist()):
        stored, read = pool.array(row), again.array(place)
        assert (read.dtype, read.shape) == (stored.dtype, stored.shape)
        assert np.array_equal(read, stored)


@pytest.mark.parametrize(("dtype", "shape", "suffix"), HELD)
def test_the_round_trip_is_exact(dtype: str, shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    pool = pool_of(dtype, shape)
    out = export(pool, tmp_path / "out", progress=False)
    assert {path.suffix for path in out.glob("*/*")} == {f".{suffix}"}
    back = read_folder(out, progress=False)
    same(back, pool)
    assert back.form == pool.form
    assert back.notes == []


@pytest.mark.parametrize(("dtype", "shape", "suffix"), HELD)
def test_pillow_reads_the_values_and_the_mark(dtype: str, shape: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    pool = pool_of(dtype, shape)
    out = export(pool, tmp_path / "out", progress=False)
    path = out / CLASSES[0] / f"00000003.{suffix}"
    with Image.open(path) as image:
        array = np.asarray(image)
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        assert np.array_equal(array, pool.array(3))
        if suffix == "png":
            told, xmp = image.info["Description"], image.info["XML:com.adobe.xmp"]
            assert (image.info["Synthetic"], image.info["Row"], image.info["Seed"]) == ("true", "3", "unknown")
            assert image.info["Software"].startswith("gan_augment ")
        else:
            told, xmp = image.tag_v2[270], image.tag_v2[700].decode()
    assert told.startswith("Synthetic image, drawn by a generative model")
    assert "not for diagnosis" in told
    assert xmp == XMP


def test_a_seed_stands_in_the_mark(tmp_path: Path) -> None:
    pool = drawn_pool()
    out = export(pool, tmp_path / "out", progress=False)
    for row, seed in zip(pool.rows.tolist(), pool.seeds.tolist(), strict=True):
        (path,) = out.glob(f"*/{row:08d}.png")
        with Image.open(path) as image:
            assert image.info["Seed"] == str(seed)
            assert str(seed) in image.info["Description"]
            assert len(image.info["Pool"]) == 16


def test_tifffile_reads_what_pillow_wrote(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pool = pool_of("float32")
    out = export(pool, tmp_path / "out", progress=False)
    with tifffile.TiffFile(out / "nevus" / "00000000.tif") as file:
        assert np.array_equal(file.asarray(), pool.array(0)[0])
        assert file.pages[0].description.startswith("Synthetic image")


def test_torchvision_and_we_open_it(tmp_path: Path) -> None:
    pool = pool_of("uint8", (9, 7, 3))
    out = export(pool, tmp_path / "out", progress=False)
    for dataset in (ImageFolder(str(out)), open_folder(out)):
        assert dataset.classes == sorted(CLASSES)
        assert len(dataset) == 6
        for (path, target), (image, label) in zip(dataset.samples, dataset, strict=True):
            row = int(Path(path).stem)
            assert target == label
            assert dataset.classes[label] == CLASSES[row % 3]
            assert np.array_equal(np.asarray(image), np.moveaxis(pool.array(row), 0, -1))


@pytest.mark.parametrize("how", ["imagefolder", "path", "masks"])
def test_hugging_face_opens_it(how: str, tmp_path: Path) -> None:
    import datasets

    pool = pool_of(classes=("nevus", "test", "train"), most=2 if how == "masks" else 0)
    if how == "imagefolder":  # which takes folders called test and train for splits
        pool = pool_of()
    out = export(pool, tmp_path / "out", progress=False)
    given = {"path": "imagefolder", "data_dir": str(out)} if how == "imagefolder" else {"path": str(out)}
    found = hugging_face(**given, cache=tmp_path / "cache")
    assert isinstance(found.features["image"], datasets.Image)
    assert len(found) == 6
    for item in found:
        assert np.array_equal(np.asarray(item["image"]), pool.array(item["row"])[0])
        assert (item["label"], item["class"]) == (item["row"] % 3, pool.classes[item["row"] % 3])
        assert item["synthetic"] is True
        if how == "masks":
            assert np.array_equal(np.asarray(item["mask"]), pool.mask(item["row"])[0])  # type: ignore[index]


def test_one_image_is_enough(tmp_path: Path) -> None:
    pool = pool_of().filter(np.arange(6) == 4)
    out = export(pool, tmp_path / "out", progress=False)
    assert len(hugging_face(str(out), tmp_path / "cache")) == 1
    same(read_folder(out, progress=False), pool)


@pytest.mark.parametrize(("most", "suffix"), [(1, "png"), (255, "png"), (256, "png"), (65536, "tif")])
def test_masks_lie_beside_in_a_folder_of_their_own(most: int, suffix: str, tmp_path: Path) -> None:
    pool = pool_of(most=most)
    out = export(pool, tmp_path / "out", progress=False)
    assert [path.name for path in sorted(out.iterdir()) if path.is_dir()] == ["images", "masks"]
    assert open_folder(out / "images").classes == open_folder(out / "masks").classes == sorted(CLASSES)
    assert {path.suffix for path in (out / "masks").glob("*/*")} == {f".{suffix}"}
    for again in (read_folder(out, progress=False), _without_table(out)):
        assert again.masks is not None
        rows = again.columns["row"].tolist()
        rows = [int(Path(file).stem) for file in again.files] if -1 in rows else rows
        for place, row in enumerate(rows):
            assert np.array_equal(again.masks[place], pool.mask(row)[0])  # type: ignore[index]
            assert np.array_equal(again.images[place], pool.array(row)[0])


def _without_table(out: Path) -> Any:
    (out / "metadata.csv").unlink()
    return read_folder(out, progress=False)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint16", (9, 7, 3)), ("float32", (9, 7, 3)), ("uint8", (5, 9, 7)), ("uint32", (9, 7)), ("float64", (9, 7))],
)
@pytest.mark.parametrize("name", ["folder", "huggingface"])
def test_what_neither_png_nor_tiff_holds_is_refused(
    dtype: str, shape: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="webdataset"):
        export(pool_of(dtype, shape), tmp_path / "out", name, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["folder", "huggingface"])
def test_volumes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found volumes of 5x6x7; use format='nifti' or 'webdataset'"):
        export(pool_of("int16", (5, 6, 7)), tmp_path / "out", name, progress=False)


def test_the_table_says_what_the_pool_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews = property(lambda view: (view.rows % 4).astype(np.uint8))
    monkeypatch.setattr(SyntheticPool, "reviews", reviews)
    pool = drawn_pool().candidates()
    out = export(pool, tmp_path / "out", progress=False)
    lines = table(out)
    assert list(lines[0])[:2] == ["file_name", "label"]
    assert [int(line["seed"]) for line in lines] == pool.seeds.tolist()
    back = read_folder(out, progress=False)
    assert np.array_equal(back.columns["row"], pool.rows)
    for name, values in (
        ("seed", pool.seeds),
        ("score", pool.scores),
        ("kept", pool.kept),
        ("reason", pool.reasons),
        ("parent", pool.parents),
        ("weight", pool.weights),
        ("review", (pool.rows % 4).astype(np.uint8)),
    ):
        assert np.array_equal(back.columns[name], values, equal_nan=name == "score"), name
        assert back.columns[name].dtype.kind == values.dtype.kind
    assert {line["review"] for line in lines} == {"", "keep", "reject", "unsure"}
    assert back.form == pool.form
    same(back, pool)
