"""Networks, for any number of channels, in two and three dimensions."""

from gan_augment.networks.adaptive import AdaptiveProbability
from gan_augment.networks.autoencoder import Encoder, LabelCritic
from gan_augment.networks.auxiliary import AuxiliaryDiscriminator, InstanceDiscriminator
from gan_augment.networks.blocks import NetworkSpec
from gan_augment.networks.classifier import Classifier
from gan_augment.networks.conditional import ClassGenerator, ProjectionDiscriminator
from gan_augment.networks.dense import DenseDiscriminator, DenseGenerator, VectorSpec
from gan_augment.networks.paired import ImageGenerator, PairDiscriminator, PairEncoder
from gan_augment.networks.residual import ResidualDiscriminator, ResidualGenerator
from gan_augment.networks.style import StyleDiscriminator, StyleGenerator

__all__ = [
    "AdaptiveProbability",
    "AuxiliaryDiscriminator",
    "ClassGenerator",
    "Classifier",
    "DenseDiscriminator",
    "DenseGenerator",
    "Encoder",
    "ImageGenerator",
    "InstanceDiscriminator",
    "LabelCritic",
    "NetworkSpec",
    "PairDiscriminator",
    "PairEncoder",
    "ProjectionDiscriminator",
    "ResidualDiscriminator",
    "ResidualGenerator",
    "StyleDiscriminator",
    "StyleGenerator",
    "VectorSpec",
]
