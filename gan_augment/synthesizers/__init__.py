"""Who draws: synthesizers trained here, and generators of the user's own."""

from gan_augment.synthesizers.trained import TrainedSynthesizer
from gan_augment.synthesizers.trained import load_trained as load
from gan_augment.synthesizers.wrapped import WrappedSynthesizer, wrap

__all__ = ["TrainedSynthesizer", "WrappedSynthesizer", "load", "wrap"]
