"""What each process of tests/training/test_ranks.py does: `ranks_worker.py JOB FOLDER`."""

import os
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))

import gan_augment as ga
from gan_augment.recipes import RECIPES
from gan_augment.training.trainer import Trainer
from tests.training.test_trainer import data, fit, quick, stopped_at_seven, weights

RANK = int(os.environ.get("RANK", "0"))


def keep(synthesizer: object, folder: Path, name: str) -> None:
    tensors = {key: value.contiguous() for key, value in weights(synthesizer).items()}  # type: ignore[arg-type]
    save_file(tensors, folder / f"{name}.{RANK}")


def same(folder: Path) -> None:
    """Trains together in several ways, two of them by halves with one process that ran before or will run after."""
    for name in ("dagan", "sngan"):
        keep(fit(quick(name)), folder, name)
    keep(fit(RECIPES["sngan"](batch_size=16, steps=12), accumulate=2), folder, "accumulated")
    stopped_at_seven(quick(), folder / "stopped")
    keep(fit(quick(), out=folder / "begun_by_one", checkpoint_every=5), folder, "ended_by_two")
    assert (folder / "begun_by_one" / "synthesizer.json").is_file()  # nobody returns before it is written
    try:
        ga.fit(data(), RECIPES["sngan"](steps=2, batch_size=9), min_images=0, progress=False)
    except ga.ConfigError as error:
        (folder / f"refused.{RANK}").write_text(str(error))


def failing(folder: Path) -> None:
    """Rank 1 fails and lives on; rank 0 must not wait for it."""
    take = Trainer._take_step

    def step(self: Trainer, batches: object) -> object:
        if RANK == 1 and self.step == 3:
            raise ga.DataError("image 7 is gone")
        return take(self, batches)  # type: ignore[arg-type]

    Trainer._take_step = step  # type: ignore[assignment,method-assign]
    try:
        fit(quick())
    except (ga.DataError, ga.TrainingError) as error:
        (folder / f"failed.{RANK}").write_text(f"{type(error).__name__}: {error}")
    while not (folder / "failed.0").exists():
        time.sleep(0.05)


def endless(folder: Path) -> None:
    """Trains until it is interrupted."""
    try:
        fit(quick(steps=100_000), out=folder / "gan", checkpoint_every=20)
    except KeyboardInterrupt:
        (folder / f"interrupted.{RANK}").touch()


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"same": same, "failing": failing, "endless": endless}[sys.argv[1]](Path(sys.argv[2]))
