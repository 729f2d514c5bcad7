"""An arm learns, repeats, takes the data that users have, and its outputs are adjusted for what was drawn."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, Scored, Synthetic, TrainingSet, score_arm
from gan_augment.evaluation.training import train_arm
from gan_augment.losses import balanced_softmax
from tests.conftest import untouched_rng
from tests.evaluation import problems
from tests.helpers import Pictures


def training_of(data: Any, **settings: Any) -> TrainingSet:
    return TrainingSet(view=problems.view(data), **settings)


def score(arm: Arm, training: TrainingSet, steps: int = 40, test: Any = None, seed: int = 0) -> Scored:
    tested = problems.held_out(problems.problem(9, (30, 30, 30)) if test is None else test)
    return score_arm(arm, training, problems.protocol(steps), tested, seed=seed)


def test_learns_and_repeats_and_leaves_the_global_state() -> None:
    training = training_of(problems.problem(0))
    arm = Arm(name="it", sampling="balanced", augment=True)
    score(arm, training, 2)  # an import of imbalanced-learn moves Python's state, once
    with untouched_rng():
        first = score(arm, training)
    assert first.scores["balanced_accuracy"] > 0.8
    again = score(arm, training_of(problems.problem(0)))
    assert np.array_equal(list(first.scores.values()), list(again.scores.values()), equal_nan=True)
    assert score(arm, training, seed=1).scores != first.scores


def test_learns_nothing_where_there_is_nothing() -> None:
    scored = score(Arm(name="it", sampling="balanced"), training_of(problems.problem(0, signal=0.0)))
    assert scored.scores["balanced_accuracy"] < 0.55


def noise(seed: int, labels: list[int]) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return TensorDataset(torch.randn(len(labels), 1, 8, 8, generator=generator), torch.tensor(labels))


def test_on_noise_adjustment_makes_predictions_even() -> None:
    """The prior alone decides: cross-entropy says the common class; adjusted, or with balanced softmax, it does not."""
    training, test = training_of(noise(0, [0] * 180 + [1] * 20)), noise(1, [0, 1] * 150)
    plain = score(Arm(name="ce"), training, 100, test).scores
    assert np.isnan(plain["few_recall"])  # 20 images are medium
    assert plain["medium_recall"] < 0.15
    assert plain["balanced_accuracy"] == pytest.approx(0.5, abs=0.06)
    assert plain["adjusted_balanced_accuracy"] == pytest.approx(0.5, abs=0.08)
    network, shares = train_arm(Arm(name="ce"), training, problems.protocol(100), seed=0)
    assert shares == pytest.approx([0.9, 0.1])
    with torch.no_grad():
        probs = network(test.tensors[0]).softmax(1) / torch.tensor(shares)
    assert 0.2 < probs.argmax(1).float().mean() < 0.8
    balanced = score(Arm(name="bs", loss="balanced_softmax"), training, 100, test).scores
    assert 0.2 < balanced["medium_recall"] < 0.8


@pytest.mark.parametrize("settings", [
    {"loss": "balanced_softmax"}, {"loss": "balanced_softmax", "sampling": "sqrt"}, {"loss": "class_weights"},
    {"loss": "ldam_drw"}, {"last_layer": "balanced"}, {"last_layer": "smote"}, {"sampling": "balanced"},
])  # fmt: skip
def test_adjusted_is_plain_where_training_has_corrected(settings: dict[str, Any]) -> None:
    scores = score(Arm(name="it", **settings), training_of(problems.problem(0, signal=0.2)), 10).scores
    for metric in ("balanced_accuracy", "few_recall", "calibration_error"):
        assert scores[f"adjusted_{metric}"] == pytest.approx(scores[metric], abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal"}])
def test_adjusted_favours_the_rare_where_it_has_not(settings: dict[str, Any]) -> None:
    scores = score(Arm(name="it", **settings), training_of(problems.problem(0, signal=0.2)), 10).scores
    assert scores["adjusted_few_recall"] > scores["few_recall"]


def test_a_class_that_was_never_drawn_is_not_what_adjustment_says() -> None:
    pool = problems.drawn_pool()
    arm = Arm(name="it", synthetic=Synthetic(rows="all"), only=True)
    scores = score(arm, training_of(problems.problem(0), pool=pool)).scores
    assert scores["adjusted_balanced_accuracy"] == pytest.approx(scores["balanced_accuracy"], abs=0.02)
    assert scores["balanced_accuracy"] > 0.5  # two classes of three


def test_recall_on_synthetic_is_high_where_images_show_their_class() -> None:
    arm, data = Arm(name="it", sampling="balanced"), problems.problem(0)
    good = score(arm, training_of(data, pool=problems.drawn_pool())).scores["recall_on_synthetic"]
    bad = score(arm, training_of(data, pool=problems.drawn_pool(signal=0.0))).scores["recall_on_synthetic"]
    assert good > 0.8 > bad
    assert np.isnan(score(arm, training_of(data), 2).scores["recall_on_synthetic"])


# -- the data and losses that users bring -------------------------------------------------------------------------


def test_a_loss_of_the_users_own_is_the_same_as_ours() -> None:
    training, prior = training_of(problems.problem(0)), torch.tensor([24.0, 8.0, 4.0])
    own = score(Arm(name="own", loss=lambda logits, labels: balanced_softmax(logits, labels, prior)), training, 10)
    ours = score(Arm(name="ours", loss="balanced_softmax"), training, 10)
    assert own.scores["balanced_accuracy"] == ours.scores["balanced_accuracy"]


@pytest.mark.parametrize("kind", ["tensors", "list", "int32", "double", "column", "with names"])
def test_data_of_the_users_own(kind: str) -> None:
    images, labels = problems.problem(0).tensors
    data: Any = {
        "tensors": TensorDataset(images, labels),
        "list": list(zip(images, labels.tolist(), strict=True)),
        "int32": TensorDataset(images, labels.int()),
        "double": TensorDataset(images.double(), labels),
        "column": TensorDataset(images, labels[:, None]),
        "with names": TensorDataset(images, labels),
    }[kind]
    if kind == "with names":
        data.classes = ["a", "b", "c"]
    training = training_of(problems.problem(0))
    own, plain = score(Arm(name="own", data=data), training, 10), score(Arm(name="plain"), training, 10)
    assert own.scores["adjusted_balanced_accuracy"] == plain.scores["adjusted_balanced_accuracy"]


def test_shares_of_data_that_lack_a_class_are_under_their_own_labels() -> None:
    images, labels = problems.problem(0).tensors
    rare = TensorDataset(images[labels > 0], labels[labels > 0])
    _, shares = train_arm(Arm(name="own", data=rare), training_of(problems.problem(0)), problems.protocol(2), seed=0)
    assert shares == pytest.approx([0, 8 / 12, 4 / 12])


def test_labels_beyond_the_classes_are_refused() -> None:
    images, labels = problems.problem(0).tensors
    with pytest.raises(ga.DataError, match="class indices from 0 to 2 in data=, found 3, 4"):
        score(Arm(name="own", data=TensorDataset(images, labels + 2)), training_of(problems.problem(0)))


@pytest.mark.parametrize("item", [(np.zeros((8, 8), np.uint8), 0), {"image": torch.zeros(1, 8, 8), "label": 0}])
def test_images_that_are_no_tensors_are_refused(item: Any) -> None:
    with pytest.raises(ga.DataError, match="image is a tensor"):
        score(Arm(name="own", data=[item] * 4), training_of(problems.problem(0)))


def test_the_users_own_schedule_is_told_of_epochs() -> None:
    base = problems.problem(0)
    mixed = ga.GANAugmentedDataset(
        base, problems.drawn_pool(), synthetic_share=1.0, schedule=ga.PhaseOut(epochs=2), min_images=0
    )
    score(Arm(name="phased", data=mixed), training_of(base), 16)  # 72 items are 4 batches of 16
    assert mixed.epoch == 3


def test_a_classifier_that_is_no_module_is_refused() -> None:
    with pytest.raises(ga.ConfigError, match="classifier= to return a torch module, found int"):
        train_arm(
            Arm(name="it"), training_of(problems.problem(0)), problems.protocol(classifier=lambda spec: 3), seed=0
        )


def test_a_loss_that_becomes_nan_is_an_error() -> None:
    arm = Arm(name="it", loss=lambda logits, labels: logits.sum() * float("nan"))
    with pytest.raises(ga.TrainingError, match="finite classifier loss, found nan at step 0"):
        score(arm, training_of(problems.problem(0)))


def test_transforms_that_draw_from_any_global_state_repeat() -> None:
    def jitter(image: Any) -> Any:
        light = 0.1 * random.random() + 0.1 * np.random.rand() + 0.1 * float(torch.rand(()))
        return torch.from_numpy(np.asarray(image, np.float32)[None] / 255) + light

    def scores() -> list[float]:
        random.seed()
        np.random.seed()
        return list(
            score(Arm(name="it"), training_of(Pictures((24, 8, 4), "pil", transform=jitter)), 10).scores.values()
        )

    assert np.array_equal(scores(), scores(), equal_nan=True)
