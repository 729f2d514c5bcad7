"""Does it help on a long tail? python -m benchmarks.longtail run --help

A replicate draws class order, training images, GAN, judge, pool and classifiers anew. Each arm of each replicate is a
file of its own in `results/longtail/`, written as it finishes, so that a run that was killed goes on where it was.
Seeds under 100 are for development: defaults are chosen by them. Seeds from 100 on are locked: they confirm, and choose
nothing.
"""

import dataclasses
import multiprocessing
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks import common, longtail_table
from benchmarks.longtail_table import GAN
from benchmarks.sets import load, long_tailed
from gan_augment.augmentation import Augmentation
from gan_augment.errors import SmallClassWarning
from gan_augment.evaluation import (
    Arm,
    HeldOut,
    Protocol,
    Synthetic,
    TrainingSet,
    arm_set,
    by_rank,
    check_no_overlap,
    held_out_set,
    score_arm,
)
from gan_augment.features import TrainedExtractor
from gan_augment.fingerprint import hash_json
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES, Recipe
from gan_augment.report import sample_grid
from gan_augment.selection import CentroidSelector
from gan_augment.source import RawView
from gan_augment.training import fit

WORK = Path(__file__).parent.parent / "runs" / "longtail"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, rich_markup_mode=None)


DELTA = {"delta": 5.0}
"""What arms whose names end in `_delta` change in `dagan`: differences between images are coded."""

_WITH_DELTA = "_delta"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a replicate is made with; every number but the arm's own.

    Attributes:
        images: Name of the set.
        order: "random" or "confusable".
        ratio: Imbalance ratio.
        most: Images of the largest class.
        recipe: Of the GAN.
        gan_steps: Its steps.
        judge_steps: Steps of the judge.
        classifier_steps: Steps of every arm.
        flip: Whether the augmented arms, the GAN and the judge flip images.
    """

    images: str = "FashionMNIST"
    order: str = "random"
    ratio: float = 100.0
    most: int = 600
    recipe: str = "dagan"
    gan_steps: int = 800
    judge_steps: int = 400
    classifier_steps: int = 600
    flip: bool = True

    @property
    def augmentation(self) -> Augmentation:
        """Flip and shift of up to a twelfth of the side."""
        return Augmentation(translate=0.08, rotate=0.1, scale=0.1, flip=self.flip)

    def gan(self, arm: str) -> Recipe:
        """Returns the recipe whose samples an arm uses, with all its settings."""
        changes: dict[str, Any] = DELTA if arm.endswith(_WITH_DELTA) and self.recipe == "dagan" else {}
        return RECIPES[self.recipe](steps=self.gan_steps, augmentation=self.augmentation, **changes)

    @property
    def name(self) -> str:
        """Folder of the results."""
        return f"{Path(self.images).name}-{self.ratio:g}-{self.order}"


_CORE = (
    "ce_natural_augmented", "ce_balanced_augmented", "bs_natural_augmented", "bs_natural_cutmix", "bs_natural_cmo",
    "bs_sqrt_augmented", "selected", "random", "all",
)  # fmt: skip
HALF = "bs_natural_augmented_half_steps"
"""An arm with half of the steps, to show what more steps would give."""

_DRAWN = ("selected", "random", "all", "prefiltered", "synthetic", "synaug")
"""In the names of arms that use samples of the GAN."""

_SMALL = ("ce_balanced_augmented", "bs_natural_augmented", "selected", "random")


def arms_of(size: str) -> dict[str, Arm]:
    """Returns the arms of a size ("small", "core", "all") by name.

    The synthetic arms stand on two cells of the grid: cross-entropy with balanced sampling (as in `ga.arm_set`), and
    balanced softmax with square-root sampling (names that end in `_bs_sqrt`), each augmented. Those whose names end in
    `_delta` use the samples of another GAN.
    """
    every = {arm.name: arm for arm in arm_set("all", unused=True)}
    kept = {"small": _SMALL, "core": _CORE, "all": tuple(every)}[size]
    arms = {name: arm for name, arm in every.items() if name in (*kept, "unused_reals")}
    arms[HALF] = dataclasses.replace(every[HALF.removesuffix("_half_steps")], name=HALF)
    if size == "small":
        return arms
    for name in ("selected", "random", "all"):
        arms[name + _WITH_DELTA] = dataclasses.replace(every[name], name=name + _WITH_DELTA)
    for rows in ("selected", "random"):
        arms[f"{rows}_bs_sqrt"] = _on_softmax(f"{rows}_bs_sqrt", Synthetic(rows=rows))
    if size == "all":
        arms["all_bs_sqrt"] = _on_softmax("all_bs_sqrt", Synthetic(rows="all"))
        arms["unused_reals_bs_sqrt"] = _on_softmax("unused_reals_bs_sqrt", Synthetic(rows="unused", share=1.0))
    return arms


def _on_softmax(name: str, dose: Synthetic) -> Arm:
    return Arm(name=name, sampling="sqrt", loss="balanced_softmax", augment=True, synthetic=dose)


class Replicate:
    """One seed of a setting: data, GAN, judge, pools; made when the first arm that needs them asks.

    Args:
        setting: What it is made with.
        seed: Of everything.
    """

    def __init__(self, setting: Setting, seed: int) -> None:
        self.setting, self.seed = setting, seed
        train, unused, test = long_tailed(
            load(setting.images), order=setting.order, ratio=setting.ratio, most=setting.most, seed=seed
        )
        self.view, self.unused, self.test = (RawView(part, progress=False) for part in (train, unused, test))
        self.training = TrainingSet(view=self.view, unused=self.unused)
        self._trainings: dict[Recipe, TrainingSet] = {}
        self._tested: HeldOut | None = None

    def pool(self, recipe: Recipe) -> SyntheticPool:
        """Returns the pool of a GAN, with the judge's selection; kept in `runs/` and opened again after a kill."""
        setting = self.setting
        work = WORK / setting.name / f"seed-{self.seed}-{hash_json(recipe.to_json())[:12]}"
        folder, gan_folder = work / "pool", work / "gan"
        if not folder.exists():
            began = time.monotonic()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SmallClassWarning)
                gan = (
                    _loaded(gan_folder, self.view)
                    if gan_folder.exists()
                    else fit(self.view, recipe, out=gan_folder, seed=self.seed, progress=False)
                )
                judge = TrainedExtractor.fit(
                    self.view,
                    steps=setting.judge_steps,
                    augmentation=setting.augmentation,
                    seed=self.seed,
                    progress=False,
                )
                shutil.rmtree(work / "judge", ignore_errors=True)
                judge.save(work / "judge")
                most = int(self.view.counts.max())
                SyntheticPool.build(
                    gan,
                    self.view,
                    selector=CentroidSelector(judge),
                    counts={label: max(most - int(count), most // 4) for label, count in enumerate(self.view.counts)},
                    out=folder,
                    seed=self.seed,
                    progress=False,
                )
            print(f"{self}: GAN, judge and pool in {time.monotonic() - began:.0f} s", flush=True)
        pool = SyntheticPool.open(folder)
        check_no_overlap(self.test, self.view, pool)
        kind = _WITH_DELTA if recipe == setting.gan(_WITH_DELTA) else ""
        picture = common.RESULTS / unit_of(setting, self.seed, "")[0] / f"samples{kind}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        sample_grid(self.view, pool, picture)
        return pool

    def __str__(self) -> str:
        return f"{self.setting.name}, seed {self.seed}"

    def run(self, arm: Arm) -> dict[str, Any]:
        """Returns the scores of an arm."""
        training = self.training
        if arm.kind not in ("free", "oracle"):
            recipe = self.setting.gan(arm.name)
            if recipe not in self._trainings:
                pool = self.pool(recipe)
                self._trainings[recipe] = TrainingSet(view=self.view, unused=self.unused, pool=pool)
            training = self._trainings[recipe]
        if self._tested is None:
            self._tested = held_out_set(self.test, self.training.view)
        steps = self.setting.classifier_steps // (2 if arm.name == HALF else 1)
        protocol = Protocol(steps=steps, augmentation=self.setting.augmentation)
        began = time.monotonic()
        scored = score_arm(arm, training, protocol, self._tested, seed=self.seed)
        return {
            "kind": "check" if arm.name == HALF else arm.kind,
            "scores": scored.scores,
            "recalls": by_rank(scored.recalls, self.view.counts),
            "counts": sorted(self.view.counts.tolist(), reverse=True),
            "order": [self.view.classes[label] for label in np.argsort(-self.view.counts, kind="stable")],
            "seconds": round(time.monotonic() - began, 1),
        }


def _loaded(folder: Path, view: RawView) -> Any:
    from gan_augment.synthesizers import load as load_synthesizer

    return load_synthesizer(folder).bind(view)


def unit_of(setting: Setting, seed: int, arm: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the settings of the file of an arm; those of the GAN only where its samples are used."""
    about = {**dataclasses.asdict(setting), "seed": seed, "arm": arm}
    if any(rows in arm for rows in _DRAWN):
        about[GAN] = setting.gan(arm).to_json()
    return f"longtail/{setting.name}/seed-{seed}/{arm}", about


def run_replicate(setting: Setting, seed: int, size: str) -> str:
    """Runs the arms of a replicate that have no result yet, one after the other."""
    torch.set_num_threads(1)
    arms = arms_of(size)
    count = common.fill(
        list(arms),
        lambda name: unit_of(setting, seed, name),
        lambda: Replicate(setting, seed),
        lambda replicate, name: replicate.run(arms[name]),
    )
    return f"{setting.name}, seed {seed}: {count} arms run"


def run_all(units: Mapping[tuple[Setting, int], str], jobs: int) -> None:
    """Runs replicates side by side, in processes of one thread each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, min(jobs, len(units))), context) as executor:
        futures = [executor.submit(run_replicate, setting, seed, size) for (setting, seed), size in units.items()]
        for future in as_completed(futures):
            print(future.result(), flush=True)


@app.command(
    epilog="\b\nExample:\n  python -m benchmarks.longtail run --ratio 50 --seeds 0,1,2\n"
    "  python -m benchmarks.longtail run --order confusable --seeds 100-109 --arms all --jobs 8"
)
def run(
    images: Annotated[str, typer.Option("--set", help="digits, a torchvision class, or a folder.")] = "FashionMNIST",
    order: Annotated[str, typer.Option(help="random or confusable.")] = "random",
    ratio: Annotated[float, typer.Option(help="Largest class over smallest.")] = 100.0,
    most: Annotated[int, typer.Option(help="Images of the largest class.")] = 600,
    seeds: Annotated[str, typer.Option(help="Replicates, such as 0-4 or 100,103.")] = "0-1",
    arms: Annotated[str, typer.Option(help="small, core or all.")] = "core",
    recipe: Annotated[str, typer.Option(help="Of the GAN.")] = "dagan",
    gan_steps: Annotated[int, typer.Option(help="Steps of the GAN.")] = 800,
    classifier_steps: Annotated[int, typer.Option(help="Steps of every arm.")] = 600,
    flip: Annotated[bool, typer.Option(help="Flip images.")] = True,
    jobs: Annotated[int, typer.Option(help="Replicates at a time, one thread each.")] = os.cpu_count() or 1,
) -> None:
    """Run replicates; what has a result already is not run again."""
    setting = Setting(
        images=images,
        order=order,
        ratio=ratio,
        most=most,
        recipe=recipe,
        gan_steps=gan_steps,
        classifier_steps=classifier_steps,
        flip=flip and images != "digits",
    )
    run_all(dict.fromkeys([(setting, seed) for seed in seed_range(seeds)], arms), jobs)
    longtail_table.write()


def seed_range(text: str) -> list[int]:
    """Returns the seeds of "0-4,7"."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


@app.command()
def tables() -> None:
    """Write the tables of all results there are."""
    longtail_table.write()


@app.command()
def small() -> None:
    """Run a small setting from nothing in under 20 minutes on 2 cores, beside the results that are kept.

    The digits and a short Fashion-MNIST, two replicates each; results go to runs/bench. It shows that everything works,
    and is too small to show what helps.
    """
    common.RESULTS = Path(__file__).parent.parent / "runs" / "bench"
    os.environ["GAN_AUGMENT_RESULTS"] = str(common.RESULTS)  # for the processes
    digits = Setting(
        images="digits", ratio=20.0, most=100, gan_steps=300, judge_steps=200, classifier_steps=300, flip=False
    )
    fashion = Setting(most=200, gan_steps=200, judge_steps=200, classifier_steps=200)
    run_all({(setting, seed): "small" for setting in (digits, fashion) for seed in (0, 1)}, os.cpu_count() or 1)
    longtail_table.write()


if __name__ == "__main__":
    app()
