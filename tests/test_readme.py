"""The README's table is what the demo printed, its links lead somewhere, and its code runs."""

import json
import re
from pathlib import Path

import pytest

from gan_augment.report import comparison_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_is_what_the_demo_printed() -> None:
    result = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text())
    assert f"<!-- demo -->\n```\n{comparison_table(result)}\n```\n<!-- /demo -->" in README
    assert result["seconds"] < 300
    assert len(result["seeds"]) >= 3


@pytest.mark.parametrize(
    ("table", "begin", "end", "pattern", "least", "most"),
    [
        ("digits", "Over [ten seeds]", "### A long tail", r"[+-]\d+\.\d+ \[[^]]+\]", 4, 4),
        ("longtail", "### A long tail", "### On your own set", r"[+-]\d+\.\d+(?: \[[^]]+\])?", 4, 99),
        ("selectors", "What they gain is sobering", "Features come from", r"[+-]\d+\.\d+(?: \[[^]]+\])?", 8, 99),
        ("ablation", "### Training a generator", "### A generator that", r"[+-]\d+\.\d+ \[[^]]+\]", 3, 99),
    ],
)
def test_the_numbers_are_the_benchmarks(table: str, begin: str, end: str, pattern: str, least: int, most: int) -> None:
    measured = (ROOT / "benchmarks" / "results" / f"{table}.md").read_text()
    told = README[README.index(begin) : README.index(end)].replace("\n", " ")
    numbers = re.findall(pattern, told)
    assert least <= len(numbers) <= most
    assert all(number in measured for number in numbers)


def test_what_the_loader_costs_is_the_benchmarks() -> None:
    lines = (ROOT / "benchmarks" / "results" / "loader.md").read_text().splitlines()
    told = README[README.index("What it costs is in [loader.md]") :].replace("\n", " ")
    for what, way, sentence in (
        ("real", "fetched", "real items take {:.2f} to {:.2f} times"),
        ("synthetic", "fetched", "synthetic ones {:.2f} to {:.2f} times"),
        ("synthetic", "one by one", "costs up to {1:.2f} times"),
    ):
        rows = [line.split(" | ") for line in lines if line.startswith(f"| {what} items") and f", {way} |" in line]
        ratios = [float(row[3].split()[0]) for row in rows]
        assert len(ratios) == 3
        assert sentence.format(min(ratios), max(ratios)) in told


def test_what_a_pool_costs_is_the_benchmarks() -> None:
    lines = json.loads((ROOT / "benchmarks" / "results" / "pool.json").read_text())["lines"]
    told = " ".join(README[README.index("What it costs ([pool.md]") :].split())

    def found(begin: str, end: str = "") -> list[float]:
        own = [line for line in lines if line["case"].startswith(begin) and end in f"{line['other']}{line['case']}"]
        return [line["figure"] for line in own if "within the build" not in line["case"]]

    drawn, judged = found("draw, no selector"), found("draw, judge, select")
    rows = found("random rows", "np.load by hand")
    (memory,), (opened, _) = found("build 1,000,000", "VmHWM"), found("open 10,000,000")
    assert len(drawn) == 3
    for sentence in (
        f"drawn from at {min(drawn):.2f} to {max(drawn):.2f} times their bare speed",
        f"with judge and selector at {min(judged):.2f} to {max(judged):.2f} times",
        f"a million images take {memory:.0f} MB more memory than ten thousand",
        f"ten million rows open in {opened:.2f} s",
        f"random rows take {min(rows):.1f} to {max(rows):.1f} times",
    ):
        assert sentence in told, sentence
    assert found("two processes", ": build")[0] == pytest.approx(2, abs=0.1)


def test_the_shares_of_the_recipes_are_the_benchmarks() -> None:
    """Agreement and coverage of rare classes, in the columns 5 and 8 of the table."""
    lines = (ROOT / "benchmarks" / "results" / "recipes.md").read_text().splitlines()
    rows = {line.split(" | ")[0].strip("| *"): line.split(" | ") for line in lines if line.startswith("| ")}
    shares = {
        name: [round(100 * float(row[at].split()[0])) for at in (4, 7)]
        for name, row in rows.items()
        if row[4][:1].isdigit()
    }
    told = README[README.index("On the digits, at equal compute") : README.index("On four development")].replace(
        "\n", " "
    )
    assert [int(number) for number in re.findall(r"(\d+)%", told)] == [
        *shares["dagan"], shares["augmented reals"][1], *shares["bagan_gp"], *shares["icgan"],
        shares["sngan"][0], shares["acgan"][0], shares["r3gan"][0],
    ]  # fmt: skip
    assert shares["stylegan2_ada"] == shares["bagan_gp"]
    assert f"(on the digits of {shares['dagan, delta 5'][0]}%)" in README


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.slow
def test_the_first_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    from torch.utils.data import DataLoader

    from gan_augment.demo import long_tail

    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(import gan_augment.*?)```", README, re.DOTALL)
    assert code is not None
    quick = code[1].replace("ga.fit(train_set,", "ga.fit(train_set, steps=60,")
    quick = quick.replace("TrainedExtractor.fit(train_set", "TrainedExtractor.fit(train_set, steps=60")
    names = {"train_set": long_tail(0)[0], "DataLoader": DataLoader}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exec(quick, names)
        items = sum(len(labels) for _, labels in names["loader"])  # type: ignore[attr-defined]
    assert items == len(names["train"]) > len(names["train_set"])  # type: ignore[arg-type]
