"""A module imports only from its own room and from floors below."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gan_augment"

FLOORS = {
    "demo": 5,
    "cli": 5,
    "__main__": 5,
    "report": 5,
    "verbs": 5,
    "dataset": 4,
    "evaluation": 4,
    "quality": 4,
    "transforms": 4,
    "training": 3,
    "pool": 3,
    "synthesizers": 2,
    "selection": 2,
    "recipes": 1,
    "features": 1,
    "metrics": 1,
    "supervised": 1,
    "networks": 0,
    "neighbours": 0,
    "clusters": 0,
    "search": 0,
    "index": 0,
    "losses": 0,
    "source": 0,
    "pipelines": 0,
    "pasting": 0,
    "insertion": 0,
    "hosts": 0,
    "scan": 0,
    "items": 0,
    "targets": 0,
    "images": 0,
    "forms": 0,
    "geometry": 0,
    "optional": 0,
    "folders": 0,
    "augmentation": 0,
    "artifacts": 0,
    "balance": 0,
    "seeds": 0,
    "fingerprint": 0,
    "locks": 0,
    "folds": 0,
    "machine": 0,
    "ranks": 0,
    "options": 0,
    "errors": 0,
    "types": 0,
}
"""Each room and its floor; the entry points of the command line stand on the highest."""

ENTRY_POINTS = {"__main__": {"cli"}, "cli": {"demo", "report", "verbs"}, "verbs": {"report"}, "demo": {"report"}}
"""Rooms of one floor may not import each other, but for these and for the ground floor."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "gan_augment" and len(parts) > 1:
                yield parts[1]


def breaches(room: str, path: Path) -> list[str]:
    found = []
    for other in imported_rooms(path):
        if other == room:
            continue
        same_floor = FLOORS[other] == FLOORS[room]
        allowed = FLOORS[room] == 0 or other in ENTRY_POINTS.get(room, set()) or (room, other) in BESIDE
        if FLOORS[other] > FLOORS[room] or (same_floor and not allowed):
            found.append(f"{path.relative_to(PACKAGE)} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})")
    return found


BESIDE = {("features", "supervised"), ("features", "recipes"), ("supervised", "metrics"), ("evaluation", "dataset")}
"""Pairs of rooms on one floor of which the first uses the second: the judge trains by the one classifier loop, a GAN's
discriminator sees images as its recipe says, and what is evaluated is the dataset that users train on."""


@pytest.mark.parametrize(("room", "path"), [pytest.param(r, p, id=str(p.relative_to(PACKAGE))) for r, p in modules()])
def test_imports_only_from_below(room: str, path: Path) -> None:
    assert room in FLOORS, f"{room} stands on no floor: add it to FLOORS"
    assert not breaches(room, path)


def test_every_floor_has_its_rooms() -> None:
    there = {room for room, _ in modules()}
    assert there == set(FLOORS)


def test_the_check_finds_a_breach(tmp_path: Path) -> None:
    bad = PACKAGE / "seeds.py"
    assert not breaches("seeds", bad)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from gan_augment.pool import SyntheticPool\n")
    assert list(imported_rooms(wrong)) == ["pool"]


@pytest.mark.parametrize("path", [p for _, p in modules()], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_is_unpickled(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"pickle", "cloudpickle", "joblib", "dill", "shelve"}
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        trusted = called == "torch.jit.load" and path.name == "torchscript.py"  # a program: with trust=True only
        if called in {"torch.load", "torch.jit.load", "eval", "exec"} and not trusted:
            pytest.fail(f"{path}: {ast.unparse(node)}")
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords)


INTEGRATIONS = PACKAGE.parent / "integrations"


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py")], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_core_knows_no_adapter(path: Path) -> None:
    text = path.read_text()
    assert "gan_augment.integrations" not in "".join(
        ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
    )


@pytest.mark.parametrize("path", sorted(INTEGRATIONS.glob("*.py")), ids=lambda p: p.stem)
def test_an_adapter_knows_the_core_and_its_host_alone(path: Path) -> None:
    others = {other.stem for other in INTEGRATIONS.glob("*.py")} - {path.stem}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not (node.module or "").startswith("gan_augment.integrations")
            assert (node.module or "").partition(".")[0] not in others
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & others
