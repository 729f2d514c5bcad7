"""dagan: an image-conditioned GAN that carries the variation of the many-image classes over to the rare ones.

After Antoniou et al. 2017, "Data augmentation generative adversarial networks" (arXiv 1711.04340): G(x, z) makes
another image of the class of x; D sees pairs, real ones being two images of one class. Other than the paper: hinge
loss and spectral normalisation instead of WGAN-GP, one trunk for both images of a pair, and differentiable
augmentation.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.losses import hinge_discriminator, hinge_generator, mode_seeking
from gan_augment.networks import ImageGenerator, NetworkSpec, PairDiscriminator
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update
from gan_augment.recipes.tools import Tools

__all__ = ["DAGAN"]


@dataclass(frozen=True, kw_only=True)
class DAGAN(Recipe):
    """Image-conditioned GAN: G(x, z) against D(x, candidate).

    `diversity` is 0: a mode-seeking term made labels wrong (`benchmarks/results/recipes.md`).
    """

    name: ClassVar[str] = "dagan"
    paper: ClassVar[str] = "Antoniou et al. 2017, arXiv 1711.04340"
    need: ClassVar[Need] = Need("same-class", ("source", "real"))
    conditions: ClassVar[tuple[str, ...]] = ("source",)

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator."""
        return {
            "generator": ImageGenerator(spec, self.latent_dim, self.width_for(spec)),
            "discriminator": PairDiscriminator(spec, self.width_for(spec)),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = networks["generator"](batch["source"], tools.latents(batch["source"], self.latent_dim))
        source = tools.augment(torch.cat([batch["source"], batch["source"]]))
        candidate = tools.augment(torch.cat([batch["real"], fake]))
        real_logits, fake_logits = networks["discriminator"](source, candidate).chunk(2)
        return {"hinge": hinge_discriminator(real_logits, fake_logits)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        source = batch["source"]
        latents = tools.latents(source, self.latent_dim)
        fake = networks["generator"](source, latents)
        logits = networks["discriminator"](tools.augment(source), tools.augment(fake))
        terms = {"hinge": hinge_generator(logits)}
        if self.diversity:
            others = tools.latents(source, self.latent_dim)
            other = networks["generator"](source, others)
            terms["diversity"] = self.diversity * mode_seeking(fake, other, latents, others)
        return terms

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(source, z)."""
        images: Tensor = networks["generator"](conditions["source"], latents)
        return images
