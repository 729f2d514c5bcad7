"""Arguments and results of the operators in torch.export files, out of their JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.programs.exported_archive import DTYPES

__all__ = ["DEVICE", "Device", "Name", "argument", "result"]

_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}


@dataclass(frozen=True)
class Name:
    """Stands for the value of this name."""

    name: str


class Device:
    """Stands for the device on which the graph runs, whatever the one was on which it was exported."""


DEVICE = Device()


def argument(arg: Mapping[str, Any]) -> Any:
    """Returns an argument: a plain value, a `Name`, `DEVICE`, or a list of these.

    Raises:
        ArtifactError: It is of a kind that is not opened: Python objects, functions, graphs.
        KeyError, TypeError, ValueError: The JSON is malformed.
    """
    ((kind, value),) = arg.items()
    reader = _ARGUMENTS.get(kind)
    if reader is None:
        raise ArtifactError(f"expected plain values as arguments in the program, found {kind!r:.40}")
    return reader(value)


def _plain(*types: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) not in types:
            raise TypeError(f"{value!r:.40}")
        return value

    return read


def _float(value: Any) -> float:
    if isinstance(value, str) and value not in ("Infinity", "-Infinity", "NaN"):
        raise ValueError(f"{value!r:.40}")
    return float(value)


def _several(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda values: [read(value) for value in values]


def _name(value: Mapping[str, Any]) -> Name:
    return Name(_plain(str)(value["name"]))


def _union(name: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A value, or the name of one."""
    return lambda value: Name(_plain(str)(value["as_name"])) if "as_name" in value else read(value[name])


def _optional(value: Mapping[str, Any]) -> Any:
    return _name(value["as_tensor"]) if "as_tensor" in value else None


def _layout(value: Any) -> torch.layout:
    if value != 7:
        raise ValueError("a tensor that is not dense")
    return torch.strided


_ARGUMENTS: Mapping[str, Callable[[Any], Any]] = {
    "as_none": lambda value: None,
    "as_tensor": _name,
    "as_tensors": _several(_name),
    "as_int": _plain(int),
    "as_ints": _several(_plain(int)),
    "as_float": _float,
    "as_floats": _several(_float),
    "as_string": _plain(str),
    "as_bool": _plain(bool),
    "as_bools": _several(_plain(bool)),
    "as_sym_int": _union("as_int", _plain(int)),
    "as_sym_ints": _several(_union("as_int", _plain(int))),
    "as_sym_float": _union("as_float", _float),
    "as_sym_floats": _several(_union("as_float", _float)),
    "as_sym_bool": _union("as_bool", _plain(bool)),
    "as_scalar_type": lambda value: DTYPES[value],
    "as_memory_format": lambda value: _MEMORY_FORMATS[value],
    "as_layout": _layout,
    "as_device": lambda value: DEVICE,
    "as_optional_tensor": _optional,
    "as_optional_tensors": _several(_optional),
}


def result(part: Mapping[str, Any]) -> Any:
    """Returns the name of a result, a list of names, or None where it is not used.

    Raises:
        KeyError, TypeError, ValueError: The JSON is malformed.
    """
    ((kind, value),) = part.items()
    if kind == "as_none":
        return None
    if kind == "as_tensors":
        return [_name(one).name for one in value]
    if kind in ("as_sym_int", "as_sym_float", "as_sym_bool"):
        return _plain(str)(value["as_name"])
    if kind != "as_tensor":
        raise ValueError(f"a result {kind!r:.40}")
    return _name(value).name
