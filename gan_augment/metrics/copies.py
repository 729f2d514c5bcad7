"""Copies: distances that a small shift does not hide, and what they say. A copy check, no statement about privacy.

Distance tests pass where a membership attack succeeds: that no copy is found does not show that none was learned.
"""

import itertools

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.images import resize
from gan_augment.neighbours import nearest
from gan_augment.types import FloatArray, IntArray

__all__ = ["ShiftIndex", "authentic", "c_t", "shrunk"]

_MOST_PIXELS = {2: 32, 3: 16}
_DIMENSIONS = 64
_CANDIDATES = 32
_MOST_NEAR = 100
_FIT_ROWS = 4000
_BLOCK = 128


def shrunk(images: Tensor) -> Tensor:
    """Returns `(N, C, *spatial)` made smaller, to at most 32 pixels a side (16 for volumes), as copies are told by."""
    spatial = tuple(images.shape[2:])
    factor = _MOST_PIXELS[len(spatial)] / max(spatial)
    if factor >= 1:
        return images
    return resize(images, tuple(max(5, round(side * factor)) for side in spatial))


class ShiftIndex:
    """Finds the nearest of a set of images where a shift of a pixel or two does not count.

    The distance of a query q to an image x is the least root mean square of q(. + s) - x over shifts s, on the part
    of x that no shift leaves. Candidates are the nearest in at most 64 principal components, where distances are
    never longer than in full, so that an exact or shifted copy is always among them.

    Args:
        images: `(N, C, *spatial)`, of at least 5 pixels a side; see `shrunk`.
        seed: Of the principal components.

    Attributes:
        margin: The largest shift in pixels: 2, and 1 below 16 pixels a side or for volumes.
    """

    def __init__(self, images: Tensor, seed: int = 0) -> None:
        from sklearn.decomposition import PCA

        spatial = images.shape[2:]
        self.margin = 2 if len(spatial) == 2 and min(spatial) >= 16 else 1
        middle = (self.margin,) * len(spatial)
        self._base = self._crop(images, middle)
        rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), _FIT_ROWS)).astype(np.int64))
        dimensions = min(_DIMENSIONS, len(rows), self._base.shape[1])
        with np.errstate(invalid="ignore"):  # where all images are one, the share of its variance is 0 / 0
            self._pca = PCA(dimensions, svd_solver="randomized", random_state=seed % 2**32).fit(self._base[rows])
        self._projected = self._project(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def _crop(self, images: Tensor, start: tuple[int, ...]) -> FloatArray:
        inner = [slice(s, s + side - 2 * self.margin) for s, side in zip(start, images.shape[2:], strict=True)]
        flat: FloatArray = images[(slice(None), slice(None), *inner)].flatten(1).numpy().astype(np.float32)
        return flat

    def _project(self, flat: FloatArray) -> FloatArray:
        projected: FloatArray = self._pca.transform(flat).astype(np.float32)
        return projected

    def search(
        self,
        queries: Tensor,
        k: int = 1,
        *,
        left_out: IntArray | None = None,
        groups: tuple[IntArray, IntArray] | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """Returns distances and rows, both `(n, k)`, of the k nearest images; inf and -1 where there is none.

        Args:
            queries: `(n, C, *spatial)` of the images' size.
            k: At most 4.
            left_out: `(n,)` row that does not count for each query (itself, its parent); -1 for none.
            groups: Groups of the queries `(n,)` and of the images `(N,)`; images of the query's group do not count.
        """
        shifts = list(itertools.product(range(2 * self.margin + 1), repeat=queries.ndim - 2))
        masks = [] if left_out is None else [(left_out, np.arange(len(self)))]
        masks += [] if groups is None else [groups]
        near = k + 2 if groups is None else k + 2 + int(np.unique(groups[1], return_counts=True)[1].max())
        near = min(len(self), near, _MOST_NEAR)
        distances, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for start in range(0, len(queries), _BLOCK):
            part = slice(start, start + _BLOCK)
            masked = [(of_queries[part, None], of_images) for of_queries, of_images in masks]
            distances[part], rows[part] = self._search_block(queries[part], k, shifts, near, masked)
        return distances, rows

    def _search_block(
        self, queries: Tensor, k: int, shifts: list[tuple[int, ...]], near: int, masks: list[tuple[IntArray, IntArray]]
    ) -> tuple[FloatArray, IntArray]:
        crops = np.stack([self._crop(queries, shift) for shift in shifts])
        count = len(queries)
        rough, rows = nearest(self._project(crops.reshape(-1, crops.shape[-1])), self._projected, k=near)
        rough = rough.reshape(len(shifts), count, near).swapaxes(0, 1).reshape(count, -1)
        rows = rows.reshape(len(shifts), count, near).swapaxes(0, 1).reshape(count, -1)
        for of_queries, of_images in masks:
            rough = np.where(of_images[rows] == of_queries, np.float32(np.inf), rough)
        best = np.argsort(rough, axis=1, kind="stable")[:, :_CANDIDATES]
        rough, rows = np.take_along_axis(rough, best, 1), np.take_along_axis(rows, best, 1)
        shifted = crops[best // near, np.arange(count)[:, None]]
        exact = np.sqrt(((shifted - self._base[rows]) ** 2).mean(2))
        return _distinct(np.where(np.isinf(rough), np.inf, exact), rows, k)


def _distinct(distances: FloatArray, rows: IntArray, k: int) -> tuple[FloatArray, IntArray]:
    """Returns the k least distances `(n, k)` of different rows, and the rows."""
    distances = distances.astype(np.float32)
    nearest_, which = np.full((len(rows), k), np.inf, np.float32), np.full((len(rows), k), -1, np.int64)
    everyone = np.arange(len(rows))
    for place in range(k):
        best = distances.argmin(1)
        value = distances[everyone, best]
        nearest_[:, place] = value
        which[:, place] = np.where(np.isinf(value), -1, rows[everyone, best])
        distances = np.where(rows == rows[everyone, best][:, None], np.inf, distances)
    return nearest_, which


def authentic(distance: FloatArray, reference: FloatArray) -> npt.NDArray[np.bool_]:
    """Returns whether each image is authentic: d(g, x*) > d(x*, the nearest other real) (Alaa et al. 2022).

    About half of unseen real images are, so compare with the share of those.

    Args:
        distance: `(n,)` of each g to its nearest real x*.
        reference: `(n,)` of that x* to its own nearest other real.
    """
    return distance > reference


def c_t(fake: FloatArray, held_out: FloatArray) -> float:
    """Returns C_T of one cell (Meehan et al. 2020): far below 0 where the images are closer to the training set.

    The z-score of the Mann-Whitney statistic of the distances to the nearest training image; below about -3 the set
    copies, above 3 it underfits.

    Args:
        fake: `(n,)` distances of synthetic images to the nearest training image.
        held_out: `(m,)` distances of held-out real ones.
    """
    from scipy.stats import rankdata

    n, m = len(fake), len(held_out)
    ranks = rankdata(np.concatenate([fake, held_out]))
    u = ranks[:n].sum() - n * (n + 1) / 2
    deviation = np.sqrt(n * m * (n + m + 1) / 12)
    return float((u - n * m / 2) / deviation) if deviation > 0 else 0.0
