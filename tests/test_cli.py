"""The command line as a user runs it: real processes, real folders, real mistakes."""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import gan_augment as ga
from gan_augment.cli import main
from gan_augment.recipes import RECIPES


def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, "-m", "gan_augment", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        timeout=240,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def called(*arguments: object) -> tuple[int, str, str]:
    """Runs a verb in this process, which saves the seconds that a new one takes: its status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        patch.setattr(sys, "argv", ["gan-augment", *map(str, arguments)])
        patch.setenv("COLUMNS", "120")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def refused(*arguments: object) -> str:
    status, out, err = called(*arguments)
    assert status == 1, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def digits_folder(folder: Path, counts: dict[str, int]) -> Path:
    digits = load_digits()
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == int(name[-1])][:count]):
            Image.fromarray((image * 15).astype(np.uint8)).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_folder(tmp_path_factory.mktemp("images"), {"digit 3": 40, "digit 7": 25, "digit 9": 8})


@pytest.fixture(scope="module")
def gan(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "gan"
    done = run("fit", folder, "--out", out, "--steps", 30)
    assert "warning: fewer than 20 images of digit 9 (8)" in done.stderr
    assert f"gan-augment build {out} --like" in done.stdout
    return out


@pytest.mark.parametrize("verb", [[], ["fit"], ["convert"], ["build"], ["demo"]])
def test_help_shows_an_example(verb: list[str]) -> None:
    told = called(*verb, "--help")[1]
    assert "gan-augment" in told
    if verb:
        assert "Example:\n" in told
        assert f"  gan-augment {verb[0]}" in told


def test_help_of_fit_names_every_recipe() -> None:
    told = " ".join(called("fit", "--help")[1].split())
    assert all(name in told for name in RECIPES)


def test_fit_build_and_train_with_the_users_own_loader(folder: Path, gan: Path, tmp_path: Path) -> None:
    """The whole way: images in, pool out, and into an ordinary ImageFolder with an ordinary transform."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    told = run("build", gan, "--like", folder, "--out", tmp_path / "pool", "--judge", tmp_path / "judge", "--json")
    result = json.loads(told.stdout)
    assert result["candidates"] == 2 * (15 + 32)
    assert {row["class"] for row in result["classes"]} == {"digit 7", "digit 9"}
    pool = ga.SyntheticPool.open(tmp_path / "pool")
    assert len(pool) == result["kept"]
    train = ImageFolder(str(folder), transform=transforms.Compose([transforms.Resize(16), transforms.ToTensor()]))
    with pytest.warns(ga.SmallClassWarning) if pool.counts.get(2, 0) < 20 else _nothing():
        mixed = ga.GANAugmentedDataset(train, pool.candidates(), synthetic_share=1.0)
        ga.GANAugmentedDataset(train, pool, synthetic_share=1.0)
    assert len(mixed) == 3 * 40
    assert mixed.origin(len(mixed) - 1).kind == "synthetic"
    batches = list(DataLoader(mixed, batch_size=32, num_workers=2, shuffle=True))
    assert sum(len(images) for images, _ in batches) == 120
    assert batches[0][0].shape[1:] == (3, 16, 16)
    again = run("build", gan, "--like", folder, "--out", tmp_path / "second", "--judge", tmp_path / "judge", "--json")
    first, second = (tmp_path / name / "part-00000" / "images-00000.npy" for name in ("pool", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(again.stdout)["kept"] == result["kept"]


def test_counts_and_no_selection(folder: Path, gan: Path, tmp_path: Path) -> None:
    told = run(
        "build",
        gan,
        "--like",
        folder,
        "--out",
        tmp_path / "pool",
        "--no-select",
        "--count",
        "digit 9=5",
        "--reserve",
        1,
    ).stdout
    assert "digit 9" in told
    assert ga.SyntheticPool.open(tmp_path / "pool").counts == {2: 5}


def test_json_of_fit(folder: Path, tmp_path: Path) -> None:
    result = json.loads(run("fit", folder, "--out", tmp_path / "g", "--steps", 2, "--recipe", "sngan", "--json").stdout)
    assert result["classes"] == ["digit 3", "digit 7", "digit 9"]
    assert result["recipe"]["name"] == "sngan"
    assert result["images"] == 73


def test_bad_folders_are_refused_in_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "found nothing" in refused("fit", tmp_path / "missing", "--out", out)
    (tmp_path / "flat").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "flat" / "a.png")
    assert "a folder of images for each class" in refused("fit", tmp_path / "flat", "--out", out)
    one = digits_folder(tmp_path / "one", {"digit 3": 4})
    assert "at least two classes, found one (digit 3)" in refused("fit", one, "--out", out)
    (one / "empty").mkdir()
    assert "found none in empty" in refused("fit", one, "--out", out)
    lone = digits_folder(tmp_path / "lone", {"digit 3": 4, "digit 5": 1})
    assert "a single image of digit 5" in refused("fit", lone, "--out", out)
    assert not list(tmp_path.glob("out*"))
    assert not list(tmp_path.glob(".out*"))


def test_bad_images_are_named(tmp_path: Path) -> None:
    folder = digits_folder(tmp_path / "images", {"digit 3": 4, "digit 5": 4})
    broken = folder / "digit 5" / "002.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    told = refused("fit", folder, "--out", tmp_path / "out", "--steps", 1)
    assert str(broken) in told
    broken.write_bytes(b"not an image")
    assert str(broken) in refused("fit", folder, "--out", tmp_path / "out", "--steps", 1)
    broken.write_bytes(whole)
    Image.new("L", (12, 9)).save(folder / "digit 5" / "odd.png")
    assert "give image_size=" in refused("fit", folder, "--out", tmp_path / "out", "--steps", 1)
    run("fit", folder, "--out", tmp_path / "sized", "--steps", 1, "--image-size", 16)
    Image.new("RGB", (8, 8)).save(folder / "digit 5" / "odd.png")
    told = refused("fit", folder, "--out", tmp_path / "out", "--steps", 1)
    assert "odd.png" in told
    assert "mode" in told


def test_bad_settings_are_refused(folder: Path, gan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "auto, dagan, sngan" in refused("fit", folder, "--out", out, "--recipe", "stylegan9")
    assert "steps of at least 1" in refused("fit", folder, "--out", out, "--steps", 0)
    assert "not to exist" in refused("fit", folder, "--out", gan)
    assert "CLASS=NUMBER" in refused("build", gan, "--like", folder, "--out", out, "--count", "melanoma")
    assert "digit 3, digit 7, digit 9" in refused("build", gan, "--like", folder, "--out", out, "--count", "melanoma=5")
    assert "expected sampling_strategy= of auto" in refused(
        "build", gan, "--like", folder, "--out", out, "--sampling-strategy", "sometimes"
    )
    assert "expected a synthesizer in" in refused("build", folder, "--like", folder, "--out", out)
    other = digits_folder(tmp_path / "other", {"digit 3": 12, "digit 8": 4})
    assert "it lacks digit 8" in refused("build", gan, "--like", other, "--out", out, "--no-select")
    assert not out.exists()


def test_another_architecture_shows_the_differing_keys(gan: Path, folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "gan"
    shutil.copytree(gan, copy)
    about = json.loads((copy / "synthesizer.json").read_text())
    about["recipe"]["width"] = 40
    (copy / "synthesizer.json").write_text(json.dumps(about))
    told = refused("build", copy, "--like", folder, "--out", tmp_path / "out")
    assert "of another shape" in told
    assert "instead of" in told


def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """The kernel refuses every byte beyond 100 KB in a file, as a full disk would."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        f"sys.argv = ['gan-augment', 'fit', {str(folder)!r}, '--out', {str(tmp_path / 'gan')!r}, '--steps', '2'];"
        "from gan_augment.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "error: could not write" in done.stderr
    assert "Free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def _nothing() -> object:
    import contextlib

    return contextlib.nullcontext()


def test_selectors_are_named_and_applied(folder: Path, gan: Path, tmp_path: Path) -> None:
    told = json.loads(called("selectors", "--json")[1])["selectors"]
    assert {one["name"] for one in told} >= {"label", "outlier", "copy", "duplicate", "centroid", "herding"}
    assert "keep_share" in called("selectors", "centroid")[1]
    chosen = (
        "--selector",
        "label:real_share=0.9",
        "--selector",
        "discriminator",
        "--selector",
        "centroid:agreement=none,keep_share=0.2-0.8",
    )
    status, out, err = called(
        "build", gan, "--like", folder, "--out", tmp_path / "pool", *chosen, "--judge", tmp_path / "judges",
        "--judges", 2, "--domains", 2, "--count", "digit 9=12", "--json",
    )  # fmt: skip
    assert status == 0, err
    result = json.loads(out)
    assert result["selector"]["name"] == "domain"
    steps = result["selector"]["selector"]["steps"]
    assert [step["name"] for step in steps] == ["label", "discriminator", "centroid"]
    assert steps[2]["keep_share"] == [0.2, 0.8]
    assert sum(row["candidates"] for row in result["domains"]) == result["candidates"] == 24
    assert any("real images" in note for note in result["notes"])
    assert isinstance(ga.load_extractor(tmp_path / "judges"), ga.CrossFittedExtractor)


@pytest.mark.parametrize(
    ("given", "message"),
    [("nearest", "expected a selector among label, "), ("centroid:keep=1", "expected settings of 'centroid' among")],
)
def test_a_selector_that_is_not_there(folder: Path, gan: Path, tmp_path: Path, given: str, message: str) -> None:
    out = tmp_path / "pool"
    assert message in refused("build", gan, "--like", folder, "--out", out, "--selector", given)
    assert not out.exists()
