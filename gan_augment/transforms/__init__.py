"""Synthetic images as torchvision transforms: of an item, of a batch, pasted into a batch; and batches of fixed shares.

::

    balance = SynthesizeBatch(pool, mode="rebalance")
    for images, labels in loader:
        images, labels = balance(images, labels)
"""

from gan_augment.transforms.batch import SynthesizeBatch
from gan_augment.transforms.item import SynthesizeSameClass
from gan_augment.transforms.paste import PasteSynthetic
from gan_augment.transforms.sampler import BalancedBatchSampler

__all__ = ["BalancedBatchSampler", "PasteSynthetic", "SynthesizeBatch", "SynthesizeSameClass"]
