"""The DCGAN that every loop trains: its networks, and a recipe of them for this benchmark only."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gan_augment.augmentation import Augmentation
from gan_augment.losses import logistic_discriminator, logistic_generator
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Need, Recipe, Tools, Update
from gan_augment.recipes.base import Batch, Networks
from gan_augment.seeds import derive

LATENT, BATCH, RATE, BETAS = 100, 64, 2e-4, (0.5, 0.999)


def generator(width: int = 64, channels: int = 1) -> nn.Sequential:
    """Returns G of Radford et al. 2015 for 32x32: latents `(N, 100)` to images in [-1, 1]."""
    layers: list[nn.Module] = [nn.Unflatten(1, (LATENT, 1, 1)), nn.ConvTranspose2d(LATENT, 4 * width, 4, bias=False)]
    for inputs in (4 * width, 2 * width):
        layers += [nn.BatchNorm2d(inputs), nn.LeakyReLU(0.2)]
        layers += [nn.ConvTranspose2d(inputs, inputs // 2, 4, 2, 1, bias=False)]
    layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.2), nn.ConvTranspose2d(width, channels, 4, 2, 1), nn.Tanh()]
    return nn.Sequential(*layers)


class Labelled(nn.Module):
    """A generator whose latents a label moves, which costs next to nothing.

    Args:
        network: Takes latents only.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Returns images for latents `(N, L)` and labels `(N,)`."""
        images: Tensor = self.network(latents + labels[:, None])
        return images


def discriminator(width: int = 64, channels: int = 1) -> nn.Sequential:
    """Returns D of Radford et al. 2015 for 32x32: images to logits `(N, 1)`."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for inputs in (width, 2 * width):
        layers += [nn.Conv2d(inputs, 2 * inputs, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * inputs), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten())


@dataclass(frozen=True, kw_only=True)
class BenchmarkDCGAN(Recipe):
    """Radford et al. 2015 with the non-saturating loss, as the peers train it: reals and fakes go through D apart."""

    name: ClassVar[str] = "benchmark_dcgan"
    paper: ClassVar[str] = "Radford et al. 2015, arXiv 1511.06434"
    need: ClassVar[Need] = Need("single", ("real",))

    latent_dim: int = LATENT
    batch_size: int = BATCH

    def networks(self, spec: NetworkSpec) -> dict[str, nn.Module]:
        """Returns a generator and a discriminator."""
        width = self.width_for(spec)
        return {"generator": generator(width, spec.channels), "discriminator": discriminator(width, spec.channels)}

    def updates(self) -> tuple[Update, ...]:
        """Returns one discriminator step and one generator step."""
        return (
            Update(name="d", parameters=("discriminator",), loss=self._d, learning_rate=RATE, betas=BETAS),
            Update(name="g", parameters=("generator",), loss=self._g, learning_rate=RATE, betas=BETAS),
        )

    def _d(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = networks["generator"](tools.latents(batch["real"], LATENT))
        real_logits, fake_logits = networks["discriminator"](batch["real"]), networks["discriminator"](fake)
        return {"logistic": logistic_discriminator(real_logits, fake_logits)}

    def _g(self, networks: Networks, batch: Batch, tools: Tools) -> dict[str, Tensor]:
        fake = networks["generator"](tools.latents(batch["real"], LATENT))
        return {"logistic": logistic_generator(networks["discriminator"](fake))}

    def draw(self, networks: Networks, labels: Tensor, latents: Tensor, conditions: Batch) -> Tensor:
        """Returns G(z)."""
        images: Tensor = networks["generator"](latents)
        return images


def recipe(steps: int, width: int = 64) -> BenchmarkDCGAN:
    """Returns the recipe for a number of steps."""
    return BenchmarkDCGAN(steps=steps, width=width, augmentation=Augmentation.none())


def networks(seed: int, width: int = 64) -> dict[str, nn.Module]:
    """Returns the networks as the library's trainer begins with them."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "weights"))
        return recipe(1, width).networks(NetworkSpec(channels=1, grid=(32, 32), num_classes=1))
