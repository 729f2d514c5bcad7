"""The blocks that all networks are built of. The number of spatial dimensions is a parameter."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from gan_augment.errors import ConfigError
from gan_augment.images import network_levels

__all__ = [
    "NetworkSpec",
    "ResidualDown",
    "ResidualTrunk",
    "ResidualUp",
    "ScaleShiftNorm",
    "StridedDown",
    "average_pool",
    "conv",
    "strided_trunk",
    "upsample",
]

_CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_LEAK = 0.2
_MOST_SIDE, _MOST_CELLS = 2048, 2**24


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What a network is built for.

    Attributes:
        channels: Image channels.
        grid: Spatial shape of the images.
        num_classes: Number of classes.
    """

    channels: int
    grid: tuple[int, ...]
    num_classes: int

    def __post_init__(self) -> None:
        if len(self.grid) not in _CONVOLUTIONS or network_levels(self.grid) < 1:
            raise ConfigError(f"expected an even grid of at least 8 in two or three dimensions, found {self.grid}")
        if max(self.grid) > _MOST_SIDE or math.prod(self.grid) > _MOST_CELLS:
            raise ConfigError(f"expected a grid of at most {_MOST_SIDE} a side, found {self.grid}; give image_size=")
        if self.channels < 1 or self.num_classes < 1:
            raise ConfigError(f"expected at least one channel and one class, found {self.channels}, {self.num_classes}")

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.grid)

    @property
    def levels(self) -> int:
        """How often the grid is halved."""
        return network_levels(self.grid)

    @property
    def bottom(self) -> tuple[int, ...]:
        """Spatial shape after all halvings."""
        return tuple(side // 2**self.levels for side in self.grid)

    @property
    def default_width(self) -> int:
        """Channels at the bottom where nothing else is said: 32 doubled with each halving, 128 at most."""
        return min(128, 32 << self.levels)

    def widths(self, most: int, least: int = 32) -> list[int]:
        """Returns the channels of each level, image side first: `most` at the bottom, halved outwards, in eights."""
        return [max(least, (most >> (self.levels - 1 - level)) // 8 * 8) for level in range(self.levels)]

    def to_json(self) -> dict[str, Any]:
        """Returns the spec as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "NetworkSpec":
        """Reads what `to_json` wrote."""
        return cls(
            channels=int(value["channels"]),
            grid=tuple(int(side) for side in value["grid"]),
            num_classes=int(value["num_classes"]),
        )


def conv(
    ndim: int,
    inputs: int,
    outputs: int,
    size: int = 3,
    stride: int = 1,
    *,
    spectral: bool = False,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Returns a convolution that keeps the shape at stride 1 and halves it at stride 2 (with an even size)."""
    padding = (size - 1) // 2
    layer = _CONVOLUTIONS[ndim](inputs, outputs, size, stride, padding, groups=groups, bias=bias)
    return spectral_norm(layer) if spectral else layer


def upsample(images: Tensor) -> Tensor:
    """Doubles each spatial dimension by repetition."""
    return functional.interpolate(images, scale_factor=2.0, mode="nearest")


def average_pool(images: Tensor) -> Tensor:
    """Halves each spatial dimension by averaging."""
    return functional.avg_pool2d(images, 2) if images.ndim == 4 else functional.avg_pool3d(images, 2)


class ScaleShiftNorm(nn.Module):
    """Group normalisation whose scale and shift are a linear function of a condition.

    No batch statistics: a sample does not depend on its batch, and ranks need not talk.
    """

    def __init__(self, channels: int, condition_dim: int, groups: int = 8) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, affine=False)
        self.affine = nn.Linear(condition_dim, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Normalises `(N, channels, *spatial)` under a condition `(N, condition_dim)`."""
        affine: Tensor = self.affine(condition).reshape(len(images), -1, *[1] * (images.ndim - 2))
        scale, shift = affine.chunk(2, dim=1)
        normal: Tensor = self.norm(images)
        return normal * (1 + scale) + shift


class ResidualUp(nn.Module):
    """Generator block: doubles the size, under a condition (Miyato and Koyama 2018, figure 14)."""

    def __init__(self, ndim: int, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ScaleShiftNorm(inputs, condition_dim), ScaleShiftNorm(outputs, condition_dim)
        self.conv1, self.conv2 = conv(ndim, inputs, outputs), conv(ndim, outputs, outputs)
        self.skip = conv(ndim, inputs, outputs, 1)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Returns `(N, outputs, *doubled)`."""
        hidden = self.conv1(upsample(functional.relu(self.norm1(images, condition))))
        residual: Tensor = self.conv2(functional.relu(self.norm2(hidden, condition)))
        return residual + upsample(self.skip(images))


class ResidualDown(nn.Module):
    """Discriminator block under spectral normalisation: halves the size (Miyato et al. 2018)."""

    def __init__(self, ndim: int, inputs: int, outputs: int, *, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.conv1 = conv(ndim, inputs, outputs, spectral=True)
        self.conv2 = conv(ndim, outputs, outputs, spectral=True)
        self.skip = conv(ndim, inputs, outputs, 1, spectral=True)

    def forward(self, images: Tensor) -> Tensor:
        """Returns `(N, outputs, *halved)`."""
        hidden = images if self.first else functional.leaky_relu(images, _LEAK)
        hidden = self.conv2(functional.leaky_relu(self.conv1(hidden), _LEAK))
        skipped: Tensor = self.skip(average_pool(images))
        return skipped + average_pool(hidden)


class StridedDown(nn.Module):
    """A convolution of 4 that halves the size, with group normalisation or without; no batch statistics."""

    def __init__(self, ndim: int, inputs: int, outputs: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = conv(ndim, inputs, outputs, 4, 2)
        self.norm = nn.GroupNorm(8, outputs) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Returns `(N, outputs, *halved)`."""
        hidden: Tensor = functional.leaky_relu(self.norm(self.conv(images)), _LEAK)
        return hidden


def strided_trunk(spec: NetworkSpec, width: int, channels: int) -> nn.Sequential:
    """Returns an encoder's blocks, one a level: `(N, channels, *grid)` to `(N, width, *bottom)`; the first unnormed."""
    widths = [channels, *spec.widths(width)]
    return nn.Sequential(
        *[
            StridedDown(spec.ndim, inputs, outputs, norm=level > 0)
            for level, (inputs, outputs) in enumerate(itertools.pairwise(widths))
        ]
    )


class ResidualTrunk(nn.Sequential):
    """Discriminator blocks, one a level, and a sum over space: images `(N, C, *grid)` to features `(N, width)`."""

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        widths = [spec.channels, *spec.widths(width)]
        super().__init__(
            *[
                ResidualDown(spec.ndim, inputs, outputs, first=level == 0)
                for level, (inputs, outputs) in enumerate(itertools.pairwise(widths))
            ]
        )

    def forward(self, images: Tensor, start: int = 0) -> Tensor:
        """Returns `(N, width)` for what block `start` takes: images, or features of a coarser level."""
        hidden = images
        for block in list(self)[start:]:
            hidden = block(hidden)
        return functional.leaky_relu(hidden, _LEAK).flatten(2).sum(2)
