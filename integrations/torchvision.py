"""torchvision v2: the transforms of items and of batches, and a `collate_fn` that applies those of batches.

::

    balance = SynthesizeBatch("runs/pool", mode="rebalance", transform=to_float)
    mix = v2.RandomChoice([v2.MixUp(num_classes=10), v2.CutMix(num_classes=10)])
    loader = DataLoader(train_set, batch_size=64, shuffle=True, num_workers=4, collate_fn=Collate(balance, mix))
"""

from gan_augment.optional import needed

needed("torchvision", "torchvision", "gan_augment.integrations.torchvision", oldest="0.19")

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import default_collate
from torchvision.transforms import v2

from gan_augment.errors import ConfigError
from gan_augment.transforms import BalancedBatchSampler, PasteSynthetic, SynthesizeBatch, SynthesizeSameClass

__all__ = ["BalancedBatchSampler", "Collate", "PasteSynthetic", "SynthesizeBatch", "SynthesizeSameClass"]


class Collate:
    """Collates items and applies transforms of batches to what comes out, in the loader's workers.

    It can be given to workers of any start method, where a function defined on the spot cannot.

    Args:
        transforms: Called one after the other on the batch, as in `v2.Compose`: `SynthesizeBatch` or `PasteSynthetic`,
            then `v2.MixUp` and `v2.CutMix`, or any callable on batches.
        collate_fn: Makes a batch of items; torch's default.

    Raises:
        ConfigError: A transform, or `collate_fn`, cannot be called; or there is no transform.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from gan_augment import SyntheticPool
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> train_set = TensorDataset(torch.rand(8, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 0, 0, 1]))
        >>> collate = Collate(SynthesizeBatch(pool, mode="rebalance"), v2.MixUp(num_classes=2))
        >>> images, shares = next(iter(DataLoader(train_set, batch_size=8, collate_fn=collate)))
        >>> images.shape, shares.shape
        (torch.Size([8, 1, 8, 8]), torch.Size([8, 2]))
    """

    def __init__(self, *transforms: Callable[..., Any], collate_fn: Callable[[Any], Any] = default_collate) -> None:
        wrong = [repr(step) for step in (*transforms, collate_fn) if not callable(step)]
        if wrong or not transforms:
            raise ConfigError(f"expected transforms of batches, found {', '.join(wrong) or 'none'}; give callables")
        self.transform, self.collate_fn = v2.Compose(transforms), collate_fn

    def __repr__(self) -> str:
        return f"Collate({', '.join(map(repr, self.transform.transforms))})"

    def __call__(self, items: Sequence[Any]) -> Any:
        """Returns the batch of items, `(images, labels)` for a list of pairs, after the transforms."""
        return self.transform(self.collate_fn(items))
