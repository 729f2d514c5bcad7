"""R3GAN's networks, the filter between their stages, and the schedules of the recipe."""

import itertools

import pytest
import torch

from gan_augment.errors import ConfigError
from gan_augment.losses import gradient_norms
from gan_augment.networks import NetworkSpec, ResidualDiscriminator, ResidualGenerator
from gan_augment.networks.resample import blur, halve, twice
from gan_augment.networks.residual import ClassLogit, GroupedBlock
from gan_augment.recipes import R3GAN, Tools
from tests.helpers import in_parts

SPECS = [
    NetworkSpec(channels=1, grid=(8, 8), num_classes=3),
    NetworkSpec(channels=3, grid=(20, 28), num_classes=3),
    NetworkSpec(channels=2, grid=(8, 16, 12), num_classes=3),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
@pytest.mark.parametrize("width", [32, 40, 72])
def test_shapes(spec: NetworkSpec, width: int) -> None:
    labels, latents = torch.tensor([0, 2]), torch.randn(2, 16)
    images = ResidualGenerator(spec, 16, width, blocks=1)(latents, labels)
    assert images.shape == (2, spec.channels, *spec.grid)
    assert ResidualDiscriminator(spec, width, blocks=1)(images, labels).shape == (2,)


def test_the_default_width_has_about_half_a_million_weights_at_32x32() -> None:
    networks = R3GAN().networks(NetworkSpec(channels=1, grid=(32, 32), num_classes=10))
    for name, network in networks.items():
        assert 400_000 < sum(p.numel() for p in network.parameters()) < 700_000, name


def test_the_filter_in_one_dimension_by_hand() -> None:
    row = torch.tensor([0.0, 8.0, 0.0, 0.0, 16.0, 0.0])
    images = row.expand(1, 1, 6, 6)  # constant in the other dimension, which a filter of sum 1 leaves alone
    torch.testing.assert_close(halve(images)[0, 0, 0], torch.tensor([3.0, 1.0 + 2.0, 6.0]))
    torch.testing.assert_close(
        twice(images)[0, 0, 0], torch.tensor([0.0, 2, 6, 6, 2, 0, 0, 4, 12, 12, 4, 0])
    )  # fmt: skip
    assert blur(images, padding=2).shape == (1, 1, 7, 7)


@pytest.mark.parametrize("shape", [(6, 8), (4, 6, 8)])
def test_resampling_keeps_constants_and_the_channels_apart(shape: tuple[int, ...]) -> None:
    images = torch.stack([torch.full(shape, value) for value in (1.0, -3.0)])[None]
    for resampled, factor in ((halve(images), 0.5), (twice(images), 2)):
        assert resampled.shape[2:] == tuple(int(side * factor) for side in shape)
        torch.testing.assert_close(resampled[0, 0], torch.ones_like(resampled[0, 0]))
        torch.testing.assert_close(resampled[0, 1], -3 * torch.ones_like(resampled[0, 1]))


def test_a_block_starts_as_the_identity_and_looks_within_groups_of_16() -> None:
    block, images = GroupedBlock(2, 32, depth=4), torch.randn(2, 32, 4, 4)
    torch.testing.assert_close(block(images), images)
    assert block.mix.weight.shape == (64, 16, 3, 3)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_the_variance_stays_in_bounds_at_first(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    labels = torch.arange(64) % 3
    images = ResidualGenerator(spec, 64, 64)(torch.randn(64, 64), labels)
    assert 0.3 < images.std() < 3
    logits = ResidualDiscriminator(spec, 64)(torch.randn(64, spec.channels, *spec.grid), labels)
    assert 0.05 < logits.std() < 3


def test_networks_listen_to_class_and_latents() -> None:
    spec, latents = SPECS[0], torch.randn(2, 16)
    zero, one = torch.tensor([0, 0]), torch.tensor([1, 1])
    generator, discriminator = ResidualGenerator(spec, 16, 32), ResidualDiscriminator(spec, 32)
    images = generator(latents, zero)
    assert not torch.allclose(images, generator(latents, one))
    assert not torch.allclose(images, generator(latents.flip(0), zero))
    assert not torch.allclose(discriminator(images, zero), discriminator(images, one))


def test_the_class_logit_by_hand() -> None:
    spec = SPECS[0]
    logit = ClassLogit(spec, 2)
    torch.nn.init.constant_(logit.basis, 0.5)
    with torch.no_grad():
        logit.linear.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        logit.embed.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    hidden = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), 3.0)])[None].expand(3, -1, -1, -1)
    expected = torch.tensor([8.0, 48.0, 56.0]) / 2**0.5
    torch.testing.assert_close(logit(hidden, torch.arange(3)), expected)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_a_sample_does_not_depend_on_its_batch_and_penalties_pass_through(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    discriminator, labels = ResidualDiscriminator(spec, 32, blocks=1), torch.tensor([0, 1, 2])
    for block in discriminator.modules():
        if isinstance(block, GroupedBlock):
            torch.nn.init.normal_(block.shrink.weight, std=0.1)
    images = torch.randn(3, spec.channels, *spec.grid, requires_grad=True)
    norms = gradient_norms(discriminator(images, labels), images)
    alone = images[1:2].detach().requires_grad_()
    torch.testing.assert_close(
        norms[1:2], gradient_norms(discriminator(alone, labels[1:2]), alone), rtol=1e-3, atol=1e-5
    )
    norms.mean().backward()
    reached = {name for name, p in discriminator.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached >= {name for name, _ in discriminator.named_parameters() if name.endswith("weight")}


# -- the recipe -------------------------------------------------------------------------------------------------------


def test_schedules_run_from_the_papers_first_to_its_last_values() -> None:
    recipe = R3GAN(learning_rate=2e-4, steps=100, ramp=0.5, ema=0.99)
    for update in recipe.updates():
        assert update.schedule is not None
        first, last, after = (update.schedule(progress) for progress in (0.0, 0.5, 1.0))
        assert (first["lr"], first["betas"]) == (pytest.approx(2e-4), (0.0, pytest.approx(0.9)))
        assert (last["lr"], last["betas"]) == (pytest.approx(5e-5), (0.0, pytest.approx(0.99)))
        assert after == last
    decays = [recipe.decay(step) for step in range(100)]
    assert decays[0] == 0
    assert decays[25] == pytest.approx(0.99**2)  # half of the half-life, half way up the cosine
    assert decays[-1] == pytest.approx(0.99)
    assert all(a <= b for a, b in itertools.pairwise(decays))


def test_penalties_are_lazy_and_keep_their_weight_over_the_steps() -> None:
    spec = SPECS[0]
    batch = {"real": torch.randn(4, 1, 8, 8), "labels": torch.tensor([0, 1, 2, 0])}

    def terms(step: int, **settings: object) -> dict[str, torch.Tensor]:
        recipe = R3GAN(batch_size=4, **settings)  # type: ignore[arg-type]
        torch.manual_seed(0)
        networks = recipe.networks(spec)
        (discriminate, _) = recipe.updates()
        return discriminate.loss(networks, batch, Tools(recipe.augmentation, 0.0, step))

    assert [step for step in range(9) if "penalty" in terms(step, penalty_every=4)] == [0, 4, 8]
    every, fourth = terms(0, penalty_every=1)["penalty"], terms(0, penalty_every=4)["penalty"]
    torch.testing.assert_close(4 * every, fourth)
    torch.testing.assert_close(terms(0, penalty_every=1, gamma=0.1)["penalty"], 2 * terms(0, gamma=0.05)["penalty"] / 4)


def test_a_batch_in_parts_is_a_batch_in_one() -> None:
    """`diversity` takes every fourth row: parts are of 8."""
    recipe = R3GAN(steps=3, batch_size=24, penalty_every=2, learning_rate=1e-7, diversity=0.1, width=32, blocks=1)
    batch = {"real": torch.rand(24, 1, 8, 8) * 2 - 1, "labels": torch.arange(24) % 3}
    in_parts(recipe, SPECS[0], batch)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gamma": -1.0}, "gamma of at least 0"),
        ({"penalty_every": 0}, "penalty_every of at least 1"),
        ({"blocks": 0}, "blocks of at least 1"),
        ({"ramp": 0.0}, "ramp above 0"),
        ({"ramp": 1.5}, "ramp above 0"),
        ({"width": 12}, "width of at least 32"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        R3GAN(**settings)  # type: ignore[arg-type]
