"""Class-conditional generator and projection discriminator (Miyato and Koyama 2018, "cGANs with projection")."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_augment.errors import ConfigError
from gan_augment.networks.blocks import NetworkSpec, ResidualTrunk, ResidualUp, ScaleShiftNorm, conv

__all__ = ["ClassGenerator", "ProjectionDiscriminator"]


def _check_shared(spec: NetworkSpec, shared: int) -> None:
    if shared > spec.levels:
        raise ConfigError(
            f"expected shared of at most {spec.levels} for a grid of {spec.grid}, one stage less than its generator "
            f"has, found {shared}; lower shared, or give a larger image_size="
        )


def _to_image(spec: NetworkSpec, width: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(8, width), nn.ReLU(), conv(spec.ndim, width, spec.channels))


class ClassGenerator(nn.Module):
    """Maps latents and a class to an image; class and latents scale and shift every normalisation.

    Its stages are the linear layer that makes the bottom, and the blocks that double it.

    Args:
        spec: What to build for.
        latent_dim: Length of the latents.
        width: Channels at the bottom.
        label_dim: Length of the class embedding.
        shared: Number of first stages that see latents only and end in an image of their own: what they learn, they
            learn from all classes (UTLO, Khorram et al. 2024, arXiv 2402.17065).
        mapping: Whether latents and class pass a small network before they scale and shift, as in StyleGAN.

    Raises:
        ConfigError: No stage would be left that sees the class.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        latent_dim: int,
        width: int,
        label_dim: int = 64,
        *,
        shared: int = 0,
        mapping: bool = False,
    ) -> None:
        super().__init__()
        _check_shared(spec, shared)
        self.bottom, self.latent_dim, self.shared = spec.bottom, latent_dim, shared
        self.embed = nn.Embedding(spec.num_classes, label_dim)
        inputs = [latent_dim if stage < shared else latent_dim + label_dim for stage in range(spec.levels + 1)]
        self.first = nn.Linear(inputs[0], width * math.prod(spec.bottom))
        widths = [width, *reversed(spec.widths(width))]
        self.blocks = nn.ModuleList(
            ResidualUp(spec.ndim, below, above, condition_dim)
            for (below, above), condition_dim in zip(itertools.pairwise(widths), inputs[1:], strict=True)
        )
        self.last = _to_image(spec, widths[-1])
        if shared:
            self.low = _to_image(spec, widths[shared - 1])
        if mapping:
            self.mapping = nn.Sequential(
                nn.Linear(inputs[-1], inputs[-1]), nn.LeakyReLU(0.2), nn.Linear(inputs[-1], inputs[-1])
            )

    def forward(
        self,
        latents: Tensor,
        labels: Tensor,
        share: float = 1.0,
        noise: Tensor | None = None,
        *,
        whole: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor | None, Tensor]:
        """Returns images `(N, C, *grid)` in [-1, 1].

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)`.
            share: See `condition`.
            noise: See `condition`.
            whole: Return besides the images of the shared stages `(N, C, *low_grid)`, None without such, and the
                condition.
        """
        condition = self.condition(latents, labels, share, noise)
        seen = [latents if stage < self.shared else condition for stage in range(len(self.blocks) + 1)]
        hidden, low = self.first(seen[0]).reshape(len(latents), -1, *self.bottom), None
        for stage, block in enumerate(self.blocks, 1):
            if whole and stage == self.shared:
                low = torch.tanh(self.low(hidden))
            hidden = block(hidden, seen[stage])
        images = torch.tanh(self.last(hidden))
        return (images, low, condition) if whole else images

    def condition(self, latents: Tensor, labels: Tensor, share: float = 1.0, noise: Tensor | None = None) -> Tensor:
        """Returns `(N, latent_dim + label_dim)`, what scales and shifts.

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)`.
            share: Of the class embedding that is let through: at 0 the class is not seen.
            noise: `(N, label_dim)`, added to the class embedding.
        """
        embedded = self.embed(labels) if share == 1 else share * self.embed(labels)
        condition = torch.cat([latents, embedded if noise is None else embedded + noise], dim=1)
        return self.mapping(condition) if hasattr(self, "mapping") else condition

    def class_parameters(self) -> list[Tensor]:
        """Returns for each normalisation that sees the class two tensors `(num_classes, channels)`.

        They are what each class, at latents of zero, adds to scale and shift.
        """
        labels = torch.arange(self.embed.num_embeddings, device=self.embed.weight.device)
        condition = self.condition(torch.zeros(len(labels), self.latent_dim, device=labels.device), labels)
        blocks = list(self.blocks)[max(0, self.shared - 1) :]
        norms = [module for block in blocks for module in block.modules() if isinstance(module, ScaleShiftNorm)]
        return [part for norm in norms for part in norm.affine(condition).chunk(2, dim=1)]


class ProjectionDiscriminator(nn.Module):
    """Logit = linear(h) + <embed(y), h>, h the spatial sum of the trunk's features; spectral norm throughout.

    Args:
        spec: What to build for.
        width: Channels at the bottom.
        shared: Adds a head for the images of so many shared stages: it goes through the trunk from their size on.
        unconditional: Whether there is a second head that does not see the class.

    Raises:
        ConfigError: The grid has too few levels for `shared`.
    """

    def __init__(self, spec: NetworkSpec, width: int, *, shared: int = 0, unconditional: bool = False) -> None:
        super().__init__()
        _check_shared(spec, shared)
        self.trunk = ResidualTrunk(spec, width)
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.embed = spectral_norm(nn.Embedding(spec.num_classes, width))
        if unconditional:
            self.unconditional = spectral_norm(nn.Linear(width, 1))
        if shared:
            self.enter = spec.levels + 1 - shared
            middle = spec.widths(width)[self.enter - 1]
            self.low = nn.Sequential(
                conv(spec.ndim, spec.channels, middle, spectral=True),
                nn.LeakyReLU(0.2),
                conv(spec.ndim, middle, middle, spectral=True),
            )
            self.low_linear = spectral_norm(nn.Linear(width, 1))

    def forward(
        self, images: Tensor, labels: Tensor | None = None, *, both: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Returns logits `(N,)`.

        Args:
            images: `(N, C, *grid)`, or without labels `(N, C, *low_grid)`.
            labels: `(N,)`; None for images of the shared stages, whose head does not see the class.
            both: Return besides the logits of the unconditional head.
        """
        if labels is None:
            return self._judge_low(images)
        hidden, logits = self.features_and_logits(images, labels)
        return (logits, self.unconditional(hidden)[:, 0]) if both else logits

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h `(N, width)` and logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        hidden: Tensor = self.trunk(images)
        return hidden, self.linear(hidden)[:, 0] + (self.embed(labels) * hidden).sum(1)

    def _judge_low(self, images: Tensor) -> Tensor:
        logits: Tensor = self.low_linear(self.trunk(self.low(images), self.enter))[:, 0]
        return logits
