"""The settings of dagan: what each changes, on networks of known weights and in short trainings."""

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.networks import ImageGenerator, NetworkSpec, PairDiscriminator, PairEncoder
from gan_augment.recipes import DAGAN, Part, Tools
from tests.contracts.test_recipes import SPECS, trainer_of

SETTINGS = {
    "warp": {"warp": True},
    "smooth": {"smooth": True},
    "delta": {"delta": 5.0},
    "classes": {"classes": True},
    "vary source": {"vary_source": True},
    "no skip": {"skips": 0},
    "many skips": {"skips": 9},
    "diversity": {"diversity": 0.01},
    "all": {"warp": True, "delta": 5.0, "classes": True, "vary_source": True, "skips": 2},
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_trains_and_draws(settings: dict[str, object], spec: NetworkSpec) -> None:
    recipe = DAGAN(steps=3, batch_size=5, **settings)  # type: ignore[arg-type]
    trainer, batches = trainer_of(recipe, spec)
    before = {name: [p.clone() for p in network.parameters()] for name, network in trainer.networks.items()}
    trainer.run(batches)
    for name, network in trainer.networks.items():
        changed = [not torch.equal(old, new) for old, new in zip(before[name], network.parameters(), strict=True)]
        assert all(changed), f"{changed.count(False)} parameters of {name} never moved"
    sources, latents = torch.rand(4, spec.channels, *spec.grid) * 2 - 1, torch.randn(4, recipe.latent_dim)
    networks = {name: network.eval() for name, network in trainer.result().items()}
    with torch.no_grad():
        drawn = recipe.draw(networks, torch.tensor([0, 1, 2, 0]), latents, {"source": sources})
        alone = recipe.draw(networks, torch.tensor([2]), latents[2:3], {"source": sources[2:3]})
    assert drawn.shape == sources.shape
    assert drawn.abs().max() <= 1
    torch.testing.assert_close(alone, drawn[2:3], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{"skips": -1}, {"delta": -0.1}, {"code": float("inf")}])
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ga.ConfigError, match=next(iter(settings))):
        DAGAN(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", [(16, 24), (8, 8, 16)])
def test_a_warp_with_a_still_field_and_a_full_mask_is_the_source(grid: tuple[int, ...]) -> None:
    generator = ImageGenerator(NetworkSpec(channels=2, grid=grid, num_classes=2), 8, 32, warp=True).eval()
    assert generator.warp is not None
    with torch.no_grad():
        for parameter in generator.warp.parameters():
            parameter.zero_()
        next(reversed(list(generator.warp.mask.parameters()))).fill_(40.0)
        sources = torch.rand(3, 2, *grid) * 2 - 1
        torch.testing.assert_close(generator(sources, torch.randn(3, 8)), sources, atol=1e-5, rtol=0)
        bias = list(generator.warp.field.parameters())[1]
        bias[0] = np.arctanh(2.0 / grid[-1] / generator.warp.most)  # one pixel, in [-1, 1] coordinates
        moved = generator(sources, torch.randn(3, 8))
    torch.testing.assert_close(moved[..., :-1], sources[..., 1:], atol=1e-4, rtol=0)


def test_without_skips_fine_detail_of_the_source_passes_through_the_bottom_only() -> None:
    spec = NetworkSpec(channels=1, grid=(32, 32), num_classes=2)
    depths = [ImageGenerator(spec, 8, 32, skips=skips).skips for skips in (0, 1, 2, 9)]
    assert depths == [0, 1, 2, 2]


def test_the_label_reaches_the_logit_only_with_classes() -> None:
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=3)
    images = torch.rand(4, 1, 8, 8)
    for classes in (False, True):
        discriminator = PairDiscriminator(spec, 32, classes=classes).eval()
        first, second = (discriminator(images, images, torch.full((4,), label)) for label in (0, 2))
        assert torch.equal(first, second) is not classes


def test_the_code_has_no_divergence_where_it_is_standard_normal() -> None:
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=3)
    recipe = DAGAN(batch_size=4, delta=1.0, code=1.0)
    networks = recipe.networks(spec)
    encoder = networks["encoder"]
    assert isinstance(encoder, PairEncoder)
    with torch.no_grad():
        for parameter in encoder.linear.parameters():
            parameter.zero_()
    images = torch.rand(4, 1, 8, 8)
    batch = {"source": images, "real": images.flip(0), "labels": torch.zeros(4, dtype=torch.long)}
    terms = recipe._generator(networks, batch, Tools(part=Part(0, 1, 4)))
    assert terms["code"].item() == 0
    with torch.no_grad():
        encoder.linear.bias[: recipe.latent_dim] = 2.0  # a mean of 2 in each of the latents: 2^2 / 2 each
    terms = recipe._generator(networks, batch, Tools(part=Part(0, 1, 4)))
    assert terms["code"].item() == pytest.approx(2.0 * recipe.latent_dim)
