"""A pool in the formats of other tools, and image folders back in as a pool."""

from gan_augment.pool.exports.export import FORMATS, export
from gan_augment.pool.exports.reading import ReadBack, read_folder

__all__ = ["FORMATS", "ReadBack", "export", "read_folder"]
