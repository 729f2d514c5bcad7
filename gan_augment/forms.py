"""RawForm: the type, layout, dtype and size of a raw image, whatever the user's dataset holds."""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gan_augment.errors import ConfigError, DataError

__all__ = ["RawForm", "is_image", "is_mask"]

Kind = Literal["pil", "array", "tensor", "tv_image", "tv_mask"]
Layout = Literal["channels_first", "channels_last", "no_channel"]

_MAX_CHANNELS_LAST = 4
_PIL_MODES = {
    "L": "uint8",
    "RGB": "uint8",
    "RGBA": "uint8",
    "LA": "uint8",
    "I;16": "uint16",
    "I": "int32",
    "F": "float32",
}
_PIL_MASK_MODES = {"P": "uint8", "1": "bool"}
_MASK_DTYPES = ("int64", "bool")
"""Types that masks may have beside those of images."""

_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


def is_image(value: Any) -> bool:
    """Tells whether `value` is an image: PIL, or an array or tensor of two to four dimensions."""
    if isinstance(value, Image.Image):
        return True
    return isinstance(value, Tensor | np.ndarray) and 2 <= value.ndim <= 4 and 0 not in value.shape


def is_mask(value: Any, *, floats: bool = False) -> bool:
    """Tells whether an image may be a segmentation mask: its values are whole numbers, and it has one channel.

    Args:
        value: The image.
        floats: Whether floats may be whole numbers: MONAI reads masks as float32.
    """
    if isinstance(value, Image.Image):
        return value.mode in ("L", "I;16", "I", "1", "P")
    whole = value.dtype.kind in "uib" if isinstance(value, np.ndarray) else not value.dtype.is_floating_point
    whole = whole or (floats and bool((value == value.round()).all()))
    ends = value.shape[0], value.shape[-1]
    volume = value.ndim == 3 and min(ends) > _MAX_CHANNELS_LAST
    return bool(whole) and (value.ndim == 2 or 1 in ends or volume)


@dataclass(frozen=True, kw_only=True)
class RawForm:
    """The form of a raw image: its type, layout, dtype, channels and size.

    Attributes:
        kind: "pil", "array" (numpy), "tensor", "tv_image" or "tv_mask" (torchvision's).
        layout: Where the channel stands.
        dtype: numpy's name of the dtype.
        channels: Number of channels.
        shape: Spatial shape, `(H, W)` or `(D, H, W)`; None where a dataset holds mixed sizes.
        mode: PIL's mode; None for other kinds.
        device: Where a tensor lies.
        palette: Of a mask of PIL's mode "P", as Pascal VOC has them: red, green and blue of each value.
    """

    kind: Kind
    layout: Layout
    dtype: str
    channels: int
    shape: tuple[int, ...] | None
    mode: str | None = None
    device: str = "cpu"
    palette: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        allowed = {
            "kind": self.kind in get_args(Kind),
            "layout": self.layout in get_args(Layout) and (self.kind != "pil" or self.layout == self._pil_layout),
            "dtype": isinstance(self.dtype, str) and self.dtype in (*_DTYPES, *_MASK_DTYPES),
            "channels": isinstance(self.channels, int) and self.channels >= 1,
            "shape": self.shape is None or (len(self.shape) in (2, 3) and min(self.shape) >= 1),
            "mode": _dtype_of(self.mode) == self.dtype if self.kind == "pil" else self.mode is None,
        }
        if wrong := [f"{name} {getattr(self, name)!r}" for name, fine in allowed.items() if not fine]:
            raise ConfigError(f"expected a raw form that images can have, found {', '.join(wrong)}")

    @property
    def _pil_layout(self) -> str:
        return "channels_last" if self.mode in ("RGB", "RGBA", "LA") else "no_channel"

    @property
    def ndim(self) -> int:
        """Dimensions of an array `(C, *spatial)` of an image of this form."""
        if self.shape is None:
            raise DataError("expected images of one size, found a form of mixed sizes")
        return 1 + len(self.shape)

    @classmethod
    def of(cls, image: Any, *, mask: bool = False) -> "RawForm":
        """Reads the form off one raw image, or off a segmentation mask.

        A 3-D array is read as channels last if its last dimension is at most 4, as channels first if its first
        is, else as a volume `(D, H, W)` without channel. A 3-D tensor is always `(C, H, W)`, as in torchvision.
        With four dimensions it is a volume with a channel. A mask of three dimensions has a channel only where that
        counts one.

        Raises:
            DataError: It is no image, or of a type that cannot be drawn (PIL's palettes and single bits, a kind of
                tensor that is not known here).
        """
        if isinstance(image, Image.Image):
            modes = (*_PIL_MODES, *(_PIL_MASK_MODES if mask else ()))
            if image.mode not in modes:
                raise DataError(
                    f"expected PIL images of mode {', '.join(modes)}, found {image.mode!r}; "
                    "convert them in the dataset's loader, for example with image.convert('RGB')"
                )
            bands = len(image.getbands())
            layout: Layout = "no_channel" if bands == 1 else "channels_last"
            full = image.size[::-1] if bands == 1 else (*image.size[::-1], bands)
            form = _build("pil", layout, str(_dtype_of(image.mode)), full, mode=image.mode, mask=mask)
            return replace(form, palette=tuple(image.getpalette() or ())) if image.mode == "P" else form
        if not is_image(image):
            found = f"an array of shape {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
            raise DataError(
                f"expected an image (PIL, or an array or tensor of 2 to 4 dimensions), found {found}; "
                "give a dataset whose items hold one image and one label"
            )
        kind, dtype, shape = _kind(image), str(image.dtype).removeprefix("torch."), tuple(image.shape)
        one = mask and 1 in (shape[0], shape[-1])
        layout = "no_channel" if mask and len(shape) == 3 and not one else _layout(shape, kind)
        device = str(image.device) if isinstance(image, Tensor) else "cpu"
        return _build(kind, layout, dtype, shape, mask=mask, device=device)

    def array(self, image: Any) -> npt.NDArray[Any]:
        """Returns a raw image as `(C, *spatial)` in its own dtype; a view where that is possible."""
        if isinstance(image, Tensor):
            image = image.detach().cpu().numpy()
        array = np.asarray(image)
        if self.layout == "no_channel":
            return array[None]
        return np.moveaxis(array, -1, 0) if self.layout == "channels_last" else array

    def raw(self, array: npt.NDArray[Any]) -> Any:
        """Returns `(C, *spatial)` of the raw dtype as a raw image of this form: the inverse of `array`.

        A grey array is repeated over all channels, as a loader that converts grey files to RGB does it.
        """
        if len(array) != self.channels:
            array = np.broadcast_to(array, (self.channels, *array.shape[1:]))
        if self.layout == "no_channel":
            array = array[0]
        elif self.layout == "channels_last":
            array = array.transpose(*range(1, array.ndim), 0)  # a tenth of the time of moveaxis
        if self.kind == "array":
            return np.array(array, order="C")
        if self.kind == "pil":
            picture = Image.fromarray(np.ascontiguousarray(array))
            if self.palette is not None:
                picture.putpalette(self.palette)
            return picture
        tensor = torch.from_numpy(np.array(array))
        if self.device != "cpu":
            tensor = tensor.to(self.device)
        if self.kind == "tensor":
            return tensor
        from torchvision import tv_tensors

        return tv_tensors.Image(tensor) if self.kind == "tv_image" else tv_tensors.Mask(tensor)

    def differences(self, other: "RawForm", names: tuple[str, ...] = ()) -> str:
        """Returns in words in what `other` differs, empty where it does not."""
        pairs = [(n, getattr(self, n), getattr(other, n)) for n in names or [field.name for field in fields(self)]]
        return "; ".join(f"{name} {mine} against {theirs}" for name, mine, theirs in pairs if mine != theirs)


@lru_cache(maxsize=256)  # a form is read off every item that a transform sees
def _build(
    kind: Kind,
    layout: Layout,
    dtype: str,
    full: tuple[int, ...],
    *,
    mode: str | None = None,
    mask: bool = False,
    device: str = "cpu",
) -> RawForm:
    if dtype not in (*_DTYPES, *(_MASK_DTYPES if mask else ())):
        raise DataError(
            f"expected images of one of the types {', '.join(_DTYPES)}, found {dtype}; convert them in the "
            "dataset's loader"
        )
    shape = {"no_channel": full, "channels_first": full[1:], "channels_last": full[:-1]}[layout]
    channels = {"no_channel": 1, "channels_first": full[0], "channels_last": full[-1]}[layout]
    return RawForm(kind=kind, layout=layout, dtype=dtype, channels=channels, shape=shape, mode=mode, device=device)


def _dtype_of(mode: str | None) -> str | None:
    return {**_PIL_MODES, **_PIL_MASK_MODES}.get(mode or "")


def _kind(image: Any) -> Kind:
    """Returns the kind of an array or a tensor."""
    if not isinstance(image, Tensor):
        return "array"
    from torchvision import tv_tensors

    known: dict[type, Kind] = {Tensor: "tensor", tv_tensors.Image: "tv_image", tv_tensors.Mask: "tv_mask"}
    if type(image) not in known:
        raise DataError(
            f"expected plain tensors, or torchvision's images, found {type(image).__name__}; synthetic images would "
            "not be of this type: have the dataset give plain tensors; in MONAI use Dataset or CacheDataset on a list "
            "of dicts, whose transforms are known"
        )
    return known[type(image)]


def _layout(shape: tuple[int, ...], kind: Kind) -> Layout:
    if len(shape) == 2:
        return "no_channel"
    if kind == "array" and shape[-1] <= _MAX_CHANNELS_LAST < shape[0]:
        return "channels_last"
    if kind == "array" and len(shape) == 3 and shape[-1] <= _MAX_CHANNELS_LAST:
        return "channels_last"
    if len(shape) == 4 or kind != "array" or shape[0] <= _MAX_CHANNELS_LAST:
        return "channels_first"
    return "no_channel"
