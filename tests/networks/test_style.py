"""The style-based networks, adaptive augmentation, and what the recipe makes of them."""

import pytest
import torch
from torch.nn import functional

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError
from gan_augment.losses import gradient_norms
from gan_augment.networks import AdaptiveProbability, NetworkSpec, StyleDiscriminator, StyleGenerator
from gan_augment.networks.resample import strided_up, twice
from gan_augment.networks.style import Mapping, ModulatedConv
from gan_augment.recipes import Part, StyleGAN2ADA, Tools
from gan_augment.training.trainer import Trainer
from tests.helpers import in_parts

SPECS = [
    NetworkSpec(channels=1, grid=(8, 8), num_classes=3),
    NetworkSpec(channels=3, grid=(20, 28), num_classes=3),
    NetworkSpec(channels=2, grid=(8, 16, 12), num_classes=3),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
@pytest.mark.parametrize("width", [32, 40])
def test_shapes(spec: NetworkSpec, width: int) -> None:
    labels, latents = torch.tensor([0, 2]), torch.randn(2, 16)
    images = StyleGenerator(spec, 16, width)(latents, labels)
    assert images.shape == (2, spec.channels, *spec.grid)
    assert StyleDiscriminator(spec, width)(images, labels).shape == (2,)


def test_the_default_width_has_about_half_a_million_weights_at_32x32() -> None:
    networks = StyleGAN2ADA().networks(NetworkSpec(channels=1, grid=(32, 32), num_classes=10))
    for name in ("generator", "discriminator"):
        assert 400_000 < sum(p.numel() for p in networks[name].parameters()) < 900_000, name


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulation_is_that_of_weights_formed_for_each_sample(ndim: int, demodulate: bool) -> None:
    """Karras et al. 2020, equations 1 and 3, one sample at a time."""
    torch.manual_seed(0)
    layer = ModulatedConv(ndim, 6, 5, 7, demodulate=demodulate)
    images, style = torch.randn(3, 6, *[4] * ndim), torch.randn(3, 7)
    out = layer(images, style)
    convolve = functional.conv2d if ndim == 2 else functional.conv3d
    for image, w, made in zip(images, style, out, strict=True):
        scale = layer.affine(w).reshape(1, -1, *[1] * ndim)
        weight = layer.weight * scale
        if demodulate:
            weight = weight / (weight.square().flatten(1).sum(1) + 1e-8).sqrt().reshape(-1, *[1] * (ndim + 1))
        torch.testing.assert_close(convolve(image[None], weight, padding=1)[0], made, rtol=1e-4, atol=1e-5)


def test_demodulation_gives_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer, noise = ModulatedConv(2, 32, 32, 8), torch.randn(8, 32, 16, 16)
    for size in (0.1, 10.0):
        made = layer(noise, size * torch.randn(8, 8))[..., 1:-1, 1:-1]  # without the border's zeros
        assert made.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_strided_way_up_is_a_convolution_of_the_doubled_image(ndim: int) -> None:
    """A kernel that only passes its centre leaves the doubled image."""
    images = torch.randn(2, 3, *[6] * ndim)
    weight = torch.zeros(3, 3, *[3] * ndim)
    for channel in range(3):
        weight[(channel, channel, *[1] * ndim)] = 1.0
    doubled, inner = strided_up(images, weight), (..., *[slice(2, -2)] * ndim)
    assert doubled.shape == (2, 3, *[12] * ndim)
    torch.testing.assert_close(doubled[inner], twice(images)[inner], rtol=1e-4, atol=1e-5)


def test_the_mapping_does_not_mind_how_long_the_latents_are() -> None:
    mapping, labels = Mapping(3, 16, 32, layers=2), torch.tensor([0, 1])
    latents = torch.randn(2, 16)
    style = mapping(latents, labels)
    assert style.shape == (2, 32)
    torch.testing.assert_close(mapping(3 * latents, labels), style, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mapping(latents.flip(0), labels), style)
    assert not torch.allclose(mapping(latents, labels.flip(0)), style)


def test_a_generator_is_its_synthesis_of_its_mapping() -> None:
    generator, latents, labels = StyleGenerator(SPECS[0], 16, 32), torch.randn(2, 16), torch.tensor([0, 1])
    images = generator(latents, labels)
    style = generator.mapping(latents, labels)
    assert torch.equal(generator.synthesis(style), images)
    assert not torch.allclose(generator.synthesis(style.mean(0, keepdim=True)), images[:1])
    assert torch.equal(generator(latents, labels), images)  # no noise


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_a_sample_does_not_depend_on_its_batch_and_penalties_pass_through(spec: NetworkSpec) -> None:
    torch.manual_seed(0)
    discriminator, labels = StyleDiscriminator(spec, 32), torch.tensor([0, 1, 2])
    images = torch.randn(3, spec.channels, *spec.grid, requires_grad=True)
    norms = gradient_norms(discriminator(images, labels), images)
    alone = images[1:2].detach().requires_grad_()
    torch.testing.assert_close(
        norms[1:2], gradient_norms(discriminator(alone, labels[1:2]), alone), rtol=1e-3, atol=1e-5
    )
    norms.mean().backward()
    weights = [p for name, p in discriminator.named_parameters() if name.endswith("weight")]
    assert all(weight.grad is not None and weight.grad.any() for weight in weights)


# -- adaptive augmentation --------------------------------------------------------------------------------------------


def moved(logits: list[float], steps: int, target: float = 0.6, images: int = 640) -> list[float]:
    adaptive = AdaptiveProbability(target, images)
    path = []
    for step in range(steps):
        path.append(adaptive.move(step, 16))
        adaptive.observe(torch.tensor(logits))
    return path


def test_p_rises_every_fourth_step_while_the_discriminator_is_too_sure() -> None:
    sure = moved([1.0, 2.0, 3.0, 0.5], 13)
    assert sure == pytest.approx([0.0] * 4 + [0.1] * 4 + [0.2] * 4 + [0.3])
    assert moved([1.0] * 4, 100)[-1] == 1.0
    assert moved([1.0, -1.0, 2.0, -2.0], 100)[-1] == 0.0  # it cannot tell


def test_p_falls_again_and_the_sign_counts_not_the_size() -> None:
    adaptive = AdaptiveProbability(0.0, 64)
    for step in range(20):
        adaptive.move(step, 16)
        adaptive.observe(torch.tensor([9.0, -0.1, -0.1] if step >= 8 else [0.1, 0.1, -9.0]))
        if step == 8:
            assert adaptive.value == 1.0
    assert adaptive.value == 0.0


def test_parts_of_a_batch_count_as_one() -> None:
    whole, cut = AdaptiveProbability(0.6, 640), AdaptiveProbability(0.6, 640)
    logits = torch.tensor([1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0])
    for step in range(9):
        whole.move(step, 8)
        whole.observe(logits)
        for part in logits.chunk(2):
            cut.move(step, 8)
            cut.observe(part)
    assert whole.value == cut.value == pytest.approx(0.1)


def test_the_mean_over_processes_decides() -> None:
    adaptive = AdaptiveProbability(0.6, 640)
    for step in range(5):
        adaptive.move(step, 8)
        adaptive.observe(torch.ones(8), lambda mine: (mine - 1) / 2)  # another process has -1 throughout
    assert adaptive.value == 0.0


def test_augmentation_with_probability() -> None:
    images = torch.rand(400, 1, 8, 8) * 2 - 1
    every = Augmentation(translate=0.2, rotate=0.3, scale=0.2, brightness=0.3, contrast=0.3, cutout=0.4)
    assert torch.equal(every(images, probability=0.0), images)
    for name in ("translate", "rotate", "scale", "brightness", "contrast", "cutout"):
        only = Augmentation(**{"translate": 0.0, "rotate": 0.0, "scale": 0.0, name: getattr(every, name)})
        changed = (only(images, probability=0.25) - images).abs().flatten(1).amax(1) > 1e-4
        assert 0.15 < changed.float().mean() < 0.35, name
    mirrored = Augmentation(translate=0.0, rotate=0.0, scale=0.0, flip=True)(images, probability=0.5)
    assert 0.15 < ((mirrored - images).abs().flatten(1).amax(1) > 1e-4).float().mean() < 0.35
    torch.manual_seed(3)
    always = every(images)
    torch.manual_seed(3)
    assert torch.equal(every(images, probability=1.0), always)


# -- the recipe -------------------------------------------------------------------------------------------------------


def test_a_training_moves_p_and_keeps_it() -> None:
    recipe = StyleGAN2ADA(steps=9, batch_size=6, adapt_images=240, target=0.0)
    trainer = Trainer(recipe, SPECS[0], seed=0, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    batch = {"real": torch.rand(6, 1, 8, 8, generator=generator) + 1, "labels": torch.arange(6) % 3}
    trainer.run(lambda step, part: {name: part.cut(tensor) for name, tensor in batch.items()})
    adaptive = trainer.result()["adaptive"]
    assert isinstance(adaptive, AdaptiveProbability)
    assert adaptive.value in (0.0, pytest.approx(0.1), pytest.approx(0.2))
    assert int(adaptive.last) == 8
    assert adaptive.state_dict().keys() == {"probability", "signs", "parts", "last"}


def test_the_lazy_penalty_has_the_papers_weight_over_the_steps() -> None:
    spec = NetworkSpec(channels=1, grid=(8, 16), num_classes=3)
    batch = {"real": torch.randn(4, 1, 8, 16), "labels": torch.tensor([0, 1, 2, 0])}
    recipe = StyleGAN2ADA(batch_size=4, gamma=0.3, penalty_every=8)
    networks = recipe.networks(spec)
    _, penalty, _ = recipe.updates()
    assert (penalty.every, penalty.optimizer_name, penalty.parameters) == (8, "d", ("discriminator",))
    term = penalty.loss(networks, batch, Tools(recipe.augmentation, part=Part(0, 1, 4)))["penalty"]
    images = batch["real"].requires_grad_()
    norms = gradient_norms(networks["discriminator"](images, batch["labels"]), images)
    torch.testing.assert_close(term, 8 * (0.3 * 8 * 16 / 4) / 2 * norms.mean())


def test_a_batch_in_parts_is_a_batch_in_one() -> None:
    recipe = StyleGAN2ADA(steps=6, batch_size=6, adapt_images=120, learning_rate=1e-7, target=0.0)
    batch = {"real": torch.rand(6, 1, 8, 8) * 2 - 1, "labels": torch.arange(6) % 3}
    one, three = in_parts(recipe, SPECS[0], batch)
    torch.testing.assert_close(one.networks["adaptive"].state_dict(), three.networks["adaptive"].state_dict())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gamma": -1.0}, "gamma of at least 0"),
        ({"penalty_every": 0}, "penalty_every of at least 1"),
        ({"mapping_layers": 0}, "mapping_layers of at least 1"),
        ({"adapt_images": 0}, "adapt_images of at least 1"),
        ({"target": 1.5}, "target from 0 to 1"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        StyleGAN2ADA(**settings)  # type: ignore[arg-type]
