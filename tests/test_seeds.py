"""Counter-based randomness: known answers, independence of batch and order, distributions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gan_augment.seeds import derive, normals, philox, row_seeds, slot_seeds, slots_uniforms, uniforms

ONES = 0xFFFFFFFF
# Random123's kat_vectors, philox4x32-10: counter, key, answer
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
words = st.integers(0, ONES)
seeds63 = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, answer):
    assert philox(counter, key) == answer
    arrays = philox(tuple(np.uint64([c]) for c in counter), tuple(np.uint64([k]) for k in key))
    assert tuple(int(word[0]) for word in arrays) == answer


@given(st.lists(st.tuples(words, words, words, words, words, words), min_size=1, max_size=8))
def test_philox_on_integers_equals_arrays(rows):
    columns = [np.array(column, dtype=np.uint64) for column in zip(*rows, strict=True)]
    found = philox(tuple(columns[:4]), tuple(columns[4:]))
    wanted = [philox(row[:4], row[4:]) for row in rows]
    assert np.stack(found, axis=1).tolist() == [list(row) for row in wanted]


@given(st.lists(seeds63, min_size=1, max_size=6), st.integers(1, 21), st.randoms())
def test_a_row_depends_on_its_own_seed_only(seeds, count, shuffler):
    together = normals(seeds, count)
    assert together.dtype == np.float32
    assert together.shape == (len(seeds), count)
    order = list(range(len(seeds)))
    shuffler.shuffle(order)
    for i in order:
        assert np.array_equal(normals([seeds[i]], count)[0], together[i])
    assert np.array_equal(normals([seeds[i] for i in order], count), together[order])


@given(seeds63, st.integers(1, 30), st.integers(0, 7))
def test_a_shorter_row_is_the_beginning_of_a_longer_one(seed, count, more):
    assert np.array_equal(normals([seed], count), normals([seed], count + more)[:, :count])
    assert np.array_equal(uniforms([seed], count), uniforms([seed], count + more)[:, :count])


def test_both_halves_of_a_seed_and_of_a_stream_count():
    drawn = {tuple(uniforms([seed], 4)[0]) for seed in (0, 1, 2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1)}
    assert len(drawn) == 7
    streams = [uniforms([3], 4, stream) for stream in (0, 1, 2**32 - 1, 2**32, derive(0, "a"), derive(0, "b"))]
    assert len({tuple(stream[0]) for stream in streams}) == 6
    assert all(((stream > 0) & (stream < 1)).all() for stream in streams)


def test_uniforms_are_uniform_and_uncorrelated():
    drawn = uniforms(np.arange(400), 250)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-4
    assert stats.kstest(drawn[:, 0], "uniform").pvalue > 1e-4, "across neighbouring seeds"
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn[:, :-1].ravel(), drawn[:, 1:].ravel())[0, 1]) < 0.02


def test_normals_are_normal_and_uncorrelated():
    drawn = normals(np.arange(400), 250).astype(np.float64)
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(drawn[:, ::2].ravel(), drawn[:, 1::2].ravel())[0, 1]) < 0.02, "the two of a Box-Muller pair"
    assert 3 < np.abs(drawn).max() < 7


def test_row_seeds_are_distinct_63_bit_and_restartable():
    all_seeds = row_seeds(9, 2, 5000)
    assert all_seeds.dtype == np.int64
    assert all_seeds.min() >= 0
    assert all_seeds.max() > 2**62, "the upper half is used"
    assert (
        len(set(all_seeds.tolist()) | set(row_seeds(9, 3, 5000).tolist()) | set(row_seeds(10, 2, 5000).tolist()))
        == 15000
    )
    assert np.array_equal(row_seeds(9, 2, 100, start=4321), all_seeds[4321:4421])


def dice(seed, epoch, index):
    indices = np.array([index])
    return tuple(float(column[0]) for column in slots_uniforms(seed, epoch, indices)), int(
        slot_seeds(seed, epoch, indices)[0]
    )


def test_the_dice_of_slots_are_a_function_of_seed_epoch_and_index():
    keys = [(seed, epoch, index) for seed in (0, 1, 2**40) for epoch in (0, 1) for index in (0, 1, 2**33)]
    drawn = {key: dice(*key) for key in keys}
    assert len(set(drawn.values())) == len(keys)
    assert all(dice(*key) == drawn[key] for key in reversed(keys))
    parts = []
    for epoch in range(20):
        indices = np.arange(300)
        parts.append(np.stack([*slots_uniforms(7, epoch, indices), slot_seeds(7, epoch, indices) / 2**63], axis=1))
    columns = np.concatenate(parts)
    for column in columns.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(columns.T) - np.eye(3)).max() < 0.06


def test_the_dice_of_slots_are_known_numbers():
    """Pools and runs of earlier releases draw the same: these are philox's words at (index, 0, epoch, 1)."""
    words = philox((5, 0, 3, 1), (11, 0))
    assert dice(11, 3, 5)[0] == ((words[0] + 0.5) * 2.0**-32, (words[1] + 0.5) * 2.0**-32)


@pytest.mark.parametrize("seed", [-1, -(2**40), 2**63, 2**80 + 5])
def test_any_integer_is_a_seed(seed):
    assert all(0 < value < 1 for value in dice(seed, 0, 3)[0])
    assert row_seeds(seed, 0, 3).min() >= 0
    assert 0 <= derive(seed, "x") < 2**63


def test_derive_separates_names_and_is_stable():
    assert derive(0, "batch", 3) == derive(0, "batch", 3) != derive(0, "batch", 4)
    assert (
        len({derive(0, "a", "b"), derive(0, "ab"), derive(0, "b", "a"), derive(1, "a", "b"), derive(0, "a", "b", "")})
        == 5
    )
    assert derive(12, "candidates") == 8143972922338925788, "pools on disk are drawn again from it"
