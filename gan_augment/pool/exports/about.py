"""gan_augment.json: what an exported folder says of itself, written by us and read as if it were not."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_augment.artifacts import read_json
from gan_augment.errors import ArtifactError, DataError
from gan_augment.forms import RawForm

__all__ = ["ABOUT", "KIND", "VERSION", "About", "read_about"]

KIND, VERSION, ABOUT = "gan_augment export", 1, "gan_augment.json"


class About:
    """What is said, checked.

    Attributes:
        told: The JSON as it stands there; empty where there is none.
        classes: The classes of the pool; None where there is no file.
        folders: Of each class folder the label.
        form: The raw form of the pool's images; None where there is no file.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.told = told
        self.classes: list[str] | None = None
        self.folders: dict[str, int] = {}
        self.form: RawForm | None = None
        if not told:
            return
        self.classes = _classes(told["classes"])
        self.folders = {str(name): int(label) for name, label in dict(told.get("folders", {})).items()}
        if not set(self.folders.values()) <= set(range(len(self.classes))):
            raise ValueError("folders of classes that are not there")
        form = dict(told["form"])
        shape = form.pop("shape")
        sides = None if shape is None else tuple(int(side) for side in shape)
        self.form = RawForm(**{**form, "shape": sides, "device": "cpu", "palette": None})


def _classes(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"classes {json.dumps(names)[:80]}")
    return list(names)


def read_about(folder: Path) -> About:
    """Reads what an exported folder says of itself; a folder without it says nothing.

    Raises:
        DataError: The file is damaged.
    """
    path = folder / ABOUT
    if not os.path.lexists(path):
        return About({})
    try:
        if path.is_symlink() or not path.is_file():
            raise ValueError("no regular file")
        return About(read_json(path, KIND, VERSION))
    except (ArtifactError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(
            f"expected {path} as export wrote it, found another ({str(error)[:300]}); restore it, or remove it to have "
            "the folder read as any image folder"
        ) from None
