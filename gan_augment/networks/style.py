"""Style-based generator and its discriminator, after StyleGAN2 (Karras et al. 2020, arXiv 1912.04958).

Other than the papers: no layer noise, so that an image is a function of its latents and class; no minibatch standard
deviation, so that a logit is a function of its image; weights train as they are, without equalised learning rates,
the mapping network at the rate of the others.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.networks.blocks import NetworkSpec, conv
from gan_augment.networks.resample import blur, convolve, halve, strided_up, twice
from gan_augment.networks.residual import ClassLogit, scaled

__all__ = ["Mapping", "ModulatedConv", "StyleDiscriminator", "StyleGenerator", "Synthesis"]


def _activate(hidden: Tensor) -> Tensor:
    return functional.leaky_relu(hidden, 0.2) * math.sqrt(2)


def _normalise(vectors: Tensor) -> Tensor:
    """Scales vectors `(N, D)` to a mean square of 1."""
    return vectors * (vectors.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Mapping(nn.Module):
    """Maps latents and a class to a style w: both normalised, then layers of `width`.

    Apart from the synthesis, so that a style can be moved before an image is made of it: towards the mean style *of
    its class* for truncation.
    """

    def __init__(self, num_classes: int, latent_dim: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_classes, latent_dim)
        sizes = [2 * latent_dim, *[width] * layers]
        self.layers = nn.ModuleList(scaled(nn.Linear(a, b)) for a, b in itertools.pairwise(sizes))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N, width)` for latents `(N, latent_dim)` and labels `(N,)`."""
        style = torch.cat([_normalise(latents), _normalise(self.embed(labels))], dim=1)
        for layer in self.layers:
            style = _activate(layer(style))
        return style


class ModulatedConv(nn.Module):
    """Convolution whose input channels a style scales and whose output channels are scaled back to unit variance.

    The weights of equation 3 are never formed for each sample: scaling inputs and outputs gives the same, without
    grouped convolutions.

    Args:
        ndim: Spatial dimensions.
        inputs: Input channels.
        outputs: Output channels.
        style_dim: Length of a style.
        size: Of the kernel.
        up: Whether to double the size (kernels of 3).
        demodulate: Whether to scale back.
    """

    def __init__(
        self, ndim: int, inputs: int, outputs: int, style_dim: int, size: int = 3, *, up: bool = False,
        demodulate: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.up, self.demodulate = up, demodulate
        self.affine = scaled(nn.Linear(style_dim, inputs))
        nn.init.ones_(self.affine.bias)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *[size] * ndim) / math.sqrt(inputs * size**ndim))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, images: Tensor, style: Tensor) -> Tensor:
        """Returns `(N, outputs, *spatial)`, doubled with `up`, for images `(N, inputs, *spatial)` and styles."""
        ones = [1] * (images.ndim - 2)
        scale = self.affine(style)
        hidden = images * scale.reshape(*scale.shape, *ones)
        if self.up:
            hidden = strided_up(hidden, self.weight)
        else:
            hidden = convolve(hidden, self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            energy = functional.linear(scale.square(), self.weight.square().flatten(2).sum(2))
            hidden = hidden * (energy + 1e-8).rsqrt().reshape(*energy.shape, *ones)
        return hidden + self.bias.reshape(-1, *ones)


class Synthesis(nn.Module):
    """Makes an image of a style: the images of all levels, each doubled to the next, add up (skip generator)."""

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        super().__init__()
        ndim, widths = spec.ndim, [width, *reversed(spec.widths(width))]
        self.constant = nn.Parameter(torch.randn(width, *spec.bottom))
        self.first = ModulatedConv(ndim, width, width, width)
        self.ups = nn.ModuleList(ModulatedConv(ndim, a, b, width, up=True) for a, b in itertools.pairwise(widths))
        self.convs = nn.ModuleList(ModulatedConv(ndim, b, b, width) for b in widths[1:])
        self.images = nn.ModuleList(ModulatedConv(ndim, a, spec.channels, width, 1, demodulate=False) for a in widths)

    def forward(self, style: Tensor) -> Tensor:
        """Returns `(N, C, *grid)`, nominally in [-1, 1], for styles `(N, width)`."""
        hidden = self.constant.expand(len(style), *self.constant.shape)
        hidden = _activate(self.first(hidden, style))
        images: Tensor = self.images[0](hidden, style)
        for up, keep, image in zip(self.ups, self.convs, self.images[1:], strict=True):
            hidden = _activate(keep(_activate(up(hidden, style)), style))
            images = twice(images) + image(hidden, style)
        return images


class StyleGenerator(nn.Module):
    """Maps latents and a class to an image: a mapping to styles, and a synthesis.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents, and of the class embedding.
        width: Channels at the bottom, and length of a style.
        layers: Of the mapping.
    """

    def __init__(self, spec: NetworkSpec, latent_dim: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.mapping = Mapping(spec.num_classes, latent_dim, width, layers)
        self.synthesis = Synthesis(spec, width)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N, C, *grid)`, nominally in [-1, 1], for latents `(N, latent_dim)` and labels `(N,)`."""
        images: Tensor = self.synthesis(self.mapping(latents, labels))
        return images


class _Activated(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = scaled(layer)

    def forward(self, images: Tensor) -> Tensor:
        return _activate(self.layer(images))


class _Down(nn.Module):
    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.keep = _Activated(conv(ndim, inputs, inputs))
        self.down = _Activated(conv(ndim, inputs, outputs, stride=2))
        self.skip = scaled(conv(ndim, inputs, outputs, 1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.down(blur(self.keep(images), padding=1))
        skipped: Tensor = self.skip(halve(images))
        return (skipped + hidden) / math.sqrt(2)


class StyleDiscriminator(nn.Module):
    """Residual discriminator; logit = <linear(h), embed(y)> / sqrt(width)."""

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        super().__init__()
        widths = [*spec.widths(width), width]
        self.trunk = nn.Sequential(
            _Activated(conv(spec.ndim, spec.channels, widths[0], 1)),
            *[_Down(spec.ndim, inputs, outputs) for inputs, outputs in itertools.pairwise(widths)],
            _Activated(conv(spec.ndim, width, width)),
        )
        self.logit = ClassLogit(spec, width)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the features `(N, width)` that the logits are linear in, besides them."""
        return self.logit.features_and_logits(self.trunk(images), labels)
