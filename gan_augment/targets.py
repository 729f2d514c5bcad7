"""Finding the class of every item of a dataset, without loading an image where that is possible."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset
from tqdm import tqdm

from gan_augment.errors import DataError
from gan_augment.items import ItemStructure, label_value

__all__ = ["class_names", "find_targets"]

_ATTRIBUTES = ("targets", "labels", "_labels")


def _column(values: Any, length: int) -> list[int | str] | None:
    """Returns an attribute as one label an item, or None where it is no such thing."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
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


def _attribute(dataset: Any) -> list[int | str] | None:
    length = len(dataset)
    for name in _ATTRIBUTES:
        found = _column(getattr(dataset, name, None), length)
        if found is not None:
            return found
    samples = getattr(dataset, "samples", None)
    if isinstance(samples, list) and len(samples) == length and length and isinstance(samples[0], tuple):
        return _column([sample[-1] for sample in samples], length)
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        return _column(dataset.tensors[1], length)
    return None


def _without_loading(dataset: Any) -> list[int | str] | None:
    if isinstance(dataset, Subset):
        inner = _without_loading(dataset.dataset)
        return None if inner is None else [inner[int(i)] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        parts = [_without_loading(part) for part in dataset.datasets]
        return None if None in parts else [label for part in parts if part is not None for label in part]
    found = _attribute(dataset)
    if found is None and hasattr(dataset, "__dict__"):
        inner_sets = [value for value in vars(dataset).values() if isinstance(value, Dataset)]
        if len(inner_sets) == 1 and not isinstance(dataset, TensorDataset) and len(inner_sets[0]) == len(dataset):  # type: ignore[arg-type]
            found = _without_loading(inner_sets[0])
    if found is None:
        return None
    transform = vars(dataset).get("target_transform") if hasattr(dataset, "__dict__") else None
    if transform is not None:
        changed = {label: label_value(transform(label)) for label in set(found)}
        found = [changed[label] for label in found]
    return found


def find_targets(dataset: Any, structure: ItemStructure, *, progress: bool = True) -> list[int | str]:
    """Returns the label of every item, as the user's loss sees it (after any `target_transform`).

    Looks for `targets`, `labels`, `_labels`, `samples` and the second tensor of a TensorDataset, through Subset,
    ConcatDataset and wrappers of equal length; else reads every item, with a progress bar.

    Raises:
        DataError: There are no labels, or more than one an item.
    """
    found = _without_loading(dataset)
    if found is not None:
        return found
    if structure.label is None:
        raise DataError(
            f"expected labels, found none in the items of {type(dataset).__name__}; give targets= with one "
            "class for each image"
        )
    items = tqdm(range(len(dataset)), desc="reading labels", disable=None if progress else True, leave=False)
    return [label_value(structure.split(dataset[i])[1]) for i in items]


def class_names(dataset: Any) -> Sequence[str] | None:
    """Returns the dataset's own class names, through Subset and wrappers; None where it has none."""
    names = getattr(dataset, "classes", None)
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return list(names)
    if isinstance(dataset, ConcatDataset):
        each = [class_names(part) for part in dataset.datasets]
        return each[0] if all(names == each[0] for names in each) else None
    if not hasattr(dataset, "__dict__"):
        return None
    inner = [value for value in vars(dataset).values() if isinstance(value, Dataset)]
    return class_names(inner[0]) if len(inner) == 1 else None
