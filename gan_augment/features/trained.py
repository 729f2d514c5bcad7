"""The judge: a small classifier trained on the training split, read as an extractor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.artifacts import (
    check_names,
    load_state,
    new_folder,
    pop_fitted_on,
    read_json,
    read_tensors,
    refuse_existing,
    versions,
    write_json,
    write_tensors,
)
from gan_augment.augmentation import Augmentation
from gan_augment.balance import check_classes
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.features.uncertainty import entropy_of
from gan_augment.fingerprint import FittedOn, hash_groups, hash_json, hash_tensors
from gan_augment.images import ImageSpec, batch_rows, resize
from gan_augment.machine import pick_device
from gan_augment.networks import Classifier, NetworkSpec
from gan_augment.seeds import derive, uniforms
from gan_augment.source import RawView
from gan_augment.supervised import channels_last, train_classifier, weighted_batches
from gan_augment.types import Features

__all__ = ["KIND", "TrainedExtractor"]

KIND = "gan_augment extractor"
_VERSION = 2
_MASKS_SEED = 1
_MOST_PASSES = 1000


class TrainedExtractor:
    """Features of a classifier's last layer, with class probabilities and entropy under Monte-Carlo dropout.

    The dropout masks of the passes are fixed and the same for every image, so that what an image gets depends on the
    image only (Gal and Ghahramani 2016, on the last layer).

    Args:
        network: The classifier, trained.
        spec: What it was built for.
        classes: Class names.
        image_spec: How raw images map to what it sees; None where unknown.
        passes: Number of dropout masks.
        fitted_on: Hashes of the raw images and groups it was trained on.

    Raises:
        ConfigError: Names, image_spec, passes or dropout do not fit.
    """

    def __init__(
        self,
        network: Classifier,
        spec: NetworkSpec,
        *,
        classes: Sequence[str],
        image_spec: ImageSpec | None = None,
        passes: int = 20,
        fitted_on: FittedOn | None = None,
    ) -> None:
        if len(classes) != spec.num_classes:
            raise ConfigError(f"expected {spec.num_classes} class names for this judge, found {len(classes)}")
        if image_spec is not None and (image_spec.channels, image_spec.grid) != (spec.channels, spec.grid):
            raise ConfigError(
                f"expected image_spec= of {spec.channels} channels and grid {spec.grid}, found {image_spec.channels} "
                f"and {image_spec.grid}"
            )
        if not 1 <= passes <= _MOST_PASSES:
            raise ConfigError(f"expected passes from 1 to {_MOST_PASSES}, found {passes}")
        if not 0 <= network.dropout < 1:
            raise ConfigError(f"expected dropout from 0 to below 1, found {network.dropout}")
        self.network = network.eval().requires_grad_(False)
        channels_last(network)  # as `train_classifier` leaves it, so that a loaded judge sees the very same
        self.spec = spec
        self.classes = list(classes)
        self.image_spec = image_spec
        self.passes = passes
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on
        width = network.linear.in_features
        keep = 1 - network.dropout
        masks = uniforms([_MASKS_SEED], passes * width)[0].reshape(passes, width) < keep
        self._masks = torch.from_numpy(masks.astype(np.float32) / keep)

    @classmethod
    def fit(
        cls,
        dataset: Any,
        *,
        image_size: int | Sequence[int] | None = None,
        steps: int = 600,
        width: int | None = None,
        batch_size: int = 64,
        augmentation: Augmentation | None = None,
        targets: npt.ArrayLike | None = None,
        rows: npt.NDArray[np.int64] | None = None,
        seed: int = 0,
        device: str = "auto",
        progress: bool = True,
    ) -> Self:
        """Trains a judge on the raw images of a dataset, classes drawn in proportion to the square root of n_c.

        Args:
            dataset: The training split, or a RawView of it.
            image_size: As in `fit`.
            steps: Optimiser steps.
            width: Length of the features; None for the network's default.
            batch_size: Images a step.
            augmentation: None for the default (shifts, small turns, scale; no flips, no colour).
            targets: One class for each item, where the dataset does not say.
            rows: The items to train on, as in cross-fitting; None for all. The range of values is that of all.
            seed: Of weights, batches, augmentation and dropout.
            device: "auto" (CUDA where there is one), "cpu" or "cuda".
            progress: Whether to show a bar.

        Raises:
            DataError: There are fewer than two classes, or a class has fewer than two images.
            ConfigError: A parameter has a value that cannot work.
        """
        steps, batch_size, seed = whole("steps", steps), whole("batch_size", batch_size), whole("seed", seed, 0)
        width = None if width is None else whole("width", width)
        view = RawView.of(dataset, targets, progress=progress)
        rows = np.arange(len(view)) if rows is None else np.asarray(rows, dtype=np.int64)
        labels = view.targets[rows]
        check_classes(np.bincount(labels, minlength=view.num_classes), view.classes, min_images=0)
        image_spec = view.spec(image_size)
        spec = NetworkSpec(channels=image_spec.channels, grid=image_spec.grid, num_classes=view.num_classes)
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "judge"))
            network = Classifier(spec, width)
        load = view.loader(image_spec)
        train_classifier(
            network,
            weighted_batches(
                lambda drawn: load(rows[drawn]), labels, batch_size=batch_size, power=0.5, seed=derive(seed, "judge")
            ),
            steps=steps,
            augmentation=augmentation or Augmentation(),
            seed=derive(seed, "judge"),
            device=pick_device(device),
            description="training the judge" if progress else None,
        )
        groups = np.empty(0, np.int64) if view.groups is None else hash_groups(view.groups[rows])
        fitted_on = FittedOn(np.unique(view.hashes[rows]), groups)
        return cls(network, spec, classes=view.classes, image_spec=image_spec, fitted_on=fitted_on)

    @torch.no_grad()
    def extract(self, images: Tensor) -> Features:
        """Returns features, mean class probabilities and predictive entropy of images `(N, C, *spatial)` in [-1, 1].

        Images of another size are resized.

        Raises:
            SynthesizerError: They have another number of channels or dimensions.
        """
        if images.ndim != self.spec.ndim + 2 or images.shape[1] != self.spec.channels:
            raise SynthesizerError(
                f"expected images (N, {self.spec.channels}, *{self.spec.grid}) for this judge, found "
                f"{tuple(images.shape)}; train a judge on images of that form"
            )
        device = next(self.network.parameters()).device
        features, probs = [], []
        for part in images.split(batch_rows(self.spec.grid)):
            hidden = self.network.features(resize(part, self.spec.grid).to(device))
            masked = hidden[:, None, :] * self._masks.to(device)[None]
            features.append(hidden.cpu())
            probs.append(self.network.linear(masked).softmax(-1).mean(1).cpu())
        if not features:
            empty = np.empty((0, self.network.linear.in_features), np.float32)
            return Features(empty, np.empty((0, self.spec.num_classes), np.float32), np.empty(0, np.float32))
        mean = torch.cat(probs).numpy()
        return Features(torch.cat(features).numpy(), mean, entropy_of(mean))

    @property
    def fingerprint(self) -> str:
        """A hash of weights, grid, dropout and passes."""
        return hash_json([self._weights, self.spec.to_json(), self.network.dropout, self.passes])

    @property
    def _weights(self) -> str:
        return hash_tensors(self.network.state_dict())

    def save(self, folder: str | Path) -> Path:
        """Writes `extractor.json` and `weights.safetensors` into a new folder.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        refuse_existing(folder, "judge")
        with new_folder(folder, "judge") as work:
            state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
            write_tensors(work / "weights.safetensors", {**state, **self.fitted_on.tensors()})
            write_json(work / "extractor.json", self._description())
        return Path(folder)

    def _description(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "version": _VERSION,
            "spec": self.spec.to_json(),
            "width": self.network.linear.in_features,
            "dropout": self.network.dropout,
            "passes": self.passes,
            "classes": self.classes,
            "image_spec": None if self.image_spec is None else self.image_spec.to_json(),
            "fingerprint": self.fingerprint,
            "versions": versions(),
        }

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote; runs none of it.

        Raises:
            ArtifactError: It is missing, damaged or of another architecture.
        """
        folder = Path(folder)
        about = read_json(folder / "extractor.json", KIND, _VERSION)
        tensors = read_tensors(folder / "weights.safetensors")
        try:
            spec = NetworkSpec.from_json(about["spec"])
            with torch.device("meta"):  # no memory is taken before the shapes are known to be those of the file
                network = Classifier(spec, int(about["width"]), float(about["dropout"]))
            image_spec = None if about["image_spec"] is None else ImageSpec.from_json(about["image_spec"])
            classes, passes = check_names(about["classes"], "classes"), int(about["passes"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
            raise ArtifactError(
                f"expected a whole extractor.json in {folder}, found {error!r}; it is damaged"
            ) from None
        fitted_on = pop_fitted_on(tensors, folder)
        state = {name.removeprefix("network."): value for name, value in tensors.items()}
        load_state(network, state, f"the judge in {folder}", adopt=True)
        try:
            judge = cls(network, spec, classes=classes, image_spec=image_spec, passes=passes, fitted_on=fitted_on)
        except ConfigError as error:
            raise ArtifactError(
                f"expected a whole extractor.json in {folder}, found that it is damaged: {error}"
            ) from None
        own = judge._weights if about["version"] == 1 else judge.fingerprint  # the first version hashed weights only
        if own != about.get("fingerprint"):
            raise ArtifactError(f"expected the weights that were saved in {folder}, found others; the file is damaged")
        return judge
