"""The format "nifti" as nibabel, torchio and MONAI read it."""

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from gan_augment.errors import ConfigError, DataError
from gan_augment.pool.exports import export
from tests.helpers import run_python
from tests.pool.exports.material import CLASSES, pool_of

DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"]


def volume(out: Path, row: int, kind: str = "") -> Any:
    return nibabel.load(out / kind / CLASSES[row % 3] / f"{row:08d}.nii.gz")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 5, 6, 7), (2, 5, 6, 7)])
def test_nibabel_reads_exact_values(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    pool = pool_of(dtype, shape)
    out = export(pool, tmp_path / "out", "nifti", progress=False)
    for row in range(6):
        image, stored = volume(out, row), pool.array(row)
        array = np.asanyarray(image.dataobj)
        assert array.dtype == (np.float32 if dtype == "float16" else dtype)
        assert np.array_equal(array[None] if array.ndim == 3 else np.moveaxis(array, -1, 0), stored)
        assert np.array_equal(image.affine, np.eye(4))
        assert image.header.get_slope_inter() == (None, None)
        assert image.header.get_xyzt_units()[0] == "mm"
    assert "The affine is the identity" in (out / "README.md").read_text()


def test_the_header_says_that_it_is_synthetic(tmp_path: Path) -> None:
    out = export(pool_of("int16", (5, 6, 7)), tmp_path / "out", "nifti", progress=False)
    told = volume(out, 0).header["descrip"].item().decode()
    assert told == "SYNTHETIC, not for diagnosis; pool unknown seed unknown"


def test_the_longest_mark_fits_into_the_header() -> None:
    from gan_augment.pool.exports.marking import Mark

    mark = Mark(software="gan_augment", pool="f" * 16, chain={}, licence="unknown")
    assert mark.descrip(2**63 - 1).endswith(str(2**63 - 1).encode())
    assert len(mark.descrip(2**63 - 1)) < 80


@pytest.mark.parametrize("given", [{"spacing": (0.5, 0.75, 3)}, {"affine": np.diag([0.5, 0.75, 3, 1])}])
def test_spacing_and_affine(given: dict[str, Any], tmp_path: Path) -> None:
    out = export(pool_of("int16", (5, 6, 7)), tmp_path / "out", "nifti", progress=False, **given)
    image = volume(out, 0)
    assert np.array_equal(image.affine, np.diag([0.5, 0.75, 3, 1]))
    assert image.header.get_zooms() == (0.5, 0.75, 3)
    assert "The affine is as given" in (out / "README.md").read_text()


def test_slices_first_are_turned_round(tmp_path: Path) -> None:
    pool = pool_of("int16", (5, 6, 7))
    out = export(pool, tmp_path / "out", "nifti", progress=False, axes="zyx", spacing=(1, 2, 4))
    image = volume(out, 1)
    assert image.shape == (7, 6, 5)
    assert image.header.get_zooms() == (1, 2, 4)
    assert np.array_equal(np.asanyarray(image.dataobj).transpose(), pool.array(1)[0])


def test_an_oblique_affine_arrives(tmp_path: Path) -> None:
    turn = np.deg2rad(30)
    affine = np.array(
        [[np.cos(turn), -np.sin(turn), 0, -20], [np.sin(turn), np.cos(turn), 0, 5], [0, 0, 2.5, -7], [0, 0, 0, 1]]
    )
    out = export(pool_of("int16", (5, 6, 7)), tmp_path / "out", "nifti", progress=False, affine=affine.tolist())
    image = volume(out, 0)
    for found in (image.affine, image.get_qform(), image.get_sform()):
        np.testing.assert_allclose(found, affine, atol=1e-5)


def test_masks_and_the_table_lie_beside(tmp_path: Path) -> None:
    pool = pool_of("int16", (5, 6, 7), most=300)
    out = export(pool, tmp_path / "out", "nifti", progress=False)
    with open(out / "metadata.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    for row, line in enumerate(lines):
        image, mask = (nibabel.load(out / line[name]) for name in ("file_name", "mask_file_name"))
        assert np.array_equal(np.asanyarray(image.dataobj), pool.array(row)[0])
        assert np.array_equal(np.asanyarray(mask.dataobj), pool.mask(row)[0])  # type: ignore[index]
        assert mask.get_data_dtype() == np.uint16
        assert line["class"] == CLASSES[int(line["label"])]


@pytest.mark.filterwarnings("ignore")  # MONAI's own
@pytest.mark.parametrize("shape", [(5, 6, 7), (2, 5, 6, 7)])
def test_monai_reads_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    from monai.transforms import LoadImage

    pool = pool_of("int16", shape)
    out = export(pool, tmp_path / "out", "nifti", progress=False)
    image = LoadImage(ensure_channel_first=True, reader="NibabelReader")(out / CLASSES[2] / "00000002.nii.gz")
    assert np.array_equal(image.numpy(), pool.array(2))


@pytest.mark.parametrize("shape", [(5, 6, 7), (2, 5, 6, 7)])
def test_torchio_reads_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    """In a process of its own: SimpleITK, which torchio brings, and faiss do not get on."""
    pool = pool_of("int16", shape)
    out = export(pool, tmp_path / "out", "nifti", progress=False, spacing=(0.5, 1, 2))
    np.save(tmp_path / "expected.npy", pool.array(4))
    code = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torchio
image, expected = torchio.ScalarImage(sys.argv[1]), np.load(sys.argv[2], allow_pickle=False)
print(np.array_equal(image.data.numpy(), expected), tuple(image.spacing), image.orientation)
"""
    done = run_python(code, out / CLASSES[1] / "00000004.nii.gz", tmp_path / "expected.npy")
    assert done.stdout.split("\n")[0].startswith("True (0.5, 1.0, 2.0)"), done.stdout + done.stderr


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
def test_pictures_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"expected volumes for format='nifti', found images of 9x7; use format='folder'"
    ):
        export(pool_of("uint8", shape), tmp_path / "out", "nifti", progress=False)


@pytest.mark.parametrize(
    "settings",
    [
        {"spacing": (1, 2)},
        {"spacing": (1, 2, 0)},
        {"spacing": (1, 2, np.nan)},
        {"spacing": "abc"},
        {"affine": np.zeros((4, 4))},
        {"affine": np.eye(3)},
        {"affine": np.diag([1, 1, 1, 2])},
        {"affine": np.diag([1, np.inf, 1, 1])},
        {"spacing": (1, 1, 1), "affine": np.eye(4)},
        {"axes": "yxz"},
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected (spacing|affine|axes)="):
        export(pool_of("int16", (5, 6, 7)), tmp_path / "out", "nifti", progress=False, **settings)
    assert not list(tmp_path.iterdir())
