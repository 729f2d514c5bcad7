"""Insertion of lesions: known answers, and what holds for any volume, patch, place and spacing."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from gan_augment.errors import ConfigError, DataError
from gan_augment.insertion import (
    blend,
    checked_border,
    clipped,
    feathered,
    find_place,
    insert,
    membrane,
    resampled,
    windows,
)

BLENDINGS = ("alpha", "offset", "poisson")


def ball(radius: float, side: int, spacing: Any = (1, 1, 1)) -> np.ndarray:
    """A ball of a radius in mm in a cube of `side` voxels."""
    axes = [(np.arange(side) - (side - 1) / 2) * width for width in spacing]
    return sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) <= radius**2


def ramp(shape: Any, slopes: Any) -> np.ndarray:
    """Values that rise along each axis."""
    return sum(slope * grid for slope, grid in zip(slopes, np.indices(shape), strict=True))[None].astype(float)


# -- the patch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [(0.5, 0.5, 0.5), (1, 1, 3), (2, 1.3, 0.7), (2, 2, 2)])
def test_a_resampled_lesion_keeps_its_size_in_mm_and_its_values(wanted: tuple[float, ...]) -> None:
    mask = ball(8, 21).astype(np.uint8) * 3
    image, found = resampled(np.full((2, 21, 21, 21), 7, np.int16), mask, (1, 1, 1), wanted)
    assert image.shape == (2, *found.shape)
    assert found.dtype == np.uint8
    assert set(np.unique(found)) == {0, 3}
    np.testing.assert_allclose(image, 7)
    assert (found > 0).sum() * np.prod(wanted) == pytest.approx((mask > 0).sum(), rel=0.08)
    for axis, width in enumerate(wanted):  # a ball stays a ball
        others = tuple(other for other in range(3) if other != axis)
        assert abs(found.any(axis=others).sum() * width - 17) <= width + 1


def test_a_resampled_image_is_interpolated_linearly_about_its_middle() -> None:
    image, _ = resampled(ramp((9, 9, 9), (1, 2, 3)), np.ones((9, 9, 9), np.uint8), (1, 1, 1), (0.5, 1, 1))
    assert image.shape == (1, 18, 9, 9)
    at = np.arange(18) * 0.5 - 0.25
    np.testing.assert_allclose(image[0, 1:-1, 4, 4], at[1:-1] + 2 * 4 + 3 * 4)


def test_a_patch_at_its_own_spacing_is_itself() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.normal(size=(1, 5, 6, 7)), rng.integers(0, 3, (5, 6, 7), np.uint8)
    same = resampled(image, mask, (0.7, 0.8, 3), (0.7, 0.8, 3))
    np.testing.assert_allclose(same[0], image)
    np.testing.assert_array_equal(same[1], mask)


# -- the place --------------------------------------------------------------------------------------------------------


def places_by_brute_force(allowed: np.ndarray, lesion: np.ndarray) -> set[tuple[int, ...]]:
    """All centers at which the lesion is allowed, each tried."""
    voxels, found = np.argwhere(lesion) - np.array(lesion.shape) // 2, set()
    for center in np.ndindex(*(np.array(allowed.shape) + 2 * np.array(lesion.shape))):
        at = voxels + center - np.array(lesion.shape)
        if (at >= 0).all() and (at < allowed.shape).all() and allowed[tuple(at.T)].all():
            found.add(tuple(int(i) - side for i, side in zip(center, lesion.shape, strict=True)))
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_place_is_one_of_all_and_found_where_there_is_one(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 7)] * 3))
    size = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    allowed = rng.random(shape) < data.draw(st.sampled_from([0.3, 0.8, 0.95, 1.0]))
    lesion = rng.random(size) < data.draw(st.sampled_from([0.2, 0.6, 1.0]))
    every = places_by_brute_force(allowed, lesion) if lesion.any() else set()
    found = find_place(allowed, lesion, rng)
    assert found in every if every else found is None


@pytest.mark.parametrize("crowded", [False, True], ids=["many places", "few among many voxels"])
def test_places_are_uniform(crowded: bool) -> None:
    allowed, lesion = np.zeros((40, 40, 6), bool), ball(1.5, 3)
    if crowded:  # single voxels all over, and two rooms in which the lesion fits, one of one place and one of three
        allowed[::2, ::2, ::2] = True
        allowed[4:7, 4:7, 1:4] = allowed[20:25, 20:23, 1:4] = True
    else:
        allowed[2:8, 2:6, 1:5] = allowed[30:33, 30:33, 0:3] = True
    every = sorted(places_by_brute_force(allowed, lesion))
    assert len(every) == (4 if crowded else 17)
    rng = np.random.default_rng(1)
    found = [find_place(allowed, lesion, rng) for _ in range(60 * len(every))]
    counts = [found.count(place) for place in every]
    assert sum(counts) == len(found)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_one_place_among_a_million_voxels_is_found() -> None:
    rng = np.random.default_rng(0)
    allowed, lesion = rng.random((100, 100, 100)) < 0.5, ball(4, 9)
    allowed[30:39, 40:49, 50:59] |= lesion
    assert find_place(allowed, lesion, rng) == (34, 44, 54)


def test_a_place_may_leave_the_patchs_empty_border_outside() -> None:
    lesion = np.zeros((9, 9, 9), bool)
    lesion[0, 8, 4] = True
    assert find_place(np.ones((1, 1, 1), bool), lesion, np.random.default_rng(0)) == (4, -4, 0)


def test_windows_hold_the_lesion_and_a_voxel_around_it() -> None:
    lesion = np.zeros((9, 9, 9), bool)
    lesion[3:6, 3:6, 4] = True
    there, here = windows(lesion, (20, 20, 20), (10, 5, 0))
    assert here == (slice(2, 7), slice(2, 7), slice(4, 6))  # no voxel before the first plane
    assert there == (slice(8, 13), slice(3, 8), slice(0, 2))


@pytest.mark.parametrize("center", [(0, 5, 5), (5, 10, 5), (5, 5, -3)])
def test_a_lesion_outside_the_volume_is_refused(center: tuple[int, int, int]) -> None:
    with pytest.raises(DataError, match=r"expected a lesion inside the volume of .* found one from voxel"):
        windows(ball(2, 5), (10, 10, 10), center)


# -- the border -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 1, 4)])
@pytest.mark.parametrize("blending", BLENDINGS)
def test_constant_into_constant_stays_constant(blending: Any, spacing: tuple[float, ...]) -> None:
    lesion = ball(3, 9)
    level = 5 if blending == "alpha" else 40  # others bring another level to the image's
    values = blend(np.full((2, 9, 9, 9), 5), np.full((2, 9, 9, 9), level), lesion, spacing, blending=blending)
    np.testing.assert_allclose(values, 5, atol=1e-9)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1, 3)])
def test_poisson_of_a_constant_patch_is_the_ramp_that_was_there(spacing: tuple[float, ...]) -> None:
    lesion, background = ball(4, 17), ramp((17, 17, 17), (1, -2, 0.5))
    lesion |= np.roll(ball(2, 17), 5, axis=0)  # no convex body
    values = blend(background, np.full((1, 17, 17, 17), 99.0), lesion, spacing, blending="poisson")
    np.testing.assert_allclose(values, background[:, lesion], atol=2e-3)


def test_poisson_of_the_patch_itself_is_itself_and_offsets_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    lesion, patch = ball(4, 13), rng.normal(size=(1, 13, 13, 13))
    np.testing.assert_allclose(blend(patch + 7, patch, lesion, (1, 1, 1), blending="poisson"), patch[:, lesion] + 7)
    background = rng.normal(size=patch.shape)
    one, other = (blend(background, patch + by, lesion, (1, 1, 1), blending="poisson") for by in (0, 50))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_the_membrane_is_harmonic() -> None:
    rng = np.random.default_rng(0)
    lesion, known, spacing = ball(4, 13), rng.normal(size=(1, 13, 13, 13)), (1.0, 0.5, 2.0)
    full = known.copy()
    full[:, lesion] = membrane(known, lesion, spacing)
    laplacian = sum(
        (np.roll(full, 1, axis + 1) + np.roll(full, -1, axis + 1) - 2 * full) / width**2
        for axis, width in enumerate(spacing)
    )
    assert np.abs(laplacian[:, lesion]).max() < 1e-3 < np.abs(laplacian[:, ~lesion]).max()
    assert np.abs(full[:, lesion]).max() <= np.abs(known).max()  # the maximum principle


def test_where_nothing_is_known_around_a_lesion_the_patch_stays() -> None:
    patch, lesion = np.random.default_rng(0).normal(size=(1, 4, 4, 4)), np.ones((4, 4, 4), bool)
    for blending in ("offset", "poisson"):
        values = blend(np.full_like(patch, 9), patch, lesion, (1, 1, 1), blending=blending, feather=0)  # type: ignore[arg-type]
        np.testing.assert_allclose(values, patch[:, lesion])


def test_offset_brings_the_tissue_around_to_the_images_level_channel_by_channel() -> None:
    lesion = ball(3, 9)
    patch = np.stack([np.where(lesion, 10.0, 30.0), np.where(lesion, 1.0, 0.0)])
    background = np.stack([np.full((9, 9, 9), 100.0), np.full((9, 9, 9), -5.0)])
    values = blend(background, patch, lesion, (1, 1, 1), blending="offset", feather=0)
    np.testing.assert_allclose(values[0], 80)
    np.testing.assert_allclose(values[1], -4)


def test_feathering_is_in_mm() -> None:
    lesion = np.zeros((11, 11, 11), bool)
    lesion[1:10, 1:10, 1:10] = True
    middle = feathered(lesion, (1, 1, 1), 3)[:, 5, 5]
    np.testing.assert_allclose(middle, [0, 0.25, 0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_allclose(feathered(lesion, (2, 9, 9), 6)[:, 5, 5], middle)
    np.testing.assert_array_equal(feathered(lesion, (1, 1, 1), 0), lesion)
    assert feathered(np.ones((3, 3, 3), bool), (1, 1, 1), 1)[0, 0, 0] == 0.5  # beyond the array is outside


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        (np.uint8, [0, 2, 255]),
        (np.int16, [-32768, 2, 32767]),
        (np.float32, [-1e5, 2.4, 1e5]),
        (np.float16, [-65504, 2.4, 65504]),
    ],
)
def test_values_are_rounded_and_clipped_and_never_wrap(dtype: Any, wanted: list[float]) -> None:
    found = clipped(np.array([-1e5, 2.4, 1e5]), dtype)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


@pytest.mark.parametrize(
    "wrong", [("paste", 1.0), (None, 1.0), ("alpha", -1.0), ("alpha", float("nan")), ("alpha", True), ("alpha", "1")]
)
def test_a_border_that_cannot_be_is_refused(wrong: tuple[Any, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected (blending= of alpha, offset, poisson|feather= of at least 0 mm)"):
        checked_border(*wrong)


# -- the whole --------------------------------------------------------------------------------------------------------


def lesion_patch(rng: np.random.Generator, size: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros(size, np.uint8)
    mask[tuple(slice(side // 4, max(1, side - side // 4)) for side in size)] = 1
    mask *= rng.integers(0, 3, size, np.uint8)
    return rng.normal(50, 20, (channels, *size)), mask


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_image_and_labels_change_in_the_lesion_and_nowhere_else(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    shape = data.draw(st.tuples(*[st.integers(4, 14)] * 3))
    size = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    spacing = data.draw(st.tuples(*[st.floats(0.3, 5)] * 3))
    dtypes = data.draw(st.lists(st.sampled_from([np.uint8, np.int16, np.float32, np.float64]), min_size=1, max_size=3))
    value, blending = data.draw(st.sampled_from([None, 7])), data.draw(st.sampled_from(BLENDINGS))
    volumes = [rng.normal(100, 30, (1, *shape)).clip(0, 255).astype(dtype) for dtype in dtypes]
    labels, allowed = rng.integers(3, 6, shape, np.uint8), rng.random(shape) < 0.97
    patch, mask = lesion_patch(rng, size, len(dtypes))
    patch, mask = resampled(patch, mask, (1, 1, 1), data.draw(st.sampled_from([(1, 1, 1), (0.7, 1.2, 2)])))
    if (center := find_place(allowed, mask > 0, rng)) is None:
        return
    before, labels_before = [volume.copy() for volume in volumes], labels.copy()
    insert(volumes, labels, patch, mask, center, spacing=spacing, label_value=value, blending=blending)
    drawn = labels != labels_before  # none of the old values is new
    assert drawn.sum() == (mask > 0).sum()
    assert allowed[drawn].all()
    wanted = mask[mask > 0] if value is None else value
    np.testing.assert_array_equal(labels[drawn], wanted)
    for volume, old in zip(volumes, before, strict=True):
        assert volume.dtype == old.dtype
        np.testing.assert_array_equal(volume[0][~drawn], old[0][~drawn])
    if blending == "alpha":  # of floats no voxel of the lesion stays
        assert all((v[0][drawn] != o[0][drawn]).all() for v, o in zip(volumes, before, strict=True) if o.dtype == float)


def test_a_hard_border_leaves_the_patchs_own_values() -> None:
    rng = np.random.default_rng(0)
    volume, labels = np.zeros((1, 9, 9, 9), np.float32), np.zeros((9, 9, 9), np.uint8)
    patch, mask = rng.normal(size=(1, 5, 5, 5)).astype(np.float32), ball(2, 5).astype(np.uint8)
    insert([volume], labels, patch, mask, (4, 4, 4), spacing=(1, 1, 1), blending="alpha", feather=0)
    np.testing.assert_array_equal(volume[0, 2:7, 2:7, 2:7], patch[0] * mask)
    np.testing.assert_array_equal(labels[2:7, 2:7, 2:7], mask)


def test_a_patch_without_lesion_changes_nothing() -> None:
    volume, labels = np.ones((1, 5, 5, 5)), np.zeros((5, 5, 5), np.uint8)
    insert([volume], labels, np.zeros((1, 3, 3, 3)), np.zeros((3, 3, 3), np.uint8), (2, 2, 2), spacing=(1, 1, 1))
    assert (volume == 1).all()
    assert not labels.any()


def test_a_label_map_that_cannot_hold_the_value_is_refused_and_nothing_changes() -> None:
    volume, labels = np.ones((1, 5, 5, 5)), np.zeros((5, 5, 5), np.uint8)
    with pytest.raises(DataError, match="expected a label map that can hold 300, found one of uint8"):
        insert(
            [volume],
            labels,
            np.zeros((1, 3, 3, 3)),
            np.ones((3, 3, 3), np.uint8),
            (2, 2, 2),
            spacing=(1, 1, 1),
            label_value=300,
        )
    assert (volume == 1).all()
    assert not labels.any()


def test_no_seam_is_left_by_a_patch_of_another_level() -> None:
    """At the border the step of the image is that of the patch, not that between the two levels."""
    rng = np.random.default_rng(0)
    tissue = ndimage.gaussian_filter(rng.normal(size=(31, 31, 31)), 1)
    volume = (10 + 3 * tissue)[None]
    inside = ball(6, 21)
    patch = 60 + ndimage.gaussian_filter(rng.normal(size=(21, 21, 21)), 1) - 3 * ball(4, 21)
    steps = {}
    for blending in BLENDINGS:
        image, labels = volume.copy(), np.zeros((31, 31, 31), np.uint8)
        insert([image], labels, patch[None], inside, (15, 15, 15), spacing=(1, 1, 1), blending=blending, feather=0)
        lesion = labels > 0
        own, next_to = image[0, :-1], image[0, 1:]
        steps[blending] = np.abs(own - next_to)[lesion[:-1] != lesion[1:]].mean()
    usual = np.abs(np.diff(volume[0], axis=0)).mean()
    assert steps["alpha"] > 40
    assert steps["offset"] < 4 * usual
    assert steps["poisson"] < 2 * usual
