"""Published architectures whose released weights are read: one architecture a file, and the tables of their names."""

from gan_augment.networks.published.base import LayerNoise, Published, Settings, Styled, Translator, within

__all__ = ["LayerNoise", "Published", "Settings", "Styled", "Translator", "within"]
