"""StyleGAN3's generator, configurations T and R, by the names of the weights that its repository releases.

Layers that were trained in float16 run in float32, which is what their weights are stored in.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import LayerNoise, Settings, Styled, within
from gan_augment.networks.published.filters import upfirdn
from gan_augment.networks.published.stylegan2_layers import (
    Dense,
    Mapping,
    SharedSettings,
    Sized,
    bounded,
    clamped,
    layout,
    spare,
)
from gan_augment.networks.published.stylegan3_filters import Band, bands, low_pass, radial_low_pass

__all__ = ["FourierInput", "StyleGAN3", "StyleGAN3Settings", "SynthesisLayer"]

_LEAK = 0.2
_GAIN = math.sqrt(2)  # of the activation: keeps the variance


@dataclass(frozen=True, kw_only=True)
class StyleGAN3Settings(Settings):
    """What `StyleGAN3` is built with. The defaults are configuration T.

    Configuration R has `conv_kernel=1`, `use_radial_filters=True`, and twice the `channel_base` and `channel_max`.

    Attributes:
        img_resolution: Side of the images.
        img_channels: Channels of the images.
        c_dim: Number of classes; 0 for a generator that knows none.
        z_dim: Length of the latents.
        w_dim: Length of the styles.
        mapping_layers: Layers that latents and a class pass to become a style.
        lr_multiplier: Rate of learning of those, relative to the others.
        channel_base: A layer of cutoff f has `channel_base / 2 f` channels ...
        channel_max: ... and at most these.
        num_layers: Layers between the Fourier features and the one to the image.
        num_critical: Of these, the last ones whose cutoff is half their sampling rate.
        first_cutoff: Cutoff frequency of the first layer, f_c0.
        first_stopband: Frequency from which its filters stop, f_t0.
        last_stopband_rel: That of the last layer, relative to its cutoff.
        margin_size: Cells around the image in all layers but the last.
        output_scale: What images are multiplied with.
        conv_kernel: Side of the kernels.
        filter_size: Taps of the filters at the lower of two sampling rates.
        lrelu_upsampling: Factor by which the sampling rate is raised for the activation.
        use_radial_filters: Whether filters downwards are alike in all directions, but for critically sampled layers.
        conv_clamp: What activations are limited to; None for no limit.
    """

    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    output_scale: float = 0.25
    conv_kernel: int = 3
    filter_size: int = 6
    lrelu_upsampling: int = 2
    use_radial_filters: bool = False
    conv_clamp: float | None = 256.0

    def __post_init__(self) -> None:
        bounded("img_resolution", self.img_resolution, 4, 2048)
        bounded("img_channels", self.img_channels, 1, 1024)
        bounded("z_dim", self.z_dim, 1, 2**13)
        bounded("w_dim", self.w_dim, 1, 2**13)
        self.for_mapping()
        bounded("channel_base", self.channel_base, self.img_resolution, 2**22)
        bounded("channel_max", self.channel_max, 1, 2**13)
        bounded("num_layers", self.num_layers, 2, 64)
        bounded("num_critical", self.num_critical, 1, self.num_layers - 1)
        within("first_cutoff", self.first_cutoff, 0.25, self.img_resolution / 2)
        within("first_stopband", self.first_stopband, 1, self.img_resolution)
        if not self.first_cutoff < min(self.first_stopband, self.img_resolution / 2):
            raise ConfigError(
                f"expected first_cutoff below first_stopband, {self.first_stopband}, and half of img_resolution, "
                f"{self.img_resolution}; found {self.first_cutoff}"
            )
        within("last_stopband_rel", self.last_stopband_rel, 1, 4)
        bounded("margin_size", self.margin_size, 0, 256)
        within("output_scale", self.output_scale, 1e-6, 1e6)
        bounded("conv_kernel", self.conv_kernel, 1, 15)
        bounded("filter_size", self.filter_size, 1, 32)
        bounded("lrelu_upsampling", self.lrelu_upsampling, 1, 4)
        if self.conv_clamp is not None:
            within("conv_clamp", self.conv_clamp, 0, 1e9)

    def bands(self) -> list[Band]:
        """Returns the signals that the layers make, the image's last."""
        return bands(
            img_resolution=self.img_resolution, img_channels=self.img_channels, num_layers=self.num_layers,
            num_critical=self.num_critical, first_cutoff=self.first_cutoff, first_stopband=self.first_stopband,
            last_stopband_rel=self.last_stopband_rel, margin_size=self.margin_size, channel_base=self.channel_base,
            channel_max=self.channel_max,
        )  # fmt: skip

    def for_mapping(self) -> SharedSettings:
        """Returns these settings as StyleGAN2's mapping takes them, which does not look at the side of the images."""
        return SharedSettings(
            img_resolution=4, c_dim=self.c_dim, mapping_layers=self.mapping_layers, lr_multiplier=self.lr_multiplier
        )


class FourierInput(nn.Module):
    """Waves sin(2 pi (f x + p)) over the plane, turned and moved by the style, mixed (section 3.2, appendix F).

    Args:
        w_dim: Length of a style.
        band: The signal to make.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.band = band
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = Dense(w_dim, 4)
        with torch.no_grad():  # starts from what neither turns nor moves
            self.affine.weight.zero_()
            self.affine.bias[0] = 1.0
        normal = torch.randn(band.channels, 2)
        squared = normal.square().sum(1, keepdim=True)
        # Uniform over the disc of radius `cutoff`, as released networks drew them.
        self.register_buffer("freqs", normal / (squared.sqrt() * squared.exp().pow(0.25)) * band.cutoff)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)
        self.register_buffer("transform", torch.eye(3))

    def forward(self, style: Tensor) -> Tensor:
        """Returns `(N, C, size, size)`, channels last, for styles `(N, W)`.

        With (c, s, x, y) the affine layer's output over the length of (c, s), the plane goes through the matrix R T M:
        R turns by the angle of (c, s), T moves by (-x, -y), M is `transform`, which a user may set.
        """
        moved = self.affine(style)
        c, s, x, y = (moved / moved[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        rows = torch.stack([c, -s, s * y - c * x, s, c, -s * x - c * y], dim=1)
        plane = rows.unflatten(1, (2, 3)) @ self.transform
        phases = self.phases + plane[:, :, 2] @ self.freqs.t()
        freqs = self.freqs @ plane[:, :, :2]
        band = self.band
        beyond = (freqs.norm(dim=2) - band.cutoff) / (band.rate / 2 - band.cutoff)
        line = (torch.arange(band.size, device=style.device, dtype=style.dtype) + (0.5 - band.size / 2)) / band.rate
        cells = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).flatten(0, 1)
        waves = torch.baddbmm(phases[:, None], cells.expand(len(style), -1, -1), freqs.mT)
        waves = torch.sin(waves * (2 * math.pi)) * (1 - beyond).clamp(0, 1)[:, None]
        mixed = functional.linear(waves, self.weight / math.sqrt(band.channels))
        images: Tensor = mixed.unflatten(1, (band.size, band.size)).permute(0, 3, 1, 2)
        return images


class SynthesisLayer(nn.Module):
    """Modulated convolution, and an activation at a higher sampling rate between two low-pass filters (section 3.2).

    Weights are never formed for each sample: scaling inputs and outputs gives the same.

    Args:
        settings: Of the network.
        before: Its input.
        after: Its output.
        radial: Whether the filter downwards is alike in all directions.
    """

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, settings: StyleGAN3Settings, before: Band, after: Band, *, radial: bool) -> None:
        super().__init__()
        self.kernel, self.clamp = settings.conv_kernel, settings.conv_clamp
        self.affine = Dense(settings.w_dim, before.channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(after.channels, before.channels, self.kernel, self.kernel))
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        rate = max(before.rate, after.rate) * settings.lrelu_upsampling
        self.up, self.down = rate // before.rate, rate // after.rate
        up_taps, down_taps = (settings.filter_size * by if by > 1 else 1 for by in (self.up, self.down))
        design = radial_low_pass if radial else low_pass
        up_filter = low_pass(up_taps, before.cutoff, 2 * before.half_width, rate) if up_taps > 1 else None
        down_filter = design(down_taps, after.cutoff, 2 * after.half_width, rate) if down_taps > 1 else None
        self.register_buffer("up_filter", up_filter)
        self.register_buffer("down_filter", down_filter)
        around = (after.size - 1) * self.down + 1 - (before.size + self.kernel - 1) * self.up + up_taps + down_taps - 2
        first = (around + self.up) // 2  # appendix C.3: cells are areas, which stay where they are
        self.padding = (first, around - first) * 2
        self.register_load_state_dict_post_hook(_lay_out)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, style: Tensor) -> Tensor:
        """Returns `(N, outputs, size, size)`.

        Args:
            images: `(N, inputs, size, size)`; overwritten without gradients.
            style: `(N, W)`.
        """
        scale = self.affine(style)
        power = self.weight.square().sum((2, 3))
        energy = functional.linear(scale.square(), power)
        # 1e-8 is relative to weights and styles of unit size.
        least = 1e-8 / self.kernel**2 * power.mean(1) * scale.square().mean(1, keepdim=True)
        back = (energy + least).rsqrt() * (self.magnitude_ema.rsqrt() * _GAIN)
        hidden = torch.mul(images, scale[:, :, None, None], out=spare(images))
        hidden = functional.conv2d(hidden, self.weight, padding=self.kernel - 1)
        bias = (self.bias * _GAIN)[:, None, None]  # the gain of the activation, before what makes images larger
        hidden = torch.addcmul(bias, hidden, back[:, :, None, None], out=spare(hidden))
        hidden = upfirdn(hidden, self.up_filter, up=self.up, padding=self.padding, gain=float(self.up**2))
        hidden = clamped(functional.leaky_relu_(hidden, _LEAK), self.clamp)
        return upfirdn(hidden, self.down_filter, down=self.down)


def _lay_out(layer: SynthesisLayer, keys: Any) -> None:
    """Stores weights that were loaded in the order in which convolutions read them; their values stay."""
    layer.weight.data = layout(layer.weight.data)


class ImageLayer(nn.Module):
    """Modulated convolution of 1 x 1 to the channels of an image, not scaled back.

    Args:
        settings: Of the network.
        inputs: Input channels.
    """

    magnitude_ema: Tensor

    def __init__(self, settings: StyleGAN3Settings, inputs: int) -> None:
        super().__init__()
        self.clamp, self.gain = settings.conv_clamp, settings.output_scale
        self.affine = Dense(settings.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(settings.img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(settings.img_channels))
        self.register_buffer("magnitude_ema", torch.ones([]))

    def forward(self, hidden: Tensor, style: Tensor) -> Tensor:
        """Returns `(N, img_channels, H, W)` for `(N, inputs, H, W)` and styles `(N, W)`."""
        n, inputs, height, width = hidden.shape
        scale = self.affine(style, self.gain / math.sqrt(inputs)) * self.magnitude_ema.rsqrt()
        weights = self.weight[:, :, 0, 0] * scale[:, None]
        cells = hidden.permute(0, 2, 3, 1).reshape(n, height * width, inputs)
        image = torch.baddbmm(self.bias * self.gain, cells, weights.mT)
        return clamped(image.unflatten(1, (height, width)).permute(0, 3, 1, 2), self.clamp, self.gain)


class Synthesis(nn.Module):
    """Makes images of styles."""

    def __init__(self, settings: StyleGAN3Settings) -> None:
        super().__init__()
        made = settings.bands()
        self.input = FourierInput(settings.w_dim, made[0])
        self.layers = []
        for number, (before, after) in enumerate(zip([made[0], *made], made, strict=False)):
            self.layers.append(f"L{number}_{after.size}_{after.channels}")
            radial = settings.use_radial_filters and number < settings.num_layers - settings.num_critical
            is_last = number == settings.num_layers
            self.add_module(
                self.layers[-1],
                ImageLayer(settings, before.channels)
                if is_last
                else SynthesisLayer(settings, before, after, radial=radial),
            )

    def forward(self, styles: Tensor) -> Tensor:
        """Returns images `(N, C, H, W)` for styles `(N, layers, W)`."""
        hidden = layout(self.input(styles[:, 0]))
        for number, name in enumerate(self.layers, start=1):
            hidden = getattr(self, name)(hidden, styles[:, number])
        return hidden.contiguous()


class StyleGAN3(Sized, Styled):
    """Generator of "Alias-Free Generative Adversarial Networks". It has no noise.

    `magnitude_ema`, the mean square of a layer's input over the training, is used and not moved: it stays what the
    weights bring.

    Args:
        settings: What to build.
    """

    paper = "Karras et al. 2021, arXiv 2106.12423"
    settings_type = StyleGAN3Settings
    settings: StyleGAN3Settings

    def __init__(self, settings: StyleGAN3Settings) -> None:
        super().__init__(settings)
        self.synthesis = Synthesis(settings)
        self.mapping = Mapping(settings.for_mapping(), settings.z_dim, settings.w_dim, mean_style=True)

    @property
    def noisy(self) -> bool:
        """Whether layers take noise: none does."""
        return False

    @property
    def style_layers(self) -> int:
        """Number of layers that take a style: the Fourier features, the layers, and the one to the image."""
        return self.settings.num_layers + 2

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns styles `(N, w_dim)` for latents `(N, z_dim)` and labels `(N,)`, not truncated."""
        styles: Tensor = self.mapping(latents, labels)
        return styles

    def images(self, styles: Tensor, noise: LayerNoise = "const") -> Tensor:
        """Returns images `(N, C, H, W)` for one style a layer, `(N, style_layers, w_dim)`; noise is not looked at."""
        images: Tensor = self.synthesis(styles)
        return images
