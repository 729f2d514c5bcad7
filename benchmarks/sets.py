"""Image sets with a long tail: Fashion-MNIST, the digits, any torchvision class, any folder of images."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.balance import long_tail_counts
from gan_augment.demo import ArrayImages, to_tensor
from gan_augment.errors import ConfigError, DataError
from gan_augment.seeds import derive

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the four files."""

CONFUSABLE = {
    "FashionMNIST": (
        "Ankle boot", "Bag", "Sneaker", "Trouser", "Sandal", "Dress", "T-shirt/top", "Coat", "Pullover", "Shirt",
    )
}  # fmt: skip
"""Orders, head to tail, whose rare classes look like each other."""


@dataclass(frozen=True)
class ImageSet:
    """A labelled set with a test split: images `(N, H, W)` or `(N, H, W, 3)` uint8, targets `(N,)`."""

    name: str
    train: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
    test: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
    classes: tuple[str, ...]


def load(name: str, root: Path = Path("runs/data")) -> ImageSet:
    """Loads a set by name.

    Args:
        name: "digits", a class of torchvision.datasets such as "FashionMNIST" or "CIFAR10", or a folder that holds
            `train` and `test`, each with a folder for each class. "FashionMNIST/2" is shrunk to half the side.
        root: Where torchvision downloads to.

    Raises:
        ConfigError: There is no such set.
    """
    if name == "digits":
        return _digits()
    if name.endswith("/2") and not Path(name).is_dir():
        return _halved(load(name.removesuffix("/2"), root))
    if name == "FashionMNIST" and DEBIAN.is_dir():
        return _idx(DEBIAN)
    if Path(name).is_dir():
        from gan_augment.folders import open_folder

        parts = [open_folder(Path(name) / split) for split in ("train", "test")]
        return ImageSet(Path(name).name, _arrays(parts[0]), _arrays(parts[1]), tuple(parts[0].classes))
    import torchvision.datasets

    kind = getattr(torchvision.datasets, name, None)
    if kind is None:
        raise ConfigError(f"expected digits, a class of torchvision.datasets or a folder, found {name!r}")
    train, test = (kind(str(root), train=split, download=True) for split in (True, False))
    return ImageSet(name, _arrays(train), _arrays(test), tuple(train.classes))


def _halved(images: ImageSet) -> ImageSet:
    """Shrinks by means of 2x2 pixels."""

    def half(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        rows, columns = pixels.shape[1] // 2, pixels.shape[2] // 2
        cells = pixels[:, : 2 * rows, : 2 * columns].reshape(len(pixels), rows, 2, columns, 2, *pixels.shape[3:])
        shrunk: npt.NDArray[np.uint8] = np.rint(cells.mean(axis=(2, 4))).astype(np.uint8)
        return shrunk

    (train, labels), (test, test_labels) = images.train, images.test
    return ImageSet(f"{images.name}-half", (half(train), labels), (half(test), test_labels), images.classes)


def _arrays(dataset: Any) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    items = [dataset[index] for index in range(len(dataset))]
    shapes = {np.asarray(image).shape for image, _ in items}
    if len(shapes) > 1:
        raise DataError(f"expected images of one size, found {sorted(shapes)[:3]}; resize them first")
    return np.stack([np.asarray(image) for image, _ in items]), np.array([label for _, label in items], np.int64)


def _idx(folder: Path) -> ImageSet:
    def read(name: str, header: int) -> npt.NDArray[np.uint8]:
        with gzip.open(folder / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    def split(prefix: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        images = read(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        return images, read(f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int64)

    from torchvision.datasets import FashionMNIST

    return ImageSet("FashionMNIST", split("train"), split("t10k"), tuple(FashionMNIST.classes))


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    targets = digits.target.astype(np.int64)
    test = np.zeros(len(targets), bool)
    for label in range(10):
        test[np.flatnonzero(targets == label)[::3]] = True
    return ImageSet("digits", (images[~test], targets[~test]), (images[test], targets[test]), tuple("0123456789"))


def long_tailed(
    images: ImageSet, *, order: str, ratio: float, most: int, seed: int
) -> tuple[ArrayImages, ArrayImages, ArrayImages]:
    """Returns a long-tailed training set, unused real images that would fill its classes up, and the test set.

    Args:
        images: The set.
        order: "random" (drawn from the seed) or "confusable" (fixed; the rare classes look like each other).
        ratio: Largest class over smallest.
        most: Images of the largest class, at most what there are.
        seed: Of the order and of which images are kept.

    Raises:
        ConfigError: There is no confusable order of this set.
    """
    pixels, targets = images.train
    rng = np.random.Generator(np.random.Philox(derive(seed, "long tail", images.name)))
    drawn = rng.permutation(len(images.classes))
    if order == "confusable":
        name = images.name.removesuffix("-half")
        if name not in CONFUSABLE:
            raise ConfigError(f"expected order random for {images.name}, found confusable, which is not known for it")
        drawn = np.array([images.classes.index(label) for label in CONFUSABLE[name]])
    most = min(most, int(np.bincount(targets).min()))
    kept: list[int] = []
    unused: list[int] = []
    for label, count in zip(drawn, long_tail_counts(most, len(drawn), ratio), strict=True):
        rows = rng.permutation(np.flatnonzero(targets == label))
        kept += rows[:count].tolist()
        unused += rows[count:most].tolist()
    parts = [
        ArrayImages(pixels[rows], targets[rows], images.classes, to_tensor) for rows in (sorted(kept), sorted(unused))
    ]
    return parts[0], parts[1], ArrayImages(*images.test, images.classes, to_tensor)
