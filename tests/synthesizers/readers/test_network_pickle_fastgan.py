"""FastGAN's generator out of pickles of modules that are built as projected GAN's."""

import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError
from gan_augment.networks.published import blank
from gan_augment.networks.published.fastgan import FastGANSettings
from gan_augment.synthesizers.readers.network_pickle import recognises
from gan_augment.synthesizers.readers.network_pickle_fastgan import read_fastgan
from gan_augment.synthesizers.readers.unpickle import Inert, read_pickle

pytestmark = pytest.mark.filterwarnings("ignore:.*spectral_norm.*:FutureWarning")

WIDTHS = {4: 128, 8: 64, 16: 32, 32: 16, 64: 16, 128: 8, 256: 4}  # of 8 channels at 128


def conv(inputs: int, outputs: int, size: int, padding: int = 0, *, bias: bool = False) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, size, padding=padding, bias=bias))


class Noise(nn.Module):
    """Adds noise of one strength."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1))

    def forward(self, images: Tensor) -> Tensor:
        return images + self.weight * NOISE.pop(0) if NOISE else images


NOISE: list[Tensor] = []


class ClassNorm(nn.Module):
    """Normalisation whose gain and bias are linear in an embedding."""

    def __init__(self, channels: int, embedded: int) -> None:
        super().__init__()
        self.gain, self.bias = (spectral_norm(nn.Linear(embedded, channels)) for _ in range(2))
        self.register_buffer("stored_mean", 0.3 * torch.randn(channels))
        self.register_buffer("stored_var", 1 + torch.rand(channels))

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        images = nn.functional.batch_norm(images, self.get_buffer("stored_mean"), self.get_buffer("stored_var"))
        gain: Tensor = 1 + self.gain(embedding)
        bias: Tensor = self.bias(embedding)
        return images * gain[:, :, None, None] + bias[:, :, None, None]


def plain_block(inputs: int, outputs: int, big: bool) -> nn.Module:
    twice = 2 * outputs
    head, norm, gate = [nn.Upsample(scale_factor=2), conv(inputs, twice, 3, 1)], nn.BatchNorm2d, nn.GLU(1)
    if not big:
        return nn.Sequential(*head, norm(twice), gate)
    return nn.Sequential(*head, Noise(), norm(twice), gate, conv(outputs, twice, 3, 1), Noise(), norm(twice), nn.GLU(1))


class ClassBlock(nn.Module):
    """A block with classes, of one convolution or two, which then share the strength of their noise."""

    def __init__(self, inputs: int, outputs: int, embedded: int, big: bool) -> None:
        super().__init__()
        if big:
            self.conv1, self.conv2 = conv(inputs, 2 * outputs, 3, 1), conv(outputs, 2 * outputs, 3, 1)
            self.bn1, self.bn2 = ClassNorm(2 * outputs, embedded), ClassNorm(2 * outputs, embedded)
            self.noise = Noise()
        else:
            self.conv, self.bn = conv(inputs, 2 * outputs, 3, 1), ClassNorm(2 * outputs, embedded)
        self.big = big

    def forward(self, images: Tensor, embedding: Tensor) -> Tensor:
        images = nn.functional.interpolate(images, scale_factor=2)
        if not self.big:
            return nn.functional.glu(self.bn(self.conv(images), embedding), 1)
        images = nn.functional.glu(self.bn1(self.noise(self.conv1(images)), embedding), 1)
        return nn.functional.glu(self.bn2(self.noise(self.conv2(images)), embedding), 1)


class Gate(nn.Module):
    """Skip-layer excitation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), conv(inputs, outputs, 4), nn.SiLU(), conv(outputs, outputs, 1), nn.Sigmoid()
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        scale: Tensor = self.main(small)
        return large * scale


class Synthesis(nn.Module):
    """Named as the original; 128 x 128, with the level 256 that it keeps and does not use."""

    def __init__(self, kind: str, conditional: bool) -> None:
        super().__init__()
        first = spectral_norm(nn.ConvTranspose2d(5, 256, 4, bias=False))
        self.init = nn.Module()
        self.init.add_module("init", nn.Sequential(first, nn.BatchNorm2d(256), nn.GLU(1)))
        for level in (8, 16, 32, 64, 128, 256):
            big = kind == "big" or (kind == "mixed" and level in (8, 32, 128))
            sizes = WIDTHS[level // 2], WIDTHS[level]
            block = ClassBlock(*sizes, 5, big) if conditional else plain_block(*sizes, big)
            self.add_module(f"feat_{level}", block)
        for level in (64, 128, 256):
            self.add_module(f"se_{level}", Gate(WIDTHS[level // 16], WIDTHS[level]))
        self.to_big = conv(WIDTHS[128], 2, 3, 1, bias=True)
        if conditional:
            self.embed = nn.Embedding(10, 5)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        given = (self.embed(labels),) if hasattr(self, "embed") else ()
        latents = latents * (latents.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        seen = {4: self.get_submodule("init.init")(latents[:, :, None, None])}
        for level in (8, 16, 32, 64, 128):
            seen[level] = self.get_submodule(f"feat_{level}")(seen[level // 2], *given)
            if level >= 64:
                seen[level] = self.get_submodule(f"se_{level}")(seen[level // 16], seen[level])
        made: Tensor = self.to_big(seen[128])
        return made


class Generator(nn.Module):
    """The whole, with what it says of itself."""

    def __init__(self, kind: str, classes: int, conditional: bool) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution, self.img_channels = 5, classes, 128, 2
        self.mapping = nn.Module()
        self.synthesis = Synthesis(kind, conditional)


FOREIGN = (Noise, ClassNorm, ClassBlock, Gate, Synthesis, Generator)
Write = Callable[[nn.Module], Inert]


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a generator as its training loop would, and reads it."""

    def write(module: nn.Module) -> Inert:
        foreign = types.ModuleType("pg_modules.networks_fastgan")
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "pg_modules", types.ModuleType("pg_modules"))
            patch.setitem(sys.modules, foreign.__name__, foreign)
            for kind in FOREIGN:
                setattr(foreign, kind.__name__, kind)
                patch.setattr(kind, "__module__", foreign.__name__)
            (tmp_path / "n.pkl").write_bytes(pickle.dumps({"G_ema": module}))
        tree = read_pickle(tmp_path / "n.pkl")
        assert recognises(tree, tmp_path)
        found: Inert = tree["G_ema"]
        assert isinstance(found, Inert)
        return found

    return write


def generator(kind: str = "small", classes: int = 0, conditional: bool = False) -> Generator:
    torch.manual_seed(0)
    made = Generator(kind, classes, conditional)
    with torch.no_grad():
        made.train().synthesis(torch.randn(8, 5), torch.arange(8))  # moves statistics and vectors of spectral norms
        for name, tensor in made.named_parameters():
            if name.endswith("weight_orig"):
                tensor.mul_(1.7)  # a norm that the vectors know and no other
    return made.eval().requires_grad_(False)


def network_of(part: Any) -> Any:
    own = blank(part.architecture, part.settings)
    load_state(own, part.state, "a test", adopt=True)
    return own.eval()


@pytest.mark.parametrize("kind", ["big", "small", "mixed"])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_network_is_read_and_makes_the_same_images(kind: str, conditional: bool, pickled: Write) -> None:
    original = generator(kind, 4, conditional)
    part = read_fastgan(pickled(original))
    assert part.settings == FastGANSettings(
        img_resolution=128, img_channels=2, c_dim=4 if conditional else 0, z_dim=5, ngf=8, blocks=kind  # type: ignore[arg-type]
    )  # fmt: skip
    own = network_of(part)
    assert not conditional or own.embed.weight.shape == (4, 5)
    latents, labels = torch.randn(3, 5), torch.tensor([3, 0, 1])
    drawn: list[Tensor] = []

    def noise(number: int, shape: tuple[int, ...]) -> Tensor:
        drawn.append(torch.randn(3, 1, *shape))
        return drawn[number]

    with torch.no_grad():
        expected, images = original.synthesis(latents, labels), own(latents, labels)
        torch.testing.assert_close(images, expected, rtol=0, atol=5e-5 * expected.abs().max().item())
        noisy = own.with_noise(latents, labels, noise)
        NOISE.extend(drawn)
        expected = original.synthesis(latents, labels)
        assert not NOISE
        torch.testing.assert_close(noisy, expected, rtol=0, atol=5e-5 * expected.abs().max().item())


def test_weights_whose_spectral_norm_was_removed(pickled: Write) -> None:
    original = generator()
    before = network_of(read_fastgan(pickled(original)))
    for module in original.modules():
        if hasattr(module, "weight_orig"):
            nn.utils.remove_spectral_norm(module)
    after = network_of(read_fastgan(pickled(original)))
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor, msg=name)


def _u_too_short(module: Generator) -> None:
    module.synthesis.to_big.register_buffer("weight_u", torch.ones(3))


def _no_v(module: Generator) -> None:
    del module.synthesis.to_big._buffers["weight_v"]


def _zero(module: Generator) -> None:
    module.synthesis.to_big.get_parameter("weight_orig").zero_()


def _flat(module: Generator) -> None:
    module.synthesis.to_big.register_parameter("weight_orig", nn.Parameter(torch.ones(3)))


def _integers(module: Generator) -> None:
    module.synthesis.register_buffer("more", torch.ones(3, dtype=torch.int32))


def _unknown(module: Generator) -> None:
    module.synthesis.register_buffer("more", torch.ones(3))


def _unknown_level(module: Generator) -> None:
    module.synthesis.get_submodule("feat_8").register_buffer("more", torch.ones(3))


def _resolution(module: Generator) -> None:
    module.img_resolution = 192


def _absurd(module: Generator) -> None:
    module.img_resolution = 2**40


def _no_resolution(module: Generator) -> None:
    module.img_resolution = torch.ones(2)  # type: ignore[assignment]


def _narrow(module: Generator) -> None:
    module.synthesis.get_submodule("init.init").add_module("0", nn.ConvTranspose2d(5, 20, 4, bias=False))


def _other_blocks(module: Generator) -> None:
    module.synthesis.add_module("feat_16", plain_block(64, 32, True))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_u_too_short, r"spectral norm of to_big.weight, of shapes \(2,\) and \(72,\), found \[\(3,\), \(72,\)\]"),
        (_no_v, "spectral norm of to_big.weight"),
        (_zero, "spectral norm of to_big.weight that is not 0"),
        (_flat, "to_big.weight of 2 dimensions or more"),
        (_integers, "synthesis.more of real numbers"),
        (_unknown, "found 'more': another version"),
        (_unknown_level, "found 'feat_8.more': another version"),
        (_resolution, "img_resolution 128, 256, 512 or 1024, found 192"),
        (_absurd, "img_resolution"),
        (_no_resolution, "tell its img_resolution, a whole number"),
        (_narrow, "ngf"),
        (_other_blocks, "two convolutions at each level"),
    ],
)
def test_what_is_another_network(change: Callable[[Generator], None], told: str, pickled: Write) -> None:
    module = generator()
    change(module)
    with pytest.raises(ArtifactError, match=told):
        read_fastgan(pickled(module))


@pytest.mark.parametrize("classes", [0, 11])
def test_classes_are_those_that_it_has_embeddings_for(classes: int, pickled: Write) -> None:
    with pytest.raises(ArtifactError, match=f"from 1 to 10, found c_dim of {classes}"):
        read_fastgan(pickled(generator("small", classes, True)))
