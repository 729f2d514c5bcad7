"""fit: a dataset in, a synthesizer out."""

import dataclasses
import glob
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gan_augment.artifacts import load_state, refuse_existing, storing
from gan_augment.balance import MIN_IMAGES, check_classes
from gan_augment.errors import ConfigError, whole
from gan_augment.fingerprint import hash_array, hash_json
from gan_augment.images import ImageSpec
from gan_augment.machine import pick_device
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Recipe, get_recipe
from gan_augment.source import RawView
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training.batches import Batches
from gan_augment.training.checkpoint import resume, save_checkpoint
from gan_augment.training.trainer import Trainer

__all__ = ["fit"]


def fit(
    dataset: Any,
    recipe: str | Recipe = "auto",
    image_size: int | Sequence[int] | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    init: TrainedSynthesizer | None = None,
    unlabelled: Any = None,
    *,
    targets: npt.ArrayLike | None = None,
    groups: Sequence[Any] | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
    device: str = "auto",
    checkpoint_every: int = 500,
    progress: bool = True,
) -> TrainedSynthesizer:
    """Trains a class-conditional GAN on the raw images of a dataset.

    The result is bound to the dataset: an image-conditioned recipe draws its parents there. With `out`, a killed
    run goes on from its last checkpoint when it is called again with the same settings, and ends as an unbroken one.

    Args:
        dataset: The training split, or a RawView of it. Items are read before their transform.
        recipe: A name ("dagan", "sngan"), "auto" for the one measured best, or a Recipe with settings of its own.
        image_size: Side, or spatial shape, that the networks work at, rounded up to what they can halve; None for the
            images' own.
        steps: Steps of the training; None for the recipe's own.
        out: New folder for the synthesizer; None to keep it in memory.
        init: Synthesizer of the same recipe and shapes to start from.
        unlabelled: Images without labels, for recipes that use them; none of today's does.
        targets: One class for each item, where the dataset does not say.
        groups: One group (patient) for each item; kept as hashes, so that a later evaluation can be checked.
        min_images: Warn of classes with fewer images.
        seed: Of weights, batches, latents and augmentation: the same seed gives the same weights on one machine.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        checkpoint_every: Steps between checkpoints; 0 for none.
        progress: Whether to show progress bars on a terminal.

    Returns:
        The synthesizer.

    Raises:
        DataError: There are fewer than two classes, a class has fewer than two images, or images cannot be used.
        ConfigError: A parameter has a value that cannot work.
        ArtifactError: `out` exists, or holds an unfinished training with other settings.
        StorageError: The disk refused.
        TrainingError: The training diverged.
    """
    if out is not None:
        refuse_existing(out, "synthesizer")
    checkpoint_every, seed = whole("checkpoint_every", checkpoint_every, 0), whole("seed", seed, 0)
    recipe = get_recipe(recipe)
    if steps is not None:
        recipe = dataclasses.replace(recipe, steps=whole("steps", steps))
    if unlabelled is not None:
        raise ConfigError(f"expected no unlabelled= for {recipe.name}, which learns from labelled images only")
    view = RawView.of(dataset, targets, groups, progress=progress)
    check_classes(view.counts, view.classes, min_images)
    image_spec = view.spec(image_size)
    spec = NetworkSpec(channels=image_spec.channels, grid=image_spec.grid, num_classes=view.num_classes)
    where = pick_device(device)
    trainer = Trainer(recipe, spec, seed=seed, device=where)
    if init is not None:
        _start_from(trainer, init)
    batches = Batches(view, image_spec, recipe, seed=seed, device=where)
    settings = _settings(view, recipe, spec, image_spec, seed, init)
    _run(trainer, batches, settings, _checkpoint_path(out), checkpoint_every, progress)
    synthesizer = TrainedSynthesizer(
        recipe,
        trainer.result(),
        spec,
        class_names=view.classes,
        image_spec=image_spec,
        seed=seed,
        fitted_on=view.fitted_on,
    )
    if out is not None:
        synthesizer.save(out)
        path = _checkpoint_path(out)
        assert path is not None
        path.unlink(missing_ok=True)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):  # of processes killed while writing
            left.unlink(missing_ok=True)
    return synthesizer.bind(view) if synthesizer.needs_parents else synthesizer


def _settings(
    view: RawView, recipe: Recipe, spec: NetworkSpec, image_spec: ImageSpec, seed: int, init: TrainedSynthesizer | None
) -> dict[str, Any]:
    """Returns all that a training depends on: an unfinished one goes on only under the same."""
    return {
        "recipe": recipe.to_json(),
        "spec": spec.to_json(),
        "data": hash_array(np.stack([view.hashes, view.targets])),
        "groups": hash_json(view.group_hashes.tolist()),
        "classes": view.classes,
        "image_spec": image_spec.to_json(),
        "seed": seed,
        "init": None if init is None else init.fingerprint["weights"],
    }


def _start_from(trainer: Trainer, init: TrainedSynthesizer) -> None:
    if init.recipe.name != trainer.recipe.name:
        raise ConfigError(f"expected init= of recipe {trainer.recipe.name}, found one of {init.recipe.name}")
    for name, network in init.networks.items():
        load_state(trainer.networks[name], network.state_dict(), f"this dataset's {name}")
        if name in trainer.averaged:
            load_state(trainer.averaged[name], network.state_dict(), f"this dataset's {name}")


def _checkpoint_path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out).parent / f".{Path(out).name}.training.safetensors"


def _run(
    trainer: Trainer, batches: Batches, settings: dict[str, Any], path: Path | None, every: int, progress: bool
) -> None:
    if path is not None and resume(trainer, path, settings) and progress:
        tqdm.write(f"going on with the training in {path} from step {trainer.step}", file=sys.stderr)
    with _interruptible() as interrupted:

        def after_step(step: int) -> None:
            due = every and step % every == 0 and step < trainer.recipe.steps
            if path is not None and (due or interrupted):
                with storing(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                save_checkpoint(trainer, path, settings)
            if interrupted:
                kept = "nothing was kept" if path is None else "the same call goes on from there"
                tqdm.write(f"stopped after step {step} of {trainer.recipe.steps}; {kept}", file=sys.stderr)
                raise KeyboardInterrupt

        description = f"training {trainer.recipe.name}" if progress else None
        trainer.run(batches, description=description, after_step=after_step)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Gives a list that is empty until Ctrl-C: the step in work can then be finished. A second Ctrl-C stops at once."""
    interrupted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, _: Any) -> None:
        interrupted.append(number)
        signal.signal(signal.SIGINT, before)

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
