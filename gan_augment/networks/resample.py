"""Resampling with the filter [1, 3, 3, 1] in every dimension, the border repeated (StyleGAN2, R3GAN).

Plain torch operations that can be differentiated twice, so gradient penalties pass through.
"""

from torch import Tensor
from torch.nn import functional

__all__ = ["blur", "convolve", "halve", "strided_up", "twice"]


def convolve(images: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
    """Returns the convolution of `(N, inputs, *spatial)` with `(outputs, inputs / groups, *kernel)`, 2-D or 3-D."""
    function = functional.conv2d if images.ndim == 4 else functional.conv3d
    return function(images, weight, None, stride, padding, groups=groups)


def blur(images: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Returns each channel of `(N, C, *spatial)` averaged with the weights 1, 3, 3, 1 in every dimension.

    Args:
        images: `(N, C, *spatial)`.
        padding: Cells by which the border is repeated on each side; a side of n becomes n + 2 padding - 3 (stride 1).
        stride: Step of the filter.
    """
    ndim, channels = images.ndim - 2, images.shape[1]
    weights = kernel = images.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
    for _ in range(ndim - 1):
        weights = weights[..., None] * kernel
    padded = functional.pad(images, [padding] * 2 * ndim, mode="replicate")
    return convolve(padded, weights.expand(channels, 1, *weights.shape), stride=stride, groups=channels)


def halve(images: Tensor) -> Tensor:
    """Halves each spatial dimension."""
    return blur(images, padding=1, stride=2)


def twice(images: Tensor) -> Tensor:
    """Doubles each spatial dimension: linear interpolation is that filter over cells with zeros between them."""
    mode = "bilinear" if images.ndim == 4 else "trilinear"
    return functional.interpolate(images, scale_factor=2.0, mode=mode, align_corners=False)


def strided_up(images: Tensor, weight: Tensor) -> Tensor:
    """Doubles each spatial dimension by a transposed convolution of 3, then blurs (Karras et al. 2020, section 4.3).

    The same as convolving an interpolated image, up to the order of the two filters, at a quarter of the cost.

    Args:
        images: `(N, inputs, *spatial)`.
        weight: `(outputs, inputs, 3, ...)`.
    """
    function = functional.conv_transpose2d if images.ndim == 4 else functional.conv_transpose3d
    wide = function(images, weight.transpose(0, 1), stride=2)
    return blur(wide, padding=1) * 2.0 ** (images.ndim - 2)
