"""Synthetic images for a collated batch: of its size, dtype and device.

All choices come from torch's global random state.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import DataError
from gan_augment.images import ImageSpec
from gan_augment.transforms.source import ByLabel, drawn_seeds
from gan_augment.types import IntArray

__all__ = ["ForBatches"]

_BEYOND = 0.25
"""How far noise and the like may lead values out of 0 to 1."""


class ForBatches(ByLabel):
    """What a pool or a synthesizer has of each label, as parts of a batch."""

    _is_checked = False

    def batch(self, classes: IntArray, like: Tensor) -> Tensor:
        """Returns a synthetic image of each class `(n,)` of the source, of the size, dtype and device of a batch.

        Args:
            classes: `(n,)` classes of the source.
            like: `(N, C, *spatial)` uint8 or float.

        Raises:
            DataError: What is drawn does not fit the batch.
        """
        seeds = drawn_seeds(len(classes))
        if self.pool is None:
            made = self._live(classes, seeds, like)
        else:
            made = torch.stack([self._row(row, like) for row in map(self.row, classes.tolist(), seeds.tolist())])
        return made.to(like.device)

    def _row(self, row: int, like: Tensor) -> Tensor:
        assert self.pool is not None
        if self.transform is not None:
            return _fitting(self.transform(self.pool.raw(row)), like.shape[1:], like.dtype, "transform= to return")
        array = np.array(self.pool.array(row))
        if (len(array), like.shape[1]) == (1, 3) and array.ndim == like.ndim - 1:
            array = np.repeat(array, 3, axis=0)
        return _fitting(torch.from_numpy(array), like.shape[1:], like.dtype, "the pool's images as")

    def _check_range(self, batch: Tensor) -> None:
        """Raises if the first batch is plainly not one from 0 to 1, which drawn images are without a transform."""
        if self._is_checked or batch.is_meta:
            return
        least, most = float(batch.min()), float(batch.max())
        if least < -_BEYOND or most > 1 + _BEYOND:
            raise DataError(
                f"expected a float batch from 0 to 1, as drawn images are, found values from {least:.3g} to {most:.3g};"
                " give transform=, which makes drawn images, in [-1, 1], what the loader's transform makes of real ones"
            )
        self._is_checked = True

    def _live(self, classes: IntArray, seeds: IntArray, like: Tensor) -> Tensor:
        assert self.synthesizer is not None
        spec, shape = self.synthesizer.image_spec, (len(classes), *like.shape[1:])
        drawn = self.draw(classes, seeds)
        if self.transform is not None:
            drawn = (drawn if spec is None else _at_raw_size(drawn, spec)).to(like.device)
            with torch.no_grad():
                return _fitting(self.transform(drawn), shape, like.dtype, "transform= to return")
        if spec is not None:
            drawn = torch.from_numpy(spec.encode(drawn))
            if drawn.dtype != torch.uint8 and not (drawn.is_floating_point() and like.is_floating_point()):
                return _fitting(drawn, shape, like.dtype, "the synthesizer's images as")
            drawn = drawn / 255 if drawn.dtype == torch.uint8 and like.is_floating_point() else drawn
        else:
            drawn = ((drawn + 1) / 2).clamp(0, 1)
            drawn = drawn if like.is_floating_point() else (drawn * 255).round()
        if drawn.is_floating_point() and like.is_floating_point():
            self._check_range(like)
        return _fitting(drawn.to(like.dtype), shape, like.dtype, "the synthesizer's images as")


def _fitting(made: Any, shape: Sequence[int], dtype: torch.dtype, what: str) -> Tensor:
    """Returns `made` as a plain tensor, after asserting its shape and dtype."""
    if isinstance(made, Tensor) and tuple(made.shape) == tuple(shape) and made.dtype == dtype:
        return made.detach().as_subclass(Tensor)
    found = f"{made.dtype} of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    raise DataError(
        f"expected {what} tensors like those of the batch, {dtype} of shape {tuple(shape)}, found {found}; give a "
        "transform= that makes them so, as the loader's own does with real images (size, dtype, normalisation)"
    )


def _at_raw_size(images: Tensor, spec: ImageSpec) -> Tensor:
    """Returns images of the grid at the size of the raw ones, still float32 in [-1, 1]."""
    form = replace(spec.form, kind="tensor", layout="channels_first", dtype="float32", mode=None)
    ends = (-1.0,) * spec.channels, (1.0,) * spec.channels
    return torch.from_numpy(replace(spec, form=form, low=ends[0], high=ends[1]).encode(images))
