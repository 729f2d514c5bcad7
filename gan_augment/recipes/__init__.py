"""Recipes: one published GAN a file, and the registry of their names."""

from gan_augment.errors import ConfigError
from gan_augment.recipes.acgan import ACGAN
from gan_augment.recipes.bagan_gp import BAGANGP
from gan_augment.recipes.base import Need, Phase, Recipe, Update
from gan_augment.recipes.cgan import CGAN
from gan_augment.recipes.continued import Continued
from gan_augment.recipes.dagan import DAGAN
from gan_augment.recipes.icgan import ICGAN
from gan_augment.recipes.r3gan import R3GAN
from gan_augment.recipes.sngan import SNGAN
from gan_augment.recipes.stylegan2_ada import StyleGAN2ADA
from gan_augment.recipes.tools import Part, Tools

__all__ = [
    "ACGAN",
    "AUTO",
    "BAGANGP",
    "CGAN",
    "DAGAN",
    "ICGAN",
    "R3GAN",
    "RECIPES",
    "SNGAN",
    "STORED",
    "Continued",
    "Need",
    "Part",
    "Phase",
    "Recipe",
    "StyleGAN2ADA",
    "Tools",
    "Update",
    "get_recipe",
]

RECIPES: dict[str, type[Recipe]] = {
    "dagan": DAGAN,
    "sngan": SNGAN,
    "acgan": ACGAN,
    "bagan_gp": BAGANGP,
    "icgan": ICGAN,
    "r3gan": R3GAN,
    "stylegan2_ada": StyleGAN2ADA,
}

STORED: dict[str, type[Recipe]] = {**RECIPES, Continued.name: Continued}
"""Every recipe whose synthesizers can be loaded: `continued` is made of a pretrained synthesizer, not by its name."""

AUTO = "dagan"


def get_recipe(recipe: str | Recipe) -> Recipe:
    """Returns a recipe by name, with its defaults, or the recipe given; "auto" is the one measured best.

    Raises:
        ConfigError: No recipe has that name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    name = AUTO if recipe == "auto" else recipe
    if name not in RECIPES:
        raise ConfigError(f"expected a recipe, one of auto, {', '.join(RECIPES)}, found {recipe!r}")
    return RECIPES[name]()
