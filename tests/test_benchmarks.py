"""The long-tail benchmark: its sets, its arms, and that a run that was stopped goes on."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import common, longtail, longtail_table
from benchmarks.sets import CONFUSABLE, DEBIAN, load, long_tailed
from gan_augment.errors import ConfigError

TINY = longtail.Setting(
    images="digits", ratio=10.0, most=30, gan_steps=2, judge_steps=5, classifier_steps=4, flip=False
)


def hashes(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_long_tail_has_its_counts_and_shares_no_image(seed: int) -> None:
    train, unused, test = long_tailed(load("digits"), order="random", ratio=20, most=100, seed=seed)
    counts = np.bincount(train.targets, minlength=10)
    assert sorted(counts.tolist(), reverse=True) == [100, 72, 51, 37, 26, 19, 14, 10, 7, 5]
    assert (counts + np.bincount(unused.targets, minlength=10) == 100).all()
    parts = [hashes(part.images) for part in (train, unused, test)]
    assert all(not one & other for one, other in itertools.combinations(parts, 2))
    again, _, _ = long_tailed(load("digits"), order="random", ratio=20, most=100, seed=seed)
    assert np.array_equal(train.images, again.images)


def test_another_seed_draws_another_order() -> None:
    orders = [
        np.argsort(np.bincount(long_tailed(load("digits"), order="random", ratio=20, most=100, seed=s)[0].targets))
        for s in range(4)
    ]
    assert len({tuple(order) for order in orders}) > 1


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_confusable_tail_is_rare() -> None:
    train, _, test = long_tailed(load("FashionMNIST"), order="confusable", ratio=100, most=600, seed=3)
    counts = np.bincount(train.targets, minlength=10)
    ordered = [train.classes[label] for label in np.argsort(-counts)]
    assert tuple(ordered) == CONFUSABLE["FashionMNIST"]
    assert (counts.max(), counts.min(), len(test)) == (600, 6, 10_000)


def test_a_folder_is_a_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    images = load(str(tmp_path))
    assert images.classes == ("cat", "dog")
    assert images.train[0].shape == (12, 9, 9, 3)
    train, unused, test = long_tailed(images, order="random", ratio=3, most=6, seed=0)
    assert (len(train), len(unused), len(test)) == (8, 4, 12)
    assert train[0][0].shape == (3, 9, 9)


def test_unknown_sets_and_orders_are_refused() -> None:
    with pytest.raises(ConfigError, match="a class of torchvision"):
        load("NoSuchSet")
    with pytest.raises(ConfigError, match="order random"):
        long_tailed(load("digits"), order="confusable", ratio=10, most=30, seed=0)


def test_arms_have_names_of_their_own_and_grow() -> None:
    small, core, every = (longtail.arms_of(size) for size in ("small", "core", "all"))
    assert set(small) < set(core) < set(every)
    assert all(name == arm.name for name, arm in every.items())
    assert {"m2m", "ldam_drw", "deep_smote", "synthetic_only", "unused_reals"} <= set(every)


def test_seeds_are_read() -> None:
    assert longtail.seed_range("0-2,7") == [0, 1, 2, 7]


def test_replicates_run_go_on_and_make_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(longtail, "WORK", tmp_path / "work")
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for seed in (100, 101):
        longtail.run_replicate(TINY, seed, "small")
    files = sorted((tmp_path / "results" / "longtail").rglob("*.json"))
    assert len(files) == 2 * len(longtail.arms_of("small"))
    before = {path: path.stat().st_mtime_ns for path in files}
    gone = files[0]
    kept = json.loads(gone.read_text())
    gone.unlink()
    assert longtail.run_replicate(TINY, 100, "small").endswith("1 arms run")
    again = json.loads(gone.read_text())
    assert again["scores"] == kept["scores"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path != gone)
    longtail_table.write()
    text = (tmp_path / "results" / "longtail.md").read_text()
    assert "locked orders" in text
    assert "selected minus random" in text
    assert "nan" not in text
