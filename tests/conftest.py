"""What several tests share: small datasets of the shapes that users have, and a check of global randomness."""

import contextlib
import random
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import VisionDataset

from gan_augment.items import same


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """No test writes pools into the user's cache."""
    monkeypatch.setenv("GAN_AUGMENT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


class GrayImages(VisionDataset):
    """Built as torchvision's FashionMNIST: uint8 `data`, `targets` in a tensor, PIL images, counted reads."""

    def __init__(self, targets, transform=None, target_transform=None, transforms=None, *, size=12, classes=None):
        super().__init__("", transforms=transforms, transform=transform, target_transform=target_transform)
        self.targets = torch.as_tensor(targets)
        rng = np.random.default_rng(0)
        self.data = rng.integers(0, 256, (len(self.targets), size, size), dtype=np.uint8)
        self.reads: deque[int] = deque()  # shared by shallow copies
        if classes is not None:
            self.classes = classes

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.reads.append(int(index))
        image, label = Image.fromarray(self.data[index]), int(self.targets[index])
        if self.transforms is not None and self.transform is None and self.target_transform is None:
            return self.transforms(image, label)
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label


@contextlib.contextmanager
def untouched_rng() -> Iterator[None]:
    """Checks that the global random state of Python, numpy and torch is not moved inside."""
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].copy(), np.random.get_state()[2], torch.get_rng_state()
    yield
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert np.random.get_state()[2] == before[2]
    assert torch.equal(torch.get_rng_state(), before[3])


def assert_finishes(view, base, indices):
    """Checks that finishing a raw image gives the base's own item, drawn under the same global seeds."""
    for index in indices:
        drawn = []
        for read in (lambda i: base[i], lambda i: view.finish(view.raw(i), int(view.targets[i]))):
            random.seed(11)
            np.random.seed(11)
            torch.manual_seed(11)
            drawn.append(read(index))
        assert same(*drawn), f"item {index}: {drawn}"
