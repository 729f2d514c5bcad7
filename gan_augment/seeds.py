"""Randomness as a function: counter-based numbers that depend on a seed and a position, and on nothing else.

No generator object is stored anywhere, so nothing repeats in DataLoader workers, and a sample is the same
on every device, in every order and in every batch. The bits are Philox-4x32-10 (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3").
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["derive", "normals", "philox", "row_seeds", "slot_seeds", "slots_uniforms", "uniforms"]

_MASK = 0xFFFFFFFF
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_ROUNDS = 10
_SEED_BITS = 63


def philox(counter: tuple[Any, Any, Any, Any], key: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
    """Returns the four 32-bit words of Philox-4x32-10 at `counter` under `key`.

    Args:
        counter: Four 32-bit words, Python integers or uint64 arrays of one shape.
        key: Two 32-bit words of the same kind.
    """
    even, odd = np.array(counter[::2], np.uint64), np.array(counter[1::2], np.uint64)
    _rounds(even, odd, np.array(key, np.uint64))
    return even[0], odd[0], even[1], odd[1]


def _rounds(even: npt.NDArray[np.uint64], odd: npt.NDArray[np.uint64], key: npt.NDArray[np.uint64]) -> None:
    """Runs all rounds of Philox in place, both halves at once: a round is a few calls however many words there are.

    Args:
        even: `(2, ...)`, words 0 and 2.
        odd: `(2, ...)`, words 1 and 3.
        key: `(2, ...)`, broadcasts with them.
    """
    multipliers, weyl = (words.reshape(2, *[1] * (even.ndim - 1)) for words in (_MULTIPLIERS, _WEYL))
    crossed = np.empty_like(even)
    for _ in range(_ROUNDS):
        np.multiply(even, multipliers, out=crossed[::-1])
        np.right_shift(crossed, 32, out=even)
        even ^= odd
        even ^= key
        np.bitwise_and(crossed, _MASK, out=odd)
        key = key + weyl
        key &= _MASK


def derive(seed: int, *names: str | int) -> int:
    """Returns a 63-bit seed for one named use of `seed`, unrelated to that of any other name."""
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - _SEED_BITS)


def row_seeds(seed: int, label: int, count: int, start: int = 0) -> npt.NDArray[np.int64]:
    """Returns the 63-bit seeds of candidates `start` to `start + count` of class `label`, shape `(count,)`."""
    ordinal = np.arange(start, start + count, dtype=np.uint64)
    zero = np.zeros_like(ordinal)
    words = philox(
        (ordinal & _MASK, ordinal >> 32, zero + label, zero), (zero + (seed & _MASK), zero + ((seed >> 32) & _MASK))
    )
    seeds: npt.NDArray[np.uint64] = ((words[0] << 32) | words[1]) >> (64 - _SEED_BITS)
    return seeds.astype(np.int64)


def _words(seeds: npt.ArrayLike, count: int, stream: int) -> npt.NDArray[np.uint64]:
    key = np.atleast_1d(np.asarray(seeds)).astype(np.uint64)[:, None]
    blocks = -(-count // 4)
    words = np.zeros((len(key), blocks, 4), np.uint64)
    even, odd = (np.zeros((2, len(key), blocks), np.uint64) for _ in range(2))
    even[0], even[1], odd[0] = np.arange(blocks), stream >> 32 & _MASK, stream & _MASK
    _rounds(even, odd, np.array([key & _MASK, key >> 32]))
    words[..., 0], words[..., 1], words[..., 2], words[..., 3] = even[0], odd[0], even[1], odd[1]
    return words.reshape(len(key), 4 * blocks)


def uniforms(seeds: npt.ArrayLike, count: int, stream: int = 0) -> npt.NDArray[np.float64]:
    """Returns numbers in (0, 1), shape `(len(seeds), count)`; row i depends on seed i and `stream` only."""
    return (_words(seeds, count, stream)[:, :count].astype(np.float64) + 0.5) * 2.0**-32


def normals(seeds: npt.ArrayLike, count: int, stream: int = 0) -> npt.NDArray[np.float32]:
    """Returns standard normals, shape `(len(seeds), count)`; row i depends on seed i and `stream` only.

    The transform is Box and Muller's (1958), in float64.
    """
    u = uniforms(seeds, count + count % 2, stream).reshape(-1, (count + 1) // 2, 2)
    radius, angle = np.sqrt(-2.0 * np.log(u[..., 0])), 2.0 * np.pi * u[..., 1]
    pairs = np.empty(u.shape, np.float32)
    pairs[..., 0], pairs[..., 1] = radius * np.cos(angle), radius * np.sin(angle)
    return np.ascontiguousarray(pairs.reshape(len(pairs), -1)[:, :count])


def slots_uniforms(
    seed: int, epoch: int, indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns two numbers in (0, 1) for each index, a function of (seed, epoch, index): a dataset's dice."""
    words = _slot_words(seed, epoch, indices)
    return (words[0].astype(np.float64) + 0.5) * 2.0**-32, (words[1].astype(np.float64) + 0.5) * 2.0**-32


def slot_seeds(seed: int, epoch: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the 63-bit seeds of samples that are drawn live for some indices of a dataset, unrelated to its dice."""
    words = _slot_words(seed, epoch, indices)
    seeds: npt.NDArray[np.uint64] = ((words[2] << 32) | words[3]) >> (64 - _SEED_BITS)
    return seeds.astype(np.int64)


def _slot_words(seed: int, epoch: int, indices: npt.NDArray[np.int64]) -> tuple[Any, Any, Any, Any]:
    index = indices.astype(np.uint64)
    zero = np.zeros_like(index)
    key = zero + (seed & _MASK), zero + ((seed >> 32) & _MASK)
    return philox((index & _MASK, index >> 32, zero + (epoch & _MASK), zero + 1), key)
