"""What every recipe must do; a new one is picked up from the registry."""

import dataclasses

import numpy as np
import pytest
import torch

from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, Part, Recipe, Tools
from gan_augment.source import RawView
from gan_augment.training.batches import Batches
from gan_augment.training.trainer import Trainer
from tests.contracts.cyclegan import CycleShaped

RECIPE_CLASSES = [*RECIPES.values(), CycleShaped]
SPECS = {
    "8x8": NetworkSpec(channels=1, grid=(8, 8), num_classes=3),
    "rgb 16x24": NetworkSpec(channels=3, grid=(16, 24), num_classes=3),
    "volume": NetworkSpec(channels=1, grid=(8, 8, 8), num_classes=3),
}


def dataset(spec: NetworkSpec, count: int = 18) -> list[tuple[torch.Tensor, int]]:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(count, spec.channels, *spec.grid, generator=generator) * 2 - 1
    return [(image, i % 3) for i, image in enumerate(images)]


def trainer_of(recipe: Recipe, spec: NetworkSpec, seed: int = 0) -> tuple[Trainer, Batches]:
    view = RawView(dataset(spec), progress=False)
    trainer = Trainer(recipe, spec, seed=seed, device=torch.device("cpu"))
    batches = Batches(view, view.spec(), recipe, seed=seed, device=torch.device("cpu"), embed=trainer.embed)
    return trainer, batches


def small(cls: type[Recipe], **settings: object) -> Recipe:
    return cls(**{"steps": 4, "batch_size": 6, **settings})  # type: ignore[arg-type]


@pytest.fixture(params=RECIPE_CLASSES, ids=lambda cls: cls.name)
def recipe_class(request: pytest.FixtureRequest) -> type[Recipe]:
    cls: type[Recipe] = request.param
    return cls


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_losses_reach_their_own_networks_and_no_others(recipe_class: type[Recipe], spec: NetworkSpec) -> None:
    recipe = small(recipe_class)
    trainer, batches = trainer_of(recipe, spec)
    whole = Part(0, 1, recipe.batch_size)
    for first, phase in zip(recipe.first_steps(), recipe.phases(), strict=True):
        batch = batches(first, whole)
        for update in phase.updates:
            for name, network in trainer.networks.items():
                network.zero_grad(set_to_none=True)
                network.requires_grad_(name in update.parameters)
            losses = update.loss(trainer.networks, batch, Tools(recipe.augmentation, 0.5, first, whole))
            assert all(loss.ndim == 0 for loss in losses.values())
            torch.stack(list(losses.values())).sum().backward()
            for name, network in trainer.networks.items():
                gradients = [p.grad for p in network.parameters() if p.grad is not None]
                if name not in update.parameters:
                    assert not gradients, f"{update.name} reached {name}"
                    continue
                assert all(torch.isfinite(gradient).all() for gradient in gradients)
                assert any(gradient.abs().max() > 0 for gradient in gradients), f"{update.name} did not reach {name}"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_draws_images_of_the_grid_whatever_the_batch(recipe_class: type[Recipe], spec: NetworkSpec) -> None:
    recipe = small(recipe_class)
    networks = {name: network.eval() for name, network in recipe.networks(spec).items()}
    labels, latents = torch.tensor([0, 1, 2, 0, 1, 2, 1]), torch.randn(7, recipe.latent_dim)
    sources = torch.rand(7, spec.channels, *spec.grid) * 2 - 1
    with torch.no_grad():
        drawn = recipe.draw(networks, labels, latents, {"source": sources})
        one_by_one = torch.cat(
            [
                recipe.draw(networks, labels[i : i + 1], latents[i : i + 1], {"source": sources[i : i + 1]})
                for i in reversed(range(7))
            ]
        ).flip(0)
    assert drawn.shape == (7, spec.channels, *spec.grid)
    assert drawn.abs().max() <= 1
    torch.testing.assert_close(drawn, one_by_one, atol=2e-5, rtol=1e-4)


def test_training_changes_every_network_that_an_update_names(recipe_class: type[Recipe]) -> None:
    recipe = small(recipe_class)
    trainer, batches = trainer_of(recipe, SPECS["8x8"])
    before = {n: [p.clone() for p in network.parameters()] for n, network in trainer.networks.items()}
    trainer.run(batches)
    assert trainer.step == 4
    named = {name for phase in recipe.phases() for update in phase.updates for name in update.parameters}
    for name in named:
        after = list(trainer.networks[name].parameters())
        assert any(not torch.equal(old, new) for old, new in zip(before[name], after, strict=True)), name
    for name, average in trainer.averaged.items():
        first, last, middle = before[name][0], next(trainer.networks[name].parameters()), next(average.parameters())
        assert not torch.equal(middle, first)
        assert not torch.equal(middle, last)


def test_settings_survive_json(recipe_class: type[Recipe]) -> None:
    recipe = small(recipe_class, width=40, learning_rate=1e-3)
    assert recipe_class.from_json(recipe.to_json()) == recipe


def test_a_recipe_says_where_it_comes_from(recipe_class: type[Recipe]) -> None:
    assert "arXiv" in recipe_class.paper
    assert dataclasses.is_dataclass(recipe_class)
    assert set(recipe_class.averaged) <= set(small(recipe_class).networks(SPECS["8x8"]))


def test_registry_knows_each_by_its_name() -> None:
    assert all(name == cls.name for name, cls in RECIPES.items())


def test_unpaired_batches_hold_one_domain_each() -> None:
    _, batches = trainer_of(small(CycleShaped), SPECS["8x8"])
    batch = batches(3, Part(0, 1, 6))
    assert set(batch["a_labels"].tolist()) == {0}
    assert set(batch["b_labels"].tolist()) == {1}
    images = torch.stack([image for image, label in dataset(SPECS["8x8"]) if label == 1])
    assert all(any(torch.allclose(image, real, atol=1e-5) for real in images * 1.0) for image in _raw(batch["b"]))


def _raw(images: torch.Tensor) -> np.ndarray:
    """Undoes the mapping to [-1, 1] of the dataset above."""
    every = torch.stack([image for image, _ in dataset(SPECS["8x8"])])
    low, high = every.min(), every.max()
    return (images + 1) / 2 * (high - low) + low
