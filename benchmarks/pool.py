"""What does a pool cost to draw, to write, to open and to read? make bench-pool

Drawing beside the bare generator and judge, writing that overlaps, memory of a build of a million rows, opening ten
million, random rows, two processes. A killed run goes on where it was.

    python -m benchmarks.pool                     everything; needs 6 GB on the disk of temporary files

    python -m benchmarks.pool --only drawing,reading

    python -m benchmarks.pool --quick             few rows, to see that it runs; writes runs/pool-quick
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks import common, pool_alone, pool_jobs
from benchmarks.common import measured_on, unit, write_table
from benchmarks.lines import HEADS, Line, Measured, of_rounds, of_values
from benchmarks.loader_jobs import BATCH
from benchmarks.options import only_of, program, quick_of, run_groups
from gan_augment.artifacts import write_json

MB = 2**20
SNGAN, RGB, DCGAN, TABLE = pool_jobs.CASES


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `chunks` of 256 images are drawn of each case, beside a judge too of those in `judged`."""

    chunks: tuple[tuple[str, int], ...] = ((SNGAN, 6), (RGB, 12), (DCGAN, 48))
    judged: tuple[tuple[str, int], ...] = ((RGB, 8), (DCGAN, 32))
    written: tuple[tuple[str, int], ...] = ((DCGAN, 32), (TABLE, 256))
    shared: int = 12
    rounds: int = 5
    few: int = 3
    rows: int = 1_000_000
    twice: int = 2
    opened: int = 10_000_000
    read: int = 100_000
    steps: int = 500


QUICK = Sizes(
    chunks=((DCGAN, 2),),
    judged=((DCGAN, 2),),
    written=((DCGAN, 2), (TABLE, 4)),
    shared=2,
    rounds=2,
    few=1,
    rows=20_000,
    twice=1,
    opened=50_000,
    read=5_000,
    steps=20,
)
SMALL, SHARDS = 10_000, 128
"""Rows of the pool that the large ones' memory is compared with; shards of the pool that is opened."""


Found = tuple[list[Line], list[Measured]]


def run(name: str, work: Callable[..., Measured], *before: Path, **settings: Any) -> Measured:
    return unit(f"pool/{name}", settings, lambda: work(*before, **settings))


def speed(result: Measured, name: str, label: str = "") -> str:
    seconds = statistics.median(result["rounds"][name]["wall"])
    return f"{label or name}: {result['images'] / seconds:,.1f} images/s"


def slug(case: str) -> str:
    return case.replace(",", "").replace(" ", "-")


def drawing(sizes: Sizes, folder: Path) -> Found:
    lines, results = [], []
    for judged, chosen, least in ((False, sizes.chunks, 0.95), (True, sizes.judged, 0.85)):
        for case, chunks in chosen:
            name = f"drawing-{'judged-' if judged else ''}{slug(case)}"
            work = pool_jobs.drawing
            result = run(name, work, folder, case=case, judged=judged, chunks=chunks, rounds=sizes.rounds)
            results.append(result)
            told = f"draw, {'judge, select' if judged else 'no selector'}, {case}"
            shown = speed(result, "bare", "generator and judge" if judged else "generator")
            sides = {"ours": speed(result, "build"), "other": f"{shown}, batches of {result['batch']}"}
            lines.append(of_rounds(told, result, "build", "bare", **sides, what="of the speed", least=least))
            if not judged:
                inside = {"ours": "seconds inside the generator", "other": "seconds of the build"}
                lines.append(of_values(f"{told}: within the build", result["inside"], **inside, what="of the time"))
    return lines, results


def writing(sizes: Sizes, folder: Path) -> Found:
    lines, results = [], []
    for case, chunks in sizes.written:
        result = run(f"writing-{slug(case)}", pool_jobs.writing, folder, case=case, chunks=chunks, rounds=sizes.rounds)
        results.append(result)
        ours = speed(result, "folder", "to a folder")
        for other, label in (("memory", "to memory"), ("same thread", "to a folder, written by the thread that draws")):
            sides = {"ours": ours, "other": speed(result, other, label)}
            lines.append(of_rounds(f"write, {case}", result, "folder", other, **sides, what="of B's speed"))
        for side, label in (("folder", "a thread writes"), ("same thread", "written by the thread that draws")):
            waited = {"ours": "seconds of waiting for writes", "other": "seconds of the build"}
            case_ = f"write, {case}: {label}"
            lines.append(of_values(case_, result["waited"][side], **waited, what="of the time"))
    return lines, results


def memory(sizes: Sizes, folder: Path) -> Found:
    rows = [min(SMALL, sizes.rows // 20), sizes.rows // 10, 3 * sizes.rows // 10, sizes.rows]
    result = run("memory", pool_alone.memory, folder, rows=rows, rounds=sizes.twice)
    lines = []
    base = result["found"][str(rows[0])]
    for key, label in (("peak", "peak of all memory (VmHWM)"), ("anonymous", "peak of anonymous memory")):
        few = statistics.median(one[key] for one in base) / MB
        for count in rows[1:]:
            own = [one[key] / MB for one in result["found"][str(count)]]
            size = count * 64 * 64 / MB
            line = of_values(
                f"build {count:,} rows of 64x64 grey, {size:,.0f} MB: {label}",
                [value - few for value in own],
                ours=f"{statistics.median(own):,.0f} MB",
                other=f"{rows[0]:,} rows: {few:,.0f} MB",
                what="MB more",
            )
            lines.append(replace(line, most=1024.0) if count == rows[-1] else line)
    return lines, [result]


def opening(sizes: Sizes, folder: Path) -> Found:
    settings = {"rows": sizes.opened, "shards": SHARDS, "rounds": sizes.rounds}
    result = run("opening", pool_alone.opening, folder, **settings)
    lines = []
    for side, label, most in (("warm", "files in memory", 1.0), ("cold", "files dropped from memory", None)):
        read = statistics.median(one["read"] for one in result[side]) / MB
        case = f"open {sizes.opened:,} rows of {SHARDS} shards, {label}"
        seconds = [one["seconds"] for one in result[side]]
        lines.append(of_values(case, seconds, ours=f"{read:,.0f} MB from the disk", what="s", most=most))
    return lines, [result]


def reading(sizes: Sizes, folder: Path) -> Found:
    lines, results = [], []
    for shape, shards in (((1, 28, 28), 1), ((1, 28, 28), 16), ((3, 64, 64), 1), ((3, 64, 64), 16)):
        by = "x".join(map(str, shape))
        settings = {"shape": shape, "rows": sizes.read, "shards": shards}
        steps = {"steps": sizes.steps, "rounds": sizes.rounds}
        result = run(f"reading-{by}-{shards}", pool_alone.reading, folder, **settings, **steps)
        results.append(result)
        result = {**result, "images": BATCH}
        for side, label in (("reader", "pool.reader()"), ("array", "pool.array(row)")):
            for other, shown, most in (
                ("by hand", "np.load by hand", 1.3),
                ("by hand, plain", "its plain array", None),
            ):
                case = f"random rows of {by}, {shards} shard{'s' * (shards > 1)}, copied"
                sides = {"ours": per_row(result, side, label), "other": per_row(result, other, shown)}
                lines.append(of_rounds(case, result, other, side, **sides, what="of B's time", most=most))
    return lines, results


def per_row(result: Measured, name: str, label: str) -> str:
    return f"{label}: {1e6 * statistics.median(result['rounds'][name]['wall']) / BATCH:.2f} µs"


def processes(sizes: Sizes, folder: Path) -> Found:
    result = run("processes", pool_alone.ranks, folder, case=RGB, chunks=sizes.shared, rounds=sizes.few)
    lines = []
    for what, label in (("build", "build"), ("bare", "the generator alone")):
        one, two = (f"{what}, {count}" for count in (1, 2))
        sides = {"ours": speed(result, two, "two"), "other": speed(result, one, "one")}
        lines.append(of_rounds(f"two processes, {RGB}: {label}", result, two, one, **sides, what="of one's speed"))
    return lines, [result]


GROUPS = {f.__name__: f for f in (drawing, writing, memory, opening, reading, processes)}


def notes(sizes: Sizes, results: list[Measured]) -> list[str]:
    return [
        f"One thread a process. The sides run in turn, {sizes.rounds} rounds (memory {sizes.twice}, processes "
        f"{sizes.few}), each begun by another; a figure is the ratio of the medians over rounds, or their median, and "
        "in brackets stands the range of the rounds' own. Generators are untrained, the judge is hardly trained: what "
        "they see does not change what they cost.",
        "",
        "A build's drawing is timed from the first chunk's call of the generator until the pool is there: what comes "
        "before (opening the dataset, hashing it, fitting and calibrating the selector) is done once whatever the "
        "number of rows, and is left out; columns, checksums and what ends a pool are in. The generator alone is "
        "called with latents held in memory, on as many batches of the same size as the build calls it with. Within "
        "the build: the seconds spent inside the generator's forward, of all. A chunk is 256 images; up to 128 chunks "
        "each is a shard, synced to the disk.",
        "",
        "Writing: whole builds. The table is a synthesizer that looks its images up, so that little but the pool's own "
        "work is left. Memory: each build in a process of its own, by that table; anonymous memory is looked at every "
        "2 ms, VmHWM is the kernel's and counts mapped files. Opening: new processes, after imports; files are dropped "
        f"by posix_fadvise, which reaches no cache below this kernel's own. Random rows: batches of {BATCH}, copied "
        "out of the map, its pages in memory. Two processes are started by torchrun and share the cores named below; "
        "the generator alone shows what two of them can give.",
        "",
        f"torch {torch.__version__}. {measured_on(results)} Written by `make bench-pool`.",
    ]


def main(
    only: Annotated[str, only_of(GROUPS)] = "",
    quick: Annotated[bool, quick_of("pool", "Few rows")] = False,
    rows: Annotated[int | None, typer.Option(help="Rows of the largest build measured for memory.", min=100)] = None,
) -> None:
    sizes = QUICK if quick else Sizes()
    sizes = replace(sizes, rows=rows) if rows else sizes
    lines, results = run_groups("pool", GROUPS, sizes, Line.cells, only=only, quick=quick)
    if not only:
        write_json(common.RESULTS / "pool.json", {"lines": [{**asdict(line), "kept": line.kept} for line in lines]})
        write_table("pool", "What a pool costs", HEADS, [line.cells() for line in lines], notes(sizes, results))


app = program(main, __doc__)

if __name__ == "__main__":
    app()
