"""BalancedBatchSampler: batches with a fixed share of real items and of slots."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from gan_augment.errors import ConfigError, probability, whole
from gan_augment.seeds import derive
from gan_augment.types import IntArray

__all__ = ["BalancedBatchSampler"]


class BalancedBatchSampler(Sampler[list[int]]):
    """Batches of a `GANAugmentedDataset` with a fixed number of its slots each, for `DataLoader(batch_sampler=...)`.

    Each batch holds `round(batch_size * synthetic_share)` slots, the rest are reals. In an epoch every real is given
    once. Slots are given in random order, none twice before each was given once, and again from the start where they
    run out. A slot is a synthetic image with the dataset's own `synthetic_share`: give 1 there to have it always so.

    Batches are a function of (seed, epoch). The epoch is the dataset's, until `set_epoch` is called here.

    Several processes: with `num_replicas` and `rank` each gets as many batches as the others, and no real of theirs.
    Leave these at their defaults where accelerate or Lightning divides the batches among processes itself.

    Args:
        dataset: The dataset; None where `reals` and `slots` are given.
        batch_size: Items of a batch.
        synthetic_share: Share of slots in a batch, 0 to below 1.
        reals: Indices of the real items; None for the first `len(dataset.base)`.
        slots: Indices of the slots; None for those after the reals.
        seed: Of the order.
        drop_last: Whether to leave out what does not fill a batch (in every process); else the last batches are
            smaller, with slots in proportion.
        num_replicas: Number of processes.
        rank: This process's number, from 0.

    Raises:
        ConfigError: A parameter has a value that cannot work, or there are too few reals for the processes.

    Example:
        >>> batches = BalancedBatchSampler(None, 4, synthetic_share=0.25, reals=range(9), slots=range(9, 12))
        >>> [len(batch) for batch in batches]
        [4, 4, 4]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        synthetic_share: float = 0.5,
        reals: Sequence[int] | npt.NDArray[Any] | None = None,
        slots: Sequence[int] | npt.NDArray[Any] | None = None,
        seed: int = 0,
        drop_last: bool = False,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        self.batch_size = whole("batch_size", batch_size)
        self.synthetic_share = probability("synthetic_share", synthetic_share)
        self.num_replicas, self.rank = whole("num_replicas", num_replicas), whole("rank", rank, least=0)
        self.seed, self.drop_last = int(seed), bool(drop_last)
        self._dataset, self._epoch = dataset, None if dataset is not None and hasattr(dataset, "epoch") else 0
        self.reals, self.slots = self._indices(dataset, reals, slots)
        if self.rank >= self.num_replicas:
            raise ConfigError(f"expected rank from 0 to {self.num_replicas - 1}, found {self.rank}")
        self.slots_per_batch = round(self.batch_size * self.synthetic_share)
        self.reals_per_batch = self.batch_size - self.slots_per_batch
        self._check()

    @staticmethod
    def _indices(dataset: Any, reals: Any, slots: Any) -> tuple[IntArray, IntArray]:
        if (reals is None) != (slots is None) or (reals is None and not hasattr(dataset, "base")):
            raise ConfigError(
                f"expected a GANAugmentedDataset, or both reals= and slots=, found {type(dataset).__name__}; to pick "
                "items of a Subset of one, give both index lists"
            )
        if reals is None:
            reals, slots = range(len(dataset.base)), range(len(dataset.base), len(dataset))
        found = [np.asarray(list(part)) for part in (reals, slots)]
        for name, part in zip(("reals", "slots"), found, strict=True):
            if part.ndim != 1 or (len(part) and part.dtype.kind not in "iu") or len(np.unique(part)) != len(part):
                raise ConfigError(f"expected {name}= of different whole numbers, found {part.tolist()!r:.80}")
        return found[0].astype(np.int64), found[1].astype(np.int64)

    def _check(self) -> None:
        if self.reals_per_batch < 1 or (self.slots_per_batch < 1 and self.synthetic_share > 0):
            raise ConfigError(
                f"expected a batch_size and a synthetic_share that give at least one real and one slot a batch, found "
                f"{self.reals_per_batch} and {self.slots_per_batch}; use larger batches or another share"
            )
        if self.slots_per_batch and not len(self.slots):
            raise ConfigError(
                "expected slots in the dataset, found none; give it a sampling_strategy that adds some, or "
                "synthetic_share=0"
            )
        sizes = self._sizes()
        if not sizes or min(sizes) < 1:
            raise ConfigError(
                f"expected at least one real for each batch of each process, found {len(self.reals)} reals for "
                f"{self.num_replicas} processes of {self.reals_per_batch} a batch; use fewer processes, another "
                "batch_size, or drop_last=True where there are enough"
            )

    def _sizes(self) -> list[int]:
        """Returns the number of reals in each batch of an epoch, over all processes, each taking its turn."""
        turn = self.num_replicas * self.reals_per_batch
        turns, left = divmod(len(self.reals), turn)
        if not left or self.drop_last:
            return [self.reals_per_batch] * (turns * self.num_replicas)
        last = self.num_replicas
        if left < last and turns:  # too few for a turn of their own: the last two turns share theirs
            turns, left, last = turns - 1, left + turn, 2 * last
        full = [self.reals_per_batch] * (turns * self.num_replicas)
        return full + [left // last + (i < left % last) for i in range(last)]

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch begins, whatever the dataset's is."""
        self._epoch = int(epoch)

    @property
    def epoch(self) -> int:
        """The epoch whose batches are given next."""
        return int(self._dataset.epoch) if self._epoch is None else self._epoch

    def __len__(self) -> int:
        """Returns the number of batches of an epoch in this process."""
        return len(self._sizes()) // self.num_replicas

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the indices of each batch, shuffled."""
        rng = np.random.Generator(np.random.Philox(derive(self.seed, "batches", self.epoch)))
        sizes = self._sizes()
        extras = [round(size * self.slots_per_batch / self.reals_per_batch) for size in sizes]
        reals = np.split(rng.permutation(self.reals)[: sum(sizes)], np.cumsum(sizes)[:-1])
        rounds = -(-sum(extras) // max(1, len(self.slots)))
        order = np.concatenate([self.slots[:0], *[rng.permutation(self.slots) for _ in range(rounds)]])
        slots = np.split(order[: sum(extras)], np.cumsum(extras)[:-1])
        for number in range(self.rank, len(sizes), self.num_replicas):
            yield rng.permutation(np.concatenate([reals[number], slots[number]])).tolist()
