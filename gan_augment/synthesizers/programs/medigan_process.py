"""The process that runs a medigan package, and the package unpacked for it."""

import contextlib
import hashlib
import json
import os
import shutil
import site
import stat
import subprocess
import sys
import tempfile
import threading
import weakref
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from queue import Empty, Queue
from typing import Any

import numpy as np

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.synthesizers.programs.call import file_size

__all__ = ["Worker"]

_WHAT = "the zip of a medigan model"
_MOST_ENTRIES = 20_000
_MOST_IMAGE = 2**30
_MOST_REPLY = 2**16
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES")
_TAIL = 2000


class Worker:
    """The process that runs a package, and its temporary folder."""

    def __init__(self, package: Path, sha256: str, entry: dict[str, Any], threads: int, most_bytes: int) -> None:
        self.pid = os.getpid()
        self._open, self.tail = True, ""
        self._entry = entry
        self._folder = Path(tempfile.mkdtemp(prefix="medigan-"))
        try:
            work = self._folder / "work"
            target = work / "models" / entry["model_id"]
            target.mkdir(parents=True)
            (work / "output").mkdir()
            _unpack(package, sha256, target, most_bytes)
            for folder in (work / "models", target):
                (folder / "__init__.py").touch()
            self._errors = open(self._folder / "errors", "ab")  # noqa: SIM115  (as long as the process)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-B", str(Path(__file__).with_name("medigan_worker.py"))],
                cwd=work,
                env=_environment(self._folder, threads),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._replies: Queue[bytes] = Queue()
        threading.Thread(target=_listen, args=(self._process.stdout, self._replies), daemon=True).start()
        self._end = weakref.finalize(self, _end, self.pid, self._process, self._errors, self._folder)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._open and self._process.poll() is None

    def draw(self, seed: int, extra: dict[str, Any], time_limit: float) -> Any:
        """Returns the image `(C, H, W)` that the package draws."""
        file = self._folder / "image.npy"
        file.unlink(missing_ok=True)
        self._errors.truncate(0)
        request = {
            "load": {name: self._entry[name] for name in ("model_id", "package", "function", "weights")},
            "arguments": {**self._entry["arguments"], **extra},
            "seed": seed,
            "file": str(file),
        }
        try:
            assert self._process.stdin is not None
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
            line = self._replies.get(timeout=time_limit)
        except (OSError, Empty) as error:
            why = f"none after {time_limit:g} s" if isinstance(error, Empty) else "a process that ended"
            raise self._failed(why) from None
        if not line:
            raise self._failed("a process that ended")
        return self._answer(line, file)

    def _answer(self, line: bytes, file: Path) -> Any:
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if isinstance(reply, dict) and "missing" in reply:
            self.close()
            raise ConfigError(
                f"expected what {self._entry['model_id']} needs, found no Python package {reply['missing']!s:.80}; "
                "install it yourself. The model's description asks for "
                f"{', '.join(self._entry['dependencies']) or 'none'}"
            )
        if not isinstance(reply, dict) or reply.get("done") is not True:
            raise self._failed(
                f"{reply['failed']!s:.300}" if isinstance(reply, dict) and "failed" in reply else "garbage"
            )
        try:
            size = file.stat().st_size
            if file.is_symlink() or size > _MOST_IMAGE:
                raise ValueError(f"{size} bytes")
            image = np.array(np.load(file, mmap_mode="r", allow_pickle=False))
            if image.ndim != 3 or image.dtype.kind not in "uifb":
                raise ValueError(f"{image.dtype} {image.shape}")
        except (ValueError, OSError, EOFError) as error:
            raise self._failed(f"no image ({error!s:.200})") from None
        return image

    def _failed(self, why: str) -> SynthesizerError:
        self.close()
        tail = self.tail
        return SynthesizerError(
            f"expected images from {self._entry['model_id']}, found {why}"
            + (f"; it last wrote:\n{tail}" if tail else "")
        )

    def close(self) -> None:
        """Kills the process and removes its folder."""
        if not self._open:
            return
        self._open = False
        with open(self._folder / "errors", "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            self.tail = file.read().decode(errors="replace").strip()
        self._end()


def _listen(stream: Any, replies: "Queue[bytes]") -> None:
    while line := stream.readline(_MOST_REPLY):
        replies.put(line)
    replies.put(b"")
    stream.close()


def _end(pid: int, process: "subprocess.Popen[bytes]", errors: Any, folder: Path) -> None:
    """Kills a process with all that it started; not where a fork only inherited it."""
    if os.getpid() != pid:
        return
    try:
        os.killpg(process.pid, 9)
    except (AttributeError, OSError):  # no groups on this system, or it ended
        process.kill()
    process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    errors.close()
    shutil.rmtree(folder, ignore_errors=True)


def _environment(home: Path, threads: int) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    users = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}
    count = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    return {**kept, **users, **count, "HOME": str(home), "TMPDIR": str(home), "PYTHONHASHSEED": "0"}


def _unpack(package: Path, sha256: str, target: Path, most_bytes: int) -> None:
    """Checks a zip's hash, and unpacks it after checking every name and size."""
    file_size(package, _WHAT, most_bytes)
    with open(package, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise ArtifactError(
                f"expected {package} of SHA-256 {sha256}, found {found}; download it again, or pin this one"
            )
        try:
            with zipfile.ZipFile(file) as archive:
                for entry in _checked(archive, package, most_bytes):
                    place = target / entry.filename
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entry) as source, open(place, "xb") as sink:
                        shutil.copyfileobj(source, sink, 2**20)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            ValueError,
            RuntimeError,
        ) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"expected {_WHAT} in {package}, found a damaged one ({error!s:.200})") from None


def _checked(archive: zipfile.ZipFile, package: Path, most_bytes: int) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_ENTRIES or total > most_bytes:
        raise ArtifactError(
            f"expected {package} to unpack to at most {most_bytes} bytes, found {total} in {len(entries)}"
        )
    seen = set()
    files = []
    for entry in entries:
        path = PurePosixPath(entry.filename)
        mode = entry.external_attr >> 16
        odd = path.is_absolute() or ".." in path.parts or any(mark in entry.filename for mark in "\\:\0")
        kind = stat.S_IFMT(mode)
        if odd or not path.parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR) or str(path).casefold() in seen:
            raise ArtifactError(
                f"expected plain, distinct files in {package}, found {entry.filename!r:.80}; it may be made to do harm"
            )
        seen.add(str(path).casefold())
        if not entry.is_dir():
            files.append(entry)
    return files
