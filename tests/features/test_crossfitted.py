"""CrossFittedExtractor: who has seen what, and folders that are damaged on purpose."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gan_augment.augmentation import Augmentation
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.features import CrossFittedExtractor
from gan_augment.features.crossfitted import _spread
from gan_augment.fingerprint import hash_groups
from gan_augment.pool import SyntheticPool
from gan_augment.selection import CentroidSelector
from gan_augment.source import RawView
from tests.conftest import untouched_rng
from tests.helpers import Pictures, set_in, toy_synthesizer, untrained_judge, view


def fitted(dataset: Any, **kept: Any) -> CrossFittedExtractor:
    return CrossFittedExtractor.fit(dataset, **{"steps": 3, "batch_size": 8, "width": 32, "progress": False, **kept})


@pytest.fixture(scope="module")
def judges() -> CrossFittedExtractor:
    return fitted(Pictures(), steps=20)


def test_of_each_fold_one_judge_has_seen_nothing_and_the_others_all() -> None:
    real = view(Pictures((12, 7, 2)))
    judges = fitted(real, folds=4)
    fold = judges.fold_of(real.hashes)
    assert len(judges.judges) == 4
    assert set(fold.tolist()) == {-1, 0, 1, 2, 3}
    assert (fold[real.targets == 2] == -1).all()
    for number, judge in enumerate(judges.judges):
        assert np.array_equal(judge.fitted_on.images, np.sort(real.hashes[fold != number]))
    assert np.array_equal(judges.fitted_on.images, np.sort(real.hashes))
    assert len({judge.fingerprint for judge in judges.judges}) == 4


def test_patients_stay_whole() -> None:
    groups = [f"patient {index // 2}" for index in range(19)]
    judges = fitted(Pictures(), groups=groups)
    real = view(Pictures(), groups=groups)
    fold = judges.fold_of(real.hashes)
    assert set(fold.tolist()) >= {0, 1, 2}
    for number, judge in enumerate(judges.judges):
        unseen = hash_groups(np.array(groups)[fold == number])
        assert not np.isin(unseen, judge.fitted_on.groups).any()
    assert np.array_equal(judges.fitted_on.groups, hash_groups(np.array(groups)))


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_shares_an_image_or_a_patient_has_one_fold(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(2, 12), min_size=2, max_size=4))
    base, count = Pictures(counts), data.draw(st.integers(2, 5))
    number = len(base)
    for _ in range(data.draw(st.integers(0, 6))):
        one, other = (data.draw(st.integers(0, number - 1)) for _ in range(2))
        base.pixels[one] = base.pixels[other]
    names = data.draw(st.none() | st.lists(st.integers(0, 9), min_size=number, max_size=number))
    real = RawView(base, groups=names, progress=False)
    fold = _spread(real, np.arange(number), count, seed=data.draw(st.integers(0, 9)))
    for bound in [real.hashes] if names is None else [real.hashes, np.array(names)]:
        for name in np.unique(bound):
            assert len(set(fold[bound == name].tolist())) == 1
    assert fold.min() >= -1
    assert fold.max() < count
    for left_out in range(count):
        assert np.bincount(real.targets[fold != left_out], minlength=len(counts)).min() >= 2


def test_without_groups_and_repeats_classes_are_spread_evenly() -> None:
    real = view(Pictures((30, 9, 6)))
    fold = _spread(real, np.arange(45), 3, seed=0)
    for label, count in enumerate((10, 3, 2)):
        assert np.bincount(fold[real.targets == label]).tolist() == [count] * 3


def test_a_real_image_is_judged_as_a_new_one() -> None:
    """Labels are coin flips: who has seen an image knows it, who has not can only guess."""
    rng = np.random.default_rng(0)
    base = Pictures((30, 30))
    base.targets = rng.permutation(base.targets).tolist()
    base.pixels[:] = rng.integers(0, 256, base.pixels.shape)
    still = Augmentation.none()
    judges = fitted(base, steps=120, batch_size=32, augmentation=still)
    real = view(base)
    assert judges.image_spec is not None
    images = real.images(spec=judges.image_spec)
    unseen, seen = judges.extract_fitted(images, real.hashes).probs, judges.extract(images).probs
    assert unseen is not None
    assert seen is not None
    assert (seen.argmax(1) == real.targets).mean() > 0.9
    assert (unseen.argmax(1) == real.targets).mean() < 0.7


def test_new_images_have_the_mean_and_known_ones_their_own_judge(judges: CrossFittedExtractor) -> None:
    real = view(Pictures())
    assert judges.image_spec is not None
    images = real.images(spec=judges.image_spec)
    parts = [judge.extract(images) for judge in judges.judges]
    probs = np.stack([part.probs for part in parts if part.probs is not None], axis=1)
    new, known = judges.extract(images), judges.extract_fitted(images, real.hashes)
    assert np.array_equal(new.features, np.stack([part.features for part in parts], axis=1))
    assert np.array_equal(known.features, new.features)
    assert new.probs == pytest.approx(probs.mean(1))
    assert new.entropy == pytest.approx(-(probs.mean(1) * np.log(probs.mean(1))).sum(1), abs=1e-5)
    assert known.fold is not None
    assert known.entropy is not None
    assert set(known.fold.tolist()) == {0, 1, 2}
    for row, fold in enumerate(known.fold):
        assert known.probs is not None
        assert np.array_equal(known.probs[row], probs[row, fold])
        assert known.entropy[row] == pytest.approx(-(probs[row, fold] * np.log(probs[row, fold])).sum(), abs=1e-5)
    with pytest.raises(ConfigError, match="a hash for each of 19 images, found 3"):
        judges.extract_fitted(images, real.hashes[:3])


def test_some_rows_only() -> None:
    real = view(Pictures())
    rows = np.flatnonzero(np.arange(19) % 4 != 0)
    judges = fitted(real, rows=rows)
    left = np.setdiff1d(np.arange(19), rows)
    assert np.array_equal(judges.fitted_on.images, np.sort(real.hashes[rows]))
    assert (judges.fold_of(real.hashes[left]) == -1).all()


def test_classes_too_small_for_folds_have_one_judge_of_all() -> None:
    real = view(Pictures((2, 2)))
    judges = fitted(real)
    assert len(judges.judges) == 1
    known = judges.extract_fitted(torch.zeros(4, 1, 8, 8), real.hashes)
    assert known.features.shape == (4, 1, 32)
    assert known.fold is not None
    assert (known.fold == -1).all()


def test_the_same_seed_gives_the_same_judges() -> None:
    base = Pictures()
    with untouched_rng():
        one = fitted(base)
    assert fitted(base).fingerprint == one.fingerprint
    assert fitted(base, seed=1).fingerprint != one.fingerprint
    assert fitted(base, folds=2).fingerprint != one.fingerprint


def test_limits_can_be_set_by_real_images(judges: CrossFittedExtractor) -> None:
    base = Pictures((40, 20, 20))
    judges = fitted(base, steps=20)
    pool = SyntheticPool.build(toy_synthesizer(), base, CentroidSelector(judges, real_share=0.9), progress=False)
    assert pool.about["fingerprint"]["extractor"] == judges.fingerprint
    assert pool.about["selector"]["real_share"] == 0.9


def test_what_cannot_be_cross_fitted(judges: CrossFittedExtractor) -> None:
    real, no_hash = view(Pictures()), np.empty(0, np.int64)
    for given_folds in (1, 101, 2.5):
        with pytest.raises(ConfigError, match="folds"):
            fitted(real, folds=given_folds)
    with pytest.raises(DataError, match="at least two classes"):
        fitted(Pictures((5,)))
    with pytest.raises(ConfigError, match="expected judges, found none"):
        CrossFittedExtractor([], no_hash, no_hash)
    with pytest.raises(ConfigError, match="found several kinds"):
        CrossFittedExtractor([untrained_judge(), untrained_judge(3)], no_hash, no_hash)
    with pytest.raises(ConfigError, match="folds from -1 to 2, found 3 to 3"):
        CrossFittedExtractor(judges.judges, np.array([5]), np.array([3]))
    with pytest.raises(ConfigError, match="distinct hashes"):
        CrossFittedExtractor(judges.judges, np.array([5, 5]), np.array([0, 1]))
    assert CrossFittedExtractor(judges.judges, no_hash, no_hash).fold_of(real.hashes).tolist() == [-1] * 19


# -- folders ----------------------------------------------------------------------------------------------------------


def in_folds(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return lambda folder: save_file(change(load_file(folder / "folds.safetensors")), folder / "folds.safetensors")


def other_judge(folder: Path) -> None:
    shutil.rmtree(folder / "judge-1")
    untrained_judge().save(folder / "judge-1")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "no folds": (lambda folder: (folder / "folds.safetensors").unlink(), "found no such file"),
    "a judge missing": (lambda folder: shutil.rmtree(folder / "judge-1"), "found no extractor.json"),
    "another judge": (other_judge, "found others; the folder is damaged|several kinds"),
    "too many judges": (set_in("judges", 10**9), "1 to 100 judges"),
    "judges are text": (set_in("judges", "three"), "1 to 100 judges"),
    "no judges": (set_in("judges", 0), "1 to 100 judges"),
    "a judge left out": (set_in("judges", 2), "damaged"),
    "newer": (set_in("version", 9), "newer release"),
    "another fingerprint": (set_in("fingerprint", "0"), "found others"),
    "folds swapped": (in_folds(lambda t: {**t, "fold": t["fold"].flip(0)}), "found others"),
    "folds cut": (in_folds(lambda t: {**t, "fold": t["fold"][:3].clone()}), "damaged"),
    "folds beyond": (in_folds(lambda t: {**t, "fold": t["fold"] + 5}), "damaged"),
    "folds are floats": (in_folds(lambda t: {**t, "fold": t["fold"].float()}), "hashes and folds"),
    "hashes twice": (in_folds(lambda t: {**t, "hashes": t["hashes"] * 0}), "damaged"),
    "hashes missing": (in_folds(lambda t: {"fold": t["fold"]}), "hashes and folds"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, judges: CrossFittedExtractor, damage: Callable[[Path], Any], told: str
) -> None:
    folder = judges.save(tmp_path / "judges")
    damage(folder)
    with pytest.raises(ArtifactError, match=told):
        CrossFittedExtractor.load(folder)


def test_loaded_they_know_the_same_images(tmp_path: Path, judges: CrossFittedExtractor) -> None:
    real = view(Pictures())
    again = CrossFittedExtractor.load(judges.save(tmp_path / "judges"))
    assert np.array_equal(again.fold_of(real.hashes), judges.fold_of(real.hashes))
    assert again.image_spec == judges.image_spec
    with pytest.raises(ArtifactError, match="not to exist yet"):
        judges.save(tmp_path / "judges")
