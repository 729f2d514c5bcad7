"""StudioGAN's generators: one backbone a file, and what turns its released weights into theirs."""

from gan_augment.networks.published.studiogan.biggan import StudioBigGAN, StudioBigGANSettings
from gan_augment.networks.published.studiogan.biggan_deep import StudioBigGANDeep, StudioBigGANDeepSettings
from gan_augment.networks.published.studiogan.dcgan import StudioDCGAN, StudioDCGANSettings
from gan_augment.networks.published.studiogan.folding import folded, plain_names
from gan_augment.networks.published.studiogan.resnet import StudioResNet, StudioResNetSettings

__all__ = [
    "StudioBigGAN",
    "StudioBigGANDeep",
    "StudioBigGANDeepSettings",
    "StudioBigGANSettings",
    "StudioDCGAN",
    "StudioDCGANSettings",
    "StudioResNet",
    "StudioResNetSettings",
    "folded",
    "plain_names",
]
