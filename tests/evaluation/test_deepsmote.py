"""DeepSMOTE's pool: classes filled to the largest, in the raw form of the training set, the same each time."""

import numpy as np
import pytest

import gan_augment as ga
from gan_augment.evaluation import deep_smote
from tests.conftest import untouched_rng
from tests.evaluation import problems
from tests.helpers import Pictures


@pytest.mark.parametrize("kind", ["pil", "array", "tensor", "dict"])
def test_fills_classes_to_the_largest_in_the_raw_form(kind: str) -> None:
    base = Pictures((12, 5, 3), kind)
    pool = deep_smote(base, steps=3)
    assert pool.counts == {1: 7, 2: 9}
    real = problems.view(base)
    assert not pool.form.differences(real.form, ("dtype", "channels", "shape"))
    low, high = real.value_range
    images = np.stack([pool.array(row) for row in pool.rows])
    assert images.min() >= low[0]
    assert images.max() <= high[0]
    mixed = ga.GANAugmentedDataset(base, pool, synthetic_share=1.0, min_images=0, progress=False)
    assert {mixed.origin(index).kind for index in range(20, 36)} == {"synthetic"}


def test_is_deterministic_and_leaves_the_global_state() -> None:
    base = problems.problem(0)
    with untouched_rng():
        first = deep_smote(base, steps=5, seed=3)
    again, other = deep_smote(base, steps=5, seed=3), deep_smote(base, steps=5, seed=4)
    images = [np.stack([pool.array(row) for row in pool.rows]) for pool in (first, again, other)]
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize("counts", [(9, 4, 1), (9, 2, 1)])
def test_a_class_of_one_image_repeats_it(counts: tuple[int, ...]) -> None:
    assert deep_smote(Pictures(counts), steps=2).counts[2] >= 7


@pytest.mark.slow
def test_images_look_like_their_class() -> None:
    base = problems.problem(0)
    pool = deep_smote(base, steps=150)
    images, labels = np.stack([pool.array(row) for row in pool.rows])[:, 0], pool.labels
    bands = np.stack([images[:, 2 * label : 2 * label + 2].mean(axis=(1, 2)) for label in range(3)], axis=1)
    assert (bands.argmax(axis=1) == labels).mean() > 0.9
