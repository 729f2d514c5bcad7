"""What all formats have in common: a new folder, whole or not at all; clear refusals; no library until it is needed."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan_augment.errors import ArtifactError, ConfigError, DataError, DependencyError, StorageError
from gan_augment.pool.exports import FORMATS, export
from tests.helpers import files_of, run_python
from tests.pool.exports.material import drawn_pool, pool_of


def pool_for(name: str) -> Any:
    return pool_of("int16", (5, 6, 7)) if name == "nifti" else pool_of()


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_view_gives_the_same_files(name: str, tmp_path: Path) -> None:
    pool = pool_for(name)
    first, second = (files_of(export(pool, tmp_path / out, name, progress=False)) for out in "ab")
    assert first == second
    assert {"README.md", "gan_augment.json"} < first.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_a_card_says_first_that_all_is_synthetic(name: str, tmp_path: Path) -> None:
    out = export(pool_for(name), tmp_path / "out", name, progress=False)
    _, header, body = (out / "README.md").read_text().split("---\n", 2)
    assert '"synthetic"' in header
    assert "Every image here is synthetic" in "\n".join(body.strip().splitlines()[:3])
    assert "not for diagnosis" in body
    about = json.loads((out / "gan_augment.json").read_text())
    assert (about["synthetic"], about["format"], about["rows"]) == (True, name, 6)


def test_a_card_is_yaml_that_the_hub_reads(tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    pool = drawn_pool(licence="CC-BY-4.0")
    out = export(pool, tmp_path / "out", "folder", progress=False)
    card = DatasetCard.load(out / "README.md")
    assert "synthetic" in card.data.tags
    assert (card.data.license, card.data.license_name) == ("other", "CC-BY-4.0")
    unknown = export(drawn_pool(), tmp_path / "unknown", "folder", progress=False)
    assert DatasetCard.load(unknown / "README.md").data.license == "unknown"
    assert str(pool.about["seed"]) in card.text
    assert pool.about["fingerprint"]["like"] in card.text


def test_only_the_rows_of_the_view_are_exported(tmp_path: Path) -> None:
    pool = drawn_pool()
    for view, out in ((pool, "kept"), (pool.candidates(), "all"), (pool.rejected(), "rejected")):
        export(view, tmp_path / out, progress=False)
        assert {int(path.stem) for path in (tmp_path / out).rglob("*.png")} == set(view.rows.tolist())


@pytest.mark.parametrize("name", FORMATS)
def test_an_existing_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="not to exist yet"):
        export(pool_for(name), tmp_path / "out", name, progress=False)
    assert files_of(tmp_path) == {"out/mine.txt": b"mine"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if name == "webdataset":
        monkeypatch.setattr("tarfile.TarFile.addfile", full)
    elif name == "huggingface":
        monkeypatch.setattr("pyarrow.parquet.ParquetWriter.write_batch", full)
    else:
        monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="Free some space"):
        export(pool_for(name), tmp_path / "out", name, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_limit_of_the_system_leaves_nothing(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
import datasets
import numpy as np
from gan_augment.pool import SyntheticPool
from gan_augment.pool.exports import export
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
pool = SyntheticPool.from_arrays(np.random.default_rng(0).integers(0, 256, (3, 99, 99), dtype=np.uint8), [0, 1, 1])
for name in ("folder", "webdataset", "huggingface"):
    try:
        export(pool, sys.argv[1], name, progress=False)
    except OSError as error:
        print(type(error).__name__, error.strerror)
"""
    done = run_python(code, tmp_path / "out")
    assert done.stdout.count("StorageError could not write") == 3, done.stderr
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    pool = pool_of()
    with pytest.raises(ConfigError, match="expected format= of folder, webdataset, huggingface, nifti, found 'zip'"):
        export(pool, tmp_path / "out", "zip")
    with pytest.raises(ConfigError, match=r"settings of format='webdataset' \(shard_bytes, seed\), found colour"):
        export(pool, tmp_path / "out", "webdataset", colour=1)
    with pytest.raises(ConfigError, match=r"settings of format='folder' \(none\), found shard_bytes"):
        export(pool, tmp_path / "out", shard_bytes=1)
    with pytest.raises(DataError, match="found an empty view"):
        export(pool.filter(np.zeros(6, bool)), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "library"), [("huggingface", "datasets"), ("nifti", "nibabel")])
def test_a_missing_extra_is_named(name: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(DependencyError, match=rf"found that it is not installed; pip install 'gan_augment\[{name}\]'"):
        export(pool_for(name), tmp_path / "out", name, progress=False)
    assert not list(tmp_path.iterdir())


def test_no_library_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, gan_augment.pool.exports; print({'datasets', 'nibabel', 'webdataset', 'pyarrow'} & {*sys.modules})"
    )
    assert run_python(code).stdout.strip() == "set()"
