"""DeepSMOTE (Dablain, Krawczyk and Chawla 2021): SMOTE in the latents of an autoencoder; a rival of GANs."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.networks import NetworkSpec
from gan_augment.networks.blocks import average_pool, conv, upsample
from gan_augment.pool import SyntheticPool
from gan_augment.seeds import derive
from gan_augment.source import RawView

__all__ = ["deep_smote"]

_LATENT, _RATE, _BATCH = 64, 1e-3, 64


class _AutoEncoder(nn.Module):
    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        widths = spec.widths(spec.default_width)
        self.bottom, size = spec.bottom, int(np.prod(spec.bottom)) * widths[-1]
        self.down = nn.ModuleList(conv(spec.ndim, i, o) for i, o in zip([spec.channels, *widths], widths, strict=False))
        self.inner, self.outer = nn.Linear(size, _LATENT), nn.Linear(_LATENT, size)
        up = [*reversed(widths)]
        self.up = nn.ModuleList(conv(spec.ndim, i, o) for i, o in zip(up, [*up[1:], up[-1]], strict=True))
        self.last = conv(spec.ndim, up[-1], spec.channels)

    def encode(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in self.down:
            hidden = average_pool(functional.leaky_relu(layer(hidden), 0.2))
        return self.inner(hidden.flatten(1))  # type: ignore[no-any-return]

    def decode(self, latents: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.outer(latents), 0.2).reshape(len(latents), -1, *self.bottom)
        for layer in self.up:
            hidden = functional.leaky_relu(layer(upsample(hidden)), 0.2)
        return torch.tanh(self.last(hidden))


def deep_smote(train: Any, *, steps: int = 1000, seed: int = 0) -> SyntheticPool:
    """Trains the autoencoder, interpolates latents within each class until all are as large as the largest, decodes.

    The loss is the reconstruction error plus that of decoding the latents of a class in permuted order, which asks the
    decoder for another image of the class (the paper's penalty, algorithm 1).

    Args:
        train: The training split, or a RawView of it.
        steps: Optimiser steps.
        seed: Of weights, batches and SMOTE.

    Returns:
        A pool of arrays in the raw form of `train`.
    """
    from imblearn.over_sampling import SMOTE

    view = RawView.of(train, progress=False)
    spec = view.spec()
    images, targets = view.images(spec=spec), view.targets
    rng = np.random.Generator(np.random.Philox(derive(seed, "deep smote")))
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "deep smote"))
        network = _AutoEncoder(NetworkSpec(channels=spec.channels, grid=spec.grid, num_classes=view.num_classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
    members = [rows for label in range(view.num_classes) if len(rows := view.of_class(label)) > 1]
    for _ in range(steps):
        batch = images[rng.choice(len(images), min(_BATCH, len(images)), replace=False)]
        rows = members[rng.integers(len(members))]
        own = images[rng.choice(rows, min(_BATCH // 2, len(rows)), replace=False)]
        latents = network.encode(torch.cat([batch, own]))
        order = torch.from_numpy(rng.permutation(len(own)))
        drawn = network.decode(torch.cat([latents[: len(batch)], latents[len(batch) :][order]]))
        loss = functional.mse_loss(drawn[: len(batch)], batch) + functional.mse_loss(drawn[len(batch) :], own)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        latents = torch.cat([network.encode(part) for part in images.split(512)])
        alone = np.flatnonzero(view.counts[targets] == 1)  # has no neighbour: is repeated
        latents, targets = torch.cat([latents, latents[alone]]), np.concatenate([targets, targets[alone]])
        fewest = max(2, int(view.counts[view.counts > 0].min()))
        smote = SMOTE(k_neighbors=min(5, fewest - 1), random_state=derive(seed, "smote") % 2**32)
        balanced, labels = smote.fit_resample(latents.numpy(), targets)
        fresh = torch.from_numpy(balanced[len(images) :].astype(np.float32))
        decoded = torch.cat([network.decode(part) for part in fresh.split(512)])
    names = [view.classes[label] for label in labels[len(images) :]]
    return SyntheticPool.from_arrays(spec.encode(decoded), names, classes=list(view.classes))
