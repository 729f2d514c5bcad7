"""The base of selectors: cross-fitting, what comes in, what comes out of a file, memory."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

import gan_augment.selection.rows as rows_module
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.selection import CentroidSelector, LabelGuard
from gan_augment.types import Candidates
from tests.helpers import run_python


def rows(features: Any, labels: Any, **columns: Any) -> Candidates:
    return Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64), **columns)


def plain(**settings: Any) -> CentroidSelector:
    return CentroidSelector(agreement=None, **settings)


# -- cross-fitting ----------------------------------------------------------------------------------------------------


def test_a_real_image_is_scored_without_itself_and_its_group() -> None:
    """A far image pulls the centroid it is scored by, unless it is left out; so does the rest of its patient."""
    rng = np.random.default_rng(0)
    features, groups = rng.normal(0, 1, (40, 2)), np.arange(40) // 2
    features[:2] += 1000
    apart = plain().real_scores(rows(features, np.zeros(40), groups=groups))
    assert apart[:2] == pytest.approx(np.hypot(1000, 1000), rel=0.01)
    together = plain().real_scores(rows(features, np.zeros(40)))
    assert together[:2].max() < 0.98 * np.hypot(1000, 1000)


def test_each_judge_scores_what_it_has_not_seen() -> None:
    """Judge k sees images of fold k at distance k + 1 from all others, and all images elsewhere at 0."""
    fold = np.arange(30) % 3
    features = np.zeros((30, 3, 2))
    features[np.arange(30), fold, 0] = fold + 1
    real = rows(features, np.zeros(30), fold=fold)
    selector = plain(real_share=0.9).fit(real)
    assert selector.state_["scales"].tolist() == [1, 2, 3]
    assert (selector.real_scores(real) == 1).all()  # each in the measure of its own judge
    assert selector.decide(rows([[[3, 0], [2, 0], [0, 0]]], [0])).score.tolist() == pytest.approx([(3 + 1 + 0) / 3])


def test_a_class_that_lies_in_one_fold_alone_is_learned_from_and_not_scored() -> None:
    fold = np.array([0] * 10 + [1] * 10 + [0] * 4)
    labels = np.array([0] * 20 + [1] * 4)
    features = np.random.default_rng(0).normal(0, 1, (24, 2, 3)) + 9 * labels[:, None, None]
    real = rows(features, labels, fold=fold)
    selector = plain(real_share=0.9).fit(real)
    scores = selector.real_scores(real)
    assert np.isnan(scores[20:]).all()
    assert np.isfinite(scores[:20]).all()
    assert selector.decide(rows(np.full((1, 2, 3), 900), [1])).keep.all()
    assert "too few real images to decide, all candidates pass: 1" in "".join(selector.notes())
    near = selector.decide(real[20:]).score
    assert np.isfinite(near).all()
    assert near.max() < 10


def test_judges_whose_folds_are_not_known() -> None:
    real = rows(np.random.default_rng(0).normal(0, 1, (40, 3, 2)), np.arange(40) % 2)
    selector = plain(real_share=0.9).fit(real)
    assert selector.state_["scales"].shape == (3,)
    assert selector.decide(real).keep.mean() > 0.8


@pytest.mark.parametrize(
    ("real", "told"),
    [
        (rows([[0, 0]], [-1]), "labels of real images from 0, found -1"),
        (rows(np.zeros((2, 2, 2)), [0, 0], fold=np.array([0, 2])), "folds from -1 to 1 .* found 0 to 2"),
        (rows(np.zeros((3, 2)), [0, 0]), r"of 2 images, found \(3, 2\)"),
        (rows(np.zeros(2), [0, 0]), r"of 2 images, found \(2,\)"),
    ],
)
def test_reals_that_cannot_be_used(real: Candidates, told: str) -> None:
    for use in (plain().fit, plain().real_scores):
        with pytest.raises(DataError, match=told):
            use(real)


# -- arrays, tensors and lists ----------------------------------------------------------------------------------------


def test_what_arrays_may_be() -> None:
    selector = plain().fit(rows([[0, 0], [0, 2]], [0, 0]))
    features, labels = [[0.0, 2.0], [3.0, 1.0], [0.0, 1.5]], [0, 0, 0]
    wanted = [1, 3, 0.5]
    assert selector.scores(features, labels).tolist() == wanted  # type: ignore[type-var]
    assert selector.scores(np.array(features), np.array(labels)).tolist() == wanted
    assert selector.scores(np.array(features), np.array(labels)[:, None]).tolist() == wanted  # as MedMNIST has them
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        found = selector.scores(torch.tensor(features, dtype=dtype, requires_grad=True), torch.tensor(labels))
        assert isinstance(found, torch.Tensor)
        assert found.tolist() == wanted
    kept = selector.keep(torch.tensor(features), torch.tensor(labels))
    assert kept.dtype is torch.bool
    assert kept.tolist() == [True, False, True]


@pytest.mark.parametrize(("features", "labels"), [([1.0, 2.0], [0, 0]), ([[1.0, 2.0]], [0, 0]), (np.eye(2), np.eye(2))])
def test_arrays_that_do_not_fit(features: Any, labels: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected features \(N, D\) and N labels"):
        plain().fit(rows([[0, 0]], [0])).scores(features, labels)


def test_features_of_another_extractor_are_refused() -> None:
    selector = plain(keep_share=1).fit(rows(np.eye(4), [0] * 4))
    with pytest.raises(ConfigError, match=r"shape \(N, 4\) that 'centroid' was fitted on, found \(N, 3\)"):
        selector.calibrate(rows(np.eye(3), [0] * 3))
    selector.calibrate(rows(np.eye(4), [0] * 4))
    with pytest.raises(ConfigError, match=r"found \(N, 2, 4\)"):
        selector.decide(rows(np.zeros((1, 2, 4)), [0]))
    with pytest.raises(ConfigError, match=r"found \(N, 3\)"):
        selector.scores(np.eye(3), [0] * 3)


def test_columns_that_a_selector_needs_are_told_on_arrays_too() -> None:
    probs = np.full((30, 2), 0.5, np.float32)
    selector = LabelGuard().fit(rows(np.zeros((30, 2)), np.arange(30) % 2, probs=probs))
    with pytest.raises(ConfigError, match="expected candidates with probs"):
        selector.scores(np.zeros((1, 2)), [0])


# -- on disk ----------------------------------------------------------------------------------------------------------


def saved(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return plain(real_share=0.9, metric="mahalanobis").fit(rows(rng.normal(0, 1, (40, 3)), np.arange(40) % 2)).save(
        tmp_path / "selector"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scales", torch.zeros(1)),
        ("scales", torch.tensor([float("nan")])),
        ("limits", torch.full((2, 2), float("nan"))),
        ("limits", torch.zeros(3, 2)),
        ("limits", torch.zeros(2, 2, dtype=torch.bfloat16)),
        ("limits", torch.zeros(2, 2, dtype=torch.complex64)),
        ("known", torch.zeros(2, dtype=torch.bool)),
        ("shape", torch.tensor([-3])),
        ("shape", torch.tensor([3.0])),
        ("0/owners", torch.tensor([0, 9])),
        ("0/owners", torch.tensor([1, 0])),
        ("0/centroids", torch.zeros(2, 9)),
        ("0/centroids", torch.full((2, 3), float("inf"))),
        ("0/whitener", torch.zeros(2, 3)),
    ],
)
def test_hostile_tensors_are_refused(name: str, value: torch.Tensor, tmp_path: Path) -> None:
    file = saved(tmp_path) / "fitted.safetensors"
    save_file({**load_file(file), name: value}, file)
    with pytest.raises(ArtifactError, match="damaged"):
        CentroidSelector.load(file.parent)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"name": "centroid", "metric": ["l2"]}},
        {"settings": {"name": "centroid", "keep_share": "0.5"}},
        {"settings": {"name": "centroid", "keep_share": [0.1, 0.2, 0.3]}},
        {"settings": {"name": "centroid", "extractor": 3}},
        {"settings": {"name": "centroid", "state_": 3}},
        {"settings": ["name"]},
        {"settings": {"name": ["centroid"]}},
        {"notes": [["one", 3]]},
        {"notes": 3},
    ],
)
def test_hostile_json_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    file = saved(tmp_path) / "selector.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ArtifactError, match=r"damaged|found \['centroid'\]"):
        CentroidSelector.load(file.parent)


def test_notes_of_classes_that_are_not_there_do_not_stop_a_report(tmp_path: Path) -> None:
    file = saved(tmp_path) / "selector.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "notes": [["few: ", [1, 7, -1]]]}))
    assert CentroidSelector.load(file.parent).notes(["cat", "dog"]) == ["few: dog, 7, -1"]


# -- memory -----------------------------------------------------------------------------------------------------------


def test_rows_copied_to_disk_are_the_same_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rng = np.random.default_rng(0)
    real = rows(rng.normal(0, 1, (500, 2, 3)), np.arange(500) % 3, fold=np.arange(500) % 2)
    whole = plain(real_share=0.9).fit(real)
    monkeypatch.setattr(rows_module, "_COPIED_BYTES", 100)
    monkeypatch.setattr(rows_module, "_BLOCK_BYTES", 1000)
    in_parts = plain(real_share=0.9).fit(real)
    assert in_parts.state_.keys() == whole.state_.keys()
    for name, array in whole.state_.items():
        assert in_parts.state_[name] == pytest.approx(array, rel=1e-5), name
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_mapped_features_stay_on_disk(tmp_path: Path) -> None:
    """Four fifths of these 410 MB are learned from at a time: in memory they would take 328 MB."""
    features: npt.NDArray[np.float32] = np.memmap(tmp_path / "f", np.float32, "w+", shape=(200_000, 512))
    features[:] = np.arange(512) % 7
    code = """
import sys, threading
import numpy as np
from gan_augment.selection import CentroidSelector
from gan_augment.types import Candidates

def own_memory():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024

features = np.memmap(sys.argv[1], np.float32, "r", shape=(200_000, 512))
real = Candidates(features, np.arange(len(features)) % 10)
start = most = own_memory()
done = threading.Event()

def watch():
    global most
    while not done.wait(0.01):
        most = max(most, own_memory())

thread = threading.Thread(target=watch)
thread.start()
CentroidSelector(real_share=0.9, agreement="centroid").fit(real).decide(real)
done.set()
thread.join()
print(most - start)
"""
    result = run_python(code, tmp_path / "f", env={"TMPDIR": str(tmp_path)}, timeout=280)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 250
