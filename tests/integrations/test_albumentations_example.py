"""The example on Fashion-MNIST runs, and prints and saves what it says."""

import gzip
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.sets import DEBIAN
from tests.helpers import run_python


@pytest.mark.slow
def test_the_example_on_fashion_mnist(tmp_path: Path) -> None:
    if not DEBIAN.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in DEBIAN.glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    code = "import sys; from docs.examples.albumentations_fashion_mnist import main; main(sys.argv[1:])"
    environment = {"MPLBACKEND": "agg", "NO_ALBUMENTATIONS_UPDATE": "1"}
    done = run_python(
        code, "--data", tmp_path / "data", "--out", tmp_path / "out", "--quick", env=environment, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "117 training images, [20, 17, 15, 13, 12, 10, 9, 8, 7, 6] a class" in done.stdout
    rows = re.findall(r"^(flips and shifts|half synthetic) +(0\.\d{3}) \(.*\) +\d\.\d{3}$", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["flips and shifts", "half synthetic"]
    with Image.open(tmp_path / "out" / "pairs.png") as picture:
        assert len(picture.convert("L").getcolors() or []) > 50
