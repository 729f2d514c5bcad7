"""ga.recommend: share, schedule and selector by cross-validation inside the training split; or none."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from gan_augment.augmentation import Augmentation
from gan_augment.dataset import PhaseOut
from gan_augment.errors import ConfigError, SmallClassWarning, whole
from gan_augment.evaluation.arms import Arm, Synthetic, check_arms
from gan_augment.evaluation.data import TrainingSet
from gan_augment.evaluation.finished import as_tensors, held_out_set, is_finished
from gan_augment.evaluation.overlap import check_no_overlap
from gan_augment.evaluation.result import EvaluationResult
from gan_augment.evaluation.training import Protocol, Scored, score_arm
from gan_augment.features import TrainedExtractor
from gan_augment.machine import pick_device
from gan_augment.metrics import holm
from gan_augment.networks import NetworkSpec
from gan_augment.pool import SyntheticPool
from gan_augment.seeds import derive
from gan_augment.selection import default_selector
from gan_augment.source import RawView
from gan_augment.training import fit

__all__ = ["Recommendation", "recommend"]

_WIDE = 0.02
"""An interval that holds zero and reaches further than this above it leaves the question open."""

_LEVEL = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Recommendation:
    """What cross-validation inside the training split advises.

    Attributes:
        verdict: "use", "do not use it" or "too few to tell".
        rows: "selected" (with the selector) or "all" (without); None unless the verdict is "use".
        share: `synthetic_share` to use; 0 unless the verdict is "use".
        until: Share of the training with synthetic images; for `PhaseOut(epochs, until)`.
        reason: In words.
        result: The arms over the folds; None where nothing was trained.
    """

    verdict: Literal["use", "do not use it", "too few to tell"]
    reason: str
    share: float = 0.0
    until: float = 1.0
    rows: str | None = None
    result: EvaluationResult | None = None

    def schedule(self, epochs: int) -> PhaseOut | None:
        """Returns the schedule for a training of so many epochs; None where the dose stays the same."""
        return None if self.until >= 1 else PhaseOut(epochs=epochs, until=self.until)

    def sentence(self) -> str:
        """Returns verdict and reason."""
        return f"{self.verdict.capitalize()}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON values."""
        result = None if self.result is None else self.result.to_json()
        names = ("verdict", "reason", "share", "until", "rows")
        return {**{name: getattr(self, name) for name in names}, "result": result}


def recommend(
    train: Any,
    groups: Sequence[Any] | None = None,
    folds: int = 5,
    *,
    build: Callable[[RawView, int], SyntheticPool] | None = None,
    candidates: Sequence[Arm] | None = None,
    recipe: str = "auto",
    gan_steps: int | None = None,
    steps: int = 1000,
    classifier: Callable[[NetworkSpec], nn.Module] | None = None,
    augmentation: Augmentation | None = None,
    image_size: int | Sequence[int] | None = None,
    min_images: int = 20,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Recommendation:
    """Finds out on the training split alone whether synthetic images help, and in which dose.

    Each fold is held out once; GAN, judge, pool and classifiers see the others only. Intervals are by the corrected
    resampled t-test of Nadeau and Bengio (2003), since the folds share training images, and p-values are corrected for
    the number of doses tried (Holm 1979). With few images of a rare class the honest answer is "too few to tell".

    Args:
        train: The training split, or a RawView of it.
        groups: One group (patient) for each item; a group is never on both sides.
        folds: Number of folds, at least 2. A GAN is trained for each; with three, even a gain of several points is
            often not told from chance.
        build: Returns the pool for a view of the other folds and a seed; None for `fit`, a judge and a
            `default_selector`. It must see nothing but the view.
        candidates: Arms with synthetic images to choose from; None for shares 0.25, 0.5, 1, half a dose phased out at
            60%, and half a dose without selection.
        recipe: Of the GAN.
        gan_steps: Its steps; None for the recipe's own.
        steps: Optimiser steps of each classifier.
        classifier: As in `evaluate`.
        augmentation: As in `evaluate`.
        image_size: As in `evaluate`.
        min_images: As in `evaluate`.
        seed: Of everything.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        progress: Whether to show bars.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: The dataset cannot be used, or `build` used images that were held out.
    """
    folds, steps = whole("folds", folds, 2), whole("steps", steps)
    view = RawView.of(train, groups=groups, progress=progress)
    few = [f"{view.classes[i]} ({n})" for i, n in enumerate(_units(view)) if n < folds]
    if few:
        told = "groups" if view.groups is not None else "images"
        return Recommendation(
            verdict="too few to tell",
            reason=f"fewer than {folds} {told} of {', '.join(few)}, so a fold would hold none of them; collect more "
            "images, or lower folds=",
        )
    arms = [*_FREE, *(_doses() if candidates is None else candidates)]
    check_arms(arms, pool=True, unused=False)
    if all(arm.synthetic is None for arm in arms):
        raise ConfigError("expected an arm with synthetic images among candidates=, found none")
    protocol = Protocol(
        classifier=classifier,
        steps=steps,
        augmentation=augmentation or Augmentation(),
        device=str(pick_device(device)),
    )
    make = build or _builder(recipe, gan_steps, image_size, device, progress)
    runs: dict[str, list[Scored]] = {arm.name: [] for arm in arms}
    splits = list(_folds(view, folds, seed))
    if any(len(np.unique(view.targets[inside])) < view.num_classes for inside, _ in splits):
        return Recommendation(
            verdict="too few to tell",
            reason=f"no {folds} folds of whole groups leave images of every class outside each; collect more groups",
        )
    for fold, (inside, outside) in enumerate(splits):
        fitted, held_out = (view.subset(rows) for rows in (inside, outside))
        own = derive(seed, "fold", fold)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallClassWarning)
            pool = make(fitted, own)
        own_data = [arm.data for arm in arms if arm.data is not None]
        own_pools = [arm.synthetic.pool for arm in arms if arm.synthetic is not None and arm.synthetic.pool is not None]
        check_no_overlap(held_out, fitted, pool, *own_data, *own_pools)
        spec = None if is_finished(fitted) else fitted.spec(image_size)
        training = TrainingSet(view=as_tensors(fitted, spec), pool=pool, min_images=min_images)
        tested = held_out_set(held_out, training.view)
        for arm in arms:
            shown = f"fold {fold + 1} of {folds}: {arm.name}" if progress else None
            runs[arm.name].append(score_arm(arm, training, protocol, tested, seed=own, description=shown))
    result = EvaluationResult.of(
        runs,
        kinds={arm.name: arm.kind for arm in arms},
        seeds=list(range(folds)),
        classes=list(view.classes),
        counts=view.counts.tolist(),
        overlap=1 / (folds - 1),
        settings={"steps": steps, "folds": folds, "seed": seed},
    )
    return _decide(result, arms)


_FREE = (
    Arm(name="ce_balanced_augmented", sampling="balanced", augment=True),
    Arm(name="bs_natural_augmented", loss="balanced_softmax", augment=True),
    Arm(name="bs_sqrt_augmented", sampling="sqrt", loss="balanced_softmax", augment=True),
)


def _doses() -> list[Arm]:
    doses = [Synthetic(share=share) for share in (0.25, 0.5, 1.0)]
    doses += [Synthetic(share=0.5, until=0.6), Synthetic(rows="all", share=0.5)]
    return [
        Arm(name=f"{d.rows}_share_{d.share:g}_until_{d.until:g}", sampling="balanced", augment=True, synthetic=d)
        for d in doses
    ]


def _units(view: RawView) -> list[int]:
    """Returns for each class the number of its images, or of its groups, that folds can be made of."""
    if view.groups is None:
        return [int(count) for count in view.counts]
    return [len(set(view.groups[view.of_class(label)].tolist())) for label in range(view.num_classes)]


def _folds(view: RawView, folds: int, seed: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    state = derive(seed, "folds") % 2**32
    kind = StratifiedKFold if view.groups is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=state)
    yield from splitter.split(np.zeros(len(view)), view.targets, view.groups)


def _builder(
    recipe: str, gan_steps: int | None, image_size: Any, device: str, progress: bool
) -> Callable[[RawView, int], SyntheticPool]:
    def make(view: RawView, seed: int) -> SyntheticPool:
        settings: dict[str, Any] = {"image_size": image_size, "seed": seed, "device": device, "progress": progress}
        gan = fit(view, recipe, steps=gan_steps, **settings)
        selector = default_selector(TrainedExtractor.fit(view, **settings))
        return SyntheticPool.build(gan, view, selector=selector, seed=seed, progress=progress)

    return make


def _decide(result: EvaluationResult, arms: Sequence[Arm]) -> Recommendation:
    candidates = [arm for arm in arms if arm.synthetic is not None]
    best = max(candidates, key=lambda arm: result.interval(arm.name).mean)
    gain = result.difference(best.name)
    p = holm({arm.name: result.difference(arm.name).p for arm in candidates})[best.name]
    told = (
        f"the best dose ({best.name}) gains {100 * gain.mean:+.1f} points of balanced accuracy on {result.reference} "
        f"(95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f} over {len(gain.values)} folds, p {p:.2g} after "
        "correction)"
    )
    assert best.synthetic is not None
    if gain.mean > 0 and gain.low == gain.high:
        told += "; the folds agree to the last digit, as small test sets do by chance, so their spread says nothing"
        return Recommendation(verdict="too few to tell", reason=told, result=result)
    if gain.mean > 0 and p < _LEVEL:
        dose = best.synthetic
        return Recommendation(
            verdict="use", reason=told, share=dose.share, until=dose.until, rows=dose.rows, result=result
        )
    if gain.high < _WIDE:
        return Recommendation(verdict="do not use it", reason=f"{told}: no gain worth having", result=result)
    return Recommendation(verdict="too few to tell", reason=f"{told}: the interval leaves both open", result=result)
