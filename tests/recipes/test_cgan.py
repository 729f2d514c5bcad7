"""cgan and fit_table: rows of tables by class."""

import dataclasses

import numpy as np
import pytest
import torch

from gan_augment.errors import ArtifactError, ConfigError, DataError, SynthesizerError, TrainingError
from gan_augment.networks import NetworkSpec, VectorSpec
from gan_augment.recipes import CGAN, RECIPES, Tools, get_recipe
from gan_augment.training import fit_table
from gan_augment.training.table import Columns
from tests.helpers import in_parts

SPEC = VectorSpec(channels=5, num_classes=3)


def batch(size: int = 12) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"real": torch.randn(size, 5, 1, 1, generator=generator), "labels": torch.arange(size) % 3}


def two_clusters(count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Class 0 around 0; class 1 around (100, 0) and (100, 3), equally often."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], count)
    centres = np.zeros((2 * count, 2))
    centres[count:, 0], centres[count::2, 1] = 100, 3
    return centres + rng.normal(0, 0.3, centres.shape), labels


@pytest.mark.parametrize("diversity", [0.0, 0.1])
def test_losses_reach_their_own_networks_and_no_others(diversity: float) -> None:
    recipe = CGAN(steps=4, batch_size=12, diversity=diversity)
    torch.manual_seed(0)
    networks = recipe.networks(SPEC)
    for update in recipe.updates():
        for name, network in networks.items():
            network.zero_grad(set_to_none=True)
            network.requires_grad_(name in update.parameters)
        torch.stack(list(update.loss(networks, batch(), Tools()).values())).sum().backward()
        for name, network in networks.items():
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            assert bool(gradients) == (name in update.parameters)
            assert all(gradient.abs().max() > 0 for gradient in gradients)


def test_both_networks_see_the_class() -> None:
    recipe = CGAN()
    torch.manual_seed(0)
    networks = recipe.networks(SPEC)
    one, other = torch.zeros(4, dtype=torch.int64), torch.full((4,), 2)
    latents, vectors = torch.randn(4, recipe.latent_dim), batch(4)["real"]
    drawn = recipe.draw(networks, one, latents, {})
    assert drawn.shape == (4, 5, 1, 1)
    assert not torch.allclose(drawn, recipe.draw(networks, other, latents, {}))
    features, logits = recipe.discriminate(networks, vectors, one)
    assert (features.shape, logits.shape) == ((4, 128), (4,))
    assert not torch.allclose(logits, recipe.discriminate(networks, vectors, other)[1])


def test_parts_of_a_batch_give_the_gradients_of_the_whole() -> None:
    in_parts(CGAN(steps=2, batch_size=12), SPEC, batch())


def test_settings_survive_json_and_wrong_ones_are_told() -> None:
    recipe = CGAN(steps=7, gamma=2.0, width=64, depth=3)
    assert CGAN.from_json(recipe.to_json()) == recipe
    with pytest.raises(ArtifactError, match="settings of recipe cgan"):
        CGAN.from_json({**recipe.to_json(), "colour": 1})
    for settings, told in (({"depth": 0}, "depth"), ({"gamma": -1}, "gamma"), ({"width": 7}, "width")):
        with pytest.raises(ConfigError, match=told):
            CGAN(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected no augmentation for vectors"):
        dataclasses.replace(recipe, augmentation=RECIPES["sngan"]().augmentation)


def test_it_is_no_recipe_for_images() -> None:
    with pytest.raises(ConfigError, match="expected vectors for cgan, found images of 8x8"):
        CGAN().networks(NetworkSpec(channels=1, grid=(8, 8), num_classes=3))
    with pytest.raises(ConfigError, match="expected a recipe, one of"):
        get_recipe("cgan")
    with pytest.raises(ConfigError, match=r"grid of \(1, 1\)"):
        VectorSpec(channels=3, grid=(8, 8), num_classes=2)


def test_both_clusters_of_a_class_are_drawn_and_the_classes_kept_apart() -> None:
    rows, labels = two_clusters()
    gan = fit_table(rows, labels, CGAN(steps=500))
    first, second = (gan.sample(np.full(200, label), np.arange(200)) for label in (0, 1))
    assert (first[:, 0] < 50).all()
    assert (second[:, 0] > 50).all()
    upper = (second[:, 1] > 1.5).mean()
    assert 0.25 < upper < 0.75
    assert (np.minimum(np.abs(second[:, 1]), np.abs(second[:, 1] - 3)) < 1).mean() > 0.8


def test_a_row_is_a_function_of_class_and_seed() -> None:
    rows, labels = two_clusters()
    gan, again, other = (fit_table(rows, labels, CGAN(steps=3), seed=seed) for seed in (0, 0, 1))
    classes, seeds = np.array([0, 1, 1, 0]), np.array([5, 2**63 - 1, 7, 5])
    whole = gan.sample(classes, seeds)
    assert np.array_equal(whole, again.sample(classes, seeds))
    assert not np.array_equal(whole, other.sample(classes, seeds))
    assert np.array_equal(whole[0], whole[3])
    np.testing.assert_allclose(gan.sample(classes[::-1][1:], seeds[::-1][1:])[::-1], whole[:3], rtol=1e-5)
    assert gan.sample([], []).shape == (0, 2)


def test_the_global_random_state_stays_as_it_was() -> None:
    before = torch.get_rng_state()
    fit_table(*two_clusters(), CGAN(steps=2)).sample([0], [0])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300])
def test_columns_are_standardised_and_restored_whatever_their_size(size: float) -> None:
    rows = np.random.default_rng(0).normal(3, 1, (50, 4)) * size / 10
    rows[:, 2] = 0.7 * size
    columns = Columns.of(rows)
    vectors = columns.standardised(rows)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.std((0, 2, 3), correction=0), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    np.testing.assert_allclose(columns.restored(vectors) / size, rows / size, rtol=1e-5)
    far = columns.restored(vectors * 100)
    assert (far >= rows.min(0)).all()
    assert (far <= rows.max(0)).all()


def test_a_table_that_cannot_be_is_told() -> None:
    rows, labels = two_clusters()
    for table, targets in ((rows[0], labels), (rows, labels[1:]), (rows[:0], labels[:0]), (rows, labels - 1)):
        with pytest.raises(DataError, match="expected a table"):
            fit_table(table, targets)
    with pytest.raises(DataError, match="found NaN or infinity"):
        fit_table(np.where(rows > 90, np.nan, rows), labels)
    with pytest.raises(SynthesizerError, match="labels from 0 to 1"):
        fit_table(rows, labels, CGAN(steps=1)).sample([2], [0])
    with pytest.raises(TrainingError, match="diverged"):
        fit_table(rows, labels, CGAN(steps=30, learning_rate=1e30))
