"""A folder that export wrote, for tests that change it."""

from pathlib import Path

import pytest

from gan_augment.pool.exports import export
from tests.pool.exports.material import pool_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six images: 0 and 3 nevus, 1 and 4 melanoma, 2 and 5 basal cell."""
    return export(pool_of(), tmp_path / "out", progress=False)
