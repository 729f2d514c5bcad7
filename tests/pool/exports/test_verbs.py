"""The verbs export and import of the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.exports import FORMATS, verbs
from gan_augment.selection import CentroidSelector
from tests.helpers import Pictures, toy_synthesizer

app = typer.Typer()
app.command("export", epilog=verbs.EXPORT_EXAMPLE)(verbs.export)
app.command("import", epilog=verbs.IMPORT_EXAMPLE)(verbs.import_)


def run(*words: Any) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pool") / "pool"
    selector = CentroidSelector(keep_share=0.5, agreement=False)
    SyntheticPool.build(toy_synthesizer(), Pictures(kind="pil"), selector=selector, out=out, progress=False)
    return out


@pytest.mark.parametrize("which", ["kept", "candidates", "rejected"])
def test_export_writes_a_view(which: str, pool: Path, tmp_path: Path) -> None:
    result = json.loads(run("export", pool, tmp_path / "out", "--which", which, "--quiet", "--json").stdout)
    opened = SyntheticPool.open(pool)
    view = {"kept": opened, "candidates": opened.candidates(), "rejected": opened.rejected()}[which]
    assert result["images"] == len(view) == len(list((tmp_path / "out").rglob("*.png")))
    assert sum(result["classes"].values()) == len(view)
    assert (result["format"], result["which"]) == ("folder", which)


@pytest.mark.parametrize("name", ["webdataset", "huggingface"])
def test_export_takes_a_format(name: str, pool: Path, tmp_path: Path) -> None:
    told = run("export", pool, tmp_path / "out", "--format", name, "--quiet").stdout
    assert f"format {name}" in told
    assert (tmp_path / "out" / "README.md").is_file()


def test_formats_of_the_option_are_those_there_are() -> None:
    assert [one.value for one in verbs.Format] == list(FORMATS)


def test_settings_of_a_format(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"settings of format='folder' \(none\), found spacing"):
        run("export", pool, tmp_path / "out", "--spacing", "1,1,2")
    with pytest.raises(ConfigError, match="expected --spacing X,Y,Z in mm, found 'wide'"):
        run("export", pool, tmp_path / "out", "--format", "nifti", "--spacing", "wide")
    assert not list(tmp_path.iterdir())


def test_export_of_volumes(tmp_path: Path) -> None:
    import nibabel

    build = SyntheticPool.build
    build(toy_synthesizer(shape=(1, 8, 8, 8)), _Volumes(), out=tmp_path / "pool", progress=False)
    settings = ("--format", "nifti", "--spacing", "1,2,3", "--axes", "zyx", "--quiet")
    run("export", tmp_path / "pool", tmp_path / "out", *settings)
    first = next(iter(sorted((tmp_path / "out").rglob("*.nii.gz"))))
    assert nibabel.load(first).header.get_zooms() == (1, 2, 3)
    assert b"SYNTHETIC" in nibabel.load(first).header["descrip"].item()


class _Volumes(Pictures):
    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image[:, None].repeat(1, 8, 1, 1), label


def test_import_makes_a_pool(pool: Path, tmp_path: Path) -> None:
    run("export", pool, tmp_path / "images", "--quiet")
    deleted = next((tmp_path / "images").rglob("*.png"))
    deleted.unlink()
    told = run("import", tmp_path / "images", tmp_path / "new", "--quiet").stdout
    assert "note: 1 images of metadata.csv are not there" in told
    assert len(SyntheticPool.open(tmp_path / "new")) == len(SyntheticPool.open(pool)) - 1


def test_the_help_shows_examples() -> None:
    for verb in ("export", "import"):
        assert f"gan-augment {verb}" in run(verb, "--help").stdout
