"""The page of a comparison: one HTML file that needs no network."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_augment.artifacts import write_bytes
from gan_augment.evaluation import EvaluationResult
from gan_augment.metrics import Interval, paired_difference
from gan_augment.report.plot import arms_plot

__all__ = ["write_report"]


def write_report(
    path: Path,
    comparison: EvaluationResult,
    *,
    advice: str,
    title: str,
    subtitle: str,
    recipe: str,
    classes: Sequence[Mapping[str, Any]],
    samples: Path,
    seeds: Sequence[int],
    rare_below: int,
    warnings: Sequence[str],
    facts: Mapping[str, str],
) -> None:
    """Writes `report.html`; every text is escaped.

    Args:
        path: The file.
        comparison: Arms and differences.
        advice: Said after the answer; may be empty.
        title: Heading of the page.
        subtitle: A line below it.
        recipe: The recipe whose pool is shown.
        classes: For each class `name, real, candidates, kept, disagrees, far, nearest`.
        samples: The picture that `sample_grid` wrote.
        seeds: The replicates.
        rare_below: Classes with fewer training images count as rare.
        warnings: Shown first.
        facts: Name and value of what it was made with.
    """
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("gan_augment.report", "."), autoescape=True)
    metrics = list(next(iter(comparison.arms.values())))
    page = environment.get_template("page.html.jinja").render(
        advice=advice,
        title=title,
        subtitle=subtitle,
        comparison=comparison,
        metrics=metrics,
        selector=_cell(comparison.selected_minus_random[metrics[0]], sign=True),
        rows=_rows(comparison, metrics),
        plot=arms_plot(comparison, metrics[0]),
        recipe=recipe,
        classes=classes,
        samples=base64.b64encode(samples.read_bytes()).decode(),
        seeds=seeds,
        rare_below=rare_below,
        warnings=warnings,
        facts=facts,
    )
    write_bytes(path, page.encode())


def _rows(comparison: EvaluationResult, metrics: Sequence[str]) -> list[dict[str, Any]]:
    best = comparison.arms[comparison.best_without_synthetic][metrics[0]].values
    rows = []
    for name, arm in comparison.arms.items():
        difference = paired_difference(arm[metrics[0]].values, best)
        told = {"mean": "0", "range": ""} if name == comparison.best_without_synthetic else _cell(difference, sign=True)
        rows.append({"name": name, "cells": [_cell(arm[metric]) for metric in metrics], "difference": told})
    return rows


def _cell(value: Interval, *, sign: bool = False) -> dict[str, str]:
    form = "{:+.1f}" if sign else "{:.1f}"
    mean, low, high = (form.format(100 * number) for number in (value.mean, value.low, value.high))
    return {"mean": mean, "range": "" if value.low != value.low else f"{low} to {high}"}
