"""Extractors: images to features, class probabilities and uncertainty."""

from gan_augment.features.trained import TrainedExtractor

__all__ = ["TrainedExtractor"]
