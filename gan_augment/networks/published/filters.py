"""FIR filters between resolutions, as StyleGAN's: zeros inserted, zeros around, filtered, every n-th cell kept."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["double", "fir", "halve", "upfirdn"]


def fir(taps: Sequence[float]) -> Tensor:
    """Returns a low-pass filter that sums to 1 as StyleGAN's weights store it.

    Args:
        taps: Of one axis.

    Returns:
        `(taps, taps)`, the taps times themselves; `(taps,)` from 8 taps on, for two passes of one axis each.
    """
    line = torch.tensor(taps, dtype=torch.float32)
    weights = line if len(taps) >= 8 else line[:, None] * line
    return weights / weights.sum()


def upfirdn(
    images: Tensor, kernel: Tensor | None, up: int = 1, down: int = 1, padding: int | Sequence[int] = 0,
    gain: float = 1.0,
) -> Tensor:  # fmt: skip
    """Inserts `up - 1` zeros after each cell, pads with zeros, convolves with a filter, keeps every `down`-th cell.

    Plain torch operations that can be differentiated twice. A convolution in the strict sense: the filter is mirrored.
    No zero is stored or multiplied. On a CPU it is fastest for images that are channels last.

    Args:
        images: `(N, C, H, W)`.
        kernel: `(taps,)` for a filter that is applied along both axes one after the other, or `(h, w)`; None for none.
        up: Factor by which both axes grow.
        down: Factor by which both axes shrink.
        padding: Cells of zeros around what was grown: one number, or left, right, top and bottom; negative ones crop.
        gain: What the result is multiplied with.

    Returns:
        `(N, C, H', W')`, with `H' = (H up + top + bottom - taps) // down + 1`.
    """
    left, right, top, bottom = [padding] * 4 if isinstance(padding, int) else padding
    if kernel is None:
        kernel = images.new_ones(1, 1)
    weights = kernel.to(images)
    if weights.ndim == 2:
        return _filtered(images, weights * gain, (up, up), (down, down), (left, right, top, bottom))
    weights = weights * gain**0.5
    images = _filtered(images, weights[None], (1, up), (1, down), (left, right, 0, 0))
    return _filtered(images, weights[:, None], (up, 1), (down, 1), (0, 0, top, bottom))


def double(images: Tensor, kernel: Tensor) -> Tensor:
    """Returns images of twice the size: zeros inserted, then the filter, as bright as they were."""
    taps = kernel.shape[-1]
    before, after = (taps + 1) // 2, (taps - 2) // 2
    return upfirdn(images, kernel, up=2, padding=(before, after, before, after), gain=4.0)


def halve(images: Tensor, kernel: Tensor) -> Tensor:
    """Returns images of half the size: the filter, then every other cell."""
    taps = kernel.shape[-1]
    before, after = (taps - 1) // 2, (taps - 2) // 2
    return upfirdn(images, kernel, down=2, padding=(before, after, before, after))


def _filtered(
    images: Tensor, weights: Tensor, up: tuple[int, int], down: tuple[int, int], around: tuple[int, int, int, int]
) -> Tensor:
    """Filters each channel; factors are those of rows and columns, `around` is left, right, top and bottom."""
    left, right, top, bottom = around
    channels, (height, width) = images.shape[1], weights.shape
    if up == (1, 1):
        own, rest = _same_on_both_sides((left, right, top, bottom))
        weights = weights.flip(0, 1).expand(channels, 1, height, width)
        return functional.conv2d(_padded(images, rest), weights, stride=down, padding=own, groups=channels)
    # A transposed convolution makes every cell that the filter reaches; what lies beyond the padding is cut off.
    cut = (width - 1 - left, width - up[1] - right, height - 1 - top, height - up[0] - bottom)
    own, rest = _same_on_both_sides(cut)
    weights = weights.expand(channels, 1, height, width)
    images = functional.conv_transpose2d(images, weights, stride=up, padding=own, groups=channels)
    images = _padded(images, [-cells for cells in rest])
    return images if down == (1, 1) else images[:, :, :: down[0], :: down[1]]


def _same_on_both_sides(around: Sequence[int]) -> tuple[tuple[int, int], list[int]]:
    """Splits left, right, top and bottom into what a convolution does itself (rows, columns), and the rest."""
    left, right, top, bottom = around
    rows, columns = max(min(top, bottom), 0), max(min(left, right), 0)
    return (rows, columns), [left - columns, right - columns, top - rows, bottom - rows]


def _padded(images: Tensor, around: Sequence[int]) -> Tensor:
    return functional.pad(images, list(around)) if any(around) else images
