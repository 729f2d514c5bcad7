"""The generator of stylegan2_pytorch: parity with that package, and with the paper's equations in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.published import lucidrains as reference
from benchmarks.peers.published import lucidrains_of
from gan_augment.errors import ConfigError
from gan_augment.networks.published.lucidrains import LucidrainsSettings, LucidrainsStyleGAN2, _Convolution
from tests.peers import peer_or_skip

SMALL: dict[str, Any] = {"image_size": 32, "network_capacity": 4, "latent_dim": 24, "style_depth": 3}


@pytest.fixture(scope="session")
def package() -> Any:
    return peer_or_skip("stylegan2_pytorch")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"transparent": True, "lr_mlp": 1.0, "image_size": 8},
        {"no_const": True},
        {"attn_layers": (1, 3)},
        {"image_size": 4, "style_depth": 1},
    ],
    ids=["plain", "transparent", "no_const", "attention", "one level"],
)
@torch.no_grad()
def test_outputs_are_those_of_the_package(package: Any, more: dict[str, Any]) -> None:
    settings = LucidrainsSettings(**SMALL | more)
    gan = reference(package, settings)
    network, size = lucidrains_of(gan, settings), settings.image_size
    latents, uniform = torch.randn(3, settings.latent_dim), torch.rand(3, size, size, 1)
    styles = gan.S(latents)
    torch.testing.assert_close(network.styles(latents), styles, rtol=1e-5, atol=1e-6)
    several = styles[:, None] * torch.linspace(0.5, 1.5, settings.levels)[:, None]
    expected = gan.G(several, uniform) * 2 - 1

    def noise(layer: int, shape: tuple[int, ...]) -> Tensor:
        assert (layer, shape) == (0, (size, size))
        normals: Tensor = torch.special.ndtri(uniform.double())
        return normals.permute(0, 3, 2, 1)

    made = network.images(several, noise)
    assert made.shape == (3, *network.image_shape)
    assert expected.std() > 0.1
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        network.images(several, "none"), gan.G(several, torch.full_like(uniform, 0.5)) * 2 - 1, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("up", [False, True])
def test_modulation_is_that_of_weights_formed_for_each_sample(up: bool) -> None:
    """Karras et al. 2020, equations 1 and 3, one sample at a time in float64, with 1 + s for s."""
    torch.manual_seed(0)
    layer, images, modulation = (
        _Convolution(6, 5).double(),
        torch.randn(3, 6, 4, 4).double(),
        torch.randn(3, 6).double(),
    )
    for image, style, made in zip(images, modulation, layer(images, modulation, up=up), strict=True):
        weight = layer.weight * (1 + style).reshape(1, 6, 1, 1)
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        doubled = functional.interpolate(image[None], scale_factor=2, mode="bilinear") if up else image[None]
        torch.testing.assert_close(made, functional.conv2d(doubled, weight, padding=1)[0])


def test_noise() -> None:
    torch.manual_seed(0)
    settings = LucidrainsSettings(**SMALL)
    network = LucidrainsStyleGAN2(settings)
    latents = torch.randn(2, 24)
    styles = network.styles(latents)[:, None].expand(-1, network.style_layers, -1)
    stored, none = network(latents), network.images(styles, "none")
    assert torch.equal(network(latents), stored)
    assert not torch.allclose(stored, none, atol=1e-4)
    zeros = network.images(styles, lambda layer, shape: torch.zeros(2, 1, *shape))
    torch.testing.assert_close(zeros, none)
    drawn = network.images(styles, lambda layer, shape: torch.randn(2, 1, *shape))
    assert not torch.allclose(drawn, stored, atol=1e-4)


def test_fixed_noise_survives_inference_mode_and_meta() -> None:
    settings = LucidrainsSettings(**SMALL | {"image_size": 16})
    network, latents = LucidrainsStyleGAN2(settings), torch.randn(2, 24)
    with torch.inference_mode():
        images = network(latents)
    with torch.device("meta"):
        LucidrainsStyleGAN2(settings)
    trained = network(latents)
    trained.sum().backward()
    torch.testing.assert_close(trained, images)
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_only_the_direction_of_latents_matters() -> None:
    network, latents = LucidrainsStyleGAN2(LucidrainsSettings(**SMALL)), torch.randn(2, 24)
    torch.testing.assert_close(network.styles(3 * latents), network.styles(latents))
    assert (network.latent_dim, network.num_classes, network.image_shape, network.style_layers) == (
        24, 0, (3, 32, 32), 4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"image_size": 48}, "power of 2, found 48"),
        ({"image_size": 2**20}, "image_size from 4 to 4096"),
        ({"network_capacity": 0}, "network_capacity from 1"),
        ({"fmap_max": 10**9}, "fmap_max from 1 to 4096"),
        ({"latent_dim": -1}, "latent_dim from 1"),
        ({"style_depth": 10**6}, "style_depth from 1 to 64"),
        ({"lr_mlp": float("nan")}, "lr_mlp from 0"),
        ({"attn_layers": (5,)}, "attn_layers from 1 to 4"),
    ],
)
def test_settings_are_bounded(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LucidrainsSettings(**SMALL | wrong)


def test_settings_come_back_from_json() -> None:
    settings = LucidrainsSettings(image_size=64, attn_layers=(1, 2), transparent=True)
    assert LucidrainsSettings.from_json(settings.to_json()) == settings
