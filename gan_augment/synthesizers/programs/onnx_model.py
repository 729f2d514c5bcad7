"""Looks through an ONNX file, by the wire format of protocol buffers, for what is not opened."""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.programs.call import file_size, read_error

__all__ = ["WHAT", "Vetted", "vet"]

WHAT = "an ONNX model"

_MOST_BYTES = 2**31
_MOST_FIELDS = 4_000_000
_DEEPEST = 8
_DOMAINS = ("", "ai.onnx")
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
_ENDLESS = frozenset({"Loop", "Scan"})
_STRING, _EXTERNAL = 8, 1


@dataclass
class Vetted:
    """What is known of a model that was found fit to be opened.

    Attributes:
        tables: Rows of the tables in which an input is looked up, by the input's name.
        external: Files beside the model that hold weights.
    """

    tables: dict[str, int] = field(default_factory=dict)
    external: set[Path] = field(default_factory=set)


def vet(path: Path) -> Vetted:
    """Reads the structure of a model and refuses what should not reach the runtime.

    Raises:
        ArtifactError: The file is missing, truncated or damaged, or holds operators outside the ONNX standard, model
            functions, loops, random numbers, weights in files outside its folder, or tensors larger than the file.
    """
    size = file_size(path, WHAT, _MOST_BYTES)
    if size == 0:
        raise read_error(WHAT, path, "an empty file")
    with open(path, "rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    try:
        return _Walk(path, size).model(view)
    except (ValueError, IndexError, OverflowError) as error:
        raise read_error(WHAT, path, f"a damaged or truncated one ({error!s:.100})") from None


class _Walk:
    """One pass over the messages of a model."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.folder = path.parent
        self.left = _MOST_FIELDS
        self.found = Vetted()
        self.tables: dict[str, int] = {}
        self.lookups: list[tuple[str, str]] = []

    def model(self, view: memoryview) -> Vetted:
        graphs = 0
        for number, value in self.fields(view):
            if number == 7:
                graphs += 1
                self.graph(_message(value), 0)
            elif number == 25:
                raise self.refused("functions of its own; inline them (onnx.inliner.inline_local_functions)")
            elif number == 20:
                raise self.refused("parts for training")
        if graphs != 1:
            raise ValueError(f"{graphs} graphs")
        self.found.tables = {index: self.tables[table] for table, index in self.lookups if table in self.tables}
        return self.found

    def graph(self, view: memoryview, depth: int) -> None:
        if depth > _DEEPEST:
            raise self.refused(f"graphs nested more than {_DEEPEST} deep")
        for number, value in self.fields(view):
            if number == 1:
                self.node(_message(value), depth)
            elif number == 5:
                self.tensor(_message(value))
            elif number == 15:
                raise self.refused("sparse weights")

    def node(self, view: memoryview, depth: int) -> None:
        inputs, op, domain, axis = [], "", "", 0
        for number, value in self.fields(view):
            if number == 1:
                inputs.append(_text(value))
            elif number == 4:
                op = _text(value)
            elif number == 7:
                domain = _text(value)
            elif number == 5:
                name, whole = self.attribute(_message(value), depth)
                axis = whole if name == "axis" else axis
        if domain not in _DOMAINS:
            raise self.refused(f"the operator {op!r:.60} of {domain!r:.60}, which is not of the ONNX standard")
        if op in _RANDOM:
            raise self.refused(
                f"the operator {op}, which draws random numbers, so that images would not depend on seeds alone; "
                "export the generator with its noise switched off or constant"
            )
        if op in _ENDLESS:
            raise self.refused(f"the operator {op}, whose time and memory have no bound")
        if op == "Gather" and axis == 0 and len(inputs) == 2:
            self.lookups.append((inputs[0], inputs[1]))

    def attribute(self, view: memoryview, depth: int) -> tuple[str, int]:
        name, whole = "", 0
        for number, value in self.fields(view):
            if number == 1:
                name = _text(value)
            elif number == 3:
                whole = value if isinstance(value, int) else 0
            elif number in (5, 10):
                self.tensor(_message(value))
            elif number in (6, 11):
                self.graph(_message(value), depth + 1)
            elif number in (22, 23):
                raise self.refused("sparse weights")
        return name, whole

    def tensor(self, view: memoryview) -> None:
        dims: list[int] = []
        entries: dict[str, str] = {}
        name, kind, place = "", 0, 0
        for number, value in self.fields(view):
            if number == 1:
                dims += [value] if isinstance(value, int) else list(_varints(value))
            elif number == 2:
                kind = _whole(value)
            elif number == 8:
                name = _text(value)
            elif number == 13:
                key, text = self.entry(_message(value))
                entries[key] = text
            elif number == 14:
                place = _whole(value)
        if kind == _STRING:
            raise self.refused("text among its weights")
        held = self.size
        if place == _EXTERNAL or entries:
            held = self.outside(entries)
        if any(side >= 2**63 for side in dims) or math.prod(dims) > held:
            raise self.refused(f"a tensor {name!r:.40} of {math.prod(dims)} numbers, more than there are bytes")
        if dims:
            self.tables[name] = dims[0]

    def entry(self, view: memoryview) -> tuple[str, str]:
        texts = {number: _text(value) for number, value in self.fields(view)}
        return texts.get(1, ""), texts.get(2, "")

    def outside(self, entries: dict[str, str]) -> int:
        """Returns the size of a file of weights, which must lie in the model's folder."""
        location = entries.get("location", "")
        posix, windows = PurePosixPath(location), PureWindowsPath(location)
        inside = location and "\0" not in location and "\\" not in location and ":" not in location
        if not inside or posix.is_absolute() or windows.is_absolute() or ".." in posix.parts:
            raise self.refused(f"weights in {location!r:.80}, which is not a file in the model's folder")
        path = self.folder / location
        real = path.resolve()
        homes = (self.folder.resolve(), self.path.resolve().parent)  # the second for caches that link to their files
        if not any(real.is_relative_to(home) for home in homes):
            raise self.refused(f"weights in {location!r:.80}, a link that leaves the model's folder")
        size = file_size(path, "weights of an ONNX model", 2**40)
        offset, length = (int(entries.get(key, "0") or 0) for key in ("offset", "length"))
        if offset < 0 or length < 0 or offset + length > size:
            raise self.refused(f"weights that lie past the end of {location!r:.80}")
        self.found.external.add(path)
        return size

    def fields(self, view: memoryview) -> Iterator[tuple[int, Any]]:
        """Yields the number and value of each field: an int, or the bytes of a text or message."""
        at, end = 0, len(view)
        while at < end:
            self.left -= 1
            if self.left < 0:
                raise self.refused(f"more than {_MOST_FIELDS} parts")
            key, at = _varint(view, at)
            number, wire = key >> 3, key & 7
            if wire == 0:
                value, at = _varint(view, at)
                yield number, value
                continue
            size, at = _varint(view, at) if wire == 2 else ({1: 8, 5: 4}[wire] if wire in (1, 5) else -1, at)
            if size < 0 or at + size > end:
                raise ValueError("a part that ends after the file" if size >= 0 else f"wire type {wire}")
            yield number, view[at : at + size]
            at += size

    def refused(self, why: str) -> ArtifactError:
        return read_error("an ONNX model that can be run safely", self.path, why)


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")


def _varints(value: Any) -> Iterator[int]:
    view, at = _message(value), 0
    while at < len(view):
        whole, at = _varint(view, at)
        yield whole


def _message(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number in place of a message")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("a message in place of a number")
    return value


def _text(value: Any) -> str:
    return bytes(_message(value)).decode()
