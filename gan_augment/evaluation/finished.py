"""A dataset's items as finished tensors: its own where they are such, else its raw images scaled to [-1, 1]."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gan_augment.errors import DataError
from gan_augment.images import ImageSpec
from gan_augment.pipelines import preserved_rng
from gan_augment.source import RawView

__all__ = ["HeldOut", "as_tensors", "finished_images", "held_out_set", "is_finished"]


class _Decode:
    """The transform of a set whose items are no tensors: raw image to `(C, *grid)` float32 in [-1, 1]."""

    def __init__(self, spec: ImageSpec) -> None:
        self.spec = spec

    def __call__(self, image: Any) -> Tensor:
        return self.spec.decode(self.spec.form.array(image)[None])[0]


class _Decoded(Dataset[Any]):
    """A dataset's raw images under `_Decode`, with its class indices."""

    def __init__(self, view: RawView, spec: ImageSpec) -> None:
        self.view, self.transform = view, _Decode(spec)
        self.targets, self.classes = view.targets.tolist(), list(view.classes)

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.view.raw(index)), self.targets[index]


def as_tensors(view: RawView, spec: ImageSpec | None = None) -> RawView:
    """Returns a view whose finished items are (tensor, class index): its own where they are float tensors already.

    Args:
        view: A dataset.
        spec: How raw images become tensors where the dataset's own transform does not end in one; None for the view's.
    """
    if is_finished(view):
        return view
    decoded = _Decoded(view, spec or view.spec())
    return RawView(decoded, groups=view.groups, progress=view.progress)


def is_finished(view: RawView) -> bool:
    """Tells whether a dataset's own items are (float tensor, class index) already, with the labels of the view."""
    with preserved_rng():
        item = view.base[0]
    image, label = view.structure.split(item)
    finished = (
        isinstance(image, Tensor)
        and image.is_floating_point()
        and image.ndim == view.form.ndim
        and isinstance(item, tuple | list)
        and label is not None
        and np.ndim(label) == 0
        and view.values == list(range(len(view.values)))
    )
    return finished and _labels_agree(view)


def _labels_agree(view: RawView) -> bool:
    try:
        own = RawView(view.base, progress=False)
    except DataError:
        return False
    return bool(np.array_equal(np.asarray(own.values)[own.targets], view.targets))


def finished_images(view: RawView) -> Tensor:
    """Returns all images `(N, C, *spatial)` of a dataset as its transforms give them, float32.

    Raises:
        DataError: They are not tensors of one shape.
    """
    try:
        with preserved_rng(0):
            images = [view.structure.split(view.base[index])[0] for index in range(len(view))]
        return torch.stack(images).float()
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"expected items (image tensor of one shape, class index), found others ({str(error)[:120]}); give the "
            "dataset a transform that ends in tensors of one shape"
        ) from None


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The finished test images `(N, C, *spatial)` and their classes `(N,)`."""

    images: Tensor
    labels: npt.NDArray[np.int64]


def held_out_set(held_out: RawView, training: RawView) -> HeldOut:
    """Returns the finished test images, with labels as the training set counts its classes.

    Images are made as those of `training` (from `as_tensors`) are: by the test set's own transform, or out of raw ones.

    Raises:
        DataError: The test set has a class that the training set has not, or its images are not of the same form.
    """
    if isinstance(training.base, _Decoded):
        if different := training.form.differences(held_out.form, ("dtype", "channels")):
            raise DataError(f"expected test images like those of the training set, found others: {different}")
        images = held_out.images(spec=training.base.transform.spec)
    else:
        images = finished_images(held_out)
    with preserved_rng():
        shape = tuple(np.shape(training.structure.split(training.base[0])[0]))
    if tuple(images.shape[1:]) != shape:
        raise DataError(
            f"expected test images of shape {shape} as those of the training set, found {tuple(images.shape[1:])}"
        )
    index: dict[str, int] = {name: label for label, name in enumerate(training.classes)}
    unknown = sorted({held_out.classes[label] for label in np.unique(held_out.targets)} - set(index))
    if unknown:
        raise DataError(
            f"expected a test set of the classes {', '.join(training.classes)}, found also {', '.join(unknown)}"
        )
    mapped: npt.NDArray[np.int64] = np.array([index[held_out.classes[label]] for label in held_out.targets], np.int64)
    return HeldOut(images, mapped)
