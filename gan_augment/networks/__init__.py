"""Networks, for any number of channels, in two and three dimensions."""

from gan_augment.networks.blocks import NetworkSpec
from gan_augment.networks.classifier import Classifier
from gan_augment.networks.conditional import ClassGenerator, ProjectionDiscriminator
from gan_augment.networks.paired import ImageGenerator, PairDiscriminator

__all__ = [
    "ClassGenerator",
    "Classifier",
    "ImageGenerator",
    "NetworkSpec",
    "PairDiscriminator",
    "ProjectionDiscriminator",
]
