"""Batches that note when they are asked for, so that any loop is timed from outside, and loops run in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

Batch = TypeVar("Batch")
Rounds = dict[str, dict[str, list[float]]]
"""Name to "wall" and "cpu" to seconds a step, one figure a round."""

WARM_UP = 2


class Stopwatch(Generic[Batch]):
    """Hands out batches held in memory, again and again, and notes when each was asked for."""

    def __init__(self, batches: Sequence[Batch], steps: int) -> None:
        self.batches, self.steps = batches, steps
        self.stamps: list[tuple[float, float]] = []

    def __getitem__(self, step: int) -> Batch:
        self.stamp()
        return self.batches[step % len(self.batches)]

    def __iter__(self) -> Iterator[Batch]:
        self.stamps.clear()
        yield from (self[step] for step in range(self.steps))
        self.stamp()

    def stamp(self) -> None:
        """Notes the time."""
        self.stamps.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> tuple[float, float]:
        """Returns the median wall and CPU seconds of a step, the first ones left out."""
        pairs = list(zip(self.stamps, self.stamps[1:], strict=False))[WARM_UP:]
        wall, cpu = (statistics.median(after[kind] - before[kind] for before, after in pairs) for kind in (0, 1))
        return wall, cpu


def in_turn(
    loops: Mapping[str, Callable[[Stopwatch[Any]], Any]], batches: Sequence[Any], *, steps: int, rounds: int
) -> Rounds:
    """Runs loops one after the other, round after round, each round begun by another; returns seconds a step."""
    names = list(loops)
    found: Rounds = {name: {"wall": [], "cpu": []} for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            watch = Stopwatch(batches, steps + WARM_UP)
            loops[name](watch)
            for kind, seconds in zip(("wall", "cpu"), watch.seconds(), strict=True):
                found[name][kind].append(seconds)
    return found


def in_rounds(sides: Mapping[str, Callable[[], tuple[float, float]]], rounds: int) -> Rounds:
    """Runs the sides in turn, each round begun by another; each returns the wall and CPU seconds that count."""
    names = list(sides)
    found: Rounds = {name: {"wall": [], "cpu": []} for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            for kind, seconds in zip(("wall", "cpu"), sides[name](), strict=True):
                found[name][kind].append(seconds)
    return found


def now() -> tuple[float, float]:
    """Returns wall and CPU seconds, from where `since` counts."""
    return time.perf_counter(), time.process_time()


def since(began: tuple[float, float]) -> tuple[float, float]:
    """Returns wall and CPU seconds that have passed."""
    return time.perf_counter() - began[0], time.process_time() - began[1]


def ratio(rounds: Rounds, name: str, reference: str, kind: str) -> str:
    """Returns the median and range, over rounds, of how long a step takes against that of a reference."""
    ratios = [a / b for a, b in zip(rounds[name][kind], rounds[reference][kind], strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
