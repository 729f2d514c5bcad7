"""Image folders: images in their own mode, and folders that cannot be used."""

import os

import numpy as np
import pytest
from PIL import Image

from gan_augment import RawView
from gan_augment.errors import DataError
from gan_augment.folders import open_folder, open_image
from gan_augment.forms import RawForm

PIXELS = np.arange(144, dtype=np.uint8).reshape(12, 12)


@pytest.fixture
def folder(tmp_path):
    for name in ("shirt", "boot"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(PIXELS + i).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("image", "suffix", "mode"),
    [
        (Image.fromarray(PIXELS), "png", "L"),
        (Image.fromarray(PIXELS).convert("RGB"), "png", "RGB"),
        (Image.fromarray(PIXELS).convert("RGBA"), "png", "RGBA"),
        (Image.fromarray(PIXELS).convert("P"), "png", "RGB"),
        (Image.fromarray(PIXELS).convert("1"), "png", "L"),
        (Image.fromarray(PIXELS).convert("CMYK"), "tif", "RGB"),
        (Image.fromarray(PIXELS.astype(np.uint16) * 400), "png", "I;16"),
        (Image.fromarray(PIXELS.astype(np.uint16) * 400), "tif", "I;16"),
        (Image.fromarray(PIXELS.astype(np.int32) * 70000), "tif", "I"),
        (Image.fromarray(PIXELS.astype(np.float32) / 7), "tif", "F"),
    ],
)
def test_an_image_keeps_its_mode_and_values(tmp_path, image, suffix, mode):
    path = tmp_path / f"image.{suffix}"
    image.save(path)
    opened = open_image(str(path))
    path.unlink()  # it is read, not kept open
    assert opened.mode == mode
    RawForm.of(opened)
    wanted = image if image.mode == mode else image.convert(mode)
    assert np.array_equal(np.asarray(opened), np.asarray(wanted))


def test_sixteen_bits_in_the_other_byte_order(tmp_path):
    values = PIXELS.astype(np.uint16) * 400
    Image.frombytes("I;16B", (12, 12), values.astype(">u2").tobytes()).save(tmp_path / "image.tif")
    opened = open_image(str(tmp_path / "image.tif"))
    assert RawForm.of(opened).dtype == "int32"
    assert np.array_equal(np.asarray(opened), values)


def test_a_folder_of_classes(folder):
    dataset = open_folder(folder)
    assert dataset.classes == ["boot", "shirt"]
    assert [label for _, label in dataset] == [0, 0, 0, 1, 1, 1]
    image, _ = dataset[4]
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), PIXELS + 1)
    view = RawView(open_folder(str(folder), transform=np.asarray), progress=False)
    assert view.mode == "raw"
    assert view.form.kind == "pil"
    assert view.form.channels == 1


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (lambda root: root / "missing", "found nothing"),
        (lambda root: root / "boot" / "0.png", "found a file"),
        (lambda root: root / "boot", "a folder of images for each class .*found none"),
        (lambda root: (root / "hat").mkdir() or root, "found none in hat; add images"),
        (lambda root: [(root / "shirt" / f"{i}.png").unlink() for i in range(3)] and root, "found none in shirt"),
    ],
)
def test_folders_that_cannot_be_used(folder, prepare, told):
    with pytest.raises(DataError, match=told):
        open_folder(prepare(folder))


def test_a_file_that_is_no_image_is_named(folder):
    (folder / "boot" / "1.png").write_text("no image")
    with pytest.raises(DataError, match=rf"item 1 \({folder}/boot/1.png\) to be readable"):
        RawView(open_folder(folder), progress=False).spec()


def test_nothing_but_plain_pictures_is_read(folder):
    """Pillow would hand an EPS file, whatever it is called, to an interpreter of PostScript."""
    odd = folder / "boot" / "z.png"
    for content in (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", b"<svg/>", b""):
        odd.write_bytes(content)
        with pytest.raises(DataError, match=r"z\.png"):
            RawView(open_folder(folder), progress=False).spec()
    odd.unlink()
    os.mkfifo(odd)
    with pytest.raises(DataError, match="no regular file"):
        RawView(open_folder(folder), progress=False).spec()


def test_bombs_and_pages_are_refused(folder):
    Image.new("L", (2**14, 2**13)).save(folder / "boot" / "bomb.png")
    with pytest.raises(DataError, match="pixels"):
        RawView(open_folder(folder), progress=False).spec()
    (folder / "boot" / "bomb.png").unlink()
    pages = [Image.new("L", (8, 8), shade) for shade in (0, 9)]
    pages[0].save(folder / "boot" / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match="2 pages"):
        RawView(open_folder(folder), progress=False).spec()


def test_links_to_folders_are_refused_and_hidden_files_skipped(folder):
    before = len(open_folder(folder))
    (folder / "boot" / "._x.png").write_bytes(b"resource fork")
    assert len(open_folder(folder)) == before
    (folder / "boot" / "up").symlink_to("..")
    with pytest.raises(DataError, match="no links to folders"):
        open_folder(folder)
    (folder / "boot" / "up").unlink()
    (folder / ".ipynb_checkpoints").mkdir()
    with pytest.raises(DataError, match="hidden folder"):
        open_folder(folder)
