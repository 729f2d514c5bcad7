"""icgan: an instance-conditioned GAN.

Casanova et al. 2021, "Instance-conditioned GAN" (arXiv 2109.05070), class-conditional version: the generator is
conditioned on the features of an instance and its class; reals are the instance's nearest neighbours in feature space.
Other than the paper: no pretrained extractor is at hand, so features are the codes of an autoencoder, trained on the
same images first. Its decoder is told the class, so the code holds what differs within a class, where the features of
a classifier are alike; and the generator starts from the decoder, so it obeys the features from the first step.
Neighbours are of the instance's class, itself left out; features are of the augmented instance while training, for a
rare class has few; samples are weakly drawn to their instance; hinge loss on small residual networks under spectral
normalisation.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.errors import whole
from gan_augment.losses import hinge_discriminator, hinge_generator
from gan_augment.networks import ClassGenerator, Encoder, InstanceDiscriminator, NetworkSpec
from gan_augment.recipes.base import Batch, Need, Networks, Phase, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["ICGAN"]


@dataclass(frozen=True, kw_only=True)
class ICGAN(Recipe):
    """Instance-conditioned GAN: G(z, f(x), y) against D(candidate, f(x), y), f frozen features.

    Attributes:
        features_share: Share of the steps that train the features.
        feature_dim: Length of the features.
        neighbours: How many of the nearest images of an instance's class stand for it; fewer in classes that have no
            more.
        reconstruction: Weight of the mean absolute difference of a sample and its instance; 0 for none, as in the
            paper. It holds label and variation; more of it makes samples copies of their instance.
    """

    name: ClassVar[str] = "icgan"
    paper: ClassVar[str] = "Casanova et al. 2021, arXiv 2109.05070"
    need: ClassVar[Need] = Need("single", ("real",))
    conditions: ClassVar[tuple[str, ...]] = ("source",)
    pairs: ClassVar[bool] = True

    diversity: float = 0.0005
    features_share: float = 0.3
    feature_dim: int = 64
    neighbours: int = 5
    reconstruction: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_dim", "neighbours"):
            whole(name, getattr(self, name))
        check_range("features_share", self.features_share, 1)
        check_range("reconstruction", self.reconstruction)

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns features, the decoder that they are trained with, a generator and a discriminator."""
        width = self.width_for(spec)
        return {
            "features": Encoder(spec, self.feature_dim, width),
            "decoder": ClassGenerator(spec, self.feature_dim, width),
            "generator": ClassGenerator(spec, self.latent_dim + self.feature_dim, width),
            "discriminator": InstanceDiscriminator(spec, width, self.feature_dim),
        }

    def updates(self) -> tuple[Update, ...]:
        """Returns the updates of the adversarial phase: one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def phases(self) -> tuple[Phase, ...]:
        """Returns the features' phase and the adversarial one."""
        features = Update(
            name="features",
            parameters=("features", "decoder"),
            loss=self._reconstruction,
            learning_rate=self.learning_rate,
        )
        need = Need("neighbours", ("source", "real"), self.neighbours)
        return (
            Phase("features", self.features_share, (features,)),
            Phase("adversarial", 1 - self.features_share, self.updates(), need, _start_from_decoder),
        )

    def embed(self, networks: Networks, images: Tensor) -> Tensor:
        """Returns features `(N, feature_dim)`, all of one length."""
        features: Tensor = networks["features"](images)
        return features

    def _reconstruction(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        real = tools.augment(batch["real"])
        code = networks["features"](real)
        again = networks["decoder"](code, batch["labels"])
        return {"reconstruction": (again - real).abs().mean()}

    def _instances(self, networks: Networks, batch: Batch, tools: Tools) -> tuple[Tensor, Tensor]:
        """Returns augmented instances and their features."""
        source = tools.augment(batch["source"])
        with torch.no_grad():
            return source, self.embed(networks, source)

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels, (_, instances) = batch["labels"], self._instances(networks, batch, tools)
        with torch.no_grad():
            latents = torch.cat([tools.latents(labels, self.latent_dim), instances], 1)
            fake = networks["generator"](latents, labels)
        both = tools.augment(torch.cat([batch["real"], fake]))
        logits = networks["discriminator"](both, torch.cat([labels, labels]), torch.cat([instances, instances]))
        return {"hinge": hinge_discriminator(*logits.chunk(2))}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        labels, (source, instances) = batch["labels"], self._instances(networks, batch, tools)
        latents = tools.latents(labels, self.latent_dim)
        fake = networks["generator"](torch.cat([latents, instances], 1), labels)
        terms = {"hinge": hinge_generator(networks["discriminator"](tools.augment(fake), labels, instances))}
        if self.reconstruction:
            terms["reconstruction"] = self.reconstruction * (fake - source).abs().mean()
        return terms | self._diversity(
            fake,
            latents,
            tools,
            lambda z, some: networks["generator"](torch.cat([z, instances[some]], 1), labels[some]),
        )

    def companion(self, networks: Networks, images: Tensor) -> Tensor:
        """Returns f(x) `(N, feature_dim)`."""
        return self.embed(networks, images)

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, f(source), y)."""
        instances = self.embed(networks, conditions["source"])
        images: Tensor = networks["generator"](torch.cat([latents, instances], 1), labels)
        return images


def _start_from_decoder(networks: Networks) -> None:
    """Gives the generator the decoder's weights; those of its latents, the first columns, stay as they are."""
    own = networks["generator"].state_dict()
    for key, theirs in networks["decoder"].state_dict().items():
        latents = own[key].shape[-1] - theirs.shape[-1]
        own[key] = torch.cat([own[key][..., :latents], theirs], dim=-1)
    networks["generator"].load_state_dict(own)
