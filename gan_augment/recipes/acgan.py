"""acgan: a discriminator that also tells the class.

Odena et al. 2017, "Conditional image synthesis with auxiliary classifier GANs" (arXiv 1610.09585). Other than the
paper: hinge loss and spectral normalisation instead of the logistic loss and dropout; class and latents scale and
shift every normalisation of the generator instead of entering at its first layer only; the cross-entropy of the
discriminator is of reals only, for fakes teach it the generator's mistakes; its terms are weighted so that every class
counts alike, whatever `label_power` says of how often it is drawn: else the classifier would give up the rare ones, and
the generator with it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.losses import hinge_discriminator, hinge_generator
from gan_augment.networks import AuxiliaryDiscriminator, ClassGenerator, NetworkSpec
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["ACGAN"]


@dataclass(frozen=True, kw_only=True)
class ACGAN(Recipe):
    """Class-conditional GAN: G(z, y) against D(x) with a head for real or fake and one for the class.

    Its samples of rare classes exaggerate what tells the class from others: a classifier agrees with their labels, and
    they lie far from real images.

    Attributes:
        auxiliary: Weight of the cross-entropy, for both networks.
    """

    name: ClassVar[str] = "acgan"
    paper: ClassVar[str] = "Odena et al. 2017, arXiv 1610.09585"
    need: ClassVar[Need] = Need("single", ("real",))

    diversity: float = 0.005
    auxiliary: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("auxiliary", self.auxiliary)

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator."""
        return {
            "generator": ClassGenerator(spec, self.latent_dim, self.width_for(spec)),
            "discriminator": AuxiliaryDiscriminator(spec, self.width_for(spec)),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
        logits, classes = networks["discriminator"](tools.augment(torch.cat([batch["real"], fake])))
        hinge = hinge_discriminator(*logits.chunk(2))
        return {"hinge": hinge, "class": self._class_term(classes[: len(labels)], batch)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        logits, classes = networks["discriminator"](tools.augment(fake))
        terms = {"hinge": hinge_generator(logits), "class": self._class_term(classes, batch)}
        return terms | self._diversity(fake, latents, tools, lambda z, some: networks["generator"](z, labels[some]))

    def _class_term(self, classes: Tensor, batch: Batch) -> Tensor:
        losses = functional.cross_entropy(classes, batch["labels"], reduction="none")
        return self.auxiliary * (losses * batch["weights"]).mean()

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y)."""
        images: Tensor = networks["generator"](latents, labels)
        return images
