"""Where a pool's rows lie: shards of memory-mapped images, and one array a column.

A folder holds `pool.json`, `columns.safetensors` (label, seed, score, keep, reason, parent, weight, a value a row),
`images-00000.npy`, `images-00001.npy`, ... of `(rows, C, *raw_shape)` in the raw dtype, and where a synthesizer draws
segmentation masks `masks-00000.npy`, ... of `(rows, 1, *raw_shape)` int32. The folder is written beside
its place and renamed into it when it is whole. The same store serves arrays in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.artifacts import check_names, pop_fitted_on, read_json, read_tensors
from gan_augment.errors import ArtifactError
from gan_augment.fingerprint import FittedOn
from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.types import IntArray

__all__ = ["KIND", "MASK_DTYPE", "VERSION", "Columns", "Store", "read_form", "read_store"]

KIND = "gan_augment pool"
VERSION = 1
MASK_DTYPE = "int32"
_MOST_SHARDS = 512
"""Each is a file held open; of 65,536 rows they hold 33 million."""


@dataclass(frozen=True)
class Columns:
    """One value a row; what is not known is -1 or NaN.

    Attributes:
        label: `(N,)` int64, index into the pool's classes.
        seed: `(N,)` int64.
        score: `(N,)` float32, the selector's; see `Decision`.
        keep: `(N,)` bool, the selector's decision.
        reason: `(N,)` int64, index into the pool's reasons.
        parent: `(N,)` int64, the item of the dataset that the row was made from.
        weight: `(N,)` float32, how much the selector would have it count in a loss.
    """

    label: IntArray
    seed: IntArray
    score: npt.NDArray[np.float32]
    keep: npt.NDArray[np.bool_]
    reason: IntArray
    parent: IntArray
    weight: npt.NDArray[np.float32]


class Store:
    """Rows of images and their columns, in memory or mapped from a folder; read-only.

    Args:
        images: The shards, each `(rows, C, *raw_shape)`.
        columns: One value a row over all shards.
        about: What `pool.json` holds.
        fitted_on: Hashes of the images and groups that the synthesizer and the judge were fitted on.
        folder: Where it was read from; None in memory. A store from a folder is pickled as its path.
        masks: Shards of masks `(rows, 1, *raw_shape)`; None where there are none.
    """

    def __init__(
        self,
        images: Sequence[npt.NDArray[Any]],
        columns: Columns,
        about: Mapping[str, Any],
        fitted_on: FittedOn | None = None,
        folder: Path | None = None,
        masks: Sequence[npt.NDArray[Any]] | None = None,
    ) -> None:
        self.images, self.about, self.folder = _plain(images), about, folder
        self._columns: Columns | None = columns
        self._rows = len(columns.label)
        self.masks = None if masks is None else _plain(masks)
        self._own = None if folder is not None else (list(images), None if masks is None else list(masks))
        self._shared: tuple[list[Tensor], list[Tensor] | None] | None = None
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on
        self._shard_rows = len(self.images[0]) if self.images else 1

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> Columns:
        """One value a row; of a folder, read where it was unpickled only when they are asked for."""
        if self._columns is None:
            assert self.folder is not None
            self._columns = _read_columns(read_tensors(self.folder / "columns.safetensors"))
        return self._columns

    def image(self, row: int) -> npt.NDArray[Any]:
        """Returns one image `(C, *raw_shape)`, a read-only view of the map."""
        if not 0 <= row < self._rows:
            raise IndexError(f"expected a row from 0 to {len(self) - 1} of the pool, found {row}")
        shard, at = divmod(row, self._shard_rows)
        image: npt.NDArray[Any] = self.images[shard][at]
        return image

    def reader(self) -> Callable[[int], npt.NDArray[Any]]:
        """Returns a function that does what `image` does for rows that are known to exist, by the shortest way."""
        return self.images[0].__getitem__ if len(self.images) == 1 else self.image

    def mask(self, row: int) -> npt.NDArray[Any] | None:
        """Returns the mask of one image `(1, *raw_shape)`, a read-only view of the map; None where there are none."""
        if self.masks is None or not 0 <= row < self._rows:
            return None
        shard, at = divmod(row, self._shard_rows)
        mask: npt.NDArray[Any] = self.masks[shard][at]
        return mask

    def __getstate__(self) -> dict[str, Any]:
        """Hands over the path instead of images and columns where there is one, else tensors.

        Spawned workers get the memory of a tensor, not a copy, as long as it lives here: so it is kept.
        """
        held = {"images": None, "masks": None, "_own": None}
        if self.folder is not None:
            return {**self.__dict__, **held, "_columns": None}
        if self._shared is None and self._own is not None:
            images, masks = self._own
            self._shared = _tensors(images), None if masks is None else _tensors(masks)
        return {**self.__dict__, **held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Maps the images again."""
        self.__dict__.update(state)
        if self.folder is not None:
            self.images, self.masks = _mapped(self.folder, self.about)
        elif self._shared is not None:
            images, masks = self._shared
            self.images = _plain([shard.numpy() for shard in images])
            self.masks = None if masks is None else _plain([shard.numpy() for shard in masks])


def _tensors(shards: Sequence[npt.NDArray[Any]]) -> list[Tensor]:
    return [torch.from_numpy(shard if shard.flags.writeable else shard.copy()) for shard in shards]


def _plain(shards: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Returns read-only views; of a map a plain array, whose rows are found in a third of the time."""
    views = [np.asarray(shard).view() for shard in shards]
    for view in views:
        view.flags.writeable = False
    return views


def _mapped(folder: Path, about: Mapping[str, Any]) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]] | None]:
    """Maps images and masks; None for masks where there are none."""
    images = _plain(_map_shards(folder, about["shards"], "images", about["dtype"]))
    masks = _plain(_map_shards(folder, about.get("mask_shards", []), "masks", MASK_DTYPE))
    return images, masks or None


def _map_shards(folder: Path, shards: Any, what: str, dtype: Any) -> list[npt.NDArray[Any]]:
    maps: list[npt.NDArray[Any]] = []
    listed = [str(shard["name"]) for shard in shards]
    if len(listed) > _MOST_SHARDS or listed != [f"{what}-{number:05d}.npy" for number in range(len(listed))]:
        raise ArtifactError(f"expected at most {_MOST_SHARDS} shards {what}-00000.npy, ... in {folder}, found others")
    for shard in shards:
        shape = tuple(int(side) for side in shard["shape"])
        path = folder / shard["name"]
        if not path.is_file():
            raise ArtifactError(f"expected the images of the pool in {path}, found no such file; the pool is damaged")
        try:
            images = np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # numpy's parser of headers lets out errors of many types
            raise ArtifactError(f"expected images in {path}, found a damaged file ({error})") from None
        if images.shape != shape or str(images.dtype) != dtype:
            raise ArtifactError(
                f"expected {dtype} {what} {shape} in {path}, found {images.dtype} {images.shape}; the file is damaged"
            )
        maps.append(images)
    return maps


def read_store(folder: str | Path) -> Store:
    """Opens a pool's folder.

    Raises:
        ArtifactError: It is missing, damaged, half-written or of a newer version.
    """
    folder = Path(folder).absolute()  # a worker, or a process that unpickles it, may stand elsewhere
    about = read_json(folder / "pool.json", KIND, VERSION)
    tensors = read_tensors(folder / "columns.safetensors")
    fitted_on = pop_fitted_on(tensors, folder)
    try:
        columns = _read_columns(tensors)
        form, _ = read_form(about)
        check_names(about["classes"], "classes")
        check_names(about["reasons"], "reasons")
        if (like := about.get("like")) is not None:
            int(like["items"]), str(like["identity"])
        images, masks = _mapped(folder, about)
        rows, classes, reasons, _ = int(about["rows"]), len(about["classes"]), len(about["reasons"]), about["named"]
    except ArtifactError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ArtifactError(f"expected a whole pool in {folder}, found {error!r}; it is damaged") from None
    _check_shards(images, (form.dtype, (form.channels, *(form.shape or ()))), folder)
    if masks is not None:
        _check_shards(masks, (MASK_DTYPE, (1, *(form.shape or ()))), folder)
        if list(map(len, masks)) != list(map(len, images)):
            raise ArtifactError(f"expected a mask for each image in {folder}, found others; the pool is damaged")
    lengths = {len(getattr(columns, name)) for name in Columns.__annotations__} | {sum(map(len, images))}
    if lengths != {rows}:
        raise ArtifactError(f"expected {rows} rows in every file of {folder}, found {sorted(lengths)}; it is damaged")
    for name, values, limit in (("label", columns.label, classes), ("reason", columns.reason, reasons)):
        if rows and not (values.min() >= 0 and values.max() < limit):
            raise ArtifactError(f"expected {name} from 0 to {limit - 1} in {folder}, found others; it is damaged")
    return Store(images, columns, about, fitted_on, folder, masks)


def read_form(about: Mapping[str, Any]) -> tuple[RawForm, ImageSpec | None]:
    """Returns the raw form of a pool's images, and how they map to [-1, 1] (None for a pool of arrays).

    Raises:
        KeyError, TypeError, ValueError: `about` is not what a pool writes.
    """
    form = RawForm(**{**about["form"], "device": "cpu", "shape": tuple(int(side) for side in about["form"]["shape"])})
    spec = None if about["image_spec"] is None else ImageSpec.from_json(about["image_spec"])
    if spec is not None and (spec.channels, spec.raw_shape) != (form.channels, form.shape):
        raise ValueError(f"image_spec of {spec.channels} channels and {spec.raw_shape} beside images of {form}")
    return form, spec


def _read_columns(tensors: Mapping[str, Tensor]) -> Columns:
    ones = torch.ones(len(tensors["label"]))  # pools of the first releases have no weights
    found = {"weight": ones, **tensors}
    return Columns(**{name: _column(found[name], name) for name in Columns.__annotations__})


def _column(tensor: Tensor, name: str) -> npt.NDArray[Any]:
    wanted = {"score": torch.float32, "keep": torch.bool, "weight": torch.float32}.get(name, torch.int64)
    if tensor.ndim != 1 or tensor.dtype != wanted:
        raise ValueError(f"column {name} of {tensor.dtype} and shape {tuple(tensor.shape)}")
    return tensor.numpy()


def _check_shards(shards: Sequence[npt.NDArray[Any]], wanted: tuple[str, tuple[int, ...]], folder: Path) -> None:
    """Rows are found by division: every shard but the last has as many as the first."""
    sizes = [len(shard) for shard in shards]
    if min(sizes, default=1) < 1 or any(size != sizes[0] for size in sizes[:-1]) or (sizes and sizes[-1] > sizes[0]):
        raise ArtifactError(f"expected shards of equal length in {folder}, found {sizes} rows; the pool is damaged")
    if found := {(str(shard.dtype), shard.shape[1:]) for shard in shards} - {wanted}:
        raise ArtifactError(f"expected rows of {wanted} in {folder}, found {found}; the pool is damaged")
