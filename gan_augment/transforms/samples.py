"""Reading samples as torchvision's transforms do: where image and label of an item are, or those of a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torchvision import tv_tensors

from gan_augment.errors import ConfigError, DataError
from gan_augment.forms import is_image
from gan_augment.items import label_value

__all__ = ["Batch", "Item", "checked_getter", "find_labels", "hard_labels"]

Getter = Callable[[Any], Any] | str

_PARTS = (Tensor, np.ndarray, np.generic, Image.Image, int, str)


def checked_getter(getter: Any) -> Getter:
    """Returns a `labels_getter=`, after asserting that it is "default" or a callable.

    Raises:
        ConfigError: It is neither.
    """
    if callable(getter) or getter == "default":
        found: Getter = getter
        return found
    raise ConfigError(f"expected labels_getter='default' or a callable on the sample, found {getter!r}")


def find_labels(sample: Any, getter: Getter = "default") -> Any:
    """Returns the labels of a sample, of an item or a batch.

    By default that is the second part of a tuple, or what a dict (the second part, or the sample itself) has under
    "labels", else under a key with "label" in it, else "target".

    Raises:
        ConfigError: There are none there.
    """
    if callable(getter):
        return getter(sample)
    found = sample
    if isinstance(sample, tuple | list) and len(sample) > 1:
        found = next((part for part in sample[1:] if not isinstance(part, tv_tensors.Mask)), sample)
    while isinstance(found, Mapping):
        keys = [key for key in found if isinstance(key, str)]
        ways = (lambda k: k == "labels", lambda k: "label" in k, lambda k: "target" in k)
        key = next((key for way in ways for key in keys if way(key.lower())), None)
        if key is None:
            break
        found = found[key]
    if found is sample or isinstance(found, Mapping | Image.Image) or found is None:
        kind = f"a dict of {', '.join(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
        raise ConfigError(
            f"expected a sample (image, label), or a dict with a key like 'label' or 'target', found {kind}; give "
            "labels_getter=, or use the transform where it sees labels: as a dataset's transforms=, not its transform="
        )
    return found


def _sample(inputs: tuple[Any, ...]) -> Any:
    if not inputs:
        raise ConfigError("expected a sample (image, label), found nothing; call the transform on image and label")
    return inputs if len(inputs) > 1 else inputs[0]


def _parts(sample: Any) -> tuple[list[Any], TreeSpec | None]:
    """Returns all parts of a sample, and how they are put together; a tuple of mere parts is told by None."""
    if type(sample) is tuple and all(isinstance(part, _PARTS) for part in sample):
        return list(sample), None  # the most frequent sample, in a fifth of the time
    return tree_flatten(sample)


def _whole(flat: list[Any], spec: TreeSpec | None) -> Any:
    return tuple(flat) if spec is None else tree_unflatten(flat, spec)


def _refuse_objects(flat: list[Any], allowed: tuple[type, ...]) -> None:
    """Raises where a sample holds what says where something is in its image."""
    names = {type(part).__name__ for part in flat if isinstance(part, tv_tensors.TVTensor)}
    if found := names - {kind.__name__ for kind in allowed}:
        raise ConfigError(
            f"expected images and labels alone, found {', '.join(sorted(found))}: of a synthetic image nothing says "
            "where its objects are; leave these out of the sample (one mask may stay where a pool has masks)"
        )


@dataclass(frozen=True)
class Item:
    """A sample that is one item of a dataset.

    Attributes:
        flat: All its parts.
        spec: How they are put together; None for a tuple of them.
        at: Where the image stands among them.
        mask_at: Where its mask stands; None where it has none.
        label: The class.
    """

    flat: list[Any]
    spec: TreeSpec | None
    at: int
    mask_at: int | None
    label: int | str

    @classmethod
    def read(cls, inputs: tuple[Any, ...], getter: Getter, *, masks: bool) -> "Item":
        """Reads the inputs of a transform.

        Raises:
            ConfigError: There is no label, boxes, a second image, or a mask where `masks` does not allow one.
            DataError: There is no image, or the label is none.
        """
        sample = _sample(inputs)
        flat, spec = _parts(sample)
        _refuse_objects(flat, (tv_tensors.Image, tv_tensors.Mask) if masks else (tv_tensors.Image,))
        label = find_labels(sample, getter)
        found = [i for i, part in enumerate(flat) if isinstance(part, tv_tensors.Mask)]
        images = [i for i, part in enumerate(flat) if is_image(part) and i not in found and part is not label]
        if len(found) > 1 or len(images) > 1:
            raise ConfigError(
                f"expected one image and at most one mask in a sample, found {len(images)} and {len(found)}: a "
                "synthetic image has no partner; leave the others out, or wrap a mask as tv_tensors.Mask where the "
                "pool has masks"
            )
        if not images:
            raise DataError(
                f"expected an image in the sample (PIL, or an array or tensor of 2 to 4 dimensions), found "
                f"{', '.join(type(part).__name__ for part in flat)}; use the transform on items that hold one"
            )
        return cls(flat, spec, images[0], found[0] if found else None, label_value(label))

    def assemble(self, image: Any, mask: Any = None) -> Any:
        """Returns the sample with another image, and another mask where it has one."""
        flat = list(self.flat)
        flat[self.at] = image
        if self.mask_at is not None:
            flat[self.mask_at] = mask
        return _whole(flat, self.spec)


@dataclass(frozen=True)
class Batch:
    """A sample that is a collated batch.

    Attributes:
        sample: The sample.
        flat: All its parts.
        spec: How they are put together; None for a tuple of them.
        at: Where images and labels stand among them.
        images: `(N, C, *spatial)` uint8 or float, a plain tensor.
        labels: `(N,)` int64 on the CPU.
    """

    sample: Any
    flat: list[Any]
    spec: TreeSpec | None
    at: tuple[int, int]
    images: Tensor
    labels: Tensor

    @classmethod
    def read(cls, inputs: tuple[Any, ...], getter: Getter, name: str) -> "Batch":
        """Reads the inputs of a transform.

        Args:
            inputs: Of its forward.
            getter: The user's `labels_getter=`.
            name: Of the transform, for messages.

        Raises:
            ConfigError: There are no labels, soft ones, masks, boxes or a second image.
            DataError: Images or labels are not those of a batch.
        """
        sample = _sample(inputs)
        flat, spec = _parts(sample)
        _refuse_objects(flat, (tv_tensors.Image,))
        if any(isinstance(part, Image.Image | np.ndarray) for part in flat):
            raise DataError(f"expected a batch of tensors, found PIL images or arrays; use {name} after collation")
        labels = find_labels(sample, getter)
        where = next((i for i, part in enumerate(flat) if part is labels), None)
        if where is None or not isinstance(labels, Tensor):
            raise ConfigError(
                f"expected labels_getter to give a tensor that is a part of the batch, found {type(labels).__name__}; "
                "give one that returns the very tensor of labels, not a copy or a slice of it"
            )
        at = _find_images(flat, where, name)
        images = flat[at].as_subclass(Tensor)
        return cls(sample, flat, spec, (at, where), images, hard_labels(labels, len(images), name))

    def assemble(self, images: Tensor, labels: Tensor) -> Any:
        """Returns the sample with other images and labels; labels `(n,)` get shape, dtype and device of its own."""
        flat, own = list(self.flat), self.flat[self.at[1]]
        flat[self.at[0]] = tv_tensors.wrap(images, like=self.flat[self.at[0]]) if self.is_tv_image else images
        flat[self.at[1]] = labels.to(own.device, own.dtype).reshape(len(labels), *own.shape[1:])
        return _whole(flat, self.spec)

    def softened(self, images: Tensor, shares: Tensor) -> Any:
        """Returns the sample with other images, and label shares `(N, num_classes)` for labels."""
        flat = list(self.flat)
        flat[self.at[0]] = tv_tensors.wrap(images, like=self.flat[self.at[0]]) if self.is_tv_image else images
        flat[self.at[1]] = shares.to(flat[self.at[1]].device)
        return _whole(flat, self.spec)

    @property
    def is_tv_image(self) -> bool:
        """Whether the images are torchvision's."""
        return isinstance(self.flat[self.at[0]], tv_tensors.Image)

    @property
    def others(self) -> int:
        """How many parts besides images and labels have a value for each image: tensors, and lists of names or numbers.

        A list is seen by its values, of which there are as many as images.
        """
        count = len(self.images)
        parts = [part for i, part in enumerate(self.flat) if i not in self.at]
        tensors = [part for part in parts if isinstance(part, Tensor) and part.ndim and len(part) == count]
        plain = [part for part in parts if isinstance(part, str | int | float | None)]
        return len(tensors) + len(plain) // max(count, 1)


def _find_images(flat: list[Any], labels_at: int, name: str) -> int:
    large = [i for i, part in enumerate(flat) if isinstance(part, Tensor) and part.ndim > 2 and i != labels_at]
    if len(large) > 1:
        raise ConfigError(
            f"expected one tensor of images in a batch, found {len(large)} tensors of three or more dimensions: of a "
            "second image or a mask nothing is known for a synthetic image; leave the others out of the batch"
        )
    images = flat[large[0]] if large else None
    if images is None or images.ndim not in (4, 5) or not (images.dtype == torch.uint8 or images.is_floating_point()):
        found = "none" if images is None else f"{images.dtype} of shape {tuple(images.shape)}"
        raise DataError(
            f"expected images (N, C, H, W) or (N, C, D, H, W), uint8 or float, found {found}; use {name} on batches, "
            "after collation"
        )
    return large[0]


def hard_labels(labels: Tensor, count: int, name: str) -> Tensor:
    """Returns labels of a batch of `count` images, `(N,)` or `(N, 1)`, as `(N,)` int64 on the CPU.

    Args:
        labels: Of the batch.
        count: Number of its images.
        name: Of the transform, for messages.

    Raises:
        ConfigError: They are soft.
        DataError: There is not one class, from 0, for each image.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise ConfigError(
            f"expected labels that are whole numbers (N,), found {labels.dtype} of shape {tuple(labels.shape)}; "
            + (
                f"put {name} before MixUp/CutMix, which make labels soft"
                if labels.ndim > 1 and labels.shape[1] > 1
                else "give labels.long()"
            )
        )
    if labels.dtype == torch.bool or tuple(labels.shape) not in ((count,), (count, 1)):
        raise DataError(
            f"expected labels of shape ({count},) or ({count}, 1), one class for each of {count} images, found "
            f"{labels.dtype} of shape {tuple(labels.shape)}; multi-label sets cannot be used here"
        )
    hard = labels.detach().to("cpu", torch.int64).reshape(-1)
    if count and int(hard.min()) < 0:
        raise DataError(f"expected labels from 0, found {int(hard.min())}; leave such items out of the batch")
    return hard
