"""The audit on the page: its verdict in plain words, and what each measure means."""

from dataclasses import dataclass
from typing import Any

from gan_augment.report.texts import DASH, known, listed, number

__all__ = ["MEASURES", "Measure", "audit_section"]


@dataclass(frozen=True)
class Measure:
    """A column of the audit's table.

    Attributes:
        key: In a row of `Audit.table`; `key_real` is the same measure of real images, where there is one.
        heading: Of the column.
        form: How a value is written.
        means: What it says and which values are good, in plain words.
    """

    key: str
    heading: str
    form: str
    means: str


MEASURES = (
    Measure("n", "synthetic images", "{:d}", "how many were audited"),
    Measure("n_real", "real images", "{:d}", "training images of the class"),
    Measure(
        "agreement",
        "label agreement",
        "{:.0%}",
        "share that judges, which did not select them, take for the class they should be; good: as high as for reals",
    ),
    Measure("taken_for", "taken for", "{}", "the other class that most of them look like to the judges"),
    Measure(
        "copies",
        "near-copies",
        "{:.1%}",
        "share that is nearly a training image, shifts of a pixel or two allowed; good: as low as for reals",
    ),
    Measure(
        "authentic",
        "authentic",
        "{:.0%}",
        "share that lies farther from its nearest training image than that one lies from its own nearest; good: as "
        "high as for reals",
    ),
    Measure(
        "c_t",
        "C_T",
        "{:+.1f}",
        "whether they lie closer to training images than held-out ones do: about 0 is good, below -3 is too close, "
        "above 3 is far away",
    ),
    Measure(
        "duplicates",
        "duplicates",
        "{:.1%}",
        "share that repeats another synthetic image of its class; good: as low as for reals",
    ),
    Measure(
        "vendi",
        "Vendi",
        "{:.1f}",
        "how many really different images they count as; good: close to that of as many reals",
    ),
    Measure(
        "ms_ssim",
        "MS-SSIM",
        "{:.2f}",
        "likeness of two images of the class, 0 to 1; far above that of reals means little variety",
    ),
    Measure(
        "far",
        "outside of reals",
        "{:.1%}",
        "share that lies outside of where real images of any class lie; good: as low as for reals",
    ),
    Measure(
        "precision",
        "precision",
        "{:.2f}",
        "share that lies where real images lie, 0 to 1; good: high, as for reals",
    ),
    Measure(
        "recall",
        "recall",
        "{:.2f}",
        "share of real images that lie where synthetic ones lie, 0 to 1; good: high, as for reals",
    ),
    Measure(
        "density",
        "density",
        "{:.2f}",
        "how tightly real images surround them; good: about that of reals, near 1",
    ),
    Measure(
        "coverage",
        "coverage",
        "{:.2f}",
        "share of real images with a synthetic one near by, 0 to 1; good: high, as for reals",
    ),
    Measure(
        "realism",
        "realism",
        "{:.2f}",
        "median of how far inside the real images they lie; good: 1 or more",
    ),
    Measure(
        "fid",
        "FID",
        "{:.3g}",
        "distance between both sets in the judges' features; good: as low as between two halves of the reals; "
        "compare only values of as many images",
    ),
    Measure(
        "kid",
        "KID",
        "{:.3g}",
        "the same by a kernel, without the bias of small sets; good: near 0, as for reals",
    ),
)
"""Columns in the order that they are read; one that no row has is left out."""

_VERDICTS = {
    "good": "Good: no problem was found.",
    "doubtful": "Doubtful: look at what is said below before you train on these images.",
    "bad": "Bad: do not train on these images as they are.",
}

_PROBLEMS = {
    "collapse": "the images repeat each other, or vary far less than real ones",
    "copies": "some images are near-copies of training images",
    "labels": "images do not look like the class they should be",
    "unlike real": "images do not look like real ones",
    "too few to tell": "some classes have too few images to be judged",
}


def audit_section(audit: Any) -> dict[str, Any]:
    """Returns the verdict, problems, columns and rows of an `Audit`."""
    table = list(audit.table)
    measures = [
        measure for measure in MEASURES if any(_told(row.get(measure.key), measure.form) != DASH for row in table)
    ]
    return {
        "verdict": audit.verdict,
        "told": _VERDICTS.get(audit.verdict, audit.verdict),
        "problems": [(word, _PROBLEMS.get(word, "")) for word in _PROBLEMS if word in audit.problems]
        + [(word, "") for word in sorted(set(audit.problems) - set(_PROBLEMS))],
        "measures": measures,
        "rows": [_row(row, measures) for row in table if row.get("n") or row is table[0]],
        "idle": listed(row["class"] for row in table if not row.get("n") and row is not table[0]),
        "notes": [(row["class"], row["notes"]) for row in table if row.get("notes")],
        "settings": dict(audit.settings),
    }


def _row(row: dict[str, Any], measures: list[Measure]) -> dict[str, Any]:
    cells = []
    for measure in measures:
        twin = f"{measure.key}_real" if measure.key != "n" else ""
        real = _told(row[twin], measure.form) if twin in row else ""
        cells.append({"value": _told(row.get(measure.key), measure.form), "real": real, "words": measure.form == "{}"})
    return {"name": row["class"], "cells": cells}


def _told(value: Any, form: str) -> str:
    if isinstance(value, str):
        return value
    return number(value, form) if known(value) else DASH
