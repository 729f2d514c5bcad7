"""Several processes: real ones on the CPU, started by torchrun and by accelerate launch, train as one does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import gan_augment as ga
from gan_augment.recipes import RECIPES
from tests.helpers import run_python
from tests.training.test_trainer import fit, quick, stopped_at_seven, weights

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
SIXTEEN = RECIPES["sngan"](batch_size=16, steps=12)
CLOSE = {"atol": 5e-5, "rtol": 1e-4}
ADAM_STEP = 2e-4
"""Adam's first steps turn on the sign of a gradient, which rounding may change near zero: of a weight in a thousand,
on some processors, by less than a step or two."""

WORKER = str(Path(__file__).with_name("ranks_worker.py"))


def torchrun(job: str, folder: Path) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return [*launcher, WORKER, job, str(folder)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    stopped_at_seven(quick(), folder / "begun_by_one")
    done = subprocess.run(torchrun("same", folder), env=ENV, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    apart = ~torch.isclose(one, other, **CLOSE)
    assert apart.sum() <= max(1, 1e-3 * apart.numel())
    assert (one - other).abs().max() <= 2 * ADAM_STEP


def assert_as_one(folder: Path, name: str, alone: object) -> None:
    first, second = load_file(folder / f"{name}.0"), load_file(folder / f"{name}.1")
    for key, value in weights(alone).items():  # type: ignore[arg-type]
        assert torch.equal(first[key], second[key]), key
        assert_close(first[key], value)


@pytest.mark.parametrize("name", ["dagan", "sngan"])
def test_two_processes_give_what_one_gives(together: Path, name: str) -> None:
    assert_as_one(together, name, fit(quick(name)))


def test_processes_and_parts_together(together: Path) -> None:
    assert_as_one(together, "accumulated", fit(SIXTEEN))


def test_one_goes_on_where_two_stopped_and_two_where_one_did(together: Path) -> None:
    assert_as_one(together, "ended_by_two", fit(quick()))
    ended = weights(fit(quick(), out=together / "stopped", checkpoint_every=5))
    for key, value in weights(fit(quick())).items():
        assert_close(ended[key], value)


def test_only_one_process_wrote(together: Path) -> None:
    there = {path.name for path in together.iterdir() if path.is_dir() or path.name.startswith(".")}
    assert there - {".stopped.training.safetensors", ".stopped.training.jsonl", "stopped"} == {"begun_by_one"}


def test_a_batch_that_does_not_divide_is_refused_by_all(together: Path) -> None:
    for rank in range(2):
        told = (together / f"refused.{rank}").read_text()
        assert "2 parts divide evenly (processes 2, accumulate 1), found 9" in told


def test_a_process_that_fails_leaves_no_other_waiting(tmp_path: Path) -> None:
    subprocess.run(torchrun("failing", tmp_path), env=ENV, timeout=120, check=True, capture_output=True)
    assert (tmp_path / "failed.1").read_text() == "DataError: image 7 is gone"
    assert "TrainingError: expected all 2 processes" in (tmp_path / "failed.0").read_text()


@pytest.mark.slow
def test_ctrl_c_stops_all_after_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / ".gan.training.safetensors"
    process = subprocess.Popen(torchrun("endless", tmp_path), env=ENV, start_new_session=True, stderr=subprocess.PIPE)
    try:
        while not checkpoint.exists():
            assert process.poll() is None
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "interrupted.0").exists()
    assert (tmp_path / "interrupted.1").exists()
    with safe_open(checkpoint, "pt") as file:
        assert int(file.metadata()["step"]) >= 20


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.mark.slow
def test_the_command_line_under_accelerate_launch(tmp_path: Path) -> None:
    from tests.test_cli import digits_folder

    folder = digits_folder(tmp_path / "images", {"digit 3": 24, "digit 7": 21})
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = ["-m", "gan_augment", "fit", str(folder), "--out", str(tmp_path / "gan"), "--steps", "3", "--json"]
    done = subprocess.run(
        [*launcher, "--main_process_port", free_port(), *command],
        env={**ENV, "ACCELERATE_USE_CPU": "true"},  # with --cpu alone it starts one process
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["classes"] == ["digit 3", "digit 7"]  # told once, by rank 0
    assert ga.load(tmp_path / "gan").recipe.steps == 3


def test_an_environment_without_others_is_told() -> None:
    code = "from tests.training.test_trainer import fit, quick; fit(quick())"
    done = run_python(code, env={"WORLD_SIZE": "2"})
    assert "ConfigError: expected 2 processes, as WORLD_SIZE says" in done.stderr
