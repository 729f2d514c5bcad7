"""Mixed into training: `GANAugmentedDataset` for datasets, `GANAugmentedIterableDataset` for streams."""

from gan_augment.dataset.augmented import GANAugmentedDataset
from gan_augment.dataset.extras import Extras
from gan_augment.dataset.slots import PhaseOut
from gan_augment.dataset.stream import GANAugmentedIterableDataset

__all__ = ["Extras", "GANAugmentedDataset", "GANAugmentedIterableDataset", "PhaseOut"]
