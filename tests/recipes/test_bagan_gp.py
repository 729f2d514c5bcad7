"""bagan_gp: weights are handed over, wrong labels are wrong, and the penalty is of every sample."""

import pytest
import torch
from torch import nn

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ConfigError
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import BAGANGP, Part, Tools
from gan_augment.recipes.bagan_gp import _other_labels

SPEC = NetworkSpec(channels=1, grid=(8, 8), num_classes=4)


def tools(rows: int) -> Tools:
    return Tools(Augmentation.none(), part=Part(0, 1, rows))


def test_the_critic_starts_from_the_encoder() -> None:
    recipe = BAGANGP()
    networks = recipe.networks(SPEC)
    begin = recipe.phases()[1].begin
    assert begin is not None
    begin(networks)
    for mine, theirs in zip(
        networks["discriminator"].trunk.parameters(), networks["encoder"].trunk.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_the_decoder_is_the_generator() -> None:
    autoencoder, adversarial = BAGANGP().phases()
    assert autoencoder.updates[0].parameters == ("encoder", "generator")
    assert adversarial.updates[-1].parameters == ("generator",)


def test_wrong_labels_are_any_other() -> None:
    labels = torch.arange(4).repeat(500)
    wrong = _other_labels(labels, 4, tools(2000))
    assert (wrong != labels).all()
    assert {tuple(pair) for pair in torch.stack([labels, wrong], 1).tolist()} == {
        (a, b) for a in range(4) for b in range(4) if a != b
    }


class LinearCritic(nn.Module):
    """D(x, y) = w.x + y."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((64,), weight))

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight + labels


class Blank(nn.Module):
    """Draws black images."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 1)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), 1, 8, 8)


@pytest.mark.parametrize("every", [1, 4])
def test_the_penalty_has_a_known_answer(every: int) -> None:
    recipe = BAGANGP(penalty=10.0, penalty_every=every)
    networks = {**recipe.networks(SPEC), "discriminator": LinearCritic(0.5)}  # gradient norm sqrt(64 * 0.25) = 4
    batch = {"real": torch.rand(6, 1, 8, 8), "labels": torch.tensor([0, 1, 2, 3, 0, 1])}
    critic, penalty, _ = recipe.updates()
    assert penalty.optimizer_name == critic.optimizer_name
    assert penalty.every == every
    assert penalty.loss(networks, batch, tools(6))["gradient"].item() == pytest.approx(every * 10 * 9, rel=1e-4)


def test_the_critic_sees_fakes_and_wrong_labels() -> None:
    recipe = BAGANGP()
    networks = {**recipe.networks(SPEC), "discriminator": LinearCritic(0.0)}  # D = y
    batch = {"real": torch.rand(40, 1, 8, 8), "labels": torch.full((40,), 3), "weights": torch.ones(40)}
    value = recipe.updates()[0].loss(networks, batch, tools(40))["wasserstein"].item()
    assert -1.5 <= value <= -0.5  # (3 + mean of 0, 1, 2) / 2 - 3 = -1 on average


def test_right_and_wrong_pairs_balance_under_every_label() -> None:
    """With weights, D = y gives (mean y + mean y) / 2 - mean y = 0 however rare the classes are."""
    recipe, labels = BAGANGP(), torch.tensor([0] * 700 + [1] * 200 + [2] * 90 + [3] * 10).repeat(20)
    networks = {**recipe.networks(SPEC), "generator": Blank(), "discriminator": LinearCritic(0.0)}
    shares = torch.tensor([0.7, 0.2, 0.09, 0.01])
    batch = {"real": torch.zeros(len(labels), 1, 8, 8), "labels": labels, "weights": 1 / (4 * shares[labels])}
    value = recipe.updates()[0].loss(networks, batch, tools(len(labels)))["wasserstein"].item()
    assert abs(value) < 0.1
    unweighted = {**batch, "weights": torch.ones(len(labels))}
    assert recipe.updates()[0].loss(networks, unweighted, tools(len(labels)))["wasserstein"].item() > 0.5


def test_settings_that_cannot_work() -> None:
    for settings in ({"penalty_every": 0}, {"penalty": -1.0}, {"autoencoder_share": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            BAGANGP(**settings)  # type: ignore[arg-type]
