"""Long-tailed Fashion-MNIST with synthetic images of the rare classes, within an albumentations pipeline.

The ten classes have 600 down to 6 images. A GAN is fitted on them, or a pool is given, and a small classifier is
trained twice on batches with equally many images of each class: once with flips and shifts, once with half of the
images replaced by synthetic ones of their class before these. It is tested on the 10,000 test images.

    python -m docs.examples.albumentations_fashion_mnist --data runs/data --out runs/albumentations
"""

import argparse
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import numpy.typing as npt
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, WeightedRandomSampler, get_worker_info
from torchvision.datasets import FashionMNIST

import gan_augment as ga
from gan_augment.integrations.albumentations import SynthesizeSameClass


class Augmented(Dataset[tuple[Tensor, int]]):
    """Images of a dataset after an albumentations pipeline that sees the label."""

    def __init__(self, base: Dataset[Any], transform: A.Compose) -> None:
        self.base, self.transform = base, transform

    def __len__(self) -> int:
        """Returns the number of items."""
        return len(self.base)  # type: ignore[arg-type]  # it has one

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Returns the image `(1, 28, 28)` from 0 to 1, and the label."""
        image, label = self.base[index]
        return self.transform(image=np.array(image)[:, :, None], label=label)["image"], label


def pipeline(*first: Any) -> A.Compose:
    """Returns flips and shifts, after some transforms that come first."""
    augment = [A.HorizontalFlip(p=0.5), A.Affine(translate_percent=0.1, p=0.5)]
    return A.Compose([*first, *augment, A.ToFloat(max_value=255), A.ToTensorV2()])


def reseed(worker: int) -> None:
    """Gives a worker's flips and shifts a seed of its own, which albumentations 2.0.8 does not."""
    seed = torch.initial_seed() % 2**32
    get_worker_info().dataset.transform.set_random_seed(seed)  # type: ignore[union-attr]  # called in workers


def long_tail(data: FashionMNIST, counts: list[int]) -> Subset[Any]:
    """Returns the first images of each class, as many as `counts` says."""
    targets = np.asarray(data.targets)
    kept = [np.flatnonzero(targets == label)[:count] for label, count in enumerate(counts)]
    return Subset(data, np.concatenate(kept).tolist())


def classifier() -> nn.Module:
    """Returns a small convolutional network."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def recalls(train: Augmented, labels: npt.NDArray[np.int64], test: Any, steps: int, seed: int) -> npt.NDArray[Any]:
    """Trains a classifier for some steps; returns its recall of each class in the test images."""
    torch.manual_seed(seed)
    model = classifier()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    weights = (1 / np.bincount(labels))[labels].tolist()
    sampler = WeightedRandomSampler(weights, steps * 64)  # as many images of each class, on average
    for images, targets in DataLoader(train, 64, sampler=sampler, num_workers=2, worker_init_fn=reseed):
        loss = nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, targets = test
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in images.split(1000)]) == targets
    return np.array([right[targets == label].float().mean().item() for label in range(10)])


def picture(real: Subset[Any], pool: ga.SyntheticPool, classes: list[str], path: Path) -> None:
    """Saves six real images of each class, and what the transform made of them; the largest class stays."""
    labels = np.asarray(real.dataset.targets)[real.indices]  # type: ignore[attr-defined]
    transform = A.Compose([SynthesizeSameClass(pool, p=1.0)], seed=0)
    figure, axes = plt.subplots(len(classes), 12, figsize=(10, len(classes) * 0.9))
    for label, line in enumerate(axes):
        line[0].set_title(f"{classes[label]}: real, and replaced", loc="left", fontsize=7)
        for place, index in enumerate(np.flatnonzero(labels == label)[:6].tolist()):
            image = np.array(real[index][0])
            line[place].imshow(image, cmap="gray", vmin=0, vmax=255)
            line[6 + place].imshow(transform(image=image, label=label)["image"], cmap="gray", vmin=0, vmax=255)
        for axis in line:
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def drawn_pool(real: Subset[Any], asked: argparse.Namespace, gan_steps: int) -> ga.SyntheticPool:
    """Returns the pool at `--pool`, or one of a GAN that is fitted on the real images."""
    if asked.pool is not None:
        return ga.SyntheticPool.open(asked.pool)
    gan = ga.fit(real, out=asked.out / "gan", steps=gan_steps, min_images=1, progress=not asked.quick)
    return ga.SyntheticPool.build(gan, like=real, reserve=1, out=asked.out / "pool", progress=not asked.quick)


def main(arguments: list[str] | None = None) -> None:
    """Fits, draws, trains, prints the table and saves the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/data"), help="where torchvision keeps its datasets")
    parser.add_argument("--pool", type=Path, help="a pool of these classes; by default a GAN is fitted and draws one")
    parser.add_argument("--out", type=Path, default=Path("runs/albumentations"))
    parser.add_argument("--quick", action="store_true", help="few images and steps: to see that it runs")
    asked = parser.parse_args(arguments)
    most, least, tested, gan_steps, steps, seeds = (
        (20, 6, 200, 2, 4, 1) if asked.quick else (600, 6, 10_000, 1000, 800, 3)
    )
    asked.out.mkdir(parents=True, exist_ok=True)

    data, test_data = (FashionMNIST(asked.data, train=train, download=True) for train in (True, False))
    real = long_tail(data, [round(most * (least / most) ** (label / 9)) for label in range(10)])
    labels = np.asarray(data.targets)[real.indices]
    test = test_data.data[:tested, None] / 255, test_data.targets[:tested]

    pool = drawn_pool(real, asked, gan_steps)
    picture(real, pool, data.classes, asked.out / "pairs.png")
    arms = {
        "flips and shifts": Augmented(real, pipeline()),
        "half synthetic": Augmented(real, pipeline(SynthesizeSameClass(pool, p=0.5))),
    }
    print(f"{len(real)} training images, {np.bincount(labels).tolist()} a class")
    print(f"{'':18}{'balanced accuracy':>22}{'three rarest classes':>22}")
    for name, train in arms.items():
        found = np.array([recalls(train, labels, test, steps, seed) for seed in range(seeds)])
        accuracy = found.mean(axis=1)
        told = f"{accuracy.mean():.3f} ({accuracy.min():.3f}-{accuracy.max():.3f})"
        print(f"{name:18}{told:>22}{found[:, 7:].mean():>22.3f}")


if __name__ == "__main__":
    main()
