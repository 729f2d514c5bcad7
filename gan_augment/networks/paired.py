"""Image-conditioned generator and pair discriminator, after DAGAN (Antoniou et al. 2017, arXiv 1711.04340).

The generator changes a real image of a class into another image of that class; the discriminator sees pairs. What
it learns of how images of a class differ comes from every class, so it serves the rare ones too.
"""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from gan_augment.networks.blocks import NetworkSpec, ScaleShiftNorm, conv, upsample

__all__ = ["ImageGenerator", "PairDiscriminator"]


class _Encode(nn.Module):
    def __init__(self, ndim: int, inputs: int, outputs: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = conv(ndim, inputs, outputs, 4, 2)
        self.norm = nn.GroupNorm(8, outputs) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = functional.leaky_relu(self.norm(self.conv(images)), 0.2)
        return hidden


class _Decode(nn.Module):
    def __init__(self, ndim: int, inputs: int, outputs: int, latent_dim: int) -> None:
        super().__init__()
        self.conv = conv(ndim, inputs, outputs)
        self.norm = ScaleShiftNorm(outputs, latent_dim)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(upsample(hidden)), latents))


class ImageGenerator(nn.Module):
    """Maps a source image and latents to another image of the source's class.

    The source passes through the bottom and one skip at the second-lowest level only: a finer skip would let it
    be copied.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents.
        width: Channels at the bottom.
    """

    def __init__(self, spec: NetworkSpec, latent_dim: int, width: int) -> None:
        super().__init__()
        self.bottom = spec.bottom
        widths = spec.widths(width)
        self.encoders = nn.ModuleList(
            _Encode(spec.ndim, inputs, outputs, norm=level > 0)
            for level, (inputs, outputs) in enumerate(zip([spec.channels, *widths], widths, strict=False))
        )
        self.noise = nn.Linear(latent_dim, width // 2 * math.prod(spec.bottom))
        decoder_widths = [*reversed(widths[:-1]), widths[0]]
        inputs, decoders = width + width // 2, []
        for level, outputs in enumerate(decoder_widths):
            decoders.append(_Decode(spec.ndim, inputs, outputs, latent_dim))
            inputs = outputs + (widths[-2] if level == 0 and spec.levels > 1 else 0)
        self.decoders = nn.ModuleList(decoders)
        self.last = conv(spec.ndim, inputs, spec.channels)

    def forward(self, source: Tensor, latents: Tensor) -> Tensor:
        """Returns `(N, C, *grid)` in [-1, 1] for sources `(N, C, *grid)` and latents `(N, latent_dim)`."""
        levels = []
        hidden = source
        for encode in self.encoders:
            hidden = encode(hidden)
            levels.append(hidden)
        noise = self.noise(latents).reshape(len(latents), -1, *self.bottom)
        hidden = torch.cat([hidden, noise], dim=1)
        for level, decode in enumerate(self.decoders):
            hidden = decode(hidden, latents)
            if level == 0 and len(levels) > 1:
                hidden = torch.cat([hidden, levels[-2]], dim=1)
        return torch.tanh(self.last(hidden))


class PairDiscriminator(nn.Module):
    """Logit of (source, candidate) = linear(h(candidate)) + <P h(source), P h(candidate)>, one trunk h for both.

    The first term asks whether the candidate is real, the second whether the two are of one class.
    """

    def __init__(self, spec: NetworkSpec, width: int, pair_dim: int = 64) -> None:
        super().__init__()
        widths = [spec.channels, *spec.widths(width)]
        trunk: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            trunk += [conv(spec.ndim, inputs, outputs, 4, 2, spectral=True), nn.LeakyReLU(0.2)]
        trunk += [conv(spec.ndim, width, width, spectral=True), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*trunk)
        self.linear = spectral_norm(nn.Linear(width * math.prod(spec.bottom), 1))
        self.project = spectral_norm(nn.Linear(width, pair_dim))

    def forward(self, source: Tensor, candidate: Tensor) -> Tensor:
        """Returns logits `(N,)` for two batches of images `(N, C, *grid)`."""
        first, second = self.trunk(torch.cat([source, candidate])).chunk(2)
        pair = self.project(first.flatten(2).mean(2)) * self.project(second.flatten(2).mean(2))
        logits: Tensor = self.linear(second.flatten(1))[:, 0] + pair.sum(1)
        return logits
