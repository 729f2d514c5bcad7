"""Files of `torch.save`, zip archives and older ones, without running anything that they name."""

import io
from pathlib import Path
from typing import Any

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.allowed import CALLS, VALUES
from gan_augment.synthesizers.readers.finite import check_finite
from gan_augment.synthesizers.readers.inert import told
from gan_augment.synthesizers.readers.legacy import is_legacy, read_legacy, storage_dtype
from gan_augment.synthesizers.readers.limits import Limits
from gan_augment.synthesizers.readers.machine import Machine
from gan_augment.synthesizers.readers.opcodes import run
from gan_augment.synthesizers.readers.source import DamagedError, Source, described, opened
from gan_augment.synthesizers.readers.tensors import Storage, check_bools, empty_storage, whole
from gan_augment.synthesizers.readers.unpickle import is_checkpoint, unpickled
from gan_augment.synthesizers.readers.zipped import Archive, check_sum

__all__ = ["globals_of", "read_any", "read_bytes", "read_checkpoint"]

_PICKLE = "data.pkl"


def read_checkpoint(path: str | Path) -> Any:
    """Reads a file of `torch.save`. Nothing that it names is imported or called.

    What comes out is as of `gan_augment.synthesizers.readers.unpickle.read_pickle`.

    Raises:
        ArtifactError: It cannot be opened, is damaged, asks for too much, or is another kind of file.
    """
    with opened(path) as source:
        return _checkpoint(source, set())


def read_bytes(data: bytes) -> Any:
    """Reads what was stored by `torch.save` within another file; see `read_checkpoint`."""
    return _checkpoint(Source(io.BytesIO(data), len(data)), set())


def read_any(path: str | Path) -> Any:
    """Reads a file of `torch.save` or a plain pickle, whichever it is.

    Raises:
        ArtifactError: It cannot be opened, is damaged, asks for too much, or is another kind of file.
    """
    with opened(path) as source:
        return _any(source, set())


def globals_of(path: str | Path) -> list[str]:
    """Returns the names of all classes and functions that a file names, sorted.

    Raises:
        ArtifactError: As `read_any`.
    """
    names: set[str] = set()
    with opened(path) as source:
        _any(source, names)
    return sorted(names)


def _any(source: Source, names: set[str]) -> Any:
    return (_checkpoint if is_checkpoint(source.start()) else unpickled)(source, names)


def _checkpoint(source: Source, names: set[str]) -> Any:
    start, limits = source.start(), Limits(source.size)
    if start.startswith(b"PK"):
        found = _zipped(Archive(source), limits, names)
    elif is_legacy(start):
        found = read_legacy(source, limits, names)
    else:
        what = described(start) or f"another that begins with {start[:8]!r}; give a checkpoint such as a .pt or .pth"
        raise ArtifactError(f"expected a file of torch.save, found {what}")
    check_finite(found, source.size)
    return found


def _zipped(archive: Archive, limits: Limits, names: set[str]) -> Any:
    folder = _folder(archive)
    archive.check_stored()
    order = f"{folder}/byteorder"
    if order in archive.members and archive.read(order, 100) != b"little":
        raise ArtifactError("expected numbers whose lowest byte comes first, found big-endian ones; save it anew")
    storages: dict[str, Storage] = {}

    def find(saved: Any) -> Storage:
        if type(saved) is not tuple or len(saved) != 5 or not type(saved[0]) is type(saved[2]) is str:
            raise DamagedError("expected a reference to a storage, found something else")
        what, kind, key, _, count = saved
        dtype = storage_dtype(kind)
        if key not in storages:
            storages[key] = _storage(archive, f"{folder}/data/{key}", dtype)
        storage = storages[key]
        if (
            what != "storage"
            or not whole(count)
            or storage.dtype != dtype
            or count * dtype.itemsize != storage.raw.numel()
        ):
            raise DamagedError(f"expected a storage of {storage.raw.numel()} bytes, found {told(count)} elements")
        return storage

    data = archive.read(f"{folder}/{_PICKLE}", archive.source.size)
    return run(Machine(Source(io.BytesIO(data), len(data)), CALLS, VALUES, limits, names, find))


def _storage(archive: Archive, name: str, dtype: Any) -> Storage:
    source, member = archive.open(name)
    storage, view = empty_storage(member.size, dtype)
    source.fill(view)
    check_sum(member, view)
    check_bools(storage)
    return storage


def _folder(archive: Archive) -> str:
    """Returns the folder that holds the pickle.

    Raises:
        ArtifactError: It is an archive of another kind.
    """
    names = archive.members
    tops = {name.split("/")[0] for name in names}
    if any(name.split("/")[1:2] in (["code"], ["constants.pkl"]) for name in names):
        raise ArtifactError(
            "expected weights, found a TorchScript archive, which is a program. Give trust=True to run it if you trust "
            "who made it, or its state dict"
        )
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        raise ArtifactError("expected weights, found an archive of torch.export (.pt2); load it as such")
    folders = [name.removesuffix(f"/{_PICKLE}") for name in names if name.split("/")[1:] == [_PICKLE]]
    if len(folders) != 1 or len(tops) != 1:
        raise ArtifactError("expected a zip archive of torch.save, found another kind; give the checkpoint itself")
    return folders[0]
