"""ImageSpec: how raw images of a dataset map to the network's [-1, 1] grid and back.

A raw image is whatever the user's dataset holds before its transform: a PIL image, an array or a tensor, of
any integer or float type, two- or three-dimensional. Three forms occur:

- *raw*: the user's own type and layout;
- *array*: `(C, *spatial)` numpy in the raw dtype and units: what a pool stores;
- *grid*: `(C, *grid)` float32 in [-1, 1]: what networks see.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from gan_augment.errors import ConfigError, DataError, SynthesizerError
from gan_augment.forms import RawForm
from gan_augment.geometry import Affine, as_affine

__all__ = [
    "MIN_SIZE",
    "ImageSpec",
    "as_channels",
    "batch_rows",
    "far_apart",
    "network_grid",
    "network_levels",
    "picture",
    "resize",
    "resize_masks",
]

MIN_SIZE = 8
_BASE_SIZE = 4
_MAX_PADDING = 1.15
_WIDE = ("uint32", "int32", "float64")
"""Types whose values are not all exact in float32."""

_WIDEST = 1e30
_MOST_ROWS, _MOST_CELLS = 256, 2**22
_FAR = 100
_LUMA = (0.299, 0.587, 0.114)


def far_apart(one: float, other: float) -> bool:
    """Tells whether two ranges of values are plainly of other units, as 0 to 1 and 0 to 255 are; 0 tells nothing."""
    return min(one, other) > 0 and max(one, other) > _FAR * min(one, other)


def batch_rows(grid: tuple[int, ...]) -> int:
    """Returns how many images of a grid are drawn or judged together: 256 up to 128x128, fewer above.

    A pure function of the grid, so that a row drawn again is drawn in a batch of the same size.
    """
    return max(1, min(_MOST_ROWS, _MOST_CELLS // math.prod(grid)))


def network_levels(grid: tuple[int, ...]) -> int:
    """Returns how often a network halves `grid`: down to at least 4 cells in the shortest dimension."""
    levels = 0
    while min(grid) // 2 ** (levels + 1) >= _BASE_SIZE and all(side % 2 ** (levels + 1) == 0 for side in grid):
        levels += 1
    return levels


def network_grid(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the smallest grid that holds `shape` and that a network can halve down to about 4 cells.

    28x28 becomes 32x32 (three halvings), 100x100 becomes 112x112 (four): one halving is given up where it
    would cost more than 15% of padding in a dimension.

    Raises:
        DataError: A side is shorter than 8.
    """
    if min(shape) < MIN_SIZE:
        raise DataError(
            f"expected images of at least {MIN_SIZE} pixels a side, found {_by(shape)}; "
            "give image_size= to have them resized"
        )
    for levels in range(round(math.log2(min(shape) / _BASE_SIZE)), 0, -1):
        grid = tuple(-(-side // 2**levels) * 2**levels for side in shape)
        if all(g <= side * _MAX_PADDING for g, side in zip(grid, shape, strict=True)):
            return grid
    return tuple(side + side % 2 for side in shape)


def _by(shape: tuple[int, ...] | None) -> str:
    return "mixed sizes" if shape is None else "x".join(map(str, shape))


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """How raw images map to the grid in [-1, 1] and back.

    Attributes:
        form: The raw form.
        grid: Spatial shape of the network's images.
        low: Raw value of -1, for each channel, from the training split.
        high: Raw value of +1, for each channel.
        fit: How raw images are fitted to the grid. "pad" replicates the border and is undone by a crop;
            "resize" is bilinear with antialiasing (trilinear for volumes).
        affine: From voxels of a raw volume to mm (RAS+), as rows of `(4, 4)`; None where that is not known.
    """

    form: RawForm
    grid: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fit: Literal["pad", "resize"] = "pad"
    affine: Affine | None = None

    def __post_init__(self) -> None:
        if len(self.low) != self.form.channels or len(self.high) != self.form.channels:
            raise ConfigError(
                f"expected a low and a high for each of {self.form.channels} channels, "
                f"found {len(self.low)} and {len(self.high)}"
            )
        if any(not (math.isfinite(a) and math.isfinite(b) and a < b) for a, b in zip(self.low, self.high, strict=True)):
            raise ConfigError(f"expected finite low < high in each channel, found {self.low} and {self.high}")
        if any(b - a > _WIDEST for a, b in zip(self.low, self.high, strict=True)):
            raise ConfigError(f"expected high - low of at most {_WIDEST:g}, found {self.low} and {self.high}")
        if self.fit not in ("pad", "resize"):
            raise ConfigError(f"expected fit 'pad' or 'resize', found {self.fit!r}")
        if len(self.grid) not in (2, 3) or (self.form.shape is not None and len(self.form.shape) != len(self.grid)):
            raise ConfigError(f"expected a grid of the images' dimensions, found {self.grid} for {self.form.shape}")
        if self.fit == "pad" and any(g < s for g, s in zip(self.grid, self.raw_shape, strict=True)):
            raise ConfigError(f"expected a grid that holds the images, found {self.grid} for {self.raw_shape}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.form.channels

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Spatial shape of the raw images that this spec makes: the reals', or the grid where those are mixed."""
        return self.form.shape or self.grid

    def normalise(self, image: Any) -> Tensor:
        """Returns one raw image as `(C, *grid)` float32 in [-1, 1]; values beyond low and high are clipped."""
        return self.decode(self.form.array(image)[None])[0]

    def decode(self, arrays: npt.NDArray[Any]) -> Tensor:
        """Returns `(N, C, *spatial)` of raw values as `(N, C, *grid)` float32 in [-1, 1]."""
        wide = self.form.dtype in _WIDE
        values = torch.from_numpy(np.asarray(arrays, dtype=np.float64 if wide else np.float32))
        low, high = self._ranges(values)
        return self._to_grid(((values - low) / (high - low) * 2 - 1).clamp(-1, 1).float())

    def encode(self, images: Tensor) -> npt.NDArray[Any]:
        """Returns `(N, C, *grid)` in [-1, 1] as `(N, C, *raw_shape)` in raw dtype and units.

        Values are clamped first: a uint8 never wraps. Integers are rounded half to even.
        """
        values = self._from_grid(images.detach().to("cpu", torch.float32)).clamp(-1, 1).double()
        low, high = self._ranges(values)
        values.add_(1).div_(2).mul_(high - low).add_(low)
        dtype = np.dtype(self.form.dtype)
        if dtype.kind in "ui":
            limits = np.iinfo(dtype)
            values.round_().clamp_(float(limits.min), float(limits.max))
        return values.numpy().astype(dtype)

    def encode_masks(self, masks: Tensor) -> npt.NDArray[np.int32]:
        """Returns masks `(N, 1, *grid)` of whole numbers as `(N, 1, *raw_shape)` int32, fitted by nearest cells."""
        masks = masks.detach().cpu().float()
        if self.fit == "resize":
            masks = resize_masks(masks, self.raw_shape)
        return self._from_grid(masks).round().numpy().astype(np.int32)

    def _ranges(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (1, self.channels, *[1] * (like.ndim - 2))
        low, high = (torch.tensor(values, dtype=like.dtype).reshape(shape) for values in (self.low, self.high))
        return low, high

    def _to_grid(self, values: Tensor) -> Tensor:
        if tuple(values.shape[2:]) == self.grid:
            return values
        if self.fit == "resize":
            return resize(values, self.grid).clamp(-1, 1)
        if tuple(values.shape[2:]) != self.raw_shape:
            raise DataError(
                f"expected images of {_by(self.raw_shape)} as in the training data, found "
                f"{_by(tuple(values.shape[2:]))}; resize them, or fit with image_size= to take any size"
            )
        padding: list[int] = []
        for side, target in reversed(list(zip(values.shape[2:], self.grid, strict=True))):
            padding += [(target - side) // 2, target - side - (target - side) // 2]
        return functional.pad(values, padding, mode="replicate")

    def _from_grid(self, images: Tensor) -> Tensor:
        shape = self.raw_shape
        if tuple(images.shape[2:]) == shape:
            return images
        if self.fit == "resize":
            return resize(images, shape)
        window = [slice((g - side) // 2, (g - side) // 2 + side) for g, side in zip(self.grid, shape, strict=True)]
        return images[(slice(None), slice(None), *window)]

    def to_json(self) -> dict[str, Any]:
        """Returns the spec as JSON values."""
        told = asdict(self)
        return told if self.affine is not None else {name: told[name] for name in told if name != "affine"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ImageSpec":
        """Reads what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: `value` is not what `to_json` writes.
        """
        form = dict(value["form"])
        form["shape"] = None if form["shape"] is None else tuple(int(side) for side in form["shape"])
        spec = {**value, "form": RawForm(**form), "grid": tuple(int(side) for side in value["grid"])}
        for name in ("low", "high"):
            spec[name] = tuple(float(number) for number in value[name])
        spec["affine"] = as_affine(value.get("affine"))
        return cls(**spec)


def resize(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns `(N, C, *spatial)` resized to `shape`, with antialiasing where it shrinks."""
    if tuple(images.shape[2:]) == shape:
        return images
    if len(shape) == 2:
        return functional.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)
    smaller = tuple(min(old, new) for old, new in zip(images.shape[2:], shape, strict=True))
    images = functional.adaptive_avg_pool3d(images, list(smaller))  # type: ignore[arg-type]  # a list is taken
    return functional.interpolate(images, shape, mode="trilinear", align_corners=False)


def resize_masks(masks: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns masks `(N, 1, *spatial)` of whole numbers resized to `shape`, by nearest cells."""
    if tuple(masks.shape[2:]) == shape:
        return masks
    return functional.interpolate(masks.float(), shape, mode="nearest-exact").to(masks.dtype)


def as_channels(images: Tensor, channels: int) -> Tensor:
    """Returns images `(N, C, *spatial)` with another number of channels: grey as RGB, RGB as grey, several as one.

    Grey is 0.299 R + 0.587 G + 0.114 B (ITU-R 601, as PIL has it); of other numbers of channels it is their mean.

    Raises:
        SynthesizerError: There is no such conversion.
    """
    found = images.shape[1]
    if found == channels:
        return images
    if found == 1:
        return images.expand(-1, channels, *images.shape[2:])
    if channels != 1:
        raise SynthesizerError(f"expected samples of {channels} channels as in the dataset, found {found}")
    weights = images.new_tensor(_LUMA if found == 3 else [1 / found] * found)
    return torch.einsum("nc...,c->n...", images, weights)[:, None]


def picture(image: Tensor) -> npt.NDArray[Any]:
    """Returns `(H, W)` or `(H, W, 3)` from 0 to 1 of an image `(C, *spatial)` in [-1, 1]; of a volume the middle slice.

    Of an image with other than one or three channels the mean of the channels is shown.
    """
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    array: npt.NDArray[Any] = ((image.numpy() + 1) / 2).clip(0, 1)
    return np.moveaxis(array, 0, -1) if len(array) == 3 else array.mean(axis=0)
