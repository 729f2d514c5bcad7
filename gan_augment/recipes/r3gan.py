"""r3gan: a relativistic GAN kept stable by penalties alone, without normalisation or other tricks.

Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline" (arXiv 2501.05441). Other than the
paper: the penalties are taken of the augmented images, since warps cannot be differentiated twice, and lazily.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, whole
from gan_augment.losses import gradient_norms, relativistic
from gan_augment.networks import NetworkSpec, ResidualDiscriminator, ResidualGenerator
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["R3GAN"]

_LAST_RATE, _LAST_GAMMA = 0.25, 0.1
_FIRST_BETA, _LAST_BETA = 0.9, 0.99
_CELLS, _MOST_BLOCKS = 1024, 32


@dataclass(frozen=True, kw_only=True)
class R3GAN(Recipe):
    """Class-conditional GAN: D(x, y) - D(G(z, y), y) of pairs of one class, with R1 and R2.

    On a cosine over the first `ramp` of the steps, the learning rate falls fourfold, gamma tenfold, Adam's beta2
    rises from 0.9 to 0.99, the averaging of weights from none to `ema`, and augmentation from none to all images.

    Attributes:
        gamma: Weight of the penalties at first on a grid of 1024 cells (32x32), on others in proportion to the cells.
            The paper's differ by data set, 0.05 to 2.3 so counted; with 0.05 the discriminator won on the digits.
        penalty_every: Take the penalties every so-manieth step, with so much more weight: on a CPU a step with them
            takes 1.7 times as long as one without.
        blocks: Residual blocks a stage, 32 at most.
        ramp: Share of the steps after which the schedules stand still.
    """

    name: ClassVar[str] = "r3gan"
    paper: ClassVar[str] = "Huang et al. 2024, arXiv 2501.05441"
    need: ClassVar[Need] = Need("single", ("real",))

    gamma: float = 2.0
    penalty_every: int = 4
    blocks: int = 2
    ramp: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("penalty_every", self.penalty_every)
        whole("blocks", self.blocks)
        check_range("blocks", self.blocks, _MOST_BLOCKS)
        check_range("gamma", self.gamma)
        if not 0 < self.ramp <= 1:
            raise ConfigError(f"expected ramp above 0, 1 at most, found {self.ramp}")

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator."""
        return {
            "generator": ResidualGenerator(spec, self.latent_dim, self.width_for(spec), self.blocks),
            "discriminator": ResidualDiscriminator(spec, self.width_for(spec), self.blocks),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step, at one rate."""
        return tuple(
            Update(
                name=name,
                parameters=(network,),
                loss=loss,
                learning_rate=self.learning_rate,
                betas=(0.0, _FIRST_BETA),
                schedule=self._adam,
            )
            for name, network, loss in (
                ("d", "discriminator", self._discriminator),
                ("g", "generator", self._generator),
            )
        )

    def _risen(self, progress: float) -> float:
        """Returns how far the schedules are at a share of all steps: a cosine from 0 to 1."""
        return (1 - math.cos(math.pi * min(progress / self.ramp, 1.0))) / 2

    def _adam(self, progress: float) -> Mapping[str, Any]:
        risen = self._risen(progress)
        return {
            "lr": self.learning_rate * (1 + (_LAST_RATE - 1) * risen),
            "betas": (0.0, _FIRST_BETA + (_LAST_BETA - _FIRST_BETA) * risen),
        }

    def decay(self, step: int) -> float:
        """Returns the decay of the moving average at a step: its half-life rises from 0 to that of `ema`."""
        risen = self._risen(step / self.steps)
        return self.ema ** (1 / risen) if risen else 0.0

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels, risen = batch["labels"], self._risen(tools.progress)
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
            images = tools.augment(torch.cat([batch["real"], fake]), risen)
        penalised = tools.step % self.penalty_every == 0
        images = images.detach().requires_grad_(penalised)
        logits = networks["discriminator"](images, torch.cat([labels, labels]))
        terms = {"relativistic": relativistic(*logits.chunk(2))}
        if penalised:
            gamma = self.gamma * (1 + (_LAST_GAMMA - 1) * risen) * images[0, 0].numel() / _CELLS
            r1, r2 = gradient_norms(logits, images).chunk(2)
            terms["penalty"] = self.penalty_every * gamma / 2 * (r1.mean() + r2.mean())
        return terms

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        both = tools.augment(torch.cat([batch["real"], fake]), self._risen(tools.progress))
        real_logits, fake_logits = networks["discriminator"](both, torch.cat([labels, labels])).chunk(2)
        terms = {"relativistic": relativistic(fake_logits, real_logits)}
        return terms | self._diversity(
            fake, latents, tools, lambda others, some: networks["generator"](others, labels[some])
        )

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y), clamped: the generator has no tanh."""
        images: Tensor = networks["generator"](latents, labels)
        return images.clamp(-1, 1)
