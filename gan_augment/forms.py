"""RawForm: the type, layout, dtype and size of a raw image, whatever the user's dataset holds."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gan_augment.errors import ConfigError, DataError

__all__ = ["RawForm", "is_image"]

Kind = Literal["pil", "array", "tensor", "tv_image"]
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
_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64")


def is_image(value: Any) -> bool:
    """Tells whether `value` is an image: PIL, or an array or tensor of two to four dimensions."""
    if isinstance(value, Image.Image):
        return True
    return isinstance(value, Tensor | np.ndarray) and 2 <= value.ndim <= 4 and 0 not in value.shape


@dataclass(frozen=True, kw_only=True)
class RawForm:
    """The form of a raw image: its type, layout, dtype, channels and size.

    Attributes:
        kind: "pil", "array" (numpy), "tensor" or "tv_image" (torchvision's).
        layout: Where the channel stands.
        dtype: numpy's name of the dtype.
        channels: Number of channels.
        shape: Spatial shape, `(H, W)` or `(D, H, W)`; None where a dataset holds mixed sizes.
        mode: PIL's mode; None for other kinds.
    """

    kind: Kind
    layout: Layout
    dtype: str
    channels: int
    shape: tuple[int, ...] | None
    mode: str | None = None

    def __post_init__(self) -> None:
        allowed = {
            "kind": self.kind in get_args(Kind),
            "layout": self.layout in get_args(Layout) and (self.kind != "pil" or self.layout == self._pil_layout),
            "dtype": isinstance(self.dtype, str) and self.dtype in _DTYPES,
            "channels": isinstance(self.channels, int) and self.channels >= 1,
            "shape": self.shape is None or (len(self.shape) in (2, 3) and min(self.shape) >= 1),
            "mode": _PIL_MODES.get(self.mode or "") == self.dtype if self.kind == "pil" else self.mode is None,
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
    def of(cls, image: Any) -> "RawForm":
        """Reads the form off one raw image.

        A 3-D array is read as channels last if its last dimension is at most 4, as channels first if its first
        is, else as a volume `(D, H, W)` without channel. A 3-D tensor is always `(C, H, W)`, as in torchvision.
        With four dimensions it is a volume with a channel.

        Raises:
            DataError: It is no image, or PIL's mode is one that cannot be drawn (a palette, one bit).
        """
        if isinstance(image, Image.Image):
            if image.mode not in _PIL_MODES:
                raise DataError(
                    f"expected PIL images of mode {', '.join(_PIL_MODES)}, found {image.mode!r}; "
                    "convert them in the dataset's loader, for example with image.convert('RGB')"
                )
            array = np.asarray(image)
            layout: Layout = "no_channel" if array.ndim == 2 else "channels_last"
            return cls._build("pil", layout, array.dtype, array.shape, image.mode)
        if not is_image(image):
            found = f"an array of shape {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
            raise DataError(
                f"expected an image (PIL, or an array or tensor of 2 to 4 dimensions), found {found}; "
                "give a dataset whose items hold one image and one label"
            )
        kind: Kind = "array"
        if isinstance(image, Tensor):
            from torchvision import tv_tensors

            kind = "tv_image" if isinstance(image, tv_tensors.Image) else "tensor"
        dtype = str(image.dtype).removeprefix("torch.")
        return cls._build(kind, _layout(tuple(image.shape), kind), dtype, tuple(image.shape), None)

    @classmethod
    def _build(cls, kind: Kind, layout: Layout, dtype: Any, full: tuple[int, ...], mode: str | None) -> "RawForm":
        if str(dtype) not in _DTYPES:
            raise DataError(
                f"expected images of one of the types {', '.join(_DTYPES)}, found {dtype}; convert them in the "
                "dataset's loader"
            )
        shape = {"no_channel": full, "channels_first": full[1:], "channels_last": full[:-1]}[layout]
        channels = {"no_channel": 1, "channels_first": full[0], "channels_last": full[-1]}[layout]
        return cls(kind=kind, layout=layout, dtype=str(np.dtype(dtype)), channels=channels, shape=shape, mode=mode)

    def array(self, image: Any) -> npt.NDArray[Any]:
        """Returns a raw image as `(C, *spatial)` in its own dtype; a view where that is possible."""
        if isinstance(image, Tensor):
            image = image.detach().cpu().numpy()
        array = np.asarray(image)
        if self.layout == "no_channel":
            return array[None]
        return np.moveaxis(array, -1, 0) if self.layout == "channels_last" else array

    def raw(self, array: npt.NDArray[Any]) -> Any:
        """Returns `(C, *spatial)` of the raw dtype as a raw image of this form: the inverse of `array`."""
        if self.layout == "no_channel":
            array = array[0]
        elif self.layout == "channels_last":
            array = np.moveaxis(array, 0, -1)
        if self.kind == "array":
            return np.array(array, order="C")
        if self.kind == "pil":
            return Image.fromarray(np.ascontiguousarray(array))
        tensor = torch.from_numpy(np.array(array))
        if self.kind == "tv_image":
            from torchvision import tv_tensors

            return tv_tensors.Image(tensor)
        return tensor

    def differences(self, other: "RawForm", names: tuple[str, ...] = ()) -> str:
        """Returns in words in what `other` differs, empty where it does not."""
        mine, theirs = asdict(self), asdict(other)
        return "; ".join(
            f"{name} {mine[name]} against {theirs[name]}" for name in (names or mine) if mine[name] != theirs[name]
        )


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
