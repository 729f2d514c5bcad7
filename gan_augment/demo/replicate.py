"""One replicate of the demo: split, GANs, judge, pools, and the scores of every arm."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan_augment.augmentation import Augmentation
from gan_augment.demo.digits import long_tail
from gan_augment.errors import SmallClassWarning
from gan_augment.evaluation import (
    Arm,
    EvaluationResult,
    Protocol,
    Scored,
    Synthetic,
    TrainingSet,
    by_rank,
    check_no_overlap,
    held_out_set,
    score_arm,
)
from gan_augment.features import TrainedExtractor
from gan_augment.neighbours import nearest_other
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES
from gan_augment.selection import default_selector
from gan_augment.source import RawView
from gan_augment.training import fit

__all__ = ["ARMS", "STAGES", "DemoSettings", "Replicate", "compare_scores"]

_AUGMENTATION = Augmentation(translate=0.06, rotate=0.1, scale=0.05)
"""Of every augmented arm: half a pixel of shift; the default's whole pixel cost oversampling more than it gave."""

ARMS = (
    "as_is",
    "oversampling",
    "oversampling_augmented",
    "balanced_softmax_augmented",
    "random_synthetic",
    "selected_synthetic",
    "sngan_synthetic",
)
STAGES = 3 + len(ARMS)
"""What a replicate tells of: the judge, two GANs with their pools, the arms."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """How long the demo trains.

    Attributes:
        gan_steps: Steps of each GAN.
        gan_learning_rate: Of each generator; higher than the recipes' own, for so short a training.
        judge_steps: Steps of the judge.
        classifier_steps: Steps of the classifier, the same for every arm.
        synthetic_share: Dose of every arm with synthetic images.
    """

    gan_steps: int = 300
    gan_learning_rate: float = 5e-4
    judge_steps: int = 300
    classifier_steps: int = 400
    synthetic_share: float = 0.5


def compare_scores(replicates: Sequence[Mapping[str, Any]], settings: DemoSettings) -> EvaluationResult:
    """Gathers replicates, each as `Replicate.result` gives it; classes are called by their place, the largest first."""
    return EvaluationResult(
        kinds={arm.name: arm.kind for arm in _arms()},
        scores={
            arm: {metric: [r["scores"][arm][metric] for r in replicates] for metric in replicates[0]["scores"][arm]}
            for arm in ARMS
        },
        recalls={arm: [r["recalls"][arm] for r in replicates] for arm in ARMS},
        seeds=[r["seed"] for r in replicates],
        classes=[f"class {place + 1}" for place in range(len(replicates[0]["counts"]))],
        counts=replicates[0]["counts"],
        settings={"steps": settings.classifier_steps},
    )


def _arms(share: float = 0.5, sngan: SyntheticPool | None = None) -> list[Arm]:
    """Returns the arms; those with synthetic images share augmentation and dose."""

    def mixed(name: str, **settings: Any) -> Arm:
        dose = Synthetic(share=share, **settings)
        return Arm(name=name, sampling="balanced", augment=True, synthetic=dose)

    return [
        Arm(name="as_is"),
        Arm(name="oversampling", sampling="balanced"),
        Arm(name="oversampling_augmented", sampling="balanced", augment=True),
        Arm(name="balanced_softmax_augmented", loss="balanced_softmax", augment=True),
        mixed("random_synthetic", rows="random"),
        mixed("selected_synthetic"),
        mixed("sngan_synthetic", pool=sngan),
    ]


class Replicate:
    """One seed: split, GANs, judge, pools, and the arms' scores.

    Args:
        seed: Of everything.
        settings: How long to train.
        folder: Where judge, GANs and pools go; None to keep them in memory.
        say: Told of each stage as it is done.
    """

    def __init__(
        self, seed: int, settings: DemoSettings, folder: Path | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        self.seed, self.settings = seed, settings
        self.say = say or (lambda _: None)
        self.train, self.test = long_tail(seed)
        self.view = RawView(self.train, progress=False)
        self.warnings: list[str] = []
        self.pools = self._build_pools(folder)
        check_no_overlap(self.test, self.view, *self.pools.values())

    def _build_pools(self, folder: Path | None) -> dict[str, SyntheticPool]:
        judge = TrainedExtractor.fit(self.view, steps=self.settings.judge_steps, seed=self.seed, progress=False)
        if folder is not None:
            judge.save(folder / "judge")
        self.say("judge")
        pools = {}
        for recipe in ("dagan", "sngan"):
            with self._noted(recipe):
                pools[recipe] = self._build_pool(recipe, judge, folder)
            self.say(recipe)
        return pools

    def _build_pool(self, recipe: str, judge: TrainedExtractor, folder: Path | None) -> SyntheticPool:
        settings = self.settings
        gan = fit(
            self.view,
            RECIPES[recipe](steps=settings.gan_steps, learning_rate=settings.gan_learning_rate),
            out=None if folder is None else folder / recipe,
            seed=self.seed,
            progress=False,
        )
        return SyntheticPool.build(
            gan,
            self.view,
            selector=default_selector(judge),
            out=None if folder is None else folder / f"{recipe}-pool",
            seed=self.seed,
            progress=False,
        )

    @contextmanager
    def _noted(self, name: str) -> Iterator[None]:
        """Keeps the warnings about small classes for the report instead of printing them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SmallClassWarning)
            yield
        self.warnings += [f"{name}: {warning.message}" for warning in caught]

    def scored(self) -> dict[str, Scored]:
        """Returns what every arm gave."""
        training = TrainingSet(view=self.view, pool=self.pools["dagan"])
        protocol = Protocol(steps=self.settings.classifier_steps, augmentation=_AUGMENTATION)
        tested = held_out_set(RawView(self.test, progress=False), self.view)
        found = {}
        for arm in _arms(self.settings.synthetic_share, self.pools["sngan"]):
            found[arm.name] = score_arm(arm, training, protocol, tested, seed=self.seed)
            self.say(arm.name)
        self.warnings += training.notes
        return found

    def result(self) -> dict[str, Any]:
        """Returns what the replicate found, as JSON values; recalls and counts go by the size of the class."""
        scored = self.scored()
        return {
            "seed": self.seed,
            "scores": {name: arm.scores for name, arm in scored.items()},
            "recalls": {name: by_rank(arm.recalls, self.view.counts) for name, arm in scored.items()},
            "counts": sorted(self.view.counts.tolist(), reverse=True),
            "classes": self.class_table(),
            "warnings": list(dict.fromkeys(self.warnings)),
        }

    def class_table(self) -> list[dict[str, Any]]:
        """Returns a row a class, the largest class first.

        `nearest` is the median distance of kept candidates to the nearest training image (their parent left out),
        against that of the class's real images to the nearest other one: well below 1 would be copying. None where
        nothing was kept.
        """
        pool, reals = self.pools["dagan"], self.view.images(spec=self.view.spec()).flatten(1).numpy()
        own = nearest_other(reals, reals, np.arange(len(reals)))
        drawn = nearest_other(pool.images().flatten(1).numpy(), reals, pool.parents) if len(pool) else np.empty(0)
        rows = []
        for label, row in enumerate(pool.table()):
            here = drawn[pool.labels == label]
            reference = float(np.median(own[self.view.targets == label]))
            rows.append(
                {
                    "name": row["class"],
                    "real": int(self.view.counts[label]),
                    "candidates": row["candidates"],
                    "kept": row["kept"],
                    "rejected": row["rejected"],
                    "nearest": round(float(np.median(here)) / reference, 2) if len(here) else None,
                }
            )
        return sorted(rows, key=lambda row: -row["real"])
