"""The table of the selectors, from the files of their replicates: python -m benchmarks.selectors tables"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import common
from benchmarks.ablation_table import points, rare_recall
from gan_augment.metrics import interval

Files = Mapping[str, dict[str, Any]]
"""Selector to what its file holds, of one replicate."""

HALF, EVERYTHING = "random_half", "everything"
_HEADS = (
    "selector", "replicates", "kept", "against random-k", "rare recall, against random-k", "against everything",
    "agreement", "distance", "Vendi",
)  # fmt: skip


def collect() -> dict[str, Files]:
    """Returns the files of each replicate that has its controls."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path in sorted((common.RESULTS / "selectors").glob("*/*.json")):
        found[path.parent.name][path.stem] = json.loads(path.read_bytes())
    return {name: files for name, files in found.items() if {HALF, EVERYTHING} <= files.keys()}


def control(files: Files, name: str) -> dict[str, Any] | None:
    """Returns the arm that a selector has to beat; None for the one that keeps everything."""
    kind = files[name]["control"]
    if kind is None:
        return None
    arm: dict[str, Any] = files[name]["arms"]["random"] if kind == "random" else files[HALF]["arms"]["random"]
    return arm


def write() -> None:
    """Writes `results/selectors.md`."""
    found = collect()
    if not found:
        return
    names = sorted({name for files in found.values() for name in files} - {HALF})
    rows = sorted((_row(found, name) for name in names), key=lambda row: -float((row[3] or "-99").split()[0]))
    common.write_table("selectors", "Which selector beats random choice?", _HEADS, rows, _notes(found))


def _row(found: Mapping[str, Files], name: str) -> list[str]:
    there = [files for files in found.values() if name in files]
    files = [one[name] for one in there]
    selected = [one["arms"]["selected"] for one in files]
    counts = [one["counts"] for one in files]
    against = [control(one, name) for one in there]
    every = [one[EVERYTHING]["arms"]["selected"] for one in there]
    kept = np.mean([sum(one["kept"]) / sum(one["candidates"]) for one in files])
    shown = [files[0]["settings"]["selector"], str(len(there)), f"{100 * kept:.0f}%"]
    return [
        *shown,
        _gain(selected, against),
        _gain(selected, against, counts),
        _gain(selected, every) if name != EVERYTHING else "",
        *_measures(files, [one[EVERYTHING] for one in there]),
    ]


def _gain(
    arms: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any] | None],
    counts: Sequence[Sequence[int]] | None = None,
) -> str:
    """Returns the paired difference in balanced accuracy, or in recall of rare classes where counts are given."""
    if any(other is None for other in others):
        return ""
    pairs = [(one, other) for one, other in zip(arms, others, strict=True) if other is not None]
    if counts is None:
        return points(interval([one["balanced_accuracy"] - other["balanced_accuracy"] for one, other in pairs]))
    rare = zip(pairs, counts, strict=True)
    return points(interval([rare_recall(one, own) - rare_recall(other, own) for (one, other), own in rare]))


def _measures(files: Sequence[Mapping[str, Any]], every: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns agreement, and distance and Vendi score as shares of those of all candidates."""
    told = [(one["samples"], all_["samples"]) for one, all_ in zip(files, every, strict=True) if one["samples"]]
    if not told:
        return ["", "", ""]
    shares = [np.mean([one[name] / whole[name] for one, whole in told]) for name in ("distance", "vendi")]
    return [f"{np.mean([one['agreement'] for one, _ in told]):.2f}", *[f"{share:.2f}" for share in shares]]


def _notes(found: Mapping[str, Files]) -> list[str]:
    about = next(iter(found.values()))[EVERYTHING]
    settings = about["settings"]
    every = [result for files in found.values() for result in files.values()]
    return [
        f"Long-tailed Fashion-MNIST of 14x14 pixels, imbalance ratio 100 ({', '.join(map(str, about['counts']))} "
        f"images), {len(found)} development replicates ({', '.join(found)}). Of each class {settings['reserve']:g} "
        "times as many candidates as it lacks images; half of the slots are filled from those that are kept, by "
        f"{settings['trainings']} trainings an arm. Differences are paired, in points of balanced accuracy (or of mean "
        "recall of classes under 20 images), with 95% intervals over replicates. Those with one order and seed share "
        "their data and are no independent draws of it, so the intervals are too narrow.",
        "",
        "*Against random-k*: as many candidates of each class as the selector kept, drawn at random; those that keep "
        "half share one control. *kept* is the share of all candidates. A class of which fewer than 20 candidates are "
        "kept repeats its real images, under the control too.",
        "",
        "Agreement (with an oracle trained on all 60,000 images), distance to the nearest training image (a sample's "
        "own parent left out) and Vendi score are of up to 100 kept candidates of each class under 20 images, the "
        "latter two as a share of those of all candidates.",
        "",
        common.measured_on(every) + " Written by `python -m benchmarks.selectors`.",
    ]
