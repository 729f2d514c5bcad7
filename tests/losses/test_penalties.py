"""Known answers of penalties on gradients, and that they are of one sample each."""

import pytest
import torch
from torch import Tensor, nn

from gan_augment.losses import (
    gradient_norms,
    gradient_penalty,
    logistic_discriminator,
    logistic_generator,
    relativistic,
    wasserstein_discriminator,
    zero_centred_penalty,
)

GRIDS = [(2, 5, 4), (1, 4, 3, 5)]


def batch(shape: tuple[int, ...], count: int = 6) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1)).requires_grad_()


def linear(images: Tensor, weight: Tensor) -> Tensor:
    return (images * weight).flatten(1).sum(1)


def curved(shape: tuple[int, ...]) -> nn.Module:
    """A discriminator whose gradient differs from image to image."""
    torch.manual_seed(0)
    convolution = nn.Conv2d if len(shape) == 3 else nn.Conv3d
    return nn.Sequential(convolution(shape[0], 4, 3, padding=1), nn.Softplus(), nn.Flatten(), nn.LazyLinear(1))


@pytest.mark.parametrize("shape", GRIDS, ids=["2-D", "3-D"])
@pytest.mark.parametrize("count", [1, 6])
def test_a_linear_discriminator_has_the_norm_of_its_weights_for_every_sample(
    shape: tuple[int, ...], count: int
) -> None:
    weight, images = torch.randn(shape), batch(shape, count)
    expected = weight.square().sum()
    torch.testing.assert_close(gradient_norms(linear(images, weight), images), expected.expand(count))
    torch.testing.assert_close(zero_centred_penalty(linear(images, weight), images), expected)
    torch.testing.assert_close(gradient_penalty(linear(images, weight), images), (expected.sqrt() - 1) ** 2)


def test_a_gradient_of_norm_one_costs_nothing() -> None:
    weight, images = torch.randn(2, 4, 4), batch((2, 4, 4))
    unit = weight / weight.norm()
    assert gradient_penalty(linear(images, unit), images).item() == pytest.approx(0, abs=1e-6)
    flat = gradient_penalty(linear(images, 0 * unit), images)
    assert flat.item() == pytest.approx(1, abs=1e-5)  # the root is kept off 0


@pytest.mark.parametrize("shape", GRIDS, ids=["2-D", "3-D"])
def test_norms_are_those_of_one_sample_at_a_time(shape: tuple[int, ...]) -> None:
    network, images = curved(shape), batch(shape)
    norms = gradient_norms(network(images)[:, 0], images)
    one_by_one = []
    for image in images.detach():
        alone = image[None].requires_grad_()
        (gradient,) = torch.autograd.grad(network(alone).sum(), alone)
        one_by_one.append(gradient.square().sum())
    torch.testing.assert_close(norms, torch.stack(one_by_one))
    assert norms.std() > 0.01 * norms.mean()
    penalty = gradient_penalty(network(images)[:, 0], images)
    torch.testing.assert_close(penalty, ((torch.stack(one_by_one).sqrt() - 1) ** 2).mean())


def test_the_penalty_reaches_the_weights_with_the_right_gradient() -> None:
    """D(x) = sum of w x^2 has the penalty mean over samples of 4 |w x|^2, whose gradient is 8 w mean x^2."""
    images, weight = batch((1, 3, 3)), torch.randn(1, 3, 3, requires_grad=True)
    zero_centred_penalty((weight * images.square()).flatten(1).sum(1), images).backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, (8 * weight * images.square().mean(0)).detach())


@pytest.mark.parametrize("penalty", [zero_centred_penalty, gradient_penalty])
def test_the_penalty_reaches_every_layer(penalty: object) -> None:
    network, images = curved((2, 5, 4)), batch((2, 5, 4))
    penalty(network(images)[:, 0], images).backward()  # type: ignore[operator]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    last_bias = gradients.pop("3.bias")  # a constant has no gradient with respect to the image
    assert last_bias is None or not last_bias.any()
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients.values()), gradients


def test_the_norm_of_a_flat_spot_has_a_finite_gradient() -> None:
    images, weight = batch((1, 3, 3)), torch.zeros(1, 3, 3, requires_grad=True)
    gradient_penalty(linear(images, weight), images).backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_logistic_and_relativistic_known_answers() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0])
    log = torch.tensor(2.0).log().item()
    one, two, three = (torch.tensor(-x).exp().log1p().item() for x in (1.0, 2.0, 3.0))
    assert logistic_discriminator(real, fake).item() == pytest.approx((two + log) / 2 + (one + log) / 2)
    assert logistic_generator(-fake).item() == pytest.approx((one + log) / 2)
    assert relativistic(real, fake).item() == pytest.approx((three + log) / 2)
    assert relativistic(fake, real).item() == pytest.approx((three + 3 + log) / 2)  # softplus(x) = x + softplus(-x)
    assert wasserstein_discriminator(real, fake).item() == pytest.approx(-0.5 - 1.0)


def test_a_pair_counts_by_the_difference_only() -> None:
    real, fake = torch.randn(8), torch.randn(8)
    torch.testing.assert_close(relativistic(real + 5, fake + 5), relativistic(real, fake))
    assert not torch.isclose(relativistic(real, fake), relativistic(real, fake.flip(0)))
