"""What every selector must do; a new one is a line in SELECTORS."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.selection import CentroidSelector
from gan_augment.types import Candidates, Decision, Selector
from tests.helpers import Pictures, toy_synthesizer, untrained_judge

SELECTORS: dict[str, Callable[[], Selector]] = {
    "centroid": lambda: CentroidSelector(untrained_judge()),
    "centroid, no agreement": lambda: CentroidSelector(untrained_judge(), keep_share=0.3, agreement=False),
    "centroid, no judge": lambda: CentroidSelector(keep_share=1),
}


def seen(count: int, seed: int, spread: float = 1.0, classes: int = 3) -> Candidates:
    """Rows as an extractor with class probabilities sees them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = (labels[:, None] * 3 + rng.normal(0, spread, (count, 6))).astype(np.float32)
    logits = rng.normal(0, 1, (count, 3)) + 2 * np.eye(classes)[labels][:, :3]
    probs = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    entropy = (-(probs * np.log(probs)).sum(1)).astype(np.float32)
    return Candidates(features, labels, probs, entropy, seeds=np.arange(count))


def assert_same(one: Decision, other: Decision) -> None:
    assert (one.keep == other.keep).all()
    assert np.array_equal(one.score, other.score, equal_nan=True)
    assert (one.reason == other.reason).all()


@pytest.fixture(params=SELECTORS.values(), ids=SELECTORS)
def make(request: pytest.FixtureRequest) -> Callable[[], Selector]:
    factory: Callable[[], Selector] = request.param
    return factory


def ready(make: Callable[[], Selector]) -> Selector:
    return make().fit(seen(90, 0)).calibrate(seen(200, 1, 2.0))


def test_it_is_a_selector(make: Callable[[], Selector]) -> None:
    selector = make()
    assert isinstance(selector, Selector)
    assert selector.fit(seen(90, 0)) is selector
    assert selector.calibrate(seen(200, 1)) is selector


def test_settings_are_json_and_name_it(make: Callable[[], Selector]) -> None:
    settings = make().settings()
    assert json.loads(json.dumps(settings)) == settings
    assert isinstance(settings["name"], str)
    assert make().settings() == ready(make).settings()


def test_a_decision_has_a_row_for_each_candidate(make: Callable[[], Selector]) -> None:
    candidates = seen(70, 2, 2.0)
    decision = ready(make).decide(candidates)
    assert decision.keep.shape == decision.score.shape == decision.reason.shape == (70,)
    assert (decision.keep.dtype, decision.score.dtype) == (np.bool_, np.float32)
    assert decision.reason.dtype.kind == "U"
    assert ((decision.reason == "") == decision.keep).all()
    assert decision.keep.any()
    assert not decision.keep.all()


def test_order_batch_and_shard_do_not_matter(make: Callable[[], Selector]) -> None:
    selector, candidates = ready(make), seen(70, 2, 2.0)
    whole = selector.decide(candidates)
    order = np.random.default_rng(0).permutation(70)
    for rows in (order, order[:1], order[:33], np.arange(0, 70, 2)):
        part = selector.decide(candidates[rows])
        assert_same(part, Decision(whole.keep[rows], whole.score[rows], whole.reason[rows]))


def test_deciding_changes_nothing(make: Callable[[], Selector]) -> None:
    selector, candidates = ready(make), seen(70, 2, 2.0)
    first = selector.decide(candidates)
    selector.decide(seen(50, 3, 30.0))
    assert_same(selector.decide(candidates), first)
    assert (candidates.features == seen(70, 2, 2.0).features).all()


def test_the_same_fit_decides_the_same(make: Callable[[], Selector]) -> None:
    candidates = seen(70, 2, 2.0)
    assert_same(ready(make).decide(candidates), ready(make).decide(candidates))


def test_no_candidates_are_no_decisions(make: Callable[[], Selector]) -> None:
    assert len(ready(make).decide(seen(70, 2)[:0]).keep) == 0


def test_a_class_without_reals_is_never_kept(make: Callable[[], Selector]) -> None:
    candidates = seen(70, 2)
    other = Candidates(
        candidates.features, np.full(70, 5), candidates.probs, candidates.entropy, seeds=candidates.seeds
    )
    decision = ready(make).decide(other)
    assert not decision.keep.any()
    assert "" not in decision.reason


@pytest.mark.filterwarnings("ignore:no candidate of")
def test_a_pool_is_built_with_it(make: Callable[[], Selector]) -> None:
    pools = [
        SyntheticPool.build(toy_synthesizer(), Pictures(), selector=make(), progress=False, reserve=3).candidates()
        for _ in range(2)
    ]
    assert len(pools[0]) == 51
    assert (pools[0].kept == pools[1].kept).all()
    assert pools[0].about["selector"] == make().settings()


def test_saved_equals_loaded(make: Callable[[], Selector], tmp_path: Path) -> None:
    selector = ready(make)
    assert selector.save(tmp_path / "selector") == tmp_path / "selector"
    loaded = type(selector).load(tmp_path / "selector", selector.extractor)  # type: ignore[attr-defined]
    assert loaded.settings() == selector.settings()
    assert_same(loaded.decide(seen(300, 7)), selector.decide(seen(300, 7)))
    with pytest.raises(ArtifactError, match="not to exist"):
        selector.save(tmp_path / "selector")
    with pytest.raises(ConfigError, match="before save"):
        make().save(tmp_path / "unfitted")
    described = tmp_path / "selector" / "selector.json"
    described.write_text(described.read_text().replace("keep_share", "keep_chair"))
    with pytest.raises(ArtifactError, match="damaged"):
        type(selector).load(tmp_path / "selector")  # type: ignore[attr-defined]
