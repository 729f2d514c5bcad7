"""Files as `torch.save` wrote them before zip archives: pickles in a row, then the bytes of the storages."""

import struct
from collections.abc import Callable
from typing import Any

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.allowed import CALLS, VALUES
from gan_augment.synthesizers.readers.inert import Inert, told
from gan_augment.synthesizers.readers.limits import Limits
from gan_augment.synthesizers.readers.machine import Machine
from gan_augment.synthesizers.readers.opcodes import run
from gan_augment.synthesizers.readers.source import DamagedError, Source
from gan_augment.synthesizers.readers.tensors import STORAGES, Storage, check_bools, empty_storage, whole

__all__ = ["is_legacy", "read_legacy", "storage_dtype"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PICKLED = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."
_VERSION = 1001


def read_legacy(source: Source, limits: Limits, names: set[str]) -> Any:
    """Returns what a file holds.

    Args:
        source: The file, from its beginning.
        limits: What may be taken.
        names: Where the names go that it looks up.

    Raises:
        ArtifactError: It is damaged, or asks for too much.
    """
    storages = _Storages(source.size)

    def read(persistent: Callable[[Any], Any]) -> Any:
        return run(Machine(source, CALLS, VALUES, limits, names, persistent))

    magic, version, system = (read(storages.refuse) for _ in range(3))
    if type(magic) is not int or magic != _MAGIC:
        raise DamagedError(f"expected a file of torch.save, found one that begins with {told(magic)}")
    if type(version) is not int or version != _VERSION or type(system) is not dict:
        raise DamagedError(f"expected a file of torch.save of version {_VERSION}, found {told(version)}")
    if system.get("little_endian") is not True:
        raise ArtifactError("expected numbers whose lowest byte comes first, found big-endian ones; save it anew")
    found = read(storages.find)
    storages.fill(source, read(storages.refuse))
    return found


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins so is one."""
    return start[:1] == b"\x80" and _PICKLED in start[:32]


def storage_dtype(kind: Any) -> Any:
    """Returns the type of the elements of a storage class.

    Raises:
        ArtifactError: It is none of plain numbers.
    """
    module, _, name = kind.origin.rpartition(".") if isinstance(kind, Inert) else ("", "", "")
    if module not in ("torch", "torch.storage", "torch.cuda") or name not in STORAGES:
        raise ArtifactError(f"expected a storage of plain numbers, found {told(kind)}; dequantise it and save it anew")
    return STORAGES[name]


class _Storages:
    """Storages that the pickle refers to, and that come after it.

    Args:
        most: Bytes that they can have in all.
    """

    def __init__(self, most: int) -> None:
        self.left = most
        self.found: dict[str, tuple[Storage, memoryview]] = {}

    @staticmethod
    def refuse(saved: Any) -> Any:
        raise DamagedError("expected plain values, found one that is stored elsewhere")

    def find(self, saved: Any) -> Any:
        """Returns what a pickle refers to: a storage, still without content, or the class of a module."""
        if type(saved) is not tuple or not saved or type(saved[0]) is not str:
            raise DamagedError("expected a reference to a storage, found something else")
        if saved[0] == "module" and len(saved) == 4:
            return saved[1]
        if saved[0] != "storage" or len(saved) != 6 or type(saved[2]) is not str:
            raise DamagedError("expected a reference to a storage, found something else")
        _, kind, key, _, count, view = saved
        if view is not None:
            raise ArtifactError("expected storages that are whole, found a view of one; save it with a newer torch")
        dtype = storage_dtype(kind)
        if not whole(count):
            raise DamagedError("expected the number of elements of a storage, found something else")
        if key not in self.found:
            nbytes = count * dtype.itemsize
            self.left -= nbytes
            if self.left < 0:
                raise DamagedError(f"expected storages no larger than the file, found one of {nbytes} bytes")
            self.found[key] = empty_storage(nbytes, dtype)
        storage = self.found[key][0]
        if storage.dtype != dtype or storage.raw.numel() != count * dtype.itemsize:
            raise DamagedError("expected each storage to be of one size and type, found two")
        return storage

    def fill(self, source: Source, keys: Any) -> None:
        """Reads the contents, in the order of `keys`."""
        if type(keys) is not list or len(keys) != len(self.found) or {*map(_text, keys)} != self.found.keys():
            raise DamagedError("expected each storage once, found others")
        for key in keys:
            storage, view = self.found[key]
            (count,) = struct.unpack("<q", source.read(8))
            if count * storage.dtype.itemsize != len(view):
                raise DamagedError(f"expected a storage of {len(view)} bytes, found {count} elements")
            source.fill(view)
            check_bools(storage)


def _text(key: Any) -> str:
    if type(key) is not str:
        raise DamagedError("expected the names of storages, found something else")
    return key
