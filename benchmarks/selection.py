"""What do distances, neighbours and clusters cost? python -m benchmarks.selection

Each job beside the obvious alternative, in turn in one run; growth with the number of rows; memory above memory-mapped
features. All of it takes about two hours on 2 cores that do nothing else; a killed run goes on where it was.

    python -m benchmarks.selection                      everything

    python -m benchmarks.selection --only centroids,kmeans

    python -m benchmarks.selection --quick              a tenth of the rows and less; writes runs/selection-quick
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import common
from benchmarks import selection_jobs as jobs
from benchmarks.common import measured_on, unit, write_table
from gan_augment.errors import ConfigError

Row = list[str]
Results = list[dict[str, Any]]
MB = 2**20


def run(group: str, name: str, work: Callable[..., dict[str, Any] | None], **settings: Any) -> dict[str, Any]:
    return unit(
        f"selection/{group}-{name}",
        {"dim": jobs.DIM, **settings},
        lambda: work(**settings) or {"skipped": True},
    )


def centroids(scale: int) -> tuple[list[Row], Results]:
    rows, results, count = [], [], 1_000_000 // scale
    for k in (10, 100, 1000):
        r = run("centroids", str(k), jobs.to_centroids, rows=count, centroids=k, repeats=5)
        results.append(r)
        rows.append([f"distances of {count:,} rows to {k} centroids", "a blocked product", *pair(r), ""])
    return rows, results


def neighbours(scale: int) -> tuple[list[Row], Results]:
    count = 100_000 // scale
    r = run("neighbours", "copies", jobs.copy_check, rows=count, repeats=3)
    return [[f"2 nearest of {count:,} for {count:,} rows", "scikit-learn, brute force", *pair(r), ""]], [r]


def prdc(scale: int) -> tuple[list[Row], Results]:
    count = 10_000 if scale == 1 else 3_000
    r = run("prdc", "scores", jobs.overlaps, rows=count, repeats=3)
    peaks = f"peak memory {r['ours_bytes'] / MB:,.0f} MB, of the other {r['other_bytes'] / MB:,.0f} MB"
    return [[f"`manifold_scores` of {count:,} and {count:,} rows", "prdc", *pair(r), peaks]], [r]


def kmeans(scale: int) -> tuple[list[Row], Results]:
    rows, results, count = [], [], 100_000 // scale
    for k in (10, 100, 1000) if scale == 1 else (10, 100):
        r = run("kmeans", str(k), jobs.clustering, rows=count, k=k, repeats=3)
        results.append(r)
        note = f"sum of squares {r['inertia_ratio']:.4f} of the other's"
        rows.append([f"{k} centroids of {count:,} rows by k-means", "scikit-learn", *pair(r), note])
    return rows, results


def growth(scale: int) -> tuple[list[Row], Results]:
    rows, results = [], []
    whole = tuple(count // scale for count in (10_000, 100_000, 1_000_000))
    for job, counts, what in (
        ("centroids", whole, "distances to 100 centroids"),
        ("classes", whole, "5 nearest within classes of 1,000 rows"),
        ("ten classes", (10_000 // scale, 30_000 // scale, 100_000 // scale), "5 nearest within ten classes"),
        ("kmeans", whole, "100 centroids by k-means, which looks at 65,536 rows at most"),
    ):
        r = run("growth", job.replace(" ", "-"), jobs.growth, job=job, counts=counts, repeats=3)
        results.append(r)
        times = ", ".join(f"{s:.2f} s at {n:,}" for n, s in zip(counts, r["seconds"], strict=True))
        rows.append([what, "itself, more rows", "", "", "", f"{times}: exponent {r['exponent']:.2f}"])
    return rows, results


def memory(scale: int) -> tuple[list[Row], Results]:
    rows, results, count = [], [], 1_000_000 // scale
    for job in ("nearest", "nearest centroid", "nearest of class", "kmeans", "index"):
        r = run("memory", job.replace(" ", "-"), jobs.memory, job=job, rows=count)
        results.append(r)
        rows.append(
            [
                f"memory of {job}, {count:,} rows in a file",
                "",
                f"{r['seconds']:.1f}",
                "",
                "",
                f"{r['bytes'] / MB:.0f} MB",
            ]
        )
    return rows, results


def index(scale: int) -> tuple[list[Row], Results]:
    rows, results = [], []
    for count, queries, latent in ((100_000, 50_000, 16), (1_000_000, 10_000, 16), (100_000, 50_000, 64)):
        count, queries = count // scale, queries if scale == 1 else 10 * queries // scale  # noqa: PLW2901
        name = f"{count}-{latent}"
        r = run("index", name, jobs.through_lists, rows=count, queries=queries, latent=latent, k=2)
        results.append(r)
        what = f"2 nearest of {count:,} for {queries:,} rows near {latent} dimensions, by lists"
        rows.append([what, "the exact search", *pair(r), f"{r['note']}; recall of all {r['recall']:.3f}"])
    return rows, results


def gpu(scale: int) -> tuple[list[Row], Results]:
    count = 100_000 // scale
    r = run("gpu", "copies", jobs.on_a_gpu, rows=count, repeats=3)
    what = f"2 nearest of {count:,} for {count:,} rows by torch on a GPU"
    if r.get("skipped"):
        return [[what, "FAISS", "", "", "", "not measured: no GPU here"]], [r]
    return [[what, "FAISS", *pair(r), r["gpu"]]], [r]


GROUPS = {f.__name__: f for f in (centroids, neighbours, prdc, kmeans, growth, memory, index, gpu)}
HEADS = ["job", "beside", "seconds", "seconds of the other", "ratio", ""]


def pair(result: dict[str, Any]) -> Row:
    return [f"{result['ours']:.2f}", f"{result['other']:.2f}", f"{result['ratio']:.2f}"]


def main(
    only: Annotated[str, typer.Option(help=f"Some of {', '.join(GROUPS)}, with commas; prints, no table.")] = "",
    quick: Annotated[bool, typer.Option(help="Few rows, to see that it runs; writes runs/selection-quick.")] = False,
) -> None:
    names = only.split(",") if only else list(GROUPS)
    if unknown := set(names) - set(GROUPS):
        raise ConfigError(f"expected some of {', '.join(GROUPS)}, found {', '.join(sorted(unknown))}")
    if quick:
        common.RESULTS = Path("runs/selection-quick")
    rows: list[Row] = []
    results: Results = []
    for name in names:
        more, measured = GROUPS[name](10 if quick else 1)
        rows += more
        results += measured
        for row in more:
            print(" | ".join(row), flush=True)
    if only:
        return
    notes = [
        f"{jobs.DIM} dimensions, float32. Both sides run in turn in one process; seconds and ratio are medians of the "
        "pairs (5 for distances, 3 for the rest, 1 for the search by lists, whose seconds include building them). A "
        "ratio below 1 says that the library is the faster. The blocked product gives the same distances and does not "
        "centre them; neighbours are measured again in float64, which scikit-learn does not do. k-means runs once "
        "from one start on each side, 25 iterations at most, to where each stops by itself; scikit-learn's looks at "
        "all rows. Memory is the peak above the memory-mapped features, in a process of its own.",
        "",
        measured_on(results) + " Written by `python -m benchmarks.selection`.",
    ]
    write_table("selection", "Distances, neighbours and clusters", HEADS, rows, notes)


app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command(help=__doc__)(main)

if __name__ == "__main__":
    app()
