"""The verbs evaluate and recommend of the command line."""

import math
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gan_augment.augmentation import Augmentation
from gan_augment.options import Json, Quiet, Seed, example, show

__all__ = ["EVALUATE_EXAMPLE", "RECOMMEND_EXAMPLE", "evaluate", "recommend"]

EVALUATE_EXAMPLE = example(
    "gan-augment evaluate data/train data/test --pool runs/pool --out runs/evaluation.json",
    "gan-augment evaluate data/train data/test --arms grid --seeds 5 --steps 3000 --flip --out runs/grid.json",
)
RECOMMEND_EXAMPLE = example(
    "gan-augment recommend data/train",
    "gan-augment recommend data/train --folds 3 --gan-steps 5000 --json",
)

Flip = Annotated[bool, typer.Option("--flip", help="Let augmented arms mirror images; is a mirrored one still right?")]
ImageSize = Annotated[int | None, typer.Option(help="Side that networks see; needed where images differ in size.")]
Steps = Annotated[int, typer.Option(help="Optimiser steps of each classifier.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def evaluate(
    train: Annotated[Path, typer.Argument(help="Training images, a folder for each class.")],
    test: Annotated[Path, typer.Argument(help="Held-out images, a folder for each class.")],
    out: Annotated[Path, typer.Option(help="File for the result, JSON; the verb report shows it.")],
    pool: Annotated[Path | None, typer.Option(help="Folder of the pool; without, only free arms are compared.")] = None,
    arms: Annotated[
        str, typer.Option(help="quick (2 free arms, selected, random), grid (20 free arms) or all.")
    ] = "quick",
    seeds: Annotated[int, typer.Option(help="Trainings of each arm, from seed 0.", min=1)] = 3,
    steps: Steps = 1000,
    image_size: ImageSize = None,
    flip: Flip = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Compare arms: do the synthetic images help?

    The same classifier is trained under every arm, with as many steps and from the same weights.
    No test image may have been seen by the training set, the GAN or the judge: that is checked. A run that was killed
    goes on where it was when the same command is given again.
    """
    from gan_augment.artifacts import storing
    from gan_augment.errors import ArtifactError
    from gan_augment.evaluation.evaluate import evaluate as run
    from gan_augment.folders import open_folder
    from gan_augment.pool import SyntheticPool

    if out.exists() and not out.is_file():
        raise ArtifactError(f"expected the name of a file for the result, found the folder {out}; give another --out")
    began = time.monotonic()
    result = run(
        open_folder(train),
        open_folder(test),
        arms,
        seeds,
        steps=steps,
        pool=None if pool is None else SyntheticPool.open(pool),
        image_size=image_size,
        augmentation=Augmentation(flip=flip),
        device=device,
        progress=not quiet,
        keep=(kept := out.with_name(f".{out.name}.arms")),
    )
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    result.save(out)
    shutil.rmtree(kept, ignore_errors=True)
    told = [*_table(result), "", result.sentence()]
    if result.half_steps is not None:
        told.append(
            f"With half of the steps {result.reference} has {100 * result.half_steps.mean:+.1f} points: "
            "near zero says that the steps are enough."
        )
    if pool is not None:
        told.append(
            f"Next: gan-augment report {pool} --train {train} --evaluation {out} --out {out.with_suffix('.html')}"
        )
    show({"out": str(out), **result.to_json(), "seconds": round(time.monotonic() - began, 1)}, "\n".join(told), as_json)


def _table(result: Any) -> list[str]:
    width = max(len(arm) for arm in result.scores) + 2
    lines = [f"{'arm':<{width}}{'kind':<12}{'balanced accuracy':<21}{'few recall':<12}against {result.reference}"]
    for arm in sorted(result.scores, key=lambda arm: -result.interval(arm).mean):
        own, few = result.interval(arm), result.interval(arm, "few_recall").mean
        score = f"{100 * own.mean:.1f}" + (
            "" if math.isnan(own.low) else f" [{100 * own.low:.1f}, {100 * own.high:.1f}]"
        )
        gain = result.difference(arm)
        told = "" if arm == result.reference else f"{100 * gain.mean:+.1f}"
        if told and not math.isnan(gain.low):
            told += f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
        rare = "-" if math.isnan(few) else f"{100 * few:.1f}"
        lines.append(f"{arm:<{width}}{result.kinds[arm]:<12}{score:<21}{rare:<12}{told}".rstrip())
    return lines


def recommend(
    train: Annotated[Path, typer.Argument(help="Training images, a folder for each class.")],
    folds: Annotated[int, typer.Option(help="A GAN is trained for each.", min=2)] = 5,
    recipe: Annotated[str, typer.Option(help="dagan, sngan, or auto for the one measured best.")] = "auto",
    gan_steps: Annotated[int | None, typer.Option(help="Steps of the GAN; the recipe's own by default.")] = None,
    steps: Steps = 1000,
    image_size: ImageSize = None,
    flip: Flip = False,
    device: Device = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say whether to use synthetic images, and how many.

    By cross-validation on the training images alone.
    Takes as long as training a GAN and eight classifiers for each fold. It may say: too few to tell, or: do not use it.
    """
    from gan_augment.evaluation.recommend import recommend as run
    from gan_augment.folders import open_folder

    began = time.monotonic()
    found = run(
        open_folder(train),
        folds=folds,
        recipe=recipe,
        gan_steps=gan_steps,
        steps=steps,
        image_size=image_size,
        augmentation=Augmentation(flip=flip),
        seed=seed,
        device=device,
        progress=not quiet,
    )
    lines = [*(_table(found.result) if found.result is not None else []), "", found.sentence()]
    if found.verdict == "use":
        schedule = "" if found.until >= 1 else f", schedule=ga.PhaseOut(epochs=YOURS, until={found.until:g})"
        lines.append(
            f"Next, in Python: ga.GANAugmentedDataset(train_set, pool, synthetic_share={found.share:g}{schedule})"
            + (" with a pool that has no selector" if found.rows == "all" else "")
        )
    show({**found.to_json(), "seconds": round(time.monotonic() - began, 1)}, "\n".join(lines).strip(), as_json)
