"""Synthetic images for a collated batch: of its size, dtype and device.

All choices come from torch's global random state.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import DataError
from gan_augment.images import ImageSpec, far_apart
from gan_augment.transforms.source import ByLabel, drawn_seeds
from gan_augment.types import IntArray

__all__ = ["ForBatches", "with_rows"]

_BEYOND = 0.25
"""How far noise and the like may lead values out of 0 to 1."""


class ForBatches(ByLabel):
    """What a pool or a synthesizer has of each label, as parts of a batch.

    Args:
        source: See `ByLabel`.
        classes: See `ByLabel`.
        transform: See `ByLabel`; of a pool it is called on each raw image, of a synthesizer on all at once.
        unit: Whether float batches lie in 0 to 1, so that the rows of a uint8 pool are brought there.
    """

    def __init__(
        self,
        source: Any,
        classes: Sequence[str] | None = None,
        transform: Callable[..., Any] | None = None,
        *,
        unit: bool = False,
    ) -> None:
        super().__init__(source, classes, transform)
        self._unit, self._is_checked, self._has_units = unit, False, False

    def batch(self, classes: IntArray, like: Tensor, seeds: IntArray | None = None) -> Tensor:
        """Returns a synthetic image of each class `(n,)` of the source, of the size, dtype and device of a batch.

        Args:
            classes: `(n,)` classes of the source, n from 1.
            like: `(N, C, *spatial)` uint8 or float.
            seeds: `(n,)` what is drawn, see `made`; None for seeds of torch's global random state.

        Raises:
            DataError: What is drawn does not fit the batch.
        """
        seeds = drawn_seeds(len(classes)) if seeds is None else seeds
        if self.pool is None:
            made = self._live(classes, seeds, like)
        else:
            made = self._stored(self.rows(classes, seeds).tolist(), like)
            self._check_units(made, like)
        return made.to(like.device)

    def _check_units(self, made: Tensor, like: Tensor) -> None:
        """Raises if rows of the pool are plainly in other units than the first batch that is not blank."""
        if self._has_units or like.is_meta or not like.is_floating_point():
            return
        drawn, own = (float(images.detach().abs().max()) for images in (made, like))
        if far_apart(drawn, own):
            raise DataError(
                f"expected synthetic images in the units of the batch, whose values go to {own:.4g}, found ones that "
                f"go to {drawn:.4g}; give transform=, which makes of the pool's raw images what the loader's transform "
                "makes of real ones (scale, normalisation)"
            )
        self._has_units = min(drawn, own) > 0

    def _stored(self, rows: list[int], like: Tensor) -> Tensor:
        assert self.pool is not None
        if self.transform is not None:
            made = [self.transform(self.pool.raw(row)) for row in rows]
            return torch.stack([_fitting(image, like.shape[1:], like.dtype, "transform= to return") for image in made])
        images = torch.from_numpy(np.stack(self.arrays(rows)))
        if (images.shape[1], like.shape[1]) == (1, 3) and images.ndim == like.ndim:
            images = images.expand(-1, 3, *images.shape[2:]).contiguous()
        if self._unit and like.is_floating_point():
            images = self._in_unit_range(images, like)
        return _fitting(images, (len(rows), *like.shape[1:]), like.dtype, "the pool's images as")

    def _in_unit_range(self, images: Tensor, like: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            self._check_range(like)
            return images.to(like.device).to(like.dtype).div_(255)  # bytes travel in a quarter of the time of floats
        if not images.is_floating_point():
            return images
        self._check_range(like, images)
        return images.to(like.dtype)

    def _check_range(self, batch: Tensor, made: Tensor | None = None) -> None:
        """Raises if the first batch, or what is first put in, is plainly not from 0 to 1, as they are to be alike."""
        if self._is_checked:
            return
        for what, images in {"a float batch": batch, "images of the pool": made}.items():
            least, most = (0.0, 1.0) if images is None or images.is_meta else map(float, torch.aminmax(images.detach()))
            if least < -_BEYOND or most > 1 + _BEYOND:
                raise DataError(
                    f"expected {what} from 0 to 1, as drawn images are, found values from {least:.3g} to {most:.3g}; "
                    "give transform=, which makes drawn images (of a synthesizer in [-1, 1], of a pool the raw ones) "
                    "what the loader's transform makes of real ones"
                )
        self._is_checked = not batch.is_meta

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


def with_rows(batch: Tensor, rows: IntArray, images: Tensor) -> Tensor:
    """Returns a batch `(N, ...)` with other images `(n, ...)` at `rows` `(n,)`; what it is given is not changed."""
    if np.array_equal(rows, np.arange(len(batch))) and batch.is_contiguous():  # else strides are to stay
        return images
    changed = batch.clone()
    changed[torch.from_numpy(rows).to(batch.device)] = images
    return changed


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
