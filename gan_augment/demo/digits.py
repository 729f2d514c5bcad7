"""The demo's data: scikit-learn's digits with a long tail."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gan_augment.balance import long_tail_counts
from gan_augment.seeds import derive

__all__ = ["IMBALANCE_RATIO", "ArrayImages", "long_tail", "to_tensor"]

IMBALANCE_RATIO = 20
_TEST_PER_CLASS = 60


def to_tensor(image: Image.Image) -> Tensor:
    """Returns an 8-bit image as `(C, H, W)` float32 in [-1, 1]."""
    array = torch.from_numpy(np.array(image, dtype=np.float32)) / 127.5 - 1
    return array[None] if array.ndim == 2 else array.movedim(-1, 0).contiguous()


class ArrayImages(Dataset[Any]):
    """8-bit images out of an array as PIL images, as any torchvision dataset would give them.

    Args:
        images: `(N, H, W)` or `(N, H, W, 3)` uint8.
        targets: `(N,)`.
        classes: Class names.
        transform: Applied to the PIL image.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.int64],
        classes: Sequence[str],
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.images, self.targets, self.transform = images, targets.tolist(), transform
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        """Returns (image, label)."""
        image: Any = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def long_tail(seed: int, imbalance_ratio: float = IMBALANCE_RATIO) -> tuple[ArrayImages, ArrayImages]:
    """Returns a long-tailed training split and a balanced test split of the digits.

    n_c = n_max * ratio^(-c / (C - 1)) for the c-th class of an order drawn from the seed (Cui et al. 2019); the test
    split, 60 images of each class, is drawn first.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    targets = digits.target.astype(np.int64)
    rng = np.random.Generator(np.random.Philox(derive(seed, "long tail")))
    order = rng.permutation(10)
    most = int(np.bincount(targets).min()) - _TEST_PER_CLASS
    train: list[int] = []
    test: list[int] = []
    for label, count in zip(order, long_tail_counts(most, 10, imbalance_ratio), strict=True):
        rows = rng.permutation(np.flatnonzero(targets == label))
        test += rows[:_TEST_PER_CLASS].tolist()
        train += rows[_TEST_PER_CLASS : _TEST_PER_CLASS + count].tolist()
    train, test = sorted(train), sorted(test)
    return (
        ArrayImages(images[train], targets[train], "0123456789", to_tensor),
        ArrayImages(images[test], targets[test], "0123456789", to_tensor),
    )
