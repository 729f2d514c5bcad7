"""read_folder: folders that people changed, or that come from elsewhere."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_augment.errors import ConfigError, DataError
from gan_augment.pool.exports import export
from tests.pool.exports.material import drawn_pool, noise, plain_folder, pool_of, read

# -- what people do to a folder ---------------------------------------------------------------------------------------


def test_deleted_images_are_gone(folder: Path) -> None:
    (folder / "melanoma" / "00000004.png").unlink()
    back = read(folder)
    assert back.columns["row"].tolist() == [0, 1, 2, 3, 5]
    assert back.notes == ["1 images of metadata.csv are not there and were left out"]
    assert back.pool().counts == {0: 2, 1: 1, 2: 2}


def test_all_of_a_class_may_be_deleted(folder: Path) -> None:
    shutil.rmtree(folder / "nevus")
    back = read(folder)
    assert back.classes == ["nevus", "melanoma", "basal cell"]
    assert set(back.labels.tolist()) == {1, 2}


def test_a_moved_image_is_of_the_class_that_it_was_moved_to(tmp_path: Path) -> None:
    pool = drawn_pool()
    out = export(pool, tmp_path / "out", progress=False)
    row = int(pool.rows[0])
    (source,) = out.glob(f"*/{row:08d}.png")
    target = next(path for path in out.iterdir() if path.is_dir() and path != source.parent)
    source.rename(target / source.name)
    back = read(out)
    place = back.columns["row"].tolist().index(row)
    assert back.classes[back.labels[place]] == target.name != pool.classes[pool.labels[0]]
    assert back.columns["seed"][place] == pool.seeds[0]
    assert back.notes == ["1 images lie in another folder than metadata.csv says, whose class they are now"]


def test_an_added_image_has_a_class_and_nothing_else(folder: Path) -> None:
    Image.fromarray(noise("uint8", (9, 7), 5)).save(folder / "nevus" / "mine.png")
    back = read(folder)
    assert back.files[-1] == "nevus/mine.png"
    assert (back.labels[-1], back.columns["seed"][-1], back.columns["weight"][-1]) == (0, -1, 1)
    assert back.notes == ["1 images are not in metadata.csv, and nothing but their class is known"]


def test_a_new_folder_is_no_class_of_the_pool(folder: Path) -> None:
    shutil.move(folder / "nevus" / "00000000.png", folder / "00000000.png")
    (folder / "bad").mkdir()
    shutil.move(folder / "00000000.png", folder / "bad" / "00000000.png")
    with pytest.raises(DataError, match="found some of 'bad'; remove them, or give all names as classes="):
        read(folder)
    back = read(folder, classes=["bad", "nevus", "melanoma", "basal cell"])
    assert back.classes[back.labels[-1]] == "bad"


def test_a_class_that_was_changed_in_the_table_counts(folder: Path) -> None:
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("nevus/00000000.png,0,nevus", "nevus/00000000.png,0,melanoma"))
    assert read(folder).labels.tolist() == [1, 1, 2, 0, 1, 2]


def test_the_order_of_classes_can_be_given(folder: Path) -> None:
    back = read(folder, classes=["basal cell", "melanoma", "nevus"])
    assert back.labels.tolist() == [2, 1, 0, 2, 1, 0]
    with pytest.raises(ConfigError, match="different names"):
        read(folder, classes=["nevus", "nevus"])
    with pytest.raises(DataError, match="found some of 'basal cell', 'melanoma'"):
        read(folder, classes=["nevus"])


def test_without_what_stands_beside_it_is_an_image_folder(tmp_path: Path) -> None:
    out = export(pool_of("int16"), tmp_path / "out", progress=False)
    for name in ("metadata.csv", "gan_augment.json", "README.md"):
        (out / name).unlink()
    back = read(out)
    assert back.classes == ["basal cell", "melanoma", "nevus"]
    assert (back.images.dtype, back.form.kind, back.form.mode) == (np.int32, "pil", "I")
    assert set(back.columns["seed"].tolist()) == {-1}
    assert np.isnan(back.columns["score"]).all()
    assert back.about == {}


def test_a_table_that_a_spreadsheet_saved(folder: Path) -> None:
    table = folder / "metadata.csv"
    content = table.read_text().replace("True", "TRUE").replace("\n", "\r\n")
    table.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert len(read(folder)) == 6
    table.write_text(table.read_text("utf-8-sig").replace(",-1,", ",1.23457E+18,"))
    with pytest.raises(DataError, match=r"in column 'seed' of line 2 of .*found '1.23457E\+18'; a spreadsheet may"):
        read(folder)


# -- folders from elsewhere -------------------------------------------------------------------------------------------


def test_any_image_folder_is_read(tmp_path: Path) -> None:
    names = ("cat/1", "cat/deep/2", "dog/1")
    images = {name: noise("uint8", (8, 8, 3), seed) for seed, name in enumerate(names)}
    back = read(plain_folder(tmp_path, **images))
    assert back.files == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert back.classes == ["cat", "dog"]
    assert back.labels.tolist() == [0, 0, 1]
    assert (back.form.kind, back.form.mode) == ("pil", "RGB")
    pool = back.pool()
    assert all((pool.array(i) == np.moveaxis(image, -1, 0)).all() for i, image in enumerate(images.values()))


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    plain_folder(tmp_path)
    for name in ("cat/Thumbs.db", "cat/.DS_Store", "cat/._1.png", "notes.txt", "__MACOSX/._x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    assert len(read(tmp_path)) == 2


@pytest.mark.parametrize(
    ("table", "classes", "labels"),
    [
        ("file_name,label\na.png,dog\nb.png,cat\n", ["cat", "dog"], [1, 0]),
        ("label,file_name,text\n1,a.png,=x\n0,b.png,\n", ["0", "1"], [1, 0]),
        ("file_name,class\na.png,dog\nb.png,dog\n", ["dog"], [0, 0]),
    ],
)
def test_a_table_of_hugging_face(table: str, classes: list[str], labels: list[int], tmp_path: Path) -> None:
    plain_folder(tmp_path, a=noise("uint8", (8, 8)), b=noise("uint8", (8, 8), 1))
    (tmp_path / "metadata.csv").write_text(table)
    back = read(tmp_path)
    assert (back.classes, back.labels.tolist()) == (classes, labels)


def test_folders_count_before_numbers(tmp_path: Path) -> None:
    plain_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,label\ncat/1.png,0\ndog/2.png,1\n")
    assert read(tmp_path).classes == ["cat", "dog"]


def test_masks_that_a_table_names(tmp_path: Path) -> None:
    plain_folder(tmp_path, a=noise("uint8", (8, 8)), b=noise("uint8", (8, 8), 1), ma=np.eye(8, dtype=np.uint8))
    table = tmp_path / "metadata.csv"
    table.write_text("file_name,mask_file_name,label\na.png,ma.png,x\nb.png,ma.png,y\n")
    back = read(tmp_path)
    assert back.masks is not None
    assert (back.masks == np.eye(8)).all()
    assert back.files == ["a.png", "b.png"]
    table.write_text("file_name,mask_file_name,label\na.png,ma.png,x\nb.png,,y\n")
    with pytest.raises(DataError, match=r"expected a mask of each of the 2 images .* found none of 1: b.png"):
        read(tmp_path)
    table.write_text("file_name,mask_file_name,label\na.png,ma.png,x\nb.png,mb.png,y\n")
    with pytest.raises(DataError, match=r"expected the mask 'mb.png' of 'b.png'"):
        read(tmp_path)


def test_masks_unlike_their_images(tmp_path: Path) -> None:
    out = export(pool_of(most=2), tmp_path / "out", progress=False)
    mask = out / "masks" / "nevus" / "00000000.png"
    for image in (noise("uint8", (7, 9)), noise("uint8", (9, 7, 3))):
        Image.fromarray(image).save(mask)
        with pytest.raises(DataError, match="expected a grey mask of whole numbers of 9x7"):
            read(out)
