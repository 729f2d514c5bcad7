"""The images themselves, shrunk, as features: the simplest extractor, and a baseline for all others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from torch import Tensor

from gan_augment.artifacts import new_folder, read_json, versions, write_json
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.fingerprint import hash_json
from gan_augment.images import resize
from gan_augment.types import Features

__all__ = ["KIND", "PixelExtractor"]

KIND = "gan_augment pixels"
_VERSION = 1


class PixelExtractor:
    """Pixels of images, or voxels of volumes, shrunk to one size, in a row: `(N, C * sides)`.

    Nothing is learned, so nothing is fitted to the data. Distances are those of pixels: a shift of an object counts as
    much as another object.

    The features are images: whatever stores features of real images stores pictures of them.

    Args:
        image_size: Side, or spatial shape, to resize to.

    Attributes:
        stores_images: True: the features of an image are a picture of it.

    Raises:
        ConfigError: `image_size` has other than one to three whole numbers.

    Example:
        >>> import torch
        >>> PixelExtractor(4).extract(torch.zeros(2, 3, 28, 28)).features.shape
        (2, 48)
    """

    stores_images = True
    classes = None
    image_spec = None

    def __init__(self, image_size: int | Sequence[int] = 16) -> None:
        sides = [image_size] if isinstance(image_size, int) else list(image_size)
        if not 1 <= len(sides) <= 3:
            raise ConfigError(f"expected image_size= of one to three numbers, found {image_size}")
        self.image_size = tuple(whole("image_size", side) for side in sides)

    def extract(self, images: Tensor) -> Features:
        """Returns the pixels `(N, D)` of images `(N, C, *spatial)` in [-1, 1].

        Raises:
            SynthesizerError: They have other dimensions than `image_size`.
        """
        ndim = images.ndim - 2
        shape = self.image_size * ndim if len(self.image_size) == 1 else self.image_size
        if ndim not in (2, 3) or len(shape) != ndim:
            raise SynthesizerError(
                f"expected images (N, C, *spatial) to be resized to {self.image_size}, found {tuple(images.shape)}"
            )
        if not len(images):
            return Features(images.new_empty(0, images.shape[1], *shape).flatten(1).float().cpu().numpy())
        return Features(resize(images.detach().float(), shape).flatten(1).cpu().numpy().copy())

    @property
    def fingerprint(self) -> str:
        """A hash of the size."""
        return hash_json([KIND, self.image_size])

    def save(self, folder: str | Path) -> Path:
        """Writes `extractor.json` into a new folder.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        with new_folder(folder, "extractor") as work:
            about = {"kind": KIND, "version": _VERSION, "image_size": list(self.image_size), "versions": versions()}
            write_json(work / "extractor.json", about)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: It is missing or damaged.
        """
        about = read_json(Path(folder) / "extractor.json", KIND, _VERSION)
        try:
            return cls(about["image_size"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected a whole extractor in {folder}, found {error}; it is damaged") from None
