"""The control that a selector has to beat: as many rows of each class, drawn at random."""

import numpy as np
import numpy.typing as npt

from gan_augment.seeds import derive
from gan_augment.types import IntArray, as_labels

__all__ = ["random_control"]


def random_control(keep: npt.ArrayLike, labels: npt.ArrayLike, seed: int = 0) -> npt.NDArray[np.bool_]:
    """Returns a random choice of as many rows of each class as were kept, `(N,)`; of a pool, use `pool.sample`.

    Args:
        keep: `(N,)` bool, what a selector kept; an array or a tensor, as are the labels.
        labels: `(N,)` classes.
        seed: Of the draw.
    """
    kept, classes = as_labels(keep).astype(bool), as_labels(labels)
    drawn = np.zeros(len(kept), bool)
    rng = np.random.Generator(np.random.Philox(derive(seed, "random-k")))
    for label in np.unique(classes):
        rows: IntArray = np.flatnonzero(classes == label)
        drawn[rng.choice(rows, int(kept[rows].sum()), replace=False)] = True
    return drawn
