"""Do a GAN's rows help where imbalanced-learn's do? python -m benchmarks.oversampling

GANOverSampler beside no resampling, RandomOverSampler and SMOTE, on scikit-learn's own data made imbalanced: every arm
sees the same training rows, and every classifier the same unseen half. About 5 minutes on one core that does nothing
else.

    python -m benchmarks.oversampling            writes benchmarks/results/oversampling.md and .json

    python -m benchmarks.oversampling --quick    few seeds and steps; writes runs/oversampling-quick
"""

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import common
from benchmarks.common import measured_on, store, write_table
from benchmarks.options import program, quick_of
from gan_augment.balance import long_tail_counts
from gan_augment.errors import SmallClassWarning
from gan_augment.integrations.imblearn import GANOverSampler
from gan_augment.metrics.intervals import interval, paired_difference

Split = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
Scores = dict[str, dict[str, list[float]]]

SETS: dict[str, tuple[Callable[..., Any], list[int], tuple[int, int] | None]] = {
    "breast_cancer": (load_breast_cancer, long_tail_counts(150, 2, 15), None),
    "wine": (load_wine, long_tail_counts(24, 3, 6), None),
    "digits, as features": (load_digits, long_tail_counts(80, 10, 20), None),
    "digits, as images": (load_digits, long_tail_counts(80, 10, 20), (8, 8)),
}
"""Loader, training rows of each class, and the shape of images."""

CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "logistic regression": lambda seed: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "random forest": lambda seed: RandomForestClassifier(100, random_state=seed),
}
ARMS = ("none", "random", "smote", "gan")
SHOWN = {"none": "no resampling", "random": "RandomOverSampler", "smote": "SMOTE", "gan": "GANOverSampler"}
HEADS = ["data", "classifier", *SHOWN.values(), *[f"GAN minus {SHOWN[arm]}" for arm in ARMS[:-1]]]


def split(name: str, seed: int) -> Split:
    """Returns long-tailed training rows and labels, and those of the unseen half; which class is rare is drawn."""
    load, counts, _ = SETS[name]
    X, y = load(return_X_y=True)  # noqa: N806
    train, test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(counts))
    rows = [
        rng.permutation(np.flatnonzero(y_train == label))[:count] for label, count in zip(order, counts, strict=True)
    ]
    kept = np.concatenate(rows)
    return train[kept], y_train[kept], test, y_test


def resampled(arm: str, name: str, X: Any, y: Any, seed: int, steps: dict[str, int | None]) -> Any:  # noqa: N803
    if arm == "none":
        return X, y
    shape = SETS[name][2]
    neighbours = min(5, int(np.bincount(y).min()) - 1)
    sampler = {
        "random": RandomOverSampler(random_state=seed),
        "smote": SMOTE(random_state=seed, k_neighbors=neighbours),
        "gan": GANOverSampler(
            random_state=seed, image_shape=shape, steps=steps["features" if shape is None else "images"]
        ),
    }[arm]
    return sampler.fit_resample(X, y)


def measure(name: str, seeds: int, steps: dict[str, int | None]) -> dict[str, Any]:
    """Returns balanced accuracies in percent of each classifier and arm by seed, and mean seconds of each arm."""
    scores: Scores = {classifier: {arm: [] for arm in ARMS} for classifier in CLASSIFIERS}
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for seed in range(seeds):
        X, y, test, y_test = split(name, seed)  # noqa: N806
        for arm in ARMS:
            begun = time.process_time()
            more, labels = resampled(arm, name, X, y, seed, steps)
            seconds[arm].append(time.process_time() - begun)
            for classifier, make in CLASSIFIERS.items():
                found = make(seed).fit(more, labels).predict(test)
                scores[classifier][arm].append(100 * float(balanced_accuracy_score(y_test, found)))
        print(f"{name}, seed {seed}: the GAN took {seconds['gan'][-1]:.1f} s", flush=True)
    return {"scores": scores, "seconds": {arm: float(np.mean(taken)) for arm, taken in seconds.items()}}


def table(measured: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, found in measured.items():
        for classifier, scores in found["scores"].items():
            means = [interval(scores[arm]) for arm in ARMS]
            less = [paired_difference(scores["gan"], scores[arm]) for arm in ARMS[:-1]]
            rows.append(
                [name, classifier]
                + [f"{one.mean:.1f} [{one.low:.1f}, {one.high:.1f}]" for one in means]
                + [f"{one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}]" for one in less]
            )
    return rows


def notes(result: dict[str, Any]) -> list[str]:
    settings, measured = result["settings"], result["sets"]
    verdicts = {
        arm: [
            paired_difference(scores["gan"], scores[arm]).verdict
            for found in measured.values()
            for scores in found["scores"].values()
        ]
        for arm in ARMS[:-1]
    }
    counted = ", ".join(
        f"against {SHOWN[arm]} {found.count(1)} better, {found.count(-1)} worse, {found.count(0)} undecided"
        for arm, found in verdicts.items()
    )
    taken = ", ".join(f"{name} {found['seconds']['gan']:.1f} s" for name, found in measured.items())
    tails = "; ".join(f"{name} {', '.join(map(str, counts))}" for name, counts in settings["counts"].items())
    return [
        f"Balanced accuracy in percent on the half that is not trained on; means of {settings['seeds']} seeds with 95% "
        "t-intervals, and paired differences of the same seeds. A seed draws halves, which classes are rare, the kept "
        "rows, the GAN and the forest. All seeds draw from one small set, so intervals tell of other draws from it, "
        f"not of other data, and {len(table(measured))} rows are read at once without correction.",
        "",
        f"How often the interval of the {len(table(measured))} rows leaves out zero: {counted}.",
        "",
        f"Training rows of the classes, the rarest last: {tails}. All arms fill up to the largest class. SMOTE takes 5 "
        "neighbours, fewer where a class has no more. GANOverSampler has its defaults, but for "
        f"{settings['steps']['images']} steps on images; a training and its draws took (seconds of one core) {taken}, "
        "SMOTE some milliseconds. Its features' loss, penalty and steps were chosen on seeds 100 to 105 of these sets.",
        "",
        measured_on([result]) + " Written by `python -m benchmarks.oversampling`.",
    ]


def main(quick: Annotated[bool, quick_of("oversampling", "Few seeds and steps")] = False) -> None:
    if quick and "GAN_AUGMENT_RESULTS" not in os.environ:
        common.RESULTS = Path("runs/oversampling-quick")
    torch.set_num_threads(1)
    seeds = 2 if quick else 10
    steps: dict[str, int | None] = {"features": 20 if quick else None, "images": 4 if quick else 300}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallClassWarning)  # that is what is measured
        measured = {name: measure(name, seeds, steps) for name in SETS}
    settings = {"seeds": seeds, "steps": steps, "counts": {name: SETS[name][1] for name in SETS}}
    result = store("oversampling", settings, {"sets": measured})
    write_table(
        "oversampling", "Over-sampling by a GAN beside imbalanced-learn's", HEADS, table(measured), notes(result)
    )


app = program(main, __doc__)

if __name__ == "__main__":
    app()
