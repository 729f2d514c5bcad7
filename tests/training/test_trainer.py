"""Resuming, reproducing and diverging, in real processes where it matters."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import gan_augment as ga
from gan_augment.recipes import DAGAN, RECIPES
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training.trainer import Trainer


def data(count: int = 30, classes: int = 3) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(0)
    return [(rng.integers(0, 256, (8, 8), dtype=np.uint8), i % classes) for i in range(count)]


def weights(synthesizer: TrainedSynthesizer) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n, network in synthesizer.networks.items() for k, v in network.state_dict().items()}


def same_weights(first: TrainedSynthesizer, second: TrainedSynthesizer) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def quick(recipe: str = "dagan", **settings: object) -> object:
    return RECIPES[recipe](batch_size=8, **{"steps": 12, **settings})  # type: ignore[arg-type]


def fit(recipe: object, **settings: object) -> TrainedSynthesizer:
    return ga.fit(data(), recipe, min_images=0, progress=False, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RECIPES)
def test_one_seed_one_result(name: str) -> None:
    assert same_weights(fit(quick(name), seed=3), fit(quick(name), seed=3))
    assert not same_weights(fit(quick(name), seed=3), fit(quick(name), seed=4))


def test_the_global_random_state_is_left_alone_and_does_not_matter() -> None:
    torch.manual_seed(1)
    first = fit(quick())
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = fit(quick())
    assert same_weights(first, second)
    torch.manual_seed(1)
    fit(quick())
    assert torch.equal(state, torch.get_rng_state())


class _Stop(Exception):
    pass


@contextmanager
def stopped(at: int) -> Iterator[None]:
    """Stops a training within a step, as a crash would."""
    take = Trainer._take_step

    def until(self: Trainer, *arguments: object) -> object:
        if self.step == at:
            raise _Stop
        return take(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_take_step", until)
        with pytest.raises(_Stop):
            yield


def stopped_at_seven(recipe: object, out: Path) -> None:
    """Fits until step 7 of 12, with a checkpoint at step 5."""
    with stopped(7):
        fit(recipe, out=out, checkpoint_every=5)


def stored(checkpoint: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Returns what a checkpoint says of itself, and its tensors."""
    with safe_open(checkpoint, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_equals_unbroken(name: str, tmp_path: Path) -> None:
    stopped_at_seven(quick(name), tmp_path / "gan")
    assert not (tmp_path / "gan").exists()
    resumed = fit(quick(name), out=tmp_path / "gan", checkpoint_every=5)
    assert same_weights(resumed, fit(quick(name)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gan"]


KILLED = """
import sys
sys.path.insert(0, {root!r})
from tests.training.test_trainer import fit, quick
fit(quick(steps=400), out={out!r}, checkpoint_every=3)
"""


@pytest.mark.slow
def test_killed_for_real_and_resumed(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = KILLED.format(root=root, out=str(tmp_path / "gan"))
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
        checkpoint = tmp_path / ".gan.training.safetensors"
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "gan").exists()
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    alone = KILLED.format(root=root, out=str(tmp_path / "alone"))
    subprocess.run([sys.executable, "-c", alone], env=env, check=True)
    assert same_weights(ga.load(tmp_path / "gan"), ga.load(tmp_path / "alone"))


def test_an_unfinished_run_with_other_settings_is_not_mixed_in(tmp_path: Path) -> None:
    stopped_at_seven(quick(), tmp_path / "gan")
    with pytest.raises(ga.ArtifactError, match=r"seed 0 there, 1 now.*delete it"):
        fit(quick(), out=tmp_path / "gan", seed=1)
    checkpoint = tmp_path / ".gan.training.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ga.ArtifactError, match="damaged"):
        fit(quick(), out=tmp_path / "gan")


def test_saved_equals_loaded(tmp_path: Path) -> None:
    fitted = fit(quick(), out=tmp_path / "gan", groups=[i // 2 for i in range(30)])
    loaded = ga.load(tmp_path / "gan")
    assert same_weights(fitted, loaded)
    assert loaded.fingerprint == fitted.fingerprint
    assert loaded.image_spec == fitted.image_spec
    assert np.array_equal(loaded.fitted_on.images, fitted.fitted_on.images)
    assert len(loaded.fitted_on.groups) == 15
    with pytest.raises(ga.SynthesizerError, match=r"bind\(dataset\)"):
        loaded.sample([0], [0])
    images = loaded.bind(data()).sample([0, 1, 2], [5, 6, 7])
    expected = fitted.sample([0, 1, 2], [5, 6, 7])
    assert torch.equal(images.images, expected.images)
    assert np.array_equal(images.parents, expected.parents)  # type: ignore[arg-type]


def test_no_image_is_stored(tmp_path: Path) -> None:
    fit(quick(), out=tmp_path / "gan")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "gan").iterdir())
    assert not any(image.tobytes() in stored for image, _ in data())


def test_fine_tuning_starts_from_the_weights_given() -> None:
    first = fit(quick(steps=4))
    tuned = fit(quick(steps=1, learning_rate=1e-12, ema=0.0), init=first)
    for key, value in weights(first).items():
        torch.testing.assert_close(weights(tuned)[key], value, atol=1e-5, rtol=1e-4, msg=key) if "_u" not in key and (
            "_v" not in key
        ) else None
    assert tuned.fingerprint != first.fingerprint
    with pytest.raises(ga.ConfigError, match="recipe sngan"):
        fit(quick("sngan"), init=first)
    with pytest.raises(ga.ArtifactError, match="of another shape"):
        ga.fit(data(classes=5), DAGAN(steps=1, width=40), init=first, min_images=0, progress=False)


def test_diverging_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ga.TrainingError, match=r"finite losses.*learning rate"):
        fit(quick(learning_rate=1e30, steps=60), out=tmp_path / "gan")
    assert not (tmp_path / "gan").exists()


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    one_class = [(image, 0) for image, _ in data()]
    with pytest.raises(ga.DataError, match="at least two classes, found one"):
        ga.fit(one_class, progress=False)
    single = [*data(), (data()[0][0] + 1, 3)]
    with pytest.raises(ga.DataError, match=r"a single image of 3"):
        ga.fit(single, progress=False)
    with pytest.raises(ga.ConfigError, match=r"auto, dagan, sngan, .*found 'biggan'"):
        ga.fit(data(), "biggan", progress=False)
    with pytest.raises(ga.ConfigError, match="unlabelled"):
        ga.fit(data(), unlabelled=data(), progress=False)
    mixed = [*data(), (np.zeros((9, 9), np.uint8), 1)]
    with pytest.raises(ga.DataError, match=r"mixed sizes.*image_size="):
        ga.fit(mixed, min_images=0, progress=False)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("mine")
    with pytest.raises(ga.ArtifactError, match="not to exist"):
        fit(quick(), out=tmp_path / "there")
    assert (tmp_path / "there" / "file").read_text() == "mine"


def test_small_classes_are_told_of() -> None:
    with pytest.warns(ga.SmallClassWarning, match=r"fewer than 20 images of 0 \(10\), 1 \(10\), 2 \(10\)"):
        ga.fit(data(), quick(steps=1), progress=False)  # type: ignore[arg-type]


def test_mixed_sizes_and_rgb_with_image_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = [(rng.integers(0, 256, (12 + i % 5, 20, 3), dtype=np.uint8), i % 2) for i in range(12)]
    synthesizer = ga.fit(images, quick(steps=2), image_size=(16, 24), min_images=0, progress=False)  # type: ignore[arg-type]
    assert synthesizer.sample([0, 1], [0, 1]).images.shape == (2, 3, 16, 24)


def test_the_artifact_describes_itself(tmp_path: Path) -> None:
    fit(quick(), out=tmp_path / "gan")
    about = json.loads((tmp_path / "gan" / "synthesizer.json").read_text())
    assert about["recipe"]["name"] == "dagan"
    assert about["classes"] == ["0", "1", "2"]
    assert about["images"] == 30
    assert set(about["fingerprint"]) == {"data", "recipe", "weights"}


def test_flipped_bits_are_found(tmp_path: Path) -> None:
    fit(quick(), out=tmp_path / "gan")
    stored = tmp_path / "gan" / "weights.safetensors"
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(bytes(content))
    with pytest.raises(ga.ArtifactError, match="weights that were saved"):
        ga.load(tmp_path / "gan")


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background starts with it ignored
sys.path.insert(0, {root!r})
from tests.training.test_trainer import fit, quick
fit(quick(steps=100000), out={out!r}, checkpoint_every=20)
"""


def test_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    code = INTERRUPTED.format(root=str(Path(__file__).parents[2]), out=str(tmp_path / "gan"))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        checkpoint = tmp_path / ".gan.training.safetensors"
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told
    stopped = re.search(r"stopped after step (\d+) of 100000; the same call goes on from there", told)
    assert stopped is not None
    with safe_open(checkpoint, "pt") as file:
        assert file.metadata()["step"] == stopped[1]
    assert {path.name for path in tmp_path.iterdir()} - {".gan.training"} == {".gan.training.safetensors"}  # and a log


def test_a_resumed_run_has_the_same_labels_and_range(tmp_path: Path) -> None:
    stopped_at_seven(quick(), tmp_path / "gan")
    shifted = [(label + 1) % 3 for _, label in data()]
    with pytest.raises(ga.ArtifactError, match=r"data .* there, .* now"):
        fit(quick(), out=tmp_path / "gan", targets=shifted)
    with pytest.raises(ga.ArtifactError, match=r"data .* there, .* now"):
        ga.fit(data()[::-1], quick(), out=tmp_path / "gan", min_images=0, progress=False)  # type: ignore[arg-type]
    with pytest.raises(ga.ArtifactError, match=r"recipe\.learning_rate 0.0002 there, 0.001 now"):
        fit(quick(learning_rate=1e-3), out=tmp_path / "gan")


def test_a_hostile_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".gan.training.safetensors"
    stopped_at_seven(quick(), tmp_path / "gan")
    about, tensors = stored(path)
    adam = next(key for key in tensors if key.endswith("exp_avg"))
    average = next(key for key in tensors if key.startswith("average"))
    damaged = [
        ({**about, "step": "-1000000"}, tensors),
        ({**about, "step": "999999999"}, tensors),
        ({**about, "settings": "null"}, tensors),
        ({**about, "settings": "[" * 100_000}, tensors),
        (about, {key: value for key, value in tensors.items() if key != adam}),
        (about, {key: value for key, value in tensors.items() if not key.startswith("adam")}),
        (about, {key: value for key, value in tensors.items() if not key.startswith("adam|d")}),
        (about, {**tensors, adam: tensors[adam].flatten()[:1]}),
        (about, {**tensors, "adam|g|x|exp_avg": tensors[adam].clone()}),
        (about, {**tensors, average: torch.full_like(tensors[average], torch.nan)}),
        (about, {**tensors, average: tensors[average].to(torch.float8_e4m3fn)}),
    ]
    for metadata, contents in damaged:
        save_file(contents, path, metadata)
        with pytest.raises(ga.ArtifactError):
            fit(quick(), out=tmp_path / "gan")
    save_file(tensors, path, about)
    assert same_weights(fit(quick(), out=tmp_path / "gan"), fit(quick()))
