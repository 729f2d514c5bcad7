"""Arms are paired, take the same steps, and draw the classes and the synthetic images that they say they draw."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import gan_augment as ga
from gan_augment.evaluation import Arm, Synthetic, TrainingSet, arm_set, score_arm
from gan_augment.evaluation.training import train_arm
from tests.evaluation import problems
from tests.evaluation.problems import REAL, Log

NAMES = [arm.name for arm in arm_set("all", unused=True) if arm.name != "deep_smote"]
EVERY = {arm.name: arm for arm in arm_set("all", unused=True)}
COUNTS = np.array(problems.COUNTS)

MARKED = pytest.mark.filterwarnings("ignore:synthetic images are in other units")
"""Unused images are told from others by values far beyond."""


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    return problems.marked_training()


def train(arm: Arm, training: TrainingSet, steps: int = 40, batch_size: int = 16, seed: int = 0) -> Log:
    log = Log()
    train_arm(arm, training, problems.protocol(steps, batch_size, log), seed=seed)
    return log


def mixed(**dose: Any) -> Arm:
    return Arm(name="mixed", sampling="balanced", synthetic=Synthetic(**dose))


def test_one_seed_has_one_set_of_initial_weights(training: TrainingSet) -> None:
    first = {name: train(EVERY[name], training, 5).initial[0] for name in NAMES[::4]}
    assert all(torch.equal(weights, first[NAMES[0]]) for weights in first.values())
    assert not torch.equal(train(EVERY[NAMES[0]], training, 5, seed=1).initial[0], first[NAMES[0]])


@MARKED
@pytest.mark.parametrize(
    ("name", "batch_size"),
    [*((name, 16) for name in NAMES), *((name, 48) for name in NAMES[::3])],  # 48 is more than there are images
)
def test_every_arm_takes_the_same_steps_of_the_same_size(name: str, training: TrainingSet, batch_size: int) -> None:
    log, arm = train(EVERY[name], training, 10, batch_size), EVERY[name]
    batches = log.batches[10:] if arm.mix == "m2m" else log.batches  # m2m trains its guide before
    assert len(batches) == (8 if arm.last_layer else 10)
    assert {len(batch) for batch in batches} == {batch_size}


def test_the_last_layer_takes_the_rest_of_the_steps(training: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_augment.evaluation import last_layer

    told: list[int] = []
    real = last_layer.train_classifier

    def spy(*args: Any, steps: int, **settings: Any) -> Any:
        told.append(steps)
        return real(*args, steps=steps, **settings)

    monkeypatch.setattr(last_layer, "train_classifier", spy)
    for name in ("crt", "smote_features"):
        assert len(train(EVERY[name], training, 10).batches) + told[-1] == 10
    for steps in (1, 2, 3):  # never an untrained last layer
        train(EVERY["crt"], training, steps)
        assert told[-1] >= 1


def test_the_last_layer_alone_changes_and_without_a_bias_too(training: TrainingSet) -> None:
    class NoBias(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = torch.nn.Linear(64, 8), torch.nn.Linear(8, 3, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            return self.outer(self.inner(images.flatten(1)).relu())  # type: ignore[no-any-return]

    for how in ("balanced", "smote"):
        plain = Arm(name="plain")
        setting = problems.protocol(10, classifier=lambda spec: NoBias())
        before, _ = train_arm(plain, training, problems.protocol(8, classifier=lambda spec: NoBias()), seed=0)
        after, shares = train_arm(Arm(name="it", last_layer=how), training, setting, seed=0)  # type: ignore[arg-type]
        assert torch.equal(after.inner.weight, before.inner.weight)  # type: ignore[union-attr]
        assert not torch.equal(after.outer.weight, before.outer.weight)  # type: ignore[union-attr]
        assert shares == pytest.approx(np.full(3, 1 / 3))


def test_a_classifier_without_a_layer_for_the_classes_cannot_have_it_trained_anew(training: TrainingSet) -> None:
    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.aside = torch.nn.Conv2d(1, 3, 8), torch.nn.Linear(4, 7)

        def forward(self, images: Tensor) -> Tensor:
            return self.layer(images).flatten(1)  # type: ignore[no-any-return]

    setting = problems.protocol(classifier=lambda spec: Convolutions())
    with pytest.raises(ga.ConfigError, match=r"nn\.Linear of 3 outputs for last_layer=, found none"):
        train_arm(EVERY["crt"], training, setting, seed=0)


@pytest.mark.parametrize(("sampling", "power"), [("natural", 1.0), ("sqrt", 0.5), ("balanced", 0.0)])
def test_classes_are_drawn_as_the_sampling_says(training: TrainingSet, sampling: Any, power: float) -> None:
    log = train(Arm(name="it", sampling=sampling), training, 150)
    drawn = np.bincount(log.classes.flatten(), minlength=3)
    expected = COUNTS**power / (COUNTS**power).sum()
    assert drawn / drawn.sum() == pytest.approx(expected, abs=0.02)
    assert (log.marks == REAL).all()


@pytest.mark.parametrize(("sampling", "power"), [("natural", 1.0), ("sqrt", 0.5)])
def test_the_prior_of_balanced_softmax_is_what_is_drawn(
    training: TrainingSet, sampling: Any, power: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gan_augment.evaluation import training as module

    priors: list[Tensor] = []

    def spy(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
        priors.append(prior)
        return functional.cross_entropy(logits, labels)

    monkeypatch.setattr(module, "balanced_softmax", spy)
    log = train(Arm(name="it", sampling=sampling, loss="balanced_softmax"), training, 150)
    drawn = np.bincount(log.classes.flatten(), minlength=3) / log.classes.numel()
    assert priors[0].numpy() == pytest.approx(drawn, abs=0.02)
    assert priors[0].numpy() == pytest.approx(COUNTS**power / (COUNTS**power).sum(), abs=0.01)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_slots_are_synthetic_as_often_as_told(training: TrainingSet, share: float) -> None:
    """Of 72 items 36 are slots, none of them of class 0."""
    log = train(mixed(share=share), training, 90)
    synthetic = log.marks >= 0
    assert synthetic.float().mean().item() == pytest.approx(share * 36 / 72, abs=0.03)
    assert not synthetic[log.classes == 0].any()


@pytest.mark.parametrize(("until", "last"), [(0.3, 12), (0.6, 24), (0.0, 0), (1.0, 40)])
@pytest.mark.parametrize("batch_size", [16, 50])  # 50 of 72: a batch an epoch
def test_synthetic_images_stop_at_their_share_of_the_steps(
    training: TrainingSet, until: float, last: int, batch_size: int
) -> None:
    log = train(mixed(share=1.0, until=until), training, 40, batch_size)
    with_synthetic = (log.marks >= 0).any(dim=1)
    assert with_synthetic.tolist() == [step < last for step in range(40)]


def test_the_training_set_of_one_arm_is_not_that_of_the_next(training: TrainingSet) -> None:
    train(mixed(share=1.0, until=0.0), training, 5)
    assert (train(mixed(share=1.0), training, 5).marks >= 0).any()


def test_rows_are_those_that_the_arm_names(training: TrainingSet) -> None:
    """Row i of the pool was kept if i % 3 = 0, rejected by the judge if 1, as too far if 2."""
    found: dict[str, set[int]] = {}
    for rows in ("selected", "random", "prefiltered", "all"):
        seen: set[int] = set()
        for seed in range(3):
            marks = train(mixed(rows=rows, share=1.0), training, 60, 32, seed).marks
            own = {int(mark) for mark in marks[marks >= 0]}
            seen |= own
            assert len(own) <= (60 if rows == "all" else 20)
        found[rows] = seen
    assert found["selected"] == set(range(0, 60, 3))
    assert {row % 3 for row in found["prefiltered"]} == {0, 2}
    assert {row % 3 for row in found["random"]} == {0, 1, 2}
    assert found["all"] == set(range(60))


def test_controls_have_the_counts_of_the_selected(training: TrainingSet) -> None:
    assert training.pool is not None
    for rows in ("random", "prefiltered"):
        for seed in range(5):
            drawn = training.rows(Synthetic(rows=rows), seed)  # type: ignore[arg-type]
            assert drawn.counts == training.pool.counts
            if rows == "prefiltered":
                assert problems.DISAGREES not in drawn.reasons


@MARKED
def test_unused_draws_unused_reals_and_training_reals_alone(training: TrainingSet) -> None:
    marks = train(mixed(rows="unused", share=1.0), training).marks
    assert set(marks.unique().tolist()) <= {REAL, *range(1000, 1060)}
    assert (marks >= 1000).any()


def test_only_draws_the_pool_alone(training: TrainingSet) -> None:
    log = train(EVERY["synthetic_only"], training, 10)
    plain = train(Arm(name="it", synthetic=Synthetic(rows="all"), only=True), training, 10)
    assert (plain.marks >= 0).all()
    assert len(log.batches) == 10
    assert any("holds no image of 0" in note for note in training.notes)


def test_weight_scales_the_loss_of_synthetic_images_alone(training: TrainingSet) -> None:
    """The user's loss is handed the shares: rows sum to the weight where the image is synthetic, else to 1."""
    given: list[Tensor] = []

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        given.append(labels)
        return functional.cross_entropy(logits, labels)

    arm = Arm(name="it", sampling="balanced", synthetic=Synthetic(share=0.5, weight=0.25), loss=loss)
    log = train(arm, training, 20)
    sums = torch.stack([labels.sum(dim=1) for labels in given])
    assert torch.equal(sums, torch.where(log.marks >= 0, 0.25, 1.0))
    assert torch.equal(torch.stack([labels.argmax(dim=1) for labels in given]), log.classes)


def test_weights_count_in_the_shares_that_outputs_are_adjusted_by(training: TrainingSet) -> None:
    def shares(weight: float) -> Any:
        return train_arm(mixed(share=1.0, weight=weight), training, problems.protocol(2), seed=0)[1]

    assert shares(1.0) == pytest.approx(np.full(3, 1 / 3))
    assert shares(0.0) == pytest.approx(COUNTS / COUNTS.sum())


def test_a_training_set_without_need_of_images_is_told_of() -> None:
    training = problems.marked_training((8, 8, 8))
    scored = score_arm(mixed(), training, problems.protocol(), problems.held_out(problems.problem(1)), seed=0)
    assert 0 <= scored.scores["balanced_accuracy"] <= 1
    assert training.notes == ["mixed: no class needs images under balanced sampling, so no synthetic one was used"]
