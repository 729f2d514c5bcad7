"""The pieces of work that `benchmarks.pool` measures: pools drawn, and written."""

import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from benchmarks.lines import Measured
from benchmarks.peers.dcgan import LATENT, Labelled, generator
from benchmarks.peers.stopwatch import in_rounds, now, since
from gan_augment.features import TrainedExtractor
from gan_augment.images import batch_rows
from gan_augment.networks import NetworkSpec
from gan_augment.pool import SyntheticPool, work
from gan_augment.pool.shards import Background
from gan_augment.recipes import RECIPES
from gan_augment.selection import CentroidSelector
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer, WrappedSynthesizer, wrap
from gan_augment.types import Synthesizer

CASES = {
    "sngan, grey 64x64": ("sngan", 1, 64),
    "sngan, RGB 32x32": ("sngan", 3, 32),
    "wrapped DCGAN, grey 32x32": ("dcgan", 1, 32),
    "a table of images, grey 64x64": ("table", 1, 64),
}
REALS, CLASSES, TABLE = 64, 2, 512


class Calls:
    """Notes when a generator is called, wall and CPU time, and for how long."""

    def __init__(self, module: nn.Module) -> None:
        self.stamps: list[tuple[float, float]] = []
        self.spent: list[float] = []
        self.rows = 0
        module.register_forward_pre_hook(self._before)
        module.register_forward_hook(self._after)

    def _before(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.rows = len(given[0])
        self.stamps.append((time.perf_counter(), time.process_time()))

    def _after(self, module: nn.Module, given: tuple[Any, ...], drawn: Any) -> None:
        self.spent.append(time.perf_counter() - self.stamps[-1][0])


def view_of(channels: int, side: int) -> RawView:
    """Returns a few real images of noise, of two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (REALS, channels, side, side), np.uint8)
    return RawView(TensorDataset(torch.from_numpy(pixels), torch.arange(REALS) % CLASSES), progress=False)


def drawn_by(case: str, view: RawView) -> tuple[Synthesizer, nn.Module | None]:
    """Returns an untrained synthesizer and its generator in eval mode; None where it only looks images up."""
    which, channels, side = CASES[case]
    torch.manual_seed(0)
    shape = (channels, side, side)
    if which == "table":
        table = torch.rand(TABLE, *shape) * 2 - 1

        def look_up(labels: Tensor, seeds: Tensor) -> Tensor:
            return table[(seeds + labels) % TABLE]

        return looked_at(wrap(look_up, num_classes=CLASSES, image_shape=shape)), None
    if which == "dcgan":
        module = Labelled(generator(channels=channels)).eval()
        return looked_at(wrap(module, num_classes=CLASSES, image_shape=shape, latent_dim=LATENT)), module
    recipe, image_spec = RECIPES[which](), view.spec()
    spec = NetworkSpec(channels=channels, grid=image_spec.grid, num_classes=CLASSES)
    networks = recipe.networks(spec)
    own = TrainedSynthesizer(recipe, networks, spec, class_names=view.classes, image_spec=image_spec)
    return own, own.networks["generator"]


def looked_at(synthesizer: WrappedSynthesizer) -> WrappedSynthesizer:
    """Returns a wrapped generator after its first call, which looks at more than is drawn."""
    synthesizer.sample([0], [0])
    return synthesizer


def chunk_of(case: str) -> int:
    """Returns how many images a pool draws together."""
    side = CASES[case][2]
    return batch_rows((side, side))


def build(synthesizer: Synthesizer, view: RawView, rows: int, out: Path | None, **others: Any) -> SyntheticPool:
    """Builds a pool of so many rows, half of each class."""
    counts = dict.fromkeys(range(CLASSES), rows // CLASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a judge that was hardly trained, and keeps nothing
        return SyntheticPool.build(
            synthesizer, view, counts=counts, out=out, reserve=1.0, floor=0.0, progress=False, **others
        )


# -- drawing ----------------------------------------------------------------------------------------------------------


def bare(module: nn.Module, rows: int, chunk: int, judge: TrainedExtractor | None = None) -> Callable[[int], None]:
    """Returns what calls a generator with latents held in memory, chunk after chunk, and has a judge look at each."""
    labels = torch.arange(chunk) % CLASSES
    latents = torch.randn(chunk, LATENT if isinstance(module, Labelled) else RECIPES["sngan"]().latent_dim)
    parts = list(zip(latents.split(rows), labels.split(rows), strict=True))

    def run(chunks: int) -> None:
        with torch.no_grad():
            for _ in range(chunks):
                drawn = [module(*part) for part in parts]
                if judge is not None:
                    judge.extract(torch.cat(drawn))

    return run


def drawing(folder: Path, case: str, judged: bool, chunks: int, rounds: int) -> Measured:
    """Times a build into a folder beside its generator alone, and its judge, on batches of the same size."""
    view = view_of(*CASES[case][1:])
    synthesizer, module = drawn_by(case, view)
    assert module is not None
    calls, chunk = Calls(module), chunk_of(case)
    judge = TrainedExtractor.fit(view, steps=1, device="cpu", progress=False) if judged else None
    selector = None if judge is None else CentroidSelector(judge)
    build(synthesizer, view, chunk, None, selector=selector)  # warms up, and shows how many rows are drawn at once
    alone, per_chunk = bare(module, calls.rows, chunk, judge), chunk // calls.rows
    shares: list[float] = []

    def ours_timed() -> tuple[float, float]:
        build(synthesizer, view, chunks * chunk, folder / "drawn", selector=selector)
        number = chunks * per_chunk
        wall, cpu = since(calls.stamps[-number])  # from the first chunk on: what was before it is done once
        shares.append(sum(calls.spent[-number:]) / wall)
        shutil.rmtree(folder / "drawn")
        return wall, cpu

    def alone_timed() -> tuple[float, float]:
        began = now()
        alone(chunks)
        return since(began)

    found = in_rounds({"build": ours_timed, "bare": alone_timed}, rounds)
    return {"rounds": found, "images": chunks * chunk, "batch": calls.rows, "inside": shares}


# -- writing ----------------------------------------------------------------------------------------------------------


class Watched(Background):
    """Writes as the library does, and counts the seconds for which the thread that draws waits."""

    waited = 0.0

    def submit(self, write: Callable[..., Any], *args: Any) -> None:
        """Has it written."""
        began = time.perf_counter()
        super().submit(write, *args)
        Watched.waited += time.perf_counter() - began

    def wait(self) -> None:
        """Waits for all."""
        began = time.perf_counter()
        super().wait()
        Watched.waited += time.perf_counter() - began


class AtOnce(Watched):
    """Writes in the thread that draws."""

    def submit(self, write: Callable[..., Any], *args: Any) -> None:
        """Writes."""
        began = time.perf_counter()
        write(*args)
        Watched.waited += time.perf_counter() - began


def writing(folder: Path, case: str, chunks: int, rounds: int) -> Measured:
    """Times a build into a folder beside one into memory and one whose writes are done by the thread that draws."""
    view = view_of(*CASES[case][1:])
    synthesizer, out, rows = drawn_by(case, view)[0], folder / "written", chunks * chunk_of(case)
    sides = ("memory", "folder", "same thread")
    waited: dict[str, list[float]] = {name: [] for name in sides}
    build(synthesizer, view, chunk_of(case), None)  # warms up

    def one(name: str) -> Callable[[], tuple[float, float]]:
        def run() -> tuple[float, float]:
            Watched.waited = 0.0
            with mock.patch.object(work, "Background", AtOnce if name == "same thread" else Watched):
                began = now()
                build(synthesizer, view, rows, None if name == "memory" else out)
                spent = since(began)
            waited[name].append(Watched.waited / spent[0])
            shutil.rmtree(out, ignore_errors=True)
            return spent

        return run

    found = in_rounds({name: one(name) for name in sides}, rounds)
    return {"rounds": found, "images": rows, "waited": waited}
