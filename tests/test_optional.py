"""Libraries that only some uses need: the message where one is missing, or of another version."""

import sys
import types
from pathlib import Path

import pytest

from gan_augment.errors import ConfigError, DependencyError, GanAugmentError
from gan_augment.optional import needed


def stub(monkeypatch: pytest.MonkeyPatch, version: str | None) -> types.ModuleType:
    module = types.ModuleType("some_host")
    if version is not None:
        module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_host", module)
    return module


def test_a_library_that_is_there_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    module = stub(monkeypatch, "1.5")
    assert needed("some_host", "extra", "this") is module
    assert needed("some_host", "extra", "this", oldest="1.5", below="2") is module


def test_a_missing_library_is_told_with_what_installs_it() -> None:
    with pytest.raises(DependencyError, match="no_such_host for this, found that it is not installed") as caught:
        needed("no_such_host", "some", "this", oldest="1")
    assert "pip install 'gan_augment[some]'" in str(caught.value)
    assert caught.value.name == "no_such_host"
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, GanAugmentError)


@pytest.mark.parametrize("found", ["0.9.9", "1.0rc1", "2.0", "2.0.1", "10.0"])
def test_another_version_is_refused(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, found)
    with pytest.raises(DependencyError, match=f"expected some_host from 1.0 and below 2 for this, found {found}; pip"):
        needed("some_host", "extra", "this", oldest="1.0", below="2")


@pytest.mark.parametrize("found", ["1.0", "1.0.0", "1.0.post1", "1.9.9+cpu", "a build of my own"])
def test_a_version_within_is_taken(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, found)
    needed("some_host", "extra", "this", oldest="1.0", below="2")


def test_a_library_without_a_version_is_older_than_any(monkeypatch: pytest.MonkeyPatch) -> None:
    stub(monkeypatch, None)
    with pytest.raises(DependencyError, match="from 1 for this, found 0"):
        needed("some_host", "extra", "this", oldest="1")


def test_what_a_library_itself_lacks_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_host.py").write_text("import not_there_either\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="not_there_either"):
        needed("broken_host", "extra", "this")
