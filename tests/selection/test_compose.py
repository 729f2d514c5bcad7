"""Compose: each selector on what the ones before kept; several extractors; saving; and the random control."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.selection import CentroidSelector, Compose, load_selector, random_control
from gan_augment.types import Candidates, Decision, Features
from tests.helpers import Pictures, toy_synthesizer, untrained_judge


class Even:
    """Keeps rows whose first feature is even, and gives every row the weight 3."""

    extractor = None
    whole_set = False

    def fit(self, real: Candidates) -> "Even":
        return self

    def calibrate(self, drawn: Candidates) -> "Even":
        return self

    def decide(self, candidates: Candidates) -> Decision:
        keep = candidates.features[:, 0] % 2 == 0
        ones = np.ones(len(keep), np.float32)
        return Decision(keep, ones, np.where(keep, "", "odd"), 3 * ones)

    def settings(self) -> dict[str, object]:
        return {"name": "even"}

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        return ["odd rows are dropped"]

    def save(self, folder: str | Path) -> Path:
        raise NotImplementedError


def rows(values: Sequence[float], labels: Sequence[int] | None = None) -> Candidates:
    features = np.array([[value, 0] for value in values], np.float32)
    return Candidates(features, np.zeros(len(features), np.int64) if labels is None else np.array(labels))


REAL = rows([0, 0, 0])
DRAWN = rows([1, 2, 3, 4, 5, 6, 7, 8])


def chain(share: float = 0.5) -> Compose:
    return Compose(Even(), CentroidSelector(keep_share=share, agreement=False))


def test_a_step_sees_what_the_ones_before_kept() -> None:
    chosen = chain().fit(REAL).calibrate(DRAWN)
    decision = chosen.decide(DRAWN)
    assert decision.keep.tolist() == [False, True, False, True, False, False, False, False]  # half of 2, 4, 6, 8
    assert decision.reason.tolist() == ["odd", "", "odd", "", "odd", "far from its class", "odd", "far from its class"]
    assert decision.score.tolist() == [1, 2, 1, 4, 1, 6, 1, 8]
    assert decision.dropped() == {"odd": 4, "far from its class": 2}


def test_weights_multiply() -> None:
    assert Compose(Even(), Even()).fit(REAL).calibrate(DRAWN).decide(DRAWN[1:2]).weight == pytest.approx([9])
    plain = CentroidSelector(agreement=False)
    assert Compose(plain).fit(REAL).calibrate(DRAWN).decide(DRAWN).weight is None


def test_order_matters() -> None:
    other = Compose(CentroidSelector(keep_share=0.5, agreement=False), Even()).fit(REAL).calibrate(DRAWN)
    assert other.decide(DRAWN).keep.tolist() == [False, True, False, True] + [False] * 4  # half of 1 to 8, then even
    assert other.decide(DRAWN).dropped() == {"far from its class": 4, "odd": 2}


@given(
    values=st.lists(st.integers(-30, 30), min_size=1, max_size=30), share=st.floats(0.05, 1), data=st.data(),
)  # fmt: skip
def test_it_keeps_what_every_step_keeps_one_after_the_other(
    values: list[int], share: float, data: st.DataObject
) -> None:
    candidates = rows(values)
    left = candidates[Even().decide(candidates).keep]
    chosen = chain(share).fit(REAL).calibrate(candidates)
    if len(left):
        last = CentroidSelector(keep_share=share, agreement=False).fit(REAL).calibrate(left)
        assert (chosen.decide(left).keep == last.decide(left).keep).all()
    order = np.array(data.draw(st.permutations(range(len(values)))))
    assert (chosen.decide(candidates[order]).keep == chosen.decide(candidates).keep[order]).all()


def test_notes_and_settings_are_those_of_the_steps() -> None:
    chosen = chain()
    assert chosen.settings() == {"name": "compose", "steps": [step.settings() for step in chosen.steps]}
    assert chosen.fit(REAL).notes(["a"]) == ["odd rows are dropped"]
    assert not chosen.whole_set


def test_what_cannot_be_composed() -> None:
    with pytest.raises(ConfigError, match="expected selectors to compose, found none"):
        Compose()
    with pytest.raises(ConfigError, match="expected selectors to compose, found <class"):
        Compose(CentroidSelector)  # type: ignore[arg-type]


def test_saved_equals_loaded(tmp_path: Path) -> None:
    chosen = Compose(CentroidSelector(real_share=0.9, agreement=False), CentroidSelector(agreement=False))
    real = Candidates(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32), np.arange(40) % 2)
    drawn = Candidates(np.random.default_rng(1).normal(size=(90, 2)).astype(np.float32), np.arange(90) % 2)
    chosen.fit(real).calibrate(drawn).save(tmp_path / "selector")
    loaded = load_selector(tmp_path / "selector")
    assert loaded.settings() == chosen.settings()
    assert (loaded.decide(drawn).keep == chosen.decide(drawn).keep).all()
    with pytest.raises(ConfigError, match="an extractor for each of the 2 steps, found 1"):
        load_selector(tmp_path / "selector", [untrained_judge()])
    described = tmp_path / "selector" / "selector.json"
    described.write_text(described.read_text().replace('"steps"', '"stops"'))
    with pytest.raises(ArtifactError, match="damaged"):
        load_selector(tmp_path / "selector")


def test_nothing_is_left_behind_when_a_step_cannot_be_saved(tmp_path: Path) -> None:
    chosen = Compose(CentroidSelector(agreement=False), CentroidSelector()).fit(REAL)
    with pytest.raises(ConfigError, match="before save"):
        chosen.save(tmp_path / "selector")
    assert not list(tmp_path.iterdir())


# -- several extractors ---------------------------------------------------------------------------------------------


class Brightness:
    """An extractor of one number."""

    fingerprint = "brightness"

    def extract(self, images: torch.Tensor) -> Features:
        return Features(images.flatten(1).mean(1, keepdim=True).numpy())

    def save(self, folder: str | Path) -> Path:
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore:no candidate of")
def test_each_step_sees_by_its_own_extractor() -> None:
    judge = untrained_judge()
    first = CentroidSelector(judge, keep_share=0.8, agreement=False)
    second = CentroidSelector(Brightness(), keep_share=0.5, agreement=False)
    pool = SyntheticPool.build(
        toy_synthesizer(), Pictures(), selector=Compose(first, second), reserve=4, progress=False
    ).candidates()
    assert first.state_["0/centroids"].shape == (3, 32)
    assert second.state_["0/centroids"].shape == (3, 1)
    light = np.array([pool.images([int(row)]).mean() for row in pool.rows])
    far = np.abs(light - second.state_["0/centroids"][pool.labels, 0])
    assert pool.kept.any()
    assert pool.scores[pool.kept] == pytest.approx(far[pool.kept], abs=1e-5)


def test_extractors_are_told_once() -> None:
    judge, other = untrained_judge(), Brightness()
    chosen = Compose(CentroidSelector(judge), CentroidSelector(other), CentroidSelector(judge), CentroidSelector())
    assert chosen.extractors == [judge, other]
    assert chosen.extractor is judge
    assert Compose(chosen, CentroidSelector(other)).extractors == [judge, other]


# -- the control ----------------------------------------------------------------------------------------------------


@given(keep=st.lists(st.booleans(), max_size=60), seed=st.integers(0, 2**40))
def test_the_control_keeps_as_many_of_each_class(keep: list[bool], seed: int) -> None:
    labels = np.arange(len(keep)) % 3
    control = random_control(keep, labels, seed)
    for label in range(3):
        assert control[labels == label].sum() == np.array(keep, bool)[labels == label].sum()
    assert (random_control(keep, labels, seed) == control).all()


def test_the_control_does_not_look_at_what_was_kept() -> None:
    keep = np.arange(1000) < 500
    share = random_control(keep, np.zeros(1000), 0)[:500].mean()
    assert 0.4 < share < 0.6
