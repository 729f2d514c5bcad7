"""sngan: spectral normalisation and a projection discriminator.

Miyato et al. 2018, "Spectral normalization for generative adversarial networks" (arXiv 1802.05957), and Miyato
and Koyama 2018, "cGANs with projection discriminator" (arXiv 1802.05637); hinge loss.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.losses import hinge_discriminator, hinge_generator, mode_seeking
from gan_augment.networks import ClassGenerator, NetworkSpec, ProjectionDiscriminator
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update
from gan_augment.recipes.tools import Tools

__all__ = ["SNGAN"]


@dataclass(frozen=True, kw_only=True)
class SNGAN(Recipe):
    """Class-conditional GAN: G(z, y) against D(x, y).

    `diversity`, which is not in the papers, is on: without it the samples of a class are more alike
    (`benchmarks/results/recipes.md`).
    """

    name: ClassVar[str] = "sngan"
    paper: ClassVar[str] = "Miyato and Koyama 2018, arXiv 1802.05637"
    need: ClassVar[Need] = Need("single", ("real",))

    diversity: float = 0.002

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator."""
        return {
            "generator": ClassGenerator(spec, self.latent_dim, self.width_for(spec)),
            "discriminator": ProjectionDiscriminator(spec, self.width_for(spec)),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
        both = tools.augment(torch.cat([batch["real"], fake]))
        real_logits, fake_logits = networks["discriminator"](both, torch.cat([labels, labels])).chunk(2)
        return {"hinge": hinge_discriminator(real_logits, fake_logits)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        terms = {"hinge": hinge_generator(networks["discriminator"](tools.augment(fake), labels))}
        if self.diversity:
            some = slice(None, None, 4)  # a quarter of the batch: the term is weak and costs a forward
            others = tools.latents(labels[some], self.latent_dim)
            other = networks["generator"](others, labels[some])
            terms["diversity"] = self.diversity * mode_seeking(fake[some], other, latents[some], others)
        return terms

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y)."""
        images: Tensor = networks["generator"](latents, labels)
        return images
