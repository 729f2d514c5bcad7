"""Checks that what came out of a file can be walked, written out and compared in bounded time."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from gan_augment.synthesizers.readers.inert import Inert
from gan_augment.synthesizers.readers.source import DamagedError

__all__ = ["check_finite"]

_DEEPEST = 100
_CONTAINERS = {dict, OrderedDict, list, tuple, set, frozenset}
_LEAF = (16, 0)
_WRITTEN = (1024, 0)  # what a tensor takes when it is written out


def check_finite(tree: Any, size: int) -> None:
    """Checks that plain containers do not contain themselves, are not nested too deep, and do not swell.

    A few bytes can describe a list of lists that has more elements, once shared ones are counted as often as they
    are met, than any program lives to count. What is inert is a boundary: each is checked for itself.

    Args:
        tree: What came out of a file.
        size: Bytes of the file.

    Raises:
        ArtifactError: It is not so.
    """
    scales = _Scales(2**26 + 8 * size)
    scales.weigh([tree])
    while scales.inert:
        found = scales.inert.pop()
        scales.weigh((found.args, found.state, found.items, found.elements))


class _Scales:
    """Weighs containers: bytes that they take written out, and how deep they are nested.

    Args:
        most: Bytes that one may take.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.known: dict[int, tuple[int, int] | None] = {}  # size and depth; None while it is being weighed
        self.inert: list[Inert] = []  # still to be looked into
        self._met: set[int] = set()

    def weigh(self, parts: Iterable[Any]) -> None:
        """Weighs what is below `parts`."""
        todo = self._below(parts)
        while todo:
            node = todo[-1]
            key = id(node)
            if self.known.get(key) is not None:
                todo.pop()
            elif key in self.known:
                self.known[key] = self._weight(node)
                todo.pop()
            else:
                self.known[key] = None
                below = self._below(_children(node))
                if any(self.known.get(id(child), _LEAF) is None for child in below):
                    raise DamagedError("expected plain values, found a container that contains itself")
                todo += below

    def _below(self, values: Iterable[Any]) -> list[Any]:
        """Returns the containers, and notes what is inert."""
        below = []
        for value in values:
            if type(value) in _CONTAINERS:
                below.append(value)
            elif isinstance(value, Inert) and id(value) not in self._met:
                self._met.add(id(value))
                self.inert.append(value)
        return below

    def _weight(self, node: Any) -> tuple[int, int]:
        size, depth = 16, 0
        for child in _children(node):
            if isinstance(child, (str, bytes, bytearray)):
                size += 16 + len(child)
                continue
            more, deep = self.known.get(id(child)) or (_WRITTEN if isinstance(child, (Tensor, np.ndarray)) else _LEAF)
            size, depth = size + more, max(depth, deep)
        if size > self.most or depth >= _DEEPEST:
            raise DamagedError(
                f"expected values nested at most {_DEEPEST} deep, of at most {self.most} bytes written out, found more"
            )
        return size, depth + 1


def _children(node: Any) -> list[Any]:
    return [*node.keys(), *node.values()] if isinstance(node, dict) else list(node)
