"""Keeps what `make demo` made, and shows it in the README: python -m benchmarks.readme

Copies `runs/demo/result.json` and `samples.png` to `benchmarks/results/`, and writes the printed table between the two
marks in README.md. `tests/test_readme.py` checks that they agree.
"""

import json
import shutil
from pathlib import Path

from gan_augment.report import comparison_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MARKS = ("<!-- demo -->", "<!-- /demo -->")


def rendered(readme: str, table: str) -> str:
    """Returns the README with the table between its marks."""
    before, _, rest = readme.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n```\n{table}\n```\n{MARKS[1]}{after}"


def main() -> None:
    demo = ROOT / "runs" / "demo"
    shutil.copyfile(demo / "result.json", RESULTS / "demo.json")
    shutil.copyfile(demo / "samples.png", RESULTS / "demo-samples.png")
    table = comparison_table(json.loads((RESULTS / "demo.json").read_bytes()))
    readme = ROOT / "README.md"
    readme.write_text(rendered(readme.read_text(), table))


if __name__ == "__main__":
    main()
