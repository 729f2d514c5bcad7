"""wrap: a synthesizer of a generator that the user already has."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.fingerprint import hash_json, hash_tensors
from gan_augment.images import ImageSpec
from gan_augment.networks.modes import eval_mode
from gan_augment.seeds import normals
from gan_augment.synthesizers.checks import checked_request
from gan_augment.types import Samples, as_tensor

__all__ = ["WrappedSynthesizer", "wrap"]

_BATCH = 64
_MOST_OUTSIDE = 0.1


class WrappedSynthesizer:
    """A generator of the user's own, called batch by batch in eval mode without gradients; made by `wrap`."""

    def __init__(
        self,
        call: Callable[[Tensor, npt.NDArray[np.int64]], Any],
        module: nn.Module | None,
        *,
        num_classes: int,
        image_shape: tuple[int, ...],
        value_range: tuple[float, float],
        class_names: Sequence[str] | None,
        image_spec: ImageSpec | None,
    ) -> None:
        self._call = call
        self._module = module
        self.num_classes = num_classes
        self.image_shape = image_shape
        self.value_range = value_range
        self.class_names = class_names
        self.image_spec = image_spec

    def __repr__(self) -> str:
        return f"WrappedSynthesizer({self.num_classes} classes, {'x'.join(map(str, self.image_shape))})"

    @property
    def device(self) -> torch.device:
        """Where the module is; the CPU for a function, of which nothing is known."""
        parameter = None if self._module is None else next(self._module.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def fingerprint(self) -> dict[str, str]:
        """The chain: hashes of the module's weights and of the settings; of a function nothing is known.

        Nor is anything known of a module without weights. A change of a module's code is not seen.
        """
        state = {} if self._module is None else self._module.state_dict()
        own = type(self._module)
        settings = [
            f"{own.__module__}.{own.__qualname__}",
            repr(self._module),
            *(getattr(self._call, name, None) for name in ("latent_dim", "labels")),
            self.num_classes,
            self.image_shape,
            self.value_range,
            self.class_names,
            None if self.image_spec is None else self.image_spec.to_json(),
        ]
        return {"weights": hash_tensors(state) if state else "unknown", "settings": hash_json(settings)}

    def sample(
        self, labels: npt.ArrayLike, seeds: npt.ArrayLike, *, conditions: Mapping[str, Tensor] | None = None
    ) -> Samples:
        """Returns one sample for each label `(N,)` and seed `(N,)`: images `(N, C, *spatial)` in [-1, 1].

        Raises:
            SynthesizerError: There is no such class, conditions are given, or the generator returns another shape,
                NaN, or values beyond `value_range`.
        """
        if conditions:
            raise SynthesizerError(f"expected no conditions for a wrapped generator, found {', '.join(conditions)}")
        labels, seeds = checked_request(labels, seeds, self.num_classes, self.class_names)
        images = torch.empty(len(labels), *self.image_shape)
        asked = contextlib.nullcontext() if self._module is None else eval_mode(self._module)
        with asked, torch.no_grad():
            for start in range(0, len(labels), _BATCH):
                part = slice(start, start + _BATCH)
                drawn = self._call(as_tensor(labels[part]), seeds[part])
                images[part] = self._checked(drawn, len(labels[part]))
        return Samples(images)

    def _checked(self, drawn: Any, count: int) -> Tensor:
        drawn = torch.as_tensor(drawn) if isinstance(drawn, np.ndarray | Tensor) else drawn
        expected = (count, *self.image_shape)
        if not isinstance(drawn, Tensor) or tuple(drawn.shape) != expected:
            found = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
            raise SynthesizerError(
                f"expected the generator to return images {expected} for {count} labels, found {found}; "
                "correct image_shape= (C, H, W) or the generator"
            )
        drawn = drawn.detach().to("cpu", torch.float32)
        if not torch.isfinite(drawn).all():
            raise SynthesizerError("expected finite images from the generator, found NaN or infinity")
        low, high = self.value_range
        slack = 0.05 * (high - low)
        outside = ((drawn < low - slack) | (drawn > high + slack)).float().mean().item() if count else 0.0
        if outside > _MOST_OUTSIDE:
            raise SynthesizerError(
                f"expected values in value_range={self.value_range}, found {outside:.0%} outside, from "
                f"{drawn.min():.3g} to {drawn.max():.3g}; give the generator's own value_range="
            )
        return torch.clamp((drawn - low) / (high - low) * 2 - 1, -1, 1)


def wrap(
    generator: nn.Module | Callable[..., Any],
    *,
    num_classes: int,
    image_shape: Sequence[int],
    value_range: tuple[float, float] = (-1.0, 1.0),
    latent_dim: int | None = None,
    labels: Literal["int", "onehot", "none"] = "int",
    class_names: Sequence[str] | None = None,
    image_spec: ImageSpec | None = None,
) -> WrappedSynthesizer:
    """Makes a synthesizer of a generator.

    Args:
        generator: With `latent_dim`, called as `generator(z, y)`, `z` standard normal `(N, latent_dim)`, each row from
            its sample's own seed. Without it, a function called as `generator(labels, seeds)`, both int64 `(N,)`
            tensors. Either returns images `(N, *image_shape)`, a tensor or an array.
        num_classes: Number of classes.
        image_shape: `(C, H, W)` or `(C, D, H, W)`.
        value_range: What the generator's black and white are.
        latent_dim: Length of the latents.
        labels: How classes are passed to a module: "int" `(N,)`, "onehot" float `(N, num_classes)`, or "none"
            (called as `generator(z)`).
        class_names: Names, so that classes are matched to a dataset's by name; None to match by position.
        image_spec: How [-1, 1] maps to raw values; None to take the dataset's.

    Raises:
        ConfigError: A parameter has a value that cannot work.

    Example:
        >>> from torch import nn
        >>> class Generator(nn.Module):
        ...     def forward(self, z, y):
        ...         return z.tanh().reshape(-1, 1, 8, 8)
        >>> synth = wrap(Generator(), num_classes=3, image_shape=(1, 8, 8), latent_dim=64)
        >>> synth.sample([0, 2], seeds=[1, 2]).images.shape
        torch.Size([2, 1, 8, 8])
    """
    shape = tuple(int(side) for side in image_shape)
    if len(shape) not in (3, 4) or min(shape) < 1 or num_classes < 1:
        raise ConfigError(
            f"expected image_shape= (C, H, W) or (C, D, H, W) and num_classes= of at least 1, "
            f"found {shape}, {num_classes}"
        )
    if not (all(map(math.isfinite, value_range)) and value_range[0] < value_range[1]):
        raise ConfigError(f"expected value_range= (low, high), finite and low < high, found {value_range}")
    if labels not in ("int", "onehot", "none"):
        raise ConfigError(f"expected labels= 'int', 'onehot' or 'none', found {labels!r}")
    if latent_dim is not None and latent_dim < 1:
        raise ConfigError(
            f"expected latent_dim= of at least 1, or None for generator(labels, seeds), found {latent_dim}"
        )
    if class_names is not None and len(set(class_names)) != num_classes:
        raise ConfigError(f"expected {num_classes} different class names, found {', '.join(class_names)}")
    drawn = shape if image_spec is None else (image_spec.channels, *image_spec.grid)
    if drawn != shape:
        raise ConfigError(f"expected image_spec= of images {shape} as in image_shape=, found {drawn}")
    module = generator if isinstance(generator, nn.Module) else None
    if module is not None and latent_dim is None:
        raise ConfigError(
            "expected latent_dim= for a module, which is called with latents of that length, found none; to draw from "
            "labels and seeds instead, give a function"
        )
    if latent_dim is None:
        call: Callable[[Tensor, npt.NDArray[np.int64]], Any] = _SeedCall(generator)
    else:
        call = _LatentCall(generator, latent_dim, labels, num_classes)
    return WrappedSynthesizer(
        call,
        module,
        num_classes=num_classes,
        image_shape=shape,
        value_range=(float(value_range[0]), float(value_range[1])),
        class_names=None if class_names is None else list(class_names),
        image_spec=image_spec,
    )


class _SeedCall:
    def __init__(self, generator: Callable[..., Any]) -> None:
        self.generator = generator

    def __call__(self, labels: Tensor, seeds: npt.NDArray[np.int64]) -> Any:
        return self.generator(labels, as_tensor(seeds))


class _LatentCall:
    def __init__(self, generator: Callable[..., Any], latent_dim: int, labels: str, num_classes: int) -> None:
        self.generator, self.latent_dim, self.labels, self.num_classes = generator, latent_dim, labels, num_classes

    def __call__(self, labels: Tensor, seeds: npt.NDArray[np.int64]) -> Any:
        parameter = next(self.generator.parameters(), None) if isinstance(self.generator, nn.Module) else None
        device = "cpu" if parameter is None else parameter.device
        latents = torch.from_numpy(normals(seeds, self.latent_dim)).to(device)
        if self.labels == "none":
            return self.generator(latents)
        labels = labels.to(device)
        passed = labels if self.labels == "int" else functional.one_hot(labels, self.num_classes).float()
        return self.generator(latents, passed)
