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

from gan_augment.networks.blocks import NetworkSpec, ScaleShiftNorm, conv, strided_trunk, upsample
from gan_augment.networks.resample import halve, twice

__all__ = ["ImageGenerator", "PairDiscriminator", "PairEncoder"]


class _Decode(nn.Module):
    def __init__(self, ndim: int, inputs: int, outputs: int, latent_dim: int, *, smooth: bool) -> None:
        super().__init__()
        self.up = twice if smooth else upsample
        self.conv = conv(ndim, inputs, outputs)
        self.norm = ScaleShiftNorm(outputs, latent_dim)

    def forward(self, hidden: Tensor, latents: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(self.up(hidden)), latents))


class _Shrink(nn.Module):
    """A convolution of 3 and a filter that halves: no cell counts more than its neighbour, as with strides."""

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv(ndim, inputs, outputs, spectral=True)

    def forward(self, images: Tensor) -> Tensor:
        return halve(self.conv(images))


class ImageGenerator(nn.Module):
    """Maps a source image and latents to another image of the source's class.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents.
        width: Channels at the bottom.
        skips: Levels above the bottom at which the source passes to the decoder, lowest first, as far as there are
            any: each finer one makes it easier to copy the source.
        warp: Whether the output is the source, moved along a smooth field, where a mask says so, and painted anew
            elsewhere; otherwise all is painted anew.
        smooth: Whether it grows images by linear interpolation rather than by repetition.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        latent_dim: int,
        width: int,
        *,
        skips: int = 1,
        warp: bool = False,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        self.bottom = spec.bottom
        self.skips = min(skips, spec.levels - 1)
        widths = spec.widths(width)
        self.encoders = strided_trunk(spec, width, spec.channels)
        self.noise = nn.Linear(latent_dim, width // 2 * math.prod(spec.bottom))
        decoder_widths = [*reversed(widths[:-1]), widths[0]]
        inputs, decoders = width + width // 2, []
        for level, outputs in enumerate(decoder_widths):
            decoders.append(_Decode(spec.ndim, inputs, outputs, latent_dim, smooth=smooth))
            inputs = outputs + (widths[-2 - level] if level < self.skips else 0)
        self.decoders = nn.ModuleList(decoders)
        self.last = conv(spec.ndim, inputs, spec.channels)
        self.warp = _Warp(spec, inputs, width + width // 2) if warp else None

    def forward(self, source: Tensor, latents: Tensor) -> Tensor:
        """Returns `(N, C, *grid)` in [-1, 1] for sources `(N, C, *grid)` and latents `(N, latent_dim)`."""
        levels = []
        hidden = source
        for encode in self.encoders:
            hidden = encode(hidden)
            levels.append(hidden)
        noise = self.noise(latents).reshape(len(latents), -1, *self.bottom)
        bottom = hidden = torch.cat([hidden, noise], dim=1)
        for level, decode in enumerate(self.decoders):
            hidden = decode(hidden, latents)
            if level < self.skips:
                hidden = torch.cat([hidden, levels[-2 - level]], dim=1)
        painted = torch.tanh(self.last(hidden))
        return painted if self.warp is None else self.warp(source, painted, bottom, hidden)


class _Warp(nn.Module):
    """Blends a painted image with the source, moved along a field that the bottom of the decoder gives.

    The field is linear between the bottom's cells, so it bends shapes and cannot move single pixels.
    """

    def __init__(self, spec: NetworkSpec, fine: int, coarse: int, most: float = 0.5) -> None:
        super().__init__()
        self.most = most
        self.field = conv(spec.ndim, coarse, spec.ndim)
        self.mask = conv(spec.ndim, fine, 1)
        for parameter in (*self.field.parameters(), *self.mask.parameters()):
            nn.init.normal_(parameter, std=0.01)

    def forward(self, source: Tensor, painted: Tensor, bottom: Tensor, hidden: Tensor) -> Tensor:
        ndim = source.ndim - 2
        field = torch.tanh(self.field(bottom)) * self.most
        field = functional.interpolate(
            field, size=source.shape[2:], mode="bilinear" if ndim == 2 else "trilinear", align_corners=False
        )
        still = torch.eye(ndim, ndim + 1, device=source.device).expand(len(source), -1, -1)
        places = functional.affine_grid(still, list(source.shape), align_corners=False) + field.movedim(1, -1)
        moved = functional.grid_sample(source, places, padding_mode="border", align_corners=False)
        mask = torch.sigmoid(self.mask(hidden))
        return mask * moved + (1 - mask) * painted


class PairEncoder(nn.Module):
    """Codes how one image of a class differs from another: mean and log variance of latents, `(N, latent_dim)` each.

    After the delta-encoder (Schwartz et al. 2018, arXiv 1806.04734) and BicycleGAN's encoder (Zhu et al. 2017, arXiv
    1711.11586).
    """

    def __init__(self, spec: NetworkSpec, latent_dim: int, width: int) -> None:
        super().__init__()
        self.trunk = strided_trunk(spec, width, 2 * spec.channels)
        self.linear = nn.Linear(width * math.prod(spec.bottom), 2 * latent_dim)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log variance, the latter from -8 to 8, for two batches of images `(N, C, *grid)`."""
        code: Tensor = self.linear(self.trunk(torch.cat([source, target], dim=1)).flatten(1))
        mean, spread = code.chunk(2, dim=1)
        return mean, spread.clamp(-8, 8)


class PairDiscriminator(nn.Module):
    """Logit of (source, candidate) = linear(h(candidate)) + <P h(source), P h(candidate)>, one trunk h for both.

    The first term asks whether the candidate is real, the second whether the two are of one class. With `classes` a
    third, <embed(y), P h(candidate)>, asks whether the candidate is of the class y. With `smooth` a filter halves
    images, rather than strides.
    """

    def __init__(
        self, spec: NetworkSpec, width: int, pair_dim: int = 64, *, classes: bool = False, smooth: bool = False
    ) -> None:
        super().__init__()
        widths = [spec.channels, *spec.widths(width)]
        trunk: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            shrink = (
                _Shrink(spec.ndim, inputs, outputs) if smooth else conv(spec.ndim, inputs, outputs, 4, 2, spectral=True)
            )
            trunk += [shrink, nn.LeakyReLU(0.2)]
        trunk += [conv(spec.ndim, width, width, spectral=True), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*trunk)
        self.linear = spectral_norm(nn.Linear(width * math.prod(spec.bottom), 1))
        self.project = spectral_norm(nn.Linear(width, pair_dim))
        self.embed = spectral_norm(nn.Embedding(spec.num_classes, pair_dim)) if classes else None

    def forward(self, source: Tensor, candidate: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns logits `(N,)` for two batches of images `(N, C, *grid)`, and `labels` `(N,)` where it has classes."""
        first, second = self.trunk(torch.cat([source, candidate])).chunk(2)
        own = self.project(_pooled(second))  # before that of the source: each call moves the spectral norm's vectors
        return self._judge(self.project(_pooled(first)), own, second, labels)

    def companion(self, source: Tensor) -> Tensor:
        """Returns P h(source) `(N, pair_dim)`, in which the logits of a pair are linear."""
        projected: Tensor = self.project(_pooled(self.trunk(source)))
        return projected

    def features_and_logits(self, images: Tensor, labels: Tensor, companions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of h over space `(N, width)`, and logits `(N,)` of images beside `companion`s of others."""
        hidden = self.trunk(images)
        return _pooled(hidden), self._judge(companions, self.project(_pooled(hidden)), hidden, labels)

    def _judge(self, wanted: Tensor, own: Tensor, hidden: Tensor, labels: Tensor | None) -> Tensor:
        if self.embed is not None:
            wanted = wanted + self.embed(labels)
        logits: Tensor = self.linear(hidden.flatten(1))[:, 0] + (wanted * own).sum(1)
        return logits


def _pooled(hidden: Tensor) -> Tensor:
    return hidden.flatten(2).mean(2)
