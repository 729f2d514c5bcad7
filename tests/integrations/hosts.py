"""The tests of each integration under other versions of its host: an environment a version, beside the library's own.

`make test-hosts`, or `python -m tests.integrations.hosts torchio-1.0.0 monai` for some of them. An environment holds
what `hosts/<host>-<version>.txt` lists, installed without dependencies, and sees all else of `.venv`.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILT = ROOT / "runs" / "hosts"


def tests_of(name: str) -> list[str]:
    """The files of tests that an environment is for: of the first word of its name, or as its first line says."""
    first = (HERE / "hosts" / f"{name}.txt").read_text().partition("\n")[0]
    if first.startswith("# tests: "):
        return [str(HERE / file) for file in first.removeprefix("# tests: ").split()]
    return [str(HERE / f"test_{name.partition('-')[0]}.py")]


def built(name: str) -> Path:
    """The Python of an environment, made where it is not there or its list has changed."""
    wanted, folder = HERE / "hosts" / f"{name}.txt", BUILT / name
    python, done = folder / "bin" / "python", folder / ".done"
    if done.is_file() and done.read_text() == wanted.read_text():
        return python
    venv.create(folder, with_pip=True, clear=True)
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([python, "-m", "pip", "install", *quiet, "-r", wanted], check=True)
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    library = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"  # also what is installed editable
    Path(own.stdout.strip(), "zz_library.pth").write_text(library)
    done.write_text(wanted.read_text())
    return python


def main(asked: list[str]) -> int:
    """Runs them one after the other; returns how many failed."""
    names = sorted(path.stem for path in (HERE / "hosts").glob("*.txt"))
    chosen = [name for name in names if not asked or any(name.startswith(one) for one in asked)]
    if not chosen:
        print(f"expected hosts among {', '.join(names)}, found {' '.join(asked)}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen:
        print(f"== {name}", flush=True)
        command = [built(name), "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", *tests_of(name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(name)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} passed" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
