"""The benchmark of the adapters runs at tiny sizes, and takes the idle transform's time off the adapter's."""

import statistics
from pathlib import Path

import pytest

from benchmarks import integrations
from benchmarks.integrations_hosts import HOSTS
from tests.test_loader_benchmark import assert_finite


@pytest.mark.parametrize("host", HOSTS)
def test_the_sides_of_each_case_are_timed(tmp_path: Path, host: str) -> None:
    for name in HOSTS[host]:
        found = integrations.measure(tmp_path, host, name, items=2, steps=1, rounds=1, rows=6)
        assert set(found["rounds"]) == {"adapter", "idle", "by hand", "flip"}
        assert_finite(found)
        row = integrations.row(host, HOSTS[host][name], found, 2)
        assert len(row) == len(integrations.HEADS)


def test_the_own_cost_is_that_beyond_the_idle_transform() -> None:
    times = {"adapter": [9.0, 7.0, 8.0], "idle": [2.0, 3.0, 2.0], "by hand": [4.0, 4.0, 2.0], "flip": [1.0, 1.0, 1.0]}
    result = {"rounds": {side: {"wall": seconds} for side, seconds in times.items()}}
    assert integrations.own_cost(result) == (1.5, 1.0, 3.0)
    assert statistics.median(times["adapter"]) == 8
    case = HOSTS["torchvision"]["items, grey tensors 28x28"]
    assert integrations.row("torchvision", case, result, 1)[5:] == ["1.50 (1.00 to 3.00)", "yes", "1.33", "8.00"]


def test_a_step_holds_few_large_items() -> None:
    cases = {case.name: case for cases in HOSTS.values() for case in cases.values()}
    assert integrations.items_of(cases["items, grey tensors 28x28"], integrations.Sizes()) == 64
    assert integrations.items_of(cases["subjects, 64x64x64"], integrations.Sizes()) == 8
