"""A dry run: what a training will take on this machine, from a few real steps; nothing is written."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.balance import MIN_IMAGES, check_classes, item_weights
from gan_augment.machine import peak_memory, pick_device
from gan_augment.ranks import Ranks
from gan_augment.recipes import Phase, Recipe, Update
from gan_augment.source import RawView
from gan_augment.training.prepare import Prepared, prepare, recipe_with
from gan_augment.training.trainer import Trainer

__all__ = ["ClassPlan", "PhasePlan", "Plan", "plan"]

_REPEATS, _ENOUGH = 4, 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhasePlan:
    """A phase of the training.

    Attributes:
        name: The recipe's.
        steps: How many.
        seconds_a_step: Measured, updates that are taken less often by their share.
    """

    name: str
    steps: int
    seconds_a_step: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassPlan:
    """What a training sees of a class.

    Attributes:
        name: Of the class.
        images: In the dataset.
        batches: Expected number of batches, over all steps, with an image of it.
        times_an_image: How often each of its images is expected to be drawn.
    """

    name: str
    images: int
    batches: float
    times_an_image: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training will take.

    Attributes:
        recipe: Name.
        batch_size: Images a step.
        device: Where it was measured.
        precision: Of the networks.
        networks: Number of weights of each network.
        memory: Bytes of weights, averages and Adam, and the peak while a few steps were taken: on the CPU of the
            whole process, images included; None where the system does not tell.
        phases: Of the training.
        classes: Of the dataset.
    """

    recipe: str
    batch_size: int
    device: str
    precision: str
    networks: dict[str, int]
    memory: dict[str, int | None]
    phases: list[PhasePlan]
    classes: list[ClassPlan]

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    @property
    def seconds(self) -> float:
        """Time expected for all steps; checkpoints and looks at samples come on top."""
        return sum(phase.steps * phase.seconds_a_step for phase in self.phases)

    @property
    def images_per_second(self) -> float:
        """Mean over all steps."""
        return self.steps * self.batch_size / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as JSON values."""
        derived = {"steps": self.steps, "seconds": self.seconds, "images_per_second": self.images_per_second}
        return {**dataclasses.asdict(self), **derived}

    def sentences(self) -> list[str]:
        """Returns the plan as lines of text."""
        lines = [f"{self.recipe}: {self.steps} steps of {self.batch_size} images on {self.device}, {self.precision}"]
        lines += [f"  {name:<20}{count:>12,} weights" for name, count in self.networks.items()]
        known = {name: f"{count / 2**20:.1f} MiB" for name, count in self.memory.items() if count is not None}
        lines.append("memory: " + ", ".join(f"{name} {told}" for name, told in known.items()))
        lines.append(f"time expected: {_told(self.seconds)}, {self.images_per_second:.3g} images/s")
        if len(self.phases) > 1:
            lines += [f"  {p.name:<20}{p.steps:>8} steps of {p.seconds_a_step:.3g} s" for p in self.phases]
        lines.append(f"{'class':<20}{'images':>8}{'batches with it':>18}{'draws of each':>17}")
        for row in self.classes:
            lines.append(f"{row.name:<20}{row.images:>8}{row.batches:>18.0f}{row.times_an_image:>17.1f}")
        return lines


def plan(
    dataset: Any,
    recipe: str | Recipe = "auto",
    image_size: int | Sequence[int] | None = None,
    steps: int | None = None,
    *,
    targets: npt.ArrayLike | None = None,
    groups: Sequence[Any] | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    accumulate: int = 1,
    channels_last: bool = False,
    progress: bool = True,
) -> Plan:
    """Takes a few steps of each phase in this process, without a trace, and says what a training will take.

    The parameters are those of `fit`.

    Raises:
        DataError: As `fit`.
        ConfigError: As `fit`.
    """
    recipe = recipe_with(recipe, steps)
    view = RawView.of(dataset, targets, groups, progress=progress)
    check_classes(view.counts, view.classes, min_images)
    prepared = prepare(
        view,
        recipe,
        image_size,
        Ranks(pick_device(device)),
        seed=seed,
        precision=precision,
        accumulate=accumulate,
        channels_last=channels_last,
    )
    trainer = prepared.trainer
    phases = _phases(prepared)
    return Plan(
        recipe=recipe.name,
        batch_size=recipe.batch_size,
        device=str(trainer.device),
        precision=trainer.precision,
        networks={n: sum(p.numel() for p in network.parameters()) for n, network in trainer.networks.items()},
        memory={**_memory(trainer), "peak": peak_memory(trainer.device)},
        phases=phases,
        classes=_classes(view, recipe),
    )


def _phases(prepared: Prepared) -> list[PhasePlan]:
    recipe, trainer = prepared.recipe, prepared.trainer
    starts = [*recipe.first_steps(), recipe.steps]
    found = []
    with trainer.training():
        for phase, first, end in zip(recipe.phases(), starts[:-1], starts[1:], strict=True):
            if end > first:
                trainer.step = first
                seconds = _seconds_a_step(prepared, phase)
                found.append(PhasePlan(name=phase.name, steps=end - first, seconds_a_step=seconds))
    return found


def _seconds_a_step(prepared: Prepared, phase: Phase) -> float:
    trainer = prepared.trainer
    if phase.begin is not None:
        phase.begin(trainer.networks)
    parts = trainer.load(prepared.batches)
    total = _seconds(trainer, lambda: trainer.load(prepared.batches)) + _seconds(trainer, trainer.average)
    for update in phase.updates:
        total += _seconds(trainer, functools.partial(_advance, trainer, update, parts)) / update.every
    return total


def _advance(trainer: Trainer, update: Update, parts: Sequence[Any]) -> None:
    trainer.update(update, parts)
    trainer.step += 1  # a loss may do in every fourth step what it does not in others


def _seconds(trainer: Trainer, run: Callable[[], Any]) -> float:
    """Returns the mean time of a few runs after a first one, which also warms up; of that alone if it was long."""
    times: list[float] = []
    while len(times) <= _REPEATS and sum(times) < _ENOUGH:
        began = time.perf_counter()
        run()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)
        times.append(time.perf_counter() - began)
    return statistics.mean(times[1:] or times)


def _memory(trainer: Trainer) -> dict[str, int]:
    optimised = {id(p): p for o in trainer.optimizers.values() for g in o.param_groups for p in g["params"]}
    kinds = {"weights": trainer.networks, "averages": trainer.averaged}
    used = {
        kind: sum(t.nbytes for network in networks.values() for t in network.state_dict().values())
        for kind, networks in kinds.items()
    }
    return {**used, "Adam": 2 * sum(p.nbytes for p in optimised.values())}


def _classes(view: RawView, recipe: Recipe) -> list[ClassPlan]:
    shares = np.bincount(view.targets, item_weights(view.targets, recipe.label_power), view.num_classes)
    return [
        ClassPlan(
            name=name,
            images=int(count),
            batches=float(recipe.steps * (1 - (1 - share) ** recipe.batch_size)),
            times_an_image=float(recipe.steps * recipe.batch_size * share / max(1, count)),
        )
        for name, count, share in zip(view.classes, view.counts, shares, strict=True)
    ]


def _told(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
