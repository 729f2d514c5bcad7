"""Mixing a GAN's images of rare digits into batches on their device, with kornia.

    python -m docs.examples.kornia_batches --quick

scikit-learn's digits, of which seven classes are made rare; a GAN is fitted on them (a few minutes; `--quick` takes few
steps and shows only that it runs), and `RandomSynthesize` puts images of any class, each as often, into every batch.
"""

import argparse
from pathlib import Path

import kornia.augmentation as K
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import gan_augment as ga
from docs.examples.torchvision_collate import CLASSES, balanced_accuracy, digits
from gan_augment.integrations.kornia import LabelledSequential, RandomSynthesize
from gan_augment.recipes import DAGAN


def trained(train: TensorDataset, augment: LabelledSequential, steps: int, device: str) -> nn.Module:
    """Returns a small classifier after so many steps on batches that are augmented on their device."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 16, CLASSES)
    ).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    loader = DataLoader(train, batch_size=64, shuffle=True, drop_last=True)
    done = 0
    while done < steps:
        for batch in loader:
            pixels, classes = (part.to(device) for part in batch)
            images, labels = augment(pixels.float() / 255, classes)
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps")
    parser.add_argument("--out", type=Path, default=Path("runs/kornia-batches"), help="where GAN and pool go")
    arguments = parser.parse_args()

    train, test = digits()
    recipe, steps = (DAGAN(width=32, steps=4), 20) if arguments.quick else (DAGAN(steps=600), 600)
    gan = ga.fit(train, recipe, out=arguments.out / "gan")
    pool = ga.SyntheticPool.build(gan, like=train, selector=None, out=arguments.out / "pool")

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shift = K.RandomAffine(degrees=0, translate=(0.1, 0.1), p=0.5)
    steps_of = {"as they are": [shift], "half synthetic": [RandomSynthesize(pool, partner="any", p=0.5), shift]}
    for name, augmentations in steps_of.items():
        augment = LabelledSequential(*augmentations, data_keys=["input", "class"])
        network = trained(train, augment, steps, device).cpu()
        print(f"{name}: balanced accuracy {balanced_accuracy(network, test):.3f}")


if __name__ == "__main__":
    main()
