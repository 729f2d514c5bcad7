"""What does selection cost at size? python -m benchmarks.selection --help

Each job is timed beside what it could be instead, in turn in one process, and the ratio of each pair counts. Each is a
file of its own in `results/selection/`, so that a run that was stopped goes on.
"""

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer

from benchmarks.common import measured_on, unit, write_table
from gan_augment.clusters import centroid_distances, kmeans
from gan_augment.index import NeighbourIndex
from gan_augment.neighbours import nearest
from gan_augment.selection import CentroidSelector
from gan_augment.types import Candidates

DIM = 512
Array = npt.NDArray[np.float32]
Result = dict[str, Any]


def rows_of(count: int, seed: int = 0, dim: int = DIM) -> Array:
    """Returns rows in clusters, as features of classes are."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((50, dim), dtype=np.float32)
    rows = rng.standard_normal((count, dim), dtype=np.float32)
    for start in range(0, count, 65536):
        part = rows[start : start + 65536]
        part += centers[rng.integers(0, 50, len(part))]
    return rows


def timed(first: Callable[[], Any], second: Callable[[], Any], repeats: int, *, warm: bool = True) -> Result:
    """Returns the medians of both and of their ratio, run in turn, after a pair that does not count."""
    times: list[tuple[float, float]] = []
    for _ in range(repeats + warm):
        pair = []
        for run in (first, second):
            began = time.perf_counter()
            run()
            pair.append(time.perf_counter() - began)
        times.append((pair[0], pair[1]))
    times = times[1:] if warm else times
    return {
        "ours": statistics.median(a for a, _ in times),
        "other": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }


def to_centroids(count: int, rows: int, repeats: int) -> Result:
    """Times distances to centroids beside a plain blocked product."""
    features, centroids = rows_of(rows), rows_of(count, 1)

    def product() -> Array:
        squares = (centroids**2).sum(1)
        found = np.empty((rows, count), np.float32)
        for start in range(0, rows, 4096):
            part = features[start : start + 4096]
            squared = (part**2).sum(1)[:, None] - 2 * (part @ centroids.T) + squares
            found[start : start + 4096] = np.sqrt(np.maximum(squared, 0))
        return found

    return timed(lambda: centroid_distances(features, centroids), product, repeats)


def to_neighbours(rows: int, repeats: int) -> Result:
    """Times the two nearest of every row, as a copy check needs them, beside scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    queries, base = rows_of(rows), rows_of(rows, 1)
    other = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(base)
    return timed(lambda: nearest(queries, base, 2), lambda: other.kneighbors(queries), repeats, warm=rows < 50_000)


def to_kmeans(rows: int, count: int, repeats: int) -> Result:
    """Times k-means beside scikit-learn's, from as many starts, and compares their sums of squares."""
    from sklearn.cluster import KMeans

    features = rows_of(rows)
    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = kmeans(features, count)

    def other() -> None:
        found["other"] = KMeans(count, n_init=1, random_state=0).fit(features).cluster_centers_

    result = timed(ours, other, repeats)
    sums = {
        name: float((centroid_distances(features, c).min(1).astype(np.float64) ** 2).sum()) for name, c in found.items()
    }
    return {**result, "inertia": sums["ours"] / sums["other"]}


def through_index(rows: int, queries: int, repeats: int) -> Result:
    """Times the approximate search, its building included, beside the exact one."""
    base, asked = rows_of(rows), rows_of(queries, 1)
    told: dict[str, Any] = {}

    def approximate() -> None:
        found = NeighbourIndex(base=base, exact=False).search(asked, 2)
        told.update(recall=found.recall, note=found.note)

    return {**timed(approximate, lambda: nearest(asked, base, 2), repeats, warm=False), **told}


_MEASURED = """
import json, resource, sys, time
import numpy as np
from benchmarks.selection import rows_of
real, fake = rows_of(10_000), rows_of(10_000, 1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if sys.argv[1] == "ours":
    from gan_augment.metrics.manifold import manifold_scores as run
else:
    import prdc
    def run(real, fake):
        return prdc.compute_prdc(real, fake, nearest_k=5)
run(real[:100], fake[:100])
before = peak()
began = time.perf_counter()
run(real, fake)
print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak() - before}))
"""


def to_prdc(repeats: int) -> Result:
    """Times precision, recall, density and coverage beside prdc's, each in a process of its own, with their memory."""
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "other": []}
    for _ in range(repeats):
        for name, measured in runs.items():
            done = subprocess.run([sys.executable, "-c", _MEASURED, name], capture_output=True, text=True, check=True)
            measured.append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {name: [one["seconds"] for one in measured] for name, measured in runs.items()}
    return {
        "ours": statistics.median(seconds["ours"]),
        "other": statistics.median(seconds["other"]),
        "ratio": statistics.median(a / b for a, b in zip(*seconds.values(), strict=True)),
        "memory": {name: statistics.median(one["peak"] for one in measured) for name, measured in runs.items()},
    }


SIZES = (10_000, 100_000, 1_000_000)


def growth(job: str, repeats: int) -> Result:
    """Times a job at 10,000, 100,000 and 1,000,000 rows; the exponent is that of the cost fitted to the rows."""
    seconds = []
    for count in SIZES:
        features, labels = rows_of(count), np.arange(count) % 10
        reals = Candidates(features[:5000], labels[:5000])
        selector = CentroidSelector(real_share=0.95, agreement=None).fit(reals)
        candidates = Candidates(features, labels)
        runs: dict[str, Callable[[], Any]] = {
            "centroid selector": functools.partial(selector.decide, candidates),
            "nearest of 5,000 reals": functools.partial(nearest, features, features[:5000], 2),
            "k-means, 10 centroids": functools.partial(kmeans, features, 10),
        }
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            runs[job]()
            taken.append(time.perf_counter() - began)
        seconds.append(statistics.median(taken))
    exponent = float(np.polyfit(np.log(SIZES), np.log(seconds), 1)[0])
    return {"rows": list(SIZES), "seconds": seconds, "exponent": exponent}


_STREAMED = """
import resource, sys
import numpy as np
from gan_augment.neighbours import nearest
from gan_augment.selection import CentroidSelector, LabelGuard, OutlierGuard
from gan_augment.types import Candidates
path, count = sys.argv[1], int(sys.argv[2])
features = np.memmap(path, np.float32, "r", shape=(count, 512))
labels = np.arange(count) % 10
real = Candidates(np.array(features[:2000]), labels[:2000])
selector = {"centroid": CentroidSelector(real_share=0.95, agreement=None), "outlier": OutlierGuard()}[sys.argv[3]]
selector.fit(real)
def anonymous():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024
import threading, time
peak, stop = [anonymous()], []
before = peak[0]
def watch():
    while not stop:
        peak.append(anonymous()); time.sleep(0.005)
thread = threading.Thread(target=watch); thread.start()
decision = selector.decide(Candidates(features, labels))
stop.append(1); thread.join()
print(max(peak) - before, len(decision.keep))
"""


def streamed(selector: str, rows: int) -> Result:
    """Returns the most memory in MB that deciding about memory-mapped features took, beyond what was there before."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features"
        mapped = np.memmap(path, np.float32, "w+", shape=(rows, DIM))
        for start in range(0, rows, 65536):
            mapped[start : start + 65536] = rows_of(min(65536, rows - start), start)
        mapped.flush()
        del mapped
        command = [sys.executable, "-c", _STREAMED, str(path), str(rows), selector]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"peak": float(done.stdout.split()[0])}


def jobs(repeats: int) -> list[tuple[str, dict[str, Any], Callable[[], Result], tuple[str, str, str]]]:
    """Returns name, settings, work, and the cells job, ours, other of each."""
    listed: list[tuple[str, dict[str, Any], Callable[[], Result], tuple[str, str, str]]] = []
    million = 1_000_000
    for count in (10, 100, 1000):
        settings = {"rows": million, "centroids": count, "repeats": repeats}
        cells = (f"distances of {million:,} rows to {count} centroids", "centroid_distances", "plain blocked product")
        listed.append((f"centroids-{count}", settings, functools.partial(to_centroids, count, million, repeats), cells))
    for rows, times in ((20_000, repeats), (100_000, 1)):
        cells = (f"2 nearest of {rows:,} for {rows:,} rows, runs {times}", "nearest", "scikit-learn, brute force")
        listed.append(
            (
                f"neighbours-{rows}",
                {"rows": rows, "repeats": times},
                functools.partial(to_neighbours, rows, times),
                cells,
            )
        )
    for rows, count in ((20_000, 10), (100_000, 100)):
        settings = {"rows": rows, "centroids": count, "repeats": repeats}
        cells = (f"k-means of {rows:,} rows, {count} centroids", "kmeans", "scikit-learn")
        listed.append((f"kmeans-{rows}", settings, functools.partial(to_kmeans, rows, count, repeats), cells))
    cells = ("precision, recall, density, coverage of 10,000 and 10,000", "manifold_scores", "prdc")
    listed.append(("prdc", {"rows": 10_000, "repeats": repeats}, functools.partial(to_prdc, repeats), cells))
    cells = (
        "2 nearest of 200,000 for 100,000 rows, with its building, runs 1",
        "NeighbourIndex(exact=False)",
        "nearest",
    )
    listed.append(("index", {"rows": 200_000}, functools.partial(through_index, 200_000, 100_000, 1), cells))
    return listed


app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)


@app.command(
    epilog="\b\nExample:\n  python -m benchmarks.selection\n  python -m benchmarks.selection --only centroids-10,prdc"
)
def main(
    only: Annotated[str, typer.Option(help="Names of jobs with commas between; all without.")] = "",
    repeats: Annotated[int, typer.Option(help="Pairs that are timed.", min=1)] = 3,
) -> None:
    """Run what has no result yet, and write the tables."""
    rows, results = [], []
    wanted = only.split(",") if only else None
    for name, settings, work, (job, ours, other) in jobs(repeats):
        if wanted is None or name in wanted:
            result = unit(f"selection/{name}", {**settings, "dim": DIM}, work)
            results.append(result)
            rows.append(
                [job, ours, other, *(f"{result[key]:.2f}" for key in ("ours", "other", "ratio")), _more(result)]
            )
    notes = []
    if wanted is None:
        notes = _sizes(results)
    heads = ["job", "the library's", "beside", "seconds", "seconds of the other", "ratio", ""]
    notes = [
        f"{DIM} dimensions, float32; medians of pairs run in turn, a ratio below 1 says that the library is faster. "
        "Neighbours that the library finds are measured again in float64, which the other side does not do. "
        + ("" if torch.cuda.is_available() else "No GPU was there to search on."),
        "",
        *notes,
        measured_on(results) + " Written by `python -m benchmarks.selection`.",
    ]
    write_table("selection", "What selection costs at size", heads, rows, notes)


def _more(result: Result) -> str:
    if "inertia" in result:
        return f"inertia {result['inertia']:.4f} of the other's"
    if "memory" in result:
        return f"{result['memory']['ours']:.0f} MB beside {result['memory']['other']:.0f} MB"
    return str(result.get("note", ""))


def _sizes(results: list[Result]) -> list[str]:
    """Runs what is measured against the number of rows, and returns it as sentences."""
    told = []
    for job in ("centroid selector", "nearest of 5,000 reals", "k-means, 10 centroids"):
        slug = job.split(",")[0].replace(" ", "_")
        result = unit(f"selection/growth-{slug}", {"job": job, "dim": DIM}, functools.partial(growth, job, 2))
        results.append(result)
        seconds = ", ".join(f"{value:.2f}" for value in result["seconds"])
        told.append(f"- {job}: {seconds} s at 10,000, 100,000 and 1,000,000 rows; exponent {result['exponent']:.2f}.")
    for selector in ("centroid", "outlier"):
        work = functools.partial(streamed, selector, 1_000_000)
        result = unit(f"selection/streamed-{selector}", {"selector": selector, "rows": 1_000_000, "dim": DIM}, work)
        results.append(result)
        told.append(
            f"- deciding about 1,000,000 memory-mapped rows, {selector}: {result['peak']:.0f} MB beyond the features."
        )
    return [*told, ""]


if __name__ == "__main__":
    app()
