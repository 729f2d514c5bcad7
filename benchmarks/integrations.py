"""What do the adapters cost? python -m benchmarks.integrations

The transform of each adapter at p=1 over a pool in a folder that lies in the page cache, beside a transform of the
same host that does nothing, beside the pool's rows read and converted by hand, and beside the host's own flip; in turn
in one run. An adapter's own cost is what its transform takes less what the idle one takes. A killed run goes on where
it was.

    python -m benchmarks.integrations                 about 10 minutes

    python -m benchmarks.integrations --only torchvision,kornia

    python -m benchmarks.integrations --quick         few items, to see that it runs; writes runs/integrations-quick
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Annotated

import numpy as np

from benchmarks.common import measured_on, unit, write_table
from benchmarks.integrations_hosts import HOSTS, PACKAGES, CaseOf
from benchmarks.lines import Measured
from benchmarks.loader_jobs import pool_of, timed
from benchmarks.options import only_of, program, quick_of, run_groups
from benchmarks.peers.stopwatch import WARM_UP

Row = list[str]
LIMIT = 1.5
HEADS = [
    "case", "adapter", "idle transform of the host", "by hand", "flip of the host",
    "own cost / by hand (range)", f"kept ({LIMIT})", "adapter / (idle + by hand)", "adapter / flip",
]  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is measured: bytes that a step moves, the most items of it, steps a round, rounds, rows of a pool."""

    moved: int = 8 * 2**20
    items: int = 64
    steps: int = 12
    rounds: int = 9
    rows: int = 192


QUICK = Sizes(moved=2**16, items=2, steps=2, rounds=2, rows=8)


def measure(folder: Path, host: str, name: str, items: int, steps: int, rounds: int, rows: int) -> Measured:
    """Times the four sides of a case; a step is that many items, or one batch of them.

    Raises:
        AssertionError: Adapter and hand do not give the same kind of thing.
    """
    case = HOSTS[host][name]
    place = folder / host / name.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    sides = case.make(pool_of(case.form, rows, case.labels, place), case)
    labels = np.random.default_rng(0).integers(1, case.labels, (4, items)).tolist()
    ours, hand = (sides[side](labels[0]) for side in ("adapter", "by hand"))
    if (ours.dtype, tuple(ours.shape)) != (hand.dtype, tuple(hand.shape)) or type(ours) is not type(hand):
        raise AssertionError(
            f"expected both sides of {host}, {name} to give the same, found {type(ours).__name__} {ours.dtype} "
            f"{tuple(ours.shape)} and {type(hand).__name__} {hand.dtype} {tuple(hand.shape)}"
        )
    return timed(sides, labels, steps, rounds)


def own_cost(result: Measured) -> tuple[float, float, float]:
    """Returns what the adapter takes beyond an idle transform, over what reading by hand takes: median and range."""
    ours, idle, hand = (result["rounds"][side]["wall"] for side in ("adapter", "idle", "by hand"))
    each = [(a - b) / c for a, b, c in zip(ours, idle, hand, strict=True)]
    middle = (statistics.median(ours) - statistics.median(idle)) / statistics.median(hand)
    return middle, min(each), max(each)


def row(host: str, case: CaseOf, result: Measured, items: int) -> Row:
    """Returns a line of the table."""
    medians = {side: statistics.median(found["wall"]) for side, found in result["rounds"].items()}
    shown = [f"{1e6 * medians[side] / items:.1f} µs" for side in ("adapter", "idle", "by hand", "flip")]
    middle, low, high = own_cost(result)
    beside = medians["adapter"] / (medians["idle"] + medians["by hand"])
    kept = "yes" if middle <= LIMIT else "no"
    flip = f"{medians['adapter'] / medians['flip']:.2f}"
    return [f"{host}, {case.name}", *shown, f"{middle:.2f} ({low:.2f} to {high:.2f})", kept, f"{beside:.2f}", flip]


def items_of(case: CaseOf, sizes: Sizes) -> int:
    """Returns how many items a step has: few of large ones."""
    size = math.prod((case.form.channels, *(case.form.shape or ()))) * np.dtype(case.form.dtype).itemsize
    return max(1, min(sizes.items, sizes.moved // size))


def group_of(host: str) -> Callable[[Sizes, Path], tuple[list[Row], list[Measured]]]:
    """Returns what measures all cases of a host."""

    def group(sizes: Sizes, folder: Path) -> tuple[list[Row], list[Measured]]:
        rows, results = [], []
        for number, (name, case) in enumerate(HOSTS[host].items()):
            items = items_of(case, sizes)
            settings = {"items": items, "steps": sizes.steps, "rounds": sizes.rounds, "rows": sizes.rows}
            work = partial(measure, folder, host, name, **settings)
            results.append(unit(f"integrations/{host}-{number}", {"case": f"{host}, {name}", **settings}, work))
            rows.append(row(host, case, results[-1], items))
        return rows, results

    return group


GROUPS = {host: group_of(host) for host in HOSTS}


def notes(sizes: Sizes, results: list[Measured]) -> list[str]:
    """Returns what is to be known of the figures."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        f"One thread, times an item. All four sides of a case run in turn in one process, {sizes.rounds} rounds, each "
        f"begun by another; a round is the median of {sizes.steps} steps of up to {sizes.items} items after {WARM_UP} "
        "that are not counted. The pool lies in a folder of this machine's disk and in the page cache; the transform "
        "has p=1.",
        "",
        "*Idle* is a transform of the same host that draws and changes nothing, called in the same way on the same "
        "items: what the host asks for whatever a transform does (Compose, copies of subjects, metadata, checks). No "
        "adapter can avoid it, so the *own cost* is what remains after it, and its limit is "
        f"{LIMIT} times *by hand*: rows looked up beforehand by class, one picked at random, read from the memory map "
        "and converted to the host's type in the shortest way. It draws, matches labels, and checks nothing. "
        "*Adapter / (idle + by hand)* is what is lost against a transform of that host written by hand. The flip is "
        "the host's own at p=1: what its users pay for the cheapest real transform.",
        "",
        "Of small images all but nothing is to be read, and what is measured is Python: drawing a seed, matching a "
        "label, checking an item. lightning's and Hugging Face's adapters have no transform; what the dataset behind "
        "them costs stands in [loader.md](loader.md).",
        "",
        f"{versions}. {measured_on(results)} Written by `make bench-integrations`.",
    ]


def main(
    only: Annotated[str, only_of(GROUPS)] = "",
    quick: Annotated[bool, quick_of("integrations", "Few items")] = False,
) -> None:
    sizes = QUICK if quick else Sizes()
    rows, results = run_groups("integrations", GROUPS, sizes, list, only=only, quick=quick)
    if not only:
        write_table("integrations", "What the adapters cost", HEADS, rows, notes(sizes, results))


app = program(main, __doc__)

if __name__ == "__main__":
    app()
