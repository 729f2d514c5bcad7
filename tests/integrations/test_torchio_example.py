"""The example on a real brain runs, and prints and saves what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_example_on_a_real_brain(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    command = [sys.executable, "-m", "docs.examples.torchio_icbm152", "--quick", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "voxels of 1x1x1 mm" in done.stdout
    rows = re.findall(r"^(as it is|repeated|half synthetic) +(0\.\d{3}|1\.000) \(", done.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["as it is", "repeated", "half synthetic"]
    with Image.open(tmp_path / "patches.png") as picture:
        assert len(picture.convert("L").getcolors() or []) > 50
