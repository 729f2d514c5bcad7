"""What a training is watched by: planted faults are named, held-out reals are not, and nothing of a training moves."""

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor

import gan_augment as ga
from gan_augment.metrics.distribution import kernel_distance
from gan_augment.metrics.manifold import manifold_scores
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, SNGAN
from gan_augment.source import RawView
from gan_augment.training.log import draw_grid
from gan_augment.training.reference import References, class_measures, hold_out
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Watch
from tests.helpers import ROOT
from tests.training.test_trainer import _Stop, same_weights


def digits(counts: Mapping[int, int], seed: int = 0) -> tuple[list[tuple[np.ndarray, int]], dict[int, Tensor]]:
    """Returns a training set of digits, and the other images of each class in [-1, 1]."""
    found = load_digits()
    rng = np.random.default_rng(seed)
    train, rest = [], {}
    for label, count in counts.items():
        images = rng.permutation(found.images[found.target == label])
        train += [((image * 15).astype(np.uint8), label) for image in images[:count]]
        rest[label] = torch.from_numpy(images[count:] / 8 - 1).float()[:, None]
    return train, rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted(SNGAN):
    """Draws images that a test put there, in the order of the first latent, again and again where they are few."""

    bank: ClassVar[dict[int, Tensor]] = {}

    def draw(self, networks: Any, labels: Tensor, latents: Tensor, conditions: Any) -> Tensor:
        place = latents[:, 0].argsort().argsort().tolist()
        chosen = [self.bank[int(label)] for label in labels]
        return torch.stack([own[at % len(own)] for own, at in zip(chosen, place, strict=True)])


COUNTS = {0: 90, 1: 60, 2: 40, 3: 20, 4: 10, 5: 6, 6: 3, 7: 2}


def watched(bank: Mapping[int, Tensor], counts: Mapping[int, int] = COUNTS, seed: int = 0, **settings: Any) -> Watch:
    Planted.bank = dict(bank)
    view = RawView(digits(counts, seed)[0], progress=False)
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=len(counts))
    return Watch(Planted(steps=4), spec, view, view.spec(), **{"every": 2, **settings})


def networks() -> dict[str, torch.nn.Module]:
    return SNGAN().networks(NetworkSpec(channels=1, grid=(8, 8), num_classes=len(COUNTS)))


@pytest.mark.parametrize("seed", range(5))
def test_held_out_reals_are_not_accused(seed: int) -> None:
    watch = watched(digits(COUNTS, seed)[1], seed=seed)
    record = watch.look(networks()).record
    assert record["collapsed"] == []
    assert record["kid"] == pytest.approx(np.mean([record["classes"][name]["kid"] for name in "012345"]))
    assert abs(record["kid"]) < 0.4
    assert record["diversity"] == pytest.approx(1, abs=0.2)
    assert record["duplicates"] < 0.01


def test_one_image_of_a_class_is_named() -> None:
    bank = digits(COUNTS)[1]
    for label in (1, 5):
        bank[label] = bank[label][:1] + 0.02 * torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    watch = watched(bank)
    record = watch.look(networks()).record
    assert record["collapsed"] == ["1", "5"]
    assert record["classes"]["1"]["diversity"] < 0.1
    assert watch.note(2, record, {}).accused == []
    verdict = watch.note(4, record, {})
    assert verdict.accused == ["1", "5"]
    told = r"collapse after step 4: samples of 1 \(60 images\) vary 0\.0\d times.*samples of 5 \(6 images\).*dagan"
    with pytest.warns(ga.CollapseWarning, match=told):
        watch.warn(4, record, verdict.accused)
    assert watch.note(4, record, {}).accused == []


def test_a_few_images_again_and_again_are_duplicates() -> None:
    bank = digits(COUNTS)[1]
    bank[0] = bank[0][:4]
    record = watched(bank).look(networks()).record
    assert record["collapsed"] == ["0"]
    assert record["classes"]["0"]["duplicates"] == 1
    assert record["classes"]["0"]["diversity"] > 0.5


@pytest.mark.parametrize("fault", ["blurred", "another class", "towards the mean", "one image"])
def test_faults_raise_kid(fault: str) -> None:
    bank = digits(COUNTS)[1]
    clean = watched(bank).look(networks()).record["kid"]
    if fault == "another class":
        bank = {label: bank[(label + 1) % len(bank)] for label in bank}
    else:
        change = {
            "blurred": lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1),
            "towards the mean": lambda x: 0.5 * x + 0.5 * x.mean(0),
            "one image": lambda x: x[:1],
        }[fault]
        bank = {label: change(images) for label, images in bank.items()}
    assert watched(bank).look(networks()).record["kid"] > clean + 0.3


def test_measures_are_those_of_metrics() -> None:
    view = RawView(digits(COUNTS)[0], progress=False)
    references = References.of(view, view.spec())
    for label in (0, 3):
        real = references.classes[label]
        fake = references.space(digits(COUNTS)[1][label][:48])
        found = class_measures(real, fake)
        if label == 0:
            few = class_measures(dataclasses.replace(real, features=real.features[:48], rows=real.rows[:48],
                                                     radii=real.radii[:48]), fake)  # fmt: skip
            assert few["kid"] == pytest.approx(kernel_distance(real.features[:48], fake), rel=1e-4, abs=1e-5)
        assert found["coverage"] == pytest.approx(manifold_scores(real.features, fake).coverage)


def test_a_parent_is_not_what_its_sample_is_compared_with() -> None:
    view = RawView(digits(COUNTS)[0], progress=False)
    real = References.of(view, view.spec()).classes[0]
    lone = real.features.copy()
    lone[7] += 50  # only its own copy is near it
    real = dataclasses.replace(real, features=lone, radii=np.full(len(lone), 20, np.float32))
    assert class_measures(real, lone)["coverage"] == 1
    assert class_measures(real, lone, real.rows)["coverage"] == pytest.approx(1 - 1 / len(lone))
    assert class_measures(real, lone, real.rows)["kid"] > class_measures(real, lone)["kid"]


@pytest.mark.parametrize("name", ["sngan", "dagan"])
def test_a_look_moves_nothing(name: str) -> None:
    recipe = RECIPES[name](batch_size=8)
    view = RawView(digits(COUNTS)[0], progress=False)
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=view.num_classes)
    trainer = Trainer(recipe, spec, seed=0, device=torch.device("cpu"))
    for network in trainer.networks.values():
        network.train()
    watch = Watch(recipe, spec, view, view.spec(), every=1)
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in trainer.result().items()}
    modes = [m.training for n in trainer.networks.values() for m in n.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (watch.look(trainer.result()) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert modes == [m.training for n in trainer.networks.values() for m in n.modules()]
    assert all(p.requires_grad for n in trainer.networks.values() for p in n.parameters())
    for n, network in trainer.result().items():
        assert all(torch.equal(value, before[n][key]) for key, value in network.state_dict().items())
    assert first.record == second.record
    assert all(torch.equal(first.images[label], second.images[label]) for label in first.images)


@pytest.mark.parametrize("shape", [(16, 24, 3), (8, 12, 10), (100, 80)])
def test_any_form_of_image_is_watched(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = [(rng.normal(100 + 50 * (i % 2), 30, shape).clip(0, 255).astype(np.uint8), i % 2) for i in range(24)]
    view = RawView(
        images if shape != (8, 12, 10) else [(volume[None], label) for volume, label in images], progress=False
    )
    image_spec, recipe = view.spec(), SNGAN()
    spec = NetworkSpec(channels=image_spec.channels, grid=image_spec.grid, num_classes=2)
    look = Watch(recipe, spec, view, image_spec, every=1).look(recipe.networks(spec))
    assert np.isfinite([look.record["kid"], look.record["coverage"], look.record["diversity"]]).all()
    assert look.record["kid"] > 1
    assert draw_grid(look.images, view.classes, view.counts.tolist(), "").width > 500


# -- deciding ---------------------------------------------------------------------------------------------------------


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


def test_what_is_held_out() -> None:
    targets = np.repeat([0, 1, 2], [200, 50, 49])
    rows = hold_out(targets, seed=1)
    assert np.bincount(targets[rows], minlength=3).tolist() == [40, 10, 0]
    assert not np.array_equal(rows, hold_out(targets, seed=2))
    groups = np.arange(len(targets)) // 4  # one of them has images of classes 1 and 2
    rows = hold_out(targets, groups, seed=1)
    out = np.zeros(len(targets), bool)
    out[rows] = True
    assert np.bincount(targets[rows], minlength=3).tolist() == [40, 8, 0]
    assert all(len(set(out[groups == group])) == 1 for group in np.unique(groups))


def test_held_out_images_are_not_trained_on_and_small_classes_are_whole() -> None:
    watch = watched({}, stop="quality")
    assert watch.training.counts.tolist() == [72, 48, 40, 20, 10, 6, 3, 2]
    kept = {image.tobytes() for image in (watch.training.raw(i) for i in range(len(watch.training)))}
    view = RawView(digits(COUNTS)[0], progress=False)
    told = watch.described()
    assert told["0"] == {"images": 18, "held_out": True}
    assert told["2"] == {"images": 40, "held_out": False}
    for row in watch.references.classes[0].rows:
        assert view.raw(int(row)).tobytes() not in kept


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


def test_watching_changes_no_weights() -> None:
    assert same_weights(fit(watch_every=0), fit(watch_every=3))


@pytest.mark.parametrize("stop", ["steps", "quality"])
def test_a_resumed_run_equals_an_unbroken_one(stop: str, tmp_path: Path) -> None:
    settings = {"watch_every": 2, "stop": stop, "patience": 9}
    take = Trainer._take_step

    def until_seven(self: Trainer, *arguments: Any) -> Any:
        if self.step == 7:
            raise _Stop
        return take(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_take_step", until_seven)
        with pytest.raises(_Stop):
            fit(out=tmp_path / "gan", checkpoint_every=5, **settings)
    resumed, unbroken = fit(out=tmp_path / "gan", checkpoint_every=5, **settings), fit(**settings)
    assert same_weights(resumed, unbroken)
    assert resumed.watched == unbroken.watched
    assert [look["step"] for look in resumed.watched["history"]] == [2, 4, 6, 8, 10, 12]
    assert ga.load(tmp_path / "gan").watched == json.loads(json.dumps(resumed.watched))


def test_a_training_ends_early_with_the_weights_of_its_best_look() -> None:
    gan = fit(400, watch_every=2, stop="quality", patience=1)
    assert 100 <= gan.watched["steps"] < 400
    assert gan.watched["steps"] >= gan.watched["best"]["step"] + 2
    alone = fit(400, watch_every=gan.watched["best"]["step"], stop="quality", patience=1)
    assert alone.watched["history"][0]["kid"] == gan.watched["best"]["kid"]


def test_an_unfinished_run_that_stops_by_other_rules_is_refused(stopped: Path) -> None:
    with pytest.raises(ga.ArtifactError, match="stop quality there, None now"):
        fit(out=stopped, checkpoint_every=5, watch_every=2)


TOGETHER = """
import json, os, sys
from pathlib import Path
from tests.training.test_watch import fit
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
        lambda about, tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("best")],
        lambda about, tensors: tensors.update(
            {k: v[:1] for k, v in tensors.items() if k.startswith("best") and v.ndim}
        ),
        lambda about, tensors: tensors.update({k: v * torch.nan for k, v in tensors.items() if k.startswith("best")}),
    ],
)
def test_a_hostile_checkpoint_is_refused(damage: Any, stopped: Path) -> None:
    path = stopped.parent / ".gan.training.safetensors"
    with safe_open(path, "pt") as file:
        about, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damage(about, tensors)
    save_file(tensors, path, about)
    with pytest.raises(ga.ArtifactError):
        fit(out=stopped, checkpoint_every=5, watch_every=2, stop="quality")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A training whose synthesizer could not be saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_augment.synthesizers.TrainedSynthesizer.save", lambda *_: (_ for _ in ()).throw(_Stop))
        with pytest.raises(_Stop):
            fit(out=tmp_path / "gan", checkpoint_every=5, watch_every=2, stop="quality")
    return tmp_path / "gan"
