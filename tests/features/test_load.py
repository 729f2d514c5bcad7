"""load_extractor: folders that are of no extractor."""

import json
from pathlib import Path
from typing import Any

import pytest

from gan_augment.errors import ArtifactError
from gan_augment.features import load_extractor


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "found no extractor.json"),
        ("{", "expected JSON"),
        ("[" * 10**5, "expected JSON"),
        ("7", "found kind None"),
        (json.dumps({"kind": "gan_augment pool", "version": 1}), "found kind 'gan_augment pool'"),
        (json.dumps({"kind": ["a"], "version": 1}), "found kind"),
    ],
)
def test_no_extractor(tmp_path: Path, content: Any, told: str) -> None:
    if content is not None:
        (tmp_path / "extractor.json").write_text(content)
    with pytest.raises(ArtifactError, match=told):
        load_extractor(tmp_path)
