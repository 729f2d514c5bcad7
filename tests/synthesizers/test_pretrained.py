"""Pretrained generators: knobs do what they say, and a sample depends on its seed and class only."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from gan_augment.errors import ConfigError, SynthesizerError
from gan_augment.networks.published import Styled
from gan_augment.seeds import derive, normals, row_seeds
from gan_augment.synthesizers import Knobs, PretrainedSynthesizer
from gan_augment.synthesizers.knobs import Latents
from gan_augment.types import Synthesizer
from tests.synthesizers.released import dcgan, style

SEEDS = row_seeds(0, 1, 6)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def drawn(synthesizer: PretrainedSynthesizer, **knobs: Any) -> torch.Tensor:
    return synthesizer.tuned(**knobs).sample(LABELS, SEEDS).images


@pytest.mark.parametrize("make", [style, dcgan])
def test_a_sample_depends_on_its_seed_and_class_only(make: Any) -> None:
    synthesizer = make()
    assert isinstance(synthesizer, Synthesizer)
    for knobs in ({}, {"truncation": 0.5, "interpolation": 0.3}):
        tuned = synthesizer.tuned(**knobs)
        images = tuned.sample(LABELS, SEEDS).images
        assert images.shape == (6, *synthesizer.image_shape)
        assert images.dtype == torch.float32
        assert images.min() >= -1
        assert images.max() <= 1
        for row in (0, 4):
            alone = tuned.sample(LABELS[row : row + 1], SEEDS[row : row + 1]).images
            torch.testing.assert_close(alone[0], images[row], atol=1e-4, rtol=1e-4)
        assert not torch.allclose(images[0], tuned.sample([1], SEEDS[:1]).images[0], atol=1e-3)
    assert synthesizer.sample([], []).images.shape == (0, *synthesizer.image_shape)


def test_images_are_those_of_the_network() -> None:
    synthesizer = style()
    latents = torch.from_numpy(normals(SEEDS, 8))
    expected = synthesizer.network(latents, torch.from_numpy(LABELS)).clamp(-1, 1)
    torch.testing.assert_close(synthesizer.sample(LABELS, SEEDS).images, expected)


def test_truncation_pulls_towards_the_mean_style_of_the_class() -> None:
    synthesizer = style()
    network = synthesizer.network
    assert isinstance(network, Styled)
    for label in range(3):
        seeds = row_seeds(derive(0, "mean style"), label, 4096)
        mean = network.styles(torch.from_numpy(normals(seeds, 8)), torch.full((4096,), label)).double().mean(0).float()
        centre = network.images(mean[None, None].expand(1, network.style_layers, -1)).clamp(-1, 1)
        same = synthesizer.tuned(truncation=0.0).sample([label, label], SEEDS[:2]).images
        torch.testing.assert_close(same, centre.expand(2, -1, -1, -1), atol=1e-4, rtol=1e-4)
        style_ = network.styles(torch.from_numpy(normals(SEEDS[:1], 8)), torch.tensor([label]))
        half = network.images((mean + 0.5 * (style_ - mean))[:, None].expand(1, network.style_layers, -1)).clamp(-1, 1)
        found = synthesizer.tuned(truncation=0.5).sample([label], SEEDS[:1]).images
        torch.testing.assert_close(found, half, atol=1e-4, rtol=1e-4)
    centres = synthesizer.tuned(truncation=0.0).sample([0, 1], SEEDS[:2]).images
    assert (centres[0] - centres[1]).abs().max() > 1e-3  # one mean of all classes would make them the same
    torch.testing.assert_close(drawn(synthesizer, truncation=1.0), drawn(synthesizer), atol=1e-5, rtol=1e-5)


def test_truncation_of_one_class_leaves_the_others() -> None:
    synthesizer = style(class_names=["a", "b", "rare"])
    plain, cut = drawn(synthesizer), drawn(synthesizer, truncation={"rare": 0.3})
    own = LABELS == 2
    torch.testing.assert_close(cut[~own], plain[~own], atol=1e-5, rtol=1e-5)
    assert (cut[own] - plain[own]).abs().amax((1, 2, 3)).min() > 1e-3


def test_first_layers_only_are_truncated() -> None:
    synthesizer = style()
    everything = drawn(synthesizer, truncation=0.2)
    torch.testing.assert_close(drawn(synthesizer, truncation=0.2, layers=99), everything)
    torch.testing.assert_close(drawn(synthesizer, truncation=0.2, layers=0), drawn(synthesizer), atol=1e-5, rtol=1e-5)
    some = drawn(synthesizer, truncation=0.2, layers=2)
    assert not torch.allclose(some, everything, atol=1e-3)


def test_truncated_latents_are_cut_normals() -> None:
    """The latents of a generator without styles lie within twice the truncation, and are spread as cut normals are."""

    class Recorded(type(dcgan().network)):  # type: ignore[misc]
        def truncated(self, latents: torch.Tensor, labels: Any, truncation: float) -> torch.Tensor:
            seen.append((truncation, latents))
            return super().truncated(latents, labels, truncation)

    seen: list[tuple[float, torch.Tensor]] = []
    synthesizer = dcgan(class_names=["a", "b", "c"])
    synthesizer.network.__class__ = Recorded
    seeds = row_seeds(0, 0, 600)
    synthesizer.tuned(truncation={"a": 0.5, "b": 1.0}).sample(np.arange(600) % 2, seeds)
    for value in (0.5, 1.0):
        latents = torch.cat([part for truncation, part in seen if truncation == value])
        assert latents.shape == (300, 6)
        assert latents.abs().max() <= 2 * value
        assert latents.abs().max() > 1.8 * value
        assert latents.std().item() == pytest.approx(0.8796 * value, rel=0.05)  # of normals cut at 2


def test_classes_that_are_not_named_are_drawn_as_before() -> None:
    for synthesizer in (style(class_names=["a", "b", "c"]), dcgan(class_names=["a", "b", "c"])):
        plain, cut = drawn(synthesizer), drawn(synthesizer, truncation={"b": 0.2})
        torch.testing.assert_close(cut[LABELS != 1], plain[LABELS != 1], atol=1e-5, rtol=1e-5)
        assert (cut[LABELS == 1] - plain[LABELS == 1]).abs().max() > 1e-3


def test_uniform_latents_stay_uniform_between_two_samples() -> None:
    latents = Latents(row_seeds(0, 0, 400), 50, "uniform", torch.device("cpu"))
    middle = latents.between(0.5)
    assert middle.abs().max() <= 1
    assert middle.std().item() == pytest.approx(3**-0.5, rel=0.03)
    torch.testing.assert_close(latents.between(1.0), latents.drawn(other=True), atol=1e-4, rtol=1e-4)


def test_mixing_takes_a_second_style_of_the_class_from_some_layer_on() -> None:
    synthesizer = style()
    network = synthesizer.network
    assert isinstance(network, Styled)
    plain, mixed = drawn(synthesizer), drawn(synthesizer, mixing=1.0)
    assert (mixed - plain).abs().amax((1, 2, 3)).min() > 1e-4
    torch.testing.assert_close(drawn(synthesizer, mixing=0.0), plain)
    some = [bool((a - b).abs().max() > 1e-4) for a, b in zip(
        synthesizer.tuned(mixing=0.5).sample([0] * 64, row_seeds(0, 0, 64)).images,
        synthesizer.sample([0] * 64, row_seeds(0, 0, 64)).images, strict=True)]  # fmt: skip
    assert 16 < sum(some) < 48
    first = network.styles(torch.from_numpy(normals(SEEDS, 8, 0)), torch.from_numpy(LABELS))
    second = network.styles(torch.from_numpy(normals(SEEDS, 8, 2)), torch.from_numpy(LABELS))
    for row in range(6):  # one of the places where the second style may begin explains each image
        fits = []
        for at in range(1, network.style_layers):
            layers = [second[row] if layer >= at else first[row] for layer in range(network.style_layers)]
            image = network.images(torch.stack(layers)[None]).clamp(-1, 1)[0]
            fits.append(torch.allclose(image, mixed[row], atol=1e-4))
        assert any(fits)


def test_interpolation_goes_from_one_sample_to_another_of_the_class() -> None:
    for synthesizer in (style(), dcgan()):
        start, end = drawn(synthesizer), drawn(synthesizer, interpolation=1.0)
        latents = torch.from_numpy(normals(SEEDS, synthesizer.network.latent_dim, 2))
        expected = synthesizer.network(latents, torch.from_numpy(LABELS)).clamp(-1, 1)
        torch.testing.assert_close(end, expected, atol=1e-3, rtol=1e-3)
        near = drawn(synthesizer, interpolation=0.01)
        assert (near - start).abs().mean() < 0.2 * (end - start).abs().mean()


def test_latents_stay_as_long_between_two_samples() -> None:
    """The norm of the middle of the arc is about that of its ends, where the middle of the chord is shorter."""
    latents = Latents(row_seeds(0, 0, 200), 128, "normal", torch.device("cpu"))
    middle = latents.between(0.5)
    assert middle.norm(dim=1).mean().item() == pytest.approx(128**0.5, rel=0.02)


def test_noise() -> None:
    synthesizer = style()
    const, none, random = (drawn(synthesizer, noise=mode) for mode in ("const", "none", "random"))
    assert not torch.allclose(const, none, atol=1e-4)
    assert not torch.allclose(random, none, atol=1e-4)
    torch.testing.assert_close(random, drawn(synthesizer, noise="random"))
    tuned = synthesizer.tuned(noise="random")
    torch.testing.assert_close(tuned.sample([1], SEEDS[1:2]).images[0], random[1], atol=1e-4, rtol=1e-4)


def test_an_unconditional_generator_has_one_class() -> None:
    for synthesizer in (style(0, class_names=["rare"]), dcgan(0, class_names=["rare"])):
        assert (synthesizer.num_classes, synthesizer.class_names) == (1, ["rare"])
        assert synthesizer.tuned(truncation={"rare": 0.5}).sample([0], [1]).images.shape[0] == 1
        with pytest.raises(SynthesizerError, match="labels from 0 to 0"):
            synthesizer.sample([1], [1])


@pytest.mark.parametrize(
    ("make", "knobs", "told"),
    [
        (style, {"truncation": 1.5}, "truncation= from 0 to 1"),
        (style, {"truncation": {"0": -1}}, "truncation= from 0 to 1"),
        (style, {"truncation": {"zebra": 0.5}}, "by name, '0', '1', '2', found 'zebra'"),
        (style, {"mixing": 2}, "mixing= from 0 to 1"),
        (style, {"noise": "loud"}, "noise= 'const', 'random' or 'none'"),
        (style, {"layers": -1}, "layers="),
        (style, {"psi": 0.7}, "expected knobs truncation, layers, mixing, interpolation, noise, found psi"),
        (dcgan, {"mixing": 0.5}, "no mixing for this generator, to which it would make no difference"),
        (dcgan, {"noise": "none"}, "no noise for this generator.* it knows interpolation, truncation$"),
    ],
)
def test_knobs_that_cannot_be(make: Any, knobs: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make().tuned(**knobs)


def test_what_is_known_of_it() -> None:
    synthesizer = style(class_names=["a", "b", "c"])
    assert repr(synthesizer) == "PretrainedSynthesizer(stylegan2, 3 classes, 1x16x16)"
    assert (synthesizer.licence, synthesizer.citation) == ("cc-by-4.0", "Doe 2020")
    prints = [s.fingerprint for s in (synthesizer, style(class_names=["a", "b", "c"]), synthesizer.tuned(mixing=0.5))]
    assert prints[0] == prints[1]
    assert prints[0]["weights"] == prints[2]["weights"]
    assert prints[0]["settings"] != prints[2]["settings"]
    assert style(seed=1).fingerprint["weights"] != prints[0]["weights"]
    assert dataclasses.replace(Knobs(), truncation=0.5).to_json()["truncation"] == 0.5
    with pytest.raises(ConfigError, match=r"expected 3 different class_names=.*found 2: a, b"):
        style(class_names=["a", "b"])
    with pytest.raises(SynthesizerError, match="no conditions for stylegan2, found mask"):
        synthesizer.sample([0], [0], conditions={"mask": torch.zeros(1)})
