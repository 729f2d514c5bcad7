"""Loaders: which rebalanced datasets they read from, and a copy of one over another dataset."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, SequentialSampler

from gan_augment.dataset.augmented import GANAugmentedDataset
from gan_augment.dataset.stream import GANAugmentedIterableDataset
from gan_augment.errors import ConfigError

__all__ = ["Augmented", "augmented_within", "loader_over", "order_of"]

Augmented = GANAugmentedDataset | GANAugmentedIterableDataset

_ORDERS = (SequentialSampler, RandomSampler, DistributedSampler)
_MAKERS = (
    "torch",
    "torchdata",
)  # whose samplers are made as these are; a subclass of a user's own may be made otherwise


def augmented_within(loaders: Any) -> list[Augmented]:
    """Returns every rebalanced dataset that loaders read from, each once.

    Args:
        loaders: A loader, or a list, a tuple or a dict of loaders, nested as they come. Of each its `dataset` is
            looked at, and what that holds as `dataset` or `datasets`: Subset, ConcatDataset, a shard of a stream.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, Subset, TensorDataset
        >>> base = TensorDataset(torch.rand(9, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1]))
        >>> train = GANAugmentedDataset(base, None, synthetic_share=0)
        >>> augmented_within({"train": DataLoader(Subset(train, [0, 9])), "other": DataLoader(base)})
        [GANAugmentedDataset(9 real, 3 slots, share 0)]
    """
    found = {id(dataset): dataset for loader in _leaves(loaders) for dataset in _datasets(loader)}
    return list(found.values())


def _leaves(loaders: Any) -> Iterator[Any]:
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    if not isinstance(loaders, list | tuple):
        yield loaders
        return
    for loader in loaders:
        yield from _leaves(loader)


def _datasets(holder: Any) -> Iterator[Augmented]:
    if isinstance(holder, Augmented):
        yield holder
    elif not isinstance(holder, list | tuple | Mapping | None):  # a plain list is a dataset, of items
        yield from _datasets(getattr(holder, "dataset", None))
        for part in _leaves(getattr(holder, "datasets", [])):
            yield from _datasets(part)


def order_of(loader: Any) -> Any:
    """Returns the sampler that gives a loader its order.

    Raises:
        ConfigError: It, or the batch sampler, is none that can be made anew for another dataset.
    """
    batches = loader.batch_sampler
    order = loader.sampler if batches is None else getattr(batches, "sampler", None)
    odd = [] if batches is None or _known(batches, BatchSampler) else [batches]
    odd += [] if odd or _known(order, *_ORDERS) else [order]
    if odd:
        raise ConfigError(
            "expected a training loader that shuffles or goes in sequence, found the sampler "
            f"{type(odd[0]).__name__}, which chooses among the {len(loader.dataset)} items of the dataset as it was. "
            "If it balances classes, give shuffle=True instead: the dataset is balanced now. If not, wrap the dataset "
            "before its sampler is made: GANAugmentedDataset(dataset, pool)"
        )
    return order


def _known(sampler: Any, *kinds: type) -> bool:
    return isinstance(sampler, kinds) and type(sampler).__module__.partition(".")[0] in _MAKERS


def loader_over(loader: Any, dataset: Any) -> Any:
    """Returns a copy of a DataLoader, of its class and with all that it is set to, over another dataset.

    Args:
        loader: Of a map-style dataset. It is not changed.
        dataset: The other one, of any length.

    Raises:
        ConfigError: Its sampler cannot be made anew.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> [batch.tolist() for batch in loader_over(DataLoader(range(4), batch_size=2), range(10, 13))]
        [[10, 11], [12]]
    """
    order = order_of(loader)
    kind = type(order)
    if isinstance(order, SequentialSampler):
        sampler = kind(dataset)
    elif isinstance(order, RandomSampler):
        own = order._num_samples  # a number that is the old dataset's length means all of it
        sampler = kind(dataset, order.replacement, None if own == len(loader.dataset) else own, order.generator)
    else:
        ranks = {name: getattr(order, name) for name in ("num_replicas", "rank", "shuffle", "seed", "drop_last")}
        sampler = kind(dataset, **ranks)
        sampler.set_epoch(order.epoch)
    batches, new = loader.batch_sampler, copy.copy(loader)
    if batches is not None:
        batches = type(batches)(sampler, batches.batch_size, batches.drop_last)
    # A loader refuses to have these set, since it would not make its sampler anew; here it is made.
    vars(new).update(dataset=dataset, sampler=sampler, batch_sampler=batches, _iterator=None)
    return new
