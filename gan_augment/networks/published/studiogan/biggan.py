"""StudioGAN's backbone "big_resnet": BigGAN (Brock et al. 2019, arXiv 1809.11096)."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import within
from gan_augment.networks.published.studiogan.blocks import (
    ACTIVATIONS,
    Conv,
    Lookup,
    Norm,
    Projection,
    ResidualBlock,
    VectorNorm,
)
from gan_augment.networks.published.studiogan.common import (
    BOTTOM,
    SIDES,
    StudioGenerator,
    StudioSettings,
    widths,
)

__all__ = ["StudioBigGAN", "StudioBigGANSettings"]


@dataclass(frozen=True, kw_only=True)
class StudioBigGANSettings(StudioSettings):
    """Settings of `StudioBigGAN`.

    Attributes:
        img_size: Side of the images: 32, 64, 128, 256 or 512.
        g_conv_dim: What the widths are multiples of.
        g_shared_dim: Length of the embedding of a class that all blocks share.
    """

    z_dim: int = 80
    img_size: int = 32
    g_conv_dim: int = 64
    g_shared_dim: int = 128

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigError: One has a value that cannot work.
        """
        super().__post_init__()
        self.check_size(self.img_size, self.g_conv_dim)
        within("g_shared_dim", self.g_shared_dim, 1, 4096)
        parts = len(SIDES[self.img_size])
        if self.z_dim % parts:
            raise ConfigError(f"expected z_dim that {parts} divides, one part a block and one more, found {self.z_dim}")


class StudioBigGAN(StudioGenerator):
    """Residual blocks, each normalised by a part of the latents of its own and the embedding of the class."""

    paper: ClassVar = "Brock et al. 2019, arXiv 1809.11096"
    settings_type: ClassVar = StudioBigGANSettings
    settings: StudioBigGANSettings

    def __init__(self, settings: StudioBigGANSettings) -> None:
        super().__init__(settings)
        self.side, channels = settings.img_size, widths(settings.img_size, settings.g_conv_dim)
        self.bottom, self.activate = channels[0], ACTIVATIONS[settings.g_act_fn]
        self.part = width = settings.z_dim // len(channels)
        self.linear0 = Projection(self.part, self.bottom * BOTTOM**2)
        if settings.num_classes:
            self.shared = Lookup(settings.num_classes, settings.g_shared_dim)
            width += settings.g_shared_dim
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(itertools.pairwise(channels), 1):
            layers.append(ResidualBlock(inputs, outputs, lambda count: VectorNorm(count, width), settings.g_act_fn))
            self.add_attention(layers, place, outputs)
        self.blocks = nn.ModuleList(layers)
        self.bn4 = Norm(channels[-1])
        self.conv2d5 = Conv(channels[-1], 3, 3)

    def start(self, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the first image, flat, and for each block the embedding and its part of the latents."""
        first, *parts = latents.split(self.part, dim=1)
        if self.num_classes:
            shared = self.shared(labels)
            parts = [torch.cat([shared, part], dim=1) for part in parts]
        return self.linear0(first), [*parts]

    def finish(self, hidden: Tensor) -> Tensor:
        """Returns images `(N, 3, side, side)` before they are bounded."""
        images: Tensor = self.conv2d5(self.activate(self.bn4(hidden)))
        return images
