"""The evaluation on the page: the answer, the table of arms, the plots."""

from typing import Any

from gan_augment.evaluation import MAIN_METRIC, EvaluationResult
from gan_augment.report.plot import arms_plot, gain_plot
from gan_augment.report.texts import known, p_value, percent, points, spread, titled

__all__ = ["METRICS", "evaluation_section"]

METRICS = {
    "balanced_accuracy": "mean recall over classes: every class counts alike",
    "macro_f1": "mean over classes of the harmonic mean of precision and recall",
    "few_recall": "mean recall of the classes with fewer than 20 training images",
    "medium_recall": "mean recall of the classes with 20 to 100 training images",
    "many_recall": "mean recall of the classes with more than 100 training images",
    "macro_auroc": "mean over classes of the area under the ROC curve, one class against the rest; 50 is chance",
    "calibration_error": "how far confidence is from accuracy, every class counting alike; low is good",
    "adjusted_balanced_accuracy": "balanced accuracy after the class shares of the training batches are divided out of "
    "the classifier's outputs: what adjusting it afterwards would give for free",
    "recall_on_synthetic": "mean recall on the pool's own kept images: of an arm without synthetic images it says "
    "whether they show their classes",
}
"""Columns of the table of arms, and what they mean."""

_STEPS_MATTER = 0.01
_SURE = 0.05
_KINDS = {
    "free": "no images of a GAN",
    "selected": "images that the selector kept",
    "random": "as many random candidates",
    "prefiltered": "as many random candidates of the class that the judge confirms",
    "all": "all candidates",
    "oracle": "real images held back: the ceiling",
    "only": "synthetic images alone",
}


def evaluation_section(evaluation: EvaluationResult) -> dict[str, Any]:
    """Returns what the page says of an evaluation."""
    metrics = [name for name in METRICS if any(_has(evaluation, arm, name) for arm in evaluation.scores)]
    gains = [] if evaluation.main is None else evaluation.gain_by_class(evaluation.main)
    return {
        "sentence": evaluation.sentence(),
        "asides": _asides(evaluation),
        "reference": evaluation.reference,
        "main": evaluation.main,
        "seeds": len(evaluation.seeds),
        "metrics": [(titled(name), METRICS[name]) for name in metrics],
        "kinds": [(kind, told) for kind, told in _KINDS.items() if kind in evaluation.kinds.values()],
        "rows": _rows(evaluation, metrics),
        "plot": arms_plot(evaluation, MAIN_METRIC),
        "gain_plot": gain_plot(gains),
        "gains": [{**row, "gain": points(row["gain"].mean), "range": spread(row["gain"], sign=True)} for row in gains],
        "settings": dict(evaluation.settings),
    }


def _has(evaluation: EvaluationResult, arm: str, metric: str) -> bool:
    return any(known(value) for value in evaluation.scores[arm].get(metric, ()))


def _rows(evaluation: EvaluationResult, metrics: list[str]) -> list[dict[str, Any]]:
    corrected = evaluation.corrected()
    rows = []
    for arm, kind in evaluation.kinds.items():
        difference = evaluation.difference(arm)
        cells = []
        for metric in metrics:
            value = evaluation.interval(arm, metric)
            cells.append({"mean": percent(value.mean), "range": spread(value)})
        rows.append(
            {
                "name": arm,
                "kind": kind,
                "cells": cells,
                "reference": arm == evaluation.reference,
                "main": arm == evaluation.main,
                "gain": points(difference.mean),
                "range": spread(difference, sign=True),
                "p": p_value(corrected.get(arm)),
                "verdict": difference.verdict if corrected.get(arm, 1.0) < _SURE else 0,
            }
        )
    return rows


def _asides(evaluation: EvaluationResult) -> list[str]:
    """Returns what to know beside the sentence: the ceiling, the selector's worth, convergence."""
    told, main = [], evaluation.main
    if main is not None and (share := evaluation.share_of_ceiling(main)) is not None and evaluation.ceiling is not None:
        told.append(
            f"Real images held back, put in the same place, gain {points(evaluation.ceiling.mean)} points: the "
            f"synthetic ones reach {100 * share:.0f}% of that."
        )
    control = evaluation.control()
    if main is not None and control is not None and control != main:
        worth = evaluation.difference(main, control)
        ends = f" (95% interval {spread(worth, sign=True)})" if spread(worth) else ""
        told.append(f"Against {control}, as many candidates without the selector: {points(worth.mean)} points{ends}.")
    if (half := evaluation.half_steps) is not None and known(half.mean):
        ends = f" (95% interval {spread(half, sign=True)})" if spread(half) else ""
        enough = abs(half.mean) < _STEPS_MATTER
        told.append(
            f"With half of the optimiser steps {evaluation.reference} changes by {points(half.mean)} points{ends}: "
            + ("the steps are enough." if enough else "the number of steps matters; give more before you compare.")
        )
    return told
