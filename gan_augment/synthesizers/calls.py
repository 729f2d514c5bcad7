"""How a user's generator is called, and what can be read off it."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.seeds import normals
from gan_augment.types import as_tensor

__all__ = [
    "Call",
    "LabelForm",
    "LatentCall",
    "SeedCall",
    "device_of",
    "latent_shape_of",
    "own_random_numbers",
    "read_off",
]

LabelForm = Literal["int", "onehot", "none"]
Call = Callable[[Tensor, npt.NDArray[np.int64]], Any]

_ATTRIBUTES = {
    "latent_dim": ("z_dim", "latent_dim"),
    "num_classes": ("c_dim", "num_classes"),
    "side": ("img_resolution",),
    "channels": ("img_channels",),
}


def read_off(generator: Any) -> dict[str, int]:
    """Returns what a generator tells of itself: `latent_dim`, `num_classes`, `side` and `channels` of its images.

    Looked for are `z_dim` and `latent_dim`, `c_dim` and `num_classes`, `img_resolution`, `img_channels`.
    """
    found = {}
    for name, attributes in _ATTRIBUTES.items():
        values = [getattr(generator, attribute, None) for attribute in attributes]
        known = [value for value in values if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
        if known:
            found[name] = known[0]
    return found


@contextlib.contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Gives torch random numbers of a seed's own, and leaves the user's where they were.

    What a generator draws inside (layer noise) then depends on the seed, and the training around does not see it.
    """
    devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
    if not devices and torch.cuda.is_initialized():  # of a function, which says nothing, it may be the place
        devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    with torch.random.fork_rng(devices=devices, device_type=kind):
        # Without accelerators this is the same, and torch.manual_seed would take 80 µs.
        (torch.manual_seed if devices else torch.default_generator.manual_seed)(seed)
        yield


class SeedCall:
    """Calls `generator(labels, seeds)`.

    Args:
        generator: A function.
    """

    def __init__(self, generator: Callable[..., Any]) -> None:
        self.generator = generator

    def __call__(self, labels: Tensor, seeds: npt.NDArray[np.int64]) -> Any:
        """Returns what the generator returns for labels `(N,)` and seeds `(N,)`."""
        return self.generator(labels, as_tensor(seeds))


class LatentCall:
    """Calls `generator(latents, labels)`.

    Args:
        generator: A module or a function.
        latent_shape: Of one sample's latents.
        labels: How labels are passed on.
        num_classes: Columns of a one-hot label; 0 for a generator that takes labels without columns.
    """

    def __init__(
        self, generator: Callable[..., Any], latent_shape: Sequence[int], labels: LabelForm, num_classes: int
    ) -> None:
        self.generator, self.latent_shape = generator, tuple(latent_shape)
        self.labels, self.num_classes = labels, num_classes

    def told(self, rows: int) -> str:
        """Returns what the generator is called with, in words."""
        shape = (rows, *self.latent_shape)
        label = {
            "none": "",
            "int": f" and class numbers ({rows},) below {self.num_classes}",
            "onehot": f" and one-hot classes ({rows}, {self.num_classes})",
        }
        return f"latents {shape}{label[self.labels]}"

    def __call__(self, labels: Tensor, seeds: npt.NDArray[np.int64]) -> Any:
        """Returns what the generator returns for labels `(N,)` and latents of seeds `(N,)`."""
        device = device_of(self.generator)
        latents = torch.from_numpy(normals(seeds, math.prod(self.latent_shape))).to(device)
        latents = latents.reshape(-1, *self.latent_shape)
        if self.labels == "none":
            return self.generator(latents)
        labels = labels.to(device)
        if self.labels == "int":
            return self.generator(latents, labels)
        columns = latents.new_zeros(len(labels), 0) if not self.num_classes else None
        passed = functional.one_hot(labels, self.num_classes).float() if columns is None else columns
        return self.generator(latents, passed)


def device_of(generator: Any) -> torch.device:
    """Returns where a module is; the CPU for a function, of which nothing is known."""
    parameter = next(generator.parameters(), None) if isinstance(generator, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def latent_shape_of(latent_dim: Any) -> tuple[int, ...]:
    """Returns the shape of one sample's latents, of `latent_dim=` as a user gives it.

    Raises:
        ConfigError: It is no positive number, nor several.
    """
    shape = tuple(latent_dim) if isinstance(latent_dim, Sequence) and not isinstance(latent_dim, str) else (latent_dim,)
    if not shape or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in shape):
        raise ConfigError(
            "expected latent_dim= of at least 1, or a shape such as (100, 1, 1), or None for generator(labels, seeds), "
            f"found {latent_dim!r}"
        )
    return shape
