"""A throwaway CycleGAN-shaped recipe: two generators, two discriminators, unpaired domains, two phases.

It proves that the Recipe protocol and the one training loop carry more than class-conditional GANs. Not part of the
library.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.losses import hinge_discriminator, hinge_generator
from gan_augment.networks import ImageGenerator, NetworkSpec, ProjectionDiscriminator
from gan_augment.recipes import Need, Phase, Recipe, Tools, Update
from gan_augment.recipes.base import Batch, Networks


@dataclass(frozen=True, kw_only=True)
class CycleShaped(Recipe):
    name: ClassVar[str] = "cycle-shaped"
    paper: ClassVar[str] = "Zhu et al. 2017, arXiv 1703.10593"
    need: ClassVar[Need] = Need("unpaired", ("a", "b"))
    averaged: ClassVar[tuple[str, ...]] = ("to_a", "to_b")
    conditions: ClassVar[tuple[str, ...]] = ("source",)

    cycle: float = 10.0

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        width = self.width_for(spec)
        return {
            "to_a": ImageGenerator(spec, self.latent_dim, width),
            "to_b": ImageGenerator(spec, self.latent_dim, width),
            "judge_a": ProjectionDiscriminator(spec, width),
            "judge_b": ProjectionDiscriminator(spec, width),
        }

    def _latents(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), self.latent_dim)

    def _go(self, networks: Networks, name: str, images: Tensor) -> Tensor:
        moved: Tensor = networks[name](images, self._latents(images))
        return moved

    def _judges(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        terms = {}
        for own, other in (("a", "b"), ("b", "a")):
            labels = batch[f"{own}_labels"]
            with torch.no_grad():
                fake = self._go(networks, f"to_{own}", batch[other])
            judge = networks[f"judge_{own}"]
            terms[own] = hinge_discriminator(judge(batch[own], labels), judge(fake, labels))
        return terms

    def _movers(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        terms = self._identity(networks, batch, tools)
        for own, other in (("a", "b"), ("b", "a")):
            fake = self._go(networks, f"to_{own}", batch[other])
            back = self._go(networks, f"to_{other}", fake)
            terms[f"fool_{own}"] = hinge_generator(networks[f"judge_{own}"](fake, batch[f"{own}_labels"]))
            terms[f"cycle_{other}"] = self.cycle * (back - batch[other]).abs().mean()
        return terms

    def _identity(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        return {
            f"identity_{own}": (self._go(networks, f"to_{own}", batch[own]) - batch[own]).abs().mean()
            for own in ("a", "b")
        }

    def updates(self) -> tuple[Update, ...]:
        rate = self.learning_rate
        return (
            Update(name="judges", parameters=("judge_a", "judge_b"), loss=self._judges, learning_rate=rate, every=2),
            Update(name="movers", parameters=("to_a", "to_b"), loss=self._movers, learning_rate=rate),
        )

    def phases(self) -> tuple[Phase, ...]:
        warm = Update(name="warm", parameters=("to_a", "to_b"), loss=self._identity, learning_rate=self.learning_rate)
        return (Phase("identity", 0.3, (warm,)), Phase("adversarial", 0.7, self.updates()))

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        to_a, to_b = (self._go(networks, name, conditions["source"]) for name in ("to_a", "to_b"))
        return torch.where((labels == 0).reshape(-1, *[1] * (to_a.ndim - 1)), to_a, to_b)
