"""Where a pool's rows lie: shards of memory-mapped images, and one array a column; in a folder or in memory."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.fingerprint import FittedOn
from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import flattened

__all__ = ["Store", "read_form"]

Shards = list[npt.NDArray[Any]]


class Store:
    """Rows of images and their columns, in memory or mapped from a folder; read-only.

    Args:
        images: The shards, each `(rows, C, *raw_shape)`.
        columns: One value a row over all shards.
        document: What `pool.json` holds.
        fitted_on: Hashes of the images and groups that the synthesizer and the judge were fitted on.
        folder: Where it was read from; None in memory. A store from a folder is pickled as its path.
        masks: Shards of masks `(rows, 1, *raw_shape)`; None where there are none.

    Attributes:
        about: The document, with what its parts have in common.
    """

    def __init__(
        self,
        images: Sequence[npt.NDArray[Any]],
        columns: Columns,
        document: Mapping[str, Any],
        fitted_on: FittedOn | None = None,
        folder: Path | None = None,
        masks: Sequence[npt.NDArray[Any]] | None = None,
    ) -> None:
        self.images, self.document, self.folder = _plain(images), document, folder
        self.about = flattened(document)
        self._columns: Columns | None = columns
        self._decided: Columns | None = None
        self.masks = None if masks is None else _plain(masks)
        self._own = None if folder is not None else (list(images), None if masks is None else list(masks))
        self._shared: tuple[list[Tensor], list[Tensor] | None] | None = None
        self.fitted_on = FittedOn() if fitted_on is None else fitted_on
        sizes = [len(shard) for shard in self.images]
        self._starts: list[int] = np.cumsum([0, *sizes]).tolist()
        self._even = sizes[0] if sizes and len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0] else None
        self._rows = int(self._starts[-1])

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> Columns:
        """One value a row; of a folder, read where it was unpickled only when they are asked for."""
        if self._columns is None:
            from gan_augment.pool.read import map_columns

            assert self.folder is not None
            self._columns = map_columns(self.folder, self.document)
        return self._columns

    def decided(self, columns: Columns, document: Mapping[str, Any]) -> "Store":
        """Returns a store of the same images with other columns, such as another selector's decisions."""
        other = Store.__new__(Store)
        other.__dict__.update(self.__dict__)
        other.document, other.about = document, flattened(document)
        other._columns = other._decided = columns
        return other

    def image(self, row: int) -> npt.NDArray[Any]:
        """Returns one image `(C, *raw_shape)`, a read-only view of the map."""
        if not 0 <= row < self._rows:
            raise IndexError(f"expected a row from 0 to {len(self) - 1} of the pool, found {row}")
        shard = bisect_right(self._starts, row) - 1
        image: npt.NDArray[Any] = self.images[shard][row - self._starts[shard]]
        return image

    def reader(self) -> Callable[[int], npt.NDArray[Any]]:
        """Returns a function that does what `image` does for rows that are known to exist, by the shortest way."""
        images, size, starts = self.images, self._even, self._starts
        if len(images) == 1:
            return images[0].__getitem__
        if size is not None:
            return lambda row: images[row // size][row % size]

        def read(row: int) -> npt.NDArray[Any]:
            shard = bisect_right(starts, row) - 1
            image: npt.NDArray[Any] = images[shard][row - starts[shard]]
            return image

        return read

    def block(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Returns the images of rows `start` to `stop`, `(stop - start, C, *raw_shape)`."""
        return self._block(self.images, start, stop)

    def mask_block(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Returns the masks of rows `start` to `stop`, `(stop - start, 1, *raw_shape)`."""
        assert self.masks is not None
        return self._block(self.masks, start, stop)

    def _block(self, shards: Shards, start: int, stop: int) -> npt.NDArray[Any]:
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, stop - 1) - 1
        parts = []
        for shard in range(first, last + 1):
            begin = self._starts[shard]
            parts.append(shards[shard][max(0, start - begin) : stop - begin])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def mask(self, row: int) -> npt.NDArray[Any] | None:
        """Returns the mask of one image `(1, *raw_shape)`, a read-only view of the map; None where there are none."""
        if self.masks is None or not 0 <= row < self._rows:
            return None
        shard = bisect_right(self._starts, row) - 1
        mask: npt.NDArray[Any] = self.masks[shard][row - self._starts[shard]]
        return mask

    def __getstate__(self) -> dict[str, Any]:
        """Hands over the path instead of images and columns where there is one, else tensors.

        Spawned workers get the memory of a tensor, not a copy, as long as it lives here: so it is kept.
        """
        held = {"images": None, "masks": None, "_own": None}
        if self.folder is not None:
            return {**self.__dict__, **held, "_columns": self._decided}
        if self._shared is None and self._own is not None:
            images, masks = self._own
            self._shared = _tensors(images), None if masks is None else _tensors(masks)
        return {**self.__dict__, **held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Maps the images again."""
        self.__dict__.update(state)
        if self.folder is not None:
            from gan_augment.pool.read import map_images

            images, masks = map_images(self.folder, self.document)
            self.images, self.masks = _plain(images), None if masks is None else _plain(masks)
        elif self._shared is not None:
            own, also = self._shared
            self.images = _plain([shard.numpy() for shard in own])
            self.masks = None if also is None else _plain([shard.numpy() for shard in also])


def _tensors(shards: Sequence[npt.NDArray[Any]]) -> list[Tensor]:
    return [torch.from_numpy(shard if shard.flags.writeable else shard.copy()) for shard in shards]


def _plain(shards: Sequence[npt.NDArray[Any]]) -> Shards:
    """Returns read-only views; of a map a plain array, whose rows are found in a third of the time."""
    views = [np.asarray(shard).view() for shard in shards]
    for view in views:
        view.flags.writeable = False
    return views


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
