"""Vendi and MS-SSIM: known answers, parity with vendi_score and torchmetrics, sizes from 5 pixels up."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from vendi_score import vendi as reference

from gan_augment.errors import ConfigError
from gan_augment.metrics.diversity import ms_ssim, ms_ssim_scales, spread, vendi


def noise(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_vendi_counts_what_is_different() -> None:
    points = np.repeat(np.eye(4, dtype=np.float32) * 100, 5, axis=0)
    assert vendi(points, 1.0) == pytest.approx(4)
    assert vendi(points[:5], 1.0) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # vendi_score's own imports
def test_vendi_parity() -> None:
    features = noise(30, 5).numpy()
    bandwidth = spread(features)
    squared = ((features[:, None] - features[None]) ** 2).sum(2)
    assert vendi(features, bandwidth) == pytest.approx(reference.score_K(np.exp(-squared / 2 / bandwidth**2)), rel=1e-5)


def test_spread_is_a_median_of_pairs() -> None:
    assert spread(np.array([[0.0], [1.0], [3.0]], np.float32)) == pytest.approx(2)


def test_vendi_without_a_bandwidth() -> None:
    with pytest.raises(ConfigError, match="positive bandwidth"):
        vendi(np.zeros((3, 2), np.float32), 0.0)


@pytest.mark.parametrize(("side", "expected"), [(5, (1, 5)), (8, (1, 7)), (28, (3, 7)), (176, (5, 11))])
def test_scales_fit(side: int, expected: tuple[int, int]) -> None:
    assert ms_ssim_scales(side) == expected


@pytest.mark.parametrize("shape", [(1, 5, 5), (1, 8, 8), (3, 28, 20), (1, 8, 8, 8), (1, 16, 12, 16), (1, 64, 64)])
def test_ms_ssim_of_every_size(shape: tuple[int, ...]) -> None:
    same = noise(1, *shape).expand(4, *shape)
    assert ms_ssim(same, pairs=6) == pytest.approx(1, abs=1e-4)
    assert ms_ssim(noise(6, *shape), pairs=6) < 0.6


def test_ms_ssim_parity_at_the_published_settings() -> None:
    images = noise(2, 1, 192, 192)
    images[1] = (images[0] + 0.3 * images[1]).clamp(-1, 1)
    expected = multiscale_structural_similarity_index_measure(images[:1], images[1:], data_range=2.0)
    assert ms_ssim(images, pairs=1) == pytest.approx(float(expected), abs=1e-4)


def test_ms_ssim_is_seeded() -> None:
    images = noise(20, 1, 8, 8)
    assert ms_ssim(images, seed=1) == ms_ssim(images, seed=1) != ms_ssim(images, seed=2)


def test_too_few_or_too_small() -> None:
    with pytest.raises(ConfigError, match="at least two images"):
        ms_ssim(noise(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="at least 5 pixels"):
        ms_ssim(noise(3, 1, 4, 4))
