"""Each operation does what it says and nothing else: seen on images of their own pixel coordinates."""

import math

import pytest
import torch

from gan_augment import Augmentation
from gan_augment.errors import ConfigError

N = 64
OPERATIONS = {
    "translate": 0.2,
    "rotate": 0.5,
    "scale": 0.3,
    "flip": True,
    "brightness": 0.4,
    "contrast": 0.5,
    "cutout": 0.4,
}
SPATIAL = {"translate", "rotate", "scale", "flip"}


def only(name, strength=None):
    off = {"translate": 0.0, "rotate": 0.0, "scale": 0.0}
    return Augmentation(**{**off, name: OPERATIONS[name] if strength is None else strength})


def coordinates(*spatial):
    """`(N, len(spatial), *spatial)`: the channels hold each pixel's coordinates, from the centre, in pixels.

    A linear function is interpolated exactly, so that after an augmentation a pixel tells where it came from.
    """
    axes = [torch.arange(side, dtype=torch.float32) - (side - 1) / 2 for side in spatial]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].repeat(N, *[1] * (len(spatial) + 1))


def near_centre(images, radius):
    """The pixels within `radius` of the centre, `(N, dims, pixels)`: not touched by the border."""
    return images[:, :, coordinates(*images.shape[2:])[0].norm(dim=0) <= radius]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(3, 2, 12, 10), (2, 1, 8, 9, 10)])
def test_off_is_the_identity(shape):
    images = torch.rand(shape)
    assert Augmentation.none()(images) is images


def test_defaults_flip_and_colour_nothing():
    assert Augmentation().flip is False
    assert (Augmentation().brightness, Augmentation().contrast, Augmentation().cutout) == (0, 0, 0)
    moved = near_centre(Augmentation(translate=0.0)(coordinates(24, 30)), 5)
    assert (moved[:, 1, -1] > moved[:, 1, 0]).all(), "right stays right"


@pytest.mark.parametrize("spatial", [(16, 24), (10, 12, 14)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_keeps_shape_and_varies_by_image(name, spatial):
    images = torch.rand(1, 2, *spatial).repeat(N, *[1] * (len(spatial) + 1)) - 0.5
    before = images.clone()
    changed = only(name)(images)
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert torch.equal(images, before), "not in place"
    distinct = len({tuple(image.flatten().tolist()) for image in changed})
    assert distinct == 2 if name == "flip" else distinct > N * 0.9
    assert changed.isfinite().all()


@pytest.mark.parametrize("spatial", [(48, 32), (32, 48), (16, 24, 20)])
def test_translation_moves_all_dimensions_by_at_most_its_share(spatial):
    images = coordinates(*spatial)
    shift = near_centre(only("translate", 0.1)(images), 3) - near_centre(images, 3)
    assert shift.std(dim=2).max() < 1e-4, "one shift for the whole image"
    largest = shift[:, :, 0].abs().amax(dim=0) / torch.tensor(spatial)
    assert (largest <= 0.1 + 1e-5).all()
    assert (largest > 0.08).all()
    assert (shift[:, :, 0].mean(dim=0).abs() / torch.tensor(spatial) < 0.03).all()


@pytest.mark.parametrize("spatial", [(40, 40), (40, 64), (64, 40), (20, 40, 64)])
def test_rotation_turns_the_last_two_dimensions_and_keeps_distances(spatial):
    images = coordinates(*spatial)
    before, after = near_centre(images, 9), near_centre(only("rotate", 0.3)(images), 9)
    assert torch.allclose(after[:, -2:].norm(dim=1), before[:, -2:].norm(dim=1), atol=1e-3)
    assert torch.allclose(after[:, :-2], before[:, :-2], atol=1e-3)
    rightmost = before[0, -1].argmax()
    turned = torch.atan2(after[:, -2, rightmost], after[:, -1, rightmost])
    turned = turned - torch.atan2(before[:, -2, rightmost], before[:, -1, rightmost])
    assert turned.abs().max() <= 0.3 + 1e-4
    assert turned.min() < -0.2
    assert turned.max() > 0.2


@pytest.mark.parametrize("spatial", [(40, 64), (20, 24, 40)])
def test_scaling_is_one_factor_for_all_dimensions(spatial):
    images = coordinates(*spatial)
    before, after = near_centre(images, 6), near_centre(only("scale", 0.2)(images), 6)
    factor = (after * before).sum(dim=(1, 2)) / (before * before).sum(dim=(1, 2))
    assert torch.allclose(after, factor[:, None, None] * before, atol=1e-3)
    assert factor.min() >= 1 / 1.2 - 1e-4
    assert factor.max() <= 1 / 0.8 + 1e-4
    assert factor.min() < 0.87
    assert factor.max() > 1.15


@pytest.mark.parametrize("spatial", [(9, 12), (5, 9, 12)])
def test_flip_mirrors_the_last_dimension_of_about_half(spatial):
    images = coordinates(*spatial)
    changed = only("flip")(images)
    same = torch.isclose(changed, images, atol=1e-4).flatten(1).all(dim=1)
    mirrored = torch.isclose(changed, images.flip(-1), atol=1e-4).flatten(1).all(dim=1)
    assert (same ^ mirrored).all()
    assert 0.3 < mirrored.float().mean() < 0.7


def test_brightness_shifts_all_values_alike():
    images = torch.rand(N, 3, 8, 8)
    shift = (only("brightness", 0.4)(images) - images).flatten(1)
    assert shift.std(dim=1).max() < 1e-6
    assert 0.3 < shift.max() <= 0.4 + 1e-6
    assert -0.4 - 1e-6 <= shift.min() < -0.3


def test_contrast_keeps_the_mean_and_scales_the_distance_to_it():
    images = torch.rand(N, 3, 8, 8)
    changed = only("contrast", 0.5)(images)
    assert torch.allclose(changed.flatten(1).mean(1), images.flatten(1).mean(1), atol=1e-5)
    factor = changed.flatten(1).std(dim=1) / images.flatten(1).std(dim=1)
    assert 0.5 - 1e-4 <= factor.min() < 0.6
    assert 1.4 < factor.max() <= 1.5 + 1e-4


@pytest.mark.parametrize("spatial", [(20, 30), (10, 12, 14)])
def test_cutout_sets_one_box_to_the_mean(spatial):
    images = torch.rand(N, 2, *spatial)
    changed = only("cutout", 0.4)(images)
    hit = (changed != images).any(dim=1)
    assert hit.flatten(1).any(dim=1).all()
    mean = images.flatten(2).mean(dim=2).reshape(N, 2, *[1] * len(spatial)).expand_as(images)
    assert torch.equal(changed.eq(images), ~hit[:, None].expand_as(images)), "the same box in each channel"
    assert torch.allclose(changed[hit[:, None].expand_as(images)], mean[hit[:, None].expand_as(images)])
    for box in hit:
        corners = [torch.nonzero(box)[:, dim] for dim in range(len(spatial))]
        sides = [int(c.max() - c.min()) + 1 for c in corners]
        assert math.prod(sides) == int(box.sum()), "a box"
        assert all(side <= 0.4 * full + 1 for side, full in zip(sides, spatial, strict=True))


@pytest.mark.parametrize("spatial", [(16, 12), (8, 10, 12)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_flow(name, spatial):
    images = torch.rand(8, 1, *spatial, requires_grad=True)
    (only(name)(images) ** 2).sum().backward()
    assert images.grad.isfinite().all()
    assert (images.grad.flatten(1).abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_image_is_changed_without_regard_to_the_others(name):
    images = torch.rand(6, 1, 12, 12)
    others = images.clone()
    others[3:] = torch.rand(3, 1, 12, 12)
    torch.manual_seed(1)
    first = only(name)(images)
    torch.manual_seed(1)
    second = only(name)(others)
    assert torch.equal(first[:3], second[:3])
    torch.manual_seed(2)
    assert not torch.equal(only(name)(images)[:3], first[:3])


def test_values_beyond_the_border_repeat_it():
    images = torch.full((N, 1, 16, 16), 0.7)
    assert torch.allclose(Augmentation(translate=0.5, rotate=1.0, scale=0.5)(images), images)


def test_double_precision_is_kept():
    everything = Augmentation(**OPERATIONS)
    assert everything(torch.rand(2, 1, 8, 8, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("translate", -0.1),
        ("translate", 1.1),
        ("rotate", 4.0),
        ("scale", 1.0),
        ("brightness", 2.1),
        ("contrast", 1.5),
        ("cutout", -1.0),
        ("scale", float("nan")),
    ],
)
def test_strengths_that_cannot_be_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"expected {name} from 0 to .*found {value}"):
        Augmentation(**{name: value})
