"""Long-tailed digits in Lightning: a data module as it is, and the same one rebalanced with a GAN's images.

scikit-learn's digits with 118 down to 6 images of a class. A GAN is fitted on them and a pool drawn; a small classifier
is trained for equally many steps on the data module, on its classes filled up with repeats, and with half of these
slots synthetic until 60% of the training. It is tested on 600 digits that nothing has seen.

    python -m docs.examples.lightning_digits --out runs/lightning
"""

import argparse
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import gan_augment as ga
from gan_augment.demo.digits import long_tail
from gan_augment.integrations.lightning import GANAugmentCallback, GANAugmentedDataModule


class DigitsData(L.LightningDataModule):  # type: ignore[misc]  # Lightning's types are not followed
    """A data module that knows nothing of synthetic images."""

    def __init__(self, seed: int = 0, batch_size: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        """Makes the splits."""
        self.train, self.test = long_tail(self.hparams["seed"])

    def train_dataloader(self) -> Any:
        """Returns the training images, shuffled."""
        return DataLoader(self.train, batch_size=self.hparams["batch_size"], shuffle=True)

    def test_dataloader(self) -> Any:
        """Returns the test images."""
        return DataLoader(self.test, batch_size=200)


class Classifier(L.LightningModule):  # type: ignore[misc]
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10)),
        )
        self.right = torch.zeros(2, 10)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Returns the loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.network(images), labels)

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Counts the right answers by class."""
        images, labels = batch
        right = self.network(images).argmax(1) == labels
        self.right[0] += labels[right].bincount(minlength=10)
        self.right[1] += labels.bincount(minlength=10)

    def configure_optimizers(self) -> Any:
        """Returns Adam."""
        return torch.optim.Adam(self.parameters(), 2e-3)


def recalls(data: L.LightningDataModule, steps: int, seed: int, out: Path) -> Tensor:
    """Trains a classifier on a data module; returns its recall of each class in the test images."""
    L.seed_everything(seed, verbose=False)
    model = Classifier()
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[GANAugmentCallback()] if isinstance(data, GANAugmentedDataModule) else [],
        default_root_dir=out,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return model.right[0] / model.right[1]


def main(arguments: list[str] | None = None) -> None:
    """Fits, draws, trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/lightning"))
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it runs")
    asked = parser.parse_args(arguments)
    gan_steps, steps, seeds = (3, 20, 1) if asked.quick else (600, 600, 3)
    warnings.filterwarnings("ignore", "The '.*' does not have many workers")  # the digits are in memory

    real, _ = long_tail(0)
    gan = ga.fit(real, out=asked.out / "gan", steps=gan_steps, min_images=1, progress=not asked.quick)
    ga.SyntheticPool.build(gan, like=real, out=asked.out / "pool", progress=not asked.quick)

    epochs = -(-steps * 32 // (10 * max(np.bincount(real.targets))))
    arms: dict[str, dict[str, Any] | None] = {
        "as it is": None,
        "repeated": {"synthetic_share": 0.0},
        "half synthetic": {"schedule": ga.PhaseOut(epochs, until=0.6)},
    }
    rare = np.argsort(np.bincount(real.targets))[:3].tolist()
    print(f"{len(real)} training images, {np.bincount(real.targets).tolist()} a class")
    print(f"{'':18}{'balanced accuracy':>22}{'three rarest classes':>22}")
    for name, settings in arms.items():
        found = []
        for seed in range(seeds):
            data: L.LightningDataModule = DigitsData(seed=0)
            if settings is not None:
                data = GANAugmentedDataModule(data, asked.out / "pool", min_images=1, progress=False, **settings)
            found.append(recalls(data, steps, seed, asked.out))
        table = torch.stack(found)
        accuracy = table.mean(1)
        told = f"{accuracy.mean():.3f} ({accuracy.min():.3f}-{accuracy.max():.3f})"
        print(f"{name:18}{told:>22}{table[:, rare].mean():>22.3f}")


if __name__ == "__main__":
    main()
