"""DomainSelector: each domain by its own, what is too small by all together."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.pool import SyntheticPool
from gan_augment.selection import CentroidSelector, Compose, DomainSelector, GradientSelector, LabelGuard, load_selector
from gan_augment.types import Candidates
from tests.helpers import Pictures, toy_synthesizer, untrained_judge

SHIFT = {3: -20.0, 7: 20.0}
"""Two scanners, which move all that they take along the last axis."""


def plain(**settings: Any) -> CentroidSelector:
    return CentroidSelector(agreement=None, **settings)


def scanned(count: int, seed: int, *, told: bool = True, spread: float = 1.0) -> Candidates:
    """Rows of three classes from two scanners."""
    rng = np.random.default_rng(seed)
    labels, domain = rng.integers(0, 3, count), rng.choice([3, 7], count)
    features = np.eye(4)[labels] * 8 + rng.normal(0, spread, (count, 4))
    features[:, 3] += np.vectorize(SHIFT.get)(domain) if count else 0
    probs = np.eye(3, dtype=np.float32)[labels] * 0.7 + 0.1
    return Candidates(features.astype(np.float32), labels, probs, domain=domain if told else None)


REAL, DRAWN = scanned(300, 0), scanned(600, 1, spread=2)


def without_domain(candidates: Candidates) -> Candidates:
    return Candidates(candidates.features, candidates.labels, candidates.probs, parents=candidates.parents)


# -- known answers ----------------------------------------------------------------------------------------------------


def test_each_domain_has_its_own_selector() -> None:
    chosen = DomainSelector(plain(), min_images=5).fit(REAL).calibrate(DRAWN)
    candidates = scanned(200, 2, spread=2)
    decision = chosen.decide(candidates)
    for domain in SHIFT:
        own = candidates.domain == domain
        alone = plain().fit(REAL[REAL.domain == domain]).calibrate(DRAWN[DRAWN.domain == domain])
        assert (decision.keep[own] == alone.decide(candidates[own]).keep).all()
        assert (decision.score[own] == alone.decide(candidates[own]).score).all()
    assert chosen.domains_.tolist() == [3, 7]
    assert not chosen.notes()
    together = plain().fit(REAL).calibrate(DRAWN).decide(candidates)
    assert together.score.min() > 12 > decision.score.max()  # one centroid lies between the scanners, near to none


def test_the_nearest_domain_is_taken_where_none_is_told() -> None:
    chosen = DomainSelector(plain(), min_images=5).fit(REAL)
    candidates = scanned(100, 3)
    assert (chosen.domain_of(candidates) == candidates.domain).all()
    assert (chosen.domain_of(without_domain(candidates)) == candidates.domain).all()
    unknown = Candidates(candidates.features, candidates.labels, domain=np.full(100, -1))
    assert (chosen.domain_of(unknown) == candidates.domain).all()


def test_a_child_has_the_domain_of_its_parent() -> None:
    chosen = DomainSelector(plain(), min_images=5).fit(REAL)
    candidates, parents = scanned(50, 4), np.arange(50)
    parents[::2] = -1
    child = Candidates(candidates.features, candidates.labels, parents=parents)
    found = chosen.domain_of(child)
    assert REAL.domain is not None
    assert (found[1::2] == REAL.domain[:50][1::2]).all()
    assert candidates.domain is not None
    assert (found[::2] == candidates.domain[::2]).all()
    own = Candidates(candidates.features, candidates.labels, parents=parents, domain=candidates.domain)
    assert (chosen.domain_of(own) == candidates.domain).all()


def test_a_new_domain_is_decided_by_all() -> None:
    chosen = DomainSelector(plain(), min_images=5).fit(REAL).calibrate(DRAWN)
    other = Candidates(DRAWN.features, DRAWN.labels, domain=np.full(len(DRAWN), 5))
    assert (chosen.domain_of(other) == -1).all()
    alone = plain().fit(REAL).calibrate(DRAWN)
    assert (chosen.decide(other).keep == alone.decide(DRAWN).keep).all()
    above = Candidates(DRAWN.features, DRAWN.labels, domain=np.full(len(DRAWN), 99))
    assert (chosen.domain_of(above) == -1).all()


def test_clusters_find_scanners_not_classes() -> None:
    """Classes lie 42 apart and scanners 10: clusters of the features as they are would be the classes."""
    real = scanned(300, 0)
    features = real.features + 22 * np.eye(4, dtype=np.float32)[real.labels]
    features[:, 3] *= 0.25
    moved = Candidates(features, real.labels, domain=real.domain)
    chosen = DomainSelector(plain(), 2, min_images=5).fit(without_domain(moved))
    found = chosen.domain_of(moved)  # the column does not count where clusters are wanted
    assert real.domain is not None
    agree = (found == (real.domain == 7)).mean()
    assert max(agree, 1 - agree) == 1


def test_what_a_domain_has_too_few_of_is_decided_by_all() -> None:
    rare = (REAL.domain == 7) & (REAL.labels == 2)
    left = np.flatnonzero(~rare | (np.cumsum(rare) <= 4))
    real = REAL[left]
    chosen = DomainSelector(plain(), min_images=5).fit(real).calibrate(DRAWN)
    assert chosen.notes(["a", "b", "c"]) == ["domain 7: fewer than 5 images, decided over all domains: c"]
    candidates = scanned(200, 5, spread=2)
    own = (candidates.domain == 7) & (candidates.labels == 2)
    alone = plain().fit(real).calibrate(DRAWN).decide(candidates)
    decision = chosen.decide(candidates)
    assert (decision.keep[own] == alone.keep[own]).all()
    assert (decision.score[own] == alone.score[own]).all()
    assert (decision.score[~own] != alone.score[~own]).all()


def test_few_draws_count_only_where_limits_come_from_draws() -> None:
    few = DRAWN[(DRAWN.domain == 3) | (np.cumsum(DRAWN.domain == 7) <= 3)]
    by_draws = DomainSelector(plain(keep_share=0.5), min_images=5).fit(REAL).calibrate(few)
    assert [note for note in by_draws.notes() if "domain 7" in note and "decided over all" in note]
    by_reals = DomainSelector(plain(real_share=0.5), min_images=5).fit(REAL).calibrate(few)
    assert not [note for note in by_reals.notes() if "decided over all" in note]


def test_the_report_counts() -> None:
    chosen = DomainSelector(plain(), min_images=5).fit(REAL).calibrate(DRAWN)
    candidates = scanned(200, 2)
    new = Candidates(candidates.features[:3], np.array([0, 0, 9]), domain=np.array([5, 5, 3]))
    every = Candidates.concatenate([Candidates(candidates.features, candidates.labels, domain=candidates.domain), new])
    decision = chosen.decide(every)
    table = chosen.report(every, decision, classes=["a", "b", "c"])
    found = json.loads(json.dumps(table.to_json()))
    assert sum(row["reals"] for row in found) == 300
    assert sum(row["candidates"] for row in found) == 203
    assert sum(row["kept"] for row in found) == decision.keep.sum()
    first = found[0]
    own = (every.domain == 3) & (every.labels == 0)
    assert first["domain"] == 3
    assert first["class"] == "a"
    assert first["reals"] == ((REAL.domain == 3) & (REAL.labels == 0)).sum()
    assert first["kept"] == decision.keep[own].sum()
    assert first["mean_score"] == pytest.approx(decision.score[own].mean())
    assert first["decided_by"] == "domain"
    by_all = [(row["domain"], row["class"], row["mean_score"]) for row in found if row["decided_by"] == "all"]
    assert [row[:2] for row in by_all] == [(3, "9"), (None, "a")]
    assert by_all[0][2] is None
    assert table.to_json() == chosen.report(every, classes=["a", "b", "c"]).to_json()
    lines = str(table).split("\n")
    assert lines[0].split() == ["domain", "class", "reals", "candidates", "kept", "mean", "score", "decided", "by"]
    assert len(lines) == 1 + len(found)
    assert len({len(line) for line in lines if line.endswith("domain")}) == 1


# -- as a selector ----------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), share=st.floats(0.05, 1), told=st.booleans())
def test_order_and_batches_do_not_matter(seed: int, share: float, told: bool) -> None:
    chosen = DomainSelector(plain(keep_share=share), min_images=5).fit(REAL).calibrate(DRAWN)
    candidates = scanned(40, seed, told=told, spread=2)
    whole = chosen.decide(candidates)
    order = np.random.default_rng(seed).permutation(40)
    for part in (order, order[:7], order[:1]):
        decision = chosen.decide(candidates[part])
        assert (decision.keep == whole.keep[part]).all()
        assert (decision.score == whole.score[part]).all()
        assert (decision.reason == whole.reason[part]).all()


@settings(max_examples=15)
@given(one=st.floats(0.05, 1), other=st.floats(0.05, 1))
def test_a_larger_share_keeps_all_that_a_smaller_one_keeps(one: float, other: float) -> None:
    less, more = (
        DomainSelector(plain(keep_share=share), min_images=5).fit(REAL).calibrate(DRAWN).decide(DRAWN).keep
        for share in sorted((one, other))
    )
    assert (more | ~less).all()


def test_the_selector_given_stays_as_it_is() -> None:
    judge = untrained_judge()
    given_one = CentroidSelector(judge)
    chosen = DomainSelector(given_one, min_images=5).fit(REAL)
    assert not given_one.state_
    assert all(selector.extractor is judge for selector in chosen.within_.values())
    assert chosen.extractor is judge
    assert chosen.extractors == [judge]


def test_weights_and_steps_pass_through() -> None:
    weighing = DomainSelector(GradientSelector(), min_images=5).fit(REAL).calibrate(DRAWN).decide(DRAWN)
    assert weighing.weight is not None
    assert weighing.weight.shape == (600,)
    steps = DomainSelector(Compose(LabelGuard(), plain()), min_images=5)
    assert steps.fit(REAL).calibrate(DRAWN).decide(DRAWN).keep.any()
    first = DomainSelector(plain(), min_images=5)
    both = Compose(first, plain(keep_share=0.5)).fit(REAL).calibrate(DRAWN).decide(DRAWN)
    assert both.keep.sum() == pytest.approx(150, abs=10)


@pytest.mark.parametrize("domains", ["column", 2])
def test_saved_equals_loaded(domains: Any, tmp_path: Path) -> None:
    chosen = DomainSelector(Compose(LabelGuard(), plain(keep_share=0.4)), domains, min_images=5)
    with pytest.raises(ConfigError, match="before save"):
        chosen.save(tmp_path / "none")
    chosen.fit(REAL).calibrate(DRAWN).save(tmp_path / "selector")
    loaded = load_selector(tmp_path / "selector")
    assert isinstance(loaded, DomainSelector)
    assert loaded.settings() == chosen.settings()
    assert loaded.notes() == chosen.notes()
    for told in (True, False):
        candidates = scanned(100, 9, told=told, spread=2)
        ours, theirs = chosen.decide(candidates), loaded.decide(candidates)
        assert (ours.keep == theirs.keep).all()
        assert np.array_equal(ours.score, theirs.score, equal_nan=True)
    assert (loaded.calibrate(DRAWN).decide(DRAWN).keep == chosen.decide(DRAWN).keep).all()
    with pytest.raises(ArtifactError, match="not to exist"):
        chosen.save(tmp_path / "selector")


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    folder = DomainSelector(plain(), min_images=5).fit(REAL).calibrate(DRAWN).save(tmp_path / "selector")
    about = (folder / "selector.json").read_text()
    fitted = load_file(folder / "domains.safetensors")
    for name in fitted:
        others = {key: value for key, value in fitted.items() if key != name}
        for hostile in (torch.zeros(1, 1, 1, 1), torch.zeros(2, dtype=torch.bfloat16), None):
            save_file(others if hostile is None else {**others, name: hostile}, folder / "domains.safetensors")
            with pytest.raises(ArtifactError, match="damaged"):
                load_selector(folder)
    for name, wrong in {
        "own": fitted["own"] + 2,
        "enough": ~fitted["enough"],
        "domains": fitted["domains"] * 0,
    }.items():
        save_file({**fitted, name: wrong}, folder / "domains.safetensors")
        if name != "enough":
            with pytest.raises(ArtifactError, match="damaged"):
                load_selector(folder)
    save_file(fitted, folder / "domains.safetensors")
    for old, new in (
        ('"min_images"', '"max_images"'),
        ('"domains": "column"', '"domains": [2]'),
        ("centroid", "label"),
    ):
        (folder / "selector.json").write_text(about.replace(old, new))
        with pytest.raises(ArtifactError, match="damaged"):
            load_selector(folder)
    (folder / "selector.json").write_text(about)
    (folder / "domain-1" / "selector.json").unlink()
    with pytest.raises(ArtifactError):
        load_selector(folder)


@pytest.mark.filterwarnings("ignore:no candidate of")
def test_a_pool_is_built_with_it() -> None:
    chosen = DomainSelector(CentroidSelector(untrained_judge()), 2, min_images=3)
    data = Pictures((30, 12, 9))
    pool = SyntheticPool.build(toy_synthesizer(), data, selector=chosen, progress=False, reserve=3)
    assert pool.candidates().kept.any()
    assert pool.about["selector"] == chosen.settings()
    assert chosen.domains_.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given_settings", "told"),
    [
        ({"domains": 1}, "domains of at least 2"),
        ({"domains": "site"}, "domains of at least 2"),
        ({"min_images": 1}, "min_images of at least 2"),
        ({"seed": -1}, "seed of at least 0"),
        ({"selector": CentroidSelector}, "a selector to fit in each domain, found <class"),
        ({"selector": DomainSelector(plain())}, "a selector to fit in each domain"),
    ],
)
def test_settings_that_cannot_work(given_settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        DomainSelector(**{"selector": plain(), **given_settings})


def test_calls_that_cannot_work() -> None:
    for use in ("calibrate", "decide", "domain_of", "report"):
        with pytest.raises(ConfigError, match=rf"expected fit\(\) before {use}"):
            getattr(DomainSelector(plain()), use)(REAL)
    with pytest.raises(ConfigError, match="real images with a column domain"):
        DomainSelector(plain()).fit(without_domain(REAL))
    with pytest.raises(ConfigError, match="expected 5 real images or more to cluster, found 4"):
        DomainSelector(plain(), 5).fit(REAL[:4])
    with pytest.raises(ConfigError, match="limits that are not set"):
        DomainSelector(plain(), min_images=5).fit(REAL).decide(DRAWN)
