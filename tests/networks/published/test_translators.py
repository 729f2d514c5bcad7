"""Generators of pix2pix and CycleGAN: parity with networks written from the papers, and with equations in float64."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.artifacts import load_state
from gan_augment.errors import ConfigError, DataError
from gan_augment.networks.published.base import Translator
from gan_augment.networks.published.translators import (
    ResnetSettings,
    ResnetTranslator,
    UnetSettings,
    UnetTranslator,
    _Block,
    _Layer,
    _mirrored,
)
from gan_augment.synthesizers.readers import translation
from gan_augment.synthesizers.readers.found import Found

MakeNorm = Callable[[int], nn.Module]
ARCHITECTURES = {"resnet_translator": ResnetTranslator, "unet_translator": UnetTranslator}
NORMS: dict[str, MakeNorm] = {
    "instance": nn.InstanceNorm2d,
    "tracked": functools.partial(nn.InstanceNorm2d, track_running_stats=True),  # as older releases had it
    "batch": nn.BatchNorm2d,
    "none": nn.Identity,
}


class Residual(nn.Module):
    """R(k) of Zhu et al. 2017: two convolutions of 3x3 with reflection padding; dropout between them, if any."""

    def __init__(self, k: int, norm: MakeNorm, bias: bool, dropout: bool) -> None:
        super().__init__()
        half = [nn.ReflectionPad2d(1), nn.Conv2d(k, k, 3, bias=bias), norm(k)]
        more = [nn.ReflectionPad2d(1), nn.Conv2d(k, k, 3, bias=bias), norm(k)]
        self.conv_block = nn.Sequential(*half, nn.ReLU(), *[nn.Dropout(0.5)] * dropout, *more)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv_block(x)
        return out


class Resnet(nn.Module):
    """c7s1-k, d2k, d4k, R4k ..., u2k, uk, c7s1-C of Zhu et al. 2017, appendix 7.2, in one sequence named `model`."""

    def __init__(
        self, inputs: int, outputs: int, k: int, blocks: int, norm: MakeNorm, *, bias: bool, dropout: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, k, 7, bias=bias), norm(k), nn.ReLU()]
        for n in (k, 2 * k):
            layers += [nn.Conv2d(n, 2 * n, 3, stride=2, padding=1, bias=bias), norm(2 * n), nn.ReLU()]
        layers += [Residual(4 * k, norm, bias, dropout) for _ in range(blocks)]
        for n in (2 * k, k):
            up = nn.ConvTranspose2d(2 * n, n, 3, stride=2, padding=1, output_padding=1, bias=bias)
            layers += [up, norm(n), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(k, outputs, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class Nested(nn.Module):
    """A level of the U-Net of Isola et al. 2017, appendix 6.1.1, with the deeper ones in its middle."""

    def __init__(self, sizes: list[int], outer: tuple[int, int], norm: MakeNorm, *, bias: bool, top: bool) -> None:
        super().__init__()
        (inputs, outputs), inner, bottom = outer, sizes[0], len(sizes) == 1
        down: list[nn.Module] = [nn.Conv2d(inputs, inner, 4, 2, 1, bias=bias)]
        up: list[nn.Module] = [nn.ReLU()]
        up += [nn.ConvTranspose2d(inner if bottom else 2 * inner, outputs, 4, 2, 1, bias=bias or top)]
        if not top:
            down, up = [nn.LeakyReLU(0.2), *down], [*up, norm(outputs)]
            if not bottom:
                down += [norm(inner)]
        middle = [] if bottom else [Nested(sizes[1:], (inner, inner), norm, bias=bias, top=False)]
        self.model = nn.Sequential(*down, *middle, *up, *[nn.Tanh()] * top)
        self.top = top

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out if self.top else torch.cat([x, out], dim=1)


class Unet(nn.Module):
    """The U-Net: encoder Ck-C2k-C4k-C8k-C8k ..., each level beside its mirror in the decoder."""

    def __init__(self, inputs: int, outputs: int, k: int, depth: int, norm: MakeNorm, *, bias: bool) -> None:
        super().__init__()
        sizes = [k * min(2**level, 8) for level in range(depth)]
        self.model = Nested(sizes, (inputs, outputs), norm, bias=bias, top=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """Draws biases, and weights and statistics of norms, anew, so that all of them count."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim == 1:
                tensor.copy_(torch.rand_like(tensor) + (0.5 if "var" in name or "weight" in name else -0.5))
    return network.eval()


def reference(kind: str, norm: str, **more: Any) -> nn.Module:
    bias = norm in ("instance", "tracked")
    if kind == "unet":
        return stirred(Unet(3, 2, 4, more.get("depth", 5), NORMS[norm], bias=bias))
    return stirred(Resnet(3, 2, 4, more.get("blocks", 2), NORMS[norm], bias=bias, dropout=more.get("dropout", False)))


def network_of(found: Found) -> Translator:
    with torch.device("meta"):
        network: Translator = ARCHITECTURES[found.generator.architecture](found.generator.settings)
    load_state(network, found.generator.state, "a generator", adopt=True)
    return network.eval()


CASES = [
    ("resnet", "instance", {}),
    ("resnet", "instance", {"dropout": True, "blocks": 6}),
    ("resnet", "tracked", {"blocks": 1}),
    ("resnet", "batch", {"dropout": True}),
    ("resnet", "batch", {"blocks": 0}),
    ("resnet", "none", {}),
    ("unet", "instance", {}),
    ("unet", "tracked", {}),
    ("unet", "batch", {}),
    ("unet", "batch", {"depth": 7}),
    ("unet", "none", {"depth": 6}),
]


@pytest.mark.parametrize(("kind", "norm", "more"), CASES)
@torch.no_grad()
def test_outputs_are_those_of_the_papers_networks(kind: str, norm: str, more: dict[str, Any]) -> None:
    original = reference(kind, norm, **more)
    network = network_of(translation.read(original.state_dict(), Path("latest_net_G.pth")))
    source = torch.rand(2, 3, 2 * network.stride, network.stride if kind == "unet" else 12) * 2 - 1
    if norm == "tracked":
        original.train()  # images by their own statistics; the running ones only lie in the file
    made, expected = network(source), original(source)
    assert made.shape == (2, 2, *source.shape[2:])
    assert made.std() > 0.01
    torch.testing.assert_close(made, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["resnet", "unet"])
@torch.no_grad()
def test_statistics_of_each_image_are_those_of_training_at_a_batch_of_one(kind: str) -> None:
    original = reference(kind, "batch")
    network = network_of(translation.read(original.state_dict(), Path("x.pth"), statistics="image"))
    sources = torch.rand(3, 3, 32, 32) * 2 - 1
    expected = torch.cat([original.train()(source[None]) for source in sources])
    torch.testing.assert_close(network(sources), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(original.eval()(sources), expected, atol=1e-2)


def by_hand(images: Tensor, layer: _Layer) -> Tensor:
    """Convolution of the mirrored image as a sum over the kernel's cells, then (x - mean) / sqrt(var + eps)."""
    weight, bias = layer.conv.weight, layer.conv.bias
    assert bias is not None
    size = images.shape[-1]
    mirror = [1, *range(size), size - 2]
    padded = images[:, :, mirror][:, :, :, mirror]
    out = bias.reshape(-1, 1, 1).expand(len(images), -1, size, size)
    for i in range(3):
        for j in range(3):
            out = out + torch.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + size, j : j + size])
    mean = out.sum((2, 3), keepdim=True) / size**2
    variance = ((out - mean) ** 2).sum((2, 3), keepdim=True) / size**2
    return (out - mean) / (variance + 1e-5) ** 0.5


@torch.no_grad()
def test_a_block_in_float64() -> None:
    """Johnson et al. 2016 and Zhu et al. 2017: x + norm(conv(relu(norm(conv(x)))))."""
    torch.manual_seed(0)
    block, images = _Block(3, "instance").double(), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    hidden = by_hand(images, block.first).clamp(min=0)
    torch.testing.assert_close(block(images), images + by_hand(hidden, block.second))


def test_the_mirrored_border() -> None:
    row = torch.arange(5.0).expand(1, 1, 5, 5)
    assert _mirrored(row, 3)[0, 0, 0].tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 3, 2, 1]


@torch.no_grad()
def test_the_unet_in_float64() -> None:
    """Each decoder level is the transposed convolution of relu(its mirror beside what came from below)."""
    torch.manual_seed(0)
    network = UnetTranslator(UnetSettings(source_channels=1, channels=1, width=2, depth=5, norm="none")).double().eval()
    source = torch.randn(1, 1, 32, 32, dtype=torch.float64)
    encoded = [functional.conv2d(source, network.first.weight, None, 2, 1)]
    for layer in network.downs:
        lower = torch.where(encoded[-1] > 0, encoded[-1], 0.2 * encoded[-1])
        encoded.append(functional.conv2d(lower, layer.conv.weight, None, 2, 1))  # type: ignore[union-attr, arg-type]
    lower = torch.where(encoded[-1] > 0, encoded[-1], 0.2 * encoded[-1])
    hidden = functional.conv2d(lower, network.bottom.weight, None, 2, 1)
    for layer, mirror in zip(network.ups, encoded[::-1], strict=True):
        up = functional.conv_transpose2d(hidden.clamp(min=0), layer.conv.weight, None, 2, 1)  # type: ignore[union-attr, arg-type]
        hidden = torch.cat([mirror, up], dim=1)
    out = functional.conv_transpose2d(hidden.clamp(min=0), network.last.weight, network.last.bias, 2, 1)
    torch.testing.assert_close(network(source), torch.tanh(out))


@pytest.mark.parametrize("norm", ["instance", "batch", "image", "none"])
def test_they_can_be_trained_and_leave_their_source_alone(norm: str) -> None:
    for network in (
        ResnetTranslator(ResnetSettings(width=2, blocks=1, norm=norm)),  # type: ignore[arg-type]
        UnetTranslator(UnetSettings(width=2, depth=5, norm=norm)),  # type: ignore[arg-type]
    ):
        source = torch.rand(2, 3, 32, 32, requires_grad=True)
        before = source.detach().clone()
        network(source).square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert source.grad is not None
        assert torch.equal(source, before)


def test_what_they_tell_of_themselves() -> None:
    resnet = ResnetTranslator(ResnetSettings(source_channels=1, channels=4, width=2, blocks=1))
    assert (resnet.source_channels, resnet.channels, resnet.stride) == (1, 4, 4)
    unet = UnetTranslator(UnetSettings(source_channels=1, channels=4, width=2, depth=7))
    assert (unet.source_channels, unet.channels, unet.stride) == (1, 4, 128)


@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (1, 3, 30, 32), (1, 3, 32, 4), (3, 32, 32), (1, 3, 0, 32)])
def test_sources_that_do_not_fit(shape: tuple[int, ...]) -> None:
    for network in (
        ResnetTranslator(ResnetSettings(width=2, blocks=1)),
        UnetTranslator(UnetSettings(width=2, depth=5)),
    ):
        with pytest.raises(DataError, match="expected source images"):
            network(torch.zeros(shape))


@pytest.mark.parametrize(
    ("settings", "wrong", "told"),
    [
        (ResnetSettings, {"source_channels": 0}, "source_channels from 1"),
        (ResnetSettings, {"channels": 10**6}, "channels from 1"),
        (ResnetSettings, {"width": 10**6}, "width from 1 to 1024"),
        (ResnetSettings, {"blocks": 1000}, "blocks from 0 to 64"),
        (UnetSettings, {"source_channels": 0}, "source_channels from 1"),
        (UnetSettings, {"channels": True}, "channels from 1"),
        (UnetSettings, {"width": -1}, "width from 1 to 1024"),
        (UnetSettings, {"depth": 13}, "depth from 5 to 12"),
    ],
)
def test_settings_are_bounded(settings: Any, wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        settings(**wrong)


@pytest.mark.parametrize("settings", [ResnetSettings(norm="image"), UnetSettings(width=32, depth=7)])
def test_settings_come_back_from_json(settings: Any) -> None:
    assert type(settings).from_json(settings.to_json()) == settings
    with pytest.raises(ConfigError, match="norm"):
        type(settings).from_json(settings.to_json() | {"norm": "group"})
