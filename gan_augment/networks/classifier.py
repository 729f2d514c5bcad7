"""The small classifier that judges and evaluations train."""

from torch import Tensor, nn
from torch.nn import functional

from gan_augment.networks.blocks import NetworkSpec, average_pool, conv

__all__ = ["Classifier"]


class Classifier(nn.Module):
    """Convolutions of 3, batch normalisation, one pooling a level, a global mean, and a linear layer.

    Args:
        spec: What to build for.
        width: Channels at the bottom, the length of the features; None for the spec's default.
        dropout: Share of the features dropped while training.
    """

    def __init__(self, spec: NetworkSpec, width: int | None = None, dropout: float = 0.25) -> None:
        super().__init__()
        width = width or spec.default_width
        widths = [*spec.widths(width), width]
        inputs, stages = spec.channels, []
        for outputs in widths:
            norm = nn.BatchNorm2d(outputs) if spec.ndim == 2 else nn.BatchNorm3d(outputs)
            stages.append(nn.Sequential(conv(spec.ndim, inputs, outputs), norm, nn.ReLU()))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.dropout = dropout
        self.linear = nn.Linear(width, spec.num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Returns `(N, width)` for images `(N, C, *grid)` in [-1, 1]."""
        hidden = images
        for level, stage in enumerate(self.stages):
            hidden = stage(hidden)
            if level < len(self.stages) - 1:
                hidden = average_pool(hidden)
        return hidden.flatten(2).mean(2)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits `(N, num_classes)`."""
        features = functional.dropout(self.features(images), self.dropout, self.training)
        logits: Tensor = self.linear(features)
        return logits
