"""Keys: images by their content, to find what was computed of them."""

import hashlib
from collections.abc import Sequence

import numpy as np
from torch import Tensor

__all__ = ["KEY_BYTES", "image_keys"]

KEY_BYTES = 16


def image_keys(images: Tensor, salts: Sequence[bytes] | None = None) -> list[bytes]:
    """Returns a key of 16 bytes for the content of each image `(N, C, *spatial)`: its shape and values in float32.

    Args:
        images: As an extractor is given them, in [-1, 1].
        salts: `N` further parts of the keys.
    """
    arrays = images.detach().cpu().float().numpy() + np.float32(0)  # -0 is 0
    start = hashlib.blake2b(str(arrays.shape[1:]).encode(), digest_size=KEY_BYTES)
    keys = []
    for row, array in enumerate(arrays):
        digest = start.copy()
        digest.update(np.ascontiguousarray(array).tobytes())
        if salts is not None:
            digest.update(salts[row])
        keys.append(digest.digest())
    return keys
