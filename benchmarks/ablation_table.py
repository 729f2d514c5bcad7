"""The table of the ablation of generators, from the files of its variants: python -m benchmarks.ablation tables"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import common
from gan_augment.balance import MIN_IMAGES
from gan_augment.metrics import Interval, interval

Found = Mapping[str, Mapping[str, dict[str, Any]]]
"""Replicate to variant to what its file holds."""

_HEADS = (
    "variant", "replicates", "balanced accuracy", "against reals", "recall of rare classes, against reals",
    "agreement", "distance", "Vendi",
)  # fmt: skip


def collect() -> Found:
    """Returns what there is."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for path in sorted((common.RESULTS / "ablation").glob("*/*.json")):
        result = json.loads(path.read_bytes())
        found[path.parent.name][path.stem] = result
    return {name: files for name, files in found.items() if "reference" in files}


def write() -> None:
    """Writes `results/ablation.md`."""
    found = collect()
    if not found:
        return
    names = sorted({name for files in found.values() for name in files} - {"reference"})
    rows = [_reference(found, name) for name in ("reals", "balanced softmax", "unused reals")]
    rows += sorted((_variant(found, name) for name in names), key=lambda row: -float(row[3].split()[0]))
    every = [result for files in found.values() for result in files.values()]
    common.write_table("ablation", "Which generator helps the rare classes?", _HEADS, rows, _notes(found, every))


def _reference(found: Found, arm: str) -> list[str]:
    kind = {"reals": "augmented", "unused reals": "unused"}.get(arm)
    files = [files["reference"] for files in found.values()]
    return _row(f"*{arm}*", found, lambda replicate: replicate["reference"]["arms"][arm]) + _cells(
        [one["samples"][kind] for one in files] if kind else [], files
    )


def _variant(found: Found, name: str) -> list[str]:
    there = {replicate: files for replicate, files in found.items() if name in files}
    return _row(name.replace("-", ", ").replace("_", " "), there, lambda files: files[name]["arms"]["synthetic"]) + (
        _cells([files[name]["samples"]["drawn"] for files in there.values()], [f["reference"] for f in there.values()])
    )


def _row(shown: str, found: Found, arm: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[str]:
    pairs = [
        (arm(files), files["reference"]["arms"]["reals"], files["reference"]["counts"]) for files in found.values()
    ]
    accuracy = [one["balanced_accuracy"] for one, _, _ in pairs]
    gain = interval([one["balanced_accuracy"] - reals["balanced_accuracy"] for one, reals, _ in pairs])
    rare = interval([rare_recall(one, counts) - rare_recall(reals, counts) for one, reals, counts in pairs])
    return [shown, str(len(pairs)), f"{100 * np.mean(accuracy):.1f}", points(gain), points(rare)]


def rare_recall(arm: Mapping[str, Any], counts: Sequence[int]) -> float:
    return float(np.mean([recall for recall, count in zip(arm["recalls"], counts, strict=True) if count < MIN_IMAGES]))


def points(value: Interval) -> str:
    mean = f"{100 * value.mean:+.1f}"
    return mean if len(value.values) < 2 else f"{mean} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def _cells(samples: Sequence[Mapping[str, float]], references: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns agreement, and distance and Vendi score as shares of those of unused real images."""
    if not samples:
        return ["", "", ""]
    unused = [one["samples"]["unused"] for one in references]
    shares = [
        np.mean([one[name] / whole[name] for one, whole in zip(samples, unused, strict=True)])
        for name in ("distance", "vendi")
    ]
    return [f"{np.mean([one['agreement'] for one in samples]):.2f}", *[f"{share:.2f}" for share in shares]]


def _notes(found: Found, every: Sequence[Mapping[str, Any]]) -> list[str]:
    about = next(iter(found.values()))["reference"]
    settings = about["settings"]
    return [
        f"Long-tailed Fashion-MNIST of 14x14 pixels, imbalance ratio 100 ({', '.join(map(str, about['counts']))} "
        f"images), {len(found)} development replicates ({', '.join(found)}); generators of width {settings['width']} "
        f"trained for {settings['steps']} steps; classifiers for {settings['classifier_steps']} steps, "
        f"{settings['classifiers']} trainings each.",
        "",
        "*reals*: balanced sampling with augmentation by flip, shift, turn and scale; each variant fills half of its "
        "slots with samples, unselected. Differences are paired, in points, with 95% intervals over replicates. "
        "*balanced softmax* has square-root sampling and the same augmentation; *unused reals* fill all slots.",
        "",
        f"Samples of classes with fewer than {MIN_IMAGES} images, in the features of an oracle: agreement is the share "
        "whose class it confirms; distance is the median to the nearest training image (a sample's own parent left "
        "out), Vendi the effective number of different images, both as a share of those of unused real images. In the "
        "row *reals* stand plain augmentations of the training images.",
        "",
        common.measured_on(list(map(dict, every))) + " Written by `python -m benchmarks.ablation`.",
    ]
