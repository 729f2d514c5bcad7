"""Items taken apart and put together, labels read, and equality."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gan_augment.errors import DataError
from gan_augment.items import ItemStructure, label_value, same

IMAGE = Image.new("L", (4, 4), 7)
OTHER = Image.new("L", (4, 4), 9)
COLOUR = Image.new("RGB", (4, 4))
Pair = namedtuple("Pair", "image label")


@pytest.mark.parametrize(
    ("item", "kind", "wanted"),
    [
        ((IMAGE, 3), "tuple", (OTHER, 5)),
        ([IMAGE, 3], "list", [OTHER, 5]),
        (Pair(IMAGE, 3), "namedtuple", Pair(OTHER, 5)),
        ({"image": IMAGE, "label": 3}, "dict", {"image": OTHER, "label": 5}),
        ({"y": 3, "pixel_values": IMAGE}, "dict", {"y": 5, "pixel_values": OTHER}),
        ({"scan": IMAGE, "class": 3}, "dict", {"scan": OTHER, "class": 5}),
    ],
)
def test_split_and_replace(item, kind, wanted):
    structure = ItemStructure.of(item)
    assert structure.kind == kind
    assert structure.split(item) == (IMAGE, 3)
    built = structure.replaced(item, {structure.image: OTHER, structure.label: 5})
    assert structure.split(item) == (IMAGE, 3)
    assert type(built) is type(item)
    assert built == wanted


@pytest.mark.parametrize(
    ("item", "wanted"),
    [(IMAGE, OTHER), ((IMAGE,), (OTHER,)), ([IMAGE], [OTHER]), ({"img": IMAGE}, {"img": OTHER})],
)
def test_items_without_label(item, wanted):
    structure = ItemStructure.of(item)
    assert structure.label is None
    assert structure.split(item) == (IMAGE, None)
    assert structure.replaced(item, {structure.image: OTHER}) == wanted


@pytest.mark.parametrize(
    ("item", "mask", "label", "extras"),
    [
        ((IMAGE, OTHER), 1, None, ()),
        ((IMAGE, OTHER, 3), 1, 2, ()),
        ((IMAGE, 3, OTHER), 2, 1, ()),
        ((IMAGE, 3, "patient 7", 0.5), None, 1, (2, 3)),
        ({"image": IMAGE, "mask": OTHER, "label": 3}, "mask", "label", ()),
        ({"image": IMAGE, "label": OTHER}, "label", None, ()),
        ({"image": IMAGE, "label": OTHER, "class": 2, "age": 61}, "label", "class", ("age",)),
        ((torch.rand(1, 8, 8), torch.zeros(8, 8, dtype=torch.int64)), 1, None, ()),
        ((np.zeros((3, 8, 8)), np.zeros((1, 8, 8), bool)), 1, None, ()),
        ((torch.rand(1, 6, 8, 8), torch.zeros(6, 8, 8, dtype=torch.uint8), 1), 1, 2, ()),
    ],
)
def test_masks_and_other_parts(item, mask, label, extras):
    structure = ItemStructure.of(item)
    assert (structure.mask, structure.label, structure.extras) == (mask, label, extras)
    assert structure.mask_of(item) is (None if mask is None else item[mask])


def test_a_label_of_shape_1_is_a_label():
    structure = ItemStructure.of((IMAGE, np.array([3])))
    assert structure.split((IMAGE, np.array([3])))[1].shape == (1,)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ((IMAGE, COLOUR), r"found \(Image, Image\)"),
        ((IMAGE, OTHER, OTHER), r"found \(Image, Image, Image\)"),
        ((3, IMAGE), r"found \(int, Image\)"),
        ((), r"found \(\)"),
        ({"image": IMAGE, "label": 3, "mask": COLOUR}, "found the keys image, label, mask"),
        ({"image": IMAGE, "mask": OTHER, "seg": OTHER}, "found the keys image, mask, seg"),
        ({"left": IMAGE, "right": OTHER}, "found the keys left, right"),
        ({"label": 3}, "found the keys label"),
        ("picture.png", "found str"),
        (7, "found int"),
    ],
)
def test_items_of_other_structures_are_refused(item, told):
    with pytest.raises(DataError, match=told):
        ItemStructure.of(item)


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (3, 3),
        (3.0, 3),
        (True, 1),
        ("cat", "cat"),
        (np.str_("cat"), "cat"),
        (np.array(["cat"]), "cat"),
        (np.int64(3), 3),
        (np.uint8(200), 200),
        (np.float32(3), 3),
        (np.bool_(True), 1),
        (np.array([3]), 3),
        (np.array([[3]], np.uint8), 3),
        (np.array(3), 3),
        (torch.tensor(3), 3),
        (torch.tensor([3.0]), 3),
        ([3], 3),
        (("cat",), "cat"),
    ],
)
def test_label_value(label, value):
    found = label_value(label)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (np.array([0, 1, 1]), "found 3 values .*multi-label"),
        (torch.zeros(14), "found 14 values"),
        ([1, 2], "found 2 values"),
        ([], "found 0 values"),
        (-1, "found -1"),
        (0.5, "found 0.5"),
        (float("nan"), "found nan"),
        (float("inf"), "found inf"),
        (np.float32("nan"), "nan"),
        (torch.tensor(float("inf")), "inf"),
        (None, "found None"),
        (b"cat", "found b'cat'"),
        (np.datetime64("2020-01-01"), "2020"),
        (IMAGE, "found <PIL"),
    ],
)
def test_what_is_no_label_is_refused(label, told):
    with pytest.raises(DataError, match=told):
        label_value(label)


@given(st.integers(0, 2**40))
def test_any_whole_number_survives_any_wrapping(number):
    for wrapped in (number, float(number), np.int64(number), torch.tensor(number), np.array([[number]])):
        assert label_value(wrapped) == number


@pytest.mark.parametrize(
    "item",
    [
        (IMAGE, 3),
        (IMAGE, float("nan")),
        {"image": np.array([[1.0, np.nan]]), "label": "a"},
        [torch.tensor([1.0, float("nan")]), None],
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(2, requires_grad=True),
        np.array(["a", "b"]),
        Pair(np.zeros((2, 2), np.uint16), torch.tensor(3)),
    ],
)
def test_an_item_is_the_same_as_its_twin(item):
    import copy

    assert same(item, copy.deepcopy(item))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((IMAGE, 3), (IMAGE, 4)),
        ((IMAGE, 3), (OTHER, 3)),
        ((IMAGE, 3), [IMAGE, 3]),
        ((IMAGE, 3), Pair(IMAGE, 3)),
        ((IMAGE, 3), (IMAGE, 3, 3)),
        (3, 3.0),
        (3, np.int64(3)),
        (1.0, float("nan")),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, OrderedDict(a=1)),
        (np.zeros(2, np.uint8), np.zeros(2, np.int8)),
        (np.zeros((1, 2)), np.zeros((2, 1))),
        (np.zeros((1, 2)), np.zeros(2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.tensor([0.0, 1e-7])),
        (torch.zeros(2), np.zeros(2, np.float32)),
        (np.array([0.0, np.nan]), np.array([np.nan, 0.0])),
        (IMAGE, IMAGE.convert("RGB")),
        (Image.new("L", (2, 8)), Image.new("L", (8, 2))),
    ],
)
def test_items_that_differ(a, b):
    assert not same(a, b)
    assert not same(b, a)
