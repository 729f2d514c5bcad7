"""BigGAN-deep against its equations, written naively in float64."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.published.biggan_deep import BigGANDeep, BigGANDeepSettings, doubling

SETTINGS = BigGANDeepSettings(
    latent_dim=3, num_classes=4, width=4, steps=6, attention=1, eps=1e-3,
    layers=((True, 16, 8), (False, 8, 4), (True, 4, 4), (False, 4, 2), (False, 2, 1)),
)  # fmt: skip


def random(settings: BigGANDeepSettings) -> tuple[BigGANDeep, dict[str, Tensor]]:
    torch.manual_seed(0)
    network = BigGANDeep(settings).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("variances"):
            tensor.copy_(0.5 + torch.rand(tensor.shape))
        elif name.endswith(("means", "bias", "embed.weight")) or name == "weight":
            tensor.copy_(torch.randn(tensor.shape))
    return network, {name: tensor.double() for name, tensor in network.state_dict().items()}


def statistics(state: dict[str, Tensor], name: str, truncation: float) -> tuple[Tensor, Tensor]:
    """Linear between the two steps of 1/5 that a truncation lies between."""
    means, variances = state[f"{name}means"], state[f"{name}variances"]
    for step in range(5):
        part = truncation * 5 - step
        if 0 <= part <= 1:
            return means[step] * (1 - part) + means[step + 1] * part, variances[step] * (1 - part) + variances[
                step + 1
            ] * part
    raise AssertionError


def block(
    images: Tensor, condition: Tensor, state: dict[str, Tensor], name: str, up: bool, truncation: float
) -> Tensor:
    inputs = images.shape[1]
    mean, variance = statistics(state, f"{name}.statistics.", truncation)
    scale = condition @ state[f"{name}.scale.weight"].T
    offset = condition @ state[f"{name}.offset.weight"].T
    hidden, start = images, 0
    for number in range(4):
        part = slice(start, start := start + (inputs if number == 0 else inputs // 4))
        normal = (hidden - mean[part][:, None, None]) / (variance[part][:, None, None] + 1e-3).sqrt()
        hidden = ((1 + scale[:, part, None, None]) * normal + offset[:, part, None, None]).clamp(min=0)
        weight, bias = state[f"{name}.convs.{number}.weight"], state[f"{name}.convs.{number}.bias"]
        if up and number == 1:
            hidden = functional.conv_transpose2d(hidden, weight, bias, stride=2, padding=1)
        else:
            hidden = functional.conv2d(hidden, weight, bias, padding=weight.shape[-1] // 2)
    shortcut = images[:, : hidden.shape[1]]
    return hidden + (shortcut.repeat_interleave(2, 2).repeat_interleave(2, 3) if up else shortcut)


def attention(images: Tensor, state: dict[str, Tensor]) -> Tensor:
    n, width, side, _ = images.shape
    few = width // 8
    query = torch.einsum("oi,nihw->nohw", state["attention.query.weight"][:, :, 0, 0], images)
    both = torch.einsum("oi,nihw->nohw", state["attention.key_value.weight"][:, :, 0, 0], images)
    cells = both.reshape(n, -1, side // 2, 2, side // 2, 2).amax((3, 5)).flatten(2)
    out = torch.zeros(n, width // 2, side, side).double()
    for sample in range(n):
        for y in range(side):
            for x in range(side):
                scores = [float(query[sample, :, y, x] @ cells[sample, :few, c]) for c in range(cells.shape[2])]
                odds = [math.exp(score - max(scores)) for score in scores]
                for cell, odd in enumerate(odds):
                    out[sample, :, y, x] += odd / sum(odds) * cells[sample, few:, cell]
    return images + torch.einsum("oi,nihw->nohw", state["attention.out.weight"][:, :, 0, 0], out)


def generated(
    state: dict[str, Tensor], settings: BigGANDeepSettings, latents: Tensor, labels: Tensor, truncation: float
) -> Tensor:
    condition = torch.cat([latents, state["embed.weight"][labels]], 1)
    hidden = (condition @ state["start.weight"].T + state["start.bias"]).reshape(len(latents), -1, 4, 4)
    for layer, (up, _, _) in enumerate(settings.layers):
        if layer == settings.attention:
            hidden = attention(hidden, state)
        hidden = block(hidden, condition, state, f"blocks.{layer}", up, truncation)
    mean, variance = statistics(state, "statistics.", truncation)
    normal = (hidden - mean[:, None, None]) / (variance[:, None, None] + 1e-3).sqrt()
    hidden = (state["weight"][:, None, None] * normal + state["bias"][:, None, None]).clamp(min=0)
    return functional.conv2d(hidden, state["last.weight"], state["last.bias"], padding=1).tanh()


@pytest.mark.parametrize("settings", [SETTINGS, dataclasses.replace(SETTINGS, attention=None)], ids=["attention", "no"])
@pytest.mark.parametrize("truncation", [0.0, 0.07, 0.4, 0.55, 0.999, 1.0])
def test_images_are_those_of_the_equations(settings: BigGANDeepSettings, truncation: float) -> None:
    network, state = random(settings)
    latents, labels = torch.randn(2, 3), torch.tensor([3, 0])
    with torch.no_grad():
        images = network.truncated(latents, labels, truncation)
    assert images.shape == (2, *network.image_shape) == (2, 3, 16, 16)
    expected = generated(state, settings, latents.double(), labels, truncation)
    assert 0.1 < expected.std() < 0.9
    torch.testing.assert_close(images.double(), expected, rtol=0, atol=1e-5)
    if truncation == 1:
        torch.testing.assert_close(network(latents, labels), images)


def test_a_truncation_that_rounding_moved_has_the_statistics_of_its_step() -> None:
    """0.14 * 50 is 7.000000000000001: step 7, not step 8."""
    network, _ = random(dataclasses.replace(SETTINGS, steps=51))
    mean, inverse = network.statistics(0.14)
    torch.testing.assert_close(mean, network.statistics.means[7])
    torch.testing.assert_close(inverse, (network.statistics.variances[7] + 1e-3).rsqrt())


def test_the_folded_kernel_is_the_convolution_of_doubled_images() -> None:
    torch.manual_seed(0)
    images, weight = torch.randn(2, 3, 5, 4), torch.randn(6, 3, 3, 3)
    doubled = images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(
        functional.conv_transpose2d(images, doubling(weight), stride=2, padding=1),
        functional.conv2d(doubled, weight, padding=1),
        rtol=0,
        atol=1e-5,
    )


def test_it_is_built_on_meta_and_told_what_it_is() -> None:
    with torch.device("meta"):
        network = BigGANDeep(BigGANDeepSettings())
    assert (network.latent_dim, network.num_classes, network.image_shape) == (128, 1000, (3, 128, 128))
    assert sum(p.numel() for p in network.parameters()) > 50e6
    assert BigGANDeepSettings.from_json(SETTINGS.to_json()) == SETTINGS


def test_a_sample_does_not_depend_on_its_batch_and_can_be_trained() -> None:
    network, _ = random(SETTINGS)
    latents, labels = torch.randn(3, 3), torch.tensor([0, 1, 2])
    images = network(latents, labels)
    torch.testing.assert_close(images[1:2], network(latents[1:2], labels[1:2]), rtol=0, atol=1e-5)
    images.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_what_it_must_be_given() -> None:
    network, _ = random(SETTINGS)
    with pytest.raises(ConfigError, match=r"expected labels \(N,\) from 0 to 3, found none"):
        network(torch.randn(1, 3))
    for truncation in (-0.1, 1.1, float("nan"), "1"):
        with pytest.raises(ConfigError, match="truncation from 0 to 1"):
            network.truncated(torch.randn(1, 3), torch.tensor([0]), truncation)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"width": 0}, "width from 1"),
        ({"width": 1}, "channels inside a block"),
        ({"width": 2, "attention": 4, "layers": SETTINGS.layers}, "channels"),
        ({"attention": 5}, "attention from 0 to 4"),
        ({"attention": -1}, "attention from 0 to 4"),
        ({"eps": 0.0}, "eps from"),
        ({"layers": ((False, 16, 32), (False, 32, 16))}, "found 16 to 32"),
    ],
)
def test_settings_that_cannot_work(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(SETTINGS, **changed)
