"""StyleGAN3's generator against its equations, written plainly in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal, special
from torch import Tensor
from torch.nn import functional

from gan_augment.artifacts import load_state
from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.networks.published.stylegan3 import FourierInput, StyleGAN3, StyleGAN3Settings, SynthesisLayer
from gan_augment.networks.published.stylegan3_filters import low_pass, radial_low_pass

SMALL: dict[str, Any] = {
    "img_resolution": 16, "c_dim": 3, "z_dim": 7, "w_dim": 9, "channel_base": 64, "channel_max": 10, "num_layers": 5,
    "num_critical": 2, "margin_size": 4,
}  # fmt: skip
T = StyleGAN3Settings(**SMALL)
R = StyleGAN3Settings(**{**SMALL, "channel_base": 128}, conv_kernel=1, use_radial_filters=True)
OTHER = StyleGAN3Settings(
    **{**SMALL, "img_resolution": 20, "c_dim": 0, "margin_size": 3, "img_channels": 1}, mapping_layers=3,
    lr_multiplier=0.1, conv_kernel=2, filter_size=5, lrelu_upsampling=3, conv_clamp=None, output_scale=1.0,
    first_cutoff=1.5, first_stopband=3.0, last_stopband_rel=1.5,
)  # fmt: skip
CLAMPED = StyleGAN3Settings(**SMALL, conv_clamp=0.3, lrelu_upsampling=1)
ALL = {"T": T, "R": R, "other": OTHER, "clamped": CLAMPED}


def generator(settings: StyleGAN3Settings, seed: int = 0) -> StyleGAN3:
    """A generator with no parameter at its starting value."""
    torch.manual_seed(seed)
    network = StyleGAN3(settings).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("bias"):
                tensor.add_(0.3 * torch.randn_like(tensor) / (settings.lr_multiplier if "mapping" in name else 1))
            if name.endswith("magnitude_ema"):
                tensor.fill_(0.5 + torch.rand([]))
            if name.endswith("input.affine.weight"):
                tensor.normal_()
            if name.endswith("transform"):
                tensor.copy_(torch.tensor([[1.2, 0.2, 0.1], [-0.3, 1.1, -0.2], [0.0, 0.0, 1.0]]))
    return network


# -- the equations, one sample and one channel at a time ---------------------------------------------------------------


def dense(state: dict[str, Tensor], name: str, vector: Tensor, rate: float = 1.0) -> Tensor:
    weight = state[f"{name}.weight"] * rate / math.sqrt(vector.numel())
    return weight @ vector + state[f"{name}.bias"] * rate


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().mean() + 1e-8).sqrt()


def filtered(image: Tensor, taps: Tensor | None, up: int, down: int, lo: int, hi: int, gain: float) -> Tensor:
    """Zeros stored, zeros around stored, convolved with the whole filter, cells thrown away: `(H, W)` to `(H', W')`."""
    wide = image.new_zeros(image.shape[0] * up, image.shape[1] * up)
    wide[::up, ::up] = image
    wide = functional.pad(wide, [lo, hi, lo, hi])
    if taps is None:
        taps = image.new_ones(1, 1)
    kernel = torch.outer(taps, taps) if taps.ndim == 1 else taps
    made = functional.conv2d(wide[None, None], kernel.flip(0, 1)[None, None])[0, 0] * gain
    return made[::down, ::down]


def fourier(state: dict[str, Tensor], style: Tensor, size: int, rate: int, cutoff: float) -> Tensor:
    c, s, x, y = (dense(state, "synthesis.input.affine", style)).tolist()
    length = math.hypot(c, s)
    c, s, x, y = c / length, s / length, x / length, y / length
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=torch.float64)
    move = torch.tensor([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=torch.float64)
    plane = turn @ move @ state["synthesis.input.transform"]
    weight = state["synthesis.input.weight"]
    waves = torch.zeros(len(weight), size, size, dtype=torch.float64)
    for channel, (freq, phase) in enumerate(
        zip(state["synthesis.input.freqs"], state["synthesis.input.phases"], strict=True)
    ):
        moved = freq @ plane[:2, :2]
        damped = 1 - (moved.norm().item() - cutoff) / (rate / 2 - cutoff)
        for row in range(size):
            for column in range(size):
                at = torch.tensor([column + 0.5 - size / 2, row + 0.5 - size / 2], dtype=torch.float64) / rate
                angle = moved @ at + phase + freq @ plane[:2, 2]
                waves[channel, row, column] = math.sin(2 * math.pi * angle.item()) * min(max(damped, 0.0), 1.0)
    return torch.einsum("oc,chw->ohw", weight, waves) / math.sqrt(len(weight))


def layer(
    settings: StyleGAN3Settings, state: dict[str, Tensor], name: str, images: Tensor, style: Tensor,
    rates: tuple[int, int], size: int, *, to_image: bool,
) -> Tensor:  # fmt: skip
    weight, kernel = state[f"{name}.weight"], state[f"{name}.weight"].shape[-1]
    scale = dense(state, f"{name}.affine", style)
    if to_image:
        own = weight * (scale / math.sqrt(len(images)))[:, None, None]
    else:
        weight = weight / weight.square().mean((1, 2, 3), keepdim=True).sqrt()
        own = weight * (scale / scale.square().mean().sqrt())[:, None, None]
        own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
    own = own / state[f"{name}.magnitude_ema"].sqrt()
    hidden = functional.conv2d(images[None], own, padding=kernel - 1)[0] + state[f"{name}.bias"][:, None, None]
    limit = math.inf if settings.conv_clamp is None else settings.conv_clamp
    if to_image:
        return hidden.clamp(-limit, limit)
    peak = max(rates) * settings.lrelu_upsampling
    up, down = peak // rates[0], peak // rates[1]
    up_taps, down_taps = (settings.filter_size * by if by > 1 else 1 for by in (up, down))
    total = (size - 1) * down + 1 - (images.shape[-1] + kernel - 1) * up + up_taps + down_taps - 2
    lo = (total + up) // 2
    made = []
    for channel in hidden:
        high = filtered(channel, state.get(f"{name}.up_filter"), up, 1, lo, total - lo, up**2)
        high = torch.where(high > 0, high, 0.2 * high) * math.sqrt(2)
        made.append(filtered(high.clamp(-limit, limit), state.get(f"{name}.down_filter"), 1, down, 0, 0, 1.0))
    return torch.stack(made)


def naive(network: StyleGAN3, latents: Tensor, label: int) -> Tensor:
    """The image `(C, H, W)` of latents `(z_dim,)`."""
    settings = network.settings
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}
    style = unit(latents.double())
    if settings.c_dim:
        chosen = functional.one_hot(torch.tensor(label), settings.c_dim).double()
        style = torch.cat([style, unit(dense(state, "mapping.embed", chosen))])
    for number in range(settings.mapping_layers):
        style = dense(state, f"mapping.fc{number}", style, settings.lr_multiplier)
        style = torch.where(style > 0, style, 0.2 * style) * math.sqrt(2)
    names = sorted(
        {name.split(".")[1] for name in state if name.startswith("synthesis.L")}, key=lambda n: int(n[1:3].strip("_"))
    )
    made = settings.bands()
    images = fourier(state, style, made[0].size, made[0].rate, made[0].cutoff)
    before = made[0].rate
    for number, name in enumerate(names):
        band, last = made[number], number == len(names) - 1
        images = layer(
            settings, state, f"synthesis.{name}", images, style, (before, band.rate), band.size, to_image=last
        )
        assert name == f"L{number}_{images.shape[-1]}_{len(images)}"
        before = band.rate
    return images * settings.output_scale


@pytest.mark.parametrize("name", ALL)
def test_images_are_those_of_the_equations(name: str) -> None:
    network = generator(ALL[name])
    latents, labels = torch.randn(2, network.latent_dim), torch.tensor([2, 0])
    with torch.no_grad():
        images = network(latents, labels)
        exact = network.double()(latents.double(), labels)
    assert images.shape == (2, *network.image_shape)
    assert images.is_contiguous()
    for image, double, z, label in zip(images, exact, latents, labels.tolist(), strict=True):
        expected = naive(network, z, label)
        torch.testing.assert_close(double, expected, rtol=0, atol=2e-8)  # 1e-8 stands beside sums
        torch.testing.assert_close(image.double(), expected, rtol=0, atol=2e-5 * expected.abs().max().item())


def test_layers_are_those_of_the_released_networks() -> None:
    configuration_t = (
        "L0_36_512 L1_36_512 L2_52_512 L3_52_512 L4_84_512 L5_148_512 L6_148_512 L7_276_323 L8_276_203 L9_532_128 "
        "L10_1044_81 L11_1044_51 L12_1044_32 L13_1024_32 L14_1024_3"
    )
    configuration_r = (
        "L0_36_1024 L1_36_1024 L2_52_1024 L3_52_1024 L4_84_1024 L5_148_1024 L6_148_1024 L7_276_645 L8_276_406 "
        "L9_532_256 L10_1044_161 L11_1044_102 L12_1044_64 L13_1024_64 L14_1024_3"
    )
    twice = {"conv_kernel": 1, "use_radial_filters": True, "channel_base": 65536, "channel_max": 1024}
    for names, more in ((configuration_t, {}), (configuration_r, twice)):
        with torch.device("meta"):
            network = StyleGAN3(StyleGAN3Settings(img_resolution=1024, **more))  # type: ignore[arg-type]
        assert network.synthesis.layers == names.split()
        assert network.style_layers == 16
        radial = [name for name, tensor in network.synthesis.named_buffers() if tensor.ndim == 2 and "filter" in name]
        assert len(radial) == (12 if more else 0)
    assert network.synthesis.state_dict()["L4_84_1024.up_filter"].shape == (24,)
    assert network.synthesis.state_dict()["L4_84_1024.down_filter"].shape == (12, 12)


@pytest.mark.parametrize(
    ("taps", "cutoff", "width", "rate"), [(12, 2.0, 8.4, 64), (24, 40.0, 60.0, 512), (7, 3.0, 9.0, 16)]
)
def test_filters_are_scipys(taps: int, cutoff: float, width: float, rate: float) -> None:
    expected = signal.firwin(taps, cutoff, width=width, fs=rate)
    np.testing.assert_allclose(low_pass(taps, cutoff, width, rate).numpy(), expected, atol=1e-7)
    beta = signal.kaiser_beta(signal.kaiser_atten(taps, width / (rate / 2)))
    window = signal.get_window(("kaiser", beta), taps, fftbins=False)
    plane = np.empty((taps, taps))
    for row in range(taps):
        for column in range(taps):
            radius = math.hypot(row - (taps - 1) / 2, column - (taps - 1) / 2) / rate
            jinc = special.j1(2 * math.pi * cutoff * radius) / radius if radius else math.pi * cutoff
            plane[row, column] = jinc * window[row] * window[column]
    np.testing.assert_allclose(radial_low_pass(taps, cutoff, width, rate).numpy(), plane / plane.sum(), atol=1e-7)


def test_a_moved_plane_moves_the_waves() -> None:
    made = T.bands()[0]
    torch.manual_seed(0)
    waves = FourierInput(9, made).double()
    style = torch.randn(1, 9).double()
    still = waves(style)
    assert still.abs().max() > 0.1
    waves.transform[0, 2] = 2 / made.rate  # two cells to the left
    torch.testing.assert_close(waves(style)[..., :-2], still[..., 2:], rtol=0, atol=1e-6)
    waves.transform.copy_(torch.diag(torch.tensor([50.0, 50.0, 1.0])))  # far beyond the band
    assert waves(style).abs().max() < 0.1 * still.abs().max()


def test_filters_keep_a_constant() -> None:
    """Away from the border a layer of 1 x 1 is then its convolution and activation of one cell."""
    before, after = R.bands()[:2]
    torch.manual_seed(0)
    one, style = SynthesisLayer(R, before, after, radial=True).double(), torch.randn(9).double()
    with torch.no_grad():
        one.bias.normal_()
        made = one(torch.ones(1, before.channels, before.size, before.size).double(), style[None])[0]
        own = one.weight[:, :, 0, 0] * dense(one.state_dict(), "affine", style)
        cell = own.sum(1) / own.square().sum(1).sqrt() + one.bias
    cell = torch.where(cell > 0, cell, 0.2 * cell) * math.sqrt(2)
    torch.testing.assert_close(made[:, 8:-8, 8:-8], cell[:, None, None].expand(-1, 8, 8), rtol=0.01, atol=0)


def test_weights_go_into_a_network_without_memory_and_images_do_not_depend_on_gradients_or_batch() -> None:
    source = generator(R)
    with torch.device("meta"):
        network = StyleGAN3(R)
    load_state(network, source.state_dict(), "a test", adopt=True)
    latents, labels = torch.randn(3, 7), torch.tensor([0, 1, 2])
    with torch.no_grad():
        images = network.eval()(latents, labels)
        alone = network(latents[1:2], labels[1:2])
    torch.testing.assert_close(alone, images[1:2], rtol=0, atol=2e-5 * images.std().item())
    with_gradients = source(latents, labels)
    torch.testing.assert_close(with_gradients, images, rtol=0, atol=2e-5 * images.std().item())
    with_gradients.square().sum().backward()
    for name, parameter in source.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_each_style_counts_and_noise_does_not() -> None:
    network = generator(T)
    with torch.no_grad():
        styles = network.styles(torch.randn(1, 7), torch.tensor([1]))[:, None].repeat(1, network.style_layers, 1)
        images = network.images(styles)
        assert torch.equal(network.images(styles, "none"), images)
        assert torch.equal(network.images(styles, lambda number, shape: torch.full((1, 1, *shape), torch.nan)), images)
        for number in range(network.style_layers):
            moved = styles.clone()
            moved[:, number] = torch.randn(9)
            assert not torch.allclose(network.images(moved), images), number
    with pytest.raises(SynthesizerError, match="expected labels"):
        network(torch.randn(1, 7))


def test_settings_survive_json() -> None:
    for settings in ALL.values():
        assert StyleGAN3Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"img_resolution": 4096}, "img_resolution from 4 to 2048"),
        ({"c_dim": -1}, "c_dim"),
        ({"z_dim": 10**9}, "z_dim from 1"),
        ({"mapping_layers": 0}, "mapping_layers"),
        ({"channel_base": 8}, "channel_base"),
        ({"num_layers": 10**6}, "num_layers from 2 to 64"),
        ({"num_critical": 5}, "num_critical from 1 to 4"),
        ({"num_critical": 0}, "num_critical"),
        ({"first_cutoff": 8.0, "first_stopband": 9.0}, "first_cutoff below"),
        ({"first_stopband": 2.0}, "first_cutoff below"),
        ({"last_stopband_rel": 0.5}, "last_stopband_rel from 1"),
        ({"margin_size": 10**6}, "margin_size"),
        ({"output_scale": float("nan")}, "output_scale"),
        ({"conv_kernel": 1000}, "conv_kernel"),
        ({"filter_size": 10**4}, "filter_size"),
        ({"lrelu_upsampling": 16}, "lrelu_upsampling"),
        ({"conv_clamp": -1.0}, "conv_clamp"),
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        StyleGAN3Settings(**{**SMALL, **given})
