"""Files that the pages of torchvision and kornia name: a folder of images with a rare class, and a pool of it."""

from pathlib import Path

import numpy as np

from gan_augment.pool import SyntheticPool
from tests.documented import images


def make(root: Path) -> None:
    """Writes data/train, 24 benign and 6 malignant images, and runs/pool."""
    images(root / "data/train", benign=24, malignant=6)
    light = np.repeat([60, 180], 20).reshape(-1, 1, 1, 1)
    pixels = np.clip(light + np.random.default_rng(1).normal(0, 20, (40, 32, 32, 3)), 0, 255).astype(np.uint8)
    pool = SyntheticPool.from_arrays(pixels, np.repeat([0, 1], 20), classes=["benign", "malignant"])
    pool.save(root / "runs/pool", progress=False)
