"""Encoder, and a critic that starts from its weights (BAGAN, Mariani et al. 2018; BAGAN-GP, Huang and Jafari 2021).

The decoder is `ClassGenerator`, with a code in place of the latents.
"""

import math

from torch import Tensor, nn

from gan_augment.networks.blocks import NetworkSpec, strided_trunk

__all__ = ["Encoder", "LabelCritic"]


class Encoder(nn.Module):
    """Maps an image to a code of length sqrt(code_dim), about which the lengths of standard normals lie.

    No batch statistics.

    Args:
        spec: What to build for.
        code_dim: Length of the code, D.
        width: Channels at the bottom.
    """

    def __init__(self, spec: NetworkSpec, code_dim: int, width: int) -> None:
        super().__init__()
        self.trunk = strided_trunk(spec, width, spec.channels)
        self.linear = nn.Linear(width * math.prod(spec.bottom), code_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Returns codes `(N, code_dim)` of mean square 1 for images `(N, C, *grid)`."""
        code: Tensor = self.linear(self.trunk(images).flatten(1))
        return code * (code.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class LabelCritic(nn.Module):
    """Logit = linear(h) + <embed(y), P h>, h the output of a trunk as the encoder's.

    Without spectral normalisation, for a gradient penalty holds it smooth; the group normalisation is of one sample,
    as that penalty needs.
    """

    def __init__(self, spec: NetworkSpec, width: int, label_dim: int = 64) -> None:
        super().__init__()
        self.trunk = strided_trunk(spec, width, spec.channels)
        length = width * math.prod(spec.bottom)
        self.linear = nn.Linear(length, 1)
        self.project = nn.Linear(length, label_dim)
        self.embed = nn.Embedding(spec.num_classes, label_dim)
        nn.init.normal_(self.embed.weight, std=label_dim**-0.5)

    def start_from(self, encoder: Encoder) -> None:
        """Takes over the weights of the encoder's trunk."""
        self.trunk.load_state_dict(encoder.trunk.state_dict())

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)` and labels `(N,)`."""
        return self.features_and_logits(images, labels)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of h over space `(N, width)` besides the logits."""
        hidden = self.trunk(images).flatten(2)
        whole = hidden.flatten(1)
        return hidden.mean(2), self.linear(whole)[:, 0] + (self.embed(labels) * self.project(whole)).sum(1)
