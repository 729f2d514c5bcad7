"""Synthetic images by label: the rows of a pool, or a synthesizer that draws as it is asked.

All choices come from torch's global random state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, DataError
from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.synthesizers.checks import Home
from gan_augment.types import IntArray, Synthesizer

__all__ = ["ByLabel"]

_SEEDS = 2**63 - 1
_BEYOND = 0.25
"""How far noise and the like may lead values out of 0 to 1."""


class ByLabel:
    """What a pool or a synthesizer has of each label. No module, so that a transform does not register it.

    Args:
        source: The pool, of whose view the rows are drawn, or the synthesizer.
        classes: Names of the dataset's classes by label; None for the labels that the pool was built for, and those of
            a synthesizer by position, or by value where its class names are numbers.
        transform: The user's function for what is drawn.
    """

    def __init__(
        self, source: Any, classes: Sequence[str] | None = None, transform: Callable[..., Any] | None = None
    ) -> None:
        if not isinstance(source, SyntheticPool | Synthesizer):
            raise ConfigError(f"expected a SyntheticPool or a Synthesizer, found {type(source).__name__}")
        if transform is not None and not callable(transform):
            raise ConfigError(f"expected transform= a callable or None, found {transform!r}")
        self.pool: SyntheticPool | None = None
        self.synthesizer: Synthesizer | None = None
        self.transform = transform
        self.classes = None if classes is None else [str(name) for name in classes]
        self._by_value = self._range_is_checked = False
        self._values: dict[int | str, int] | None = None
        names: Sequence[str] | None
        if isinstance(source, SyntheticPool):
            self.pool, self._by_value = source, not source.named
            names, self._total = source.classes, len(source.classes)
            self._values = {value: index for index, value in enumerate(source.values)}
            self._rows = _rows_by_class(source)
        else:
            self.synthesizer, names, self._total = source, source.class_names, source.num_classes
            if names is not None and all(name.isdecimal() for name in names):  # a GAN of classes 1, 2, 3
                self._values = {int(name): index for index, name in enumerate(names)}
            self._rows = {label: np.empty(0, np.int64) for label in range(self._total)}
        known = self._checked(None if names is None else list(names))
        self._names = None if known is None else {name: index for index, name in enumerate(known)}
        self._home = Home()

    def __repr__(self) -> str:
        return repr(self.pool if self.synthesizer is None else self.synthesizer)

    def _checked(self, names: list[str] | None) -> list[str] | None:
        """Returns the names of the source's classes; those of the dataset for a synthesizer without names."""
        if self.classes is None or self._by_value:
            return names
        if len(set(self.classes)) != len(self.classes):
            raise ConfigError(f"expected classes= of different names, found {', '.join(self.classes)}")
        if names is None:
            if len(self.classes) != self._total:
                raise ConfigError(
                    f"expected classes= of {self._total} names, for a synthesizer of {self._total} classes without "
                    f"names, found {len(self.classes)}"
                )
            return self.classes
        if not set(names) & set(self.classes):
            raise ConfigError(
                f"expected classes= to name classes of the source, {', '.join(names)}, found {', '.join(self.classes)};"
                " give the dataset's class names in the order of its labels"
            )
        return names

    # -- classes --------------------------------------------------------------------------------------------------

    def class_of(self, label: int | str) -> int:
        """Returns the source's class of a label; -1 where the source has no image of it.

        Raises:
            DataError: The label is beyond the known classes.
        """
        found = self._position(label)
        return found if found in self._rows else -1

    def _position(self, label: int | str) -> int:
        if self._by_value:
            if isinstance(label, str) and self.classes is not None and label in self.classes:
                label = self.classes.index(label)
            return self._index(str(label))
        if isinstance(label, str):
            if self._names is None:
                raise DataError(
                    f"expected labels that are whole numbers, for a synthesizer without class names, found {label!r}; "
                    "give classes=, the dataset's class names"
                )
            return self._index(label)
        if self.classes is None and self._values is not None and label in self._values:
            return self._values[label]
        known = self._total if self.classes is None else len(self.classes)
        if label >= known or (self.classes is None and self._values is not None):
            by_value = self.classes is None and self._values is not None
            told = f"labels among {list(self._values or ())}" if by_value else f"labels from 0 to {known - 1}"
            raise DataError(
                f"expected {told}, found {label}; give classes=, the dataset's class names by label, to match classes "
                "by name"
            )
        return label if self.classes is None else self._index(self.classes[label])

    def _index(self, name: str) -> int:
        return -1 if self._names is None else self._names.get(name, -1)

    def labels(self) -> list[int]:
        """Returns the labels, as whole numbers, that there are synthetic images of."""
        if self._by_value:
            assert self._names is not None
            return sorted(int(name) for name, i in self._names.items() if i in self._rows and name.isdecimal())
        known: Sequence[int] = range(self._total if self.classes is None else len(self.classes))
        if self.classes is None and self._values is not None:
            known = sorted(value for value in self._values if isinstance(value, int))
        return [label for label in known if self._position(label) in self._rows]

    def label_of(self, key: Any) -> int:
        """Returns the label of a key of a user's dict: a label, or a class name.

        Raises:
            ConfigError: There is no such class.
        """
        names = self.classes if self.classes is not None else [] if self._by_value else list(self._names or [])
        if isinstance(key, str) and key in names:
            by_value = self.classes is None and self._values is not None
            found = list(self._values or ())[names.index(key)] if by_value else names.index(key)
            if isinstance(found, int):
                return found
        if isinstance(key, bool | str) or not isinstance(key, int | np.integer) or key < 0:
            known = f" or names of {', '.join(names)}" if names else "; give classes= to use names"
            raise ConfigError(f"expected classes as labels from 0{known}, found {key!r}")
        return int(key)

    # -- images ---------------------------------------------------------------------------------------------------

    def pick(self, index: int) -> int:
        """Returns a random row of the pool of one of its classes."""
        rows = self._rows[index]
        return int(rows[int(torch.randint(len(rows), (), device="cpu"))])

    def draw(self, classes: npt.ArrayLike, conditions: Mapping[str, Tensor] | None = None) -> Tensor:
        """Draws an image of each class `(n,)` of the synthesizer: `(n, C, *grid)` float32 in [-1, 1].

        Raises:
            SynthesizerError: Its networks are on an accelerator and this process was forked from the one that has them.
        """
        assert self.synthesizer is not None
        self._home.check(self.synthesizer)
        classes = np.asarray(classes, np.int64)
        seeds = torch.randint(_SEEDS, (len(classes),), device="cpu").numpy()
        with torch.no_grad():
            return self.synthesizer.sample(classes, seeds, conditions=conditions).images

    def batch(self, classes: IntArray, like: Tensor) -> Tensor:
        """Returns a synthetic image of each class `(n,)` of the source, of the size, dtype and device of a batch.

        Args:
            classes: `(n,)` classes of the source.
            like: `(N, C, *spatial)` uint8 or float.

        Raises:
            DataError: What is drawn does not fit the batch.
        """
        if self.pool is None:
            made = self._live(classes, like)
        else:
            made = torch.stack([self._row(self.pick(index), like) for index in classes.tolist()])
        return made.to(like.device)

    def _row(self, row: int, like: Tensor) -> Tensor:
        assert self.pool is not None
        if self.transform is not None:
            return _fitting(self.transform(self.pool.raw(row)), like.shape[1:], like.dtype, "transform= to return")
        array = np.array(self.pool.array(row))
        if (len(array), like.shape[1]) == (1, 3) and array.ndim == like.ndim - 1:
            array = np.repeat(array, 3, axis=0)
        return _fitting(torch.from_numpy(array), like.shape[1:], like.dtype, "the pool's images as")

    def _check_range(self, batch: Tensor) -> None:
        """Raises if the first batch is plainly not one from 0 to 1, which drawn images are without a transform."""
        if self._range_is_checked or batch.is_meta:
            return
        least, most = float(batch.min()), float(batch.max())
        if least < -_BEYOND or most > 1 + _BEYOND:
            raise DataError(
                f"expected a float batch from 0 to 1, as drawn images are, found values from {least:.3g} to {most:.3g};"
                " give transform=, which makes drawn images, in [-1, 1], what the loader's transform makes of real ones"
            )
        self._range_is_checked = True

    def _live(self, classes: IntArray, like: Tensor) -> Tensor:
        assert self.synthesizer is not None
        spec, shape = self.synthesizer.image_spec, (len(classes), *like.shape[1:])
        drawn = self.draw(classes)
        if self.transform is not None:
            drawn = (drawn if spec is None else _at_raw_size(drawn, spec)).to(like.device)
            with torch.no_grad():
                return _fitting(self.transform(drawn), shape, like.dtype, "transform= to return")
        if spec is not None:
            drawn = torch.from_numpy(spec.encode(drawn))
            if drawn.dtype != torch.uint8 and not (drawn.is_floating_point() and like.is_floating_point()):
                return _fitting(drawn, shape, like.dtype, "the synthesizer's images as")
            drawn = drawn / 255 if drawn.dtype == torch.uint8 and like.is_floating_point() else drawn
        else:
            drawn = ((drawn + 1) / 2).clamp(0, 1)
            drawn = drawn if like.is_floating_point() else (drawn * 255).round()
        if drawn.is_floating_point() and like.is_floating_point():
            self._check_range(like)
        return _fitting(drawn.to(like.dtype), shape, like.dtype, "the synthesizer's images as")


def _rows_by_class(pool: SyntheticPool) -> dict[int, IntArray]:
    labels = pool.labels
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    return dict(zip(found.tolist(), np.split(pool.rows[order], starts[1:]), strict=True)) if len(found) else {}


def _fitting(made: Any, shape: Sequence[int], dtype: torch.dtype, what: str) -> Tensor:
    """Returns `made` as a plain tensor, after asserting its shape and dtype."""
    if isinstance(made, Tensor) and tuple(made.shape) == tuple(shape) and made.dtype == dtype:
        return made.detach().as_subclass(Tensor)
    found = f"{made.dtype} of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    raise DataError(
        f"expected {what} tensors like those of the batch, {dtype} of shape {tuple(shape)}, found {found}; give a "
        "transform= that makes them so, as the loader's own does with real images (size, dtype, normalisation)"
    )


def _at_raw_size(images: Tensor, spec: ImageSpec) -> Tensor:
    """Returns images of the grid at the size of the raw ones, still float32 in [-1, 1]."""
    form = replace(spec.form, kind="tensor", layout="channels_first", dtype="float32", mode=None)
    ends = (-1.0,) * spec.channels, (1.0,) * spec.channels
    return torch.from_numpy(replace(spec, form=form, low=ends[0], high=ends[1]).encode(images))
