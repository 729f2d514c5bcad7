"""EvaluationResult: known answers, the sentence, and the file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gan_augment as ga
from gan_augment.evaluation import EvaluationResult, Scored, by_rank
from gan_augment.metrics import interval

SEEDS = 3


def result(
    arms: Mapping[str, tuple[str, Sequence[float]]], errors: Mapping[str, float] | None = None, **settings: Any
) -> EvaluationResult:
    seeds = len(next(iter(arms.values()))[1])
    return EvaluationResult(
        **{
            "kinds": {arm: kind for arm, (kind, _) in arms.items()},
            "scores": {
                arm: {"balanced_accuracy": list(values), "few_recall": [math.nan] * seeds}
                for arm, (_, values) in arms.items()
            },
            "recalls": {arm: [[0.9, value, math.nan] for value in values] for arm, (_, values) in arms.items()},
            "seeds": list(range(seeds)),
            "classes": ["many", "rare", "untested"],
            "counts": [100, 10, 5],
            "test_errors": {arm: {"balanced_accuracy": error} for arm, error in (errors or {}).items()},
            **settings,
        }
    )


def compared(gains: Sequence[float], ceiling: float | None = None, **settings: Any) -> EvaluationResult:
    arms: dict[str, tuple[str, Sequence[float]]] = {
        "worse": ("free", [0.3] * len(gains)),
        "plain": ("free", [0.5] * len(gains)),
        "drawn": ("random", [0.5] * len(gains)),
        "chosen": ("selected", [0.5 + gain for gain in gains]),
    }
    if ceiling is not None:
        arms["ceiling"] = ("oracle", [0.5 + ceiling] * len(gains))
    return result(arms, **settings)


def test_the_reference_is_the_best_free_arm_whatever_else_is_better() -> None:
    found = compared([0.2, 0.2, 0.2], 0.4)
    assert found.reference == "plain"
    assert found.main == "chosen"
    assert found.control() == "drawn"
    assert found.control("prefiltered") is None


def test_differences_are_paired() -> None:
    found = result({"plain": ("free", [0.1, 0.5, 0.9]), "chosen": ("selected", [0.12, 0.521, 0.919])})
    gain = found.difference("chosen")
    assert gain.values == pytest.approx([0.02, 0.021, 0.019])
    assert gain.low > 0.017
    assert found.difference("plain").values == (0.0, 0.0, 0.0)
    assert found.difference("plain", "chosen").mean == pytest.approx(-0.02)
    assert found.corrected() == {"chosen": gain.p}


def test_test_items_widen_differences_to_the_reference() -> None:
    gains = [0.05, 0.06, 0.055]
    assert compared(gains).difference("chosen").verdict == 1
    wide = compared(gains, errors={"chosen": 0.05})
    assert wide.difference("chosen").verdict == 0
    assert wide.difference("chosen", "plain").high == wide.difference("chosen").high
    assert wide.difference("chosen", "worse").verdict == 1
    assert "could not be shown" in wide.sentence()


def test_folds_widen_every_interval() -> None:
    gains = [0.05, 0.07, 0.06]
    folds, seeds = compared(gains, overlap=0.5), compared(gains)
    assert folds.difference("chosen").high - folds.difference("chosen").mean == pytest.approx(
        (seeds.difference("chosen").high - seeds.difference("chosen").mean) * math.sqrt((1 / 3 + 0.5) * 3)
    )


def test_p_values_are_corrected_for_the_arms() -> None:
    found = compared([0.05, 0.06, 0.055])
    raw = {arm: found.difference(arm).p for arm in ("worse", "drawn", "chosen")}
    assert found.corrected()["chosen"] == pytest.approx(2 * raw["chosen"])  # "worse" has p 0: never varies
    assert set(found.corrected()) == set(raw)


def test_gain_by_class_has_the_rarest_first() -> None:
    rows = compared([0.1, 0.2, 0.3]).gain_by_class("chosen")
    assert [(row["class"], row["images"]) for row in rows] == [("untested", 5), ("rare", 10), ("many", 100)]
    assert math.isnan(rows[0]["gain"].mean)
    assert rows[1]["gain"].mean == pytest.approx(0.2)
    assert rows[2]["gain"].mean == 0


def test_share_of_the_ceiling() -> None:
    assert compared([0.1, 0.1]).ceiling is None
    assert compared([0.1, 0.1]).share_of_ceiling("chosen") is None
    assert compared([0.1, 0.1], 0.4).share_of_ceiling("chosen") == pytest.approx(0.25)
    assert compared([0.1, 0.1], 0.009).share_of_ceiling("chosen") is None
    assert compared([0.1, 0.1], -0.1).share_of_ceiling("chosen") is None


@pytest.mark.parametrize(
    ("gains", "ceiling", "told"),
    [
        ((0.05, 0.06, 0.055), None, "chosen helped: +5.5 points of balanced accuracy against plain (95% interval +"),
        ((-0.05, -0.06, -0.055), None, "did harm: -5.5 points"),
        ((-0.05, -0.06, -0.055), None, "Do not use them on this set."),
        ((0.05, -0.06, 0.01), None, "could not be shown: +0.0 points"),
        ((0.05, -0.06, 0.01), None, "the interval holds zero"),
        ((0.05,), None, "could not be shown: +5.0 points of balanced accuracy against plain (one seed, no interval)"),
        ((0.05,), None, "one seed tells nothing"),
        ((0.05, 0.06, 0.055), 0.002, "this set can judge no synthetic image"),
    ],
)
def test_the_sentence_says_what_the_interval_allows(gains: tuple[float, ...], ceiling: float | None, told: str) -> None:
    assert told in compared(gains, ceiling).sentence()


def test_without_synthetic_images_it_says_so() -> None:
    found = result({"plain": ("free", [0.5, 0.6])})
    assert found.main is None
    assert found.sentence() == "No arm had synthetic images; the best free one was plain."


def test_ranks_put_the_largest_first() -> None:
    assert by_rank(np.array([0.1, 0.2, 0.3]), np.array([5, 50, 10])) == [0.2, 0.3, 0.1]


# -- test errors --------------------------------------------------------------------------------------------------


def scored(correct: np.ndarray, labels: np.ndarray, classes: int) -> Scored:
    recall = np.array([correct[labels == label].mean() for label in range(classes)])
    return Scored({"balanced_accuracy": float(recall.mean())}, recall, correct)


def errors_of(first: list[np.ndarray], second: list[np.ndarray], labels: np.ndarray, counts: list[int]) -> Any:
    runs = {
        name: [scored(part, labels, len(counts)) for part in parts]
        for name, parts in (("plain", first), ("it", second))
    }
    found = EvaluationResult.of(
        runs,
        kinds={"plain": "free", "it": "selected"},
        labels=labels,
        seeds=list(range(len(first))),
        classes=[str(label) for label in range(len(counts))],
        counts=counts,
    )
    return found.test_errors["it"]


def test_test_errors_are_those_of_a_bootstrap_over_test_items() -> None:
    rng, counts = np.random.default_rng(0), [200, 50, 10]
    labels = np.repeat(np.arange(3), [80, 40, 25])
    first = [rng.random(145) < 0.6 for _ in range(3)]
    second = [part & (rng.random(145) < 0.9) for part in first]
    found = errors_of(first, second, labels, counts)
    difference = np.mean(second, axis=0) - np.mean(first, axis=0)
    parts = [difference[labels == label] for label in range(3)]
    drawn = np.array([[rng.choice(part, len(part)).mean() for part in parts] for _ in range(4000)])
    assert found["balanced_accuracy"] == pytest.approx(drawn.mean(axis=1).std(), rel=0.05)
    assert found["few_recall"] == pytest.approx(drawn[:, 2].std(), rel=0.05)
    assert found["medium_recall"] == pytest.approx(drawn[:, 1].std(), rel=0.05)


def test_classes_of_one_test_item_are_no_certainty() -> None:
    labels = np.arange(3)
    found = errors_of([np.array([True, False, True])], [np.array([True, True, False])], labels, [9, 9, 9])
    assert found["balanced_accuracy"] == pytest.approx(math.sqrt(3 * (2 / 3)) / 3)


# -- the file -----------------------------------------------------------------------------------------------------


def whole() -> EvaluationResult:
    half = interval([-0.01, math.nan])
    return compared(
        [0.1, 0.2], 0.3, errors={"chosen": 0.01}, notes=("read this",), settings={"steps": 5}, half_steps=half
    )


def test_a_file_gives_back_the_same(tmp_path: Path) -> None:
    found = whole()
    again = EvaluationResult.load(found.save(tmp_path / "result.json"))
    assert again.to_json() == found.to_json()
    assert again.difference("chosen") == found.difference("chosen")
    assert again.sentence() == found.sentence()


@pytest.mark.parametrize("gains", [[0.1, 0.2], [0.1]])
def test_json_is_strict(gains: list[float]) -> None:
    text = json.dumps(compared(gains, 0.3).to_json(), allow_nan=False)
    assert "NaN" not in text
    assert json.loads(text)["arms"]["plain"]["metrics"]["few_recall"]["mean"] is None


def damage(about: dict[str, Any], path: Sequence[Any], value: Any) -> dict[str, Any]:
    inner: Any = about
    for key in path[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return about


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["arms"], KeyError), (["arms"], {}), (["arms"], [1]), (["half_steps"], KeyError), (["seeds"], [0]),
        (["seeds"], "some"), (["counts"], [1]), (["counts"], None), (["settings"], 3), (["overlap"], None),
        (["kind"], "gan_augment pool"), (["version"], 99), (["classes"], ["a"]), (["arms", "plain", "kind"], KeyError),
        (["arms", "plain", "metrics"], {}), (["arms", "plain", "metrics", "balanced_accuracy"], KeyError),
        (["arms", "plain", "metrics", "balanced_accuracy", "values"], [0.5]),
        (["arms", "plain", "recalls"], [[0.1]]), (["arms", "plain", "recalls"], KeyError),
        (["arms", "plain", "test_error"], 4),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, path: list[Any], value: Any) -> None:
    file = tmp_path / "result.json"
    file.write_text(json.dumps(damage(whole().to_json(), path, value)))
    with pytest.raises(ga.ArtifactError):
        EvaluationResult.load(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "gan_augment evaluation"}'])
def test_files_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ga.ArtifactError):
        EvaluationResult.load(tmp_path / "result.json")
    with pytest.raises(ga.ArtifactError):
        EvaluationResult.load(tmp_path / "nothing.json")


def test_arms_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ga.ConfigError, match="an arm without synthetic images to compare with"):
        result({"chosen": ("selected", [0.5])})
    with pytest.raises(ga.ConfigError, match="a score for each of 3 seeds"):
        compared([0.1, 0.2], seeds=[0, 1, 2])
    scores = compared([0.1]).scores
    with pytest.raises(ga.ConfigError, match="same metrics of every arm"):
        compared([0.1], scores={**scores, "plain": {"few_recall": [0.1]}})
    with pytest.raises(ga.ConfigError, match=r"recalls of shape \(1, 3\) for every arm"):
        compared([0.1], recalls={})


def test_differences_cover_the_truth_over_test_sets_and_seeds() -> None:
    """Arms that are alike in the population differ in items: a test set favours one, and so do seeds."""
    rng, counts = np.random.default_rng(0), [200, 50, 10]
    labels = np.repeat(np.arange(3), [60, 40, 20])
    hits = []
    for _ in range(300):
        level = rng.beta(2, 1, (2, len(labels)))  # how often each arm is right on each item
        luck = rng.normal(0, 0.05, (2, 3, 1))  # of each training
        correct = rng.random((2, 3, len(labels))) < np.clip(level[:, None] + luck, 0, 1)
        runs = {name: [scored(part, labels, 3) for part in parts] for name, parts in zip("ab", correct, strict=True)}
        found = EvaluationResult.of(
            runs,
            kinds={"a": "free", "b": "selected"},
            labels=labels,
            seeds=[0, 1, 2],
            classes=["0", "1", "2"],
            counts=counts,
        )
        hits.append(found.difference("b").verdict == 0)
    assert np.mean(hits) > 0.93
