"""StyleGAN2 against its equations, written out for each sample in float64, and against the package stylegan2_torch."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.peers.published import stylegan2, stylegan2_of
from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.networks.published.stylegan2 import StyleGAN2, StyleGAN2Settings
from gan_augment.networks.published.stylegan2_discriminator import (
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorSettings,
)
from tests.peers import peer_or_skip

State = Mapping[str, Tensor]
SMALL: dict[str, Any] = {"img_resolution": 16, "channel_base": 128, "channel_max": 12, "mapping_layers": 2}


def filled(network: nn.Module) -> nn.Module:
    """Gives what starts at zero other values, so that it counts."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return network.eval()


def generator_of(**settings: Any) -> StyleGAN2:
    torch.manual_seed(0)
    network = StyleGAN2(StyleGAN2Settings(z_dim=10, w_dim=14, **SMALL | settings))
    filled(network)
    return network


def discriminator_of(**settings: Any) -> StyleGAN2Discriminator:
    torch.manual_seed(0)
    network = StyleGAN2Discriminator(StyleGAN2DiscriminatorSettings(**SMALL | settings))
    filled(network)
    return network


# -- the equations, one sample at a time ------------------------------------------------------------------------------


def full(image: Tensor, kernel: Tensor) -> Tensor:
    """Every cell of the convolution of `(..., H, W)` with `(h, w)`: copies of the image, moved and weighted."""
    height, width = kernel.shape
    made = image.new_zeros(*image.shape[:-2], image.shape[-2] + height - 1, image.shape[-1] + width - 1)
    for a, b in itertools.product(range(height), range(width)):
        made[..., a : a + image.shape[-2], b : b + image.shape[-1]] += kernel[a, b] * image
    return made


def spread(image: Tensor) -> Tensor:
    """Zeros between the cells of `(C, H, W)`."""
    made = image.new_zeros(image.shape[0], 2 * image.shape[1] - 1, 2 * image.shape[2] - 1)
    made[:, ::2, ::2] = image
    return made


def doubled(image: Tensor, kernel: Tensor) -> Tensor:
    """`(C, 2H, 2W)`: zeros inserted, the filter of 4 x 4 centred on the cells of both phases."""
    side = 2 * image.shape[-1]
    return 4 * full(spread(image), kernel)[:, 1 : 1 + side, 1 : 1 + side]


def halved(image: Tensor, kernel: Tensor) -> Tensor:
    return full(image, kernel)[:, 2:-1:2, 2:-1:2]


def convolved(image: Tensor, weight: Tensor, up: Tensor | None = None) -> Tensor:
    """Correlation of `(I, H, W)` with `(O, I, k, k)`; with a filter `up` that of section 4.3, twice the size."""
    side, k = image.shape[-1], weight.shape[-1]
    made = []
    for kernels in weight:
        if up is None:
            wide = sum(full(channel, kernel.flip(0, 1)) for channel, kernel in zip(image, kernels, strict=True))
            made.append(wide[k // 2 : k // 2 + side, k // 2 : k // 2 + side])  # type: ignore[index]
        else:
            wide = sum(full(channel, kernel) for channel, kernel in zip(spread(image), kernels, strict=True))
            made.append(4 * full(wide, up)[2 : 2 + 2 * side, 2 : 2 + 2 * side])  # type: ignore[arg-type]
    return torch.stack(made)


def lrelu(values: Tensor) -> Tensor:
    return math.sqrt(2) * torch.where(values > 0, values, 0.2 * values)


def limited(values: Tensor, clamp: float | None) -> Tensor:
    return values if clamp is None else values.clip(-clamp, clamp)


def dense(state: State, name: str, vector: Tensor, rate: float = 1.0) -> Tensor:
    weight = state[f"{name}.weight"]
    return (weight * rate / math.sqrt(weight.shape[1])) @ vector + state[f"{name}.bias"] * rate


def unit(vector: Tensor) -> Tensor:
    return vector / (vector.square().mean() + 1e-8).sqrt()


def style_of(state: State, settings: Any, latents: Tensor | None, label: int) -> Tensor:
    parts = [] if latents is None else [unit(latents)]
    if settings.c_dim:
        one_hot = torch.eye(settings.c_dim, dtype=torch.float64)[label]
        parts.append(unit(dense(state, "mapping.embed", one_hot)))
    style = torch.cat(parts)
    for number in range(settings.mapping_layers):
        style = lrelu(dense(state, f"mapping.fc{number}", style, settings.lr_multiplier))
    return style


def layer_of(
    state: State, name: str, image: Tensor, style: Tensor, noise: str, clamp: float | None, up: bool
) -> Tensor:  # fmt: skip
    weight = state[f"{name}.weight"] * dense(state, f"{name}.affine", style)[None, :, None, None]  # equation 1
    weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()  # equation 3
    made = convolved(image, weight, state[f"{name}.resample_filter"] if up else None)
    if noise == "const":
        made = made + state[f"{name}.noise_strength"] * state[f"{name}.noise_const"]
    return limited(lrelu(made + state[f"{name}.bias"][:, None, None]), clamp)


def image_of(state: State, settings: StyleGAN2Settings, styles: Tensor, noise: str) -> Tensor:
    """The image of one style a layer, `(layers, W)`."""
    hidden, shown, done, level = state["synthesis.b4.const"], None, 0, 4
    clamp, resnet = settings.conv_clamp, settings.architecture == "resnet"
    while level <= settings.img_resolution:
        block, before = f"synthesis.b{level}", hidden
        if level > 4:
            hidden = layer_of(state, f"{block}.conv0", hidden, styles[done], noise, clamp, up=True)
            done += 1
        hidden = layer_of(state, f"{block}.conv1", hidden, styles[done], noise, clamp, up=False)
        done += 1
        if resnet and level > 4:
            weight = state[f"{block}.skip.weight"]
            beside = convolved(before, weight / math.sqrt(weight.shape[1]))
            hidden = (doubled(beside, state[f"{block}.skip.resample_filter"]) + hidden) / math.sqrt(2)
        if shown is not None:
            shown = doubled(shown, state[f"{block}.resample_filter"])
        if settings.architecture == "skip" or level == settings.img_resolution:
            weight = state[f"{block}.torgb.weight"]
            scale = dense(state, f"{block}.torgb.affine", styles[done]) / math.sqrt(weight.shape[1])
            seen = convolved(hidden, weight * scale[None, :, None, None]) + state[f"{block}.torgb.bias"][:, None, None]
            shown = limited(seen, clamp) + (0 if shown is None else shown)
        level *= 2
    assert shown is not None
    return shown


def exactly(network: nn.Module) -> State:
    return {name: tensor.double() for name, tensor in network.state_dict().items()}


CASES = [
    pytest.param(
        {"architecture": architecture, "c_dim": c_dim, "conv_clamp": clamp}, id=f"{architecture}-{c_dim}-{clamp}"
    )
    for architecture, c_dim, clamp in [
        ("skip", 0, None),
        ("skip", 3, 0.9),
        ("resnet", 3, None),
        ("resnet", 0, 0.9),
        ("orig", 0, None),
    ]
]


@pytest.mark.parametrize("settings", CASES)
def test_images_are_those_of_the_equations(settings: dict[str, Any]) -> None:
    network = generator_of(**settings)
    state, generator = exactly(network), torch.Generator().manual_seed(1)
    latents, labels = torch.randn(2, 10, dtype=torch.float64, generator=generator), torch.tensor([0, 2])
    styles = [style_of(state, network.settings, *pair) for pair in zip(latents, labels.tolist(), strict=True)]
    layers = torch.stack(styles)[:, None].expand(-1, network.style_layers, -1)
    layers = layers * torch.linspace(0.5, 1.5, network.style_layers)[:, None]  # each layer its own
    noises: tuple[Any, Any] = ("const", "none")
    expected = {
        noise: image_of(state, network.settings, layer, noise) for layer, noise in zip(layers, noises, strict=True)
    }
    most = max(image.abs().max() for image in expected.values())
    with torch.no_grad():
        assert (network.styles(latents.float(), labels) - torch.stack(styles)).abs().max() < 1e-5
        single = {noise: network.images(layers.float(), noise) for noise in noises}
        network.double()
        assert (network.styles(latents, labels) - torch.stack(styles)).abs().max() < 1e-12
        double = {noise: network.images(layers, noise) for noise in noises}
    for number, noise in enumerate(noises):
        assert single[noise].shape == (2, *network.image_shape)
        assert (single[noise][number] - expected[noise]).abs().max() < 1e-5 * most
        assert (double[noise][number] - expected[noise]).abs().max() < 1e-10 * most
        with_gradients = network.images(layers, noise)
        assert with_gradients.requires_grad
        assert (with_gradients[number] - expected[noise]).abs().max() < 1e-10 * most


def scored(state: State, settings: StyleGAN2DiscriminatorSettings, images: Tensor, labels: list[int]) -> Tensor:
    """Logits of a batch that is one group."""
    clamp, narrow, level = settings.conv_clamp, math.sqrt(0.5), settings.img_resolution

    def activated(name: str, image: Tensor, gain: float = 1.0, kernel: Tensor | None = None) -> Tensor:
        weight = state[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        if kernel is None:
            made = convolved(image, weight)
        else:
            blurred = full(image, kernel)[:, 1:-1, 1:-1]  # padded by 2: what a stride of 2 starts from
            made = convolved(blurred, weight)[:, 1:-1:2, 1:-1:2]
        made = lrelu(made + state[f"{name}.bias"][:, None, None])
        return gain * limited(made, None if name == "b4.fromrgb" else clamp)

    hidden: list[Tensor] = []
    seen = list(images)
    while level > 4:
        block = f"b{level}"
        if settings.architecture == "skip" or level == settings.img_resolution:
            new = [activated(f"{block}.fromrgb", image) for image in seen]
            hidden = [a + b for a, b in zip(hidden, new, strict=True)] if hidden else new
        if settings.architecture == "skip":
            seen = [halved(image, state[f"{block}.resample_filter"]) for image in seen]
        before, resnet = hidden, settings.architecture == "resnet"
        kernel = state[f"{block}.conv1.resample_filter"]
        hidden = [activated(f"{block}.conv0", image) for image in hidden]
        hidden = [activated(f"{block}.conv1", image, narrow if resnet else 1.0, kernel) for image in hidden]
        if resnet:
            weight = state[f"{block}.skip.weight"]
            weight = weight / math.sqrt(weight.shape[1])
            beside = [
                narrow * convolved(halved(image, state[f"{block}.skip.resample_filter"]), weight) for image in before
            ]
            hidden = [a + b for a, b in zip(beside, hidden, strict=True)]
        level //= 2
    if settings.architecture == "skip":
        hidden = [a + activated("b4.fromrgb", image) for a, image in zip(hidden, seen, strict=True)]
    stacked = torch.stack(hidden)
    if settings.mbstd_num_channels:
        parts = stacked.reshape(len(stacked), settings.mbstd_num_channels, -1)
        spread = (parts.var(0, correction=0) + 1e-8).sqrt().mean(1)
        more = spread[None, :, None, None].expand(len(stacked), -1, 4, 4)
        stacked = torch.cat([stacked, more], dim=1)
    logits = []
    for image, label in zip(stacked, labels, strict=True):
        features = lrelu(dense(state, "b4.fc", activated("b4.conv", image).flatten()))
        out = dense(state, "b4.out", features)
        if settings.c_dim:
            cmap = style_of(state, settings, None, label)
            out = (out * cmap).sum() / math.sqrt(len(cmap))
        logits.append(out.reshape(()))
    return torch.stack(logits)


@pytest.mark.parametrize("settings", CASES)
def test_logits_are_those_of_the_equations(settings: dict[str, Any]) -> None:
    network = discriminator_of(**settings, mbstd_num_channels=0 if settings["c_dim"] else 2)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels, kept = torch.tensor([0, 2]), images.clone()
    expected = scored(exactly(network), network.settings, images, labels.tolist())
    with torch.no_grad():
        assert (network(images.float(), labels) - expected).abs().max() < 1e-5 * expected.abs().max()
        network.double()
        assert (network(images, labels) - expected).abs().max() < 1e-10 * expected.abs().max()
    assert torch.equal(images, kept)  # it saves memory by writing over what is its own only
    assert (network(images, labels) - expected).abs().max() < 1e-10 * expected.abs().max()


# -- the package stylegan2_torch --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package() -> Any:
    return peer_or_skip("stylegan2_torch")


def renamed(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The package's weights by this project's names; theirs have leading dimensions of 1."""
    shapes = {new: state[old] for old, new in names.items()}
    return {name: tensor.squeeze(0) if tensor.ndim == 5 else tensor for name, tensor in shapes.items()}


def test_images_are_those_of_the_package(package: Any) -> None:
    settings = StyleGAN2Settings(
        img_resolution=16, img_channels=1, channel_base=128, channel_max=16, mapping_layers=3, z_dim=20, w_dim=20
    )
    theirs = stylegan2(package, settings)
    own = stylegan2_of(theirs, settings)
    noises = [own.get_buffer(f"synthesis.{layer}.noise_const")[None, None] for layer in (
        "b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"
    )]  # fmt: skip
    latents = torch.randn(4, 20)
    with torch.no_grad():
        expected, made = theirs([latents], noises=noises), own(latents)
    assert expected.abs().max() > 0.1
    assert (made - expected).abs().max() < 1e-5 * expected.abs().max()


def test_logits_are_those_of_the_package(package: Any) -> None:
    torch.manual_seed(0)
    theirs = filled(package.Discriminator(16, {4: 16, 8: 16, 16: 8}))
    settings = StyleGAN2DiscriminatorSettings(img_resolution=16, img_channels=1, channel_base=128, channel_max=16)
    own = StyleGAN2Discriminator(settings).eval()
    names = {"blocks.0.0.weight": "b16.fromrgb.weight", "blocks.0.1.bias": "b16.fromrgb.bias"}
    for number, level in ((1, 16), (2, 8)):
        for old, new in (("conv.0.weight", "conv0.weight"), ("conv.1.bias", "conv0.bias"),
                         ("down_conv.1.weight", "conv1.weight"), ("down_conv.2.bias", "conv1.bias"),
                         ("skip.1.weight", "skip.weight")):  # fmt: skip
            names[f"blocks.{number}.{old}"] = f"b{level}.{new}"
    names |= {"final_conv.0.weight": "b4.conv.weight", "final_conv.1.bias": "b4.conv.bias"}
    for old, new in (("final_relu", "b4.fc"), ("final_linear", "b4.out")):
        names |= {f"{old}.{part}": f"{new}.{part}" for part in ("weight", "bias")}
    load_state(own, own.state_dict() | renamed(theirs.state_dict(), names), "stylegan2_torch")
    images = torch.randn(8, 1, 16, 16)
    with torch.no_grad():
        expected = theirs(images)[:, 0]
        assert (own(images) - expected).abs().max() < 1e-5 * expected.abs().max()


# -- what it is built with, and how it is used ------------------------------------------------------------------------


def test_it_is_built_without_memory_and_takes_weights_over() -> None:
    settings = StyleGAN2Settings(**SMALL, c_dim=3, z_dim=10, w_dim=14)
    with torch.device("meta"):
        empty = StyleGAN2(settings)
        huge = StyleGAN2(StyleGAN2Settings(img_resolution=2048, channel_base=2**22, channel_max=2**13))
    assert all(tensor.is_meta for tensor in huge.state_dict().values())
    network = generator_of(c_dim=3)
    load_state(empty, {name: tensor.clone() for name, tensor in network.state_dict().items()}, "a test", adopt=True)
    latents, labels = torch.randn(2, 10), torch.tensor([1, 2])
    with torch.no_grad():
        assert torch.allclose(empty.eval()(latents, labels), network(latents, labels), atol=1e-5)
    with pytest.raises(ArtifactError, match=r"mapping\.embed\.weight"):
        load_state(generator_of(), network.state_dict(), "a test")


def test_settings_survive_json_and_tell_what_is_made() -> None:
    network = generator_of(c_dim=3, img_channels=2)
    assert StyleGAN2Settings.from_json(network.settings.to_json()) == network.settings
    assert (network.latent_dim, network.num_classes, network.image_shape) == (10, 3, (2, 16, 16))
    assert network.style_layers == 6
    settings = discriminator_of(mbstd_group_size=None).settings
    assert StyleGAN2DiscriminatorSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    "settings",
    [
        {"img_resolution": 48}, {"img_resolution": 4096}, {"img_resolution": 2}, {"img_resolution": 16.0},
        {"img_channels": 0}, {"c_dim": -1}, {"c_dim": 10**9}, {"z_dim": 0}, {"w_dim": 10**6}, {"mapping_layers": 0},
        {"mapping_layers": 10**6}, {"embed_features": 10**6}, {"layer_features": 0}, {"lr_multiplier": 0},
        {"lr_multiplier": math.nan}, {"channel_base": 8}, {"channel_base": 10**12}, {"channel_max": 0},
        {"channel_max": 10**6}, {"architecture": "other"}, {"resample_filter": ()}, {"resample_filter": (1.0,) * 100},
        {"resample_filter": (1.0, -1.0)}, {"resample_filter": (math.inf,)}, {"conv_clamp": -1.0}, {"conv_clamp": "1"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_are_bounded(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        StyleGAN2Settings(**{"img_resolution": 16} | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"img_resolution": 4}, {"cmap_dim": 0}, {"mbstd_group_size": 0}, {"mbstd_num_channels": -1},
        {"mbstd_num_channels": 3}, {"architecture": "other"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_a_discriminator_are_bounded(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        StyleGAN2DiscriminatorSettings(**{"img_resolution": 16} | settings)


def test_labels_are_needed_and_count() -> None:
    network, latents = generator_of(c_dim=3), torch.randn(1, 10)
    with torch.no_grad():
        first, second = (network(latents, torch.tensor([label])) for label in (0, 1))
        assert not torch.allclose(first, second)
        with pytest.raises(SynthesizerError, match="expected labels from 0 to 2"):
            network(latents)
        for label in (3, -1):
            with pytest.raises((IndexError, RuntimeError)):
                network(latents, torch.tensor([label]))
        with pytest.raises(SynthesizerError, match=r"expected images \(3, 16, 16\)"):
            discriminator_of()(torch.zeros(1, 1, 16, 16))


@pytest.mark.parametrize("settings", CASES)
def test_weights_stay_and_a_sample_does_not_depend_on_its_batch(settings: dict[str, Any]) -> None:
    """Memory is written over without gradients, but never that of a weight or of what was given."""
    network = generator_of(**settings)
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    latents, labels = torch.randn(3, 10), torch.tensor([0, 1, 2])
    with torch.no_grad():
        styles = network.styles(latents, labels)[:, None].repeat(1, network.style_layers, 1)
        given = styles.clone()
        images = network.images(styles)
        assert torch.equal(images, network.images(styles))
        assert torch.allclose(network.images(styles[1:2]), images[1:2], atol=1e-4)
    assert torch.equal(styles, given)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_noise_is_asked_for_by_layer(architecture: Any) -> None:
    network = generator_of(architecture=architecture)
    layers = ["b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1"]
    asked: list[tuple[int, tuple[int, ...]]] = []

    def stored(number: int, shape: tuple[int, ...]) -> Tensor:
        asked.append((number, shape))
        return network.get_buffer(f"synthesis.{layers[number]}.noise_const").expand(2, 1, *shape)

    with torch.no_grad():
        styles = torch.randn(2, network.style_layers, 14)
        torch.testing.assert_close(network.images(styles, stored), network.images(styles, "const"))
        assert asked == [(0, (4, 4)), (1, (8, 8)), (2, (8, 8)), (3, (16, 16)), (4, (16, 16))]
        assert not torch.allclose(network.images(styles, "none"), network.images(styles, "const"))
        alone = network.images(
            styles, lambda number, shape: torch.stack([torch.zeros(1, *shape), torch.ones(1, *shape)])
        )
        torch.testing.assert_close(alone[0], network.images(styles, "none")[0])
    quiet = generator_of(noise=False)
    assert not [name for name in quiet.state_dict() if "noise" in name]
    with torch.no_grad():
        assert torch.equal(quiet.images(styles, "const"), quiet.images(styles, "none"))


def test_gradients_reach_all_weights() -> None:
    for architecture in ("skip", "resnet"):
        network = generator_of(architecture=architecture, c_dim=3, conv_clamp=100.0)
        network(torch.randn(2, 10), torch.tensor([0, 1])).square().sum().backward()
        assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_a_gradient_penalty_has_the_gradient_of_its_differences() -> None:
    """R1 of Mescheder et al. 2018: its derivative by a weight, against central differences."""
    network = discriminator_of(c_dim=3, mbstd_group_size=2).double()
    labels = torch.tensor([0, 1, 2, 0])
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64, requires_grad=True)

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(network(images, labels).sum(), images, create_graph=True)
        return gradient.square().sum()

    weight = network.get_parameter("b8.conv1.weight")
    (exact,) = torch.autograd.grad(penalty(), weight)
    step, ends = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[1, 2, 0, 1] += sign * step
        ends.append(penalty().item())
        with torch.no_grad():
            weight[1, 2, 0, 1] -= sign * step
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(exact[1, 2, 0, 1].item(), rel=1e-4)


def test_logits_are_linear_in_features_within_a_class() -> None:
    network = discriminator_of(c_dim=3).double()
    images = torch.randn(24, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        features, logits = network.features_and_logits(images, torch.ones(24, dtype=torch.int64))
        assert torch.equal(network(images, torch.ones(24, dtype=torch.int64)), logits)
    assert features.shape == (24, network.settings.width(4))
    known = torch.cat([features, torch.ones(24, 1, dtype=torch.float64)], dim=1)
    fitted = known @ torch.linalg.lstsq(known, logits[:, None]).solution
    torch.testing.assert_close(fitted[:, 0], logits)


def test_a_batch_is_shared_out_to_groups() -> None:
    network = discriminator_of(mbstd_group_size=4)
    images = torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        together = network(images)
        assert torch.allclose(network(images[[0, 2, 4]]), together[[0, 2, 4]], atol=1e-4)  # two groups of three
        assert not torch.allclose(network(images[:3]), together[:3], atol=1e-4)
        assert network(images[:1]).shape == (1,)
