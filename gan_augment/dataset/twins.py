"""Twins: synthetic images as items of a dataset, of the same structure and types as its real ones."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from gan_augment.errors import ConfigError, DataError, DataMismatchWarning
from gan_augment.forms import RawForm, is_image
from gan_augment.geometry import Affine, check_affine
from gan_augment.hosts import FRAME
from gan_augment.images import far_apart
from gan_augment.items import ItemStructure, fresh, same
from gan_augment.pipelines import call_on_pair, call_transform, preserved_rng
from gan_augment.pool.matching import raw_mask, twin_form
from gan_augment.source import RawView
from gan_augment.types import Origin

__all__ = ["Fill", "Transform", "Twins"]

Transform = Literal["inherit"] | Callable[..., Any] | None
Fill = Literal["like"] | Mapping[Any, Any] | None

_PROBED, _READ_TWICE = 4, 24
"""A flip of probability 0.1 is missed in 24 items that are read twice once in a hundred times."""

_LOOKED_AT = 4
"""Real images that tell the units of a class."""


class Twins:
    """Makes items of a dataset out of synthetic images.

    Args:
        view: The dataset.
        drawn: The form of the synthetic images.
        masks: Whether each has a mask.
        transform: "inherit" for the base's own, None for none, or a callable on the raw image, or on image and mask.
        fill: What stands in the other parts of an item: "like" for what a real item of the class holds, or a value for
            each index or key, or a function of the item's `Origin`.

    Attributes:
        make: Makes a raw image of `(C, *raw_shape)`.
        pairs: Whether an item is the tuple of a raw image and a label, with no transform.

    Raises:
        DataError: The images are not twins of the real ones, or have no masks where those have.
        ConfigError: `transform` or `fill` is missing, or cannot be used here.
    """

    def __init__(self, view: RawView, drawn: RawForm, masks: bool, transform: Transform, fill: Fill) -> None:
        self._view, self._transform = view, transform
        self._form = self._raw_form(drawn)
        if view.mask_form is not None and not masks:
            raise DataError(
                "expected synthetic images with masks, since the dataset's items have masks, found images alone; draw "
                "from a synthesizer that gives masks, use SyntheticPool.from_arrays(images, labels, masks=...), or "
                "wrap the dataset so that its items hold no mask"
            )
        self._hosted = FRAME in view.structure.extras
        if self._hosted and transform != "inherit":
            raise ConfigError(
                f"expected transform='inherit' for {type(view.base).__name__}, whose items are made by its own "
                f"library, found {transform!r}"
            )
        if transform == "inherit" and view.mode == "as-is":
            self._refuse_random()
        self._fill = self._checked_fill(fill)
        if view.targets_given:
            self._check_labels()
        self._moulds: dict[int, tuple[Any, ItemStructure]] = {}
        plain_tensor = (self._form.kind, self._form.layout, self._form.device) == ("tensor", "channels_first", "cpu")
        self.make = _as_tensor if plain_tensor and drawn.channels == view.form.channels else self._form.raw
        self.pairs = transform == "inherit" and view.plain_pairs

    def _raw_form(self, drawn: RawForm) -> RawForm:
        """Returns the form of raw synthetic images; where the base hides its transforms, what the callable takes."""
        view = self._view
        try:
            return twin_form(view.form, drawn)
        except DataError as error:
            if view.mode == "raw":
                raise
            if callable(self._transform):
                return drawn
            raise DataError(
                f"{error}. If the dataset transforms its images in __getitem__: keep the callable in an attribute "
                "named `transform`, or give it here as transform=, to be called on the raw synthetic image"
            ) from None

    def _refuse_random(self) -> None:
        """A base whose transforms could not be taken apart must give the same item each time."""
        view = self._view
        for number, index in enumerate(np.unique(np.linspace(0, len(view) - 1, _READ_TWICE).astype(int)).tolist()):
            drawn = []
            for seed in (2 * number, 2 * number + 1):
                with preserved_rng(seed=seed):
                    drawn.append(view.base[index])
            if not same(*drawn):
                raise ConfigError(
                    f"expected transforms that synthetic images can go through too, found that item {index} of "
                    f"{type(view.base).__name__} differs each time it is read, by a transform that could not be taken "
                    "apart: synthetic images would stay without it. Give transform= with the callable that the raw "
                    "image goes through, or transform=None for none, or keep the dataset's in an attribute `transform`"
                )

    def _check_labels(self) -> None:
        """A synthetic item has the label of a real one of its class: in a class of given targets all must agree."""
        view = self._view
        for label in np.unique(view.targets).tolist() if view.structure.label is not None else ():
            members = view.of_class(label)
            with preserved_rng():
                held = [view.label(int(index)) for index in members[:: max(1, len(members) // _PROBED)]]
            if any(not same(held[0], other) for other in held):
                raise ConfigError(
                    f"expected items of one label in class {view.classes[label]} of targets=, found {held[0]!r} and "
                    "others: a synthetic item would have any of them. Give finer targets=, or wrap the dataset so that "
                    "its items hold the targets"
                )

    def _checked_fill(self, fill: Fill) -> dict[Any, Any]:
        names = [name for name in self._view.structure.extras if name != FRAME]
        if fill == "like" or not (names or fill):
            return {}
        if not isinstance(fill, Mapping) or set(fill) != set(names):
            told = ", ".join(map(repr, names)) or "there are none"
            raise ConfigError(
                f"expected fill= to say what synthetic items hold in the parts beside image and label ({told}), found "
                f"{fill!r}; give fill={{part: value or function of the item's Origin}} for each, or fill='like' for "
                "what a real item of the class holds"
            )
        return dict(fill)

    def check_affine(self, drawn: Affine, labels: Sequence[int]) -> None:
        """Raises where synthetic volumes would get an affine that lies about them: that of a real item of the class.

        The identity, which hosts give to volumes in memory, says nothing.

        Raises:
            DataError: The item's voxels are of another size, or lie another way.
        """
        for label in labels if self._hosted else ():
            own = self._view.raw_item(label)[FRAME].affine(self._view.structure.image)
            if own is not None and not np.array_equal(own, np.eye(4)):
                check_affine(drawn, own, "build the pool with like=this dataset, or resample and turn the files")

    def label_makers(self) -> dict[int, Callable[[], Any]]:
        """Returns for each class what makes a label of a raw item, an object of its own; for `pairs`."""
        return {int(label): self._view.label_maker(int(label)) for label in np.unique(self._view.targets)}

    def finish(
        self, array: npt.NDArray[Any], mask: npt.NDArray[Any] | None, label: int, tell: Callable[[], Origin]
    ) -> Any:
        """Returns an item.

        Args:
            array: The image `(C, *raw_shape)`.
            mask: The mask `(1, *raw_shape)`, where there is one.
            label: The class.
            tell: Returns where it comes from, for functions in `fill`.
        """
        image = self.make(array)
        extras = {name: self._filled(name, label, tell) for name in self._fill} if self._fill else {}
        form = self._view.mask_form
        drawn_mask = None if mask is None or form is None else raw_mask(mask, form)
        if self._transform == "inherit":
            return self._view.finish(image, label, drawn_mask, extras)
        if self._transform is not None and drawn_mask is not None:
            image, drawn_mask = call_on_pair(self._transform, image, drawn_mask)
        elif self._transform is not None:
            image = call_transform(self._transform, image)
        mould, structure = self._mould(label)
        parts = {structure.image: image, **extras}
        if drawn_mask is not None and structure.mask is not None:
            parts[structure.mask] = drawn_mask
        return structure.replaced(mould, parts)

    def _filled(self, name: Any, label: int, tell: Callable[[], Origin]) -> Any:
        given = self._fill[name]
        value, example = given(tell()) if callable(given) else given, self._view.raw_item(label)[name]
        if isinstance(example, np.generic) and isinstance(value, bool | int | float | np.generic):
            value = type(example)(value)
        if type(value) is not type(example) or np.shape(value) != np.shape(example):
            raise ConfigError(
                f"expected fill= with a {type(example).__name__} for the part {name!r}, as real items have it, found "
                f"the {type(value).__name__} {value!r:.80}; a batch of both could not be collated"
            )
        return fresh(value)

    def _mould(self, label: int) -> tuple[Any, ItemStructure]:
        """Returns a finished real item of a class, after any `target_transform`, and its structure."""
        if label not in self._moulds:
            view = self._view
            with preserved_rng():
                item = view.finish(view.raw(int(view.of_class(label)[0])), label)
            self._moulds[label] = item, ItemStructure.of(item)
        item, structure = self._moulds[label]
        names = [name for name in (structure.label, *structure.extras) if name is not None]
        return structure.replaced(item, {name: fresh(item[name]) for name in names}), structure

    def check_sizes(
        self, array: npt.NDArray[Any], mask: npt.NDArray[Any] | None, label: int, tell: Callable[[], Origin]
    ) -> None:
        """Tries a synthetic item; it must have the size of a real one, unless the dataset's own sizes are mixed.

        Raises:
            DataError: The sizes differ.
        """
        view = self._view
        with preserved_rng():
            drawn = self.finish(array, mask, label, tell)
            given = callable(self._transform)
            if self._form.shape == view.form.shape and not given:
                return
            items = view.finish(view.raw(int(view.of_class(label)[0])), label), drawn
        if any(isinstance(item, list) and item and isinstance(item[0], Mapping) for item in items):
            return  # several crops of one item, which have a size of their own
        if given:
            self._check_made(*map(self._image_of, items))
        sizes = [_size(self._image_of(item)) for item in items]
        if sizes[0] != sizes[1] and view.full_form.shape is not None:
            raise DataError(
                "expected synthetic images like the dataset's own, found others: "
                f"{view.form.differences(self._form, ('shape',))} (dataset against pool); build the pool with "
                "like=this dataset, or give arrays of its type, size and channels"
            )

    def check_units(self, array: npt.NDArray[Any], label: int) -> None:
        """Warns where a synthetic image is plainly in other units than real ones of its class.

        Args:
            array: `(C, *spatial)`, raw.
            label: Its class.
        """
        with preserved_rng():
            reals = [self._view.form.array(self._view.raw(int(row))) for row in self._view.of_class(label)[:_LOOKED_AT]]
        own, drawn = max(map(_extent, reals)), _extent(array)
        if far_apart(own, drawn):
            warnings.warn(
                f"synthetic images are in other units than the dataset's own: those of class "
                f"{self._view.classes[label]} range over {drawn:.4g}, real ones over {own:.4g}. Build the pool with "
                "like=this dataset, or give arrays in the units of its raw images, before any transform",
                DataMismatchWarning,
                stacklevel=4,
            )

    def _image_of(self, item: Any) -> Any:
        """Returns the image of a finished item; of a subject of torchio the values of its image."""
        if self._hosted and isinstance(item, Mapping):
            image = item[self._view.structure.image]
            return image if is_image(image) else image.data
        return ItemStructure.of(item).split(item)[0]

    @staticmethod
    def _check_made(real: Any, drawn: Any) -> None:
        """What a given transform makes must be of the type of real images."""
        wanted, found = RawForm.of(real), RawForm.of(drawn)
        if different := wanted.differences(found, ("kind", "layout", "dtype", "channels", "mode")):
            raise DataError(
                f"expected transform= to make images like the dataset's finished ones, found others: {different} (real "
                "against synthetic); give the callable that the dataset's own raw images go through"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Workers make their own moulds."""
        return {**self.__dict__, "_moulds": {}}


def _as_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array.copy())  # what `raw` of the form does, by the shortest way


def _extent(array: npt.NDArray[Any]) -> float:
    return float(array.max()) - float(array.min())


def _size(image: Any) -> Any:
    return image.size if isinstance(image, Image.Image) else np.shape(image)
