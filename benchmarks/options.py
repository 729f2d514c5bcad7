"""The frame of benchmarks that consist of groups: some of them with --only, all of them small with --quick."""

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
import typer

from benchmarks import common
from benchmarks.lines import Measured
from gan_augment.errors import ConfigError

__all__ = ["only_of", "program", "quick_of", "run_groups"]

Size = TypeVar("Size")
Row = TypeVar("Row")


def only_of(groups: Iterable[str]) -> Any:
    """Returns the option --only of a benchmark of these groups."""
    return typer.Option(help=f"Some of {', '.join(groups)}, with commas; prints, no table.")


def quick_of(name: str, what: str) -> Any:
    """Returns the option --quick of the benchmark of that name."""
    return typer.Option(help=f"{what}, to see that it runs; writes runs/{name}-quick.")


def run_groups(
    name: str,
    groups: Mapping[str, Callable[[Size, Path], tuple[list[Row], list[Measured]]]],
    sizes: Size,
    cells: Callable[[Row], list[str]],
    *,
    only: str,
    quick: bool,
) -> tuple[list[Row], list[Measured]]:
    """Runs groups on one thread, prints their rows as they come, and returns rows and results of all.

    Args:
        name: Of the benchmark.
        groups: By name; each takes the sizes and a folder for temporary files.
        sizes: How much is measured.
        cells: What is printed of a row.
        only: Names of groups with commas; empty for all.
        quick: Whether results go to `runs/NAME-quick`.

    Raises:
        ConfigError: There is no such group.
    """
    names = only.split(",") if only else list(groups)
    if unknown := set(names) - set(groups):
        raise ConfigError(f"expected some of {', '.join(groups)}, found {', '.join(sorted(unknown))}")
    if quick and "GAN_AUGMENT_RESULTS" not in os.environ:
        common.RESULTS = Path(f"runs/{name}-quick")
    torch.set_num_threads(1)
    rows: list[Row] = []
    results: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        for group in names:
            more, measured = groups[group](sizes, Path(folder))
            rows += more
            results += measured
            for row in more:
                print(" | ".join(cells(row)), flush=True)
    return rows, results


def program(main: Callable[..., None], told: str | None) -> typer.Typer:
    """Returns a program of one command."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help=told)(main)
    return app
