"""The synthetic pool: draw, decide, store, read."""

from gan_augment.pool.pool import SyntheticPool

__all__ = ["SyntheticPool"]
