"""wrap: a synthesizer of a generator that the user already has."""

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Size, Tensor, nn

from gan_augment.errors import ConfigError, GeneratorWarning, SynthesizerError, whole
from gan_augment.fingerprint import hash_json, hash_tensors
from gan_augment.images import ImageSpec
from gan_augment.networks.modes import eval_mode
from gan_augment.synthesizers.calls import (
    Call,
    LabelForm,
    LatentCall,
    SeedCall,
    device_of,
    latent_shape_of,
    own_random_numbers,
    read_off,
)
from gan_augment.synthesizers.checks import checked_request
from gan_augment.synthesizers.fetching.provenance import Provenance
from gan_augment.types import IntArray, Samples, as_tensor

__all__ = ["WrappedSynthesizer", "wrap"]

_BATCH = 64
_MOST_OUTSIDE = 0.1
_WIDEST, _MOST_CELLS = 1e30, 2**31
_SEED_BITS = 0x7FFFFFFF
_OTHERS = 4
"""Other classes that are looked at, before it is said that the label does not matter."""

_SAME = 1e-3
"""Share of the range by which two draws of one sample may differ."""


class WrappedSynthesizer:
    """A generator of the user's own, called batch by batch in eval mode without gradients; made by `wrap`.

    Random numbers that it draws inside (layer noise) are seeded by the first seed of each batch, and the user's own
    stay where they were.
    """

    def __init__(
        self,
        call: Call,
        module: nn.Module | None,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        value_range: tuple[float, float],
        class_names: Sequence[str] | None,
        image_spec: ImageSpec | None,
        licence: str | None = None,
        citation: str | None = None,
        looked_at: bool = False,
    ) -> None:
        self._call = call
        self._module = module
        self.num_classes = num_classes
        self.image_shape = image_shape
        self.value_range = value_range
        self.class_names = class_names
        self.image_spec = image_spec
        self.licence = licence
        self.citation = citation
        self.provenance: Provenance | None = None
        self.weights: str | None = None
        self._looked_at = looked_at

    def __repr__(self) -> str:
        return f"WrappedSynthesizer({self.num_classes} classes, {'x'.join(map(str, self.image_shape))})"

    @property
    def device(self) -> torch.device:
        """Where the module is; the CPU for a function, of which nothing is known."""
        return device_of(self._module)

    def to(self, device: torch.device | str) -> Self:
        """Moves the module to a device; returns itself. Latents are drawn on the CPU on every device.

        Raises:
            ConfigError: It is a function, or a program, which stays where it runs.
        """
        if self._module is None and torch.device(device).type != "cpu":
            raise ConfigError(f"expected a module to move to {device}, found a function or a program of its own")
        if self._module is not None:
            self._module.to(device)
        return self

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: hashes of a module's weights, or of a program's file, and of the settings; of a function unknown.

        Nor is anything known of a module without weights. Numbers and texts that parts of a module keep as attributes
        count; a change of its code is not seen.
        """
        state = {} if self._module is None else self._module.state_dict()
        own = type(self._module)
        settings = [
            f"{own.__module__}.{own.__qualname__}",
            repr(self._module),
            {} if self._module is None else _plain_attributes(self._module),
            *(getattr(self._call, name, None) for name in ("latent_shape", "labels")),
            self.num_classes,
            self.image_shape,
            self.value_range,
            self.class_names,
            None if self.image_spec is None else self.image_spec.to_json(),
        ]
        weights = self.weights or (hash_tensors(state) if state else "unknown")
        return {"weights": weights, "settings": hash_json(settings)}

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *spatial)` in [-1, 1].

        The first call also looks whether the label matters, and whether a sample depends on its own seed only.

        Raises:
            SynthesizerError: There is no such class, conditions are given, or the generator returns another shape,
                NaN, values beyond `value_range`, or the same image for every class.

        Warns:
            GeneratorWarning: A sample depends on its batch, or on random numbers that the generator draws inside.
        """
        if conditions:
            raise SynthesizerError(f"expected no conditions for a wrapped generator, found {', '.join(conditions)}")
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        images = torch.empty(len(labels), *self.image_shape)
        asked = contextlib.nullcontext() if self._module is None else eval_mode(self._module)
        with asked, torch.no_grad():
            for start in range(0, len(labels), _BATCH):
                part = slice(start, start + _BATCH)
                self._draw(labels[part], seeds[part], images[part])
            if len(labels) and not self._looked_at:
                self._look(labels[:1], seeds[:1], images[:1])
        return Samples(images)

    def _draw(self, labels: IntArray, seeds: IntArray, into: Tensor) -> None:
        with own_random_numbers(self.device, int(seeds[0]) & _SEED_BITS):
            try:
                drawn = self._call(as_tensor(labels), seeds)
            except (RuntimeError, IndexError, TypeError) as error:
                if self._looked_at or not isinstance(self._call, LatentCall):
                    raise
                raise SynthesizerError(
                    f"expected a generator that takes {self._call.told(len(labels))}, found that it fails with "
                    f"{type(error).__name__}: {str(error).strip():.300}. Correct latent_dim=, labels= ('int', 'onehot' "
                    "or 'none') or num_classes="
                ) from error
        self._put(drawn, into)

    def _put(self, drawn: Any, into: Tensor) -> None:
        """Checks what the generator returned and writes it, in [-1, 1], to where it belongs."""
        drawn = torch.as_tensor(drawn) if isinstance(drawn, np.ndarray) else drawn
        if not isinstance(drawn, Tensor) or drawn.shape != into.shape:
            found = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
            raise SynthesizerError(
                f"expected the generator to return images {tuple(into.shape)} for {len(into)} labels, found {found}; "
                "correct image_shape= (C, H, W) or the generator"
            )
        drawn = drawn.to("cpu", torch.float32)
        (low, high), (least, most) = self.value_range, map(float, torch.aminmax(drawn))
        if not (math.isfinite(least) and math.isfinite(most)):
            raise SynthesizerError("expected finite images from the generator, found NaN or infinity")
        slack = 0.05 * (high - low)
        if least < low - slack or most > high + slack:
            outside = ((drawn < low - slack) | (drawn > high + slack)).float().mean().item()
            if outside > _MOST_OUTSIDE:
                raise SynthesizerError(
                    f"expected values in value_range={self.value_range}, found {outside:.0%} outside, from "
                    f"{least:.3g} to {most:.3g}; give the generator's own value_range="
                )
        if (low, high) != (-1.0, 1.0):
            drawn = (drawn - low).mul_(2 / (high - low)).sub_(1)
        elif low <= least and most <= high:
            into.copy_(drawn)
            return
        torch.clamp(drawn, -1, 1, out=into)

    def _look(self, label: IntArray, seed: IntArray, before: Tensor) -> None:
        """Draws a sample again, twice in one batch and for other classes; see `sample`."""
        twice, seeds = torch.empty(2, *self.image_shape), seed.repeat(2)
        self._draw(label.repeat(2), seeds, twice)
        others = (int(label[0]) + np.arange(1, self.num_classes)) % self.num_classes
        other = torch.empty_like(twice)
        for wrong in others[:: max(1, -(-len(others) // _OTHERS))]:
            self._draw(np.array([wrong, wrong]), seeds, other)
            if not torch.equal(other, twice):
                break
        else:
            if len(others):
                raise SynthesizerError(
                    f"expected other images for other classes, found the same image for {len(others[:_OTHERS]) + 1} of "
                    f"{self.num_classes} labels: the generator does not look at its label. Correct labels= ('int' or "
                    "'onehot') or the function; an unconditional generator serves one class (num_classes=1), several "
                    "with ga.per_class, or with ga.labelled_by(generator, judge)"
                )
        self._looked_at = True
        if (twice - before).abs().max() > 2 * _SAME:
            inside = "random numbers that the generator draws inside" if (twice[0] - twice[1]).abs().max() > 2 * _SAME \
                else "the other samples of its batch"  # fmt: skip
            warnings.warn(
                f"a sample depends on {inside}, not on its seed and label alone: rows of a pool can still be drawn "
                "again, as pools draw in fixed batches, but a sample drawn live cannot. Pass a function that turns "
                "that off, such as lambda z, c: G(z, c, noise_mode='const')",
                GeneratorWarning,
                stacklevel=3,
            )


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    """Returns what parts of a module keep as numbers, texts and tuples of them."""
    plain = (bool, int, float, str, tuple, type(None))
    found = {}
    for where, part in module.named_modules():
        kept = {name: value for name, value in vars(part).items() if isinstance(value, plain) and name != "training"}
        found[where] = {name: value for name, value in kept.items() if not name.startswith("_")}
    return found


def wrap(
    generator: nn.Module | Callable[..., Any],
    *,
    num_classes: int | None = None,
    image_shape: Sequence[int] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    latent_dim: int | Sequence[int] | None = None,
    labels: LabelForm | None = None,
    class_names: Sequence[str] | None = None,
    image_spec: ImageSpec | None = None,
    licence: str | None = None,
    citation: str | None = None,
) -> WrappedSynthesizer:
    """Makes a synthesizer of a generator.

    What a module tells of itself need not be told again: its attributes `z_dim` or `latent_dim`, `c_dim` or
    `num_classes`, `img_resolution` and `img_channels`; `image_shape` is else that of an image drawn at once.

    Args:
        generator: With `latent_dim`, called as `generator(z, y)`, `z` standard normal `(N, latent_dim)`, each row from
            its sample's own seed. Without it, a function called as `generator(labels, seeds)`, both int64 `(N,)`
            tensors. Either returns images `(N, *image_shape)`, a tensor or an array.
        num_classes: Number of classes.
        image_shape: `(C, H, W)` or `(C, D, H, W)`.
        value_range: What the generator's black and white are.
        latent_dim: Length of the latents, or their shape, such as `(100, 1, 1)`.
        labels: How classes are passed to a module: "int" `(N,)`, "onehot" float `(N, num_classes)`, or "none"
            (called as `generator(z)`: it serves one class). None for "onehot" where the module has `c_dim`, else "int".
        class_names: Names, so that classes are matched to a dataset's by name; None to match by position.
        image_spec: How [-1, 1] maps to raw values; None to take the dataset's.
        licence: Of what it draws; pools that are drawn with it keep it.
        citation: Whom to cite.

    Raises:
        ConfigError: A parameter has a value that cannot work, or is not given and cannot be read off the module.
        SynthesizerError: `image_shape` is not known and the generator returns no images.

    Example:
        >>> from torch import nn
        >>> class Generator(nn.Module):
        ...     z_dim, c_dim, img_resolution, img_channels = 64, 3, 8, 1
        ...     def forward(self, z, c):
        ...         return (z + c.argmax(1)[:, None]).tanh().reshape(-1, 1, 8, 8)
        >>> synth = wrap(Generator())
        >>> synth.sample([0, 2], seeds=[1, 2]).images.shape
        torch.Size([2, 1, 8, 8])
    """
    module = generator if isinstance(generator, nn.Module) else None
    told = read_off(generator)
    if latent_dim is None:
        latent_dim = told.get("latent_dim")
    if num_classes is None:
        num_classes = 1 if labels == "none" else told.get("num_classes")
    if module is not None and latent_dim is None:
        raise ConfigError(
            "expected latent_dim= for a module, which is called with latents of that length, found none, and no "
            "attribute z_dim or latent_dim; to draw from labels and seeds instead, give a function"
        )
    if num_classes is None:
        raise ConfigError("expected num_classes=, found none, and no attribute c_dim or num_classes to read it off")
    form = labels or ("onehot" if hasattr(generator, "c_dim") else "int")
    _check(num_classes, value_range, form, class_names, unconditional=form == "onehot" and not num_classes)
    call: Call = SeedCall(generator)
    if latent_dim is not None:
        call = LatentCall(generator, latent_shape_of(latent_dim), form, num_classes)
    if image_shape is None:
        sides = (told["channels"], *[told["side"]] * 2) if {"channels", "side"} <= told.keys() else None
        image_shape = _drawn_shape(call, module) if sides is None else sides
    return WrappedSynthesizer(
        call,
        module,
        num_classes=max(1, num_classes),
        image_shape=_checked_shape(image_shape, image_spec),
        value_range=(float(value_range[0]), float(value_range[1])),
        class_names=None if class_names is None else list(class_names),
        image_spec=image_spec,
        licence=licence,
        citation=citation,
    )


def _check(
    num_classes: int,
    value_range: tuple[float, float],
    labels: str,
    class_names: Sequence[str] | None,
    *,
    unconditional: bool,
) -> None:
    whole("num_classes=", num_classes, 0 if unconditional else 1)
    pair = value_range if isinstance(value_range, tuple | list) else ()
    ends = [end for end in pair if isinstance(end, int | float) and abs(end) < _WIDEST]
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ConfigError(f"expected value_range= (low, high), finite and low < high, found {value_range}")
    if labels not in ("int", "onehot", "none"):
        raise ConfigError(f"expected labels= 'int', 'onehot' or 'none', found {labels!r}")
    if labels == "none" and num_classes > 1:
        raise ConfigError(
            f"expected num_classes=1 for a generator that takes no label, found {num_classes}: images of any class "
            "would be called by each. Give one generator for each class to ga.per_class, or let a judge label what "
            "it draws with ga.labelled_by(ga.wrap(generator, num_classes=1, ...), judge)"
        )
    if class_names is not None and len(set(class_names)) != max(1, num_classes):
        raise ConfigError(f"expected {max(1, num_classes)} different class names, found {', '.join(class_names)}")


def _checked_shape(image_shape: Sequence[int], image_spec: ImageSpec | None) -> tuple[int, ...]:
    shape = tuple(image_shape) if isinstance(image_shape, Sequence | Size) else ()
    whole_sides = all(isinstance(side, int | np.integer) and side > 0 for side in shape)
    if len(shape) not in (3, 4) or not whole_sides or math.prod(shape) > _MOST_CELLS:
        raise ConfigError(f"expected image_shape= (C, H, W) or (C, D, H, W), found {image_shape!r:.100}")
    drawn = shape if image_spec is None else (image_spec.channels, *image_spec.grid)
    if drawn != shape:
        raise ConfigError(f"expected image_spec= of images {shape} as in image_shape=, found {drawn}")
    return shape


def _drawn_shape(call: Call, module: nn.Module | None) -> tuple[int, ...]:
    asked = contextlib.nullcontext() if module is None else eval_mode(module)
    with asked, torch.no_grad(), own_random_numbers(device_of(module), 0):
        drawn = call(torch.zeros(2, dtype=torch.int64), np.zeros(2, np.int64))
    shape = tuple(getattr(drawn, "shape", ()))
    if len(shape) not in (4, 5) or shape[0] != 2:
        found = shape if hasattr(drawn, "shape") else type(drawn).__name__
        raise SynthesizerError(
            f"expected the generator to return images (2, C, H, W) or (2, C, D, H, W) for two labels, found {found}; "
            "correct the generator, or give a function that returns its images"
        )
    return shape[1:]
