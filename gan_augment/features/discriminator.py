"""The GAN's own discriminator as an extractor: features without another training, and logits of real or drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from gan_augment.artifacts import (
    check_names,
    load_state,
    new_folder,
    pop_fitted_on,
    read_json,
    read_tensors,
    versions,
    write_json,
    write_tensors,
)
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.fingerprint import FittedOn, hash_json, hash_tensors
from gan_augment.images import ImageSpec, batch_rows, resize
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, Recipe
from gan_augment.source import RawView
from gan_augment.types import Features, FloatArray, IntArray, as_labels, as_tensor

__all__ = ["KIND", "DiscriminatorExtractor", "HasDiscriminator"]

KIND = "gan_augment discriminator"
_VERSION = 1
_COMPANIONS = "companions"


class HasDiscriminator(Protocol):
    """What a synthesizer that `fit` trained holds."""

    @property
    def recipe(self) -> Recipe:
        """The recipe with its settings."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks by name, in eval mode; at least those of `recipe.judging`."""
        ...

    @property
    def spec(self) -> NetworkSpec:
        """What they were built for."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """Class names."""
        ...

    @property
    def image_spec(self) -> ImageSpec | None:
        """How raw images map to [-1, 1]."""
        ...

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of what they were trained on."""
        ...


@dataclass(frozen=True)
class _Parts:
    """The parts of a saved extractor."""

    recipe: Recipe
    networks: Mapping[str, nn.Module]
    spec: NetworkSpec
    class_names: Sequence[str]
    image_spec: ImageSpec | None
    fitted_on: FittedOn


class DiscriminatorExtractor:
    """Features and logits of the discriminator that a GAN was trained against.

    Nothing is trained or downloaded. The discriminator is that of the training's last step, not an average. It was
    trained on augmented images, and is shown images as they are. It has seen every real image of the training, so it
    is surer of those than of new ones, and the more so the fewer there were.

    Some discriminators see pairs: that of dagan an image beside a real one of its class, that of icgan beside the
    features of one. Their logits are linear in what they see of the other image, so `logits` gives the mean over all
    real images of the class in `dataset`, of which one vector a class is kept and no image.

    Example:
        >>> import gan_augment as ga
        >>> own = DiscriminatorExtractor(ga.load("runs/skin/gan"), train_set)  # doctest: +SKIP

    Args:
        synthesizer: From `ga.fit` or `ga.load`; its networks are shared, not copied.
        dataset: The training split, or a RawView of it, with classes of the same names; only needed where the
            discriminator sees pairs.

    Attributes:
        classes: Class names.
        image_spec: How raw images map to what it sees; None where unknown.
        fitted_on: Hashes of the raw images and groups it was trained on.

    Raises:
        ConfigError: The synthesizer was not trained here, its recipe has no one discriminator, or `dataset` is missing
            or has none of the classes.
    """

    fitted_on: FittedOn
    _companions: FloatArray | None

    def __init__(self, synthesizer: HasDiscriminator, dataset: Any = None) -> None:
        self._hold(synthesizer)
        if not self.recipe.pairs:
            return
        if dataset is None:
            raise ConfigError(
                f"expected dataset=, the training split, for the discriminator of {self.recipe.name} sees each image "
                "beside a real one of its class; found None"
            )
        view = RawView.of(dataset)
        self._companions = self._companions_of(view, synthesizer.networks)
        self.fitted_on = FittedOn.union(self.fitted_on, view.fitted_on)

    def _hold(self, source: HasDiscriminator) -> None:
        recipe, networks = getattr(source, "recipe", None), getattr(source, "networks", None)
        if not isinstance(recipe, Recipe) or networks is None:
            raise ConfigError(
                f"expected a synthesizer from ga.fit or ga.load, found {type(source).__name__}, which has no "
                "discriminator that is known"
            )
        if missing := [name for name in recipe.judging if name not in networks]:
            raise ConfigError(
                f"expected the network {', '.join(missing)} in recipe {recipe.name!r}, found {', '.join(networks)}"
            )
        self.recipe, self.spec = recipe, source.spec
        self.classes, self.image_spec = list(source.class_names), source.image_spec
        self.fitted_on = source.fitted_on
        self._networks = {name: networks[name] for name in recipe.judging}
        self._companions = None

    @torch.no_grad()
    def _companions_of(self, real: RawView, networks: Mapping[str, nn.Module]) -> FloatArray:
        """Returns for each class the mean companion over its real images, `(num_classes, P)`; NaN where it has none."""
        own = np.array([self.classes.index(name) if name in self.classes else -1 for name in map(str, real.classes)])
        labels = own[real.targets]
        known = np.flatnonzero(labels >= 0)
        if not len(known):
            raise ConfigError(
                f"expected dataset= with images of {', '.join(self.classes)}, found classes {', '.join(real.classes)}"
            )
        spec = self.image_spec or real.spec(self.spec.grid)
        sums = torch.zeros(self.spec.num_classes, 1, dtype=torch.float64)
        for rows in np.array_split(known, -(-len(known) // batch_rows(self.spec.grid))):
            images = self._checked(real.images(rows, spec=spec)).to(self._device)
            seen = self.recipe.companion(networks, images).double().cpu()
            into = torch.zeros(self.spec.num_classes, seen.shape[1], dtype=torch.float64)
            sums = sums + into.index_add_(0, as_tensor(labels[rows]), seen)
        counts = torch.from_numpy(np.bincount(labels[known], minlength=self.spec.num_classes))
        means: FloatArray = (sums / counts[:, None]).float().numpy()
        return means

    def extract(self, images: Tensor) -> Features:
        """Returns features `(N, D)` of images `(N, C, *spatial)` in [-1, 1]: what the logit is computed from, pooled.

        Images of another size are resized.

        Raises:
            SynthesizerError: They have another number of channels or dimensions.
        """
        return Features(self._see(images, np.zeros(len(images), np.int64))[0])

    def logits(self, images: Tensor, labels: IntArray) -> FloatArray:
        """Returns the discriminator's logits `(N,)`, higher for what looks more real.

        Their scale and zero depend on the recipe's loss: they are no log-odds unless calibrated.

        Args:
            images: `(N, C, *spatial)` in [-1, 1].
            labels: `(N,)` indices into `classes`.

        Raises:
            SynthesizerError: The images have another number of channels or dimensions.
            ConfigError: There is no such class, or the dataset had no image of it for the discriminator to see pairs.
        """
        labels = as_labels(labels)
        if len(labels) != len(images) or (len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes)):
            raise ConfigError(
                f"expected a label from 0 to {len(self.classes) - 1} for each of {len(images)} images, found "
                f"{len(labels)}: {sorted(set(labels.tolist()))[:10]}"
            )
        if self._companions is not None:
            without = [label for label in np.unique(labels) if np.isnan(self._companions[label]).any()]
            if without:
                raise ConfigError(
                    "expected real images of every class in dataset=, for this discriminator sees pairs; found none of "
                    f"{', '.join(self.classes[label] for label in without)}"
                )
        return self._see(images, labels)[1]

    @torch.no_grad()
    def _see(self, images: Tensor, labels: IntArray) -> tuple[FloatArray, FloatArray]:
        self._checked(images)
        features, logits = [], []
        size = batch_rows(self.spec.grid)
        for start in range(0, max(1, len(images)), size):  # of no images too: the features have a length
            part, own = images[start : start + size], labels[start : start + size]
            companions = None if self._companions is None else torch.from_numpy(self._companions[own]).to(self._device)
            given = resize(part, self.spec.grid) if len(part) else part.new_empty(0, *part.shape[1:2], *self.spec.grid)
            seen = self.recipe.discriminate(
                self._networks, given.to(self._device), as_tensor(own, self._device), companions
            )
            features.append(seen[0].float().cpu())
            logits.append(seen[1].float().cpu())
        return torch.cat(features).numpy(), torch.cat(logits).numpy()

    def _checked(self, images: Tensor) -> Tensor:
        if images.ndim != self.spec.ndim + 2 or images.shape[1] != self.spec.channels:
            raise SynthesizerError(
                f"expected images (N, {self.spec.channels}, *{self.spec.grid}) for this discriminator, found "
                f"{tuple(images.shape)}; it sees images of the form that its GAN was trained on"
            )
        return images

    @property
    def _device(self) -> torch.device:
        parameter: Tensor = next(next(iter(self._networks.values())).parameters())
        return parameter.device

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"{n}/{key}": v for n, network in self._networks.items() for key, v in network.state_dict().items()}
        return tensors if self._companions is None else {**tensors, _COMPANIONS: torch.from_numpy(self._companions)}

    @property
    def fingerprint(self) -> str:
        """A hash of recipe, weights, and what it sees of the real images."""
        return hash_json([self.recipe.to_json(), hash_tensors(self._tensors())])

    def save(self, folder: str | Path) -> Path:
        """Writes `extractor.json` and `weights.safetensors` into a new folder; the generator is not in it, nor images.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "discriminator") as work:
            write_tensors(work / "weights.safetensors", {**self._tensors(), **self.fitted_on.tensors()})
            about = {
                "kind": KIND,
                "version": _VERSION,
                "recipe": self.recipe.to_json(),
                "spec": self.spec.to_json(),
                "classes": self.classes,
                "image_spec": None if self.image_spec is None else self.image_spec.to_json(),
                "fingerprint": self.fingerprint,
                "versions": versions(),
            }
            write_json(work / "extractor.json", about)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote; runs none of it.

        Raises:
            ArtifactError: It is missing, damaged, of a recipe that is not known or of another architecture.
        """
        folder = Path(folder)
        about = read_json(folder / "extractor.json", KIND, _VERSION)
        tensors = read_tensors(folder / "weights.safetensors")
        fitted_on, companions = pop_fitted_on(tensors, folder), tensors.pop(_COMPANIONS, None)
        try:
            parts = _parts(about, fitted_on)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise ArtifactError(f"expected a whole extractor.json in {folder}, found {error}; it is damaged") from None
        state = {key.replace("/", ".", 1): value for key, value in tensors.items()}
        load_state(nn.ModuleDict(parts.networks), state, f"the discriminator in {folder}", adopt=True)
        extractor = cls.__new__(cls)
        extractor._hold(parts)
        if companions is not None:
            extractor._companions = companions.numpy()
        if extractor.fingerprint != about.get("fingerprint"):
            raise ArtifactError(f"expected the weights that were saved in {folder}, found others; the file is damaged")
        return extractor


def _parts(about: Mapping[str, Any], fitted_on: FittedOn) -> _Parts:
    """Returns what a description says, with networks that have no weights yet.

    Raises:
        ValueError, KeyError, TypeError, RuntimeError: It says something that cannot be.
    """
    name = about["recipe"]["name"]
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r:.80}, which is none of {', '.join(RECIPES)}")
    recipe, spec = RECIPES[name].from_json(about["recipe"]), NetworkSpec.from_json(about["spec"])
    image_spec = None if about["image_spec"] is None else ImageSpec.from_json(about["image_spec"])
    classes = check_names(about["classes"], "classes")
    fits = image_spec is None or (image_spec.channels, image_spec.grid) == (spec.channels, spec.grid)
    if len(classes) != spec.num_classes or not fits:
        raise ValueError(f"{len(classes)} classes and an image_spec that do not fit the network")
    with torch.device("meta"):  # no memory is taken before the shapes are known to be those of the file
        networks = recipe.networks(spec)
    networks = {name: networks[name].eval().requires_grad_(False) for name in recipe.judging}
    return _Parts(recipe, networks, spec, classes, image_spec, fitted_on)
