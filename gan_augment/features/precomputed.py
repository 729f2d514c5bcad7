"""Features that were computed elsewhere, found again by the content of the images."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.artifacts import (
    check_names,
    new_folder,
    pop_fitted_on,
    read_json,
    read_tensors,
    versions,
    write_json,
    write_tensors,
)
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.features.keys import KEY_BYTES, image_keys
from gan_augment.features.uncertainty import entropy_of
from gan_augment.fingerprint import FittedOn, hash_array, hash_json
from gan_augment.images import ImageSpec, batch_rows
from gan_augment.source import RawView
from gan_augment.types import Features, FloatArray, IntArray

__all__ = ["KIND", "PrecomputedFeatures"]

KIND = "gan_augment precomputed features"
_VERSION = 1
_SHOWN = 5

Keys = npt.NDArray[np.uint8]


class PrecomputedFeatures:
    """A table of features of known images, such as an `.npy` from a network of your own.

    An image is found by its content, bit for bit as an extractor is given it: `(C, *spatial)` float32 in [-1, 1]. `of`
    makes a table of a dataset and takes care of that. One that is not in the table is an error, never a guess, so a
    pool whose candidates are still to be drawn cannot be built with it: give the network itself (`ModuleExtractor`).

    The table holds no images, only hashes of them.

    Args:
        images: `(N, C, *spatial)` in [-1, 1], or their keys `(N, 16)` uint8.
        features: `(N, D)`; may be memory-mapped.
        probs: `(N, num_classes)` class probabilities, rows sum to 1.
        classes: Class names of the columns of `probs`.
        image_spec: How raw images map to `images`; None where unknown.
        fitted_on: Hashes of what the network was trained on, so that an overlap with a test set is found.

    Raises:
        ConfigError: Lengths differ, values are not finite, or an image stands twice with different features.

    Example:
        >>> images = torch.rand(3, 1, 8, 8) * 2 - 1
        >>> table = PrecomputedFeatures(images, np.eye(3, 4, dtype=np.float32))
        >>> table.extract(images[1:2]).features
        array([[0., 1., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        images: Tensor | Keys,
        features: npt.ArrayLike,
        probs: npt.ArrayLike | None = None,
        *,
        classes: Sequence[str] | None = None,
        image_spec: ImageSpec | None = None,
        fitted_on: FittedOn | None = None,
    ) -> None:
        self._keys = _as_keys(images)
        self._features = _table(features, "features", len(self._keys))
        self._probs = None if probs is None else _table(probs, "probs", len(self._keys))
        self.classes = None if classes is None else list(classes)
        self.image_spec = image_spec
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on
        _check_probs(self._probs, self.classes)
        self._row: dict[bytes, int] = {}
        for row, key in enumerate(map(bytes, self._keys)):
            first = self._row.setdefault(key, row)
            if first != row and not np.allclose(self._features[first], self._features[row], rtol=1e-3, atol=1e-5):
                raise ConfigError(
                    f"expected one row of features for each image, found two that differ, {first} and {row}, of images "
                    "that are the same; are the features in the order of the images?"
                )

    @classmethod
    def of(
        cls,
        dataset: Any,
        features: npt.ArrayLike,
        probs: npt.ArrayLike | None = None,
        *,
        classes: Sequence[str] | None = None,
        image_spec: ImageSpec | None = None,
        fitted_on: FittedOn | None = None,
    ) -> Self:
        """Makes a table of the raw images of a dataset, in their order.

        Args:
            dataset: A dataset, or a RawView of it.
            features: `(N, D)`, a row for each item.
            probs: `(N, num_classes)`, or None.
            classes: As of the class; None for the dataset's where there are `probs`.
            image_spec: How its images map to [-1, 1]; None for the dataset's own. Give that of the first table to one
                that is to be joined to it.
            fitted_on: As of the class.

        Raises:
            DataError: The dataset cannot be read, or has images of mixed sizes and there is no `image_spec`.
            ConfigError: As of the class.
        """
        view = RawView.of(dataset)
        spec = view.spec() if image_spec is None else image_spec
        keys: list[bytes] = []
        for rows in np.array_split(np.arange(len(view)), -(-len(view) // batch_rows(spec.grid))):
            keys += image_keys(view.images(rows, spec=spec))
        names = view.classes if classes is None and probs is not None else classes
        return cls(_from_bytes(keys), features, probs, classes=names, image_spec=spec, fitted_on=fitted_on)

    def joined(self, other: "PrecomputedFeatures") -> "PrecomputedFeatures":
        """Returns a table of both: of the real images and of a pool's, say.

        Raises:
            ConfigError: They have features, classes or image_spec of different kinds.
        """
        mine, theirs = (
            (table._features.shape[1], table.classes, table._probs is None, table.image_spec) for table in (self, other)
        )
        if mine != theirs:
            raise ConfigError(
                "expected tables of the same length of features, classes and image_spec (give image_spec= of one to "
                f"the other), found {mine} and {theirs}"
            )
        both = None if self._probs is None or other._probs is None else np.concatenate([self._probs, other._probs])
        return PrecomputedFeatures(
            np.concatenate([self._keys, other._keys]),
            np.concatenate([self._features, other._features]),
            both,
            classes=self.classes,
            image_spec=self.image_spec,
            fitted_on=FittedOn.union(self.fitted_on, other.fitted_on),
        )

    def __len__(self) -> int:
        return len(self._row)

    def extract(self, images: Tensor) -> Features:
        """Returns the features `(N, D)` of images `(N, C, *spatial)` in [-1, 1] that are in the table.

        Raises:
            DataError: Some are not.
        """
        found = [self._row.get(key, -1) for key in image_keys(images)]
        if missing := [place for place, row in enumerate(found) if row < 0]:
            raise DataError(
                f"expected features of all {len(found)} images in the table of {len(self)}, found none of "
                f"{len(missing)} (at {', '.join(map(str, missing[:_SHOWN]))}{', ...' if missing[_SHOWN:] else ''}); "
                f"images are known by their values in [-1, 1], bit for bit{self._told(images)}. Compute features of "
                "these images and join them, or give the network itself as a ModuleExtractor"
            )
        rows: IntArray = np.array(found, np.int64)
        features = np.asarray(self._features[rows], np.float32)
        if self._probs is None:
            return Features(features)
        probs = np.asarray(self._probs[rows], np.float32)
        return Features(features, probs, entropy_of(probs))

    def _told(self, images: Tensor) -> str:
        if self.image_spec is None or tuple(images.shape[2:]) == self.image_spec.grid:
            return ""
        return f", and those of the table have a grid of {self.image_spec.grid}, these of {tuple(images.shape[2:])}"

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the table."""
        probs = None if self._probs is None else hash_array(self._probs)
        features = [hash_array(self._features[rows]) for rows in _blocks(self._features)]
        return hash_json([KIND, hash_array(self._keys), features, probs, self.classes])

    def save(self, folder: str | Path) -> Path:
        """Writes `extractor.json` and `table.safetensors` into a new folder.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "extractor") as work:
            columns = {"keys": self._keys, "features": self._features, "probs": self._probs}
            tensors = {name: torch.from_numpy(np.array(c)) for name, c in columns.items() if c is not None}
            write_tensors(work / "table.safetensors", {**tensors, **self.fitted_on.tensors()})
            about = {
                "kind": KIND,
                "version": _VERSION,
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
            ArtifactError: It is missing or damaged.
        """
        about = read_json(Path(folder) / "extractor.json", KIND, _VERSION)
        tensors = read_tensors(Path(folder) / "table.safetensors")
        fitted_on = pop_fitted_on(tensors, folder)
        try:
            columns = {name: tensor.numpy() for name, tensor in tensors.items()}
            loaded = cls(
                columns["keys"],
                columns["features"],
                columns.get("probs"),
                classes=None if about["classes"] is None else check_names(about["classes"], "classes"),
                image_spec=None if about["image_spec"] is None else ImageSpec.from_json(about["image_spec"]),
                fitted_on=fitted_on,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"expected a whole table in {folder}, found {error}; it is damaged") from None
        if loaded.fingerprint != about.get("fingerprint"):
            raise ArtifactError(f"expected the table that was saved in {folder}, found another; the file is damaged")
        return loaded


def _as_keys(images: Tensor | Keys) -> Keys:
    if isinstance(images, Tensor) and images.ndim >= 3:
        return _from_bytes(image_keys(images))
    keys = np.asarray(images)
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ConfigError(
            f"expected images (N, C, *spatial) as a tensor, or their keys (N, {KEY_BYTES}) in uint8, found "
            f"{keys.dtype} {keys.shape}"
        )
    return np.ascontiguousarray(keys)


def _from_bytes(keys: Sequence[bytes]) -> Keys:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def _table(values: npt.ArrayLike, name: str, rows: int) -> FloatArray:
    """Returns a column as float32 `(rows, D)`, one that is float32 as it is."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    table: FloatArray = np.asanyarray(values, np.float32)
    if table.ndim != 2 or len(table) != rows or not table.shape[1]:
        raise ConfigError(f"expected {name} ({rows}, D), a row for each image, found {table.shape}")
    if not all(np.isfinite(table[part]).all() for part in _blocks(table)):
        raise ConfigError(f"expected finite {name}, found NaN or infinity")
    return table


def _blocks(table: FloatArray) -> list[slice]:
    """Returns slices of rows of at most 64 MiB, so that a memory-mapped table stays on disk."""
    step = max(1, 2**24 // table.shape[1])
    return [slice(start, start + step) for start in range(0, len(table), step)]


def _check_probs(probs: FloatArray | None, classes: list[str] | None) -> None:
    if probs is None:
        if classes is not None:
            raise ConfigError("expected probs= beside classes=, found none; class names are those of its columns")
        return
    if len(probs) and (probs.min() < 0 or np.abs(probs.sum(1) - 1).max() > 1e-3):
        raise ConfigError(
            f"expected probs of at least 0 whose rows sum to 1, found sums from {probs.sum(1).min():.3g} to "
            f"{probs.sum(1).max():.3g}; take the softmax of logits"
        )
    if classes is not None and (len(classes) != probs.shape[1] or len(set(classes)) < len(classes)):
        raise ConfigError(f"expected {probs.shape[1]} distinct class names for probs, found {classes}")
