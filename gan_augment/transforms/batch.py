"""SynthesizeBatch: synthetic images in a collated batch, in place of items, to balance classes, or on top."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, probability
from gan_augment.pool import SyntheticPool
from gan_augment.transforms.collated import ForBatches, with_rows
from gan_augment.transforms.plan import added_counts, wanted_counts
from gan_augment.transforms.samples import Batch, checked_getter
from gan_augment.transforms.source import ByLabel
from gan_augment.types import IntArray, Synthesizer

__all__ = ["Mode", "SynthesizeBatch"]

_GREATEST = 1e300
"""Of numbers by label: a sum of them is finite."""

Mode = Literal["replace", "rebalance", "append"]
Shares = Sequence[float] | Mapping[int | str, float]


class SynthesizeBatch(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Puts synthetic images into a batch, after collation, as `v2.CutMix` mixes one; also within a `collate_fn`.

    Takes images `(N, C, H, W)` or `(N, C, D, H, W)`, uint8 or float, on any device, and labels `(N,)` or `(N, 1)`, in
    any structure, and returns the same structure, images as plain tensors or torchvision's. What it is given is not
    changed. MixUp and CutMix come after it.

    - "replace": a share of the items whose class `source` has become synthetic images of the same labels.
    - "rebalance": items of classes above their share, picked at random, become synthetic images of those below, labels
      with them, so that counts are as near to `class_shares` as whole numbers allow; as few change as that takes.
    - "append": synthetic images come on top, after the batch's own and at most `share` of their number, so that shares
      are as near to `class_shares` as they can get.

    A synthesizer is no submodule: it is not in `state_dict()`, `parameters()` or `modules()`, and no gradient reaches
    it. An image-conditioned one must be bound, and picks its own parents. Randomness is torch's global state.

    Args:
        source: A pool, of whose view rows are drawn, or a synthesizer that draws as it is asked.
        mode: What to do.
        share: For "replace" and "append", 0 to 1; None for 0.5.
        class_shares: For "rebalance" and "append": the wanted shares by label, or a dict by label or class name; they
            are divided by their sum. None for equal shares of all classes that `source` or the batch has.
        labels_getter: "default" as in torchvision (a dict's "target" is found too), or a callable on the sample that
            returns its tensor of labels.
        transform: Makes images ready for the batch. Of a pool it is called on each raw image and returns a tensor; of a
            synthesizer on all at once, `(n, C, *spatial)` float32 in [-1, 1] on the batch's device. None: raw values
            of the batch's dtype; those of a synthesizer, and of uint8 ones for a float batch, as 0 to 255 or 0 to 1.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was
            built for, and those of a synthesizer by position, or by value where its class names are numbers.
        keep_others: Whether other parts of a batch with a value for each image stay as they are; else it is an error,
            as they say nothing of a synthetic image.
        p: Probability that anything is done to a batch.

    Raises:
        ConfigError: A parameter has a value that cannot work; labels are soft; a batch has masks, boxes or more images.
        DataError: Synthetic images do not fit the batch, or labels are beyond the classes.

    Example:
        >>> import torch
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> balance = SynthesizeBatch(pool, mode="rebalance")
        >>> images, labels = balance(torch.rand(6, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 1]))
        >>> labels.bincount()
        tensor([3, 3])
    """

    def __init__(
        self,
        source: SyntheticPool | Synthesizer,
        *,
        mode: Mode = "replace",
        share: float | None = None,
        class_shares: Shares | None = None,
        labels_getter: str | Callable[[Any], Any] = "default",
        transform: Callable[..., Any] | None = None,
        classes: Sequence[str] | None = None,
        keep_others: bool = False,
        p: float = 1.0,
    ) -> None:
        super().__init__()
        if mode not in get_args(Mode):
            raise ConfigError(f"expected mode of {', '.join(get_args(Mode))}, found {mode!r}")
        if share is not None and mode == "rebalance":
            raise ConfigError(f"expected no share= for mode='rebalance', found {share}; it changes as few as it takes")
        if class_shares is not None and mode == "replace":
            raise ConfigError("expected no class_shares= for mode='replace', which keeps labels; use mode='rebalance'")
        self.mode, self.keep_others = mode, keep_others
        self.share = 0.5 if share is None else probability("share", share)
        self.p = probability("p", p)
        self.labels_getter = checked_getter(labels_getter)
        self._source = ForBatches(source, classes, transform)
        self.class_shares = None if class_shares is None else by_label("class_shares", class_shares, self._source)
        if self.class_shares is not None:
            total = sum(self.class_shares.values())
            if not any(self.class_shares.get(label) for label in self._source.labels()):
                raise ConfigError(
                    "expected class_shares above 0 for a class that the source has images of, found none; "
                    f"it has {self._source.labels()}"
                )
            self.class_shares = {label: value / total for label, value in self.class_shares.items()}

    def extra_repr(self) -> str:
        """Returns the settings, for repr."""
        share = "" if self.mode == "rebalance" else f"share={self.share:g}, "
        return f"mode={self.mode!r}, {share}p={self.p:g}, source={self._source!r}"

    def forward(self, *inputs: Any) -> Any:
        """Returns the batch with synthetic images in it.

        Args:
            inputs: One sample, or images and labels.
        """
        batch = Batch.read(inputs, self.labels_getter, type(self).__name__)
        if batch.others and (self.mode == "append" or not self.keep_others):
            raise ConfigError(
                f"expected images and labels alone, found {batch.others} more parts with a value for each image (an "
                "age, a path), which would be those of real images that are no longer there; leave them out of the "
                "batch, or give keep_others=True to keep them as they are (not for mode='append')"
            )
        if float(torch.rand((), device="cpu")) >= self.p or not len(batch.images):
            return batch.sample
        labels = batch.labels.numpy()
        if self.mode == "append":
            return self._appended(batch, labels)
        at, wanted = self._same(labels) if self.mode == "replace" else self._balanced(labels)
        if not len(at):
            return batch.sample
        images = with_rows(batch.images, at, self._images(wanted, batch.images))
        changed = batch.labels.clone()
        changed[torch.from_numpy(at)] = torch.from_numpy(wanted)
        return batch.assemble(images, changed)

    def _images(self, labels: IntArray, like: Tensor) -> Tensor:
        return self._source.batch(self._source.classes_of(labels), like)

    def _same(self, labels: IntArray) -> tuple[IntArray, IntArray]:
        """Returns which items are replaced, and their labels."""
        able = np.flatnonzero(self._source.classes_of(labels) >= 0)
        number = min(
            len(able), math.floor(self.share * len(able) + float(torch.rand((), device="cpu")))
        )  # right on average
        at = np.sort(able[torch.randperm(len(able), device="cpu").numpy()[:number]])
        return at, labels[at]

    def _balanced(self, labels: IntArray) -> tuple[IntArray, IntArray]:
        """Returns which items are replaced, and the labels they get."""
        known, counts, shares, can_grow = self._classes(labels)
        wanted = wanted_counts(counts, shares, can_grow, torch.randperm(len(known), device="cpu").numpy())
        leave, come = np.maximum(counts - wanted, 0), np.maximum(wanted - counts, 0)
        shuffled = torch.randperm(len(labels), device="cpu").numpy()
        chosen = [shuffled[labels[shuffled] == label][:number] for label, number in zip(known, leave, strict=True)]
        at = np.concatenate(chosen)
        return at, np.repeat(known, come)[torch.randperm(len(at), device="cpu").numpy()]

    def _appended(self, batch: Batch, labels: IntArray) -> Any:
        known, counts, shares, can_grow = self._classes(labels)
        order = torch.randperm(len(known), device="cpu").numpy()
        added = np.repeat(known, added_counts(counts, shares, can_grow, int(self.share * len(labels) + 1e-9), order))
        if not len(added):
            return batch.sample
        added = added[torch.randperm(len(added), device="cpu").numpy()]
        images = torch.cat([batch.images, self._images(added, batch.images)])
        return batch.assemble(images, torch.cat([batch.labels, torch.from_numpy(added)]))

    def _classes(self, labels: IntArray) -> tuple[IntArray, IntArray, Any, Any]:
        """Returns labels `(K,)`, their counts in the batch, wanted shares, and whether there are synthetic images."""
        drawable, present = self._source.labels(), np.unique(labels).tolist()
        for label in present:
            self._source.class_of(label)  # raises for a label beyond the classes
        if self.class_shares is None:
            known = sorted({*drawable, *present})
            shares = np.full(len(known), 1 / len(known))
        else:
            known = sorted(self.class_shares)
            if unknown := sorted(set(present) - set(known)):
                raise DataError(
                    f"expected class_shares for every class of the batch, found none for {unknown}; give 0 for a "
                    "class that is to be replaced altogether"
                )
            shares = np.array([self.class_shares[label] for label in known])
        counts = np.array([(labels == label).sum() for label in known], np.int64)
        return np.array(known, np.int64), counts, shares, np.isin(known, drawable)


def by_label(name: str, values: Any, source: ByLabel) -> dict[int, float]:
    """Returns numbers by label, of a sequence by label or of a dict by label or class name.

    Raises:
        ConfigError: One is negative or not finite, all are 0, or there is no such class.
    """
    pairs = list(values.items()) if isinstance(values, Mapping) else list(enumerate(np.asarray(values).tolist()))
    found: dict[int, float] = {}
    for key, value in pairs:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= _GREATEST:
            raise ConfigError(f"expected {name} that are finite numbers from 0, found {value!r} for class {key!r}")
        found[source.label_of(key)] = float(value)
    if not 0 < sum(found.values()) < math.inf or len(found) != len(pairs):
        raise ConfigError(f"expected {name} for each class, once, and not all 0, found {values!r:.200}")
    return found
