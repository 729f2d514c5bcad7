"""Networks that make images of real ones: given conditions, parents of a bound dataset, in pools and in live sets."""

from typing import Any

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.synthesizers import adapt
from gan_augment.types import NeedsParents, Synthesizer
from tests.helpers import Pictures
from tests.synthesizers.released import translator

CLASSES = ["0", "1", "2"]


def test_images_are_made_of_those_that_are_given() -> None:
    gan = translator()
    assert isinstance(gan, Synthesizer)
    assert isinstance(gan, NeedsParents)
    source = torch.rand(5, 3, 32, 32) * 2 - 1
    images = gan.sample([0] * 5, range(5), conditions={"source": source}).images
    torch.testing.assert_close(images, gan.network(source).clamp(-1, 1))
    grey = gan.sample([0], [0], conditions={"source": source[:1, :1]}).images
    torch.testing.assert_close(grey, gan.network(source[:1, :1].expand(-1, 3, -1, -1)).clamp(-1, 1))
    assert gan.sample([0], [0], conditions={"source": torch.zeros(1, 3, 30, 33)}).images.shape == (1, 3, 32, 36)
    with pytest.raises(SynthesizerError, match=r"source \(2, any, any, any\); found .*mask"):
        gan.sample([0, 0], [0, 1], conditions={"mask": source})
    with pytest.raises(SynthesizerError, match="bind"):
        gan.sample([0], [0])


def test_parents_are_of_the_class_that_is_told() -> None:
    train = Pictures((9, 6, 5), channels=3, size=20)
    gan = translator(class_names=["2"], parents={"2": "0"}).bind(train)
    drawn = gan.sample([0] * 30, range(30))
    assert drawn.parents is not None
    assert set(ga.RawView.of(train).targets[drawn.parents]) == {0}
    assert len(np.unique(drawn.parents)) > 5
    same = translator(class_names=CLASSES).bind(train).sample([2, 1], [3, 4])
    assert same.parents is not None
    assert ga.RawView.of(train).targets[same.parents].tolist() == [2, 1]
    again = gan.sample([0], [17])
    assert again.parents is not None
    assert again.parents[0] == drawn.parents[17]
    torch.testing.assert_close(again.images[0], drawn.images[17], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("parents", [None, {"2": "0"}])
def test_pools_and_live_sets(parents: Any) -> None:
    train = Pictures((9, 6, 5), channels=1, size=18)
    names = CLASSES if parents is None else ["2"]
    gan = translator(class_names=names, parents=parents)
    pool = ga.SyntheticPool.build(gan, train, selector=None, counts={"2": 4}, reserve=1)
    assert pool.array(0).shape == (1, 18, 18)
    targets = ga.RawView.of(train).targets[pool.candidates().parents]
    assert set(targets.tolist()) == ({2} if parents is None else {0})
    live = ga.GANAugmentedDataset(train, gan, sampling_strategy={"2": 9}, synthetic_share=1.0, live=True)
    image, label = live[len(live) - 1]
    assert label == 2
    assert np.asarray(image).shape == np.asarray(train[0][0]).shape
    tuned = adapt(gan, like=train)
    assert tuned.needs_parents
    assert tuned.bind(train).sample([0], [1]).images.shape == (1, 1, 18, 18)
    assert pool.verify(gan, train)


def test_sizes() -> None:
    fixed = translator(image_size=32, class_names=["2"]).bind(Pictures((4, 4, 4), channels=3, size=20))
    assert fixed.sample([0], [0]).images.shape == (1, 3, 32, 32)
    with pytest.raises(ConfigError, match="multiples of 4 from 16 to 2048"):
        translator(image_size=30)
    with pytest.raises(ConfigError, match="different class_names="):
        translator(class_names=["a", "a"])
    with pytest.raises(ConfigError, match="parents= of lesion, found x"):
        translator(parents={"x": "healthy"})
    with pytest.raises(ConfigError, match="no class_map= for a synthesizer that makes images of real ones"):
        adapt(translator(), class_map={"a": 0})
