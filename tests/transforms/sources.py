"""Pools and synthesizers that the tests of transforms share; classes are here so that they pickle by name."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.synthesizers import WrappedSynthesizer
from gan_augment.types import Samples
from tests.helpers import ToyGenerator, toy_synthesizer

MARK = 200
"""Synthetic images of class c have the value MARK + c (or a 255th of that) everywhere."""


def marked(labels: Any, shape: tuple[int, ...] = (1, 8, 8), dtype: Any = np.uint8) -> np.ndarray:
    """Images of one value each, MARK + label; as floats from 0 to 1."""
    values = np.array([MARK + int(label) for label in labels]).reshape(-1, *[1] * len(shape))
    values = values / 255 if np.dtype(dtype).kind == "f" else values
    return np.broadcast_to(values, (len(values), *shape)).astype(dtype)


def marked_pool(
    labels: Any = (0, 0, 1, 1, 2, 2), shape: tuple[int, ...] = (1, 8, 8), dtype: Any = np.float32, **settings: Any
) -> SyntheticPool:
    return SyntheticPool.from_arrays(marked(labels, shape, dtype), list(labels), **settings)


def spec_of(
    kind: str = "tensor", dtype: str = "uint8", shape: tuple[int, ...] = (8, 8), high: float = 255
) -> ImageSpec:
    layout = "no_channel" if kind == "pil" else "channels_first"
    mode = "L" if kind == "pil" else None
    form = RawForm(kind=kind, layout=layout, dtype=dtype, channels=1, shape=shape, mode=mode)  # type: ignore[arg-type]
    return ImageSpec(form=form, grid=shape, low=(0.0,), high=(high,))


def live(**settings: Any) -> WrappedSynthesizer:
    return toy_synthesizer(**{"image_spec": spec_of(), **settings})


class Mirror:
    """An image-conditioned synthesizer that is not bound: gives the negative of the image that it is given."""

    num_classes, class_names, needs_parents = 3, None, True

    def __init__(self, image_spec: ImageSpec) -> None:
        self.image_spec = image_spec

    def bind(self, dataset: Any) -> "Mirror":
        return self

    def sample(self, labels: Any, seeds: Any, *, conditions: Any = None) -> Samples:
        return Samples(-conditions["source"])


class ModuleSynthesizer(nn.Module):
    """A synthesizer that is a module itself, with a parameter that needs gradients."""

    num_classes, class_names, image_spec = 3, None, None

    def __init__(self) -> None:
        super().__init__()
        self.generator = ToyGenerator()

    def sample(self, labels: Any, seeds: Any, *, conditions: Any = None) -> Samples:
        return Samples(self.generator(torch.zeros(len(labels), 6), torch.as_tensor(labels)))


class Collated:
    """A collate_fn that applies a batch transform."""

    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __call__(self, items: list[Any]) -> Any:
        return self.transform(*default_collate(items))


def first(loader: Any) -> Any:
    """Returns the first batch of a loader with workers, and ends these: after an error they take seconds to end."""
    batches = iter(loader)
    try:
        return next(batches)
    finally:
        for worker in batches._workers:
            worker.terminate()


def joint_halves(image: Any, mask: Any) -> tuple[Any, Any]:
    return image[..., :4, :4], mask[..., :4, :4]


def to_unit(images: Tensor) -> Tensor:
    return (images + 1) / 2
