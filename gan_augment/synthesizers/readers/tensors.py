"""Tensors and arrays from bytes, every number of which is checked before memory is taken."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.source import DamagedError

__all__ = ["DTYPES", "STORAGES", "Storage", "array", "array_dtype", "check_bools", "empty_storage", "tensor"]

_NAMES = (
    "bool uint8 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex64 complex128 uint16 uint32 "
    "uint64 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu"
)
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in _NAMES.split() if hasattr(torch, name)}
_BY_STORAGE = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64",
    "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "Untyped": "uint8",
}  # fmt: skip
STORAGES: dict[str, torch.dtype] = {f"{kind}Storage": DTYPES[name] for kind, name in _BY_STORAGE.items()}
_LARGEST = 2**48
_MOST_DIMS = 32
_ORDERS: dict[str, Any] = {"<": "<", ">": ">", "=": "=", "|": "="}
_PLAIN = re.compile(r"[biufc](?:1|2|4|8|16)|[SU]\d{1,9}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Storage:
    """Memory that tensors share.

    Attributes:
        raw: Its bytes, as uint8 `(bytes,)`.
        dtype: Of its elements.
    """

    raw: Tensor
    dtype: torch.dtype


def whole(value: Any) -> bool:
    """Whether it is an int that can be a size, a stride or an offset."""
    return type(value) is int and 0 <= value < _LARGEST


def empty_storage(nbytes: int, dtype: torch.dtype) -> tuple[Storage, memoryview]:
    """Returns a storage of arbitrary bytes, and a view to write into it.

    The caller checks that there is something to write into all of it.
    """
    raw = torch.empty(nbytes, dtype=torch.uint8)
    return Storage(raw, dtype), raw.numpy().data


def tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Returns a tensor that shares the memory of a storage.

    Args:
        storage: The storage.
        offset: Of its first element, in elements.
        size: Its shape.
        stride: In elements.
        dtype: Of its elements; None for the storage's.

    Raises:
        ArtifactError: It would reach out of its storage, or hold more elements than that has.
    """
    dims = (size, stride) if isinstance(size, tuple) and isinstance(stride, tuple) else ()
    if not isinstance(storage, Storage) or not dims or not all(whole(n) for part in (*dims, (offset,)) for n in part):
        raise DamagedError("expected a storage, an offset, a shape and strides of a tensor, found something else")
    if len(size) != len(stride) or len(size) > _MOST_DIMS:
        raise DamagedError(f"expected a stride a dimension, found {len(size)} dimensions and {len(stride)} strides")
    dtype = dtype or storage.dtype
    held, count = storage.raw.numel() // dtype.itemsize, math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else offset - 1
    if last >= held or count > held:
        raise ArtifactError(
            f"expected a tensor within its storage of {held} elements, found shape {tuple(size)[:8]}, strides "
            f"{tuple(stride)[:8]} and offset {offset}. A tensor that was expanded has to be saved as `.clone()`"
        )
    if math.prod(max(n, 1) for n in size) >= _LARGEST:  # empty, but no shape that arithmetic can be done with
        raise DamagedError(f"expected a shape that memory could hold, found {tuple(size)[:8]}")
    return torch.empty(0, dtype=dtype).set_(storage.raw.untyped_storage(), offset, tuple(size), tuple(stride))


def array_dtype(text: Any, order: Any) -> np.dtype[Any] | None:
    """Returns a NumPy type of plain numbers or text; None where it is none, or of objects, fields or dates.

    Args:
        text: Such as "f4".
        order: Of the bytes: "<", ">", "=" or "|".
    """
    swap = _ORDERS.get(order) if type(order) is str else None
    if swap is None or type(text) is not str or not _PLAIN.fullmatch(text):
        return None
    try:
        return np.dtype(text).newbyteorder(swap)
    except (TypeError, ValueError):
        return None


def array(data: bytes | bytearray, dtype: np.dtype[Any], shape: Any, order: str) -> NDArray[Any]:
    """Returns an array that holds a copy of `data`.

    Args:
        data: Its bytes.
        dtype: Of its elements.
        shape: Its shape.
        order: Of its elements: "C" or "F".

    Raises:
        ArtifactError: The bytes are not those of this shape.
    """
    if not isinstance(shape, tuple) or len(shape) > _MOST_DIMS or not all(whole(n) for n in shape):
        raise DamagedError("expected the shape of an array, found something else")
    if math.prod(shape) * dtype.itemsize != len(data) or math.prod(max(n, 1) for n in shape) >= _LARGEST:
        raise DamagedError(f"expected the bytes of an array of shape {shape[:8]}, found {len(data)} bytes")
    if not dtype.itemsize:
        raise DamagedError("expected an array of elements that have a size, found one of empty text")
    made: NDArray[Any] = np.frombuffer(bytearray(data), dtype)
    codes, most = ("u1", 1) if dtype.kind == "b" else (dtype.byteorder + "u4", 0x10FFFF)
    if dtype.kind in "bU" and made.size and made.view(np.dtype(codes)).max() > most:
        raise DamagedError(f"expected elements of {dtype.name}, found other bytes")
    return made.reshape(shape, order="F" if order == "F" else "C")


def check_bools(storage: Storage) -> None:
    """Raises an ArtifactError where a storage of bools holds other bytes than 0 and 1, on which kernels stumble."""
    if storage.dtype == torch.bool and storage.raw.numel() and int(storage.raw.max()) > 1:
        raise DamagedError("expected bools of 0 and 1, found other bytes")
