"""Backbones of torchvision as extractors, with pretrained weights or random ones."""

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from gan_augment.artifacts import load_state, new_folder, read_json, read_tensors, versions, write_json
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.features.module import ModuleExtractor, Take, settings_of
from gan_augment.features.state import read_module, write_module
from gan_augment.fingerprint import FittedOn, hash_json
from gan_augment.machine import pick_device
from gan_augment.seeds import derive
from gan_augment.types import Features

__all__ = ["KIND", "TorchvisionExtractor"]

KIND = "gan_augment torchvision extractor"
_VERSION = 1
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
_REFUSED = ("mnasnet",)
"""Their weights carry a version that safetensors do not hold."""


class TorchvisionExtractor:
    """Features of a classification network of `torchvision.models`.

    Images are resized as a whole to the size the weights were trained at (no crop: the border may matter), grey ones
    repeated to three channels, and normalised as the weights want it. Of a volume `(N, C, D, H, W)` the network sees
    the middle slice across each of the three axes, and the three feature vectors are joined: `(N, 3 * D)`.

    Pretrained weights are a download of torchvision's own, checked against the hash in its name and read without
    running code (`weights_only`). Where there is no network, put the file where the error says, or give
    `weights_path=`. With `weights=None` the weights are random: such features tell images apart by colour and
    texture, and know nothing.

    Args:
        model: A name of `torchvision.models.list_models(module=torchvision.models)`.
        weights: "DEFAULT", the name of one of the model's weights such as "IMAGENET1K_V1", a member of its enum, or
            None for random weights from `seed`.
        layer: As of `ModuleExtractor`; None for the input of the last linear layer (of the last convolution in a
            network without one).
        weights_path: A safetensors file of the model's state dict; `weights` then only says size and normalisation.
        image_size: Side or shape to resize to, instead of the weights' own; smaller is faster.
        seed: Of random weights.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        progress: Whether to show the download.

    Attributes:
        classes: None: ImageNet's classes are not the dataset's.
        weights: Where the weights come from, in words.

    Raises:
        ConfigError: There is no such model, weights or layer, or the network cannot take this size.
        ArtifactError: The weights could not be downloaded, are damaged or of another network.

    Example:
        >>> extractor = TorchvisionExtractor("resnet18", weights=None, image_size=32)
        >>> extractor.extract(torch.zeros(2, 1, 28, 28)).features.shape
        (2, 512)
    """

    classes = None
    image_spec = None

    def __init__(
        self,
        model: str = "resnet18",
        weights: Any = "DEFAULT",
        layer: str | None = None,
        *,
        weights_path: str | Path | None = None,
        image_size: int | Sequence[int] | None = None,
        seed: int = 0,
        device: str = "auto",
        progress: bool = True,
    ) -> None:
        chosen = _weights_of(_checked_name(model), weights)
        preset = chosen.transforms()
        side = preset.crop_size[0]
        network = _network(model, side, whole("seed", seed, 0))
        if weights_path is not None:
            self.weights = f"of a file, normalised as {chosen}"
            _fill(network, read_tensors(weights_path), f"torchvision's {model}")
        elif weights is not None:
            self.weights = str(chosen)
            _fill(network, _downloaded(chosen, model, progress), f"torchvision's {model}")
        else:
            self.weights = f"random, from seed {seed}"
        take: Take = "output" if layer is not None else "input"
        eyes = ModuleExtractor(
            network.to(pick_device(device)),
            _last_layer(network) if layer is None else layer,
            take=take,
            image_size=side if image_size is None else image_size,
            channels=3,
            normalise=(preset.mean, preset.std),
        )
        self._hold(model, side, eyes)
        self._probe()

    def __repr__(self) -> str:
        return f"TorchvisionExtractor({self.model!r}, weights {self.weights})"

    def _hold(self, model: str, side: int, eyes: ModuleExtractor) -> None:
        self.model, self._side, self._eyes = model, side, eyes
        self.fitted_on = FittedOn()
        eyes.module.eval().requires_grad_(False)

    def _probe(self) -> None:
        """Asks once, so that a size that the network cannot take is refused here and not in a long run."""
        try:
            self._eyes.extract(torch.zeros(1, 3, 8, 8))
        except (RuntimeError, AssertionError, ValueError, SynthesizerError) as error:
            raise ConfigError(
                f"expected image_size= that {self.model} can take (its weights were trained at {self._side}), found "
                f"{self._eyes.image_size}: {error}"
            ) from None

    def extract(self, images: Tensor) -> Features:
        """Returns features `(N, D)` of images `(N, C, H, W)` in [-1, 1], `(N, 3 * D)` of volumes `(N, C, D, H, W)`.

        Raises:
            SynthesizerError: They have other than one or three channels, or other dimensions.
        """
        if images.ndim != 5:
            return self._eyes.extract(images)
        slices = [images.select(axis, images.shape[axis] // 2) for axis in (2, 3, 4)]
        parts = [torch.from_numpy(self._eyes.extract(part).features) for part in slices]
        return Features(torch.cat(parts, dim=1).numpy())

    @property
    def fingerprint(self) -> str:
        """A hash of the network, its weights and how images are given to it."""
        return hash_json([self.model, self._eyes.fingerprint])

    def save(self, folder: str | Path) -> Path:
        """Writes `extractor.json` and `weights.safetensors` into a new folder; it loads without a download.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "extractor") as work:
            write_module(work, self._eyes.module, self.fitted_on)
            about = {"model": self.model, "weights": self.weights, "side": self._side, **self._eyes.settings()}
            own = {"fingerprint": self.fingerprint, "versions": versions()}
            write_json(work / "extractor.json", {"kind": KIND, "version": _VERSION, **about, **own})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Self:
        """Reads what `save` wrote; runs none of it.

        Args:
            folder: The extractor's folder.
            device: As of the class.

        Raises:
            ArtifactError: It is missing, damaged or of another architecture.
        """
        about = read_json(Path(folder) / "extractor.json", KIND, _VERSION)
        try:
            model, side = _checked_name(about["model"]), whole("side", about["side"])
            if side not in _sides_of(model):
                raise ConfigError(f"a side of {side}, which {model} has no weights of")
            network = _network(model, side, 0)
            fitted_on = read_module(folder, network)
            extractor = cls.__new__(cls)
            extractor.weights = str(about["weights"])
            settings = settings_of(about)
            extractor._hold(model, side, ModuleExtractor(network.to(pick_device(device)), **settings))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected a whole extractor in {folder}, found {error}; it is damaged") from None
        extractor.fitted_on = fitted_on
        if extractor.fingerprint != about.get("fingerprint"):
            raise ArtifactError(
                f"expected the extractor that was saved in {folder}, found another; the folder is damaged, or this "
                f"torchvision builds {model} otherwise than the one in its versions"
            )
        return extractor


def _checked_name(model: Any) -> str:
    from torchvision import models

    names = [name for name in models.list_models(module=models) if not name.startswith(_REFUSED)]
    if model not in names:
        raise ConfigError(f"expected a classification model of torchvision among {', '.join(names)}, found {model!r}")
    return str(model)


def _weights_of(model: str, weights: Any) -> Any:
    """Returns the member of the model's enum; the default one's for random weights, for its size and normalisation."""
    from torchvision.models import WeightsEnum, get_model_weights

    if isinstance(weights, WeightsEnum):
        return weights
    kind = get_model_weights(model)
    try:
        return kind.verify("DEFAULT" if weights is None else weights)
    except (KeyError, TypeError):
        names = ", ".join(member.name for member in kind)
        raise ConfigError(f"expected weights= of {model} among DEFAULT, {names}, or None, found {weights!r}") from None


def _sides_of(model: str) -> set[int]:
    from torchvision.models import get_model_weights

    return {member.transforms().crop_size[0] for member in get_model_weights(model)}


def _network(model: str, side: int, seed: int) -> nn.Module:
    """Builds the network as its weights want it, with random weights from a seed of its own."""
    from torchvision import models

    options: dict[str, Any] = {}
    if model in ("googlenet", "inception_v3"):
        options = {"transform_input": True, "aux_logits": False, "init_weights": False}
    elif model.startswith("vit_"):
        options = {"image_size": side}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how weights are initialised, which are replaced
        torch.manual_seed(derive(seed, "backbone"))
        network: nn.Module = models.get_model(model, weights=None, **options)
    return network


def _last_layer(network: nn.Module) -> str:
    for kind in (nn.Linear, nn.Conv2d):
        names: list[str] = [name for name, part in network.named_modules() if isinstance(part, kind)]
        if names:
            return names[-1]
    raise ConfigError("expected a network with a linear or convolutional layer, found none; give layer=")


def _fill(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Loads weights under torchvision's names, also its older ones."""
    own = network.state_dict()
    found = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): value
        for name, value in state.items()
        if not name.startswith(_AUXILIARY)
    }
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    load_state(network, {**counters, **found}, what)


def _downloaded(weights: Any, model: str, progress: bool) -> Mapping[str, Tensor]:
    """Returns the state dict of torchvision's weights, from the cache of torch.hub or downloaded into it.

    Raises:
        ArtifactError: It cannot be reached, or the file is not what its name says.
    """
    name = Path(urlparse(weights.url).path).name
    place = Path(torch.hub.get_dir(), "checkpoints", name)
    told = (
        f"Without a network, fetch {weights.url} on another machine and put it at {place}; or give weights_path= a "
        "safetensors file of the state dict; or weights=None for random weights; or use TrainedExtractor, which needs "
        "no download"
    )
    if place.is_file():
        _check_hash(place, name)
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=progress, check_hash=True, weights_only=True)
    except OSError as error:
        raise ArtifactError(
            f"expected to download the weights {weights} of {model}, found no way ({error}). {told}"
        ) from error
    except Exception as error:
        raise ArtifactError(
            f"expected the weights {weights} of {model} at {place}, found a damaged file ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}); delete it and try again. {told}"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ArtifactError(f"expected a state dict of tensors at {place}, found {type(state).__name__}; delete it")
    return state


def _check_hash(place: Path, name: str) -> None:
    """Raises where a file is not the one whose hash its name ends with, as one that was copied in part."""
    wanted = re.search(r"-([0-9a-f]{8,})\.", name)
    if wanted is None:
        return
    with open(place, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(wanted[1]):
        raise ArtifactError(
            f"expected a file of SHA-256 {wanted[1]}... at {place}, found {found[:8]}...; it is damaged or was copied "
            "in part: delete it, and fetch it again"
        )
