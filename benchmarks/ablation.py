"""Which generator helps the rare classes? python -m benchmarks.ablation run --help

Long-tailed Fashion-MNIST of half the side (14x14), so that many variants and seeds can be tried, with development seeds
only: what is chosen here is confirmed by `benchmarks.longtail` on other seeds and the whole side. Each variant of each
seed is a file of its own in `results/ablation/`, so that a run that was killed goes on.

Samples of rare classes (fewer than 20 images) are measured in the features of an oracle, a classifier of all 60,000
images: agreement with the label; the distance to the nearest training image, a sample's own parent left out; the Vendi
score. Beside them stand as many plain augmentations of the training images, and unused real images.
"""

import functools
import warnings
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch import Tensor

from benchmarks import ablation_table, common
from benchmarks.longtail import WORK, Setting, seed_range
from benchmarks.longtail_table import GAN
from benchmarks.samples import MEASURES, Measured, augmented_images, drawn_images, nobody, unused_images
from benchmarks.sets import ImageSet, load, long_tailed
from gan_augment.balance import MIN_IMAGES
from gan_augment.errors import SmallClassWarning
from gan_augment.evaluation import Arm, HeldOut, Protocol, Synthetic, TrainingSet, by_rank, held_out_set, score_arm
from gan_augment.features import TrainedExtractor
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES, Recipe
from gan_augment.source import RawView
from gan_augment.training import fit

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

SETTING = Setting(images="FashionMNIST/2", gan_steps=1500, classifier_steps=600)
WIDTH = 64
SAMPLES = 100
ORACLE_STEPS = 3000
CLASSIFIERS = 3
"""Trainings of each arm; their mean counts as one value of a replicate."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dagan": ("dagan", {}),
    "dagan, tau 0": ("dagan", {"label_power": 0.0}),
    "dagan, tau 1": ("dagan", {"label_power": 1.0}),
    "dagan, no skip": ("dagan", {"skips": 0}),
    "dagan, vary source": ("dagan", {"vary_source": True}),
    "dagan, classes": ("dagan", {"classes": True}),
    "dagan, smooth": ("dagan", {"smooth": True}),
    "dagan, warp": ("dagan", {"warp": True}),
    "dagan, delta": ("dagan", {"delta": 5.0}),
    "dagan, delta, classes": ("dagan", {"delta": 5.0, "classes": True}),
    "dagan, delta, code 0.05": ("dagan", {"delta": 5.0, "code": 0.05}),
    "dagan, delta, code 0.2": ("dagan", {"delta": 5.0, "code": 0.2}),
    "dagan, delta 1": ("dagan", {"delta": 1.0}),
    "dagan, delta, tau 1": ("dagan", {"delta": 5.0, "label_power": 1.0}),
    "dagan, delta, vary source": ("dagan", {"delta": 5.0, "vary_source": True}),
    "dagan, delta, smooth": ("dagan", {"delta": 5.0, "smooth": True}),
    "icgan": ("icgan", {}),
    "sngan": ("sngan", {}),
    "r3gan": ("r3gan", {}),
    "stylegan2_ada": ("stylegan2_ada", {}),
}

_BASE = Arm(name="reals", sampling="balanced", augment=True)
_ARMS = {
    "reals": _BASE,
    "balanced softmax": Arm(name="balanced softmax", sampling="sqrt", loss="balanced_softmax", augment=True),
    "unused reals": Arm(
        name="unused reals", sampling="balanced", augment=True, synthetic=Synthetic(rows="unused", share=1.0)
    ),
}
_SYNTHETIC = Arm(name="synthetic", sampling="balanced", augment=True, synthetic=Synthetic(rows="all"))


class Replicate:
    """One development seed: data, and what is measured of images and of arms.

    Args:
        order: "random" or "confusable".
        seed: Of everything.
    """

    def __init__(self, order: str, seed: int) -> None:
        self.seed, self.trainings = seed, CLASSIFIERS
        train, unused, test = long_tailed(_images(), order=order, ratio=SETTING.ratio, most=SETTING.most, seed=seed)
        self.view, self.unused = RawView(train, progress=False), RawView(unused, progress=False)
        self.training = TrainingSet(view=self.view, unused=self.unused)
        self.tested: HeldOut = held_out_set(RawView(test, progress=False), self.view)
        self.rare: list[int] = np.flatnonzero(self.view.counts < MIN_IMAGES).tolist()
        self.held = {label: unused_images(self.unused, self.view, label, SAMPLES) for label in self.rare}

    def score(self, arm: Arm) -> dict[str, Any]:
        """Returns the mean scores of an arm over its trainings."""
        protocol = Protocol(steps=SETTING.classifier_steps, augmentation=SETTING.augmentation)
        scored = [
            score_arm(arm, self.training, protocol, self.tested, seed=self.seed + 1000 * training)
            for training in range(self.trainings)
        ]
        recalls = np.mean([one.recalls for one in scored], axis=0)
        return {
            "balanced_accuracy": float(np.mean([one.scores["balanced_accuracy"] for one in scored])),
            "recalls": by_rank(recalls, self.view.counts),
        }

    def unit(self, name: str) -> dict[str, Any]:
        """Returns what the file of a variant, or of the "reference", holds."""
        made = self.reference() if name == "reference" else self.variant(name)
        return {**made, "counts": sorted(self.view.counts.tolist(), reverse=True)}

    def reference(self) -> dict[str, Any]:
        """Returns the arms without a generator, and the measures of augmented and of unused real images."""
        augmented = augmented_images(self.view, self.rare, SETTING.augmentation, count=SAMPLES, seed=self.seed)
        return {
            "arms": {name: self.score(arm) for name, arm in _ARMS.items()},
            "samples": {
                "augmented": self._measured(*augmented),
                "unused": self._measured(self.held, nobody(self.held)),
            },
        }

    def variant(self, name: str) -> dict[str, Any]:
        """Returns the arm with the samples of a generator, and their measures."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallClassWarning)
            gan = fit(self.view, recipe_of(name), seed=self.seed, watch_every=0, progress=False)
        most = int(self.view.counts.max())
        counts = {label: max(most - int(count), 1) for label, count in enumerate(self.view.counts)}
        self.training.pool = SyntheticPool.build(
            gan, self.view, counts=counts, reserve=1.0, seed=self.seed, progress=False
        )
        return {
            "arms": {"synthetic": self.score(_SYNTHETIC)},
            "samples": {"drawn": self._measured(*drawn_images(gan, self.rare, count=SAMPLES))},
        }

    def _measured(self, images: dict[int, Tensor], parents: dict[int, npt.NDArray[np.int64]]) -> dict[str, float]:
        """Returns the means of the measures over the rare classes."""
        found = Measured(self.view, self.held, oracle())(images, parents)
        return {name: float(np.mean([one[name] for one in found.values()])) for name in MEASURES}


@functools.cache
def _images() -> ImageSet:
    return load(SETTING.images)


@functools.cache
def oracle() -> TrainedExtractor:
    """Returns a classifier of all training images, which no user has; trained once."""
    from gan_augment.demo import ArrayImages, to_tensor

    folder = WORK.parent / "ablation" / "oracle"
    if not folder.exists():
        images = _images()
        pixels, targets = images.train
        view = RawView(ArrayImages(pixels, targets, images.classes, to_tensor), progress=False)
        TrainedExtractor.fit(view, steps=ORACLE_STEPS, seed=99, progress=False).save(folder)
    return TrainedExtractor.load(folder)


def recipe_of(name: str) -> Recipe:
    """Returns the recipe of a variant with all its settings."""
    recipe, changes = VARIANTS[name]
    settings = {"width": WIDTH, "steps": SETTING.gan_steps, "augmentation": SETTING.augmentation, **changes}
    return RECIPES[recipe](**settings)


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "_")


def unit_of(order: str, seed: int, name: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the settings of the file of a variant, or of the "reference"."""
    about = {
        "order": order, "seed": seed, "steps": SETTING.gan_steps, "width": WIDTH,
        GAN: recipe_of(name).to_json() if name in VARIANTS else None,
        "classifier_steps": SETTING.classifier_steps, "classifiers": CLASSIFIERS,
    }  # fmt: skip
    return f"ablation/{order}-{seed}/{slug(name)}", about


@app.command(
    epilog="\b\nExample:\n  python -m benchmarks.ablation run --seeds 0-2\n"
    "  python -m benchmarks.ablation run --seeds 0 --variants 'dagan, warp;sngan'"
)
def run(
    seeds: Annotated[str, typer.Option(help="Development seeds, under 100.")] = "0-2",
    orders: Annotated[str, typer.Option(help="random, confusable, or both with a comma.")] = "random,confusable",
    variants: Annotated[str, typer.Option(help="Names, with semicolons between; all without.")] = "",
) -> None:
    """Run variants, one after the other; what has a result already is not run again."""
    torch.set_num_threads(1)
    names = ["reference", *(variants.split(";") if variants else VARIANTS)]
    for seed in seed_range(seeds):
        for order in orders.split(","):
            common.fill(
                names,
                functools.partial(unit_of, order, seed),
                functools.partial(Replicate, order, seed),
                Replicate.unit,
            )
    ablation_table.write()


@app.command()
def tables() -> None:
    """Write the table of all results there are."""
    ablation_table.write()


if __name__ == "__main__":
    app()
