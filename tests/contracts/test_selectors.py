"""What every selector must do; one in the registry is taken up by itself, others are a line in SELECTORS."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.pool import SyntheticPool
from gan_augment.selection import (
    SELECTORS as KINDS,
)
from gan_augment.selection import (
    CentroidSelector,
    Compose,
    CopyGuard,
    DiscriminatorSelector,
    DomainSelector,
    DuplicateGuard,
    GradientSelector,
    HerdingSelector,
    InformativenessSelector,
    KCenterSelector,
    LabelGuard,
    OutlierGuard,
    RealismSelector,
    load_selector,
)
from gan_augment.types import Candidates, Decision, Selector
from tests.helpers import Pictures, SeeingJudge, toy_synthesizer, untrained_judge

SELECTORS: dict[str, Callable[[], Selector]] = {
    **{name: functools.partial(kind, untrained_judge()) for name, kind in KINDS.items() if name != "discriminator"},
    "discriminator": lambda: DiscriminatorSelector(SeeingJudge()),
    "discriminator, highest": lambda: DiscriminatorSelector(SeeingJudge(), sampling=False, keep_share=0.3),
    "centroid, no agreement": lambda: CentroidSelector(untrained_judge(), keep_share=0.3, agreement=False),
    "centroid, no judge": lambda: CentroidSelector(keep_share=1),
    "centroid, real share": lambda: CentroidSelector(untrained_judge(), real_share=0.9, agreement=False),
    "centroid, band": lambda: CentroidSelector(keep_share=(0.2, 0.8)),
    "centroid, cosine": lambda: CentroidSelector(untrained_judge(), metric="cosine", agreement="centroid"),
    "centroid, mahalanobis": lambda: CentroidSelector(untrained_judge(), metric="mahalanobis", agreement="calibrated"),
    "centroid, entropy": lambda: CentroidSelector(untrained_judge(), entropy_share=0.8, centroids=2),
    "in domains": lambda: DomainSelector(CentroidSelector(untrained_judge()), 2, min_images=5),
    "sets in domains": lambda: DomainSelector(HerdingSelector(untrained_judge()), 2, min_images=5),
    "realism, few neighbours": lambda: RealismSelector(untrained_judge(), k=1, real_share=0.9),
    "informative, band": lambda: InformativenessSelector(untrained_judge(), criterion="loss", keep_share=(0.1, 0.6)),
    "informative, margin": lambda: InformativenessSelector(untrained_judge(), criterion="margin"),
    "copy, parents in": lambda: CopyGuard(untrained_judge(), parents="in", ratio=0.3),
    "gradient, the best": lambda: GradientSelector(untrained_judge(), keep_share=0.5),
    "outlier, share": lambda: OutlierGuard(untrained_judge(), keep_share=0.9),
    "k-center, anew": lambda: KCenterSelector(untrained_judge(), from_reals=False, keep_share=0.3),
    "composed": lambda: Compose(LabelGuard(untrained_judge()), CentroidSelector(untrained_judge())),
    "composed of sets": lambda: Compose(HerdingSelector(untrained_judge()), DuplicateGuard(untrained_judge())),
}


def seen(count: int, seed: int, spread: float = 1.0, classes: int = 3) -> Candidates:
    """Rows as an extractor with class probabilities and logits sees them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    features = (labels[:, None] * 3 + rng.normal(0, spread, (count, 6))).astype(np.float32)
    logits = rng.normal(0, 1, (count, 3)) + 2 * np.eye(classes)[labels][:, :3]
    probs = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
    entropy = (-(probs * np.log(probs)).sum(1)).astype(np.float32)
    judged = rng.normal(1 / spread, 1, count).astype(np.float32)
    return Candidates(features, labels, probs, entropy, judged, seeds=rng.permutation(count))


REAL, CALIBRATION = seen(90, 0), seen(200, 1, 2.0)


def drawn(seed: int = 2) -> Candidates:
    """Candidates of every kind: as real ones, copies of those, repetitions, and far from everything."""
    parts = [seen(70, seed, 2.0), REAL[:5], *[seen(4, seed + 1)] * 2, seen(5, seed + 2, 60.0)]
    every = Candidates.concatenate(parts)
    return Candidates(
        every.features, every.labels, every.probs, every.entropy, every.d_logits,
        seeds=np.random.default_rng(seed).permutation(len(every)), parents=np.full(len(every), -1),
    )  # fmt: skip


def assert_same(one: Decision, other: Decision) -> None:
    assert (one.keep == other.keep).all()
    assert np.array_equal(one.score, other.score, equal_nan=True)
    assert (one.reason == other.reason).all()
    if one.weight is not None and other.weight is not None:
        assert (one.weight == other.weight).all()


@pytest.fixture(params=SELECTORS.values(), ids=SELECTORS)
def make(request: pytest.FixtureRequest) -> Callable[[], Selector]:
    factory: Callable[[], Selector] = request.param
    return factory


def ready(make: Callable[[], Selector]) -> Selector:
    return make().fit(REAL).calibrate(CALIBRATION)


def test_it_is_a_selector(make: Callable[[], Selector]) -> None:
    selector = make()
    assert isinstance(selector, Selector)
    assert selector.fit(REAL) is selector
    assert selector.calibrate(CALIBRATION) is selector
    assert all(isinstance(note, str) for note in selector.notes(["a", "b", "c"]))


def test_settings_are_json_and_name_it(make: Callable[[], Selector]) -> None:
    settings = make().settings()
    assert json.loads(json.dumps(settings)) == settings
    assert isinstance(settings["name"], str)
    assert make().settings() == ready(make).settings()


def test_a_decision_has_a_row_for_each_candidate(make: Callable[[], Selector]) -> None:
    candidates = drawn()
    decision = ready(make).decide(candidates)
    count = len(candidates)
    assert decision.keep.shape == decision.score.shape == decision.reason.shape == (count,)
    assert (decision.keep.dtype, decision.score.dtype) == (np.bool_, np.float32)
    assert decision.reason.dtype.kind == "U"
    assert ((decision.reason == "") == decision.keep).all()
    assert decision.keep.any()
    assert not decision.keep.all()
    assert sum(decision.dropped().values()) == (~decision.keep).sum()
    if decision.weight is not None:
        assert decision.weight.shape == (count,)
        assert decision.weight.min() >= 0


def test_order_does_not_matter_nor_batches_unless_it_decides_over_a_set(make: Callable[[], Selector]) -> None:
    selector, candidates = ready(make), drawn()
    whole = selector.decide(candidates)
    order = np.random.default_rng(0).permutation(len(candidates))
    parts = [order] if selector.whole_set else [order, order[:1], order[:33], np.arange(0, len(order), 2)]
    for rows in parts:
        assert_same(selector.decide(candidates[rows]), whole[rows])


def test_deciding_changes_nothing(make: Callable[[], Selector]) -> None:
    selector, candidates = ready(make), drawn()
    first = selector.decide(candidates)
    selector.decide(drawn(30))
    assert_same(selector.decide(candidates), first)
    assert (candidates.features == drawn().features).all()


def test_the_same_fit_decides_the_same(make: Callable[[], Selector]) -> None:
    assert_same(ready(make).decide(drawn()), ready(make).decide(drawn()))


def test_no_candidates_are_no_decisions(make: Callable[[], Selector]) -> None:
    assert len(ready(make).decide(drawn()[:0]).keep) == 0


def test_a_class_of_one_image_does_not_stop_it(make: Callable[[], Selector]) -> None:
    lonely = Candidates.concatenate([REAL, REAL[:1]])
    labels = np.concatenate([REAL.labels, [3]])
    probs = np.full((91, 4), 0.25, np.float32)
    real = Candidates(lonely.features, labels, probs, lonely.entropy, lonely.d_logits, seeds=lonely.seeds)
    decision = make().fit(real).calibrate(real).decide(real)
    assert len(decision.keep) == 91


@pytest.mark.filterwarnings("error")
def test_two_images_of_two_classes_do_not_stop_it(make: Callable[[], Selector]) -> None:
    two = np.array([np.flatnonzero(REAL.labels == label)[0] for label in (0, 1)])
    decision = make().fit(REAL[two]).calibrate(CALIBRATION).decide(drawn())
    assert not decision.keep[drawn().labels == 2].any()


def test_a_class_without_reals_is_never_kept(make: Callable[[], Selector]) -> None:
    candidates = drawn()
    other = Candidates(
        candidates.features, np.full(len(candidates), 5), candidates.probs, candidates.entropy, candidates.d_logits,
        seeds=candidates.seeds,
    )  # fmt: skip
    decision = ready(make).decide(other)
    assert not decision.keep.any()
    assert "" not in decision.reason


def test_reals_that_cannot_be_used_are_told(make: Callable[[], Selector]) -> None:
    with pytest.raises(DataError, match="real images"):
        make().fit(REAL[:0])
    broken = seen(90, 0)
    broken.features[3, 2] = np.nan
    with pytest.raises(DataError, match="expected finite features of real images"):
        make().fit(broken)


def test_several_judges_decide_together(make: Callable[[], Selector]) -> None:
    """Features of a cross-fitted extractor, whose judges all see the same here, decide nearly as one judge's do."""

    def crossed(rows: Candidates, fold: bool = False) -> Candidates:
        features = np.stack([rows.features] * 3, 1)
        folds = np.arange(len(rows)) % 3 if fold else None
        return Candidates(
            features, rows.labels, rows.probs, rows.entropy, rows.d_logits,
            seeds=rows.seeds, parents=rows.parents, fold=folds,
        )  # fmt: skip

    selector = make().fit(crossed(REAL, fold=True)).calibrate(crossed(CALIBRATION))
    decision = selector.decide(crossed(drawn()))
    one = ready(make).decide(drawn())
    assert (decision.keep == one.keep).mean() > 0.8


@pytest.mark.filterwarnings("ignore:no candidate of")
def test_a_pool_is_built_with_it(make: Callable[[], Selector]) -> None:
    pools = [
        SyntheticPool.build(toy_synthesizer(), Pictures(), selector=make(), progress=False, reserve=3).candidates()
        for _ in range(2)
    ]
    assert len(pools[0]) == 51
    assert (pools[0].kept == pools[1].kept).all()
    assert pools[0].about["selector"] == make().settings()
    assert isinstance(pools[0].about["notes"], list)


def test_saved_equals_loaded(make: Callable[[], Selector], tmp_path: Path) -> None:
    selector = ready(make)
    folder = selector.save(tmp_path / "selector")
    assert folder == tmp_path / "selector"
    loaded = load_selector(folder, selector.extractor)
    assert loaded.settings() == selector.settings()
    assert loaded.notes(["a", "b", "c"]) == selector.notes(["a", "b", "c"])
    assert_same(loaded.decide(drawn(7)), selector.decide(drawn(7)))
    with pytest.raises(ArtifactError, match="not to exist"):
        selector.save(folder)
    with pytest.raises(ConfigError, match="before save"):
        make().save(tmp_path / "unfitted")


def test_a_damaged_folder_is_refused(make: Callable[[], Selector], tmp_path: Path) -> None:
    selector = ready(make)
    if isinstance(selector, (Compose, DomainSelector)):
        pytest.skip("its steps are what can be damaged")
    folder = selector.save(tmp_path / "selector")
    described = json.loads((folder / "selector.json").read_text())
    fitted = load_file(folder / "fitted.safetensors")
    for name in fitted:
        cut = {**fitted, name: torch.zeros(1, 1, 1, 1)}
        save_file(cut, folder / "fitted.safetensors")
        with pytest.raises(ArtifactError, match="damaged"):
            load_selector(folder)
        save_file({key: value for key, value in fitted.items() if key != name}, folder / "fitted.safetensors")
        with pytest.raises(ArtifactError, match="damaged"):
            load_selector(folder)
    save_file(fitted, folder / "fitted.safetensors")
    (folder / "selector.json").write_text(json.dumps({**described, "settings": {**described["settings"], "more": 1}}))
    with pytest.raises(ArtifactError, match="damaged"):
        load_selector(folder)
