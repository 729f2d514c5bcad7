"""The card of an export: README.md, which says first that every image is synthetic."""

import json
from collections import Counter
from collections.abc import Sequence

from gan_augment.pool.exports.marking import Mark, plain
from gan_augment.pool.pool import SyntheticPool
from gan_augment.synthesizers.fetching.provenance import markdown

__all__ = ["card"]

_COLUMNS = """\
| column | what it says |
|---|---|
| `label`, `class` | the class: its number in the pool, and its name |
| `row` | the row of the pool |
| `seed` | the seed from which the synthesizer draws the image again; -1 where it is not known |
| `score`, `kept`, `reason` | what the selector said: its score, whether it kept the image, why not |
| `parent` | the training image that it was made from; -1 where there is none |
| `weight` | how much the selector would have it count in a loss |
| `review` | what a person said: keep, reject or unsure; empty where nobody has looked |
| `synthetic` | true for every image |
"""
_MOST_CLASSES = 100


def card(pool: SyntheticPool, mark: Mark, *, data_files: Sequence[str], reading: str, notes: Sequence[str]) -> str:
    """Returns a dataset card as the Hugging Face Hub reads it.

    Args:
        pool: The view that was exported.
        mark: What is said of its images.
        data_files: Patterns of the files that hold the data.
        reading: How to read it, Python.
        notes: What else has to be known of the format.
    """
    unknown = mark.licence == "unknown"
    header = {
        "license": "unknown" if unknown else "other",
        **({} if unknown else {"license_name": mark.licence}),
        "pretty_name": "Synthetic images",
        "tags": ["synthetic", "gan", "generated", "data-augmentation", "not-for-diagnosis"],
        "task_categories": ["image-classification"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": list(data_files)}]}],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in header.items()]  # JSON is YAML
    return "\n".join(["---", *lines, "---", "", "# Synthetic images", "", *_body(pool, mark, reading, notes)])


def _body(pool: SyntheticPool, mark: Mark, reading: str, notes: Sequence[str]) -> list[str]:
    counts = Counter(pool.labels.tolist()).most_common(_MOST_CLASSES)
    classes = [{"class": plain(pool.classes[label], 80), "images": number} for label, number in counts]
    return [
        f"**Every image here is synthetic.** {mark.sentence()}",
        "They are made for training classifiers. Do not diagnose from them, do not test on them, do not publish them",
        "as photographs or scans of anything.",
        "",
        f"- Images: {len(pool)}, {pool.form.dtype}, {pool.form.channels} channel(s), "
        f"{'x'.join(map(str, pool.form.shape or ()))}",
        f"- Licence: `{mark.licence.replace('`', ' ')}`",
        f"- Made with: {mark.software}; pool `{mark.pool}`, drawn with the seed `{_seed(pool)}`",
        *[f"- Weights: {_origin(origin)}" for origin in pool.about.get("origins") or ()],
        *[f"- {note}" for note in notes],
        "",
        "## Reading it",
        "",
        f"```python\n{reading}\n```",
        "",
        "## Columns",
        "",
        _COLUMNS,
        "## Images of each class",
        "",
        "\n".join(["```json", *[_json(line) for line in classes], "```"]),
        "",
        "## Where they come from",
        "",
        "The chain of fingerprints: hashes of the synthesizer (its data, recipe and weights), of the training images,",
        "of the judge and of the selector.",
        "",
        "```json\n" + _json(dict(mark.chain) or "unknown", indent=2) + "\n```",
        "",
    ]


def _origin(origin: object) -> str:
    """Returns where weights come from in one line; what a document says of it is text of others."""
    told = origin if isinstance(origin, dict) else {}
    parts = [f"{name} {told[name]}" for name in ("source", "sha256", "licence", "citation") if told.get(name)]
    return markdown(plain(", ".join(parts), 500))


def _seed(pool: SyntheticPool) -> str:
    seeds = [part["seed"] for part in pool.about["parts"] if isinstance(part.get("seed"), int)]
    return ", ".join(map(str, seeds)) or "unknown"


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent).replace("`", "\\u0060")
