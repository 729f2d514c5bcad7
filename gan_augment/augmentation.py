"""Differentiable augmentation of batches: the same operations for discriminators, judges and classifiers.

After Zhao et al. 2020 ("Differentiable augmentation for data-efficient GAN training") and Karras et al. 2020
("Training GANs with limited data"). Every operation has a strength of its own and is off at 0. Flips and colour
are off by default: in medical images a flip can move the heart to the other side.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gan_augment.errors import ConfigError

__all__ = ["Augmentation"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of a batch `(N, C, *spatial)` in [-1, 1], independent for each image.

    Attributes:
        translate: Largest shift, as a share of the side.
        rotate: Largest turn in the last two dimensions, in radians.
        scale: Largest relative change of size.
        flip: Whether to mirror the last dimension with probability 0.5.
        brightness: Largest shift of all values.
        contrast: Largest relative change of the distance to the image's mean.
        cutout: Side of a square set to the image's mean, as a share of the image's.
    """

    translate: float = 0.125
    rotate: float = 0.1
    scale: float = 0.1
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        limits = {"translate": 1.0, "rotate": math.pi, "scale": 0.9, "brightness": 2.0, "contrast": 1.0, "cutout": 1.0}
        if not isinstance(self.flip, bool):
            raise ConfigError(f"expected flip True or False, found {self.flip!r}")
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise ConfigError(f"expected {name} from 0 to {limit:g}, found {getattr(self, name)}")

    @classmethod
    def none(cls) -> "Augmentation":
        """Returns an augmentation that changes nothing."""
        return cls(translate=0.0, rotate=0.0, scale=0.0)

    def __call__(self, images: Tensor, draw: Callable[..., Tensor] = torch.rand, probability: float = 1.0) -> Tensor:
        """Returns the batch augmented; gradients flow through.

        Args:
            images: `(N, C, *spatial)`.
            draw: Returns numbers in [0, 1) of a shape; by default from torch's global random state.
            probability: That an operation is applied to an image, drawn for each operation and each image.
        """
        if not probability:
            return images
        if self.translate or self.rotate or self.scale or self.flip:
            theta = self._affine(len(images), tuple(images.shape[2:]), draw, probability)
            theta = theta.to(images.device, images.dtype)
            sampling = functional.affine_grid(theta, list(images.shape), align_corners=False)
            images = functional.grid_sample(images, sampling, padding_mode="border", align_corners=False)
        if self.contrast:
            mean = images.flatten(1).mean(1).reshape(-1, *[1] * (images.ndim - 1))
            images = (images - mean) * (1 + self._change(images, self.contrast, draw, probability)) + mean
        if self.brightness:
            images = images + self._change(images, self.brightness, draw, probability)
        return self._cut(images, draw, probability) if self.cutout else images

    @staticmethod
    def _change(images: Tensor, strength: float, draw: Callable[..., Tensor], probability: float) -> Tensor:
        return (_amounts(draw, probability, len(images), *[1] * (images.ndim - 1)) * strength).to(images)

    def _affine(self, count: int, spatial: tuple[int, ...], draw: Callable[..., Tensor], probability: float) -> Tensor:
        """Returns `(count, ndim, ndim + 1)`; the coordinates run from the last dimension to the first.

        Each runs from -1 to 1 whatever the side, so a turn of a picture that is no square takes its sides in.
        """
        ndim, (height, width) = len(spatial), spatial[-2:]
        angle = _amounts(draw, probability, count) * self.rotate
        size = 1 + _amounts(draw, probability, count) * self.scale
        mirror = 1.0 - 2.0 * (draw(count) < 0.5 * probability) * float(self.flip)
        linear = torch.eye(ndim).repeat(count, 1, 1)
        linear[:, 0, 0], linear[:, 0, 1] = angle.cos(), -angle.sin() * height / width
        linear[:, 1, 0], linear[:, 1, 1] = angle.sin() * width / height, angle.cos()
        linear = linear / size.reshape(-1, 1, 1)
        linear[:, :, 0] = linear[:, :, 0] * mirror[:, None]
        shift = _amounts(draw, probability, count, ndim) * 2 * self.translate
        return torch.cat([linear, shift[:, :, None]], dim=2)

    def _cut(self, images: Tensor, draw: Callable[..., Tensor], probability: float) -> Tensor:
        count, spatial = len(images), images.shape[2:]
        inside = torch.ones(count, 1, *spatial, dtype=torch.bool, device=images.device)
        for dim, side in enumerate(spatial):
            center = draw(count) * side
            distance = (torch.arange(side)[None] + 0.5 - center[:, None]).abs()
            hit = (distance <= self.cutout * side / 2).to(images.device)
            inside = inside & hit.reshape(count, 1, *[side if d == dim else 1 for d in range(len(spatial))])
        if probability < 1:
            spared = draw(count, *[1] * (images.ndim - 1)) >= probability
            inside = inside & ~spared.to(images.device)
        mean = images.flatten(2).mean(2).reshape(count, images.shape[1], *[1] * len(spatial))
        return torch.where(inside, mean, images)


def _amounts(draw: Callable[..., Tensor], probability: float, count: int, *shape: int) -> Tensor:
    """Returns numbers in [-1, 1) of shape `(count, *shape)`, 0 for the images that an operation spares."""
    amounts = draw(count, *shape) * 2 - 1
    if probability < 1:
        amounts = amounts * (draw(count, *[1] * len(shape)) < probability)
    return amounts
