"""wrap: how a generator is called, and what of it is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_augment.errors import ConfigError, SynthesizerError
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
        return torch.tanh(inputs[0][:, :1])[:, :, None, None].expand(-1, 1, 8, 8)


def wrapped(generator: Any, **settings: Any) -> Any:
    return wrap(generator, **{"num_classes": 3, "image_shape": (1, 8, 8), "latent_dim": 5, **settings})


def test_latents_come_from_the_seeds() -> None:
    generator = Recording()
    seeds = [3, 2**63 - 1, 0]
    images = wrapped(generator).sample([0, 2, 1], seeds).images
    latents, labels = generator.calls[0]
    assert torch.equal(latents, torch.from_numpy(normals(seeds, 5)))
    assert torch.allclose(images[:, 0, 0, 0], torch.tanh(latents[:, 0]), atol=1e-6)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2, 1]


def test_labels_as_one_hot_and_not_at_all() -> None:
    generator = Recording()
    wrapped(generator, labels="onehot").sample([2, 0], [1, 2])
    assert generator.calls[0][1].tolist() == [[0, 0, 1], [1, 0, 0]]
    assert generator.calls[0][1].dtype == torch.float32
    wrapped(generator, labels="none").sample([2, 0], [1, 2])
    assert [tuple(part.shape) for part in generator.calls[1]] == [(2, 5)]


def test_a_function_gets_labels_and_seeds() -> None:
    images = wrap(draw_by_seed, num_classes=3, image_shape=(1, 8, 8)).sample([1, 2], [5, 6]).images
    assert torch.allclose(images, draw_by_seed(torch.tensor([1, 2]), torch.tensor([5, 6])), atol=1e-6)


def test_a_function_gets_labels_and_seeds_and_a_module_must_say_its_latents() -> None:
    generator = Recording(lambda count: torch.zeros(count, 1, 8, 8))
    wrapped(generator.forward, latent_dim=None).sample([1, 2], [5, 6])
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
        wrapped(generator).sample([0, 1], [0, 1])
    assert generator.training


def test_one_pixel_that_is_nan_is_found() -> None:
    def value(count: int) -> Tensor:
        images = torch.zeros(count, 1, 8, 8)
        images[-1, 0, 7, 7] = torch.nan
        return images

    with pytest.raises(SynthesizerError, match="NaN"):
        wrapped(Recording(value)).sample([0, 1], [0, 1])


def test_modes_are_those_of_before_and_no_gradient_is_kept() -> None:
    generator = Recording().train()
    generator.frozen.eval()  # a normalisation frozen on purpose stays frozen
    images = wrapped(generator).sample([0], [0]).images
    assert generator.modes == [(False, False, False)]
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
        ({"num_classes": 0}, "found .* 0"),
        ({"value_range": (1, 1)}, "low < high"),
        ({"value_range": (0, float("inf"))}, "finite"),
        ({"value_range": (float("nan"), 1)}, "finite"),
        ({"labels": "text"}, "found 'text'"),
        ({"latent_dim": 0}, "at least 1, or None"),
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
