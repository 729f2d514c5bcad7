"""What every adapter must do: refuse a missing or unsupported host in one sentence, and be what pyproject says."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from gan_augment.errors import DependencyError

ROOT = Path(__file__).parents[2]
ADAPTERS = sorted(path.stem for path in (ROOT / "integrations").glob("[!_]*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


class Asked(Exception):
    """Ends the import of an adapter where it asks for its host."""


def imported_anew(name: str, patch: pytest.MonkeyPatch) -> Any:
    patch.delitem(sys.modules, f"gan_augment.integrations.{name}", raising=False)
    return importlib.import_module(f"gan_augment.integrations.{name}")


def asked_for(name: str) -> tuple[list[str], dict[str, str]]:
    """What an adapter says of its host as it is imported: the arguments of its call of `needed`."""
    told: list[tuple[list[str], dict[str, str]]] = []

    def tell(*arguments: str, **bounds: str) -> None:
        told.append((list(arguments[:2]), bounds))
        raise Asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gan_augment.optional.needed", tell)
        with pytest.raises(Asked):
            imported_anew(name, patch)
    return told[0]


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_missing_host_is_told_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (host, extra), _ = asked_for(name)
    monkeypatch.setitem(sys.modules, host, None)
    with pytest.raises(DependencyError, match=rf"pip install 'gan_augment\[{extra}\]'"):
        imported_anew(name, monkeypatch)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_unsupported_version_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (host, _), given = asked_for(name)
    module = importlib.import_module(host)
    for wrong in ("0.0.1", *([given["below"]] if "below" in given else [])):
        monkeypatch.setattr(module, "__version__", wrong)
        with pytest.raises(DependencyError, match=f"found {wrong}"):
            imported_anew(name, monkeypatch)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_extra_installs_what_the_adapter_takes(name: str) -> None:
    (_, extra), given = asked_for(name)
    lists = [PROJECT["optional-dependencies"].get(extra, []), PROJECT["dependencies"]]
    dashed = {"imblearn": "imbalanced-learn", "huggingface": "transformers"}.get(name, name)
    found = [Requirement(line) for lines in lists for line in lines]
    own = next(requirement for requirement in found if requirement.name == dashed)
    assert own.specifier.contains(given["oldest"])
    assert not any(own.specifier.contains(older) for older in ("0.0.1", "0.1"))
    lowest = min(Version(part.version) for part in own.specifier if part.operator in (">=", "=="))
    assert lowest == Version(given["oldest"])


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_has_public_names_with_docstrings(name: str) -> None:
    module = importlib.import_module(f"gan_augment.integrations.{name}")
    assert module.__all__ == sorted(module.__all__)
    for public in module.__all__:
        assert getattr(module, public).__doc__, public


def test_the_library_imports_no_host() -> None:
    hosts = [asked_for(name)[0][0] for name in ADAPTERS]
    optional = [host for host in hosts if host != "torchvision"]
    code = f"import sys, gan_augment; print(sorted(set({optional!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
