"""StudioGAN's backbone "deep_conv", after DCGAN (Radford et al. 2016, arXiv 1511.06434), for images of 32x32."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from gan_augment.networks.published.studiogan.blocks import ACTIVATIONS, Conv, Foldable, Projection, Released
from gan_augment.networks.published.studiogan.common import BOTTOM, StudioGenerator, StudioSettings, norm_of_class

__all__ = ["StudioDCGAN", "StudioDCGANSettings"]

_WIDTHS = (512, 256, 128, 64)


@dataclass(frozen=True, kw_only=True)
class StudioDCGANSettings(StudioSettings):
    """Settings of `StudioDCGAN`."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigError: One has a value that cannot work.
        """
        super().__post_init__()
        self.check_attention(len(_WIDTHS) - 1)


class _Deconv(Foldable, nn.ConvTranspose2d):
    def __init__(self, inputs: int, outputs: int) -> None:
        nn.ConvTranspose2d.__init__(self, inputs, outputs, 4, stride=2, padding=1)

    def released(self) -> dict[str, tuple[int, ...]]:
        return {"weight": tuple(self.weight.shape), "bias": (self.out_channels,)}

    def fold(self, weights: Released) -> dict[str, Tensor]:
        return dict(weights)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, settings: StudioSettings) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[settings.g_act_fn]
        self.deconv0 = _Deconv(inputs, outputs)
        self.bn0 = norm_of_class(outputs, settings.num_classes)

    def forward(self, images: Tensor, labels: Tensor | None) -> Tensor:
        return self.activate(self.bn0(self.deconv0(images), labels))


class StudioDCGAN(StudioGenerator):
    """Three transposed convolutions of 4x4, each normalised by its class."""

    paper: ClassVar = "Radford et al. 2016, arXiv 1511.06434"
    settings_type: ClassVar = StudioDCGANSettings
    side = 32
    bottom = _WIDTHS[0]

    def __init__(self, settings: StudioDCGANSettings) -> None:
        super().__init__(settings)
        self.linear0 = Projection(settings.z_dim, self.bottom * BOTTOM**2)
        layers: list[nn.Module] = []
        for place, (inputs, outputs) in enumerate(itertools.pairwise(_WIDTHS), 1):
            layers.append(_Block(inputs, outputs, settings))
            self.add_attention(layers, place, outputs)
        self.blocks = nn.ModuleList(layers)
        self.conv4 = Conv(_WIDTHS[-1], 3, 3)

    def start(self, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the first image, flat, and the labels for every block."""
        return self.linear0(latents), [labels] * len(self.blocks)

    def finish(self, hidden: Tensor) -> Tensor:
        """Returns images `(N, 3, 32, 32)` before they are bounded."""
        images: Tensor = self.conv4(hidden)
        return images
