"""What every benchmark writes: one JSON a unit of work, so that a killed run goes on, and a table in Markdown."""

import datetime
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gan_augment.artifacts import versions, write_bytes, write_json
from gan_augment.machine import describe_machine

RESULTS = Path(__file__).parent / "results"


def unit(name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns the result of a unit of work: from its file where the same settings were run before, else by working."""
    path = RESULTS / f"{name}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_bytes())
        if found["settings"] == settings:
            return found
    print(f"running {name}", flush=True)
    result = {
        "settings": settings,
        "machine": describe_machine(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        **work(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return result


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
