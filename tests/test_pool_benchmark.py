"""The benchmark of pools runs at tiny sizes and gives finite numbers."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import common, pool, pool_alone, pool_jobs
from tests.test_loader_benchmark import assert_finite


def test_drawing_and_writing_are_timed(tmp_path: Path) -> None:
    found = pool_jobs.drawing(tmp_path, pool.DCGAN, judged=False, chunks=1, rounds=1)
    assert (found["images"], found["batch"]) == (256, 64)
    assert_finite(found)
    found = pool_jobs.writing(tmp_path, pool.TABLE, chunks=2, rounds=1)
    assert found["waited"]["same thread"][0] > 0
    assert_finite(found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shards", [1, 3])
def test_random_rows_are_read_on_all_sides(tmp_path: Path, shards: int) -> None:
    found = pool_alone.reading(tmp_path, (1, 8, 8), rows=700, shards=shards, steps=2, rounds=1)
    assert set(found["rounds"]) == {"reader", "array", "by hand", "by hand, plain"}
    assert_finite(found)


def test_a_limit_is_kept_or_not() -> None:
    line = pool.Line(case="", ours="", figure=0.9, low=0.8, high=1.0)
    assert line.kept is None
    assert line.cells()[-2:] == ["", ""]
    assert pool.replace(line, least=0.95).cells()[-2:] == ["at least 0.95", "**no**"]
    assert pool.replace(line, most=0.9).cells()[-2:] == ["at most 0.9", "yes"]


@pytest.mark.slow
def test_everything_runs_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setenv("GAN_AUGMENT_RESULTS", str(tmp_path))
    monkeypatch.setattr(pool.torch, "set_num_threads", lambda _: None)
    first = CliRunner().invoke(pool.app, ["--quick"])
    assert first.exit_code == 0, first.output
    told = (tmp_path / "pool.md").read_text()
    assert "nan" not in told
    assert "wrote" in first.output
    assert "wrote" not in CliRunner().invoke(pool.app, ["--quick"]).output
    assert (tmp_path / "pool.md").read_text() == told
