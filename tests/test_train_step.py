"""The benchmark of training steps compares like with like."""

import torch

from benchmarks.peers import loops
from benchmarks.peers.stopwatch import WARM_UP, Stopwatch, in_turn, ratio


def images(count: int = 128) -> torch.Tensor:
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_bare_loop_does_the_work_of_the_trainer_bit_for_bit() -> None:
    batches = images().split(64)
    ours = loops.ours(Stopwatch(batches, 3), seed=4, width=32)
    bare = loops.bare(Stopwatch(batches, 3), seed=4, width=32, reseed=True)
    for name, network in ours.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, bare[name].state_dict()[key]), f"{name}.{key}"


def test_every_step_is_timed_and_the_first_ones_are_left_out() -> None:
    watch: Stopwatch[str] = Stopwatch("abc", 5)
    assert list(watch) == ["a", "b", "c", "a", "b"]
    assert len(watch.stamps) == 6
    watch.stamps = [(float(at), 2.0 * at) for at in (0, 100, 200, 203, 205, 206)]
    assert watch.seconds() == (2.0, 4.0)


def test_loops_take_turns_and_each_begins_a_round() -> None:
    order: list[str] = []

    def loop(name: str) -> object:
        return lambda watch: order.append(f"{name}{len(list(watch)) - WARM_UP}")

    found = in_turn({name: loop(name) for name in "ab"}, "xy", steps=3, rounds=2)  # type: ignore[misc]
    assert order == ["a3", "b3", "b3", "a3"]
    assert {name: len(kinds["cpu"]) for name, kinds in found.items()} == {"a": 2, "b": 2}
    rounds = {"a": {"wall": [1.0, 2.0, 9.0]}, "b": {"wall": [2.0, 2.0, 3.0]}}
    assert ratio(rounds, "a", "b", "wall") == "1.000 (0.500 to 3.000)"
