"""bagan_gp: a GAN for imbalance that starts from an autoencoder of all classes.

Huang and Jafari 2021, "Enhanced balancing GAN: minority-class image generation" (arXiv 2011.00189), after Mariani
et al. 2018, "BAGAN: data augmentation with balancing GAN" (arXiv 1803.09655): the decoder becomes the generator,
the encoder's trunk the start of the critic's; the critic sees reals with their label, fakes with theirs, and reals
with a wrong one; Wasserstein loss with gradient penalty. Other than the paper: the label embedding joins the code
and scales and shifts every normalisation, where the paper multiplies the code by it; codes are scaled to the length
that standard normals have, so that the decoder knows the latents that it will be given; the critic takes one step
for each of the generator's, not five, at twice its learning rate; the penalty comes lazily, in steps that share the
critic's Adam as it is; the generator goes on reconstructing; the critic's terms are weighted so that every class
counts alike: wrong labels are of all classes, so that under a rare label it would see more wrong pairs than right
ones, and teach the generator to be unlike all else.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from gan_augment.errors import whole
from gan_augment.losses import gradient_penalty, hinge_generator, wasserstein_discriminator
from gan_augment.networks import ClassGenerator, Encoder, LabelCritic, NetworkSpec
from gan_augment.recipes.base import Batch, Need, Networks, Phase, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["BAGANGP"]


@dataclass(frozen=True, kw_only=True)
class BAGANGP(Recipe):
    """Class-conditional GAN: G(z, y) against a critic D(x, y), both started from an autoencoder.

    Attributes:
        autoencoder_share: Share of the steps that train the autoencoder.
        penalty: Weight of the gradient penalty.
        penalty_every: Steps from one gradient penalty to the next; its weight is multiplied by that.
        reconstruction: Weight of the autoencoder's loss for the generator in the adversarial phase; 0 for none, as in
            the paper.
    """

    name: ClassVar[str] = "bagan_gp"
    paper: ClassVar[str] = "Huang and Jafari 2021, arXiv 2011.00189"
    need: ClassVar[Need] = Need("single", ("real",))

    diversity: float = 0.02
    autoencoder_share: float = 0.3
    penalty: float = 10.0
    penalty_every: int = 4
    reconstruction: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("penalty_every", self.penalty_every)
        for name in ("penalty", "reconstruction"):
            check_range(name, getattr(self, name))
        check_range("autoencoder_share", self.autoencoder_share, 1)

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns an encoder, a generator that is its decoder first, and a critic."""
        width = self.width_for(spec)
        return {
            "encoder": Encoder(spec, self.latent_dim, width),
            "generator": ClassGenerator(spec, self.latent_dim, width),
            "discriminator": LabelCritic(spec, width),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns the updates of the adversarial phase: critic, its penalty, generator."""
        d, g = self._alternating(self._discriminator, self._generator)
        penalty = Update(
            name="penalty",
            parameters=d.parameters,
            loss=self._penalty,
            learning_rate=d.learning_rate,
            every=self.penalty_every,
            optimizer=d.name,
        )
        return d, penalty, g

    def phases(self) -> tuple[Phase, ...]:
        """Returns the autoencoder's phase and the adversarial one."""
        autoencoder = Update(
            name="ae",
            parameters=("encoder", "generator"),
            loss=self._reconstruction,
            learning_rate=self.learning_rate,
        )
        return (
            Phase("autoencoder", self.autoencoder_share, (autoencoder,)),
            Phase("adversarial", 1 - self.autoencoder_share, self.updates(), begin=_hand_over),
        )

    def _reconstruction(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        real = batch["real"]
        again = networks["generator"](networks["encoder"](real), batch["labels"])
        return {"reconstruction": (again - real).abs().mean()}

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        real, labels = batch["real"], batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
        images = tools.augment(torch.cat([real, fake]))
        images = torch.cat([images, images[: len(real)]])
        classes = cast(ClassGenerator, networks["generator"]).embed.num_embeddings
        wrong = _other_labels(labels, classes, tools)
        logits = networks["discriminator"](images, torch.cat([labels, labels, wrong])) * batch["weights"].repeat(3)
        return {"wasserstein": wasserstein_discriminator(logits[: len(real)], logits[len(real) :])}

    def _penalty(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        real, labels = batch["real"], batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
        real, fake = tools.augment(torch.cat([real, fake])).chunk(2)
        share = tools.part.uniforms(len(real), *[1] * (real.ndim - 1)).to(real.device)
        between = torch.lerp(real, fake, share).requires_grad_()
        logits = networks["discriminator"](between, labels)
        return {"gradient": self.penalty * self.penalty_every * gradient_penalty(logits, between)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        terms = {"wasserstein": hinge_generator(networks["discriminator"](tools.augment(fake), labels))}
        if self.reconstruction:
            terms |= {k: self.reconstruction * v for k, v in self._reconstruction(networks, batch, tools).items()}
        return terms | self._diversity(fake, latents, tools, lambda z, some: networks["generator"](z, labels[some]))

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y)."""
        images: Tensor = networks["generator"](latents, labels)
        return images


def _hand_over(networks: Networks) -> None:
    cast(LabelCritic, networks["discriminator"]).start_from(cast(Encoder, networks["encoder"]))


def _other_labels(labels: Tensor, num_classes: int, tools: Tools) -> Tensor:
    """Returns for each label another class, uniformly."""
    step = 1 + (tools.part.uniforms(len(labels)) * (num_classes - 1)).long()
    return (labels + step.to(labels.device)) % num_classes
