"""acgan: the class term is of reals for the discriminator, and counts the classes by their weights."""

import pytest
import torch
from torch import nn

from gan_augment.augmentation import Augmentation
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import ACGAN, Part, Tools

SPEC = NetworkSpec(channels=1, grid=(8, 8), num_classes=2)


class Heads(nn.Module):
    """Says with logit 3 that bright images are of class 1, and that all are real with logit 0."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        bright = (images.flatten(1).mean(1) > 0).float()
        return torch.zeros(len(images)), 3 * torch.stack([1 - bright, bright], 1)


def test_class_term_known_answer() -> None:
    recipe = ACGAN(auxiliary=2.0)
    networks = {**recipe.networks(SPEC), "discriminator": Heads()}
    real = torch.cat([-torch.ones(2, 1, 8, 8), torch.ones(2, 1, 8, 8)])
    batch = {"real": real, "labels": torch.tensor([0, 0, 0, 1]), "weights": torch.tensor([0.5, 0.5, 0.5, 2.5])}
    terms = recipe.updates()[0].loss(networks, batch, Tools(Augmentation.none(), part=Part(0, 1, 4)))
    right, wrong = torch.nn.functional.softplus(torch.tensor([-3.0, 3.0])).tolist()
    assert terms["class"].item() == pytest.approx(2 * (0.5 * right + 0.5 * right + 0.5 * wrong + 2.5 * right) / 4)
    assert terms["hinge"].item() == pytest.approx(2)
