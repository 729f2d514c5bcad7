"""Datasets of the libraries that people have, each over the same small pictures: real classes, generated data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

COUNTS = (24, 9, 5)
LABELS = np.repeat(np.arange(3), COUNTS)
RNG = np.random.default_rng(0)
PIXELS = np.clip(40 + 80 * LABELS[:, None, None] + RNG.normal(0, 12, (38, 12, 12)), 0, 255).astype(np.uint8)
VOLUMES = np.clip(40 + 80 * LABELS[:, None, None, None] + RNG.normal(0, 12, (38, 8, 8, 8)), 0, 255).astype(np.uint8)


def image_folder(root: Path) -> Path:
    """Writes the pictures as an image folder, one folder a class."""
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS.tolist(), strict=True)):
        folder = root / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return root


def mnist_files(root: Path, name: str = "MNIST") -> Path:
    """Writes the pictures in the files that torchvision's MNIST reads, 28x28."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    images = np.stack([np.asarray(Image.fromarray(pixels).resize((28, 28))) for pixels in PIXELS])
    for split in ("train", "t10k"):
        for what, data in (("images-idx3", images), ("labels-idx1", LABELS.astype(np.uint8))):
            sizes = b"".join(int(side).to_bytes(4, "big") for side in data.shape)
            header = bytes([0, 0, 8, data.ndim]) + sizes
            (raw / f"{split}-{what}-ubyte").write_bytes(header + data.tobytes())
    return root


def medmnist_file(root: Path, flag: str, volumes: bool, monkeypatch: Any) -> Path:
    """Writes a MedMNIST archive, and tells the package how many images it holds."""
    import medmnist

    images = VOLUMES if volumes else PIXELS
    if volumes:
        images = images.repeat(4, 1)[:, :28].repeat(4, 2)[:, :, :28].repeat(4, 3)[:, :, :, :28]
    else:
        images = np.stack([np.asarray(Image.fromarray(pixels).resize((28, 28))) for pixels in images])
    columns = {f"{split}_{what}": data for split in ("train", "val", "test")
               for what, data in (("images", images), ("labels", LABELS[:, None].astype(np.uint8)))}  # fmt: skip
    np.savez(root / f"{flag}.npz", **columns)
    monkeypatch.setitem(medmnist.INFO[flag], "n_samples", dict.fromkeys(("train", "val", "test"), len(LABELS)))
    return root


def hugging_face(transformed: str | None = None) -> Any:
    """Returns a Hugging Face dataset of PNG images with a ClassLabel, with a set_transform or a format if asked."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c"])})
    columns = {"image": [Image.fromarray(pixels) for pixels in PIXELS], "label": LABELS.tolist()}
    base = datasets.Dataset.from_dict(columns, features=features)
    if transformed == "set_transform":
        base.set_transform(noisy_batch)
    elif transformed is not None:
        base = base.with_format(transformed)
    return base


def noisy_batch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """What users give to `set_transform`: PIL images to tensors under another name, with random noise."""
    tensors = [torch.from_numpy(np.asarray(image, np.float32) / 255)[None] for image in batch["image"]]
    return {"pixel_values": [tensor + 0.01 * torch.rand_like(tensor) for tensor in tensors], "label": batch["label"]}


def monai_items(root: Path | None = None, volumes: bool = True) -> list[dict[str, Any]]:
    """Returns MONAI's list of dicts, of arrays, or of NIfTI files below a folder."""
    images = VOLUMES if volumes else PIXELS
    if root is None:
        return [
            {"image": image[None].astype(np.float32), "label": label}
            for image, label in zip(images, LABELS.tolist(), strict=True)
        ]
    import nibabel

    items = []
    for number, (image, label) in enumerate(zip(images, LABELS.tolist(), strict=True)):
        path = root / f"{number:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([1.0, 1.5, 2.0, 1.0])), path)
        items.append({"image": str(path), "label": label})
    return items


def subjects(root: Path | None = None, **more: Any) -> list[Any]:
    """Returns torchio's subjects: volumes in memory, or in NIfTI files below a folder."""
    import torchio as tio

    found = []
    for item in monai_items(root):
        image = tio.ScalarImage(item["image"]) if root else tio.ScalarImage(tensor=torch.from_numpy(item["image"]))
        found.append(tio.Subject(t1=image, label=item["label"], **more))
    return found
