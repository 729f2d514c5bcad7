"""Synthetic arrays in the form of an item's: layout, channels, type and size."""

from typing import Any

import numpy as np
import pytest

from gan_augment.errors import ConfigError, DataError
from gan_augment.transforms.arrays import channels_first, fitted, like_image, like_mask, of_type


def random(shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random(shape).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(0, 256, shape).astype(dtype)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_an_item_is_turned_to_channels_first_and_back(ndim: int, channels: int) -> None:
    item = random((*(5, 6, 7)[:ndim], channels))
    array = channels_first(item, ndim)
    assert array.shape == (channels, *(5, 6, 7)[:ndim])
    assert np.shares_memory(array, item)
    back = like_image(array, item, ndim)
    assert np.array_equal(back, item)
    assert back.flags.c_contiguous
    assert not np.shares_memory(back, item)
    if channels == 1:
        assert np.array_equal(like_image(array, item[..., 0], ndim), item[..., 0])
        assert np.array_equal(channels_first(item[..., 0], ndim), array)


def test_every_value_of_uint8_comes_back() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    floats = of_type(values, np.float32, np.zeros((16, 16), np.float32))
    assert (floats.dtype, floats.min(), floats.max()) == (np.float32, 0, 1)
    assert np.array_equal(of_type(floats, np.uint8, values), values)
    assert of_type(values, np.uint8, values) is values


@pytest.mark.parametrize("wrong", [-0.1, 1.1, np.nan])
def test_floats_that_are_not_from_0_to_1_are_refused(wrong: float) -> None:
    floats = np.full((8, 8), wrong, np.float32)
    with pytest.raises(DataError, match="from 0 to 1 beside uint8 ones"):
        of_type(floats, np.uint8, random((8, 8)))
    with pytest.raises(DataError, match="from 0 to 1 beside uint8 ones"):
        of_type(random((8, 8)), np.float32, floats)


def test_an_image_is_resized_in_its_type_and_a_mask_keeps_its_values() -> None:
    image = np.full((3, 4, 4), 200, np.uint8)
    made = fitted(image, (9, 6), "resize")
    assert (made.shape, made.dtype, made.min(), made.max()) == ((3, 9, 6), np.uint8, 200, 200)
    mask = np.zeros((1, 4, 4), np.int32)
    mask[:, :2] = 7
    grown = fitted(mask, (8, 8), "resize", mask=True)
    assert np.array_equal(grown, np.repeat(np.repeat(mask, 2, 1), 2, 2))
    assert fitted(image, (4, 4), "exact") is image
    deep = fitted(random((1, 4, 4, 4), np.float32), (2, 6, 4), "resize")
    assert (deep.shape, deep.dtype) == ((1, 2, 6, 4), np.float32)


def test_a_mask_whose_values_do_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match="expected masks with values from 0 to 255"):
        like_mask(np.full((1, 4, 4), 300, np.int32), np.zeros((4, 4), np.uint8), 2)
    with pytest.raises(ConfigError, match="expected a mask of one channel"):
        like_mask(np.zeros((1, 4, 4), np.int32), np.zeros((4, 4, 3), np.uint8), 2)
