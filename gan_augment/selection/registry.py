"""Every selector by name, and how one is made of a name and settings, or read from a folder."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_augment.artifacts import read_json
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.selection.base import KIND, VERSION, FittedSelector
from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.compose import Compose
from gan_augment.types import Extractor, Selector

__all__ = ["SELECTORS", "load_selector", "make_selector"]

SELECTORS: dict[str, type[FittedSelector]] = {
    selector.name: selector
    for selector in (
        CentroidSelector,
    )
}  # fmt: skip


def make_selector(name: str, extractor: Extractor | None, settings: Mapping[str, Any]) -> Selector:
    """Returns a selector of a name and settings.

    Raises:
        ConfigError: There is none of this name, or it has no such setting.
    """
    if name not in SELECTORS:
        raise ConfigError(f"expected a selector among {', '.join(SELECTORS)}, found {name!r}")
    kind = SELECTORS[name]
    known = [f.name for f in dataclasses.fields(kind) if f.name != "extractor"]
    if unknown := sorted(settings.keys() - set(known)):
        raise ConfigError(f"expected settings of {name!r} among {', '.join(known)}, found {', '.join(unknown)}")
    return kind(extractor, **settings)


def load_selector(folder: str | Path, extractor: "Extractor | Sequence[Extractor] | None" = None) -> Selector:
    """Reads what the `save` of any selector wrote.

    Args:
        folder: Its folder.
        extractor: The one that it was fitted with; of a composed one, the one of all steps, or one for each.

    Raises:
        ArtifactError: It is missing, damaged or of a newer version.
    """
    about = read_json(Path(folder) / "selector.json", KIND, VERSION)
    name = about["settings"].get("name") if isinstance(about.get("settings"), dict) else None
    if name == Compose.name:
        return Compose.load(folder, extractor)
    if name not in SELECTORS:
        raise ArtifactError(f"expected a selector of {', '.join(SELECTORS)} in {folder}, found {name!r}")
    if isinstance(extractor, Sequence):
        raise ConfigError(f"expected one extractor for {name!r}, found {len(extractor)}")
    return SELECTORS[name].load(folder, extractor)
