"""Building a pool: what is drawn, what is decided, and that a folder appears whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch

from gan_augment.errors import ArtifactError, ConfigError, StorageError, SynthesizerError
from gan_augment.images import as_channels, batch_rows
from gan_augment.pool import SyntheticPool
from gan_augment.pool.layout import files_of_part
from gan_augment.selection import CentroidSelector
from gan_augment.synthesizers import wrap
from gan_augment.training import fit
from gan_augment.types import Candidates, Decision
from tests.helpers import (
    Pictures,
    draw_by_seed,
    files_of,
    run_python,
    toy_judge,
    toy_synthesizer,
    untrained_judge,
    view,
)


def build(synthesizer: Any = None, like: Any = None, **settings: Any) -> SyntheticPool:
    like = Pictures() if like is None else like
    return SyntheticPool.build(synthesizer or toy_synthesizer(), like, progress=False, **settings)


# -- what is drawn ----------------------------------------------------------------------------------------------------


def test_counts_follow_the_strategy_and_the_reserve() -> None:
    pool = build(reserve=1.5)  # 12, 4 and 3 images: 8 and 9 are missing
    assert pool.counts == {1: 12, 2: 14}
    assert pool.about["needed"] == {"1": 8, "2": 9}
    assert (pool.labels == np.sort(pool.labels)).all()


def test_counts_by_label_and_by_name() -> None:
    named = Pictures(classes=["cat", "dog", "eel"])
    assert build(like=named, counts={0: 5, "eel": 2}, reserve=1).counts == {0: 5, 2: 2}
    sparse = Pictures(labels=[3, 7, 9])
    assert build(like=sparse, counts={7: 4}, reserve=2).counts == {1: 8}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"counts": {5: 3}}, "expected one of the classes 0, 1, 2 in counts=, found 5"),
        ({"counts": {}}, "found none"),
        ({"counts": {1: 0}}, "found none"),
        ({"counts": {1: -2}}, "sampling_strategy"),
        ({"reserve": 0.9}, "at least 1"),
        ({"reserve": float("nan")}, "at least 1"),
        ({"reserve": float("inf")}, "at least 1"),
        ({"sampling_strategy": "most"}, "sampling_strategy"),
    ],
)
def test_parameters_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        build(**settings)


def test_rows_of_a_class_do_not_depend_on_the_other_classes() -> None:
    alone, together = build(counts={2: 5}, reserve=1), build(counts={1: 30, 2: 5}, reserve=1)
    assert (together.seeds[together.labels == 2] == alone.seeds).all()
    rows = together.rows[together.labels == 2]
    assert torch.allclose(together.images(rows), alone.images(), atol=1 / 100)


def test_another_seed_draws_other_rows() -> None:
    first, second = build(seed=0), build(seed=1)
    assert not np.intersect1d(first.seeds, second.seeds).size
    assert len(np.unique(first.seeds)) == len(first)


def test_rows_drawn_again_from_their_seeds_are_the_stored_ones(tmp_path: Path) -> None:
    synthesizer, like = toy_synthesizer(), Pictures((300, 4, 3), "pil")
    pool = build(synthesizer, like, out=tmp_path / "pool", reserve=1)
    assert len(pool) > 2 * batch_rows((8, 8))
    spec = pool.image_spec
    assert spec is not None
    for row in (0, 1, batch_rows((8, 8)), len(pool) - 1):
        drawn = synthesizer.sample([pool.labels[row]], [pool.seeds[row]]).images
        difference = np.abs(spec.encode(drawn)[0].astype(int) - pool.array(row).astype(int))
        assert difference.max() <= 1  # rounding of one unit, were the batch to change the last bit


def test_chunks_are_padded_so_that_the_batch_is_always_the_same() -> None:
    def depends_on_the_batch(labels: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        sizes.append(len(labels))
        return draw_by_seed(labels, seeds) + len(labels) * 1e-3

    sizes: list[int] = []
    synthesizer = wrap(depends_on_the_batch, num_classes=3, image_shape=(1, 8, 8))
    few = build(synthesizer, counts={1: 3}, reserve=1)
    many = build(synthesizer, counts={1: batch_rows((8, 8)) + 40}, reserve=1)
    assert sizes.count(1) == 2  # one sample a pool, to see its shape
    assert set(sizes) == {1, 2, 64}  # 2 where the first call looks whether the label matters
    assert all((few.array(row) == many.array(row)).all() for row in range(3))


def test_stored_images_lie_where_the_generator_drew_them() -> None:
    like = Pictures()
    low, high = view(like).value_range
    pool = build(like=like, counts={0: 3, 2: 3}, reserve=1)
    means = pool.images().flatten(1).mean(1)
    assert means[:3] == pytest.approx(-0.7, abs=0.12)
    assert means[3:] == pytest.approx(0.7, abs=0.12)
    assert pool.array(0).dtype == np.float32
    assert low[0] <= pool.array(0).min() < pool.array(5).max() <= high[0]


def test_numpy_numbers_are_stored_as_json(tmp_path: Path) -> None:
    build(out=tmp_path / "pool", seed=np.int64(3), reserve=np.float32(1.5), counts={np.int64(1): np.int64(4)})
    about = SyntheticPool.open(tmp_path / "pool").about
    assert (about["seed"], about["reserve"], about["rows"]) == (3, 1.5, 6)


_AGAIN = """
import sys
import gan_augment as ga
from tests.helpers import Pictures
base = Pictures((40, 9, 5), "pil")
gan = ga.load(sys.argv[1]).bind(base)
judge = ga.TrainedExtractor.load(sys.argv[2])
ga.SyntheticPool.build(gan, base, selector=ga.CentroidSelector(judge), reserve=5, out=sys.argv[3], seed=4, floor=0)
"""


def test_the_same_seed_in_two_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    base = Pictures((40, 9, 5), "pil")
    gan = fit(base, "dagan", steps=3, min_images=2, out=tmp_path / "gan", progress=False)
    judge = toy_judge(base)
    judge.save(tmp_path / "judge")
    torch.manual_seed(7)  # what a process did before does not matter
    build(gan, base, selector=CentroidSelector(judge), reserve=5, out=tmp_path / "one", seed=4, floor=0)
    done = run_python(_AGAIN, tmp_path / "gan", tmp_path / "judge", tmp_path / "two", env={"PYTHONHASHSEED": "5"})
    assert done.returncode == 0, done.stderr
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    part = SyntheticPool.open(tmp_path / "one").about["parts"][0]
    files = files_of_part(part["rows"], part["shard_rows"], masks=False)
    assert sorted(one) == [*(f"part-00000/{name}" for name in sorted(files)), "pool.json"]
    assert one == two
    pool = SyntheticPool.open(tmp_path / "one")
    assert not pool.candidates().kept.all()
    parents = pool.candidates().parents
    assert (np.array(base.targets)[parents] == pool.candidates().labels).all()


# -- who draws --------------------------------------------------------------------------------------------------------


def test_a_lacking_class_is_refused_by_name(tmp_path: Path) -> None:
    like = Pictures(classes=["cat", "dog", "eel"])
    synthesizer = toy_synthesizer(2, class_names=["dog", "cat"])
    with pytest.raises(SynthesizerError, match=r"lacks eel \(it has dog, cat\)"):
        build(synthesizer, like, out=tmp_path / "pool")
    assert list(tmp_path.iterdir()) == []
    assert build(synthesizer, like, counts={"dog": 2}, reserve=1).counts == {1: 2}
    with pytest.raises(SynthesizerError, match=r"the dataset's 3 classes, .* found 2 without names"):
        build(toy_synthesizer(2), like)


def test_classes_in_another_order_are_matched_by_name() -> None:
    like = Pictures(classes=["cat", "dog", "eel"])
    pool = build(toy_synthesizer(class_names=["eel", "dog", "cat"]), like, counts={"cat": 4, "eel": 4}, reserve=1)
    means = pool.images().flatten(1).mean(1)
    assert pool.classes == ["cat", "dog", "eel"]
    assert (means[pool.labels == 0] > 0.5).all()  # the generator's third class is its brightest: its "cat"
    assert (means[pool.labels == 2] < -0.5).all()


def test_an_rgb_generator_on_grey_images_and_the_reverse() -> None:
    grey = build(toy_synthesizer(shape=(3, 8, 8)), Pictures(kind="array"), counts={1: 2}, reserve=1)
    assert grey.array(0).shape == (1, 8, 8)
    drawn = toy_synthesizer(shape=(3, 8, 8)).sample([1], grey.seeds[:1]).images
    spec = grey.image_spec
    assert spec is not None
    assert (spec.encode(as_channels(drawn, 1))[0] == grey.array(0)).all()
    colour = build(toy_synthesizer(), Pictures(kind="array", channels=3), counts={1: 2}, reserve=1)
    assert colour.raw(0).shape == (8, 8, 3)
    levels = colour.images()[0]
    assert torch.allclose(levels[0], levels[2], atol=0.02)
    with pytest.raises(SynthesizerError, match="expected samples of 3 channels as in the dataset, found 2"):
        build(toy_synthesizer(shape=(2, 8, 8)), Pictures(channels=3))


def test_another_grid_is_resized_to_the_datasets_size() -> None:
    pool = build(toy_synthesizer(shape=(1, 16, 16)), Pictures(kind="pil", size=12), counts={2: 2}, reserve=1)
    assert pool.array(0).shape == (1, 12, 12)
    assert pool.raw(0).size == (12, 12)


def test_volumes_are_refused_for_a_dataset_of_pictures() -> None:
    with pytest.raises(SynthesizerError, match=r"2 spatial dimensions as in the dataset, found \(1, 1, 8, 8, 8\)"):
        build(toy_synthesizer(shape=(1, 8, 8, 8)))


@pytest.mark.filterwarnings("ignore:the synthesizer was fitted on")
def test_a_gan_fitted_on_another_dtype_is_refused() -> None:
    gan = fit(Pictures(kind="array"), "sngan", steps=1, min_images=2, progress=False)
    with pytest.raises(SynthesizerError, match="dtype uint8 against float32"):
        build(gan, Pictures(kind="tensor"))


# -- who decides ------------------------------------------------------------------------------------------------------


def test_all_candidates_are_stored_with_what_was_decided(tmp_path: Path) -> None:
    base = Pictures((40, 20, 20))
    selector = CentroidSelector(toy_judge(base), keep_share=0.5)
    pool = build(like=base, selector=selector, out=tmp_path / "pool", reserve=4)
    every = pool.candidates()
    assert len(every) == 160
    assert 0 < len(pool) < len(every)
    assert every.kept.sum() == len(pool)
    assert (every.reasons == "").tolist() == every.kept.tolist()
    assert np.isfinite(every.scores).all()
    table = {row["class"]: row for row in pool.table()}
    for row in table.values():
        assert row["candidates"] == row["kept"] + sum(row["rejected"].values())
    assert table["0"]["candidates"] == 0
    assert pool.about["selector"] == selector.settings()


def test_decisions_agree_with_the_selector_on_the_stored_images() -> None:
    base = Pictures((40, 20, 20), "pil")
    selector = CentroidSelector(toy_judge(base), keep_share=0.3)
    pool = build(like=base, selector=selector, reserve=4).candidates()
    assert selector.extractor is not None
    seen = selector.extractor.extract(pool.images())
    assert selector.scores(seen.features, pool.labels) == pytest.approx(pool.scores, rel=1e-4, abs=1e-4)


def test_the_judges_classes_are_matched_by_name() -> None:
    base = Pictures((40, 20, 20), classes=["cat", "dog", "eel"])
    turned = Pictures((40, 20, 20), classes=["cat", "dog", "eel"])
    turned.classes = ["eel", "dog", "cat"]
    turned.targets = [2 - label for label in turned.targets]  # the same images under the same names
    pool = build(like=base, selector=CentroidSelector(toy_judge(turned), keep_share=1.0))
    assert pool.kept.sum() >= 0.8 * len(pool.candidates())


def test_a_judge_of_other_classes_or_images_is_refused() -> None:
    judge = toy_judge(Pictures((9, 9), classes=["cat", "dog"]), steps=1)
    with pytest.raises(ConfigError, match="lacks eel"):
        build(like=Pictures(classes=["cat", "dog", "eel"]), selector=CentroidSelector(judge))
    judge = toy_judge(Pictures(channels=3), steps=1)
    with pytest.raises(ConfigError, match="channels 3 against 1"):
        build(selector=CentroidSelector(judge))


class Recording:
    """A selector of the user's own that keeps every other row."""

    extractor = None
    whole_set = False

    def __init__(self) -> None:
        self.real: list[Candidates] = []
        self.calibration: list[Candidates] = []
        self.decided: list[Candidates] = []

    def fit(self, real: Candidates) -> Self:
        self.real.append(real)
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        self.calibration.append(drawn)
        return self

    def decide(self, candidates: Candidates) -> Decision:
        self.decided.append(candidates)
        keep = np.arange(len(candidates)) % 2 == 0
        return Decision(keep, np.zeros(len(keep), np.float32), np.where(keep, "", "odd"))

    def settings(self) -> dict[str, Any]:
        return {"name": "recording"}

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        return [f"no {name} is odd" for name in classes or ()]


def test_a_selector_is_fitted_on_reals_and_calibrated_on_a_draw_of_its_own() -> None:
    base, selector = Pictures(), Recording()
    pool = build(like=base, selector=selector, counts={1: 200, 2: 100}, reserve=1)
    assert len(selector.real) == len(selector.calibration) == 1
    assert selector.real[0].labels.tolist() == base.targets
    calibration, decided = selector.calibration[0], Candidates.concatenate(selector.decided[1:])
    assert selector.decided[0] is calibration  # whether enough is kept is asked before all is drawn
    assert calibration.seeds is not None
    assert decided.seeds is not None
    assert set(calibration.labels) == {1, 2}
    assert not np.intersect1d(calibration.seeds, decided.seeds).size
    assert (decided.seeds == pool.candidates().seeds).all()
    assert (decided.labels == pool.candidates().labels).all()
    assert torch.allclose(torch.from_numpy(decided.features), pool.candidates().images().flatten(1))
    assert len(pool) == 150


def test_a_selector_without_extractor_sees_pixels() -> None:
    pool = build(selector=CentroidSelector(keep_share=0.5), reserve=4)
    kept = pool.counts
    assert set(kept) == {1, 2}
    assert all(0 < number < 40 for number in kept.values())


# -- whole or not at all ----------------------------------------------------------------------------------------------


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    build(out=tmp_path / "pool")  # an empty folder may be filled
    before = files_of(tmp_path)
    with pytest.raises(ArtifactError, match=r"not to exist yet, or to be the same pool.*seed 1 against 0;"):
        build(out=tmp_path / "pool", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(ArtifactError, match="not to exist yet, found something there"):
        build(out=tmp_path / "mine")
    (tmp_path / "mine" / "thesis.txt").unlink()
    (tmp_path / "mine").rmdir()
    assert files_of(tmp_path) == before


def test_a_generator_that_fails_before_anything_is_finished_leaves_nothing(tmp_path: Path) -> None:
    def fails(labels: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        calls.append(len(labels))
        if len(calls) > 3:
            raise ZeroDivisionError
        return draw_by_seed(labels, seeds)

    calls: list[int] = []
    with pytest.raises(ZeroDivisionError):
        build(wrap(fails, num_classes=3, image_shape=(1, 8, 8)), out=tmp_path / "a" / "pool", counts={1: 600})
    assert list((tmp_path / "a").iterdir()) == []


def test_a_write_that_is_refused_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write") as refused:
        build(out=tmp_path / "file" / "pool")
    assert isinstance(refused.value, OSError)


def test_the_judge_of_a_class_that_was_never_drawn_is_not_asked() -> None:
    pool = build(like=Pictures((12, 4, 3)), selector=CentroidSelector(untrained_judge(), agreement=False, keep_share=1))
    assert set(pool.candidates().counts) == {1, 2}
