"""The mark: what is said of a pool, whatever its description holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from gan_augment.pool.exports.marking import Mark, plain
from tests.pool.exports.material import drawn_pool


def mark_of(**about: Any) -> Mark:
    return Mark.of(SimpleNamespace(about=about))  # type: ignore[arg-type]


def test_the_mark_of_a_pool_that_was_drawn() -> None:
    pool = drawn_pool()
    mark = Mark.of(pool)
    assert mark.pool in mark.sentence(5)
    assert mark.sentence(5).isascii()
    assert "seed 5" in mark.sentence(5)
    assert mark.facts()["fingerprint"] == pool.about["fingerprint"]
    assert mark.pool == Mark.of(pool.rejected()).pool


def test_what_is_not_known_is_unknown() -> None:
    mark = mark_of()
    assert (mark.pool, mark.licence) == ("unknown", "unknown")
    assert mark.texts(3, -1)["Seed"] == "unknown"


@pytest.mark.parametrize("licence", ["CC BY 4.0", "a\nb\0c", "\ud800" * 3, "ü" * 5000, 7, ["x"]])
def test_licences_are_told_on_one_line(licence: Any) -> None:
    told = mark_of(licence=licence).licence
    assert told
    assert told.isprintable()
    assert len(told) <= 200
    told.encode()


def test_plain_text() -> None:
    assert plain(" a \t b\r\nc ") == "a b c"
    assert plain("x" * 10**6, 5) == "xxxxx"
