"""Real images that image-conditioned synthesizers draw from: picked by the sample's seed, stored nowhere."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from gan_augment.errors import SynthesizerError
from gan_augment.images import ImageSpec
from gan_augment.seeds import uniforms
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import match_classes
from gan_augment.types import IntArray

__all__ = ["Parents", "check_conditions"]

_STREAM = 1


class Parents:
    """The real images of a dataset, by the classes of a synthesizer.

    Args:
        view: The dataset.
        classes: Class of the parents, by name, for each class of the synthesizer.
    """

    def __init__(self, view: RawView, classes: Sequence[str]) -> None:
        found = match_classes(classes, view.num_classes, view.classes, needed=())
        self.view, self._classes = view, list(classes)
        self._rows = [np.empty(0, np.int64) if label < 0 else view.of_class(int(label)) for label in found]

    def draw(self, labels: IntArray, seeds: IntArray) -> IntArray:
        """Returns the item `(N,)` that each sample is made from, a function of its seed.

        Raises:
            SynthesizerError: The dataset has no image of a class.
        """
        empty = [self._classes[label] for label in np.unique(labels) if not len(self._rows[label])]
        if empty:
            raise SynthesizerError(
                f"expected parents of every class in the bound dataset, found none of {', '.join(empty)}, but of "
                f"{', '.join(self.view.classes)}; give class_names= or parents= of these where it is loaded"
            )
        if not len(labels):
            return labels
        share = uniforms(seeds, 1, _STREAM)[:, 0]
        sizes = np.array([len(rows) for rows in self._rows])[labels]
        position = np.minimum((share * sizes).astype(np.int64), sizes - 1)
        return np.array([self._rows[label][at] for label, at in zip(labels, position, strict=True)], dtype=np.int64)

    def images(self, parents: IntArray, spec: ImageSpec) -> Tensor:
        """Returns items `(N,)` as `(N, C, *grid)` in [-1, 1]."""
        return self.view.images(parents, spec=spec)


def check_conditions(given: Mapping[str, Tensor], expected: Mapping[str, tuple[int | None, ...]], whose: str) -> None:
    """Raises unless conditions have the expected names and shapes; a side of None may be any.

    Raises:
        SynthesizerError: They have not.
    """
    shapes: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in given.items()}
    fits = shapes.keys() == expected.keys() and all(
        len(shapes[name]) == len(wanted) and all(b is None or a == b for a, b in zip(shapes[name], wanted, strict=True))
        for name, wanted in expected.items()
    )
    if given and not fits:
        told = ", ".join(f"{name} ({', '.join('any' if n is None else str(n) for n in shape)})"
                         for name, shape in expected.items()) or "none"  # fmt: skip
        raise SynthesizerError(f"expected conditions for {whose}: {told}; found {shapes}")
