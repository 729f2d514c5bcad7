"""What a reader finds in a file: which architecture, its settings, its weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gan_augment.networks.published import Settings

__all__ = ["Found", "Part"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network in a file.

    Attributes:
        architecture: Its name in `gan_augment.networks.published`.
        settings: What it is built with.
        state: Its state dict, by the names of this project's own implementation.
    """

    architecture: str
    settings: Settings
    state: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a reader found.

    Attributes:
        form: Name of the file's format, such as "stylegan2-ada pickle".
        generator: The generator, or the network that makes images of images.
        discriminator: The discriminator, for fine-tuning; None where there is none that is known here.
        class_names: Names that the file gives its classes; None where it gives none.
        licence: What the file, or who released files of this kind, says of the licence of the weights; None where
            nothing is known.
        citation: Whom to cite.
        notes: What a user should know: what was left out, what was guessed.
        about: Further JSON values out of the file that are worth keeping, such as the number of images seen.
    """

    form: str
    generator: Part
    citation: str
    discriminator: Part | None = None
    class_names: Sequence[str] | None = None
    licence: str | None = None
    notes: Sequence[str] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
