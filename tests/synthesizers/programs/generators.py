"""Small generators that the tests of programs export, and what they share."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class ByNumber(nn.Module):
    """Takes latents `(N, 8)` and class numbers `(N,)` of 3 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.first = nn.Linear(12, 16 * 4 * 4)
        self.up = nn.ConvTranspose2d(16, 8, 4, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 3, 3, 1, 1)
        self.register_buffer("gain", torch.tensor(1.5))

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        x = self.first(torch.cat([z, self.table(y)], 1)).reshape(z.shape[0], -1, 4, 4)
        x = torch.relu(self.norm(self.up(x)))
        return torch.tanh(self.gain * self.last(functional.interpolate(x, scale_factor=2, mode="nearest")))


class ByVector(nn.Module):
    """Takes one-hot labels `(N, 5)` first and latents `(N, 6)` second; writes in place; returns features, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(11, 2 * 8 * 8), nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, c: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        features = functional.leaky_relu(self.first(torch.cat([z, c], dim=1)), 0.2, inplace=True)
        return features, torch.tanh(self.last(features.reshape(-1, 2, 8, 8)))


class Unconditional(nn.Module):
    """A DCGAN-like generator: latents `(N, 7, 1, 1)`, no label."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(7, 2, 4)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.up(z))


def seeded(kind: type[nn.Module]) -> Any:
    """A generator in eval mode whose batch statistics are not those of a new one."""
    torch.manual_seed(0)
    module = kind()
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean, std=0.2)
            nn.init.uniform_(one.running_var, 0.5, 2)
    return module.eval()


class Payload:
    """Pickled, it makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)
