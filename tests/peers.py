"""Other projects' packages, for tests that compare with them."""

from typing import Any

import pytest

from benchmarks.peers.packages import peer


def peer_or_skip(name: str) -> Any:
    """The module of a package that has its generators; skips the test where it is not installed."""
    try:
        return peer(name)
    except ModuleNotFoundError:
        pytest.skip(f"{name} is not installed")
