"""The verb fit of the command line."""

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from gan_augment.options import Json, Quiet, Seed, example, show

__all__ = ["FIT_EXAMPLE", "fit"]

FIT_EXAMPLE = example(
    "gan-augment fit data/train --out runs/gan --dry-run",
    "gan-augment fit data/train --out runs/gan",
    "gan-augment fit data/train --out runs/gan --image-size 64 --steps 5000 --precision bf16",
    "gan-augment fit data/train --out runs/tuned --init runs/gan --freeze 2 --steps 500",
    "accelerate launch --num_processes 4 -m gan_augment fit data/train --out runs/gan",
)


def fit(
    folder: Annotated[Path, typer.Argument(help="Training images, a folder for each class.")],
    out: Annotated[Path, typer.Option(help="New folder for the synthesizer.")],
    recipe: Annotated[
        str,
        typer.Option(help="dagan, icgan, sngan, acgan, bagan_gp, r3gan, stylegan2_ada; auto is the one measured best."),
    ] = "auto",
    image_size: Annotated[
        int | None, typer.Option(help="Side that the networks work at; needed where images differ in size.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps; the recipe's own by default.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="Synthesizer to start from, of any classes: one of the same recipe, or one of convert."),
    ] = None,
    freeze: Annotated[int, typer.Option(help="First blocks of the discriminator that stay as they are in --init.")] = 0,
    min_images: Annotated[int, typer.Option(help="Warn of classes with fewer images.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, fp16 (CUDA only), or auto: fp32, or what accelerate launch says.")
    ] = "auto",
    accumulate: Annotated[int, typer.Option(help="Work each batch off in so many parts, to save memory.")] = 1,
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Another order in memory: try whether it is faster here.")
    ] = False,
    stop: Annotated[
        str, typer.Option(help="steps, or quality: hold out a fifth of large classes, stop early, keep the best.")
    ] = "steps",
    watch_every: Annotated[int, typer.Option(help="Steps from one look at the samples to the next; 0 for none.")] = 500,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's files; needs the extra tensorboard.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write nothing; say what it would take from scratch: memory, time."),
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train a GAN on a folder of images.

    A run that was killed goes on from its last checkpoint, of two minutes ago at most, when the same command is given
    again; one stopped by Ctrl-C goes on from where it stopped. OUT holds log.jsonl
    and, of longer trainings, grids of samples as they changed; both grow in .OUT.training meanwhile. Under accelerate
    launch or torchrun all processes train one GAN together, and the first writes it.
    """
    from gan_augment.artifacts import refuse_existing
    from gan_augment.folders import open_folder
    from gan_augment.ranks import is_first
    from gan_augment.synthesizers import load
    from gan_augment.training import fit as fit_synthesizer
    from gan_augment.training.plan import plan

    began = time.monotonic()
    refuse_existing(out, "synthesizer")
    dataset = open_folder(folder)
    settings = {
        "image_size": image_size,
        "steps": steps,
        "min_images": min_images,
        "seed": seed,
        "device": device,
        "precision": precision,
        "accumulate": accumulate,
        "channels_last": channels_last,
        "progress": not quiet,
    }
    if dry_run:
        planned = plan(dataset, recipe, **settings)  # type: ignore[arg-type]
        if is_first():
            show(planned.to_json(), "\n".join(planned.sentences()), as_json)
        return
    start = None if init is None else load(init)
    watching = {"stop": stop, "watch_every": watch_every, "tensorboard": tensorboard}
    gan = fit_synthesizer(dataset, recipe, out=out, init=start, freeze=freeze, **watching, **settings)  # type: ignore[arg-type]
    if not is_first():
        return
    result = {
        "out": str(out),
        "recipe": gan.recipe.to_json(),
        "classes": list(gan.class_names),
        "images": len(gan.fitted_on),
        "fingerprint": gan.fingerprint,
        "watched": gan.watched,
        "seconds": round(time.monotonic() - began, 1),
    }
    following = ["gan-augment", "build", str(out), "--like", str(folder), "--out", f"{out}-pool"]
    told = (
        f"{out}: {gan.recipe.name}, {gan.num_classes} classes, {len(gan.fitted_on)} images, {result['seconds']} s\n"
        f"Next: {shlex.join(following)}"
    )
    show(result, told, as_json)
