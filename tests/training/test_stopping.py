"""When a training ends: what is decided by looks, and that a resumed training decides as an unbroken one."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import gan_augment as ga
from gan_augment.recipes import RECIPES
from tests.helpers import ROOT
from tests.training.test_trainer import same_weights, stopped, stored
from tests.training.test_watch import digits, watched


def record(kid: float, collapsed: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"kid": kid, "collapsed": list(collapsed), "classes": {}}


def test_a_plateau_ends_the_training_and_the_best_weights_return() -> None:
    watch = watched({}, stop="quality", patience=3)
    watch.recipe = dataclasses.replace(watch.recipe, steps=20)
    linear = torch.nn.Linear(1, 1)
    ends = []
    for step, kid in enumerate([3.0, 2.0, 2.5, 2.1, 2.2], start=1):
        torch.nn.init.constant_(linear.weight, kid)
        ends.append(watch.note(step, record(kid), {"generator": linear}).ends)
    assert ends == [False, False, False, False, True]
    watch.settle({"generator": linear})
    assert linear.weight.item() == 2.0
    summary = watch.summary(5)
    assert summary is not None
    assert (summary["steps"], summary["stop"]) == (5, "quality")
    assert summary["best"] == {"step": 2, **record(2.0)}
    assert [look["kid"] for look in summary["history"]] == [3.0, 2.0, 2.5, 2.1, 2.2]


def test_a_young_network_may_grow_worse_first() -> None:
    watch = watched({}, stop="quality", patience=2)
    watch.recipe = dataclasses.replace(watch.recipe, steps=100)
    kids = {5: 1.0, 10: 4.0, 15: 3.0, 20: 2.0, 25: 0.5, 30: 0.6, 35: 0.7}
    ends = [watch.note(step, record(kid), {}).ends for step, kid in kids.items()]
    assert ends == [False] * 6 + [True]


def test_all_steps_are_taken_by_default_and_the_last_weights_stay() -> None:
    watch = watched({})
    linear = torch.nn.Linear(1, 1)
    assert not any(watch.note(step, record(float(step)), {"generator": linear}).ends for step in range(1, 9))
    torch.nn.init.constant_(linear.weight, 7.0)
    watch.settle({"generator": linear})
    assert linear.weight.item() == 7.0
    assert watch.best == {"step": 1, **record(1.0)}
    assert "best after step 1 (KID 1, 8 at the end)" in str(watch.afterthought())


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ga.ConfigError, match=r"watch_every from 1 to 4, the steps.*found 0"):
        watched({}, stop="quality", every=0)
    with pytest.raises(ga.ConfigError, match="stop='steps' or 'quality', found 'soon'"):
        watched({}, stop="soon")


# -- in fit -----------------------------------------------------------------------------------------------------------


def fit(steps: int = 12, **settings: Any) -> Any:
    train = digits({0: 60, 1: 50, 2: 8})[0]
    recipe = RECIPES["sngan"](batch_size=8, steps=steps, learning_rate=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ga.CollapseWarning)
        return ga.fit(train, recipe, min_images=0, progress=False, **settings)


@contextmanager
def unsaved() -> Iterator[None]:
    """Lets a training fail in writing its synthesizer."""

    def full(*_: object) -> None:
        raise ga.StorageError(28, "no space is left")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_augment.synthesizers.TrainedSynthesizer.save", full)
        with pytest.raises(ga.StorageError):
            yield


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A training with a checkpoint whose synthesizer could not be written."""
    with unsaved():
        fit(out=tmp_path / "gan", checkpoint_every=5, watch_every=2, stop="quality")
    return tmp_path / "gan"


def test_watching_changes_no_weights() -> None:
    assert same_weights(fit(watch_every=0), fit(watch_every=3))


@pytest.mark.parametrize("stop", ["steps", "quality"])
def test_a_resumed_run_equals_an_unbroken_one(stop: str, tmp_path: Path) -> None:
    settings = {"watch_every": 2, "stop": stop, "patience": 9}
    with stopped(7):
        fit(out=tmp_path / "gan", checkpoint_every=5, **settings)
    resumed, unbroken = fit(out=tmp_path / "gan", checkpoint_every=5, **settings), fit(**settings)
    assert same_weights(resumed, unbroken)
    assert resumed.watched == unbroken.watched
    assert [look["step"] for look in resumed.watched["history"]] == [2, 4, 6, 8, 10, 12]
    assert ga.load(tmp_path / "gan").watched == json.loads(json.dumps(resumed.watched))


def test_a_training_ends_early_with_the_weights_of_its_best_look() -> None:
    gan = fit(100, watch_every=2, stop="quality", patience=1)
    assert 25 <= gan.watched["steps"] < 100
    assert gan.watched["steps"] >= gan.watched["best"]["step"] + 2
    alone = fit(100, watch_every=gan.watched["best"]["step"], stop="quality", patience=1)
    assert alone.watched["history"][0]["kid"] == gan.watched["best"]["kid"]


def test_a_checkpoint_of_the_step_that_ended_the_training_goes_no_further(tmp_path: Path) -> None:
    settings = {"watch_every": 2, "stop": "quality", "patience": 1}
    with unsaved():
        fit(60, out=tmp_path / "gan", checkpoint_every=2, **settings)
    resumed, unbroken = fit(60, out=tmp_path / "gan", checkpoint_every=2, **settings), fit(60, **settings)
    assert unbroken.watched["steps"] < 60
    assert resumed.watched == unbroken.watched
    assert same_weights(resumed, unbroken)


def test_an_unfinished_run_that_stops_by_other_rules_is_refused(unfinished: Path) -> None:
    with pytest.raises(ga.ArtifactError, match="stop quality there, None now"):
        fit(out=unfinished, checkpoint_every=5, watch_every=2)


TOGETHER = """
import json, os, sys
from pathlib import Path
from tests.training.test_stopping import fit
gan = fit(watch_every=2, stop="quality", patience=9, out=sys.argv[1])
Path(sys.argv[1] + "." + os.environ["RANK"]).write_text(json.dumps([gan.watched, gan.fingerprint["weights"]]))
"""


@pytest.mark.slow
def test_two_processes_see_and_decide_as_one(tmp_path: Path) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(TOGETHER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*launcher, str(worker), str(tmp_path / "gan")], env=env, check=True, timeout=240)
    first, second = (json.loads((tmp_path / f"gan.{rank}").read_text()) for rank in range(2))
    assert first == second
    alone = fit(watch_every=2, stop="quality", patience=9)
    assert [look["kid"] for look in first[0]["history"]] == pytest.approx(
        [look["kid"] for look in alone.watched["history"]], rel=1e-2
    )
    steps = [json.loads(line)["step"] for line in (tmp_path / "gan" / "log.jsonl").read_text().splitlines()]
    assert steps == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize(
    "damage",
    [
        lambda about, tensors: about.pop("watched"),
        lambda about, tensors: about.update(watched="null"),
        lambda about, tensors: about.update(watched="[" * 100_000),
        lambda about, tensors: about.update(watched=about["watched"].replace('"history": [', '"history": [3, ')),
        lambda about, tensors: about.update(watched=json.dumps({**json.loads(about["watched"]), "history": []})),
        lambda about, tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("best")],
        lambda about, tensors: tensors.update(
            {k: v[:1] for k, v in tensors.items() if k.startswith("best") and v.ndim}
        ),
        lambda about, tensors: tensors.update({k: v * torch.nan for k, v in tensors.items() if k.startswith("best")}),
    ],
)
def test_a_hostile_checkpoint_is_refused(damage: Any, unfinished: Path) -> None:
    path = unfinished.parent / ".gan.training.safetensors"
    about, tensors = stored(path)
    damage(about, tensors)
    save_file(tensors, path, about)
    with pytest.raises(ga.ArtifactError):
        fit(out=unfinished, checkpoint_every=5, watch_every=2, stop="quality")
