"""Published architectures whose released weights are read: one architecture a file, and the tables of their names."""

import importlib
from typing import Any

import torch
from torch import nn

from gan_augment.errors import ConfigError
from gan_augment.networks.published.base import LayerNoise, Published, Settings, Styled, Translator, within

__all__ = [
    "ARCHITECTURES",
    "LayerNoise",
    "Published",
    "Settings",
    "Styled",
    "Translator",
    "blank",
    "settings_of",
    "unfilled",
    "within",
]


ARCHITECTURES = {
    "stylegan2": "stylegan2.StyleGAN2",
    "stylegan2_discriminator": "stylegan2_discriminator.StyleGAN2Discriminator",
    "stylegan3": "stylegan3.StyleGAN3",
    "fastgan": "fastgan.FastGAN",
    "r3gan_official": "r3gan.R3GANGenerator",
    "r3gan_official_discriminator": "r3gan.R3GANDiscriminator",
    "biggan_deep": "biggan_deep.BigGANDeep",
    "studiogan_biggan": "studiogan.StudioBigGAN",
    "studiogan_biggan_deep": "studiogan.StudioBigGANDeep",
    "studiogan_dcgan": "studiogan.StudioDCGAN",
    "studiogan_resnet": "studiogan.StudioResNet",
    "stylegan2_lucidrains": "lucidrains.LucidrainsStyleGAN2",
    "torchgan_dcgan": "dcgan.TorchganDCGAN",
    "resnet_translator": "translators.ResnetTranslator",
    "unet_translator": "translators.UnetTranslator",
}
"""Every architecture by its name: generators, translators and discriminators; imported when they are used."""


def settings_of(architecture: Any, value: Any) -> Settings:
    """Returns the settings of an architecture, from what their `to_json` returned.

    Raises:
        ConfigError: There is no such architecture, or it has no such settings.
    """
    return _settings_type(architecture).from_json(value)


def unfilled(architecture: str, settings: Settings) -> nn.Module:
    """Returns a network; its weights may be anything.

    Raises:
        ConfigError: There is no such architecture, or the settings are of another.
    """
    kind: Any = _type(architecture)
    if not isinstance(settings, kind.settings_type):
        raise ConfigError(f"expected settings of {architecture}, found {type(settings).__name__}")
    network: nn.Module = kind(settings)
    return network


def blank(architecture: str, settings: Settings) -> nn.Module:
    """Returns a network without memory of its own, on the meta device, for weights to be put in; see `unfilled`."""
    with torch.device("meta"):
        return unfilled(architecture, settings)


def _settings_type(architecture: Any) -> type[Settings]:
    kind: Any = _type(architecture)
    settings: type[Settings] = kind.settings_type
    return settings


def _type(architecture: Any) -> type[nn.Module]:
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise ConfigError(f"expected an architecture, one of {', '.join(ARCHITECTURES)}, found {architecture!r:.100}")
    module, _, name = ARCHITECTURES[architecture].rpartition(".")
    found: type[nn.Module] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found
