"""Are the samples of the digits right, varied and no copies? python -m benchmarks.recipes

Label agreement is by a judge that saw all 1,797 digits (an oracle that no user has). Spread is the mean standard
deviation of a pixel over a class's samples, against that of the *unused* real images of the class: 1 is as varied as
reals. Distance is that of a sample to the nearest training image of any class, its own parent left out, against the
same for unused reals: well below 1 is copying.
"""

import functools
import warnings
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset

from benchmarks.common import measured_on, unit, write_table
from gan_augment.balance import MIN_IMAGES
from gan_augment.demo import DemoSettings, long_tail
from gan_augment.errors import SmallClassWarning
from gan_augment.features import TrainedExtractor
from gan_augment.metrics import interval
from gan_augment.neighbours import nearest_other
from gan_augment.recipes import RECIPES
from gan_augment.source import RawView
from gan_augment.training import fit

SEEDS = range(3)
STEPS = 600
SAMPLES = 200
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "dagan": ("dagan", {}),
    "dagan, diversity 0.002": ("dagan", {"diversity": 0.002}),
    "dagan, diversity 0.01": ("dagan", {"diversity": 0.01}),
    "sngan": ("sngan", {}),
    "sngan, diversity 0": ("sngan", {"diversity": 0.0}),
    "sngan, label_power 0": ("sngan", {"label_power": 0.0}),
    "sngan, label_power 1": ("sngan", {"label_power": 1.0}),
    "sngan, shared 1": ("sngan", {"shared": 1}),
    "sngan, ramp 0.2 to 0.5": ("sngan", {"ramp": [0.2, 0.5]}),
    "sngan, spectral 0.5": ("sngan", {"spectral": 0.5}),
    "sngan, twins 0.01": ("sngan", {"twins": 0.01}),
    "sngan, lecam 0.1": ("sngan", {"lecam": 0.1}),
    "dagan, untrained": ("dagan", {"steps": 1}),
}


def measure(seed: int, recipe: str, settings: dict[str, Any]) -> dict[str, Any]:
    train, test = long_tail(seed)
    view, unused = RawView(train, progress=False), RawView(test, progress=False)
    everything = RawView(ConcatDataset([train, test]), progress=False)
    oracle = TrainedExtractor.fit(everything, steps=800, seed=99, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallClassWarning)
        gan = fit(view, RECIPES[recipe](**settings), seed=seed)
    reals = view.images(spec=view.spec()).flatten(1).numpy()
    rows = []
    for label in range(view.num_classes):
        drawn = gan.sample([label] * SAMPLES, np.arange(SAMPLES))
        agree = oracle.extract(drawn.images).probs.argmax(1) == label  # type: ignore[union-attr]
        held = unused.images(unused.of_class(label), spec=view.spec())
        spread = drawn.images.std(0).mean() / held.std(0).mean()
        nobody = np.full(SAMPLES, -1)
        parents = nobody if drawn.parents is None else drawn.parents
        near = nearest_other(drawn.images.flatten(1).numpy(), reals, parents)
        far = nearest_other(held.flatten(1).numpy(), reals, nobody[: len(held)])
        rows.append(
            (int(view.counts[label]), float(agree.mean()), float(spread), float(np.median(near) / np.median(far)))
        )
    table = np.array(rows)
    rare = table[:, 0] < MIN_IMAGES
    names = ("agreement", "spread", "distance")
    return {
        kind: dict(zip(names, table[mask, 1:].mean(0).tolist(), strict=True))
        for kind, mask in (("all", np.ones(len(table), bool)), ("rare", rare))
    }


def main() -> None:
    steps, rate = STEPS, DemoSettings().gan_learning_rate
    every, rows = [], []
    for name, (recipe, changes) in VARIANTS.items():
        settings = {"steps": steps, "learning_rate": rate, **changes}
        results = [
            unit(
                f"recipes/{name.replace(', ', '-').replace(' ', '-')}-seed-{seed}",
                {"seed": seed, "recipe": recipe, **settings},
                functools.partial(measure, seed, recipe, settings),
            )
            for seed in SEEDS
        ]
        every += results
        cells = []
        for kind in ("all", "rare"):
            for measure_name in ("agreement", "spread", "distance"):
                values = interval([result[kind][measure_name] for result in results])
                cells.append(f"{values.mean:.2f} ({min(values.values):.2f} to {max(values.values):.2f})")
        rows.append([name, *cells])
    heads = ["recipe", *[f"{kind}: {name}" for kind in ("all", "rare") for name in ("agreement", "spread", "distance")]]
    notes = [
        f"{steps} steps at learning rate {rate}, imbalance ratio 20, {len(SEEDS)} seeds: mean and range over seeds, of "
        f"{SAMPLES} samples a class; rare classes have fewer than {MIN_IMAGES} images.",
        "",
        "Agreement: share of samples whose class an oracle, trained on all the digits, confirms. Spread: pixel "
        "standard deviation of a class's samples against unused reals of the class. Distance: median distance to the "
        "nearest training image (not the sample's own parent) against that of unused reals; well below 1 is copying.",
        "",
        measured_on(every) + " Written by `python -m benchmarks.recipes`.",
    ]
    write_table("recipes", "Digits: samples by recipe", heads, rows, notes)


if __name__ == "__main__":
    main()
