"""The nearest rows of features: exact, and in blocks, so that features may be larger than memory.

Distances to a few centroids are a product and live in `gan_augment.clusters`; an approximate search for very many rows
in `gan_augment.index`; which library searches a block, and the care that forked workers need, in `gan_augment.search`.
What was chosen by measurement stands in `benchmarks/results/selection.md`.
"""

import numpy as np
import numpy.typing as npt

from gan_augment.clusters import centroid_distances, kmeans, nearest_centroid
from gan_augment.errors import ConfigError, DataError
from gan_augment.index import NeighbourIndex
from gan_augment.search import Device, blocks_of, mean_of, measured_again, merged, moved, top_k
from gan_augment.types import FloatArray, IntArray
