"""Batches for the trainer: each is a function of (seed, step), so a resumed run draws what an unbroken one would."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.balance import item_weights
from gan_augment.errors import ConfigError, DataError
from gan_augment.images import ImageSpec, batch_rows
from gan_augment.neighbours import nearest_of_class
from gan_augment.recipes import Need, Part, Recipe
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.types import FloatArray, IntArray, as_tensor

__all__ = ["Batches"]


class Batches:
    """Draws what a recipe needs from the raw images of a dataset.

    Args:
        view: The training split.
        spec: How raw images map to [-1, 1].
        recipe: Says what a batch holds, its size, and how classes are drawn.
        seed: Of all draws.
        device: Where the tensors go.
        embed: Returns features `(N, D)` of images, for recipes that need "neighbours"; `Trainer.embed`. It is called
            for all images before the first batch of such a phase is drawn, and must then give what it gives ever
            after, for a resumed run calls it again.

    Raises:
        DataError: A pairing needs a class that is not there.
    """

    def __init__(
        self,
        view: RawView,
        spec: ImageSpec,
        recipe: Recipe,
        *,
        seed: int,
        device: torch.device,
        embed: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        self._embed, self._chunk = embed, batch_rows(spec.grid)
        self._neighbours: dict[Need, tuple[IntArray, IntArray]] = {}
        self._targets = view.targets
        self._weights = item_weights(view.targets, recipe.label_power)
        self._inverse = _inverse_shares(view.targets, self._weights)
        self._order = np.argsort(view.targets, kind="stable")
        self._sizes = view.counts
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._place = np.empty(len(view), np.int64)
        self._place[self._order] = np.arange(len(view))
        for phase in recipe.phases():
            self._check_domains(phase.need or recipe.need)
        self._load = view.loader(spec)

    def _check_domains(self, need: Need) -> None:
        if need.pairing == "unpaired" and len(need.names) > np.count_nonzero(self._sizes):
            raise DataError(
                f"expected {len(need.names)} domains (classes) for {', '.join(need.names)}, found "
                f"{np.count_nonzero(self._sizes)}"
            )

    def __call__(self, step: int, part: Part) -> dict[str, Tensor]:
        """Returns a part of the batch of a step: rows are drawn for the whole batch, and loaded for the part."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, "batch", step)))
        need = self.recipe.phase_at(step).need or self.recipe.need
        size = self.recipe.batch_size
        if need.pairing == "unpaired":
            return self._unpaired(need, rng, part)
        rows = rng.choice(len(self._targets), size, p=self._weights)
        batch = {need.names[0]: self._take(rows, part), "labels": self._labels(rows, part)}
        batch["weights"] = torch.from_numpy(self._inverse[part.cut(rows)]).to(self.device)
        if need.pairing == "same-class":
            batch[need.names[1]] = self._take(self._others(rows, rng), part)
        if need.pairing == "neighbours":
            batch[need.names[1]] = self._take(self._near(need, rows, rng), part)
        return batch

    def _others(self, rows: IntArray, rng: np.random.Generator) -> IntArray:
        """Returns for each row another row of its class, uniformly."""
        labels = self._targets[rows]
        starts, sizes = self._starts[labels], self._sizes[labels]
        step = 1 + rng.integers(0, sizes - 1)
        others: IntArray = self._order[starts + (self._place[rows] - starts + step) % sizes]
        return others

    def _near(self, need: Need, rows: IntArray, rng: np.random.Generator) -> IntArray:
        """Returns for each row one of its neighbours, uniformly."""
        if need not in self._neighbours:
            self._neighbours[need] = nearest_of_class(self._features(), self._targets, need.nearest)
        neighbours, counts = self._neighbours[need]
        near: IntArray = neighbours[rows, rng.integers(0, counts[rows])]
        return near

    def _features(self) -> FloatArray:
        """Returns features `(N, D)` of all images, which go through the network in chunks."""
        if self._embed is None:
            raise ConfigError(f"expected embed= for {self.recipe.name}, which needs neighbours, found none")
        chunks = np.array_split(np.arange(len(self._targets)), -(-len(self._targets) // self._chunk))
        return np.concatenate([self._embed(self._load(rows).to(self.device)).cpu().numpy() for rows in chunks])

    def _unpaired(self, need: Need, rng: np.random.Generator, part: Part) -> dict[str, Tensor]:
        batch = {}
        for name, label in zip(need.names, np.flatnonzero(self._sizes), strict=False):
            start = self._starts[label]
            rows = rng.choice(self._order[start : start + self._sizes[label]], self.recipe.batch_size)
            batch[name] = self._take(rows, part)
            batch[f"{name}_labels"] = self._labels(rows, part)
        return batch

    def _labels(self, rows: IntArray, part: Part) -> Tensor:
        return as_tensor(self._targets[part.cut(rows)], self.device)

    def _take(self, rows: IntArray, part: Part) -> Tensor:
        return self._load(part.cut(rows)).to(self.device)


def _inverse_shares(targets: IntArray, weights: npt.NDArray[np.float64]) -> FloatArray:
    """Returns for each item 1 / (C s), s the share of its class in the batches, C the number of classes with images."""
    shares = np.bincount(targets, weights)
    return (1 / (np.count_nonzero(shares) * shares[targets])).astype(np.float32)
