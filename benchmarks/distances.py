"""FAISS or a product? python -m benchmarks.distances

Distances to a few centroids, and nearest neighbours among many images, side by side in one run.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import torch

from benchmarks.common import measured_on, unit, write_table
from gan_augment.neighbours import centroid_distances, nearest

ROWS, DIM, REPEATS = 200_000, 256, 5
CENTROIDS = (10, 100, 1000)
NEIGHBOURS = (2_000, 20_000)


def timed(first: Callable[[], Any], second: Callable[[], Any]) -> dict[str, float]:
    """Returns the medians of both and of their ratio, run in turn."""
    times: list[tuple[float, float]] = []
    for _ in range(REPEATS + 1):
        pair = []
        for run in (first, second):
            began = time.perf_counter()
            run()
            pair.append(time.perf_counter() - began)
        times.append((pair[0], pair[1]))
    times = times[1:]
    return {
        "ours": statistics.median(a for a, _ in times),
        "other": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def to_centroids(count: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((ROWS, DIM), dtype=np.float32)
    centroids = rng.standard_normal((count, DIM), dtype=np.float32)

    def flat() -> None:
        index = faiss.IndexFlatL2(DIM)
        index.add(centroids)
        index.search(features, count)

    return timed(lambda: centroid_distances(features, centroids), flat)


def to_neighbours(count: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    queries = rng.standard_normal((count, DIM), dtype=np.float32)
    base = rng.standard_normal((count, DIM), dtype=np.float32)

    def product() -> None:
        squares = torch.from_numpy((base**2).sum(1))
        other = torch.from_numpy(base).T
        for block in torch.from_numpy(queries).split(4096):
            (squares - 2 * block @ other).topk(5, largest=False)

    return timed(lambda: nearest(queries, base, 5), product)


def main() -> None:
    rows, results = [], []
    for count in CENTROIDS:
        settings = {"rows": ROWS, "dim": DIM, "centroids": count, "repeats": REPEATS}
        result = unit(f"distances/centroids-{count}", settings, functools.partial(to_centroids, count))
        results.append(result)
        rows.append([f"{ROWS:,} rows to {count} centroids", "product", "FAISS flat index", *cells(result)])
    for count in NEIGHBOURS:
        settings = {"rows": count, "dim": DIM, "k": 5, "repeats": REPEATS}
        result = unit(f"distances/neighbours-{count}", settings, functools.partial(to_neighbours, count))
        results.append(result)
        rows.append(
            [f"5 nearest of {count:,} for {count:,} rows", "FAISS flat index", "product and top-k", *cells(result)]
        )
    heads = ["job", "what the library uses", "instead of", "seconds", "seconds of the other", "ratio"]
    notes = [
        f"{DIM} dimensions, float32; medians of {REPEATS} runs in turn, after one that is not counted; a ratio below 1 "
        "says that the library's choice is the faster. The library's neighbours are measured again in float64, which "
        "the other side does not do.",
        "",
        measured_on(results) + " Written by `python -m benchmarks.distances`.",
    ]
    write_table("distances", "Distances: a product or FAISS", heads, rows, notes)


def cells(result: dict[str, Any]) -> list[str]:
    return [f"{result['ours']:.2f}", f"{result['other']:.2f}", f"{result['ratio']:.2f}"]


if __name__ == "__main__":
    main()
