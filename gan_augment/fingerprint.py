"""Fingerprints: which data, recipe, weights, judge and selector stand behind an artifact.

A chain maps the name of a link ("data", "recipe", "weights", "extractor", "selector", "pool") to a hash.
Data are hashed item by item, before any transform, so that a test image in a training set can be found.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import DataError

__all__ = [
    "FittedOn",
    "check_disjoint",
    "group_name",
    "hash_array",
    "hash_groups",
    "hash_image",
    "hash_items",
    "hash_json",
    "hash_tensors",
]


@dataclass(frozen=True, eq=False)
class FittedOn:
    """Hashes of what something was fitted on.

    Attributes:
        images: `(N,)` int64, sorted, distinct.
        groups: `(M,)` int64, sorted, distinct.
        complete: Whether that is all; not where weights were released that others fitted.
    """

    images: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    groups: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    complete: bool = True

    @classmethod
    def of(cls, thing: Any) -> "FittedOn":
        """Returns what a synthesizer, judge or pool says of itself; nothing where it says nothing."""
        found = getattr(thing, "fitted_on", None)
        return found if isinstance(found, cls) else cls()

    @classmethod
    def union(cls, *parts: "FittedOn") -> "FittedOn":
        """Returns all of several."""
        images, groups = ([getattr(part, name) for part in parts] for name in ("images", "groups"))
        complete = all(part.complete for part in parts)
        return cls(np.unique(np.concatenate(images)), np.unique(np.concatenate(groups)), complete)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the hashes under the names that artifacts store them by."""
        kept = {"fitted_on": torch.from_numpy(self.images), "groups": torch.from_numpy(self.groups)}
        return kept if self.complete else {**kept, "fitted_on_others": torch.ones(1, dtype=torch.int64)}

    def __len__(self) -> int:
        return len(self.images)


def hash_array(array: npt.NDArray[Any]) -> int:
    """Returns a 63-bit hash of an array's shape, dtype and bytes."""
    digest = hashlib.blake2b(f"{array.shape}{array.dtype.str}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(array).tobytes())
    return int.from_bytes(digest.digest(), "little") >> 1


def hash_image(array: npt.NDArray[Any]) -> int:
    """Returns a 63-bit hash of an image `(C, *spatial)`; that of a grey one and of its copy in RGB are the same."""
    grey = len(array) > 1 and bool((array == array[:1]).all())
    return hash_array(array[:1] if grey else array)


def hash_json(value: Any) -> str:
    """Returns a hash, 16 hexadecimal digits, of anything that JSON can hold; key order does not matter."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def hash_items(hashes: npt.NDArray[np.int64]) -> str:
    """Returns the hash of a set of items whatever their order, from the hash of each."""
    return hashlib.blake2b(np.sort(hashes).tobytes(), digest_size=8).hexdigest()


def hash_groups(groups: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Returns a 63-bit hash of each distinct group (patient), sorted.

    Good for finding a group again, not for hiding it: who can guess a name can confirm it. Give pseudonyms.
    """
    names = sorted({group_name(group) for group in groups})
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    return np.sort(np.array([int.from_bytes(d, "little") >> 1 for d in digests], dtype=np.int64))


def group_name(group: Any) -> str:
    """Returns a group as text; 7.0 is 7, which a table with a gap in its column turns into a float."""
    whole = isinstance(group, float | np.floating) and np.isfinite(group) and group == int(group)
    return str(int(group)) if whole else str(group)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns a hash of named tensors, such as a state dict."""
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        known = tensor.dtype != torch.bfloat16  # which numpy has not
        array = tensor.numpy() if known else tensor.view(torch.int16).numpy()
        digest.update(f"{name}{array.shape}{array.dtype.str if known else 'bfloat16'}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_disjoint(
    fitted: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64], what: str, held_out_name: str = "the test set"
) -> None:
    """Raises if an item that something was fitted on is also held out for evaluation.

    Args:
        fitted: Hashes of the items (or groups) that were fitted on.
        held_out: Hashes of the items (or groups) to evaluate on.
        what: What the hashes stand for, for the message: "images" or "groups".
        held_out_name: What the held-out side is called in the message.

    Raises:
        DataError: Names how many are shared.
    """
    shared = np.intersect1d(fitted, held_out)
    if len(shared):
        raise DataError(
            f"expected no {what} shared between the training data and {held_out_name}, found {len(shared)} "
            f"of {len(np.unique(held_out))} there that were trained on; take them out of one of the two"
        )
