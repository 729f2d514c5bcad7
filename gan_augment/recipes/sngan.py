"""sngan: spectral normalisation and a projection discriminator, and remedies for the collapse of its rare classes.

Miyato et al. 2018, "Spectral normalization for generative adversarial networks" (arXiv 1802.05957), and Miyato
and Koyama 2018, "cGANs with projection discriminator" (arXiv 1802.05637); hinge loss. The remedies are published
terms, each off or on by a field, and measured one by one in `benchmarks/results/recipes.md`.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, whole
from gan_augment.losses import (
    LeCam,
    barlow_twins,
    group_spectral_norm,
    hinge_discriminator,
    hinge_generator,
)
from gan_augment.networks import ClassGenerator, NetworkSpec, ProjectionDiscriminator
from gan_augment.networks.blocks import average_pool
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["SNGAN"]


class _Fake(NamedTuple):
    latents: Tensor
    images: Tensor
    low: Tensor | None
    condition: Tensor


@dataclass(frozen=True, kw_only=True)
class SNGAN(Recipe):
    """Class-conditional GAN: G(z, y) against D(x, y).

    `diversity`, which is not in the papers, is on: without it the samples of a class are more alike
    (`benchmarks/results/recipes.md`). With `twins` the loss depends on the statistics of a batch, or of the part of
    it that a process works on; all else does not.

    Attributes:
        shared: Number of the generator's first stages that see latents only, so that coarse structure is learned
            from all classes; a head that does not see the class judges their low-resolution image, with the same
            weight as the whole one (UTLO, Khorram et al. 2024, "Taming the tail in class-conditional GANs", arXiv
            2402.17065). From 0 for none to the number of halvings of the grid.
        ramp: Shares of the training between which a weight l rises from 0 to 1; None for a class that is seen from
            the first step. The generator sees l * embed(y), and both losses are L_u + l L_c, L_u of a head that does
            not see the class and L_c of the one that does (Shahbazi et al. 2022, "Collapse by conditioning", arXiv
            2201.06578). Samples are drawn at l = 1.
        spectral: Weight of the squared spectral norm of the scale and shift that each class adds (gSR, Rangwani et
            al. 2022, arXiv 2208.09932).
        mapping: Whether latents and class embedding pass a small network before they scale and shift (Karras et al.
            2019, "A style-based generator architecture for GANs", arXiv 1812.04948).
        twins: Weight of the Barlow Twins loss between the conditions of two noisy copies of the class embeddings;
            brings the mapping with it (NoisyTwins, Rangwani et al. 2023, arXiv 2304.05866).
        noise: Standard deviation of the noise on the class embeddings while training with `twins`; the same for all
            classes, where the paper's is larger for the rarer.
        lecam: Weight of the penalty that ties the logits of reals to the average of fakes and the reverse (LeCam,
            Tseng et al. 2021, arXiv 2104.03310).
    """

    name: ClassVar[str] = "sngan"
    paper: ClassVar[str] = "Miyato and Koyama 2018, arXiv 1802.05637"
    need: ClassVar[Need] = Need("single", ("real",))

    diversity: float = 0.002
    shared: int = 0
    ramp: tuple[float, float] | None = None
    spectral: float = 0.0
    mapping: bool = False
    twins: float = 0.0
    noise: float = 0.1
    lecam: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("shared", self.shared, 0)
        if not isinstance(self.mapping, bool):
            raise ConfigError(f"expected mapping True or False, found {self.mapping!r}")
        for name in ("spectral", "twins", "noise", "lecam"):
            check_range(name, getattr(self, name))
        if self.ramp is not None:
            if len(self.ramp) != 2 or not 0 <= self.ramp[0] < self.ramp[1] <= 1:
                raise ConfigError(f"expected ramp as two rising shares of the training, 0 to 1, found {self.ramp}")
            object.__setattr__(self, "ramp", tuple(self.ramp))  # out of JSON it comes as a list

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator, and with `lecam` the averages of the logits."""
        width = self.width_for(spec)
        networks: dict[str, nn.Module] = {
            "generator": ClassGenerator(
                spec, self.latent_dim, width, shared=self.shared, mapping=self.mapping or self.twins > 0
            ),
            "discriminator": ProjectionDiscriminator(
                spec, width, shared=self.shared, unconditional=self.ramp is not None
            ),
        }
        return {**networks, "lecam": LeCam()} if self.lecam else networks

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return self._alternating(self._discriminator, self._generator)

    def _risen(self, tools: Tools) -> float:
        """Returns l of `ramp`."""
        if self.ramp is None:
            return 1.0
        begin, end = self.ramp
        return min(max((tools.progress - begin) / (end - begin), 0.0), 1.0)

    def _fake(self, networks: Networks, labels: Tensor, tools: Tools) -> _Fake:
        generator = cast(ClassGenerator, networks["generator"])
        latents = tools.latents(labels, self.latent_dim)
        noise = self._noise(generator, labels, tools)
        return _Fake(latents, *generator(latents, labels, self._risen(tools), noise, whole=True))

    def _noise(self, generator: ClassGenerator, labels: Tensor, tools: Tools) -> Tensor | None:
        return self.noise * tools.latents(labels, generator.embed.embedding_dim) if self.twins else None

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        discriminator = networks["discriminator"]
        labels, real = batch["labels"], batch["real"]
        with torch.no_grad():
            fake = self._fake(networks, labels, tools)
        both, twice = tools.augment(torch.cat([real, fake.images])), torch.cat([labels, labels])
        terms = {}
        if self.ramp is None:
            logits = discriminator(both, twice)
        else:
            logits, free = discriminator(both, twice, both=True)
            terms["unconditional"] = hinge_discriminator(*free.chunk(2))
        terms["hinge"] = self._risen(tools) * hinge_discriminator(*logits.chunk(2))
        if fake.low is not None:
            while real.shape[2:] != fake.low.shape[2:]:
                real = average_pool(real)
            low = discriminator(tools.augment(torch.cat([real, fake.low])))
            terms["low"] = hinge_discriminator(*low.chunk(2))
        if self.lecam:
            real_logits, fake_logits = logits.chunk(2)
            terms["lecam"] = self.lecam * networks["lecam"](real_logits, fake_logits, tools.step, tools.average)
        return terms

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        discriminator = networks["discriminator"]
        labels = batch["labels"]
        fake = self._fake(networks, labels, tools)
        images, terms = tools.augment(fake.images), {}
        if self.ramp is None:
            logits = discriminator(images, labels)
        else:
            logits, free = discriminator(images, labels, both=True)
            terms["unconditional"] = hinge_generator(free)
        terms["hinge"] = self._risen(tools) * hinge_generator(logits)
        if fake.low is not None:
            terms["low"] = hinge_generator(discriminator(tools.augment(fake.low)))
        return {**terms, **self._remedies(networks, labels, fake, tools)}

    def _remedies(self, networks: Networks, labels: Tensor, fake: _Fake, tools: Tools) -> dict[str, Tensor]:
        generator, risen = cast(ClassGenerator, networks["generator"]), self._risen(tools)

        def generate(latents: Tensor, some: slice) -> Tensor:
            images: Tensor = generator(latents, labels[some], risen, self._noise(generator, labels[some], tools))
            return images

        terms = self._diversity(fake.images, fake.latents, tools, generate)
        if self.spectral:
            norms = [group_spectral_norm(parameters) for parameters in generator.class_parameters()]
            terms["spectral"] = self.spectral * torch.stack(norms).sum()
        if self.twins:
            noise = self._noise(generator, labels, tools)
            twin = generator.condition(fake.latents, labels, risen, noise)
            terms["twins"] = self.twins * barlow_twins(fake.condition, twin)
        return terms

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y)."""
        images: Tensor = networks["generator"](latents, labels)
        return images
