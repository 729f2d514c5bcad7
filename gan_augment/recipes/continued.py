"""continued: the training of a generator with released weights goes on, on a dataset's own classes.

The losses are those of StyleGAN2-ADA (Karras et al. 2020, arXiv 2006.06676), whatever the generator: released
discriminators of other losses give logits too, and adaptive augmentation is what made fine-tuning on few images work
there. The discriminator is the released one where there is one, else a new one.
"""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError
from gan_augment.images import as_channels
from gan_augment.networks import NetworkSpec, StyleDiscriminator
from gan_augment.networks.published import Published, Settings, blank, settings_of, unfilled
from gan_augment.recipes.base import Batch, Networks
from gan_augment.recipes.stylegan2_ada import StyleGAN2ADA

__all__ = ["Continued"]

_FRESH = 0.02
_CLASSES = ("c_dim", "num_classes")


@dataclass(frozen=True, kw_only=True)
class Continued(StyleGAN2ADA):
    """Class-conditional GAN of a released generator, which fit(init=) starts from; made by `of`.

    Attributes:
        architecture: Of the generator, in `gan_augment.networks.published`.
        settings: What it is built with, as JSON values; the number of classes is the dataset's.
        judge: Architecture of the discriminator; None for a new one.
        judge_settings: What it is built with.
    """

    name: ClassVar[str] = "continued"

    architecture: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    judge: str | None = None
    judge_settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, synthesizer: Any, **settings: Any) -> Self:
        """Returns the recipe that goes on with a pretrained synthesizer.

        Args:
            synthesizer: A PretrainedSynthesizer.
            settings: Others than the defaults, such as `steps`, `batch_size`, `learning_rate`.

        Raises:
            ConfigError: It is none, or a setting has a value that cannot work.
        """
        architecture, network = (getattr(synthesizer, name, None) for name in ("architecture", "network"))
        if not isinstance(architecture, str) or not isinstance(network, Published):
            raise ConfigError(
                f"expected a pretrained synthesizer that draws from latents, found {type(synthesizer).__name__}"
            )
        judge = synthesizer.discriminator
        return cls(
            architecture=architecture,
            settings=network.settings.to_json(),
            judge=None if judge is None else judge.architecture,
            judge_settings={} if judge is None else judge.settings.to_json(),
            **{"latent_dim": network.latent_dim, "learning_rate": 2e-4, **settings},
        )

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns generator and discriminator for a dataset's classes and channels, and the augmentation's state.

        Raises:
            ConfigError: No synthesizer was given to start from, or the grid is another than its images'.
        """
        if not self.architecture:
            raise ConfigError(
                "expected init=, a pretrained synthesizer to go on with, for recipe continued, found none"
            )
        generator = _fresh(self.architecture, self.settings, spec.num_classes)
        if not isinstance(generator, Published) or generator.image_shape[1:] != spec.grid:
            shape = getattr(generator, "image_shape", ("?",))
            raise ConfigError(
                f"expected images of {'x'.join(map(str, shape[1:]))}, as {self.architecture} draws them, found "
                f"{'x'.join(map(str, spec.grid))}; give image_size={shape[-1]}"
            )
        plain = super().networks(spec)
        grows = _can_grow(self.architecture, settings_of(self.architecture, self.settings))
        own = ContinuedGenerator(generator, spec, grows=grows)
        if self.judge is None:
            return {**plain, "generator": own, "discriminator": StyleDiscriminator(spec, self.width_for(spec))}
        seeing = _fresh(self.judge, self.judge_settings, spec.num_classes)
        return {
            **plain,
            "generator": own,
            "discriminator": ContinuedDiscriminator(seeing, spec, generator.image_shape[0]),
        }

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z, y), clamped."""
        images: Tensor = networks["generator"](latents, labels)
        return images.clamp(-1, 1)


class _Standing(nn.Module):
    """Keeps batch normalisations at the statistics that were released, in training too."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


class ContinuedGenerator(_Standing):
    """A released generator for a dataset's classes and channels.

    One whose classes cannot be rearranged, or that knows none, gets an offset of its latents for each class of the
    dataset, and draws it as the class of its own that `as_class` tells. Of a generator of colour images the grey ones
    are taken for a grey dataset.
    """

    as_class: Tensor

    def __init__(self, inner: Published, spec: NetworkSpec, *, grows: bool) -> None:
        super().__init__()
        self.inner, self.channels = inner, spec.channels
        self.offset: nn.Embedding | None = None
        if not grows:
            self.offset = nn.Embedding(spec.num_classes, inner.latent_dim)
            nn.init.normal_(self.offset.weight, std=_FRESH)
            self.register_buffer("as_class", torch.arange(spec.num_classes) % max(1, inner.num_classes))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns `(N, C, *grid)` for latents `(N, latent_dim)` and labels `(N,)`."""
        if self.offset is not None:
            latents, labels = latents + self.offset(labels), self.as_class[labels]
        return as_channels(self.inner(latents, labels), self.channels)


class ContinuedDiscriminator(_Standing):
    """A released discriminator for a dataset's classes and channels.

    One that knows no classes gets a projection of its features: + <features, embed(y)> (Miyato and Koyama 2018).
    """

    def __init__(self, inner: nn.Module, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.inner, self.channels = inner, channels
        self.embed: nn.Embedding | None = None
        if not _classes_of(inner.settings):
            width = _feature_width(inner, channels, spec)
            self.embed = nn.Embedding(spec.num_classes, width)
            nn.init.zeros_(self.embed.weight)

    @property
    def trunk(self) -> nn.Sequential:
        """The blocks that images pass first, in that order: those of a resolution each."""
        return nn.Sequential(*_blocks(self.inner))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the features `(N, D)` besides the logits."""
        inner: Any = self.inner
        features, logits = inner.features_and_logits(as_channels(images, self.channels), labels)
        if self.embed is not None:
            logits = logits + (features * self.embed(labels)).sum(1) / features.shape[1] ** 0.5
        return features, logits


def _blocks(network: nn.Module) -> list[nn.Module]:
    """Returns the parts of a discriminator that images pass in turn: the longest list of children, or its children."""
    lists = [list(module) for module in network.modules() if isinstance(module, nn.ModuleList)]
    if lists:
        return max(lists, key=len)
    return [child for name, child in network.named_children() if name.startswith("b")]


def _feature_width(inner: Any, channels: int, spec: NetworkSpec) -> int:
    """Returns the length of a discriminator's features, seen on the meta device."""
    with torch.no_grad():
        seen = (
            copy.deepcopy(inner)
            .to("meta")
            .features_and_logits(
                torch.empty(2, channels, *spec.grid, device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
            )[0]
        )
    return int(seen.shape[1])


def _fresh(architecture: str, settings: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Returns a network for so many classes, with random weights: those of new classes are taken from them."""
    built = settings_of(architecture, settings)
    if _can_grow(architecture, built):
        built = _with_classes(built, num_classes)
    network = unfilled(architecture, built)
    with torch.no_grad():
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=_FRESH)
    return network


def _can_grow(architecture: str, settings: Settings) -> bool:
    """Tells whether a class is an entry along one axis of some tensors, so that there can be another number of them."""
    known = _classes_of(settings)
    if not known:
        return False
    one, other = (blank(architecture, _with_classes(settings, count)).state_dict() for count in (known, known + 1))
    for name, tensor in one.items():
        sizes = [(a, b) for a, b in zip(tensor.shape, other[name].shape, strict=True) if a != b]
        if sizes and sizes != [(known, known + 1)]:
            return False
    return True


def _classes_of(settings: Any) -> int:
    return max(int(getattr(settings, name, 0)) for name in _CLASSES)


def _with_classes(settings: Settings, num_classes: int) -> Settings:
    """Returns settings for another number of classes; those of a network that knows none stay."""
    for name in _CLASSES:
        if getattr(settings, name, 0):
            return dataclasses.replace(settings, **cast(Any, {name: num_classes}))
    return settings
