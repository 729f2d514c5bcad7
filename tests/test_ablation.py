"""The ablation of generators: its measures have known answers, it goes on where it stopped, and its table adds up."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ablation, ablation_table, common
from benchmarks.samples import MEASURES, Measured, nobody, unused_images
from benchmarks.sets import load, long_tailed
from gan_augment.features import TrainedExtractor
from gan_augment.source import RawView


@pytest.fixture(scope="module")
def measured() -> Measured:
    train, unused, _ = long_tailed(load("digits"), order="random", ratio=4, most=40, seed=0)
    view, held = RawView(train, progress=False), RawView(unused, progress=False)
    oracle = TrainedExtractor.fit(view, steps=150, progress=False)
    rare = np.argsort(view.counts)[:3].tolist()
    return Measured(view, {label: unused_images(held, view, label, 20) for label in rare}, oracle)


def test_training_images_lie_at_no_distance_unless_they_are_the_parents(measured: Measured) -> None:
    rows = {label: measured.view.of_class(label) for label in measured.unused}
    images = {label: measured.view.images(own, spec=measured.view.spec()) for label, own in rows.items()}
    copies, children = measured(images, nobody(images)), measured(images, rows)
    assert set(next(iter(copies.values()))) == set(MEASURES)
    for label in images:
        assert copies[label]["distance"] == pytest.approx(0, abs=1e-4)
        assert children[label]["distance"] > 0.1
        assert copies[label]["agreement"] > 0.9


def test_one_image_again_and_again_has_no_variety(measured: Measured) -> None:
    same = {label: images[:1].repeat(20, 1, 1, 1) for label, images in measured.unused.items()}
    for label, found in measured(same, nobody(same)).items():
        whole = measured({label: measured.unused[label]}, nobody({label: measured.unused[label]}))[label]
        assert found["vendi"] == pytest.approx(1, abs=1e-3)
        assert found["spread"] == pytest.approx(0, abs=1e-6)
        assert whole["vendi"] > 2
        assert whole["spread"] > 0.1
        assert found["coverage"] < whole["coverage"] == 1


def test_a_run_goes_on_and_its_table_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(ablation.SETTING, images="digits", ratio=10.0, most=30, gan_steps=2, classifier_steps=3)
    monkeypatch.setattr(ablation, "SETTING", tiny)
    monkeypatch.setattr(ablation, "CLASSIFIERS", 1)
    monkeypatch.setattr(ablation, "SAMPLES", 12)
    monkeypatch.setattr(ablation, "ORACLE_STEPS", 5)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(ablation, "WORK", tmp_path / "runs" / "longtail")
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    for cached in (ablation._images, ablation.oracle):
        cached.cache_clear()
    ablation.run(seeds="0,1", orders="random", variants="dagan")
    files = sorted(tmp_path.glob("ablation/*/*.json"))
    assert [f"{path.parent.name}/{path.stem}" for path in files] == [
        "random-0/dagan", "random-0/reference", "random-1/dagan", "random-1/reference",
    ]  # fmt: skip
    written = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    ablation.run(seeds="0,1", orders="random", variants="dagan")
    assert files[0].exists()
    assert {path: path.stat().st_mtime_ns for path in files[1:]} == dict(list(written.items())[1:])
    gains = [
        json.loads(files[at].read_text())["arms"]["synthetic"]["balanced_accuracy"]
        - json.loads(files[at + 1].read_text())["arms"]["reals"]["balanced_accuracy"]
        for at in (0, 2)
    ]
    row = next(line for line in (tmp_path / "ablation.md").read_text().splitlines() if line.startswith("| dagan |"))
    assert "| 2 | " in row
    assert f"{100 * np.mean(gains):+.1f} [" in row
    ablation_table.write()
    for cached in (ablation._images, ablation.oracle):
        cached.cache_clear()
