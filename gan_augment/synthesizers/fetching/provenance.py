"""What is known of where weights come from: source, licence, hash, whom to cite."""

import contextlib
import hashlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tqdm import tqdm

from gan_augment.errors import ArtifactError, ConfigError, LicenceWarning

__all__ = ["Provenance", "announce", "counting", "file_sha256", "licence_of_card", "markdown", "plain", "source_of"]

SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
"""A SHA-256 as this library writes it."""

_LONGEST = {"source": 2_000, "form": 200, "sha256": 64, "licence": 2_000, "citation": 10_000}
_LONGEST_NOTE = 2_000
_MOST_NOTES = 100
_MOST_OF_CARD = 64 * 1024
_BLOCK = 2**20

_BOTH = re.compile(r"(non-?)?commercial(ly)?\s*(and|or|and/or|/|&)\s*(non-?)?commercial(ly)?")
"""Of licences that allow both."""

_NON_COMMERCIAL = (
    r"\bnon-?\s?commercial",
    r"\bnot for (any )?commercial",
    r"\bno commercial",
    r"\bby[- ]nc\b",
    r"\blicen[cs]e[- ]nc\b",
    r"\bnvidia source code licen[cs]e\b",
    r"\bnvidia-source-code-licen[cs]e",
    r"\bnsclv?\d?\b",
    r"\b(research|academic|evaluation|educational)([- ](use|purposes?))?[- ]only\b",
    r"\bonly (be used )?(for|in) (academic|research|scientific|educational)\b",
    r"\b(apple-amlr|deepfloyd-if-license|intel-research|h-research)\b",
)
_SECRET = re.compile(r"token|secret|sign|^sig$|key|auth|passw|credential|expires|policy|^x-", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where weights come from and what may be done with them, as far as it is known.

    Attributes:
        source: Address, or the name of a file or folder without the folders above it: see `source_of`.
        form: Name of the file's format; None where it is not known.
        sha256: Of the file, 64 hexadecimal digits; None for a folder.
        licence: Its abbreviation on the Hugging Face Hub or its name; None where nothing is said.
        citation: Whom to cite.
        notes: What a user should know besides.

    Raises:
        ConfigError: A value is of another type, too long, not printable, or a source that tells of folders of a
            machine or of secrets in an address.
    """

    source: str
    form: str | None = None
    sha256: str | None = None
    licence: str | None = None
    citation: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, most in _LONGEST.items():
            value = getattr(self, name)
            if value is not None or name == "source":
                _check_text(name, value, most)
        if not isinstance(self.notes, tuple) or len(self.notes) > _MOST_NOTES:
            raise ConfigError(f"expected notes as a tuple of at most {_MOST_NOTES} texts, found {self.notes!r:.80}")
        for note in self.notes:
            _check_text("a note", note, _LONGEST_NOTE)
        if self.sha256 is not None and not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"expected sha256 of 64 hexadecimal digits in lower case, found {self.sha256!r}")
        if source_of(self.source) != self.source:
            raise ConfigError(
                "expected a source without folders of a machine and without secrets in its address, found "
                f"{self.source!r:.200}; give source_of(...) of it, here {source_of(self.source)!r:.200}"
            )

    @property
    def non_commercial(self) -> bool | None:
        """Whether the licence forbids commercial use, by its wording; None where no licence is known."""
        if self.licence is None:
            return None
        words = _BOTH.sub(" ", " ".join(self.licence.lower().split()))
        return any(re.search(pattern, words) for pattern in _NON_COMMERCIAL)

    def show(self) -> str:
        """Returns all that is known in one paragraph.

        >>> print(Provenance(source="hf://me/gan", licence="cc-by-4.0").show())
        Weights from hf://me/gan. Licence: cc-by-4.0.
        """
        form = "" if self.form is None else f", a {self.form} file"
        parts = [f"Weights from {self.source}{form}"]
        if self.sha256 is not None:
            parts.append(f"SHA-256 {self.sha256}")
        parts.append("Licence: not known, ask before use" if self.licence is None else f"Licence: {self.licence}")
        if self.non_commercial:
            parts.append("It forbids commercial use")
        if self.citation is not None:
            parts.append(f"To be cited: {self.citation}")
        return " ".join(f"{plain(part[:1].upper() + part[1:]).rstrip('.')}." for part in (*parts, *self.notes))

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {**asdict(self), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, value: Any) -> "Provenance":
        """Reads what `to_json` returned.

        Raises:
            ArtifactError: It is anything else.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise ArtifactError(f"expected a provenance of {', '.join(sorted(names))}, found {value!r:.200}")
        notes = value["notes"]
        try:
            return cls(**{**value, "notes": tuple(notes) if isinstance(notes, list) else notes})
        except ConfigError as error:
            raise ArtifactError(f"expected a provenance as it was saved, found a damaged one: {error}") from None


def _check_text(name: str, value: Any, most: int) -> None:
    """Raises if a value is no text that can be shown: control characters would steer a terminal."""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ConfigError(f"expected {name} as text of 1 to {most} characters, found {value!r:.80}")
    if not all(letter.isprintable() or letter in "\n\t" for letter in value):
        raise ConfigError(f"expected {name} in printable characters, found {value!r:.80}; give plain(...) of it")


def plain(text: str, most: int = 2_000) -> str:
    """Returns text out of a file on one line, without what would steer a terminal, cut to `most` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def markdown(text: str) -> str:
    """Returns text that a table or list in Markdown shows as it is."""
    return re.sub(r"([\\|`*_<>\[\]()])", r"\\\1", " ".join(text.split()))


def source_of(address: str | Path) -> str:
    """Returns what may be told of an address: no password, no query that may hold a secret; of a path, its name.

    >>> source_of("https://host/weights.pkl?token=123"), source_of("/home/me/weights.pkl")
    ('https://host/weights.pkl', 'weights.pkl')
    """
    text = str(address)
    begin = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if begin is None or begin[1].lower() == "file":
        return plain(re.split(r"[\\/]", text.rstrip("\\/"))[-1]) or "unnamed"
    scheme, rest = begin[1].lower(), re.split("[?#]", text[begin.end() :])[0]
    host, slash, path = rest.partition("/")
    if scheme != "hf":  # there user@ is a part of the address
        host = host.rpartition("@")[2]
    query = text.partition("#")[0].partition("?")[2]
    secret = any(_SECRET.search(name) for name in re.findall(r"(?:^|[&;])([^=&;]*)", unquote(query)))
    return plain(f"{scheme}://{host}{slash}{path}{'?' if query and not secret else ''}{'' if secret else query}")


def announce(provenance: Provenance, *, tell: Callable[[str], object] | None = None, stacklevel: int = 2) -> None:
    """Says what a user should know before using weights.

    Args:
        provenance: What is known of them.
        tell: Is given one line where no licence is known; None writes it to stderr.
        stacklevel: Whose line the warning names: 1 for the one that calls this, 2 for the one that calls that, as in
            `warnings.warn`.

    Warns:
        LicenceWarning: The licence forbids commercial use.
    """
    if provenance.non_commercial:
        warnings.warn(provenance.show(), LicenceWarning, stacklevel=stacklevel + 1)
    elif provenance.non_commercial is None:
        about = [note for note in provenance.notes if "licen" in note.lower()]
        line = "; ".join([f"{plain(provenance.source)}: no licence is stated, ask before use", *map(plain, about)])
        if tell is None:
            tqdm.write(line, file=sys.stderr)
        else:
            tell(line)


def licence_of_card(text: str) -> str | None:
    """Returns the licence that a model card of the Hugging Face Hub states in its front matter.

    The few lines needed are read, without a reader of YAML: `license:` with one value or a list, `license_name:` and
    `license_link:`, which name a licence that is "other".

    Args:
        text: Content of README.md; only its beginning is looked at.

    Returns:
        None where none is stated, or it is written in a way that is not read here.
    """
    lines = text[:_MOST_OF_CARD].removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return None
    end = next((n for n, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), None)
    if end is None:
        return None
    found = {name: _values(lines[1:end], name) for name in ("license", "license_name", "license_link")}
    licence = [value for value in found["license"] if value.lower() not in ("unknown", "null", "~")]
    if licence != ["other"]:
        return plain(", ".join(licence)) or None
    name, link = (plain(", ".join(found[key])) for key in ("license_name", "license_link"))
    return plain(f"{name or 'other'} ({link})" if link else name or "other")


def _values(lines: list[str], key: str) -> list[str]:
    """Returns the values of a key that stands once at the top of YAML, with a plain value or a list of such."""
    at = [n for n, line in enumerate(lines) if re.match(rf"{key}\s*:(\s|$)", line)]
    if len(at) != 1:
        return []
    value = _scalar(lines[at[0]].partition(":")[2])
    if value is None:
        return []
    if value.startswith("[") and value.endswith("]"):
        values = [_scalar(part) for part in value[1:-1].split(",")]
    elif value:
        values = [value]
    else:
        values = []
        for line in lines[at[0] + 1 :]:
            if not (item := re.match(r"\s*-\s+(.*)", line)):
                break
            values.append(_scalar(item[1]))
    return [] if None in values or any(_odd(v) for v in values if v) else [v for v in values if v]


def _scalar(text: str) -> str | None:
    """Returns a value of YAML without its quotes and the comment after it; None where a quote is not closed."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        closed = re.fullmatch(r"(['\"])([^'\"\\]*)\1\s*(#.*)?", text)
        return None if closed is None else closed[2]
    return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()


def _odd(value: str) -> bool:
    """Tells whether a value begins as YAML's blocks, anchors, tags and tables do, or is too long for a licence."""
    return value[0] in "|>&*!{[%@`" or len(value) > 500


def file_sha256(path: str | Path, progress: bool = True) -> str:
    """Returns the SHA-256 of a file, read piece by piece.

    Args:
        path: The file.
        progress: Whether to show a bar on a terminal.

    Raises:
        ArtifactError: It cannot be read.
    """
    path, digest = Path(path), hashlib.sha256()
    try:
        with open(path, "rb") as file, counting(f"checking {path.name}", path.stat().st_size, progress) as count:
            while block := file.read(_BLOCK):
                digest.update(block)
                count(len(block))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"expected a file that can be read at {path}, found {error}") from None
    return digest.hexdigest()


@contextlib.contextmanager
def counting(description: str, total: int | None, progress: bool, done: int = 0) -> Iterator[Callable[[int], object]]:
    """Gives a function that is told of bytes as they come, and shows them in a bar on a terminal.

    Elsewhere no bar is made at all: the lock that bars share would be held for ever by a forked process that is killed.

    Args:
        description: What is done.
        total: Bytes of all; None where that is not known.
        progress: Whether there may be a bar.
        done: Bytes that came before.
    """
    if not progress or sys.stderr is None or not sys.stderr.isatty():
        yield lambda count: None
        return
    with tqdm(desc=description, total=total, initial=done, unit="B", unit_scale=True, leave=False) as bar:
        yield bar.update
