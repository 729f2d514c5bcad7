"""gan-augment report, as a user runs it."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import gan_augment as ga
import gan_augment.quality
from gan_augment.cli import app
from gan_augment.evaluation import EvaluationResult
from gan_augment.report import verb
from tests.helpers import Pictures, toy_judge, toy_synthesizer
from tests.test_cli import run


def folder_of(images: Pictures, folder: Path) -> Path:
    for number, (pixels, label) in enumerate(zip(images.pixels, images.targets, strict=True)):
        (folder / images.classes[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(folder / images.classes[label] / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train, holdout, pool and judge."""
    place = tmp_path_factory.mktemp("place")
    names = ["dark", "light"]
    train = ga.open_folder(folder_of(Pictures((30, 24), "array", classes=names), place / "train"))
    folder_of(Pictures((8, 8), "array", classes=names, seed=1), place / "holdout")
    toy_judge(train).save(place / "judge")
    ga.SyntheticPool.build(
        toy_synthesizer(2), train, counts={"light": 12}, reserve=1, out=place / "pool", progress=False
    )
    return place


def test_a_real_process_tells_json(place: Path, tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    told = run("report", place / "pool", "--train", place / "train", "--out", page, "--no-audit", "--json", "--quiet")
    result = json.loads(told.stdout)
    assert set(result) == {"out", "audit", "sentence", "seconds"}
    assert result["audit"] is None
    assert "The images were not audited" in page.read_text()


def test_help_shows_an_example() -> None:
    told = CliRunner().invoke(app, ["report", "--help"]).output
    assert "Example:\n" in told
    assert "  gan-augment report runs/pool" in told


def test_audits_and_writes_the_page(
    place: Path,
    evaluation: EvaluationResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gan_augment.quality.audit", functools.partial(gan_augment.quality.audit, steps=20))
    page = tmp_path / "new" / "page.html"
    evaluation.save(tmp_path / "result.json")
    verb.report(
        place / "pool", place / "train", page, holdout=place / "holdout", judge=place / "judge",
        evaluation=tmp_path / "result.json", quiet=True,
    )  # fmt: skip
    told, written = capsys.readouterr().out, page.read_text()
    assert "12 synthetic images" in told
    assert "the evaluation was made with another training set" in told
    assert evaluation.sentence() in told
    assert f"Look at {page}." in told
    assert all(f'id="{part}"' in written for part in ("warnings", "answer", "images", "plane", "audit", "evaluation"))
    assert "the features of TrainedExtractor" in written
    assert str(place / "pool") in written


def test_a_pool_of_which_nothing_was_kept(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(ga.SmallClassWarning, match="no candidate"):
        ga.SyntheticPool.build(
            toy_synthesizer(2), ga.open_folder(place / "train"), selector=Never(), counts={"light": 4},
            out=tmp_path / "pool", progress=False,
        )  # fmt: skip
    verb.report(tmp_path / "pool", place / "train", tmp_path / "page.html", quiet=True)
    assert "nothing to audit" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "never 8" not in page
    assert "8 never" in page
    assert "nothing to audit" in page


class Never:
    """Keeps nothing."""

    extractor = None
    whole_set = False

    def notes(self, classes: Any = None) -> list[str]:
        return []

    def fit(self, real: Any) -> "Never":
        return self

    def calibrate(self, drawn: Any) -> "Never":
        return self

    def decide(self, candidates: Any) -> ga.Decision:
        rows = len(candidates)
        return ga.Decision(np.zeros(rows, bool), np.ones(rows, np.float32), np.full(rows, "never"))

    def settings(self) -> dict[str, Any]:
        return {}


def test_mistakes(place: Path, tmp_path: Path) -> None:
    """Each is an error of this library, which the command line tells in a sentence."""
    pool, train, page = place / "pool", place / "train", tmp_path / "page.html"
    (tmp_path / "demo.json").write_text(json.dumps({"kind": "gan_augment demo", "version": 2}))
    with pytest.raises(ga.ArtifactError, match="to describe a gan_augment evaluation, found kind 'gan_augment demo'"):
        verb.report(pool, train, page, evaluation=tmp_path / "demo.json")
    with pytest.raises(ga.ArtifactError, match=r"no pool\.json"):
        verb.report(train, train, page)
    with pytest.raises(ga.ConfigError, match=r"a new file such as report\.html"):
        verb.report(pool, train, train)
    small = folder_of(Pictures((3, 2), "array", size=9, classes=["dark", "light"]), tmp_path / "small")
    with pytest.raises(ga.DataError, match="shape"):
        verb.report(pool, small, page, audit=False, quiet=True)
    assert not page.exists()
