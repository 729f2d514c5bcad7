"""A source of synthetic images as users give it: a pool, a synthesizer, or the path of one."""

import os
from pathlib import Path
from typing import Any

from gan_augment.artifacts import exists
from gan_augment.errors import ConfigError
from gan_augment.pool.layout import POOL
from gan_augment.pool.pool import SyntheticPool
from gan_augment.synthesizers import load
from gan_augment.types import Synthesizer

__all__ = ["opened_source"]


def opened_source(source: Any) -> SyntheticPool | Synthesizer:
    """Returns a pool or a synthesizer, opened where the folder or file of one is given.

    Raises:
        ConfigError: It is neither.
        ArtifactError: It is a path at which neither lies.
    """
    if isinstance(source, str | os.PathLike):
        return SyntheticPool.open(source) if exists(Path(source) / POOL) else load(os.fspath(source))
    if not isinstance(source, SyntheticPool | Synthesizer):
        raise ConfigError(f"expected a SyntheticPool, a Synthesizer, or the path of one, found {type(source).__name__}")
    return source
