"""What does the wrapped dataset cost a loader? python -m benchmarks.loader

Items one by one and as a worker fetches them, loaders with workers, memory over a large pool, start by spawn, and
synthesis while training; each beside the obvious alternative, in turn in one run. A killed run goes on where it was.

    python -m benchmarks.loader                     everything; needs 5 GB on the disk of temporary files

    python -m benchmarks.loader --only real,synthetic

    python -m benchmarks.loader --quick             few items, to see that it runs; writes runs/loader-quick
"""

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks import loader_jobs as jobs
from benchmarks.common import measured_on, unit, write_table
from benchmarks.lines import Measured
from benchmarks.loader_jobs import BATCH, reader, shuffled, timed
from benchmarks.options import only_of, program, quick_of, run_groups
from benchmarks.peers.dcgan import LATENT, Labelled, generator
from benchmarks.peers.stopwatch import WARM_UP
from gan_augment.dataset import GANAugmentedDataset
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES
from gan_augment.seeds import normals
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer, wrap
from gan_augment.types import Synthesizer

Row = list[str]
Found = tuple[list[Row], list[Measured]]
MB = 2**20


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `steps` are batches a round of the fastest base."""

    counts: tuple[int, ...] = (1024, 256, 256)
    steps: int = 800
    rounds: int = 9
    epochs: tuple[int, ...] = (4096, 1024, 1024)
    few: int = 5
    pool: int = 4 * 2**30
    live: int = 10


QUICK = Sizes(counts=(160, 32), steps=20, rounds=3, epochs=(256, 64, 64), few=2, pool=64 * MB, live=2)
SHARE_OF_STEPS = {"PNG files, 64x64": 0.04, "tensors, 28x28": 1.0, "grey PIL, 28x28": 0.15}


def live(which: str, counts: Sequence[int], steps: int, rounds: int) -> Measured:
    """Times a batch of slots that are drawn as they are read beside calls of the generator alone."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    pixels = np.random.default_rng(0).random((len(labels), 1, 32, 32), np.float32)
    base = TensorDataset(torch.from_numpy(pixels), labels)
    synthesizer, network, width = drawn_by(which, RawView(base, progress=False))
    train = GANAugmentedDataset(base, synthesizer, synthetic_share=1.0, live=True, progress=False)
    label_of, seeds = train.targets, np.arange(BATCH, dtype=np.int64)
    held = torch.from_numpy(normals(seeds, width))

    def bare(indices: list[int], latents: Tensor | None = None) -> None:
        wanted = torch.from_numpy(label_of[indices])
        with torch.no_grad():
            network(torch.from_numpy(normals(seeds, width)) if latents is None else latents, wanted)

    sides: dict[str, Callable[[Any], Any]] = {
        "live": reader(train, "fetched"),
        "generator and latents": bare,
        "generator": functools.partial(bare, latents=held),
    }
    return timed(sides, shuffled(range(len(labels), len(train))), steps, rounds)


def drawn_by(which: str, view: RawView) -> tuple[Synthesizer, nn.Module, int]:
    """Returns an untrained synthesizer, its generator in eval mode, and the length of its latents."""
    torch.manual_seed(0)
    image_spec = view.spec()
    if which == "wrapped DCGAN":
        module = Labelled(generator()).eval()
        shape = (1, *image_spec.grid)
        return wrap(module, num_classes=view.num_classes, image_shape=shape, latent_dim=LATENT), module, LATENT
    recipe = RECIPES[which]()
    spec = NetworkSpec(channels=1, grid=image_spec.grid, num_classes=view.num_classes)
    synthesizer = TrainedSynthesizer(
        recipe, recipe.networks(spec), spec, class_names=view.classes, image_spec=image_spec
    )
    return synthesizer, synthesizer.networks["generator"], recipe.latent_dim


def run(name: str, work: Callable[..., Measured], *before: Path, **settings: Any) -> Measured:
    return unit(f"loader/{name}", settings, lambda: work(*before, **settings))


def ratio(result: Measured, ours: str, other: str, kind: str) -> str:
    """Returns the ratio of the medians over rounds, and the range of the rounds' own ratios."""
    one, two = (result["rounds"][name].get(kind) for name in (ours, other))
    if not one:
        return ""
    each = [a / b for a, b in zip(one, two, strict=True)]
    return f"{statistics.median(one) / statistics.median(two):.3f} ({min(each):.3f} to {max(each):.3f})"


def row(case: str, result: Measured, sides: dict[str, str], limit: str, count: int = 0) -> Row:
    """Returns a row of the table; `sides` are the names of two, as measured and as shown; of `count` items, if any."""
    names = list(sides)
    medians = [statistics.median(result["rounds"][name]["wall"]) for name in names]
    times = [f"{1e6 * seconds / count:.1f} µs" if count else f"{seconds:.2f} s" for seconds in medians]
    shown = [f"{sides[name]}: {spent}" for name, spent in zip(names, times, strict=True)]
    return [case, *shown, *(ratio(result, names[0], names[1], kind) for kind in ("wall", "cpu")), limit]


def by_items(what: str, other: str, limit: str, sizes: Sizes, folder: Path) -> Found:
    rows, results = [], []
    for number, kind in enumerate(jobs.KINDS):
        steps = max(4, round(sizes.steps * SHARE_OF_STEPS[kind]))
        for way in jobs.WAYS:
            name = f"{what}-{number}-{way.replace(' ', '-')}"
            result = run(
                name, jobs.items, folder,
                kind=kind, what=what, way=way, counts=sizes.counts, steps=steps, rounds=sizes.rounds,
            )  # fmt: skip
            results.append(result)
            case = f"{what} items, {kind}, {way}"
            rows.append(row(case, result, {"wrapped": "wrapped", "other": other}, limit, BATCH))
    return rows, results


def real(sizes: Sizes, folder: Path) -> Found:
    return by_items("real", "the base", "1.03", sizes, folder)


def synthetic(sizes: Sizes, folder: Path) -> Found:
    return by_items("synthetic", "the map by hand", "1.2", sizes, folder)


def workers(sizes: Sizes, folder: Path) -> Found:
    result = run("workers", jobs.epochs, folder, counts=sizes.epochs, workers=2, rounds=sizes.rounds)
    rows = []
    for name in ("share 0.5", "share 1.0"):
        speeds = {s: result["items"] / statistics.median(result["rounds"][s]["wall"]) for s in (name, "oversampled")}
        case = f"loader with 2 workers, PNG files, {result['slots']:,} of {result['items']:,} items are slots"
        shown = {side: f"{side}, {speed:,.0f} images/s" for side, speed in speeds.items()}
        rows.append(row(case, result, shown, "1", result["items"]))
    return rows, [result]


def rows_of(sizes: Sizes) -> int:
    return sizes.pool // (3 * 128 * 128)


def memory(sizes: Sizes, folder: Path) -> Found:
    count = rows_of(sizes)
    result = run("memory", jobs.memory, folder, rows=count, slots=count // 10, workers=8, rounds=sizes.few)

    size = result["pool_bytes"] / MB
    rows = []
    for what, key, limit in (
        ("PSS of all processes", "Pss", f"{size:,.0f} MB more: shared pages count once"),
        ("pages of the pool, shared ones once", "pool_Pss", f"{size:,.0f} MB"),
        ("pages of the pool, as each process counts them", "pool_Rss", ""),
        ("anonymous memory of the workers", "workers_Anonymous", "no more"),
        ("private dirty memory of the workers", "workers_Private_Dirty", "no more"),
        ("greatest anonymous memory of a worker", "worker_peak", "no more"),
    ):
        big, tiny = (statistics.median(found[key] for found in result[side]) / MB for side in ("pool", "tiny"))
        case = f"8 workers, a random tenth of {size:,.0f} MB, twice: {what}"
        rows.append([case, f"the pool: {big:,.1f} MB", f"{jobs.TINY_ROWS} rows: {tiny:,.1f} MB"])
        rows[-1] += [f"{big - tiny:+,.1f} MB", "", limit]
    return rows, [result]


def spawn(sizes: Sizes, folder: Path) -> Found:
    count = rows_of(sizes)
    result = run("spawn", jobs.spawned, folder, rows=count, slots=count // 10, workers=2, rounds=sizes.few)
    sides = {"pool": "the pool", "tiny": f"{jobs.TINY_ROWS} rows"}
    case = f"first batch of 2 spawned workers, a pool of {sizes.pool / MB:,.0f} MB"
    rows = [row(case, result, sides, "")]
    for number, what in enumerate(("pickled", "pickled as spawn does, tensors in shared memory")):
        kilobytes = [result["pickled"][name][number] / 1024 for name in sides]
        shown = [f"{label}: {size:,.0f} kB" for label, size in zip(sides.values(), kilobytes, strict=True)]
        rows.append([f"the dataset {what}", *shown, f"{kilobytes[0] - kilobytes[1]:+,.0f} kB", "", ""])
    return rows, [result]


def synthesis(sizes: Sizes, folder: Path) -> Found:
    rows, results = [], []
    for which in ("sngan", "wrapped DCGAN"):
        name = f"live-{which.replace(' ', '-')}"
        counts = (6 * BATCH, BATCH)
        results.append(run(name, live, which=which, counts=counts, steps=sizes.live, rounds=sizes.rounds))
        for other in ("generator and latents", "generator"):
            case = f"live synthesis, {which}, 32x32, batches of {BATCH}"
            sides = {"live": "live", other: f"{other} alone"}
            rows.append(row(case, results[-1], sides, "1.111 (0.9 of the images/s)", BATCH))
    return rows, results


GROUPS = {f.__name__: f for f in (real, synthetic, workers, memory, spawn, synthesis)}
HEADS = ["case", "A, an item", "B, an item", "A/B, wall time (range)", "A/B, CPU time (range)", "limit"]


def notes(sizes: Sizes, results: list[Measured]) -> list[str]:
    return [
        f"One thread. Both sides run in turn in one process, {sizes.rounds} rounds ({sizes.few} for memory and spawn), "
        f"each begun by another; a round is the median of its batches of {BATCH} after {WARM_UP} that are not "
        "counted, for loaders with workers an epoch. Ratios are those of the medians over rounds; in brackets stands "
        "the range of the rounds' own. Below 1 the library is the faster. `Fetched` is what a worker's fetcher does; "
        "one by one is a plain loop. By hand, rows are looked up beforehand, copied from the memory map, and go "
        "through the same transform. The oversampled folder is a Subset with repeats of the same classes. Memory is "
        "read from /proc after two epochs, and every 10 ms for the greatest; every side has a process of its own. "
        "Generators are untrained.",
        "",
        f"torch {torch.__version__}. {measured_on(results)} Written by `python -m benchmarks.loader`.",
    ]


def main(
    only: Annotated[str, only_of(GROUPS)] = "",
    quick: Annotated[bool, quick_of("loader", "Few items")] = False,
) -> None:
    sizes = QUICK if quick else Sizes()
    rows, results = run_groups("loader", GROUPS, sizes, list, only=only, quick=quick)
    if not only:
        write_table("loader", "What the wrapped dataset costs a loader", HEADS, rows, notes(sizes, results))


app = program(main, __doc__)

if __name__ == "__main__":
    app()
