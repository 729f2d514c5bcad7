"""Getting weights: a path, a repository of the Hugging Face Hub, or a file on the web."""

import contextlib
import errno
import fnmatch
import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from tqdm import tqdm

from gan_augment.errors import ArtifactError, ConfigError, StorageError, whole
from gan_augment.synthesizers.fetching.provenance import file_sha256, source_of
from gan_augment.synthesizers.fetching.web_cache import fetch_from_web

__all__ = ["FILES_OF_WEIGHTS", "HUB_ID", "SUFFIXES", "fetch", "hub_errors"]

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""user/name of a repository."""

SUFFIXES = (".pkl", ".pt", ".pth", ".bin", ".ckpt", ".model", ".safetensors", ".onnx", ".pt2")
"""Of files of weights."""

FILES_OF_WEIGHTS = (
    *(f"*{suffix}" for suffix in SUFFIXES),
    *("*.onnx.data", "*.json", "*.yaml", "*.yml", "README.md", "LICENSE*"),
)
"""Which files of a repository are downloaded, as patterns."""

_MOST_LOCAL = 2**35

_CODE = ("*.py", "*.pyc", "*.pyd", "*.so", "*.dll", "*.dylib", "*.sh")
"""Never downloaded, whatever is asked for: nothing here runs it."""

_DISK = (errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))
_MAX_BYTES = 20 * 10**9
_TAKEN = "a path, hf://user/name, hf://user/name/file, https://host/file (http:// of this machine only)"


def fetch(
    address: str | Path,
    *,
    sha256: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    progress: bool = True,
    files: Sequence[str] | None = None,
    max_bytes: int = _MAX_BYTES,
    timeout: float = 30.0,
) -> Path:
    """Returns where weights lie on this machine, after downloading them if they are not here yet.

    What is in a cache is used again. A download that broke off, or was killed, is gone on with by the next call, and
    never looks whole. A file from the web is used from the cache without reaching for the network, and is checked
    against its hash each time; one that has a newer version at its address stays until its folder is deleted.

    Args:
        address: A path, which is returned as it is; `hf://user/name` for a folder of the files of a repository of the
            Hugging Face Hub, `hf://user/name/path/in/repository.pth` for one of them, in both cases with a branch, tag
            or commit as `hf://user/name@revision`; or `https://host/file`.
        sha256: What the file's SHA-256 must be, 64 hexadecimal digits.
        revision: Of a repository, instead of `@revision`.
        token: Of the Hub, and sent nowhere else; None for the one that `hf auth login` stored.
        cache_dir: Where downloads are kept; None for the Hub's own cache, and for others `downloads` in
            $GAN_AUGMENT_CACHE or in gan_augment in the user's cache.
        local_files_only: Take what was downloaded before and reach for no network.
        progress: Whether to show a bar on a terminal.
        files: Patterns of the files of a repository that are wanted, such as "*.safetensors"; None for
            `FILES_OF_WEIGHTS`. Programs are never downloaded.
        max_bytes: Most bytes of all wanted files together.
        timeout: Seconds that a server of the web may stay silent.

    Raises:
        ArtifactError: It is not there, cannot be reached, is too large, or is another file than `sha256` says.
        ConfigError: The address or a parameter cannot work.
        StorageError: The disk refused.
    """
    text, max_bytes = str(address), whole("max_bytes=", max_bytes)
    wanted = None if sha256 is None else _hash(sha256)
    cache = None if cache_dir is None else Path(cache_dir)
    scheme = "" if isinstance(address, Path) else text.partition("://")[0].lower() if "://" in text else ""
    if scheme != "hf" and (files is not None or revision is not None):
        name = "files=" if files is not None else "revision="
        raise ConfigError(f"expected {name} with a repository hf://user/name, found it with {source_of(text)!r:.200}")
    if scheme == "":
        return _local(Path(address), wanted, progress)
    if scheme in ("http", "https"):
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout < 10**6:
            raise ConfigError(f"expected timeout= in seconds above 0, found {timeout!r}")
        return fetch_from_web(
            text,
            sha256=wanted,
            cache_dir=cache,
            local_files_only=local_files_only,
            progress=progress,
            max_bytes=max_bytes,
            timeout=timeout,
        )
    if scheme != "hf":
        raise ConfigError(f"expected {_TAKEN}; found {source_of(text)!r:.200}")
    repo, branch, path = _parsed(text, revision)
    if path is not None and files is not None:
        raise ConfigError("expected files= with a repository hf://user/name, found it with one file")
    if path is None and wanted is not None:
        raise ConfigError(f"expected sha256= with one file, such as {text}/weights.pkl, found it with a repository")
    allow = [*(FILES_OF_WEIGHTS if files is None else files)] if path is None else [glob.escape(path)]
    asked = {"revision": branch, "token": token}
    with hub_errors(f"expected weights at {text}", ArtifactError):
        folder = _snapshot(repo, allow, asked, cache, local_files_only, progress, max_bytes)
    if path is None:
        return folder
    if wanted is not None and (found := file_sha256(folder / path, progress)) != wanted:
        raise ArtifactError(
            f"expected a file of SHA-256 {wanted} at {text}, found {found}; check sha256= and the revision (a commit "
            "is what stays the same)"
        )
    return folder / path


def _hash(sha256: str) -> str:
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ConfigError(f"expected sha256= of 64 hexadecimal digits, found {sha256!r:.80}")
    return sha256.lower()


def _local(path: Path, sha256: str | None, progress: bool) -> Path:
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        there = folder = False
    if not there:
        hint = f" (did you mean hf://{path}?)" if HUB_ID.fullmatch(str(path)) else ""
        raise ArtifactError(f"expected {_TAKEN}; found {str(path)!r:.200}, and nothing is there{hint}")
    if not folder and not path.is_file():
        raise ArtifactError(f"expected a file or folder at {path}, found a pipe, socket or device; give a file")
    if not folder and path.stat().st_size > _MOST_LOCAL:
        raise ArtifactError(f"expected a file of at most {_MOST_LOCAL >> 30} GiB at {path}, found a larger one")
    if sha256 is None:
        return path
    if folder:
        raise ConfigError(f"expected sha256= with a file, found the folder {path}")
    if (found := file_sha256(path, progress)) != sha256:
        raise ArtifactError(f"expected a file of SHA-256 {sha256} at {path}, found {found}; it is another file")
    return path


# -- the Hugging Face Hub ---------------------------------------------------------------------------------------------


def _parsed(address: str, revision: str | None) -> tuple[str, str | None, str | None]:
    """Returns the repository, revision and path of hf://user/name@revision/path."""
    match = re.fullmatch(rf"hf://({HUB_ID.pattern})(?:@([^/@]+))?(?:/(.*))?", address, re.ASCII | re.IGNORECASE)
    if match is None or match[1].partition("/")[0] in ("datasets", "spaces", "models", "buckets"):
        raise ConfigError(
            "expected hf://user/name, hf://user/name@revision or hf://user/name/file of a model, found "
            f"{address!r:.200}"
        )
    branch, path = match[2] and unquote(match[2]), match[3] or None
    if branch and revision and branch != revision:
        raise ConfigError(f"expected one revision, found @{branch} in the address and revision={revision!r}")
    if path is not None:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\\" in path or not path.isprintable():
            raise ConfigError(f"expected the path of a file in {match[1]}, found {path!r:.200}")
        if _any(path.lower(), _CODE):
            raise ConfigError(f"expected a file of weights in {match[1]}, found {path!r:.200}: programs are not taken")
    return match[1], branch or revision, path


def _snapshot(
    repo: str,
    allow: Sequence[str],
    asked: dict[str, Any],
    cache: Path | None,
    local_files_only: bool,
    progress: bool,
    max_bytes: int,
) -> Path:
    """Downloads the wanted files of a repository through the Hub's client, into its cache."""
    from huggingface_hub import constants, snapshot_download

    allow = [f"{pattern}*" if pattern.endswith("/") else pattern for pattern in allow]  # as the Hub's client reads it

    def chosen(names: Iterable[str]) -> list[str]:
        return [n for n in names if _any(n, allow) and not _any(n, _CODE)]

    sizes: dict[str, int] = {}
    if not local_files_only and not constants.HF_HUB_OFFLINE:
        sizes = _sizes(repo, asked)
        if sizes and not chosen(sizes):
            raise _none_of(allow, repo, sizes)
        total = sum(sizes[name] for name in chosen(sizes))
        if total > max_bytes:
            raise ArtifactError(
                f"expected at most {max_bytes:,} bytes in the wanted files of {repo}, found {total:,}; choose some "
                "with files=, or give max_bytes= to allow it"
            )
    folder = Path(
        snapshot_download(
            repo,
            **asked,
            cache_dir=cache,
            local_files_only=local_files_only,
            allow_patterns=allow,
            ignore_patterns=list(_CODE),
            library_name="gan_augment",
            tqdm_class=_Bar if progress else _Silent,
        )
    )
    there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    if not chosen(there):
        raise _none_of(allow, repo, there)
    return folder


def _none_of(allow: Iterable[str], repo: str, there: Iterable[str]) -> ArtifactError:
    has = ", ".join(sorted(there)[:10]) or "nothing"
    return ArtifactError(
        f"expected {', '.join(allow)} in {repo}, found {has:.500}; check the path, the revision and files="
    )


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _sizes(repo: str, asked: dict[str, Any]) -> dict[str, int]:
    """Returns how many bytes each file of a repository has; empty where the Hub cannot be asked."""
    from huggingface_hub import HfApi

    with contextlib.suppress(*_hub_failures()):  # the download tells why, or finds all in the cache
        api = HfApi(token=asked["token"], library_name="gan_augment")
        found = api.model_info(repo, revision=asked["revision"] or "main", files_metadata=True).siblings or []
        return {file.rfilename: file.size or 0 for file in found}
    return {}


class _Bar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
    """A bar on a terminal, and nowhere else."""

    hidden: bool | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("name", None)  # of the Hub's own bars
        super().__init__(*args, **{**kwargs, "disable": self.hidden})


class _Silent(_Bar):
    """A bar that is not shown."""

    hidden = True


def _hub_failures() -> tuple[type[Exception], ...]:
    """Returns what the Hub's client raises.

    A failed connection is an OSError of older clients; of newer ones it is of the kind HfHubHTTPError derives from.
    """
    from huggingface_hub import errors

    return cast(tuple[type[Exception], ...], (OSError, ValueError, *errors.HfHubHTTPError.__bases__))


@contextlib.contextmanager
def hub_errors(what: str, error: type[ArtifactError] | type[StorageError]) -> Iterator[None]:
    """Turns what the Hub's client raises into an error that says what to do.

    Args:
        what: What was expected, the beginning of the message.
        error: What is raised.
    """
    from huggingface_hub import errors

    advice = {
        errors.GatedRepoError: "ask for access on its page, and give token=",
        errors.RepositoryNotFoundError: "check the name; a private one needs token= or `hf auth login`",
        errors.RevisionNotFoundError: "check revision=",
        errors.LocalEntryNotFoundError: "check the connection; offline, only what was downloaded before is found: "
        "leave out local_files_only=True and unset HF_HUB_OFFLINE to download",
    }
    try:
        yield
    except (ArtifactError, ConfigError, StorageError):
        raise
    except _hub_failures() as caught:
        if isinstance(caught, OSError) and caught.errno in _DISK:
            raise StorageError(
                caught.errno, f"{what}, found {caught.strerror}; free some space, and try again"
            ) from caught
        todo = next((advice[kind] for kind in advice if isinstance(caught, kind)), "check the connection and token=")
        raise error(f"{what}, found {type(caught).__name__}: {str(caught).strip():.300}; {todo}") from caught
