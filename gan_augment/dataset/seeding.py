"""Giving random transforms a seed of their own in every worker process.

albumentations 2.0.8 and MONAI draw from generators that their transforms keep, which every forked worker inherits in
the same state: all workers would augment alike, and alike in every epoch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

__all__ = ["WorkerSeeds", "random_transforms"]

_DEEPEST, _LONGEST = 6, 64


def random_transforms(*holders: Any) -> list[Any]:
    """Returns the transforms within some objects that keep a generator of their own, outermost only, each once."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    for holder in holders:
        for transform in _search(holder, seen, 0):
            found.setdefault(id(transform), transform)
    return list(found.values())


def _search(thing: Any, seen: set[int], depth: int) -> Iterator[Any]:
    if thing is None or id(thing) in seen or depth > _DEEPEST or isinstance(thing, type | Tensor | np.ndarray | str):
        return
    seen.add(id(thing))
    if depth and (hasattr(thing, "set_random_seed") or hasattr(thing, "set_random_state")):
        yield thing
        return
    if isinstance(thing, list | tuple):
        inner: Any = thing if len(thing) <= _LONGEST else ()
    elif isinstance(thing, Mapping):
        inner = thing.values() if len(thing) <= _LONGEST else ()
    else:
        inner = vars(thing).values() if hasattr(thing, "__dict__") else ()
    for value in list(inner):
        yield from _search(value, seen, depth + 1)


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
