"""The one training loop of classifiers: judges and evaluations both run it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from gan_augment.augmentation import Augmentation
from gan_augment.balance import item_weights
from gan_augment.errors import TrainingError
from gan_augment.seeds import derive

__all__ = ["channels_last", "endless", "predict_probs", "train_classifier", "weighted_batches"]


def endless(epochs: Callable[[int], Iterable[Any]]) -> Iterator[Any]:
    """Yields the batches of epoch after epoch; `epochs(e)` gives those of epoch e."""
    for epoch in itertools.count():
        yield from epochs(epoch)


def weighted_batches(
    take: Callable[[npt.NDArray[np.int64]], Tensor],
    targets: npt.NDArray[np.int64],
    *,
    batch_size: int,
    power: float,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches without end, classes drawn in proportion to n_c^`power`, with replacement.

    Args:
        take: Returns the images of rows.
        targets: `(N,)` classes.
        batch_size: Images a batch.
        power: 1 as in the data, 0 all classes alike.
        seed: Of the draws.
    """
    rng = np.random.Generator(np.random.Philox(derive(seed, "batches")))
    weights, labels = item_weights(targets, power), torch.from_numpy(targets)
    while True:
        rows = rng.choice(len(targets), batch_size, p=weights)
        yield take(rows), labels[torch.from_numpy(rows)]


def train_classifier(
    network: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    steps: int,
    learning_rate: float = 5e-3,
    weight_decay: float = 1e-3,
    augmentation: Augmentation | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    seed: int = 0,
    device: torch.device | str = "cpu",
    description: str | None = None,
) -> nn.Module:
    """Trains `network` in place for a fixed number of steps (AdamW, cosine to zero) and returns it in eval mode.

    Args:
        network: Maps images `(N, C, *spatial)` to logits `(N, num_classes)`.
        batches: Yields images and labels `(N,)`.
        steps: Optimiser steps; the last weights are the result, no checkpoint is picked.
        learning_rate: At the start.
        weight_decay: AdamW's.
        augmentation: Applied to each batch; None for none.
        loss: Of logits and labels.
        seed: Of augmentation and dropout; the network's own initial weights are the caller's.
        device: Where to train.
        description: Shown on a progress bar; None for no bar.

    Raises:
        TrainingError: The loss became NaN or infinite.
    """
    channels_last(network.to(device)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "classifier"))
        hidden = None if description else True
        for step in tqdm(range(steps), desc=description, disable=hidden, leave=False):
            images, labels = next(batches)
            images, labels = _laid_out(images.to(device)), labels.to(device)
            if augmentation is not None:
                images = augmentation(images)
            value = loss(network(images), labels)
            if not torch.isfinite(value):
                raise TrainingError(
                    f"expected a finite classifier loss, found {value.item()} at step {step}; lower learning_rate"
                )
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def channels_last(network: nn.Module) -> nn.Module:
    """Returns the network with its weights laid out channels last, where it has no volumes: a third faster on CPUs.

    Numbers differ from the other layout's in the last bit, so a network keeps it when it is read back.
    """
    if any(parameter.ndim == 5 for parameter in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last)


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images


@torch.no_grad()
def predict_probs(network: nn.Module, images: Tensor, *, batch_size: int = 512) -> npt.NDArray[np.float32]:
    """Returns class probabilities `(N, num_classes)` of images `(N, C, *spatial)`."""
    network.eval()
    device = next(network.parameters()).device
    parts = [network(_laid_out(part.to(device))).softmax(1).cpu() for part in images.split(batch_size)]
    return torch.cat(parts).numpy()
