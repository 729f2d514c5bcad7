"""The demo's data: scikit-learn's digits with a long tail."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from gan_augment.seeds import derive

__all__ = ["IMBALANCE_RATIO", "LongTailedDigits", "long_tail"]

IMBALANCE_RATIO = 20
_TEST_PER_CLASS = 60


def to_tensor(image: Image.Image) -> Tensor:
    """Returns an 8-bit grey image as `(1, H, W)` float32 in [-1, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32))[None] / 127.5 - 1


class LongTailedDigits(Dataset[Any]):
    """scikit-learn's 8x8 digits as PIL images, as any torchvision dataset would give them.

    Args:
        images: `(N, 8, 8)` uint8.
        targets: `(N,)`.
        transform: Applied to the PIL image.
    """

    classes = tuple("0123456789")

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.int64],
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.images, self.targets, self.transform = images, targets.tolist(), transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        """Returns (image, label)."""
        image: Any = Image.fromarray(self.images[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def long_tail(seed: int, imbalance_ratio: float = IMBALANCE_RATIO) -> tuple[LongTailedDigits, LongTailedDigits]:
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
    for place, label in enumerate(order):
        rows = rng.permutation(np.flatnonzero(targets == label))
        test += rows[:_TEST_PER_CLASS].tolist()
        count = round(most * imbalance_ratio ** (-place / 9))
        train += rows[_TEST_PER_CLASS : _TEST_PER_CLASS + count].tolist()
    train, test = sorted(train), sorted(test)
    return (
        LongTailedDigits(images[train], targets[train], to_tensor),
        LongTailedDigits(images[test], targets[test], to_tensor),
    )
