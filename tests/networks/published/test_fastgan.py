"""FastGAN's generator against its equations, written plainly in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.artifacts import load_state
from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.networks.published.fastgan import FastGAN, FastGANSettings, Norm

BASE: dict[str, Any] = {"img_resolution": 128, "z_dim": 6, "ngf": 8, "img_channels": 2}
ALL = {
    f"{blocks}-{classes}": FastGANSettings(**BASE, c_dim=classes, blocks=blocks)
    for blocks in ("big", "small", "mixed")
    for classes in (0, 3)
}


def generator(settings: FastGANSettings) -> FastGAN:
    """A generator with no parameter at its starting value, and statistics like those of its images."""
    torch.manual_seed(0)
    network = FastGAN(settings)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("noise_strength"):
                tensor.uniform_(0.1, 0.3)
            elif name.endswith("norm.bias"):
                tensor.normal_(0, 0.3)
            elif name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
        norms = [module for module in network.modules() if isinstance(module, Norm)]
        hooks = [norm.register_forward_pre_hook(take_statistics) for norm in norms]
        network.train()(torch.randn(8, settings.z_dim), torch.arange(8) % max(settings.c_dim, 1))
        for hook in hooks:
            hook.remove()
    return network.eval()


def take_statistics(norm: nn.Module, given: tuple[Any, ...]) -> None:
    channels = given[0].transpose(0, 1).flatten(1)
    norm.get_buffer("running_mean").copy_(channels.mean(1) + 0.1 * torch.randn(len(channels)))
    norm.get_buffer("running_var").copy_(channels.var(1) * (0.7 + 0.6 * torch.rand(len(channels))))


# -- the equations -----------------------------------------------------------------------------------------------------


def normed(state: dict[str, Tensor], name: str, images: Tensor, embedding: Tensor | None) -> Tensor:
    mean, var = state[f"{name}.running_mean"][:, None, None], state[f"{name}.running_var"][:, None, None]
    images = (images - mean) / (var + 1e-5).sqrt()
    if f"{name}.gain.weight" not in state:
        return images * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]
    assert embedding is not None
    gain = 1 + embedding @ state[f"{name}.gain.weight"].T + state[f"{name}.gain.bias"]
    shift = embedding @ state[f"{name}.shift.weight"].T + state[f"{name}.shift.bias"]
    return images * gain[:, :, None, None] + shift[:, :, None, None]


def gated(images: Tensor) -> Tensor:
    half = images.shape[1] // 2
    return images[:, :half] / (1 + (-images[:, half:]).exp())


def naive(network: FastGAN, latents: Tensor, labels: Tensor, noises: list[Tensor]) -> Tensor:
    settings = network.settings
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}
    embedding = state["embed.weight"][labels] if settings.c_dim else None
    latents = latents.double()
    latents = latents / (latents.square().mean(1, keepdim=True) + 1e-8).sqrt()
    hidden = functional.conv_transpose2d(latents[:, :, None, None], state["first"])
    seen = {4: gated(normed(state, "first_norm", hidden, None))}
    two = {"big": (8, 16, 32, 64, 128), "small": (), "mixed": (8, 32, 128)}[settings.blocks]
    for level in (8, 16, 32, 64, 128):
        hidden = seen[level // 2].repeat_interleave(2, 2).repeat_interleave(2, 3)
        for number in range(2 if level in two else 1):
            name = f"blocks.{level}.{number}"
            hidden = functional.conv2d(hidden, state[f"{name}.weight"], padding=1)
            if level in two:
                hidden = hidden + state[f"{name}.noise_strength"] * noises.pop(0).double()
            hidden = gated(normed(state, f"{name}.norm", hidden, embedding))
        if level >= 64:
            small = seen[level // 16]
            size = small.shape[-1] // 4
            small = small.unflatten(2, (4, size)).unflatten(4, (4, size)).mean((3, 5))
            small = functional.conv2d(small, state[f"gates.{level}.squeeze"])
            small = functional.conv2d(small / (1 + (-small).exp()), state[f"gates.{level}.excite"])
            hidden = hidden / (1 + (-small).exp())
        seen[level] = hidden
    assert not noises
    return functional.conv2d(seen[128], state["last.weight"], state["last.bias"], padding=1)


class Noise:
    """Remembers what it drew."""

    def __init__(self) -> None:
        self.drawn: list[Tensor] = []

    def __call__(self, number: int, shape: tuple[int, ...]) -> Tensor:
        assert number == len(self.drawn)
        self.drawn.append(torch.randn(3, 1, *shape))
        return self.drawn[-1]


@pytest.mark.parametrize("name", ALL)
def test_images_are_those_of_the_equations(name: str) -> None:
    network = generator(ALL[name])
    latents, labels, noise = torch.randn(3, 6), torch.tensor([2, 0, 1]), Noise()
    with torch.no_grad():
        images, noisy = network(latents, labels), network.with_noise(latents, labels, noise)
    assert images.shape == (3, *network.image_shape) == (3, 2, 128, 128)
    assert images.is_contiguous()
    assert [tuple(drawn.shape) for drawn in noise.drawn] == {
        "big": [(3, 1, side, side) for side in (8, 8, 16, 16, 32, 32, 64, 64, 128, 128)],
        "small": [],
        "mixed": [(3, 1, side, side) for side in (8, 8, 32, 32, 128, 128)],
    }[network.settings.blocks]
    expected_noisy = naive(network, latents, labels, list(noise.drawn))
    expected = naive(network, latents, labels, [torch.zeros_like(drawn) for drawn in noise.drawn])
    for found, known in ((images, expected), (noisy, expected_noisy)):
        assert 0.01 < known.std() < 10
        torch.testing.assert_close(found.double(), known, rtol=0, atol=5e-5 * known.abs().max().item())
    assert torch.allclose(expected, expected_noisy) == (network.settings.blocks == "small")


def test_larger_images_have_more_levels() -> None:
    with torch.device("meta"):
        network = FastGAN(FastGANSettings(img_resolution=1024))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes["first"] == (256, 4096, 4, 4)
    assert shapes["blocks.8.0.weight"] == (2048, 2048, 3, 3)
    assert shapes["blocks.1024.1.weight"] == (32, 16, 3, 3)
    assert shapes["gates.512.squeeze"] == (32, 256, 4, 4)
    assert shapes["last.weight"] == (3, 16, 3, 3)
    assert "gates.1024.squeeze" not in shapes


def test_weights_go_into_a_network_without_memory_and_images_do_not_depend_on_gradients_or_batch() -> None:
    source = generator(ALL["mixed-3"])
    with torch.device("meta"):
        network = FastGAN(ALL["mixed-3"])
    load_state(network, source.state_dict(), "a test", adopt=True)
    latents, labels = torch.randn(3, 6), torch.tensor([2, 0, 1])
    with torch.no_grad():
        images = network.eval()(latents, labels)
        alone = network(latents[1:2], labels[1:2])
        assert torch.equal(network.with_noise(latents, labels, "const"), images)
    tolerance = 5e-5 * images.abs().max().item()
    torch.testing.assert_close(alone, images[1:2], rtol=0, atol=tolerance)
    torch.testing.assert_close(source(latents, labels), images, rtol=0, atol=tolerance)
    source.with_noise(latents, labels, Noise()).square().sum().backward()
    for name, parameter in source.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("name", ["small-0", "small-3"])
def test_training_normalises_with_its_batch_and_moves_the_statistics(name: str) -> None:
    network = generator(ALL[name]).train()
    latents, labels = torch.randn(4, 6), torch.tensor([2, 0, 1, 1])
    before = network.blocks["8"][0].norm.running_var.clone()  # type: ignore[index]
    seen: list[Tensor] = []
    norm = network.blocks["8"][0].norm  # type: ignore[index]
    norm.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach().clone()))
    network(latents, labels)
    variance = seen[0].transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(norm.running_var, 0.9 * before + 0.1 * variance)


def test_classes_matter_and_are_asked_for() -> None:
    network, latents = generator(ALL["small-3"]), torch.randn(1, 6)
    with torch.no_grad():
        made = [network(latents, torch.tensor([label])) for label in range(3)]
        assert not torch.allclose(made[0], made[1])
        assert not torch.allclose(made[1], made[2])
        plain = generator(ALL["small-0"])
        assert torch.equal(plain(latents), plain(latents, torch.tensor([7])))
    with pytest.raises(SynthesizerError, match="labels from 0 to 2, found none"):
        network(latents)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"img_resolution": 64}, "img_resolution of at least 128"),
        ({"img_resolution": 200}, "128, 256, 512 or 1024"),
        ({"img_resolution": 2**20}, "img_resolution"),
        ({"img_channels": 0}, "img_channels"),
        ({"c_dim": -1}, "c_dim"),
        ({"z_dim": 10**9}, "z_dim"),
        ({"ngf": 4}, "ngf"),
        ({"ngf": 10**6}, "ngf"),
        ({"blocks": "huge"}, "blocks big, small or mixed"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        FastGANSettings(**{**BASE, **given})
    assert FastGANSettings.from_json(FastGANSettings(**BASE).to_json()) == FastGANSettings(**BASE)
