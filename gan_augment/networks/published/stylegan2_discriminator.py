"""StyleGAN2's discriminator, by the names of the weights that StyleGAN2-ADA and StyleGAN3's repository release."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.networks.published.filters import fir, halve, upfirdn
from gan_augment.networks.published.stylegan2_layers import (
    ACTIVATION_GAIN,
    PLAIN_TAPS,
    Dense,
    EqualConv,
    Mapping,
    SharedSettings,
    activated,
    bounded,
    layout,
)

__all__ = ["StyleGAN2Discriminator", "StyleGAN2DiscriminatorSettings"]


@dataclass(frozen=True, kw_only=True)
class StyleGAN2DiscriminatorSettings(SharedSettings):
    """What `StyleGAN2Discriminator` is built with.

    Attributes:
        cmap_dim: Length of the projection of a class that features are compared with; None for the width at 4 x 4.
        mbstd_group_size: Images whose standard deviation is taken together; None for the whole batch.
        mbstd_num_channels: Channels that it is given; 0 for none.
    """

    architecture: Literal["skip", "resnet", "orig"] = "resnet"
    cmap_dim: int | None = None
    mbstd_group_size: int | None = 4
    mbstd_num_channels: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded("img_resolution of a discriminator", self.img_resolution, 8, 2048)
        if self.cmap_dim is not None:
            bounded("cmap_dim", self.cmap_dim, 1, 2**13)
        if self.mbstd_group_size is not None:
            bounded("mbstd_group_size", self.mbstd_group_size, 1, 2**16)
        bounded("mbstd_num_channels", self.mbstd_num_channels, 0, 2**10)
        if self.mbstd_num_channels and self.width(4) % self.mbstd_num_channels:
            raise ConfigError(
                f"expected mbstd_num_channels to divide the {self.width(4)} channels at 4 x 4, "
                f"found {self.mbstd_num_channels}"
            )


class _Conv(EqualConv):
    """Convolution, bias and activation, clamped; `padding` keeps the size."""

    def __init__(
        self, inputs: int, outputs: int, size: int, clamp: float | None, taps: tuple[float, ...] = PLAIN_TAPS
    ) -> None:
        super().__init__(inputs, outputs, size, taps)
        self.size, self.clamp = size, clamp

    def activated(self, images: Tensor, gain: float = 1.0, stride: int = 1, padding: int | None = None) -> Tensor:
        padding = self.size // 2 if padding is None else padding
        return activated(self(images, gain * ACTIVATION_GAIN, stride, padding), gain, self.clamp)


class _Down(nn.Module):
    """The layers of one resolution; halves the size."""

    resample_filter: Tensor

    def __init__(self, settings: StyleGAN2DiscriminatorSettings, resolution: int) -> None:
        super().__init__()
        self.architecture = settings.architecture
        inputs, outputs = settings.width(resolution), settings.width(resolution // 2)
        clamp, taps = settings.conv_clamp, settings.resample_filter
        self.register_buffer("resample_filter", fir(taps))
        self.sees = self.architecture == "skip" or resolution == settings.img_resolution
        if self.sees:
            self.fromrgb = _Conv(settings.img_channels, inputs, 1, clamp)
        self.conv0 = _Conv(inputs, inputs, 3, clamp)
        self.conv1 = _Conv(inputs, outputs, 3, clamp, taps)
        if self.architecture == "resnet":
            self.skip = EqualConv(inputs, outputs, 1, taps, bias=False)

    def forward(self, hidden: Tensor | None, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `(N, outputs, H / 2, W / 2)`, and the image, halved where the next resolution sees it.

        Args:
            hidden: `(N, inputs, H, W)`; None at the highest resolution.
            image: `(N, img_channels, H, W)`.
        """
        if self.sees:
            seen = self.fromrgb.activated(image)
            hidden = seen if hidden is None else hidden + seen
        if hidden is None:
            raise AssertionError("the highest resolution sees the image")
        if self.architecture == "skip":
            image = halve(image, self.resample_filter)
        if self.architecture != "resnet":
            return self._narrowed(self.conv0.activated(hidden), 1.0), image
        beside = self.skip(halve(hidden, self.skip.resample_filter), gain=math.sqrt(0.5))
        return beside.add_(self._narrowed(self.conv0.activated(hidden), math.sqrt(0.5))), image

    def _narrowed(self, hidden: Tensor, gain: float) -> Tensor:
        kernel = self.conv1.resample_filter
        taps = kernel.shape[-1]
        before, after = (taps - 1) // 2 + 1, (taps - 2) // 2 + 1
        hidden = upfirdn(hidden, kernel, padding=(before, after, before, after))
        return self.conv1.activated(hidden, gain, stride=2, padding=0)


class _Last(nn.Module):
    """From 4 x 4 to features, and from these to what is compared with a class."""

    def __init__(self, settings: StyleGAN2DiscriminatorSettings, compared: int) -> None:
        super().__init__()
        width, self.compared = settings.width(4), compared
        self.group, self.channels = settings.mbstd_group_size, settings.mbstd_num_channels
        if settings.architecture == "skip":
            self.fromrgb = _Conv(settings.img_channels, width, 1, None)
        self.sees = settings.architecture == "skip"
        self.conv = _Conv(width + self.channels, width, 3, settings.conv_clamp)
        self.fc = Dense(16 * width, width)
        self.out = Dense(width, compared or 1)

    def forward(self, hidden: Tensor, image: Tensor) -> Tensor:
        """Returns features `(N, width)`."""
        if self.sees:
            hidden = hidden + self.fromrgb.activated(image)
        if self.channels:
            hidden = torch.cat([hidden, self._deviation(hidden)], dim=1)
        return self.fc.activated(self.conv.activated(hidden).flatten(1))

    def _deviation(self, hidden: Tensor) -> Tensor:
        """Returns the mean standard deviation within groups of images as channels (Karras et al. 2018, 1710.10196).

        Groups are the largest of at most the size asked for that share out the batch.
        """
        n, _, height, width = hidden.shape
        most = min(self.group or n, n)
        group = next(size for size in range(most, 0, -1) if n % size == 0)
        parts = hidden.reshape(group, n // group, self.channels, -1, height, width)
        spread = (parts.var(0, unbiased=False) + 1e-8).sqrt().mean((2, 3, 4))
        return spread.repeat(group, 1)[:, :, None, None].expand(-1, -1, height, width)

    def logits(self, features: Tensor, cmap: Tensor | None) -> Tensor:
        """Returns `(N,)` for features `(N, width)` and projections of classes `(N, compared)`."""
        out: Tensor = self.out(features)
        return out[:, 0] if cmap is None else (out * cmap).sum(1) / math.sqrt(self.compared)


class StyleGAN2Discriminator(nn.Module):
    """Discriminator of StyleGAN2, conditional by projection as in StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676).

    Where settings say so, a logit depends on the other images of its batch through their standard deviation.

    Args:
        settings: What to build.
    """

    settings_type = StyleGAN2DiscriminatorSettings

    def __init__(self, settings: StyleGAN2DiscriminatorSettings) -> None:
        super().__init__()
        self.settings = settings
        compared = (settings.cmap_dim or settings.width(4)) if settings.c_dim else 0
        self.blocks = []
        for level in range(settings.img_resolution.bit_length() - 1, 2, -1):
            self.blocks.append(f"b{2**level}")
            self.add_module(self.blocks[-1], _Down(settings, 2**level))
        if settings.c_dim:
            self.mapping = Mapping(settings, 0, compared, mean_style=False)
        self.b4 = _Last(settings, compared)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, H, W)` in [-1, 1] and labels `(N,)`."""
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the features `(N, D)` that the logits `(N,)` of one class are linear in, besides them.

        Raises:
            SynthesizerError: Images have another shape, or a network that knows classes is given no labels.
        """
        shape = (self.settings.img_channels, self.settings.img_resolution, self.settings.img_resolution)
        if tuple(images.shape[1:]) != shape:
            raise SynthesizerError(f"expected images {shape}, found {tuple(images.shape[1:])}; resize them")
        hidden, image = None, layout(images)
        for name in self.blocks:
            hidden, image = getattr(self, name)(hidden, image)
        features: Tensor = self.b4(hidden, image)
        cmap = self.mapping(None, labels) if self.settings.c_dim else None
        return features, self.b4.logits(features, cmap)
