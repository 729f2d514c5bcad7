"""The command line: fit, build, evaluate, recommend, report, demo."""

import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_augment.errors import ConfigError, GanAugmentError
from gan_augment.evaluation import verbs
from gan_augment.options import Json, Quiet, Seed, example, show
from gan_augment.report import verb
from gan_augment.training.verb import FIT_EXAMPLE, fit

if TYPE_CHECKING:
    from gan_augment.source import RawView
    from gan_augment.types import Extractor

__all__ = ["app", "main"]

app = typer.Typer(
    name="gan-augment",
    help="Rebalance an imbalanced image set with synthetic images of its rare classes.",
    epilog="Start with: gan-augment demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"gan-augment {version('gan_augment')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Rebalance an imbalanced image set with synthetic images of its rare classes."""


app.command(epilog=FIT_EXAMPLE)(fit)


@app.command(
    epilog=example(
        "gan-augment build runs/gan --like data/train --out runs/pool",
        "gan-augment build runs/gan --like data/train --out runs/pool --count melanoma=500 --reserve 4",
        "gan-augment build runs/gan --like data/train --out runs/pool --selector label --selector duplicate",
        "gan-augment build runs/gan --like data/train --out runs/pool --selector centroid:keep_share=0.25-0.75",
    )
)
def build(
    gan: Annotated[Path, typer.Argument(help="Folder of the synthesizer that fit wrote.")],
    like: Annotated[Path, typer.Option(help="Training images: which classes need more, and what they look like.")],
    out: Annotated[Path, typer.Option(help="New folder for the pool.")],
    select: Annotated[bool, typer.Option(help="Have a judge select; --no-select keeps every candidate.")] = True,
    selector: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME or NAME:SETTING=VALUE,...; several are applied in order. Names: gan-augment selectors.",
            show_default="centroid:agreement=none,keep_share=0.5-1",
        ),
    ] = None,
    domains: Annotated[
        int | None,
        typer.Option(min=2, help="Select within each of so many clusters of the real images: sites, scanners."),
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(help="Folder of the judge; trained and saved there where it does not exist.")
    ] = None,
    judges: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Judges, each trained on all folds but one, so that real images can set limits; 1 for one of all.",
            show_default="1, and 3 with --selector",
        ),
    ] = None,
    sampling_strategy: Annotated[
        str, typer.Option(help="imbalanced-learn's (auto, minority, not minority, all), sqrt or effective.")
    ] = "auto",
    count: Annotated[
        list[str] | None, typer.Option(help="CLASS=NUMBER of images needed instead; may be given several times.")
    ] = None,
    reserve: Annotated[float, typer.Option(help="Candidates drawn for each image needed.")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    image_size: Annotated[
        int | None, typer.Option(help="Side that a new judge works at; the synthesizer's by default.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw candidates, select, and store them as a pool.

    Beside the pool, OUT-samples.png shows real, kept and rejected images of each class.
    """
    from gan_augment.artifacts import refuse_existing
    from gan_augment.features import DiscriminatorExtractor
    from gan_augment.folders import open_folder
    from gan_augment.machine import pick_device
    from gan_augment.pool import SyntheticPool
    from gan_augment.report import sample_grid
    from gan_augment.selection import Compose, DomainSelector, default_selector, parse_selector
    from gan_augment.selection.tables import Table
    from gan_augment.source import RawView
    from gan_augment.synthesizers import load

    began = time.monotonic()
    refuse_existing(out, "pool")
    if not select and (selector or domains):
        raise ConfigError("expected --selector or --domains without --no-select, found both")
    for text in selector or ():
        parse_selector(text, None)  # a slip is told before a judge is trained
    synthesizer = load(gan, device=pick_device(device))
    view = RawView(open_folder(like), progress=not quiet)
    chosen = None
    if select:
        resized = synthesizer.image_spec is not None and synthesizer.image_spec.fit == "resize"
        size = image_size or (synthesizer.spec.grid if resized else None)  # sees what the synthesizer sees
        extractor = _judge(
            view, judge, judges or (3 if selector else 1), image_size=size, seed=seed, device=device, progress=not quiet
        )
        own = DiscriminatorExtractor(synthesizer, view) if _asks(selector, "discriminator") else None
        steps = [parse_selector(text, own if _asks([text], "discriminator") else extractor) for text in selector or ()]
        chosen = Compose(*steps) if steps else default_selector(extractor)
        chosen = chosen if domains is None else DomainSelector(chosen, domains)
    pool = SyntheticPool.build(
        synthesizer,
        view,
        selector=chosen,
        sampling_strategy=sampling_strategy,
        counts=_counts(count),
        reserve=reserve,
        out=out,
        seed=seed,
        progress=not quiet,
    )
    picture = out.with_name(f"{out.name}-samples.png")
    sample_grid(view, pool, picture)
    table = [row for row in pool.table() if row["candidates"]]
    result = {
        "out": str(out),
        "candidates": len(pool.candidates()),
        "kept": len(pool),
        "samples": str(picture),
        "classes": table,
        "selector": pool.about["selector"],
        "notes": pool.about["notes"],
        "domains": pool.about.get("domain_report"),
        "fingerprint": pool.about["fingerprint"],
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [f"{'class':<20}{'candidates':>12}{'kept':>8}  rejected"]
    for row in table:
        why = ", ".join(f"{number} {text}" for text, number in row["rejected"].items()) or "none"
        lines.append(f"{row['class']:<20}{row['candidates']:>12}{row['kept']:>8}  {why}")
    if report := pool.about.get("domain_report"):
        lines += ["", str(Table(report)), ""]
    lines += [f"note: {note}" for note in pool.about["notes"]]
    lines.append(f"Look at {picture}: real, kept and rejected images of each class.")
    following = f"Next, in Python: ga.GANAugmentedDataset(train_set, ga.SyntheticPool.open({str(out)!r}))"
    lines.append(following if len(pool) else "Nothing was kept: this pool fills no slot.")
    show(result, "\n".join(lines), as_json)


def _asks(selectors: list[str] | None, name: str) -> bool:
    return any(text.partition(":")[0].strip() == name for text in selectors or ())


def _judge(view: "RawView", folder: Path | None, judges: int, **settings: Any) -> "Extractor":
    """Returns the judge of a folder, or trains one, or several by cross-fitting, and saves it there."""
    from gan_augment.features import CrossFittedExtractor, TrainedExtractor, load_extractor

    if folder is not None and folder.exists():
        return load_extractor(folder)
    if judges > 1:
        trained: Extractor = CrossFittedExtractor.fit(view, folds=judges, **settings)
    else:
        trained = TrainedExtractor.fit(view, **settings)
    if folder is not None:
        trained.save(folder)
    return trained


@app.command(epilog=example("gan-augment selectors", "gan-augment selectors centroid"))
def selectors(
    name: Annotated[str | None, typer.Argument(help="Of a selector, to see all of its settings.")] = None,
    as_json: Json = False,
) -> None:
    """List the selectors that build can apply, with their settings."""
    from gan_augment.selection.registry import described

    found = described(name)
    lines = []
    for one in found:
        settings = ", ".join(f"{key}={value}" for key, value in one["settings"].items())
        lines += [f"{one['name']:<16}{one['summary']}", *([f"{'':<16}{settings}"] if settings else [])]
        if name is not None:
            lines += ["", one["description"]]
    show({"selectors": found}, "\n".join(lines), as_json)


def _counts(given: list[str] | None) -> dict[str, int] | None:
    if not given:
        return None
    counts = {}
    for text in given:
        name, _, number = text.rpartition("=")
        if not name or not number.isdigit():
            raise ConfigError(f"expected --count CLASS=NUMBER, found {text!r}")
        counts[name] = int(number)
    return counts


app.command(epilog=verbs.EVALUATE_EXAMPLE)(verbs.evaluate)
app.command(epilog=verbs.RECOMMEND_EXAMPLE)(verbs.recommend)
app.command(epilog=verb.EXAMPLE)(verb.report)


@app.command(
    epilog=example(
        "gan-augment demo",
        "gan-augment demo --out /tmp/demo --seeds 10",
    )
)
def demo(
    out: Annotated[Path, typer.Option(help="Folder; one of an earlier demo is replaced.")] = Path("runs/demo"),
    seeds: Annotated[int, typer.Option(help="Number of replicates, from seed 0.", min=2)] = 4,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the main job on scikit-learn's digits and say whether it helped.

    Takes a few minutes on two CPU cores; writes result.json, samples.png and report.html.
    """
    from gan_augment.demo import run_demo
    from gan_augment.report import comparison_table

    result = run_demo(out, seeds=range(seeds), progress=not quiet)
    audit = result["audit"]
    found = f"Audit of the images of seed 0: {audit['verdict']}" + "".join(f"\n- {text}" for text in audit["warnings"])
    show(result, f"{comparison_table(result)}\n\n{found}\n\n{out}: result.json, samples.png, report.html", as_json)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {message}", err=True)


def main() -> None:
    """Runs the command line; errors of this library are one line on standard error and exit status 1."""
    warnings.showwarning = _show_warning
    try:
        app()
    except GanAugmentError as error:
        typer.echo(f"error: {error.strerror if isinstance(error, OSError) else error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
