"""The wheel holds everything that the checkout does: integrations from the top level, the page's template, py.typed."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(copy)], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True)
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    expected = {
        str(path.relative_to(copy))
        for path in (copy / "gan_augment").rglob("*")
        if path.suffix in {".py", ".jinja", ".typed"}
    }
    assert expected <= names
    assert "gan_augment/integrations/__init__.py" in names
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in names)
