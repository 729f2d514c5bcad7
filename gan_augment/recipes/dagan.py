"""dagan: an image-conditioned GAN that carries the variation of the many-image classes over to the rare ones.

After Antoniou et al. 2017, "Data augmentation generative adversarial networks" (arXiv 1711.04340): G(x, z) makes
another image of the class of x; D sees pairs, real ones being two images of one class. Other than the paper: hinge
loss and spectral normalisation instead of WGAN-GP, one trunk for both images of a pair, and differentiable
augmentation.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from gan_augment.errors import whole
from gan_augment.losses import hinge_discriminator, hinge_generator, mode_seeking
from gan_augment.networks import ImageGenerator, NetworkSpec, PairDiscriminator, PairEncoder
from gan_augment.recipes.base import Batch, Need, Networks, Recipe, Update, check_range
from gan_augment.recipes.tools import Tools

__all__ = ["DAGAN"]


@dataclass(frozen=True, kw_only=True)
class DAGAN(Recipe):
    """Image-conditioned GAN: G(x, z) against D(x, candidate).

    `delta` is off: on development replicates of long-tailed Fashion-MNIST it made samples of rare classes nearly as
    varied as unused reals, with more wrong labels, and was ahead (`benchmarks/results/ablation.md`); of two locked
    ones it was in one (`longtail.md`), and on the digits 3 in 10 labels became wrong (`recipes.md`). `diversity` is
    off: a mode-seeking term made labels wrong too.

    Attributes:
        skips: Levels above the bottom at which the source passes through the generator.
        warp: Whether the generator bends the source and paints over it, instead of painting all anew.
        smooth: Whether both networks resample by filters, rather than by repetition and strides.
        classes: Whether the discriminator is told the class too.
        vary_source: Whether the generator's sources are augmented while it trains, so that it cannot learn the few
            images of a rare class by heart.
        delta: Weight of a reconstruction: an encoder codes how the real image differs from the source, and the
            generator makes the real image of source and code, for half of each batch; 0 for none. What a code does
            is learned where there are many images and carried over to the rare classes (after Schwartz et al. 2018,
            arXiv 1806.04734, in the form of Zhu et al. 2017, arXiv 1711.11586, equations 1 to 3).
        code: Weight of the codes' divergence from N(0, 1), beside a `delta` above 0.
    """

    name: ClassVar[str] = "dagan"
    paper: ClassVar[str] = "Antoniou et al. 2017, arXiv 1711.04340"
    need: ClassVar[Need] = Need("same-class", ("source", "real"))
    conditions: ClassVar[tuple[str, ...]] = ("source",)
    pairs: ClassVar[bool] = True

    skips: int = 1
    warp: bool = False
    smooth: bool = False
    classes: bool = False
    vary_source: bool = False
    delta: float = 0.0
    code: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("skips", self.skips, 0)
        for name in ("delta", "code"):
            check_range(name, getattr(self, name))

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator, and an encoder of differences where `delta` asks for one."""
        width = self.width_for(spec)
        networks: dict[str, nn.Module] = {
            "generator": ImageGenerator(
                spec, self.latent_dim, width, skips=self.skips, warp=self.warp, smooth=self.smooth
            ),
            "discriminator": PairDiscriminator(spec, width, classes=self.classes, smooth=self.smooth),
        }
        if self.delta:
            networks["encoder"] = PairEncoder(spec, self.latent_dim, width)
        return networks

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        discriminator, generator = self._alternating(self._discriminator, self._generator)
        if self.delta:
            generator = dataclasses.replace(generator, parameters=("generator", "encoder"))
        return discriminator, generator

    def _source(self, batch: Batch, tools: Tools) -> Tensor:
        return tools.augment(batch["source"]) if self.vary_source else batch["source"]

    def _discriminator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        source, labels = batch["source"], batch["labels"]
        with torch.no_grad():
            fake = networks["generator"](self._source(batch, tools), tools.latents(source, self.latent_dim))
        shown = tools.augment(torch.cat([source, source]))
        candidate = tools.augment(torch.cat([batch["real"], fake]))
        real_logits, fake_logits = networks["discriminator"](shown, candidate, torch.cat([labels, labels])).chunk(2)
        return {"hinge": hinge_discriminator(real_logits, fake_logits)}

    def _generator(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        source = self._source(batch, tools)
        latents = tools.latents(source, self.latent_dim)
        terms: dict[str, Tensor] = {}
        if self.delta:
            mean, spread = networks["encoder"](source[::2], batch["real"][::2])
            coded = mean + latents[::2] * (spread / 2).exp()
            latents = latents.clone()
            latents[::2] = coded
        fake = networks["generator"](source, latents)
        logits = networks["discriminator"](tools.augment(batch["source"]), tools.augment(fake), batch["labels"])
        terms["hinge"] = hinge_generator(logits)
        if self.delta:
            terms["delta"] = self.delta * (fake[::2] - batch["real"][::2]).abs().mean()
            terms["code"] = self.code * (mean.square() + spread.exp() - 1 - spread).sum(1).mean() / 2
        if self.diversity:
            others = tools.latents(source, self.latent_dim)
            other = networks["generator"](source, others)
            terms["diversity"] = self.diversity * mode_seeking(fake, other, latents, others)
        return terms

    def companion(self, networks: Networks, images: Tensor) -> Tensor:
        """Returns P h(source) `(N, pair_dim)`."""
        return cast(PairDiscriminator, networks["discriminator"]).companion(images)

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(source, z)."""
        images: Tensor = networks["generator"](conditions["source"], latents)
        return images
