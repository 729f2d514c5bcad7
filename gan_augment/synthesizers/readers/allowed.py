"""The allow list: what a pickle may name and get more than a stand-in for, all of it made by functions of this file."""

import re
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.synthesizers.readers.inert import Inert, Name, Pending, told
from gan_augment.synthesizers.readers.limits import Limits
from gan_augment.synthesizers.readers.machine import Machine, Make
from gan_augment.synthesizers.readers.source import DamagedError
from gan_augment.synthesizers.readers.tensors import DTYPES, array, array_dtype, tensor, whole

__all__ = ["CALLS", "VALUES"]

_DEVICE = re.compile(r"[a-z]{1,12}(:\d{1,3})?", re.ASCII)
_NEW_DTYPES = {dtype for name, dtype in DTYPES.items() if name.startswith(("uint", "float8"))}
_TENSORS = ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter", "torch.nn.Parameter")

VALUES: dict[str, Any] = {f"torch.{name}": dtype for name, dtype in DTYPES.items()} | {"torch.strided": torch.strided}


def _items(machine: Machine, values: Any) -> list[Any]:
    """Returns elements as a list, and counts them."""
    if type(values) not in (list, tuple, set, frozenset, dict, OrderedDict):
        raise DamagedError(f"expected elements of a container, found {type(values).__name__}")
    machine.limits.step(len(values))
    return list(values)


def _list(machine: Machine, values: Any = (), *_: Any) -> list[Any]:
    return _items(machine, values)


def _tuple(machine: Machine, values: Any = ()) -> tuple[Any, ...]:
    return tuple(_items(machine, values))


def _set(machine: Machine, values: Any = ()) -> set[Any]:
    return set(map(machine.key, _items(machine, values)))


def _frozenset(machine: Machine, values: Any = ()) -> frozenset[Any]:
    return frozenset(_set(machine, values))


def _ordered(machine: Machine, pairs: Any = ()) -> "OrderedDict[Any, Any]":
    made: OrderedDict[Any, Any] = OrderedDict()
    machine.update(made, _pairs(machine, pairs))
    return made


def _dict(machine: Machine, pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    machine.update(made, _pairs(machine, pairs))
    return made


def _default_dict(machine: Machine, factory: Any = None) -> dict[Any, Any]:
    return {}


def _pairs(machine: Machine, pairs: Any) -> list[Any]:
    """Returns keys and values in turn."""
    found = _items(machine, pairs)
    if isinstance(pairs, dict):
        found = list(pairs.items())
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in found):
        raise DamagedError("expected pairs of a key and a value, found something else")
    return [value for pair in found for value in pair]


def _complex(machine: Machine, real: Any, imaginary: Any = 0.0) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise DamagedError("expected two numbers of a complex one, found something else")
    return complex(real, imaginary)


def _bytes(machine: Machine, data: Any = b"") -> bytes:
    if type(data) not in (bytes, bytearray) and not (type(data) is list and not data):
        raise DamagedError(f"expected bytes, found {type(data).__name__}")
    machine.limits.copy(len(data))
    return bytes(data)


def _bytearray(machine: Machine, data: Any = b"", encoding: Any = None) -> bytearray:
    return bytearray(_encode(machine, data, encoding) if type(data) is str else _bytes(machine, data))


def _encode(machine: Machine, text: Any, encoding: Any = "latin1") -> bytes:
    """Protocols below 3 have no bytes: they are written as text, to be encoded."""
    if type(text) is not str or type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise DamagedError("expected bytes as Latin-1 text, found something else")
    machine.limits.copy(len(text))
    return text.encode("latin-1")


def _reconstructor(machine: Machine, kind: Any, base: Any, state: Any) -> Any:
    """Objects of protocols 0 and 1."""
    made = machine.call(kind, ())
    origin = base.origin if type(base) is Name else ""
    if origin == "builtins.dict" and type(state) is dict:
        items = _pairs(machine, state)
        if isinstance(made, Inert):
            machine.update(made.items, items)
        elif isinstance(made, dict):
            machine.update(made, items)
    elif origin in ("builtins.list", "builtins.set", "builtins.tuple") and isinstance(made, Inert):
        made.elements.extend(_items(machine, state))
    return made


def _new(machine: Machine, kind: Any, *args: Any) -> Any:
    return machine.call(kind, args)


def _size(machine: Machine, values: Any = ()) -> torch.Size:
    if type(values) not in (list, tuple, torch.Size) or not all(whole(value) for value in values) or len(values) > 64:
        raise DamagedError("expected the shape of a tensor, found something else")
    return torch.Size(values)


def _device(machine: Machine, kind: Any, index: Any = None) -> Any:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise DamagedError("expected the name of a device, found something else")
    text = kind if index is None else f"{kind}:{index}"
    if not _DEVICE.fullmatch(text):
        raise DamagedError(f"expected the name of a device, found {told(text)}")
    try:
        return torch.device(text)
    except RuntimeError:  # one that this build does not know
        return Inert("torch.device", (text,))


def _layout(machine: Machine, name: Any) -> Any:
    return (
        torch.strided
        if type(name) is str and name == "torch.strided"
        else Inert("torch.serialization._get_layout", (name,))
    )


def _tensor(
    machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, grad: Any = False, hooks: Any = None,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    made = tensor(storage, offset, size, stride)
    if type(metadata) is dict and metadata.get("conj") is True:
        made = made.conj()  # a view, as it was
    if type(metadata) is dict and metadata.get("neg") is True:
        made = torch._neg_view(made)
    return made


def _tensor_of_type(
    machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any,
    metadata: Any = None,
) -> Tensor:  # fmt: skip
    if not isinstance(dtype, torch.dtype) or dtype not in _NEW_DTYPES:
        raise DamagedError(f"expected a type of numbers for a tensor, found {told(dtype)}")
    return tensor(storage, offset, size, stride, dtype)


def _parameter(machine: Machine, data: Any, grad: Any = None, hooks: Any = None, state: Any = None) -> Any:
    """A parameter is as good as its tensor here; what it was wrapped in, and its attributes, are left out."""
    return data


def _subclass(machine: Machine, function: Any, kind: Any, args: Any, state: Any = None) -> Any:
    """A tensor with attributes, which are left out; one of another class stays inert."""
    if type(kind) is Name and kind.origin in _TENSORS:
        return machine.call(function, args)
    return Inert("torch._tensor._rebuild_from_type_v2", (function, kind, args), state)


class _PendingType(Pending):
    """A NumPy type whose byte order comes later."""

    __slots__ = ()

    def finish(self, state: Any) -> Any:
        self.state = state
        if type(state) is not tuple or len(state) < 5 or any(part is not None for part in state[2:5]):
            return self  # it has fields, or is none
        made = array_dtype(self.args[0] if self.args else None, state[1])
        return self if made is None else made


class _PendingArray(Pending):
    """A NumPy array that is still empty."""

    __slots__ = ("limits",)

    def __init__(self, args: tuple[Any, ...], limits: Limits) -> None:
        super().__init__("numpy.ndarray", args)
        self.limits = limits

    def finish(self, state: Any) -> Any:
        if type(state) is not tuple or len(state) < 4:
            raise DamagedError("expected the state of an array, found something else")
        shape, dtype, columns, data = state[-4:]
        if type(data) is list:
            made = Inert("numpy.ndarray", (shape,))
            made.elements = data
            return made
        if not isinstance(dtype, np.dtype) or type(data) not in (str, bytes, bytearray):
            self.state = state  # of fields or dates
            return self
        data = data.encode("latin-1") if type(data) is str else data
        self.limits.copy(len(data))
        return array(data, dtype, shape, "F" if type(columns) in (bool, int) and columns else "C")


def _array_type(machine: Machine, text: Any = None, *_: Any) -> Any:
    return _PendingType("numpy.dtype", (text,))


def _empty_array(machine: Machine, *args: Any) -> Any:
    return _PendingArray(args, machine.limits)


def _number(machine: Machine, dtype: Any, data: Any = None) -> Any:
    """A NumPy scalar."""
    if not isinstance(dtype, np.dtype) or type(data) not in (str, bytes):
        return Inert("numpy.generic", (dtype, data))
    machine.limits.copy(len(data))
    return array(data.encode("latin-1") if type(data) is str else data, dtype, (), "C")[()]


def _from_buffer(machine: Machine, data: Any, dtype: Any, shape: Any, order: Any = "C") -> Any:
    """A NumPy array of protocol 5."""
    if not isinstance(dtype, np.dtype) or type(data) not in (bytes, bytearray):
        return Inert("numpy.ndarray", (data, dtype, shape, order))
    machine.limits.copy(len(data))
    return array(data, dtype, shape, "F" if type(order) is str and order == "F" else "C")


def _persistent(machine: Machine, meta: Any) -> Any:
    """An object of NVlabs' `torch_utils.persistence`, whose class comes as source text that would be run."""
    if type(meta) is not dict or type(meta.get("class_name")) is not str or not meta["class_name"].isprintable():
        return Inert("torch_utils.persistence._reconstruct_persistent_obj", (meta,))
    return Inert(f"persistent:{meta['class_name'][:200]}", (meta,), meta.get("state"))


CALLS: dict[str, Make] = {
    "_codecs.encode": _encode,
    "builtins.bytearray": _bytearray,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "builtins.dict": _dict,
    "builtins.frozenset": _frozenset,
    "builtins.list": _list,
    "builtins.set": _set,
    "builtins.tuple": _tuple,
    "collections.Counter": _dict,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _default_dict,
    "collections.deque": _list,
    "copyreg.__newobj__": _new,
    "copyreg._reconstructor": _reconstructor,
    "dnnlib.EasyDict": _dict,
    "dnnlib.util.EasyDict": _dict,
    "numpy.dtype": _array_type,
    "torch.Size": _size,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch.device": _device,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.serialization._get_layout": _layout,
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent,
}
for _core in ("numpy.core", "numpy._core"):
    CALLS[f"{_core}.multiarray._reconstruct"] = _empty_array
    CALLS[f"{_core}.multiarray.scalar"] = _number
    CALLS[f"{_core}.numeric._frombuffer"] = _from_buffer
