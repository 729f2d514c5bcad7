"""The generators of torchgan: parity with that package, and with the equations in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.peers.published import torchgan as reference
from benchmarks.peers.published import torchgan_of
from gan_augment.errors import ConfigError
from gan_augment.networks.published.dcgan import TorchganDCGAN, TorchganSettings
from tests.peers import peer_or_skip

SMALL: dict[str, Any] = {"encoding_dims": 12, "out_size": 16, "out_channels": 2, "step_channels": 4}


@pytest.fixture(scope="session")
def models() -> Any:
    """The package's models."""
    return peer_or_skip("torchgan")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"out_size": 64, "batchnorm": False},
        {"num_classes": 5, "labels": "beside"},
        {"num_classes": 5, "labels": "times", "out_size": 32},
        {"num_classes": 3, "labels": "times", "nonlinearity": "relu", "last_nonlinearity": "sigmoid"},
    ],
    ids=["dcgan", "without norm", "conditional", "acgan", "other nonlinearities"],
)
@torch.no_grad()
def test_outputs_are_those_of_the_package(models: Any, more: dict[str, Any]) -> None:
    settings = TorchganSettings(**SMALL | more)
    generator = reference(models, settings)
    network, latents, labels = torchgan_of(generator, settings), torch.randn(4, 12), torch.tensor([0, 2, 1, 2])
    expected = generator(latents, labels) if settings.num_classes else generator(latents)
    if settings.last_nonlinearity == "sigmoid":
        expected = expected * 2 - 1
    made = network(latents, labels)
    assert made.shape == (4, *network.image_shape)
    assert made.std() > 0.05
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


def transposed(images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """y[o, s i + k - p] = sum over inputs c and cells i of x[c, i] w[c, o, k], written out (Dumoulin & Visin 2016)."""
    channels, height, width = images.shape
    full = torch.zeros(weight.shape[1], (height - 1) * stride + 4, (width - 1) * stride + 4, dtype=images.dtype)
    for row in range(height):
        for column in range(width):
            part = sum(images[c, row, column] * weight[c] for c in range(channels))
            full[:, stride * row : stride * row + 4, stride * column : stride * column + 4] += part
    return full[:, padding : full.shape[1] - padding, padding : full.shape[2] - padding]


@torch.no_grad()
def test_the_equations_in_float64() -> None:
    """Radford et al. 2015, one image, layer by layer."""
    torch.manual_seed(0)
    settings = TorchganSettings(**SMALL, num_classes=3, labels="times")
    network = TorchganDCGAN(settings).double().eval()
    latents = torch.randn(1, 12, dtype=torch.float64)
    state = network.state_dict()
    for name, tensor in state.items():
        if "running" in name:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    hidden = (latents[0] * state["label_embeddings.weight"][1]).reshape(12, 1, 1)
    for layer, (stride, padding) in enumerate([(1, 0), (2, 1), (2, 1)]):
        hidden = transposed(hidden, state[f"model.{layer}.0.weight"], stride, padding)
        if layer == 2:
            hidden = torch.tanh(hidden + state["model.2.0.bias"].reshape(-1, 1, 1))
            continue
        mean, variance, weight, bias = (
            state[f"model.{layer}.1.{name}"].reshape(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        hidden = (hidden - mean) / (variance + 1e-5).sqrt() * weight + bias
        hidden = torch.where(hidden > 0, hidden, 0.2 * hidden)
    torch.testing.assert_close(network(latents, torch.tensor([1]))[0], hidden)


def test_what_it_tells_of_itself() -> None:
    network = TorchganDCGAN(TorchganSettings(**SMALL, num_classes=3, labels="beside"))
    assert (network.latent_dim, network.num_classes, network.image_shape) == (12, 3, (2, 16, 16))
    with pytest.raises(ConfigError, match="expected labels of 3 classes, found none"):
        network(torch.randn(2, 12))


def test_it_can_be_trained() -> None:
    for batchnorm in (True, False):
        network = TorchganDCGAN(TorchganSettings(**SMALL, num_classes=2, labels="times", batchnorm=batchnorm))
        network(torch.randn(3, 12), torch.tensor([0, 1, 1])).square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"out_size": 8}, "out_size from 16"),
        ({"out_size": 48}, "power of 2, found 48"),
        ({"encoding_dims": 10**9}, "encoding_dims from 1"),
        ({"out_channels": 0}, "out_channels from 1"),
        ({"step_channels": 10**6}, "step_channels from 1"),
        ({"num_classes": 3}, 'labels "none" without classes'),
        ({"labels": "times"}, 'labels "none" without classes'),
        ({"num_classes": -1, "labels": "times"}, "num_classes from 0"),
    ],
)
def test_settings_are_bounded(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        TorchganSettings(**SMALL | wrong)


def test_settings_come_back_from_json() -> None:
    settings = TorchganSettings(num_classes=3, labels="beside", nonlinearity="relu")
    assert TorchganSettings.from_json(settings.to_json()) == settings
    with pytest.raises(ConfigError, match="labels"):
        TorchganSettings.from_json(settings.to_json() | {"labels": "elsewhere"})
