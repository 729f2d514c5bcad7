"""Recipes: one published GAN a file, and the registry of their names."""

from gan_augment.errors import ConfigError
from gan_augment.recipes.base import Need, Phase, Recipe, Update
from gan_augment.recipes.dagan import DAGAN
from gan_augment.recipes.sngan import SNGAN
from gan_augment.recipes.tools import Part, Tools

__all__ = [
    "AUTO",
    "DAGAN",
    "RECIPES",
    "SNGAN",
    "Need",
    "Part",
    "Phase",
    "Recipe",
    "Tools",
    "Update",
    "get_recipe",
]

RECIPES: dict[str, type[Recipe]] = {"dagan": DAGAN, "sngan": SNGAN}

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
