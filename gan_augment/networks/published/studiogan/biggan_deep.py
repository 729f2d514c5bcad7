"""StudioGAN's backbones "big_resnet_deep_...": BigGAN-deep (Brock et al. 2019, arXiv 1809.11096)."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import within
from gan_augment.networks.published.studiogan.blocks import (
    ACTIVATIONS,
    Attention,
    Conv,
    Lookup,
    Norm,
    Projection,
    UpConv,
    VectorNorm,
    twice,
)
from gan_augment.networks.published.studiogan.common import (
    BOTTOM,
    SIDES,
    StudioGenerator,
    StudioSettings,
    widths,
)

__all__ = ["StudioBigGANDeep", "StudioBigGANDeepSettings"]


@dataclass(frozen=True, kw_only=True)
class StudioBigGANDeepSettings(StudioSettings):
    """Settings of `StudioBigGANDeep`.

    Attributes:
        img_size: Side of the images: 32, 64, 128, 256 or 512.
        g_conv_dim: What the widths are multiples of.
        g_shared_dim: Length of the embedding of a class that all blocks share.
        g_depth: Blocks of each size of image; other than 2 only where all widths are the same (32x32).
        skips: Whether the input goes round a block through a convolution of 1x1, as in "big_resnet_deep_studiogan", or
            loses the channels that are too many, as in "big_resnet_deep_legacy".
    """

    img_size: int = 32
    g_conv_dim: int = 128
    g_shared_dim: int = 128
    g_depth: int = 2
    skips: bool = True

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigError: One has a value that cannot work.
        """
        super().__post_init__()
        self.check_size(self.img_size, self.g_conv_dim)
        within("num_classes", self.num_classes, 1, 100_000)
        within("g_shared_dim", self.g_shared_dim, 1, 4096)
        within("g_depth", self.g_depth, 1, 8)
        within("g_conv_dim", self.g_conv_dim, 4, 256)  # a quarter of the widths must be left
        if self.g_depth != 2 and len(set(SIDES[self.img_size])) > 1:
            raise ConfigError(f"expected g_depth of 2 at img_size {self.img_size}, found {self.g_depth}")


class _Bottleneck(nn.Module):
    """1x1 to a quarter of the channels, two of 3x3, 1x1 back; each after a norm and an activation."""

    def __init__(self, inputs: int, outputs: int, width: int, up: bool, settings: StudioBigGANDeepSettings) -> None:
        super().__init__()
        inner, self.outputs, self.up = inputs // 4, outputs, up
        self.activate = ACTIVATIONS[settings.g_act_fn]
        self.bn1 = VectorNorm(inputs, width)
        self.bn2, self.bn3, self.bn4 = (VectorNorm(inner, width) for _ in range(3))
        self.conv2d0 = Conv(inputs, outputs, 1) if settings.skips else None
        self.conv2d1 = Conv(inputs, inner, 1)
        self.conv2d2 = UpConv(inner, inner) if up else Conv(inner, inner, 3)
        self.conv2d3 = Conv(inner, inner, 3)
        self.conv2d4 = Conv(inner, outputs, 1)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        hidden = self.conv2d1(self.activate(self.bn1(images, condition)))
        hidden = self.conv2d2(self.activate(self.bn2(hidden, condition)))
        hidden = self.conv2d3(self.activate(self.bn3(hidden, condition)))
        hidden = self.conv2d4(self.activate(self.bn4(hidden, condition)))
        skipped = images[:, : self.outputs] if self.conv2d0 is None else self.conv2d0(images)
        added: Tensor = hidden + (twice(skipped) if self.up else skipped)
        return added


class StudioBigGANDeep(StudioGenerator):
    """Bottlenecks, each normalised by all latents and the embedding of the class."""

    paper: ClassVar = "Brock et al. 2019, arXiv 1809.11096"
    settings_type: ClassVar = StudioBigGANDeepSettings
    settings: StudioBigGANDeepSettings

    def __init__(self, settings: StudioBigGANDeepSettings) -> None:
        super().__init__(settings)
        self.side, channels = settings.img_size, widths(settings.img_size, settings.g_conv_dim)
        self.bottom, self.activate = channels[0], ACTIVATIONS[settings.g_act_fn]
        width = settings.g_shared_dim + settings.z_dim
        self.shared = Lookup(settings.num_classes, settings.g_shared_dim)
        self.linear0 = Projection(width, self.bottom * BOTTOM**2)
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(itertools.pairwise(channels), 1):
            for step in range(settings.g_depth):
                last = step == settings.g_depth - 1
                layers.append(_Bottleneck(inputs, inputs if step == 0 else outputs, width, last, settings))
            self.add_attention(layers, place, outputs)
        self.blocks = nn.ModuleList(layers)
        self.bn4 = Norm(channels[-1])
        self.conv2d5 = Conv(channels[-1], 3, 3)

    def start(self, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the first image, flat, and for every block the embedding and the latents."""
        condition = torch.cat([self.shared(labels), latents], dim=1)
        count = sum(not isinstance(block, Attention) for block in self.blocks)
        return self.linear0(condition), [condition] * count

    def finish(self, hidden: Tensor) -> Tensor:
        """Returns images `(N, 3, side, side)` before they are bounded."""
        images: Tensor = self.conv2d5(self.activate(self.bn4(hidden)))
        return images
