"""FID and KID by torchmetrics' arithmetic: known answers, small sets, no trace in the global random state."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import linalg
from sklearn.metrics.pairwise import polynomial_kernel

from gan_augment.errors import ConfigError
from gan_augment.metrics.distribution import frechet_distance, kernel_distance
from tests.conftest import untouched_rng


def cloud(count: int, seed: int, shift: float = 0.0, dim: int = 6) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(shift, 1, (count, dim))).astype(np.float32)


def test_frechet_distance_is_the_formula() -> None:
    real, fake = cloud(80, 0).astype(np.float64), 1.5 * cloud(50, 1, 0.3).astype(np.float64)
    one, other = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = linalg.sqrtm(one @ other).real
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root)
    assert frechet_distance(real.astype(np.float32), fake.astype(np.float32)) == pytest.approx(expected, abs=1e-4)


def test_frechet_distance_of_a_shifted_copy_is_the_shift() -> None:
    real = cloud(60, 0)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(real, real + 2) == pytest.approx(6 * 4, abs=1e-3)


def test_kernel_distance_is_the_unbiased_estimate() -> None:
    real, fake = cloud(30, 0), cloud(30, 1, 0.5)
    own, others, cross = (polynomial_kernel(a, b, degree=3) for a, b in ((real, real), (fake, fake), (real, fake)))
    without = [(k.sum() - np.trace(k)) / (30 * 29) for k in (own, others)]
    assert kernel_distance(real, fake) == pytest.approx(sum(without) - 2 * cross.mean(), rel=1e-4)


def test_kernel_distance_is_zero_on_average_and_grows() -> None:
    same = [kernel_distance(cloud(40, 2 * s), cloud(40, 2 * s + 1)) for s in range(40)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(40)
    assert kernel_distance(cloud(40, 0), cloud(40, 1, 1.0)) > 5 * np.std(same)


@pytest.mark.parametrize(("real", "fake"), [(2, 2), (2, 50), (7, 3)])
def test_small_sets_have_a_fitting_subset_size(real: int, fake: int) -> None:
    assert np.isfinite(kernel_distance(cloud(real, 0), cloud(fake, 1)))
    assert np.isfinite(frechet_distance(cloud(real, 0), cloud(fake, 1)))


def test_seeded_and_without_a_trace() -> None:
    with untouched_rng():
        first = kernel_distance(cloud(30, 0), cloud(20, 1), seed=4)
    assert first == kernel_distance(cloud(30, 0), cloud(20, 1), seed=4)
    assert first != kernel_distance(cloud(30, 0), cloud(20, 1), seed=5)


def test_what_cannot_be_had() -> None:
    for measure in (frechet_distance, kernel_distance):
        with pytest.raises(ConfigError, match="at least two images of each set, found 1 real and 9 synthetic"):
            measure(cloud(1, 0), cloud(9, 1))
    with pytest.raises(ConfigError, match="subset_size from 2 to 9"):
        kernel_distance(cloud(20, 0), cloud(9, 1), subset_size=10)
