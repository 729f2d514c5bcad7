"""An approximate search among very many rows, by inverted lists, with its recall measured.

Rows are sorted into lists by their nearest of about 2 sqrt(M) centroids, and a query looks only at the lists whose
centroids are nearest to it. The lists hold row numbers, not rows: the features stay where they are, memory-mapped or
not, and what is found is measured again in float64 from them. FAISS's own index would hold a copy of every row.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gan_augment.clusters import centroid_distances, kmeans, nearest_centroid
from gan_augment.errors import ConfigError
from gan_augment.neighbours import nearest
from gan_augment.search import Device, blocks_of, mean_of, measured_again, merged, moved, top_k
from gan_augment.types import FloatArray, IntArray

__all__ = ["Found", "NeighbourIndex"]

_PAYS_ROWS = 100_000
_PAYS_PAIRS = 5e9
"""From so many rows, and queries times rows, lists are tried: a guess, not a measured size."""
_SAMPLE = 400
_LISTS_BYTES = 2**26


class Found(NamedTuple):
    """What a search found.

    Attributes:
        distances: `(N, k)` Euclidean, the nearest first.
        rows: `(N, k)` rows of the base.
        recall: Share of the true k nearest that were found, 0 to 1: 1 for an exact search, else measured on a sample
            of the queries that had no part in choosing how many lists are looked at.
        note: How the search was made, in a sentence for a report.
    """

    distances: FloatArray
    rows: IntArray
    recall: float
    note: str


class _Lists(NamedTuple):
    centroids: FloatArray
    order: IntArray
    starts: IntArray
    label: IntArray


@dataclass(eq=False, kw_only=True)
class NeighbourIndex:
    """Finds nearest rows, exactly unless it is told otherwise.

    An approximate search is made only where it may pay: from 100,000 rows and 5e9 pairs of a query and a row on. Below
    that, and where so many lists would have to be looked at that nothing is gained, the search is exact all the same;
    `Found.recall` and `Found.note` say which it was.

    Attributes:
        base: `(M, D)` features that are searched; may be memory-mapped.
        exact: Whether to compare every query with every row.
        target: Recall that an approximate search aims at, over 0 and less than 1. What it reached is in `Found`.
        seed: Of the lists and of the sample that measures recall.
        device: Where torch searches, "cuda" for a GPU; None for FAISS, or torch on the CPU where there is no FAISS.

    Example:
        >>> import numpy as np
        >>> base = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
        >>> found = NeighbourIndex(base=base).search(base[:3])
        >>> found.rows[:, 0].tolist(), found.recall
        ([0, 1, 2], 1.0)
    """

    base: FloatArray
    exact: bool = True
    target: float = 0.95
    seed: int = 0
    device: Device = None

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ConfigError(f"expected target, a recall, between 0 and 1, found {self.target}; 1 is exact=True")
        self._built: _Lists | None = None

    def search(self, queries: FloatArray, k: int = 1) -> Found:
        """Returns the k nearest rows of each query `(N, D)`.

        Raises:
            ConfigError: `k` is not from 1 to the number of rows, or the dimensions differ.
            DataError: Features are not finite.
        """
        if self.exact or not self._pays(len(queries)):
            return self._exactly(queries, k, "every row was compared")
        rng = np.random.default_rng(self.seed)
        sample = np.sort(rng.choice(len(queries), min(_SAMPLE, len(queries)), replace=False))
        true, true_rows = nearest(queries, self.base, k, query_rows=sample, device=self.device)
        tuned = rng.permutation(len(sample)) < len(sample) // 2
        lists = self._lists()
        probes = self._probes(queries[sample[tuned]], true_rows[tuned], lists)
        if 4 * probes > len(lists.centroids):
            return self._exactly(queries, k, f"every row was compared: {self.target:.0%} recall needs {probes} lists")
        distances, rows = self._through_lists(queries, k, lists, probes)
        held = sample[~tuned]
        # By distance, not by row: of two rows at one distance either will do.
        recall = float((distances[held] <= true[~tuned][:, -1:] * (1 + 1e-6)).mean())
        note = (
            f"{probes} of {len(lists.centroids)} lists of {len(self.base)} rows were looked at; recall {recall:.3f}, "
            f"measured on {len(held)} queries"
        )
        return Found(distances, rows, recall, note)

    def _pays(self, queries: int) -> bool:
        return len(self.base) >= _PAYS_ROWS and queries * len(self.base) >= _PAYS_PAIRS

    def _exactly(self, queries: FloatArray, k: int, note: str) -> Found:
        return Found(*nearest(queries, self.base, k, device=self.device), 1.0, note)

    def _lists(self) -> _Lists:
        if self._built is None:
            # Lists need not be the best clusters: after the first five iterations they hardly change.
            centroids = kmeans(self.base, int(2 * np.sqrt(len(self.base))), seed=self.seed, iterations=5)
            _, label = nearest_centroid(self.base, centroids)
            starts = np.searchsorted(np.sort(label), np.arange(len(centroids) + 1))
            self._built = _Lists(centroids, np.argsort(label, kind="stable"), starts, label)
        return self._built

    def _probes(self, queries: FloatArray, true_rows: IntArray, lists: _Lists) -> int:
        """Returns in how many of the nearest lists the wanted share of true neighbours lies."""
        order = np.argsort(centroid_distances(queries, lists.centroids), axis=1)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
        ranks = np.sort(np.take_along_axis(rank, lists.label[true_rows], axis=1), axis=None)
        return int(ranks[min(len(ranks) - 1, int(np.ceil(self.target * len(ranks))))]) + 1

    def _through_lists(self, queries: FloatArray, k: int, lists: _Lists, probes: int) -> tuple[FloatArray, IntArray]:
        center = mean_of(self.base)
        distances = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        size = min(_LISTS_BYTES, _LISTS_BYTES * queries.shape[1] // len(lists.centroids))  # distances to them, too
        for block in blocks_of(len(queries), queries.shape[1], size):
            some = queries[block]
            near = np.argpartition(centroid_distances(some, lists.centroids), probes - 1, axis=1)[:, :probes]
            found = self._candidates(moved(some, center), center, near, k + 4, lists)
            distances[block], rows[block] = measured_again(some, self.base, found, k)
        return distances, rows

    def _candidates(self, ready: FloatArray, center: FloatArray, near: IntArray, k: int, lists: _Lists) -> IntArray:
        """Returns the rows `(N, k)` found in the lists `near` `(N, probes)` of each query; -1 where they hold fewer."""
        best = np.full((len(ready), k), np.inf, np.float32)
        rows = np.full((len(ready), k), -1, np.int64)
        order = np.argsort(near, axis=None, kind="stable")
        asking = order // near.shape[1]
        starts = np.searchsorted(near.ravel()[order], np.arange(len(lists.centroids) + 1))
        for number in range(len(lists.centroids)):
            who = asking[starts[number] : starts[number + 1]]
            members = lists.order[lists.starts[number] : lists.starts[number + 1]]
            if not len(who) or not len(members):
                continue
            asked = ready[who]
            for part in blocks_of(len(members), ready.shape[1]):
                some = members[part]
                squares, found = top_k(asked, moved(self.base[some], center), min(k, len(some)), self.device)
                best[who], rows[who] = merged((best[who], rows[who]), (squares, some[found]), k)
        return rows
