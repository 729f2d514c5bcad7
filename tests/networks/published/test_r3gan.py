"""The released R3GAN against its equations, written naively in float64, and what fine-tuning needs of it."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.losses import gradient_norms
from gan_augment.networks.published.r3gan import (
    R3GANDiscriminator,
    R3GANDiscriminatorSettings,
    R3GANGenerator,
    R3GANSettings,
)

SETTINGS = R3GANSettings(
    latent_dim=5, num_classes=3, class_dim=4, widths=(16, 16, 8), groups=(4, 2, 8), blocks=(2, 1, 0)
)
UNCONDITIONAL = dataclasses.replace(SETTINGS, num_classes=0, class_dim=0, blocks=(0, 1, 2), kernel_size=5)


def mirrored(settings: R3GANSettings) -> R3GANDiscriminatorSettings:
    values = {key: value for key, value in settings.to_json().items() if key != "latent_dim"}
    turned = {key: values[key][::-1] for key in ("widths", "groups", "blocks")}
    return R3GANDiscriminatorSettings(**{**values, **turned})


def random(network: torch.nn.Module) -> dict[str, Tensor]:
    """Draws the weights that start at zero, and returns all in float64."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if name.endswith(("shrink.weight", "bias")):
            torch.nn.init.normal_(parameter, std=0.3)
    return {name: tensor.double() for name, tensor in network.state_dict().items()}


# -- the equations, one cell and one channel at a time where it matters ------------------------------------------------


def doubled_rows(side: int) -> Tensor:
    """y[2i] = (x[i-1] + 3 x[i]) / 4, y[2i+1] = (3 x[i] + x[i+1]) / 4, zero outside, as a matrix."""
    matrix = torch.zeros(2 * side, side).double()
    for i in range(side):
        for row, other in ((2 * i, i - 1), (2 * i + 1, i + 1)):
            matrix[row, i] = 0.75
            if 0 <= other < side:
                matrix[row, other] = 0.25
    return matrix


def halved_rows(side: int) -> Tensor:
    """y[i] = (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8: the transpose of doubling, halved."""
    return doubled_rows(side // 2).T / 2


def resampled(images: Tensor, rows: Tensor) -> Tensor:
    return torch.einsum("ih,jw,nchw->ncij", rows, rows, images)


def grouped(images: Tensor, weight: Tensor) -> Tensor:
    n, channels, side, _ = images.shape
    outputs, few, size, _ = weight.shape
    padded = torch.zeros(n, channels, side + size - 1, side + size - 1).double()
    padded[:, :, size // 2 : side + size // 2, size // 2 : side + size // 2] = images
    made = torch.zeros(n, outputs, side, side).double()
    each = outputs // (channels // few)
    for output in range(outputs):
        start = output // each * few
        for y in range(size):
            for x in range(size):
                window = padded[:, start : start + few, y : y + side, x : x + side]
                made[:, output] += (window * weight[output, :, y, x][:, None, None]).sum(1)
    return made


def point(images: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], images)


def leaky(images: Tensor, bias: Tensor) -> Tensor:
    images = images + bias[:, None, None]
    return torch.where(images > 0, images, 0.2 * images)


def block(images: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    hidden = leaky(point(images, state[f"{name}.expand.weight"]), state[f"{name}.expand.bias"])
    hidden = leaky(grouped(hidden, state[f"{name}.mix.weight"]), state[f"{name}.mix.bias"])
    return images + point(hidden, state[f"{name}.shrink.weight"])


def generated(state: dict[str, Tensor], settings: R3GANSettings, latents: Tensor, labels: Tensor) -> Tensor:
    if settings.num_classes:
        one_hot = torch.eye(settings.num_classes).double()[labels]
        latents = torch.cat([latents, one_hot @ state["embed.weight"]], 1)
    scale = latents @ state["stages.0.0.linear.weight"].T
    hidden = scale[:, :, None, None] * state["stages.0.0.basis"][None]
    for stage, blocks in enumerate(settings.blocks):
        if stage:
            if (change := state.get(f"stages.{stage}.0.change.weight")) is not None:
                hidden = point(hidden, change)
            hidden = resampled(hidden, doubled_rows(hidden.shape[-1]))
        for layer in range(blocks):
            hidden = block(hidden, state, f"stages.{stage}.{1 + layer}")
    return point(hidden, state["last.weight"])


def discriminated(
    state: dict[str, Tensor], settings: R3GANDiscriminatorSettings, images: Tensor, labels: Tensor
) -> Tensor:
    hidden = point(images, state["first.weight"])
    for stage, blocks in enumerate(settings.blocks):
        for layer in range(blocks):
            hidden = block(hidden, state, f"stages.{stage}.{layer}")
        end = f"stages.{stage}.{blocks}"
        if stage < len(settings.blocks) - 1:
            hidden = resampled(hidden, halved_rows(hidden.shape[-1]))
            if (change := state.get(f"{end}.change.weight")) is not None:
                hidden = point(hidden, change)
    sums = (hidden * state[f"{end}.basis.weight"][:, 0]).sum((2, 3))
    features = sums @ state[f"{end}.linear.weight"].T
    if not settings.num_classes:
        return features[:, 0]
    return (features * state["embed.weight"][labels]).sum(1)


@pytest.mark.parametrize("settings", [SETTINGS, UNCONDITIONAL], ids=["classes", "none"])
def test_networks_are_their_equations(settings: R3GANSettings) -> None:
    generator, discriminator = R3GANGenerator(settings), R3GANDiscriminator(mirrored(settings))
    weights, judging = random(generator), random(discriminator)
    latents, labels = torch.randn(3, 5), torch.tensor([0, 2, 1])
    with torch.no_grad():
        images = generator(latents, labels)
        logits = discriminator(images, labels)
    assert images.shape == (3, *generator.image_shape) == (3, 3, 16, 16)
    expected = generated(weights, settings, latents.double(), labels)
    assert expected.std() > 0.1
    torch.testing.assert_close(images.double(), expected, rtol=0, atol=1e-5)
    judged = discriminated(judging, discriminator.settings, images.double(), labels)
    torch.testing.assert_close(logits.double(), judged, rtol=0, atol=1e-5)
    assert logits.shape == (3,)


def test_other_filters_resample_by_their_binomials() -> None:
    """[1, 4, 6, 4, 1] with [1, 1] is the row of 5: an impulse, doubled, gives its even and odd weights over 16."""
    settings = dataclasses.replace(
        UNCONDITIONAL, widths=(16, 16), groups=(1, 1), blocks=(0, 0), filter=(1.0, 4.0, 6.0, 4.0, 1.0)
    )
    generator = R3GANGenerator(settings)
    with torch.no_grad():
        generator.stages[0][0].basis.zero_()[0, 1, 2] = 1.0
        generator.stages[0][0].linear.weight.fill_(1.0)
        generator.last.weight.zero_()[:, 0] = 1.0
        image = generator(torch.tensor([[1.0, 0, 0, 0, 0]]))[0, 0]
    rows, columns = torch.zeros(8), torch.zeros(8)
    rows[0:6], columns[2:8] = (torch.tensor([1.0, 5, 10, 10, 5, 1]) / 16,) * 2
    torch.testing.assert_close(image, torch.outer(rows, columns))


def test_it_is_built_on_meta_and_told_what_it_is() -> None:
    with torch.device("meta"):
        generator = R3GANGenerator(SETTINGS)
        R3GANDiscriminator(mirrored(SETTINGS))
    assert (generator.latent_dim, generator.num_classes, generator.image_shape) == (5, 3, (3, 16, 16))
    assert R3GANSettings.from_json(SETTINGS.to_json()) == SETTINGS


def test_the_discriminator_trains_with_gradient_penalties() -> None:
    discriminator, labels = R3GANDiscriminator(mirrored(SETTINGS)), torch.tensor([0, 1, 2])
    images = torch.randn(3, 3, 16, 16, requires_grad=True)
    logits = discriminator(images, labels)
    assert 0.01 < logits.std() < 3  # as it is drawn
    random(discriminator)
    norms = gradient_norms(discriminator(images, labels), images)
    alone = images[1:2].detach().requires_grad_()
    torch.testing.assert_close(norms[1:2], gradient_norms(discriminator(alone, labels[1:2]), alone), rtol=1e-3, atol=0)
    norms.mean().backward()
    reached = {name for name, p in discriminator.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached >= {name for name, _ in discriminator.named_parameters() if name.endswith("weight")}


def test_double_backward_is_that_of_finite_differences() -> None:
    discriminator = R3GANDiscriminator(mirrored(SETTINGS)).double()
    random(discriminator)
    images = torch.randn(1, 3, 16, 16).double().requires_grad_()
    weight, labels = discriminator.stages[0][0].change.weight, torch.tensor([2])

    def penalty() -> Tensor:
        return gradient_norms(discriminator(images, labels), images).sum()

    (slope,) = torch.autograd.grad(penalty(), weight)
    with torch.no_grad():
        weight[3, 2] += 1e-6
    more = penalty()
    with torch.no_grad():
        weight[3, 2] -= 2e-6
    torch.testing.assert_close((more - penalty()) / 2e-6, slope[3, 2].sum(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("settings", [SETTINGS, UNCONDITIONAL], ids=["classes", "none"])
def test_logits_are_linear_in_the_features(settings: R3GANSettings) -> None:
    discriminator, labels = R3GANDiscriminator(mirrored(settings)), torch.tensor([2, 0])
    features, logits = discriminator.features_and_logits(torch.randn(2, 3, 16, 16), labels)
    if discriminator.embed is not None:
        expected = (features * discriminator.embed(labels)).sum(1)
    else:
        expected = (features @ discriminator.stages[-1][-1].linear.weight.T)[:, 0]
    torch.testing.assert_close(logits, expected)


def test_blocks_start_as_the_identity_with_the_gain_of_the_paper() -> None:
    torch.manual_seed(0)
    generator = R3GANGenerator(dataclasses.replace(SETTINGS, widths=(64, 64, 64), groups=(4, 4, 4), blocks=(2, 2, 2)))
    first = generator.stages[0][1]  # type: ignore[index]
    hidden = torch.randn(1, 64, 4, 4)
    torch.testing.assert_close(first(hidden), hidden)
    gain = (2 / 1.04) ** 0.5 * 6**-0.25
    assert first.expand.weight.std().item() == pytest.approx(gain / 64**0.5, rel=0.05)


def test_classes_need_labels() -> None:
    with pytest.raises(ConfigError, match=r"expected labels \(N,\) from 0 to 2, found none"):
        R3GANGenerator(SETTINGS)(torch.randn(1, 5))
    with pytest.raises(ConfigError, match="expected labels"):
        R3GANDiscriminator(mirrored(SETTINGS))(torch.randn(1, 3, 16, 16))
    assert R3GANGenerator(UNCONDITIONAL)(torch.randn(1, 5)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"widths": (16, 16)}, "as many widths as groups"),
        ({"widths": ()}, "number of stages"),
        ({"widths": (16,) * 12}, "number of stages"),
        ({"widths": (16, 10**9, 8)}, "width from 1 to 8192"),
        ({"groups": (4, 3, 8)}, "groups that divide 32 channels, found 3"),
        ({"groups": (0, 2, 8)}, "groups from 1"),
        ({"blocks": (2, 65, 0)}, "blocks from 0 to 64"),
        ({"expansion": 0}, "expansion from 1"),
        ({"num_classes": -1}, "num_classes from 0"),
        ({"class_dim": 0}, "class_dim from 1"),
        ({"latent_dim": 0}, "latent_dim from 1"),
        ({"channels": 1000}, "channels from 1 to 64"),
        ({"kernel_size": 4}, "of odd length"),
        ({"filter": (1.0, 2.0)}, "of odd length"),
        ({"filter": (1.0, 2.0, 3.0)}, "symmetric filter"),
        ({"filter": (1.0, -2.0, 1.0)}, "a sum above 0"),
    ],
)
def test_settings_that_cannot_work(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        dataclasses.replace(SETTINGS, **changed)
