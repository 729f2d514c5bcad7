"""Selectors written as text."""

import pytest

from gan_augment.errors import ConfigError
from gan_augment.selection import SELECTORS
from gan_augment.selection.parse import parse_selector
from tests.helpers import untrained_judge


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_has_a_name(name: str) -> None:
    judge = untrained_judge()
    selector = parse_selector(name, judge)
    assert selector.settings()["name"] == name
    assert selector.extractor is judge


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("centroid:keep_share=0.25", {"keep_share": 0.25}),
        ("centroid: keep_share = 0.25-0.75 ", {"keep_share": [0.25, 0.75]}),
        ("centroid:real_share=0.9", {"real_share": 0.9, "keep_share": None}),
        ("centroid:keep_share=1e-1", {"keep_share": 0.1}),
    ],
)
def test_settings_are_read(text: str, expected: dict[str, object]) -> None:
    settings = parse_selector(text, None).settings()
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nearest", "expected a selector among label, .*found 'nearest'"),
        ("centroid:keep_share", "NAME:SETTING=VALUE.*found 'keep_share'"),
        ("centroid:share=0.5", "settings of 'centroid' among keep_share, .*found share"),
        ("centroid:keep_share=2", r"keep_share in \(0, 1\]"),
        ("centroid:keep_share=much", "keep_share.*'much'"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_selector(text, None)
