"""Random transforms that keep their own generator: every worker and every epoch draws differently."""

from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.dataset.seeding import random_transforms
from gan_augment.pool import SyntheticPool

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
LABELS = [0] * 40 + [1] * 24


class Grey(Dataset[Any]):
    """All images alike, so that what differs is what a transform draws."""

    def __init__(self, transform: Any) -> None:
        self.transform, self.targets = transform, LABELS

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> Any:
        image = np.full((8, 8, 1), 0.4, np.float32)
        if isinstance(self.transform, A.Compose):
            return self.transform(image=image)["image"], LABELS[index]
        return self.transform(image), LABELS[index]


def contrast() -> Any:
    return A.Compose([A.RandomBrightnessContrast(p=1.0)])


def augmented(transform: Any = None) -> GANAugmentedDataset:
    pool = SyntheticPool.from_arrays(np.full((24, 8, 8, 1), 0.4, np.float32), [1] * 24)
    return GANAugmentedDataset(Grey(contrast() if transform is None else transform), pool, progress=False)


def images(train: Any, **settings: Any) -> list[bytes]:
    loader = DataLoader(train, batch_size=8, num_workers=2, multiprocessing_context="fork", **settings)
    return [image.numpy().tobytes() for batch, _ in loader for image in batch]


def test_albumentations_alone_repeats_itself() -> None:
    """The trap that is avoided: without the wrapper both workers draw the same."""
    drawn = images(Grey(contrast()))
    assert len(set(drawn)) < len(drawn)


@pytest.mark.parametrize("persistent", [False, True])
def test_every_worker_and_epoch_draws_differently(persistent: bool) -> None:
    torch.manual_seed(0)
    train = augmented()
    loader = DataLoader(
        train, batch_size=8, num_workers=2, multiprocessing_context="fork", persistent_workers=persistent
    )
    drawn = [image.numpy().tobytes() for _ in range(2) for batch, _ in loader for image in batch]
    assert len(set(drawn)) == len(drawn) == 160


def test_the_loaders_seed_makes_it_reproducible() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(4)
        runs.append(images(augmented()))
    assert runs[0] == runs[1]
    torch.manual_seed(5)
    assert images(augmented()) != runs[0]


def test_the_main_process_is_left_to_the_user() -> None:
    transform = A.Compose([A.RandomBrightnessContrast(p=1.0)], seed=7)
    train = augmented(transform)
    transform.set_random_seed(7)
    first = train[0][0]
    transform.set_random_seed(7)
    assert np.array_equal(train[0][0], first)


class Wrapping:
    """A user's own callable that holds albumentations' in an attribute."""

    def __init__(self) -> None:
        self.inner = contrast()

    def __call__(self, image: Any) -> Any:
        return self.inner(image=image)["image"]


def test_transforms_are_found_wherever_they_are_held() -> None:
    assert len(random_transforms(Grey(contrast()))) == 1
    assert len(random_transforms(Grey(Wrapping()))) == 1
    assert len(random_transforms(Grey(v2.Compose([Wrapping(), v2.Identity()])))) == 1
    assert random_transforms(Grey(v2.RandomHorizontalFlip())) == []  # draws from torch's own generator
    shared = contrast()
    assert len(random_transforms(Grey(shared), [shared])) == 1
    drawn = images(augmented(Wrapping()))
    assert len(set(drawn)) == len(drawn)


def test_no_search_goes_on_for_ever() -> None:
    ring: dict[str, Any] = {}
    ring["self"] = ring
    base = Grey(contrast())
    base.ring = ring  # type: ignore[attr-defined]
    assert len(random_transforms(base)) == 1
