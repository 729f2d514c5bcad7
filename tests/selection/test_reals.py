"""Instance selection: which real images are kept, and that a GAN can be trained on them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Subset

import gan_augment as ga
from gan_augment.errors import ConfigError
from gan_augment.features import CrossFittedExtractor, PixelExtractor
from gan_augment.selection import (
    CentroidSelector,
    HerdingSelector,
    LabelGuard,
    RealismSelector,
    choose_rows,
    select_reals,
)
from gan_augment.source import RawView
from tests.helpers import Pictures, untrained_judge, view

NAN = float("nan")


def odd_ones(counts: tuple[int, ...] = (40, 24, 6)) -> tuple[Pictures, list[int]]:
    """Pictures, of which some of the first class are inverted, and which those are."""
    data, odd = Pictures(counts), [3, 11, 27]
    data.pixels[odd] = 255 - data.pixels[odd]
    return data, odd


# -- the choice -------------------------------------------------------------------------------------------------------


def test_known_choices() -> None:
    scores, labels = np.array([3, 1, 2, 5, 4, NAN, 9], np.float32), np.array([0, 0, 0, 0, 0, 1, 1])
    assert choose_rows(scores, labels, 0.6, 0).tolist() == [True, True, True, False, False, True, True]
    assert choose_rows(scores, labels, 0.6, 4).tolist() == [True, True, True, False, True, True, True]
    assert choose_rows(scores, labels, 0.01, 0).tolist() == [False, True, False, False, False, True, True]
    assert choose_rows(scores, labels, 1, 0).all()
    assert choose_rows(scores, labels, 0.01, 100).all()


@given(
    scores=st.lists(st.floats(0, 10, width=16) | st.just(NAN), min_size=1, max_size=40),
    one=st.floats(0.01, 1), other=st.floats(0.01, 1), least=st.integers(0, 30),
)  # fmt: skip
def test_what_any_choice_keeps(scores: list[float], one: float, other: float, least: int) -> None:
    values, labels = np.array(scores, np.float32), np.arange(len(scores)) % 3
    less, more = (choose_rows(values, labels, share, least) for share in sorted((one, other)))
    assert (more | ~less).all()
    assert less[np.isnan(values)].all()
    for label in np.unique(labels):
        own = labels == label
        scored = own & ~np.isnan(values)
        assert less[own].sum() >= min(own.sum(), least)
        wanted = np.ceil(min(one, other) * scored.sum() - 1e-9)
        assert less[scored].sum() == min(scored.sum(), max(wanted, least - (own & ~scored).sum()))
        assert values[scored & less].max(initial=0) <= values[scored & ~less].min(initial=np.inf)


# -- of a dataset -----------------------------------------------------------------------------------------------------


def test_odd_images_are_left_out_and_shown_first() -> None:
    data, odd = odd_ones()
    chosen = select_reals(data, PixelExtractor(), keep_share=0.8, min_images=20, progress=False)
    assert sorted(chosen.dropped[:3].tolist()) == odd
    assert sorted([*chosen.rows, *chosen.dropped]) == list(range(70))
    assert (np.diff(chosen.rows) > 0).all()
    table = {row["class"]: row for row in chosen.table.rows}
    assert [(row["images"], row["kept"], row["dropped"]) for row in table.values()] == [
        (40, 32, 8),
        (24, 20, 4),
        (6, 6, 0),
    ]
    assert table["0"]["limit"] < chosen.scores[odd].min()
    assert table["2"]["limit"] is None
    assert (np.diff(chosen.scores[chosen.dropped]) <= 0).all()
    text = str(chosen)
    assert text.startswith("58 of 70 real images are kept.")
    assert text.count("\n") == 4
    saved = json.loads(json.dumps(chosen.to_json()))
    assert saved["dropped"][0]["row"] in odd
    assert saved["settings"]["selector"]["metric"] == "mahalanobis"


def test_the_rows_are_those_of_the_dataset() -> None:
    data, _ = odd_ones()
    chosen = select_reals(data, untrained_judge(), keep_share=0.5, min_images=5, progress=False)
    part, seen = Subset(data, chosen.rows.tolist()), view(data).subset(chosen.rows)
    assert [part[i][1] for i in range(len(part))] == seen.targets.tolist()
    gan = ga.fit(part, steps=2, min_images=2, progress=False)
    assert len(gan.fitted_on.images) == len(chosen.rows)
    again = select_reals(RawView(data, progress=False), untrained_judge(), keep_share=0.5, min_images=5)
    assert (again.rows == chosen.rows).all()


def test_any_selector_of_scores_will_do() -> None:
    data, odd = odd_ones()
    chosen = {
        type(selector).__name__: select_reals(data, None, selector, keep_share=0.8, min_images=20, progress=False)
        for selector in (CentroidSelector(PixelExtractor()), RealismSelector(PixelExtractor(), k=3))
    }
    for found in chosen.values():
        assert set(odd) <= set(found.dropped.tolist())
        assert len(found.rows) == 58


def test_a_group_does_not_vouch_for_its_own() -> None:
    """Twelve copies of one odd image vouch for each other, unless they are of one patient."""
    data = Pictures((60, 12))
    rng = np.random.default_rng(0)
    data.pixels[:12] = rng.integers(0, 255, (1, 1, 8, 8)) + rng.integers(0, 2, (12, 1, 8, 8))
    groups = [0] * 12 + list(range(1, 61))
    selector = RealismSelector(PixelExtractor(), k=3)
    alone = select_reals(data, None, selector, keep_share=0.8, min_images=10, progress=False)
    grouped = select_reals(data, None, selector, keep_share=0.8, min_images=10, groups=groups, progress=False)
    assert set(range(12)) <= set(grouped.dropped.tolist())
    assert not set(range(12)) <= set(alone.dropped.tolist())


def test_judges_of_another_order_of_classes_are_understood() -> None:
    data = Pictures((30, 12, 9))
    judges = CrossFittedExtractor.fit(data, folds=2, steps=30, batch_size=16, width=32, progress=False)
    chosen = select_reals(data, judges, LabelGuard(), keep_share=0.8, min_images=3, progress=False)
    assert len(chosen.rows) == 24 + 10 + 8
    assert chosen.settings["selector"]["name"] == "label"
    assert np.median(chosen.scores) < np.log(3)  # surer than a guess: columns are those of the classes


def test_what_cannot_work() -> None:
    data = Pictures()
    with pytest.raises(ConfigError, match="a selector that gives each image a score"):
        select_reals(data, untrained_judge(), HerdingSelector(), progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected an extractor"):
        select_reals(data, progress=False)
    with pytest.raises(ConfigError, match="expected an extractor"):
        select_reals(data, None, CentroidSelector(), progress=False)
    with pytest.raises(ConfigError, match=r"keep_share in \(0, 1\]"):
        select_reals(data, untrained_judge(), keep_share=0, progress=False)
    with pytest.raises(ConfigError, match=r"keep_share in \(0, 1\]"):
        select_reals(data, untrained_judge(), keep_share=(0.1, 0.9), progress=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="min_images of at least 0"):
        select_reals(data, untrained_judge(), min_images=-1, progress=False)
    with pytest.raises(ConfigError, match="judge of the dataset's classes"):
        select_reals(Pictures((9, 9, 9), classes=["a", "b", "c"]), untrained_judge(), progress=False)
