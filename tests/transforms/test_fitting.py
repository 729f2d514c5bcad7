import numpy as np
import pytest

from gan_augment.errors import DataError
from gan_augment.transforms.fitting import check_scale, class_label, matched, own_image
from tests.transforms.sources import spec_of


@pytest.mark.parametrize(
    ("value", "dtype", "wanted", "fits"),
    [
        (255, "uint8", "int16", True),
        (255, "int16", "uint8", True),
        (256, "int16", "uint8", False),
        (-1, "int16", "uint8", False),
        (1, "uint8", "bool", True),
        (2, "uint8", "bool", False),
        (3000, "int16", "float16", True),
        (65535, "uint16", "float16", False),
        (0.5, "float64", "float32", True),
        (0.5, "float32", "uint8", False),
        (1.0, "float32", "int32", False),
    ],
)
def test_an_item_must_be_able_to_hold_the_values(value: float, dtype: str, wanted: str, fits: bool) -> None:
    array = np.full((1, 2, 2), value, dtype)
    if fits:
        assert matched(array, wanted, (1, 2, 2), "") is array
    else:
        with pytest.raises(DataError, match=f"that {wanted} items can hold, found {dtype}"):
            matched(array, wanted, (1, 2, 2), "")


def test_channels_and_sizes_must_agree() -> None:
    array = np.ones((1, 4, 4), np.uint8)
    assert matched(array, "uint8", (3, 4, 4), "").shape == (3, 4, 4)
    for shape, grey in (((3, 4, 4), False), ((2, 4, 4), True), ((1, 4, 5), True), ((4, 4), True), ((), True)):
        with pytest.raises(DataError, match="channel first"):
            matched(array, "uint8", shape, "", grey=grey)


@pytest.mark.parametrize(("extent", "fits"), [(0, True), (1, False), (2.5, False), (2.6, True), (25501, False)])
def test_a_range_a_hundred_times_another_is_an_error(extent: float, fits: bool) -> None:
    for spec, array in ((spec_of(), np.zeros((1, 8, 8))), (None, np.array([[[0, 255]]], np.uint8))):
        if fits:
            check_scale(array, spec, extent, "")
        else:
            with pytest.raises(DataError, match="range over 255, found an item"):
                check_scale(array, spec, extent, "")
    check_scale(np.full((1, 8, 8), 7, np.uint8), None, extent, "")  # a blank one tells nothing


@pytest.mark.parametrize("value", [0.5, -1.0, 256.0, float("nan")])
def test_an_items_own_image_must_be_raw(value: float) -> None:
    assert own_image(np.full((1, 2, 2), 255.0), "uint8", "").dtype == np.uint8
    with pytest.raises(DataError, match="expected items that hold raw uint8 values"):
        own_image(np.full((1, 2, 2), value), "uint8", "")


def test_a_label_that_is_none_is_told_with_what_to_do() -> None:
    assert class_label(np.array([2]), "") == 2
    with pytest.raises(DataError, match=r"found 2 values \[0, 1\]; put it first"):
        class_label(np.array([0, 1]), "put it first")
