"""Several processes draw one pool: real ones over gloo, and the pool is the same for any number of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gan_augment as ga
from gan_augment.errors import ConfigError
from gan_augment.pool import SyntheticPool
from tests.helpers import ROOT, files_of
from tests.pool.durable import BASE, build
from tests.training.test_ranks import free_port

WORKER = str(Path(__file__).with_name("ranks_worker.py"))
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def launch(count: int, folder: Path, kind: str, *args: int) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    return subprocess.run(
        [*command, WORKER, str(folder), kind, *map(str, args)],
        env=ENV, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def drawn(folder: Path) -> list[int]:
    """Calls of the generator in each process."""
    return [int(path.read_text().split()[2]) for path in sorted(folder.glob("seen.*"))]


@pytest.mark.parametrize("kind", ["rows", pytest.param("set", marks=pytest.mark.slow)])
def test_one_two_and_three_processes_draw_the_same_pool(tmp_path: Path, kind: str) -> None:
    build(tmp_path / "alone", kind)
    wanted = files_of(tmp_path / "alone")
    for count in (1, 2, 3):
        done = launch(count, tmp_path / str(count), kind)
        assert done.returncode == 0, done.stderr[-3000:]
        assert files_of(tmp_path / str(count) / "pool") == wanted
        seen = {path.read_text().rpartition(" ")[0] for path in (tmp_path / str(count)).glob("seen.*")}
        assert len(seen) == 1
    alone, together = drawn(tmp_path / "1")[0], drawn(tmp_path / "3")
    assert max(together) < alone  # five shards: two, two and one
    each, shards = (
        1 + 2 + 8,
        5 * 4,
    )  # to see the shape, that the label matters, and to set limits; chunks, of four calls
    assert alone == each + shards
    assert sum(together) == 3 * (each + 4) + shards  # and a chunk, to see whether all draw the same


def test_a_process_that_dies_is_taken_up_again(tmp_path: Path) -> None:
    build(tmp_path / "alone", "rows")
    died = launch(3, tmp_path / "ranks", "rows", 1, 16)  # in its second shard
    assert died.returncode != 0
    with pytest.raises(Exception, match="still being drawn"):
        SyntheticPool.open(tmp_path / "ranks" / "pool")
    finished = len(list((tmp_path / "ranks" / "pool").rglob("shard-*.safetensors")))
    assert 1 <= finished < 5
    done = launch(2, tmp_path / "ranks", "rows")  # fewer go on
    assert done.returncode == 0, done.stderr[-3000:]
    assert files_of(tmp_path / "ranks" / "pool") == files_of(tmp_path / "alone")


def test_a_refusal_is_told_by_all(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    build(tmp_path / "pool", "rows", seed=9)
    done = launch(2, tmp_path, "rows")
    assert done.returncode != 0
    assert done.stderr.count("ArtifactError: expected ") >= 1
    assert "seed 0 against 9" in done.stderr


def test_memory_is_not_shared() -> None:
    with pytest.raises(ConfigError, match="out= a folder that all processes share"):
        build(None, distributed=True)


@pytest.mark.slow
def test_the_command_line_under_accelerate_launch(tmp_path: Path) -> None:
    for label, name in enumerate(BASE.classes):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in np.flatnonzero(np.array(BASE.targets) == label):
            BASE[int(index)][0].save(tmp_path / "images" / name / f"{index:03d}.png")
    gan = ga.fit(ga.open_folder(tmp_path / "images"), "sngan", steps=2, min_images=2, progress=False)
    gan.save(tmp_path / "gan")
    asked = ["build", str(tmp_path / "gan"), "--like", str(tmp_path / "images"), "--count", "dog=400", "--quiet"]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", free_port()]
    environment = {**ENV, "ACCELERATE_USE_CPU": "true"}
    for count, name in (("1", "one"), ("2", "two")):
        several = ["--multi_gpu"] * (count == "2")  # with --cpu alone it starts one process
        command = [
            *launcher,
            *several,
            "--num_processes",
            count,
            "-m",
            "gan_augment",
            *asked,
            "--out",
            str(tmp_path / name),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("Next, in Python") == 1
        assert (tmp_path / f"{name}-samples.png").exists()
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
