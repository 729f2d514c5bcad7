"""R3GAN as released with its paper ("The GAN is dead; long live the GAN!", Huang et al. 2024, arXiv 2501.05441).

The released stages that run in bfloat16 run in the type of their weights here, float32.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import Published, Settings, within
from gan_augment.networks.residual import scaled

__all__ = ["R3GANDiscriminator", "R3GANDiscriminatorSettings", "R3GANGenerator", "R3GANSettings"]

_PAPER = "Huang et al. 2024, arXiv 2501.05441"
_BOTTOM = 4
_LEAK = 0.2
_GAIN = math.sqrt(2 / (1 + _LEAK**2))


@dataclass(frozen=True, kw_only=True)
class R3GANDiscriminatorSettings(Settings):
    """What a discriminator is built with.

    Attributes:
        widths: Channels of each stage, that of the image first; each stage has half the side of the one before, the
            last has 4 x 4 cells.
        groups: Groups of each stage's 3x3 convolutions.
        blocks: Residual blocks of each stage.
        expansion: How many times more channels a block has inside.
        num_classes: Classes; 0 for none.
        class_dim: Length of the class embedding; 0 without classes.
        channels: Image channels.
        kernel_size: Of the grouped convolutions.
        filter: Weights of the resampling filter before it is convolved with [1, 1], symmetric, of odd length: [1, 2, 1]
            stands for [1, 3, 3, 1] / 8. The scale has no meaning.
    """

    widths: tuple[int, ...]
    groups: tuple[int, ...]
    blocks: tuple[int, ...]
    expansion: int = 2
    num_classes: int = 0
    class_dim: int = 0
    channels: int = 3
    kernel_size: int = 3
    filter: tuple[float, ...] = (1.0, 2.0, 1.0)

    def __post_init__(self) -> None:
        within("number of stages", len(self.widths), 1, 9)
        if not len(self.widths) == len(self.groups) == len(self.blocks):
            found = f"{len(self.widths)}, {len(self.groups)}, {len(self.blocks)}"
            raise ConfigError(f"expected as many widths as groups and blocks, found {found}")
        within("expansion", self.expansion, 1, 16)
        for width, groups, blocks in zip(self.widths, self.groups, self.blocks, strict=True):
            within("width", width, 1, 8192)
            within("blocks", blocks, 0, 64)
            within("groups", groups, 1, width * self.expansion)
            if width * self.expansion % groups:
                raise ConfigError(f"expected groups that divide {width * self.expansion} channels, found {groups}")
        within("num_classes", self.num_classes, 0, 1_000_000)
        within("class_dim", self.class_dim, min(1, self.num_classes), 8192)
        within("channels", self.channels, 1, 64)
        within("kernel_size", self.kernel_size, 1, 15)
        within("length of filter", len(self.filter), 1, 15)
        if self.kernel_size % 2 == 0 or len(self.filter) % 2 == 0:
            raise ConfigError(
                f"expected a kernel_size and a filter of odd length, found {self.kernel_size}, {len(self.filter)}"
            )
        if not sum(self.filter) > 0 or any(
            abs(a - b) > 1e-6 for a, b in zip(self.filter, self.filter[::-1], strict=True)
        ):
            raise ConfigError(f"expected a symmetric filter with a sum above 0, found {self.filter}")

    @property
    def side(self) -> int:
        """Side of the images."""
        return _BOTTOM << (len(self.widths) - 1)

    @property
    def gain(self) -> float:
        """Of a block's first two convolutions: Fixup's L^(-1/4) for L blocks of three layers."""
        return _GAIN / math.sqrt(math.sqrt(max(1, sum(self.blocks))))


@dataclass(frozen=True, kw_only=True)
class R3GANSettings(R3GANDiscriminatorSettings):
    """What a generator is built with: as the discriminator, but the widths, groups and blocks start at 4 x 4.

    Attributes:
        latent_dim: Length of the latents.
    """

    latent_dim: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        within("latent_dim", self.latent_dim, 1, 8192)


def _lowpass(weights: Sequence[float], images: Tensor) -> Tensor:
    """Returns the filter of sum 1 for each channel of `images`, `(C, 1, K, K)`, K one more than the weights."""
    taps = images.new_tensor([a + b for a, b in zip((0.0, *weights), (*weights, 0.0), strict=True)])
    taps = taps / taps.sum()
    return (taps[:, None] * taps).expand(images.shape[1], 1, -1, -1)


def _twice(images: Tensor, weights: Sequence[float]) -> Tensor:
    """Doubles height and width: zeros between the cells and around them, filtered."""
    kernel = 4 * _lowpass(weights, images)
    return functional.conv_transpose2d(
        images, kernel, stride=2, padding=len(weights) // 2, groups=images.shape[1]
    )  # fmt: skip


def _halve(images: Tensor, weights: Sequence[float]) -> Tensor:
    """Halves height and width: filtered with zeros around, every other cell kept."""
    kernel = _lowpass(weights, images)
    return functional.conv2d(images, kernel, stride=2, padding=len(weights) // 2, groups=images.shape[1])


def _point(inputs: int, outputs: int, gain: float = 1.0, *, bias: bool = False) -> nn.Conv2d:
    return scaled(nn.Conv2d(inputs, outputs, 1, bias=bias), gain)


class _Block(nn.Module):
    """x + W3 lrelu(b2 + W2 * lrelu(b1 + W1 x)), W1 and W3 1x1, W2 grouped; W3 starts at zero."""

    def __init__(self, settings: R3GANDiscriminatorSettings, stage: int) -> None:
        super().__init__()
        width, groups, size = settings.widths[stage], settings.groups[stage], settings.kernel_size
        inner = width * settings.expansion
        self.expand = _point(width, inner, settings.gain, bias=True)
        self.mix = scaled(nn.Conv2d(inner, inner, size, padding=size // 2, groups=groups), settings.gain)
        self.shrink = _point(inner, width, 0.0)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.expand(images), _LEAK, inplace=True)
        hidden = functional.leaky_relu(self.mix(hidden), _LEAK, inplace=True)
        residual: Tensor = self.shrink(hidden)
        return images + residual


class _Change(nn.Module):
    """What starts a stage of the generator, or ends one of the discriminator: another width, another size."""

    def __init__(self, inputs: int, outputs: int, weights: Sequence[float], *, up: bool) -> None:
        super().__init__()
        self.change = None if inputs == outputs else _point(inputs, outputs)
        self.weights, self.up = tuple(weights), up

    def forward(self, images: Tensor) -> Tensor:
        """Changes the width where there are fewer cells."""
        if not self.up:
            images = _halve(images, self.weights)
        if self.change is not None:
            images = self.change(images)
        return _twice(images, self.weights) if self.up else images


class _First(nn.Module):
    """Latents scale a learned basis of 4 x 4 cells, channel by channel."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, _BOTTOM, _BOTTOM))
        self.linear = scaled(nn.Linear(inputs, width, bias=False))

    def forward(self, latents: Tensor) -> Tensor:
        scale: Tensor = self.linear(latents)
        return scale[:, :, None, None] * self.basis


class _Last(nn.Module):
    """Sums each channel over 4 x 4 cells with learned weights, and mixes the channels."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.basis = scaled(nn.Conv2d(width, width, _BOTTOM, groups=width, bias=False))
        self.linear = scaled(nn.Linear(width, outputs, bias=False))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the sums `(N, width)` and what the linear layer makes of them, `(N, outputs)`."""
        sums = self.basis(images).flatten(1)
        return sums, self.linear(sums)


def _blocks(settings: R3GANDiscriminatorSettings, stage: int) -> list[nn.Module]:
    return [_Block(settings, stage) for _ in range(settings.blocks[stage])]


def _embedding(settings: R3GANDiscriminatorSettings, gain: float = 1.0) -> nn.Embedding | None:
    """Returns the linear embedding of one-hot labels, drawn as such a layer is: N(0, gain^2 / classes)."""
    if not settings.num_classes:
        return None
    embed = nn.Embedding(settings.num_classes, settings.class_dim)
    nn.init.normal_(embed.weight, std=gain / math.sqrt(settings.num_classes))
    return embed


def _embedded(embed: nn.Embedding, labels: Tensor | None) -> Tensor:
    if labels is None:
        raise ConfigError(f"expected labels (N,) from 0 to {embed.num_embeddings - 1}, found none; give labels")
    vectors: Tensor = embed(labels)
    return vectors


class R3GANGenerator(Published):
    """Latents and an embedded class scale a basis of 4 x 4 cells; stages of residual blocks, each doubled to the next.

    No normalisation, no tanh: images may leave [-1, 1] a little.
    """

    paper = _PAPER
    settings_type = R3GANSettings
    settings: R3GANSettings

    def __init__(self, settings: R3GANSettings) -> None:
        super().__init__(settings)
        widths = settings.widths
        inputs = settings.latent_dim + (settings.class_dim if settings.num_classes else 0)
        starts: list[nn.Module] = [_First(inputs, widths[0])]
        starts += [_Change(a, b, settings.filter, up=True) for a, b in itertools.pairwise(widths)]
        self.embed = _embedding(settings)
        self.stages = nn.Sequential(
            *[nn.Sequential(start, *_blocks(settings, stage)) for stage, start in enumerate(starts)]
        )
        self.last = _point(widths[-1], settings.channels)

    @property
    def latent_dim(self) -> int:
        """Length of the latents, which are standard normal."""
        return self.settings.latent_dim

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        return self.settings.num_classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, side, side)`."""
        return self.settings.channels, self.settings.side, self.settings.side

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, C, side, side)`, nominally in [-1, 1].

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)` int64; not looked at without classes.

        Raises:
            ConfigError: There are classes, and no labels.
        """
        if self.embed is not None:
            latents = torch.cat([latents, _embedded(self.embed, labels)], dim=1)
        images: Tensor = self.last(self.stages(latents))
        return images


class R3GANDiscriminator(nn.Module):
    """The generator's mirror image; logit = <features, embed(y)>, the embedding drawn with gain 1 / sqrt(class_dim)."""

    paper = _PAPER
    settings_type = R3GANDiscriminatorSettings

    def __init__(self, settings: R3GANDiscriminatorSettings) -> None:
        super().__init__()
        self.settings = settings
        widths = settings.widths
        outputs = settings.class_dim if settings.num_classes else 1
        ends = [_Change(a, b, settings.filter, up=False) for a, b in itertools.pairwise(widths)]
        self.embed = _embedding(settings, gain=1 / math.sqrt(max(1, settings.class_dim)))
        self.first = _point(settings.channels, widths[0])
        self.stages = nn.Sequential(
            *[
                nn.Sequential(*_blocks(settings, stage), end)
                for stage, end in enumerate([*ends, _Last(widths[-1], outputs)])
            ]
        )

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for none."""
        return self.settings.num_classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, side, side)`."""
        return self.settings.channels, self.settings.side, self.settings.side

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, side, side)` and labels `(N,)`.

        Raises:
            ConfigError: There are classes, and no labels.
        """
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns the features that the logits are linear in, `(N, class_dim)`, or `(N, width)` without classes."""
        sums, outputs = self.stages(self.first(images))
        if self.embed is None:
            return sums, outputs.squeeze(1)
        return outputs, (outputs * _embedded(self.embed, labels)).sum(1)
