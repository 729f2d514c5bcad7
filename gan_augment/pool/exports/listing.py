"""What lies in a folder that somebody hands over: regular image files below it, and nothing else."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gan_augment.errors import DataError
from gan_augment.pool.exports.tree import IMAGES, MASKS

__all__ = ["Listing", "listed"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".webp")
_DEEPEST = 16
_MOST_FILES = 2**22


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The image files below a folder, as paths from it with forward slashes, sorted.

    Attributes:
        images: Those that are images.
        masks: The mask of each path without suffix, from `<class>/` on; empty but where the folder holds `images/` and
            `masks/`.
        root: "images/" there, else empty.
    """

    images: list[str]
    masks: dict[str, str]
    root: str

    def folder_of(self, path: str) -> str:
        """Returns the class folder that a file lies in; empty where it lies in none."""
        first, slash, _ = path.removeprefix(self.root).partition("/")
        return first if slash else ""


def listed(folder: str | Path) -> Listing:
    """Lists the image files below a folder. Hidden files and files of other kinds are passed over; nothing is opened.

    Raises:
        DataError: It is no folder, holds links, hidden folders or too many files, or no image.
    """
    folder = Path(folder)
    try:
        found, there = "no folder", folder.is_dir()
    except (OSError, ValueError):
        found, there = "a name that cannot be one", False
    if not there:
        raise DataError(f"expected a folder of images at {str(folder)!r:.300}, found {found}")
    paths = sorted(_walk(folder))
    tops = {path.partition("/")[0] if path.count("/") > 1 else path for path in paths}
    if tops != {IMAGES, MASKS}:
        images, masks, root = paths, {}, ""
    else:
        root = f"{IMAGES}/"
        images = [path for path in paths if path.startswith(root)]
        masks = {_stem(path, f"{MASKS}/"): path for path in paths if path.startswith(f"{MASKS}/")}
    if not images:
        raise DataError(
            f"expected images ({', '.join(suffix[1:] for suffix in _SUFFIXES)}) in {folder}, found none; NIfTI files "
            "and shards are not read: open the pool that they were exported from"
        )
    return Listing(images=images, masks=masks, root=root)


def _stem(path: str, root: str) -> str:
    return str(PurePosixPath(path.removeprefix(root)).with_suffix(""))


def _walk(folder: Path) -> list[str]:
    found: list[str] = []
    open_to = [(folder, "", 0)]
    while open_to:
        place, prefix, depth = open_to.pop()
        try:
            with os.scandir(place) as scanned:
                entries = list(scanned)
        except OSError as error:
            raise DataError(f"expected a folder that can be read at {place}, found: {error.strerror}") from None
        for entry in entries:
            if entry.is_symlink():
                raise DataError(f"expected no links in {folder}, found {entry.path!r}; copy the images instead")
            if entry.is_dir(follow_symlinks=False):
                _check_folder(folder, entry, depth)
                open_to.append((Path(entry.path), f"{prefix}{entry.name}/", depth + 1))
            elif entry.name.lower().endswith(_SUFFIXES) and not entry.name.startswith("."):
                found.append(prefix + entry.name)
        if len(found) > _MOST_FILES:
            raise DataError(f"expected at most {_MOST_FILES} images in {folder}, found more; read it in parts")
    return found


def _check_folder(folder: Path, entry: "os.DirEntry[str]", depth: int) -> None:
    if entry.name.startswith("."):
        raise DataError(f"expected folders of classes in {folder}, found the hidden {entry.path!r}; remove it")
    if depth >= _DEEPEST:
        raise DataError(f"expected at most {_DEEPEST} folders in each other in {folder}, found {entry.path!r:.300}")
