"""FastGAN's generator as projected GAN has it, with and without classes.

Its weights are those that spectral normalisation makes of the stored ones; the normalisation itself is not built.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.networks.published.base import LayerNoise, Published, Settings
from gan_augment.networks.published.stylegan2_layers import (
    Sized,
    bounded,
    layout,
    spare,
)

__all__ = ["FastGAN", "FastGANSettings"]

_WIDTHS = {4: 16.0, 8: 8.0, 16: 4.0, 32: 2.0, 64: 2.0, 128: 1.0, 256: 0.5, 512: 0.25, 1024: 0.125}
_GATES = {64: 4, 128: 8, 256: 16, 512: 32}  # side of what is scaled: side of what scales it
_MIXED = (8, 32, 128, 512)
_EPSILON = 1e-5
_MOMENTUM = 0.1
_ENOUGH = 512  # cells from which forming a larger kernel pays; measured


@dataclass(frozen=True, kw_only=True)
class FastGANSettings(Settings):
    """What `FastGAN` is built with.

    Attributes:
        img_resolution: Side of the images: 128, 256, 512 or 1024.
        img_channels: Channels of the images.
        c_dim: Number of classes; 0 for a generator that knows none.
        z_dim: Length of the latents, and of the embedding of a class.
        ngf: Channels at 128 x 128; the other levels have multiples of it.
        blocks: "big" for two convolutions a level, with noise; "small" for one, without ("lite"); "mixed" for big ones
            at 8, 32, 128 and 512 and small ones between, as in the first release and in FastGAN itself.
    """

    img_resolution: int = 256
    img_channels: int = 3
    c_dim: int = 0
    z_dim: int = 256
    ngf: int = 128
    blocks: Literal["big", "small", "mixed"] = "big"

    def __post_init__(self) -> None:
        bounded("img_resolution", self.img_resolution, 128, 1024)
        if self.img_resolution not in _WIDTHS:
            raise ConfigError(f"expected img_resolution 128, 256, 512 or 1024, found {self.img_resolution}")
        bounded("img_channels", self.img_channels, 1, 1024)
        bounded("c_dim", self.c_dim, 0, 2**17)
        bounded("z_dim", self.z_dim, 1, 2**13)
        bounded("ngf", self.ngf, 8, 2**10)
        if self.blocks not in ("big", "small", "mixed"):
            raise ConfigError(f"expected blocks big, small or mixed, found {self.blocks!r}")

    def width(self, level: int) -> int:
        """Returns the channels of the level of that side."""
        return int(_WIDTHS[level] * self.ngf)

    def levels(self) -> list[int]:
        """Returns the sides that the images go through after 4."""
        return [level for level in _WIDTHS if 4 < level <= self.img_resolution]

    def convolutions(self, level: int) -> int:
        """Returns the number of convolutions of the level of that side."""
        return 2 if self.blocks == "big" or (self.blocks == "mixed" and level in _MIXED) else 1


class Norm(nn.Module):
    """Batch normalisation; with classes its gain and bias are linear in the embedding of the class.

    Args:
        channels: Of the images.
        embedded: Length of the embedding of a class; 0 where there are none.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, embedded: int = 0) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.conditional = embedded > 0
        if self.conditional:
            self.gain, self.shift = nn.Linear(embedded, channels), nn.Linear(embedded, channels)
        else:
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor, embedding: Tensor | None) -> Tensor:
        """Returns `(N, C, H, W)`; `images` are overwritten without gradients.

        Args:
            images: `(N, C, H, W)`.
            embedding: `(N, embedded)`, not looked at without classes.
        """
        if self.conditional:
            gain, bias = 1 + self.gain(embedding), self.shift(embedding)
        else:
            gain, bias = self.weight, self.bias
        if self.training:
            images = functional.batch_norm(
                images, self.running_mean, self.running_var, training=True, momentum=_MOMENTUM, eps=_EPSILON
            )
        else:
            gain = gain * (self.running_var + _EPSILON).rsqrt()
            bias = bias - self.running_mean * gain
        return torch.addcmul(bias[..., None, None], images, gain[..., None, None], out=spare(images))


class Layer(nn.Module):
    """Convolution of 3 x 3, noise, normalisation and gated linear unit: (a, b) becomes a sigmoid(b).

    Args:
        inputs: Input channels.
        outputs: Output channels.
        embedded: Length of the embedding of a class; 0 where there are none.
        up: Whether to double the size first, each cell becoming four.
        noise: Whether there is noise.
    """

    def __init__(self, inputs: int, outputs: int, embedded: int, *, up: bool, noise: bool) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(torch.randn(2 * outputs, inputs, 3, 3) / math.sqrt(9 * inputs))
        self.noise_strength = nn.Parameter(torch.zeros(1)) if noise else None
        self.norm = Norm(2 * outputs, embedded)
        self.register_load_state_dict_post_hook(_lay_out)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, embedding: Tensor | None, noise: Tensor | None) -> Tensor:
        """Returns `(N, outputs, H, W)`.

        Args:
            images: `(N, inputs, H, W)`, or of half that size.
            embedding: `(N, embedded)`.
            noise: `(N, 1, H, W)`; None for none.
        """
        hidden = _doubled(images, self.weight) if self.up else functional.conv2d(images, self.weight, padding=1)
        if noise is not None and self.noise_strength is not None:
            hidden = hidden.add_(noise * self.noise_strength)
        return functional.glu(self.norm(hidden, embedding), dim=1)


def _lay_out(layer: Layer, keys: Any) -> None:
    """Stores weights that were loaded in the order in which convolutions read them; their values stay."""
    layer.weight.data = layout(layer.weight.data)


def _doubled(images: Tensor, weight: Tensor) -> Tensor:
    """Returns the convolution of 3 x 3 of images whose cells are repeated twice along both axes.

    In a transposed convolution of stride 2 the same takes 4 products a cell instead of 9: along an axis, kernel k acts
    on the cells as [k2, k1 + k2, k0 + k1, k0]. What that costs to form only pays for images of some size.

    Args:
        images: `(N, inputs, H, W)`.
        weight: `(outputs, inputs, 3, 3)`.
    """
    if images.shape[0] * images[0, 0].numel() < _ENOUGH:
        return functional.conv2d(functional.interpolate(images, scale_factor=2.0), weight, padding=1)
    line = weight.new_tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    plane = torch.einsum("ac,bd->abcd", line, line).reshape(16, 9)
    kernel = (plane @ weight.permute(0, 2, 3, 1).flatten(1, 2)).unflatten(1, (4, 4))
    return functional.conv_transpose2d(images, kernel.permute(3, 0, 1, 2), stride=2, padding=1)


class Gate(nn.Module):
    """Scales channels by what an earlier level shows (skip-layer excitation, Liu et al. 2021, section 3.1).

    Args:
        inputs: Channels of the earlier level.
        outputs: Channels that are scaled.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Parameter(torch.randn(outputs, inputs, 4, 4) / math.sqrt(16 * inputs))
        self.excite = nn.Parameter(torch.randn(outputs, outputs, 1, 1) / math.sqrt(outputs))

    def forward(self, early: Tensor, late: Tensor) -> Tensor:
        """Returns `late` `(N, outputs, H, W)` scaled; overwritten without gradients."""
        pooled = functional.adaptive_avg_pool2d(early, 4).flatten(1)
        seen = functional.silu(functional.linear(pooled, self.squeeze.flatten(1)))
        scale = torch.sigmoid(functional.linear(seen, self.excite.flatten(1)))
        return torch.mul(late, scale[:, :, None, None], out=spare(late))


class FastGAN(Sized, Published):
    """Generator of "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis".

    In evaluation mode normalisation uses the statistics of the training. The original draws new noise at every call;
    here there is none unless it is given to `with_noise`.

    Args:
        settings: What to build.
    """

    paper = "Liu et al. 2021, arXiv 2101.04775; as in projected GAN, Sauer et al. 2021, arXiv 2111.01007"
    settings_type = FastGANSettings
    settings: FastGANSettings

    def __init__(self, settings: FastGANSettings) -> None:
        super().__init__(settings)
        embedded = settings.z_dim if settings.c_dim else 0
        if settings.c_dim:
            self.embed = nn.Embedding(settings.c_dim, embedded)
        self.first = nn.Parameter(torch.randn(settings.z_dim, 2 * settings.width(4), 4, 4) / math.sqrt(settings.z_dim))
        self.first_norm = Norm(2 * settings.width(4))
        self.blocks = nn.ModuleDict()
        self.gates = nn.ModuleDict()
        for level in settings.levels():
            inputs, outputs, count = settings.width(level // 2), settings.width(level), settings.convolutions(level)
            self.blocks[str(level)] = nn.ModuleList(
                Layer(outputs if number else inputs, outputs, embedded, up=not number, noise=count > 1)
                for number in range(count)
            )
            if level in _GATES:
                self.gates[str(level)] = Gate(settings.width(_GATES[level]), outputs)
        self.last = nn.Conv2d(settings.width(settings.img_resolution), settings.img_channels, 3, padding=1)

    @property
    def truncates(self) -> bool:
        """Whether shorter latents make more typical images: no, they are scaled to one length first."""
        return False

    @property
    def noisy(self) -> bool:
        """Whether layers take noise."""
        return True

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, C, H, W)`, nominally in [-1, 1], without noise, for latents `(N, z_dim)`."""
        return self.with_noise(latents, labels, "none")

    def with_noise(self, latents: Tensor, labels: Tensor | None, noise: LayerNoise) -> Tensor:
        """Returns images `(N, C, H, W)`, nominally in [-1, 1].

        Args:
            latents: `(N, z_dim)`.
            labels: `(N,)` int64; not looked at by a generator that knows no classes.
            noise: A function of a layer's number, from 0 over the layers that have noise, and its shape `(H, W)`.
                "const" is no noise, as the weights store none.

        Raises:
            SynthesizerError: There are no labels for a generator that knows classes.
        """
        embedding = self._embedded(labels)
        unit = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        hidden = layout((unit @ self.first.flatten(1)).unflatten(1, (-1, 4, 4)))
        hidden = functional.glu(self.first_norm(hidden, None), dim=1)
        seen, number = {4: hidden}, 0
        for level in self.settings.levels():
            for layer in self.blocks[str(level)]:  # type: ignore[attr-defined]
                drawn = None
                if layer.noise_strength is not None:
                    drawn = None if isinstance(noise, str) else noise(number, (level, level)).to(hidden)
                    number += 1
                hidden = layer(hidden, embedding, drawn)
            if level in _GATES:
                hidden = self.gates[str(level)](seen[_GATES[level]], hidden)
            if level in _GATES.values():
                seen[level] = hidden
        images: Tensor = self.last(hidden)
        return images.contiguous()

    def _embedded(self, labels: Tensor | None) -> Tensor | None:
        if not self.settings.c_dim:
            return None
        if labels is None:
            raise SynthesizerError(
                f"expected labels from 0 to {self.settings.c_dim - 1}, found none; give one for each image"
            )
        embedding: Tensor = self.embed(labels)
        return embedding
