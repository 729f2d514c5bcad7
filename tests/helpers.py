"""Datasets, generators and processes that several tests share; classes are here so that they pickle by name."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from gan_augment.features import TrainedExtractor
from gan_augment.networks import Classifier, NetworkSpec
from gan_augment.recipes import Recipe
from gan_augment.source import RawView
from gan_augment.synthesizers import WrappedSynthesizer, wrap
from gan_augment.training.trainer import Trainer
from gan_augment.types import Features, FloatArray, IntArray

ROOT = Path(__file__).parent.parent


class Pictures(Dataset[Any]):
    """Small images, each different, whose brightness tells the class; items of one of several kinds.

    Args:
        counts: Number of images of each class.
        kind: "pil", "array" (H, W) or (H, W, C), "tensor" float32 (C, H, W), "dict" of a tensor, or "column" for labels
            of shape (1,) as in MedMNIST.
    """

    def __init__(
        self,
        counts: Sequence[int] = (12, 4, 3),
        kind: str = "tensor",
        *,
        channels: int = 1,
        size: int = 8,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        self.kind, self.transform, self.target_transform = kind, transform, target_transform
        index = np.repeat(np.arange(len(counts)), counts)
        self.targets = [int(i if labels is None else labels[i]) for i in index]
        rng = np.random.default_rng(seed)
        shape = (len(index), channels, size, size)
        light = (40 + 170 * index / max(1, len(counts) - 1)).reshape(-1, 1, 1, 1)
        self.pixels = np.clip(light + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)
        if classes is not None:
            self.classes = list(classes)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        pixels, label = self.pixels[index], self.targets[index]
        image: Any = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
        if self.kind == "pil":
            image = Image.fromarray(image)
        elif self.kind != "array":
            image = torch.from_numpy(pixels.astype(np.float32) / 255)
        if self.transform is not None:
            image = self.transform(image)
        target: Any = label if self.target_transform is None else self.target_transform(label)
        if self.kind == "dict":
            return {"image": image, "label": target}
        return image, np.array([target]) if self.kind == "column" else target


def pil_to_tensor(image: Image.Image) -> Tensor:
    """Returns a PIL image as (C, H, W) float32 in [0, 1]."""
    array = np.array(image, np.float32) / 255
    return torch.from_numpy(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0).copy())


def plus_ten(label: int) -> int:
    return label + 10


def noisy(image: Tensor) -> Tensor:
    """Random augmentation from torch's global state."""
    return image + 0.01 * torch.rand_like(image)


class ToyGenerator(nn.Module):
    """Class brightness plus smooth noise of the latents, in [-1, 1]; no random weights."""

    def __init__(self, latent_dim: int = 6, shape: tuple[int, ...] = (1, 8, 8), num_classes: int = 3) -> None:
        super().__init__()
        self.shape, self.num_classes = shape, num_classes
        size = int(np.prod(shape))
        self.weight = nn.Parameter(torch.sin(torch.arange(latent_dim * size).reshape(latent_dim, size) * 1.7))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        light = labels.float() / max(1, self.num_classes - 1) * 1.4 - 0.7
        noise = 0.1 * torch.tanh(latents @ self.weight)
        return (light[:, None] + noise).reshape(-1, *self.shape)


def draw_by_seed(labels: Tensor, seeds: Tensor) -> Tensor:
    """A generator without latents: (N, 1, 8, 8) in [-1, 1] from labels and seeds."""
    pixel = torch.arange(64)
    noise = torch.sin((seeds[:, None] % 9973) * 0.37 + pixel[None] * 1.3)
    return (labels[:, None] * 0.5 - 0.5 + 0.3 * noise).reshape(-1, 1, 8, 8)


def toy_synthesizer(num_classes: int = 3, shape: tuple[int, ...] = (1, 8, 8), **settings: Any) -> WrappedSynthesizer:
    generator = ToyGenerator(shape=shape, num_classes=num_classes)
    return wrap(generator, num_classes=num_classes, image_shape=shape, latent_dim=6, **settings)


def toy_judge(dataset: Any, steps: int = 40) -> TrainedExtractor:
    return TrainedExtractor.fit(dataset, steps=steps, batch_size=16, width=32, progress=False)


def untrained_judge(channels: int = 1, grid: tuple[int, ...] = (8, 8), num_classes: int = 3) -> TrainedExtractor:
    spec = NetworkSpec(channels=channels, grid=grid, num_classes=num_classes)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = Classifier(spec, 32)
    return TrainedExtractor(network, spec, classes=[str(label) for label in range(num_classes)])


def view(dataset: Any, **settings: Any) -> RawView:
    return RawView(dataset, progress=False, **settings)


def run_python(
    code: str, *args: Any, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process of its own at the root of the checkout; sys.argv[1:] are `args`."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    """Returns every file below `folder`, hidden ones too, with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def in_parts(recipe: Recipe, spec: NetworkSpec, batch: Mapping[str, Tensor]) -> list[Trainer]:
    """Returns trainers that worked every batch off in one part and in three, after asserting equal last gradients.

    Weights are not compared: Adam makes much of little.
    """
    trainers = [Trainer(recipe, spec, seed=0, device=torch.device("cpu"), accumulate=parts) for parts in (1, 3)]
    for trainer in trainers:
        trainer.run(lambda step, part: {name: part.cut(tensor) for name, tensor in batch.items()})  # type: ignore[call-overload]
    for name in ("d", "g"):
        for one, two in zip(*(t.optimizers[name].param_groups[0]["params"] for t in trainers), strict=True):
            torch.testing.assert_close(one.grad, two.grad, atol=1e-5, rtol=1e-3)
    return trainers


def set_in(*path: Any, name: str = "extractor.json") -> Callable[[Path], None]:
    """Returns what sets one value, the last of `path`, in the JSON file of a folder."""

    def damage(folder: Path) -> None:
        about = json.loads((folder / name).read_text())
        *keys, last, value = path
        inner = about
        for key in keys:
            inner = inner[key]
        inner[last] = value
        (folder / name).write_text(json.dumps(about))

    return damage


class SeeingJudge:
    """An untrained judge that gives logits besides, as a discriminator does: the brighter, the more real."""

    def __init__(self) -> None:
        self.judge = untrained_judge()
        self.fingerprint = self.judge.fingerprint

    def extract(self, images: Tensor) -> Features:
        return self.judge.extract(images)

    def logits(self, images: Tensor, labels: IntArray) -> FloatArray:
        return images.flatten(1).mean(1).numpy()

    def save(self, folder: str | Path) -> Path:
        return self.judge.save(folder)
