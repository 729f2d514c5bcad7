"""Encoder and critic: codes as long as latents, and a start from the encoder's weights."""

import pytest
import torch

from gan_augment.losses import gradient_norms
from gan_augment.networks import Encoder, LabelCritic, NetworkSpec
from tests.networks.test_networks import SPECS


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_shapes(spec: NetworkSpec) -> None:
    images = torch.rand(2, spec.channels, *spec.grid) * 2 - 1
    assert Encoder(spec, 24, 40)(images).shape == (2, 24)
    assert LabelCritic(spec, 40)(images, torch.tensor([0, 2])).shape == (2,)


def test_codes_have_the_length_of_latents() -> None:
    images = torch.rand(5, 1, 8, 8) * 2 - 1
    code = Encoder(SPECS[0], 64, 64)(images)
    torch.testing.assert_close(code.square().sum(1), torch.full((5,), 64.0))
    assert torch.isfinite(Encoder(SPECS[0], 64, 64)(torch.zeros(1, 1, 8, 8))).all()


def test_a_critic_starts_from_the_encoder() -> None:
    encoder, critic = Encoder(SPECS[1], 24, 64), LabelCritic(SPECS[1], 64)
    images = torch.rand(2, 3, 32, 48)
    assert not torch.equal(critic.trunk(images), encoder.trunk(images))
    critic.start_from(encoder)
    assert torch.equal(critic.trunk(images), encoder.trunk(images))
    first = next(critic.trunk.parameters())
    assert first.data_ptr() != next(encoder.trunk.parameters()).data_ptr()


def test_a_critic_listens_to_the_label_and_to_its_own_image_only() -> None:
    critic = LabelCritic(SPECS[0], 64)
    images = (torch.rand(3, 1, 8, 8) * 2 - 1).requires_grad_()
    labels = torch.tensor([0, 1, 2])
    logits = critic(images, labels)
    assert not torch.allclose(logits, critic(images, labels.flip(0)))
    alone = torch.stack([gradient_norms(critic(i[None], y[None]), images)[n] for n, (i, y) in
                         enumerate(zip(images, labels, strict=True))])  # fmt: skip
    torch.testing.assert_close(gradient_norms(logits, images), alone)
