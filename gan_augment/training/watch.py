"""Watching a training: what its averaged networks draw is compared with real images, class by class, and acted on."""

import copy
import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gan_augment.errors import CollapseWarning, ConfigError, whole
from gan_augment.images import ImageSpec
from gan_augment.metrics.shares import excess
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Recipe
from gan_augment.seeds import derive, row_seeds
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training.reference import Reference, References, class_measures, hold_out

__all__ = ["Look", "Stop", "Verdict", "Watch", "Weights", "gradient_norms"]

Stop = Literal["steps", "quality"]
Weights = dict[str, dict[str, Tensor]]

_MOST_SAMPLES, _LEAST, _MOST = 2048, 16, 48
_SHOWN, _TOLD, _TELLING = 10, 3, 5
_REPEATED, _SURE = 0.2, 2.6
_MEASURES = ("kid", "coverage", "diversity", "duplicates")


@dataclass(frozen=True)
class Look:
    """What was seen after a step.

    Attributes:
        record: KID, coverage, diversity and duplicates of each class under "classes", their means over the classes
            with at least 5 real images (of fewer a KID tells nothing: that of two held-out digits was anything from
            -3 to 7), and the names of collapsed classes; JSON values.
        images: The first samples of each class, of the same seeds in every look, `(n, C, *grid)` by class index.
    """

    record: dict[str, Any]
    images: Mapping[int, Tensor]


class Verdict(NamedTuple):
    """What follows from a look.

    Attributes:
        ends: Whether to end the training.
        accused: Classes to warn of, each once: collapsed in the last look, or in two looks one after the other in the
            second half of the steps.
    """

    ends: bool
    accused: list[str]


class Watch:
    """Looks at a training every so many steps; draws from a copy of its networks and moves no random state.

    Samples are compared with real images in a fixed `Space`; see there what it notices. An image-conditioned
    recipe's samples are never compared with their own parent. A class has collapsed when its samples vary less than
    any held-out reals do, or when at least a fifth more of them than of the reals are near-duplicates of another.

    Args:
        recipe: What is trained.
        spec: What its networks are built for.
        view: The dataset.
        image_spec: How raw images map to [-1, 1].
        every: Steps from look to look; 0 for none. The last step is looked at too.
        stop: "quality" to hold images of large classes out of the training (`hold_out`), compare with those, end the
            training early, and return the networks of the least mean KID; "steps" to take all steps.
        patience: Looks without a lesser mean KID that end the training, after a quarter of the steps and in the last
            phase: a young network's KID may rise before it falls (sngan on digits: 4.3, 6.7, 5.0, 4.4 after 25, 50, 75
            and 100 steps, 2.4 after 300).
        seed: Of held-out images, references and samples.
        device: Where features are computed.

    Attributes:
        training: What is left to train on.
        history: Step and mean KID of each look.
        best: Step and record of the look with the least mean KID; None before the first.

    Raises:
        ConfigError: A setting cannot work, or there would be no look to stop by.
    """

    def __init__(
        self,
        recipe: Recipe,
        spec: NetworkSpec,
        view: RawView,
        image_spec: ImageSpec,
        *,
        every: int,
        stop: Stop = "steps",
        patience: int = 3,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.every, self.patience, self.stop = whole("watch_every", every, 0), whole("patience", patience), stop
        if stop not in ("steps", "quality"):
            raise ConfigError(f"expected stop='steps' or 'quality', found {stop!r}")
        self.recipe, self.spec, self.image_spec = recipe, spec, image_spec
        self.on = 0 < self.every <= recipe.steps
        if stop == "quality" and not self.on:
            raise ConfigError(
                f"expected watch_every from 1 to {recipe.steps}, the steps, with stop='quality', found {every}"
            )
        self._view, self._seed, self._device = view, derive(seed, "watch"), device
        self._held_out = hold_out(view.targets, view.groups, seed=seed) if stop == "quality" else None
        self._rows = np.arange(len(view)) if self._held_out is None else np.delete(np.arange(len(view)), self._held_out)
        self.training = view if len(self._rows) == len(view) else view.subset(self._rows)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] | None = None
        self.best_weights: Weights | None = None
        self._suspected: list[str] = []
        self._accused: list[str] = []

    @functools.cached_property
    def references(self) -> References:
        """The real images that samples are compared with."""
        return References.of(self._view, self.image_spec, held_out=self._held_out, seed=self._seed, device=self._device)

    def described(self) -> dict[str, Any]:
        """Returns for each class how many real images it is compared with, and whether the training sees them."""
        return {
            self._view.classes[label]: {"images": len(reference.rows), "held_out": reference.held_out}
            for label, reference in self.references.classes.items()
        }

    def due(self, step: int) -> bool:
        """Tells whether to look after a step."""
        return self.on and (step % self.every == 0 or step == self.recipe.steps)

    def look(self, networks: Mapping[str, nn.Module]) -> Look:
        """Draws from a copy of the networks in eval mode and measures each class.

        Args:
            networks: As `Trainer.result` gives them; they are left as they are.
        """
        copied = {name: copy.deepcopy(network) for name, network in networks.items()}
        names = self._view.classes
        synthesizer = TrainedSynthesizer(self.recipe, copied, self.spec, class_names=names, image_spec=self.image_spec)
        if synthesizer.needs_parents:
            synthesizer.bind(self.training)
        references = self.references
        count = min(_MOST, max(_LEAST, _MOST_SAMPLES // len(references.classes)))
        classes, images, collapsed = {}, {}, []
        for label, reference in references.classes.items():
            samples = synthesizer.sample(np.full(count, label), row_seeds(self._seed, label, count))
            parents = None if samples.parents is None else self._rows[samples.parents]
            classes[names[label]] = measures = class_measures(reference, references.space(samples.images), parents)
            images[label] = samples.images[:_SHOWN]
            if _has_collapsed(reference, measures, count):
                collapsed.append(names[label])
        told = [names[label] for label, found in references.classes.items() if len(found.rows) >= _TELLING]
        means = {name: float(np.mean([classes[of][name] for of in told or classes])) for name in _MEASURES}
        return Look({**means, "collapsed": collapsed, "classes": classes}, images)

    def note(self, step: int, record: Mapping[str, Any], networks: Mapping[str, nn.Module]) -> "Verdict":
        """Takes what was seen after a step into account.

        Args:
            step: Steps done.
            record: Of the look.
            networks: That drew it; their weights are kept where they are the best so far and stop is "quality".
        """
        self.history.append({"step": step, "kid": record["kid"]})
        if self.best is None or record["kid"] < self.best["kid"]:
            self.best = {"step": step, **record}
            if self.stop == "quality":
                self.best_weights = {
                    name: {key: value.detach().clone() for key, value in network.state_dict().items()}
                    for name, network in networks.items()
                }
        ends = self.ended(step)
        last = ends or step == self.recipe.steps
        late = 2 * step >= self.recipe.steps  # a young network draws much the same for every latent
        sure = [name for name in record["collapsed"] if last or (late and name in self._suspected)]
        accused = [name for name in sure if name not in self._accused]
        self._accused += accused
        self._suspected = list(record["collapsed"])
        return Verdict(ends, accused)

    def ended(self, step: int) -> bool:
        """Tells whether the looks so far, the last of them after this step, end the training."""
        if self.stop == "steps" or self.best is None or self.history[-1]["step"] != step:
            return False
        begun = max(self.best["step"], self.recipe.first_steps()[-1])
        waited = sum(look["step"] > begun for look in self.history)
        return waited >= self.patience and 4 * step >= self.recipe.steps

    def warn(self, step: int, record: Mapping[str, Any], names: Sequence[str]) -> None:
        """Warns of classes that have collapsed.

        Args:
            step: Steps done.
            record: Of the look.
            names: The classes; with none nothing happens.
        """
        if not names:
            return
        counts = dict(zip(self._view.classes, self._view.counts.tolist(), strict=True))
        limits = {self._view.classes[label]: found for label, found in self.references.classes.items()}
        told = "; ".join(_told(name, counts[name], record["classes"][name], limits[name]) for name in names[:_TOLD])
        told += f"; and {len(names) - _TOLD} more classes" if len(names) > _TOLD else ""
        warnings.warn(
            f"collapse after step {step}: {told}. Look at the sample grids; {', '.join(self._remedies())}, and compare "
            "with oversampling before you use these classes",
            CollapseWarning,
            stacklevel=2,
        )

    def _remedies(self) -> list[str]:
        conditioned = [] if self.recipe.conditions else ["use an image-conditioned recipe (dagan)"]
        early = [] if self.stop == "quality" else ["try stop='quality'"]
        return [*conditioned, *early, "train for more steps if the samples still become more varied"]

    def summary(self, steps: int) -> dict[str, Any] | None:
        """Returns what a synthesizer's JSON says of its training; None where nothing was looked at."""
        if self.best is None:
            return None
        return {"steps": steps, "stop": self.stop, "history": self.history, "best": self.best}

    def afterthought(self) -> str | None:
        """Returns a sentence of which networks drew best, where they are not those of the end."""
        if self.best is None:
            return None
        if self.stop == "quality":
            return f"the networks are those of step {self.best['step']}, which drew best (KID {self.best['kid']:.3g})"
        if self.best["step"] > 0.6 * self.recipe.steps:
            return None
        return (
            f"the samples were best after step {self.best['step']} (KID {self.best['kid']:.3g}, "
            f"{self.history[-1]['kid']:.3g} at the end); stop='quality' would return the networks of then"
        )

    def settle(self, networks: Mapping[str, nn.Module]) -> None:
        """Gives the networks the best weights, where they were kept."""
        for name, weights in (self.best_weights or {}).items():
            networks[name].load_state_dict(weights)

    def settings(self) -> dict[str, Any]:
        """Returns what of it changes the weights that come out of a training."""
        return {} if self.stop == "steps" else {"stop": self.stop, "patience": self.patience, "watch_every": self.every}

    def state(self) -> dict[str, Any]:
        """Returns what a resumed training needs besides `best_weights`, as JSON values."""
        return {"history": self.history, "best": self.best, "suspected": self._suspected, "accused": self._accused}

    def restore(self, state: Mapping[str, Any], best_weights: Weights | None) -> None:
        """Takes up what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        history = [{"step": int(look["step"]), "kid": float(look["kid"])} for look in state["history"]]
        best = state["best"]
        if best is not None and not (isinstance(best["step"], int) and math.isfinite(best["kid"])):
            raise ValueError(f"best {best!r:.80}")
        if (best is None) != (not history):
            raise ValueError("a best look without looks, or the reverse")
        if (self.stop == "quality" and best is not None) != (best_weights is not None):
            raise ValueError("best weights that do not belong to it")
        self.history, self.best, self.best_weights = history, best, best_weights
        self._suspected, self._accused = list(map(str, state["suspected"])), list(map(str, state["accused"]))


def _has_collapsed(reference: Reference, measures: Mapping[str, float], count: int) -> bool:
    same = measures["duplicates"] * count
    too_many = excess(same, count, reference.repeated, len(reference.rows), _SURE) > _REPEATED
    return too_many or measures["diversity"] < reference.least_diversity


def _told(name: str, count: int, measures: Mapping[str, float], reference: Reference) -> str:
    return (
        f"samples of {name} ({count} images) vary {measures['diversity']:.2f} times as much as its reals (held-out "
        f"reals at least {reference.least_diversity:.2f}), {measures['duplicates']:.0%} of them near-duplicates "
        f"({reference.repeated / len(reference.rows):.0%} of the reals)"
    )


def gradient_norms(networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """Returns the norm of each network's last gradient, over all of its weights; networks without one are left out."""
    norms = {}
    for name, network in networks.items():
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if gradients:
            norms[name] = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
    return norms
