"""Reads pickles of any protocol: a machine of its own for the opcodes, which imports and calls nothing they name.

Python's unpickler looks names up and calls what it finds; one that is told to look up stand-ins still sets attributes,
hashes, compares and takes memory as the pickle says. Here every opcode does one thing to plain values, and counts.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.inert import Inert, Name, Pending
from gan_augment.synthesizers.readers.limits import Limits
from gan_augment.synthesizers.readers.source import DamagedError, Source

__all__ = ["Machine", "Make", "refuse_persistent"]

_LONGEST_INT = 256
_LONGEST_NAME = 500
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "exceptions": "builtins"}
_KEYS = (str, bytes, int, float, complex, type(None), torch.dtype, np.generic, Inert)


class Make(Protocol):
    """Makes the value of a call that a pickle asks for."""

    def __call__(self, machine: "Machine", *args: Any) -> Any:
        """Returns what stands for the result of a call with `args`."""


def refuse_persistent(saved: Any) -> Any:
    """Refuses what a pickle says is stored outside of it."""
    raise DamagedError("expected a pickle that is whole, found one that refers to data outside of it")


class Machine:
    """Runs one pickle.

    Args:
        source: Its bytes.
        calls: Who makes what the pickle's calls return, by the name of what is called. Whatever else is called becomes
            an `Inert`.
        values: What names stand for that are values.
        limits: What may be taken.
        names: Where the names go that it looks up.
        persistent: Returns what is stored outside of the pickle.
    """

    def __init__(
        self,
        source: Source,
        calls: Mapping[str, Make],
        values: Mapping[str, Any],
        limits: Limits,
        names: set[str],
        persistent: Callable[[Any], Any] = refuse_persistent,
    ) -> None:
        self.source, self.calls, self.values = source, calls, values
        self.limits, self.names, self.persistent = limits, names, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.floor = 0  # below the last mark nothing may be popped
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Takes the last value off the stack."""
        if len(self.stack) <= self.floor:
            raise DamagedError("expected a value on the pickle's stack, found none")
        return self.stack.pop()

    def top(self) -> Any:
        """Returns the last value on the stack."""
        if len(self.stack) <= self.floor:
            raise DamagedError("expected a value on the pickle's stack, found none")
        return self.stack[-1]

    def mark(self) -> None:
        """Marks the place in the stack."""
        self.marks.append(self.floor)
        self.floor = len(self.stack)

    def popped(self) -> list[Any]:
        """Takes off the stack what came after the last mark."""
        if not self.marks:
            raise DamagedError("expected a mark on the pickle's stack, found none")
        items = self.stack[self.floor :]
        del self.stack[self.floor :]
        self.floor = self.marks.pop()
        return items

    def remember(self, index: int) -> None:
        """Keeps the last value under a number."""
        value = self.top()
        if isinstance(value, Pending):
            value.slots.append(index)
        self.memo[index] = value

    def recall(self, index: int) -> None:
        """Puts on the stack what is kept under a number."""
        if index not in self.memo:
            raise DamagedError(f"expected a value with number {index} in the pickle, found none")
        self.stack.append(self.memo[index])

    def named(self, module: Any, name: Any) -> Any:
        """Returns the value that a name stands for, or a `Name`."""
        if type(module) is not str or type(name) is not str or len(module) + len(name) > _LONGEST_NAME:
            raise DamagedError("expected the name of a class or function in the pickle, found something else")
        module = _RENAMED.get(module, module)
        origin = f"{module}.{name}"
        if not origin.isprintable():
            raise DamagedError(f"expected the name of a class or function in the pickle, found {origin!r:.200}")
        self.limits.step(4)
        self.names.add(origin)
        _refuse_tensorflow(origin)
        if origin in self.values:
            return self.values[origin]
        return Name(origin)

    def call(self, called: Any, args: Any) -> Any:
        """Returns what stands for the result of a call."""
        if type(args) is not tuple or not isinstance(called, Inert):
            raise DamagedError("expected a function and its arguments in the pickle, found something else")
        if type(called) is not Name:
            origin = called.origin if called.origin.startswith("(") else f"(result of {called.origin})"
            return Inert(origin, (called, args))
        make = self.calls.get(called.origin)
        self.limits.step(3 if make is None else 3 + len(args))
        return Inert(called.origin, args) if make is None else make(self, *args)

    def build(self, state: Any) -> None:
        """Sets the state of the last value."""
        target = self.top()
        if isinstance(target, Pending):
            self.stack[-1] = made = target.finish(state)
            for slot in target.slots if made is not target else ():
                if self.memo[slot] is target:
                    self.memo[slot] = made
        elif type(target) is Inert:
            target.state = state
        elif not isinstance(target, (dict, list, set, torch.Tensor)):  # of these, attributes are not kept
            raise DamagedError(f"expected the state of an object, found that of {type(target).__name__}")

    def extend(self, items: list[Any]) -> None:
        """Appends to the last value, a list or what stands for one."""
        target = self.top()
        if type(target) is list:
            target.extend(items)
        elif type(target) is Inert:
            target.elements.extend(items)
        else:
            raise DamagedError(f"expected a list to append to, found {type(target).__name__}")

    def add(self, items: list[Any]) -> None:
        """Adds to the last value, a set or what stands for one."""
        target = self.top()
        if type(target) is set:
            target.update(map(self.key, items))
        elif type(target) is Inert:
            target.elements.extend(items)
        else:
            raise DamagedError(f"expected a set to add to, found {type(target).__name__}")

    def fill(self, items: list[Any]) -> None:
        """Sets keys and values, in turn, of the last value, a dict or what stands for one."""
        target = self.top()
        if type(target) is Inert:
            target = target.items
        elif type(target) not in (dict, OrderedDict):
            raise DamagedError(f"expected a dict to fill, found {type(target).__name__}")
        self.update(target, items)

    def update(self, target: dict[Any, Any], items: list[Any]) -> None:
        """Sets keys and values, in turn, of a dict."""
        if len(items) % 2:
            raise DamagedError("expected a value for each key of a dict, found one without")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self.key(key)] = value

    def key(self, key: Any) -> Any:
        """Returns a key of a dict or set as it is.

        Hashes of text are salted; those of numbers and tuples can be chosen to collide, so they are counted.

        Raises:
            ArtifactError: It is none that can be hashed at once, or there are too many.
        """
        if type(key) in (str, bytes) or isinstance(key, Inert):
            return key
        parts = key if type(key) in (tuple, torch.Size) else (key,)
        if len(parts) > 16 or not all(isinstance(part, _KEYS) for part in parts):
            raise DamagedError(f"expected keys of numbers or text, found {type(key).__name__}")
        if any(type(part) is int and abs(part) >= 2**64 for part in parts):
            raise DamagedError("expected keys of at most 64 bits, found a longer one")
        self.limits.key()
        return key

    def number(self, format: str) -> Any:  # noqa: A002
        """Reads a number of a fixed length."""
        return struct.unpack(format, self.source.read(struct.calcsize(format)))[0]

    def long(self, count: int) -> int:
        """Reads a whole number of `count` bytes."""
        if not 0 <= count <= _LONGEST_INT:
            raise DamagedError(f"expected a number of at most {_LONGEST_INT} bytes, found {count}")
        return int.from_bytes(self.source.read(count), "little", signed=True)

    def text(self, count: int) -> str:
        """Reads text of `count` bytes."""
        return self.source.read(count).decode("utf-8", "backslashreplace")


def _refuse_tensorflow(origin: str) -> None:
    if origin.startswith(("dnnlib.tflib.", "tfutil.", "tensorflow.", "network.Network")):
        raise ArtifactError(
            f"expected a pickle of PyTorch, found one of the TensorFlow era ({origin}). Convert it with `legacy.py` of "
            "the original project (stylegan2-ada-pytorch or stylegan3), inside a sandbox without network: that runs "
            "code of the file"
        )
