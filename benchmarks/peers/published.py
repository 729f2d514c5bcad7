"""Generators of other projects with weights of a seed, and this project's with the same weights.

A package is what `peer` returns.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from gan_augment.artifacts import load_state
from gan_augment.networks.published import Settings, blank, unfilled
from gan_augment.networks.published.dcgan import TorchganSettings
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.synthesizers.readers.found import Found

__all__ = [
    "biggan",
    "biggan_folder",
    "biggan_of",
    "lucidrains",
    "lucidrains_of",
    "stylegan2",
    "stylegan2_of",
    "torchgan",
    "torchgan_of",
]


def _built(architecture: str, settings: Settings, state: Mapping[str, Tensor]) -> Any:
    network = blank(architecture, settings)
    load_state(network, state, architecture, adopt=True)
    return network.eval()


# -- stylegan2_torch --------------------------------------------------------------------------------------------------


def stylegan2(package: Any, settings: StyleGAN2Settings, seed: int = 0) -> nn.Module:
    """Returns stylegan2_torch's generator; it knows no classes and makes images of one channel."""
    torch.manual_seed(seed)
    sides = [2**level for level in range(2, settings.img_resolution.bit_length())]
    widths = {side: settings.width(side) for side in sides}
    network: nn.Module = package.Generator(
        settings.img_resolution, settings.z_dim, settings.mapping_layers, settings.lr_multiplier, widths
    )
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if name.endswith("bias"):
                tensor.add_(0.3 * torch.randn_like(tensor))
            elif name.endswith("add_noise.weight"):
                tensor.fill_(0.4)
    return network.eval()


def stylegan2_of(theirs: nn.Module, settings: StyleGAN2Settings) -> Any:
    """Returns this project's network with the weights of stylegan2_torch's, which store no noise: it is of a seed."""
    names = {"input.input": "synthesis.b4.const"}
    for number in range(settings.mapping_layers):
        names |= {f"mapping.{number + 1}.{part}": f"mapping.fc{number}.{part}" for part in ("weight", "bias")}
    for number in range(settings.img_resolution.bit_length() - 2):
        block = f"synthesis.b{4 * 2**number}"
        pairs = [(f"convs.{number}", f"{block}.conv1"), (f"to_rgbs.{number}", f"{block}.torgb")]
        pairs += [(f"up_convs.{number - 1}", f"{block}.conv0")] if number else []
        for old, new in pairs:
            parts = {"weight": "weight", "affine.weight": "affine.weight", "affine.bias": "affine.bias"}
            if "rgb" in old:
                parts["bias"] = "bias"
            else:
                parts |= {"leaky_relu.bias": "bias", "add_noise.weight": "noise_strength"}
            names |= {f"{old}.{a}": f"{new}.{b}" for a, b in parts.items()}
    torch.manual_seed(1)
    own = unfilled("stylegan2", settings).state_dict()
    weights = theirs.state_dict()
    state = own | {new: weights[old].reshape(own[new].shape) for old, new in names.items()}
    return _built("stylegan2", settings, state)


# -- stylegan2_pytorch ------------------------------------------------------------------------------------------------


def lucidrains(package: Any, settings: LucidrainsSettings, seed: int = 0) -> Any:
    """Returns stylegan2_pytorch's mapping `S` and generator `G`, and their averages; noise and biases count."""
    torch.manual_seed(seed)
    with (
        mock.patch.object(nn.Module, "cuda", lambda self, device=None: self),
        mock.patch.object(package, "Discriminator", return_value=nn.Linear(2, 2)),  # large, and not looked at
    ):
        gan = package.StyleGAN2(
            image_size=settings.image_size, latent_dim=settings.latent_dim, style_depth=settings.style_depth,
            network_capacity=settings.network_capacity, transparent=settings.transparent,
            attn_layers=list(settings.attn_layers), no_const=settings.no_const, lr_mlp=settings.lr_mlp,
        )  # fmt: skip
    with torch.no_grad():
        for name, parameter in gan.G.named_parameters():
            if parameter.ndim == 1 or "to_noise" in name or name.endswith((".g", ".b")):
                parameter.add_(torch.randn_like(parameter) * 0.3)
        for parameter in gan.S.parameters():
            parameter.mul_(0.2 / settings.lr_mlp)  # styles of size 1
    gan.reset_parameter_averaging()
    return gan.eval()


def lucidrains_of(theirs: Any, settings: LucidrainsSettings) -> Any:
    """Returns this project's network with the weights of `S` and `G`."""
    state = {name: value for name, value in theirs.state_dict().items() if name.startswith(("S.", "G."))}
    state = {name: value for name, value in state.items() if not name.endswith("upsample.1.f")}
    return _built("stylegan2_lucidrains", settings, state)


# -- pytorch_pretrained_biggan ----------------------------------------------------------------------------------------


def biggan(package: Any, config: dict[str, Any]) -> Any:
    """Returns the network of pytorch_pretrained_biggan, with statistics, and spectral norms that are not yet exact."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = package.BigGAN(package.BigGANConfig.from_dict(config))
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_vars", "bn.weight")):
            tensor.copy_(0.5 + torch.rand(tensor.shape))
        elif name.endswith(("running_means", "gamma", "bias")):
            tensor.copy_(0.5 * torch.randn(tensor.shape))
    inputs = torch.randn(1, network.config.z_dim), torch.zeros(1, network.config.num_classes), 1.0
    with torch.no_grad():
        for _ in range(3):
            network(*inputs)  # brings the norms near to what they estimate: activations would explode
    return network.eval()


def biggan_folder(theirs: Any, config: dict[str, Any], folder: Path, prefix: str = "") -> Path:
    """Writes what the package stores of a network, and returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"{prefix}config.json").write_text(json.dumps(config))
    torch.save(theirs.state_dict(), folder / f"{prefix}pytorch_model.bin")
    return folder


def biggan_of(found: Found) -> Any:
    """Returns this project's network with the weights that were read in such a folder."""
    part = found.generator
    return _built(part.architecture, part.settings, part.state)


# -- torchgan ---------------------------------------------------------------------------------------------------------


def torchgan(package: Any, settings: TorchganSettings, seed: int = 0) -> nn.Module:
    """Returns torchgan's generator, every statistic of its norms drawn anew."""
    torch.manual_seed(seed)
    kind = {"none": "DCGANGenerator", "beside": "ConditionalGANGenerator", "times": "ACGANGenerator"}[settings.labels]
    more = {"num_classes": settings.num_classes} if settings.num_classes else {}
    network: nn.Module = getattr(package, kind)(
        encoding_dims=settings.encoding_dims, out_size=settings.out_size, out_channels=settings.out_channels,
        step_channels=settings.step_channels, batchnorm=settings.batchnorm,
        nonlinearity=nn.ReLU() if settings.nonlinearity == "relu" else None,
        last_nonlinearity=nn.Sigmoid() if settings.last_nonlinearity == "sigmoid" else None, **more,
    )  # fmt: skip
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert tensor is not None
                    tensor.copy_(torch.rand_like(tensor) + 0.3)
    return network.eval()


def torchgan_of(theirs: nn.Module, settings: TorchganSettings) -> Any:
    """Returns this project's network with the weights of torchgan's."""
    return _built("torchgan_dcgan", settings, theirs.state_dict())
