"""Running the pages of docs: their code works, prints what they show, and their links lead somewhere."""

import contextlib
import doctest
import io
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gan_augment.errors import GanAugmentError
from tests.test_cli import run

DOCS = Path(__file__).parent.parent / "docs"
SAME = doctest.OutputChecker()
ELLIPSIS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Desk:
    """Where a page is read: a folder, and what its words stand for."""

    folder: Path
    fixture: Callable[[str], Any]
    patch: pytest.MonkeyPatch
    stack: contextlib.ExitStack
    words: dict[str, str] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Path:
        return self.folder / name


@dataclass(frozen=True)
class Page:
    """How a page is run: what makes its files, which warnings it may give, which packages it needs."""

    make: Callable[[Desk], object]
    warns: tuple[type[Warning], ...] = ()
    needs: tuple[str, ...] = ()


@dataclass
class Block:
    """A fenced block: its language, content and line, and the output that the page shows of it."""

    kind: str
    content: str
    line: int
    shown: str | None = None


def blocks_of(text: str) -> list[Block]:
    found: list[Block] = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        block = Block(match[1], match[2], text[: match.start(2)].count("\n"))
        if block.kind != "text":
            found.append(block)
        else:
            assert found, f"line {block.line}: output of nothing"
            assert found[-1].shown is None, f"line {block.line}: a second output of one block"
            found[-1].shown = block.content
    return found


def commands_of(block: Block) -> list[list[str]]:
    lines = block.content.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("gan-augment ")]


def in_process(arguments: list[str]) -> str:
    from typer.testing import CliRunner

    from gan_augment.cli import app

    done = CliRunner().invoke(app, arguments, catch_exceptions=False, prog_name="gan-augment")
    assert done.exit_code == 0, done.output
    return done.stdout


def printed_by(block: Block, names: dict[str, Any], page: str, *, processes: bool) -> str:
    """What a block prints, and, where the page shows one, the error that it ends with."""
    if block.kind == "shell":
        return "".join(
            run(*arguments).stdout if processes else in_process(arguments) for arguments in commands_of(block)
        )
    assert block.kind == "python", f"{page}, line {block.line}: a block of {block.kind or 'no language'}"
    code = compile("\n" * block.line + block.content, f"{page}.md", "exec")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, names)
        except GanAugmentError as error:
            told = f"{type(error).__name__}: {error}\n"
            if block.shown is None or not block.shown.startswith(f"{type(error).__name__}:"):
                raise
            out.write(told)
        else:
            assert block.shown is None or not re.match(r"\w+Error:", block.shown), "no error where one is shown"
    return out.getvalue()


def play(desk: Desk, name: str, page: Page, text: str, *, processes: bool = False) -> None:
    """Runs a page in its folder, and compares what it prints with what it shows."""
    for module in page.needs:
        pytest.importorskip(module)
    page.make(desk)
    desk.patch.chdir(desk.folder)
    for word, meaning in desk.words.items():
        assert word in text, f"{word} is not on the page"
        text = text.replace(word, meaning)
    names: dict[str, Any] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        for category in page.warns:
            warnings.simplefilter("ignore", category)
        for block in blocks_of(text):
            found = printed_by(block, names, name, processes=processes)
            if block.shown is not None:
                same = SAME.check_output(block.shown, found, ELLIPSIS)
                assert same, f"{name}.md, line {block.line}: shown is\n{block.shown}\nfound\n{found}"
    assert not (desk / "canary").exists()


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("GAN_AUGMENT_CACHE", str(tmp_path / "cache"))
    with contextlib.ExitStack() as stack:
        yield Desk(tmp_path, request.getfixturevalue, monkeypatch, stack)


def anchors(text: str) -> set[str]:
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def check_links(path: Path) -> None:
    """Every link of a page leads to a file, and to a title in it."""
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        assert not anchor or anchor in anchors(found.read_text()), link
