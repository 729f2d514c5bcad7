"""BigGAN-deep's generator as DeepMind released it ("Large Scale GAN Training", Brock et al. 2019, arXiv 1809.11096).

For drawing: spectral norms, the gain of the attention and the channels of the last layer that are never shown are
folded into the weights by the reader.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError, probability
from gan_augment.networks.published.base import Published, Settings, within

__all__ = ["BigGANDeep", "BigGANDeepSettings", "doubling"]

_BOTTOM, _BOTTOM_WIDTH, _CHANNELS = 4, 16, 3
_LARGEST_ATTENTION = 128
_128 = (
    (False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8), (True, 8, 4), (False, 4, 4),
    (True, 4, 2), (False, 2, 2), (True, 2, 1),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BigGANDeepSettings(Settings):
    """What a generator is built with; the defaults are those of BigGAN-deep-128.

    Attributes:
        latent_dim: Length of the latents, and of the class embedding.
        num_classes: Classes.
        width: Channels that those of the layers are multiples of.
        layers: For each block whether it doubles the size, and its input and output channels in multiples of `width`:
            16 at first, 1 at last, kept or halved by each block.
        attention: The block that self-attention comes before; None for no attention.
        eps: Added to variances.
        steps: Truncations that there are statistics for, from 0 to 1.
    """

    latent_dim: int = 128
    num_classes: int = 1000
    width: int = 128
    layers: tuple[tuple[bool, int, int], ...] = _128
    attention: int | None = 8
    eps: float = 1e-4
    steps: int = 51

    def __post_init__(self) -> None:
        within("latent_dim", self.latent_dim, 1, 4096)
        within("num_classes", self.num_classes, 1, 1_000_000)
        within("width", self.width, 1, 1024)
        within("number of layers", len(self.layers), 1, 64)
        within("number of layers that double", sum(bool(layer[0]) for layer in self.layers), 0, 8)
        within("eps", self.eps, 1e-12, 1)
        within("steps", self.steps, 2, 10_001)
        before = _BOTTOM_WIDTH
        for _, inputs, outputs in self.layers:
            if inputs != before or outputs not in (inputs, inputs / 2):
                raise ConfigError(
                    "expected layers from 16 to 1 times the width that keep or halve what the layer before gives, "
                    f"found {inputs} to {outputs} after {before}"
                )
            within("channels inside a block", self.width * inputs // 4, 1, 65536)
            before = outputs
        if before != 1:
            raise ConfigError(f"expected a last layer that gives 1 times the width, found {before}")
        if self.attention is not None:
            within("attention", self.attention, 0, len(self.layers) - 1)
            within("channels of the attention", self.width * self.layers[self.attention][1] // 8, 1, 65536)
            within("side of what the attention sees", self.side(self.attention), _BOTTOM, _LARGEST_ATTENTION)

    def side(self, layer: int | None = None) -> int:
        """Returns the side of what comes to a layer; of the images for None."""
        return _BOTTOM << sum(bool(doubles) for doubles, _, _ in self.layers[:layer])


def doubling(weight: Tensor) -> Tensor:
    """Returns the 4x4 kernel whose transposed convolution of stride 2 and padding 1 is that of doubled images.

    Each cell of an image that was doubled by repetition meets some of the nine weights with the same value as its
    neighbours, so that their sums do: 4 products a cell instead of 9.

    Args:
        weight: `(outputs, inputs, 3, 3)`, of a convolution of padding 1.

    Returns:
        `(inputs, outputs, 4, 4)`.
    """
    sums = weight.new_tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    return torch.einsum("ka,lb,oiab->iokl", sums, sums, weight).contiguous()


class _Statistics(nn.Module):
    """Means and variances of activations for truncations from 0 to 1, linear between the steps."""

    means: Tensor
    variances: Tensor

    def __init__(self, width: int, settings: BigGANDeepSettings) -> None:
        super().__init__()
        self.eps = settings.eps
        self.register_buffer("means", torch.zeros(settings.steps, width))
        self.register_buffer("variances", torch.ones(settings.steps, width))

    def forward(self, truncation: float) -> tuple[Tensor, Tensor]:
        """Returns the means `(width,)` and one over the standard deviations."""
        place = truncation * (len(self.means) - 1)
        low = min(int(place), len(self.means) - 2)
        mean, variance = (torch.lerp(rows[low], rows[low + 1], place - low) for rows in (self.means, self.variances))
        return mean, (variance + self.eps).rsqrt()


def _activated(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Returns relu(scale x + shift), scale and shift `(C,)` or `(N, C)`."""
    return (images * scale[..., None, None]).add_(shift[..., None, None]).relu_()


class _Block(nn.Module):
    """Residual block: norm, relu and convolution four times over, 1x1, 3x3, 3x3, 1x1, with a quarter of the channels.

    The shortcut drops the channels that are too many. One linear layer gives the scales of all four norms, another
    the shifts: norm(x) = (1 + scale(c)) (x - mean) / sqrt(variance + eps) + offset(c).
    """

    def __init__(self, settings: BigGANDeepSettings, layer: tuple[bool, int, int]) -> None:
        super().__init__()
        self.up = layer[0]
        inputs, outputs = settings.width * layer[1], settings.width * layer[2]
        inner = inputs // 4
        self.widths = [inputs, inner, inner, inner]
        self.statistics = _Statistics(sum(self.widths), settings)
        self.scale = nn.Linear(2 * settings.latent_dim, sum(self.widths), bias=False)
        self.offset = nn.Linear(2 * settings.latent_dim, sum(self.widths), bias=False)
        up = nn.ConvTranspose2d(inner, inner, 4, stride=2, padding=1)
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(inputs, inner, 1),
                up if self.up else nn.Conv2d(inner, inner, 3, padding=1),
                nn.Conv2d(inner, inner, 3, padding=1),
                nn.Conv2d(inner, outputs, 1),
            ]
        )

    def forward(self, images: Tensor, condition: Tensor, truncation: float) -> Tensor:
        mean, inverse = self.statistics(truncation)
        scale = (1 + self.scale(condition)) * inverse
        shift = self.offset(condition) - scale * mean
        hidden = images
        for conv, a, b in zip(self.convs, scale.split(self.widths, 1), shift.split(self.widths, 1), strict=True):
            hidden = conv(_activated(hidden, a, b))
        shortcut = images[:, : hidden.shape[1]]
        return hidden + (functional.interpolate(shortcut, scale_factor=2.0) if self.up else shortcut)


class _Attention(nn.Module):
    """x + out(softmax(query(x)^T key(x)) value(x)), keys and values the largest of 2 x 2 cells (Zhang et al. 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [width // 8, width // 2]
        self.query = nn.Conv2d(width, self.sizes[0], 1, bias=False)
        self.key_value = nn.Conv2d(width, sum(self.sizes), 1, bias=False)
        self.out = nn.Conv2d(self.sizes[1], width, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        query = self.query(images).flatten(2)
        key, value = functional.max_pool2d(self.key_value(images), 2).flatten(2).split(self.sizes, 1)
        # without zeros to one length, and vectors that are contiguous, torch takes a path that is several times slower
        padding = (0, 0, 0, self.sizes[1] - self.sizes[0])
        query, key = functional.pad(query, padding), functional.pad(key, padding)
        query, key, value = (part.transpose(1, 2).contiguous()[:, None] for part in (query, key, value))
        seen = functional.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0].transpose(1, 2)
        attended: Tensor = self.out(seen.unflatten(2, images.shape[2:]))
        return images + attended


class BigGANDeep(Published):
    """Latents beside an embedded class, given to every norm; residual blocks from 4 x 4 on; tanh.

    Activations are normalised with statistics that were stored for 51 truncations, taken with normals that were cut
    at 2 and multiplied by the truncation. Between the steps they are interpolated here. The package
    pytorch-pretrained-biggan weights the two steps the other way round: its images are these at multiples of 1/100,
    but where rounding moves one (0.14, 0.28, 0.56, 0.58, 0.94), and differ elsewhere.
    """

    paper = "Brock et al. 2019, arXiv 1809.11096"
    settings_type = BigGANDeepSettings
    settings: BigGANDeepSettings

    def __init__(self, settings: BigGANDeepSettings) -> None:
        super().__init__(settings)
        width = settings.width
        self.embed = nn.Embedding(settings.num_classes, settings.latent_dim)
        self.start = nn.Linear(2 * settings.latent_dim, _BOTTOM_WIDTH * width * _BOTTOM**2)
        self.blocks = nn.ModuleList(_Block(settings, layer) for layer in settings.layers)
        self.attention = (
            None if settings.attention is None else _Attention(width * settings.layers[settings.attention][1])
        )
        self.statistics = _Statistics(width, settings)
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.last = nn.Conv2d(width, _CHANNELS, 3, padding=1)

    @property
    def latent_dim(self) -> int:
        """Length of the latents, which are standard normal."""
        return self.settings.latent_dim

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.settings.num_classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(3, side, side)`."""
        return _CHANNELS, self.settings.side(), self.settings.side()

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, 3, side, side)` in [-1, 1], with the statistics for a truncation of 1.

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)` int64.

        Raises:
            ConfigError: There are no labels.
        """
        return self.truncated(latents, labels, 1.0)

    def truncated(self, latents: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        """Returns images for latents that were truncated, with the statistics that go with them.

        Args:
            latents: `(N, latent_dim)`, already `truncation` times normals that were cut at 2.
            labels: `(N,)` int64.
            truncation: From 0 to 1.

        Raises:
            ConfigError: There are no labels, or the truncation is no such number.
        """
        truncation = probability("truncation", truncation)
        if labels is None:
            raise ConfigError(f"expected labels (N,) from 0 to {self.num_classes - 1}, found none; give labels")
        condition = torch.cat([latents, self.embed(labels)], dim=1)
        hidden = self.start(condition).unflatten(1, (-1, _BOTTOM, _BOTTOM))
        for layer, block in enumerate(self.blocks):
            if self.attention is not None and layer == self.settings.attention:
                hidden = self.attention(hidden)
            hidden = block(hidden, condition, truncation)
        mean, inverse = self.statistics(truncation)
        scale = self.weight * inverse
        images: Tensor = self.last(_activated(hidden, scale, self.bias - scale * mean))
        return images.tanh_()
