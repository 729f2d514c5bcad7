"""Synthetic images by label and seed: the rows of a pool, or a synthesizer that draws as it is asked."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, DataError, DataMismatchWarning
from gan_augment.forms import RawForm
from gan_augment.geometry import Affine, spacing_of
from gan_augment.images import ImageSpec
from gan_augment.items import is_number
from gan_augment.pool import SyntheticPool
from gan_augment.pool.opened import opened_source
from gan_augment.synthesizers.checks import Home, from_items
from gan_augment.types import IntArray, Synthesizer

__all__ = ["ByLabel", "drawn_seeds", "finite"]

_SEEDS = 2**63 - 1
_LARGEST = float(np.finfo(np.float32).max)


class ByLabel:
    """What a pool or a synthesizer has of each label. No module, so that a transform does not register it.

    Args:
        source: The pool, of whose view the rows are drawn, or the synthesizer; or the path of one.
        classes: Names of the dataset's classes by label; None for the labels that the pool was built for, and those of
            a synthesizer by position, or by value where its class names are numbers.
        transform: The user's function for what is drawn.
    """

    def __init__(
        self, source: Any, classes: Sequence[str] | None = None, transform: Callable[..., Any] | None = None
    ) -> None:
        source = opened_source(source)
        if transform is not None and not callable(transform):
            raise ConfigError(f"expected transform= a callable or None, found {transform!r}")
        self.pool: SyntheticPool | None = None
        self.synthesizer: Synthesizer | None = None
        self.transform = transform
        if isinstance(classes, str | Mapping) or not isinstance(classes, Iterable | None):
            raise ConfigError(f"expected classes= a list of names, found {classes!r:.200}")
        self.classes = None if classes is None else [str(name) for name in classes]
        self._by_value = False
        self._values: dict[int | str, int] | None = None
        self._strangers: set[str] = set()
        self._sound: set[int] = set()  # rows of a pool that were looked through
        names: Sequence[str] | None
        if isinstance(source, SyntheticPool):
            self.pool, self._by_value = source, not source.named
            names, self._total = source.classes, len(source.classes)
            self._values = {value: index for index, value in enumerate(source.values)}
            self._rows = _rows_by_class(source)
        else:
            self.synthesizer, names, self._total = source, source.class_names, source.num_classes
            if names is not None and all(map(is_number, names)):  # a GAN of classes 1, 2, 3
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

    def class_of(self, label: int | str, *, warn: bool = True) -> int:
        """Returns the source's class of a label; -1 where the source has no image of it.

        Args:
            label: Of the dataset.
            warn: Whether a name that is none of the source's is told of, once.

        Warns:
            DataMismatchWarning: It is.

        Raises:
            DataError: The label is beyond the known classes.
        """
        if warn and isinstance(label, str) and self.classes is None:
            self._note_stranger(label)
        found = self._position(label)
        return found if found in self._rows else -1

    def classes_of(self, labels: IntArray) -> IntArray:
        """Returns the source's class of each label `(n,)`; -1 where the source has no image of it.

        Raises:
            DataError: A label is beyond the known classes.
        """
        listed = labels.tolist()
        known = {label: self.class_of(label) for label in sorted(set(listed))}
        classes: IntArray = np.array([known[label] for label in listed], np.int64)
        return classes

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

    def _note_stranger(self, name: str) -> None:
        """Warns, once, of a name that is none of the source's: nobody else would notice that nothing happens."""
        if self._names is None or name in self._names or name in self._strangers:
            return
        self._strangers.add(name)
        warnings.warn(
            f"the source has no class {name!r:.200} (it has {', '.join(self._names)}): items of it stay as they are. "
            "Where it is one of these by another name or number, give classes=, the dataset's class names by label",
            DataMismatchWarning,
            stacklevel=3,
        )

    def _index(self, name: str) -> int:
        return -1 if self._names is None else self._names.get(name, -1)

    def labels(self) -> list[int]:
        """Returns the labels, as whole numbers, that there are synthetic images of."""
        if self._by_value:
            assert self._names is not None
            return sorted(int(name) for name, i in self._names.items() if i in self._rows and is_number(name))
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

    @property
    def has_masks(self) -> bool:
        """Whether each image has a segmentation mask."""
        return self.pool is not None and self.pool.has_masks

    @property
    def image_spec(self) -> ImageSpec | None:
        """How raw values map to [-1, 1]; None where that is not known."""
        holder = self.synthesizer if self.pool is None else self.pool
        return None if holder is None else holder.image_spec

    @property
    def form(self) -> RawForm | None:
        """The raw form of the images; None of a synthesizer without an image_spec."""
        if self.pool is not None:
            return self.pool.form
        assert self.synthesizer is not None
        spec = self.synthesizer.image_spec
        return None if spec is None else replace(spec.form, shape=spec.raw_shape)

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Width of a voxel in mm along each axis of volumes; None where it is not known."""
        return None if self.affine is None else spacing_of(self.affine)

    @property
    def affine(self) -> Affine | None:
        """From voxels of volumes to mm (RAS+); None where it is not known."""
        if self.pool is not None:
            return self.pool.affine
        spec = None if self.synthesizer is None else self.synthesizer.image_spec
        return None if spec is None else spec.affine

    def require_form(self) -> RawForm:
        """Returns the raw form of the images.

        Raises:
            ConfigError: It is that of a synthesizer without an image_spec, of which nobody knows what raw images are.
        """
        if (form := self.form) is None:
            raise ConfigError(
                "expected a synthesizer with an image_spec, which says what raw images look like, found none; give "
                "ga.adapt(gan, like=train_set), wrap(..., image_spec=), or a pool"
            )
        return form

    def made(
        self, index: int, seed: int, item: npt.NDArray[Any] | None = None
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
        """Returns the raw image and the mask that a seed stands for: of one source always the same.

        Args:
            index: A class of the source, of which it has images.
            seed: From 0 to 2**63 - 1: of a pool it chooses the row, of a synthesizer it is that of the sample.
            item: `(C, *spatial)` in the raw dtype, the item's own image; an image-conditioned synthesizer makes its
                image from it, another leaves it alone.

        Returns:
            `(C, *spatial)` in raw dtype and units, not to be written to; `(1, *spatial)` of whole numbers or None.

        Raises:
            DataError: The item's image is of another type than the synthesizer was fitted on, or the pool's is not
                finite.
            SynthesizerError: A synthesizer on an accelerator is to draw in a forked process.
        """
        if self.pool is not None:
            row = self.row(index, seed)
            return self.arrays([row])[0], self.pool.mask(row)
        assert self.synthesizer is not None
        self.require_form()
        spec = self.synthesizer.image_spec
        assert spec is not None
        conditions = None
        if item is not None and from_items(self.synthesizer):
            _check_item(item, spec)
            conditions = {"source": spec.decode(item[None])}
        return spec.encode(self.draw([index], [seed], conditions))[0], None

    def arrays(self, rows: Sequence[int]) -> list[npt.NDArray[Any]]:
        """Returns the images of rows of the pool, `(C, *spatial)` each, raw and not to be written to.

        Raises:
            DataError: A value is not finite; a row is looked through once, as it does not change.
        """
        assert self.pool is not None
        found = list(map(self.pool.reader(), rows))
        if self.pool.form.dtype.startswith("float"):
            for row, array in zip(rows, found, strict=True):
                if row not in self._sound:
                    finite(array)
                    self._sound.add(row)
        return found

    def row(self, index: int, seed: int) -> int:
        """Returns the row of the pool that a seed stands for, of one of its classes."""
        rows = self._rows[index]
        return int(rows[seed % len(rows)])

    def rows(self, classes: IntArray, seeds: IntArray) -> IntArray:
        """Returns the rows `(n,)` of the pool that seeds `(n,)` stand for, of classes `(n,)` of it; see `row`."""
        pairs = zip(classes.tolist(), seeds.tolist(), strict=True)
        return np.array([self.row(index, seed) for index, seed in pairs], np.int64)

    def draw(
        self, classes: npt.ArrayLike, seeds: npt.ArrayLike, conditions: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Draws an image of each class `(n,)` of the synthesizer: `(n, C, *grid)` float32 in [-1, 1].

        Raises:
            SynthesizerError: Its networks are on an accelerator and this process was forked from the one that has them.
        """
        assert self.synthesizer is not None
        self._home.check(self.synthesizer)
        with torch.no_grad():
            return self.synthesizer.sample(
                np.asarray(classes, np.int64), np.asarray(seeds, np.int64), conditions=conditions
            ).images

    def __deepcopy__(self, memo: Any) -> "ByLabel":
        """Returns itself: hosts copy transforms with each item, and nothing here changes."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sound": set()}


def finite(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns images of a pool as they are; what a folder holds may have been written by anyone.

    Raises:
        DataError: A value is not finite, or beyond what float32 can hold.
    """
    if images.dtype.kind != "f":
        return images
    least, most = float(images.min()), float(images.max())
    if not -_LARGEST <= least <= most <= _LARGEST:
        raise DataError(
            f"expected finite values in the pool, found values from {least:.3g} to {most:.3g}; make it anew from "
            "images without NaN and infinity"
        )
    return images


def drawn_seeds(count: int) -> IntArray:
    """Returns seeds `(count,)` from torch's global random state."""
    found: IntArray = torch.randint(_SEEDS, (count,), device="cpu").numpy()
    return found


def _check_item(item: npt.NDArray[Any], spec: ImageSpec) -> None:
    found, wanted = (str(item.dtype), len(item)), (spec.form.dtype, spec.form.channels)
    if found != wanted:
        raise DataError(
            f"expected images of {wanted[1]} channels of {wanted[0]}, as the synthesizer was fitted on, found "
            f"{found[1]} of {found[0]}; put the transform first, where images are still raw"
        )


def _rows_by_class(pool: SyntheticPool) -> dict[int, IntArray]:
    labels = pool.labels
    order = np.argsort(labels, kind="stable")
    found, starts = np.unique(labels[order], return_index=True)
    return dict(zip(found.tolist(), np.split(pool.rows[order], starts[1:]), strict=True)) if len(found) else {}
