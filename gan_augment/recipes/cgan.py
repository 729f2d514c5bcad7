"""cgan: a class-conditional GAN of vectors, such as the rows of a table; both networks are told the class.

Mirza and Osindero 2014, "Conditional generative adversarial nets" (arXiv 1411.1784). Other than the paper: the loss is
the relativistic one with R1 and R2 (Huang et al. 2024, arXiv 2501.05441), whose generator goes on learning on few rows.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError, whole
from gan_augment.losses import gradient_norms, relativistic
from gan_augment.networks import DenseDiscriminator, DenseGenerator, NetworkSpec, VectorSpec
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["CGAN"]


@dataclass(frozen=True, kw_only=True)
class CGAN(Recipe):
    """Class-conditional GAN of vectors of any values: D(x, y) - D(G(z, y), y) of pairs of one class, with R1 and R2.

    It is for standardised features, not for images: `training.fit_table` trains it, `fit` does not know its name.

    Attributes:
        gamma: Weight of the penalties. Of scikit-learn's tables with a long tail, 1 was worse than 3, 10 and 30.
        depth: Hidden layers of each network.
    """

    name: ClassVar[str] = "cgan"
    paper: ClassVar[str] = "Mirza and Osindero 2014, arXiv 1411.1784"
    need: ClassVar[Need] = Need("single", ("real",))

    steps: int = 1000
    latent_dim: int = 32
    width: int | None = 128
    learning_rate: float = 1e-3
    ema: float = 0.99
    augmentation: Augmentation = field(default_factory=Augmentation.none)
    gamma: float = 10.0
    depth: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("depth", self.depth)
        check_range("gamma", self.gamma)
        if self.augmentation != Augmentation.none():
            raise ConfigError("expected no augmentation for vectors, which cannot be moved or turned, found one")

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator.

        Raises:
            ConfigError: The spec is that of images.
        """
        if not isinstance(spec, VectorSpec):
            raise ConfigError(
                f"expected vectors for cgan, found images of {'x'.join(map(str, spec.grid))}; take a recipe for images"
            )
        width = self.width_for(spec)
        return {
            "generator": DenseGenerator(spec, self.latent_dim, width, self.depth),
            "discriminator": DenseDiscriminator(spec, width, self.depth),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](tools.latents(labels, self.latent_dim), labels)
        vectors = torch.cat([batch["real"], fake]).requires_grad_(True)
        logits = networks["discriminator"](vectors, torch.cat([labels, labels]))
        r1, r2 = gradient_norms(logits, vectors).chunk(2)
        return {
            "relativistic": relativistic(*logits.chunk(2)),
            "penalty": self.gamma / 2 * (r1.mean() + r2.mean()),
        }

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels = batch["labels"]
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](latents, labels)
        both, twice = torch.cat([batch["real"], fake]), torch.cat([labels, labels])
        real_logits, fake_logits = networks["discriminator"](both, twice).chunk(2)
        terms = {"relativistic": relativistic(fake_logits, real_logits)}
        return terms | self._diversity(
            fake, latents, tools, lambda others, some: networks["generator"](others, labels[some])
        )

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y), `(N, features, 1, 1)`."""
        vectors: Tensor = networks["generator"](latents, labels)
        return vectors
