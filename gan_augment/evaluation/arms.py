"""An arm: one way of training the same classifier."""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError, DataError
from gan_augment.fingerprint import FittedOn, check_disjoint
from gan_augment.losses import balanced_softmax
from gan_augment.metrics import classification_scores
from gan_augment.networks import Classifier, NetworkSpec
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.supervised import endless, predict_probs, train_classifier

__all__ = ["Arm", "check_no_overlap", "score_arm"]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training the classifier.

    Attributes:
        name: Shown in tables.
        data: The training set; items (image tensor `(C, *spatial)`, label index).
        augmentation: Applied to each batch; None for none.
        prior: Class counts of the batches as sampled: trains by balanced softmax. None for cross-entropy.
        synthetic: Whether synthetic images are in it.
    """

    name: str
    data: Any
    augmentation: Augmentation | None = None
    prior: Sequence[float] | None = None
    synthetic: bool = False

    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Returns the loss of logits and labels."""
        if self.prior is None:
            return functional.cross_entropy
        return functools.partial(balanced_softmax, prior=torch.tensor(self.prior, dtype=torch.float32))


def score_arm(
    arm: Arm,
    test: Any,
    *,
    num_classes: int,
    rare: Sequence[int],
    steps: int,
    seed: int,
    batch_size: int = 64,
    description: str | None = None,
) -> dict[str, float]:
    """Trains the classifier of an arm and returns its scores on the test set.

    The initial weights, and the order of items where the length is the same, depend on `seed` only, so arms of one seed
    are paired.

    Args:
        arm: How to train.
        test: Held-out set with items of the same form.
        num_classes: Number of classes.
        rare: Classes whose recall is reported apart.
        steps: Optimiser steps, the same for every arm.
        seed: Of weights, order, augmentation and dropout.
        batch_size: Images a step.
        description: Shown on a progress bar; None for no bar.

    Raises:
        DataError: The items are not tensors of one shape.
    """
    first = arm.data[0][0]
    if not isinstance(first, Tensor):
        raise DataError(
            f"expected items whose image is a tensor, found {type(first).__name__}; give the dataset a transform "
            "that ends in a tensor"
        )
    spec = NetworkSpec(channels=first.shape[0], grid=tuple(first.shape[1:]), num_classes=num_classes)
    order = torch.Generator().manual_seed(derive(seed, "order"))
    size = min(batch_size, len(arm.data))
    loader = DataLoader(arm.data, batch_size=size, shuffle=True, drop_last=True, generator=order)

    def epoch(number: int) -> Iterable[Any]:
        if hasattr(arm.data, "set_epoch"):
            arm.data.set_epoch(number)
        return loader

    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        network = Classifier(spec)
    train_classifier(
        network,
        endless(epoch),
        steps=steps,
        augmentation=arm.augmentation,
        loss=arm.loss(),
        seed=seed,
        description=description,
    )
    images, labels = _all_items(test)
    return classification_scores(labels, predict_probs(network, images), rare)


def _all_items(dataset: Any) -> tuple[Tensor, np.ndarray[Any, np.dtype[np.int64]]]:
    batches = list(DataLoader(dataset, batch_size=512))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches]).numpy()


def check_no_overlap(test: Any, *fitted: Any) -> None:
    """Raises if an image, or a group, of the test set was fitted on.

    Args:
        test: The test set, or a RawView of it (with `groups=`, so that patients are checked too).
        fitted: What must not have seen it: training sets, synthesizers, judges, pools.

    Raises:
        DataError: Names how many are shared.
        ConfigError: Something does not say what it was fitted on.
    """
    held_out = RawView.of(test, progress=False).fitted_on
    for thing in fitted:
        known = FittedOn.of(thing) if hasattr(thing, "fitted_on") else None
        if known is None and hasattr(thing, "__getitem__"):
            known = RawView.of(thing, progress=False).fitted_on
        if known is None or not len(known):
            raise ConfigError(
                f"expected something that says what it was fitted on (a dataset, or a synthesizer, judge or pool made "
                f"here), found {thing!r:.80}, which does not; give the dataset it was fitted on instead"
            )
        check_disjoint(known.images, held_out.images, "images")
        check_disjoint(known.groups, held_out.groups, "groups")
