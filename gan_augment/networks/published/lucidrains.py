"""The generator of the package stylegan2_pytorch: StyleGAN2 with attention, uniform noise and images in [0, 1].

What differs from the paper: no equalised learning rates but a multiplier in the mapping, modulation by 1 + s, bilinear
upsampling before the convolution, one noise image for all layers, one style for both convolutions of a level.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import LayerNoise, Settings, Styled, within

__all__ = ["LucidrainsSettings", "LucidrainsStyleGAN2"]


@dataclass(frozen=True, kw_only=True)
class LucidrainsSettings(Settings):
    """What the package calls its parameters.

    Attributes:
        image_size: Side of an image, a power of 2.
        network_capacity: Half the channels of the last level; each level before it has twice as many.
        fmap_max: Most channels of a level.
        latent_dim: Length of latents and styles.
        style_depth: Layers of the mapping.
        lr_mlp: What multiplies the weights of the mapping.
        transparent: Whether images have a fourth channel, alpha.
        attn_layers: Levels with attention before them, counted from 1 for the last.
        no_const: Whether the first 4x4 features are made of the mean style instead of stored.
    """

    image_size: int
    network_capacity: int = 16
    fmap_max: int = 512
    latent_dim: int = 512
    style_depth: int = 8
    lr_mlp: float = 0.1
    transparent: bool = False
    attn_layers: tuple[int, ...] = ()
    no_const: bool = False

    def __post_init__(self) -> None:
        within("image_size", self.image_size, 4, 4096)
        if self.image_size & (self.image_size - 1):
            raise ConfigError(f"expected image_size to be a power of 2, found {self.image_size}")
        within("network_capacity", self.network_capacity, 1, 1024)
        within("fmap_max", self.fmap_max, 1, 4096)
        within("latent_dim", self.latent_dim, 1, 4096)
        within("style_depth", self.style_depth, 1, 64)
        within("lr_mlp", self.lr_mlp, 0, 100)
        for layer in self.attn_layers:
            within("attn_layers", layer, 1, self.levels)

    @property
    def levels(self) -> int:
        """Number of levels: one for 4x4, one for each doubling."""
        return self.image_size.bit_length() - 2

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [min(self.fmap_max, self.network_capacity << level) for level in range(self.levels, 0, -1)]


class _Mapping(nn.Module):
    """Latents on the unit sphere to styles."""

    def __init__(self, settings: LucidrainsSettings) -> None:
        super().__init__()
        width = settings.latent_dim
        layers = [nn.Linear(width, width) for _ in range(settings.style_depth)]
        self.net = nn.ModuleList(layer for linear in layers for layer in (linear, nn.LeakyReLU(0.2)))
        self.multiplier = settings.lr_mlp

    def forward(self, latents: Tensor) -> Tensor:
        styles = functional.normalize(latents, dim=1)
        for layer in self.net[::2]:
            styles = functional.leaky_relu(layer(styles) * self.multiplier, 0.2)
        return styles


class _Modulated(nn.Module):
    """The kernel of a modulated convolution."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.kaiming_normal_(self.weight, a=0.2)


class _Convolution(_Modulated):
    """Modulated and demodulated convolution of 3x3, equations 1 and 3 of the paper, with 1 + s for s.

    Inputs and outputs are scaled instead of the weights, so that all samples share one convolution, and inputs before
    they are upsampled.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)

    def forward(self, images: Tensor, modulation: Tensor, *, up: bool) -> Tensor:
        scale = modulation + 1
        hidden = images * scale[:, :, None, None]
        if up:
            hidden = _twice(hidden)
        hidden = functional.conv2d(hidden, self.weight, padding=1)
        energy = functional.linear(scale.square(), self.weight.square().sum((2, 3)))
        return hidden * (energy + 1e-8).rsqrt()[:, :, None, None]


class _ToImage(nn.Module):
    """Features to a part of the image, which is added to the one so far, doubled and blurred for the next level."""

    def __init__(self, latent_dim: int, inputs: int, channels: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.to_style = nn.Linear(latent_dim, inputs)
        self.conv = _Modulated(inputs, channels, 1)

    def forward(self, hidden: Tensor, images: Tensor | None, style: Tensor) -> Tensor:
        weights = self.conv.weight.flatten(1) * (self.to_style(style) + 1)[:, None]  # (N, channels, inputs), small
        made = (weights @ hidden.flatten(2)).unflatten(2, hidden.shape[2:])
        if images is not None:
            made = made + images
        return _blurred(_twice(made)) if self.up else made


class _Level(nn.Module):
    """Two convolutions with noise, and their part of the image."""

    def __init__(
        self, latent_dim: int, inputs: int, outputs: int, channels: int, *, first: bool, last: bool
    ) -> None:  # fmt: skip
        super().__init__()
        self.up = not first
        self.to_style1, self.to_style2 = nn.Linear(latent_dim, inputs), nn.Linear(latent_dim, outputs)
        self.to_noise1, self.to_noise2 = nn.Linear(1, outputs), nn.Linear(1, outputs)
        self.conv1, self.conv2 = _Convolution(inputs, outputs), _Convolution(outputs, outputs)
        self.to_rgb = _ToImage(latent_dim, outputs, channels, up=not last)

    def forward(
        self, hidden: Tensor, images: Tensor | None, style: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        hidden = _noisy(self.conv1(hidden, self.to_style1(style), up=self.up), noise, self.to_noise1)
        hidden = _noisy(self.conv2(hidden, self.to_style2(style), up=False), noise, self.to_noise2)
        return hidden, self.to_rgb(hidden, images, style)


def _noisy(hidden: Tensor, noise: Tensor, layer: nn.Linear) -> Tensor:
    """Adds noise, a weight and a bias a channel, to fresh features, and activates them."""
    noise = noise[:, :, : hidden.shape[2], : hidden.shape[3]]
    hidden += torch.addcmul(layer.bias[:, None, None], noise, layer.weight[:, :, None])
    return functional.leaky_relu_(hidden, 0.2)


def _twice(images: Tensor) -> Tensor:
    return functional.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)


def _blurred(images: Tensor) -> Tensor:
    """Averages neighbours with the weights 1, 2, 1 in both dimensions, the border mirrored."""
    padded = functional.pad(images, [1, 1, 1, 1], mode="reflect")
    rows = (padded[:, :, :-2] + padded[:, :, 2:]) * 0.25 + padded[:, :, 1:-1] * 0.5
    return (rows[..., :-2] + rows[..., 2:]) * 0.25 + rows[..., 1:-1] * 0.5


class _ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.b = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        variance, mean = torch.var_mean(images, dim=1, correction=0, keepdim=True)
        return (images - mean) * (variance + 1e-5).rsqrt() * self.g + self.b


class _LinearAttention(nn.Module):
    """Efficient attention (Shen et al. 2018, arXiv 1812.01243): softmax(Q) (softmax(K)^T V), linear in the pixels."""

    heads, head_dim = 8, 64

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = self.heads * self.head_dim
        self.to_q = nn.Conv2d(channels, inner, 1, bias=False)
        self.to_kv = _Separable(channels, 2 * inner)
        self.to_out = nn.Conv2d(inner, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(1, (self.heads, self.head_dim)).flatten(3)
            for part in (self.to_q(images), *self.to_kv(images).chunk(2, dim=1))
        )
        context = value @ key.softmax(3).transpose(2, 3)
        mixed = context @ (query.softmax(2) * self.head_dim**-0.5)
        out: Tensor = self.to_out(functional.gelu(mixed.flatten(1, 2).unflatten(2, images.shape[2:])))
        return out


class _Separable(nn.Module):
    """A convolution in each channel, then one across channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.net(images)
        return out


class _Normed(nn.Module):
    def __init__(self, channels: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = _ChannelNorm(channels), layer

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.fn(self.norm(images))
        return out


class _Residual(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.fn = layer

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = images + self.fn(images)
        return out


def _attention(channels: int) -> nn.Sequential:
    """Attention, then two layers for each pixel; both after a norm over channels, both added to what came in."""
    layers = nn.Sequential(
        nn.Conv2d(channels, 2 * channels, 1), nn.LeakyReLU(0.2), nn.Conv2d(2 * channels, channels, 1)
    )
    parts = (_LinearAttention(channels), layers)
    return nn.Sequential(*[_Residual(_Normed(channels, part)) for part in parts])


class _Synthesis(nn.Module):
    def __init__(self, settings: LucidrainsSettings) -> None:
        super().__init__()
        widths, levels, latent_dim = settings.widths, settings.levels, settings.latent_dim
        if settings.no_const:
            self.to_initial_block = nn.ConvTranspose2d(latent_dim, widths[0], 4, bias=False)
        else:
            self.initial_block = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.initial_conv = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        inputs = [widths[0], *widths[:-1]]
        self.blocks = nn.ModuleList(
            _Level(latent_dim, a, b, 3 + settings.transparent, first=level == 0, last=level == levels - 1)
            for level, (a, b) in enumerate(zip(inputs, widths, strict=True))
        )
        self.attns = nn.ModuleList(
            _attention(a) if levels - level in settings.attn_layers else nn.Identity() for level, a in enumerate(inputs)
        )

    def forward(self, styles: Tensor, noise: Tensor) -> Tensor:
        if hasattr(self, "to_initial_block"):
            hidden = self.to_initial_block(styles.mean(1)[:, :, None, None])
        else:
            hidden = self.initial_block.expand(len(styles), -1, -1, -1)
        hidden = self.initial_conv(hidden)
        images: Tensor | None = None
        for level, attention, style in zip(self.blocks, self.attns, styles.unbind(1), strict=True):
            hidden, images = level(attention(hidden), images, style, noise)
        if images is None:  # settings have one level at least
            raise ConfigError("expected one style a level, found none")
        return images


class LucidrainsStyleGAN2(Styled):
    """StyleGAN2 as the package stylegan2_pytorch has it; it knows no classes, and takes one style a level.

    The package adds one image of uniform noise to all layers, cut to their size, and makes images in [0, 1]. Here noise
    of a function is standard normal and asked for once, as layer 0 of the image's size; its normal distribution
    function is that uniform noise. "const" is one fixed image of it, "none" the mean of it. Images come out in [-1, 1].
    """

    paper = "Karras et al. 2020, arXiv 1912.04958"
    settings_type = LucidrainsSettings
    settings: LucidrainsSettings

    def __init__(self, settings: LucidrainsSettings) -> None:
        super().__init__(settings)
        self.S = _Mapping(settings)
        self.G = _Synthesis(settings)

    @property
    def latent_dim(self) -> int:
        """Length of the latents, which are standard normal; only their direction matters."""
        return self.settings.latent_dim

    @property
    def num_classes(self) -> int:
        """0: it knows no classes."""
        return 0

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(3, size, size)`, or 4 channels with transparency."""
        return 3 + self.settings.transparent, self.settings.image_size, self.settings.image_size

    @property
    def style_layers(self) -> int:
        """Number of levels, each of which takes a style."""
        return self.settings.levels

    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns styles `(N, latent_dim)` for latents `(N, latent_dim)`; labels are not looked at."""
        styles: Tensor = self.S(latents)
        return styles

    def images(self, styles: Tensor, noise: LayerNoise = "const") -> Tensor:
        """Returns images `(N, C, size, size)`, nominally in [-1, 1], for styles `(N, style_layers, latent_dim)`."""
        images: Tensor = self.G(styles, self._uniform(noise).to(styles))
        return images * 2 - 1

    def _uniform(self, noise: LayerNoise) -> Tensor:
        size = self.settings.image_size
        if noise == "none":
            return torch.full((1, 1, size, size), 0.5)
        if noise == "const":
            return _fixed_noise(size)
        uniform: Tensor = torch.special.ndtr(noise(0, (size, size)))
        return uniform


@functools.lru_cache(maxsize=4)
def _fixed_noise(size: int) -> Tensor:
    """Uniform noise `(1, 1, size, size)`, always the same."""
    with torch.inference_mode(False):  # a tensor of inference mode could not be used in training later
        generator = torch.Generator("cpu").manual_seed(0)
        return torch.rand(1, 1, size, size, generator=generator, device="cpu")
