"""Networks of vectors, such as the rows of a table: fully connected, the class as one more input of each network."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.blocks import NetworkSpec

__all__ = ["DenseDiscriminator", "DenseGenerator", "VectorSpec"]

_LEAK = 0.2


@dataclass(frozen=True, kw_only=True)
class VectorSpec(NetworkSpec):
    """What a network of vectors is built for: vectors are images of one cell, whose channels are the features.

    Attributes:
        channels: Number of features.
        grid: `(1, 1)`.
        num_classes: Number of classes.
    """

    grid: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        if self.grid != (1, 1) or self.channels < 1 or self.num_classes < 1:
            raise ConfigError(
                f"expected a grid of (1, 1), at least one feature and one class, found {self.grid}, {self.channels}, "
                f"{self.num_classes}"
            )


class _Dense(nn.Module):
    """Linear layers with leaky ReLU between them, for vectors and a class."""

    def __init__(self, num_classes: int, inputs: int, hidden: list[int], outputs: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        sides = [inputs + num_classes, *hidden]
        self.layers = nn.ModuleList(nn.Linear(below, above) for below, above in itertools.pairwise(sides))
        self.last = nn.Linear(sides[-1], outputs)

    def hidden(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Returns what goes into the last layer, `(N, hidden[-1])`."""
        found = torch.cat([vectors, functional.one_hot(labels, self.num_classes).to(vectors)], dim=1)
        for layer in self.layers:
            found = functional.leaky_relu(layer(found), _LEAK)
        return found


class DenseGenerator(_Dense):
    """Maps latents and a class to a vector of any values.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents.
        width: Units of each hidden layer.
        depth: Hidden layers.
    """

    def __init__(self, spec: VectorSpec, latent_dim: int, width: int, depth: int) -> None:
        super().__init__(spec.num_classes, latent_dim, [width] * depth, spec.channels)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns vectors `(N, features, 1, 1)` for latents `(N, latent_dim)` and labels `(N,)`."""
        made: Tensor = self.last(self.hidden(latents, labels))
        return made[..., None, None]


class DenseDiscriminator(_Dense):
    """Logit of a vector beside its class.

    Args:
        spec: What to build for.
        width: Units of each hidden layer.
        depth: Hidden layers.
    """

    def __init__(self, spec: VectorSpec, width: int, depth: int) -> None:
        super().__init__(spec.num_classes, spec.channels, [width] * depth, 1)

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` of vectors `(N, features, 1, 1)` and labels `(N,)`."""
        return self.features_and_logits(vectors, labels)[1]

    def features_and_logits(self, vectors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the last hidden layer `(N, width)` and logits `(N,)`."""
        hidden = self.hidden(vectors.flatten(1), labels)
        return hidden, self.last(hidden)[:, 0]
