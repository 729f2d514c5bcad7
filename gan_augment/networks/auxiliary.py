"""Discriminators that say more than real or fake: which class (AC-GAN), and near which instance (IC-GAN)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gan_augment.networks.blocks import NetworkSpec, ResidualTrunk

__all__ = ["AuxiliaryDiscriminator", "InstanceDiscriminator"]


class AuxiliaryDiscriminator(nn.Module):
    """One trunk, two heads: real or fake, and which class (Odena et al. 2017); spectral norm throughout."""

    def __init__(self, spec: NetworkSpec, width: int) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(spec, width)
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.classify = spectral_norm(nn.Linear(width, spec.num_classes))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns logits `(N,)` of being real and logits `(N, num_classes)` of the classes, for `(N, C, *grid)`."""
        hidden = self.trunk(images)
        return self.linear(hidden)[:, 0], self.classify(hidden)

    def features_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h `(N, width)` and logits `(N,)` of being real, which do not depend on the labels `(N,)`."""
        hidden: Tensor = self.trunk(images)
        return hidden, self.linear(hidden)[:, 0]


class InstanceDiscriminator(nn.Module):
    """Logit = linear(h) + <embed(y) + P f, h>: h of the image, y its class, f the features of an instance.

    The class-conditional discriminator of Casanova et al. 2021 (section 3.3), which joins the embeddings of class and
    instance before the projection; a sum is that, with a weight matrix of its own for each.
    """

    def __init__(self, spec: NetworkSpec, width: int, feature_dim: int) -> None:
        super().__init__()
        self.trunk = ResidualTrunk(spec, width)
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.embed = spectral_norm(nn.Embedding(spec.num_classes, width))
        self.project = spectral_norm(nn.Linear(feature_dim, width, bias=False))

    def forward(self, images: Tensor, labels: Tensor, instances: Tensor) -> Tensor:
        """Returns logits `(N,)` for images `(N, C, *grid)`, labels `(N,)` and features `(N, feature_dim)`."""
        return self.features_and_logits(images, labels, instances)[1]

    def features_and_logits(self, images: Tensor, labels: Tensor, instances: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h `(N, width)` besides the logits, in which the instances' features are linear."""
        hidden: Tensor = self.trunk(images)
        wanted = self.embed(labels) + self.project(instances)
        return hidden, self.linear(hidden)[:, 0] + (wanted * hidden).sum(1)
