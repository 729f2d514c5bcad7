"""The pieces of work that `benchmarks.loader` measures; run as a program, it measures the memory of workers alone."""

import functools
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torch.utils.data._utils.fetch import _MapDatasetFetcher
from torch.utils.data.dataloader import default_collate
from torchvision.datasets import ImageFolder, VisionDataset
from torchvision.transforms import v2

from benchmarks.lines import Measured
from benchmarks.peers.stopwatch import Rounds, Stopwatch, in_turn
from gan_augment.dataset import GANAugmentedDataset
from gan_augment.forms import RawForm
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import new_document
from gan_augment.pool.grow import write_stores
from gan_augment.pool.layout import part_name
from gan_augment.pool.store import Store

BATCH, TINY_ROWS = 64, 64
NOISE = RawForm(kind="tensor", layout="channels_first", dtype="uint8", channels=3, shape=(128, 128))
_PIL: dict[str, Any] = {"kind": "pil", "dtype": "uint8"}
KINDS = {
    "PNG files, 64x64": RawForm(layout="channels_last", channels=3, shape=(64, 64), mode="RGB", **_PIL),
    "tensors, 28x28": RawForm(kind="tensor", layout="channels_first", dtype="float32", channels=1, shape=(28, 28)),
    "grey PIL, 28x28": RawForm(layout="no_channel", channels=1, shape=(28, 28), mode="L", **_PIL),
}
WAYS = ("one by one", "fetched", "fetched and collated")


class GreyImages(VisionDataset):  # type: ignore[misc]
    """Built as torchvision's FashionMNIST: uint8 `data`, `targets` in a tensor, PIL images."""

    def __init__(self, data: Tensor, targets: Tensor, transform: Callable[[Any], Any]) -> None:
        super().__init__("", transform=transform)
        self.data, self.targets = data, targets

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, target = Image.fromarray(self.data[index].numpy()), int(self.targets[index])
        return image if self.transform is None else self.transform(image), target


def to_float() -> v2.Compose:
    return v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def base_of(kind: str, counts: Sequence[int], folder: Path) -> Dataset[Any]:
    """Returns a base of noise with so many images of each class; files go into a new folder below `folder`."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    rng = np.random.default_rng(0)
    if kind == "tensors, 28x28":
        return TensorDataset(torch.from_numpy(rng.random((len(labels), 1, 28, 28), np.float32)), labels)
    if kind == "grey PIL, 28x28":
        pixels = rng.integers(0, 256, (len(labels), 28, 28), np.uint8)
        return GreyImages(torch.from_numpy(pixels), labels, to_float())
    root = folder / f"images-{'-'.join(map(str, counts))}"
    if not root.exists():
        for number, label in enumerate(labels.tolist()):
            (root / str(label)).mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
            coarse.resize((64, 64), Image.Resampling.BICUBIC).save(root / str(label) / f"{number:06d}.png")
    images: Dataset[Any] = ImageFolder(str(root), to_float())
    return images


def pool_of(form: RawForm, rows: int, labels: int, folder: Path) -> Path:
    """Writes a pool of noise, `labels` classes of which all but the first have rows, where it is not there yet."""
    out, shape = folder / f"pool-{form.kind}-{form.channels}-{rows}-{labels}", (form.channels, *(form.shape or ()))
    if out.exists():
        return out
    rng, block, chunk = np.random.default_rng(1), 512, 256
    order, names = np.arange(rows, dtype=np.int64), [str(label) for label in range(labels)]
    part = {"folder": part_name(0), "rows": rows, "chunk": chunk, "shard_rows": -(-rows // chunk) * chunk}
    document = new_document(
        classes=names,
        named=False,
        values=list(range(labels)),
        form=vars(form),
        image_spec=None,
        reasons=[""],
        parts=[{**part, "masks": False}],
    )
    noise = folder / "noise.npy"
    images = np.lib.format.open_memmap(noise, "w+", form.dtype, (rows, *shape))
    for start in range(0, rows, block):
        drawn = rng.integers(0, 256, (min(block, rows - start), *shape), np.uint8)
        images[start : start + block] = drawn.astype(np.float32) / 255 if form.dtype == "float32" else drawn
    columns = Columns.of(1 + order % (labels - 1), seed=order, score=np.zeros(rows))
    write_stores([Store([images], columns, document)], out, progress=False)
    noise.unlink()
    return out


class ByHand(Dataset[Any]):
    """The synthetic slots of a dataset as anyone would read them: rows of the map, looked up beforehand."""

    def __init__(self, train: GANAugmentedDataset, kind: str, pool: Path) -> None:
        self.form, self.start, self.transform = KINDS[kind], len(train.base), to_float()
        self.images = np.load(pool / part_name(0) / "images-00000.npy", mmap_mode="r")
        origins = [train.origin(index) for index in range(self.start, len(train))]
        self.rows = [origin.row for origin in origins]
        labels = [origin.label for origin in origins]
        self.labels: Any = torch.tensor(labels) if self.form.kind == "tensor" else labels

    def __getitem__(self, index: int) -> Any:
        image, label = self.images[self.rows[index - self.start]], self.labels[index - self.start]
        if self.form.kind == "tensor":
            return torch.from_numpy(np.array(image)), label
        pixels = np.array(image[0]) if self.form.mode == "L" else np.ascontiguousarray(image.transpose(1, 2, 0))
        return self.transform(Image.fromarray(pixels)), label


def reader(dataset: Any, way: str) -> Callable[[list[int]], Any]:
    """Returns what reads a batch of items: one by one, or as a loader's worker does."""
    if way == "one by one":
        return lambda indices: [dataset[index] for index in indices]
    collate = default_collate if way.endswith("collated") else list
    return _MapDatasetFetcher(dataset, True, collate, False).fetch


def timed(sides: Mapping[str, Callable[[Any], Any]], batches: Sequence[Any], steps: int, rounds: int) -> Measured:
    """Runs the sides in turn; returns seconds a batch of each, round by round."""

    def loop(work: Callable[[Any], Any], watch: Stopwatch[Any]) -> None:
        for batch in watch:
            work(batch)

    loops = {name: functools.partial(loop, work) for name, work in sides.items()}
    return {"rounds": in_turn(loops, batches, steps=steps, rounds=rounds)}


def shuffled(indices: range) -> list[list[int]]:
    """Returns whole batches of the indices in random order."""
    order: list[int] = np.random.default_rng(2).permutation(np.asarray(indices)).tolist()
    return [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]


def items(folder: Path, kind: str, what: str, way: str, counts: Sequence[int], steps: int, rounds: int) -> Measured:
    """Times real items beside the base alone, or synthetic ones beside the same rows read by hand."""
    base, pool = base_of(kind, counts, folder), pool_of(KINDS[kind], 2 * counts[0], len(counts), folder)
    train = GANAugmentedDataset(base, SyntheticPool.open(pool), synthetic_share=1.0, progress=False)
    other: Any = base if what == "real" else ByHand(train, kind, pool)
    indices = range(len(train.base)) if what == "real" else range(len(train.base), len(train))
    if not all(same(train[index], other[index]) for index in (indices[0], indices[-1])):
        raise AssertionError("expected both sides to read the same items, found others")
    sides = {"wrapped": reader(train, way), "other": reader(other, way)}
    return timed(sides, shuffled(indices), steps, rounds)


def oversampled(train: GANAugmentedDataset) -> Subset[Any]:
    """Returns the base with as many repeats of each class as the dataset has slots of it."""
    rng, reals = np.random.default_rng(3), len(train.base)
    targets = np.asarray(train.targets)
    drawn = [int(rng.choice(np.flatnonzero(targets[:reals] == label))) for label in targets[reals:]]
    return Subset(train.base, [*range(reals), *drawn])


def epochs(folder: Path, counts: Sequence[int], workers: int, rounds: int) -> Measured:
    """Times epochs of loaders over half and all synthetic slots beside the same folder oversampled, in turn."""
    base, form = base_of(kind := "PNG files, 64x64", counts, folder), KINDS[kind]
    pool = SyntheticPool.open(pool_of(form, 2 * counts[0], len(counts), folder))
    sides: dict[str, Any] = {
        f"share {share}": GANAugmentedDataset(base, pool, synthetic_share=share, progress=False) for share in (0.5, 1.0)
    }
    sides["oversampled"] = oversampled(sides["share 1.0"])
    loaders = {name: loader_of(side, workers) for name, side in sides.items()}
    found: Rounds = {name: {"wall": []} for name in sides}
    for number in range(-1, rounds):  # the first starts the workers and does not count
        for name in np.roll(list(sides), -number).tolist():
            began = time.perf_counter()
            read = sum(len(labels) for _, labels in loaders[name])
            found[name]["wall"] += [time.perf_counter() - began] if number >= 0 else []
    return {"rounds": found, "items": read, "slots": len(sides["share 1.0"]) - sum(counts)}


def loader_of(dataset: Any, workers: int) -> DataLoader[Any]:
    chance = torch.Generator().manual_seed(0)
    return DataLoader(dataset, BATCH, True, num_workers=workers, generator=chance, persistent_workers=True)


def over_noise(pool: Path, slots: int) -> GANAugmentedDataset:
    """Returns 16 real images and so many synthetic slots."""
    reals = torch.arange(16, dtype=torch.uint8).reshape(16, 1, 1, 1).expand(16, 3, 128, 128).clone()
    base, wanted = TensorDataset(reals, torch.arange(16) // 8), {1: 8 + slots}
    opened = SyntheticPool.open(pool)
    return GANAugmentedDataset(base, opened, sampling_strategy=wanted, synthetic_share=1.0, progress=False)


def two_pools(folder: Path, rows: int) -> dict[str, Path]:
    return {"pool": pool_of(NOISE, rows, 2, folder), "tiny": pool_of(NOISE, TINY_ROWS, 2, folder)}


def spawned(folder: Path, rows: int, slots: int, workers: int, rounds: int) -> Measured:
    """Times from making a loader to its first batch with workers that are spawned, with a pool and a tiny one."""
    sides = {name: over_noise(pool, slots) for name, pool in two_pools(folder, rows).items()}
    found: Rounds = {name: {"wall": []} for name in sides}
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            train, began = sides[name], time.perf_counter()
            order = range(len(train.base), len(train))
            loader = DataLoader(train, BATCH, sampler=order, num_workers=workers, multiprocessing_context="spawn")
            next(iterator := iter(loader))
            found[name]["wall"].append(time.perf_counter() - began)
            del iterator  # ends the workers
    sizes = {name: [len(pickle.dumps(train)), len(ForkingPickler.dumps(train))] for name, train in sides.items()}
    return {"rounds": found, "pickled": sizes}


def memory(folder: Path, rows: int, slots: int, workers: int, rounds: int) -> Measured:
    """Measures workers over a pool and over a tiny one, each in a process of its own, in turn."""
    sides = two_pools(folder, rows)
    runs = [{name: alone(pool, slots, workers) for name, pool in sides.items()} for _ in range(rounds)]
    return {name: [run[name] for run in runs] for name in sides} | {"pool_bytes": rows * 3 * 128 * 128}


def alone(*arguments: Any) -> Measured:
    """Runs `main` in a process of its own and returns what it printed."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.loader_jobs", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    measured: Measured = json.loads(done.stdout.splitlines()[-1])
    return measured


def numbers_of(process: int, file: str) -> dict[str, int]:
    """Returns the lines of a file under /proc that give kB, in bytes."""
    lines = [line.split() for line in Path(f"/proc/{process}/{file}").read_text().splitlines()]
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1:] == ["kB"]}


def workers_here() -> list[int]:
    return [process.pid or 0 for process in multiprocessing.active_children()]


def pages_of(process: int, folder: str) -> dict[str, int]:
    """Returns how much of a folder's files a process has mapped: Pss, where shared pages count in part, and Rss."""
    found, inside = {"Pss": 0, "Rss": 0}, False
    for words in map(str.split, Path(f"/proc/{process}/smaps").read_text().splitlines()):
        if not words[0].endswith(":"):
            inside = words[-1].startswith(folder)
        elif inside and words[0][:-1] in found:
            found[words[0][:-1]] += int(words[1]) * 1024
    return found


def main(pool: str, slots: str, workers: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # more workers than cores
    train = over_noise(Path(pool), int(slots))
    order = torch.utils.data.SubsetRandomSampler(range(len(train.base), len(train)))
    loader = DataLoader(train, BATCH, sampler=order, num_workers=int(workers), persistent_workers=True)
    peaks: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for pid in workers_here():
                peaks[pid] = max(peaks.get(pid, 0), numbers_of(pid, "status")["RssAnon"])

    watcher = threading.Thread(target=watch)
    for epoch in range(2):
        train.set_epoch(epoch)
        for _ in loader:
            if watcher.ident is None:
                watcher.start()  # after the workers were forked
    done.set()
    watcher.join()
    own = workers_here()
    seen = {process: numbers_of(process, "smaps_rollup") for process in [os.getpid(), *own]}
    total = {name: sum(found[name] for found in seen.values()) for name in ("Pss", "Pss_File", "Pss_Anon", "Pss_Shmem")}
    files = [pages_of(process, pool) for process in seen]
    total |= {f"pool_{name}": sum(found[name] for found in files) for name in ("Pss", "Rss")}
    total |= {f"workers_{name}": sum(seen[process][name] for process in own) for name in ("Anonymous", "Private_Dirty")}
    total["worker_peak"] = max([*peaks.values(), *(seen[process]["Anonymous"] for process in own)])
    print(json.dumps(total))


if __name__ == "__main__":
    main(*sys.argv[1:])
