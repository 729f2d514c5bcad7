"""adapt: a synthesizer's classes and images as those of a dataset."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.fingerprint import hash_json
from gan_augment.images import ImageSpec, as_channels, resize, resize_masks
from gan_augment.seeds import uniforms
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.combined import Combined
from gan_augment.types import IntArray, NeedsParents, Samples, Synthesizer

__all__ = ["AdaptedSynthesizer", "ClassMap", "adapt"]

ClassMap = Mapping[str, int | str | Sequence[int | str]]
_STREAM = 5


class AdaptedSynthesizer(Combined):
    """A synthesizer whose classes are called as a dataset's, and whose images have a dataset's size and channels.

    Args:
        synthesizer: Who draws.
        classes: Names of the classes.
        sources: For each of them the classes of `synthesizer` that it is drawn from, each alike often.
        image_spec: How [-1, 1] maps to the dataset's raw images; None to leave images as they are drawn.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        classes: Sequence[str] | None,
        sources: Sequence[Sequence[int]],
        image_spec: ImageSpec | None,
    ) -> None:
        super().__init__([synthesizer])
        self.class_names = None if classes is None else list(classes)
        self.num_classes = len(sources)
        self.image_spec = synthesizer.image_spec if image_spec is None else image_spec
        self._fits = image_spec is not None
        self._sources = [np.asarray(source, np.int64) for source in sources]

    def __repr__(self) -> str:
        return f"AdaptedSynthesizer({self.num_classes} classes, of {self.synthesizer!r})"

    @property
    def synthesizer(self) -> Any:
        """Who draws."""
        return self.parts[0]

    @property
    def names(self) -> list[str]:
        """Class names; numbers where there are none."""
        return self.class_names or [str(label) for label in range(self.num_classes)]

    def tuned(self, **knobs: Any) -> Self:
        """Returns this with a pretrained synthesizer's knobs turned; `truncation` by the names of the classes here.

        Raises:
            ConfigError: The synthesizer has no such knobs.
        """
        inner = self.synthesizer
        if not hasattr(inner, "tuned"):
            raise ConfigError(f"expected a synthesizer with knobs, found {inner!r}")
        if isinstance(named := knobs.get("truncation"), Mapping):
            index = {name: k for k, name in enumerate(self.names)}
            if unknown := [repr(name) for name in named if name not in index]:
                raise ConfigError(
                    f"expected truncation= of classes by name, {', '.join(map(repr, index))}, found "
                    f"{', '.join(unknown)}"
                )
            own = inner.names
            knobs["truncation"] = {own[k]: value for name, value in named.items() for k in self._sources[index[name]]}
        other = copy.copy(self)
        other.parts = [inner.tuned(**knobs)]
        return other

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain of the synthesizer, and what was made of it."""
        spec = self.image_spec if self._fits else None
        told = [self.class_names, [source.tolist() for source in self._sources], spec and spec.to_json()]
        return {**self.chains[0], "adapted": hash_json(told)}

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *grid)` in [-1, 1].

        Raises:
            SynthesizerError: There is no such class, or the synthesizer cannot draw it.
        """
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        drawn: Samples = self.synthesizer.sample(self._picked(labels, seeds), seeds, conditions=conditions)
        spec = self.image_spec
        if spec is None or not self._fits:
            return drawn
        images = resize(as_channels(drawn.images, spec.channels), spec.grid).clamp(-1, 1)
        masks = None if drawn.masks is None else resize_masks(drawn.masks, spec.grid)
        return Samples(images, masks=masks, parents=drawn.parents)

    def _picked(self, labels: IntArray, seeds: IntArray) -> IntArray:
        counts = np.array([len(source) for source in self._sources])
        at = np.zeros(len(labels), np.int64)
        if (counts > 1).any() and len(labels):
            share = uniforms(seeds, 1, _STREAM)[:, 0]
            at = np.minimum((share * counts[labels]).astype(np.int64), counts[labels] - 1)
        return np.array([self._sources[label][k] for label, k in zip(labels, at, strict=True)], np.int64)


def adapt(synthesizer: Any, *, class_map: ClassMap | None = None, like: Any = None) -> AdaptedSynthesizer:
    """Makes a synthesizer's classes those of a dataset, and its images of the dataset's size and channels.

    Values stay what they are in [-1, 1]: -1 is the dataset's darkest value and 1 its brightest. Images are resized with
    antialiasing; colour becomes grey by ITU-R 601's weights, as PIL does it.

    Args:
        synthesizer: Who draws.
        class_map: For each class, by the dataset's name, the synthesizer's: a number, a name, or several of them that
            are drawn alike often: `{"melanoma": 3, "dog": [151, 152]}`. None to keep its classes.
        like: The training split, or a RawView of it; None to leave images as they are drawn.

    Raises:
        ConfigError: There is no such class, or two share one.
        SynthesizerError: It draws images of other dimensions than the dataset's.
        DataError: The dataset cannot be read.

    Example:
        >>> from gan_augment.synthesizers import wrap
        >>> gan = wrap(lambda y, seeds: y[:, None, None, None].expand(-1, 1, 8, 8) / 4.0, num_classes=3)
        >>> adapt(gan, class_map={"melanoma": 2}).sample([0], seeds=[1]).images.mean()
        tensor(0.5000)
    """
    if not isinstance(synthesizer, Synthesizer):
        raise ConfigError(f"expected a synthesizer, found {type(synthesizer).__name__}")
    view = None if like is None else RawView.of(like)
    if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
        if synthesizer.image_spec is not None:
            raise ConfigError(
                f"expected a synthesizer that can be adapted, found {synthesizer!r}, which makes images of real ones "
                "of one size and form; use it with such images"
            )
        if view is not None:
            synthesizer.bind(view)
    names = None if synthesizer.class_names is None else list(synthesizer.class_names)
    sources: list[list[int]] = [[label] for label in range(synthesizer.num_classes)]
    if class_map is not None:
        if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
            raise ConfigError(
                "expected no class_map= for a synthesizer that makes images of real ones, found one; its classes are "
                "those of the images that it is bound to: give class_names= where it is loaded"
            )
        sources = _mapped(class_map, synthesizer, None if view is None else view.classes)
        names = list(class_map)
    return AdaptedSynthesizer(synthesizer, names, sources, None if view is None else _spec(synthesizer, view))


def _mapped(class_map: ClassMap, synthesizer: Synthesizer, wanted: Sequence[str] | None) -> list[list[int]]:
    if not isinstance(class_map, Mapping) or not class_map:
        raise ConfigError(
            "expected class_map= such as {'melanoma': 3, 'nevus': 0}, the dataset's classes by name, found "
            f"{class_map!r}"
        )
    if wanted is not None and (unknown := [str(name) for name in class_map if name not in wanted]):
        raise ConfigError(
            f"expected class_map= from the dataset's classes {', '.join(wanted)}, found {', '.join(unknown)}"
        )
    sources = []
    for value in class_map.values():
        several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        sources.append([_position(one, synthesizer) for one in several])
        if not several:
            raise ConfigError("expected at least one class of the synthesizer for each class, found none")
    used = [one for source in sources for one in source]
    if twice := sorted({one for one in used if used.count(one) > 1}):
        raise ConfigError(
            f"expected each class of the synthesizer once in class_map=, found {', '.join(map(str, twice))} more than "
            "once; images of one class would get different labels"
        )
    return sources


def _position(value: Any, synthesizer: Synthesizer) -> int:
    names = synthesizer.class_names
    if isinstance(value, str) and names is not None and value in names:
        return list(names).index(value)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 0 <= value < synthesizer.num_classes:
        known = f"0 to {synthesizer.num_classes - 1}" + ("" if names is None else f" or {', '.join(names):.300}")
        raise ConfigError(f"expected class_map= to the synthesizer's classes, {known}, found {value!r}")
    return int(value)


def _spec(synthesizer: Synthesizer, view: RawView) -> ImageSpec:
    form, (low, high) = view.full_form, view.value_range
    shape = getattr(synthesizer, "image_shape", None)
    if shape is None and synthesizer.image_spec is not None:
        shape = (synthesizer.image_spec.channels, *synthesizer.image_spec.grid)
    shape = tuple(synthesizer.sample([0], [0]).images.shape[1:]) if shape is None else tuple(shape)
    if len(shape) != form.ndim:
        raise SynthesizerError(
            f"expected samples of {form.ndim - 1} spatial dimensions as in the dataset, found images of {shape}"
        )
    as_channels(torch.empty(1, *shape[:1]), form.channels)  # raises where there is no conversion
    return ImageSpec(form=form, grid=form.shape or shape[1:], low=low, high=high, fit="resize")
