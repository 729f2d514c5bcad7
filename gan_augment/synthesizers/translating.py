"""Synthesizers of released weights that make an image of a real one: pix2pix, CycleGAN."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.images import ImageSpec, as_channels, resize
from gan_augment.networks.published import Translator
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.fetching.provenance import Provenance
from gan_augment.synthesizers.parents import Parents, check_conditions
from gan_augment.synthesizers.pretrained import Pretrained, rows_at_once
from gan_augment.types import Samples

__all__ = ["TranslatingSynthesizer"]

_LEAST, _MOST = 16, 2048
_BEYOND = 0.05


class TranslatingSynthesizer(Pretrained):
    """Makes images of real ones: of the images given as `conditions={"source": ...}`, or of those of a bound dataset.

    Args:
        network: A published translator.
        architecture: See `Pretrained`.
        class_names: What its images show, such as `["lesion"]`; the class of the images made of a parent.
        provenance: See `Pretrained`.
        parents: For each class of `class_names` the class, by the dataset's name, that its parents are of: for a
            CycleGAN from healthy to lesion `{"lesion": "healthy"}`. None for parents of the same class.
        image_size: Side, or shape, at which images are made; None for the dataset's size, rounded up to what the
            network can halve.

    Raises:
        ConfigError: A parameter has a value that cannot work.
    """

    network: Translator

    def __init__(
        self,
        network: Translator,
        architecture: str,
        *,
        class_names: Sequence[str] | None,
        provenance: Provenance,
        parents: Mapping[str, str] | None = None,
        image_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(network, architecture, class_names=class_names, provenance=provenance)
        self.num_classes = 1 if class_names is None else len(class_names)
        if class_names is not None and (not class_names or len(set(class_names)) != len(class_names)):
            raise ConfigError(f"expected different class_names=, found {', '.join(class_names) or 'none'}")
        if parents is not None and (unknown := [name for name in parents if name not in self.names]):
            raise ConfigError(f"expected parents= of {', '.join(self.names)}, found {', '.join(unknown)}")
        self.parents = dict(parents or {})
        self.image_size = None if image_size is None else self._sides(image_size)
        self._bound: Parents | None = None
        self._spec: ImageSpec | None = None

    def __repr__(self) -> str:
        shape = "" if self.image_size is None else ", " + "x".join(map(str, self.image_size))
        return f"TranslatingSynthesizer({self.architecture}, {', '.join(self.names)}{shape})"

    def _sides(self, image_size: int | Sequence[int]) -> tuple[int, ...]:
        sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        stride = self.network.stride
        if len(sides) != 2 or any(
            not isinstance(side, int) or side % stride or not _LEAST <= side <= _MOST for side in sides
        ):
            raise ConfigError(
                f"expected image_size= of multiples of {stride} from {_LEAST} to {_MOST}, as this network takes them, "
                f"found {image_size!r}"
            )
        return sides

    @property
    def needs_parents(self) -> bool:
        """Whether samples are made from real images: always."""
        return True

    @property
    def other_parents(self) -> bool:
        """Whether parents are of other classes than what is made of them."""
        return any(name != parent for name, parent in self.parents.items())

    def bind(self, dataset: Any) -> Self:
        """Gives the real images that parents are drawn from when `sample` gets no conditions; returns itself.

        Args:
            dataset: A dataset of 2-D images, or a RawView.

        Raises:
            SynthesizerError: Its images are not two-dimensional, or have no size in common and there is no
                `image_size`.
        """
        view = RawView.of(dataset)
        form, (low, high) = view.full_form, view.value_range
        if form.ndim != 3 or (form.shape is None and self.image_size is None):
            raise SynthesizerError(
                "expected parents that are 2-D images of one size, found volumes or images of mixed sizes; give "
                "image_size= where this synthesizer is loaded"
            )
        stride = self.network.stride
        grid = self.image_size or tuple(max(_LEAST, -(-side // stride) * stride) for side in form.shape or ())
        self._spec = ImageSpec(form=form, grid=grid, low=low, high=high, fit="resize")
        self._bound = Parents(view, [self.parents.get(name, name) for name in self.names])
        return self

    @property
    def is_bound(self) -> bool:
        """Whether `bind` gave it real images to draw parents from."""
        return self._bound is not None

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`.

        Args:
            labels: `(N,)` class indices; what is made of an image does not depend on them.
            seeds: `(N,)`; of a bound dataset the parent of a sample is picked by its seed.
            conditions: `{"source": (N, C, H, W)}` in [-1, 1], grey or RGB; resized to `image_size`, or to sides that
                the network can halve.

        Returns:
            Images `(N, channels, H, W)` in [-1, 1] on the CPU, and the parents' indices in the bound dataset.

        Raises:
            SynthesizerError: There is no such class, or no image to draw from.
        """
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        given = dict(conditions or {})
        channels = given["source"].shape[1] if given.get("source", torch.empty(0)).ndim == 4 else None
        check_conditions(given, {"source": (len(labels), channels, None, None)}, self.architecture)
        if given:
            source = given["source"]
            if not source.is_floating_point() or (len(source) and float(source.abs().max()) > 1 + _BEYOND):
                raise SynthesizerError(
                    f"expected source images as floats in [-1, 1], found {source.dtype} up to "
                    f"{float(source.abs().max()):.3g}; bring them there, or bind(dataset), which does"
                )
            return Samples(self._made(source))
        if self._bound is None or self._spec is None:
            raise SynthesizerError(
                "expected real images to make samples from, found none: call bind(dataset) first, or give "
                "conditions={'source': images}"
            )
        parents = self._bound.draw(labels, seeds)
        size = rows_at_once((self.network.channels, *self._spec.grid))
        made = [torch.empty(0, self.network.channels, *self._spec.grid)]
        for start in range(0, len(parents), size):
            made.append(self._made(self._bound.images(parents[start : start + size], self._spec)))
        return Samples(torch.cat(made), parents=parents)

    def _made(self, source: Tensor) -> Tensor:
        sides, stride = tuple(source.shape[2:]), self.network.stride
        grid = self.image_size or tuple(max(_LEAST, -(-side // stride) * stride) for side in sides)
        images = torch.empty(len(source), self.network.channels, *grid)
        size = rows_at_once(images.shape[1:])
        with torch.no_grad():
            for start in range(0, len(source), size):
                part = as_channels(source[start : start + size].float(), self.network.source_channels)
                part = resize(part, grid).clamp(-1, 1).to(self.device)
                images[start : start + size] = self.network(part).clamp(-1, 1).cpu()
        return images

    def _told(self) -> list[Any]:
        return [self.parents, self.image_size]
