"""Pools built with selectors: weights, domains, reports, notes, several extractors, whole sets."""

from pathlib import Path

import numpy as np
import pytest

from gan_augment.errors import ConfigError
from gan_augment.features import CrossFittedExtractor
from gan_augment.pool import SyntheticPool
from gan_augment.selection import (
    CentroidSelector,
    Compose,
    DomainSelector,
    DuplicateGuard,
    GradientSelector,
    HerdingSelector,
    LabelGuard,
)
from tests.helpers import Pictures, toy_synthesizer

BASE = Pictures((40, 24, 3))


@pytest.fixture(scope="module")
def judges() -> CrossFittedExtractor:
    return CrossFittedExtractor.fit(BASE, folds=2, steps=30, batch_size=16, width=32, progress=False)


def build(selector: object, **settings: object) -> SyntheticPool:
    return SyntheticPool.build(toy_synthesizer(), BASE, selector, reserve=3, progress=False, **settings)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:no candidate of")
def test_weights_are_kept(judges: CrossFittedExtractor, tmp_path: Path) -> None:
    pool = build(GradientSelector(judges), out=tmp_path / "pool").candidates()
    assert ((pool.weights > 0) == pool.kept).all()
    assert pool.kept.any()
    opened = SyntheticPool.open(tmp_path / "pool").candidates()
    assert (opened.weights == pool.weights).all()
    assert (build(CentroidSelector(judges)).candidates().weights == 1).all()


def test_a_cross_fitted_judge_sets_limits_by_images_it_has_not_seen(judges: CrossFittedExtractor) -> None:
    pool = build(LabelGuard(judges))
    assert not any("CrossFittedExtractor" in note for note in pool.about["notes"])
    assert any("2" in note for note in pool.about["notes"])  # of the class of three images, by name
    assert len(pool) > 0


def test_sets_are_decided_at_once(judges: CrossFittedExtractor) -> None:
    pool = build(Compose(HerdingSelector(judges, keep_share=0.5), DuplicateGuard(judges, ratio=0.01))).candidates()
    counts = {row["class"]: (row["kept"], row["candidates"]) for row in pool.table()}
    assert all(kept <= -(-drawn // 2) for kept, drawn in counts.values())
    assert len(pool) > 0


def test_each_domain_has_limits_of_its_own(judges: CrossFittedExtractor, tmp_path: Path) -> None:
    domains = [("old", "new")[index % 2] for index in range(len(BASE))]
    chosen = DomainSelector(CentroidSelector(judges, agreement=None, real_share=0.9), min_images=5)
    pool = build(chosen, domains=domains, out=tmp_path / "pool")
    assert pool.about["domains"] == ["new", "old"]
    report = pool.about["domain_report"]
    assert sum(row["candidates"] for row in report) == len(pool.candidates())
    assert sum(row["kept"] for row in report) == len(pool)
    assert {row["domain"] for row in report} <= {0, 1, None}
    assert {row["decided_by"] for row in report if row["class"] == "2"} == {"all"}
    assert SyntheticPool.open(tmp_path / "pool").about["domain_report"] == report


def test_domains_are_of_each_item() -> None:
    with pytest.raises(ConfigError, match="expected domains= of each of the 67 items of like=, found 2"):
        build(None, domains=["a", "b"])


def test_the_same_candidates_whatever_selects(judges: CrossFittedExtractor) -> None:
    one, other = build(None).candidates(), build(LabelGuard(judges)).candidates()
    assert (one.seeds == other.seeds).all()
    assert all(np.array_equal(one.array(row), other.array(row)) for row in range(0, len(one), 7))
