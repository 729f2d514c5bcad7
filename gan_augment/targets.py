"""Finding the class of every item of a dataset, without loading an image where that is possible."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from tqdm import tqdm

from gan_augment.errors import DataError
from gan_augment.items import LABEL_KEYS, ItemStructure, label_value
from gan_augment.pipelines import inner_datasets

__all__ = ["agreeing", "class_names", "find_targets"]

_ATTRIBUTES = ("targets", "labels", "_labels")
_PROBED_CLASSES = 16


def _column(values: Any, length: int) -> list[int | str] | None:
    """Returns an attribute as one label an item, or None where it is no such thing."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    if hasattr(values, "to_numpy"):  # a column of pandas
        values = np.asarray(values)
    if not isinstance(values, np.ndarray | list | tuple) or len(values) != length:
        return None
    if isinstance(values, np.ndarray) and values.size == length and values.dtype.kind in "iub":
        flat = values.reshape(-1)
        return None if (flat < 0).any() else [int(value) for value in flat]
    try:
        labels = [label_value(value) for value in values]
    except (DataError, TypeError, ValueError):
        return None
    names = {label for label in labels if isinstance(label, str)}
    return None if len(names) > max(2, length // 2) else labels  # as many names as items: paths, not classes


def _attribute(dataset: Any) -> tuple[list[int | str], Any] | None:
    """Returns the labels that the dataset keeps, and the same as it keeps them."""
    length = len(dataset)
    columns = [getattr(dataset, name, None) for name in _ATTRIBUTES]
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and len(samples) == length and length and isinstance(samples[0], tuple):
        columns.append([sample[-1] for sample in samples])
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        columns.append(dataset.tensors[1])
    for column in columns:
        found = _column(column, length)
        if found is not None:
            return found, column
    return None


def _without_loading(dataset: Any) -> list[int | str] | None:
    found: list[int | str] | None = None
    column: Any = None
    if isinstance(dataset, Subset):
        inner = _without_loading(dataset.dataset)
        found = None if inner is None else [inner[int(i)] for i in dataset.indices]
    elif isinstance(dataset, ConcatDataset):
        parts = [_without_loading(part) for part in dataset.datasets]
        found = None if None in parts else [label for part in parts if part is not None for label in part]
    elif (kept := _attribute(dataset)) is not None:
        found, column = kept
    elif len(inner_sets := inner_datasets(dataset)) == 1 and len(inner_sets[0]) == len(dataset):
        found = _without_loading(inner_sets[0])
    transform = _target_transform(dataset)
    return found if found is None or transform is None else _transformed(transform, found, column)


def _target_transform(dataset: Any) -> Any:
    return vars(dataset).get("target_transform") if hasattr(dataset, "__dict__") else None


def _transformed(transform: Any, labels: list[int | str], column: Any) -> list[int | str] | None:
    """Returns labels after a `target_transform`, which may want them as the dataset keeps them (MedMNIST: arrays)."""
    first = {label: i for i, label in reversed(list(enumerate(labels)))}
    for as_kept in (False, True):
        try:
            changed = {label: label_value(transform(column[i] if as_kept else label)) for label, i in first.items()}
        except Exception:  # it is the user's code, and may raise anything on a label of the wrong type
            continue
        return [changed[label] for label in labels]
    return None


def _contradicted(labels: list[int | str], structure: ItemStructure, read: Callable[[int], Any]) -> bool:
    """Tells whether items hold other labels than `labels` says; looks at an item of each of some classes."""
    first = {label: i for i, label in reversed(list(enumerate(labels)))}
    for label, i in list(first.items())[:_PROBED_CLASSES]:
        try:
            found = label_value(structure.split(read(i))[1])
        except Exception:  # an item that cannot be read, or whose label is no class, is another's to report
            continue
        if found != label:
            return True
    return False


def find_targets(
    dataset: Any, structure: ItemStructure, *, read: Callable[[int], Any] | None = None, progress: bool = True
) -> tuple[list[int | str], bool]:
    """Returns the label of every item, as the user's loss sees it (after any `target_transform`).

    Looks for `targets`, `labels`, `_labels`, `samples` and the second tensor of a TensorDataset, through Subset,
    ConcatDataset and wrappers of equal length, and compares with an item of each of some classes. Where there is
    no such thing, or an item holds another label, reads every item, with a progress bar.

    Args:
        dataset: The dataset.
        structure: Where the label stands in an item.
        read: Reads an item; None for `dataset[i]`.
        progress: Whether to show a bar on a terminal.

    Returns:
        The labels, and whether items contradicted what the dataset's attributes say.

    Raises:
        DataError: There are no labels, or more than one an item.
    """
    read = dataset.__getitem__ if read is None else read
    found = _without_loading(dataset)
    if found is not None and (structure.label is None or not _contradicted(found, structure, read)):
        return found, False
    if structure.label is None:
        base = getattr(dataset, "base", dataset)  # of a library's dataset, opened, the user's own
        told = type(base).__name__
        raise DataError(
            f"expected labels, found none in the items of {told}; put a class into each (second in a tuple, under "
            f"{', '.join(map(repr, LABEL_KEYS[:3]))} ... in a dict), or give targets= with one for each image"
        )
    items = tqdm(range(len(dataset)), desc="reading labels", disable=None if progress else True, leave=False)
    return [label_value(structure.split(read(i))[1]) for i in items], found is not None


def agreeing(dataset: Any, structure: ItemStructure, read: Callable[[int], Any]) -> ItemStructure:
    """Returns the structure with the part for the label that agrees with what the dataset keeps as its targets."""
    known = _without_loading(dataset)
    if known is None or structure.label is None or not structure.extras or not _contradicted(known, structure, read):
        return structure
    for part in structure.extras:
        others = tuple(key for key in (structure.label, *structure.extras) if key != part)
        other = replace(structure, label=part, extras=others)
        with contextlib.suppress(Exception):  # a part that is no label may raise anything
            label_value(other.split(read(0))[1])
            if not _contradicted(known, other, read):
                return other
    return structure


def class_names(dataset: Any) -> Sequence[str] | None:
    """Returns the dataset's own class names, through Subset and wrappers; None where it has none.

    Names are given up where a `target_transform` turns a class into another.
    """
    names, transform = _class_names(dataset), _target_transform(dataset)
    if names is None or transform is None:
        return names
    try:
        kept = all(label_value(transform(label)) == label for label in range(len(names)))
    except Exception:  # it is the user's code, and may raise anything on a class that does not occur
        kept = False
    return names if kept else None


def _class_names(dataset: Any) -> Sequence[str] | None:
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return list(names)
    if isinstance(dataset, ConcatDataset):
        each = [class_names(part) for part in dataset.datasets]
        return each[0] if all(names == each[0] for names in each) else None
    inner = [dataset.dataset] if isinstance(dataset, Subset) else inner_datasets(dataset)
    return class_names(inner[0]) if len(inner) == 1 else None
