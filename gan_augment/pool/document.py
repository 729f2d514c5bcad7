"""`pool.json`: what a pool is as a whole, and the record of each of its parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gan_augment.errors import DataError
from gan_augment.fingerprint import hash_json
from gan_augment.geometry import Affine, as_affine, common_affine
from gan_augment.pool.columns import Columns
from gan_augment.pool.layout import KIND, VERSION
from gan_augment.synthesizers.combined import joined

__all__ = ["appended", "check_alike", "flattened", "new_document", "with_part"]

_OWN = {"rows", "folder", "files", "shard_rows", "chunk", "masks", "settings"}
"""What a part says of itself alone."""

_LINKS = ("synthesizer", "like", "extractor", "selector")


def new_document(
    *,
    classes: Sequence[str],
    named: bool,
    values: Sequence[int | str],
    form: Mapping[str, Any],
    image_spec: Mapping[str, Any] | None,
    reasons: Sequence[str],
    parts: Sequence[Mapping[str, Any]],
    affine: Affine | None = None,
) -> dict[str, Any]:
    """Returns the document of a pool.

    Args:
        classes: Class names.
        named: Whether they are names, rather than labels that stand for themselves.
        values: The label of each class in the dataset.
        form: The raw form of the images.
        image_spec: How raw values map to [-1, 1]; None for images whose range is not known.
        reasons: Why rows were rejected; the first is empty.
        parts: What `Work.finish` says of each part, with its provenance.
        affine: From voxels to mm; None where that is not known.
    """
    return {
        "kind": KIND,
        "version": VERSION,
        "rows": sum(part["rows"] for part in parts),
        "classes": list(classes),
        "named": named,
        "values": list(values),
        "form": dict(form),
        "image_spec": image_spec,
        "affine": affine,
        "reasons": list(reasons),
        "parts": [dict(part) for part in parts],
    }


def flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document with what its parts say under the names of a pool of one part.

    Of several parts, numbers needed are summed, notes are joined, and what differs is None; a link of the fingerprint
    that differs is the hash of all.
    """
    parts = document["parts"]
    drawn = [part for part in parts if "fingerprint" in part]
    if not drawn:
        return dict(document)
    names = {name for part in drawn for name in part} - _OWN
    about = {name: _common([part.get(name) for part in drawn]) for name in sorted(names)}
    chains = [part["fingerprint"] for part in drawn]
    about["likes"] = _distinct([part.get("like") for part in drawn])
    about["fingerprint"] = {link: _link([chain.get(link) for chain in chains]) for link in _LINKS}
    if len(drawn) > 1:
        about["needed"] = _summed([part.get("needed") or {} for part in drawn])
        about["notes"] = _distinct([note for part in drawn for note in part.get("notes") or ()])
    if len(drawn) > 1:
        about["licence"] = joined([part.get("licence") for part in drawn], "not known of one part")
        about["origins"] = _distinct([one for part in drawn for one in part.get("origins") or ()])
    if len(drawn) < len(parts):  # some images were made elsewhere
        about |= {"like": None, "licence": None}
    return {**about, **document}


def _common(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


def _distinct(values: list[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value is not None and value not in values[:place]]


def _link(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else hash_json(values)


def _summed(parts: list[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total


def with_part(document: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a document with one part more."""
    parts = [*document["parts"], dict(part)]
    return {**document, "parts": parts, "rows": sum(own["rows"] for own in parts)}


def appended(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[Columns], Columns]]:
    """Returns a pool's document with the classes and reasons of another pool whose rows come behind its own.

    New classes and reasons come last, so that the numbers in the columns of the first stay as they are. The label of a
    class is the other's, whose dataset is newer; where labels then meet, they are counted anew. The range of values is
    that of both.

    Returns:
        The document, without parts of the other, and what turns the other's columns into the pool's.

    Raises:
        DataError: Their images are of other types or sizes, one has names of classes and the other has not, or one has
            masks and the other has not.
    """
    check_alike(first, other)
    classes = [*first["classes"], *(name for name in other["classes"] if name not in first["classes"])]
    reasons = [*first["reasons"], *(text for text in other["reasons"] if text not in first["reasons"])]
    values = dict(zip(first["classes"], first["values"], strict=True))
    values |= dict(zip(other["classes"], other["values"], strict=True))
    label = np.array([classes.index(name) for name in other["classes"]], np.int64)
    reason = np.array([reasons.index(text) for text in other["reasons"]], np.uint16)

    def recoded(columns: Columns) -> Columns:
        return replace(columns, label=label[columns.label], reason=reason[columns.reason])

    own = [values[name] for name in classes]
    document = {
        **first,
        "classes": classes,
        "reasons": reasons,
        "values": own if len(set(map(str, own))) == len(own) else list(range(len(own))),
        "image_spec": _spanning(first["image_spec"], other["image_spec"]),
        "affine": common_affine([as_affine(one.get("affine")) for one in (first, other)]),
    }
    return document, recoded


def _spanning(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Any:
    """Returns an image_spec whose range holds both: no value is clipped; None where one is not known."""
    if one is None or other is None:
        return None
    low = [min(pair) for pair in zip(one["low"], other["low"], strict=True)]
    high = [max(pair) for pair in zip(one["high"], other["high"], strict=True)]
    alike = all(_plain(one[name]) == _plain(other[name]) for name in ("grid", "fit"))
    return {**one, "low": low, "high": high, "fit": one["fit"] if alike else "resize"}


def check_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises unless the rows of one pool can come behind those of another.

    Raises:
        DataError: They are of other types or sizes, with names of classes and without, or with masks and without.
    """
    differ = [
        f"{name} {first['form'].get(name)} against {other['form'].get(name)}"
        for name in ("dtype", "channels", "shape", "kind")
        if _plain(first["form"].get(name)) != _plain(other["form"].get(name))
    ]
    if bool(first["named"]) != bool(other["named"]):
        differ.append("class names against labels")
    if len({bool(part["masks"]) for document in (first, other) for part in document["parts"]}) > 1:
        differ.append("masks against none")
    if differ:
        raise DataError(
            f"expected pools of images of one type and size, found others: {'; '.join(differ)}; build both like "
            "datasets of the same form"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
