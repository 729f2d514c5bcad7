"""Layers that StudioGAN's generators share, in the form that draws fastest, and how each is made of released weights.

The released networks normalise by stored statistics and divide weights by stored spectral norms; both are constant when
images are drawn, so they are folded into the weights here, once, in float64. What is left of a batch normalisation is
`scale(c) x + shift(c)` with a condition c.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ACTIVATIONS",
    "Attention",
    "ClassNorm",
    "Conv",
    "Foldable",
    "Lookup",
    "Norm",
    "Projection",
    "Released",
    "ResidualBlock",
    "UpConv",
    "VectorNorm",
    "twice",
]

Released = Mapping[str, Tensor]
"""Released weights of one layer, by their names in it, spectral norms divided out."""

EPS: Final = 1e-4
"""What StudioGAN adds to every variance."""

ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "ReLU": functional.relu_,
    "Leaky_ReLU": lambda hidden: functional.leaky_relu_(hidden, 0.1),
    "ELU": functional.elu_,
    "GELU": functional.gelu,
}
"""By StudioGAN's names; they may change what they are given."""


class Foldable(nn.Module, ABC):
    """A layer that is made of a released layer's weights."""

    @abstractmethod
    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the released layer's weights, by their names in it."""

    @abstractmethod
    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns this layer's weights for released ones of the right shapes, in float64."""


class _Plain(Foldable):
    """A layer whose weights are the released ones."""

    def released(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.named_parameters()}

    def fold(self, weights: Released) -> dict[str, Tensor]:
        return dict(weights)


class Conv(_Plain, nn.Conv2d):
    """Convolution that keeps the size."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        nn.Conv2d.__init__(self, inputs, outputs, size, padding=size // 2)


class Projection(_Plain, nn.Linear):
    """Linear layer."""


class Lookup(_Plain, nn.Embedding):
    """Vectors of classes."""


class UpConv(Foldable, nn.ConvTranspose2d):
    """Convolution of 3x3 of an image that was doubled by repeating pixels.

    The same as one transposed convolution of stride 2 whose kernel is the 3x3 one, flipped and summed over a window of
    2x2: 16 products a pixel instead of 36.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        nn.ConvTranspose2d.__init__(self, inputs, outputs, 4, stride=2, padding=1)

    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the 3x3 convolution."""
        return {"weight": (self.out_channels, self.in_channels, 3, 3), "bias": (self.out_channels,)}

    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns the 4x4 kernel."""
        kernel = functional.pad(weights["weight"].flip(2, 3).transpose(0, 1), (1, 1, 1, 1))
        kernel = kernel[..., :-1, :] + kernel[..., 1:, :]
        return {"weight": (kernel[..., :-1] + kernel[..., 1:]).contiguous(), "bias": weights["bias"]}


def _statistics(weights: Released, prefix: str = "") -> tuple[Tensor, Tensor]:
    """Returns the mean and the inverse standard deviation of a released batch normalisation."""
    return weights[f"{prefix}running_mean"], (weights[f"{prefix}running_var"] + EPS).rsqrt()


def _modulate(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Returns `scale x + shift` for images `(N, F, H, W)` and scales and shifts `(N, F)` or `(F,)`."""
    return torch.addcmul(shift[..., None, None], images, scale[..., None, None])


class Norm(Foldable):
    """Batch normalisation without a condition: (x - mean) / sqrt(var + eps) * gamma + beta."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, images: Tensor, condition: Tensor | None = None) -> Tensor:
        """Returns `(N, F, H, W)` for images of that shape; no condition is looked at."""
        return _modulate(images, self.scale, self.shift)

    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of `nn.BatchNorm2d`."""
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (len(self.scale),))

    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns scale and shift."""
        mean, inverse = _statistics(weights)
        scale = weights["weight"] * inverse
        return {"scale": scale, "shift": weights["bias"] - mean * scale}


class VectorNorm(Foldable):
    """Batch normalisation by a vector: (x - mean) / sqrt(var + eps) * (1 + A c) + B c (Brock et al. 2019)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.affine = nn.Linear(width, 2 * channels)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Returns `(N, F, H, W)` for images of that shape and conditions `(N, width)`."""
        return _modulate(images, *self.affine(condition).chunk(2, dim=1))

    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of A, B and the statistics."""
        channels = self.affine.out_features // 2
        matrix = (channels, self.affine.in_features)
        return {
            "gain.weight": matrix, "bias.weight": matrix, "bn.running_mean": (channels,), "bn.running_var": (channels,),
        }  # fmt: skip

    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns one linear map from the condition to scale and shift."""
        mean, inverse = _statistics(weights, "bn.")
        gain = weights["gain.weight"] * inverse[:, None]
        return {
            "affine.weight": torch.cat([gain, weights["bias.weight"] - mean[:, None] * gain]),
            "affine.bias": torch.cat([inverse, -mean * inverse]),
        }


class ClassNorm(Foldable):
    """Batch normalisation by a class: (x - mean) / sqrt(var + eps) * (1 + a_c) + b_c (Dumoulin et al. 2017)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_classes, 2 * channels)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        """Returns `(N, F, H, W)` for images of that shape and labels `(N,)`."""
        return _modulate(images, *self.table(condition).chunk(2, dim=1))

    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the linear maps of one-hot labels, and of the statistics."""
        channels = self.table.embedding_dim // 2
        matrix = (channels, self.table.num_embeddings)
        return {
            "gain.weight": matrix, "bias.weight": matrix, "bn.running_mean": (channels,), "bn.running_var": (channels,),
        }  # fmt: skip

    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns scale and shift of every class."""
        mean, inverse = _statistics(weights, "bn.")
        scale = (1 + weights["gain.weight"].T) * inverse
        return {"table.weight": torch.cat([scale, weights["bias.weight"].T - mean * scale], dim=1)}


class Attention(Foldable):
    """Self attention (Zhang et al. 2019): x + sigma W softmax(theta(x)^T phi(x)) g(x), phi and g halved by a maximum.

    The three maps of x are one convolution, and sigma is part of W.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.key, self.value = channels, channels // 8, channels // 2
        self.maps = nn.Conv2d(channels, 2 * self.key + self.value, 1, bias=False)
        self.out = nn.Conv2d(self.value, channels, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns `(N, F, H, W)` for images of that shape."""
        maps: Tensor = self.maps(images)
        query = maps[:, : self.key].flatten(2)
        pooled = functional.max_pool2d(maps[:, self.key :], 2).flatten(2)
        attention = torch.softmax(query.transpose(1, 2) @ pooled[:, : self.key], dim=-1)
        values = pooled[:, self.key :] @ attention.transpose(1, 2)
        added: Tensor = images + self.out(values.unflatten(2, images.shape[2:]))
        return added

    def released(self) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the four convolutions and of sigma."""
        return {
            "conv1x1_theta.weight": (self.key, self.channels, 1, 1),
            "conv1x1_phi.weight": (self.key, self.channels, 1, 1),
            "conv1x1_g.weight": (self.value, self.channels, 1, 1),
            "conv1x1_attn.weight": (self.channels, self.value, 1, 1),
            "sigma": (1,),
        }

    def fold(self, weights: Released) -> dict[str, Tensor]:
        """Returns the joined maps, and W with sigma."""
        maps = [weights[f"conv1x1_{name}.weight"] for name in ("theta", "phi", "g")]
        return {"maps.weight": torch.cat(maps), "out.weight": weights["sigma"] * weights["conv1x1_attn.weight"]}


def twice(images: Tensor) -> Tensor:
    """Doubles images `(N, F, H, W)` by repeating pixels."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


class ResidualBlock(nn.Module):
    """Norm, activation, doubling, 3x3, norm, activation, 3x3; and the doubled input through 1x1.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        norm: Makes a normalisation for a number of channels.
        activation: A name of `ACTIVATIONS`.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module], activation: str) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[activation]
        self.bn1, self.bn2 = norm(inputs), norm(outputs)
        self.conv2d0 = Conv(inputs, outputs, 1)
        self.conv2d1 = UpConv(inputs, outputs)
        self.conv2d2 = Conv(outputs, outputs, 3)

    def forward(self, images: Tensor, condition: Tensor | None) -> Tensor:
        """Returns `(N, outputs, 2 H, 2 W)` for `(N, inputs, H, W)` and what the norms take."""
        hidden = self.conv2d1(self.activate(self.bn1(images, condition)))
        hidden = self.conv2d2(self.activate(self.bn2(hidden, condition)))
        doubled: Tensor = hidden + twice(self.conv2d0(images))  # 1x1 before the doubling: the same for a quarter
        return doubled
