"""Pasting a patch of one image into another, with labels by area."""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["label_shares", "paste_patch"]


def label_shares(labels: Tensor, num_classes: int, like: Tensor) -> Tensor:
    """Returns labels `(N,)` as shares `(N, num_classes)`, each 0 or 1, on the device of the images `like`.

    Of their dtype where that is a float, else float32.
    """
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return functional.one_hot(labels, num_classes).to(like.device, dtype)


def paste_patch(
    images: Tensor, labels: Tensor, patches: Tensor, classes: Tensor, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Pastes the same rectangle of `patches` into `images`, image by image (Park et al. 2022, algorithm 1).

    The rectangle's area is uniform, as with Beta(1, 1); its middle too. Both come from torch's global random state.

    Args:
        images: `(N, C, H, W)`; left as they are.
        labels: `(N,)` int64, classes of the images.
        patches: `(N, C, H, W)`, images that the patches are cut from.
        classes: `(N,)` int64, their classes.
        num_classes: Number of classes.

    Returns:
        Images, and label shares `(N, num_classes)` by area.
    """
    own = label_shares(labels, num_classes, images)
    height, width = images.shape[2:]
    side = (1 - float(torch.rand(()))) ** 0.5
    middle = torch.rand(2)
    top, bottom = _span(float(middle[0]), side, height)
    left, right = _span(float(middle[1]), side, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = patches[:, :, top:bottom, left:right]
    cut = (bottom - top) * (right - left) / (height * width)
    return mixed, (1 - cut) * own + cut * label_shares(classes, num_classes, images)


def _span(middle: float, share: float, side: int) -> tuple[int, int]:
    return max(0, round((middle - share / 2) * side)), min(side, round((middle + share / 2) * side))
