"""Batches for the trainer: each is a function of (seed, step), so a resumed run draws what an unbroken one would."""

import numpy as np
import torch
from torch import Tensor

from gan_augment.balance import item_weights
from gan_augment.errors import DataError
from gan_augment.images import ImageSpec
from gan_augment.recipes import Need
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.types import IntArray, as_tensor

__all__ = ["Batches"]


class Batches:
    """Draws what a recipe needs from the raw images of a dataset.

    Args:
        view: The training split.
        spec: How raw images map to [-1, 1].
        need: The tensors and their pairing.
        batch_size: Images of each name.
        label_power: Classes are drawn in proportion to n_c to this power.
        seed: Of all draws.
        device: Where the tensors go.

    Raises:
        DataError: A pairing needs a class that is not there.
    """

    def __init__(
        self,
        view: RawView,
        spec: ImageSpec,
        need: Need,
        *,
        batch_size: int,
        label_power: float,
        seed: int,
        device: torch.device,
    ) -> None:
        self.need, self.batch_size, self.seed, self.device = need, batch_size, seed, device
        self._targets = view.targets
        self._weights = item_weights(view.targets, label_power)
        self._order = np.argsort(view.targets, kind="stable")
        self._sizes = view.counts
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._place = np.empty(len(view), np.int64)
        self._place[self._order] = np.arange(len(view))
        if need.pairing == "unpaired" and len(need.names) > np.count_nonzero(self._sizes):
            raise DataError(
                f"expected {len(need.names)} domains (classes) for {', '.join(need.names)}, found "
                f"{np.count_nonzero(self._sizes)}"
            )
        self._load = view.loader(spec)

    def __call__(self, step: int) -> dict[str, Tensor]:
        """Returns the batch of a step."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, "batch", step)))
        if self.need.pairing == "unpaired":
            return self._unpaired(rng)
        rows = rng.choice(len(self._targets), self.batch_size, p=self._weights)
        batch = {self.need.names[0]: self._take(rows), "labels": as_tensor(self._targets[rows], self.device)}
        if self.need.pairing == "same-class":
            batch[self.need.names[1]] = self._take(self._others(rows, rng))
        return batch

    def _others(self, rows: IntArray, rng: np.random.Generator) -> IntArray:
        """Returns for each row another row of its class, uniformly."""
        labels = self._targets[rows]
        starts, sizes = self._starts[labels], self._sizes[labels]
        step = 1 + rng.integers(0, sizes - 1)
        others: IntArray = self._order[starts + (self._place[rows] - starts + step) % sizes]
        return others

    def _unpaired(self, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = {}
        for name, label in zip(self.need.names, np.flatnonzero(self._sizes), strict=False):
            start = self._starts[label]
            rows = rng.choice(self._order[start : start + self._sizes[label]], self.batch_size)
            batch[name] = self._take(rows)
            batch[f"{name}_labels"] = as_tensor(self._targets[rows], self.device)
        return batch

    def _take(self, rows: IntArray) -> Tensor:
        return self._load(rows).to(self.device)
