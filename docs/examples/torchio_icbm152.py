"""Patches of a brain by the tissue at their centre, with a long tail, rebalanced within TorchIO.

The ICBM152 template of nilearn (T1 at 1 mm, with maps of grey and white matter) gives patches of 16x16x16 voxels: many
of white matter, few of grey matter, a handful of cerebrospinal fluid. A GAN is fitted on them, its pool fills half of
the slots of a BalancedSubjectsDataset, and a small classifier is trained with and without. It is tested on another part
of the brain, of which no voxel was seen. It takes some minutes; the GAN, of 300 steps, is far from done.

    python -m docs.examples.torchio_icbm152 --out runs/icbm152
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from matplotlib import pyplot as plt
from nilearn import datasets
from torch import Tensor, nn

import gan_augment as ga
from gan_augment.integrations.torchio import BalancedSubjectsDataset
from gan_augment.recipes import DAGAN

TISSUES = ("white matter", "grey matter", "cerebrospinal fluid")
SIDE = 16
TRAIN, TEST = (30, 96), (128, 200)
"""Where centres of patches lie, from back to front in voxels: patches of the two parts do not touch."""


def brain() -> tuple[tio.ScalarImage, npt.NDArray[np.int64]]:
    """Returns the T1 image and the tissue of each voxel, `(W, H, D)`; -1 where none has the majority."""
    names = ("template", "wm_template", "gm_template")
    t1, white, grey = (getattr(datasets, f"load_mni152_{name}")(resolution=1) for name in names)
    values, affine = t1.get_fdata(dtype=np.float32), t1.affine
    shares = [image.get_fdata(dtype=np.float32) for image in (white, grey)]
    shares.append((values > 0) - shares[0] - shares[1])
    tissue = np.where(np.max(shares, axis=0) > 0.5, np.argmax(shares, axis=0), -1)
    return tio.ScalarImage(tensor=values[None], affine=affine), tissue


def patches(
    image: tio.ScalarImage, tissue: npt.NDArray[np.int64], part: tuple[int, int], counts: tuple[int, ...], seed: int
) -> list[tio.Subject]:
    """Returns subjects of patches, as many of each tissue as `counts` says, with centres in a part of the brain."""
    rng, half, found = np.random.default_rng(seed), SIDE // 2, []
    open_to = np.full(tissue.shape, -1)
    inner = (slice(half, -half), slice(*part), slice(half, -half))
    open_to[inner] = tissue[inner]
    for label, count in enumerate(counts):
        places = np.argwhere(open_to == label)
        for start in places[rng.choice(len(places), count, replace=False)] - half:
            stop = np.array(tissue.shape) - start - SIDE
            crop = tio.Crop(np.stack([start, stop], 1).ravel().tolist())
            found.append(tio.Subject(t1=crop(image), label=label))
    return found


def network() -> nn.Module:
    """Returns a small classifier of patches."""
    return nn.Sequential(
        *(nn.Conv3d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv3d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * (SIDE // 4) ** 3, 64), nn.ReLU(), nn.Linear(64, len(TISSUES))),
    )


def recalls(train: tio.SubjectsDataset, test: list[tio.Subject], steps: int, seed: int) -> npt.NDArray[np.float64]:
    """Trains a classifier for some steps; returns its recall of each tissue in the test subjects."""
    torch.manual_seed(seed)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    step = 0
    while step < steps:
        for batch in tio.SubjectsLoader(train, batch_size=32, shuffle=True):
            labels = torch.as_tensor(batch["label"])  # TorchIO 1.0 gives a list
            loss = nn.functional.cross_entropy(model(batch["t1"][tio.DATA]), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == steps:
                break
    labels = torch.tensor([subject["label"] for subject in test])
    with torch.no_grad():
        right = model(torch.stack([subject.t1.data for subject in test])).argmax(1) == labels
    return np.array([right[labels == label].float().mean().item() for label in range(len(TISSUES))])


def picture(subjects: list[tio.Subject], pool: ga.SyntheticPool, path: Path) -> None:
    """Saves middle slices of the first eight patches of each tissue, real and synthetic."""
    lines: list[tuple[str, list[Tensor]]] = []
    for label, tissue in enumerate(TISSUES):
        lines.append((f"{tissue}, real", [subject.t1.data for subject in subjects if subject["label"] == label]))
        rows = pool.rows[pool.labels == label].tolist()  # none of the largest class
        lines += [(f"{tissue}, synthetic", [torch.tensor(pool.array(row)) for row in rows])] if rows else []
    figure, axes = plt.subplots(len(lines), 8, figsize=(8, 1.1 * len(lines)))
    for row_of_axes, (title, volumes) in zip(axes, lines, strict=True):
        row_of_axes[0].set_title(title, loc="left", fontsize=8)
        for axis, volume in zip(row_of_axes, volumes, strict=False):
            axis.imshow(_slice(volume), cmap="gray", vmin=0, vmax=1)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _slice(volume: Tensor) -> Tensor:
    return volume[0, :, :, SIDE // 2].T.flip(0)


def main(arguments: list[str] | None = None) -> None:
    """Fits, draws, trains, prints the table and saves the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/icbm152"))
    parser.add_argument("--quick", action="store_true", help="few images and steps: to see that it runs")
    asked = parser.parse_args(arguments)
    counts, gan_steps, steps, seeds = ((40, 12, 8), 4, 6, 1) if asked.quick else ((300, 60, 20), 300, 150, 3)

    image, tissue = brain()
    subjects = patches(image, tissue, TRAIN, counts, seed=0)
    test = patches(image, tissue, TEST, (20 if asked.quick else 200,) * len(TISSUES), seed=1)
    augment = tio.Compose([tio.RandomFlip(axes=(0, 1, 2)), tio.RandomNoise(std=(0, 0.02))])
    real = tio.SubjectsDataset(subjects, transform=augment)

    recipe = DAGAN(width=64, batch_size=16)  # the default has eight times the work in a step
    gan = ga.fit(real, recipe, out=asked.out / "gan", steps=gan_steps, min_images=1, progress=False)
    pool = ga.SyntheticPool.build(gan, like=real, reserve=1, out=asked.out / "pool", progress=False)
    print(f"{pool}, voxels of {'x'.join(f'{width:g}' for width in pool.spacing or ())} mm")
    picture(subjects, pool, asked.out / "patches.png")

    arms: dict[str, Any] = {
        "as it is": real,
        "repeated": BalancedSubjectsDataset(real, None, synthetic_share=0, progress=False),
        "half synthetic": BalancedSubjectsDataset(real, pool, min_images=1, progress=False),
    }
    print(f"{'':16}{'balanced accuracy':>18}" + "".join(f"{tissue:>21}" for tissue in TISSUES))
    for name, train in arms.items():
        found = np.array([recalls(train, test, steps, seed) for seed in range(seeds)])
        accuracy = found.mean(1)
        told = f"{accuracy.mean():.3f} ({accuracy.min():.3f}-{accuracy.max():.3f})"
        print(f"{name:16}{told:>18}" + "".join(f"{recall:>21.3f}" for recall in found.mean(0)))


if __name__ == "__main__":
    main()
