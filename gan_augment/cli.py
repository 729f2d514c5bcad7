"""The command line: fit, convert, build, check, merge, export, import, selectors, evaluate, recommend, report, demo."""

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from gan_augment.errors import GanAugmentError, printable
from gan_augment.evaluation import verbs
from gan_augment.options import Json, Quiet, example, show
from gan_augment.pool.exports.verbs import EXPORT_EXAMPLE, IMPORT_EXAMPLE, export, import_
from gan_augment.report import verb
from gan_augment.training.verb import FIT_EXAMPLE, fit
from gan_augment.verbs.build import BUILD_EXAMPLE, build
from gan_augment.verbs.convert import CONVERT_EXAMPLE, convert
from gan_augment.verbs.pool import CHECK_EXAMPLE, MERGE_EXAMPLE, check, merge

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


app.command(epilog=CONVERT_EXAMPLE)(convert)
app.command(epilog=BUILD_EXAMPLE)(build)
app.command(epilog=CHECK_EXAMPLE)(check)
app.command(epilog=MERGE_EXAMPLE)(merge)
app.command(epilog=EXPORT_EXAMPLE)(export)
app.command("import", epilog=IMPORT_EXAMPLE)(import_)


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
        told = error.strerror if isinstance(error, OSError) else str(error)
        typer.echo(f"error: {printable(str(told))}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
