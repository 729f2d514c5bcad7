"""The tables of the long-tail benchmark, from the files of its arms: python -m benchmarks.longtail tables"""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from benchmarks import common
from gan_augment.artifacts import write_bytes
from gan_augment.evaluation import EvaluationResult
from gan_augment.metrics import Interval, interval

LOCKED_FROM = 100
"""Seeds from here on are locked: never used to choose anything."""

GAN = "gan"
"""Where the settings of an arm hold those of the GAN."""

Files = dict[int, dict[str, dict[str, Any]]]


_ABOUT = (
    "A replicate draws anew which classes are rare, which images are kept, the GAN, the judge, the pool and the",
    "classifier. All arms take the same number of steps. Mean and 95% interval over replicates, in percent.",
    "Differences are paired, in points, to the best arm without synthetic images, picked on these very numbers.",
    "",
    "`ce` is cross-entropy, `bs` balanced softmax; natural, square-root or balanced sampling; `augmented` by flip,",
    "shift, turn and scale, with CutMix or CMO on top where it says so. `selected` and `random` stand on",
    "`ce_balanced_augmented` with half of the slots synthetic, those that end in `_bs_sqrt` on `bs_sqrt_augmented`.",
    "Those that end in `_delta` use a `dagan` that codes differences between images (`delta=5`).",
)


_PAIRS = (("selected", "random"), ("selected_delta", "random_delta"), ("selected_bs_sqrt", "random_bs_sqrt"))
"""Arms of the selector, and their controls."""


def collect() -> dict[str, Files]:
    """Returns setting (as JSON, without seed and arm) to seed to arm to what its file holds."""
    found: dict[str, Files] = defaultdict(lambda: defaultdict(dict))
    for path in sorted((common.RESULTS / "longtail").glob("*/seed-*/*.json")):
        result = json.loads(path.read_bytes())
        about = dict(result["settings"])
        seed, arm = about.pop("seed"), about.pop("arm")
        about.pop(GAN, None)
        found[json.dumps(about, sort_keys=True)][seed][arm] = result
    return found


def gathered(files: Files) -> EvaluationResult | None:
    """Returns the arms over the seeds; None where none of them is free of a GAN.

    A seed that lacks an arm of the fullest one is still being run, and left out.
    """
    most = max((set(found) for found in files.values()), key=len)
    files = {seed: found for seed, found in files.items() if most <= set(found)}
    arms = [arm for arm in max(files.values(), key=len) if all(arm in seed for seed in files.values())]
    if not any(next(iter(files.values()))[arm]["kind"] == "free" for arm in arms):
        return None
    seeds = sorted(files)
    first = files[seeds[0]]
    counts = first[arms[0]]["counts"]
    metrics = [
        name for name in first[arms[0]]["scores"] if all(name in files[s][arm]["scores"] for s in seeds for arm in arms)
    ]
    ordered = sorted(arms, key=lambda arm: (first[arm]["kind"] != "free", arm))
    return EvaluationResult(
        kinds={arm: first[arm]["kind"] for arm in ordered},
        scores={
            arm: {metric: [files[s][arm]["scores"][metric] for s in seeds] for metric in metrics} for arm in ordered
        },
        recalls={arm: [files[s][arm]["recalls"] for s in seeds] for arm in ordered},
        seeds=seeds,
        classes=[f"class {place + 1}" for place in range(len(counts))],
        counts=counts,
    )


def told(value: Interval, *, sign: bool = False) -> str:
    """Returns an interval in percent, or in points with a sign."""
    form = "{:+.1f}" if sign else "{:.1f}"
    if math.isnan(value.low):
        return form.format(100 * value.mean)
    return f"{form.format(100 * value.mean)} [{form.format(100 * value.low)}, {form.format(100 * value.high)}]"


def section(title: str, result: EvaluationResult) -> list[str]:
    """Returns the lines of a setting's table."""
    reference = result.reference
    heads = ["arm", "kind", "balanced accuracy", "few recall", f"against {reference}", "few, against it", "p (Holm)"]
    heads += ["macro F1", "AUROC", "adjusted accuracy", "calibration error"]
    corrected = result.corrected()
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for arm in sorted(result.scores, key=lambda arm: -result.interval(arm).mean):
        own = arm == reference
        cells = [
            arm,
            result.kinds[arm],
            told(result.interval(arm)),
            told(result.interval(arm, "few_recall")),
            "" if own else told(result.difference(arm), sign=True),
            "" if own else told(result.difference(arm, metric="few_recall"), sign=True),
            "" if own or math.isnan(corrected[arm]) else f"{corrected[arm]:.2g}",
            *[
                f"{100 * result.interval(arm, metric).mean:.1f}"
                for metric in ("macro_f1", "macro_auroc", "adjusted_balanced_accuracy", "calibration_error")
            ],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *remarks(result), ""]


def remarks(result: EvaluationResult) -> list[str]:
    """Returns what the table does not show: the selector's worth, the ceiling, gain by class."""
    count = len(result.seeds)
    lines = [f"{count} replicate{'s' if count > 1 else ''}. {result.sentence()}"]
    for selected, random in _PAIRS:
        if selected in result.scores and random in result.scores:
            worth = result.difference(selected, random)
            lines.append(f"Selection ({selected} minus {random}): {told(worth, sign=True)} points.")
    for arm, kind in result.kinds.items():
        if kind == "check":
            full = arm.removesuffix("_half_steps")
            lines.append(f"{full} with half of the steps: {told(result.difference(arm, full), sign=True)} points.")
    ceiling = result.ceiling
    if ceiling is not None:
        lines.append(f"Ceiling (slots filled with unused reals): {told(ceiling, sign=True)} points.")
    if result.main is not None:
        gains = [f"{row['images']}: {100 * row['gain'].mean:+.1f}" for row in result.gain_by_class(result.main)]
        lines.append(f"Gain of {result.main} in recall by number of training images, in points: {', '.join(gains)}.")
    return ["  \n".join(lines)]


def pooled(results: Sequence[EvaluationResult]) -> list[str]:
    """Returns the goal's numbers over all settings: the best selected arm against the best free one, and random-k."""
    lines = ["## All settings together", ""]
    for arm, random in _PAIRS:
        having = [result for result in results if arm in result.scores]
        if not having:
            continue
        parts = []
        for name, metric in (("balanced accuracy", "balanced_accuracy"), ("few recall", "few_recall")):
            gains = [value for result in having for value in result.difference(arm, metric=metric).values]
            parts.append(f"{name} {told(interval(gains), sign=True)}")
        control = [value for result in having for value in result.difference(arm, random).values]
        replicates = sum(len(result.seeds) for result in having)
        lines.append(
            f"- {arm} minus each setting's best free arm, {replicates} replicates in all: {', '.join(parts)}; "
            f"minus {random}: {told(interval(control), sign=True)}."
        )
    return [*lines, ""] if len(lines) > 2 else []


def write() -> None:
    """Writes `longtail.md`: locked replicates first, development ones after."""
    lines = ["# Does it help on a long tail?", "", *_ABOUT, ""]
    every, measured = [], []
    for locked, title in ((True, "locked orders"), (False, "development orders")):
        for about, files in collect().items():
            own = {seed: arms for seed, arms in files.items() if (seed >= LOCKED_FROM) == locked}
            result = gathered(own) if own else None
            measured += [file for arms in own.values() for file in arms.values()]
            if result is None:
                continue
            setting = json.loads(about)
            every += [result] if locked else []
            name = f"{setting['images']}, imbalance ratio {setting['ratio']:g}, {setting['order']} order, {title}"
            lines += section(name, result)
            lines += [
                f"{sum(result.counts)} training images ({', '.join(map(str, result.counts))}), {setting['recipe']} for "
                f"{setting['gan_steps']} steps, {setting['classifier_steps']} steps an arm.",
                "",
            ]
    lines += pooled(every)
    if measured:
        lines += [common.measured_on(measured) + " Written by `python -m benchmarks.longtail`.", ""]
    text = "\n".join(lines)
    write_bytes(common.RESULTS / "longtail.md", text.encode())
    print(text)
