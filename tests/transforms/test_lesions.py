"""Lesion patches of a pool: which source is one, which patch a seed stands for, and with which weights classes come."""

from typing import Any

import numpy as np
import pytest

from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.transforms.lesions import checked_patches, patch_at, patch_weights
from gan_augment.transforms.source import ByLabel
from tests.transforms.sources import live, marked_pool


def patches(labels: Any = ("ms", "ms", "stroke"), **settings: Any) -> ByLabel:
    """Patches whose value is their row, with a mask of one plane."""
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1, 1) * np.ones((1, 1, 4, 4, 4), np.float32)
    masks = np.zeros((len(labels), 4, 4, 4), np.uint8)
    masks[:, 1] = 1
    return ByLabel(SyntheticPool.from_arrays(images, list(labels), masks=masks, **settings))


@pytest.mark.parametrize(
    "source", [live(), marked_pool(shape=(1, 4, 4, 4)), marked_pool(masks=np.ones((6, 8, 8), int))]
)
def test_what_is_no_pool_of_volumes_with_masks_is_refused(source: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a pool (with masks|of volumes)"):
        checked_patches(ByLabel(source))


def test_a_seed_stands_for_a_patch_and_its_mask() -> None:
    source = checked_patches(patches())
    found = {float(patch_at(source, "ms", seed, (1, 1, 1))[0].max()) for seed in range(6)}
    assert found == {0, 1}
    image, mask = patch_at(source, "stroke", 5, (1, 1, 1))
    assert (image == 2).all()
    assert mask.shape == (4, 4, 4)
    assert mask.sum() == 16
    assert not image.flags.writeable


def test_a_patch_is_resampled_where_the_spacing_is_known_and_another() -> None:
    known, unknown = patches(spacing=(1, 1, 1)), patches()
    assert patch_at(known, "ms", 0, (1, 1, 2))[1].shape == (4, 4, 2)
    assert patch_at(known, "ms", 0, (1.0002, 1, 1))[1].shape == (4, 4, 4)  # as headers round
    assert patch_at(unknown, "ms", 0, (1, 1, 2))[1].shape == (4, 4, 4)


def test_weights_are_of_classes() -> None:
    assert patch_weights(patches(), None) == (["ms", "stroke"], [1, 1])
    assert patch_weights(patches((7, 7, 9)), None) == ([7, 9], [1, 1])
    assert patch_weights(patches(), "stroke") == (["stroke"], [1])
    assert patch_weights(patches(), {"ms": 3, "stroke": 0}) == (["ms", "stroke"], [3, 0])


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("tumour", r"classes that the pool has patches of, \['ms', 'stroke'\], found 'tumour'"),
        ({}, "classes that the pool has patches of"),
        ({"ms": -1}, "weights of at least 0"),
        ({"ms": 0}, "not all 0"),
        ({"ms": float("inf")}, "weights of at least 0"),
    ],
)
def test_weights_that_cannot_work_are_refused(label: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        patch_weights(patches(), label)
