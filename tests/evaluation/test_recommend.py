"""ga.recommend: no fold leaks, few images are told of before anything is trained, and clear cases are clear."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, EvaluationResult, Recommendation, Synthetic, recommend
from gan_augment.evaluation.recommend import _decide
from gan_augment.networks import NetworkSpec
from gan_augment.source import RawView
from tests.conftest import untouched_rng
from tests.evaluation.problems import Log, problem, view

DOSE = Arm(name="dose", sampling="balanced", synthetic=Synthetic(share=1.0))


def linear(spec: NetworkSpec) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod((spec.channels, *spec.grid))), spec.num_classes))


def noise_pool(fitted: RawView, seed: int) -> ga.SyntheticPool:
    generator = torch.Generator().manual_seed(seed % 2**62)
    grid = fitted.form.shape or ()
    return ga.SyntheticPool.from_arrays(torch.randn(60, 1, *grid, generator=generator), torch.tensor([1, 2] * 30))


def run(data: Any = None, build: Callable[..., Any] = noise_pool, **settings: Any) -> Recommendation:
    options = {"candidates": [DOSE], "folds": 3, "steps": 3, "classifier": linear, "min_images": 0, "progress": False}
    return recommend(data or problem(0), build=build, **{**options, **settings})


# -- leaks --------------------------------------------------------------------------------------------------------


def test_every_image_is_held_out_once_and_seen_by_nothing_fitted() -> None:
    data, seen, log = problem(0), [], Log()

    def build(fitted: RawView, seed: int) -> Any:
        seen.append(set(fitted.hashes.tolist()))
        assert fitted.num_classes == 3
        return noise_pool(fitted, seed)

    found = run(data, build, folds=3, classifier=log, augmentation=ga.Augmentation.none(), steps=20)
    every = set(view(data).hashes.tolist())
    held_out = [every - part for part in seen]
    assert len(seen) == 3
    assert set.union(*held_out) == every
    assert sum(map(len, held_out)) == len(every)
    assert len(log.initial) == 3 * 4
    per_fold = len(log.batches) // 3
    real = {image.numpy().tobytes(): index for index, image in enumerate(data.tensors[0])}
    hashes = view(data).hashes
    for fold in range(3):
        drawn = torch.cat(log.batches[fold * per_fold : (fold + 1) * per_fold])
        rows = {real[image.numpy().tobytes()] for image in drawn if image.numpy().tobytes() in real}
        assert rows
        assert {int(hashes[row]) for row in rows} <= seen[fold]
    assert found.result is not None
    assert found.result.overlap == 0.5


def test_every_fold_has_a_seed_of_its_own_and_each_arm_of_a_fold_the_same() -> None:
    seeds, log = [], Log()

    def build(fitted: RawView, seed: int) -> Any:
        seeds.append(seed)
        return noise_pool(fitted, seed)

    run(build=build, classifier=log)
    assert len(set(seeds)) == 3
    for fold in range(3):
        own = log.initial[4 * fold : 4 * fold + 4]
        assert all(torch.equal(weights, own[0]) for weights in own)
    assert not torch.equal(log.initial[0], log.initial[4])


def test_a_pool_of_held_out_images_is_refused() -> None:
    data = problem(0)
    images, labels = data.tensors
    whole = ga.SyntheticPool.from_arrays(images[labels > 0], labels[labels > 0])
    with pytest.raises(ga.DataError, match="no images shared"):
        run(data, lambda fitted, seed: whole)
    with pytest.raises(ga.DataError, match="no images shared"):
        run(data, candidates=[Arm(name="own", sampling="balanced", synthetic=Synthetic(pool=whole))])
    with pytest.raises(ga.DataError, match="no images shared"):
        run(data, candidates=[DOSE, Arm(name="own", data=data)])


def test_a_gan_of_the_whole_set_is_refused() -> None:
    data = problem(0, (20, 20, 20))
    gan = ga.fit(data, "sngan", steps=1, progress=False)

    def build(fitted: RawView, seed: int) -> Any:
        with pytest.warns(ga.DataMismatchWarning):
            return ga.SyntheticPool.build(gan, fitted, counts={1: 4, 2: 4}, progress=False)

    with pytest.raises(ga.DataError, match="no images shared"):
        run(data, build)


def test_a_group_is_never_on_both_sides() -> None:
    groups = [f"p{index // 2}" for index in range(36)]
    seen: list[set[str]] = []

    def build(fitted: RawView, seed: int) -> Any:
        assert fitted.groups is not None
        seen.append(set(fitted.groups.tolist()))
        return noise_pool(fitted, seed)

    run(build=build, groups=groups, folds=2)
    held_out = [set(groups) - part for part in seen]
    assert not held_out[0] & held_out[1]
    assert held_out[0] | held_out[1] == set(groups)


# -- few images ---------------------------------------------------------------------------------------------------


def never(fitted: RawView, seed: int) -> Any:
    raise AssertionError("nothing should be fitted")


def test_fewer_images_than_folds_are_too_few() -> None:
    found = run(problem(0, (24, 8, 2)), never, folds=3)
    assert found.verdict == "too few to tell"
    assert found.result is None
    assert (found.share, found.rows) == (0.0, None)
    assert found.sentence().startswith("Too few to tell: fewer than 3 images of 2 (2), so a fold would hold none")


def test_fewer_groups_than_folds_are_too_few() -> None:
    groups = [*(f"p{index}" for index in range(32)), "q", "q", "r", "r"]
    assert "fewer than 3 groups of 2 (2)" in run(build=never, groups=groups, folds=3).reason


def test_folds_that_leave_a_class_out_are_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[recommend.__module__]
    monkeypatch.setattr(module, "_folds", lambda *_: iter([(np.arange(32), np.arange(32, 36))]))
    assert run(build=never, groups=[f"p{i}" for i in range(36)]).verdict == "too few to tell"


# -- verdicts -----------------------------------------------------------------------------------------------------


def clusters(seed: int, counts: tuple[int, int], each: int = 1) -> TensorDataset:
    """A common class of noise, and a rare one where every image is of a cluster of its own.

    What is learned of some clusters says nothing of the others: more images of all of them do.
    """
    generator = torch.Generator().manual_seed(seed)
    centers = 1.5 * torch.randn(60, 1, 16, 16, generator=torch.Generator().manual_seed(99))
    common = torch.randn(counts[0], 1, 16, 16, generator=generator)
    rare = centers[: counts[1]].repeat(each, 1, 1, 1)
    rare = rare + torch.randn(rare.shape, generator=generator)
    labels = torch.cat([torch.zeros(len(common)), torch.ones(len(rare))]).long()
    return TensorDataset(torch.cat([common, rare]), labels)


SLOW: dict[str, Any] = {"steps": 60, "augmentation": ga.Augmentation.none()}


@pytest.mark.slow
def test_use_where_the_pool_holds_what_is_missing() -> None:
    images, labels = clusters(7, (0, 60), each=20).tensors
    pool = ga.SyntheticPool.from_arrays(images, labels)
    doses = [DOSE, Arm(name="half", sampling="balanced", synthetic=Synthetic(share=0.5, until=0.5, rows="all"))]
    found = run(clusters(0, (240, 60)), lambda fitted, seed: pool, candidates=doses, folds=5, **{**SLOW, "steps": 150})
    assert found.verdict == "use", found.reason
    assert found.result is not None
    best = max(("dose", "half"), key=lambda arm: sum(found.result.scores[arm]["balanced_accuracy"]))  # type: ignore[union-attr]
    expected = (1.0, 1.0, "selected") if best == "dose" else (0.5, 0.5, "all")
    assert (found.share, found.until, found.rows) == expected
    assert found.sentence().startswith("Use: the best dose")
    json.dumps(found.to_json(), allow_nan=False)


def test_not_where_it_is_noise() -> None:
    data = problem(0, (240, 60), signal=0.5)

    def build(fitted: RawView, seed: int) -> Any:
        noise = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(seed % 2**62))
        return ga.SyntheticPool.from_arrays(noise, torch.ones(300, dtype=torch.int64))

    found = run(data, build, **SLOW)
    assert found.verdict == "do not use it", found.reason
    assert (found.share, found.until, found.rows) == (0.0, 1.0, None)
    assert found.schedule(10) is None


def decided(*gains: float, others: tuple[float, ...] | None = None) -> Recommendation:
    count = len(gains)
    scores = {"plain": [0.5] * count, "dose": [0.5 + gain for gain in gains]}
    arms = [Arm(name="plain"), DOSE]
    if others is not None:
        scores["other"] = [0.5 + gain for gain in others]
        arms.append(Arm(name="other", sampling="balanced", synthetic=Synthetic()))
    result = EvaluationResult(
        kinds={arm.name: arm.kind for arm in arms},
        scores={arm: {"balanced_accuracy": values} for arm, values in scores.items()},
        recalls={arm: [[value, value] for value in values] for arm, values in scores.items()},
        seeds=list(range(count)),
        classes=["a", "b"],
        counts=[9, 9],
        overlap=1 / (count - 1),
    )
    return _decide(result, arms)


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.10, 0.101, 0.102), "use"),
        ((0.10, 0.15, 0.05), "too few to tell"),
        ((0.001, -0.002, 0.0), "do not use it"),
        ((-0.10, -0.101, -0.102), "do not use it"),
        ((-0.1, 0.1, -0.1), "too few to tell"),
        ((0.0, 0.0, 0.0), "do not use it"),
        ((0.05, 0.05, 0.05), "too few to tell"),  # as small test sets do by chance
    ],
)
def test_the_verdict_is_the_intervals(gains: tuple[float, ...], verdict: str) -> None:
    assert decided(*gains).verdict == verdict


def test_each_dose_that_was_tried_costs() -> None:
    """p is 0.039 alone, 0.078 with a second dose."""
    alone, beside = decided(0.07, 0.09, 0.11), decided(0.07, 0.09, 0.11, others=(0.02, 0.05, 0.08))
    assert alone.verdict == "use"
    assert beside.verdict == "too few to tell"


def test_deterministic_and_leaves_the_global_state() -> None:
    run()
    with untouched_rng():
        first = run(seed=3).to_json()
    assert run(seed=3).to_json() == first
    assert run(seed=4).to_json() != first


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"folds": 1}, "folds of at least 2, a whole number, found 1"),
        ({"steps": 0}, "steps of at least 1"),
        ({"candidates": []}, "expected an arm with synthetic images among candidates=, found none"),
        ({"candidates": [Arm(name="plain")]}, "an arm with synthetic images among candidates="),
        ({"candidates": [Arm(name="bs_natural_augmented")]}, "arms with different names"),
        ({"candidates": [Arm(name="a", sampling="sqrt", synthetic=Synthetic(rows="unused"))]}, "expected unused="),
    ],
)
def test_wrong_parameters_are_told_of_before_anything_is_trained(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ga.ConfigError, match=told):
        run(build=never, **settings)


def test_the_schedule_of_a_dose() -> None:
    found = Recommendation(verdict="use", reason="", until=0.6)
    assert found.schedule(10) == ga.PhaseOut(epochs=10, until=0.6)


@pytest.mark.slow
def test_with_a_gan_of_its_own() -> None:
    found = recommend(problem(0, (40, 24)), folds=2, gan_steps=5, steps=5, progress=False)
    assert found.result is not None
    assert len(found.result.scores) == 8
