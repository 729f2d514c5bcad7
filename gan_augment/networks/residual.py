"""Networks without normalisation, after R3GAN ("The GAN is dead; long live the GAN!", Huang et al. 2024, NeurIPS).

Generator and discriminator mirror each other: stages of residual blocks, one stage a level, with filtered resampling
between them. Nothing normalises, so a sample does not depend on its batch; what keeps the variance in bounds is the
initialisation, in which every residual branch starts at zero.
"""

import itertools
import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.networks.blocks import NetworkSpec, conv
from gan_augment.networks.resample import halve, twice

__all__ = ["ClassLogit", "GroupedBlock", "ResidualDiscriminator", "ResidualGenerator", "scaled"]

_Layer = TypeVar("_Layer", bound=nn.Module)

_LEAK = 0.2
_GROUP = 16
_GAIN = math.sqrt(2 / (1 + _LEAK**2))


def scaled(layer: _Layer, gain: float = 1.0) -> _Layer:
    """Draws the weights of a layer from N(0, gain^2 / fan_in), zeroes its biases, and returns it."""
    assert isinstance(layer.weight, Tensor)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if isinstance(layer.bias, Tensor):
        nn.init.zeros_(layer.bias)
    return layer


class GroupedBlock(nn.Module):
    """Residual block: 1x1 to twice the channels, 3x3 in groups of 16 channels, 1x1 back; the last starts at zero.

    Args:
        ndim: Spatial dimensions.
        channels: In and out.
        depth: Blocks of the whole network: weights start smaller by the fourth root of it, as there are three
            convolutions a block (Zhang et al. 2019, "Fixup initialization").
    """

    def __init__(self, ndim: int, channels: int, depth: int) -> None:
        super().__init__()
        hidden, gain = 2 * channels, _GAIN * depth**-0.25
        groups = hidden // math.gcd(hidden, _GROUP)
        self.expand = scaled(conv(ndim, channels, hidden, 1), gain)
        self.mix = scaled(conv(ndim, hidden, hidden, groups=groups), gain)
        self.shrink = scaled(conv(ndim, hidden, channels, 1, bias=False), 0.0)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the shape that it gets, `(N, channels, *spatial)`."""
        hidden = functional.leaky_relu(self.expand(images), _LEAK)
        residual: Tensor = self.shrink(functional.leaky_relu(self.mix(hidden), _LEAK))
        return images + residual


def _stage(spec: NetworkSpec, channels: int, blocks: int) -> nn.Module:
    depth = blocks * (spec.levels + 1)
    return nn.Sequential(*[GroupedBlock(spec.ndim, channels, depth) for _ in range(blocks)])


def _change(spec: NetworkSpec, inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else scaled(conv(spec.ndim, inputs, outputs, 1, bias=False))


class ResidualGenerator(nn.Module):
    """Maps latents and a class to an image: both scale a learned basis of the bottom's shape.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents, and of the class embedding.
        width: Channels at the bottom.
        blocks: Residual blocks a stage.
    """

    def __init__(self, spec: NetworkSpec, latent_dim: int, width: int, blocks: int = 2) -> None:
        super().__init__()
        widths = [width, *reversed(spec.widths(width))]
        self.embed = nn.Embedding(spec.num_classes, latent_dim)
        self.scale = scaled(nn.Linear(2 * latent_dim, width, bias=False))
        self.basis = nn.Parameter(torch.randn(width, *spec.bottom))
        self.stages = nn.ModuleList(_stage(spec, channels, blocks) for channels in widths)
        self.changes = nn.ModuleList(_change(spec, inputs, outputs) for inputs, outputs in itertools.pairwise(widths))
        self.last = scaled(conv(spec.ndim, widths[-1], spec.channels, 1, bias=False))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N, C, *grid)`, nominally in [-1, 1], for latents `(N, latent_dim)` and labels `(N,)`."""
        scale = self.scale(torch.cat([latents, self.embed(labels)], dim=1))
        hidden = self.stages[0](scale.reshape(*scale.shape, *[1] * (self.basis.ndim - 1)) * self.basis)
        for change, stage in zip(self.changes, self.stages[1:], strict=True):
            hidden = stage(twice(change(hidden)))
        images: Tensor = self.last(hidden)
        return images


class ClassLogit(nn.Module):
    """Logit = <linear(h), embed(y)> / sqrt(width), h a weighted sum over space with weights of each channel's own.

    Args:
        spec: What to build for.
        width: Channels at the bottom.
    """

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, *spec.bottom) / math.sqrt(math.prod(spec.bottom)))
        self.linear = scaled(nn.Linear(width, width, bias=False))
        self.embed = nn.Embedding(spec.num_classes, width)

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N,)` for the bottom's `(N, width, *bottom)` and labels `(N,)`."""
        return self.features_and_logits(hidden, labels)[1]

    def features_and_logits(self, hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns linear(h) `(N, width)` besides the logits."""
        features: Tensor = self.linear((hidden * self.basis).flatten(2).sum(2))
        return features, (features * self.embed(labels)).sum(1) / math.sqrt(features.shape[1])


class _Down(nn.Module):
    def __init__(self, spec: NetworkSpec, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.stage, self.change = _stage(spec, inputs, blocks), _change(spec, inputs, outputs)

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.change(halve(self.stage(images)))
        return hidden


class ResidualDiscriminator(nn.Module):
    """The generator's mirror image, with a logit for each class."""

    def __init__(self, spec: NetworkSpec, width: int, blocks: int = 2) -> None:
        super().__init__()
        widths = [*spec.widths(width), width]
        self.trunk = nn.Sequential(
            scaled(conv(spec.ndim, spec.channels, widths[0], 1, bias=False)),
            *[_Down(spec, inputs, outputs, blocks) for inputs, outputs in itertools.pairwise(widths)],
            _stage(spec, width, blocks),
        )
        self.logit = ClassLogit(spec, width)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the features `(N, width)` that the logits are linear in, besides them."""
        return self.logit.features_and_logits(self.trunk(images), labels)
