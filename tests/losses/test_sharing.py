"""Known answers of the terms against collapse, and the state that LeCam keeps."""

import pytest
import torch

from gan_augment.losses import LeCam, barlow_twins, group_spectral_norm


def test_group_spectral_norm_known_answer() -> None:
    one = torch.outer(torch.tensor([3.0, 0.0]), torch.tensor([0.6, 0.8, 0.0]))  # one singular value, 3
    two = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # 2 and 1
    parameters = torch.stack([one, two]).flatten(1)
    assert group_spectral_norm(parameters, groups=2).item() == pytest.approx((9 + 4) / 2)


def test_group_spectral_norm_pulls_along_the_largest_direction_only() -> None:
    parameters = torch.tensor([[2.0, 0.0, 0.0, 1.0]], requires_grad=True)
    group_spectral_norm(parameters, groups=2).backward()
    assert parameters.grad is not None
    torch.testing.assert_close(parameters.grad, torch.tensor([[4.0, 0.0, 0.0, 0.0]]))


def test_barlow_twins_known_answers() -> None:
    apart = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])  # dimensions that do not correlate
    assert barlow_twins(apart, apart, epsilon=0.0).item() == pytest.approx(0, abs=1e-6)
    assert barlow_twins(apart, -apart, epsilon=0.0).item() == pytest.approx(2 * 2**2)
    assert barlow_twins(apart, apart.flip(1), redundancy=0.5, epsilon=0.0).item() == pytest.approx(2 + 0.5 * 2)
    assert barlow_twins(apart * 7 + 3, apart, epsilon=0.0).item() == pytest.approx(0, abs=1e-5)


def test_barlow_twins_of_a_collapsed_batch_is_finite() -> None:
    same = torch.ones(3, 2, requires_grad=True)
    barlow_twins(same, same).backward()
    assert same.grad is not None
    assert same.grad.isfinite().all()


def logits(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, generator=generator) + 1, torch.randn(8, generator=generator) - 1


def test_lecam_known_answer() -> None:
    lecam = LeCam()
    assert lecam(torch.tensor([2.0, 4.0]), torch.tensor([-1.0, -1.0]), 0).item() == 0
    real, fake = torch.tensor([1.0, 0.0]), torch.tensor([3.0, 2.0])
    assert lecam(real, fake, 1).item() == pytest.approx((4 + 1) / 2 + (0 + 1) / 2)


def test_lecam_anchors_are_means_at_first_and_then_move_slowly() -> None:
    lecam = LeCam(decay=0.9)
    for step in range(5):
        lecam(torch.full((2,), float(step)), torch.zeros(2), step)
    lecam(torch.zeros(2), torch.zeros(2), 5)
    assert lecam.anchors.tolist() == pytest.approx([(0 + 1 + 2 + 3 + 4) / 5, 0.0])
    for step in range(6, 100):
        lecam(torch.zeros(2), torch.full((2,), 10.0), step)
    anchors = lecam.anchors.clone()
    lecam(torch.zeros(2), torch.zeros(2), 100)
    assert lecam.anchors[1].item() == pytest.approx(0.9 * anchors[1].item() + 0.1 * 10, rel=1e-5)


@pytest.mark.parametrize("parts", [2, 4])
def test_lecam_in_parts_is_lecam_in_one(parts: int) -> None:
    whole, cut = LeCam(), LeCam()
    for step in range(4):
        real, fake = logits(step)
        value = whole(real, fake, step)
        pieces = zip(real.chunk(parts), fake.chunk(parts), strict=True)
        values = torch.stack([cut(*piece, step) for piece in pieces])
        torch.testing.assert_close(values.mean(), value)
        torch.testing.assert_close(cut.anchors, whole.anchors)


def test_lecam_on_two_processes_is_lecam_on_one() -> None:
    """Each process hands its own mean over, and gets that of both: any one's state serves to go on."""
    whole, ranks = LeCam(), (LeCam(), LeCam())
    for step in range(4):
        real, fake = logits(step)
        halves = list(zip(real.chunk(2), fake.chunk(2), strict=True))
        both = torch.stack([real.mean(), fake.mean()])
        values = [rank(*half, step, lambda _, both=both: both) for rank, half in zip(ranks, halves, strict=True)]
        torch.testing.assert_close(torch.stack(values).mean(), whole(real, fake, step))
        for key, value in whole.state_dict().items():
            assert all(torch.equal(rank.state_dict()[key], value) for rank in ranks), key


def test_lecam_goes_on_from_its_state() -> None:
    first, second = LeCam(), LeCam()
    for step in range(3):
        first(*logits(step), step)
    second.load_state_dict(first.state_dict())
    assert not list(first.parameters())
    assert torch.equal(first(*logits(3), 3), second(*logits(3), 3))


def test_lecam_gradients_reach_the_logits_and_not_the_anchors() -> None:
    lecam = LeCam()
    lecam(torch.tensor([2.0]), torch.tensor([-2.0]), 0)
    real, fake = torch.tensor([3.0], requires_grad=True), torch.tensor([-3.0], requires_grad=True)
    lecam(real, fake, 1).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [2 * (3.0 + 2.0)]
    assert fake.grad.tolist() == [2 * (-3.0 - 2.0)]
