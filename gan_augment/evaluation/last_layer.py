"""Training the last layer anew: cRT on balanced reals, or on real features balanced by SMOTE."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError
from gan_augment.evaluation.data import TrainingSet
from gan_augment.seeds import derive
from gan_augment.supervised import train_classifier, weighted_batches

__all__ = ["retrain_last_layer"]

_BLOCK = 512


def retrain_last_layer(
    network: nn.Module,
    how: Literal["balanced", "smote"],
    training: TrainingSet,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    augmentation: Augmentation | None,
    seed: int,
    device: str,
) -> None:
    """Replaces the last linear layer of `network` by one trained on real features with all classes alike.

    Args:
        network: Trained; everything but its last `nn.Linear` stays as it is, batch statistics too.
        how: "balanced" draws reals with classes alike, augmented (Kang et al. 2020, cRT); "smote" interpolates features
            of reals with imbalanced-learn's SMOTE (Chawla et al. 2002).
        training: The real images.
        steps: Optimiser steps.
        batch_size: Images a step.
        learning_rate: At the start.
        augmentation: Of "balanced".
        seed: Of weights, batches, augmentation and SMOTE.
        device: Where networks run.

    Raises:
        ConfigError: The network has no linear layer for the classes.
    """
    count = training.view.num_classes
    linears = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == count]
    if not linears:
        raise ConfigError(f"expected a classifier with an nn.Linear of {count} outputs for last_layer=, found none")
    last = linears[-1]
    network.eval().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "last layer"))
        fresh = nn.Linear(last.in_features, last.out_features, bias=last.bias is not None)
    takes, targets = training.takes(), training.view.targets
    own = derive(seed, "last layer")
    if how == "smote":
        rows, labels = _smote(_features(network, last, takes, len(targets), device), targets, own)
        table = torch.from_numpy(rows)
        batches = weighted_batches(
            lambda index: table[torch.from_numpy(index)], labels, batch_size=batch_size, power=0.0, seed=own
        )
        train_classifier(fresh, batches, steps=steps, learning_rate=learning_rate, seed=own, device=device)
    else:
        batches = weighted_batches(takes, targets, batch_size=batch_size, power=0.0, seed=own)
        train_classifier(
            _Frozen(network, last, fresh),
            batches,
            steps=steps,
            learning_rate=learning_rate,
            augmentation=augmentation,
            seed=own,
            device=device,
        )
    with torch.no_grad():
        last.weight.copy_(fresh.weight)
        if last.bias is not None:
            last.bias.copy_(fresh.bias)


class _Frozen(nn.Module):
    """A trainable last layer on the fixed features of another network."""

    def __init__(self, network: nn.Module, last: nn.Linear, fresh: nn.Linear) -> None:
        super().__init__()
        self._fixed = (network, last)  # in a tuple, so that they are no part of this module
        self.fresh = fresh

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fresh(_hidden(*self._fixed, images))
        return logits


@torch.no_grad()
def _hidden(network: nn.Module, last: nn.Linear, images: Tensor) -> Tensor:
    """Returns what goes into the last layer, `(N, in_features)`."""
    caught: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    try:
        network(images)
    finally:
        hook.remove()
    return caught[0]


def _features(
    network: nn.Module, last: nn.Linear, takes: Callable[[npt.NDArray[np.int64]], Tensor], count: int, device: str
) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, count, _BLOCK):
        images = takes(np.arange(start, min(start + _BLOCK, count)))
        parts.append(_hidden(network, last, images.to(device)).cpu())
    return torch.cat(parts).numpy()


def _smote(
    features: npt.NDArray[np.float32], targets: npt.NDArray[np.int64], seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    from imblearn.over_sampling import SMOTE

    counts = np.bincount(targets)
    alone = np.flatnonzero(counts[targets] == 1)  # has no neighbour: is repeated
    features, targets = np.concatenate([features, features[alone]]), np.concatenate([targets, targets[alone]])
    fewest = max(2, int(counts[counts > 0].min()))
    rows, labels = SMOTE(k_neighbors=min(5, fewest - 1), random_state=seed % 2**32).fit_resample(features, targets)
    return rows.astype(np.float32), labels.astype(np.int64)
