"""What every synthesizer checks of what it is asked for."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from gan_augment.errors import DataMismatchWarning, SynthesizerError
from gan_augment.types import IntArray, NeedsParents, as_labels

__all__ = ["Home", "checked_request", "from_items", "match_classes"]

_SHOWN = 12


def checked_request(
    labels: npt.ArrayLike, seeds: npt.ArrayLike, num_classes: int, class_names: Sequence[str] | None
) -> tuple[IntArray, IntArray]:
    """Returns labels and seeds as int64 `(N,)`.

    Raises:
        SynthesizerError: They differ in length, are no whole numbers, a seed is negative, or there is no such class.
    """
    labels, seeds = _whole(labels, "labels"), _whole(seeds, "seeds")
    if len(labels) != len(seeds):
        raise SynthesizerError(f"expected one seed for each label, found {len(labels)} labels and {len(seeds)} seeds")
    if (seeds < 0).any():
        raise SynthesizerError(f"expected seeds from 0 to 2**63 - 1, found {seeds.min()}")
    unknown = (labels < 0) | (labels >= num_classes)
    if unknown.any():
        outside = np.unique(labels[unknown])
        names = "" if class_names is None else f" ({', '.join(class_names)})"
        raise SynthesizerError(
            f"expected labels from 0 to {num_classes - 1}{names}, found {', '.join(map(str, outside))}; "
            "this synthesizer has no such class"
        )
    return labels, seeds


def _whole(values: npt.ArrayLike, name: str) -> IntArray:
    given = np.asarray(values)
    if given.size and given.dtype.kind not in "uib":
        raise SynthesizerError(f"expected {name} that are whole numbers, found {given.dtype} values")
    return as_labels(values)


def match_classes(
    wanted: Sequence[str], num_classes: int, class_names: Sequence[str] | None, needed: Sequence[int]
) -> IntArray:
    """Returns for each class of a dataset the synthesizer's class: by name where it has names, else by position.

    Args:
        wanted: The dataset's class names.
        num_classes: Number of the synthesizer's classes.
        class_names: The synthesizer's class names, or None.
        needed: Classes of the dataset that must be found; the others are -1 where they are not.

    Raises:
        SynthesizerError: A needed class is not there.
    """
    if class_names is None:
        if num_classes != len(wanted):
            raise SynthesizerError(
                f"expected a synthesizer of the dataset's {len(wanted)} classes, or one whose classes have names, "
                f"found {num_classes} without names: say which is which with ga.adapt(gan, class_map="
                f"{{{wanted[-1]!r}: 0}}) or class_names= where it is loaded or wrapped; for an unconditional generator "
                "see ga.per_class and ga.labelled_by"
            )
        found = np.arange(num_classes)
        if not all(name.isdecimal() for name in wanted):
            warnings.warn(
                f"the synthesizer's classes have no names and were matched by position: {_pairs(wanted)}. Give "
                "class_names= where it is loaded or wrapped, or class_map= (--map), to be sure",
                DataMismatchWarning,
                stacklevel=4,
            )
    else:
        index = {name: i for i, name in enumerate(class_names)}
        found = np.array([index.get(name, -1) for name in wanted], dtype=np.int64)
    missing = [wanted[label] for label in needed if found[label] < 0]
    if missing:
        has = ", ".join(class_names or ())
        raise SynthesizerError(
            f"expected a synthesizer of the classes to be filled up, found that it lacks {', '.join(missing)} (it has "
            f"{has}); say which is which with ga.adapt(gan, class_map=...) (--map), fit one on this dataset, or leave "
            "these classes out with sampling_strategy= or counts= (--count)"
        )
    return found


def _pairs(wanted: Sequence[str]) -> str:
    shown = ", ".join(f"{label} is {name}" for label, name in enumerate(wanted[:_SHOWN]))
    return shown + (f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else "")


def from_items(synthesizer: Any) -> bool:
    """Tells whether a sample can be made of the real image whose place it takes: its parents are of its own class."""
    if not isinstance(synthesizer, NeedsParents) or not synthesizer.needs_parents:
        return False
    return not getattr(synthesizer, "other_parents", False)


class Home:
    """The process that a synthesizer was given in: an accelerator cannot be used in one that was forked from it.

    Pickled into a process of its own, as spawn does it, that process is its home.
    """

    def __init__(self) -> None:
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"at_home": os.getpid() == self._process}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._process = os.getpid() if state["at_home"] else -1

    def check(self, synthesizer: Any) -> None:
        """Raises if the synthesizer is to draw in a forked process on another device than the CPU.

        Raises:
            SynthesizerError: It is.
        """
        if os.getpid() != self._process and (elsewhere := _devices(synthesizer) - {"cpu"}):
            raise SynthesizerError(
                "expected live drawing in the process that holds the networks, found a forked worker and networks on "
                f"{', '.join(sorted(elsewhere))}; draw into a pool first (SyntheticPool.build), which is faster too, "
                "draw in the main process (num_workers=0, or SynthesizeBatch after the loader), or move the networks "
                "with synthesizer.to('cpu')"
            )


def _devices(synthesizer: Any) -> set[str]:
    """Returns the types of the devices that a synthesizer and its modules are on."""
    if parts := getattr(synthesizer, "parts", None):
        return {device for part in parts for device in _devices(part)}
    held = [synthesizer, *vars(synthesizer).values()] if hasattr(synthesizer, "__dict__") else [synthesizer]
    held += [module for value in held if isinstance(value, Mapping) for module in value.values()]
    modules = [module for module in held if isinstance(module, nn.Module)]
    own = getattr(synthesizer, "device", None)
    told = set() if own is None else {str(own).partition(":")[0]}
    return told | {tensor.device.type for module in modules for tensor in (*module.parameters(), *module.buffers())}
