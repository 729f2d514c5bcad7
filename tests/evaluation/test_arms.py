"""Arms: what they refuse, what the ready lists hold, and that each one trains."""

import math
from typing import Any

import pytest
import torch

import gan_augment as ga
from gan_augment.evaluation import Arm, Synthetic, TrainingSet, arm_set, score_arm
from gan_augment.evaluation.arms import check_arms
from tests.evaluation import problems

EVERY = {arm.name: arm for arm in arm_set("all", unused=True)}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rows": "best"}, "expected rows among selected, random, prefiltered, all, unused.*found 'best'"),
        ({"share": 1.2}, "share from 0 to 1, found 1.2"),
        ({"share": math.nan}, "share from 0 to 1, found nan"),
        ({"until": -0.1}, "until from 0 to 1, found -0.1"),
        ({"weight": -1.0}, "weight of at least 0, found -1.0"),
        ({"weight": math.inf}, "weight of at least 0, found inf"),
    ],
)
def test_doses_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ga.ConfigError, match=told):
        Synthetic(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sampling": "even"}, "sampling among natural, sqrt, balanced, found 'even'"),
        ({"loss": "mse"}, "loss among cross_entropy, .*, or a function, found 'mse'|loss among .* or a function"),
        ({"mix": "cutout"}, "mix among mixup, cutmix, remix, cmo, m2m, or None, found 'cutout'"),
        ({"last_layer": "crt"}, "last_layer 'balanced', 'smote' or None, found 'crt'"),
        ({"synthetic": Synthetic()}, "sampling 'sqrt' or 'balanced' for the arm 'it'.*no slots to fill"),
        ({"only": True}, "synthetic= for the arm 'it' that trains on nothing else"),
        ({"loss": "ldam_drw", "mix": "mixup"}, "whole labels for ldam_drw in the arm 'it'"),
        (
            {"loss": "ldam_drw", "sampling": "balanced", "synthetic": Synthetic(weight=0.5)},
            "whole labels for ldam_drw in the arm 'it'",
        ),
    ],
)
def test_arms_that_cannot_be_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ga.ConfigError, match=told):
        Arm(name="it", **settings)


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ([], "different names, found none"),
        ([Arm(name="a"), Arm(name="a", augment=True)], "different names, found a, a"),
        ([Arm(name="a", sampling="sqrt", synthetic=Synthetic())], "expected pool= for the arm 'a'"),
        ([Arm(name="a", sampling="sqrt", synthetic=Synthetic(rows="unused"))], "expected unused=.* for the arm 'a'"),
    ],
)
def test_lists_that_lack_something_are_refused(arms: list[Arm], told: str) -> None:
    with pytest.raises(ga.ConfigError, match=told):
        check_arms(arms, pool=False, unused=False)


def test_a_pool_of_its_own_is_enough() -> None:
    dose = Synthetic(pool=problems.drawn_pool())
    check_arms([Arm(name="a", sampling="sqrt", synthetic=dose)], pool=False, unused=False)


def test_an_unknown_list_is_refused() -> None:
    with pytest.raises(ga.ConfigError, match=r"arms= among quick, grid, all, or a list of ga\.Arm, found 'some'"):
        arm_set("some")


@pytest.mark.parametrize("name", ["quick", "grid", "all"])
def test_names_are_unique_and_there_is_a_free_arm(name: str) -> None:
    arms = arm_set(name, unused=True)
    assert len({arm.name for arm in arms}) == len(arms)
    assert {arm.kind for arm in arms} >= {"free", "selected", "random", "oracle"}
    assert {arm.kind for arm in arm_set(name, synthetic=False)} == {"free"}
    check_arms(arm_set(name, synthetic=False), pool=False, unused=False)


def test_the_grid_is_loss_by_sampling_by_augmentation() -> None:
    free = [arm for arm in arm_set("grid") if arm.kind == "free"]
    found = {(arm.loss, arm.sampling, arm.augment, arm.mix) for arm in free}
    ways = [(False, None), (True, None), (True, "cutmix"), (True, "cmo")]
    cells = [("cross_entropy", sampling) for sampling in ("natural", "sqrt", "balanced")]
    cells += [("balanced_softmax", sampling) for sampling in ("natural", "sqrt")]
    assert found == {(*cell, *way) for cell in cells for way in ways}
    assert len(free) == len(found) == 20


def test_synthetic_arms_differ_from_oversampling_in_their_images_alone() -> None:
    plain = EVERY["ce_balanced_augmented"]
    for name in ("selected", "random", "prefiltered", "all", "selected_share_0.25", "unused_reals"):
        arm = EVERY[name]
        assert (arm.sampling, arm.loss, arm.augment, arm.mix, arm.last_layer) == (
            plain.sampling,
            plain.loss,
            plain.augment,
            plain.mix,
            plain.last_layer,
        )


def test_kinds() -> None:
    kinds = {name: EVERY[name].kind for name in ("focal", "selected", "random", "prefiltered", "all", "unused_reals")}
    assert list(kinds.values()) == ["free", "selected", "random", "prefiltered", "all", "oracle"]
    assert EVERY["synthetic_only"].kind == "only"


@pytest.fixture(scope="module")
def flat() -> TrainingSet:
    unused = problems.view(problems.problem(3, (12, 12, 12)))
    return TrainingSet(view=problems.view(problems.problem(0)), pool=problems.drawn_pool(), unused=unused, min_images=0)


@pytest.fixture(scope="module")
def deep() -> TrainingSet:
    def volumes(seed: int, counts: tuple[int, ...]) -> Any:
        return problems.view(problems.problem(seed, counts, shape=(8, 8, 8)))

    return TrainingSet(
        view=volumes(0, (8, 4, 3)),
        pool=problems.drawn_pool(each=9, shape=(8, 8, 8)),
        unused=volumes(3, (4, 4, 4)),
        min_images=0,
    )


def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from gan_augment.evaluation import data, deep_smote

    monkeypatch.setattr(data, "deep_smote", lambda view, seed: deep_smote(view, steps=2, seed=seed))


@pytest.mark.parametrize("name", EVERY)
def test_every_arm_trains(name: str, flat: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)
    tested = problems.held_out(problems.problem(9, (6, 6, 6)))
    scored = score_arm(EVERY[name], flat, problems.protocol(steps=5, batch_size=12), tested, seed=0)
    known = {metric: value for metric, value in scored.scores.items() if metric != "many_recall"}
    assert all(0 <= value <= 1 for value in known.values()), known
    assert scored.recalls.shape == (3,)
    assert scored.correct.shape == (18,)
    assert scored.scores["balanced_accuracy"] == pytest.approx(scored.recalls.mean())


@pytest.mark.parametrize(
    "name", ["ce_natural_augmented", "ldam_drw", "mixup", "remix", "m2m", "crt", "smote_features", "selected",
             "selected_weight_0.5", "synthetic_only", "unused_reals", "deep_smote"],
)  # fmt: skip
def test_volumes_train(name: str, deep: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps(monkeypatch)
    tested = problems.held_out(problems.problem(9, (2, 2, 2), shape=(8, 8, 8)))
    scored = score_arm(EVERY[name], deep, problems.protocol(steps=3, batch_size=4), tested, seed=0)
    assert 0 <= scored.scores["balanced_accuracy"] <= 1


@pytest.mark.parametrize("name", ["ce_natural_cutmix", "ce_natural_cmo"])
def test_patches_of_volumes_are_refused(name: str, deep: TrainingSet) -> None:
    tested = problems.held_out(problems.problem(9, (2, 2, 2), shape=(8, 8, 8)))
    with pytest.raises(ga.ConfigError, match=r"two dimensions for (cutmix|cmo), found 3; use mixup or remix"):
        score_arm(EVERY[name], deep, problems.protocol(steps=3, batch_size=4), tested, seed=0)


def test_a_class_of_one_image_trains_under_smote_too() -> None:
    training = TrainingSet(view=problems.view(problems.problem(0, (9, 4, 1))))
    tested = problems.held_out(problems.problem(9, (6, 6, 6)))
    scored = score_arm(EVERY["smote_features"], training, problems.protocol(), tested, seed=0)
    assert torch.isfinite(torch.tensor(scored.scores["balanced_accuracy"]))
