"""PoolView: rows of a pool as one reads them: columns, images, and further views by mask and by chance."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.fingerprint import FittedOn
from gan_augment.geometry import as_affine, spacing_of
from gan_augment.items import is_number
from gan_augment.pool.store import Store, read_form
from gan_augment.seeds import derive
from gan_augment.types import IntArray

__all__ = ["PoolView"]


class PoolView:
    """Rows of a pool: the kept ones, unless it says otherwise.

    Attributes:
        rows: `(n,)` int64, the rows of this view.
        classes: Class names.
        values: The label that stands for each class in the dataset that it was made for, a whole number or a string.
        form: The raw form of the images.
        image_spec: How raw values map to [-1, 1]; None for a pool of arrays.
        affine: From voxels of a volume to mm (RAS+), rows of `(4, 4)`; None where that is not known.
    """

    def __init__(self, store: Store, rows: IntArray | None = None) -> None:
        self._store = store
        self.rows: IntArray = np.flatnonzero(store.columns.keep) if rows is None else rows
        self.classes: list[str] = list(store.about["classes"])
        self.named: bool = bool(store.about["named"])
        self.values: list[int | str] = _values(store.about)
        self.form, self.image_spec = read_form(store.about)
        self.affine = as_affine(store.about.get("affine"))

    # -- columns of the view --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"SyntheticPool({len(self)} of {len(self._store)} candidates, {len(self.classes)} classes)"

    @property
    def labels(self) -> IntArray:
        """Class index of each row."""
        return self._store.columns.label[self.rows]

    @property
    def seeds(self) -> IntArray:
        """Seed of each row; -1 where it was not drawn here."""
        return self._store.columns.seed[self.rows]

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The selector's score of each row; NaN where there was no selector."""
        return self._store.columns.score[self.rows]

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """How much the selector would have each row count in a loss; 1 where it does not say."""
        return self._store.columns.weight[self.rows]

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """The selector's decision about each row."""
        return self._store.columns.keep[self.rows]

    @property
    def reasons(self) -> npt.NDArray[np.str_]:
        """Why each row was rejected; empty where it was kept."""
        return np.array(self._store.about["reasons"])[self._store.columns.reason[self.rows]]

    @property
    def parents(self) -> IntArray:
        """The item of the dataset that each row was made from; -1 where there is none."""
        return self._store.columns.parent[self.rows]

    @property
    def reviews(self) -> npt.NDArray[np.uint8]:
        """What a person said of each row: 0 nothing yet, 1 keep, 2 reject, 3 unsure."""
        return self._store.columns.review[self.rows]

    @property
    def spacing(self) -> tuple[float, float, float] | None:
        """Width of a voxel in mm along each axis of the volumes; None where it is not known."""
        return None if self.affine is None else spacing_of(self.affine)

    @property
    def folder(self) -> Path | None:
        """Where the pool lies; None where it is in memory."""
        return self._store.folder

    @property
    def about(self) -> Mapping[str, Any]:
        """What `pool.json` holds: seeds, settings, fingerprints, versions; of several parts what is common."""
        return self._store.about

    @property
    def counts(self) -> dict[int, int]:
        """Number of rows of each class in this view."""
        return {int(k): int(n) for k, n in zip(*np.unique(self.labels, return_counts=True), strict=True)}

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of the images and groups that synthesizer and judge were fitted on; of a pool of arrays, its own."""
        return self._store.fitted_on

    # -- other views ----------------------------------------------------------------------------------------------

    def candidates(self) -> Self:
        """Returns the view of all candidates, kept or not."""
        return self._view(np.arange(len(self._store)))

    def rejected(self) -> Self:
        """Returns the view of the rejected candidates."""
        return self._view(np.flatnonzero(~self._store.columns.keep))

    def sample(
        self, k: int | Mapping[Any, int], per_class: bool = True, seed: int = 0, *, without: Sequence[str] = ()
    ) -> Self:
        """Returns a random view of the candidates, kept or not: the control that a selector has to beat.

        Args:
            k: Number of rows; with `per_class`, of each class, or a dict by class index (`pool.counts`) or name.
            per_class: Whether `k` is meant for each class.
            seed: Of the draw.
            without: Leave out candidates rejected for these reasons: a control after the same prefilter.

        Raises:
            ConfigError: There are fewer candidates.
        """
        rng = np.random.Generator(np.random.Philox(derive(seed, "random-k")))
        columns = self._store.columns
        excluded = [code for code, text in enumerate(self._store.about["reasons"]) if text in without]
        open_to = np.flatnonzero(~np.isin(columns.reason, excluded) | columns.keep)
        if not per_class:
            if isinstance(k, Mapping) or not 0 <= k <= len(open_to):
                raise ConfigError(f"expected k from 0 to {len(open_to)}, the number of candidates, found {k}")
            return self._view(np.sort(rng.choice(open_to, k, replace=False)))
        labels = columns.label
        wanted = k if isinstance(k, Mapping) else {int(label): k for label in np.unique(labels)}
        wanted = {self._label(key): number for key, number in wanted.items()}
        rows: list[IntArray] = []
        for label, number in sorted(wanted.items()):
            members = open_to[labels[open_to] == label]
            if not 0 <= number <= len(members):
                raise ConfigError(
                    f"expected k from 0 to {len(members)}, the candidates of {self.classes[label]}, found {number}"
                )
            rows.append(np.sort(rng.choice(members, number, replace=False)))
        return self._view(np.concatenate([np.empty(0, np.int64), *rows]))

    def _label(self, key: Any) -> int:
        if isinstance(key, str) and key in self.classes:
            return self.classes.index(key)
        if isinstance(key, str) or not 0 <= int(key) < len(self.classes):
            raise ConfigError(f"expected a class of {', '.join(self.classes)} (or its index) in k, found {key!r}")
        return int(key)

    def _view(self, rows: IntArray) -> Self:
        return type(self)(self._store, rows)

    # -- images ---------------------------------------------------------------------------------------------------

    def array(self, row: int) -> npt.NDArray[Any]:
        """Returns the image of a row of the folder, `(C, *raw_shape)` in the raw dtype."""
        return self._store.image(row)

    def reader(self) -> Callable[[int], npt.NDArray[Any]]:
        """Returns a function that does what `array` does for rows of this view, by the shortest way."""
        return self._store.reader()

    @property
    def has_masks(self) -> bool:
        """Whether each image has a segmentation mask."""
        return self._store.masks is not None

    def mask(self, row: int) -> npt.NDArray[Any] | None:
        """Returns the mask of a row of the folder, `(1, *raw_shape)` of whole numbers; None where there are none."""
        return self._store.mask(row)

    def raw(self, row: int) -> Any:
        """Returns the image of a row as a raw image of the dataset: PIL, array or tensor."""
        return self.form.raw(self._store.image(row))

    def provenance(self, row: int) -> tuple[int | None, int | None]:
        """Returns the seed and the parent of a row of the folder; None for what it has not."""
        seed, parent = int(self._store.columns.seed[row]), int(self._store.columns.parent[row])
        return (None if seed < 0 else seed), (None if parent < 0 else parent)

    def images(self, rows: Sequence[int] | IntArray | None = None) -> Tensor:
        """Returns rows (None: all of this view) as `(n, C, *grid)` float32 in [-1, 1].

        Raises:
            ConfigError: This is a pool of arrays, whose range is not known.
        """
        if self.image_spec is None:
            raise ConfigError("expected a pool with an image_spec, found one made of arrays; use raw() or array()")
        rows = self.rows if rows is None else np.asarray(rows)
        shape = (0, self.image_spec.channels, *self.image_spec.raw_shape)
        arrays = np.stack([self._store.image(int(row)) for row in rows]) if len(rows) else np.empty(shape)
        return self.image_spec.decode(arrays)

    def table(self) -> list[dict[str, Any]]:
        """Returns for each class its name, candidates, kept ones, and how many were rejected for each reason."""
        columns, reasons = self._store.columns, self._store.about["reasons"]
        rows = []
        for label, name in enumerate(self.classes):
            own = columns.label == label
            why = np.bincount(columns.reason[own & ~columns.keep], minlength=len(reasons))
            rejected = {text: int(number) for text, number in zip(reasons, why, strict=True) if number}
            kept = int((own & columns.keep).sum())
            rows.append({"class": name, "candidates": int(own.sum()), "kept": kept, "rejected": rejected})
        return rows


def _values(about: Mapping[str, Any]) -> list[int | str]:
    """Returns the labels of a pool's classes; pools of the first releases do not tell them."""
    names = list(about["classes"])
    found = about.get("values")
    if isinstance(found, list) and len(found) == len(names) and all(isinstance(value, int | str) for value in found):
        return found
    numbers = [int(name) for name in names if is_number(name)]
    return numbers if len(numbers) == len(names) else list(range(len(names)))  # type: ignore[return-value]
