"""The generator of stylegan2_pytorch: parity with that package, and with the paper's equations in float64."""

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.artifacts import load_state
from gan_augment.errors import ConfigError
from gan_augment.networks.published.lucidrains import LucidrainsSettings, LucidrainsStyleGAN2, _Convolution

SMALL: dict[str, Any] = {"image_size": 32, "network_capacity": 4, "latent_dim": 24, "style_depth": 3}


def filter2d(images: Tensor, kernel: Tensor, *, normalized: bool) -> Tensor:
    """What kornia.filters.filter2d does with its default border, "reflect"."""
    assert normalized
    weight = (kernel / kernel.abs().sum()).expand(images.shape[1], 1, -1, -1)
    return functional.conv2d(functional.pad(images, [1] * 4, mode="reflect"), weight, groups=images.shape[1])


@pytest.fixture(scope="session")
def package() -> Any:
    """The package, with stand-ins for what it imports and its networks do not need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)  # it refuses to be imported without
        stubs: dict[str, dict[str, Any]] = {
            "fire": {},
            "aim": {},
            "kornia": {},
            "kornia.filters": {"filter2d": filter2d},
            "vector_quantize_pytorch": {"VectorQuantize": nn.Module},
        }
        for name, content in stubs.items():
            module = types.ModuleType(name)
            module.__dict__.update(content)
            patch.setitem(sys.modules, name, module)
        return pytest.importorskip("stylegan2_pytorch.stylegan2_pytorch")


def reference(package: Any, settings: LucidrainsSettings, seed: int = 0) -> Any:
    """The package's networks, every weight drawn anew, so that noise and biases count."""
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "cuda", lambda self, device=None: self)
        patch.setattr(package, "Discriminator", lambda *args, **options: nn.Linear(2, 2))  # large, and not looked at
        gan = package.StyleGAN2(
            image_size=settings.image_size, latent_dim=settings.latent_dim, style_depth=settings.style_depth,
            network_capacity=settings.network_capacity, transparent=settings.transparent,
            attn_layers=list(settings.attn_layers), no_const=settings.no_const, lr_mlp=settings.lr_mlp,
        )  # fmt: skip
    with torch.no_grad():
        for name, parameter in gan.G.named_parameters():
            if parameter.ndim == 1 or "to_noise" in name or name.endswith((".g", ".b")):
                parameter.add_(torch.randn_like(parameter) * 0.3)
        for parameter in gan.S.parameters():
            parameter.mul_(0.2 / settings.lr_mlp)  # styles of size 1
    gan.reset_parameter_averaging()
    return gan.eval()


def ours(gan: Any, settings: LucidrainsSettings) -> LucidrainsStyleGAN2:
    with torch.device("meta"):
        network = LucidrainsStyleGAN2(settings)
    state = {name: value for name, value in gan.state_dict().items() if name.startswith(("S.", "G."))}
    state = {name: value for name, value in state.items() if not name.endswith("upsample.1.f")}
    load_state(network, state, "a generator", adopt=True)
    return network.eval()


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
    network, size = ours(gan, settings), settings.image_size
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
