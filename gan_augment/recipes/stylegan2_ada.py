"""stylegan2_ada: style-based generator, lazily penalised discriminator, augmentation that adapts to overfitting.

Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN" (arXiv 1912.04958) and "Training
generative adversarial networks with limited data" (arXiv 2006.06676). Other than the papers: what `networks/style.py`
says, no path length penalty, R1 is taken of the augmented images since warps cannot be differentiated twice, its lazy
steps share the discriminator's Adam without the rescaling of learning rate and betas by k / (k + 1) for a penalty every
k steps, and the augmentations are those of this library.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from gan_augment.errors import whole
from gan_augment.losses import logistic_discriminator, logistic_generator, zero_centred_penalty
from gan_augment.networks import AdaptiveProbability, NetworkSpec, StyleDiscriminator, StyleGenerator
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["StyleGAN2ADA"]

_MOST_LAYERS = 32


@dataclass(frozen=True, kw_only=True)
class StyleGAN2ADA(Recipe):
    """Class-conditional GAN: G(z, y) of a style against D(x, y), under R1 and adaptive augmentation.

    Attributes:
        gamma: R1's weight is this times the cells of the grid over the batch size.
        penalty_every: Take R1 every so-manieth step, with so much more weight.
        mapping_layers: Layers from latents and class to a style, 32 at most.
        target: Of E[sign D(real)], 0 to 1: above it augmentation rises, below it falls.
        adapt_images: Images seen while the probability of augmentation rises from 0 to 1 at its fastest; 500 thousand
            in the paper, whose trainings are of millions.
    """

    name: ClassVar[str] = "stylegan2_ada"
    paper: ClassVar[str] = "Karras et al. 2020, arXiv 2006.06676"
    need: ClassVar[Need] = Need("single", ("real",))

    gamma: float = 0.0002
    penalty_every: int = 16
    mapping_layers: int = 2
    target: float = 0.6
    adapt_images: int = 20_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("penalty_every", "mapping_layers", "adapt_images"):
            whole(name, getattr(self, name))
        check_range("mapping_layers", self.mapping_layers, _MOST_LAYERS)
        check_range("gamma", self.gamma)
        check_range("target", self.target, 1)

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator, a discriminator, and the probability of augmentation."""
        return {
            "generator": StyleGenerator(spec, self.latent_dim, self.width_for(spec), self.mapping_layers),
            "discriminator": StyleDiscriminator(spec, self.width_for(spec)),
            "adaptive": AdaptiveProbability(self.target, self.adapt_images),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns a discriminator step, a lazy penalty that shares its optimiser, and a generator step."""
        d, g = self._alternating(self._discriminator, self._generator)
        penalty = Update(
            name="r1",
            parameters=d.parameters,
            loss=self._penalty,
            learning_rate=d.learning_rate,
            every=self.penalty_every,
            optimizer="d",
        )
        return (d, penalty, g)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels, adaptive = batch["labels"], cast(AdaptiveProbability, networks["adaptive"])
        probability = adaptive.move(tools.step, self.batch_size)
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
            both = tools.augment(torch.cat([batch["real"], fake]), probability)
        real_logits, fake_logits = networks["discriminator"](both, torch.cat([labels, labels])).chunk(2)
        adaptive.observe(real_logits, tools.average)
        return {"logistic": logistic_discriminator(real_logits, fake_logits)}

    def _penalty(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        probability = cast(AdaptiveProbability, networks["adaptive"]).value
        images = tools.augment(batch["real"], probability).detach().requires_grad_()
        weight = self.penalty_every * self.gamma / 2 * images[0, 0].numel() / self.batch_size
        logits = networks["discriminator"](images, batch["labels"])
        return {"penalty": weight * zero_centred_penalty(logits, images)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels, probability = batch["labels"], cast(AdaptiveProbability, networks["adaptive"]).value
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        logits = networks["discriminator"](tools.augment(fake, probability), labels)
        terms = {"logistic": logistic_generator(logits)}
        return terms | self._diversity(
            fake, latents, tools, lambda others, some: networks["generator"](others, labels[some])
        )

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y), clamped: the generator has no tanh."""
        images: Tensor = networks["generator"](latents, labels)
        return images.clamp(-1, 1)
