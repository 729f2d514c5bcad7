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


def run(job: str, folder: Path, kind: str = "rows", step: int = 1) -> str:
    done = subprocess.run(
        [*SCRIPT, job, str(folder), kind, str(step)],
        cwd=ROOT,
        env=ENV,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kills(told: str) -> int:
    return int(told.split()[-2])


# -- killed ---------------------------------------------------------------------------------------------------------


slow = pytest.mark.slow


EACH = [("rows", 7), pytest.param("rows", 1, marks=slow), pytest.param("set", 1, marks=slow)]


@pytest.mark.parametrize(("kind", "step"), EACH)
def test_a_build_killed_at_its_changes_goes_on_to_the_same_bytes(tmp_path: Path, kind: str, step: int) -> None:
    assert kills(run("at_every_change", tmp_path, kind, step)) > 80 // step


@pytest.mark.parametrize("kind", ["none", pytest.param("set", marks=slow)])
def test_a_build_killed_at_random_moments_goes_on_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    assert kills(run("at_random_moments", tmp_path, kind)) > 4


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=slow)])
def test_a_build_interrupted_at_its_changes_goes_on_too(tmp_path: Path, step: int) -> None:
    assert kills(run("interrupted", tmp_path, "none", step)) > 80 // step - 1


@slow
def test_an_extension_that_is_killed_leaves_the_pool_as_it_was(tmp_path: Path) -> None:
    assert kills(run("extending", tmp_path)) > 30


# -- full, read-only, taken -----------------------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    told = run("full_disk", tmp_path).splitlines()  # the first two before there is a folder
    assert told == ["1 False", "7 False", "13 True", "19 True", "25 True"]


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
        for _ in range(6):  # three before it takes the place: to see the shape, and that the label matters
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
    assert len(calls) == 1 + 2 + 4 + 3 * 4  # to see the shape, that the label matters, that a chunk is the same; shards


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


# -- two at once ----------------------------------------------------------------------------------------------------


def test_a_pool_that_another_finished_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "pool"

    def meanwhile() -> None:
        if not (out / "pool.json").exists():
            build(out, "none", counts={"dog": 20}, seed=1)

    with pytest.raises(ArtifactError, match="seed 2 against 1"):
        build(out, "rows", synthesizer(calls=meanwhile), counts={"eel": 7}, seed=2)
    assert SyntheticPool.open(out).counts == {1: 20}
    assert SyntheticPool.open(out).check(progress=False)


def test_a_pool_that_has_grown_since_it_was_opened_is_not_extended(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "none", counts={"dog": 20})
    settings = {"reserve": 1, "progress": False}
    assert len(pool.extend(synthesizer(), BASE, counts={"dog": 30}, **settings)) == 50
    before = files_of(tmp_path)
    with pytest.raises(ArtifactError, match="found that it has grown since; open it again"):
        pool.extend(synthesizer(), BASE, counts={"eel": 10}, **settings)
    assert files_of(tmp_path) == before
    assert len(SyntheticPool.open(tmp_path / "pool").extend(synthesizer(), BASE, counts={"eel": 1}, **settings)) == 51


def test_a_view_with_other_decisions_extends_its_folder(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "set")
    view = pool.candidates().filter(selector("rows"), BASE, progress=False)
    kept, reasons = pool.candidates().kept, pool.candidates().reasons
    grown = view.extend(synthesizer(), BASE, counts={"dog": 5}, reserve=1, progress=False).candidates()
    assert np.array_equal(grown.kept[:1200], kept)
    assert np.array_equal(grown.reasons[:1200], reasons)


def test_what_is_saved_of_a_view_is_not_the_pool_that_was_built(tmp_path: Path) -> None:
    build(tmp_path / "pool").sample(5, seed=1).save(tmp_path / "few", progress=False)
    with pytest.raises(ArtifactError, match="view None against rows left out"):
        build(tmp_path / "few")
    images = SyntheticPool.from_arrays(np.zeros((3, 8, 8), np.uint8), [0, 1, 2])
    images.save(tmp_path / "mine", progress=False)
    with pytest.raises(ArtifactError, match="images that were not drawn for it"):
        build(tmp_path / "mine")


def test_a_selector_that_decides_otherwise_is_refused(tmp_path: Path) -> None:
    class Moody:
        extractor, whole_set = None, False

        def __init__(self, share: float) -> None:
            self.share = share

        def fit(self, real: Any) -> Any:
            return self

        calibrate = fit

        def decide(self, candidates: Any) -> Any:
            keep = candidates.seeds % 100 < 100 * self.share
            return ga.Decision(keep, np.zeros(len(keep), np.float32), np.where(keep, "", "mood"))

        def settings(self) -> dict[str, Any]:
            return {"name": "moody", "scale": np.float32(0.5)}

        def notes(self, classes: Any = None) -> list[str]:
            return []

    calls: list[int] = []

    def count() -> None:
        calls.append(1)
        if len(calls) > 21:
            raise Stopped

    asked = {"counts": {"dog": 700, "eel": 500}, "reserve": 1, "progress": False, "out": tmp_path / "pool"}
    with pytest.raises(Stopped):
        SyntheticPool.build(synthesizer(calls=count), BASE, Moody(0.9), **asked)
    with pytest.raises(ArtifactError, match="decides otherwise about"):
        SyntheticPool.build(synthesizer(), BASE, Moody(0.4), **asked)
    assert len(SyntheticPool.build(synthesizer(), BASE, Moody(0.9), **asked)) > 900


def test_settings_that_no_file_can_hold_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    chosen = selector("rows")
    chosen.settings = lambda: {"name": "mine", "of": object()}
    with pytest.raises(ga.ConfigError, match="expected settings of JSON values"):
        SyntheticPool.build(synthesizer(), BASE, chosen, out=tmp_path / "pool", progress=False)
    assert not (tmp_path / "pool").exists()


def test_what_lies_in_the_way_is_left_alone(tmp_path: Path) -> None:
    pool = build(tmp_path / "pool", "none", counts={"dog": 20})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "label.npy").write_text("mine")
    (tmp_path / "pool" / "part-00001").symlink_to(tmp_path / "mine")
    with pytest.raises(ArtifactError, match="found a link; remove it"):
        pool.extend(synthesizer(), BASE, counts={"dog": 3}, progress=False)
    assert (tmp_path / "mine" / "label.npy").read_text() == "mine"
    os.mkfifo(tmp_path / "mine" / ".lock")
    (tmp_path / "mine" / "label.npy").unlink()
    with pytest.raises(ArtifactError, match="expected a plain file as the lock"):
        build(tmp_path / "mine", "none")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".video.mp4.partial").write_text("mine")
    with pytest.raises(ArtifactError, match="found something there"):
        build(tmp_path / "hidden", "none")
    assert (tmp_path / "hidden" / ".video.mp4.partial").read_text() == "mine"
