"""ga.evaluate: the same classifier under every arm, and what the arms are worth."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError, DataError, whole
from gan_augment.evaluation.arms import Arm, arm_set, check_arms
from gan_augment.evaluation.data import TrainingSet
from gan_augment.evaluation.finished import HeldOut, as_tensors, held_out_set, is_finished
from gan_augment.evaluation.kept import Kept
from gan_augment.evaluation.overlap import check_no_overlap
from gan_augment.evaluation.result import EvaluationResult
from gan_augment.evaluation.training import Protocol, Scored, score_arm
from gan_augment.fingerprint import check_disjoint
from gan_augment.machine import describe_machine, pick_device
from gan_augment.metrics import interval
from gan_augment.networks import NetworkSpec
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView

__all__ = ["evaluate"]


def evaluate(
    train: Any,
    test: Any,
    arms: str | Sequence[Arm] | None = None,
    seeds: int | Sequence[int] = 3,
    classifier: Callable[[NetworkSpec], nn.Module] | None = None,
    steps: int = 1000,
    groups: Sequence[Any] | None = None,
    *,
    pool: SyntheticPool | None = None,
    unused: Any = None,
    test_groups: Sequence[Any] | None = None,
    image_size: int | Sequence[int] | None = None,
    augmentation: Augmentation | None = None,
    batch_size: int = 64,
    learning_rate: float = 5e-3,
    min_images: int = 20,
    device: str = "auto",
    progress: bool = True,
    on_result: Callable[[str, int, Scored], None] | None = None,
    keep: str | Path | None = None,
) -> EvaluationResult:
    """Trains the same classifier under every arm and compares them on the test set.

    Every arm takes the same number of optimiser steps at the same learning rate, from the same initial weights for one
    seed; its last weights are scored, none is picked by a test score. Where all seeds share one training set, one pool
    and one test set, as here, the seeds' spread is that of the training alone; the intervals of differences to the best
    free arm hold the uncertainty from the number of test items too. What another GAN, or other training images, would
    give is not in them.

    Args:
        train: The training split, or a RawView of it. Where its items are not (float tensor, class index) already, raw
            images are scaled to [-1, 1].
        test: The held-out split, of the same form.
        arms: "quick", "grid" or "all" (see `ga.arm_set`), or a list of `ga.Arm`; None for "quick".
        seeds: Number of replicates, or the seeds themselves.
        classifier: Returns a fresh network for a `NetworkSpec(channels, grid, num_classes)`; None for a small
            convolutional one.
        steps: Optimiser steps of each arm. The best free arm is also trained with half of them, and the difference is
            told (`half_steps`): were it large, more steps would be needed.
        groups: One group (patient) for each training item; no group may be on both sides.
        pool: The synthetic images; None to compare free arms only.
        unused: Real images that nothing is trained on; they fill the slots of the ceiling's arm.
        test_groups: One group for each test item.
        image_size: Side that the classifier sees, where raw images differ in size.
        augmentation: Of the augmented arms; None for shifts, small turns and scale; flips and colour are off.
        batch_size: Images a step.
        learning_rate: At the start; AdamW, cosine to zero.
        min_images: As in `GANAugmentedDataset`.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        progress: Whether to show bars and to print each score as it comes.
        on_result: Told of each training: arm, seed, scores.
        keep: Folder where each training's scores are kept as it finishes; the same call goes on where it was stopped.
            None to keep none. Arms with own code (loss, classifier, data) are trained anew.

    Raises:
        DataError: A test image, or a patient in the test set, was seen by the training set, the pool's synthesizer or
            its judge; or the items cannot be used.
        ConfigError: A parameter has a value that cannot work.

    Example:
        >>> from gan_augment.demo import long_tail
        >>> train, test = long_tail(0)
        >>> result = evaluate(train, test, seeds=1, steps=5, progress=False)
        >>> result.reference in result.scores
        True
    """
    seeds = _seeds(seeds)
    steps, batch_size = whole("steps", steps, 2), whole("batch_size", batch_size)
    if not 0 < learning_rate < float("inf"):
        raise ConfigError(f"expected a learning_rate above 0, found {learning_rate}")
    view = RawView.of(train, groups=groups, progress=progress)
    held_out = RawView.of(test, groups=test_groups, progress=progress)
    check_no_overlap(held_out, view, *([] if pool is None else [pool]))
    spec = None if is_finished(view) else view.spec(image_size)
    training = TrainingSet(
        view=as_tensors(view, spec),
        pool=pool,
        unused=None if unused is None else as_tensors(_unused(unused, view, held_out, progress), spec),
        min_images=min_images,
    )
    if arms is None or isinstance(arms, str):
        arms = arm_set(arms or "quick", synthetic=pool is not None, unused=unused is not None)
    check_arms(arms, pool=pool is not None, unused=unused is not None)
    for arm in arms:
        if arm.synthetic is not None and arm.synthetic.pool is not None:
            check_no_overlap(held_out, arm.synthetic.pool)
        if arm.data is not None:
            check_no_overlap(held_out, arm.data)
    protocol = Protocol(
        classifier=classifier,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augmentation=augmentation or Augmentation(),
        device=str(pick_device(device)),
    )
    tested = held_out_set(held_out, training.view)
    kept = Kept(None if keep is None else Path(keep), training, protocol, tested)
    runs = _run(arms, training, tested, protocol, seeds, progress, on_result, kept)
    about = {
        "kinds": {arm.name: arm.kind for arm in arms},
        "labels": tested.labels,
        "seeds": seeds,
        "classes": list(view.classes),
        "counts": view.counts.tolist(),
        "settings": _settings(protocol, held_out, pool),
        "notes": tuple(training.notes),
    }
    result = EvaluationResult.of(runs, **about)
    half = _half(result, arms, training, tested, protocol, seeds)
    return EvaluationResult.of(runs, **about, half_steps=half)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, Iterable) and not isinstance(seeds, str):
        given = [whole("seed", seed, 0) for seed in seeds]
    else:
        given = list(range(whole("seeds", seeds)))
    if not given or len(set(given)) < len(given):
        raise ConfigError(f"expected different seeds, found {given}")
    return given


def _unused(unused: Any, view: RawView, held_out: RawView, progress: bool) -> RawView:
    other = RawView.of(unused, progress=progress)
    unknown = {other.classes[label] for label in np.unique(other.targets)} - set(view.classes)
    if unknown:
        raise DataError(
            f"expected unused= of the classes {', '.join(view.classes)}, found also {', '.join(sorted(unknown))}"
        )
    check_no_overlap(held_out, other)
    check_disjoint(view.hashes, other.hashes, "images", "unused=")
    return other


def _run(
    arms: Sequence[Arm],
    training: TrainingSet,
    tested: HeldOut,
    protocol: Protocol,
    seeds: Sequence[int],
    progress: bool,
    on_result: Callable[[str, int, Scored], None] | None,
    kept: Kept,
) -> dict[str, list[Scored]]:
    from tqdm import tqdm

    runs: dict[str, list[Scored]] = {arm.name: [] for arm in arms}
    with tqdm(total=len(seeds) * len(arms), desc="evaluating", disable=None if progress else True) as bar:
        for seed in seeds:
            for arm in arms:
                bar.set_postfix_str(f"{arm.name}, seed {seed}")
                train = functools.partial(score_arm, arm, training, protocol, tested, seed=seed)
                runs[arm.name].append(kept.get(arm, seed, train))
                if on_result is not None:
                    on_result(arm.name, seed, runs[arm.name][-1])
                bar.update()
    return runs


def _half(
    result: EvaluationResult,
    arms: Sequence[Arm],
    training: TrainingSet,
    tested: HeldOut,
    protocol: Protocol,
    seeds: Sequence[int],
) -> Any:
    """Returns what half of the steps give less (or more) than all of them, in the best free arm."""
    arm = next(arm for arm in arms if arm.name == result.reference)
    shorter = dataclasses.replace(protocol, steps=max(1, protocol.steps // 2))
    differences = []
    for seed, whole_score in zip(seeds, result.scores[arm.name]["balanced_accuracy"], strict=True):
        scored = score_arm(arm, training, shorter, tested, seed=seed)
        differences.append(scored.scores["balanced_accuracy"] - whole_score)
    return interval(differences)


def _settings(protocol: Protocol, held_out: RawView, pool: SyntheticPool | None) -> dict[str, Any]:
    return {
        "classifier": "default" if protocol.classifier is None else getattr(protocol.classifier, "__name__", "own"),
        "steps": protocol.steps,
        "batch_size": protocol.batch_size,
        "learning_rate": protocol.learning_rate,
        "augmentation": dataclasses.asdict(protocol.augmentation),
        "test_items": len(held_out),
        "pool": None if pool is None else pool.about.get("fingerprint"),
        "machine": describe_machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }
