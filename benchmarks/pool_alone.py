"""The pieces of work of `benchmarks.pool` that need processes of their own, and pools that are read; a program, too."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.lines import Measured
from benchmarks.loader_jobs import NOISE, numbers_of, shuffled, timed
from benchmarks.memory import anonymous_memory, peak_above
from benchmarks.peers.stopwatch import Rounds, since
from benchmarks.pool_jobs import CASES, Calls, bare, build, chunk_of, drawn_by, view_of
from gan_augment.forms import RawForm
from gan_augment.images import batch_rows
from gan_augment.pool import SyntheticPool
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import new_document
from gan_augment.pool.grow import write_stores
from gan_augment.pool.layout import part_name
from gan_augment.pool.store import Store

Images = npt.NDArray[np.uint8]


def memory(folder: Path, rows: Sequence[int], rounds: int) -> Measured:
    """Measures builds of so many rows, each in a process of its own."""
    found: dict[str, list[Measured]] = {str(count): [] for count in rows}
    for _ in range(rounds):
        for count in rows:
            found[str(count)].append(alone("memory", folder / "pool", count))
            shutil.rmtree(folder / "pool")
    return {"found": found}


def pool_of(shape: tuple[int, int, int], rows: int, shards: int, folder: Path) -> Path:
    """Writes a pool of noise of so many shards, where it is not there yet."""
    out = folder / f"pool-{'x'.join(map(str, shape))}-{rows}-{shards}"
    if out.exists():
        return out
    form = RawForm(**{**vars(NOISE), "channels": shape[0], "shape": shape[1:]})
    chunk, order = batch_rows(shape[1:]), np.arange(rows, dtype=np.int64)
    shard_rows = chunk * math.ceil(rows / chunk / shards)
    part = {"folder": part_name(0), "rows": rows, "chunk": chunk, "shard_rows": shard_rows, "masks": False}
    document = new_document(
        classes=["0", "1"],
        named=False,
        values=[0, 1],
        form=vars(form),
        image_spec=None,
        reasons=[""],
        parts=[part],
    )
    images: Images = np.random.default_rng(1).integers(0, 256, (rows, *shape), np.uint8)
    write_stores([Store([images], Columns.of(order % 2, seed=order), document)], out, progress=False)
    return out


def forget(folder: Path) -> None:
    """Has the kernel drop a folder's files from its memory (Linux)."""
    os.sync()
    for path in filter(Path.is_file, folder.rglob("*")):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opening(folder: Path, rows: int, shards: int, rounds: int) -> Measured:
    """Times opening a pool in new processes, its files in memory and dropped from it."""
    pool = pool_of((1, 8, 8), rows, shards, folder)
    alone("open", pool)
    found: dict[str, list[Measured]] = {"cold": [], "warm": []}
    for _ in range(rounds):
        forget(pool)
        for measured in found.values():  # the second time it is there
            measured.append(alone("open", pool))
    shutil.rmtree(pool)
    return found


def reading(folder: Path, shape: tuple[int, int, int], rows: int, shards: int, steps: int, rounds: int) -> Measured:
    """Times copies of random rows, batch by batch, by the pool's readers and out of the same maps by hand."""
    folder = pool_of(shape, rows, shards, folder)
    pool = SyntheticPool.open(folder)
    maps = [np.load(path, mmap_mode="r") for path in sorted((folder / part_name(0)).glob("images-*.npy"))]
    plain, size, read = [np.asarray(one) for one in maps], len(maps[0]), pool.reader()

    def by_hand(held: Sequence[Images]) -> Callable[[list[int]], list[Images]]:
        if len(held) == 1:
            return lambda batch: [np.array(held[0][row]) for row in batch]
        return lambda batch: [np.array(held[row // size][row % size]) for row in batch]

    sides: dict[str, Callable[[list[int]], list[Images]]] = {
        "reader": lambda batch: [np.array(read(row)) for row in batch],
        "array": lambda batch: [np.array(pool.array(row)) for row in batch],
        "by hand": by_hand(maps),
        "by hand, plain": by_hand(plain),
    }
    batches = shuffled(range(rows))
    wanted = sides["by hand"](batches[0])
    if not all(np.array_equal(side(batches[0]), wanted) for side in sides.values()):
        raise AssertionError("expected all sides to read the same rows, found others")
    return timed(sides, batches, steps, rounds)


# -- processes --------------------------------------------------------------------------------------------------------


def ranks(folder: Path, case: str, chunks: int, rounds: int) -> Measured:
    """Times a build, and its generator alone, in one process and shared by two that torchrun starts."""
    found: Rounds = {f"{what}, {count}": {"wall": []} for count in (1, 2) for what in ("build", "bare")}
    for number in range(rounds):
        for count in (1, 2) if number % 2 else (2, 1):
            measured = alone("ranks", folder / "shared", case, chunks, processes=count)
            shutil.rmtree(folder / "shared")
            for what in ("build", "bare"):
                found[f"{what}, {count}"]["wall"].append(measured[what])
    return {"rounds": found, "images": chunks * chunk_of(case)}


def alone(*arguments: Any, processes: int = 0) -> Measured:
    """Runs `main` in a process of its own, or in several that torchrun starts, and returns what it printed."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    python = [sys.executable, "-W", "ignore", *(launcher if processes else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path.cwd())}
    command = [*python, "-m", "benchmarks.pool_alone", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def build_alone(out: str, rows: str) -> Measured:
    """Builds a pool of images that are looked up in a table; returns the memory that the process took."""
    case = "a table of images, grey 64x64"
    view = view_of(*CASES[case][1:])
    synthesizer, before, began = drawn_by(case, view)[0], anonymous_memory(), time.perf_counter()
    grown = peak_above(lambda: build(synthesizer, view, int(rows), Path(out)))
    peak = numbers_of(os.getpid(), "status")["VmHWM"]
    return {"peak": peak, "anonymous": before + grown, "seconds": time.perf_counter() - began}


def open_alone(folder: str) -> Measured:
    """Opens a pool; returns the seconds, and the bytes that came from the disk."""
    before, began = from_disk(), time.perf_counter()
    pool = SyntheticPool.open(folder)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "read": from_disk() - before, "rows": len(pool)}


def from_disk() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def share_alone(out: str, case: str, chunks: str) -> Measured:
    """Draws this process's share of a pool, then as many chunks by the generator alone; returns the seconds of each."""
    view = view_of(*CASES[case][1:])
    synthesizer, module = drawn_by(case, view)
    assert module is not None
    calls, chunk, share = Calls(module), chunk_of(case), int(chunks) // int(os.environ["WORLD_SIZE"])
    build(synthesizer, view, chunk, None)
    build(synthesizer, view, int(chunks) * chunk, Path(out), distributed=True)
    drawn, _ = since(calls.stamps[-share * (chunk // calls.rows)])
    run, began = bare(module, calls.rows, chunk), time.perf_counter()
    run(share)
    return {"build": drawn, "bare": time.perf_counter() - began}


JOBS: dict[str, Callable[..., Measured]] = {"memory": build_alone, "open": open_alone, "ranks": share_alone}


def main(job: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    measured = JOBS[job](*arguments)
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
