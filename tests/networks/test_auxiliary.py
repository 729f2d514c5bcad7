"""Heads for class and instance."""

import pytest
import torch

from gan_augment.networks import AuxiliaryDiscriminator, InstanceDiscriminator, NetworkSpec
from tests.networks.test_networks import SPECS


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "x".join(map(str, spec.grid)))
def test_shapes(spec: NetworkSpec) -> None:
    images = torch.rand(2, spec.channels, *spec.grid) * 2 - 1
    real, classes = AuxiliaryDiscriminator(spec, 40)(images)
    assert real.shape == (2,)
    assert classes.shape == (2, 3)
    assert InstanceDiscriminator(spec, 40, 24)(images, torch.tensor([0, 2]), torch.randn(2, 24)).shape == (2,)


def test_an_instance_discriminator_listens_to_class_and_instance() -> None:
    network = InstanceDiscriminator(SPECS[0], 64, 24).eval()
    images, labels, instances = torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), torch.randn(2, 24)
    logits = network(images, labels, instances)
    assert not torch.allclose(logits, network(images, labels.flip(0), instances))
    assert not torch.allclose(logits, network(images, labels, instances.flip(0)))
    hidden = network.trunk(images)
    wanted = network.embed(labels) + network.project(instances)
    torch.testing.assert_close(logits, network.linear(hidden)[:, 0] + (wanted * hidden).sum(1))
