"""The benchmark of pretrained generators runs at tiny sizes, compares images, and its results have its form."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import common, pretrained, pretrained_jobs
from tests.peers import peer_or_skip
from tests.test_loader_benchmark import assert_finite

COMMITTED = Path(pretrained.__file__).parent / "results"


def assert_form(folder: Path, sizes: pretrained.Sizes) -> None:
    """Asserts that there is a line for everything of the sizes, that the table shows it, and that images agree."""
    lines = json.loads((folder / "pretrained.json").read_text())["lines"]
    packages = [name for name, sides in sizes.sides for _ in sides for _ in sizes.batches]
    wrapped = [name for name, _, batches in sizes.wrapped for _ in batches]
    assert len(lines) == len(packages) + sum(2 if name == "dcgan" else 4 for name in wrapped)
    assert [line["least"] for line in lines[: len(packages)]] == [1.0] * len(packages)
    assert {line["most"] for line in lines[len(packages) :]} == {pretrained.DEAREST}
    text = (folder / "pretrained.md").read_text()
    assert "nan" not in text
    for line in lines:
        assert 0 < line["low"] <= line["high"] < math.inf
        assert 0 < line["figure"] < math.inf
        assert 0 <= line["difference"] <= pretrained_jobs.SAME * line["largest"]
        kept = line.pop("kept")
        found = pretrained.Compared(**line)
        assert found.kept is kept
        assert f"| {' | '.join(found.cells())} |" in text


def test_everything_runs_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in pretrained_jobs.PAIRS:
        peer_or_skip(name)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setenv("GAN_AUGMENT_RESULTS", str(tmp_path))
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    first = CliRunner().invoke(pretrained.app, ["--quick"])
    assert first.exit_code == 0, first.output
    assert_form(tmp_path, pretrained.QUICK)
    told = (tmp_path / "pretrained.md").read_text()
    assert "wrote" in first.output
    assert "wrote" not in CliRunner().invoke(pretrained.app, ["--quick"]).output
    assert (tmp_path / "pretrained.md").read_text() == told


def test_the_results_have_the_form_of_a_full_run() -> None:
    assert_form(COMMITTED, pretrained.Sizes())


def test_images_that_differ_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(folder: Path, side: int, width: int) -> pretrained_jobs.Pair:
        return pretrained_jobs.Pair(lambda z, y: z, lambda z, y: z + 0.001, latent_dim=4)

    monkeypatch.setattr(pretrained_jobs, "PAIRS", {"torchgan": moved})
    with pytest.raises(AssertionError, match="expected the same images of both sides, found"):
        pretrained_jobs.beside(tmp_path, "torchgan", 1, 1, batch=2, seconds=0.0, rounds=1)


@pytest.mark.parametrize("architecture", ["torchgan_dcgan", "biggan_deep"])
def test_wrapping_is_timed_on_all_sides(architecture: str) -> None:
    found = pretrained_jobs.wrapping(architecture, 16, 4 if architecture == "biggan_deep" else 8, 2, 0.0, rounds=2)
    assert set(found["rounds"]) == {"bare", "bare and normals", "wrapped", "pretrained"}
    assert all(len(times["wall"]) == 2 for times in found["rounds"].values())
    assert_finite(found)


def test_a_round_is_the_median_of_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: dict[Any, list[float]] = {"a": [9.0, 9.0, 1.0, 5.0, 3.0, 2.0, 2.0, 8.0], "b": [1.0] * 8}
    monkeypatch.setattr(pretrained_jobs, "one_call", lambda call: (spent[call].pop(0),) * 2)
    found = pretrained_jobs.timed({"a": "a", "b": "b"}, seconds=27.0, rounds=2)  # type: ignore[dict-item]
    assert found["calls"] == 3
    assert found["rounds"]["a"]["wall"] == [3.0, 2.0]
