"""The log of a training: whole after every stop, and readable by others."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gan_augment as ga
from gan_augment.training.log import TrainingLog, draw_grid
from tests.helpers import run_python
from tests.training.test_stopping import fit
from tests.training.test_trainer import stopped


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_finished_training_keeps_log_and_grids(tmp_path: Path) -> None:
    fit(52, out=tmp_path / "gan", watch_every=26)
    told = lines(tmp_path / "gan" / "log.jsonl")
    assert [line["step"] for line in told] == [0, 26, 50, 52]
    assert told[0]["watched_against"]["2"] == {"images": 8, "held_out": False}
    looked, plain = told[1], told[2]
    assert looked["images"] == 26 * 8
    assert looked["losses"].keys() >= {"d_hinge", "g_hinge"}
    assert looked["gradient_norms"].keys() == {"generator", "discriminator"}
    assert all(norm > 0 for norm in looked["gradient_norms"].values())
    assert looked["classes"].keys() == {"0", "1", "2"}
    assert np.mean([measures["kid"] for measures in looked["classes"].values()]) == pytest.approx(looked["kid"], 1e-4)
    assert looked["seconds"] < plain["seconds"]
    assert "kid" not in plain
    assert plain["peak_mib"] > 50
    assert names(tmp_path) == ["gan"]
    assert names(tmp_path / "gan") == ["log.jsonl", "samples", "synthesizer.json", "weights.safetensors"]
    assert names(tmp_path / "gan" / "samples") == ["step-00026.png", "step-00052.png"]
    assert ga.load(tmp_path / "gan").sample([0, 1], [2, 3]).images.shape == (2, 1, 8, 8)


def test_a_resumed_training_tells_of_each_step_once(tmp_path: Path) -> None:
    with stopped(9):
        fit(out=tmp_path / "gan", watch_every=2, checkpoint_every=5)
    beside = tmp_path / ".gan.training"
    assert [line["step"] for line in lines(beside / "log.jsonl")] == [0, 2, 4, 6, 8]
    with open(beside / "log.jsonl", "a") as file:
        file.write('{"step": 9, "ima')
    fit(out=tmp_path / "gan", watch_every=4, checkpoint_every=5)
    assert [line["step"] for line in lines(tmp_path / "gan" / "log.jsonl")] == [0, 2, 4, 8, 12]
    grids = ["step-00002.png", "step-00004.png", "step-00008.png", "step-00012.png"]
    assert names(tmp_path / "gan" / "samples") == grids
    assert not beside.exists()


def test_without_a_checkpoint_the_log_begins_anew(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path / "log", batch_size=4)
    first.write(50, losses={"d": 1.0})
    first.grid(50, {0: torch.zeros(2, 1, 8, 8)}, ["a"], [3])
    second = TrainingLog(tmp_path / "log", batch_size=4)
    second.write(25, losses={"d": float("nan")})
    assert [(line["step"], line["losses"]) for line in lines(tmp_path / "log" / "log.jsonl")] == [(25, {"d": None})]
    assert names(tmp_path / "log" / "samples") == []


def test_what_others_left_in_the_folder_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for name in ("step-00005.png", "step-00050.png", "step-00050 (copy).png"):
        (tmp_path / "samples" / name).touch()
    damaged = ['{"step": 3, "seconds": NaN}', '{"step": 4, "seconds": 1' + 400 * "0" + "}", 100_000 * "[", "7", "{}"]
    (tmp_path / "log.jsonl").write_text("\n".join(['{"step": 2, "seconds": 1.5}', *damaged]))
    TrainingLog(tmp_path, step=10).write(11)
    found = lines(tmp_path / "log.jsonl")
    assert [line["step"] for line in found] == [2, 11]
    assert found[1]["seconds"] >= 1.5
    assert names(tmp_path / "samples") == ["step-00005.png", "step-00050 (copy).png"]


KILLED = """
import sys
sys.path.insert(0, {root!r})
from tests.training.test_stopping import fit
fit(120, out={out!r}, checkpoint_every=20, watch_every=10)
"""


@pytest.mark.slow
def test_no_gaps_and_no_duplicates_after_kills(tmp_path: Path) -> None:
    code = KILLED.format(root=str(Path(__file__).parents[2]), out=str(tmp_path / "gan"))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkpoint, log = tmp_path / ".gan.training.safetensors", tmp_path / ".gan.training" / "log.jsonl"
    for _ in range(2):
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen([sys.executable, "-c", code], env=env) as process:
            while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen):
                time.sleep(0.01)
            size = log.stat().st_size
            while process.poll() is None and log.stat().st_size == size:  # and one look beyond it
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "gan").exists()
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    told = lines(tmp_path / "gan" / "log.jsonl")
    assert [line["step"] for line in told] == list(range(0, 121, 10))
    assert all(a["seconds"] <= b["seconds"] for a, b in itertools.pairwise(told))
    assert len(names(tmp_path / "gan" / "samples")) == 12


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    gan = fit(4, watch_every=2, tensorboard=tmp_path / "board")
    found = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    kids = {event.step: event.value for event in found.Scalars("kid")}
    assert kids == {look["step"]: pytest.approx(look["kid"], rel=1e-5) for look in gan.watched["history"]}
    assert [event.step for event in found.Scalars("classes/2/diversity")] == [2, 4]
    assert [event.step for event in found.Images("samples")] == [2, 4]
    assert names(tmp_path) == ["board"]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ga.ConfigError, match=r"pip install 'gan_augment\[tensorboard\]'"):
        fit(2, tensorboard=tmp_path / "board")


def test_the_core_does_not_import_tensorboard() -> None:
    code = "import sys, gan_augment.training.fit; print('tensorboard' in sys.modules)"
    assert run_python(code).stdout == "False\n"


def test_a_grid_shows_the_rarest_class_first() -> None:
    images = {label: torch.full((3, 1, 8, 8), light) for label, light in enumerate((-1.0, 0.0, 1.0))}
    drawn = np.asarray(draw_grid(images, ["many", "few", "some"], [90, 4, 30], "after step 1"))
    cells = drawn[:, -12]  # through the last column of cells
    values = cells[(cells == cells[:, :1]).all(1)][:, 0]
    changes = [int(v) for i, v in enumerate(values) if i == 0 or v != values[i - 1]]
    assert [value for value in changes if value != 255] == [128, 0]  # 0.0 is few, 1.0 is some and white, -1.0 is many
    heights = [(values == value).sum() for value in (128, 0)]
    assert heights == [64, 64]


@pytest.mark.parametrize(
    ("shape", "cell"), [((3, 16, 24), (32, 48)), ((1, 8, 12, 16), (48, 64)), ((2, 256, 64), (128, 32))]
)
def test_grids_of_colour_volumes_and_large_images(shape: tuple[int, ...], cell: tuple[int, int]) -> None:
    drawn = draw_grid({0: torch.zeros(2, *shape), 1: torch.zeros(2, *shape)}, ["a", "b"], [5, 6], "")
    grey = (np.asarray(drawn) == 128).all(2)
    rows, columns = np.flatnonzero(grey.any(1)), np.flatnonzero(grey.any(0))
    assert grey.sum() >= 4 * cell[0] * cell[1] * 0.99
    assert (len(rows), len(columns)) == (2 * cell[0], 2 * cell[1])


def test_a_grid_of_many_classes_says_what_is_left_out() -> None:
    images = {label: torch.zeros(1, 1, 8, 8) for label in range(70)}
    called = [f"a class with a name that is far too long for a label {label}" for label in images]
    drawn = draw_grid(images, called, list(range(70)), "after step 1")
    assert isinstance(drawn, Image.Image)
    assert drawn.height < 61 * 70
    assert drawn.width < 600
