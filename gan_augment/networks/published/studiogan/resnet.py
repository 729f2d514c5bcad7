"""StudioGAN's backbone "resnet": that of WGAN-GP (arXiv 1704.00028), SNGAN (arXiv 1802.05957) and SAGAN."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from gan_augment.networks.published.studiogan.blocks import ACTIVATIONS, Conv, Norm, Projection, ResidualBlock
from gan_augment.networks.published.studiogan.common import (
    BOTTOM,
    StudioGenerator,
    StudioSettings,
    norm_of_class,
    widths,
)

__all__ = ["StudioResNet", "StudioResNetSettings"]


@dataclass(frozen=True, kw_only=True)
class StudioResNetSettings(StudioSettings):
    """Settings of `StudioResNet`.

    Attributes:
        img_size: Side of the images: 32, 64, 128, 256 or 512.
        g_conv_dim: What the widths are multiples of.
    """

    img_size: int = 32
    g_conv_dim: int = 64

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigError: One has a value that cannot work.
        """
        super().__post_init__()
        self.check_size(self.img_size, self.g_conv_dim)


class StudioResNet(StudioGenerator):
    """Residual blocks, each normalised by its class."""

    paper: ClassVar = "Miyato et al. 2018, arXiv 1802.05957"
    settings_type: ClassVar = StudioResNetSettings
    settings: StudioResNetSettings

    def __init__(self, settings: StudioResNetSettings) -> None:
        super().__init__(settings)
        self.side, channels = settings.img_size, widths(settings.img_size, settings.g_conv_dim)
        self.bottom, self.activate = channels[0], ACTIVATIONS[settings.g_act_fn]
        self.linear0 = Projection(settings.z_dim, self.bottom * BOTTOM**2)
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(itertools.pairwise(channels), 1):
            layers.append(ResidualBlock(inputs, outputs, self._norm, settings.g_act_fn))
            self.add_attention(layers, place, outputs)
        self.blocks = nn.ModuleList(layers)
        self.bn4 = Norm(channels[-1])
        self.conv2d5 = Conv(channels[-1], 3, 3)

    def _norm(self, channels: int) -> nn.Module:
        return norm_of_class(channels, self.settings.num_classes)

    def start(self, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the first image, flat, and the labels for every block."""
        return self.linear0(latents), [labels] * len(self.blocks)

    def finish(self, hidden: Tensor) -> Tensor:
        """Returns images `(N, 3, side, side)` before they are bounded."""
        images: Tensor = self.conv2d5(self.activate(self.bn4(hidden)))
        return images
