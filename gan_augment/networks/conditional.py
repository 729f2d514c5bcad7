"""Class-conditional generator and projection discriminator (Miyato and Koyama 2018, "cGANs with projection")."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from gan_augment.networks.blocks import NetworkSpec, ResidualDown, ResidualUp, conv

__all__ = ["ClassGenerator", "ProjectionDiscriminator"]


class ClassGenerator(nn.Module):
    """Maps latents and a class to an image; class and latents scale and shift every normalisation.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents.
        width: Channels at the bottom.
        label_dim: Length of the class embedding.
    """

    def __init__(self, spec: NetworkSpec, latent_dim: int, width: int, label_dim: int = 64) -> None:
        super().__init__()
        self.bottom = spec.bottom
        self.embed = nn.Embedding(spec.num_classes, label_dim)
        condition_dim = latent_dim + label_dim
        self.first = nn.Linear(condition_dim, width * math.prod(spec.bottom))
        widths = [width, *reversed(spec.widths(width))]
        self.blocks = nn.ModuleList(
            ResidualUp(spec.ndim, inputs, outputs, condition_dim) for inputs, outputs in itertools.pairwise(widths)
        )
        self.last = nn.Sequential(nn.GroupNorm(8, widths[-1]), nn.ReLU(), conv(spec.ndim, widths[-1], spec.channels))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N, C, *grid)` in [-1, 1] for latents `(N, latent_dim)` and labels `(N,)`."""
        condition = torch.cat([latents, self.embed(labels)], dim=1)
        hidden = self.first(condition).reshape(len(latents), -1, *self.bottom)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return torch.tanh(self.last(hidden))


class ProjectionDiscriminator(nn.Module):
    """Logit = linear(h) + <embed(y), h>, h the spatial sum of the trunk's features; spectral norm throughout."""

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        super().__init__()
        widths = [spec.channels, *spec.widths(width)]
        self.trunk = nn.Sequential(
            *[
                ResidualDown(spec.ndim, inputs, outputs, first=level == 0)
                for level, (inputs, outputs) in enumerate(itertools.pairwise(widths))
            ]
        )
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.embed = spectral_norm(nn.Embedding(spec.num_classes, width))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        hidden = functional.leaky_relu(self.trunk(images), 0.2).flatten(2).sum(2)
        logits: Tensor = self.linear(hidden)[:, 0] + (self.embed(labels) * hidden).sum(1)
        return logits
