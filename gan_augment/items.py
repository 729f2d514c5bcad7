"""Items of a dataset: which part is the image, which the label, and whether two items are the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gan_augment.errors import DataError
from gan_augment.forms import is_image

__all__ = ["ItemStructure", "label_value", "same"]

_IMAGE_KEYS = ("image", "img", "pixel_values", "images", "x")
_LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class")


@dataclass(frozen=True)
class ItemStructure:
    """How an item is built: a bare image, or an image and a label in a tuple, list, named tuple or dict.

    Attributes:
        kind: The container.
        image: Index or key of the image; None for a bare image.
        label: Index or key of the label; None where the item has none.
        factory: The named tuple's class; None for other containers.
    """

    kind: Literal["image", "tuple", "list", "namedtuple", "dict"]
    image: int | str | None = None
    label: int | str | None = None
    factory: type | None = None

    @classmethod
    def of(cls, item: Any) -> "ItemStructure":
        """Reads the structure off one item.

        Raises:
            DataError: There is no image, more than one, or a part that is neither the image nor the label.
        """
        if is_image(item):
            return cls("image")
        if isinstance(item, Mapping):
            return cls._of_dict(item)
        if isinstance(item, tuple | list):
            return cls._of_sequence(item)
        raise DataError(
            f"expected items that are (image, label), a dict with an image and a label, or an image, "
            f"found {type(item).__name__}; give a dataset whose items have one of these forms"
        )

    @classmethod
    def _of_dict(cls, item: Mapping[Any, Any]) -> "ItemStructure":
        images = [key for key in item if is_image(item[key])]
        named = [key for key in _IMAGE_KEYS if key in images]
        image = named[0] if named else images[0] if len(images) == 1 else None
        label = next((key for key in _LABEL_KEYS if key in item and key != image), None)
        extra = [key for key in item if key not in (image, label)]
        if image is None or extra:
            raise DataError(
                f"expected a dict of one image (under one of {', '.join(_IMAGE_KEYS)}) and one label (under one "
                f"of {', '.join(_LABEL_KEYS)}), found the keys {', '.join(map(str, item))}; synthetic items cannot "
                "be given values for other keys: wrap the dataset so that its items hold these two"
            )
        return cls("dict", image, label)

    @classmethod
    def _of_sequence(cls, item: Any) -> "ItemStructure":
        if len(item) not in (1, 2) or not is_image(item[0]) or (len(item) == 2 and is_image(item[1])):
            found = ", ".join(type(part).__name__ for part in item)
            raise DataError(
                f"expected items (image, label), found ({found}); synthetic items cannot be given values for "
                "other parts (a mask, boxes): wrap the dataset so that its items hold an image and a label"
            )
        label = 1 if len(item) == 2 else None
        if hasattr(item, "_fields"):
            return cls("namedtuple", 0, label, type(item))
        return cls("tuple" if isinstance(item, tuple) else "list", 0, label)

    def split(self, item: Any) -> tuple[Any, Any]:
        """Returns the image and the label of an item; None for a label that it has not."""
        image = item if self.image is None else item[self.image]
        return image, None if self.label is None else item[self.label]

    def assemble(self, image: Any, label: Any) -> Any:
        """Returns an item of this structure: the inverse of `split`."""
        if self.kind == "image":
            return image
        if self.kind == "dict":
            return {self.image: image} if self.label is None else {self.image: image, self.label: label}
        parts = (image,) if self.label is None else (image, label)
        if self.factory is not None:
            return self.factory(*parts)
        return parts if self.kind == "tuple" else list(parts)


def label_value(label: Any) -> int | str:
    """Returns a label as a plain int or str.

    Raises:
        DataError: It is multi-label, a fraction, negative, or no label at all.
    """
    if isinstance(label, Tensor):
        label = label.detach().cpu().numpy()
    if isinstance(label, np.ndarray | list | tuple):
        array = np.asarray(label)
        if array.size != 1:
            raise DataError(
                f"expected one label an image, found {array.size} values {str(array.tolist())[:60]}; multi-label "
                "sets cannot be rebalanced by class: give targets= with one class for each image"
            )
        label = array.reshape(-1)[0]
    if isinstance(label, str | np.str_):
        return str(label)
    if isinstance(label, bool | int | float | np.number | np.bool_) and 0 <= label < np.inf and label == int(label):
        return int(label)
    raise DataError(
        f"expected labels that are whole numbers from 0 or strings, found {label!r}; give targets= with one class "
        "for each image"
    )


def same(a: Any, b: Any) -> bool:
    """Tells whether two items are equal in type, shape and every value (NaN equals NaN)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Image.Image):
        return bool(a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes())
    if isinstance(a, Tensor | np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and _equal(a, b).all())
    return bool(_equal(a, b))


def _equal(a: Any, b: Any) -> Any:
    return (a == b) | ((a != a) & (b != b))  # noqa: PLR0124  # NaN is what differs from itself
