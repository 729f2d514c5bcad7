"""adapt: classes by name, number and several; images of the dataset's size, channels and range."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gan_augment as ga
from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.images import as_channels
from gan_augment.synthesizers import adapt, wrap
from gan_augment.types import Synthesizer
from tests.helpers import Pictures, toy_synthesizer
from tests.synthesizers.released import dcgan, style


def by_class(labels: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    return (labels * 0.1)[:, None, None, None].expand(-1, 1, 8, 8)


def numbered(**settings: Any) -> Any:
    return wrap(by_class, num_classes=8, image_shape=(1, 8, 8), **settings)


def test_classes_are_mapped() -> None:
    gan = adapt(numbered(), class_map={"melanoma": 3, "nevus": 1})
    assert isinstance(gan, Synthesizer)
    assert (gan.num_classes, gan.class_names) == (2, ["melanoma", "nevus"])
    images = gan.sample([1, 0, 1], [5, 6, 7]).images
    assert images[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.3, 0.1])
    named = adapt(numbered(class_names=list("abcdefgh")), class_map={"melanoma": "d", "nevus": 1})
    assert torch.equal(named.sample([0], [1]).images, gan.sample([0], [1]).images)


def test_several_classes_are_drawn_alike_often_by_the_seed() -> None:
    gan = adapt(numbered(), class_map={"dog": [2, 4, 6], "cat": 0})
    images = gan.sample([0] * 300, range(300)).images[:, 0, 0, 0]
    found, counts = np.unique(images.numpy().round(4), return_counts=True)
    assert found.tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert counts.min() > 70
    assert torch.equal(gan.sample([0], [41]).images[0, 0, 0, 0], images[41])


@pytest.mark.parametrize(
    ("class_map", "told"),
    [
        ({}, "expected class_map= such as"),
        ({"a": 8}, "0 to 7, found 8"),
        ({"a": -1}, "0 to 7, found -1"),
        ({"a": "x"}, "found 'x'"),
        ({"a": 1.0}, "found 1.0"),
        ({"a": True}, "found True"),
        ({"a": []}, "at least one class"),
        ({"a": 1, "b": [2, 1]}, "once in class_map=, found 1 more than once"),
    ],
)
def test_maps_that_cannot_be(class_map: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        adapt(numbered(), class_map=class_map)


def test_names_that_the_dataset_does_not_have() -> None:
    with pytest.raises(ConfigError, match="from the dataset's classes 0, 1, 2, found melanoma"):
        adapt(numbered(), class_map={"melanoma": 3}, like=Pictures((5, 4, 3)))


def test_colour_becomes_grey_as_pil_does_it() -> None:
    colours = torch.rand(4, 3, 5, 5) * 2 - 1
    grey = as_channels(colours, 1)
    for image, found in zip(colours, grey, strict=True):
        pixels = ((image + 1) / 2 * 255).round().byte().movedim(0, -1).numpy()
        expected = np.asarray(Image.fromarray(pixels).convert("L"), np.float64) / 255 * 2 - 1
        assert np.abs(found[0].numpy() - expected).max() < 2 / 255
    assert torch.equal(as_channels(grey, 3), grey.expand(-1, 3, 5, 5))
    with pytest.raises(SynthesizerError, match="samples of 3 channels as in the dataset, found 4"):
        as_channels(torch.zeros(1, 4, 5, 5), 3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [10, 16, 20])
def test_images_are_of_the_datasets_size_and_channels(channels: int, size: int) -> None:
    like = Pictures((5, 4, 3), channels=channels, size=size)
    for synthesizer in (style(), dcgan()):
        gan = adapt(synthesizer, like=like)
        assert gan.image_spec is not None
        images = gan.sample([0, 1, 2], [1, 2, 3]).images
        assert images.shape == (3, channels, size, size)
        plain = synthesizer.sample([0, 1, 2], [1, 2, 3]).images
        assert images.mean((1, 2, 3)).numpy() == pytest.approx(as_channels(plain, channels).mean((1, 2, 3)), abs=0.05)
        pool = ga.SyntheticPool.build(gan, like, selector=None, counts={"2": 4}, reserve=1)
        assert pool.array(0).shape == (channels, size, size)


def test_shrinking_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2 * 2.0 - 1)[None, None, None].expand(1, 1, 64, 64)
    gan = wrap(lambda y, s: stripes.expand(len(y), -1, -1, -1), num_classes=1, image_shape=(1, 64, 64))
    images = adapt(gan, like=Pictures((5, 4, 3), size=16)).sample([0], [0]).images
    assert images.abs().max() < 0.2


def test_what_is_known_is_kept() -> None:
    gan = adapt(style(), class_map={"a": 1})
    assert (gan.licence, gan.citation) == ("cc-by-4.0", "Doe 2020")
    assert gan.fingerprint["weights"] == style().fingerprint["weights"]
    assert gan.fingerprint != adapt(style(), class_map={"a": 2}).fingerprint
    assert str(gan.device) == "cpu"
    with pytest.raises(AttributeError):
        gan.nothing  # noqa: B018
    assert not gan.needs_parents


def test_knobs_by_the_datasets_names() -> None:
    gan = adapt(style(class_names=["x", "y", "z"]), class_map={"rare": "z", "common": "x"})
    tuned = gan.tuned(truncation={"rare": 0.0})
    images = tuned.sample([0, 0, 1], [1, 2, 3]).images
    torch.testing.assert_close(images[0], images[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(images[2], gan.sample([1], [3]).images[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="by name, 'rare', 'common', found 'z'"):
        gan.tuned(truncation={"z": 0.5})
    with pytest.raises(ConfigError, match="a synthesizer with knobs"):
        adapt(toy_synthesizer()).tuned(truncation=0.5)
    twice = adapt(gan, like=Pictures((5, 4), size=12, classes=["rare", "common"])).tuned(truncation={"rare": 0.0})
    again = twice.sample([0, 0], [1, 2]).images
    assert again.shape == (2, 1, 12, 12)
    torch.testing.assert_close(again[0], again[1], atol=1e-4, rtol=1e-4)


def test_what_cannot_be_adapted() -> None:
    with pytest.raises(ConfigError, match="such as"):
        adapt(numbered(), class_map=["a", "b"])  # type: ignore[arg-type]
    trained = ga.fit(Pictures((9, 6, 5)), "dagan", steps=1, min_images=2, progress=False)
    with pytest.raises(ConfigError, match="which makes images of real ones"):
        adapt(trained, like=Pictures((9, 6, 5), size=24))


def test_classes_without_names_are_not_guessed() -> None:
    train = Pictures((6, 5))
    with pytest.raises(SynthesizerError, match=r"the dataset's 2 classes, .* found 8 without names: .*class_map"):
        ga.SyntheticPool.build(numbered(), train, selector=None, counts={"1": 2})
    with pytest.raises(SynthesizerError, match=r"found 1 without names: .*ga.per_class"):
        ga.SyntheticPool.build(style(0), train, selector=None, counts={"1": 2})
    ga.SyntheticPool.build(adapt(numbered(), class_map={"1": 5}), train, selector=None, counts={"1": 2})
    with pytest.warns(ga.DataMismatchWarning, match="matched by position: 0 is cat, 1 is dog, 2 is eel"):
        ga.SyntheticPool.build(style(3), Pictures((6, 5, 4), classes=["cat", "dog", "eel"]), selector=None)
