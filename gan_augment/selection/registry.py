"""Every selector by name, and how one is made of a name and settings, or read from a folder."""

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_augment.artifacts import read_json
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.selection.base import KIND, VERSION, FittedSelector
from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.compose import Compose
from gan_augment.selection.copies import CopyGuard
from gan_augment.selection.coverage import HerdingSelector, KCenterSelector
from gan_augment.selection.domain import DomainSelector
from gan_augment.selection.duplicates import DuplicateGuard
from gan_augment.selection.guards import LabelGuard, OutlierGuard
from gan_augment.selection.logits import DiscriminatorSelector
from gan_augment.selection.manifold import ManifoldSelector, NeighbourSelector, RealismSelector
from gan_augment.selection.utility import GradientSelector, InformativenessSelector
from gan_augment.types import Extractor, Selector

__all__ = ["SELECTORS", "default_selector", "described", "load_selector", "make_selector"]

SELECTORS: dict[str, type[FittedSelector]] = {
    selector.name: selector
    for selector in (
        LabelGuard, OutlierGuard, CopyGuard, DuplicateGuard, CentroidSelector, RealismSelector, NeighbourSelector,
        ManifoldSelector, HerdingSelector, KCenterSelector, DiscriminatorSelector, InformativenessSelector,
        GradientSelector,
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


def described(name: str | None = None) -> list[dict[str, Any]]:
    """Returns name, first sentence, docstring and default settings of every selector, or of one.

    Raises:
        ConfigError: There is none of this name.
    """
    found = []
    if name is not None and name not in SELECTORS:
        raise ConfigError(f"expected a selector among {', '.join(SELECTORS)}, found {name!r}")
    for kind in SELECTORS.values() if name is None else [SELECTORS[name]]:
        text = inspect.getdoc(kind) or ""
        settings = {key: value for key, value in kind().settings().items() if key != "name"}
        found.append({"name": kind.name, "summary": text.split("\n")[0], "description": text, "settings": settings})
    return found


def default_selector(extractor: Extractor | None) -> Selector:
    """Returns the selector that is taken where none is named: of each class the half farthest from its centroid.

    It measured best on development replicates, where no other could be told from random choice but to its disadvantage
    (`benchmarks/results/selectors.md`); no locked seed has confirmed it. What lies near to the centroid is alike, and
    adds little to what a classifier has. It drops no bad images: where a synthesizer draws such, compose it after
    guards, and look at the samples.

    Args:
        extractor: A judge.
    """
    return CentroidSelector(extractor, agreement=None, keep_share=(0.5, 1.0))


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
    for kind in (Compose, DomainSelector):
        if name == kind.name:
            return kind.load(folder, extractor)
    if not isinstance(name, str) or name not in SELECTORS:
        raise ArtifactError(f"expected a selector of {', '.join(SELECTORS)} in {folder}, found {name!r}")
    if isinstance(extractor, Sequence):
        raise ConfigError(f"expected one extractor for {name!r}, found {len(extractor)}")
    return SELECTORS[name].load(folder, extractor)
