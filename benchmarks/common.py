"""What every benchmark writes: one JSON a unit of work, so that a killed run goes on, and a table in Markdown."""

import datetime
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gan_augment.artifacts import versions, write_bytes, write_json
from gan_augment.machine import describe_machine

Made = TypeVar("Made")
RESULTS = Path(os.environ.get("GAN_AUGMENT_RESULTS", Path(__file__).parent / "results"))
"""Where results go; the variable hands another place to the processes of a run."""


def stored(name: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the result of a unit of work that was run before with the same settings, else None."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found if found.get("settings") == json.loads(json.dumps(settings)) else None  # as stored: tuples are lists


def store(name: str, settings: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Writes the result of a unit of work with machine, versions and date, and returns it."""
    result = {
        "settings": settings,
        "machine": describe_machine(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        **measured,
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    print(f"wrote {os.path.relpath(path)}", flush=True)
    return result


def unit(name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result of a unit of work, working only where it was not run before with the same settings."""
    return stored(name, settings) or store(name, settings, work())


def fill(
    names: Sequence[str],
    unit_of: Callable[[str], tuple[str, dict[str, Any]]],
    make: Callable[[], Made],
    work: Callable[[Made, str], dict[str, Any]],
) -> int:
    """Works off what of a replicate has no result yet, and returns how many that were.

    Args:
        names: Of the units of work.
        unit_of: Returns name and settings of a unit's file.
        make: Makes the replicate, if a unit is missing.
        work: Returns what a unit measures.
    """
    missing = [name for name in names if stored(*unit_of(name)) is None]
    if missing:
        replicate = make()
        for name in missing:
            store(*unit_of(name), work(replicate, name))
    return len(missing)


def write_table(
    name: str, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]
) -> None:
    """Writes `results/NAME.md` and prints it."""
    lines = [f"# {title}", "", "| " + " | ".join(heads) + " |", "|" + "|".join("---" for _ in heads) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join([*lines, "", *notes, ""])
    write_bytes(RESULTS / f"{name}.md", text.encode())
    print(text)


def measured_on(results: Sequence[dict[str, Any]]) -> str:
    """Returns machine and dates of results, in a sentence."""
    machines = "; ".join(sorted({result["machine"] for result in results}))
    dates = sorted({result["date"] for result in results})
    return f"Measured on {machines}; {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}."
