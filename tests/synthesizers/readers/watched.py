"""Reads the files of a folder in a process of its own, where whatever a reader must not do is noted and forbidden.

    python -m tests.synthesizers.readers.watched FOLDER [MIB]

writes a JSON object: for each file "read", "refused: MESSAGE", "leaked: ERROR", with what was forbidden in front. With
MIB, no more address space than that can be had beyond what the process had before.
"""

import json
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import torch

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.archive import globals_of, read_any
from gan_augment.synthesizers.readers.inert import Inert
from gan_augment.synthesizers.readers.unpickle import module_tensors

_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.rename", "os.mkdir", "os.chmod", "os.putenv",
    "subprocess.", "socket.", "exec", "compile", "import", "pickle.", "marshal.", "ctypes.", "shutil.", "urllib.",
    "webbrowser.", "code.", "builtins.input", "object.__setattr__", "setopencodehook", "sys.",
)  # fmt: skip
_WRITING = 0o3  # flags of open
seen: list[str] = []
watching: list[bool] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not watching:
        return
    writes = event == "open" and bool(args[2] & _WRITING or set(str(args[1])) & set("wax+"))
    if writes or event.startswith(_FORBIDDEN):
        seen.append(f"{event} {args!r:.100}")
        raise PermissionError(f"forbidden: {event}")


def _believed(path: Path) -> Any:
    """Reads a pickle as nobody should: to show that the watch sees what runs."""
    return pickle.loads(path.read_bytes())


def _outcome(path: Path) -> str:
    seen.clear()
    watching.append(True)
    try:
        tree = (_believed if path.name.startswith("trap") else read_any)(path)
        repr(tree)
        if not path.name.startswith("mutants"):
            globals_of(path)
        for value in tree.values() if isinstance(tree, dict) else [tree]:
            if isinstance(value, Inert):
                module_tensors(value)
        outcome = "read"
    except ArtifactError as error:
        outcome = f"refused: {error}"
    except BaseException as error:
        outcome = f"leaked: {type(error).__name__}: {error}"
    finally:
        watching.clear()
    return "; ".join([*(f"forbidden: {event}" for event in seen), outcome])


def main(folder: str, mebibytes: str | None = None) -> None:
    torch.set_num_threads(1)
    sys.addaudithook(_watch)
    paths = sorted(Path(folder).iterdir())
    for path in paths:
        if path.name.startswith("warm"):
            repr(read_any(path))  # what torch and NumPy import when they are first used is not the reader's doing
    if mebibytes:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (int(mebibytes) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    outcomes, seconds = {}, {}
    for path in paths:
        start = time.perf_counter()
        outcomes[path.name] = _outcome(path)
        seconds[path.name] = time.perf_counter() - start
    print(json.dumps({"outcomes": outcomes, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
