"""Extractors: images to features, class probabilities and uncertainty."""

from gan_augment.features.backbone import TorchvisionExtractor
from gan_augment.features.cached import CachedExtractor
from gan_augment.features.crossfitted import CrossFittedExtractor
from gan_augment.features.discriminator import DiscriminatorExtractor
from gan_augment.features.load import load_extractor
from gan_augment.features.module import ModuleExtractor
from gan_augment.features.pixels import PixelExtractor
from gan_augment.features.precomputed import PrecomputedFeatures
from gan_augment.features.trained import TrainedExtractor

__all__ = [
    "CachedExtractor",
    "CrossFittedExtractor",
    "DiscriminatorExtractor",
    "ModuleExtractor",
    "PixelExtractor",
    "PrecomputedFeatures",
    "TorchvisionExtractor",
    "TrainedExtractor",
    "load_extractor",
]
