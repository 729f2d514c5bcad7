"""Are the samples of the digits right, varied and no copies? python -m benchmarks.recipes

At equal compute: what a step costs is measured first, for all variants in one run, and each is trained for as many
steps as BUDGET seconds of one thread buy it. Measures (`benchmarks/samples.py`) are in the features of an oracle, a
classifier of all 1,797 digits, which no user has. Beside the samples stand plain augmentations of the training images
and unused real images. Of the first seed there are pictures of unpicked samples, `results/recipes/NAME-samples.png`.
"""

import functools
import statistics
import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from benchmarks import common
from benchmarks.common import measured_on, unit, write_table
from benchmarks.samples import MEASURES, Measured, augmented_images, drawn_images, nobody, unused_images
from gan_augment.balance import MIN_IMAGES
from gan_augment.demo import DemoSettings, long_tail
from gan_augment.errors import SmallClassWarning
from gan_augment.features import TrainedExtractor
from gan_augment.recipes import RECIPES
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training import fit
from gan_augment.training.log import draw_grid

SEEDS = range(3)
BUDGET = 30.0
"""Seconds of one thread."""

SAMPLES, HELD, _COLUMNS = 200, 60, 12
_COST_STEPS, _COST_ROUNDS = 32, 3

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dagan": ("dagan", {}),
    "dagan, delta 5": ("dagan", {"delta": 5.0}),
    "dagan, delta 5, code 0.2": ("dagan", {"delta": 5.0, "code": 0.2}),
    "dagan, diversity 0.002": ("dagan", {"diversity": 0.002}),
    "dagan, warp": ("dagan", {"warp": True}),
    "icgan": ("icgan", {}),
    "sngan": ("sngan", {}),
    "sngan, diversity 0": ("sngan", {"diversity": 0.0}),
    "sngan, label_power 0": ("sngan", {"label_power": 0.0}),
    "sngan, label_power 1": ("sngan", {"label_power": 1.0}),
    "sngan, shared 1": ("sngan", {"shared": 1}),
    "sngan, ramp 0.2 to 0.5": ("sngan", {"ramp": [0.2, 0.5]}),
    "sngan, spectral 0.5": ("sngan", {"spectral": 0.5}),
    "sngan, mapping": ("sngan", {"mapping": True}),
    "sngan, twins 0.01": ("sngan", {"twins": 0.01}),
    "sngan, lecam 0.1": ("sngan", {"lecam": 0.1}),
    "acgan": ("acgan", {}),
    "bagan_gp": ("bagan_gp", {}),
    "r3gan": ("r3gan", {}),
    "stylegan2_ada": ("stylegan2_ada", {}),
}
_SHOWN = ("dagan", "icgan", "sngan", "acgan", "bagan_gp", "r3gan", "stylegan2_ada")
_COLUMNS_OF = {"rare": MEASURES, "all": ("agreement", "coverage")}
_RATE = DemoSettings().gan_learning_rate


def cost() -> dict[str, Any]:
    """Returns seconds of processor time of a step of each variant: the median of rounds in which they take turns."""
    view = RawView(long_tail(0)[0], progress=False)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(_COST_ROUNDS):
        for name in VARIANTS:
            began = time.process_time()
            _trained(view, name, seed=0, steps=_COST_STEPS)
            times[name].append((time.process_time() - began) / _COST_STEPS)
    return {"seconds_a_step": {name: statistics.median(every) for name, every in times.items()}}


def _trained(view: RawView, name: str, *, seed: int, steps: int) -> TrainedSynthesizer:
    recipe, changes = VARIANTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallClassWarning)
        made = RECIPES[recipe](steps=steps, learning_rate=_RATE, **changes)
        return fit(view, made, seed=seed, watch_every=0, progress=False)


@functools.cache
def _oracle() -> TrainedExtractor:
    everything = RawView(ConcatDataset(list(long_tail(0))), progress=False)
    return TrainedExtractor.fit(everything, steps=1500, seed=99, progress=False)


class Digits:
    """A long tail of the digits, and what is measured on it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.view, unused = (RawView(part, progress=False) for part in long_tail(seed))
        labels = range(self.view.num_classes)
        self.unused = {label: unused_images(unused, self.view, label, HELD) for label in labels}
        self.measure = Measured(self.view, self.unused, _oracle())

    def _means(self, found: dict[int, dict[str, float]]) -> dict[str, dict[str, float]]:
        rare = [label for label in found if self.view.counts[label] < MIN_IMAGES]
        return {
            kind: {name: float(np.mean([found[label][name] for label in labels])) for name in MEASURES}
            for kind, labels in (("all", list(found)), ("rare", rare))
        }

    @functools.cached_property
    def reals(self) -> dict[str, Any]:
        """Measures of plain augmentations and of unused reals."""
        augmentation = RECIPES["dagan"]().augmentation
        augmented = augmented_images(self.view, list(self.unused), augmentation, count=SAMPLES, seed=self.seed)
        return {
            "augmented": self._means(self.measure(*augmented)),
            "unused": self._means(self.measure(self.unused, nobody(self.unused))),
        }

    def variant(self, name: str, steps: int) -> dict[str, Any]:
        """Measures the samples of a variant."""
        gan = _trained(self.view, name, seed=self.seed, steps=steps)
        began = time.process_time()
        images, parents = drawn_images(gan, list(self.unused), count=SAMPLES)
        seconds = time.process_time() - began
        found = self._means(self.measure(images, parents))
        if self.seed == 0 and name in _SHOWN:
            self._draw(name, images, found["rare"])
        return {**found, "images_a_second": SAMPLES * len(images) / seconds}

    def _draw(self, name: str, images: dict[int, Tensor], found: dict[str, float]) -> None:
        """Writes a picture of unpicked samples, with what was measured of the rare classes above it."""
        told = [
            f"{whose}: distance {rare['distance']:.2f}, Vendi {rare['vendi']:.1f}"
            for whose, rare in (
                (name, found),
                *((f"{kind} reals", means["rare"]) for kind, means in self.reals.items()),
            )
        ]
        first = {label: drawn[:_COLUMNS] for label, drawn in images.items()}
        picture = draw_grid(first, self.view.classes, self.view.counts.tolist(), "; ".join(told))
        path = common.RESULTS / "recipes" / f"{name}-samples.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, optimize=True)


def _unit(name: str, seed: int) -> str:
    return f"recipes/{name.replace(', ', '-').replace(' ', '-')}-seed-{seed}"


def main() -> None:
    torch.set_num_threads(1)
    about = {"steps": _COST_STEPS, "rounds": _COST_ROUNDS, "variants": VARIANTS}
    costs = unit("recipes/cost", about, cost)["seconds_a_step"]
    steps = {name: max(25, round(BUDGET / seconds / 25) * 25) for name, seconds in costs.items()}
    digits = {seed: Digits(seed) for seed in SEEDS}
    reals = [
        unit(_unit("reals", seed), {"seed": seed}, functools.partial(getattr, digits[seed], "reals")) for seed in SEEDS
    ]
    every, rows = [*reals], []
    for kind in ("unused", "augmented"):
        rows.append([f"*{kind} reals*", "", "", "", *_cells([one[kind] for one in reals], reals)])
    for name, variant in VARIANTS.items():
        settings = {"variant": variant, "steps": steps[name], "learning_rate": _RATE}
        results = [
            unit(
                _unit(name, seed),
                {**settings, "seed": seed},
                functools.partial(digits[seed].variant, name, steps[name]),
            )
            for seed in SEEDS
        ]
        every += results
        drawn = statistics.mean(result["images_a_second"] for result in results)
        speed = [str(steps[name]), f"{64 / costs[name]:.0f}", f"{drawn:.0f}"]
        rows.append([name, *speed, *_cells(results, reals)])
    _write(rows, every)


def _cells(results: list[dict[str, Any]], reals: list[dict[str, Any]]) -> list[str]:
    """Returns agreement and coverage, and the other measures as shares of those of unused reals."""
    cells = []
    for kind, names in _COLUMNS_OF.items():
        for name in names:
            whole = [1.0 if name in ("agreement", "coverage") else one["unused"][kind][name] for one in reals]
            values = [result[kind][name] / of for result, of in zip(results, whole, strict=True)]
            cells.append(f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
    return cells


def _write(rows: list[list[str]], every: list[dict[str, Any]]) -> None:
    heads = ["variant", "steps", "images/s trained", "images/s drawn"]
    heads += [f"{kind}: {name}" for kind, names in _COLUMNS_OF.items() for name in names]
    notes = [
        f"Equal compute: {BUDGET:g} seconds of one thread for each variant, at learning rate {_RATE}, batch 64; digits "
        f"of 8x8 pixels, imbalance ratio 20. {len(SEEDS)} seeds: mean and range, of {SAMPLES} samples a class; rare "
        f"classes have fewer than {MIN_IMAGES} images.",
        "",
        "In the features of an oracle, trained on all the digits. Agreement: share of samples whose class it confirms. "
        "Distance: median to the nearest training image, a sample's own parent left out. Vendi: effective number of "
        "different images. Coverage: share of unused reals with a sample among their neighbours. Spread: standard "
        "deviation of a pixel. Distance, Vendi and spread are shares of those of unused reals: a distance well below "
        "that of augmented reals is copying, a Vendi score below theirs no more variety than they have.",
        "",
        measured_on(every) + " Written by `python -m benchmarks.recipes`.",
    ]
    write_table("recipes", "Digits: samples by recipe, at equal compute", heads, rows, notes)


if __name__ == "__main__":
    main()
