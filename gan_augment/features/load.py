"""Reads a saved extractor, whichever it is."""

import json
from collections.abc import Callable
from pathlib import Path

from torch import nn

from gan_augment.errors import ConfigError
from gan_augment.features import backbone, crossfitted, discriminator, module, pixels, precomputed, trained
from gan_augment.types import Extractor

__all__ = ["load_extractor"]

_MOST_BYTES = 16 * 2**20

_LOADERS: dict[str, Callable[[Path], Extractor]] = {
    trained.KIND: trained.TrainedExtractor.load,
    crossfitted.KIND: crossfitted.CrossFittedExtractor.load,
    discriminator.KIND: discriminator.DiscriminatorExtractor.load,
    backbone.KIND: backbone.TorchvisionExtractor.load,
    precomputed.KIND: precomputed.PrecomputedFeatures.load,
    pixels.KIND: pixels.PixelExtractor.load,
}


def load_extractor(folder: str | Path, network: nn.Module | None = None) -> Extractor:
    """Reads what the `save` of any extractor wrote; runs none of it.

    Args:
        folder: The extractor's folder.
        network: Of a `ModuleExtractor`, a network of the same architecture; its weights are replaced.

    Raises:
        ArtifactError: It is missing, damaged or of another architecture.
        ConfigError: It is a `ModuleExtractor`, and there is no network.
    """
    kind = _kind(Path(folder))
    if kind == module.KIND:
        if network is None:
            raise ConfigError(
                f"expected the network beside {folder}, which holds a ModuleExtractor's weights and not its code; give "
                "network="
            )
        return module.ModuleExtractor.load(folder, network)
    load = _LOADERS.get(kind, trained.TrainedExtractor.load)  # which says what is missing or damaged
    return load(Path(folder))


def _kind(folder: Path) -> str:
    try:
        with open(folder / "extractor.json", "rb") as file:
            return str(json.loads(file.read(_MOST_BYTES))["kind"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
