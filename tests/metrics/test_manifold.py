"""Precision, recall, density, coverage and realism: known answers and parity with prdc."""

import numpy as np
import numpy.typing as npt
import pytest
from prdc import compute_prdc

from gan_augment.errors import ConfigError
from gan_augment.metrics.manifold import manifold_scores, radii, realism


def cloud(count: int, scale: float = 1.0, seed: int = 0, dim: int = 4) -> npt.NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(0, scale, (count, dim)) + 3).astype(np.float32)


def test_radii_are_distances_to_the_kth_other() -> None:
    line = np.array([[0.0], [1.0], [3.0], [10.0]], np.float32)
    assert radii(line, 1).tolist() == [1.0, 1.0, 2.0, 7.0]
    assert radii(line, 2).tolist() == [3.0, 2.0, 3.0, 9.0]


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_parity_with_prdc(k: int, scale: float, capsys: pytest.CaptureFixture[str]) -> None:
    real, fake = cloud(60), cloud(45, scale, seed=1)
    expected = compute_prdc(real, fake, nearest_k=k)
    found = manifold_scores(real, fake, k)
    assert found._asdict() == pytest.approx(expected, abs=1e-6)


def test_tight_fakes_in_wide_reals() -> None:
    found = manifold_scores(cloud(300), cloud(300, 0.05, seed=1))
    assert found.precision > 0.95
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_one_distribution() -> None:
    found = manifold_scores(cloud(400), cloud(400, seed=1))
    assert min(found.precision, found.recall, found.coverage) > 0.85
    assert found.density == pytest.approx(1, abs=0.15)


def test_far_fakes() -> None:
    assert manifold_scores(cloud(50), cloud(50, seed=1) + 100) == (0, 0, 0, 0)


def test_realism_is_the_greatest_ratio() -> None:
    line = np.array([[0.0], [1.0], [2.0], [10.0]], np.float32)  # radii 1, 1, 1, 8: the last does not count
    assert realism(line, np.array([[3.0], [4.0], [10.0]], np.float32), k=1).tolist() == pytest.approx([1, 0.5, 0.125])


def test_too_few() -> None:
    with pytest.raises(ConfigError, match="more than k=5 images for neighbourhoods, found 5"):
        manifold_scores(cloud(5), cloud(50))
