"""Balanced batches in a torchvision training: a GAN's pool of rare digits, put in by the loader's workers.

    python -m docs.examples.torchvision_collate --quick

scikit-learn's digits, of which seven classes are made rare; a GAN is fitted on them (a few minutes; `--quick` takes few
steps and shows only that it runs), its pool goes into every batch within the `collate_fn`, and CutMix and MixUp follow.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

import gan_augment as ga
from gan_augment.integrations.torchvision import Collate, SynthesizeBatch
from gan_augment.recipes import DAGAN

CLASSES, LARGE, RARE = 10, 3, 12


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Returns a training set with seven rare classes, and a balanced test set: images `(1, 8, 8)` uint8, classes."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy((pixels * 15.9375).astype(np.uint8)).reshape(-1, 1, 8, 8)
    order = np.random.default_rng(0).permutation(len(labels))
    train: list[int] = []
    test: list[int] = []
    for label in range(CLASSES):
        own = order[labels[order] == label].tolist()
        test += own[:60]
        train += own[60:] if label < LARGE else own[60 : 60 + RARE]
    sets = [TensorDataset(images[rows], torch.from_numpy(labels[rows])) for rows in (train, test)]
    return sets[0], sets[1]


def trained(train: TensorDataset, collate: Collate, steps: int) -> nn.Module:
    """Returns a small classifier after so many steps on batches that are mixed in the workers."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 16, CLASSES)
    )
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True, num_workers=2, collate_fn=collate)
    done = 0
    while done < steps:
        for images, shares in loader:
            loss = nn.functional.cross_entropy(network(images), shares)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    return network.eval()


def balanced_accuracy(network: nn.Module, test: TensorDataset) -> float:
    """Returns the mean recall of all classes; the test set has equally many of each."""
    images, labels = test.tensors
    with torch.no_grad():
        return float((network(images.float() / 255).argmax(1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps")
    parser.add_argument("--out", type=Path, default=Path("runs/torchvision-collate"), help="where GAN and pool go")
    arguments = parser.parse_args()

    train, test = digits()
    recipe, steps = (DAGAN(width=32, steps=4), 20) if arguments.quick else (DAGAN(steps=600), 600)
    gan = ga.fit(train, recipe, out=arguments.out / "gan")
    pool = ga.SyntheticPool.build(gan, like=train, selector=None, out=arguments.out / "pool")

    scale = v2.ToDtype(torch.float32, scale=True)
    mix = v2.RandomChoice([v2.MixUp(num_classes=CLASSES), v2.CutMix(num_classes=CLASSES)])
    arms = {
        "as they are": Collate(scale, mix),
        "rebalanced": Collate(SynthesizeBatch(pool, mode="rebalance", p=0.5), scale, mix),
    }
    for name, collate in arms.items():
        print(f"{name}: balanced accuracy {balanced_accuracy(trained(train, collate, steps), test):.3f}")


if __name__ == "__main__":
    main()
