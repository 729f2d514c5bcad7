"""The generators of the package torchgan: DCGAN, without classes and with them as the conditional GAN and AC-GAN."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import Published, Settings, within

__all__ = ["TorchganDCGAN", "TorchganSettings"]


@dataclass(frozen=True, kw_only=True)
class TorchganSettings(Settings):
    """What the package calls its parameters.

    Attributes:
        encoding_dims: Length of the latents.
        out_size: Side of an image, a power of 2 of at least 16.
        out_channels: Channels of an image.
        step_channels: Channels before the last layer; each layer before it has twice as many.
        batchnorm: Whether layers are normalised, with the statistics of the training.
        num_classes: Number of classes, 0 where it knows none.
        labels: How a class enters: its embedding is put beside the latents ("beside", the conditional GAN) or
            multiplied with them ("times", AC-GAN); "none" without classes.
        nonlinearity: Between layers; leaky ReLU has a slope of 0.2.
        last_nonlinearity: After the last layer; images of a sigmoid are in [0, 1] and moved to [-1, 1].
    """

    encoding_dims: int = 100
    out_size: int = 32
    out_channels: int = 3
    step_channels: int = 64
    batchnorm: bool = True
    num_classes: int = 0
    labels: Literal["none", "beside", "times"] = "none"
    nonlinearity: Literal["leaky_relu", "relu"] = "leaky_relu"
    last_nonlinearity: Literal["tanh", "sigmoid"] = "tanh"

    def __post_init__(self) -> None:
        within("encoding_dims", self.encoding_dims, 1, 2**16)
        within("out_size", self.out_size, 16, 1024)
        if self.out_size & (self.out_size - 1):
            raise ConfigError(f"expected out_size to be a power of 2, found {self.out_size}")
        within("out_channels", self.out_channels, 1, 256)
        within("step_channels", self.step_channels, 1, 4096)
        within("num_classes", self.num_classes, 0, 2**16)
        if (self.num_classes == 0) != (self.labels == "none"):
            raise ConfigError(
                f'expected labels "none" without classes, and "beside" or "times" with them, found {self.labels!r} '
                f"with {self.num_classes} classes"
            )

    @property
    def layers(self) -> int:
        """Number of transposed convolutions: one to 4x4, then one for each doubling."""
        return self.out_size.bit_length() - 2


class TorchganDCGAN(Published):
    """Transposed convolutions of 4x4, as torchgan's DCGANGenerator, ConditionalGANGenerator and ACGANGenerator."""

    paper = "Radford et al. 2015, arXiv 1511.06434"
    settings_type = TorchganSettings
    settings: TorchganSettings

    def __init__(self, settings: TorchganSettings) -> None:
        super().__init__(settings)
        inputs, bias = settings.encoding_dims, not settings.batchnorm
        if settings.labels != "none":
            beside = settings.labels == "beside"
            width = settings.num_classes if beside else settings.encoding_dims
            self.label_embeddings = nn.Embedding(settings.num_classes, width)
            inputs += width if beside else 0
        layers: list[nn.Sequential] = []
        for layer in range(settings.layers - 1):
            outputs = settings.step_channels << (settings.layers - 2 - layer)
            stride, padding = (2, 1) if layer else (1, 0)
            layers.append(nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=bias)))
            if settings.batchnorm:
                layers[-1].append(nn.BatchNorm2d(outputs))
            inputs = outputs
        layers.append(nn.Sequential(nn.ConvTranspose2d(inputs, settings.out_channels, 4, 2, 1)))
        self.model = nn.Sequential(*layers)

    @property
    def latent_dim(self) -> int:
        """Length of the latents, which are standard normal."""
        return self.settings.encoding_dims

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 where it knows none."""
        return self.settings.num_classes

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(C, size, size)`."""
        return self.settings.out_channels, self.settings.out_size, self.settings.out_size

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, C, size, size)` in [-1, 1] for latents `(N, latent_dim)` and labels `(N,)`.

        Raises:
            ConfigError: It knows classes and is given no labels.
        """
        settings = self.settings
        hidden = self._with_class(latents, labels)[:, :, None, None]
        slope = 0.2 if settings.nonlinearity == "leaky_relu" else 0.0
        *between, last = self.model
        for layer in between:
            hidden = functional.leaky_relu_(layer(hidden), slope)
        images: Tensor = last(hidden)
        return images.tanh() if settings.last_nonlinearity == "tanh" else images.sigmoid() * 2 - 1

    def _with_class(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        if self.settings.labels == "none":
            return latents
        if labels is None:
            raise ConfigError(f"expected labels of {self.num_classes} classes, found none")
        embedded: Tensor = self.label_embeddings(labels)
        return latents * embedded if self.settings.labels == "times" else torch.cat([latents, embedded], dim=1)
