"""SyntheticPool: the candidates that a synthesizer drew, with what was decided about each, as a view of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.balance import SamplingStrategy
from gan_augment.errors import ConfigError, DataError
from gan_augment.fingerprint import FittedOn, hash_image
from gan_augment.forms import RawForm
from gan_augment.items import label_value
from gan_augment.pool.store import KIND, MASK_DTYPE, VERSION, Columns, Store, read_form, read_store
from gan_augment.seeds import derive
from gan_augment.types import IntArray, Selector, Synthesizer

if TYPE_CHECKING:
    import os

__all__ = ["SyntheticPool"]


class SyntheticPool:
    """A read-only view of the rows of a pool: the kept ones, unless it says otherwise.

    The folder holds every candidate, kept or not; `candidates()`, `rejected()`, `filter()` and `sample()` are other
    views of it. Rows are numbered in the folder, not in the view.

    Make one with `build`, `open` or `from_arrays`.

    Attributes:
        rows: `(n,)` int64, the rows of this view.
        classes: Class names.
        values: The label that stands for each class in the dataset that it was made for, a whole number or a string.
        form: The raw form of the images.
        image_spec: How raw values map to [-1, 1]; None for a pool of arrays.
    """

    def __init__(self, store: Store, rows: IntArray | None = None) -> None:
        self._store = store
        self.rows: IntArray = np.flatnonzero(store.columns.keep) if rows is None else rows
        self.classes: list[str] = list(store.about["classes"])
        self.named: bool = bool(store.about["named"])
        self.values: list[int | str] = _values(store.about)
        self.form, self.image_spec = read_form(store.about)

    # -- making one -----------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        synthesizer: Synthesizer,
        like: Any,
        selector: Selector | None = None,
        sampling_strategy: SamplingStrategy = "auto",
        counts: Mapping[Any, int] | None = None,
        reserve: float = 2.0,
        out: "str | os.PathLike[str] | None" = None,
        seed: int = 0,
        *,
        domains: Sequence[Any] | npt.NDArray[Any] | None = None,
        progress: bool = True,
    ) -> "SyntheticPool":
        """Draws candidates, has the selector decide, and stores all of them.

        The same arguments give the same pool, bit for bit, on one machine with as many threads.

        Args:
            synthesizer: Who draws; from `fit`, `load` or `wrap`. An image-conditioned one is bound to `like`.
            like: The training split, or a RawView of it: says which classes need images, and what raw images look like.
            selector: Who decides, such as `CentroidSelector(judge)`; fitted here on the real images of `like`, and
                calibrated on a draw of its own. None keeps everything.
            sampling_strategy: How many images each class needs, in imbalanced-learn's over-sampling vocabulary.
            counts: Needed images by label or class name instead.
            reserve: Candidates drawn for each needed image, at least 1.
            out: New folder; None to keep the pool in memory.
            seed: Of all draws.
            domains: Site or scanner of each item of `like`, for a `DomainSelector`.
            progress: Whether to show a bar on a terminal.

        Returns:
            The view of the kept candidates.

        Warns:
            DataMismatchWarning: The synthesizer was fitted on images that are not in `like`.
            SmallClassWarning: No candidate of a class was kept.

        Raises:
            SynthesizerError: The synthesizer lacks a class, or draws images that do not fit.
            ConfigError: A parameter has a value that cannot work.
            DataError: The dataset cannot be used.
            ArtifactError: `out` exists.
            StorageError: The disk refused; nothing half-written is left.
        """
        from gan_augment.pool.build import build_store

        store = build_store(
            synthesizer,
            like,
            selector=selector,
            sampling_strategy=sampling_strategy,
            counts=counts,
            domains=domains,
            reserve=reserve,
            out=out,
            seed=seed,
            progress=progress,
        )
        return cls(store)

    @classmethod
    def open(cls, folder: "str | os.PathLike[str]") -> "SyntheticPool":
        """Opens the folder that `build` wrote; images are mapped, not read.

        Raises:
            ArtifactError: It is missing, damaged, half-written or of a newer version.
        """
        return cls(read_store(Path(folder)))

    @classmethod
    def from_arrays(
        cls,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        masks: npt.ArrayLike | None = None,
    ) -> "SyntheticPool":
        """Makes a pool of images that the user already has, all of them kept.

        Args:
            images: `(N, H, W)`, `(N, C, H, W)`, `(N, H, W, C)` or volumes, in the raw dtype and units of the dataset
                that they will be mixed into.
            labels: `(N,)`: the dataset's labels, or class names.
            classes: Class names that integer labels index; None to match labels to the dataset's own.
            masks: `(N, H, W)`, `(N, 1, H, W)` or of volumes, a segmentation mask of whole numbers for each image.

        Raises:
            DataError: The lengths or sizes differ, or a label is none of the classes.
        """
        tensors = isinstance(images, Tensor)
        if isinstance(images, Tensor) and images.dtype == torch.bfloat16:
            raise DataError("expected images of a type that numpy has, found bfloat16; give images.float()")
        images = np.asarray(images.detach().cpu() if isinstance(images, Tensor) else images)
        values = [label_value(value) for value in np.asarray(labels).tolist()]
        if len(images) != len(values) or not len(images):
            raise DataError(f"expected one label for each image, found {len(images)} images and {len(values)} labels")
        form = RawForm.of(images[0])
        form = replace(form, kind="tensor") if tensors else form
        if images.dtype.kind == "f" and not np.isfinite(images).all():
            raise DataError("expected finite values, found NaN or infinity among the images; repair or remove them")
        if classes is None:
            names = sorted({str(value) for value in values})
            index = [names.index(str(value)) for value in values]
        else:
            names = list(classes)
            unknown = {
                value for value in values if (value >= len(names) if isinstance(value, int) else value not in names)
            }
            if unknown:
                raise DataError(
                    f"expected labels from 0 to {len(names) - 1}, or names among {', '.join(names)}, found "
                    f"{', '.join(sorted(map(str, unknown)))}"
                )
            index = [names.index(value) if isinstance(value, str) else value for value in values]
        count, numbered = len(images), classes is None and all(isinstance(value, int) for value in values)
        columns = Columns(
            label=np.array(index, np.int64),
            seed=np.full(count, -1, np.int64),
            score=np.full(count, np.nan, np.float32),
            keep=np.ones(count, bool),
            reason=np.zeros(count, np.int64),
            parent=np.full(count, -1, np.int64),
            weight=np.ones(count, np.float32),
        )
        about = {
            "kind": KIND,
            "version": VERSION,
            "rows": count,
            "classes": names,
            "named": classes is not None or all(isinstance(value, str) for value in values),
            "values": [int(name) if numbered else place for place, name in enumerate(names)],
            "reasons": [""],
            "form": vars(form),
            "image_spec": None,
        }
        arrays = np.stack([form.array(image) for image in images])
        own = FittedOn(np.unique(np.array([hash_image(array) for array in arrays], np.int64)))
        shards = None if masks is None else [_masks(masks, (count, 1, *arrays.shape[2:]))]
        return cls(Store([arrays], columns, about, own, masks=shards))

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
    def about(self) -> Mapping[str, Any]:
        """What `pool.json` holds: seeds, settings, fingerprints, versions."""
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

    def filter(self, mask: npt.NDArray[np.bool_]) -> Self:
        """Returns the view of those rows of this view where `mask` `(n,)` is true."""
        mask = np.asarray(mask)
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise ConfigError(f"expected a mask of {len(self)} booleans, found {mask.dtype} of shape {mask.shape}")
        return self._view(self.rows[mask])

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
    numbers = [int(name) for name in names if name.isdecimal()]
    return numbers if len(numbers) == len(names) else list(range(len(names)))  # type: ignore[return-value]


def _masks(masks: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Returns the masks of a pool of arrays as int32 of `shape`, `(N, 1, *spatial)`."""
    found = np.asarray(masks.detach().cpu() if isinstance(masks, Tensor) else masks)
    count, spatial = shape[0], shape[2:]
    forms = {(count, *spatial), shape, (count, *spatial, 1)}
    if found.dtype.kind not in "uib" or found.shape not in forms:
        raise DataError(f"expected masks= of whole numbers and shape {shape}, found {found.dtype} of {found.shape}")
    limits = np.iinfo(MASK_DTYPE)
    if found.dtype.kind != "b" and not (limits.min <= found.min() and found.max() <= limits.max):
        raise DataError(f"expected masks= from {limits.min} to {limits.max}, found {found.min()} to {found.max()}")
    return found.reshape(shape).astype(MASK_DTYPE)
