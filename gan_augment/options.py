"""What the verbs of the command line share: options, the foot of a help, how a result is printed."""

import json
from typing import Annotated, Any

import typer

__all__ = ["Json", "Quiet", "Seed", "example", "show"]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, for scripts.")]
Seed = Annotated[int, typer.Option(help="Of all randomness: the same seed gives the same result on one machine.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def example(*commands: str) -> str:
    """Returns the foot of a verb's help; the backspace keeps its lines from being filled."""
    return "\b\n" + "\n".join(["Example:", *[f"  {command}" for command in commands]])


def show(result: dict[str, Any], told: str, as_json: bool) -> None:
    """Prints a result: as JSON, or as it is told to people."""
    typer.echo(json.dumps(result, indent=2, sort_keys=True) if as_json else told)
