"""The benchmark of loading runs at tiny sizes and gives finite numbers."""

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import loader
from benchmarks import loader_jobs as jobs


def assert_finite(value: Any) -> None:
    if isinstance(value, dict | list):
        assert value
        for part in value.values() if isinstance(value, dict) else value:
            assert_finite(part)
    else:
        assert math.isfinite(value)
        assert value >= 0


@pytest.mark.parametrize("kind", jobs.KINDS)
@pytest.mark.parametrize("what", ["real", "synthetic"])
@pytest.mark.parametrize("way", jobs.WAYS)
def test_items_are_timed_on_both_sides(tmp_path: Path, kind: str, what: str, way: str) -> None:
    found = jobs.items(tmp_path, kind, what, way, counts=(80, 8), steps=1, rounds=1)
    assert set(found["rounds"]) == {"wrapped", "other"}
    assert_finite(found)


def test_epochs_of_loaders_are_timed(tmp_path: Path) -> None:
    found = jobs.epochs(tmp_path, counts=(24, 8, 8), workers=1, rounds=1)
    assert (found["items"], found["slots"]) == (72, 32)
    assert_finite(found)


@pytest.mark.slow
def test_memory_of_workers_is_measured(tmp_path: Path) -> None:
    found = jobs.memory(tmp_path, rows=100, slots=70, workers=2, rounds=1)
    assert found["pool"][0]["worker_peak"] > 0
    assert_finite(found)


@pytest.mark.slow
def test_spawned_workers_are_timed(tmp_path: Path) -> None:
    assert_finite(jobs.spawned(tmp_path, rows=100, slots=70, workers=1, rounds=1))


@pytest.mark.parametrize("which", ["sngan", "wrapped DCGAN"])
def test_live_synthesis_is_timed(which: str) -> None:
    assert_finite(loader.live(which, counts=(72, 8), steps=1, rounds=1))
