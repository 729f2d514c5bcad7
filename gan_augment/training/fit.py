"""fit: a dataset in, a synthesizer out."""

import glob
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from gan_augment.artifacts import refuse_existing, storing
from gan_augment.balance import MIN_IMAGES, check_classes
from gan_augment.errors import ConfigError, StorageError, whole
from gan_augment.fingerprint import FittedOn, hash_array, hash_json
from gan_augment.locks import exclusive
from gan_augment.machine import peak_memory
from gan_augment.ranks import Ranks
from gan_augment.recipes import Recipe
from gan_augment.source import RawView
from gan_augment.synthesizers import PretrainedSynthesizer, TrainedSynthesizer
from gan_augment.training.checkpoint import resume, save_checkpoint
from gan_augment.training.interrupt import interruptible
from gan_augment.training.log import TrainingLog
from gan_augment.training.observe import Observer
from gan_augment.training.prepare import Prepared, prepare, recipe_with
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Stop, Watch

__all__ = ["fit"]

_LONGEST = 120.0
"""Seconds from one checkpoint to the next, at most."""


def fit(
    dataset: Any,
    recipe: str | Recipe = "auto",
    image_size: int | Sequence[int] | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
    init: TrainedSynthesizer | PretrainedSynthesizer | None = None,
    unlabelled: Any = None,
    *,
    targets: npt.ArrayLike | None = None,
    groups: Sequence[Any] | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
    device: str = "auto",
    checkpoint_every: int = 500,
    progress: bool = True,
    freeze: int = 0,
    precision: str = "auto",
    accumulate: int = 1,
    channels_last: bool = False,
    watch_every: int = 500,
    stop: Stop = "steps",
    patience: int = 3,
    tensorboard: str | Path | None = None,
) -> TrainedSynthesizer:
    """Trains a class-conditional GAN on the raw images of a dataset.

    The result is bound to the dataset: an image-conditioned recipe draws its parents there. With `out`, a killed
    run goes on from its last checkpoint when it is called again with the same settings, and ends as an unbroken one.

    Under `accelerate launch` or torchrun every process must call this, with the same arguments: each works off its
    part of every batch on its own device, rank 0 writes, and all return the same synthesizer. The result is that of
    one process but for rounding, for every recipe whose networks keep no batch statistics, which a recipe's docstring
    tells where they do; so a run may go on with another number of processes.

    Args:
        dataset: The training split, or a RawView of it. Items are read before their transform.
        recipe: A name, such as "dagan" (`gan_augment.recipes.RECIPES` has them all), "auto" for the one measured
            best, or a Recipe with settings of its own.
        image_size: Side, or spatial shape, that the networks work at, rounded up to what they can halve; None for the
            images' own.
        steps: Steps of the training; None for the recipe's own.
        out: New folder for the synthesizer; None to keep it in memory.
        init: Synthesizer of the same recipe and shapes to start from, of these or other classes: what it knows of a
            class goes to the class of the same name, and a new class starts around the mean of those that it knows.
            Or a PretrainedSynthesizer, whose released networks are trained on, with its own discriminator where it
            brings one, at its own image size (`gan_augment.recipes.Continued`).
            No phase of the recipe then begins by handing weights on: every network has its own already.
        unlabelled: Images without labels, for recipes that use them; none of today's does.
        targets: One class for each item, where the dataset does not say.
        groups: One group (patient) for each item; kept as hashes, so that a later evaluation can be checked.
        min_images: Warn of classes with fewer images.
        seed: Of weights, batches, latents and augmentation: the same seed gives the same weights on one machine.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        checkpoint_every: Steps between checkpoints, of which there is one every two minutes besides; 0 for none.
        progress: Whether to show progress bars on a terminal.
        freeze: Number of first blocks of the discriminator that stay as they are in `init` (FreezeD, Mo et al. 2020).
        precision: Of the networks' computation: "fp32", "bf16", "fp16" (CUDA only), or "auto", which is fp32 unless
            `accelerate launch --mixed_precision` says otherwise. Weights, losses and penalties are float32 always.
        accumulate: Parts that each process works its share of a batch off in, to save memory; the result is that of
            one part but for rounding.
        channels_last: Whether tensors of 2-D images lie in memory with the channels last: another speed, the same
            result but for rounding.
        watch_every: Steps from one look at the samples to the next (`Watch`); 0 for none. A look at ten classes takes
            the time of about two steps of a CPU, so that from 50 on all looks take less than 5% there. A training of
            fewer steps is not looked at.
        stop: "steps" to take all of them; "quality" to keep a fifth of each class with 50 images or more out of the
            training, to end it when looks no longer improve, and to return the best networks.
        patience: Looks without a better mean KID over the classes that end a training with `stop="quality"`, from
            a quarter of the steps on.
        tensorboard: Folder for TensorBoard's files; needs the extra of that name.

    Returns:
        The synthesizer. Its folder also holds `log.jsonl` and, where there were looks, grids in `samples`; until the
        training ends they grow beside it in `.NAME.training`.

    Raises:
        DataError: There are fewer than two classes, a class has fewer than two images, or images cannot be used.
        ConfigError: A parameter has a value that cannot work.
        ArtifactError: `out` exists, or holds an unfinished training with other settings, or another process trains
            for it at this moment; or `init` is of another architecture, whose differences are shown.
        StorageError: The disk refused.
        TrainingError: The training diverged, or another process of it failed.
    """
    if out is not None:
        refuse_existing(out, "synthesizer")
    checkpoint_every, seed = whole("checkpoint_every", checkpoint_every, 0), whole("seed", seed, 0)
    recipe = recipe_with(recipe, steps, init)
    if unlabelled is not None:
        raise ConfigError(f"expected no unlabelled= for {recipe.name}, which learns from labelled images only")
    with Ranks.find(device) as ranks:
        progress = progress and ranks.first
        view = RawView.of(dataset, targets, groups, progress=progress)
        check_classes(view.counts, view.classes, min_images if ranks.first else 0)
        with _claimed(out if ranks.first else None):
            prepared = prepare(
                view,
                recipe,
                image_size,
                ranks,
                seed=seed,
                precision=precision,
                accumulate=accumulate,
                channels_last=channels_last,
                init=init,
                freeze=whole("freeze", freeze, 0),
                watch_every=watch_every,
                stop=stop,
                patience=patience,
            )
            trainer = prepared.trainer
            settings = {**_settings(prepared, seed, init), "freeze": int(freeze), **prepared.watch.settings()}
            log = _run(prepared, settings, _checkpoint_path(out), checkpoint_every, tensorboard, progress)
            prepared.watch.settle(trainer.result())
            synthesizer = TrainedSynthesizer(
                recipe,
                trainer.result(),
                prepared.spec,
                class_names=view.classes,
                image_spec=prepared.image_spec,
                seed=seed,
                fitted_on=FittedOn.union(view.fitted_on, FittedOn.of(init)),
                class_counts=view.counts,
                watched=prepared.watch.summary(trainer.step),
            )
            synthesizer.licence = getattr(init, "licence", None)
            if out is not None and ranks.first:
                _save(synthesizer, Path(out), log)
    return synthesizer.bind(view) if synthesizer.needs_parents else synthesizer


def _settings(prepared: Prepared, seed: int, init: TrainedSynthesizer | PretrainedSynthesizer | None) -> dict[str, Any]:
    """Returns all that a training depends on: an unfinished one goes on only under the same."""
    view = prepared.view
    return {
        "recipe": prepared.recipe.to_json(),
        "spec": prepared.spec.to_json(),
        "data": hash_array(np.stack([view.hashes, view.targets])),
        "groups": hash_json(view.group_hashes.tolist()),
        "classes": view.classes,
        "image_spec": prepared.image_spec.to_json(),
        "seed": seed,
        "precision": prepared.trainer.precision,
        "init": None if init is None else init.fingerprint["weights"],
    }


def _checkpoint_path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out).parent / f".{Path(out).name}.training.safetensors"


@contextmanager
def _claimed(out: str | Path | None) -> Iterator[None]:
    """Keeps other processes from training for the same folder meanwhile."""
    path = _checkpoint_path(out)
    if path is None:
        yield
        return
    with ExitStack() as held:
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(path.with_suffix(".lock"), f"the training for {out}"))
        yield


def _save(synthesizer: TrainedSynthesizer, out: Path, log: TrainingLog) -> None:
    try:
        synthesizer.save(out)
    except StorageError:
        path = _checkpoint_path(out)
        if path is not None and not path.exists():
            log.discard()  # there is no training to go on with
        raise
    log.keep(out)
    _clear(out)


def _clear(out: str | Path) -> None:
    """Removes the checkpoint of a finished training, and what processes killed while writing one left."""
    path = _checkpoint_path(out)
    assert path is not None
    path.unlink(missing_ok=True)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        left.unlink(missing_ok=True)


def _run(
    prepared: Prepared,
    settings: dict[str, Any],
    path: Path | None,
    every: int,
    tensorboard: str | Path | None,
    progress: bool,
) -> TrainingLog:
    trainer, watch = prepared.trainer, prepared.watch
    if path is not None and resume(trainer, path, settings, watch) and progress:
        tqdm.write(f"going on with the training in {path} from step {trainer.step}", file=sys.stderr)
    ranks = trainer.ranks
    log = TrainingLog(
        path.with_suffix("") if path is not None and ranks.first else None,
        tensorboard=tensorboard if ranks.first else None,
        step=trainer.step,
        batch_size=trainer.recipe.batch_size,
    )
    observe = Observer(trainer, watch, log, prepared.view)
    saved = time.monotonic()
    with interruptible(patient=ranks.count > 1) as interrupted:

        def after_step(step: int, terms: Mapping[str, Tensor]) -> bool:
            nonlocal saved
            ends = observe(step, terms)
            stop = ranks.any(bool(interrupted))
            due = every and (step % every == 0 or time.monotonic() - saved > _LONGEST) and step < trainer.recipe.steps
            if path is not None and ranks.first and (due or stop):
                save_checkpoint(trainer, path, settings, watch)
                saved = time.monotonic()
            if stop:
                kept = "nothing was kept" if path is None else "the same call goes on from there"
                if ranks.first:
                    tqdm.write(f"stopped after step {step} of {trainer.recipe.steps}; {kept}", file=sys.stderr)
                ranks.any(False)  # nobody leaves before the checkpoint is written
                raise KeyboardInterrupt
            return ends

        description = f"training {trainer.recipe.name}" if progress else None
        try:
            if not watch.ended(trainer.step):  # or the checkpoint is of the very step that ended it
                trainer.run(prepared.batches, description=description, after_step=after_step)
        finally:
            log.close()
    if progress:
        _tell(trainer, watch)
    return log


def _tell(trainer: Trainer, watch: Watch) -> None:
    peak = peak_memory(trainer.device)
    used = "" if peak is None else f", peak memory {peak / 2**30:.2f} GiB"
    tqdm.write(f"trained {trainer.recipe.name} to step {trainer.step}{used}", file=sys.stderr)
    if thought := watch.afterthought():
        tqdm.write(thought, file=sys.stderr)
