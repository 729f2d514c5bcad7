"""A small Vision Transformer on long-tailed digits, with Hugging Face's datasets and Trainer, and synthetic images.

scikit-learn's digits with 118 down to 6 images of a class, as a `datasets.Dataset` with an Image column. A GAN is
fitted on them and a pool drawn; the model is trained for equally many steps on the set as it is, with repeats, and with
half of these slots synthetic. It is tested on 600 digits that nothing has seen.

    python -m docs.examples.huggingface_trainer --out runs/huggingface
"""

import argparse
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification, set_seed

import gan_augment as ga
from gan_augment.demo.digits import long_tail, to_tensor
from gan_augment.integrations.huggingface import GANAugmentTrainerCallback


def as_dataset(part: Any) -> datasets.Dataset:
    """Returns a split of the digits as a set of the Hub would come."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(part.classes)))
    images = [Image.fromarray(pixels) for pixels in part.images]
    return datasets.Dataset.from_dict({"image": images, "label": part.targets}, features=features)


def preprocess(examples: dict[str, Any]) -> dict[str, Any]:
    """Makes tensors of PIL images, as an image processor does; for `set_transform`."""
    return {"pixel_values": [to_tensor(image) for image in examples["image"]], "labels": examples["label"]}


def recalls(train: Any, test: datasets.Dataset, steps: int, seed: int, out: Path) -> npt.NDArray[np.float64]:
    """Trains a model for some steps; returns its recall of each class in the test set."""
    set_seed(seed)
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=96,
        num_labels=10,
    )
    arguments = TrainingArguments(
        str(out),
        max_steps=steps,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=200,
        learning_rate=1e-3,
        seed=seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    callbacks = [GANAugmentTrainerCallback()]
    trainer = Trainer(ViTForImageClassification(config), arguments, train_dataset=train, callbacks=callbacks)
    trainer.train()
    found = trainer.predict(test)
    labels = torch.tensor(np.asarray(found.label_ids))
    right = torch.tensor(found.predictions).argmax(1) == labels
    return np.array([right[labels == label].float().mean().item() for label in range(10)])


def main(arguments: list[str] | None = None) -> None:
    """Fits, draws, trains and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/huggingface"))
    parser.add_argument("--quick", action="store_true", help="few steps: to see that it runs")
    asked = parser.parse_args(arguments)
    gan_steps, steps, seeds = (3, 5, 1) if asked.quick else (600, 800, 3)

    real, test = (as_dataset(part) for part in long_tail(0))
    gan = ga.fit(real, out=asked.out / "gan", steps=gan_steps, min_images=1, progress=not asked.quick)
    pool = ga.SyntheticPool.build(gan, like=real, out=asked.out / "pool", progress=not asked.quick)
    for part in (real, test):
        part.set_transform(preprocess)

    arms = {
        "as it is": real,
        "repeated": ga.GANAugmentedDataset(real, None, synthetic_share=0, progress=False),
        "half synthetic": ga.GANAugmentedDataset(real, pool, min_images=1, progress=False),
    }
    counts = np.bincount(arms["repeated"].targets[: len(real)])
    rare = np.argsort(counts)[:3]
    print(f"{len(real)} training images, {counts.tolist()} a class")
    print(f"{'':18}{'balanced accuracy':>22}{'three rarest classes':>22}")
    for name, train in arms.items():
        found = np.array([recalls(train, test, steps, seed, asked.out / "runs") for seed in range(seeds)])
        accuracy = found.mean(axis=1)
        told = f"{accuracy.mean():.3f} ({accuracy.min():.3f}-{accuracy.max():.3f})"
        print(f"{name:18}{told:>22}{found[:, rare].mean():>22.3f}")


if __name__ == "__main__":
    main()
