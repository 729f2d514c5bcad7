"""A plain loop with accelerate on long-tailed digits, with synthetic images, that goes on where it was stopped.

scikit-learn's digits with 118 down to 6 images of a class. Run by itself or in several processes:

    python -m docs.examples.accelerate_loop --out runs/accelerate
    accelerate launch --num_processes 2 -m docs.examples.accelerate_loop --out runs/accelerate

Stop it and give the command again: it goes on with the epoch that it was in, at the next batch.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration, skip_first_batches
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader

import gan_augment as ga
from gan_augment.demo.digits import long_tail


def network() -> nn.Module:
    """Returns a small convolutional network."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def prepared_data(accelerator: Accelerator, out: Path, gan_steps: int, epochs: int) -> ga.GANAugmentedDataset:
    """Fits a GAN and draws a pool, once, with all processes; returns the rebalanced training set."""
    real, _ = long_tail(0)
    if not (out / "pool").exists():
        gan = ga.fit(real, out=out / "gan", steps=gan_steps, min_images=1, progress=False)
        if accelerator.is_main_process:
            ga.SyntheticPool.build(gan, like=real, out=out / "pool", progress=False)
    accelerator.wait_for_everyone()
    pool = ga.SyntheticPool.open(out / "pool")
    return ga.GANAugmentedDataset(real, pool, schedule=ga.PhaseOut(epochs), min_images=1, progress=False)


def train(accelerator: Accelerator, data: ga.GANAugmentedDataset, out: Path, epochs: int, batches: int | None) -> None:
    """Trains, keeping the state after every epoch and after `batches` of them in all, where it stops."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    loader = DataLoader(data, batch_size=32, shuffle=True, generator=torch.Generator().manual_seed(0))
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    place = {"epoch": 0, "batch": 0}
    if (out / "state" / "place.json").exists():
        accelerator.load_state(str(out / "state"))
        place = json.loads((out / "state" / "place.json").read_text())
    seen = 0
    for epoch in range(place["epoch"], epochs):
        first = place["batch"] if epoch == place["epoch"] else 0
        part = skip_first_batches(loader, first) if first else loader
        loader.set_epoch(epoch)  # the order
        part.set_epoch(epoch)
        data.set_epoch(epoch)  # the synthetic images, and the schedule: in several processes the loader does not tell
        for index, (images, labels) in enumerate(part, first):
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            seen += 1
            if seen == batches:
                keep(accelerator, out, epoch, index + 1)
                return
        keep(accelerator, out, epoch + 1, 0)
    if accelerator.is_main_process:
        test(accelerator.unwrap_model(model))


def keep(accelerator: Accelerator, out: Path, epoch: int, batch: int) -> None:
    """Keeps weights and optimiser, and the place that they belong to."""
    accelerator.save_state(str(out / "state"))
    if accelerator.is_main_process:
        (out / "state" / "place.json").write_text(json.dumps({"epoch": epoch, "batch": batch}))
    accelerator.wait_for_everyone()


def test(model: nn.Module) -> None:
    """Prints the recall of all and of the three rarest classes."""
    real, held_out = long_tail(0)
    images = torch.stack([held_out[i][0] for i in range(len(held_out))])
    labels = torch.tensor(held_out.targets)
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    recalls = torch.stack([right[labels == label].float().mean() for label in range(10)])
    rare = np.argsort(np.bincount(real.targets))[:3].tolist()
    print(f"balanced accuracy {recalls.mean():.3f}, of the three rarest classes {recalls[rare].mean():.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Fits, draws, trains and tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/accelerate"))
    parser.add_argument("--stop", type=int, help="stop after so many batches, as if the time were up")
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it runs")
    asked = parser.parse_args(arguments)
    gan_steps, epochs = (3, 2) if asked.quick else (600, 20)
    set_seed(0)
    config = DataLoaderConfiguration(
        use_seedable_sampler=True
    )  # so that an epoch has one order, however often it begins
    accelerator = Accelerator(cpu=True, dataloader_config=config)
    data = prepared_data(accelerator, asked.out, gan_steps, epochs)
    train(accelerator, data, asked.out, epochs, asked.stop)


if __name__ == "__main__":
    main()
