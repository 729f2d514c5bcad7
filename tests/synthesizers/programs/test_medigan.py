"""medigan models: run in a process of their own, only where trusted and pinned."""

import hashlib
import json
import os
import pickle
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError
from gan_augment.synthesizers.programs.medigan import MediganGenerator, open_medigan

GENERATE = """
import os
import random
import sys
import numpy as np
from .parts.shapes import HEIGHT

print("hello from the package")

def generate(model_file, num_samples, output_path, save_images, condition=None, offset=0, mode=""):
    if mode == "slow":
        import time
        time.sleep(60)
    if mode == "die":
        sys.stderr.write("last words\\n")
        os._exit(3)
    if mode == "raise":
        raise KeyError("weights")
    if mode == "pickle":
        return np.array([object()])
    if mode == "need":
        import no_such_package_at_all
    if mode == "unseeded":
        return [np.frombuffer(os.urandom(HEIGHT * 10), np.uint8).reshape(HEIGHT, 10)]
    if mode == "environment":
        assert "SECRET" not in os.environ, "SECRET"
        assert os.path.realpath(os.getcwd()) != os.path.realpath(os.environ["HOME"])
    with open(model_file) as file:
        base = int(file.read())
    images = []
    for _ in range(num_samples):
        image = np.random.randint(0, 50, (HEIGHT, 10, 3)) + random.randint(0, 9) + base
        images.append((image + 100 * (condition or 0) + offset).astype(np.uint8))
    return images
"""


def config(**custom: Any) -> dict[str, Any]:
    return {
        "00042_TINY": {
            "execution": {
                "package_name": "TINY-GAN",
                "model_name": "weights",
                "extension": ".txt",
                "image_size": [8, 10],
                "dependencies": ["numpy", "opencv-contrib-python"],
                "generate_method": {
                    "name": "generate",
                    "args": {"base": ["model_file", "num_samples", "output_path", "save_images"], "custom": custom},
                },
            },
            "selection": {"license": "MIT"},
            "description": {"doi": ["10.5281/zenodo.1"]},
        }
    }


def packed(path: Path, files: dict[str, str], root: str = "TINY-GAN/") -> tuple[Path, str]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(root + name, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


FILES = {"__init__.py": GENERATE, "parts/__init__.py": "", "parts/shapes.py": "HEIGHT = 8", "weights.txt": "7"}


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look at what is left there, while others run beside them."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, str]:
    return packed(tmp_path / "tiny.zip", FILES)


@pytest.fixture
def opened() -> Iterator[Any]:
    made = []

    def opening(tiny: tuple[Path, str], model: dict[str, Any] | Path, **settings: Any) -> Any:
        program = open_medigan(tiny[0], model, "00042_TINY", sha256=tiny[1], trust=True, **settings)
        made.append(program.call)
        return program

    yield opening
    for call in made:
        call.close()


def temporary() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("medigan-*")}


def test_a_sample_is_a_function_of_its_seed_and_class(
    tiny: tuple[Path, str], tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "token")
    (tmp_path / "global.json").write_text(json.dumps(config(condition=None, mode="environment")))
    program = opened(tiny, tmp_path / "global.json", label_argument="condition", label_values=(0, 1))
    assert (program.latent_dim, program.num_classes, program.labels) == (None, 2, "int")
    assert (program.image_shape, program.form) == ((3, 8, 10), "medigan")
    assert (program.licence, program.citation) == ("MIT", "10.5281/zenodo.1")
    seeds, labels = torch.tensor([5, 2**63 - 1, 0, 5]), torch.tensor([0, 1, 1, 1])
    images = program.call(seeds, labels)
    assert (images.dtype, tuple(images.shape)) == (torch.uint8, (4, 3, 8, 10))
    assert torch.equal(images[0].int() + 100, images[3].int())
    assert not torch.equal(images[1], images[2])
    assert torch.equal(program.call(seeds.flip(0), labels.flip(0)), images.flip(0))
    again = pickle.loads(pickle.dumps(program.call))
    assert torch.equal(again(seeds[1:2], labels[1:2]), images[1:2])
    again.close()


def test_packages_without_a_folder_and_arguments(tmp_path: Path, opened: Any) -> None:
    package = packed(tmp_path / "flat.zip", FILES, root="")
    first = opened(package, config(offset=0))
    second = opened(package, config(offset=0), arguments={"offset": 3})
    seeds = torch.tensor([1, 2])
    assert torch.equal(first.call(seeds, None).int() + 3, second.call(seeds, None).int())


def test_nothing_runs_without_trust_or_with_another_hash(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    package, digest = packed(tmp_path / "t.zip", {**FILES, "__init__.py": f"open({str(canary)!r}, 'w')\n{GENERATE}"})
    before = temporary()
    with pytest.raises(ArtifactError, match="is a Python package that is run"):
        open_medigan(package, config(), "00042_TINY", sha256=digest)
    with pytest.raises(ArtifactError, match=f"expected .* of SHA-256 {'0' * 64}, found {digest}"):
        open_medigan(package, config(), "00042_TINY", sha256="0" * 64, trust=True)
    with pytest.raises(ConfigError, match="64 hexadecimal"):
        open_medigan(package, config(), "00042_TINY", sha256="", trust=True)
    assert not canary.exists()
    assert temporary() == before


@pytest.mark.parametrize(
    ("mode", "error", "match"),
    [
        ("die", SynthesizerError, r"(?s)process that ended.*last words"),
        ("raise", SynthesizerError, r"(?s)KeyError: 'weights'.*Traceback"),
        ("pickle", SynthesizerError, "an image of object"),
        ("slow", SynthesizerError, "none after 1 s"),
        ("need", ConfigError, "no_such_package_at_all.*numpy, opencv-contrib-python"),
        ("unseeded", SynthesizerError, "same image from the same seed"),
    ],
)
def test_failures_are_told(tiny: tuple[Path, str], mode: str, error: type[Exception], match: str) -> None:
    before = temporary()
    start = time.perf_counter()
    settings: dict[str, Any] = {"time_limit": 1.0} if mode == "slow" else {}
    with pytest.raises(error, match=match):
        open_medigan(tiny[0], config(mode=mode), "00042_TINY", sha256=tiny[1], trust=True, **settings)
    assert time.perf_counter() - start < 20
    assert temporary() == before


def test_a_killed_process_is_told_and_started_again(tiny: tuple[Path, str], opened: Any) -> None:
    call: MediganGenerator = opened(tiny, config()).call
    seeds = torch.tensor([3])
    expected = call(seeds)
    assert call._worker is not None
    call._worker._process.kill()
    call._worker._process.wait()
    assert torch.equal(call(seeds), expected)
    os.kill(call._worker._process.pid, 19)  # stopped: it neither ends nor answers
    call._time_limit = 0.5
    with pytest.raises(SynthesizerError, match=r"none after 0\.5 s"):
        call(seeds)
    call._time_limit = 60
    assert torch.equal(call(seeds), expected)


def hostile(kind: str, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("TINY-GAN/__init__.py", GENERATE)
        if kind == "link":
            entry = zipfile.ZipInfo("TINY-GAN/link")
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, "/etc/passwd")
        elif kind == "bomb":
            archive.writestr("TINY-GAN/zeros", b"\0" * 2**22)
        elif kind == "twice":
            archive.writestr("TINY-GAN/__INIT__.py", "")
        elif kind == "below":
            archive.writestr("TINY-GAN/__init__.py/x", "")
        else:
            archive.writestr(kind, "outside")
    return path


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("link", "plain, distinct files"),
        ("twice", "plain, distinct files"),
        ("../outside.py", "plain, distinct files"),
        ("/outside.py", "plain, distinct files"),
        ("a\\..\\..\\outside.py", "plain, distinct files"),
        ("bomb", "unpack to at most"),
        ("below", "damaged"),
    ],
)
def test_hostile_zips_are_refused(tmp_path: Path, kind: str, match: str) -> None:
    before = temporary()
    package = hostile(kind, tmp_path / "t.zip")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match=match):
        open_medigan(package, config(), "00042_TINY", sha256=digest, trust=True, most_bytes=2**20)
    assert temporary() == before
    package.write_bytes(package.read_bytes()[:-30])
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    with pytest.raises(ArtifactError, match="damaged"):
        open_medigan(package, config(), "00042_TINY", sha256=digest, trust=True)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("execution", "package_name"), "../../x"),
        (("execution", "model_name"), "../../../../etc/passwd"),
        (("execution", "generate_method", "name"), "__import__('os').system('x')"),
        (("execution", "generate_method", "args"), None),
        (("execution",), []),
    ],
)
def test_descriptions_that_are_refused(tiny: tuple[Path, str], where: tuple[str, ...], value: Any) -> None:
    model = config()
    place = model["00042_TINY"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(ConfigError):
        open_medigan(tiny[0], model, "00042_TINY", sha256=tiny[1], trust=True)
    with pytest.raises(ConfigError, match="found 'other'; it has 00042_TINY"):
        open_medigan(tiny[0], config(), "other", sha256=tiny[1], trust=True)


def test_the_process_imports_nothing_of_this_library_and_no_neighbour() -> None:
    worker = Path(sys.modules[MediganGenerator.__module__].__file__ or "").with_name("medigan_worker.py")
    assert "gan_augment" not in worker.read_text()
    assert (worker.parent / "onnx.py").exists(), "its folder must not be on the process's path: -P"
