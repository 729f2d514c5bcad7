"""Image folders: a folder a class, images read in their own mode (grey stays grey, 16 bits stay 16 bits)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from gan_augment.errors import DataError

__all__ = ["open_folder", "open_image"]


def open_image(path: str) -> Image.Image:
    """Returns the image of a file in its own mode; palettes and one-bit images are converted to RGB and L."""
    with Image.open(path) as image:
        image.load()
        if image.mode in ("P", "PA", "CMYK", "YCbCr"):
            return image.convert("RGB")
        if image.mode == "1":
            return image.convert("L")
        return image.copy() if image.mode != "I;16B" else image.convert("I")


def open_folder(folder: str | Path, transform: Callable[[Any], Any] | None = None) -> Any:
    """Opens a folder with a folder of images for each class, as torchvision's ImageFolder does.

    Unlike ImageFolder's default, images are not converted to RGB.

    Args:
        folder: `folder/class_name/*.png` (or jpg, tif and what else ImageFolder takes).
        transform: Applied to the PIL image.

    Returns:
        A `torchvision.datasets.ImageFolder`.

    Raises:
        DataError: It is missing, has no class folders, or a class has no image.
    """
    from torchvision.datasets import ImageFolder

    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"expected a folder of images at {folder}, found {'a file' if folder.exists() else 'nothing'}")
    if not any(path.is_dir() for path in folder.iterdir()):
        raise DataError(
            f"expected in {folder} a folder of images for each class (such as {folder}/melanoma/0001.png), found none"
        )
    dataset = ImageFolder(str(folder), transform=transform, loader=open_image, allow_empty=True)
    filled = {target for _, target in dataset.samples}
    empty = [name for name, target in dataset.class_to_idx.items() if target not in filled]
    if empty:
        raise DataError(
            f"expected images of every class in {folder}, found none in {', '.join(empty)}; add images (png, jpg, "
            "tif, ...) or remove the folder"
        )
    return dataset
