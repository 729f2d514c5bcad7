"""Known answers of the losses of GANs."""

import pytest
import torch

from gan_augment.losses import hinge_discriminator, hinge_generator, mode_seeking


def test_hinge_known_answers() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert hinge_generator(fake).item() == pytest.approx(1 / 3)


def test_hinge_gives_no_gradient_beyond_the_margin() -> None:
    real = torch.tensor([1.5, 0.0], requires_grad=True)
    hinge_discriminator(real, torch.tensor([-3.0, -3.0])).backward()
    assert real.grad is not None
    assert real.grad.tolist() == [0.0, -0.5]


def test_mode_seeking_known_answer_and_direction() -> None:
    latents1, latents2 = torch.zeros(1, 4), torch.full((1, 4), 2.0)
    first, second = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5)
    assert mode_seeking(first, second, latents1, latents2, epsilon=0.0).item() == pytest.approx(4.0)
    closer = mode_seeking(first, second / 2, latents1, latents2, epsilon=0.0)
    assert closer.item() == pytest.approx(8.0)
    collapsed = mode_seeking(first, first, latents1, latents2)
    assert torch.isfinite(collapsed)
