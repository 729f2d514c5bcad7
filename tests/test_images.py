"""How raw images map to [-1, 1] and back: round trips, clamping, padding, grids."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torchvision import tv_tensors

from gan_augment.errors import ConfigError, DataError
from gan_augment.forms import RawForm, is_image
from gan_augment.images import MIN_SIZE, ImageSpec, network_grid, network_levels, resize

DTYPES = ["uint8", "int16", "uint16", "float32"]


def spec_of(array, *, low=None, high=None, fit="pad", grid=None):
    """A spec of `(C, *spatial)`, with the dtype's limits (or -1000 to 3000) as range."""
    form = RawForm(
        kind="array", layout="channels_first", dtype=str(array.dtype), channels=len(array), shape=array.shape[1:]
    )
    limits = (-1000.0, 3000.0) if array.dtype.kind == "f" else (np.iinfo(array.dtype).min, np.iinfo(array.dtype).max)
    low, high = limits[0] if low is None else low, limits[1] if high is None else high
    grid = network_grid(array.shape[1:]) if grid is None else grid
    return ImageSpec(form=form, grid=grid, low=(float(low),) * len(array), high=(float(high),) * len(array), fit=fit)


@st.composite
def arrays(draw, dtypes=DTYPES):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    sides = st.integers(MIN_SIZE, 14)
    shape = (draw(st.integers(1, 4)), *draw(st.lists(sides, min_size=2, max_size=3)))
    elements = st.floats(-1000, 3000, width=32) if dtype.kind == "f" else hnp.from_dtype(dtype)
    return draw(hnp.arrays(dtype, shape, elements=elements))


@settings(max_examples=60, deadline=None)
@given(arrays())
def test_decode_then_encode_gives_the_raw_values_back(array):
    spec = spec_of(array)
    seen = spec.decode(array[None])
    assert seen.dtype == torch.float32
    assert tuple(seen.shape) == (1, len(array), *spec.grid)
    assert seen.min() >= -1
    assert seen.max() <= 1
    back = spec.encode(seen)[0]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    if array.dtype.kind == "f":
        assert np.abs(back - array).max() <= 4000 * 2**-22
    else:
        assert np.array_equal(back, array), "the pad is undone, and integers come back exactly"


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (2, 8, 8), elements=st.floats(-9, 9, width=32)),
    st.sampled_from(DTYPES),
    st.integers(0, 90),
    st.integers(1, 120),
)
def test_encode_clamps_and_never_wraps(values, dtype, low, extent):
    spec = spec_of(np.zeros((2, 8, 8), dtype), low=low, high=low + extent)
    raw = spec.encode(torch.from_numpy(values)[None])[0].astype(np.float64)
    wanted = (np.clip(values.astype(np.float64), -1, 1) + 1) / 2 * extent + low
    assert np.abs(raw - wanted).max() <= (1e-4 if dtype == "float32" else 0.5)
    order = np.argsort(values, axis=None)
    assert (np.diff(raw.ravel()[order]) >= 0).all(), "brighter in [-1, 1] is never darker in raw units"


def test_encode_clamps_to_the_dtype_too():
    spec = spec_of(np.zeros((1, 8, 8), np.uint8), low=-50, high=400)
    raw = spec.encode(torch.stack([torch.full((1, 8, 8), -1.0), torch.full((1, 8, 8), 1.5)]))
    assert raw[0].max() == 0
    assert raw[1].min() == 255


def test_channels_have_their_own_range():
    form = RawForm(kind="array", layout="channels_first", dtype="int16", channels=2, shape=(8, 8))
    spec = ImageSpec(form=form, grid=(8, 8), low=(-1000.0, 0.0), high=(1000.0, 10.0))
    array = np.stack([np.full((8, 8), 500), np.full((8, 8), 5)]).astype(np.int16)
    seen = spec.normalise(array)
    assert torch.allclose(seen[0], torch.tensor(0.5))
    assert torch.allclose(seen[1], torch.tensor(0.0), atol=1e-6)
    assert np.array_equal(spec.encode(seen[None])[0], array)


@pytest.mark.parametrize(
    ("image", "kind", "layout", "dtype", "channels", "shape"),
    [
        (Image.new("L", (10, 8)), "pil", "no_channel", "uint8", 1, (8, 10)),
        (Image.new("RGB", (10, 8)), "pil", "channels_last", "uint8", 3, (8, 10)),
        (Image.new("RGBA", (10, 8)), "pil", "channels_last", "uint8", 4, (8, 10)),
        (Image.new("LA", (10, 8)), "pil", "channels_last", "uint8", 2, (8, 10)),
        (Image.new("I;16", (10, 8)), "pil", "no_channel", "uint16", 1, (8, 10)),
        (Image.new("I", (10, 8)), "pil", "no_channel", "int32", 1, (8, 10)),
        (Image.new("F", (10, 8)), "pil", "no_channel", "float32", 1, (8, 10)),
        (np.zeros((8, 10), np.uint16), "array", "no_channel", "uint16", 1, (8, 10)),
        (np.zeros((8, 10, 3), np.uint8), "array", "channels_last", "uint8", 3, (8, 10)),
        (np.zeros((8, 10, 1), np.float32), "array", "channels_last", "float32", 1, (8, 10)),
        (np.zeros((3, 8, 10), np.uint8), "array", "channels_first", "uint8", 3, (8, 10)),
        (np.zeros((9, 8, 10), np.int16), "array", "no_channel", "int16", 1, (9, 8, 10)),
        (np.zeros((1, 9, 8, 10), np.float32), "array", "channels_first", "float32", 1, (9, 8, 10)),
        (np.zeros((9, 8, 10, 1), np.float32), "array", "channels_last", "float32", 1, (9, 8, 10)),
        (torch.zeros(8, 10, dtype=torch.uint8), "tensor", "no_channel", "uint8", 1, (8, 10)),
        (torch.zeros(13, 8, 10, dtype=torch.uint16), "tensor", "channels_first", "uint16", 13, (8, 10)),
        (torch.zeros(1, 9, 8, 10, dtype=torch.int16), "tensor", "channels_first", "int16", 1, (9, 8, 10)),
        (tv_tensors.Image(torch.zeros(3, 8, 10)), "tv_image", "channels_first", "float32", 3, (8, 10)),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value,
)
def test_raw_form_and_the_way_back(image, kind, layout, dtype, channels, shape):
    form = RawForm.of(image)
    assert (form.kind, form.layout, form.dtype, form.channels, form.shape) == (kind, layout, dtype, channels, shape)
    assert form.ndim == 1 + len(shape)
    array = form.array(image)
    assert array.shape == (channels, *shape)
    filled = (np.arange(array.size).reshape(array.shape) % 251).astype(array.dtype)
    raw = form.raw(filled)
    assert type(raw) is type(image)
    assert RawForm.of(raw) == form
    assert np.array_equal(form.array(raw), filled)
    if kind == "array":
        assert raw.flags.c_contiguous
        assert raw.flags.owndata, "writing into an item must not write into a pool"


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (Image.new("P", (8, 8)), "'P'"),
        (Image.new("1", (8, 8)), "'1'"),
        (np.zeros((8, 8), bool), "found bool"),
        (torch.zeros(8, 8, dtype=torch.bfloat16), "found bfloat16"),
        (np.zeros((8, 8), np.complex64), "found complex64"),
        (np.zeros(8), r"found an array of shape \(8,\)"),
        (np.zeros((0, 8)), r"found an array of shape \(0, 8\)"),
        (torch.zeros(0, 8), r"found an array of shape \(0, 8\)"),
        ("picture.png", "found str"),
    ],
)
def test_what_is_no_usable_image_is_refused(image, told):
    with pytest.raises(DataError, match=told):
        RawForm.of(image)


def test_is_image():
    assert is_image(Image.new("1", (1, 1)))
    assert is_image(np.zeros((2, 2)))
    assert not is_image(torch.zeros(3))
    assert not is_image(torch.zeros(0, 8))
    assert not is_image(torch.zeros(1, 1, 1, 8, 8))
    assert not is_image([[1, 2], [3, 4]])


@given(st.lists(st.integers(MIN_SIZE, 600), min_size=2, max_size=3).map(tuple))
def test_network_grid_holds_the_image_and_can_be_halved(shape):
    grid = network_grid(shape)
    levels = network_levels(grid)
    assert levels >= 1
    for side, target in zip(shape, grid, strict=True):
        assert side <= target <= side * 1.15
        assert target % 2**levels == 0
        assert target // 2**levels >= 4
    if all(s == shape[0] for s in shape):
        # A halving is given up at more than 15% of padding, so at fewer than 1 / 0.15 cells: twice that may be left.
        assert grid[0] // 2**levels <= 14, "a square is halved down to a few cells"


@pytest.mark.parametrize(
    ("shape", "grid", "levels"),
    [
        ((28, 28), (32, 32), 3),
        ((100, 100), (112, 112), 4),
        ((64, 64), (64, 64), 4),
        ((32, 64), (32, 64), 3),
        ((28, 28, 28), (32, 32, 32), 3),
        ((8, 8), (8, 8), 1),
        ((8, 500), (8, 500), 1),
    ],
)
def test_known_grids(shape, grid, levels):
    assert network_grid(shape) == grid
    assert network_levels(grid) == levels


def test_a_side_under_eight_is_refused():
    with pytest.raises(DataError, match=r"at least 8 pixels a side, found 32x7; give image_size="):
        network_grid((32, 7))


def test_the_pad_replicates_the_border_and_is_undone():
    array = np.random.default_rng(0).integers(0, 256, (1, 28, 30), dtype=np.uint8)
    spec = spec_of(array)
    seen = spec.decode(array[None])[0]
    assert tuple(seen.shape) == (1, 32, 32)
    assert torch.equal(seen[0, 0, 1:31], seen[0, 2, 1:31])
    assert torch.equal(seen[0, :, 0], seen[0, :, 1])
    assert torch.equal(seen[:, 2:30, 1:31], spec_of(array, grid=(28, 30)).decode(array[None])[0])
    assert np.array_equal(spec.encode(seen[None])[0], array)


def test_an_image_of_another_size_is_not_padded_into_place():
    spec = spec_of(np.zeros((1, 28, 28), np.uint8))
    for shape in ((1, 20, 20), (1, 40, 40), (1, 28, 30)):
        with pytest.raises(DataError, match=f"expected images of 28x28 .* found {shape[1]}x{shape[2]}"):
            spec.normalise(np.zeros(shape, np.uint8))


def test_resizing_keeps_range_shape_and_content():
    ramp = np.broadcast_to(np.linspace(0, 255, 40).astype(np.uint8), (3, 24, 40))
    spec = spec_of(ramp, fit="resize", grid=(16, 16))
    seen = spec.decode(ramp[None])
    assert tuple(seen.shape) == (1, 3, 16, 16)
    assert (seen[0, 0, 0].diff() > 0).all()
    back = spec.encode(seen)[0]
    assert back.shape == ramp.shape
    assert np.abs(back.astype(int) - ramp.astype(int))[:, :, 3:-3].max() <= 4
    stripes = np.broadcast_to(np.where(np.arange(32) % 4 % 3 == 0, 255, 0).astype(np.uint8), (1, 32, 32))
    shrunk = spec_of(stripes, fit="resize", grid=(8, 8)).decode(stripes[None])
    assert shrunk[..., 1:-1].abs().max() < 0.3, "antialiased: stripes finer than a pixel shrink to grey"


def test_volumes_resize():
    volume = torch.rand(1, 1, 12, 16, 20)
    assert tuple(resize(volume, (8, 8, 8)).shape) == (1, 1, 8, 8, 8)
    assert tuple(resize(volume, (24, 16, 10)).shape) == (1, 1, 24, 16, 10)
    assert torch.allclose(resize(volume, (6, 8, 10)).mean(), volume.mean(), atol=1e-5)
    assert resize(volume, (12, 16, 20)) is volume


def test_mixed_sizes_come_out_at_the_grid():
    form = RawForm(kind="pil", layout="no_channel", dtype="uint8", channels=1, shape=None, mode="L")
    spec = ImageSpec(form=form, grid=(16, 16), low=(0.0,), high=(255.0,), fit="resize")
    assert tuple(spec.normalise(Image.new("L", (30, 20))).shape) == (1, 16, 16)
    assert spec.encode(torch.zeros(1, 1, 16, 16)).shape == (1, 1, 16, 16)
    with pytest.raises(DataError, match="mixed sizes"):
        _ = form.ndim


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        ((0.0,), (1.0, 1.0), "found 1 and 2"),
        ((0.0, 1.0), (1.0, 1.0), "low < high"),
        ((0.0, float("nan")), (1.0, 1.0), "finite"),
        ((0.0, 0.0), (1.0, float("inf")), "finite"),
    ],
)
def test_a_range_that_cannot_work_is_refused(low, high, told):
    form = RawForm(kind="array", layout="channels_first", dtype="float32", channels=2, shape=(8, 8))
    with pytest.raises(ConfigError, match=told):
        ImageSpec(form=form, grid=(8, 8), low=low, high=high)


@pytest.mark.parametrize("shape", [(28, 28), (9, 10, 11), None])
def test_json_round_trip(shape):
    form = RawForm(kind="tensor", layout="channels_first", dtype="int16", channels=2, shape=shape)
    spec = ImageSpec(form=form, grid=(32,) * len(shape or (0, 0)), low=(-1.5, 0.0), high=(2.0, 3.0), fit="resize")
    assert ImageSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_json_of_something_else_is_refused():
    good = spec_of(np.zeros((1, 8, 8), np.uint8)).to_json()
    for bad in ({}, {**good, "more": 1}, {**good, "low": [3.0], "high": [1.0]}, {**good, "form": {"shape": None}}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            ImageSpec.from_json(bad)


def test_differences_are_told_in_words():
    mine, theirs = RawForm.of(Image.new("L", (8, 9))), RawForm.of(Image.new("RGB", (8, 9)))
    assert mine.differences(mine) == ""
    assert mine.differences(theirs, ("channels", "mode")) == "channels 1 against 3; mode L against RGB"
    assert "layout" in mine.differences(theirs)
