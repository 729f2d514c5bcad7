"""Names of folders for classes, however hostile; cells of tables."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.folders import open_folder
from gan_augment.pool.exports import export, read_folder
from gan_augment.pool.exports.columns import from_cell, to_cell
from gan_augment.pool.exports.names import folder_names
from tests.helpers import files_of
from tests.pool.exports.material import pool_of

HOSTILE = [
    "../x",
    "..",
    ".",
    "a/b",
    "a\\b",
    "/etc/passwd",
    "",
    " ",
    ".hidden",
    "CON",
    "nul.txt",
    "a\0b",
    "N" * 300,
    "ö" * 200,
    "nevus",
    "Nevus",
    "NEVUS",
    "e\u0301",
    "\u00e9",
    "=HYPERLINK(1)",
    "'=x",
    "+1+1",
    "-1",
    "@x",
    "line\nbreak",
    "ends.",
    "ends ",
    "\u202egnp",
    "~",
    "-rf",
    "\ud800",
    "\\ud800",
    'a"b,c',
    "images",
    "masks",
    "nan",
]


@given(st.lists(st.one_of(st.text(), st.sampled_from(HOSTILE)), unique=True, max_size=30))
def test_names_are_names_of_folders_and_all_different(classes: list[str]) -> None:
    names = folder_names(classes)
    assert len({name.casefold() for name in names}) == len(names) == len(classes)
    for name in names:
        assert Path(name).name == name
        assert name not in ("", ".", "..")
        assert not name.startswith((".", "-", "=", "+", "@", "'", " "))
        assert not set(name) & set('\0/\\:*?"<>|\n\r')
        assert len(name.encode()) <= 130
        assert name.split(".")[0].upper() not in ("CON", "PRN", "AUX", "NUL", "COM1", "LPT9")


def test_good_names_stay() -> None:
    names = ["nevus", "Melanoma (in situ)", "基底细胞癌", "akiec_2.1", "7", "a~b", "a-b", "[x]"]
    assert folder_names(names) == names


def test_a_name_that_was_made_takes_no_name_that_is_good() -> None:
    made = folder_names(["a/b"])[0]
    assert folder_names(["a/b", made])[1] == made
    assert folder_names(["a/b", made])[0] != made


@pytest.mark.parametrize("with_table", [True, False])
def test_hostile_classes_stay_inside_and_come_back(with_table: bool, tmp_path: Path) -> None:
    from gan_augment.pool import SyntheticPool
    from tests.pool.exports.material import noise

    images = noise("uint8", (len(HOSTILE), 8, 8))
    pool = SyntheticPool.from_arrays(images, range(len(HOSTILE)), HOSTILE)
    out = export(pool, tmp_path / "deep" / "out", progress=False)
    assert all(path.startswith("deep/out/") for path in files_of(tmp_path))
    assert len(open_folder(out).classes) == len(HOSTILE)
    if not with_table:
        (out / "metadata.csv").unlink()
    back = read_folder(out, progress=False)
    assert back.classes == HOSTILE
    for place, file in enumerate(back.files):
        row = int(Path(file).stem)
        assert back.labels[place] == row
        assert (back.images[place] == images[row]).all()


def test_no_cell_of_the_table_is_a_formula(tmp_path: Path) -> None:
    classes = ["=cmd|'/c calc'!A1", "+x", "-x", "@x", "\t=x", "'=x"]
    out = export(pool_of(classes=classes), tmp_path / "out", progress=False)
    with open(out / "metadata.csv", newline="") as file:
        for line in csv.reader(file):
            assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in line)
            assert not any(cell.startswith("-") and cell != "-1" for cell in line)
    assert read_folder(out, progress=False).classes == classes


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_cells_come_back(text: str) -> None:
    table = io.StringIO(newline="")
    csv.writer(table).writerow(["x", to_cell(text)])
    (line,) = csv.reader(io.StringIO(table.getvalue(), newline=""))
    assert from_cell(line[1]) == text
