"""Generators of pix2pix and CycleGAN, which make an image of an image: a residual network and a U-Net."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import DataError
from gan_augment.networks.published.base import Settings, Translator, within

__all__ = ["Norm", "ResnetSettings", "ResnetTranslator", "UnetSettings", "UnetTranslator"]

Norm = Literal["instance", "batch", "image", "none"]
"""How layers are normalised: each image by its own statistics ("instance"); by those of the training, with weights
("batch"); each image by its own, with weights ("image"), which is batch norm in training mode at a batch of one."""


def _norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.Identity() if kind == "none" else nn.InstanceNorm2d(channels, affine=kind == "image")


def _bias(kind: Norm) -> bool:
    """Whether convolutions have a bias: in these networks only before an instance norm, which removes it again."""
    return kind == "instance"


class _Layer(nn.Module):
    """A convolution and a norm."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, norm: Norm) -> None:
        super().__init__()
        self.conv = conv
        self.norm = _norm(norm, conv.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(images))
        return out


def _check(source: Tensor, channels: int, stride: int, least: int) -> None:
    """Raises unless a network can make images of these."""
    if source.ndim != 4 or source.shape[1] != channels or any(n % stride or n < least for n in source.shape[2:]):
        raise DataError(
            f"expected source images (N, {channels}, H, W) with sides of at least {least} that are multiples of "
            f"{stride}, found {tuple(source.shape)}; resize or pad them"
        )


@dataclass(frozen=True, kw_only=True)
class TranslatorSettings(Settings):
    """What both translators are built with.

    Attributes:
        source_channels: Channels of the images that it is given.
        channels: Channels of the images that it makes.
        width: Channels of the first layer (ngf); deeper ones have up to 8 times as many.
        norm: How layers are normalised.
    """

    source_channels: int = 3
    channels: int = 3
    width: int = 64
    norm: Norm = "instance"

    def __post_init__(self) -> None:
        within("source_channels", self.source_channels, 1, 256)
        within("channels", self.channels, 1, 256)
        within("width", self.width, 1, 1024)


class _Translator(Translator):
    settings: TranslatorSettings

    @property
    def source_channels(self) -> int:
        """Channels of the images that it is given."""
        return self.settings.source_channels

    @property
    def channels(self) -> int:
        """Channels of the images that it makes."""
        return self.settings.channels


@dataclass(frozen=True, kw_only=True)
class ResnetSettings(TranslatorSettings):
    """What a residual translator is built with.

    Attributes:
        blocks: Residual blocks: 9 in CycleGAN for images of 256, 6 for 128.
    """

    blocks: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        within("blocks", self.blocks, 0, 64)


class _Block(nn.Module):
    """Two convolutions of 3x3 with the border mirrored, added to what came in."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.first = _Layer(nn.Conv2d(width, width, 3, bias=_bias(norm)), norm)
        self.second = _Layer(nn.Conv2d(width, width, 3, bias=_bias(norm)), norm)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu_(self.first(_mirrored(images, 1)))
        out: Tensor = self.second(_mirrored(hidden, 1))
        return out.add_(images)


def _mirrored(images: Tensor, by: int) -> Tensor:
    return functional.pad(images, [by] * 4, mode="reflect")


class ResnetTranslator(_Translator):
    """Downsampling twice, residual blocks, upsampling twice (Johnson et al. 2016, arXiv 1603.08155; CycleGAN).

    In the notation of Zhu et al. 2017, appendix: c7s1-w, d2w, d4w, R4w for each block, u2w, uw, c7s1-C, tanh.
    """

    paper = "Zhu et al. 2017, arXiv 1703.10593"
    settings_type = ResnetSettings
    settings: ResnetSettings

    def __init__(self, settings: ResnetSettings) -> None:
        super().__init__(settings)
        width, norm, bias = settings.width, settings.norm, _bias(settings.norm)
        self.first = _Layer(nn.Conv2d(settings.source_channels, width, 7, bias=bias), norm)
        self.downs = nn.ModuleList(
            _Layer(nn.Conv2d(inputs, 2 * inputs, 3, 2, 1, bias=bias), norm) for inputs in (width, 2 * width)
        )
        self.blocks = nn.ModuleList(_Block(4 * width, norm) for _ in range(settings.blocks))
        self.ups = nn.ModuleList(
            _Layer(nn.ConvTranspose2d(2 * outputs, outputs, 3, 2, 1, 1, bias=bias), norm)
            for outputs in (2 * width, width)
        )
        self.last = nn.Conv2d(width, settings.channels, 7)

    @property
    def stride(self) -> int:
        """4: sides are halved twice."""
        return 4

    def forward(self, source: Tensor) -> Tensor:
        """Returns `(N, channels, H, W)` in [-1, 1] for source images `(N, source_channels, H, W)` in [-1, 1].

        Raises:
            DataError: Sides are no multiples of 4 or less than 8, or there are other channels.
        """
        _check(source, self.source_channels, self.stride, 8)
        hidden = functional.relu_(self.first(_mirrored(source, 3)))
        for layer in self.downs:
            hidden = functional.relu_(layer(hidden))
        for block in self.blocks:
            hidden = block(hidden)
        for layer in self.ups:
            hidden = functional.relu_(layer(hidden))
        images: Tensor = self.last(_mirrored(hidden, 3))
        return images.tanh()


@dataclass(frozen=True, kw_only=True)
class UnetSettings(TranslatorSettings):
    """What a U-Net translator is built with.

    Attributes:
        depth: How often sides are halved: 8 in pix2pix for images of 256, 7 for 128.
    """

    depth: int = 8
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        within("depth", self.depth, 5, 12)

    @property
    def widths(self) -> list[int]:
        """Channels after each halving."""
        return [self.width * min(2**level, 8) for level in range(self.depth)]


class UnetTranslator(_Translator):
    """Halves an image down to its bottom and doubles it again, each level beside what it was on the way down.

    Isola et al. 2017, arXiv 1611.07004, appendix 6.1.1. Its dropout, which is the paper's source of variety and active
    there when images are made, is left out: an image is a function of its source.
    """

    paper = "Isola et al. 2017, arXiv 1611.07004"
    settings_type = UnetSettings
    settings: UnetSettings

    def __init__(self, settings: UnetSettings) -> None:
        super().__init__(settings)
        widths, norm, bias = settings.widths, settings.norm, _bias(settings.norm)
        self.first = nn.Conv2d(settings.source_channels, widths[0], 4, 2, 1, bias=bias)
        self.downs = nn.ModuleList(
            _Layer(nn.Conv2d(a, b, 4, 2, 1, bias=bias), norm) for a, b in itertools.pairwise(widths[:-1])
        )
        self.bottom = nn.Conv2d(widths[-2], widths[-1], 4, 2, 1, bias=bias)  # a single cell has no statistics
        inputs = [widths[-1], *[2 * width for width in widths[-2:0:-1]]]
        self.ups = nn.ModuleList(
            _Layer(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias), norm)
            for a, b in zip(inputs, widths[-2::-1], strict=True)
        )
        self.last = nn.ConvTranspose2d(2 * widths[0], settings.channels, 4, 2, 1)

    @property
    def stride(self) -> int:
        """2 to the power of how often sides are halved."""
        return int(2**self.settings.depth)

    def forward(self, source: Tensor) -> Tensor:
        """Returns `(N, channels, H, W)` in [-1, 1] for source images `(N, source_channels, H, W)` in [-1, 1].

        Raises:
            DataError: Sides are no multiples of the stride, or there are other channels.
        """
        _check(source, self.source_channels, self.stride, self.stride)
        levels = [functional.leaky_relu_(self.first(source), 0.2)]  # a ReLU later leaves the same of them
        for layer in self.downs:
            levels.append(functional.leaky_relu_(layer(levels[-1]), 0.2))
        hidden = self.bottom(levels[-1])
        for layer, level in zip(self.ups, reversed(levels), strict=True):
            hidden = torch.cat([level, layer(functional.relu_(hidden))], dim=1)
        images: Tensor = self.last(functional.relu_(hidden))
        return images.tanh()
