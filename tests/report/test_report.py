"""The demo, from a real small run: what it writes, its arithmetic, its table and its picture."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_augment as ga
from gan_augment.demo import KIND, long_tail, run_demo
from gan_augment.evaluation import EvaluationResult
from gan_augment.metrics import paired_difference
from gan_augment.report import comparison_table, sample_grid
from tests.report.conftest import TINY

ARMS = [
    "as_is", "oversampling", "oversampling_augmented", "balanced_softmax_augmented", "random_synthetic",
    "selected_synthetic", "sngan_synthetic",
]  # fmt: skip
METRICS = {
    "balanced_accuracy", "macro_f1", "macro_auroc", "calibration_error", "many_recall", "medium_recall", "few_recall",
    "adjusted_balanced_accuracy", "adjusted_few_recall", "adjusted_calibration_error", "recall_on_synthetic",
}  # fmt: skip
KEYS = {
    "kind", "version", "sentence", "reference", "main", "seeds", "classes", "counts", "overlap", "settings",
    "half_steps", "notes", "arms", "seconds", "machine", "versions", "advice", "imbalance_ratio", "pool", "warnings",
    "audit",
}  # fmt: skip


def test_writes_what_it_says(demo: tuple[Path, dict]) -> None:
    out, result = demo
    assert {path.name for path in out.iterdir()} == {"result.json", "samples.png", "report.html", "seed-0"}
    stored = json.loads((out / "result.json").read_text())
    assert stored == json.loads(json.dumps(result, allow_nan=False))
    assert list(stored["arms"]) == ARMS
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_result_holds_every_arm_and_difference(demo: tuple[Path, dict]) -> None:
    _, result = demo
    assert set(result) == KEYS
    assert list(result["arms"]) == ARMS
    reference = result["arms"][result["reference"]]["metrics"]
    for arm in result["arms"].values():
        assert set(arm["metrics"]) == set(arm["difference"]) == METRICS
        for metric, value in arm["metrics"].items():
            assert set(value) == {"mean", "low", "high", "values", "p"}
            assert value["low"] <= value["mean"] <= value["high"]
            assert value["mean"] == pytest.approx(np.mean(value["values"]))
            gained = paired_difference(value["values"], reference[metric]["values"]).to_json()
            found = dict(arm["difference"][metric])
            assert found.pop("values") == pytest.approx(gained.pop("values"))
            assert found == pytest.approx(gained)
        assert np.shape(arm["recalls"]) == (2, 10)
    free = [arm for arm in ARMS if result["arms"][arm]["kind"] == "free"]
    assert free == ARMS[:4]
    means = {arm: result["arms"][arm]["metrics"]["balanced_accuracy"]["mean"] for arm in free}
    assert means[result["reference"]] == max(means.values())
    assert result["main"] == "selected_synthetic"
    assert result["seeds"] == [0, 1]
    assert result["seconds"] > 0
    assert "cores" in result["machine"]
    assert {"torch", "gan_augment"} <= set(result["versions"])
    assert [row["real"] for row in result["pool"]] == result["counts"]


def test_artifacts_of_the_first_seed_can_be_used(demo: tuple[Path, dict]) -> None:
    out, _ = demo
    train, _ = long_tail(0)
    pool = ga.SyntheticPool.open(out / "seed-0" / "dagan-pool")
    for name in ("dagan", "sngan"):
        synthesizer = ga.load(out / "seed-0" / name)
        if synthesizer.needs_parents:
            synthesizer.bind(train)
        assert synthesizer.sample([3], [1]).images.shape == (1, 1, 8, 8)
    assert ga.TrainedExtractor.load(out / "seed-0" / "judge").extract(pool.candidates().images()).features.shape[0] > 0


def test_the_page_of_the_demo_tells_the_result(demo: tuple[Path, dict]) -> None:
    page = (demo[0] / "report.html").read_text()
    assert html.escape(demo[1]["sentence"]) in page
    assert all(arm in page for arm in ARMS)
    assert "the features of TrainedExtractor" in page
    assert "parent: training image" in page
    assert not re.search(r">\s*nan\b|\bNone<|undefined", page)


def test_the_table_shows_every_arm(demo: tuple[Path, dict]) -> None:
    table = comparison_table(demo[1])
    assert all(re.search(rf"^{arm}  ", table, re.MULTILINE) for arm in ARMS)
    assert "balanced accuracy" in table
    assert "few recall" in table
    assert f"against {demo[1]['reference']}" in table
    assert demo[1]["sentence"] in table
    assert f"{100 * demo[1]['arms']['as_is']['metrics']['few_recall']['mean']:.1f} [" in table


def test_the_table_of_one_seed_has_dashes_for_what_is_not_known(evaluation: EvaluationResult) -> None:
    about = evaluation.to_json()
    for arm in about["arms"].values():
        for metric in arm["metrics"].values():
            metric["values"] = metric["values"][:1]
        arm["recalls"] = arm["recalls"][:1]
        arm["metrics"]["few_recall"]["values"] = [None]
    single = EvaluationResult.from_json({**about, "seeds": [0]})
    table = comparison_table({**single.to_json(), "seconds": 3, "machine": "this"})
    assert "1 seed, mean" in table
    assert "\N{EN DASH}" in table
    assert "nan" not in table.lower()
    assert "[" not in table


def test_a_demo_is_replaced_and_nothing_else_is(demo: tuple[Path, dict], tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ga.ArtifactError, match="something else"):
        run_demo(tmp_path, seeds=(0, 1), settings=TINY, progress=False)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    with pytest.raises(ga.ConfigError, match="two or more different seeds"):
        run_demo(demo[0], seeds=(0, 0))
    assert json.loads((demo[0] / "result.json").read_text())["kind"] == KIND


def test_long_tail_is_long_tailed_and_the_test_split_apart() -> None:
    train, test = long_tail(5)
    counts = np.sort(np.bincount(train.targets, minlength=10))[::-1]
    assert counts[0] / counts[-1] == pytest.approx(20, rel=0.1)
    assert (np.diff(counts) < 0).all()
    assert np.bincount(test.targets).tolist() == [60] * 10
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in test.images}
    again, _ = long_tail(5)
    assert np.array_equal(train.images, again.images)
    other = np.bincount(long_tail(6)[0].targets, minlength=10)
    assert not np.array_equal(other, np.bincount(train.targets, minlength=10))


def test_samples_picture_has_a_row_a_class(demo: tuple[Path, dict], tmp_path: Path) -> None:
    picture = np.asarray(Image.open(demo[0] / "samples.png").convert("L"))
    assert picture.shape[1] > picture.shape[0] > 500
    train, _ = long_tail(0)
    pool = ga.SyntheticPool.from_arrays(np.zeros((4, 8, 8), np.uint8), [1, 2, 3, 4])
    with pytest.raises(ga.ConfigError, match="one of arrays"):
        sample_grid(ga.RawView(train), pool, tmp_path / "none.png")
