"""What is measured of samples, class by class: are they of their class, varied, and no copies?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.features import TrainedExtractor
from gan_augment.metrics.diversity import spread, vendi
from gan_augment.metrics.manifold import manifold_scores
from gan_augment.neighbours import nearest_other
from gan_augment.source import RawView

__all__ = ["MEASURES", "Measured", "nobody", "unused_images"]

MEASURES = ("agreement", "distance", "vendi", "coverage", "spread")


def nobody(images: Mapping[int, Tensor]) -> dict[int, npt.NDArray[np.int64]]:
    """Returns parents for images that have none."""
    return {label: np.full(len(shown), -1) for label, shown in images.items()}


def unused_images(unused: RawView, view: RawView, label: int, most: int) -> Tensor:
    """Returns real images of a class that no training saw."""
    return unused.images(unused.of_class(label)[:most], spec=view.spec())


@dataclass(frozen=True, eq=False)
class Measured:
    """Measures images against a training set, in the features of an oracle: a classifier that saw far more images.

    Attributes:
        view: The training set.
        unused: Real images of each class that no training saw.
        oracle: The classifier.
    """

    view: RawView
    unused: Mapping[int, Tensor]
    oracle: TrainedExtractor

    def __call__(
        self, images: Mapping[int, Tensor], parents: Mapping[int, npt.NDArray[np.int64]]
    ) -> dict[int, dict[str, float]]:
        """Returns the measures of images of each class.

        Agreement is the share whose class the oracle confirms; distance the median one to the nearest training image
        of any class, a sample's own parent left out; vendi the Vendi score, with the median distance of unused reals
        for its bandwidth; coverage the share of unused reals with a sample nearer than their fifth neighbour; spread
        the mean standard deviation of a pixel.
        """
        reals = self.oracle.extract(self.view.images(spec=self.view.spec())).features
        found = {}
        for label, shown in images.items():
            seen = self.oracle.extract(shown)
            assert seen.probs is not None
            held = self.oracle.extract(self.unused[label]).features
            found[label] = {
                "agreement": float((seen.probs.argmax(1) == label).mean()),
                "distance": float(np.median(nearest_other(seen.features, reals, parents[label]))),
                "vendi": vendi(seen.features, spread(held)),
                "coverage": manifold_scores(held, seen.features).coverage,
                "spread": float(shown.std(0).mean()),
            }
        return found
