"""Extras: what items tell beside image and label, for losses that weigh and networks that keep sources apart."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gan_augment.errors import ConfigError
from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.selection.eyes import Eye
from gan_augment.source import RawView
from gan_augment.types import Extractor, FloatArray, Origin

__all__ = ["Extras", "Labeller"]

_SEE = 256


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What items tell beside image and label: appended to a tuple or a list, under these names in a dict.

    Attributes:
        source: Whether to add `source`, 1 for a synthetic item and 0 for a real one: for separate batch-norm statistics
            (Xie et al. 2020, AdvProp) or a loss of one's own.
        weight: Whether to add `weight`, float32: 1 for real items; for synthetic ones `synthetic_weight` times the
            pool's own weight.
        synthetic_weight: From 0.
        soft_label: A judge, such as a `TrainedExtractor`: adds `soft_label`, `(num_classes,)` float32, its class
            probabilities for a synthetic item, one-hot for a real one. Needs a pool.
    """

    source: bool = False
    weight: bool = False
    synthetic_weight: float = 1.0
    soft_label: Extractor | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic_weight < float("inf"):
            raise ConfigError(f"expected synthetic_weight= of at least 0, found {self.synthetic_weight}")

    @property
    def names(self) -> list[str]:
        """Names of the parts that are added, in their order."""
        asked = {"source": self.source, "weight": self.weight, "soft_label": self.soft_label is not None}
        return [name for name, wanted in asked.items() if wanted]


class Labeller:
    """Adds the extras to items.

    Args:
        extras: Which.
        view: The dataset.
        pool: What synthetic items are read from; None where they are drawn live, or there are none.
        live: Whether they are drawn live.

    Raises:
        ConfigError: Soft labels are asked for of images that are drawn live, or of a judge without probabilities.
    """

    def __init__(self, extras: Extras, view: RawView, pool: SyntheticPool | None, *, live: bool = False) -> None:
        self.extras, self._classes = extras, view.num_classes
        self._weights = None if pool is None else pool.candidates().weights
        self._probs: dict[int, FloatArray] | None = None
        if extras.soft_label is not None:
            if live:
                raise ConfigError(
                    "expected a pool for soft labels, which a judge gives once, found live=True; build one"
                )
            self._probs = {} if pool is None else _probabilities(extras.soft_label, view, pool)
            self.extras = Extras(source=extras.source, weight=extras.weight, synthetic_weight=extras.synthetic_weight)
        self.names = extras.names

    def add(self, item: Any, origin: Origin) -> Any:
        """Returns the item with its extras; the item itself is left as it is.

        Raises:
            ConfigError: It is a named tuple, or a dict that has such a key.
        """
        if isinstance(item, list) and item and all(isinstance(part, Mapping) for part in item):
            return [self.add(part, origin) for part in item]  # several crops of one item, as MONAI gives them
        values = {name: getattr(self, f"_{name}")(origin) for name in self.names}
        if isinstance(item, Mapping):
            if taken := set(values) & set(item):
                told = ", ".join(sorted(taken))
                raise ConfigError(f"expected items without the keys {told} under extras=, found them")
            new: Any = copy.copy(item)
            new.update(values)
            if hasattr(new, "update_attributes"):  # a subject of torchio, whose crops keep what is an attribute too
                new.update_attributes()
            return new
        if hasattr(item, "_fields"):
            raise ConfigError(
                f"expected items that are tuples or dicts under extras=, found the named tuple {type(item).__name__}, "
                "which has no place for more"
            )
        if isinstance(item, list):
            return [*item, *values.values()]
        return (*(item if isinstance(item, tuple) else (item,)), *values.values())

    def _source(self, origin: Origin) -> int:
        return int(origin.kind == "synthetic")

    def _weight(self, origin: Origin) -> np.float32:
        """A Python float would be collated to float64, and turn the loss into that."""
        if origin.kind != "synthetic":
            return np.float32(1)
        own = 1.0 if self._weights is None or origin.row is None else float(self._weights[origin.row])
        return np.float32(self.extras.synthetic_weight * own)

    def _soft_label(self, origin: Origin) -> torch.Tensor:
        assert self._probs is not None
        if origin.row is not None:
            return torch.from_numpy(self._probs[origin.row].copy())
        return torch.nn.functional.one_hot(torch.tensor(origin.label), self._classes).float()


def _probabilities(judge: Extractor, view: RawView, pool: SyntheticPool) -> dict[int, FloatArray]:
    """Returns what a judge thinks of each row of a pool's view, its classes in the dataset's order."""
    spec: ImageSpec = pool.image_spec or view.spec()
    eye = Eye(judge, spec, view.classes)
    found: dict[int, FloatArray] = {}
    for start in range(0, len(pool), _SEE):
        rows = pool.rows[start : start + _SEE]
        arrays = np.stack(
            [np.broadcast_to(pool.array(int(row)), (spec.channels, *(pool.form.shape or ()))) for row in rows]
        )
        seen, _ = eye.see(eye.spec.decode(arrays), pool.labels[start : start + _SEE])
        if seen.probs is None:
            raise ConfigError(f"expected a judge with class probabilities, found {type(judge).__name__} without")
        probs = seen.probs[:, : view.num_classes].astype(np.float32)  # a judge may know more classes
        found |= dict(zip(rows.tolist(), probs / probs.sum(axis=1, keepdims=True).clip(1e-12), strict=True))
    return found
