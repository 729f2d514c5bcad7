"""What fit and a dry run begin with: a recipe, a view of the dataset, the networks and the batches."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from gan_augment.errors import ConfigError, whole
from gan_augment.images import ImageSpec
from gan_augment.networks import NetworkSpec
from gan_augment.ranks import Ranks
from gan_augment.recipes import Continued, Recipe, get_recipe
from gan_augment.source import RawView
from gan_augment.synthesizers import PretrainedSynthesizer
from gan_augment.training.batches import Batches
from gan_augment.training.finetune import freeze_blocks, start_from
from gan_augment.training.precision import pick_precision
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Stop, Watch

__all__ = ["Prepared", "prepare", "recipe_with"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """All that a training needs.

    Attributes:
        view: The training split.
        image_spec: How its raw images map to [-1, 1].
        spec: What the networks are built for.
        trainer: Before its first step.
        batches: What it is fed.
        watch: What looks at it.
    """

    view: RawView
    image_spec: ImageSpec
    spec: NetworkSpec
    trainer: Trainer
    batches: Batches
    watch: Watch

    @property
    def recipe(self) -> Recipe:
        """The recipe that is trained."""
        return self.trainer.recipe


def recipe_with(recipe: str | Recipe, steps: int | None, init: Any = None) -> Recipe:
    """Returns a recipe by its name or as it is, with another number of steps where one is given.

    Args:
        recipe: A name or a recipe; "auto" with a pretrained synthesizer to start from is what goes on with it.
        steps: Steps; None for the recipe's own.
        init: What the training starts from.

    Raises:
        ConfigError: No recipe has that name, or a pretrained synthesizer is to go on with another one.
    """
    if isinstance(init, PretrainedSynthesizer) and recipe == "auto":
        recipe = Continued.of(init)
    if isinstance(init, PretrainedSynthesizer) and not isinstance(recipe, Continued):
        raise ConfigError(
            "expected recipe='auto', or Continued.of(init, ...) of gan_augment.recipes, to go on with a pretrained "
            f"synthesizer, found {recipe if isinstance(recipe, str) else recipe.name}"
        )
    recipe = get_recipe(recipe)
    return recipe if steps is None else dataclasses.replace(recipe, steps=whole("steps", steps))


def prepare(
    view: RawView,
    recipe: Recipe,
    image_size: int | Sequence[int] | None,
    ranks: Ranks,
    *,
    seed: int,
    precision: str = "auto",
    accumulate: int = 1,
    channels_last: bool = False,
    init: Any = None,
    freeze: int = 0,
    watch_every: int = 0,
    stop: Stop = "steps",
    patience: int = 3,
) -> Prepared:
    """Builds networks and batches; the parameters are those of `fit`.

    Raises:
        DataError: Images cannot be used.
        ConfigError: A parameter has a value that cannot work.
        ArtifactError: `init` is of another architecture.
    """
    if freeze and init is None:
        raise ConfigError(
            f"expected init= with freeze={freeze}, found none; say what to start from, or leave freeze out: random "
            "weights are not worth keeping"
        )
    accumulate = whole("accumulate", accumulate)
    precision = pick_precision(precision, ranks.device)
    if image_size is None and isinstance(init, PretrainedSynthesizer):
        image_size = init.image_shape[1:]
    image_spec = view.spec(image_size)
    spec = NetworkSpec(channels=image_spec.channels, grid=image_spec.grid, num_classes=view.num_classes)
    trainer = Trainer(
        recipe,
        spec,
        seed=seed,
        device=ranks.device,
        accumulate=accumulate,
        ranks=ranks,
        precision=precision,
        channels_last=channels_last,
    )
    if init is not None:
        start_from(trainer, init, spec, view.classes)
        freeze_blocks(trainer, freeze)
    watch = Watch(
        recipe, spec, view, image_spec, every=watch_every, stop=stop, patience=patience, seed=seed, device=ranks.device
    )
    batches = Batches(watch.training, image_spec, recipe, seed=seed, device=ranks.device, embed=trainer.embed)
    return Prepared(view=view, image_spec=image_spec, spec=spec, trainer=trainer, batches=batches, watch=watch)
