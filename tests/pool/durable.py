"""What the tests of durability run in processes of their own: small builds that are killed, and go on.

Each job is forked off a process that has imported all, so that hundreds of kills take seconds.
"""

import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gan_augment as ga
from gan_augment.pool import SyntheticPool
from tests.helpers import Pictures, draw_by_seed, files_of

STEP = int(sys.argv[4]) if len(sys.argv) > 4 and sys.argv[4].isdigit() else 1
"""Which of the changes to the disk are tried: each, or one of so many."""

BASE = Pictures((40, 9, 5), "pil", classes=["cat", "dog", "eel"])


def synthesizer(scale: float = 1.0, calls: Callable[[], Any] = lambda: None) -> Any:
    def draw(labels: Tensor, seeds: Tensor) -> Tensor:
        calls()
        return draw_by_seed(labels, seeds) * scale

    return ga.wrap(draw, num_classes=3, image_shape=(1, 8, 8))


def selector(kind: str) -> Any:
    chosen = {
        "none": None,
        "rows": ga.CentroidSelector(agreement=False, keep_share=0.5),
        "set": ga.Compose(ga.CentroidSelector(agreement=False, keep_share=0.8), ga.DuplicateGuard()),
    }
    return chosen[kind]


def build(out: Path | None, kind: str = "rows", drawer: Any = None, **settings: Any) -> SyntheticPool:
    asked: dict[str, Any] = {"counts": {"dog": 700, "eel": 500}, "reserve": 1, "progress": False, **settings}
    return SyntheticPool.build(drawer or synthesizer(), BASE, selector(kind), out=out, **asked)


def extend(out: Path, kind: str = "rows") -> SyntheticPool:
    counts = {"dog": 300, "cat": 400}
    pool = SyntheticPool.open(out)
    return pool.extend(synthesizer(), BASE, selector(kind), counts=counts, reserve=1, progress=False)


def forked(job: Callable[[], Any]) -> int:
    """Runs a job in a process of its own; returns the number of the signal that ended it, or its exit status."""
    child = os.fork()
    if not child:
        status = 1
        try:
            job()
            status = 0
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def end(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(number: int) -> None:
    raise KeyboardInterrupt


def kill_at(number: int, by: Callable[[int], None] = end) -> None:
    """Has this process killed, or interrupted, at its nth call that changes what is on the disk."""
    calls = 0

    def counted(function: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                by(number)
            return function(*args, **kwargs)

        return run

    for name in ("replace", "fsync", "unlink", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
    for name in ("unlink", "mkdir"):
        setattr(Path, name, counted(getattr(Path, name)))


def interrupted(folder: Path, kind: str) -> None:
    """Interrupts a build at each of its changes to the disk in turn, in its own process, and lets it go on."""
    build(folder / "unbroken", kind)
    wanted, number, pending = files_of(folder / "unbroken"), 0, True
    while pending:
        number += STEP
        out = folder / f"pool-{number}"

        def job(at: int = number, out: Path = out) -> None:
            kill_at(at, interrupt)
            build(out, kind)

        pending = forked(job) != 0
        assert state(out) in ("refused", "whole 1200"), (number, state(out))
        assert forked(lambda out=out: build(out, kind)) == 0, number  # type: ignore[misc]
        assert files_of(out) == wanted, (number, sorted(files_of(out).keys() ^ wanted.keys()))
        shutil.rmtree(out)
    print(f"{number // STEP - 1} kills")


def state(out: Path) -> str:
    """Says whether a folder opens, and whether that is right."""
    try:
        return f"whole {len(SyntheticPool.open(out).candidates())}"
    except ga.ArtifactError as error:
        return "refused" if "expected" in str(error) else f"unclear: {error}"


def at_every_change(folder: Path, kind: str) -> None:
    """Kills a build at each of its changes to the disk in turn, once more while it goes on, and lets it end."""
    build(folder / "unbroken", kind)
    wanted, rng = files_of(folder / "unbroken"), random.Random(0)
    number, killed = 0, 0
    while True:
        number += STEP
        out = folder / f"pool-{number}"

        def job(at: int, out: Path = out) -> None:
            kill_at(at)
            build(out, kind)

        if forked(lambda n=number: job(n)) == 0:  # type: ignore[misc]
            break
        killed += 1
        assert state(out) in ("refused", "whole 1200"), state(out)
        forked(lambda: job(rng.randrange(1, 30)))
        assert forked(lambda out=out: build(out, kind)) == 0, number  # type: ignore[misc]
        assert files_of(out) == wanted, (number, sorted(files_of(out).keys() ^ wanted.keys()))
        shutil.rmtree(out)
    print(f"{killed} kills")


def at_random_moments(folder: Path, kind: str) -> None:
    """Kills a build again and again at random moments until it is whole."""
    build(folder / "unbroken", kind)
    wanted, rng = files_of(folder / "unbroken"), random.Random(1)
    began = time.monotonic()
    build(folder / "timed", kind)
    took = time.monotonic() - began
    killed = 0
    for attempt in range(4):
        out = folder / f"pool-{attempt}"
        while not (out / "pool.json").exists():
            child = os.fork()
            if not child:
                build(out, kind)
                os._exit(0)
            time.sleep(rng.uniform(0, 1.5 * took))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            killed += 1
            if not (out / "pool.json").exists():
                assert state(out) == "refused"
        build(out, kind)
        assert files_of(out) == wanted
    print(f"{killed} kills")


def extending(folder: Path, kind: str) -> None:
    """Kills an extension at each change: the pool stays as it was, until it is the longer one."""
    build(folder / "unbroken", kind)
    before = files_of(folder / "unbroken")
    extend(folder / "unbroken", kind)
    wanted, number = files_of(folder / "unbroken"), 0
    while True:
        number += 1
        out = folder / f"pool-{number}"
        build(out, kind)

        def job(at: int = number, out: Path = out) -> None:
            kill_at(at)
            extend(out, kind)

        if forked(job) == 0:
            break
        assert state(out) in ("whole 1200", "whole 1900"), state(out)
        assert {name: files_of(out)[name] for name in before if name != "pool.json"} == {
            name: content for name, content in before.items() if name != "pool.json"
        }
        if state(out) == "whole 1200":
            assert forked(lambda out=out: extend(out, kind)) == 0  # type: ignore[misc]
        else:
            build(out, kind)  # tidies up
        assert files_of(out) == wanted, (number, sorted(files_of(out).keys() ^ wanted.keys()))
        shutil.rmtree(out)
    print(f"{number - 1} kills")


def full_disk(folder: Path, kind: str) -> None:
    """Has the disk be full from a moment on: what was finished is kept, and the same call goes on."""
    build(folder / "unbroken", kind)
    wanted = files_of(folder / "unbroken")
    for number in range(1, 30, 6):
        calls = 0

        def count(at: int = number) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

        out = folder / f"pool-{number}"
        try:
            build(out, kind, synthesizer(calls=count))
        except ga.StorageError as error:
            print(number, "goes on from there" in str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if out.exists():
            assert state(out) == "refused"
        build(out, kind)
        assert files_of(out) == wanted


def read_only(folder: Path, _: str) -> None:
    """Builds where nothing can be written."""
    if os.getuid() == 0:
        os.setuid(65534)  # root may write into a read-only folder
    try:
        build(folder / "pool")
    except ga.StorageError as error:
        print("read-only", error.errno, list(folder.iterdir()))


def slowly(folder: Path, _: str) -> None:
    """Builds a pool that takes its time, and says when it has begun."""

    def wait() -> None:
        print("drawing", flush=True)
        time.sleep(0.2)

    build(folder / "pool", "none", synthesizer(calls=wait))


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.seterr(all="raise")
    build(None, sys.argv[3])  # all is imported before anything is killed
    globals()[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
