"""The page in a real browser: nothing is wider than the window, dark mode is dark, regions take the keyboard."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gan_augment.evaluation import EvaluationResult
from gan_augment.quality import Audit
from gan_augment.report import write_report
from gan_augment.report.measures import MEASURES
from tests.helpers import Pictures
from tests.report.conftest import row

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
DARK = "--blink-settings=preferredColorScheme=0"


def browse(tmp_path: Path, page: str, *flags: str) -> str:
    (tmp_path / "shown.html").write_text(page)
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'profile'}",
        *flags, (tmp_path / "shown.html").as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def probed(tmp_path: Path, page: str, script: str, *flags: str) -> str:
    """Returns what a script says of the laid-out page."""
    told = browse(
        tmp_path, page.replace("</body>", f"<script>document.title = {script}</script></body>"), "--dump-dom", *flags
    )
    found = re.search(r"<title>(.*?)</title>", told)
    assert found is not None
    return found[1]


@pytest.fixture
def page(train: Pictures, pool: Any, evaluation: EvaluationResult, tmp_path: Path) -> str:
    """Every part, many arms, long names."""
    about = evaluation.to_json()
    about["arms"] |= {f"{'a_long_name_' * 6}{i}": about["arms"]["worse"] for i in range(30)}
    about["classes"] = ["x" * 300, "y " * 150, "z"]
    everything = {measure.key: 1 for measure in MEASURES} | {f"{measure.key}_real": 1 for measure in MEASURES}
    audit = Audit(
        verdict="good",
        problems=frozenset(),
        table=[row("all", **everything), row("w" * 300, notes=["n" * 300])],
        warnings=["v" * 300],
        settings={"s" * 200: "t" * 300},
    )
    found = write_report(
        tmp_path / "page.html", train=train, pool=pool, audit=audit, evaluation=EvaluationResult.from_json(about),
        title="t" * 100, progress=False,
    )  # fmt: skip
    return found.read_text().replace("<details>", "<details open>")


@pytest.mark.parametrize("flags", [[], [DARK]], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_fits(page: str, tmp_path: Path, width: int, flags: list[str]) -> None:
    """Nothing but the scrolling regions may be wider than the window; a picture is taken and is not blank."""
    size = f"--window-size={width},1600"
    wide = "[document.documentElement.scrollWidth, window.innerWidth].join(' ')"
    inner, outer = map(int, probed(tmp_path, page, wide, size, *flags).split())
    assert inner <= outer
    shot = tmp_path / "shot.png"
    browse(tmp_path, page, f"--screenshot={shot}", size, *flags)
    light = np.asarray(Image.open(shot).convert("L"))
    assert light.std() > 5
    assert (np.median(light) < 60) == bool(flags)


def test_regions_that_scroll_take_the_keyboard(page: str, tmp_path: Path) -> None:
    """Whatever scrolls sideways is a labelled region that can be focused; every control can be reached."""
    script = """[...document.querySelectorAll('*')]
      .filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth && getComputedStyle(e).overflowX === 'auto')
      .map(e => e.tabIndex + ':' + e.getAttribute('aria-label')).join('|')"""
    found = probed(tmp_path, page, script, "--window-size=500,1600").split("|")
    assert "0:Table of arms" in found
    assert "0:Table of the audit" in found
    assert all(re.fullmatch("0:(Table|Plot) of .+", region) for region in found)
    first = "(document.querySelector('a').focus(), document.activeElement.textContent)"
    assert probed(tmp_path, page, first) == "Skip to the content"


def test_a_page_shows_what_it_says_without_a_script(page: str, tmp_path: Path) -> None:
    """Every picture is decoded, and no text stands over the window's edge."""
    broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
    assert probed(tmp_path, page, broken) == "0"
    over = """[...document.querySelectorAll('p, h1, h2, h3, li, dd, dt, summary, figcaption')]
      .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll')).length"""
    assert probed(tmp_path, page, over, "--window-size=500,1600") == "0"
