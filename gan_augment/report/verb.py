"""The verb report of the command line."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gan_augment.options import Json, Quiet, Seed, example, show

__all__ = ["EXAMPLE", "report"]

EXAMPLE = example(
    "gan-augment report runs/pool --train data/train --out runs/report.html",
    "gan-augment report runs/pool --train data/train --holdout data/val --evaluation runs/result.json --out page.html",
)


def report(
    pool: Annotated[Path, typer.Argument(help="Folder of the pool that build wrote.")],
    train: Annotated[Path, typer.Option(help="The training images that the pool was built for.")],
    out: Annotated[Path, typer.Option(help="The page, a file; an earlier page is replaced.")],
    holdout: Annotated[
        Path | None, typer.Option(help="Real images that neither GAN nor judge has seen: a better check for copies.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(help="What ga.evaluate found, saved as JSON: did the images help?")
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="Folder of a judge whose features the plot shows; pixels without.")
    ] = None,
    audit: Annotated[
        bool, typer.Option(help="Measure the images; --no-audit only shows them, which is quicker.")
    ] = True,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Audit a pool and write a page about it.

    It tells what was made, how good it is, and whether it helped.
    The page is one HTML file that needs no network. It shows real images: do not give it to those who may not see them.
    """
    from gan_augment.evaluation import EvaluationResult
    from gan_augment.features import load_extractor
    from gan_augment.folders import open_folder
    from gan_augment.pool import SyntheticPool
    from gan_augment.report.page import page_path, write_report
    from gan_augment.source import RawView

    began = time.monotonic()
    page_path(out)
    drawn = SyntheticPool.open(pool)
    measured = None if evaluation is None else EvaluationResult.load(evaluation)
    extractor = None if judge is None else load_extractor(judge)
    view = RawView(open_folder(train), progress=not quiet)
    found = _audited(drawn, view, holdout, seed, quiet) if audit and len(drawn) else None
    warned = [] if measured is None else _mismatch(measured, view)
    if not len(drawn):
        warned.append("no candidate was kept: there is nothing to audit, and training would repeat real images")
    write_report(
        out,
        train=view,
        pool=drawn,
        audit=found,
        evaluation=measured,
        extractor=extractor,
        title=f"Synthetic images of {pool.resolve().name}",
        subtitle=f"{len(drawn)} kept of {len(drawn.candidates())} candidates, beside {len(view)} training images",
        warnings=warned,
        facts={"pool": str(pool), "train": str(train), "holdout": holdout, "evaluation": evaluation, "judge": judge},
        progress=not quiet,
    )
    result = {
        "out": str(out),
        "audit": None if found is None else found.to_json(),
        "sentence": None if measured is None else measured.sentence(),
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [*warned, found.summary() if found is not None else "The images were not audited."]
    lines += [] if measured is None else [measured.sentence()]
    show(result, "\n".join([*lines, f"Look at {out}."]), as_json)


def _audited(pool: Any, view: Any, holdout: Path | None, seed: int, quiet: bool) -> Any:
    from gan_augment.folders import open_folder
    from gan_augment.quality import audit

    held = None if holdout is None else open_folder(holdout)
    return audit(pool, view, holdout=held, seed=seed, progress=not quiet)


def _mismatch(evaluation: Any, view: Any) -> list[str]:
    """Returns a warning where the evaluation was made with another training set."""
    if list(evaluation.classes) == list(view.classes) and list(evaluation.counts) == view.counts.tolist():
        return []
    return ["the evaluation was made with another training set than the one shown here: its classes or counts differ"]
