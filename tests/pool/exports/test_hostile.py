"""read_folder: folders that were made to hurt."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_augment.errors import DataError
from gan_augment.pool.exports import export
from tests.helpers import files_of, set_in
from tests.pool.exports.material import noise, plain_folder, pool_of, read


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "/etc/passwd",
        "nevus/../../secret.png",
        "..\\secret.png",
        "C:\\x.png",
        "nevus//00000000.png",
        "",
        "nevus/./x.png",
        "x" * 5000,
        "a\0b.png",
    ],
)
@pytest.mark.parametrize("column", ["file_name", "mask_file_name"])
def test_no_path_leads_out(name: str, column: str, folder: Path) -> None:
    if column == "mask_file_name" and not name:
        pytest.skip("no mask")
    plain_folder(folder.parent, secret=noise("uint8", (9, 7)))
    names = {"file_name": "nevus/00000000.png", column: name}
    line = f"{names['file_name']},{names.get('mask_file_name', '')}"
    (folder / "metadata.csv").write_text(f"file_name,mask_file_name\n{line}\n")
    with pytest.raises(DataError, match="expected the path of a file inside the folder"):
        read(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file_name\na.png,b\n", "cells"),
        (b"name,label\na,b\n", "expected a column file_name"),
        (b"", "expected a column file_name"),
        (b"file_name,seed,seed\nx,1,1\n", "each column once .* found seed again"),
        (b"file_name\nx.png\nx.png\n", "each file once .* 'x.png' again in line 3"),
        (b'file_name\n"x.png\n', "table of UTF-8 text"),
        (b"file_name\n\xff\xfe.png\n", "table of UTF-8 text"),
        (b"file_name\n" + b"x" * 200_000 + b"\n", "field larger than field limit"),
        (b"file_name,seed\nx.png,nan\n", "column 'seed'"),
        (b"file_name,seed\nx.png,9223372036854775808\n", "column 'seed'"),
        (b"file_name,seed\nx.png," + b"9" * 5000 + b"\n", "column 'seed'"),
        (b"file_name,seed\nx.png,-2\n", "column 'seed'"),
        (b"file_name,seed\nx.png,1_0\n", "column 'seed'"),
        (b"file_name,score\nx.png,high\n", "column 'score'"),
        (b"file_name,weight\nx.png,nan\n", "column 'weight'"),
        (b"file_name,weight\nx.png,inf\n", "column 'weight'"),
        (b"file_name,weight\nx.png,-1\n", "column 'weight'"),
        (b"file_name,kept\nx.png,maybe\n", "column 'kept'"),
        (b"file_name,review\nx.png,good\n", "column 'review'"),
        (b"file_name,parent\nx.png,1.5\n", "column 'parent'"),
        (b"file_name,reason\nx.png," + b"r" * 2000 + b"\n", "column 'reason'"),
    ],
)
def test_damaged_tables(content: bytes, message: str, folder: Path) -> None:
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(folder)


def test_a_table_that_is_too_large_is_not_read(folder: Path) -> None:
    with open(folder / "metadata.csv", "r+b") as file:
        file.truncate(2**29)
    with pytest.raises(DataError, match="at most 256 MiB, found 536870912 bytes"):
        read(folder)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


@pytest.mark.parametrize("damage", [_fifo, _link])
@pytest.mark.parametrize("name", ["metadata.csv", "gan_augment.json", "nevus/00000000.png"])
def test_only_regular_files_are_opened(damage: Callable[[Path], None], name: str, folder: Path) -> None:
    damage(folder / name)
    with pytest.raises(DataError, match=r"no regular file|no links"):
        read(folder)


def test_no_link_is_followed(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="expected no links"):
        read(folder)


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert len(read(folder.parent / "link")) == 6


@pytest.mark.parametrize("name", [".hidden", "nevus/.ipynb_checkpoints"])
def test_hidden_folders_are_told(name: str, folder: Path) -> None:
    (folder / name).mkdir()
    with pytest.raises(DataError, match="found the hidden"):
        read(folder)


def test_folders_in_folders_end(folder: Path) -> None:
    deep = folder / "/".join("d" * 20)
    deep.mkdir(parents=True)
    with pytest.raises(DataError, match="at most 16 folders in each other"):
        read(folder)


@pytest.mark.parametrize("name", ["nothing", "a\0b", "x" * 5000])
def test_no_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder of images at"):
        read(tmp_path / name)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected images .* found none"):
        read(tmp_path)
    plain_folder(tmp_path, a=noise("uint8", (8, 8)))
    with pytest.raises(DataError, match=r"expected a class for each image, found 'a.png' in no folder"):
        read(tmp_path)


def huge_png(side: int) -> bytes:
    """A PNG whose header promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        huge_png(9000),
        huge_png(11000),
        huge_png(2**31 - 1),
        b"GIF89a" + b"\0" * 50,
    ],
)
def test_files_that_are_no_images(content: bytes, folder: Path) -> None:
    (folder / "nevus" / "00000000.png").write_bytes(content)
    with pytest.raises(DataError, match=r"(expected an image|expected at most .* pixels).*00000000\.png"):
        read(folder)


def test_a_truncated_image(folder: Path) -> None:
    path = folder / "nevus" / "00000000.png"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="a file that cannot be read"):
        read(folder)


def test_images_unlike_the_first(folder: Path) -> None:
    path = folder / "melanoma" / "00000001.png"
    for image in (noise("uint8", (9, 8)), noise("uint8", (9, 7, 3)), noise("uint16", (9, 7))):
        Image.fromarray(image).save(path)
        with pytest.raises(DataError, match=r"expected images like nevus/00000000.png \(9x7, mode L\)"):
            read(folder)


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    out = export(pool_of("float32"), tmp_path / "out", progress=False)
    image = noise("float32", (9, 7))
    image[2, 2] = np.nan
    Image.fromarray(image).save(out / "nevus" / "00000003.tif")
    with pytest.raises(DataError, match=r"found NaN or infinity in .*00000003.tif"):
        read(out)


def test_values_that_do_not_fit_the_type_that_was(tmp_path: Path) -> None:
    out = export(pool_of("int16"), tmp_path / "out", progress=False)
    Image.fromarray(np.full((9, 7), 70000, np.int32)).save(out / "nevus" / "00000003.tif")
    with pytest.raises(DataError, match=r"expected values of int16, as gan_augment.json tells, found 70000 to 70000"):
        read(out)
    (out / "gan_augment.json").unlink()
    assert read(out).images.dtype == np.int32


def test_more_than_memory_should_hold(folder: Path) -> None:
    with pytest.raises(DataError, match=r"expected at most 0 MiB of images .* \(6 files\)"):
        read(folder, most_bytes=300)
    assert len(read(folder, most_bytes=6 * 63)) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "gan_augment.json").write_text("{"),
        lambda folder: (folder / "gan_augment.json").write_text("[]"),
        lambda folder: (folder / "gan_augment.json").write_text("[" * 100_000),
        set_in("version", 99, name="gan_augment.json"),
        set_in("kind", "other", name="gan_augment.json"),
        set_in("classes", "abc", name="gan_augment.json"),
        set_in("classes", ["a", "a", "b"], name="gan_augment.json"),
        set_in("classes", [1, 2, 3], name="gan_augment.json"),
        set_in("folders", {"nevus": 9}, name="gan_augment.json"),
        set_in("folders", [1], name="gan_augment.json"),
        set_in("form", None, name="gan_augment.json"),
        set_in("form", "dtype", "object", name="gan_augment.json"),
        set_in("form", "shape", [-1, 5], name="gan_augment.json"),
        set_in("form", "shape", ["a"], name="gan_augment.json"),
        set_in("form", "shape", 1e400, name="gan_augment.json"),
        set_in("form", "more", 1, name="gan_augment.json"),
    ],
)
def test_a_damaged_description(damage: Callable[[Path], Any], folder: Path) -> None:
    damage(folder)
    with pytest.raises(DataError, match="as export wrote it, found another"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("dtype", "int16"), ("shape", [900, 900]), ("channels", 3), ("device", "cuda:7")]
)
def test_a_description_that_lies_does_no_harm(name: str, value: Any, folder: Path) -> None:
    set_in("form", name, value, name="gan_augment.json")(folder)
    back = read(folder)
    assert (back.images.dtype, back.images.shape) == (np.uint8, (6, 9, 7))
    assert (back.form.shape, back.form.channels, back.form.device) == ((9, 7), 1, "cpu")


def test_reading_changes_nothing(folder: Path) -> None:
    before = files_of(folder.parent)
    back = read(folder)
    assert files_of(folder.parent) == before
    assert repr(back) == "ReadBack(6 images of 9x7 uint8, 3 classes)"
    json.dumps(back.about)
