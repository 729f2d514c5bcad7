"""Image folders: a folder a class, images read in their own mode (grey stays grey, 16 bits stay 16 bits)."""

import math
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from gan_augment.errors import DataError

__all__ = ["open_folder", "open_image"]

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP")
_MOST_PIXELS = 2**26


def open_image(path: str) -> Image.Image:
    """Returns the image of a file in its own mode; palettes and one-bit images are converted to RGB and L.

    Only plain picture formats are read: Pillow hands others, such as EPS, to outside programs.

    Raises:
        DataError: It is no regular file, has more than 2**26 pixels or several pages.
        OSError: It is damaged, or of another format.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise DataError(f"expected an image file at {path}, found something that is no regular file; remove it")
    with Image.open(path, formats=_FORMATS) as image:
        if math.prod(image.size) > _MOST_PIXELS:
            raise DataError(f"expected at most {_MOST_PIXELS} pixels in {path}, found {image.size}; make it smaller")
        if (pages := getattr(image, "n_frames", 1)) != 1:
            raise DataError(f"expected one image in {path}, found {pages} pages; save each as a file")
        image.load()
        if image.mode in ("P", "PA", "CMYK", "YCbCr"):
            return image.convert("RGB")
        if image.mode == "1":
            return image.convert("L")
        if image.mode == "I;16B":
            return image.convert("I")
        return image.copy()


def open_folder(folder: str | Path, transform: Callable[[Any], Any] | None = None) -> Any:
    """Opens a folder with a folder of images for each class, as torchvision's ImageFolder does.

    Unlike ImageFolder's default, images are not converted to RGB.

    Args:
        folder: `folder/class_name/*.png` (or jpg, tif and what else ImageFolder takes).
        transform: Applied to the PIL image.

    Returns:
        A `torchvision.datasets.ImageFolder`.

    Raises:
        DataError: It is missing, has no class folders, holds links to folders, or a class has no image.
    """
    from torchvision.datasets import ImageFolder

    folder = Path(folder)
    try:
        found = "a folder" if folder.is_dir() else "a file" if folder.exists() else "nothing"
    except (OSError, ValueError):
        found = "a name that cannot be one"
    if found != "a folder":
        raise DataError(f"expected a folder of images at {folder}, found {found}")
    _refuse_links(folder)
    if not any(path.is_dir() for path in folder.iterdir()):
        raise DataError(
            f"expected in {folder} a folder of images for each class (such as {folder}/melanoma/0001.png), found none"
        )
    dataset = ImageFolder(
        str(folder), transform=transform, loader=open_image, allow_empty=True, is_valid_file=_is_visible_image
    )
    filled = {target for _, target in dataset.samples}
    empty = [name for name, target in dataset.class_to_idx.items() if target not in filled]
    if empty:
        raise DataError(
            f"expected images of every class in {folder}, found none in {', '.join(empty)}; add images (png, jpg, "
            "tif, ...) or remove the folder"
        )
    return dataset


def _is_visible_image(path: str) -> bool:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    return path.lower().endswith(IMG_EXTENSIONS) and not Path(path).name.startswith(".")


def _refuse_links(folder: Path) -> None:
    """Links to folders would be followed, a link upwards for ever; hidden folders hold copies that nobody looks at."""
    for place, names, _ in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.is_symlink():
                raise DataError(f"expected no links to folders in {folder}, found {path}; copy the images instead")
            if path.name.startswith("."):
                raise DataError(f"expected folders of classes in {folder}, found the hidden folder {path}; remove it")
