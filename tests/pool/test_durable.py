"""Nothing is lost and nothing looks whole that is not: real processes killed, full disks, two builders at once."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gan_augment as ga
from gan_augment.errors import ArtifactError, StorageError
from gan_augment.pool import SyntheticPool
from tests.helpers import ROOT, Pictures, files_of
from tests.pool.durable import BASE, build, extend, selector, synthesizer

SCRIPT = [sys.executable, "-m", "tests.pool.durable"]
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(job: str, folder: Path, kind: str = "rows") -> str:
    done = subprocess.run(
        [*SCRIPT, job, str(folder), kind], cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kills(told: str) -> int:
    return int(told.split()[-2])


# -- killed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rows", pytest.param("set", marks=pytest.mark.slow)])
def test_a_build_killed_at_each_of_its_changes_goes_on_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    assert kills(run("at_every_change", tmp_path, kind)) > 40


@pytest.mark.parametrize("kind", ["none", pytest.param("set", marks=pytest.mark.slow)])
def test_a_build_killed_at_random_moments_goes_on_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    assert kills(run("at_random_moments", tmp_path, kind)) > 6


@pytest.mark.slow
def test_an_extension_that_is_killed_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    assert kills(run("extending", tmp_path)) > 30


# -- full, read-only, taken -----------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    assert run("full_disk", tmp_path).splitlines() == [
        *(f"{number} False False" for number in (1, 7)),  # before the folder is made
        "13 False True",
        *(f"{number} True True" for number in (19, 25)),
    ]


def test_a_read_only_folder_is_left_as_it_was() -> None:
    folder = Path(tempfile.mkdtemp())  # where another user could go
    folder.chmod(0o555)
    try:
        assert run("read_only", folder).splitlines() == [f"read-only {errno.EACCES} []"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_second_builder_is_told(tmp_path: Path) -> None:
    command = [*SCRIPT, "slowly", str(tmp_path), "none"]
    with subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for _ in range(3):
            assert first.stdout.readline() == "drawing\n"
        with pytest.raises(ArtifactError, match=r"expected nobody else to work on the pool .* found that another"):
            build(tmp_path / "pool", "none")
        assert first.poll() is None
        first.stdout.read()
    assert first.returncode == 0
    assert len(SyntheticPool.open(tmp_path / "pool")) == 1200


# -- other settings -------------------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stopped(out: Path, after: int = 12, **settings: Any) -> None:
    """A build that its generator stops, when two shards of five are finished."""
    calls = []

    def count() -> None:
        calls.append(1)
        if len(calls) > after:
            raise Stopped

    with pytest.raises(Stopped):
        build(out, "none", synthesizer(calls=count), **settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seed": 1}, "seed 1 against 0;"),
        ({"counts": {"dog": 700, "eel": 501}}, "needed of eel 501 against 500;"),
        ({"counts": {"dog": 1200}}, "needed of dog 1200 against 700; needed of eel None against 500;"),
        ({"reserve": 2}, r"reserve 2\.0 against 1\.0;"),
        ({"licence": "CC0"}, "licence CC0 against None;"),
        ({"kind": "rows"}, "selection .*centroid.* against None;"),
        ({"drawer": synthesizer(0.5)}, "expected the synthesizer that drew the images of .* draws others now"),
    ],
)
def test_other_settings_are_refused_with_the_difference(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    stopped(tmp_path / "pool")
    before = files_of(tmp_path)
    with pytest.raises(ArtifactError, match=told):
        build(tmp_path / "pool", **{"kind": "none", **settings})
    assert files_of(tmp_path) == before
    build(tmp_path / "unbroken", "none")
    with pytest.raises(ArtifactError, match=told):
        build(tmp_path / "unbroken", **{"kind": "none", **settings})


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path / "pool")
    other = Pictures((40, 9, 5), "pil", classes=["cat", "dog", "eel"], seed=1)
    with pytest.raises(ArtifactError, match=r"identity .* against .*; like .* against"):
        SyntheticPool.build(
            synthesizer(), other, counts={"dog": 700, "eel": 500}, reserve=1, out=tmp_path / "pool", progress=False
        )


def test_an_unfinished_pool_says_so(tmp_path: Path) -> None:
    stopped(tmp_path / "pool")
    with pytest.raises(ArtifactError, match=r"still being drawn \(2 shards are finished\); give the call or command"):
        SyntheticPool.open(tmp_path / "pool")


def test_what_is_finished_is_not_drawn_again(tmp_path: Path) -> None:
    stopped(tmp_path / "pool")
    calls: list[int] = []
    build(tmp_path / "pool", "none", synthesizer(calls=lambda: calls.append(1)))
    assert len(calls) == 1 + 4 + 3 * 4  # a sample to see its shape, a chunk to see whether it is the same, three shards


def test_a_pool_that_is_whole_is_opened(tmp_path: Path) -> None:
    build(tmp_path / "pool")
    before = files_of(tmp_path)
    assert len(build(tmp_path / "pool").candidates()) == 1200
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("name", ["images-00001.npy", "shard-00001.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_finished_shard_that_was_damaged_since_is_drawn_again(tmp_path: Path, name: str, damage: str) -> None:
    build(tmp_path / "unbroken", "none")
    stopped(tmp_path / "pool")
    path = tmp_path / "pool" / "part-00000" / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.unlink()
    build(tmp_path / "pool", "none")
    assert files_of(tmp_path / "pool") == files_of(tmp_path / "unbroken")


def test_ctrl_c_keeps_what_was_finished(tmp_path: Path) -> None:
    calls = []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "pool", "none", synthesizer(calls=interrupt))
    assert not list((tmp_path / "pool").rglob("*.partial"))
    build(tmp_path / "pool", "none")
    build(tmp_path / "unbroken", "none")
    assert files_of(tmp_path / "pool") == files_of(tmp_path / "unbroken")


def test_a_refusal_to_extend_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "none")
    before = files_of(tmp_path)
    nan = synthesizer(float("nan"))
    with pytest.raises(ga.SynthesizerError, match="finite"):
        pool.extend(nan, BASE, counts={"dog": 10}, progress=False)
    assert files_of(tmp_path) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not write"):
        build(tmp_path / "file" / "pool", "none")


def test_extending_in_a_folder_and_in_memory_give_the_same_rows(tmp_path: Path) -> None:
    build(tmp_path / "pool")
    grown = extend(tmp_path / "pool").candidates()
    counts = {"dog": 300, "cat": 400}
    alone = build(None).extend(synthesizer(), BASE, selector("rows"), counts=counts, reserve=1, progress=False)
    for name in ("labels", "seeds", "scores", "kept", "reasons", "parents"):
        assert np.array_equal(getattr(grown, name), getattr(alone.candidates(), name)), name
    assert all((grown.array(row) == alone.array(row)).all() for row in range(0, 1900, 37))
