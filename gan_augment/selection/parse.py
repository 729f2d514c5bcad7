"""Selectors written as text, as on the command line: `centroid:keep_share=0.5,agreement=none`."""

import json
from typing import Any

from gan_augment.errors import ConfigError
from gan_augment.selection.registry import make_selector
from gan_augment.types import Extractor, Selector

__all__ = ["parse_selector"]


def parse_selector(text: str, extractor: Extractor | None) -> Selector:
    """Returns the selector of a text `NAME` or `NAME:SETTING=VALUE,...`.

    Values are numbers, `true`, `false`, `none`, names, or a band `LOW-HIGH`.

    Args:
        text: Such as `label` or `centroid:keep_share=0.25-0.75,metric=cosine`.
        extractor: What it sees by.

    Raises:
        ConfigError: There is no such selector, or it has no such setting.
    """
    name, _, rest = text.partition(":")
    settings = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"expected a selector as NAME:SETTING=VALUE,..., found {pair!r} in {text!r}")
        settings[key.strip()] = _value(value.strip())
    try:
        return make_selector(name.strip(), extractor, settings)
    except TypeError as error:
        raise ConfigError(f"expected settings of the selector {name!r}, found {rest!r}: {error}") from None


def _value(text: str) -> Any:
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    low, dash, high = text.partition("-")
    try:
        if dash and low and "e" not in low.lower():
            return float(low), float(high)
        return json.loads(text)
    except ValueError:
        return text
