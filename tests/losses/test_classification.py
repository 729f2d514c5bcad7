"""Known answers of the losses for imbalanced sets."""

import math

import pytest
import torch
from torch.nn import functional

from gan_augment.losses import LDAM, balanced_softmax, effective_weights, focal


def logits_of(seed: int = 0, rows: int = 6, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=generator), torch.randint(classes, (rows,), generator=generator)


def shares_of(labels: torch.Tensor, classes: int = 3) -> torch.Tensor:
    return functional.one_hot(labels, classes).float()


def test_balanced_softmax_is_cross_entropy_under_an_even_prior() -> None:
    logits, labels = logits_of()
    expected = functional.cross_entropy(logits, labels)
    torch.testing.assert_close(balanced_softmax(logits, labels, torch.tensor([5.0, 5.0, 5.0])), expected)


def test_balanced_softmax_known_answer_whatever_the_scale_of_the_prior() -> None:
    """-log of n_y e^{l_y} / sum n e^l, here 1 e^2 / (3 e^1 + 1 e^2)."""
    expected = -math.log(math.e**2 / (3 * math.e + math.e**2))
    for prior in ([3.0, 1.0], [0.75, 0.25]):
        value = balanced_softmax(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), torch.tensor(prior))
        assert value.item() == pytest.approx(expected, abs=1e-6)


def test_balanced_softmax_with_a_class_that_is_never_drawn_is_finite() -> None:
    logits, labels = logits_of()
    assert torch.isfinite(balanced_softmax(logits, labels.clamp_max(1), torch.tensor([0.5, 0.5, 0.0])))


def test_share_labels_are_index_labels_and_a_row_that_sums_to_w_counts_w_times() -> None:
    logits, labels = logits_of()
    prior, shares = torch.tensor([6.0, 3.0, 1.0]), shares_of(labels)
    weights = torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0, 1.0])
    for loss in (lambda a, b: balanced_softmax(a, b, prior), focal):
        torch.testing.assert_close(loss(logits, shares), loss(logits, labels))
        each = torch.stack([loss(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])
        torch.testing.assert_close(loss(logits, shares * weights[:, None]), (weights * each).mean())


def test_mixed_labels_are_the_mean_of_the_two() -> None:
    logits, labels = logits_of()
    other, prior = labels.roll(1), torch.tensor([6.0, 3.0, 1.0])
    mixed = 0.3 * shares_of(labels) + 0.7 * shares_of(other)
    for loss in (lambda a, b: balanced_softmax(a, b, prior), focal):
        torch.testing.assert_close(loss(logits, mixed), 0.3 * loss(logits, labels) + 0.7 * loss(logits, other))


def test_focal_without_gamma_is_cross_entropy() -> None:
    logits, labels = logits_of()
    torch.testing.assert_close(focal(logits, labels, gamma=0.0), functional.cross_entropy(logits, labels))


def test_focal_known_answer() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])  # p = 3/4
    assert focal(logits, torch.tensor([0])).item() == pytest.approx((1 / 4) ** 2 * -math.log(3 / 4), abs=1e-6)


def test_focal_is_smooth_where_the_network_is_sure() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0])).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_effective_weights_have_mean_one_over_the_classes_that_are_there() -> None:
    weights = effective_weights(torch.tensor([500, 50, 5, 0]))
    assert weights[3] == 0
    assert weights.sum().item() / 3 == pytest.approx(1.0)
    assert weights[0] < weights[1] < weights[2]


def test_effective_weights_go_from_none_to_the_inverse_of_the_counts() -> None:
    counts = torch.tensor([100.0, 10.0, 1.0])
    torch.testing.assert_close(effective_weights(counts, beta=0.0), torch.ones(3))
    inverse = 1 / counts
    torch.testing.assert_close(effective_weights(counts, beta=1 - 1e-9), inverse / inverse.mean(), atol=1e-3, rtol=1e-3)


def test_effective_weights_known_answer() -> None:
    """(1 - 0.9^2) / (1 - 0.9) = 1.9 and 1 for counts 2 and 1."""
    first, second = 1 / 1.9, 1.0
    expected = torch.tensor([first, second]) / ((first + second) / 2)
    torch.testing.assert_close(effective_weights(torch.tensor([2, 1]), beta=0.9), expected)


def test_ldam_margins_go_with_the_fourth_root() -> None:
    margins = LDAM(torch.tensor([1600, 100, 1]), steps=10).margins
    assert margins[2].item() == pytest.approx(0.5)
    assert (margins[2] / margins[0]).item() == pytest.approx(1600**0.25, rel=1e-5)
    assert (margins[2] / margins[1]).item() == pytest.approx(100**0.25, rel=1e-5)


def test_ldam_lowers_the_logit_of_the_label_alone() -> None:
    logits, labels = logits_of()
    loss = LDAM(torch.tensor([100, 10, 1]), steps=10, defer=1.0)
    lowered = logits.clone()
    lowered[range(6), labels] -= loss.margins[labels]
    torch.testing.assert_close(loss(logits, labels), functional.cross_entropy(lowered, labels))


@pytest.mark.parametrize(("defer", "first"), [(0.8, 8), (0.5, 5), (0.0, 0), (1.0, 99)])
def test_ldam_weights_come_in_exactly_at_the_share(defer: float, first: int) -> None:
    counts = torch.tensor([1000, 1])
    loss = LDAM(counts, steps=10, defer=defer, most=0.0)
    logits, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    plain = functional.cross_entropy(logits, labels).item()
    weighted = functional.cross_entropy(logits, labels, weight=effective_weights(counts)).item()
    assert weighted > plain + 0.1
    values = [loss(logits, labels).item() for _ in range(10)]
    assert values == pytest.approx([plain if step < first else weighted for step in range(10)])
