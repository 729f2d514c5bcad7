"""Rare tissue in MONAI: patches of a brain template, balanced with a GAN's volumes in a CacheDataset, with and without.

Patches of 8x8x8 voxels of 2 mm, cut out of the ICBM152 T1 template (nilearn brings it along), are written as NIfTI
files. The class is the tissue at the centre: white matter, grey matter, or neither, of which there are eight patches.
Those of the training come from the back of the head, those of the test from its front.

    python -m docs.examples.monai_volumes
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import nilearn.datasets
import numpy as np
import numpy.typing as npt
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.networks.nets import Classifier
from monai.transforms import Compose, LoadImaged, RandFlipd, ScaleIntensityRanged
from monai.utils import set_determinism

import gan_augment as ga
from gan_augment.integrations.monai import PoolReader, balance_datalist
from gan_augment.recipes import DAGAN

TISSUES = ["white", "grey", "neither"]
TRAIN, TEST, SIDE = (240, 80, 8), (100, 100, 100), 8
AFFINE = np.diag([2.0, 2, 2, 1])


def volume(name: str) -> npt.NDArray[np.uint8]:
    """Returns a volume of the template, uint8, at 2 mm."""
    folder = Path(nilearn.datasets.__file__).parent / "data"
    image: Any = nibabel.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
    return np.asarray(image.dataobj)[::2, ::2, ::2]


def write_patches(folder: Path, counts: Sequence[int], slab: slice, seed: int) -> list[dict[str, Any]]:
    """Writes patches whose centres lie in a slab of the y axis, in one hemisphere: the template is symmetric."""
    rng, half, data = np.random.default_rng(seed), SIDE // 2, []
    head, grey, white = map(volume, ("t1", "gm", "wm"))
    places: list[npt.NDArray[np.bool_]] = [white > 200, grey > 200, (white < 20) & (grey < 20) & (head > 20)]
    for label, place in enumerate(places):
        inside = np.zeros_like(place)
        inside[half : head.shape[0] // 2, slab, 20:-20] = True
        centres = np.argwhere(place & inside)
        for number, centre in enumerate(rng.choice(centres, counts[label], replace=False).tolist()):
            patch = head[tuple(slice(at - half, at + half) for at in centre)]
            path = folder / f"{TISSUES[label]}-{number:03d}.nii"
            nibabel.save(nibabel.Nifti1Image(patch, AFFINE), path)  # type: ignore[no-untyped-call]
            data.append({"image": str(path), "label": label})
    return data


def load() -> LoadImaged:
    """Returns MONAI's loader, which also reads rows of a pool."""
    loader = LoadImaged("image", ensure_channel_first=True)
    loader.register(PoolReader())
    return loader


def trained_recalls(
    data: list[dict[str, Any]], test: list[dict[str, Any]], steps: int, seed: int
) -> npt.NDArray[np.float64]:
    """Trains a classifier on a list of dicts and returns its recall of each class."""
    set_determinism(seed=seed)
    scale = ScaleIntensityRanged("image", a_min=0, a_max=255, b_min=0, b_max=1)
    flips = [RandFlipd("image", prob=0.5, spatial_axis=axis) for axis in range(3)]
    train_set = CacheDataset(data, Compose([load(), scale, *flips]), progress=False)
    test_set = CacheDataset(test, Compose([load(), scale]), progress=False)
    network = Classifier((1, SIDE, SIDE, SIDE), len(TISSUES), channels=(8, 16, 32), strides=(2, 2, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    loader = DataLoader(train_set, batch_size=32, shuffle=True)
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for batch in itertools.islice(epochs, steps):
        loss = torch.nn.functional.cross_entropy(network(batch["image"].as_tensor()), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        found = [
            (network(batch["image"].as_tensor()).argmax(1), batch["label"])
            for batch in DataLoader(test_set, batch_size=60)
        ]
    predicted, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return np.array([float((predicted[labels == k] == k).float().mean()) for k in range(len(TISSUES))])


def main(arguments: list[str] | None = None) -> None:
    """Trains on the reals, on repeats of them, and on repeats and synthetic volumes, as many in all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few patches and steps: to see that it runs")
    quick = parser.parse_args(arguments).quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            (folder / part).mkdir()
        counts = ((24, 12, 8), (10, 10, 10)) if quick else (TRAIN, TEST)
        train = write_patches(folder / "train", counts[0], slice(10, 52), seed=0)
        test = write_patches(folder / "test", counts[1], slice(62, 100), seed=1)
        reals = Dataset(train, load())  # only what loads: the pool holds raw images, as the files do
        recipe = DAGAN(width=32, batch_size=32)
        gan = ga.fit(reals, recipe, steps=2 if quick else 500, min_images=0, progress=False)
        pool = ga.SyntheticPool.build(gan, like=reals, out=folder / "pool", progress=False)
        print(pool)
        for arm, share in (("reals alone", None), ("repeated reals", 0.0), ("half of them synthetic", 0.5)):
            data = train if share is None else balance_datalist(train, pool, synthetic_share=share, min_images=0)
            seeds = range(1 if quick else 3)
            recalls = np.array([trained_recalls(data, test, 3 if quick else 600, seed) for seed in seeds])
            accuracy, each = recalls.mean(1), zip(TISSUES, recalls.mean(0), strict=True)
            told = ", ".join(f"{tissue} {recall:.2f}" for tissue, recall in each)
            print(
                f"{arm}: {len(data)} patches, balanced accuracy {accuracy.mean():.3f} "
                f"({accuracy.min():.3f} to {accuracy.max():.3f}); recall of {told}"
            )


if __name__ == "__main__":
    main()
