"""wrap: how a generator is called, and what of it is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, GeneratorWarning, SynthesizerError
from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.seeds import normals
from gan_augment.synthesizers import wrap
from tests.helpers import ToyGenerator, draw_by_seed, toy_synthesizer


class Recording(nn.Module):
    """Keeps what it is called with; brightness of an image is its first latent, squeezed."""

    def __init__(self, value: Any = None) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, ...]] = []
        self.modes: list[tuple[bool, bool, bool]] = []
        self.frozen, self.dropout = nn.BatchNorm1d(2).eval(), nn.Dropout()
        self.value = value

    def forward(self, *inputs: Tensor) -> Any:
        self.calls.append(inputs)
        self.modes.append((self.dropout.training, self.frozen.training, torch.is_grad_enabled()))
        if self.value is not None:
            return self.value(len(inputs[0]))
        light = torch.tanh(inputs[0][:, :1])
        if len(inputs) > 1:
            label = inputs[1].argmax(1) if inputs[1].ndim > 1 else inputs[1]
            light = light + 0.01 * label[:, None]
        return light[:, :, None, None].expand(-1, 1, 8, 8)


def wrapped(generator: Any, **settings: Any) -> Any:
    classes = 3 if getattr(generator, "value", None) is None else 1
    return wrap(generator, **{"num_classes": classes, "image_shape": (1, 8, 8), "latent_dim": 5, **settings})


def test_latents_come_from_the_seeds() -> None:
    generator = Recording()
    seeds = [3, 2**63 - 1, 0]
    images = wrapped(generator).sample([0, 2, 1], seeds).images
    latents, labels = generator.calls[0]
    assert torch.equal(latents, torch.from_numpy(normals(seeds, 5)))
    assert torch.allclose(images[:, 0, 0, 0], torch.tanh(latents[:, 0]) + 0.01 * labels, atol=1e-6)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2, 1]


def test_labels_as_one_hot_and_not_at_all() -> None:
    generator = Recording()
    wrapped(generator, labels="onehot").sample([2, 0], [1, 2])
    assert generator.calls[0][1].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert generator.calls[0][1].dtype == torch.float32
    alone = Recording()
    wrapped(alone, labels="none", num_classes=1).sample([0, 0], [1, 2])
    assert [tuple(part.shape) for part in alone.calls[0]] == [(2, 5)]


def test_a_function_gets_labels_and_seeds() -> None:
    images = wrap(draw_by_seed, num_classes=3, image_shape=(1, 8, 8)).sample([1, 2], [5, 6]).images
    assert torch.allclose(images, draw_by_seed(torch.tensor([1, 2]), torch.tensor([5, 6])), atol=1e-6)


def test_a_function_gets_labels_and_seeds_and_a_module_must_say_its_latents() -> None:
    generator = Recording(lambda count: torch.zeros(count, 1, 8, 8))
    wrapped(generator.forward, latent_dim=None, num_classes=3)._draw(
        np.array([1, 2]), np.array([5, 6]), torch.empty(2, 1, 8, 8)
    )
    assert [part.tolist() for part in generator.calls[0]] == [[1, 2], [5, 6]]
    with pytest.raises(ConfigError, match="latent_dim= for a module"):
        wrapped(generator, latent_dim=None)


@pytest.mark.parametrize(
    ("value_range", "value", "expected"),
    [
        ((0, 1), 0.75, 0.5),
        ((0, 255), 255, 1.0),
        ((-1, 1), -0.5, -0.5),
        ((-1000, 3000), 1000, 0.0),
        ((0, 1), 1.04, 1.0),  # a little beyond is clamped
        ((0, 1), -0.04, -1.0),
    ],
)
def test_values_are_mapped_from_the_generators_range(value_range: Any, value: float, expected: float) -> None:
    generator = Recording(lambda count: torch.full((count, 1, 8, 8), value))
    images = wrapped(generator, value_range=value_range).sample([0], [0]).images
    assert images.dtype == torch.float32
    assert images.unique().tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_any_number_type_becomes_float32(dtype: torch.dtype) -> None:
    generator = Recording(lambda count: torch.full((count, 1, 8, 8), 51).to(dtype))
    images = wrapped(generator, value_range=(0, 255)).sample([0], [0]).images
    assert images.dtype == torch.float32
    assert images.unique().tolist() == [pytest.approx(-0.6)]


def test_arrays_are_taken_too() -> None:
    generator = Recording(lambda count: np.full((count, 1, 8, 8), 0.5))
    assert wrapped(generator).sample([0], [0]).images.unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (lambda count: torch.zeros(count, 3, 8, 8), r"images \(2, 1, 8, 8\) for 2 labels, found \(2, 3, 8, 8\)"),
        (lambda count: torch.zeros(count, 8, 8), r"found \(2, 8, 8\)"),
        (lambda count: torch.zeros(count + 1, 1, 8, 8), r"found \(3, 1, 8, 8\)"),
        (lambda count: (torch.zeros(count, 1, 8, 8), None), "found tuple"),
        (lambda count: torch.full((count, 1, 8, 8), torch.nan), "found NaN or infinity"),
        (lambda count: torch.full((count, 1, 8, 8), torch.inf), "found NaN or infinity"),
        (
            lambda count: torch.full((count, 1, 8, 8), 3.0),
            r"value_range=\(-1.0, 1.0\), found 100% outside, from 3 to 3",
        ),
        (lambda count: torch.linspace(0, 255, count * 64).reshape(count, 1, 8, 8), "99% outside, from 0 to 255"),
        (lambda count: torch.full((count, 1, 8, 8), -1.2), "100% outside"),
    ],
)
def test_what_a_generator_must_not_return(value: Any, told: str) -> None:
    generator = Recording(value).train()
    with pytest.raises(SynthesizerError, match=told):
        wrapped(generator).sample([0, 0], [0, 1])
    assert generator.training


def test_one_pixel_that_is_nan_is_found() -> None:
    def value(count: int) -> Tensor:
        images = torch.zeros(count, 1, 8, 8)
        images[-1, 0, 7, 7] = torch.nan
        return images

    with pytest.raises(SynthesizerError, match="NaN"):
        wrapped(Recording(value)).sample([0, 0], [0, 1])


def test_modes_are_those_of_before_and_no_gradient_is_kept() -> None:
    generator = Recording().train()
    generator.frozen.eval()  # a normalisation frozen on purpose stays frozen
    images = wrapped(generator).sample([0], [0]).images
    assert set(generator.modes) == {(False, False, False)}
    assert (generator.training, generator.dropout.training, generator.frozen.training) == (True, True, False)
    assert not images.requires_grad
    generator.eval()
    wrapped(generator).sample([0], [0])
    assert not generator.training


def test_a_generator_with_gradients_gives_none() -> None:
    assert not toy_synthesizer().sample([0], [0]).images.requires_grad


def test_conditions_are_refused() -> None:
    with pytest.raises(SynthesizerError, match="no conditions for a wrapped generator, found mask"):
        toy_synthesizer().sample([0], [0], conditions={"mask": torch.zeros(1)})


def spec_of(*grid: int, channels: int = 1) -> ImageSpec:
    form = RawForm(kind="array", layout="channels_first", dtype="uint8", channels=channels, shape=grid)
    return ImageSpec(form=form, grid=grid, low=(0.0,) * channels, high=(255.0,) * channels)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"image_shape": (8, 8)}, r"found \(8, 8\)"),
        ({"image_shape": (1, 0, 8)}, r"found \(1, 0, 8\)"),
        ({"num_classes": 0}, "found 0"),
        ({"value_range": (1, 1)}, "low < high"),
        ({"value_range": (0, float("inf"))}, "finite"),
        ({"value_range": (float("nan"), 1)}, "finite"),
        ({"labels": "text"}, "found 'text'"),
        ({"latent_dim": 0}, "at least 1, or a shape"),
        ({"latent_dim": (4, 0)}, "at least 1, or a shape"),
        ({"latent_dim": "8"}, "at least 1, or a shape"),
        ({"num_classes": None}, "no attribute c_dim or num_classes"),
        ({"labels": "none"}, "num_classes=1 for a generator that takes no label, found 3"),
        ({"class_names": ["a", "b"]}, "3 different class names, found a, b"),
        ({"class_names": ["a", "b", "a"]}, "3 different class names, found a, b, a"),
        ({"image_spec": spec_of(16, 16)}, r"images \(1, 8, 8\) as in image_shape=, found \(1, 16, 16\)"),
        ({"image_spec": spec_of(8, 8, channels=3)}, r"found \(3, 8, 8\)"),
    ],
)
def test_parameters_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        wrapped(Recording(), **settings)


def test_what_is_known_of_it() -> None:
    named = toy_synthesizer(class_names=("a", "b", "c"), image_spec=spec_of(8, 8))
    assert named.class_names == ["a", "b", "c"]
    assert named.image_spec == spec_of(8, 8)
    assert repr(named) == "WrappedSynthesizer(3 classes, 1x8x8)"
    assert wrap(draw_by_seed, num_classes=3, image_shape=(1, 8, 8)).fingerprint["weights"] == "unknown"
    assert wrap(nn.Identity(), num_classes=3, image_shape=(1, 8, 8), latent_dim=64).fingerprint["weights"] == "unknown"
    generator = ToyGenerator()
    settings = {"num_classes": 3, "image_shape": (1, 8, 8), "latent_dim": 6}
    chains = [
        wrap(generator, **{**settings, **other}).fingerprint
        for other in ({}, {"class_names": ["a", "b", "c"]}, {"class_names": ["b", "a", "c"]}, {"value_range": (0, 1)})
    ]
    assert len({chain["settings"] for chain in chains}) == 4
    assert len({chain["weights"] for chain in chains}) == 1
    one, other = ToyGenerator(), ToyGenerator()
    with torch.no_grad():
        other.weight[0, 0] += 1e-6
    assert wrapped(one, latent_dim=6).fingerprint == toy_synthesizer().fingerprint
    assert wrapped(other, latent_dim=6).fingerprint != toy_synthesizer().fingerprint


class Told(nn.Module):
    """A generator as StyleGAN's, which tells what it is; the class is its brightness."""

    def __init__(self, c_dim: int = 3, noise: bool = False, blind: bool = False) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.img_resolution, self.img_channels = 4, c_dim, 8, 3
        self.noise, self.blind = noise, blind
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        self.shapes.append(tuple(c.shape))
        light = torch.tanh(z[:, :1]) * 0.1
        if self.c_dim and not self.blind:
            light = light + 0.2 * c.argmax(1)[:, None]
        if self.noise:
            light = light + 0.05 * torch.randn(len(z), 1)
        return light[:, :, None, None].expand(-1, 3, 8, 8)


def test_what_a_module_tells_of_itself_is_read_off() -> None:
    generator = Told()
    synthesizer = wrap(generator)
    assert (synthesizer.num_classes, synthesizer.image_shape) == (3, (3, 8, 8))
    assert not generator.shapes  # nothing had to be drawn to know
    assert synthesizer.sample([2], [0]).images.mean() > 0.25
    assert generator.shapes[0] == (1, 3)


def test_a_module_that_knows_no_classes_gets_labels_without_columns() -> None:
    generator = Told(c_dim=0)
    synthesizer = wrap(generator, class_names=["rare"])
    assert (synthesizer.num_classes, synthesizer.class_names) == (1, ["rare"])
    assert synthesizer.sample([0, 0], [0, 1]).images.shape == (2, 3, 8, 8)
    assert generator.shapes[0] == (2, 0)


def test_a_shape_that_is_not_told_is_that_of_an_image() -> None:
    generator = Told()
    del generator.img_channels
    synthesizer = wrap(generator)
    assert synthesizer.image_shape == (3, 8, 8)
    assert wrap(draw_by_seed, num_classes=3).image_shape == (1, 8, 8)
    with pytest.raises(SynthesizerError, match=r"\(2, C, H, W\) or \(2, C, D, H, W\) for two labels, found \(2, 8\)"):
        wrap(lambda labels, seeds: torch.zeros(2, 8), num_classes=3)


def test_latents_may_have_a_shape() -> None:
    seen: list[tuple[int, ...]] = []

    def generate(z: Tensor, y: Tensor) -> Tensor:
        seen.append(tuple(z.shape))
        return (z[:, :1] * 0.1 + 0.1 * y[:, None, None, None]).expand(-1, 1, 8, 8).clamp(-1, 1)

    wrap(generate, num_classes=2, image_shape=(1, 8, 8), latent_dim=(5, 1, 1)).sample([0, 1], [0, 1])
    assert seen[0] == (2, 5, 1, 1)


def test_a_label_that_does_not_matter_is_an_error() -> None:
    with pytest.raises(SynthesizerError, match="same image for 3 of 3 labels: the generator does not look at its"):
        wrap(Told(blind=True)).sample([0], [0])
    with pytest.raises(SynthesizerError, match="same image for 5 of 40 labels"):
        wrap(Told(c_dim=40, blind=True)).sample([7], [0])


def test_random_numbers_inside_are_told_of_and_seeded() -> None:
    with pytest.warns(GeneratorWarning, match="random numbers that the generator draws inside"):
        first = (synthesizer := wrap(Told(noise=True))).sample([1, 2], [3, 4]).images
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    assert torch.equal(synthesizer.sample([1, 2], [3, 4]).images, first)  # and it says so once only
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_sample_that_depends_on_its_batch_is_told_of() -> None:
    def generate(z: Tensor, y: Tensor) -> Tensor:
        light = (z[:, 0] - z[:, 0].mean()).tanh() * 0.5 + 0.1 * y
        return light[:, None, None, None].expand(-1, 1, 8, 8)

    with pytest.warns(GeneratorWarning, match="the other samples of its batch"):
        wrap(generate, num_classes=2, latent_dim=3, image_shape=(1, 8, 8)).sample([0, 1], [1, 2])


def test_attributes_of_a_module_count() -> None:
    one, other = Told(), Told()
    other.psi = 0.7
    assert wrap(one).fingerprint["settings"] != wrap(other).fingerprint["settings"]
    assert wrap(one).fingerprint == wrap(Told()).fingerprint


@pytest.mark.parametrize("settings", [{"labels": "onehot"}, {"latent_dim": 7}, {"num_classes": 5}])
def test_a_call_that_fails_tells_how_it_was_called(settings: dict[str, Any]) -> None:
    class Embedding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.linear = nn.Embedding(3, 4), nn.Linear(10, 64)

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            return self.linear(torch.cat([z, self.embed(y)], 1)).tanh().reshape(-1, 1, 8, 8)

    synthesizer = wrap(Embedding(), **{"num_classes": 3, "latent_dim": 6, "image_shape": (1, 8, 8), **settings})
    with pytest.raises(SynthesizerError, match=r"expected a generator that takes latents \(1, .*Correct latent_dim="):
        synthesizer.sample([synthesizer.num_classes - 1], [0])


def test_a_generator_without_labels_serves_one_class() -> None:
    assert wrap(Recording(), labels="none", latent_dim=5, image_shape=(1, 8, 8)).num_classes == 1


def test_licence_and_citation_are_carried() -> None:
    synthesizer = wrap(Told(), licence="CC-BY-4.0", citation="Doe 2020")
    assert (synthesizer.licence, synthesizer.citation) == ("CC-BY-4.0", "Doe 2020")
