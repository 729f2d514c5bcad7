"""Pools that several tests of exports share."""

import gc
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gan_augment.pool import SyntheticPool
from gan_augment.pool.exports import ReadBack, read_folder
from gan_augment.selection import CentroidSelector
from tests.helpers import Pictures, toy_synthesizer

CLASSES = ("nevus", "melanoma", "basal cell")


def noise(dtype: str, shape: Sequence[int], seed: int = 0) -> npt.NDArray[Any]:
    """Values over the whole range of a type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(size=shape) * 1000).astype(dtype)
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, tuple(shape), dtype=dtype, endpoint=True)
    values.flat[0], values.flat[-1] = limits.min, limits.max
    return values


def pool_of(
    dtype: str = "uint8", shape: Sequence[int] = (9, 7), *, classes: Sequence[str] = CLASSES, most: int = 0
) -> SyntheticPool:
    """Six images, two of each class; with `most` there are masks up to it."""
    masks = np.random.default_rng(1).integers(0, most, (6, *_spatial(shape)), endpoint=True) if most else None
    if masks is not None:
        masks.flat[0] = most
    labels = np.arange(6) % len(classes)
    return SyntheticPool.from_arrays(noise(dtype, (6, *shape)), labels, list(classes), masks=masks)


def _spatial(shape: Sequence[int]) -> Sequence[int]:
    return shape[:-1] if shape[-1] <= 4 else shape[1:] if shape[0] <= 4 and len(shape) > 2 else shape


def drawn_pool(kind: str = "pil", **settings: Any) -> SyntheticPool:
    """A pool with seeds, scores and reasons: a selector kept half."""
    selector = CentroidSelector(keep_share=0.5, agreement=False)
    data = Pictures(kind=kind, classes=["a", "b", "c"])
    return SyntheticPool.build(toy_synthesizer(), data, selector=selector, reserve=2, progress=False, **settings)


def hugging_face(path: str, cache: Path, **settings: Any) -> Any:
    """What `datasets` reads of a local path; the files that it leaves open are closed here."""
    import datasets

    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        found = datasets.load_dataset(path, split="train", cache_dir=str(cache), **settings)
        gc.collect()
    return found


def read(folder: Path, **settings: Any) -> ReadBack:
    return read_folder(folder, progress=False, **settings)


def plain_folder(folder: Path, **images: npt.NDArray[Any]) -> Path:
    """An image folder without anything beside, of arrays by path without suffix."""
    for name, image in (images or {"cat/1": noise("uint8", (8, 8)), "dog/2": noise("uint8", (8, 8), 1)}).items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder
