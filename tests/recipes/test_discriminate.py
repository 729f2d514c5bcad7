"""`Recipe.discriminate`: every recipe's discriminator gives features and the logits that it trains by."""

import pytest
import torch
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import DAGAN, RECIPES, SNGAN, Recipe
from tests.contracts.cyclegan import CycleShaped
from tests.contracts.test_recipes import SPECS

LABELS = torch.tensor([0, 1, 2, 0, 1])

VARIANTS: dict[str, Recipe] = {
    **{name: cls() for name, cls in RECIPES.items()},
    "sngan, ramp and shared": SNGAN(ramp=(0.1, 0.6), shared=1),
    "dagan, classes and smooth": DAGAN(classes=True, smooth=True),
}


def networks_of(recipe: Recipe, spec: NetworkSpec) -> dict[str, torch.nn.Module]:
    return {name: network.eval().requires_grad_(False) for name, network in recipe.networks(spec).items()}


def trained_by(recipe: Recipe, networks: dict[str, torch.nn.Module], images: Tensor, sources: Tensor) -> Tensor:
    """Returns the logits as the recipe's losses have them, of images and labels, or of pairs."""
    discriminator = networks["discriminator"]
    if recipe.name == "dagan":
        logits = discriminator(sources, images, LABELS)
    elif recipe.name == "icgan":
        logits = discriminator(images, LABELS, networks["features"](sources))
    elif recipe.name == "acgan":
        logits = discriminator(images)[0]
    else:
        logits = discriminator(images, LABELS)
    assert isinstance(logits, Tensor)
    return logits


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("recipe", VARIANTS.values(), ids=VARIANTS)
def test_logits_are_those_of_the_losses_and_features_are_vectors(recipe: Recipe, spec: NetworkSpec) -> None:
    networks = networks_of(recipe, spec)
    images, sources = torch.rand(2, 5, spec.channels, *spec.grid) * 2 - 1
    companions = recipe.companion(networks, sources) if recipe.pairs else None
    judging = {name: networks[name] for name in recipe.judging}
    features, logits = recipe.discriminate(judging, images, LABELS, companions)
    torch.testing.assert_close(logits, trained_by(recipe, networks, images, sources))
    assert logits.shape == (5,)
    assert features.ndim == 2
    assert len(features) == 5
    assert (features.std(0) > 0).any()
    others = recipe.discriminate(judging, images, (LABELS + 1) % 3, companions)[0]
    assert torch.equal(others, features), "features depend on the class"


@pytest.mark.parametrize("recipe", [recipe for recipe in VARIANTS.values() if recipe.pairs], ids=lambda r: r.name)
def test_the_mean_companion_gives_the_mean_logit(recipe: Recipe) -> None:
    spec = SPECS["rgb 16x24"]
    networks = networks_of(recipe, spec)
    images, sources = torch.rand(5, 3, *spec.grid) * 2 - 1, torch.rand(9, 3, *spec.grid) * 2 - 1
    companions = recipe.companion(networks, sources)
    each = torch.stack([recipe.discriminate(networks, images, LABELS, c.expand(5, -1))[1] for c in companions])
    mean = recipe.discriminate(networks, images, LABELS, companions.mean(0, keepdim=True).expand(5, -1))[1]
    assert (each.std(0) > 0).all()
    torch.testing.assert_close(mean, each.mean(0), atol=1e-5, rtol=1e-4)


def test_a_recipe_of_two_discriminators_says_that_it_has_no_one() -> None:
    recipe = CycleShaped()
    networks = networks_of(recipe, SPECS["8x8"])
    with pytest.raises(ConfigError, match="a recipe of another shape overrides discriminate"):
        recipe.discriminate(networks, torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    with pytest.raises(NotImplementedError, match="sees no pairs"):
        recipe.companion(networks, torch.zeros(1, 1, 8, 8))
