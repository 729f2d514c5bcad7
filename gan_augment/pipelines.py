"""Taking a dataset's transforms apart: reading it without them, and applying them to another image.

A dataset may be wrapped (Subset, ConcatDataset, or a class of the user's that holds another dataset), and
each layer may have a `transform`, a `target_transform` or a joint `transforms`. Nothing of the user's is
changed: all work is on shallow copies.
"""

import contextlib
import copy
import itertools
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from gan_augment.items import ItemStructure, same

__all__ = [
    "Pipeline",
    "call_transform",
    "has_transforms",
    "inner_datasets",
    "innermost",
    "layers",
    "preserved_rng",
    "prove",
    "stripped",
    "twin",
]

_NAMES = ("transform", "target_transform", "transforms")
_MOST_SEEDS = 32
"""Even a flip of probability 0.1 is seen under one of 32 seeds (to 1 in 30)."""


class Identity:
    """Stands in for a transform: returns what it is given, called with positions or with keywords."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the one argument, the tuple of several, or the dict of keywords."""
        if kwargs:
            return dict(kwargs)
        return args[0] if len(args) == 1 else args


@contextlib.contextmanager
def preserved_rng(seed: int | None = None) -> Iterator[None]:
    """Leaves the global random states of Python, numpy and torch as they were; seeds them inside if asked."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too, for good
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _own(dataset: Any) -> dict[str, Any]:
    return vars(dataset) if hasattr(dataset, "__dict__") else {}


def _is_dataset(value: Any) -> bool:
    """Tells whether an attribute holds a dataset: torch's, or any indexable that has a place for transforms."""
    indexable = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    return isinstance(value, Dataset) or (indexable and bool(_own(value).keys() & {"transform", "target_transform"}))


def inner_datasets(dataset: Any) -> list[Any]:
    """Returns the datasets that a wrapper holds in attributes of its own."""
    return [value for value in _own(dataset).values() if _is_dataset(value)]


def _replaced(dataset: Any, replace: Callable[[Any], Any]) -> Any:
    """Returns a shallow copy of `dataset` and the datasets within it, each transform replaced.

    Its lists and dicts are copied too: a cache that reading fills stays the user's.
    """
    if not _own(dataset):
        return dataset
    new = copy.copy(dataset)
    for name, value in _own(dataset).items():
        if name in _NAMES and value is not None:
            new.__dict__[name] = replace(value)
        elif _is_dataset(value):
            new.__dict__[name] = _replaced(value, replace)
        elif type(value) in (list, tuple) and value and all(map(_is_dataset, value)):
            new.__dict__[name] = type(value)([_replaced(child, replace) for child in value])
        elif isinstance(value, list | dict):
            new.__dict__[name] = copy.copy(value)
    return new


def stripped(dataset: Any) -> Any:
    """Returns a shallow copy of `dataset` that gives raw items: every transform is the identity."""
    return _replaced(dataset, lambda _: Identity())


def _copied(transform: Any) -> Any:
    try:
        return copy.deepcopy(transform)
    except Exception:  # a transform that cannot be copied is used as it is
        return transform


def twin(dataset: Any) -> Any:
    """Returns a shallow copy of `dataset` with copies of its transforms: reading it moves no state of the user's."""
    return _replaced(dataset, _copied)


def _walk(dataset: Any, index: int) -> Iterator[tuple[Any, int | None]]:
    """Gives each dataset that item `index` comes through, outermost first, and the item's index there.

    The index is None from a wrapper on that has another length than what it holds.
    """
    known = True
    while True:
        yield dataset, index if known else None
        if isinstance(dataset, ConcatDataset | Subset) and not 0 <= index < len(dataset):
            index, known = 0, False  # a wrapper's own number, which says nothing here
        if isinstance(dataset, ConcatDataset):
            part = bisect_right(dataset.cumulative_sizes, index)
            index -= dataset.cumulative_sizes[part - 1] if part else 0
            dataset = dataset.datasets[part]
        elif isinstance(dataset, Subset):
            index = int(dataset.indices[index])
            dataset = dataset.dataset
        else:
            inner = inner_datasets(dataset)
            if len(inner) != 1 or isinstance(dataset, TensorDataset):
                return
            known = known and len(inner[0]) == len(dataset)
            dataset = inner[0]


def layers(dataset: Any, index: int) -> list[Any]:
    """Returns the datasets that item `index` comes through, outermost first."""
    return [layer for layer, _ in _walk(dataset, index)]


def innermost(dataset: Any, index: int) -> tuple[Any, int | None]:
    """Returns the dataset that item `index` is read from, and its index there; None where that is not known."""
    return list(_walk(dataset, index))[-1]


def has_transforms(dataset: Any) -> bool:
    """Tells whether one of the layers has a place for transforms, or is known to have none."""
    return any(isinstance(layer, TensorDataset) or _own(layer).keys() & set(_NAMES) for layer in layers(dataset, 0))


def is_albumentations(transform: Any) -> bool:
    """Tells whether a transform is albumentations', by its module: it need not be installed."""
    return type(transform).__module__.partition(".")[0] == "albumentations"


def call_transform(transform: Any, image: Any) -> Any:
    """Calls a transform on an image; albumentations' in its own way, by keyword."""
    return transform(image=image)["image"] if is_albumentations(transform) else transform(image)


def call_on_pair(transform: Any, image: Any, mask: Any) -> tuple[Any, Any]:
    """Calls a transform on an image and its mask together."""
    if is_albumentations(transform):
        found = transform(image=image, mask=mask)
        return found["image"], found["mask"]
    image, mask = transform(image, mask)
    return image, mask


class Pipeline:
    """The transforms of the layers that an item comes through, innermost first, as one call.

    Args:
        through: The layers, outermost first.
        ways: For each layer, how its transforms are called: "separate" (`transform(image)` and
            `target_transform(label)`, or of the mask where there is no label), "joint" (`transforms(image, label)`, or
            the mask), "pair" (`transform(image, mask)`) or "item" (`transform(item)`).
    """

    def __init__(self, through: list[Any], ways: tuple[str, ...]) -> None:
        placed = reversed(list(zip(through, ways, strict=True)))
        self._steps = [(way, _own(layer)) for layer, way in placed if _own(layer).keys() & set(_NAMES)]

    @property
    def empty(self) -> bool:
        """Whether no layer has a place for a transform."""
        return not self._steps

    def __call__(self, item: Any, structure: ItemStructure) -> Any:
        """Returns the raw `item`, of this `structure`, as the base would have given it."""
        second: Any = structure.mask if structure.label is None else structure.label
        for way, own in self._steps:  # read anew at each call: users put another transform in place
            first = own.get("transforms" if way == "joint" else "transform")
            target = own.get("target_transform") if way in ("separate", "pair") else None
            if way == "item":
                item = item if first is None else first(item)
                continue
            image = item if structure.image is None else item[structure.image]
            parts: dict[Any, Any] = {}
            if way == "joint" and first is not None:
                image, parts[second] = first(image, item[second])
            elif way == "pair" and first is not None:
                image, parts[structure.mask] = call_on_pair(first, image, item[structure.mask])
            elif first is not None:
                image = call_transform(first, image)
            if target is not None:
                parts[second] = target(item[second])
            item = structure.replaced(item, {structure.image: image, **parts})
        return item


def _possible_ways(layer: Any, structure: ItemStructure) -> list[str]:
    own = _own(layer)
    if all(own.get(name) is None for name in _NAMES):
        return ["separate"]
    ways = ["pair"] if own.get("transform") is not None and structure.mask is not None else []
    ways += ["separate"] if own.get("transform") is not None or own.get("target_transform") is not None else []
    ways += ["joint"] if own.get("transforms") is not None else []
    return ways + (["item"] if own.get("transform") is not None else [])


def prove(base: Any, index: int, source: Any = None) -> Pipeline | None:
    """Finds how the base's transforms are called, and proves it on item `index`.

    Args:
        base: The dataset.
        index: Of the item.
        source: What is taken apart in place of the base: the same, with datasets of other libraries opened.

    The base's own item and the pipeline's, each from copies of the transforms in the same state and under the
    same global seeds, must agree in every value; random augmentation included. Where items have masks and more
    than one way agrees, further seeds decide. Datasets of other libraries call their transforms as documented, which
    needs no proof.

    Returns:
        The pipeline over the base's own transforms, or None where no way of calling them gives the base's item.
    """
    source = base if source is None else source
    through = layers(source, index)
    with preserved_rng(seed=0):
        wanted = twin(base)[index]
    try:
        with preserved_rng(seed=0):
            raw = stripped(source)[index]
    except Exception:  # the base goes on with what its transform gives, and cannot with a raw image
        return None
    try:
        structure = ItemStructure.of(raw)
    except ValueError:
        structure = ItemStructure("image")
    open_ways = list(itertools.product(*(_possible_ways(layer, structure) for layer in through)))
    known = [isinstance(layer, Subset | ConcatDataset) or getattr(layer, "by_contract", False) for layer in through]
    for seed in range(1 if structure.mask is None else _MOST_SEEDS):
        if seed:  # a flip that did nothing may have been one of the image alone, or of image and mask
            with preserved_rng(seed=seed):
                wanted = twin(base)[index]
        open_ways = [ways for ways in open_ways if _gives(through, ways, raw, structure, wanted, seed)]
        if len(open_ways) < 2:
            break
    if open_ways:
        return Pipeline(through, open_ways[0])
    return Pipeline(through, ("item",) * len(through)) if all(known) else None


def _gives(
    through: list[Any], ways: tuple[str, ...], raw: Any, structure: ItemStructure, wanted: Any, seed: int
) -> bool:
    """Tells whether copies of the layers' transforms, called in these ways, make the wanted item of the raw one."""
    copies = [twin(layer) for layer in through]
    with preserved_rng(seed=seed):
        try:
            return same(Pipeline(copies, ways)(raw, structure), wanted)
        except Exception:  # the wrong way of calling a transform may raise anything
            return False
