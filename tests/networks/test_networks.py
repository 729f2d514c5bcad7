"""Shapes in two and three dimensions, conditioning, and what must not leak."""

import pytest
import torch

from gan_augment.errors import ConfigError
from gan_augment.networks import (
    ClassGenerator,
    Classifier,
    ImageGenerator,
    NetworkSpec,
    PairDiscriminator,
    ProjectionDiscriminator,
)
from gan_augment.networks.blocks import ScaleShiftNorm
from gan_augment.recipes import RECIPES

SPECS = [
    NetworkSpec(channels=1, grid=(8, 8), num_classes=3),
    NetworkSpec(channels=3, grid=(32, 48), num_classes=3),
    NetworkSpec(channels=2, grid=(8, 16, 8), num_classes=3),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_shapes(spec: NetworkSpec) -> None:
    labels, latents = torch.tensor([0, 2]), torch.randn(2, 16)
    images = torch.rand(2, spec.channels, *spec.grid) * 2 - 1
    width = spec.default_width
    assert ClassGenerator(spec, 16, width)(latents, labels).shape == images.shape
    assert ImageGenerator(spec, 16, width)(images, latents).shape == images.shape
    assert ProjectionDiscriminator(spec, width)(images, labels).shape == (2,)
    assert PairDiscriminator(spec, width)(images, images.flip(0)).shape == (2,)
    classifier = Classifier(spec).eval()
    assert classifier(images).shape == (2, 3)
    assert classifier.features(images).shape == (2, width)


def test_a_spec_that_cannot_be_built_is_refused() -> None:
    for grid in ((7, 8), (4, 4), (8,), (8, 8, 8, 8)):
        with pytest.raises(ConfigError, match="even grid"):
            NetworkSpec(channels=1, grid=grid, num_classes=2)
    with pytest.raises(ConfigError, match="one class"):
        NetworkSpec(channels=1, grid=(8, 8), num_classes=0)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128, 256])
def test_bottom_is_about_four(side: int) -> None:
    spec = NetworkSpec(channels=1, grid=(side, side), num_classes=2)
    assert spec.bottom == (4, 4)
    widths = spec.widths(128)
    assert widths == sorted(widths)
    assert widths[-1] == 128
    assert len(widths) == spec.levels


def test_generators_listen_to_class_source_and_latents() -> None:
    spec, latents = SPECS[0], torch.randn(2, 16)
    by_class = ClassGenerator(spec, 16, 64)
    assert not torch.allclose(by_class(latents, torch.tensor([0, 0])), by_class(latents, torch.tensor([1, 1])))
    by_image = ImageGenerator(spec, 16, 64)
    images = torch.rand(2, 1, 8, 8)
    assert not torch.allclose(by_image(images, latents), by_image(images.flip(0), latents))
    assert not torch.allclose(by_image(images, latents), by_image(images, latents.flip(0)))


def test_the_source_has_no_full_resolution_path() -> None:
    """A skip at full resolution would let the source be copied pixel by pixel."""
    spec = NetworkSpec(channels=1, grid=(32, 32), num_classes=2)
    network = ImageGenerator(spec, 16, 128)
    skipped = [encode.conv.weight.shape[0] for encode in network.encoders]
    inputs = [decode.conv.weight.shape[1] for decode in network.decoders]
    assert inputs[0] == 128 + 64
    assert inputs[1] == network.decoders[0].conv.weight.shape[0] + skipped[-2]
    assert network.last.weight.shape[1] == network.decoders[-1].conv.weight.shape[0]


def test_scale_shift_norm_known_answer() -> None:
    norm = ScaleShiftNorm(8, 4)
    torch.nn.init.zeros_(norm.affine.weight)
    images = torch.randn(3, 8, 5, 5) * 7 + 2
    out = norm(images, torch.randn(3, 4))
    torch.testing.assert_close(out.mean((2, 3)), torch.zeros(3, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std((2, 3), correction=0), torch.ones(3, 8), atol=1e-3, rtol=0)


def test_discriminators_are_under_spectral_norm() -> None:
    for network in (ProjectionDiscriminator(SPECS[0], 64), PairDiscriminator(SPECS[0], 64)):
        for name, module in network.named_modules():
            if hasattr(module, "weight") and not name.endswith("0.conv") and "parametrizations" not in name:
                norm = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2)
                assert norm < 1.5, name


@pytest.mark.parametrize("recipe", RECIPES)
def test_widths_that_do_not_halve_evenly_are_built(recipe: str) -> None:
    spec = NetworkSpec(channels=1, grid=(16, 16), num_classes=2)
    made = RECIPES[recipe](width=72)
    sources, labels = torch.zeros(2, 1, 16, 16), torch.tensor([0, 1])
    drawn = made.draw(made.networks(spec), labels, torch.zeros(2, made.latent_dim), {"source": sources})
    assert drawn.shape == (2, 1, 16, 16)
