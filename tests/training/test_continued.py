"""fit(init=) of pretrained synthesizers: released weights are trained on, with their discriminator or a new one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gan_augment as ga
from gan_augment.errors import ConfigError
from gan_augment.recipes import Continued
from gan_augment.synthesizers import load
from tests.helpers import Pictures
from tests.synthesizers.released import dcgan, discriminator, style, translator

TRAIN = Pictures((12, 6, 5), size=16)
NAMED = Pictures((12, 6, 5), size=16, classes=["a", "b", "c"])
COLOUR = Pictures((12, 6, 5), size=16, channels=3)


def continued(init: Any, dataset: Any = TRAIN, **settings: Any) -> Any:
    recipe = Continued.of(init, **{"steps": 3, "batch_size": 8, **settings})
    return ga.fit(dataset, recipe, init=init, progress=False, min_images=1, watch_every=0)


@pytest.mark.parametrize(
    ("init", "dataset"),
    [
        (style(3, discriminator=discriminator(3)), TRAIN),
        (style(0, discriminator=discriminator(0)), TRAIN),
        (style(3), TRAIN),
        (style(5, discriminator=discriminator(5), class_names=list("01abc")), TRAIN),
        (style(3, img_channels=3, discriminator=discriminator(3, img_channels=3)), TRAIN),
        (dcgan(3), COLOUR),
        (dcgan(0), COLOUR),
        (dcgan(4, class_names=list("a012")), TRAIN),
    ],
    ids=["both", "unconditional", "new judge", "other classes", "colour to grey", "dcgan", "dcgan of none", "grey"],
)
def test_training_goes_on(init: Any, dataset: Any, tmp_path: Path) -> None:
    gan = continued(init, dataset)
    assert (gan.recipe.name, gan.num_classes) == ("continued", 3)
    images = gan.sample([0, 1, 2, 0], [1, 2, 3, 4]).images
    assert images.shape == (4, 3 if dataset is COLOUR else 1, 16, 16)
    assert images.isfinite().all()
    weights, moved = dict(init.network.state_dict()), dict(gan.networks["generator"].state_dict())
    shared = [name for name, value in weights.items() if moved[f"inner.{name}"].shape == value.shape]
    assert len(shared) > 5
    assert any((moved[f"inner.{name}"] - weights[name]).abs().max() > 0 for name in shared)
    assert all((moved[f"inner.{name}"] - weights[name]).abs().max() < 0.05 for name in shared if weights[name].numel())
    gan.save(tmp_path / "gan")
    again = load(tmp_path / "gan")
    torch.testing.assert_close(again.sample([0, 1, 2, 0], [1, 2, 3, 4]).images, images)
    assert again.fingerprint == gan.fingerprint


def test_nothing_has_changed_before_the_first_step() -> None:
    """Where classes and channels are the same, the synthesizer with no step taken draws what the released one draws."""
    init = style(3, class_names=["a", "b", "c"], discriminator=discriminator(3))
    gan = continued(init, NAMED, steps=1, learning_rate=1e-12)
    expected = init.sample([0, 1, 2], [4, 5, 6]).images
    torch.testing.assert_close(gan.sample([0, 1, 2], [4, 5, 6]).images, expected, atol=1e-4, rtol=1e-4)


def test_classes_go_to_those_of_the_same_name() -> None:
    init = style(3, class_names=["c", "x", "a"], discriminator=discriminator(3))
    gan = continued(init, NAMED, steps=1, learning_rate=1e-12)
    images = gan.sample([2, 0], [4, 5]).images
    torch.testing.assert_close(images, init.sample([0, 2], [4, 5]).images, atol=1e-4, rtol=1e-4)
    new = gan.sample([1], [4]).images
    assert not any(torch.allclose(new, init.sample([k], [4]).images, atol=1e-3) for k in range(3))


def test_classes_without_names_are_those_of_the_dataset_where_there_are_as_many() -> None:
    gan = continued(style(3, discriminator=discriminator(3)), NAMED, steps=1, learning_rate=1e-12)
    expected = style(3).sample([0, 1, 2], [4, 5, 6]).images
    torch.testing.assert_close(gan.sample([0, 1, 2], [4, 5, 6]).images, expected, atol=1e-4, rtol=1e-4)
    with pytest.warns(ga.DataMismatchWarning, match="the 5 classes of .* have no names, and the dataset has 3"):
        continued(style(5), NAMED, steps=1)


def test_first_blocks_of_a_released_discriminator_stay(tmp_path: Path) -> None:
    judge = discriminator(3)
    recipe = Continued.of(style(3, discriminator=judge), steps=2, batch_size=8)
    init = style(3, discriminator=judge)
    gan = ga.fit(TRAIN, recipe, init=init, freeze=1, progress=False, min_images=1, watch_every=0)
    moved = gan.networks["discriminator"].state_dict()
    weights = {name: value for name, value in judge.state.items() if value.is_floating_point()}
    still = {name for name, value in weights.items() if torch.equal(moved[f"inner.{name}"], value)}
    assert {name for name in weights if name.startswith("b16.")} <= still
    assert not {name for name in weights if name.startswith("b8.") and "filter" not in name} & still
    with pytest.raises(ConfigError, match="freeze=0 with a new discriminator, found 1"):
        ga.fit(TRAIN, init=style(3), freeze=1, steps=1, progress=False, min_images=1)


def test_the_licence_is_kept(tmp_path: Path) -> None:
    gan = continued(style(3), steps=1)
    assert gan.licence == "cc-by-4.0"
    gan.save(tmp_path / "gan")
    assert load(tmp_path / "gan").licence == "cc-by-4.0"


def test_classes_that_cannot_be_rearranged_are_matched_by_name_too() -> None:
    """torchgan's conditional generator has an embedding as long as there are classes."""
    init = dcgan(3, class_names=["c", "a", "b"])
    train = Pictures((12, 6, 5), size=16, channels=3, classes=["a", "b", "c"])
    gan = continued(init, train, steps=1, learning_rate=1e-12)
    for label, own in enumerate((1, 2, 0)):
        images = gan.sample([label] * 8, range(8)).images
        apart = [(images - init.sample([k] * 8, range(8)).images).abs().mean().item() for k in range(3)]
        assert apart.index(min(apart)) == own, apart


def test_auto_is_the_recipe_that_goes_on() -> None:
    gan = ga.fit(TRAIN, init=style(3), steps=1, progress=False, min_images=1, watch_every=0)
    assert gan.recipe.name == "continued"


def test_what_cannot_go_on() -> None:
    with pytest.raises(ConfigError, match=r"recipe='auto', or Continued\.of"):
        ga.fit(TRAIN, "dagan", init=style(3), steps=1, progress=False)
    with pytest.raises(ConfigError, match="expected init=, a pretrained synthesizer"):
        ga.fit(TRAIN, Continued(steps=1), progress=False, min_images=1)
    with pytest.raises(ConfigError, match="images of 16x16, as stylegan2 draws them, found 8x8"):
        ga.fit(TRAIN, init=style(3), image_size=8, steps=1, progress=False, min_images=1)
    with pytest.raises(ConfigError, match="draws from latents, found TranslatingSynthesizer"):
        Continued.of(translator())


def test_released_networks_learn(tmp_path: Path) -> None:
    """Training on goes towards the data: classes come to differ in brightness as those of the images do."""
    gan = continued(style(3, discriminator=discriminator(3)), steps=150, batch_size=16, learning_rate=2e-3)
    lights = [gan.sample([label] * 16, range(16)).images.mean().item() for label in range(3)]
    assert lights[0] + 0.3 < lights[2]  # those of the images are 1.3 apart
    assert replace(gan.recipe, steps=5).steps == 5
