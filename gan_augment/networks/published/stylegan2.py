"""StyleGAN2's generator, by the names of the weights that StyleGAN2-ADA (PyTorch) and StyleGAN3's repository release.

Layers that were trained in float16 run in float32, which is what their weights are stored in.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.networks.published.base import LayerNoise, Styled
from gan_augment.networks.published.filters import double, fir, upfirdn
from gan_augment.networks.published.stylegan2_layers import (
    ACTIVATION_GAIN,
    PLAIN_TAPS,
    Dense,
    EqualConv,
    Mapping,
    SharedSettings,
    Sized,
    activated,
    bounded,
    clamped,
    layout,
    spare,
)

__all__ = ["ModulatedConv", "StyleGAN2", "StyleGAN2Settings"]


@dataclass(frozen=True, kw_only=True)
class StyleGAN2Settings(SharedSettings):
    """What `StyleGAN2` is built with.

    Attributes:
        z_dim: Length of the latents.
        w_dim: Length of the styles.
        mean_style: Whether the weights hold `mapping.w_avg`, the mean style of the training, of all classes together.
        noise: Whether layers add noise.
    """

    z_dim: int = 512
    w_dim: int = 512
    mean_style: bool = True
    noise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        bounded("z_dim", self.z_dim, 1, 2**13)
        bounded("w_dim", self.w_dim, 1, 2**13)


class ModulatedConv(nn.Module):
    """Convolution of 3 x 3 whose input channels a style scales and whose output channels are scaled back.

    Weights of equation 3 are never formed for each sample: scaling inputs and outputs gives the same. Upwards it is a
    transposed convolution of stride 2, then the filter (section 4.3).

    Args:
        settings: Of the network.
        inputs: Input channels.
        outputs: Output channels.
        resolution: Side of what it returns.
        up: Whether to double the size.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, settings: StyleGAN2Settings, inputs: int, outputs: int, resolution: int, *, up: bool) -> None:
        super().__init__()
        self.up, self.noise, self.clamp, self.resolution = up, settings.noise, settings.conv_clamp, resolution
        self.affine = Dense(settings.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", fir(settings.resample_filter if up else PLAIN_TAPS))
        if self.noise:
            self.register_buffer("noise_const", torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_load_state_dict_post_hook(_lay_out)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, style: Tensor, noise: Tensor | None, gain: float = 1.0) -> Tensor:
        """Returns `(N, outputs, resolution, resolution)`.

        Args:
            images: `(N, inputs, H, W)`; overwritten without gradients.
            style: `(N, W)`.
            noise: `(N, 1, resolution, resolution)` or `(resolution, resolution)`, not yet scaled; None for none.
            gain: What the result is multiplied with.
        """
        scale = self.affine(style)
        weight = self.weight if images.device.type == "cpu" else self.weight.contiguous()
        energy = functional.linear(scale.square(), weight.square().sum((2, 3)))
        hidden = torch.mul(images, scale[:, :, None, None], out=spare(images))
        if self.up:
            taps = self.resample_filter.shape[-1]
            before, after = (taps + 1) // 2 - 1, (taps - 2) // 2
            hidden = functional.conv_transpose2d(hidden, weight.transpose(0, 1), stride=2)
            hidden = upfirdn(hidden, self.resample_filter, padding=(before, after, before, after), gain=4.0)
        else:
            hidden = functional.conv2d(hidden, weight, padding=1)
        total = gain * ACTIVATION_GAIN
        back = ((energy + 1e-8).rsqrt() * total)[:, :, None, None]
        hidden = torch.addcmul((self.bias * total)[:, None, None], hidden, back, out=spare(hidden))
        if noise is not None:
            hidden = hidden.add_(noise * (self.noise_strength * total))
        return activated(hidden, gain, self.clamp)


def _lay_out(layer: ModulatedConv, keys: Any) -> None:
    """Stores weights that were loaded in the order in which a CPU's convolutions read them; their values stay."""
    weight = layer.weight.data
    if weight.device.type == "cpu":
        weight = weight.transpose(0, 1) if layer.up else weight
        weight = weight.contiguous(memory_format=torch.channels_last)
        layer.weight.data = weight.transpose(0, 1) if layer.up else weight


class ToImage(nn.Module):
    """Modulated convolution of 1 x 1 to the channels of an image, not scaled back."""

    def __init__(self, settings: StyleGAN2Settings, inputs: int) -> None:
        super().__init__()
        self.clamp = settings.conv_clamp
        self.affine = Dense(settings.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(settings.img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(settings.img_channels))

    def forward(self, hidden: Tensor, style: Tensor) -> Tensor:
        """Returns `(N, img_channels, H, W)` for `(N, inputs, H, W)` and styles `(N, W)`."""
        n, inputs, height, width = hidden.shape
        scale = self.affine(style, 1 / math.sqrt(inputs))
        weights = self.weight[:, :, 0, 0] * scale[:, None]
        if hidden.device.type == "cpu":
            cells = hidden.permute(0, 2, 3, 1).reshape(n, height * width, inputs)
            image = torch.baddbmm(self.bias, cells, weights.transpose(1, 2))
            image = image.reshape(n, height, width, -1).permute(0, 3, 1, 2)
        else:
            image = torch.baddbmm(self.bias[:, None], weights, hidden.flatten(2)).reshape(n, -1, height, width)
        return clamped(image, self.clamp)


class Block(nn.Module):
    """The layers of one resolution."""

    resample_filter: Tensor

    def __init__(self, settings: StyleGAN2Settings, resolution: int) -> None:
        super().__init__()
        self.architecture = settings.architecture
        self.first, outputs = resolution == 4, settings.width(resolution)
        self.register_buffer("resample_filter", fir(settings.resample_filter))
        self.layers = ["conv1"] if self.first else ["conv0", "conv1"]
        if self.first:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            inputs = settings.width(resolution // 2)
            self.conv0 = ModulatedConv(settings, inputs, outputs, resolution, up=True)
            if self.architecture == "resnet":
                self.skip = EqualConv(inputs, outputs, 1, settings.resample_filter, bias=False)
        self.conv1 = ModulatedConv(settings, outputs, outputs, resolution, up=False)
        self.shows = self.architecture == "skip" or resolution == settings.img_resolution
        if self.shows:
            self.torgb = ToImage(settings, outputs)

    def forward(self, hidden: Tensor, styles: Tensor, noises: list[Tensor | None]) -> Tensor:
        """Returns what goes on to the next resolution.

        Args:
            hidden: `(N, C, H, W)`; overwritten without gradients.
            styles: `(N, layers, W)`, those of this block first.
            noises: Of each layer of this block.
        """
        if self.architecture == "resnet" and not self.first:
            beside = double(self.skip(hidden, math.sqrt(0.5)), self.skip.resample_filter)
            hidden = self.conv0(hidden, styles[:, 0], noises[0])
            return beside.add_(self.conv1(hidden, styles[:, 1], noises[1], math.sqrt(0.5)))
        for number, (layer, noise) in enumerate(zip(self.layers, noises, strict=True)):
            hidden = getattr(self, layer)(hidden, styles[:, number], noise)
        return hidden


class Synthesis(nn.Module):
    """Makes images of styles."""

    def __init__(self, settings: StyleGAN2Settings) -> None:
        super().__init__()
        self.blocks = []
        for level in range(2, settings.img_resolution.bit_length()):
            self.blocks.append(f"b{2**level}")
            self.add_module(self.blocks[-1], Block(settings, 2**level))

    def forward(self, styles: Tensor, noise: LayerNoise) -> Tensor:
        """Returns images `(N, C, H, W)` for styles `(N, layers, W)`."""
        const: Tensor = getattr(self, self.blocks[0]).const
        hidden = layout(const.expand(len(styles), -1, -1, -1).clone())
        image, done = hidden[:, :0], 0
        for name in self.blocks:
            block: Block = getattr(self, name)
            layers: list[ModulatedConv] = [getattr(block, layer) for layer in block.layers]
            noises = [_noise_of(layer, done + number, noise) for number, layer in enumerate(layers)]
            hidden = block(hidden, styles[:, done:], noises)
            done += len(layers)
            if block.shows:
                shown = block.torgb(hidden, styles[:, done])
                image = double(image, block.resample_filter).add_(shown) if image.shape[1] else shown
        return image.contiguous()


def _noise_of(layer: ModulatedConv, number: int, noise: LayerNoise) -> Tensor | None:
    if noise == "none" or not layer.noise:
        return None
    if noise == "const":
        return layer.noise_const
    return noise(number, (layer.resolution, layer.resolution)).to(layer.noise_const)


class StyleGAN2(Sized, Styled):
    """Generator of "Analyzing and Improving the Image Quality of StyleGAN".

    Args:
        settings: What to build.
    """

    paper = "Karras et al. 2020, arXiv 1912.04958; with adaptive augmentation Karras et al. 2020, arXiv 2006.06676"
    settings_type = StyleGAN2Settings
    settings: StyleGAN2Settings

    def __init__(self, settings: StyleGAN2Settings) -> None:
        super().__init__(settings)
        self.synthesis = Synthesis(settings)
        self.mapping = Mapping(settings, settings.z_dim, settings.w_dim, mean_style=settings.mean_style)

    @property
    def noisy(self) -> bool:
        """Whether layers add noise."""
        return self.settings.noise

    @property
    def style_layers(self) -> int:
        """Number of layers that take a style: two a resolution (one at 4 x 4), and the last to the image."""
        return 2 * self.settings.img_resolution.bit_length() - 4

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns styles `(N, w_dim)` for latents `(N, z_dim)` and labels `(N,)`, not truncated."""
        styles: Tensor = self.mapping(latents, labels)
        return styles

    def images(self, styles: Tensor, noise: LayerNoise = "const") -> Tensor:
        """Returns images `(N, C, H, W)` for one style a layer, `(N, style_layers, w_dim)`.

        With "skip" the style of a layer to an image is that of the next convolution, as it was trained.
        """
        images: Tensor = self.synthesis(styles, noise)
        return images
