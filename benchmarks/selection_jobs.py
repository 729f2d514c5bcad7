"""The pieces of work that `benchmarks.selection` measures; run as a program, it does one of them alone."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from prdc import compute_prdc  # type: ignore[import-untyped]
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from benchmarks.memory import peak_above
from gan_augment.index import NeighbourIndex
from gan_augment.metrics.manifold import manifold_scores
from gan_augment.neighbours import centroid_distances, kmeans, nearest, nearest_centroid, nearest_of_class
from gan_augment.types import FloatArray

DIM = 512
_BLOCK = 4096
Measured = dict[str, Any]


def noise(count: int, seed: int, dim: int = DIM) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)


def near_a_surface(count: int, seed: int, latent: int) -> FloatArray:
    """Returns rows near a surface of few dimensions, as features of images lie."""
    mix = np.random.default_rng(0).standard_normal((latent, DIM), dtype=np.float32) / np.float32(latent**0.5)
    hidden = noise(count, seed, latent)
    rows: FloatArray = np.empty((count, DIM), np.float32)
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        rows[block] = hidden[block] @ mix + 0.1 * noise(len(hidden[block]), seed + 1 + start)
    return rows


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(ours: Callable[[], Any], other: Callable[[], Any], repeats: int, warm_up: bool = True) -> Measured:
    """Returns the medians of both and of the ratio of each pair, run in turn."""
    pairs = [(seconds(ours), seconds(other)) for _ in range(repeats + warm_up)][int(warm_up) :]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "other": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
        "pairs": pairs,
    }


def to_centroids(rows: int, centroids: int, repeats: int) -> Measured:
    """Times `centroid_distances` beside a blocked product that gives the same distances and does not centre."""
    features, means = noise(rows, 0), noise(centroids, 1)

    def product() -> FloatArray:
        distances = np.empty((len(features), len(means)), np.float32)
        lengths, other = (means**2).sum(axis=1), np.ascontiguousarray(-2 * means.T)
        for start in range(0, len(features), _BLOCK):
            block, out = features[start : start + _BLOCK], distances[start : start + _BLOCK]
            np.matmul(block, other, out=out)
            out += lengths
            out += np.einsum("nd,nd->n", block, block)[:, None]
            np.sqrt(np.maximum(out, 0, out=out), out=out)
        return distances

    return in_turn(lambda: centroid_distances(features, means), product, repeats)


def copy_check(rows: int, repeats: int) -> Measured:
    queries, base = noise(rows, 0), noise(rows, 1)

    def peer() -> None:
        NearestNeighbors(n_neighbors=2, algorithm="brute").fit(base).kneighbors(queries)

    return in_turn(lambda: nearest(queries, base, 2), peer, repeats, warm_up=False)


def clustering(rows: int, k: int, repeats: int) -> Measured:
    """Times k-means of both with one start each, to where each stops by itself, and compares the sums of squares."""
    features = near_a_surface(rows, 0, 64)
    found: dict[str, list[float]] = {"ours": [], "other": []}

    def run(side: str, work: Callable[[int], FloatArray]) -> None:
        centroids = work(len(found[side]))
        found[side].append(float((nearest_centroid(features, centroids)[0].astype(np.float64) ** 2).sum()))

    def peer(seed: int) -> FloatArray:
        centers: FloatArray = KMeans(k, n_init=1, max_iter=25, random_state=seed).fit(features).cluster_centers_
        return centers

    times = in_turn(
        lambda: run("ours", lambda seed: kmeans(features, k, seed=seed)), lambda: run("other", peer), repeats
    )
    inertia = statistics.median(a / b for a, b in zip(found["ours"], found["other"], strict=True))
    return {**times, "inertia": found, "inertia_ratio": inertia}


def overlaps(rows: int, repeats: int) -> Measured:
    """Times and measures prdc and `manifold_scores`, each in a process of its own, in turn."""
    runs = [(alone("ours", rows), alone("prdc", rows)) for _ in range(repeats)]
    for one, other in runs:
        np.testing.assert_allclose(one["scores"], other["scores"], atol=2e-3)
    return {
        "ours": statistics.median(a["seconds"] for a, _ in runs),
        "other": statistics.median(b["seconds"] for _, b in runs),
        "ratio": statistics.median(a["seconds"] / b["seconds"] for a, b in runs),
        "ours_bytes": max(a["bytes"] for a, _ in runs),
        "other_bytes": max(b["bytes"] for _, b in runs),
    }


def growth(job: str, counts: tuple[int, ...], repeats: int) -> Measured:
    """Times one job at several numbers of rows and fits the exponent of its cost."""
    times = []
    for count in counts:
        features = near_a_surface(count, 0, 16)
        work: dict[str, Callable[[], Any]] = {
            "centroids": functools.partial(centroid_distances, features, noise(100, 1)),
            "classes": functools.partial(nearest_of_class, features, np.arange(count) // 1000, 5),
            "ten classes": functools.partial(nearest_of_class, features, np.arange(count) % 10, 5),
            "kmeans": functools.partial(kmeans, features, 100),
        }
        times.append(statistics.median(seconds(work[job]) for _ in range(repeats)))
    return {"seconds": times, "exponent": float(np.polyfit(np.log(counts), np.log(times), 1)[0])}


def through_lists(rows: int, queries: int, latent: int, k: int) -> Measured:
    """Times an approximate search, its lists built anew, beside the exact one."""
    base, asked = near_a_surface(rows, 0, latent), near_a_surface(queries, 10**9, latent)
    began = time.perf_counter()
    found = NeighbourIndex(base=base, exact=False).search(asked, k)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    true, _ = nearest(asked, base, k)
    other = time.perf_counter() - began
    recall = float((found.distances <= true[:, -1:] * (1 + 1e-6)).mean())
    return {"ours": ours, "other": other, "ratio": ours / other, "said": found.recall, "recall": recall} | {
        "note": found.note
    }


def on_a_gpu(rows: int, repeats: int) -> Measured | None:
    """Times the exact search by torch on a GPU beside FAISS on the processor; None where there is no GPU."""
    if not torch.cuda.is_available():
        return None
    queries, base = noise(rows, 0), noise(rows, 1)
    times = in_turn(
        lambda: nearest(queries, base, 2, device="cuda"), lambda: nearest(queries, base, 2), repeats, warm_up=False
    )
    return {**times, "gpu": torch.cuda.get_device_name()}


def memory(job: str, rows: int) -> Measured:
    """Measures the peak above memory-mapped features in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        features = np.lib.format.open_memmap(path, "w+", np.float32, (rows, DIM))
        for start in range(0, rows, 2**14):
            features[start : start + 2**14] = noise(min(2**14, rows - start), start)
        features.flush()
        del features
        return alone(job, path)


def alone(*arguments: Any) -> Measured:
    """Runs `main` in a process of its own and returns seconds, peak bytes and scores."""
    command = [sys.executable, "-m", "benchmarks.selection_jobs", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    measured: Measured = json.loads(done.stdout.splitlines()[-1])  # prdc prints, too
    return measured


def main(job: str, what: str) -> None:
    if job in {"ours", "prdc"}:
        real, fake = near_a_surface(int(what), 0, 16), near_a_surface(int(what), 10**9, 16)
        scores: list[Any] = []
        work: Callable[[], Any] = lambda: scores.append(  # noqa: E731
            manifold_scores(real, fake, 5) if job == "ours" else tuple(compute_prdc(real, fake, 5).values())
        )
    else:
        features = np.load(what, mmap_mode="r", allow_pickle=False)
        few = noise(1000, 1)
        work = {
            "nearest": lambda: nearest(few, features, 5),
            "nearest centroid": lambda: nearest_centroid(features, few),
            "nearest of class": lambda: nearest_of_class(features, np.arange(len(features)) // 1000, 5),
            "kmeans": lambda: kmeans(features, 1000),
            "index": lambda: NeighbourIndex(base=features, exact=False).search(noise(10_000, 1), 5),
        }[job]
        scores = []
    nearest(noise(64, 0), noise(64, 1))  # the libraries load
    began = time.perf_counter()
    peak = peak_above(work)
    print(json.dumps({"bytes": peak, "seconds": time.perf_counter() - began, "scores": scores[-1:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
