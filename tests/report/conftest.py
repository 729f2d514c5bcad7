"""A small run of the demo, and pages of small pools, that the report's tests share."""

import warnings
from pathlib import Path
from typing import Any

import pytest

import gan_augment as ga
from gan_augment.demo import DemoSettings, run_demo
from gan_augment.evaluation import EvaluationResult
from gan_augment.quality import Audit
from gan_augment.selection import CentroidSelector
from tests.helpers import Pictures, toy_judge, toy_synthesizer

TINY = DemoSettings(gan_steps=3, judge_steps=20, classifier_steps=8)
NAN = float("nan")


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, run_demo(out, seeds=(0, 1), settings=TINY, progress=False)


@pytest.fixture(scope="session")
def train() -> Pictures:
    return Pictures((24, 8, 5), "array", classes=["plain", "rare", "rarest"])


@pytest.fixture(scope="session")
def pool(train: Pictures) -> ga.SyntheticPool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ga.SyntheticPool.build(
            toy_synthesizer(), train, selector=CentroidSelector(toy_judge(train)), progress=False
        )


@pytest.fixture
def evaluation() -> EvaluationResult:
    """Two free arms, a selected one with its control, a ceiling; a metric that nobody has and a class without tests."""
    base = {"free": 0.6, "worse": 0.5, "mine": 0.7, "control": 0.65, "held back": 0.8}
    kinds = dict(zip(base, ("free", "free", "selected", "random", "oracle"), strict=True))
    noise = (0.0, 0.01, -0.01)
    return EvaluationResult(
        kinds=kinds,
        scores={
            arm: {
                "balanced_accuracy": [value + n for n in noise],
                "macro_f1": [value - 0.1 + 2 * n for n in noise],
                "many_recall": [NAN] * 3,
                "few_recall": [value] * 2 + [NAN],
            }
            for arm, value in base.items()
        },
        recalls={arm: [[value, value + n, NAN] for n in noise] for arm, value in base.items()},
        seeds=[0, 1, 2],
        classes=["plain", "rare", "rarest"],
        counts=[24, 8, 5],
        notes=["a note of the evaluation"],
    )


def row(name: str, **values: Any) -> dict[str, Any]:
    return {"class": name, "n": 10, "n_real": 8, "fid": 1.25, "fid_real": None, "vendi": NAN, "notes": [], **values}


@pytest.fixture
def audit() -> Audit:
    return Audit(
        verdict="bad",
        problems=frozenset({"copies"}),
        table=[row("all"), row("rare", copies=0.5, copies_real=0.0), row("idle", n=0)],
        warnings=["copies: half of them are"],
        settings={"seed": 0, "holdout": None},
    )
