"""Utility selectors: known answers, autograd's gradients, and what they find among real digits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.selection import Compose, GradientSelector, InformativenessSelector, LabelGuard, load_selector
from gan_augment.selection.utility import uncertainty
from gan_augment.types import Candidates
from tests.selection.digits import Digits, load


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load()


def drawn(seed: int, count: int = 60, classes: int = 4, width: int = 5) -> Candidates:
    """Rows with features and any probabilities."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), count).astype(np.float32)
    features = rng.normal(size=(count, width)).astype(np.float32)
    return Candidates(features, rng.permutation(np.arange(count) % classes), probs, seeds=np.arange(count))


# -- informativeness --------------------------------------------------------------------------------------------------

PROBS = np.array([[0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3], [0.9, 0.1, 0], [0, 0, 1]], np.float32)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        ("entropy", [np.log(2) / np.log(3), 1, -(0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(3), 0]),
        ("margin", [1, 1, 0.2, 0]),
        ("loss", [0.5, 2 / 3, 0.1, 1]),
    ],
)
def test_how_unsure_a_classifier_is(criterion: str, expected: list[float]) -> None:
    assert uncertainty(PROBS, np.zeros(4, np.int64), criterion).tolist() == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 2**32), st.sampled_from(["entropy", "margin", "loss"]), st.floats(0.05, 1))
@settings(max_examples=40)
def test_the_least_sure_share_of_each_class_is_kept(seed: int, criterion: Any, share: float) -> None:
    candidates = drawn(seed)
    assert candidates.probs is not None
    selector = InformativenessSelector(criterion=criterion, keep_share=share).fit(drawn(1)).calibrate(candidates)
    decision = selector.decide(candidates)
    unsure = uncertainty(candidates.probs, candidates.labels, criterion)
    for label in range(4):
        own = candidates.labels == label
        kept, dropped = unsure[own & decision.keep], unsure[own & ~decision.keep]
        assert len(kept) == np.ceil(share * own.sum() - 1e-9)
        assert kept.min() >= dropped.max(initial=0) - 1e-6


def test_a_band_leaves_the_most_unsure_out() -> None:
    own = np.linspace(0.05, 1, 20).astype(np.float32)
    candidates = Candidates(np.zeros((20, 1), np.float32), np.zeros(20, np.int64), np.stack([own, 1 - own], 1))
    selector = InformativenessSelector(criterion="loss", keep_share=(0.2, 0.6)).fit(candidates).calibrate(candidates)
    decision = selector.decide(candidates)
    assert set(decision.reason[:3]) == {"too unsure"}
    assert decision.keep[4:12].all()
    assert set(decision.reason[12:]) == {"teaches little"}


def test_several_judges_give_the_score_of_their_mean(digits: Digits) -> None:
    real = replace(digits.real, features=np.stack([digits.real.features] * 3, 1))
    new = replace(digits.unseen, features=np.stack([digits.unseen.features] * 3, 1))
    one = InformativenessSelector().fit(digits.real).calibrate(digits.unseen).decide(digits.unseen)
    several = InformativenessSelector().fit(real).calibrate(new).decide(new)
    assert several.score == pytest.approx(one.score)
    assert (several.keep == one.keep).all()


@pytest.mark.parametrize("criterion", ["entropy", "margin", "loss"])
def test_what_is_kept_is_what_the_classifier_gets_wrong(digits: Digits, criterion: Any) -> None:
    assert digits.unseen.probs is not None
    right = digits.unseen.probs.argmax(1) == digits.unseen.labels
    selector = InformativenessSelector(criterion=criterion).fit(digits.real).calibrate(digits.unseen)
    keep = selector.decide(digits.unseen).keep
    learned = digits.unseen.labels < 8  # of the rarest two classes it gets most wrong, and half of each class is kept
    assert keep[learned].mean() == pytest.approx(0.5, abs=0.02)
    assert (~right & learned).sum() > 10
    assert keep[~right & learned].mean() > 0.9


def test_after_a_label_guard_wrong_labels_are_not_what_it_keeps(digits: Digits) -> None:
    both = Candidates.concatenate([digits.unseen, digits.wrong()])
    both = replace(both, seeds=np.arange(1000))
    able = both.labels != 9  # two real images of a nine set no limit
    wrong = np.arange(1000) >= 500
    alone = InformativenessSelector(criterion="loss").fit(digits.real).calibrate(both).decide(both).keep
    chosen = Compose(LabelGuard(), InformativenessSelector(criterion="loss"))
    guarded = chosen.fit(digits.real).calibrate(both).decide(both).keep
    assert wrong[alone & able].mean() > 0.9
    assert wrong[guarded & able].mean() < 0.15


def test_an_unknown_criterion_is_told() -> None:
    with pytest.raises(ConfigError, match="expected criterion among entropy, margin, loss, found 'hope'"):
        InformativenessSelector(criterion="hope")  # type: ignore[arg-type]


# -- gradients --------------------------------------------------------------------------------------------------------


def gradients(layer: torch.nn.Linear, candidates: Candidates) -> npt.NDArray[np.float64]:
    """Returns autograd's gradient of the cross-entropy of each row, weights and bias, `(N, C (D + 1))`."""
    found = []
    for features, label in zip(torch.from_numpy(candidates.features).double(), candidates.labels, strict=True):
        loss = functional.cross_entropy(layer(features)[None], torch.tensor([int(label)]))
        parts = torch.autograd.grad(loss, [layer.weight, layer.bias])
        found.append(torch.cat([part.flatten() for part in parts]).numpy())
    return np.stack(found)


def of_layer(layer: torch.nn.Linear, candidates: Candidates) -> Candidates:
    with torch.no_grad():
        probs = layer(torch.from_numpy(candidates.features).double()).softmax(1).float().numpy()
    return replace(candidates, probs=probs)


@pytest.mark.parametrize("seed", range(5))
def test_alignment_is_what_autograd_says(seed: int) -> None:
    torch.manual_seed(seed)
    layer = torch.nn.Linear(5, 4).double()
    real, candidates = of_layer(layer, drawn(seed)), of_layer(layer, drawn(seed + 100))
    real = real[np.r_[np.flatnonzero(real.labels != 2), np.flatnonzero(real.labels == 2)[:3]]]  # a rare class
    each = gradients(layer, real)
    mean = np.mean([each[real.labels == label].mean(0) for label in range(4)], axis=0)
    selector = GradientSelector().fit(real)
    unit = np.linalg.norm(mean) * np.sqrt((each**2).sum(1).mean())
    expected = gradients(layer, candidates) @ mean / unit
    assert selector.aligned(candidates) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    decision = selector.calibrate(candidates).decide(candidates)
    clear = np.abs(expected) > 1e-4
    assert (decision.keep == (expected > 0))[clear].all()
    assert (decision.reason[~decision.keep] == "against the reals' gradient").all()


def test_a_step_on_what_is_kept_lowers_the_loss_of_reals() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 4).double()
    real, candidates = of_layer(layer, drawn(0, 200)), of_layer(layer, drawn(1, 200))
    decision = GradientSelector().fit(real).calibrate(candidates).decide(candidates)

    def loss_after(rows: npt.NDArray[np.bool_]) -> float:
        step = torch.from_numpy(gradients(layer, candidates[rows]).mean(0)) * 0.05
        with torch.no_grad():
            weight, bias = layer.weight - step[:20].reshape(4, 5), layer.bias - step[20:]
            logits = functional.linear(torch.from_numpy(real.features).double(), weight, bias)
            return float(functional.cross_entropy(logits, torch.from_numpy(real.labels)))

    with torch.no_grad():
        before = float(
            functional.cross_entropy(layer(torch.from_numpy(real.features).double()), torch.from_numpy(real.labels))
        )
    assert loss_after(decision.keep) < before < loss_after(~decision.keep)


def test_weights_follow_the_alignment_and_have_the_mean_one(digits: Digits) -> None:
    selector = GradientSelector().fit(digits.real).calibrate(digits.unseen)
    decision, aligned = selector.decide(digits.unseen), selector.aligned(digits.unseen)
    assert decision.weight is not None
    assert (decision.weight[~decision.keep] == 0).all()
    assert decision.keep.tolist() == (aligned > 0).tolist()
    for label in np.unique(digits.unseen.labels[decision.keep]):
        own = decision.keep & (digits.unseen.labels == label)
        assert decision.weight[own].mean() == pytest.approx(1, abs=1e-4)
        assert decision.weight[own] == pytest.approx(aligned[own] / aligned[own].mean(), rel=1e-4)
    assert decision.score == pytest.approx(1 - aligned / (1 + np.abs(aligned)), abs=1e-5)


def test_weights_are_frozen_and_only_the_best_are_kept(digits: Digits) -> None:
    selector = GradientSelector(keep_share=0.5).fit(digits.real).calibrate(digits.unseen)
    whole = selector.decide(digits.unseen)
    part = selector.decide(digits.unseen[100:140])
    assert whole.weight is not None
    assert part.weight is not None
    assert (part.weight == whole.weight[100:140]).all()
    positive = selector.aligned(digits.unseen) > 0
    assert 0.45 < whole.keep.sum() / positive.sum() < 0.6
    assert set(whole.dropped()) == {"hardly aligned", "against the reals' gradient"}


def test_each_judge_has_a_gradient_of_its_unseen_images(digits: Digits) -> None:
    several = replace(digits.real, features=np.stack([digits.real.features * 10.0**k for k in range(3)], 1))
    selector = GradientSelector().fit(several)
    assert several.fold is not None
    for judge in range(3):
        own = digits.real[several.fold == judge]
        alone = GradientSelector().fit(replace(own, features=own.features * 10.0**judge, fold=None))
        assert selector.state_[f"{judge}/gradient"] == pytest.approx(alone.state_["0/gradient"], rel=1e-4)
    assert selector.notes(list("abcdefghij")) == [
        "gradient: no real image unseen by a judge, so no say in the gradient: j"
    ]
    assert "CrossFittedExtractor" in GradientSelector().fit(replace(digits.real, fold=None)).notes()[0]


def test_a_gradient_selector_is_read_again(digits: Digits, tmp_path: Path) -> None:
    selector = GradientSelector().fit(digits.real).calibrate(digits.unseen)
    one, other = selector.decide(digits.unseen), load_selector(selector.save(tmp_path / "s")).decide(digits.unseen)
    assert one.weight is not None
    assert other.weight is not None
    assert (one.weight == other.weight).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_do_not_stop_it(count: int) -> None:
    selector = GradientSelector().fit(drawn(0, count)).calibrate(drawn(1))
    decision = selector.decide(drawn(2))
    assert np.isfinite(selector.aligned(drawn(2))).all()
    assert not decision.keep[drawn(2).labels >= count].any()


def test_gradient_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="expected keep_share"):
        GradientSelector(real_share=0.9)
    with pytest.raises(ConfigError, match="found none"):
        GradientSelector().fit(replace(drawn(0), probs=None))
