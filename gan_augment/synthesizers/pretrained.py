"""Synthesizers of released weights: their networks are this project's own, drawn with the knobs that users expect."""

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.fingerprint import FittedOn, hash_json, hash_tensors
from gan_augment.images import ImageSpec
from gan_augment.networks.published import Published, Settings, Styled
from gan_augment.seeds import derive, normals, row_seeds
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.fetching.provenance import Provenance
from gan_augment.synthesizers.knobs import Knobs, Latents, Shares
from gan_augment.synthesizers.readers.found import Part
from gan_augment.types import IntArray, Samples, as_tensor

__all__ = ["Pretrained", "PretrainedSynthesizer"]

_MOST_ROWS, _MOST_CELLS = 32, 2**19
_MEAN_OF, _MEAN_ROWS = 4096, 512


def rows_at_once(shape: Sequence[int]) -> int:
    """Returns how many images of a shape are drawn together: a pure function of it, 32 up to 128x128."""
    return max(1, min(_MOST_ROWS, _MOST_CELLS // math.prod(shape[1:])))


class Pretrained:
    """What synthesizers of released weights have in common: a network, and what is known of its weights.

    Args:
        network: Moved to eval mode.
        architecture: Its name in `gan_augment.networks.published`.
        class_names: Names of its classes; None where they are not known.
        provenance: Where the weights come from, and their licence.
        discriminator: The discriminator that came along, for fine-tuning with `fit(init=)`; None where none did.
    """

    image_spec: ImageSpec | None = None
    num_classes: int

    def __init__(
        self,
        network: nn.Module,
        architecture: str,
        *,
        class_names: Sequence[str] | None,
        provenance: Provenance,
        discriminator: Part | None = None,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.architecture = architecture
        self.class_names: Sequence[str] | None = None if class_names is None else list(class_names)
        self.provenance = provenance
        self.discriminator = discriminator
        self.fitted_on = FittedOn(complete=False)

    @property
    def settings(self) -> Settings:
        """What the network was built with."""
        return cast(Settings, self.network.settings)

    @property
    def licence(self) -> str | None:
        """Licence of the weights; pools that are drawn keep it."""
        return self.provenance.licence

    @property
    def citation(self) -> str | None:
        """Whom to cite."""
        return self.provenance.citation

    @property
    def names(self) -> list[str]:
        """Class names; numbers where the weights bring none."""
        return list(self.class_names) if self.class_names is not None else [str(k) for k in range(self.num_classes)]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Moves the network to a device; returns itself. Random numbers are drawn on the CPU on every device."""
        self.network.to(device)
        return self

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: weights, and all settings that samples depend on."""
        told = [self.architecture, self.settings.to_json(), self.names, *self._told()]
        return {"weights": hash_tensors(self.network.state_dict()), "settings": hash_json(told)}

    def _told(self) -> list[Any]:
        """Returns what else samples depend on, as JSON values."""
        return []


class PretrainedSynthesizer(Pretrained):
    """Draws from a published generator with released weights.

    An unconditional one has a single class.

    Args:
        network: A published generator.
        architecture: See `Pretrained`.
        class_names: See `Pretrained`.
        provenance: See `Pretrained`.
        discriminator: See `Pretrained`.
        knobs: How it draws.

    Raises:
        ConfigError: There are other than `num_classes` different names, or a knob that it does not have.
    """

    network: Published

    def __init__(
        self,
        network: Published,
        architecture: str,
        *,
        class_names: Sequence[str] | None,
        provenance: Provenance,
        discriminator: Part | None = None,
        knobs: Knobs | None = None,
    ) -> None:
        super().__init__(
            network, architecture, class_names=class_names, provenance=provenance, discriminator=discriminator
        )
        self.num_classes = max(1, network.num_classes)
        if class_names is not None and (
            len(class_names) != self.num_classes or len(set(class_names)) != len(class_names)
        ):
            raise ConfigError(
                f"expected {self.num_classes} different class_names=, as the generator has classes, found "
                f"{len(class_names)}: {', '.join(class_names):.200}; to take some of them, give class_map="
            )
        self.knobs = (knobs or Knobs()).check(self.names, network)
        self._means: dict[int, Tensor] = {}

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.network.image_shape))
        classes = f"{self.num_classes} classes" if self.network.num_classes else "unconditional"
        return f"PretrainedSynthesizer({self.architecture}, {classes}, {shape})"

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, *spatial)` of the images."""
        return self.network.image_shape

    def tuned(self, **knobs: Any) -> Self:
        """Returns a synthesizer of the same network with other knobs: `gan.tuned(truncation={"rare": 0.8})`.

        Args:
            knobs: `truncation`, `layers`, `mixing`, `interpolation`, `noise`; see `Knobs`.

        Raises:
            ConfigError: It has no such knob, or a value that cannot work.
        """
        known = [field.name for field in dataclasses.fields(Knobs)]
        if unknown := [name for name in knobs if name not in known]:
            raise ConfigError(f"expected knobs {', '.join(known)}, found {', '.join(unknown)}")
        other = copy.copy(self)
        turned = dataclasses.replace(self.knobs, **knobs)
        other.knobs = turned.check(self.names, self.network)
        return other

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *spatial)` in [-1, 1] on the CPU.

        Raises:
            SynthesizerError: There is no such class, or conditions are given.
        """
        if conditions:
            raise SynthesizerError(f"expected no conditions for {self.architecture}, found {', '.join(conditions)}")
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        images = torch.empty(len(labels), *self.image_shape)
        size = rows_at_once(self.image_shape)
        with torch.no_grad():
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                torch.clamp(self._draw(labels[part], seeds[part]).cpu(), -1, 1, out=images[part])
        return Samples(images)

    def _draw(self, labels: IntArray, seeds: IntArray) -> Tensor:
        network, knobs = self.network, self.knobs
        latents = Latents(seeds, network.latent_dim, network.latent_prior, self.device)
        classes = as_tensor(labels, self.device)
        truncation = None if knobs.truncation is None else knobs.truncations(labels, self.names)
        if isinstance(network, Styled):
            styles = self._styles(network, latents, classes, truncation)
            return network.images(styles, latents.noise if knobs.noise == "random" else knobs.noise)
        drawn = latents.between(knobs.interpolation, truncation)
        if truncation is None:
            return network.with_noise(drawn, classes, latents.noise if knobs.noise == "random" else knobs.noise)
        images = drawn.new_empty(len(drawn), *self.image_shape)
        for value in np.unique(truncation):
            rows = torch.from_numpy(np.isnan(truncation) if np.isnan(value) else truncation == value)
            own = drawn[rows], classes[rows]
            images[rows] = network(*own) if np.isnan(value) else network.truncated(*own, float(value))
        return images

    def _styles(self, network: Styled, latents: Latents, classes: Tensor, truncation: Shares | None) -> Tensor:
        """Returns the style of each layer, `(N, style_layers, W)`."""
        knobs, layers = self.knobs, network.style_layers
        style = network.styles(latents.drawn(), classes)
        other = network.styles(latents.drawn(other=True), classes) if knobs.interpolation or knobs.mixing else style
        styles = style.lerp(other, knobs.interpolation)[:, None].expand(-1, layers, -1)
        if knobs.mixing:
            later = torch.arange(layers, device=style.device) >= latents.crossovers(layers, knobs.mixing)[:, None]
            styles = torch.where(later[..., None], other[:, None], styles)
        if truncation is None:
            return styles
        mean = torch.stack([self._mean(int(label)) for label in classes])[:, None]
        kept = torch.from_numpy(np.nan_to_num(truncation, nan=1.0)).to(style)[:, None, None].expand(-1, layers, 1)
        beyond = torch.arange(layers, device=style.device) >= (layers if knobs.layers is None else knobs.layers)
        return torch.lerp(mean, styles, torch.where(beyond[:, None], 1.0, kept))

    def _mean(self, label: int) -> Tensor:
        """Returns the mean style `(W,)` of a class, over 4096 latents."""
        if label not in self._means:
            assert isinstance(self.network, Styled)
            seeds = row_seeds(derive(0, "mean style"), label, _MEAN_OF)
            total = torch.zeros((), dtype=torch.float64, device=self.device)
            for start in range(0, _MEAN_OF, _MEAN_ROWS):
                drawn = torch.from_numpy(normals(seeds[start : start + _MEAN_ROWS], self.network.latent_dim))
                classes = torch.full((len(drawn),), label, device=self.device)
                total = total + self.network.styles(drawn.to(self.device), classes).double().sum(0)
            self._means[label] = (total / _MEAN_OF).float()
        return self._means[label].to(self.device)

    def _told(self) -> list[Any]:
        return [self.knobs.to_json()]
