"""Any network as an extractor: what one of its layers gives for an image."""

import difflib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from gan_augment.artifacts import check_names, new_folder, read_json, versions, write_json
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.features.state import architecture_of, read_module, state_of, write_module
from gan_augment.features.uncertainty import entropy_of
from gan_augment.fingerprint import FittedOn, hash_json, hash_tensors
from gan_augment.images import batch_rows, resize
from gan_augment.networks.modes import eval_mode
from gan_augment.types import Features

__all__ = ["KIND", "ModuleExtractor", "Normalisation", "Take"]

KIND = "gan_augment module extractor"
_VERSION = 1
_MOST_NAMES = 40

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, of images in [0, 1]."""

Take = Literal["output", "input"]

_lock = threading.RLock()
"""Modes and hooks belong to a module, which several extractors may share: one asks at a time."""


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603  (a thread that held it does not live on in a forked process)
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


class ModuleExtractor:
    """Features of a layer of any network, in two or three dimensions.

    The network is shared, not copied: it is asked in eval mode without gradients, and left in the mode it was in. One
    that is trained further gives other features, and the fingerprint tells. It is asked by one thread at a time; do not
    train it meanwhile in another.

    What a layer gives is averaged over space, `(N, D, *spatial)` to `(N, D)`, or over tokens, `(N, L, D)` to `(N, D)`;
    `(N, D)` is taken as it is. Of a layer that runs several times the last counts, and of several outputs the first.

    Args:
        module: Takes images `(N, C, *spatial)`. Its weights' device and type are used.
        layer: Its name, as in `module.named_modules()`; None for the network's own output.
        take: "output" of the layer, or its "input": the input of the last linear layer is what a classifier decides by.
        image_size: Side or spatial shape that images are resized to; None to take them as they are.
        channels: Channels that the network takes: grey images are repeated. None to take them as they are.
        normalise: Mean and standard deviation of each channel, of images in [0, 1], as torchvision's; None to give the
            network images in [-1, 1].
        classes: Class names, where the network's output is one logit for each; gives probabilities and entropy.
        fitted_on: Hashes of what it was trained on, such as `RawView(train_set).fitted_on`, so that an overlap with a
            test set is found.

    Raises:
        ConfigError: There is no such layer, or a parameter has a value that cannot work.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
        >>> extractor = ModuleExtractor(network, "1", image_size=16, channels=3)
        >>> extractor.extract(torch.zeros(5, 1, 28, 28)).features.shape
        (5, 8)
    """

    def __init__(
        self,
        module: nn.Module,
        layer: str | None = None,
        *,
        take: Take = "output",
        image_size: int | Sequence[int] | None = None,
        channels: int | None = None,
        normalise: Normalisation | None = None,
        classes: Sequence[str] | None = None,
        fitted_on: FittedOn | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ConfigError(f"expected a torch.nn.Module, found {type(module).__name__}")
        if take not in ("output", "input"):
            raise ConfigError(f"expected take= 'output' or 'input', found {take!r}")
        self.module, self.layer, self.take = module, layer, take
        self._watched = _named(module, layer)
        self.image_size = None if image_size is None else _sides(image_size)
        self.channels = None if channels is None else whole("channels", channels)
        self.normalise = None if normalise is None else _normalisation(normalise, self.channels)
        self.classes = None if classes is None else list(classes)
        if self.classes is not None and len(set(self.classes)) < max(2, len(self.classes)):
            raise ConfigError(f"expected at least two distinct class names, found {self.classes}")
        self.image_spec = None
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on

    def extract(self, images: Tensor) -> Features:
        """Returns features `(N, D)` of images `(N, C, *spatial)` in [-1, 1]; probabilities where classes are known.

        Raises:
            SynthesizerError: They have another number of channels or dimensions.
            ConfigError: The layer or the network gives nothing that can be read as features or logits.
        """
        self._check(images)
        size = batch_rows(tuple(images.shape[2:]) if self.image_size is None else self._grid(images))
        features, probs = [], []
        with _lock, eval_mode(self.module), torch.no_grad():
            for start in range(0, max(1, len(images)), size):
                part = images[start : start + size]
                seen, output = self._ask(part if len(images) else images.new_zeros(1, *images.shape[1:]))
                features.append(seen[: len(part)])
                if self.classes is not None:
                    probs.append(self._probs(output)[: len(part)])
        if self.classes is None:
            return Features(torch.cat(features).numpy())
        mean = torch.cat(probs).numpy()
        return Features(torch.cat(features).numpy(), mean, entropy_of(mean))

    def _check(self, images: Tensor) -> None:
        spatial = None if self.image_size is None or len(self.image_size) == 1 else len(self.image_size)
        dims = images.ndim - 2
        fits = dims in (2, 3) and spatial in (None, dims)
        if not fits or (self.channels is not None and images.shape[1] not in (1, self.channels)):
            wanted = "C" if self.channels is None else f"{self.channels} or 1"
            raise SynthesizerError(
                f"expected images (N, {wanted}, *spatial) of {spatial or '2 or 3'} dimensions for this network, found "
                f"{tuple(images.shape)}"
            )

    def _grid(self, images: Tensor) -> tuple[int, ...]:
        sides = self.image_size or ()
        return sides * (images.ndim - 2) if len(sides) == 1 else sides

    def _ask(self, images: Tensor) -> tuple[Tensor, Any]:
        """Returns features `(n, D)` on the CPU, and what the network gives."""
        caught: list[Tensor] = []  # pooled at once: a later layer may work in place

        def before(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            caught.append(_pooled(inputs, len(images), self.layer))

        def after(_: nn.Module, __: Any, output: Any) -> None:
            caught.append(_pooled(output, len(images), self.layer))

        hook = self._watched.register_forward_hook(after) if self.take == "output" else None
        hook = hook or self._watched.register_forward_pre_hook(before)
        try:
            output = self.module(self._prepared(images))
        finally:
            hook.remove()
        if not caught:
            raise ConfigError(f"expected the layer {self.layer!r} to run, found that the network leaves it out")
        return caught[-1], output

    def _prepared(self, images: Tensor) -> Tensor:
        like = next(self.module.parameters(), None)
        images = images.float() if self.image_size is None else resize(images.float(), self._grid(images))
        if self.channels is not None and images.shape[1] != self.channels:
            images = images.expand(-1, self.channels, *images.shape[2:])
        if self.normalise is not None:
            mean, std = (torch.tensor(part).reshape(1, -1, *[1] * (images.ndim - 2)) for part in self.normalise)
            images = ((images + 1) / 2 - mean) / std
        if like is None:
            return images
        return images.to(like.device, like.dtype if like.is_floating_point() else torch.float32)

    def _probs(self, output: Any) -> Tensor:
        names = self.classes or []
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] != len(names):
            raise ConfigError(
                f"expected the network to give logits (N, {len(names)}), one for each of {', '.join(names)}, found "
                f"{_told(output)}; leave classes= out to do without probabilities"
            )
        return output.float().softmax(1).cpu()

    def settings(self) -> dict[str, Any]:
        """Returns all but the network as JSON values."""
        return {
            "layer": self.layer,
            "take": self.take,
            "image_size": None if self.image_size is None else list(self.image_size),
            "channels": self.channels,
            "normalise": None if self.normalise is None else [list(part) for part in self.normalise],
            "classes": self.classes,
        }

    @property
    def fingerprint(self) -> str:
        """A hash of settings, weights, and the types and plain settings of all parts; code is not looked at."""
        return hash_json([self.settings(), architecture_of(self.module), hash_tensors(state_of(self.module))])

    def save(self, folder: str | Path) -> Path:
        """Writes settings and weights into a new folder; the network's code is not saved, and nothing is pickled.

        Raises:
            ConfigError: The network's state has values that are no finite tensors.
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "extractor") as work:
            write_module(work, self.module, self.fitted_on)
            about = {"module": type(self.module).__qualname__, **self.settings(), "versions": versions()}
            weights = hash_tensors(state_of(self.module))
            write_json(work / "extractor.json", {"kind": KIND, "version": _VERSION, **about, "weights": weights})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, module: nn.Module) -> Self:
        """Reads what `save` wrote into a network that the caller has built.

        Args:
            folder: The extractor's folder.
            module: Of the same architecture; its weights are replaced.

        Raises:
            ArtifactError: It is missing, damaged or of another architecture.
        """
        about = read_json(Path(folder) / "extractor.json", KIND, _VERSION)
        fitted_on = read_module(folder, module)
        try:
            extractor = cls(module, **settings_of(about), fitted_on=fitted_on)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected a whole extractor in {folder}, found {error}; it is damaged") from None
        if hash_tensors(state_of(module)) != about.get("weights"):
            raise ArtifactError(f"expected the weights that were saved in {folder}, found others; the file is damaged")
        return extractor


def settings_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings out of a description, as arguments.

    Raises:
        KeyError, TypeError, ValueError: It says something that cannot be.
    """
    names = ("layer", "take", "image_size", "channels", "normalise", "classes")
    found = {name: about[name] for name in names}
    if found["classes"] is not None:
        check_names(found["classes"], "classes")
    if found["normalise"] is not None:
        mean, std = found["normalise"]
        found["normalise"] = (mean, std)
    return found


def _named(module: nn.Module, layer: str | None) -> nn.Module:
    layers: dict[str, nn.Module] = dict(module.named_modules())
    if layer is not None and layer not in layers:
        names = [name for name in layers if name]
        alike = difflib.get_close_matches(layer, names, 5)
        shown = list(dict.fromkeys([*alike, *names]))[:_MOST_NAMES]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        raise ConfigError(f"expected layer= among {', '.join(shown)}{more}, found {layer!r}")
    return layers[layer or ""]


def _sides(image_size: int | Sequence[int]) -> tuple[int, ...]:
    sides = tuple(whole("image_size", side) for side in np.atleast_1d(np.asarray(image_size, object)))
    if len(sides) > 3:
        raise ConfigError(f"expected image_size= of 1 to 3 sides, found {sides}")
    return sides


def _normalisation(given: Normalisation, channels: int | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    try:
        mean, std = (tuple(float(value) for value in part) for part in given)
    except (TypeError, ValueError):
        raise ConfigError(f"expected normalise= (mean, std) with a number for each channel, found {given!r}") from None
    wanted = {1, len(mean)} if channels is None else {1, channels}
    if not mean or len(mean) != len(std) or len(mean) not in wanted:
        raise ConfigError(f"expected a mean and a std for each channel ({channels or 'any number'}), found {given!r}")
    if not np.isfinite([*mean, *std]).all() or min(std) <= 0:
        raise ConfigError(f"expected finite normalise= with std above 0, found {given!r}")
    return mean, std


def _pooled(value: Any, count: int, layer: str | None) -> Tensor:
    """Returns what a layer gives for `count` images as `(count, D)` float32 on the CPU."""
    if isinstance(value, tuple | list) and value:
        value = value[0]
    if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != count or not value.is_floating_point():
        raise ConfigError(
            f"expected the layer {layer!r} to give a tensor with a row for each of {count} images, found "
            f"{_told(value)}; choose another layer="
        )
    value = value.float()
    if value.ndim > 3:
        value = value.flatten(2).mean(2)
    elif value.ndim == 3:
        value = value.mean(1)
    pooled: Tensor = value.reshape(count, -1).cpu().clone()
    return pooled


def _told(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
