"""Artifacts on disk: folders of safetensors and JSON that appear whole or not at all.

Nothing is ever pickled or unpickled. A folder is written beside its place and renamed into it, so a kill or
a full disk leaves no folder that looks whole.
"""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from gan_augment.errors import ArtifactError, StorageError
from gan_augment.fingerprint import FittedOn
from gan_augment.locks import try_lock

__all__ = [
    "check_names",
    "exists",
    "load_state",
    "new_folder",
    "pop_fitted_on",
    "read_json",
    "read_tensors",
    "refuse_existing",
    "storing",
    "sync_folder",
    "versions",
    "write_bytes",
    "write_json",
    "write_tensors",
]

_MAX_JSON_BYTES = 16 * 2**20
_LOCK = ".lock"
_LONGEST = 200


@contextlib.contextmanager
def storing(path: str | Path, left: str | None = None) -> Iterator[None]:
    """Turns the operating system's refusal to write into a StorageError that says what to do.

    Args:
        path: What is written.
        left: What is there after a refusal, for the message, also where a part of it was refused; None where a refusal
            leaves nothing.
    """
    try:
        yield
    except OSError as error:
        refused = error.__cause__ if isinstance(error, StorageError) else error
        if refused is not error and (left is None or not isinstance(refused, OSError)):
            raise
        raise StorageError(
            error.errno,
            f"could not write {path}: {refused.strerror or refused}; {left or 'nothing half-written was left behind'}. "
            "Free some space or give a folder that can be written to, and run it again",
        ) from refused


def refuse_existing(folder: str | Path, what: str) -> None:
    """Raises if `folder` already holds something: nothing of the user's is overwritten.

    Raises:
        ArtifactError: It exists and is not an empty folder, or cannot be the name of a folder.
    """
    folder = Path(folder)
    try:
        usable = (
            folder.name not in ("", "..")
            and "\0" not in str(folder)
            and not folder.is_symlink()
            and len(os.fsencode(folder.name)) <= _LONGEST
        )
        folder.exists()
    except (ValueError, OSError):
        usable = False
    if not usable:
        raise ArtifactError(f"expected the name of a new folder for the {what}, found {str(folder)!r}; give another")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ArtifactError(
            f"expected {folder} not to exist yet, found something there; "
            f"give another folder for the {what}, or delete that one"
        )


@contextlib.contextmanager
def new_folder(folder: str | Path, what: str) -> Iterator[Path]:
    """Gives a hidden folder beside `folder` to write in, and renames it to `folder` when all went well.

    The hidden folder is locked while it is written; one that a killed process left behind is not, and is removed by
    the next that writes to the same place.

    Raises:
        ArtifactError: `folder` already exists and is not empty.
        StorageError: The disk refused; what was written is removed.
    """
    folder = Path(folder)
    refuse_existing(folder, what)
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        with storing(folder):
            lock = open(work / _LOCK, "wb")  # noqa: SIM115  (held while the folder is written)
        with lock:
            try_lock(lock)
            yield work
            with storing(folder):
                (work / _LOCK).unlink()
                sync_folder(work)
                os.chmod(work, 0o777 & ~_umask())
                _put_in_place(work, folder, what)
                sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _put_in_place(work: Path, folder: Path, what: str) -> None:
    try:
        os.replace(work, folder)
    except OSError:
        refuse_existing(folder, what)  # somebody else was faster
        raise


def _remove_stale(folder: Path) -> None:
    """Removes what killed processes left of earlier attempts to write `folder`."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with contextlib.suppress(OSError), open(path / _LOCK, "rb") as lock:
            if try_lock(lock):
                shutil.rmtree(path, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Has the names of a folder's files survive a power cut, where the file system can."""
    with contextlib.suppress(OSError):  # not every file system syncs folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file beside its place, syncs it and renames it into place."""
    beside = path.with_name(f".{path.name.lstrip('.')}.{os.getpid()}.partial")
    with storing(path):
        try:
            with open(beside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Writes named tensors as safetensors, whole or not at all, and returns the SHA-256 of the file."""
    content = save_bytes(_apart(tensors))
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors on the CPU, each with memory of its own: shared memory (tied weights) cannot be stored."""
    kept: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        kept[name] = own.clone() if place in taken else own
        taken.add(place)
    return kept


def exists(path: str | Path) -> bool:
    """Tells whether something is there; not where the name is one that nothing can have."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def check_names(names: Any, what: str) -> list[str]:
    """Returns names out of a file as they are.

    Raises:
        ValueError: They are no list of distinct strings.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{what} {names!r:.80}")
    return names


def read_json(path: str | Path, kind: str, version: int, *, oldest: int = 1) -> dict[str, Any]:
    """Reads an artifact's JSON and checks that it is of this kind and version.

    Args:
        path: The file.
        kind: What its "kind" must be, such as "gan_augment synthesizer".
        version: The newest "version" that this library reads.
        oldest: The oldest one.

    Raises:
        ArtifactError: It is missing, damaged, of another kind or of another version.
    """
    path = Path(path)
    if not _is_file(path):
        raise ArtifactError(f"expected a {kind} in {path.parent}, found no {path.name} there")
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise ArtifactError(
            f"expected {path} to be at most {_MAX_JSON_BYTES >> 20} MiB, found {path.stat().st_size} bytes"
        )
    try:
        value: dict[str, Any] = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError, OSError) as error:
        raise ArtifactError(f"expected JSON in {path}, found something else ({error}); the file is damaged") from None
    found = value.get("kind") if isinstance(value, dict) else None
    if found != kind:
        raise ArtifactError(f"expected {path} to describe a {kind}, found kind {found!r}")
    own = value.get("version")
    if not isinstance(own, int) or not oldest <= own <= version:
        wanted = f"{oldest} to {version}" if oldest < version else str(version)
        old = isinstance(own, int) and own < oldest
        newer = "a newer release of gan_augment is needed to read it"
        told = "it was written by an older release: make it anew" if old else newer
        raise ArtifactError(f"expected {path} to be of version {wanted}, found {own!r}; {told}")
    return value


def pop_fitted_on(tensors: dict[str, Tensor], path: str | Path) -> FittedOn:
    """Takes what an artifact was fitted on out of what `read_tensors` read.

    Raises:
        ArtifactError: It is no column of int64.
    """
    complete = tensors.pop("fitted_on_others", None) is None
    taken = {name: tensors.pop(name, torch.empty(0, dtype=torch.int64)) for name in ("fitted_on", "groups")}
    for name, hashes in taken.items():
        if hashes.ndim != 1 or hashes.dtype != torch.int64:
            raise ArtifactError(f"expected {name} to be hashes in {path}, found {hashes.dtype} {tuple(hashes.shape)}")
    return FittedOn(taken["fitted_on"].numpy(), taken["groups"].numpy(), complete)


def read_tensors(path: str | Path, most: int | None = None) -> dict[str, Tensor]:
    """Reads safetensors.

    Args:
        path: The file.
        most: Bytes that it may have; None for any number.

    Raises:
        ArtifactError: It is missing, truncated, too large or no safetensors file.
    """
    path = Path(path)
    if not _is_file(path):
        raise ArtifactError(f"expected weights in {path}, found no such file")
    if most is not None and path.stat().st_size > most:
        raise ArtifactError(f"expected at most {most} bytes in {path}, found {path.stat().st_size}; it is damaged")
    try:
        return load_bytes(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, RuntimeError, OSError) as error:
        raise ArtifactError(f"expected safetensors in {path}, found a damaged file ({error})") from None


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str, *, adopt: bool = False) -> None:
    """Loads a state dict, and shows which keys and shapes differ where the architecture is another one.

    Args:
        module: Where it goes.
        state: Named tensors.
        what: What the module is, for messages.
        adopt: Take the tensors themselves instead of copying them: for a module that was built on the meta device, so
            that a description that asks for absurd sizes takes no memory.

    Raises:
        ArtifactError: Names keys missing, keys left over, shapes and types that differ, and values not finite.
    """
    own = module.state_dict()
    both = sorted(own.keys() & state.keys())
    alike = [name for name in both if own[name].dtype == state[name].dtype]  # others may not know what is finite
    parts = {
        "missing": sorted(own.keys() - state.keys()),
        "not expected": sorted(state.keys() - own.keys()),
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in both
            if own[name].shape != state[name].shape
        ],
        "of another type": [
            f"{name} {state[name].dtype} instead of {own[name].dtype}" for name in both if name not in alike
        ],
        "not finite": [name for name in alike if not state[name].isfinite().all()],
    }
    told = "; ".join(f"{len(names)} {why}: {_some(names)}" for why, names in parts.items() if names)
    if told:
        raise ArtifactError(
            f"expected weights of the architecture of {what}, found others: {told}. Give weights that were saved with "
            "the same recipe, settings, classes and image shape, or build the networks with those of the weights"
        )
    module.load_state_dict(dict(state), assign=adopt)


def _some(names: list[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def versions() -> dict[str, str]:
    """Returns the versions of what stands behind an artifact, to be written beside it."""
    import platform
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        "gan_augment": version("gan_augment"),
        "torch": str(torch.__version__),
        "numpy": version("numpy"),
    }
