"""Items of a dataset: which part is the image, which the label, which a mask, and whether two items are the same."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from gan_augment.errors import DataError
from gan_augment.forms import is_image, is_mask

__all__ = ["LABEL_KEYS", "ItemStructure", "copied", "fresh", "is_number", "label_value", "same"]

_IMAGE_KEYS = ("image", "img", "pixel_values", "images", "x")
LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class")
_MASK_KEYS = ("mask", "masks", "seg", "segmentation", *LABEL_KEYS)

_MOST_DIGITS = 18
"""All numbers of so many fit into int64."""

Key = int | str


@dataclass(frozen=True)
class ItemStructure:
    """How an item is built: a bare image, or an image, a label, a mask and more in a tuple, named tuple, list or dict.

    Attributes:
        kind: The container.
        image: Index or key of the image; None for a bare image.
        label: Index or key of the label; None where the item has none.
        factory: The named tuple's class; None for other containers.
        mask: Index or key of the segmentation mask; None where the item has none.
        extras: Indices or keys of all other parts.
    """

    kind: Literal["image", "tuple", "list", "namedtuple", "dict"]
    image: Key | None = None
    label: Key | None = None
    factory: type | None = None
    mask: Key | None = None
    extras: tuple[Key, ...] = ()

    @classmethod
    def of(cls, item: Any) -> "ItemStructure":
        """Reads the structure off one item.

        Raises:
            DataError: There is no image, or more than one beside a mask.
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
        several = len(images) > 1
        told = {key for value in item.values() for key in getattr(value, "label_maps", ())}  # by the items' library
        named_so = [key for key in images if key in told or key in _MASK_KEYS] if several else []
        masks = [key for key in named_so if is_mask(item[key], floats=True)]
        images = [key for key in images if key not in masks]
        named = [key for key in _IMAGE_KEYS if key in images]
        image = named[0] if named else images[0] if len(images) == 1 else None
        if image is None or len(images) > 1 or len(masks) > 1:
            raise DataError(
                f"expected a dict of one image (under one of {', '.join(_IMAGE_KEYS)}, or the only one), and perhaps a "
                f"mask (under one of {', '.join(_MASK_KEYS[:4])}) and a label (under one of {', '.join(LABEL_KEYS)}), "
                f"found the keys {', '.join(str(key) for key in item if not str(key).startswith(chr(0)))}, of which "
                f"{', '.join(map(str, (*images, *masks))) or 'none'} hold images; wrap the dataset so that its items "
                "hold these. A mask has whole numbers and one channel"
            )
        mask = masks[0] if masks else None
        rest = [key for key in item if key not in (image, mask)]
        label = next((key for key in LABEL_KEYS if key in rest), None)
        return cls("dict", image, label, None, mask, tuple(key for key in rest if key != label))

    @classmethod
    def _of_sequence(cls, item: Any) -> "ItemStructure":
        others = [at for at in range(1, len(item)) if is_image(item[at])]
        if not item or not is_image(item[0]) or len(others) > 1 or not all(is_mask(item[at]) for at in others):
            found = ", ".join(type(part).__name__ for part in item)
            raise DataError(
                f"expected items (image, label), (image, mask) or (image, mask, label), found ({found}); wrap the "
                "dataset so that its items begin with the image and hold one mask at most"
            )
        mask = others[0] if others else None
        rest = [at for at in range(1, len(item)) if at != mask]
        label = rest[0] if rest else None
        named = hasattr(item, "_fields")
        kind: Any = "namedtuple" if named else "tuple" if isinstance(item, tuple) else "list"
        return cls(kind, 0, label, type(item) if named else None, mask, tuple(rest[1:]))

    def split(self, item: Any) -> tuple[Any, Any]:
        """Returns the image and the label of an item; None for a label that it has not."""
        image = item if self.image is None else item[self.image]
        return image, None if self.label is None else item[self.label]

    def mask_of(self, item: Any) -> Any:
        """Returns the mask of an item; None where it has none."""
        return None if self.mask is None else item[self.mask]

    def replaced(self, item: Any, parts: Mapping[Any, Any]) -> Any:
        """Returns a shallow copy of `item` in which the parts under some keys (None: the bare image) are others."""
        if self.kind == "image":
            return next(iter(parts.values()), item)
        if self.kind == "dict":
            new = copy.copy(item)  # keeps the type of a dict
            new.update(parts)
            return new
        values = [parts.get(at, value) for at, value in enumerate(item)]
        if self.factory is not None:
            return self.factory(*values)
        return tuple(values) if self.kind == "tuple" else values


def fresh(value: Any) -> Any:
    """Returns a part of an item as an object of its own."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, np.ndarray | Image.Image):
        return value.copy()
    return value if isinstance(value, int | str | float) else copy.deepcopy(value)


def is_number(name: str) -> bool:
    """Tells whether a class name is a label in digits, of a length that labels have."""
    return name.isdecimal() and len(name) <= _MOST_DIGITS


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


def copied(item: Any, structure: ItemStructure) -> Any:
    """Returns an item of which no part is shared with `item`."""
    if structure.kind == "image":
        return fresh(item)
    return structure.replaced(
        item, {key: fresh(item[key]) for key in (item if structure.kind == "dict" else range(len(item)))}
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
