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


def test_the_numbers_of_ten_seeds_are_the_benchmarks() -> None:
    measured = (ROOT / "benchmarks" / "results" / "digits.md").read_text()
    told = README[README.index("Over [ten seeds]") : README.index("### A long tail")].replace("\n", " ")
    numbers = re.findall(r"[+-]\d+\.\d+ \[[^]]+\]", told)
    assert len(numbers) == 4
    assert all(number in measured for number in numbers)


def test_the_numbers_of_the_long_tail_are_the_benchmarks() -> None:
    measured = (ROOT / "benchmarks" / "results" / "longtail.md").read_text()
    told = README[README.index("### A long tail") : README.index("### On your own set")].replace("\n", " ")
    numbers = re.findall(r"[+-]\d+\.\d+(?: \[[^]]+\])?", told)
    assert len(numbers) >= 4
    assert all(number in measured for number in numbers)


def test_the_numbers_of_the_generators_are_the_benchmarks() -> None:
    measured = (ROOT / "benchmarks" / "results" / "ablation.md").read_text()
    told = README[README.index("### Training a generator") : README.index("### A generator that")].replace("\n", " ")
    numbers = re.findall(r"[+-]\d+\.\d+ \[[^]]+\]", told)
    assert len(numbers) >= 3
    assert all(number in measured for number in numbers)


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
