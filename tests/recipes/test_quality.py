"""What is learned of real images: samples are of their class, and vary, far from an untrained network's."""

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.demo import long_tail
from gan_augment.recipes import RECIPES


@pytest.fixture(scope="module")
def oracle() -> ga.TrainedExtractor:
    """A judge of balanced digits that the GANs have not seen."""
    return ga.TrainedExtractor.fit(long_tail(0)[1], steps=400, progress=False)


def agreement_and_spread(recipe: str, steps: int, oracle: ga.TrainedExtractor) -> tuple[float, float]:
    train, test = (ga.RawView(part, progress=False) for part in long_tail(0))
    settings = RECIPES[recipe](steps=steps, learning_rate=5e-4)
    gan = ga.fit(train, settings, min_images=0, progress=False, watch_every=0)
    agree, spread = [], []
    for label in range(10):
        images = gan.sample([label] * 60, np.arange(60)).images
        probs = oracle.extract(images).probs
        assert probs is not None
        real = test.images(test.of_class(label), spec=test.spec())
        agree.append((probs.argmax(1) == label).mean())
        spread.append(float(images.std(0).mean() / real.std(0).mean()))
    assert torch.isfinite(images).all()
    return float(np.mean(agree)), float(np.mean(spread))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "agreement", "spread"),
    [
        ("dagan", 0.8, 0.7),
        ("sngan", 0.5, 0.25),
        ("acgan", 0.6, 0.25),
        ("bagan_gp", 0.8, 0.35),
        ("icgan", 0.7, 0.6),
        ("r3gan", 0.8, 0.35),
        ("stylegan2_ada", 0.8, 0.4),
    ],
)
def test_samples_are_of_their_class_and_vary(
    recipe: str, agreement: float, spread: float, oracle: ga.TrainedExtractor
) -> None:
    trained = agreement_and_spread(recipe, 500, oracle)
    assert trained[0] > agreement
    assert trained[1] > spread
    assert agreement_and_spread(recipe, 1, oracle)[0] < 0.3
