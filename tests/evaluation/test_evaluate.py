"""ga.evaluate: leaks and wrong parameters are errors; it repeats, and tells what it did."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, EvaluationResult, Synthetic, evaluate
from tests.conftest import untouched_rng
from tests.evaluation.problems import Log, drawn_pool, problem

FREE = [Arm(name="plain"), Arm(name="even", sampling="balanced", augment=True)]


def run(train: Any = None, test: Any = None, arms: Any = FREE, **settings: Any) -> EvaluationResult:
    train, test = train or problem(0), test or problem(9, (6, 5, 4))
    options = {"seeds": 1, "steps": 4, "batch_size": 12, "min_images": 0, "progress": False, "device": "cpu"}
    return evaluate(train, test, arms, **{**options, **settings})


def leaking(seed: int, other: TensorDataset) -> TensorDataset:
    images, labels = problem(seed).tensors
    images[-1] = other.tensors[0][-1]
    return TensorDataset(images, labels)


def test_an_image_on_both_sides_is_an_error_wherever_it_is() -> None:
    test = problem(9, (6, 5, 4))
    images, labels = leaking(3, test).tensors
    pool = ga.SyntheticPool.from_arrays(images, labels)
    pool_of = Synthetic(pool=pool)
    ways: list[dict[str, Any]] = [
        {"train": leaking(0, test)},
        {"pool": pool},
        {"unused": leaking(3, test)},
        {"arms": [*FREE, Arm(name="own", data=leaking(3, test))]},
        {"arms": [*FREE, Arm(name="own", sampling="balanced", synthetic=pool_of)]},
    ]
    for way in ways:
        with pytest.raises(ga.DataError, match="no images shared between the training data and the test set, found 1"):
            run(test=test, **way)


def test_a_patient_on_both_sides_is_an_error_wherever_it_is() -> None:
    own, others = [f"p{i}" for i in range(36)], [f"q{i}" for i in range(14)]
    assert run(groups=own, test_groups=[*others, "q14"]).reference in ("plain", "even")
    with pytest.raises(ga.DataError, match="no groups shared"):
        run(groups=own, test_groups=[*others, "p3"])
    unused = ga.RawView(problem(3), groups=["q3"] * 36)
    with pytest.raises(ga.DataError, match="no groups shared"):
        run(unused=unused, test_groups=[*others, "q14"])


def test_unused_images_are_unused() -> None:
    with pytest.raises(ga.DataError, match="between the training data and unused=, found 1 of 36"):
        run(unused=leaking(3, problem(0)))


def test_the_quick_arms_with_a_pool_and_unused_images() -> None:
    told: list[tuple[str, int, float]] = []
    found = run(
        arms=None,
        pool=drawn_pool(),
        unused=problem(3),
        seeds=[7, 4],
        on_result=lambda arm, seed, scored: told.append((arm, seed, scored.scores["balanced_accuracy"])),
    )
    names = ["bs_natural_augmented", "ce_balanced_augmented", "selected", "random", "unused_reals"]
    assert sorted(found.scores) == sorted(names)
    assert list(found.seeds) == [7, 4]
    assert sorted((arm, seed) for arm, seed, _ in told) == sorted((arm, seed) for arm in names for seed in (7, 4))
    assert {value for _, _, value in told} == {v for arm in names for v in found.scores[arm]["balanced_accuracy"]}
    assert found.ceiling is not None
    assert found.half_steps is not None
    assert len(found.half_steps.values) == 2
    assert found.test_errors["selected"].keys() >= {"balanced_accuracy", "few_recall"}
    assert found.test_errors[found.reference]["balanced_accuracy"] == 0
    assert found.counts == [24, 8, 4]
    assert found.settings["steps"] == 4


def test_without_a_pool_free_arms_are_compared() -> None:
    found = run(arms="quick")
    assert set(found.kinds.values()) == {"free"}
    assert "No arm had synthetic images" in found.sentence()


def test_the_same_call_gives_the_same_json_and_leaves_the_global_state() -> None:
    arms = [*FREE, Arm(name="chosen", sampling="balanced", augment=True, synthetic=Synthetic())]
    with untouched_rng():
        first = run(arms=arms, pool=drawn_pool(), seeds=2).to_json()
    np.random.seed(77)
    torch.manual_seed(77)
    second = run(arms=arms, pool=drawn_pool(), seeds=2).to_json()
    assert json.dumps(first, allow_nan=False) == json.dumps(second, allow_nan=False)


def test_a_seed_gives_the_same_whatever_else_is_run() -> None:
    together = run(seeds=[0, 3], arms=FREE[::-1])
    alone = run(seeds=[3])
    for arm in ("plain", "even"):
        assert together.scores[arm]["balanced_accuracy"][1] == alone.scores[arm]["balanced_accuracy"][0]


def test_half_of_the_steps_is_what_is_trained() -> None:
    log = Log()
    found = run(arms=[Arm(name="plain")], classifier=log, steps=6, seeds=2)
    assert len(log.batches) == 2 * 6 + 2 * 3
    assert found.half_steps is not None
    short = run(arms=[Arm(name="plain")], classifier=Log(), steps=3, seeds=2)
    gains = np.subtract(short.scores["plain"]["balanced_accuracy"], found.scores["plain"]["balanced_accuracy"])
    assert found.half_steps.values == pytest.approx(gains)


def test_own_classifier_loss_and_data() -> None:
    arms = [
        Arm(name="loss", loss=lambda logits, labels: functional.cross_entropy(logits, labels, label_smoothing=0.1)),
        Arm(name="data", data=problem(4)),
    ]
    found = run(arms=arms, classifier=Log())
    assert found.kinds == {"loss": "free", "data": "free"}
    assert found.settings["classifier"] in ("own", "Log")


def test_a_result_can_be_saved(tmp_path: Path) -> None:
    found = run(pool=drawn_pool(), arms=None)
    assert EvaluationResult.load(found.save(tmp_path / "it.json")).to_json() == json.loads(json.dumps(found.to_json()))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seeds": 0}, "seeds of at least 1, a whole number, found 0"),
        ({"seeds": []}, "different seeds, found"),
        ({"seeds": [1, 1]}, r"different seeds, found \[1, 1\]"),
        ({"seeds": [-1]}, "seed of at least 0"),
        ({"seeds": 2.5}, "seeds of at least 1, a whole number, found 2.5"),
        ({"seeds": "3"}, "seeds of at least 1, a whole number, found '3'"),
        ({"steps": 0}, "steps of at least 2, a whole number, found 0"),
        ({"steps": 10.0}, "steps of at least 2, a whole number, found 10.0"),
        ({"batch_size": 0}, "batch_size of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate above 0, found -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate above 0, found nan"),
        ({"arms": "best"}, "arms= among quick, grid, all"),
        ({"arms": []}, "arms with different names, found none"),
        ({"arms": [*FREE, Arm(name="a", sampling="sqrt", synthetic=Synthetic())]}, "expected pool= for the arm 'a'"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_wrong_parameters_are_told_of_in_a_sentence(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ga.ConfigError, match=told) as caught:
        run(**settings)
    assert "\n" not in str(caught.value)


def test_only_synthetic_arms_are_nothing_to_compare() -> None:
    with pytest.raises(ga.ConfigError, match="an arm without synthetic images"):
        run(arms=[Arm(name="a", sampling="sqrt", synthetic=Synthetic())], pool=drawn_pool())


def test_a_pool_of_other_classes_is_refused() -> None:
    pool = ga.SyntheticPool.from_arrays(torch.rand(9, 1, 8, 8), ["cat"] * 9)
    with pytest.raises(ga.DataError, match="expected a pool of the classes 0, 1, 2, found cat"):
        run(pool=pool, arms=None)
