"""StudioGAN's generators against the papers' equations in float64, with weights as StudioGAN stores them."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.studiogan import (
    StudioBigGAN,
    StudioBigGANDeep,
    StudioBigGANDeepSettings,
    StudioBigGANSettings,
    StudioDCGAN,
    StudioDCGANSettings,
    StudioResNet,
    StudioResNetSettings,
    folded,
    plain_names,
)
from gan_augment.networks.published.studiogan.blocks import Attention, ClassNorm, Norm, UpConv, VectorNorm
from gan_augment.networks.published.studiogan.common import StudioGenerator

WIDTHS = {32: (4, 4, 4, 4), 64: (16, 8, 4, 2, 1)}


# -- the equations, one layer after the other, with the names of StudioGAN's weights -----------------------------------


class Layers:
    """Makes layers, with a spectral norm each or without."""

    def __init__(self, spectral: bool) -> None:
        self.spectral = spectral

    def of(self, layer: nn.Module) -> nn.Module:
        return spectral_norm(layer, eps=1e-6) if self.spectral else layer

    def conv(self, inputs: int, outputs: int, size: int, bias: bool = True) -> nn.Module:
        return self.of(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias))

    def linear(self, inputs: int, outputs: int, bias: bool = True) -> nn.Module:
        return self.of(nn.Linear(inputs, outputs, bias=bias))


def grid(vectors: Tensor) -> Tensor:
    return vectors[:, :, None, None]


def doubled(images: Tensor) -> Tensor:
    return images.repeat_interleave(2, 2).repeat_interleave(2, 3)


class NaiveNorm(nn.Module):
    """(x - mean) / sqrt(var + 1e-4), times 1 + A c, plus B c."""

    def __init__(self, layers: Layers, condition: int, channels: int, tables: bool = False) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.tables = tables
        if tables:
            self.embed0 = layers.of(nn.Embedding(condition, channels))
            self.embed1 = layers.of(nn.Embedding(condition, channels))
        else:
            self.gain = layers.linear(condition, channels, bias=False)
            self.bias = layers.linear(condition, channels, bias=False)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        mean, var = grid(self.bn.running_mean[None]), grid(self.bn.running_var[None])
        gain = self.embed0(condition.argmax(1)) if self.tables else self.gain(condition)
        bias = self.embed1(condition.argmax(1)) if self.tables else self.bias(condition)
        return (images - mean) / (var + 1e-4).sqrt() * (1 + grid(gain)) + grid(bias)


class NaiveAttention(nn.Module):
    def __init__(self, layers: Layers, channels: int) -> None:
        super().__init__()
        self.conv1x1_theta = layers.conv(channels, channels // 8, 1, bias=False)
        self.conv1x1_phi = layers.conv(channels, channels // 8, 1, bias=False)
        self.conv1x1_g = layers.conv(channels, channels // 2, 1, bias=False)
        self.conv1x1_attn = layers.conv(channels // 2, channels, 1, bias=False)
        self.sigma = nn.Parameter(torch.full((1,), 0.7))

    def forward(self, images: Tensor) -> Tensor:
        out = []
        for image in images:
            theta, phi, g = (layer(image[None])[0] for layer in (self.conv1x1_theta, self.conv1x1_phi, self.conv1x1_g))
            phi, g = (m.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).amax((2, 4)).flatten(1) for m in (phi, g))
            weights = (theta.flatten(1).T @ phi).exp()  # one row a place
            weights = weights / weights.sum(1, keepdim=True)
            weighed = torch.stack([(row * g).sum(1) for row in weights], dim=1).unflatten(1, image.shape[1:])
            out.append(image + self.sigma * self.conv1x1_attn(weighed[None])[0])
        return torch.stack(out)


def plain(norm: nn.BatchNorm2d, images: Tensor) -> Tensor:
    mean, var = grid(norm.running_mean[None]), grid(norm.running_var[None])
    return (images - mean) / (var + 1e-4).sqrt() * grid(norm.weight[None]) + grid(norm.bias[None])


def normed(norm: nn.Module, images: Tensor, condition: Tensor) -> Tensor:
    return plain(norm, images) if isinstance(norm, nn.BatchNorm2d) else norm(images, condition)


class NaiveDeconv(nn.Module):
    def __init__(self, layers: Layers, norm: Any, inputs: int, outputs: int, act: Any) -> None:
        super().__init__()
        self.deconv0, self.bn0 = layers.of(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)), norm(outputs)
        self.act = act

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        return self.act(normed(self.bn0, self.deconv0(images), condition))


class NaiveResidual(nn.Module):
    def __init__(self, layers: Layers, norm: Any, inputs: int, outputs: int, act: Any) -> None:
        super().__init__()
        self.bn1, self.bn2, self.act = norm(inputs), norm(outputs), act
        self.conv2d0 = layers.conv(inputs, outputs, 1)
        self.conv2d1, self.conv2d2 = layers.conv(inputs, outputs, 3), layers.conv(outputs, outputs, 3)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        hidden = self.conv2d1(doubled(self.act(normed(self.bn1, images, condition))))
        return self.conv2d2(self.act(normed(self.bn2, hidden, condition))) + self.conv2d0(doubled(images))


class NaiveBottleneck(nn.Module):
    def __init__(self, layers: Layers, norm: Any, inputs: int, outputs: int, act: Any, up: bool, skips: bool) -> None:
        super().__init__()
        inner, self.outputs, self.act, self.up, self.skips = inputs // 4, outputs, act, up, skips
        self.bn1, self.bn2, self.bn3, self.bn4 = norm(inputs), norm(inner), norm(inner), norm(inner)
        if skips:
            self.conv2d0 = layers.conv(inputs, outputs, 1)
        self.conv2d1, self.conv2d4 = layers.conv(inputs, inner, 1), layers.conv(inner, outputs, 1)
        self.conv2d2, self.conv2d3 = layers.conv(inner, inner, 3), layers.conv(inner, inner, 3)

    def forward(self, images: Tensor, condition: Tensor) -> Tensor:
        up = doubled if self.up else lambda image: image
        hidden = self.act(self.bn2(self.conv2d1(self.act(self.bn1(images, condition))), condition))
        hidden = self.conv2d3(self.act(self.bn3(self.conv2d2(up(hidden)), condition)))
        hidden = self.conv2d4(self.act(self.bn4(hidden, condition)))
        return hidden + (self.conv2d0(up(images)) if self.skips else up(images)[:, : self.outputs])


class Naive(nn.Module):
    """StudioGAN's generator: `forward(z, y)`, `state_dict()` as it is released."""

    def __init__(self, kind: str, spectral: bool, classes: int, attention: tuple[int, ...] = (), **more: Any) -> None:
        super().__init__()
        layers, act = Layers(spectral), more.get("act", torch.relu)
        z, shared, side, width = more.get("z", 20), more.get("shared", 5), more.get("side", 32), more.get("width", 8)
        self.kind, self.classes = kind, classes
        widths = [512, 256, 128, 64] if kind == "dcgan" else [factor * width for factor in WIDTHS[side]]
        self.bottom, self.act = widths[0], act
        self.part = z // len(widths)
        condition = {"biggan": self.part + shared * bool(classes), "deep": z + shared}.get(kind, classes)
        if kind in ("biggan", "deep") and classes:
            self.shared = nn.Embedding(classes, shared)
        self.linear0 = layers.linear({"biggan": self.part, "deep": condition}.get(kind, z), 16 * widths[0])

        def norm(channels: int) -> nn.Module:
            if condition == 0:
                return nn.BatchNorm2d(channels)
            return NaiveNorm(layers, condition, channels, more.get("tables", False))

        blocks: list[nn.Module] = []
        for place, (a, b) in enumerate(itertools.pairwise(widths), 1):
            if kind == "deep":
                skips = more.get("skips", True)
                blocks += [
                    NaiveBottleneck(layers, norm, a, a, act, False, skips),
                    NaiveBottleneck(layers, norm, a, b, act, True, skips),
                ]
            else:
                blocks.append((NaiveDeconv if kind == "dcgan" else NaiveResidual)(layers, norm, a, b, act))
            if place in attention:
                blocks.append(NaiveAttention(layers, b))
        self.blocks = nn.ModuleList(nn.ModuleList([block]) for block in blocks)
        if kind == "dcgan":
            self.conv4 = layers.conv(64, 3, 3)
        else:
            self.bn4, self.conv2d5 = nn.BatchNorm2d(widths[-1]), layers.conv(widths[-1], 3, 3)
        self._stir()

    def _stir(self) -> None:
        """Gives it weights as after a training: statistics, gains, power iterations that have gone some way."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.2, 1)
                if module.affine:
                    nn.init.normal_(module.weight, 1, 0.2)
                    nn.init.normal_(module.bias, 0, 0.2)
        for _ in range(6):
            self(torch.randn(2, 20), torch.zeros(2, dtype=torch.int64))
        self.eval()

    @torch.no_grad()
    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        if self.kind in ("dcgan", "resnet"):
            condition = nn.functional.one_hot(y, max(1, self.classes)).to(z)
            hidden, conditions = self.linear0(z), itertools.repeat(condition)
        elif self.kind == "biggan":
            first, *parts = z.split(self.part, 1)
            hidden = self.linear0(first)
            conditions = iter([torch.cat([self.shared(y), part], 1) if self.classes else part for part in parts])
        else:
            condition = torch.cat([self.shared(y), z], 1)
            hidden, conditions = self.linear0(condition), itertools.repeat(condition)
        hidden = hidden.reshape(len(z), self.bottom, 4, 4)
        for (block,) in self.blocks:
            hidden = block(hidden) if isinstance(block, NaiveAttention) else block(hidden, next(conditions))
        if self.kind == "dcgan":
            return torch.tanh(self.conv4(hidden))
        return torch.tanh(self.conv2d5(self.act(plain(self.bn4, hidden))))


def made(settings: Any, naive: Naive) -> StudioGenerator:
    """Returns the generator here with the weights of a naive one."""
    network = {
        StudioDCGANSettings: StudioDCGAN, StudioResNetSettings: StudioResNet, StudioBigGANSettings: StudioBigGAN,
        StudioBigGANDeepSettings: StudioBigGANDeep,
    }[type(settings)]  # fmt: skip
    with torch.device("meta"):
        generator: StudioGenerator = network(settings)
    load_state(generator, folded(generator, naive.state_dict(), "the test"), "the test", adopt=True)
    return generator


SMALL = {"z_dim": 20, "num_classes": 3}
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dcgan": (StudioDCGANSettings(**SMALL, attn_g_loc=(2,)), {"kind": "dcgan", "classes": 3, "attention": (2,)}),
    "dcgan without classes": (StudioDCGANSettings(z_dim=20, num_classes=0), {"kind": "dcgan", "classes": 0}),
    "dcgan with tables": (StudioDCGANSettings(**SMALL), {"kind": "dcgan", "classes": 3, "tables": True}),
    "resnet": (
        StudioResNetSettings(**SMALL, g_conv_dim=8, attn_g_loc=(1, 2)),
        {"kind": "resnet", "classes": 3, "attention": (1, 2)},
    ),
    "resnet with tables": (
        StudioResNetSettings(**SMALL, g_conv_dim=8), {"kind": "resnet", "classes": 3, "tables": True},
    ),
    "resnet without classes, 64": (
        StudioResNetSettings(z_dim=20, num_classes=0, img_size=64, g_conv_dim=4, attn_g_loc=(2,)),
        {"kind": "resnet", "classes": 0, "side": 64, "width": 4, "attention": (2,)},
    ),
    "biggan": (
        StudioBigGANSettings(**SMALL, g_conv_dim=8, g_shared_dim=5, attn_g_loc=(2,)),
        {"kind": "biggan", "classes": 3, "attention": (2,)},
    ),
    "biggan without classes": (
        StudioBigGANSettings(z_dim=20, num_classes=0, g_conv_dim=8), {"kind": "biggan", "classes": 0},
    ),
    "biggan 64": (
        StudioBigGANSettings(**SMALL, img_size=64, g_conv_dim=4, g_shared_dim=5, attn_g_loc=(3,)),
        {"kind": "biggan", "classes": 3, "side": 64, "width": 4, "attention": (3,)},
    ),
    "biggan-deep": (
        StudioBigGANDeepSettings(**SMALL, g_conv_dim=8, g_shared_dim=5, attn_g_loc=(2,)),
        {"kind": "deep", "classes": 3, "attention": (2,)},
    ),
    "biggan-deep legacy, 64": (
        StudioBigGANDeepSettings(**SMALL, img_size=64, g_conv_dim=4, g_shared_dim=5, skips=False),
        {"kind": "deep", "classes": 3, "side": 64, "width": 4, "skips": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("spectral", [False, True], ids=["plain", "spectral"])
@pytest.mark.parametrize("case", CASES)
def test_images_are_those_of_the_equations(case: str, spectral: bool) -> None:
    torch.manual_seed(0)
    settings, how = CASES[case]
    naive = Naive(spectral=spectral, **how)
    generator = made(settings, naive)
    latents, labels = torch.randn(3, 20), torch.tensor([0, 2, 1]) % max(1, settings.num_classes)
    truth = naive.double()(latents.double(), labels)
    images = generator(latents, labels)
    assert images.shape == (3, *generator.image_shape)
    assert truth.std() > 0.05
    torch.testing.assert_close(images.double(), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "act"),
    [
        ("ReLU", torch.relu),
        ("Leaky_ReLU", lambda x: torch.where(x > 0, x, 0.1 * x)),
        ("ELU", lambda x: torch.where(x > 0, x, x.exp() - 1)),
        ("GELU", lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2),
    ],
)
def test_activations(name: Any, act: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    naive = Naive("resnet", True, 3, act=act)
    generator = made(StudioResNetSettings(**SMALL, g_conv_dim=8, g_act_fn=name), naive)
    latents, labels = torch.randn(2, 20), torch.tensor([0, 2])
    truth = naive.double()(latents.double(), labels)
    torch.testing.assert_close(generator(latents, labels).double(), truth, rtol=0, atol=1e-5)
    generator(latents, labels).sum().backward()  # nothing that a gradient needs was overwritten
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in generator.parameters())


# -- layers -----------------------------------------------------------------------------------------------------------


def random(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    weights = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: weight.abs() if name.endswith("running_var") else weight for name, weight in weights.items()}


def test_doubling_and_a_convolution_are_one_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer, images = UpConv(3, 5).double(), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    weights = random(layer.released())
    load_state(layer, layer.fold(weights), "the test")
    truth = nn.functional.conv2d(doubled(images), weights["weight"], weights["bias"], padding=1)
    torch.testing.assert_close(layer(images), truth)


def test_norms_fold_to_scale_and_shift() -> None:
    """Variance 4 - 1e-4 and mean 3: (x - 3) / 2; gain and bias of class 1 are 0.5 and 10."""
    statistics = {"running_mean": torch.tensor([3.0]).double(), "running_var": torch.tensor([4 - 1e-4]).double()}
    images = torch.tensor([3.0, 7.0]).double().reshape(1, 1, 1, 2)
    inner = {f"bn.{name}": value for name, value in statistics.items()}
    maps = {"gain.weight": torch.tensor([[9.0, 0.5]]).double(), "bias.weight": torch.tensor([[9.0, 10.0]]).double()}
    by_class, by_vector, without = ClassNorm(1, 2).double(), VectorNorm(1, 2).double(), Norm(1).double()
    load_state(by_class, by_class.fold(inner | maps), "the test")
    load_state(by_vector, by_vector.fold(inner | maps), "the test")
    scale = {"weight": torch.tensor([1.5]).double(), "bias": torch.tensor([10.0]).double()}
    load_state(without, without.fold(statistics | scale), "the test")
    for made in (
        by_class(images, torch.tensor([1])), by_vector(images, torch.tensor([[0.0, 1.0]]).double()), without(images),
    ):  # fmt: skip
        assert made.flatten().tolist() == pytest.approx([10, 13])


def test_attention_of_equal_keys_is_the_mean_of_what_it_sees() -> None:
    layer = Attention(8).double()
    weights = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in layer.released().items()}
    weights["sigma"] += 2
    weights["conv1x1_g.weight"][0, 3] = 1
    weights["conv1x1_attn.weight"][5, 0] = 3
    load_state(layer, layer.fold(weights), "the test")
    images = torch.randn(2, 8, 4, 4, dtype=torch.float64)
    mean = nn.functional.max_pool2d(images[:, 3:4], 2).mean((1, 2, 3))
    truth = images.clone()
    truth[:, 5] += 6 * mean[:, None, None]
    torch.testing.assert_close(layer(images), truth)


# -- what a synthesizer relies on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["resnet", "biggan", "biggan-deep"])
def test_an_image_depends_on_its_latents_and_class_only(case: str) -> None:
    torch.manual_seed(0)
    settings, how = CASES[case]
    generator = made(settings, Naive(spectral=True, **how)).train()
    latents, labels = torch.randn(3, 20), torch.tensor([0, 1, 2])
    images = generator(latents, labels)
    torch.testing.assert_close(generator(latents[1:2], labels[1:2]), images[1:2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generator.eval()(latents, labels), images)
    assert not torch.allclose(generator(latents, labels.flip(0)), images, atol=1e-3)
    assert (generator.latent_dim, generator.num_classes, generator.latent_prior) == (20, 3, "normal")
    with pytest.raises(ConfigError, match="expected a label of 0 to 2"):
        generator(latents)


def test_without_classes_no_label_is_looked_at() -> None:
    settings, how = CASES["biggan without classes"]
    generator = made(settings, Naive(spectral=False, **how))
    latents = torch.randn(2, 20)
    assert torch.equal(generator(latents), generator(latents, torch.tensor([5, 7])))
    assert generator.num_classes == 0


def test_uniform_latents_are_told() -> None:
    with torch.device("meta"):
        assert StudioDCGAN(StudioDCGANSettings(num_classes=2, z_prior="uniform")).latent_prior == "uniform"


@pytest.mark.parametrize("case", CASES)
def test_settings_survive_json(case: str) -> None:
    settings = CASES[case][0]
    assert type(settings).from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (StudioDCGANSettings, {"num_classes": -1}),
        (StudioDCGANSettings, {"num_classes": 10**9}),
        (StudioDCGANSettings, {"z_dim": 10**6}),
        (StudioDCGANSettings, {"attn_g_loc": (4,)}),
        (StudioDCGANSettings, {"attn_g_loc": (2, 2)}),
        (StudioDCGANSettings, {"g_act_fn": "Swish"}),
        (StudioDCGANSettings, {"z_prior": "cauchy"}),
        (StudioResNetSettings, {"img_size": 48}),
        (StudioResNetSettings, {"img_size": 2**20}),
        (StudioResNetSettings, {"g_conv_dim": 10**5}),
        (StudioBigGANSettings, {"z_dim": 81}),
        (StudioBigGANSettings, {"g_shared_dim": 10**6}),
        (StudioBigGANDeepSettings, {"num_classes": 0}),
        (StudioBigGANDeepSettings, {"g_depth": 10**6}),
        (StudioBigGANDeepSettings, {"img_size": 64, "g_depth": 3}),
        (StudioBigGANDeepSettings, {"g_conv_dim": 2}),
    ],
)
def test_settings_are_bounded(kind: Any, changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected "):
        kind(**{"num_classes": 3, **changed})


# -- weights that do not fit ------------------------------------------------------------------------------------------


def broken(change: Callable[[dict[str, Tensor]], Any]) -> dict[str, Tensor]:
    state = dict(Naive("resnet", True, 3).state_dict())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("blocks.1.0.conv2d2.bias"), "1 missing: blocks.1.conv2d2.bias"),
        (lambda state: state.update(more=torch.ones(1)), "1 not expected: more"),
        (lambda state: state.update({"bn4.bias": torch.ones(3)}), r"bn4.bias \(3,\) instead of \(32,\)"),
        (lambda state: state.update({"bn4.bias": torch.ones(32, dtype=torch.int64)}), "1 not floating: bn4.bias"),
        (lambda state: state.pop("linear0.weight_u"), "spectral norm that does not fit: linear0.weight_"),
        (lambda state: state.update({"linear0.weight_v": torch.ones(3)}), "spectral norm that does not fit"),
        (lambda state: state.update({"linear0.weight_u": torch.ones(2, 2)}), "spectral norm that does not fit"),
        (lambda state: state.update({"linear0.weight": torch.ones(512, 20)}), "spectral norm that does not fit"),
        (lambda state: state.update({"linear0.weight_orig": torch.ones(1)}), "of another shape"),
        (lambda state: state.clear(), "missing"),
    ],
)
def test_other_weights_are_refused(change: Any, told: str) -> None:
    with torch.device("meta"):
        generator = StudioResNet(StudioResNetSettings(**SMALL, g_conv_dim=8))
    with pytest.raises(ArtifactError, match=told):
        folded(generator, broken(change), "the test")


def test_a_tensor_that_only_pretends_to_be_large_is_not_copied() -> None:
    """A stride of 0 makes a number of 4 bytes a matrix of 10^12."""
    with torch.device("meta"):
        generator = StudioResNet(StudioResNetSettings(**SMALL, g_conv_dim=8))
    huge = torch.ones(1, 1).expand(10**6, 10**6)
    state = broken(lambda state: state.update({"linear0.weight_orig": huge, "blocks.0.0.bn1.gain.weight": huge}))
    with pytest.raises(ArtifactError, match="of another shape"):
        folded(generator, state, "the test")


def test_names_lose_the_traces_of_parallel_training() -> None:
    names = plain_names(
        {"module.blocks.3.0.bn1.bn.num_batches_tracked": torch.ones(()), "module.bn4.bias": torch.ones(1)}
    )
    assert list(names) == ["bn4.bias"]
