"""What StyleGAN2's generator and discriminator share: settings, layers with equalised learning rates, the mapping."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError, SynthesizerError, whole
from gan_augment.networks.published.base import Settings, within
from gan_augment.networks.published.filters import fir

__all__ = [
    "ACTIVATION_GAIN",
    "PLAIN_TAPS",
    "Dense",
    "EqualConv",
    "Mapping",
    "SharedSettings",
    "Sized",
    "activated",
    "bounded",
    "clamped",
    "layout",
    "spare",
]

PLAIN_TAPS = (1.0, 3.0, 3.0, 1.0)
_LEAK = 0.2
ACTIVATION_GAIN = math.sqrt(2)  # of the activation: keeps the variance


@dataclass(frozen=True, kw_only=True)
class SharedSettings(Settings):
    """What generator and discriminator are both built with.

    Attributes:
        img_resolution: Side of the images, a power of 2.
        img_channels: Channels of the images.
        c_dim: Number of classes; 0 for a network that knows none.
        channel_base: A level of side r has `channel_base // r` channels ...
        channel_max: ... and at most these.
        architecture: How levels are joined: "skip", "resnet", or "orig" for not at all (Karras et al. 2020, figure 7).
        resample_filter: Taps of the low-pass filter along one axis.
        conv_clamp: What the outputs of convolutions are limited to; None for no limit.
        mapping_layers: Layers that latents or a class pass before they are used.
        embed_features: Length of the embedding of a class; None for that of what the mapping returns.
        layer_features: Width of the mapping's inner layers; None for that of what it returns.
        lr_multiplier: Rate of learning of the mapping's layers, relative to the others.
    """

    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Literal["skip", "resnet", "orig"] = "skip"
    resample_filter: tuple[float, ...] = PLAIN_TAPS
    conv_clamp: float | None = None
    mapping_layers: int = 8
    embed_features: int | None = None
    layer_features: int | None = None
    lr_multiplier: float = 0.01

    def __post_init__(self) -> None:
        bounded("img_resolution", self.img_resolution, 4, 2048)
        if self.img_resolution & (self.img_resolution - 1):
            raise ConfigError(f"expected img_resolution to be a power of 2, found {self.img_resolution}")
        bounded("img_channels", self.img_channels, 1, 1024)
        bounded("c_dim", self.c_dim, 0, 2**17)
        bounded("channel_base", self.channel_base, self.img_resolution, 2**22)
        bounded("channel_max", self.channel_max, 1, 2**13)
        if self.architecture not in ("skip", "resnet", "orig"):
            raise ConfigError(f"expected architecture skip, resnet or orig, found {self.architecture!r}")
        bounded("the taps of resample_filter", len(self.resample_filter), 1, 64)
        for tap in self.resample_filter:
            within("each tap of resample_filter", tap, -1e6, 1e6)
        if not abs(sum(self.resample_filter)) > 1e-6:
            raise ConfigError(f"expected a resample_filter that does not sum to 0, found {self.resample_filter}")
        if self.conv_clamp is not None:
            within("conv_clamp", self.conv_clamp, 0, 1e9)
        bounded("mapping_layers", self.mapping_layers, 1, 64)
        for name in ("embed_features", "layer_features"):
            if getattr(self, name) is not None:
                bounded(name, getattr(self, name), 1, 2**13)
        within("lr_multiplier", self.lr_multiplier, 1e-8, 1e4)

    def width(self, resolution: int) -> int:
        """Returns the channels of the level of that side."""
        return min(self.channel_base // resolution, self.channel_max)


class Sized:
    """Latents, classes and images of a generator whose settings have the names of StyleGAN's."""

    settings: Any

    @property
    def latent_dim(self) -> int:
        """Length of the latents, which are standard normal."""
        return int(self.settings.z_dim)

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a generator that knows none."""
        return int(self.settings.c_dim)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, H, W)`."""
        return (self.settings.img_channels, self.settings.img_resolution, self.settings.img_resolution)


def bounded(name: str, value: int, least: int, most: int) -> None:
    """Raises unless a setting is a whole number from `least` to `most`.

    Raises:
        ConfigError: It is not.
    """
    within(name, whole(name, value, least), least, most)


class Dense(nn.Module):
    """Fully connected layer whose weights are stored with unit variance (equalised learning rate).

    Args:
        inputs: Length of a vector.
        outputs: Length of what it becomes.
        lr_multiplier: Rate of learning relative to other layers: weights are stored divided by it.
        bias: What the bias starts from.
    """

    def __init__(self, inputs: int, outputs: int, lr_multiplier: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.lr_multiplier = lr_multiplier
        self.gain = lr_multiplier / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias))

    def forward(self, vectors: Tensor, gain: float = 1.0) -> Tensor:
        """Returns `(N, outputs)`, times `gain`, for `(N, inputs)`."""
        bias = self.bias * (self.lr_multiplier * gain)
        return torch.addmm(bias, vectors, self.weight.t(), alpha=self.gain * gain)

    def activated(self, vectors: Tensor) -> Tensor:
        """Returns that with the activation; its gain can be applied before it, as it is linear on either side of 0."""
        return functional.leaky_relu(self(vectors, ACTIVATION_GAIN), _LEAK)

    def column(self, labels: Tensor) -> Tensor:
        """Returns `(N, outputs)` for one-hot vectors of labels `(N,)`."""
        return functional.embedding(labels, self.weight.t()) * self.gain + self.bias * self.lr_multiplier


class Mapping(nn.Module):
    """Maps latents, a class, or both, to a style: each normalised, then layers.

    Args:
        settings: Of the network.
        z_dim: Length of the latents; 0 for none.
        outputs: Length of a style.
        mean_style: Whether to store a mean style.
    """

    def __init__(self, settings: SharedSettings, z_dim: int, outputs: int, *, mean_style: bool) -> None:
        super().__init__()
        self.c_dim = settings.c_dim
        embedded = (settings.embed_features or outputs) if self.c_dim else 0
        if self.c_dim:
            self.embed = Dense(self.c_dim, embedded)
        hidden = [settings.layer_features or outputs] * (settings.mapping_layers - 1)
        self.layers = []
        for number, (a, b) in enumerate(itertools.pairwise([z_dim + embedded, *hidden, outputs])):
            self.layers.append(f"fc{number}")
            self.add_module(self.layers[-1], Dense(a, b, settings.lr_multiplier))
        if mean_style:
            self.register_buffer("w_avg", torch.zeros(outputs))

    def forward(self, latents: Tensor | None, labels: Tensor | None) -> Tensor:
        """Returns `(N, outputs)` for latents `(N, z_dim)` and labels `(N,)`.

        Raises:
            SynthesizerError: There are no labels for a network that knows classes.
        """
        parts = [] if latents is None else [_normalised(latents)]
        if self.c_dim:
            if labels is None:
                raise SynthesizerError(
                    f"expected labels from 0 to {self.c_dim - 1}, found none; give one for each image"
                )
            parts.append(_normalised(self.embed.column(labels)))
        style = torch.cat(parts, dim=1)
        for name in self.layers:
            style = getattr(self, name).activated(style)
        return style


def _normalised(vectors: Tensor) -> Tensor:
    return vectors * (vectors.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualConv(nn.Module):
    """Convolution whose weights are stored with unit variance; its gain and others are given to it as one number.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        size: Of the kernel.
        taps: Of the filter that it stores.
        bias: Whether there is a bias.
    """

    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, size: int, taps: tuple[float, ...] = PLAIN_TAPS, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.gain = 1 / math.sqrt(inputs * size**2)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.register_buffer("resample_filter", fir(taps))

    def forward(self, images: Tensor, gain: float = 1.0, stride: int = 1, padding: int = 0) -> Tensor:
        """Returns the convolution, times `gain`, of `(N, inputs, H, W)`."""
        bias = None if self.bias is None else self.bias * gain
        return functional.conv2d(images, self.weight * (self.gain * gain), bias, stride, padding)


def activated(hidden: Tensor, gain: float, clamp: float | None) -> Tensor:
    """Returns `gain` times the activation, clamped, of what was already multiplied with `gain` and `ACTIVATION_GAIN`.

    Both can be applied before the activation, which is linear on either side of 0, to what is smaller.

    Args:
        hidden: `(N, C, H, W)`; overwritten.
        gain: Besides that of the activation.
        clamp: Of the output, before `gain`; None for none.
    """
    return clamped(functional.leaky_relu_(hidden, _LEAK), clamp, gain)


def clamped(hidden: Tensor, clamp: float | None, gain: float = 1.0) -> Tensor:
    """Returns values limited to `gain` times `clamp` on both sides; overwritten without gradients."""
    return hidden if clamp is None else torch.clamp(hidden, -clamp * gain, clamp * gain, out=spare(hidden))


def spare(hidden: Tensor) -> Tensor | None:
    """Returns where a result goes: over its input where no gradient needs that, which saves memory traffic."""
    return None if torch.is_grad_enabled() else hidden


def layout(images: Tensor) -> Tensor:
    """Returns images laid out as convolutions like them: channels last on a CPU, which is up to three times faster."""
    return images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images
