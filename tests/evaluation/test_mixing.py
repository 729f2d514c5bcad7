"""What mixing does to images and labels: known cases of each method."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_augment.evaluation.m2m import MajorityToMinority
from gan_augment.evaluation.mixing import CMO_SHARE, mixer, remix

COUNTS = torch.tensor([100, 30, 10])


def batch(seed: int = 0, size: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % 3


def rare(value: float = 7.0, label: int = 2, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield torch.full((size, 1, 8, 8), value), torch.full((size,), label)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "remix", "cmo"])
def test_shares_are_shares_and_images_stay_in_range(name: str) -> None:
    torch.manual_seed(0)
    mix = mixer(name, COUNTS, rare(0.5), ndim=2)
    whole = 0
    for seed in range(20):
        images, labels = batch(seed)
        before = images.clone()
        mixed, shares = mix(images, labels)
        assert torch.equal(images, before)
        assert mixed.shape == images.shape
        assert shares.shape == (12, 3)
        assert shares.min() >= 0
        torch.testing.assert_close(shares.sum(1), torch.ones(12))
        assert mixed.min() >= 0
        assert mixed.max() <= 1
        whole += bool(torch.equal(mixed, images))
    assert (4 <= whole <= 16) == (name in ("cutmix", "cmo"))  # these leave half of the batches


def test_mixup_labels_are_the_shares_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.eye(4)[torch.arange(4)].reshape(4, 1, 2, 2)  # image i is one at its own place
    labels = torch.tensor([0, 1, 2, 0])
    mixed, shares = mixer("mixup", COUNTS, rare(), ndim=2)(images, labels)
    expected = torch.zeros(4, 3).index_add_(1, labels, mixed.flatten(1))
    torch.testing.assert_close(shares, expected)


def test_mixup_mixes_volumes() -> None:
    torch.manual_seed(0)
    images = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, 1, 4, 6, 8).contiguous()
    mixed, shares = mixer("mixup", COUNTS, rare(), ndim=3)(images, torch.arange(4) % 3)
    assert mixed.shape == images.shape
    torch.testing.assert_close(mixed, mixed[:, :, :1, :1, :1].expand_as(mixed))
    assert ((shares > 0) & (shares < 1)).any()


def at_share(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(torch.distributions.Beta, "sample", lambda self: torch.tensor(share))
    monkeypatch.setattr(torch, "randperm", lambda size: torch.arange(size).flip(0))


@pytest.mark.parametrize(
    ("share", "pair", "of_first"),
    [
        (0.4, (0, 2), 0.0),  # 100 / 10 >= 3 and 0.4 < 0.5: all to the rare one
        (0.6, (0, 2), 0.6),  # the common one has most of the image
        (0.6, (2, 0), 1.0),  # 10 / 100 <= 1/3 and 1 - 0.6 < 0.5: all to the rare one
        (0.4, (2, 0), 0.4),
        (0.4, (1, 2), 0.0),  # 30 / 10 is 3
        (0.4, (0, 0), 0.4),
        (0.5, (0, 2), 0.5),  # tau itself is not below tau
    ],
)
def test_remix_rule(monkeypatch: pytest.MonkeyPatch, share: float, pair: tuple[int, int], of_first: float) -> None:
    at_share(monkeypatch, share)
    images = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    mixed, shares = remix(images, torch.tensor(pair), COUNTS)
    torch.testing.assert_close(mixed[0], torch.full((1, 8, 8), 1 - share))
    expected = torch.zeros(3)
    expected[pair[0]] += of_first
    expected[pair[1]] += 1 - of_first
    torch.testing.assert_close(shares[0], expected)


def test_cmo_pastes_rare_foregrounds_and_labels_go_with_the_area() -> None:
    torch.manual_seed(1)
    mix, seen = mixer("cmo", COUNTS, rare(), ndim=2), 0
    for seed in range(40):
        images, labels = batch(seed)
        labels = labels % 2  # so that all of class 2 is pasted
        mixed, shares = mix(images, labels)
        pasted = mixed == 7.0
        assert torch.equal(mixed[~pasted], images[~pasted])
        area = pasted.float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(shares[:, 2], area)
        torch.testing.assert_close(shares[torch.arange(12), labels], 1 - area)
        seen += bool(pasted.any())
    assert 10 <= seen <= 30


def test_cmo_draws_a_batch_that_is_smaller() -> None:
    torch.manual_seed(1)
    images, labels = batch(size=5)
    for _ in range(5):
        mixed, shares = mixer("cmo", COUNTS, rare(size=16), ndim=2)(images, labels)
        assert mixed.shape == (5, 1, 8, 8)
        assert shares.shape == (5, 3)


# -- M2m ----------------------------------------------------------------------------------------------------------


class Bright(nn.Module):
    """Says class 2 for bright images, class 0 for dark ones; keeps no state but whether it trains."""

    def forward(self, images: Tensor) -> Tensor:
        light = images.flatten(1).mean(1)
        return torch.stack([-40 * (light - 0.5), torch.full_like(light, -9.0), 40 * (light - 0.5)], dim=1)


def many_to_few(counts: Tensor, **settings: float) -> MajorityToMinority:
    options = {"first": 0, "beta": 0.5, "step_size": 1.0, **settings}
    return MajorityToMinority(network=Bright().train(), guide=Bright().eval(), counts=counts, **options)  # type: ignore[arg-type]


def test_m2m_changes_images_of_rarer_classes_alone_and_never_labels() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2])
    images = torch.where(labels == 0, 0.1, 0.3)[:, None, None, None] * torch.ones(8, 1, 8, 8)
    make, made = many_to_few(torch.tensor([100.0, 50.0, 5.0])), 0
    for _ in range(10):
        before = images.clone()
        mixed, found = make(images, labels)
        assert torch.equal(found, labels)
        assert torch.equal(images, before)
        assert torch.equal(mixed[:4], images[:4])
        changed = (mixed[4:] != images[4:]).flatten(1).any(1)
        made += int(changed.sum())
        assert (Bright()(mixed[4:])[changed].softmax(1)[:, 2] >= 0.9).all()
        assert not mixed.requires_grad
    assert make.network.training
    assert not make.guide.training


def test_m2m_makes_images_out_of_bright_enough_ones_within_their_range() -> None:
    """The range is that of the images that it starts from."""
    torch.manual_seed(0)
    labels = torch.tensor([0] * 6 + [2] * 6)
    images = torch.rand(12, 1, 8, 8)
    make = many_to_few(torch.tensor([100.0, 50.0, 5.0]))
    mixed, _ = make(images, labels)
    assert (mixed != images).any()
    assert mixed.min() >= images.min()
    assert mixed.max() <= images.max()


def test_m2m_leaves_balanced_classes_and_the_first_calls_alone() -> None:
    images, labels = batch()
    assert torch.equal(many_to_few(torch.full((3,), 50.0))(images, labels)[0], images)
    torch.manual_seed(0)
    make = many_to_few(torch.tensor([100.0, 50.0, 5.0]), first=3)
    same = [torch.equal(make(images, labels)[0], images) for _ in range(8)]
    assert same[:3] == [True] * 3
    assert not all(same[3:])


def test_m2m_leaves_no_gradient_in_the_network() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    images, labels = batch()
    MajorityToMinority(
        network=network, guide=Bright(), counts=torch.tensor([100.0, 50.0, 5.0]), first=0, beta=0.5, accept=0.0
    )(images, labels)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_share_of_cmos_labels_is_what_it_draws() -> None:
    """The prior of balanced softmax under CMO is that of the mixed labels, so their share has to be known."""
    counts = torch.tensor([90, 10])
    images, labels = torch.zeros(32, 1, 28, 28), torch.zeros(32, dtype=torch.int64)
    rare = itertools.repeat((torch.ones(32, 1, 28, 28), torch.ones(32, dtype=torch.int64)))
    torch.manual_seed(0)
    mix = mixer("cmo", counts, rare, ndim=2)
    drawn = [float(mix(images, labels)[1][:, 1].mean()) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(CMO_SHARE, abs=0.015)
