"""What every published network tells of itself: the settings it is built with, its latents, classes and images."""

import dataclasses
import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from gan_augment.errors import ConfigError

__all__ = ["LayerNoise", "Published", "Settings", "Styled", "Translator", "within"]

LayerNoise = Callable[[int, tuple[int, ...]], Tensor] | Literal["const", "none"]
"""Noise of a synthesis: "const" for the images stored in the weights, "none", or a function of a layer's number and its
spatial shape that returns standard normals `(N, 1, *spatial)`."""


def within(name: str, value: Any, least: float, most: float) -> None:
    """Raises unless a setting lies from `least` to `most`: settings come out of files, and no file may ask for more.

    Raises:
        ConfigError: It does not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"expected {name} from {least} to {most}, found {value!r}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an architecture is built with; a subclass checks every field in `__post_init__`, with bounds.

    Fields are bool, int, float, str, None, Literals, tuples of those, and unions of those.
    """

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            ConfigError: A setting is unknown, is missing, or has another type or a value beyond its bounds.
        """
        hints = typing.get_type_hints(cls)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(value, Mapping) or (unknown := [name for name in value if name not in fields]):
            found = value if not isinstance(value, Mapping) else ", ".join(map(str, unknown))
            raise ConfigError(f"expected settings {', '.join(fields)} of {cls.__name__}, found {found!r:.200}")
        given = {name: _as(hints[name], setting, name) for name, setting in value.items()}
        missing = [name for name, field in fields.items() if name not in given and field.default is dataclasses.MISSING]
        if missing:
            raise ConfigError(f"expected settings of {cls.__name__}, found none for {', '.join(missing)}")
        return cls(**given)


def _as(hint: Any, value: Any, name: str) -> Any:
    """Returns a JSON value as a type says, lists as tuples."""
    if _fits(hint, value):
        return _tupled(value)
    raise ConfigError(f"expected {name} of type {getattr(hint, '__name__', hint)}, found {value!r:.100}")


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list | tuple) else value


def _fits(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(arg, value) for arg in args)
    if origin is Literal:
        return value in args
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        inner = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        return len(inner) == len(value) and all(map(_fits, inner, value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond floats
        return False


class Architecture(nn.Module):
    """A network whose architecture was published.

    A subclass is one architecture. Its constructor takes its settings only and works on the meta device; its
    parameters' names are those of the released weights where these have sensible ones, so that a reader has little to
    rename.
    """

    paper: ClassVar[str]
    """Authors, year, arXiv number."""

    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings


class Published(Architecture, ABC):
    """A generator whose architecture was published: latents, and a class where it knows any, to images."""

    @property
    @abstractmethod
    def latent_dim(self) -> int:
        """Length of the latents."""

    @property
    def latent_prior(self) -> Literal["normal", "uniform"]:
        """What latents are drawn from: standard normals, or uniform numbers in [-1, 1]."""
        return "normal"

    @property
    def truncates(self) -> bool:
        """Whether shorter latents make more typical images; not where latents are normalised first."""
        return True

    @property
    def noisy(self) -> bool:
        """Whether layers take noise, which `with_noise` gives them."""
        return False

    @property
    @abstractmethod
    def num_classes(self) -> int:
        """Number of classes; 0 for a generator that knows none."""

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, ...]:
        """`(C, *spatial)`."""

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, C, *spatial)`, nominally in [-1, 1].

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)` int64; not looked at by a generator that knows no classes.
        """

    def with_noise(self, latents: Tensor, labels: Tensor | None, noise: LayerNoise) -> Tensor:
        """Returns images with the noise given; generators without styles whose layers take noise override this."""
        images: Tensor = self(latents, labels)
        return images

    def truncated(self, latents: Tensor, labels: Tensor | None, truncation: float) -> Tensor:
        """Returns images for latents that were truncated; networks with statistics for it override this.

        Args:
            latents: `(N, latent_dim)`, already `truncation` times normals that were cut at 2.
            labels: `(N,)` int64.
            truncation: From 0 to 1.
        """
        images: Tensor = self(latents, labels)
        return images


class Styled(Published):
    """A published generator that maps latents to a style; styles can be moved and mixed before images are made."""

    @property
    def noisy(self) -> bool:
        """Whether layers take noise."""
        return True

    @property
    @abstractmethod
    def style_layers(self) -> int:
        """Number of layers that take a style."""

    @abstractmethod
    def styles(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns styles `(N, W)` for latents `(N, latent_dim)` and labels `(N,)`, not truncated."""

    @abstractmethod
    def images(self, styles: Tensor, noise: LayerNoise = "const") -> Tensor:
        """Returns images `(N, C, *spatial)` for one style a layer, `(N, style_layers, W)`."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images, nominally in [-1, 1], without truncation and with the noise that the weights store."""
        return self.with_noise(latents, labels, "const")

    def with_noise(self, latents: Tensor, labels: Tensor | None, noise: LayerNoise) -> Tensor:
        """Returns images, nominally in [-1, 1], without truncation."""
        return self.images(self.styles(latents, labels)[:, None].expand(-1, self.style_layers, -1), noise)


class Translator(Architecture, ABC):
    """A published network that makes an image of an image: paired (pix2pix), or of another domain (CycleGAN)."""

    @property
    @abstractmethod
    def source_channels(self) -> int:
        """Channels of the images that it is given."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of the images that it makes."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """What the sides of a source image must be multiples of."""

    @abstractmethod
    def forward(self, source: Tensor) -> Tensor:
        """Returns `(N, channels, H, W)` in [-1, 1] for source images `(N, source_channels, H, W)` in [-1, 1]."""
