"""What is measured of samples, class by class: are they of their class, varied, and no copies?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.augmentation import Augmentation
from gan_augment.features import TrainedExtractor
from gan_augment.metrics.diversity import spread, vendi
from gan_augment.metrics.manifold import manifold_scores
from gan_augment.neighbours import nearest_other
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer

__all__ = ["MEASURES", "Measured", "augmented_images", "drawn_images", "nobody", "unused_images"]

Images = dict[int, Tensor]
Parents = dict[int, npt.NDArray[np.int64]]

MEASURES = ("agreement", "distance", "vendi", "coverage", "spread")


def nobody(images: Images) -> Parents:
    """Returns parents for images that have none."""
    return {label: np.full(len(shown), -1) for label, shown in images.items()}


def unused_images(unused: RawView, view: RawView, label: int, most: int) -> Tensor:
    """Returns real images of a class that no training saw."""
    return unused.images(unused.of_class(label)[:most], spec=view.spec())


def augmented_images(
    view: RawView, labels: Sequence[int], augmentation: Augmentation, *, count: int, seed: int
) -> tuple[Images, Parents]:
    """Returns plain augmentations of training images, and which images they are of."""
    rng = np.random.Generator(np.random.Philox(seed))
    parents = {label: rng.choice(view.of_class(label), count) for label in labels}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        images = {label: augmentation(view.images(rows, spec=view.spec())) for label, rows in parents.items()}
    return images, parents


def drawn_images(gan: TrainedSynthesizer, labels: Sequence[int], *, count: int) -> tuple[Images, Parents]:
    """Returns the samples of the first seeds, and their parents."""
    drawn = {label: gan.sample([label] * count, np.arange(count)) for label in labels}
    images = {label: samples.images for label, samples in drawn.items()}
    known = {label: samples.parents for label, samples in drawn.items() if samples.parents is not None}
    return images, {**nobody(images), **known}


@dataclass(frozen=True, eq=False)
class Measured:
    """Measures images against a training set, in the features of an oracle: a classifier that saw far more images.

    Attributes:
        view: The training set.
        unused: Real images of each class that no training saw.
        oracle: The classifier.
    """

    view: RawView
    unused: Images
    oracle: TrainedExtractor

    def __call__(self, images: Images, parents: Parents) -> dict[int, dict[str, float]]:
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
