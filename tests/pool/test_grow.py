"""Pools that grow, are put together, decided about anew, checked, and drawn again."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.pool import SyntheticPool
from gan_augment.pool.columns import COLUMNS
from gan_augment.pool.layout import files_of_part
from gan_augment.training import fit
from tests.helpers import Pictures, files_of, toy_judge, toy_synthesizer
from tests.pool.durable import BASE, build, extend, selector, synthesizer

COLUMN_NAMES = ("labels", "seeds", "scores", "kept", "reasons", "parents", "weights", "reviews")


def same(one: SyntheticPool, other: SyntheticPool) -> None:
    one, other = one.candidates(), other.candidates()
    assert one.classes == other.classes
    for name in COLUMN_NAMES:
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "scores"), name
    assert all((one.array(row) == other.array(row)).all() for row in range(0, len(one), 17))


# -- extend ---------------------------------------------------------------------------------------------------------


def test_a_pool_grows_without_a_file_being_rewritten(tmp_path: Path) -> None:
    before = build(tmp_path / "pool")
    files = files_of(tmp_path / "pool")
    grown = extend(tmp_path / "pool")
    after = files_of(tmp_path / "pool")
    assert {name: after[name] for name in files if name != "pool.json"} == {
        name: content for name, content in files.items() if name != "pool.json"
    }
    every = grown.candidates()
    assert len(every) == 1900
    assert every.counts == {0: 400, 1: 1000, 2: 500}
    assert len(np.unique(every.seeds)) == 1900
    assert grown.about["needed"] == {"cat": 400, "dog": 1000, "eel": 500}
    assert np.array_equal(every.labels[:1200], before.candidates().labels)
    assert (tmp_path / "pool" / "part-00001" / "images-00000.npy").exists()


def test_what_a_pool_keeps_is_not_needed_again() -> None:
    pool = build(None, "none", counts={"dog": 11}, reserve=1)  # 40, 9 and 5 images: 31 and 35 are missing
    grown = pool.extend(synthesizer(), BASE, reserve=1, progress=False)
    assert grown.counts == {1: 31, 2: 35}
    with pytest.raises(ConfigError, match="beyond what the pool holds, found none"):
        grown.extend(synthesizer(), BASE, reserve=1, progress=False)


def test_new_classes_come_last_whatever_their_place_in_the_dataset() -> None:
    pool = build(None, "none", counts={"dog": 11, "eel": 3})
    wider = Pictures((40, 4, 9, 5), "pil", classes=["cat", "cow", "dog", "eel"])
    drawer = toy_synthesizer(4, class_names=["cat", "cow", "dog", "eel"])
    grown = pool.extend(drawer, wider, counts={"cow": 7, "eel": 2}, reserve=1, progress=False)
    assert grown.classes == ["cat", "dog", "eel", "cow"]
    assert grown.values == [0, 2, 3, 1]
    assert {grown.classes[label]: number for label, number in grown.counts.items()} == {"dog": 11, "eel": 5, "cow": 7}
    wanted = {"cow": 9, "eel": 7}
    with pytest.warns(ga.DataMismatchWarning, match=r"built like another dataset \(54 items, 58 here\)"):
        mixed = ga.GANAugmentedDataset(wider, grown, sampling_strategy=wanted, synthetic_share=1.0, min_images=0)
    assert [mixed.origin(index).kind for index in range(len(wider), len(mixed))] == ["synthetic"] * 7
    brightness = {label: grown.images(grown.rows[grown.labels == label]).mean() for label in (1, 3)}
    assert brightness[3] < 0 < grown.images(grown.rows[-2:]).mean()  # a cow is dark, the last eels are bright


def test_a_seed_that_was_used_is_refused() -> None:
    gan = fit(BASE, "sngan", steps=1, min_images=2, progress=False)
    pool = build(None, "none", gan, counts={"dog": 11}, seed=3)
    with pytest.raises(ArtifactError, match="expected a seed of which the pool holds no rows, found 3"):
        pool.extend(gan, BASE, counts={"dog": 5}, seed=3, progress=False)
    assert len(pool.extend(gan, BASE, counts={"eel": 5}, seed=3, reserve=1, progress=False)) == 16


def test_images_of_another_form_are_refused(tmp_path: Path) -> None:
    build(tmp_path / "pool", "none", counts={"dog": 11})
    before = files_of(tmp_path)
    other = Pictures((9, 5, 4), "pil", size=12, classes=["cat", "dog", "eel"])
    with pytest.raises(DataError, match=r"shape \[8, 8\] against \(12, 12\)"):
        SyntheticPool.open(tmp_path / "pool").extend(synthesizer(), other, counts={"dog": 5}, progress=False)
    assert {name: content for name, content in files_of(tmp_path).items() if "part-00001" not in name} == before


# -- merge and save -------------------------------------------------------------------------------------------------


def test_pools_are_put_together_in_memory_and_in_a_folder(tmp_path: Path) -> None:
    first, second = build(tmp_path / "pool"), build(None, "none", counts={"eel": 300, "cat": 9}, seed=5)
    images = np.full((4, 8, 8), 200, np.uint8)
    drawn = SyntheticPool.from_arrays(images, ["fox", "dog", "fox", "fox"], classes=["dog", "fox"])
    with pytest.raises(DataError, match="kind pil against array"):
        SyntheticPool.merge([first, drawn])
    alone, written = SyntheticPool.merge([first, second]), SyntheticPool.merge([first, second], tmp_path / "both")
    same(alone, written)
    assert len(alone.candidates()) == 1509
    assert len(alone) == len(first) + 309
    assert alone.about["seed"] is None
    assert alone.about["fingerprint"]["synthesizer"]["weights"] == "unknown"
    assert isinstance(alone.about["fingerprint"]["selector"], str)
    assert written.check(progress=False) == 2 * len(COLUMNS) + 5 + 2 + 2 - 2
    same(pickle.loads(pickle.dumps(written)), alone)
    same(pickle.loads(pickle.dumps(alone)), alone)


def test_pools_of_arrays_are_written_and_opened(tmp_path: Path) -> None:
    images, masks = np.random.default_rng(0).integers(0, 99, (2, 5, 9, 7)).astype(np.int16)
    pool = SyntheticPool.from_arrays(images, list("abbab"), masks=masks)
    opened = SyntheticPool.open(pool.save(tmp_path / "pool", progress=False))
    same(pool, opened)
    assert opened.has_masks
    assert all((opened.mask(row) == masks[row]).all() for row in range(5))
    assert opened.fitted_on.images.tolist() == pool.fitted_on.images.tolist()
    with pytest.raises(ConfigError, match="images made elsewhere"):
        opened.verify(synthesizer())


def test_a_view_that_is_saved_keeps_its_rows(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool")
    chosen = pool.sample(20, seed=3)
    opened = SyntheticPool.open(chosen.save(tmp_path / "chosen", progress=False))
    assert np.array_equal(opened.rows, chosen.rows)
    assert len(opened.candidates()) == 1200
    told = set(opened.rejected().reasons)
    assert told == {"far from its class", "left out before"}
    assert set(opened.reasons) == {""}


def test_nothing_to_put_together() -> None:
    with pytest.raises(ConfigError, match="found none"):
        SyntheticPool.merge([])


def test_a_changed_file_is_not_copied(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "none")
    path = tmp_path / "pool" / "part-00000" / "images-00002.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"images-00002\.npy as it was written, found it changed"):
        pool.save(tmp_path / "copy", progress=False)
    assert not (tmp_path / "copy").exists()


# -- other decisions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rows", "set"])
def test_another_selector_decides_without_drawing(tmp_path: Path, kind: str) -> None:
    pool, before = build(tmp_path / "pool", "none"), files_of(tmp_path)
    chosen = selector(kind)
    view = pool.filter(chosen, BASE, progress=False)
    assert 0 < len(view) < len(pool)
    decided = build(None, kind)
    assert view.about["selector"] == decided.about["selector"]
    assert view.about["fingerprint"]["selector"] == decided.about["fingerprint"]["selector"]
    agree = view.candidates().kept == decided.candidates().kept
    assert agree.mean() > 0.9  # the limits are quantiles of other draws
    assert files_of(tmp_path) == before
    same(pickle.loads(pickle.dumps(view)), view)
    again = pool.candidates().filter(chosen, progress=False)  # fitted by now
    same(view, again)


def test_a_selector_narrows_a_view() -> None:
    pool = build(None, "rows")
    narrow = pool.filter(ga.CentroidSelector(agreement=False, keep_share=0.5), BASE, progress=False)
    assert set(narrow.rows) < set(pool.rows)
    assert "left out before" not in narrow.candidates().about["reasons"] or len(narrow) > 0
    assert not narrow.candidates().kept[~np.isin(np.arange(1200), pool.rows)].any()
    mask = pool.filter(pool.labels == 1)
    assert len(mask.filter(ga.CentroidSelector(agreement=False), BASE, progress=False)) > 0


def test_what_a_selector_has_seen_is_known() -> None:
    judge = toy_judge(BASE, steps=2)
    pool = build(None, "none", counts={"dog": 20})
    view = pool.filter(ga.CentroidSelector(judge), BASE, progress=False)
    assert len(view.fitted_on.images) >= len(BASE)
    assert view.about["fingerprint"]["extractor"] == judge.fingerprint
    with pytest.raises(ConfigError, match="expected a fitted selector"):
        pool.filter(ga.CentroidSelector(judge))


# -- checked --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in files_of_part(1200, 256, False) if name != "review.npy"])
def test_one_bit_is_found(tmp_path: Path, name: str) -> None:
    build(tmp_path / "pool")
    path = tmp_path / "pool" / "part-00000" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(
        ArtifactError, match=rf"found 1 that are not: part-00000/{name};|expected (label|reason) from 0"
    ):
        SyntheticPool.open(tmp_path / "pool").check(progress=False)


def test_reviews_may_change(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool")
    path = tmp_path / "pool" / "part-00000" / "review.npy"
    np.save(path, np.full(1200, 2, np.uint8))
    assert pool.check(progress=False) > 10
    assert set(SyntheticPool.open(tmp_path / "pool").reviews) == {2}


def test_a_pool_in_memory_has_no_checksums() -> None:
    with pytest.raises(ConfigError, match=r"found one in memory; write it with pool\.save"):
        build(None).check()


def test_the_page_of_the_format_names_what_is_there(tmp_path: Path) -> None:
    page = (Path(ga.__file__).parent / "pool" / "FORMAT.md").read_text()
    build(tmp_path / "pool", "rows")
    document = json.loads((tmp_path / "pool" / "pool.json").read_text())
    names = [*document, *(name for name in document["parts"][0]), *COLUMNS]
    missing = [name for name in names if name not in page]
    assert not missing
    assert f"version {document['version']}" in page
    for path in (tmp_path / "pool").rglob("*"):
        assert (
            path.is_dir()
            or path.name.replace("00002", "00001").replace("00003", "00001").replace("00004", "00001") in page
        ), path


# -- drawn again ----------------------------------------------------------------------------------------------------


def test_rows_are_drawn_again_bit_for_bit(tmp_path: Path) -> None:
    build(tmp_path / "pool")
    pool = extend(tmp_path / "pool")
    found = pool.verify(synthesizer(), sample=10**6, progress=False)
    assert (found.rows, found.identical, found.worst) == (1900, 1900, 0)
    assert found
    few = pool.verify(synthesizer(), sample=1, progress=False)
    assert 188 <= few.rows <= 256
    assert bool(few)


def test_parents_are_needed_to_draw_again(tmp_path: Path) -> None:
    gan = fit(BASE, "dagan", steps=2, min_images=2, out=tmp_path / "gan", progress=False)
    pool = build(tmp_path / "pool", "none", gan, counts={"dog": 300})
    assert pool.verify(gan, BASE, progress=False).identical == 300
    with pytest.raises(DataError, match="expected the dataset that the pool was built for"):
        pool.verify(gan, Pictures((40, 9, 5), "pil", seed=9, classes=["cat", "dog", "eel"]), progress=False)
    other = fit(BASE, "dagan", steps=2, min_images=2, seed=1, progress=False)
    with pytest.raises(ConfigError, match="expected rows that this synthesizer drew"):
        pool.verify(other, BASE, progress=False)
    pool = build(None, "none", counts={"dog": 300})
    found = pool.verify(synthesizer(0.5), progress=False)  # of a function no fingerprint is known
    assert not found
    assert len(found.different) == 300
    assert "300 rows drawn again: 0 identical" in str(found)
    both = SyntheticPool.merge([build(None, "none", gan, counts={"dog": 9}), pool])
    assert both.verify(gan, BASE, progress=False).untried == 0  # the function may be that gan


def test_another_machine_may_differ_by_a_level(tmp_path: Path) -> None:
    build(tmp_path / "pool", "none")

    def nearly(labels: Tensor, seeds: Tensor) -> Tensor:
        low, high = view_range()
        step = 2 / (high - low)
        return (
            synthesizer().sample(labels.numpy(), seeds.numpy()).images + 0.9 * step * (seeds % 2)[:, None, None, None]
        )

    def view_range() -> tuple[float, float]:
        spec = SyntheticPool.open(tmp_path / "pool").image_spec
        assert spec is not None
        return spec.low[0], spec.high[0]

    drawer = ga.wrap(nearly, num_classes=3, image_shape=(1, 8, 8))
    found = SyntheticPool.open(tmp_path / "pool").verify(drawer, sample=10**6, progress=False)
    assert found
    assert found.worst == 1
    assert 0 < found.close < found.rows == found.identical + found.close


def test_a_changed_image_is_found(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "none")
    shutil.copytree(tmp_path / "pool", tmp_path / "other")
    path = tmp_path / "other" / "part-00000" / "images-00001.npy"
    images = np.load(path)
    images[7, 0, 3, 3] ^= 128
    np.save(path, images)
    found = SyntheticPool.open(tmp_path / "other").verify(synthesizer(), sample=10**6, progress=False)
    assert found.different == [256 + 7]
    assert pool.verify(synthesizer(), sample=10**6, progress=False)


# -- the floor ------------------------------------------------------------------------------------------------------


class RefusesEels:
    extractor, whole_set = None, False

    def fit(self, real: Any) -> Any:
        return self

    def calibrate(self, drawn: Any) -> Any:
        return self

    def decide(self, candidates: Any) -> Any:
        keep = candidates.labels != 2
        return ga.Decision(keep, np.zeros(len(keep), np.float32), np.where(keep, "", "an eel"))

    def settings(self) -> dict[str, Any]:
        return {"name": "no eels"}

    def notes(self, classes: Any = None) -> list[str]:
        return []


def test_a_class_of_which_nothing_is_kept_is_not_drawn_for_ever() -> None:
    def ask(**settings: Any) -> SyntheticPool:
        return SyntheticPool.build(
            synthesizer(), BASE, RefusesEels(), counts={"dog": 300, "eel": 5000}, progress=False, **settings
        )

    with pytest.warns(ga.SmallClassWarning) as caught:
        pool = ask()
    assert pool.candidates().counts == {1: 600, 2: 128}
    assert pool.about["stopped"] == {"eel": {"kept": 0, "of": 128, "planned": 10000, "rejected": {"an eel": 128}}}
    told = [one for one in caught if one.category is ga.SmallClassWarning]
    words = str(told[0].message)
    assert "1.0% of the candidates of eel to be kept, found 0 of 128 in a first draw (most are an eel)" in words
    assert "instead of 10000" in words
    assert told[0].filename == __file__
    with pytest.warns(ga.SmallClassWarning, match="no candidate of eel was kept"):
        assert len(ask(floor=0, reserve=1.0).candidates()) == 5300


def test_licences_go_with_the_images() -> None:
    pool = build(None, licence="CC-BY-4.0")
    assert pool.about["licence"] == "CC-BY-4.0"
    assert build(None).about["licence"] is None
    assert SyntheticPool.merge([pool, build(None, seed=4)]).about["licence"] == "CC-BY-4.0; not known of one part"
    with pytest.raises(ConfigError, match="licence= as text"):
        build(None, licence=4)


def test_a_generator_on_torch_seeds_only_is_told_by_what_it_draws(tmp_path: Path) -> None:
    build(tmp_path / "pool", "none")
    with pytest.raises(ArtifactError, match="draws others now"):
        build(tmp_path / "pool", "none", synthesizer(0.9))
    assert torch.equal(build(tmp_path / "pool", "none").images([5]), build(None, "none").images([5]))


def test_an_export_that_comes_back_is_the_same_pool(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool").candidates()
    back = SyntheticPool.from_folder(pool.export(tmp_path / "images", progress=False), progress=False)
    assert (len(back), len(back.candidates())) == (len(build(tmp_path / "pool")), 1200)
    order = np.argsort(back.candidates().seeds)
    wanted = np.argsort(pool.seeds)
    for name in ("seeds", "scores", "kept", "reasons", "parents", "weights", "reviews"):
        assert np.array_equal(getattr(back.candidates(), name)[order], getattr(pool, name)[wanted]), name
    assert [back.classes[label] for label in back.labels[:1]] == [pool.classes[label] for label in pool.labels[:1]]
    assert back.form == pool.form
    merged = SyntheticPool.merge([pool, back])  # of one form
    assert len(merged.candidates()) == 2400
