"""Hashes: equal for what is equal, different for what differs, independent of order where they promise it."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gan_augment.errors import DataError
from gan_augment.fingerprint import (
    check_disjoint,
    hash_array,
    hash_groups,
    hash_image,
    hash_items,
    hash_json,
    hash_tensors,
)

ARRAYS = hnp.arrays(st.sampled_from([np.uint8, np.int16, np.float32]), hnp.array_shapes(max_dims=3, max_side=4))


@given(ARRAYS, st.data())
def test_hash_array_sees_every_value(array, data):
    found = hash_array(array)
    assert 0 <= found < 2**63
    assert hash_array(np.asfortranarray(array)) == found, "the order in memory does not matter"
    assert hash_array(array.copy()) == found
    changed = array.copy()
    place = tuple(data.draw(st.integers(0, side - 1)) for side in array.shape)
    changed.view(np.uint8).reshape(*array.shape, -1)[place][0] ^= 1
    assert hash_array(changed) != found


def test_hash_array_sees_shape_and_dtype():
    array = np.zeros((2, 6), np.uint8)
    others = [array.reshape(3, 4), array.reshape(12), array.view(np.int8), array.view(np.uint16), array[:1]]
    assert len({hash_array(each) for each in [array, *others]}) == 6


def test_hashes_are_the_same_in_another_process():
    code = (
        "import numpy as np\nfrom gan_augment.fingerprint import *\n"
        "print(hash_array(np.arange(6, dtype=np.uint8)))\n"
        "print(hash_json({'b': 1, 'a': [2]}), hash_groups(np.array(['x']))[0])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hash_array(np.arange(6, dtype=np.uint8)), hash_json({"a": [2], "b": 1}), hash_groups(np.array(["x"]))[0]
    assert run.stdout.split() == [str(value) for value in here]
    assert len(here[1]) == 16


def test_hash_json():
    assert hash_json({"a": 1, "b": {"c": 2, "d": 3}}) == hash_json({"b": {"d": 3, "c": 2}, "a": 1})
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"a": [1]}, {"b": 1}, {}, []]
    assert len({hash_json(value) for value in values}) == len(values)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=8), st.randoms())
def test_hash_items_is_of_a_set_with_repeats(hashes, shuffler):
    shuffled = list(hashes)
    shuffler.shuffle(shuffled)
    assert hash_items(np.array(hashes)) == hash_items(np.array(shuffled))
    assert hash_items(np.array(hashes)) != hash_items(np.array([*hashes, hashes[0]]))
    assert hash_items(np.array(hashes)) != hash_items(np.array([*hashes[1:], hashes[0] + 1]))


def test_hash_groups_hides_names_and_ignores_how_often_and_in_what_order():
    patients = hash_groups(np.array(["anna", "ben", "anna"]))
    assert patients.dtype == np.int64
    assert patients.tolist() == sorted(patients.tolist())
    assert np.array_equal(patients, hash_groups(np.array(["ben", "anna"])))
    assert len(np.intersect1d(patients, hash_groups(np.array(["ben", "carl"])))) == 1


def test_a_patient_number_is_the_same_one_in_any_column_type():
    columns = [
        np.array([7, 8]),
        np.array([7.0, 8.0]),
        np.array(["7", "8"]),
        np.array([7, "8"], object),
        np.uint8([8, 7]),
    ]
    assert len({tuple(hash_groups(column).tolist()) for column in columns}) == 1
    assert hash_groups(np.array([7.5])) != hash_groups(np.array([7]))
    assert len(hash_groups(np.array([np.nan, np.inf, 7]))) == 3


def test_hash_tensors_sees_names_values_shapes_and_types():
    weights = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}
    same = {"b": torch.ones(2, 2, requires_grad=True), "a": torch.arange(8.0)[::2] / 2}
    assert hash_tensors(weights) == hash_tensors(same)
    others = [
        {"a": weights["a"]},
        {"a": weights["b"], "b": weights["a"]},
        {"a": weights["a"], "c": weights["b"]},
        {"a": weights["a"].reshape(2, 2), "b": weights["b"]},
        {"a": weights["a"].to(torch.float64), "b": weights["b"]},
        {"a": weights["a"].to(torch.bfloat16), "b": weights["b"]},
        {"a": weights["a"].to(torch.bfloat16).view(torch.int16), "b": weights["b"]},
        {"a": weights["a"] + 1e-6, "b": weights["b"]},
        {"a": torch.tensor(3), "b": weights["b"]},
    ]
    assert len({hash_tensors(each) for each in [weights, *others]}) == 1 + len(others)


def test_check_disjoint_counts_what_is_shared():
    fitted = np.array([1, 2, 3, 3])
    check_disjoint(fitted, np.array([4, 5]), "images")
    check_disjoint(fitted, np.empty(0, np.int64), "groups")
    with pytest.raises(DataError, match=r"no images shared between the training data and the test set, found 2 of 3"):
        check_disjoint(fitted, np.array([3, 2, 9, 9]), "images")
    with pytest.raises(DataError, match=r"no groups .* and the validation split"):
        check_disjoint(fitted, fitted, "groups", "the validation split")


def test_a_grey_image_and_its_copy_in_rgb_are_one_image():
    grey = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    assert hash_image(grey) == hash_image(np.repeat(grey, 3, axis=0))
    colour = np.repeat(grey, 3, axis=0)
    colour[2, 3, 3] += 1
    assert hash_image(colour) != hash_image(grey)
