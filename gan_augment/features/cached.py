"""Features kept on disk: an image that was seen once is not computed again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gan_augment.artifacts import storing, versions
from gan_augment.errors import ConfigError, whole
from gan_augment.features.keys import image_keys
from gan_augment.features.store import Row, Store
from gan_augment.fingerprint import FittedOn, hash_json
from gan_augment.images import ImageSpec
from gan_augment.types import CrossFitted, Extractor, Features, FloatArray, HasLogits, IntArray

__all__ = ["CachedExtractor"]

_COLUMNS = ("features", "probs", "entropy", "fold")


class CachedExtractor:
    """An extractor that keeps on disk what it has seen, by the content of each image and its own fingerprint.

    It gives what the extractor gave when it first saw an image, bit for bit; an extractor's own answers differ by about
    1e-6 with the batch that an image is in. Another extractor, another network's weights, another release of this
    library or of torch have a file of their own in the folder, which several processes may use at once.

    Nothing that happens to a file gives a wrong feature: each row has a checksum, what is damaged is computed again,
    and where the disk refuses a warning says that features are computed each time. Files that nobody uses may be
    deleted; `clear` empties the one in use.

    It stands for the extractor: fingerprint, classes, image_spec, fitted_on, `save` are the extractor's own, and so are
    `extract_fitted` of a cross-fitted one and `logits` of a discriminator, where it has them.

    Args:
        extractor: Who sees the images.
        folder: Where the files are; made where it does not exist.
        max_bytes: What the rows of each file may take; above it the oldest are dropped.

    Raises:
        ConfigError: It is no extractor, or `max_bytes` is no whole number.
        StorageError: The folder cannot be made.

    Example:
        >>> import gan_augment as ga
        >>> judge = CachedExtractor(ga.TrainedExtractor.fit(train_set), "runs/features")  # doctest: +SKIP
    """

    extract_fitted: Callable[[Tensor, IntArray], Features]
    logits: Callable[[Tensor, IntArray], FloatArray]

    def __init__(self, extractor: Extractor, folder: str | Path, *, max_bytes: int = 10 * 2**30) -> None:
        if isinstance(extractor, type) or not isinstance(extractor, Extractor):
            raise ConfigError(f"expected an extractor, fitted, found {extractor!r:.80}")
        self.extractor, self.folder = extractor, Path(folder)
        self.max_bytes = whole("max_bytes", max_bytes)
        self._stores: dict[str, Store] = {}
        self._releases = [versions()[package] for package in ("gan_augment", "torch")]
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if isinstance(extractor, CrossFitted):
            self.extract_fitted = self._extract_fitted
        if isinstance(extractor, HasLogits):
            self.logits = self._logits

    def extract(self, images: Tensor) -> Features:
        """Returns what the extractor sees in images `(N, C, *spatial)` in [-1, 1].

        Raises:
            SynthesizerError: They are not of the extractor's form.
        """
        return self._kept(image_keys(images), lambda rows: self.extractor.extract(images[rows]))

    def _extract_fitted(self, images: Tensor, hashes: IntArray) -> Features:
        fitted: Any = self.extractor
        hashes = np.asarray(hashes, np.int64)
        if len(hashes) != len(images):
            raise ConfigError(f"expected a hash for each of {len(images)} images, found {len(hashes)}")
        keys = image_keys(images, [b"fitted" + value.tobytes() for value in hashes])
        return self._kept(keys, lambda rows: fitted.extract_fitted(images[rows], hashes[rows]))

    def _logits(self, images: Tensor, labels: IntArray) -> FloatArray:
        sees: Any = self.extractor
        found: FloatArray = sees.logits(images, labels)
        return found

    def _kept(self, keys: list[bytes], compute: Callable[[Any], Features]) -> Features:
        """Returns the rows of all keys, those computed that the store has not."""
        store = self._store()
        found = store.read(keys)
        missing = np.array([row for row, key in enumerate(keys) if key not in found], np.int64)
        if len(missing):
            new: dict[bytes, Row] = {}
            for row, values in zip(missing, _rows(compute(missing)), strict=True):
                new.setdefault(keys[row], values)
            store.write(new)
            found |= new
        rows = [found[key] for key in keys]
        kinds = {tuple((name, array.shape, array.dtype.str) for name, array in sorted(row.items())) for row in rows}
        if len(kinds) != 1:  # of no rows too
            return compute(slice(None))
        return Features(**{name: np.stack([row[name] for row in rows]) for name in rows[0]})

    def _store(self) -> Store:
        name = hash_json([self.fingerprint, self._releases])
        if name not in self._stores:
            self._stores[name] = Store(self.folder / f"features-{name}.sqlite", self.max_bytes)
        return self._stores[name]

    def clear(self) -> None:
        """Forgets what this extractor has seen."""
        self._store().clear()

    def __len__(self) -> int:
        """Returns the number of rows kept."""
        return len(self._store())

    def __bool__(self) -> bool:
        return True

    @property
    def fingerprint(self) -> str:
        """The extractor's."""
        return self.extractor.fingerprint

    @property
    def classes(self) -> Sequence[str] | None:
        """The extractor's class names; None where it has none."""
        return getattr(self.extractor, "classes", None)

    @property
    def image_spec(self) -> ImageSpec | None:
        """How raw images map to what the extractor sees; None where unknown."""
        return getattr(self.extractor, "image_spec", None)

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of what the extractor was fitted on."""
        return FittedOn.of(self.extractor)

    @property
    def stores_images(self) -> bool:
        """Whether features are pictures of the images, so that the files of the cache hold pictures too."""
        return bool(getattr(self.extractor, "stores_images", False))

    def save(self, folder: str | Path) -> Path:
        """Writes the extractor, without the cache; `load_extractor` reads it."""
        return self.extractor.save(folder)


def _rows(features: Features) -> list[Row]:
    columns = {name: getattr(features, name) for name in _COLUMNS}
    there = {name: column for name, column in columns.items() if column is not None}
    return [{name: np.array(column[row]) for name, column in there.items()} for row in range(len(features.features))]
