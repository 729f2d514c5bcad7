"""The page and the pictures, from a real small run, in a real browser where there is one."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gan_augment as ga
from gan_augment.demo import KIND, DemoSettings, long_tail, run_demo
from gan_augment.evaluation import compare
from gan_augment.report import comparison_table, sample_grid, write_report
from gan_augment.report.plot import _ticks, arms_plot

TINY = DemoSettings(gan_steps=3, judge_steps=20, classifier_steps=8)
ARMS = [
    "as_is", "oversampling", "oversampling_augmented", "balanced_softmax_augmented", "random_synthetic",
    "selected_synthetic", "sngan_synthetic",
]  # fmt: skip
METRICS = {"balanced_accuracy", "macro_f1", "rare_recall"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, run_demo(out, seeds=(0, 1), settings=TINY, progress=False)


def test_writes_what_it_says(demo: tuple[Path, dict]) -> None:
    out, result = demo
    assert {path.name for path in out.iterdir()} == {"result.json", "samples.png", "report.html", "seed-0"}
    stored = json.loads((out / "result.json").read_text())
    assert stored == json.loads(json.dumps(result))
    assert list(stored["arms"]) == ARMS
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".")]


def test_result_holds_every_arm_and_difference(demo: tuple[Path, dict]) -> None:
    _, result = demo
    assert list(result["arms"]) == ARMS
    for arm in result["arms"].values():
        assert set(arm) == METRICS
        for value in arm.values():
            assert set(value) == {"mean", "low", "high", "values"}
            assert value["low"] <= value["mean"] <= value["high"]
            assert value["mean"] == pytest.approx(np.mean(value["values"]))
    for name in ("selected_minus_best", "selected_minus_random"):
        assert set(result[name]) == METRICS
    best = result["arms"][result["best_without_synthetic"]]["balanced_accuracy"]["values"]
    selected = result["arms"]["selected_synthetic"]["balanced_accuracy"]["values"]
    assert result["selected_minus_best"]["balanced_accuracy"]["values"] == pytest.approx(np.subtract(selected, best))
    assert best == max((result["arms"][arm]["balanced_accuracy"]["values"] for arm in ARMS[:4]), key=sum)
    assert result["seeds"] == [0, 1]
    assert result["seconds"] > 0
    assert "cores" in result["machine"]
    assert {"torch", "gan_augment"} <= set(result["versions"])


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


def test_the_table_shows_every_arm(demo: tuple[Path, dict]) -> None:
    table = comparison_table(demo[1])
    assert all(re.search(rf"^{arm}  ", table, re.MULTILINE) for arm in ARMS)
    assert demo[1]["sentence"] in table


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


def test_the_page_needs_no_network_and_escapes(demo: tuple[Path, dict], tmp_path: Path) -> None:
    page = (demo[0] / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert html.escape(demo[1]["sentence"]) in page
    scores = [{"a<b>": {"balanced_accuracy": 0.5 + i / 10}, "c": {"balanced_accuracy": 0.4}} for i in range(2)]
    comparison = compare(scores, without_synthetic=("c",), selected="a<b>", random="c")
    write_report(
        tmp_path / "page.html",
        comparison,
        advice="",
        title="<script>alert(1)</script>",
        subtitle="",
        recipe="dagan",
        classes=[
            {
                "name": "<img onerror=x>",
                "real": 1,
                "candidates": 0,
                "kept": 0,
                "disagrees": 0,
                "far": 0,
                "nearest": None,
            }
        ],
        samples=demo[0] / "samples.png",
        seeds=[0, 1],
        rare_below=20,
        warnings=["<b>"],
        facts={"machine": "<i>"},
    )
    hostile = (tmp_path / "page.html").read_text()
    assert not re.search(r"<script|<img onerror|<li><b>|<i>|a<b>", hostile)


def test_samples_picture_has_a_row_a_class(demo: tuple[Path, dict], tmp_path: Path) -> None:
    picture = np.asarray(Image.open(demo[0] / "samples.png").convert("L"))
    assert picture.shape[1] > picture.shape[0] > 500
    train, _ = long_tail(0)
    pool = ga.SyntheticPool.from_arrays(np.zeros((4, 8, 8), np.uint8), [1, 2, 3, 4])
    with pytest.raises(ga.ConfigError, match="one of arrays"):
        sample_grid(ga.RawView(train), pool, tmp_path / "none.png")


@pytest.mark.parametrize(("low", "high"), [(0.912, 0.968), (0.0, 1.0), (0.5, 0.5), (0.31, 0.94)])
def test_ticks_enclose(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 8


def test_plot_places_means_in_order() -> None:
    scores = [{"low": {"m": 0.2 + i / 100}, "high": {"m": 0.8 + i / 100}} for i in range(3)]
    scores = [{arm: {"balanced_accuracy": value["m"]} for arm, value in row.items()} for row in scores]
    comparison = compare(scores, without_synthetic=("low",), selected="high", random="low")
    centres = re.findall(r'<circle class="plain" cx="([\d.]+)"', arms_plot(comparison, "balanced_accuracy"))
    assert float(centres[0]) < float(centres[1])


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_fits_a_real_browser(demo: tuple[Path, dict], tmp_path: Path, width: int) -> None:
    """Nothing but the scrolling regions may be wider than the window; a picture is taken and is not blank."""
    page = (demo[0] / "report.html").read_text()
    probe = "<script>document.title = document.documentElement.scrollWidth + ' ' + window.innerWidth</script></body>"
    (tmp_path / "page.html").write_text(page.replace("</body>", probe))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        f"--window-size={width},1600",
    ]  # fmt: skip
    url = (tmp_path / "page.html").as_uri()
    shown = subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, check=True, timeout=60)
    found = re.search(r"<title>(\d+) (\d+)</title>", shown.stdout)
    assert found is not None
    assert int(found[1]) <= int(found[2])
    shot = tmp_path / "shot.png"
    subprocess.run([*command, f"--screenshot={shot}", url], capture_output=True, check=True, timeout=60)
    assert np.asarray(Image.open(shot).convert("L")).std() > 10
