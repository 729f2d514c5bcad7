"""Knobs of a pretrained generator: truncation for each class, mixing, interpolation, noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, probability, whole
from gan_augment.networks.published import Published, Styled, within
from gan_augment.seeds import normals, uniforms
from gan_augment.types import IntArray

__all__ = ["Knobs", "Latents", "Shares"]

Shares = npt.NDArray[np.float64]

_LATENTS, _OTHER, _MIXING, _NOISE = 0, 2, 3, 16
_MOST_LAYERS = 1000
_CUT = 2.0
"""Where normals are cut for truncation, in standard deviations (Brock et al. 2019, section 3.1)."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """How a pretrained generator draws.

    Attributes:
        truncation: 1 draws all that the generator knows, smaller draws what is more typical and less varied, 0 one
            image a class. One number, or one for each class by name. Of a generator of styles, a style w becomes
            w_y + truncation (w - w_y), with the mean style w_y *of its class*: the released mean of all classes would
            pull rare classes towards common ones (Karras et al. 2019, section B, for one class). Of others the
            latents are normals cut at 2, times truncation (Brock et al. 2019, section 3.1). None is neither, and so are
            classes that are not named.
        layers: First layers of a generator of styles that are truncated; None for all.
        mixing: Probability that a sample's style is taken from a second one of its class from some layer on (Karras et
            al. 2019, section 3.1).
        interpolation: From a sample's latents, 0, to those of a second one, 1, along the arc between them; styles
            along the line.
        noise: Of the layers: "const", the images that the weights store; "random", from the sample's seed; "none".
    """

    truncation: float | Mapping[str, float] | None = None
    layers: int | None = None
    mixing: float = 0.0
    interpolation: float = 0.0
    noise: Literal["const", "random", "none"] = "const"

    def __post_init__(self) -> None:
        for value in self.truncation.values() if isinstance(self.truncation, Mapping) else (self.truncation,):
            if value is not None:
                probability("truncation=", value)
        if self.layers is not None:
            within("layers=", whole("layers=", self.layers, 0), 0, _MOST_LAYERS)
        probability("mixing=", self.mixing)
        probability("interpolation=", self.interpolation)
        if self.noise not in ("const", "random", "none"):
            raise ConfigError(f"expected noise= 'const', 'random' or 'none', found {self.noise!r}")

    def check(self, classes: Sequence[str], network: Published) -> Self:
        """Returns itself, after asserting that a generator has what it turns.

        Raises:
            ConfigError: A class of `truncation` is unknown, or the generator has no styles, no noise, or scales its
                latents anyhow.
        """
        named = self.truncation if isinstance(self.truncation, Mapping) else {}
        if unknown := [repr(name) for name in named if name not in classes]:
            raise ConfigError(
                f"expected truncation= of classes by name, {', '.join(map(repr, classes)):.300}, found "
                f"{', '.join(unknown)}"
            )
        styled = isinstance(network, Styled)
        turned = [name for name in ("mixing", "layers") if getattr(self, name) and not styled]
        turned += ["noise"] if self.noise != "const" and not network.noisy else []
        turned += ["truncation"] if self.truncation is not None and not (styled or network.truncates) else []
        if turned:
            knows = ["interpolation", *["truncation"] * (styled or network.truncates), *["noise"] * network.noisy]
            raise ConfigError(
                f"expected no {', '.join(turned)} for this generator, to which it would make no difference, found it; "
                f"it knows {', '.join(knows + ['mixing', 'layers'] * styled)}"
            )
        return self

    def to_json(self) -> dict[str, Any]:
        """Returns the knobs as JSON values."""
        named = dict(self.truncation) if isinstance(self.truncation, Mapping) else self.truncation
        return {**asdict(self), "truncation": named}

    def truncations(self, labels: IntArray, classes: Sequence[str]) -> Shares | None:
        """Returns the truncation of each sample `(N,)`; None where there is none, NaN for classes that are not named.

        Args:
            labels: `(N,)`.
            classes: Class names.
        """
        if self.truncation is None:
            return None
        named = isinstance(self.truncation, Mapping)
        by_class = [self.truncation.get(name, np.nan) if named else self.truncation for name in classes]  # type: ignore[union-attr]
        return np.asarray(by_class, np.float64)[labels]


class Latents:
    """The random numbers of samples, each a function of its own seed.

    Args:
        seeds: `(N,)`.
        dim: Length of the latents.
        prior: "normal", or "uniform" from -1 to 1.
        device: Where they go.
    """

    def __init__(self, seeds: IntArray, dim: int, prior: str, device: torch.device) -> None:
        self._seeds, self._dim, self._prior, self._device = seeds, dim, prior, device

    def drawn(self, *, other: bool = False, truncation: Shares | None = None) -> Tensor:
        """Returns latents `(N, dim)`.

        Args:
            other: Of the second sample.
            truncation: `(N,)`, for normals that are cut and scaled; NaN for those that are not.
        """
        stream = _OTHER if other else _LATENTS
        if self._prior == "uniform":
            values = 2 * uniforms(self._seeds, self._dim, stream) - 1
            return self._put(values if truncation is None else values * np.nan_to_num(truncation, nan=1.0)[:, None])
        if truncation is None:
            return self._put(normals(self._seeds, self._dim, stream))
        cut = _cut(uniforms(self._seeds, self._dim, stream)) * truncation[:, None]
        plain = np.isnan(truncation)
        if plain.any():
            cut[plain] = normals(self._seeds[plain], self._dim, stream)
        return self._put(cut)

    def between(self, share: float, truncation: Shares | None = None) -> Tensor:
        """Returns latents `(N, dim)` on the arc from the first sample to the second (slerp; White 2016, 1609.04468).

        Uniform latents go there as the normals of the same shares.
        """
        first = self.drawn(truncation=truncation)
        if not share:
            return first
        second = self.drawn(other=True, truncation=truncation)
        if self._prior == "uniform":
            between: Tensor = 2 * torch.special.ndtr(_arc(_normal(first), _normal(second), share)) - 1
            return between
        return _arc(first, second, share)

    def crossovers(self, layers: int, chance: float) -> Tensor:
        """Returns for each sample `(N,)` the layer from which on the second style is taken; `layers` for never."""
        dice = uniforms(self._seeds, 2, _MIXING)
        at = 1 + np.minimum((dice[:, 1] * (layers - 1)).astype(np.int64), max(0, layers - 2))
        return torch.from_numpy(np.where(dice[:, 0] < chance, at, layers)).to(self._device)

    def noise(self, layer: int, shape: tuple[int, ...]) -> Tensor:
        """Returns standard normals `(N, 1, *shape)` for a layer."""
        values = normals(self._seeds, math.prod(shape), _NOISE + layer)
        return self._put(values).reshape(-1, 1, *shape)

    def _put(self, values: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32, copy=False)).to(self._device)


def _arc(first: Tensor, second: Tensor, share: float) -> Tensor:
    angle = torch.acos(torch.cosine_similarity(first, second, dim=1).clamp(-1, 1)).clamp_min(1e-6)[:, None]
    return (torch.sin((1 - share) * angle) * first + torch.sin(share * angle) * second) / torch.sin(angle)


def _normal(uniform: Tensor) -> Tensor:
    shares: Tensor = torch.special.ndtri(((uniform + 1) / 2).clamp(1e-6, 1 - 1e-6))
    return shares


def _cut(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns numbers in (0, 1) as normals cut at 2, by the inverse of their distribution."""
    from scipy.special import ndtri

    tail = NormalDist().cdf(-_CUT)
    cut: npt.NDArray[np.float64] = ndtri(tail + shares * (1 - 2 * tail))
    return cut
