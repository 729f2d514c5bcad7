"""Small published networks with weights of a seed, as synthesizers: no file is read."""

from typing import Any

import torch
from torch import nn

from gan_augment.networks.published import unfilled
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.networks.published.stylegan2_discriminator import StyleGAN2DiscriminatorSettings
from gan_augment.networks.published.translators import ResnetSettings
from gan_augment.synthesizers import PretrainedSynthesizer, Provenance, TranslatingSynthesizer
from gan_augment.synthesizers.readers.found import Part

PROVENANCE = Provenance(source="weights.pkl", form="test", sha256="0" * 64, licence="cc-by-4.0", citation="Doe 2020")
STYLE = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "mapping_layers": 2, "img_channels": 1}


def filled(network: nn.Module, seed: int = 0, scale: float = 1.0) -> nn.Module:
    """Gives every parameter normals of a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        for name, buffer in network.named_buffers():
            if name.endswith("noise_const"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return network


def style(classes: int = 3, seed: int = 0, **settings: Any) -> PretrainedSynthesizer:
    given = {name: settings.pop(name) for name in ("class_names", "knobs", "discriminator") if name in settings}
    built = StyleGAN2Settings(**{"img_resolution": 16, "c_dim": classes, **STYLE, **settings})
    network: Any = filled(unfilled("stylegan2", built), seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
            elif "mapping" in name:
                parameter.mul_(100)  # its layers learn at a hundredth of the rate
            elif "torgb" in name:
                parameter.mul_(0.1)
    return PretrainedSynthesizer(network, "stylegan2", **{"class_names": None, "provenance": PROVENANCE, **given})


def dcgan(classes: int = 3, seed: int = 0, channels: int = 3, **given: Any) -> PretrainedSynthesizer:
    labels = "beside" if classes else "none"
    built = TorchganSettings(
        encoding_dims=6, out_size=16, out_channels=channels, step_channels=4, num_classes=classes, labels=labels
    )
    network: Any = filled(unfilled("torchgan_dcgan", built), seed, 0.4)
    return PretrainedSynthesizer(network, "torchgan_dcgan", **{"class_names": None, "provenance": PROVENANCE, **given})


def discriminator(classes: int = 3, **settings: Any) -> Part:
    shared = {name: value for name, value in STYLE.items() if name not in ("z_dim", "w_dim")}
    built = StyleGAN2DiscriminatorSettings(**{"img_resolution": 16, "c_dim": classes, **shared, **settings})
    network = filled(unfilled("stylegan2_discriminator", built), 5)
    return Part(architecture="stylegan2_discriminator", settings=built, state=network.state_dict())


def translator(channels: int = 3, **given: Any) -> TranslatingSynthesizer:
    built = ResnetSettings(source_channels=channels, channels=channels, width=4, blocks=1)
    network: Any = filled(unfilled("resnet_translator", built), 3, 0.2)
    return TranslatingSynthesizer(
        network, "resnet_translator", **{"class_names": ["lesion"], "provenance": PROVENANCE, **given}
    )
