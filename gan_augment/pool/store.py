"""Where a pool's rows lie: shards of memory-mapped images, and one array a column.

A folder holds `pool.json`, `columns.safetensors` (label, seed, score, keep, reason, parent; one value a row) and
`images-00000.npy`, `images-00001.npy`, ... of `(rows, C, *raw_shape)` in the raw dtype. The folder is written beside
its place and renamed into it when it is whole. The same store serves arrays in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import read_json, read_tensors
from gan_augment.errors import ArtifactError
from gan_augment.types import IntArray

__all__ = ["KIND", "VERSION", "Columns", "Store", "read_store"]

KIND = "gan_augment pool"
VERSION = 1


@dataclass(frozen=True)
class Columns:
    """One value a row; what is not known is -1 or NaN.

    Attributes:
        label: `(N,)` int64, index into the pool's classes.
        seed: `(N,)` int64.
        score: `(N,)` float32, the selector's; lower is better.
        keep: `(N,)` bool, the selector's decision.
        reason: `(N,)` int64, index into the pool's reasons.
        parent: `(N,)` int64, the item of the dataset that the row was made from.
    """

    label: IntArray
    seed: IntArray
    score: npt.NDArray[np.float32]
    keep: npt.NDArray[np.bool_]
    reason: IntArray
    parent: IntArray


class Store:
    """Rows of images and their columns, in memory or mapped from a folder; read-only.

    Args:
        images: The shards, each `(rows, C, *raw_shape)`.
        columns: One value a row over all shards.
        about: What `pool.json` holds.
        folder: Where it was read from; None in memory. A store from a folder is pickled as its path.
    """

    def __init__(
        self,
        images: Sequence[npt.NDArray[Any]],
        columns: Columns,
        about: Mapping[str, Any],
        folder: Path | None = None,
    ) -> None:
        self.images, self.columns, self.about, self.folder = list(images), columns, about, folder
        self._shard_rows = len(self.images[0]) if self.images else 1

    def __len__(self) -> int:
        return len(self.columns.label)

    def image(self, row: int) -> npt.NDArray[Any]:
        """Returns one image `(C, *raw_shape)`, a view of the map."""
        shard, at = divmod(row, self._shard_rows)
        image: npt.NDArray[Any] = self.images[shard][at]
        return image

    def __getstate__(self) -> dict[str, Any]:
        """Hands over the path instead of the images where there is one."""
        return {**self.__dict__, "images": None} if self.folder is not None else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Maps the images again."""
        self.__dict__.update(state)
        if self.folder is not None:
            self.images = _map_shards(self.folder, self.about)


def _map_shards(folder: Path, about: Mapping[str, Any]) -> list[npt.NDArray[Any]]:
    maps = []
    for shard in about["shards"]:
        name, shape = str(shard["name"]), tuple(int(side) for side in shard["shape"])
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ArtifactError(f"expected the images of the pool in {path}, found no such file; the pool is damaged")
        try:
            images = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ArtifactError(f"expected images in {path}, found a damaged file ({error})") from None
        if images.shape != shape or str(images.dtype) != about["dtype"]:
            raise ArtifactError(
                f"expected {about['dtype']} images {shape} in {path}, found {images.dtype} {images.shape}; "
                "the file is damaged"
            )
        maps.append(images)
    return maps


def read_store(folder: str | Path) -> Store:
    """Opens a pool's folder.

    Raises:
        ArtifactError: It is missing, damaged, half-written or of a newer version.
    """
    folder = Path(folder)
    about = read_json(folder / "pool.json", KIND, VERSION)
    tensors = read_tensors(folder / "columns.safetensors")
    try:
        columns = Columns(
            **{name: tensors[name].numpy() for name in ("label", "seed", "score", "reason", "parent")},
            keep=tensors["keep"].numpy().astype(bool),
        )
        rows = int(about["rows"])
        images = _map_shards(folder, about)
        classes, reasons = len(about["classes"]), len(about["reasons"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"expected a whole pool in {folder}, found {error!r} missing; it is damaged") from None
    lengths = {len(getattr(columns, name)) for name in Columns.__annotations__} | {sum(map(len, images))}
    if lengths != {rows}:
        raise ArtifactError(f"expected {rows} rows in every file of {folder}, found {sorted(lengths)}; it is damaged")
    for name, values, limit in (("label", columns.label, classes), ("reason", columns.reason, reasons)):
        if rows and not (values.min() >= 0 and values.max() < limit):
            raise ArtifactError(f"expected {name} from 0 to {limit - 1} in {folder}, found others; it is damaged")
    return Store(images, columns, about, folder)
