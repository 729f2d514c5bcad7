"""What synthesizers that are made of others have in common: devices, licences, parents, what they were fitted on."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from gan_augment.fingerprint import FittedOn
from gan_augment.images import ImageSpec
from gan_augment.types import NeedsParents, Synthesizer

__all__ = ["Combined", "conditions_for", "joined", "origins_of"]

_UNKNOWN = "not known of one of its parts"


class Combined:
    """A synthesizer that is made of others.

    Args:
        parts: The others.
    """

    image_spec: ImageSpec | None

    def __init__(self, parts: Sequence[Synthesizer]) -> None:
        self.parts = list(parts)
        specs = [part.image_spec for part in parts]
        self.image_spec = specs[0] if all(spec == specs[0] for spec in specs) else None

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """`(C, *spatial)` of the images where all parts tell the same; else None."""
        if self.image_spec is not None:
            return (self.image_spec.channels, *self.image_spec.grid)
        shapes = [getattr(part, "image_shape", None) for part in self.parts]
        return shapes[0] if all(shape == shapes[0] for shape in shapes) else None

    @property
    def licence(self) -> str | None:
        """The licences of all parts; None where none is known."""
        return joined([getattr(part, "licence", None) for part in self.parts])

    @property
    def citation(self) -> str | None:
        """Whom to cite for all parts; None where nobody is known."""
        return joined([getattr(part, "citation", None) for part in self.parts], None)

    @property
    def provenance(self) -> Any:
        """Where the weights of the only part come from; None for several parts: see `origins`."""
        return getattr(self.parts[0], "provenance", None) if len(self.parts) == 1 else None

    @property
    def origins(self) -> list[dict[str, Any]]:
        """Where the weights of all parts come from, as JSON values."""
        return [origin for part in self.parts for origin in origins_of(part)]

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of what the parts were fitted on."""
        return FittedOn.union(*(FittedOn.of(part) for part in self.parts))

    @property
    def device(self) -> torch.device:
        """Where the networks of the first part are."""
        return getattr(self.parts[0], "device", torch.device("cpu"))

    def to(self, device: torch.device | str) -> Self:
        """Moves the networks of all parts to a device; returns itself."""
        for part in self.parts:
            if hasattr(part, "to"):
                part.to(device)
        return self

    @property
    def needs_parents(self) -> bool:
        """Whether one of them makes its samples from real images."""
        return any(map(_needs_parents, self.parts))

    @property
    def other_parents(self) -> bool:
        """Whether some samples are made of images of other classes, or of none."""
        alike = len({_needs_parents(part) for part in self.parts}) == 1
        return not alike or any(getattr(part, "other_parents", False) for part in self.parts)

    def bind(self, dataset: Any) -> Self:
        """Gives the real images that parents are drawn from; returns itself."""
        for part in self.parts:
            if isinstance(part, NeedsParents):
                part.bind(dataset)
        return self

    @property
    def chains(self) -> list[dict[str, str]]:
        """The fingerprints of all parts."""
        return [getattr(part, "fingerprint", {"weights": "unknown"}) for part in self.parts]


def origins_of(synthesizer: Any) -> list[dict[str, Any]]:
    """Returns where a synthesizer's weights come from, as JSON values; nothing where it was trained here."""
    found = getattr(synthesizer, "origins", None)
    if isinstance(found, list):
        return found
    provenance = getattr(synthesizer, "provenance", None)
    return [] if provenance is None else [provenance.to_json()]


def conditions_for(
    part: Synthesizer, conditions: Mapping[str, Tensor] | None, rows: Tensor
) -> dict[str, Tensor] | None:
    """Returns the rows of conditions that a part takes; None for one that makes images of latents."""
    if conditions is None or not _needs_parents(part):
        return None
    return {name: value[rows] for name, value in conditions.items()}


def _needs_parents(part: Synthesizer) -> bool:
    return isinstance(part, NeedsParents) and part.needs_parents


def joined(values: Sequence[str | None], unknown: str | None = _UNKNOWN) -> str | None:
    """Returns what several parts say, each once, and that some say nothing; None where none says anything."""
    known = list(dict.fromkeys(value for value in values if value is not None))
    if not known:
        return None
    return "; ".join(known if unknown is None or None not in values else [*known, unknown])
