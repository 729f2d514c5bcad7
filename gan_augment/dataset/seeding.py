"""Giving random transforms a seed of their own in every worker process.

albumentations 2.0.8 and MONAI draw from generators that their transforms keep, which every forked worker inherits in
the same state: all workers would augment alike, and alike in every epoch.
"""

from collections.abc import Iterator, Mapping
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["WorkerSeeds", "random_transforms"]

_DEEPEST, _LONGEST = 8, 64
_LEAVES = (type(None), type, ModuleType, Tensor, np.ndarray, str, bytes, int, float)


def random_transforms(*holders: Any) -> list[Any]:
    """Returns the transforms within some objects that keep a generator of their own, outermost only, each once."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    for holder in holders:
        for transform in _search(holder, seen, 0):
            found.setdefault(id(transform), transform)
    return list(found.values())


def _search(thing: Any, seen: set[int], depth: int) -> Iterator[Any]:
    if id(thing) in seen or depth > _DEEPEST or isinstance(thing, _LEAVES):
        return
    seen.add(id(thing))
    kind = type(thing)
    if depth and (hasattr(kind, "set_random_seed") or hasattr(kind, "set_random_state")):
        yield thing
        return
    for value in _inner(thing):
        yield from _search(value, seen, depth + 1)


def _inner(thing: Any) -> list[Any]:
    """Returns what a container, an object or a function holds; of a long list of plain data nothing."""
    if isinstance(thing, FunctionType):
        names = thing.__code__.co_names
        cells = [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]
        return cells + [thing.__globals__[name] for name in names if name in thing.__globals__]
    if isinstance(thing, Mapping):
        return list(thing.values()) if type(thing) is dict and len(thing) <= _LONGEST else []
    if isinstance(thing, list | tuple):
        if len(thing) <= _LONGEST:
            return list(thing)
        plain = isinstance(thing[0], (*_LEAVES, tuple, list, Mapping))
        holder = callable(thing[0]) or hasattr(type(thing[0]), "__getitem__")  # transforms, or datasets
        return list(thing) if holder and not plain else []
    return list(getattr(thing, "__dict__", {}).values())


def seed_transforms(transforms: list[Any], seed: int) -> None:
    """Gives each transform a seed of its own."""
    for number, transform in enumerate(transforms):
        own = (seed + number) % 2**32
        if hasattr(transform, "set_random_seed"):
            transform.set_random_seed(own)
        else:
            transform.set_random_state(seed=own)


class WorkerSeeds:
    """Seeds transforms anew in each worker process and each epoch: whenever torch's own seed has changed.

    Args:
        holders: Whatever holds transforms: datasets, pipelines, transforms.
    """

    def __init__(self, *holders: Any) -> None:
        self._holders = holders
        self._transforms: list[Any] | None = random_transforms(holders)
        self.needed = bool(self._transforms)
        self._seeded: int | None = None

    def refresh(self) -> None:
        """Seeds the transforms if this is a worker that was not seeded in this epoch."""
        if get_worker_info() is not None and (seed := torch.initial_seed()) != self._seeded:
            self._seeded = seed
            seed_transforms(self._found(), seed)

    def set(self, seed: int) -> None:
        """Seeds the transforms; a worker keeps this seed until torch's own changes."""
        self._seeded = torch.initial_seed()
        seed_transforms(self._found(), seed)

    def _found(self) -> list[Any]:
        if self._transforms is None:
            self._transforms = random_transforms(self._holders)
        return self._transforms

    def __getstate__(self) -> dict[str, Any]:
        """Transforms are found again in the copies."""
        return {**self.__dict__, "_transforms": None}
