"""Small networks that tests read as extractors."""

from typing import Any

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Two convolutions and a linear layer, in two or three dimensions, with weights that never change.

    Args:
        channels: Of the images.
        ndim: Spatial dimensions.
        num_classes: Number of logits.
    """

    def __init__(self, channels: int = 3, ndim: int = 2, num_classes: int = 4) -> None:
        super().__init__()
        conv: Any = nn.Conv2d if ndim == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if ndim == 2 else nn.BatchNorm3d
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(
                conv(channels, 6, 3, padding=1), norm(6), nn.ReLU(inplace=True), conv(6, 5, 3, stride=2), nn.ReLU()
            )
            self.drop = nn.Dropout(0.5)
            self.head = nn.Linear(5, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.body(images).flatten(2).mean(2)
        return self.head(self.drop(hidden))
