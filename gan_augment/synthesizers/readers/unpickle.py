"""Plain pickles, and the state dicts of modules in them, without running anything that they name."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.allowed import CALLS, VALUES
from gan_augment.synthesizers.readers.finite import check_finite
from gan_augment.synthesizers.readers.inert import Inert, told
from gan_augment.synthesizers.readers.legacy import is_legacy, read_legacy
from gan_augment.synthesizers.readers.limits import Limits
from gan_augment.synthesizers.readers.machine import Machine, Make
from gan_augment.synthesizers.readers.opcodes import run
from gan_augment.synthesizers.readers.source import DamagedError, Source, described, opened
from gan_augment.synthesizers.readers.tensors import Storage

__all__ = ["Inert", "is_checkpoint", "module_tensors", "read_pickle", "unpickled"]

_MOST_PARTS = 100_000
_MOST_CHARACTERS = 10_000_000
_LONGEST = 1_000
_DEEPEST = 100
_PASSING = "_non_persistent_buffers_set"
_COLLECTIONS = (set, frozenset, list, tuple)


def read_pickle(path: str | Path) -> Any:
    """Reads a pickle of protocol 0 to 5. Nothing that it names is imported or called.

    Numbers, text, bytes, containers, tensors and NumPy arrays come out as such, on the CPU, parameters as tensors,
    subclasses of dict and list as those where they are known, all else as `Inert`. Plain containers are finite: only
    by way of an `Inert` can one come back to where one was.

    Raises:
        ArtifactError: It cannot be opened, is damaged, asks for too much, or is another kind of file.
    """
    with opened(path) as source:
        return unpickled(source, set())


def is_checkpoint(start: bytes) -> bool:
    """Whether a file that begins so is one of `torch.save`, or a zip archive of another kind."""
    return start.startswith(b"PK") or is_legacy(start)


def unpickled(source: Source, names: set[str]) -> Any:
    """Reads a pickle from its beginning, as `read_pickle` does.

    Args:
        source: Its bytes.
        names: Where the names go that it looks up.

    Raises:
        ArtifactError: It is damaged, asks for too much, or is another kind of file.
    """
    start = source.start()
    if is_checkpoint(start):
        raise ArtifactError("expected a plain pickle, found a file of torch.save: read it as a checkpoint")
    if (found := described(start)) is not None:
        raise ArtifactError(f"expected a pickle, found {found}")
    limits = Limits(source.size)

    def storage(machine: Machine, data: Any) -> Storage:
        """What `torch.storage._load_from_bytes` reads with `torch.load`, which would run a pickle that is nested."""
        if type(data) is not bytes:
            raise DamagedError("expected the bytes of a storage, found something else")
        limits.copy(len(data))
        found = read_legacy(Source(io.BytesIO(data), len(data)), limits, names)
        if not isinstance(found, Storage):
            raise DamagedError(f"expected the bytes of a storage, found those of {told(found)}")
        return found

    calls: dict[str, Make] = {**CALLS, "torch.storage._load_from_bytes": storage}
    found = run(Machine(source, calls, VALUES, limits, names))
    check_finite(found, source.size)
    return found


def module_tensors(module: Inert) -> dict[str, Tensor]:
    """Returns the state dict of a pickled `nn.Module`.

    Parameters and buffers by their dotted names, in the order of `nn.Module.state_dict`, without buffers that are not
    persistent.

    Args:
        module: As `read_pickle` or `read_checkpoint` gives it.

    Raises:
        ArtifactError: It is no module, is too large, or contains itself.
    """
    tensors: dict[str, Tensor] = {}
    todo: list[Iterator[tuple[str, Any]]] = [iter([("", module)])]  # no more names at once than it is deep
    parts = characters = 0
    while todo:
        prefix, part = next(todo[-1], ("", None))
        if part is None:
            todo.pop()
            continue
        parts += 1 + _size(part)
        if parts > _MOST_PARTS or len(todo) > _DEEPEST or len(prefix) > _LONGEST:
            raise _too_large()
        for name, value in _own(part):
            characters += len(prefix) + len(name)
            if characters > _MOST_CHARACTERS:
                raise _too_large()
            tensors[prefix + name] = value
        todo.append(_children(prefix, part))
    return tensors


def _too_large() -> ArtifactError:
    return ArtifactError(
        f"expected a module of at most {_MOST_PARTS} parts, nested at most {_DEEPEST} deep, with names of at most "
        f"{_LONGEST} characters, found more or one that contains itself; give its state dict"
    )


def _size(module: Any) -> int:
    """Returns how many names there are to look at: a dict that many modules share is looked at for each."""
    state = _state(module)
    found = [state.get(name) for name in ("_parameters", "_buffers", "_modules", _PASSING)]
    return sum(len(part) for part in found if isinstance(part, (dict, *_COLLECTIONS)))


def _children(prefix: str, module: Any) -> Iterator[tuple[str, Any]]:
    return ((f"{prefix}{name}.", part) for name, part in _named(module, "_modules").items() if part is not None)


def _own(module: Any) -> Iterator[tuple[str, Tensor]]:
    passing = _state(module).get(_PASSING)
    passing = {name for name in passing if type(name) is str} if isinstance(passing, _COLLECTIONS) else set()
    for part in ("_parameters", "_buffers"):
        for name, value in _named(module, part).items():
            if isinstance(value, Tensor) and name not in passing:
                yield name, value


def _state(module: Any) -> dict[Any, Any]:
    state = module.state if isinstance(module, Inert) else None
    if not isinstance(state, dict):
        raise ArtifactError(f"expected a pickled module, found {told(module)}; give the network itself")
    return state


def _named(module: Any, part: str) -> dict[str, Any]:
    found = _state(module).get(part)
    if not isinstance(found, dict) or not all(type(name) is str and len(name) <= 200 for name in found):
        raise ArtifactError(f"expected a pickled module with {part}, found {told(module)}; give the network itself")
    return found
