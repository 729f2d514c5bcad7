"""Parts of a batch, and what goes wrong in a training: a clear error, and the last good checkpoint is kept."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open

import gan_augment as ga
from gan_augment import scan, source
from gan_augment.recipes import DAGAN, RECIPES
from tests.helpers import ROOT, files_of, run_python
from tests.test_cli import digits_folder
from tests.training.test_trainer import fit, quick, same_weights, stopped_at_seven, weights


@pytest.mark.parametrize("name", RECIPES)
def test_parts_give_what_the_whole_batch_gives(name: str) -> None:
    recipe = RECIPES[name](batch_size=16, steps=6)
    whole, parts = weights(fit(recipe)), weights(fit(recipe, accumulate=4))
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, atol=1e-4, rtol=1e-3, msg=key)


def test_parts_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ga.ConfigError, match=r"3 parts divide evenly \(processes 1, accumulate 3\), found 8"):
        fit(quick(), accumulate=3)
    with pytest.raises(ga.ConfigError, match="accumulate of at least 1"):
        fit(quick(), accumulate=0)


def step_of(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as file:
        return int(file.metadata()["step"])


class Failing(DAGAN):
    """Does something bad in the discriminator's loss of step 7."""

    file: ClassVar[Path | None] = None

    def _discriminator(self, networks: object, batch: object, tools: object) -> Mapping[str, torch.Tensor]:
        terms = super()._discriminator(networks, batch, tools)  # type: ignore[arg-type]
        if tools.step < 7:  # type: ignore[attr-defined]
            return terms
        if self.file is not None:
            self.file.unlink(missing_ok=True)
            return terms
        return {name: term * torch.nan for name, term in terms.items()}


def failing(**settings: object) -> Failing:
    return Failing(batch_size=8, steps=12, **settings)  # type: ignore[arg-type]


def test_weights_that_are_not_finite_are_no_checkpoint(tmp_path: Path) -> None:
    """The loss is looked at every 20 steps only; a checkpoint in between must not replace the good one."""
    with pytest.raises(ga.TrainingError, match=r"finite weights after step 9, .*learning rate"):
        fit(failing(), out=tmp_path / "gan", checkpoint_every=3)
    assert step_of(tmp_path / ".gan.training.safetensors") == 6
    assert not (tmp_path / "gan").exists()
    with pytest.raises(ga.TrainingError, match="finite"):
        fit(failing())  # at the end it is found without a checkpoint, too


def test_a_dataset_that_vanishes_is_named_and_the_checkpoint_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_LOADER_BYTES", 0)  # as of a dataset too large for the memory
    monkeypatch.setattr(scan, "_KEEP_BYTES", 0)
    folder = digits_folder(tmp_path / "images", {"digit 3": 4, "digit 7": 3})
    monkeypatch.setattr(Failing, "file", folder / "digit 7" / "001.png")
    with pytest.raises(ga.DataError, match=r"item 5 .*digit 7/001\.png.* to be readable.*remove or repair it"):
        ga.fit(
            ga.open_folder(folder), failing(), out=tmp_path / "gan", checkpoint_every=5, min_images=0, progress=False
        )
    assert step_of(tmp_path / ".gan.training.safetensors") == 5
    assert not (tmp_path / "gan").exists()


FULL = """
import resource, signal, sys
from pathlib import Path
import gan_augment as ga
from tests.training.test_trainer import fit, quick
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
try:
    fit(quick(), out=Path(sys.argv[1]), checkpoint_every=5)
except ga.StorageError as error:
    print("Free some space" in str(error))
"""


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    stopped_at_seven(quick(), tmp_path / "gan")
    checkpoint = tmp_path / ".gan.training.safetensors"
    before = checkpoint.read_bytes()
    done = run_python(FULL, tmp_path / "gan")
    assert done.stdout == "True\n", done.stderr
    assert checkpoint.read_bytes() == before
    assert not [name for name in files_of(tmp_path) if name.endswith(".partial")]
    assert same_weights(fit(quick(), out=tmp_path / "gan", checkpoint_every=5), fit(quick()))


HOLDER = """
import sys
from pathlib import Path
from tests.training.test_trainer import fit, quick
fit(quick(steps=100_000), out=Path(sys.argv[1]), checkpoint_every=5)
"""


def test_a_second_training_for_the_same_folder_is_told_at_once(tmp_path: Path) -> None:
    out, lock = tmp_path / "gan", tmp_path / ".gan.training.lock"
    checkpoint = tmp_path / ".gan.training.safetensors"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(out)], cwd=ROOT) as holder:
        try:
            while not checkpoint.exists():
                assert holder.poll() is None
                time.sleep(0.02)
            with pytest.raises(ga.ArtifactError, match=r"nobody else .* another process does .*another out="):
                fit(quick(), out=out)
        finally:
            holder.send_signal(signal.SIGKILL)
    assert lock.exists()
    checkpoint.unlink()
    assert same_weights(fit(quick(), out=out), fit(quick()))  # a lock dies with its holder
    assert not lock.exists()


def test_what_a_checkpoint_says_of_its_run(tmp_path: Path) -> None:
    stopped_at_seven(quick(), tmp_path / "gan")
    with safe_open(tmp_path / ".gan.training.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["settings"])
    assert settings["precision"] == "fp32"
    assert "accumulate" not in settings  # the result does not depend on it
