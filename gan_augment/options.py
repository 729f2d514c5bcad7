"""What the verbs of the command line share: options, the foot of a help, how a result is printed."""

import json
from typing import Annotated, Any

import typer

from gan_augment.errors import ConfigError

__all__ = ["Json", "Quiet", "Seed", "example", "pairs", "show"]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, for scripts.")]
Seed = Annotated[int, typer.Option(help="Of all randomness: the same seed gives the same result on one machine.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def example(*commands: str) -> str:
    """Returns the foot of a verb's help; the backspace keeps its lines from being filled."""
    return "\b\n" + "\n".join(["Example:", *[f"  {command}" for command in commands]])


def pairs(given: list[str] | None, option: str) -> dict[str, Any] | None:
    """Returns what an option that is given as NAME=VALUE, several times, says; numbers as numbers.

    Raises:
        ConfigError: One is no NAME=VALUE, or a name is given twice.
    """
    if not given:
        return None
    found: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if not name or not value or name in found:
            raise ConfigError(f"expected {option} NAME=VALUE, each name once, found {text!r}")
        found[name] = int(value) if value.isdecimal() else value
    return found


def show(result: dict[str, Any], told: str, as_json: bool) -> None:
    """Prints a result: as JSON, or as it is told to people."""
    typer.echo(json.dumps(result, indent=2, sort_keys=True) if as_json else told)
