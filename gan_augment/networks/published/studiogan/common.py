"""Settings and the frame that StudioGAN's generators share: latents to a 4x4 image, blocks, and the last layers."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor, nn

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import Published, Settings, within
from gan_augment.networks.published.studiogan.blocks import ACTIVATIONS, Attention, ClassNorm, Norm

__all__ = ["BOTTOM", "SIDES", "Activation", "Prior", "StudioGenerator", "StudioSettings", "norm_of_class", "widths"]

Activation = Literal["ReLU", "Leaky_ReLU", "ELU", "GELU"]
Prior = Literal["gaussian", "uniform"]

BOTTOM: Final = 4
"""Side of the first image."""

SIDES: Final = {
    32: (4, 4, 4, 4),
    64: (16, 8, 4, 2, 1),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
    512: (16, 16, 8, 8, 4, 2, 1, 1),
}
"""Sides of images, and the widths from the bottom up as multiples of g_conv_dim."""


def widths(img_size: int, g_conv_dim: int) -> list[int]:
    """Returns the channels of each size of image, from the bottom up."""
    return [factor * g_conv_dim for factor in SIDES[img_size]]


@dataclass(frozen=True, kw_only=True)
class StudioSettings(Settings):
    """What every backbone has, by StudioGAN's names.

    Attributes:
        z_dim: Length of the latents.
        num_classes: Number of classes; 0 for a generator without ("W/O").
        attn_g_loc: After which blocks there is attention, counted from 1.
        g_act_fn: Activation.
        z_prior: What latents are drawn from: standard normals, or uniformly from -1 to 1.
    """

    z_dim: int = 128
    num_classes: int
    attn_g_loc: tuple[int, ...] = ()
    g_act_fn: Activation = "ReLU"
    z_prior: Prior = "gaussian"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ConfigError: One has a value that cannot work.
        """
        within("z_dim", self.z_dim, 1, 4096)
        within("num_classes", self.num_classes, 0, 100_000)
        if self.g_act_fn not in ACTIVATIONS:
            raise ConfigError(f"expected g_act_fn of {', '.join(ACTIVATIONS)}, found {self.g_act_fn!r}")
        if self.z_prior not in ("gaussian", "uniform"):
            raise ConfigError(f"expected z_prior of gaussian or uniform, found {self.z_prior!r}")
        if len(self.attn_g_loc) > len(set(self.attn_g_loc)):
            raise ConfigError(f"expected each place of attn_g_loc once, found {self.attn_g_loc}")

    def check_size(self, img_size: int, g_conv_dim: int) -> None:
        """Checks the settings of a backbone that has several sizes.

        Raises:
            ConfigError: There is no such size, width, or place for attention.
        """
        if isinstance(img_size, bool) or img_size not in SIDES:
            raise ConfigError(f"expected img_size of {', '.join(map(str, SIDES))}, found {img_size!r}")
        within("g_conv_dim", g_conv_dim, 2, 256)
        self.check_attention(len(SIDES[img_size]) - 1)

    def check_attention(self, blocks: int) -> None:
        """Checks that attention follows a block.

        Raises:
            ConfigError: It does not.
        """
        for place in self.attn_g_loc:
            within("attn_g_loc", place, 1, blocks)


def norm_of_class(channels: int, num_classes: int) -> nn.Module:
    """Returns a normalisation by class, or one without where there are no classes."""
    return ClassNorm(channels, num_classes) if num_classes else Norm(channels)


class StudioGenerator(Published):
    """Latents to a 4x4 image, blocks and attention between them, and an image in [-1, 1].

    Statistics of batches are folded into the weights, so an image depends on its latents and class only, in training
    mode too.
    """

    settings: StudioSettings
    bottom: int
    """Channels of the first image."""

    blocks: nn.ModuleList
    side: int

    @property
    def latent_dim(self) -> int:
        """Length of the latents."""
        return self.settings.z_dim

    @property
    def latent_prior(self) -> Literal["normal", "uniform"]:
        """What latents are drawn from: standard normals, or uniformly from -1 to 1."""
        return "uniform" if self.settings.z_prior == "uniform" else "normal"

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 for a generator that knows none."""
        return self.settings.num_classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(3, side, side)`."""
        return (3, self.side, self.side)

    def add_attention(self, layers: list[nn.Module], place: int, channels: int) -> None:
        """Appends attention where the settings ask for it after a block."""
        if place in self.settings.attn_g_loc:
            layers.append(Attention(channels))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, 3, side, side)` in [-1, 1].

        Args:
            latents: `(N, latent_dim)`.
            labels: `(N,)` int64; not looked at by a generator that knows no classes.

        Raises:
            ConfigError: The generator knows classes, and there are no labels.
        """
        if labels is None and self.num_classes:
            raise ConfigError(f"expected a label of 0 to {self.num_classes - 1} for each latent, found none")
        hidden, conditions = self.start(latents, labels)
        hidden = hidden.unflatten(1, (self.bottom, BOTTOM, BOTTOM))
        at = 0
        for block in self.blocks:
            if isinstance(block, Attention):
                hidden = block(hidden)
            else:
                hidden = block(hidden, conditions[at])
                at += 1
        return self.finish(hidden).tanh()

    @abstractmethod
    def start(self, latents: Tensor, labels: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
        """Returns the first image, flat, and what the normalisations of each block take."""

    @abstractmethod
    def finish(self, hidden: Tensor) -> Tensor:
        """Returns images `(N, 3, side, side)` before they are bounded."""
