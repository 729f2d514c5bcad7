"""Mixing of batches: what mixup, CutMix, Remix and CMO do to images `(N, C, *spatial)` and labels `(N,)`.

Each returns images and label shares `(N, num_classes)`. Mixup and CutMix are torchvision's.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.pasting import label_shares, paste_patch

__all__ = ["CMO_SHARE", "Mix", "mixer", "remix"]

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
_OFTEN = 0.5
"""Probability that a batch is mixed by CutMix or CMO, as in their papers' CIFAR settings."""

CMO_SHARE = _OFTEN * 77 / 240
"""Share of the labels that CMO takes from its foregrounds: a patch of side s = sqrt(u), u uniform, about a uniform
middle covers (s - s^2 / 4)^2 of an image on average, of which the mean is 1/2 - 1/5 + 1/48."""


def mixer(name: str, counts: Tensor, rare: Iterator[tuple[Tensor, Tensor]], *, ndim: int) -> Mix:
    """Returns the function that mixes batches, drawing from torch's global random state.

    Args:
        name: "mixup", "cutmix", "remix" or "cmo".
        counts: `(num_classes,)` training images of each class.
        rare: Batches with classes drawn in proportion to 1 / n_c, for CMO.
        ndim: Spatial dimensions.

    Raises:
        ConfigError: CutMix or CMO on volumes.
    """
    from torchvision.transforms import v2

    num_classes = len(counts)
    if name in ("cutmix", "cmo") and ndim != 2:
        raise ConfigError(f"expected images of two dimensions for {name}, found {ndim}; use mixup or remix")
    if name == "mixup":
        return _whole_batch(v2.MixUp(num_classes=num_classes, alpha=0.2), num_classes, 1.0)
    if name == "cutmix":
        return _whole_batch(v2.CutMix(num_classes=num_classes, alpha=1.0), num_classes, _OFTEN)
    if name == "remix":
        return lambda images, labels: remix(images, labels, counts)
    return lambda images, labels: _cmo(images, labels, rare, num_classes)


def _whole_batch(transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], num_classes: int, often: float) -> Mix:
    def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if torch.rand(()) < often:
            mixed, shares = transform(images.flatten(3), labels)  # torchvision takes no volumes
            return mixed.reshape(images.shape), shares
        return images, functional.one_hot(labels, num_classes).to(images)

    return mix


def remix(
    images: Tensor, labels: Tensor, counts: Tensor, *, kappa: float = 3.0, tau: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Mixes images evenly and labels in favour of the rarer class (Chou et al. 2020, equation 8).

    The label's share of the first class is 0 where its class is `kappa` times larger and the mixing share is below
    `tau`, 1 where the other's is and one minus the share is below `tau`, else the mixing share.
    """
    share = float(torch.distributions.Beta(1.0, 1.0).sample())
    order = torch.randperm(len(images))
    ratio = (counts[labels.cpu()] / counts[labels.cpu()[order]].clamp_min(1)).to(images)
    of_first = torch.full((len(images),), share).to(images)
    of_first[(ratio >= kappa) & (share < tau)] = 0.0
    of_first[(ratio <= 1 / kappa) & (1 - share < tau)] = 1.0
    own = functional.one_hot(labels, len(counts)).to(images)
    mixed = share * images + (1 - share) * images[order]
    return mixed, of_first[:, None] * own + (1 - of_first[:, None]) * own[order]


def _cmo(
    images: Tensor, labels: Tensor, rare: Iterator[tuple[Tensor, Tensor]], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Pastes a patch of an image of a rare class into each image (Park et al. 2022, algorithm 1)."""
    if torch.rand(()) >= _OFTEN:
        return images, label_shares(labels, num_classes, images)
    patches, classes = next(rare)
    patches, classes = patches[: len(images)].to(images.device), classes[: len(images)].to(images.device)
    return paste_patch(images, labels, patches, classes, num_classes)
