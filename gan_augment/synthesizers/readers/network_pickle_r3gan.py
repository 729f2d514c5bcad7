"""R3GAN's networks out of a pickle: settings from the shapes of their tensors, weights by this project's names.

The released networks are plain modules, so what they were built with is not in the pickle; shapes tell all of it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.r3gan import R3GANDiscriminatorSettings, R3GANSettings
from gan_augment.synthesizers.readers.found import Part
from gan_augment.synthesizers.readers.unpickle import Inert, module_tensors

__all__ = ["read_r3gan", "read_r3gan_discriminator"]

_LAYER = re.compile(r"MainLayers\.(\d{1,2})\.Layers\.(\d{1,2})\.(.+)", re.ASCII)
_KERNEL = "Resampler.Kernel"
_IN_LAYER = {
    "LinearLayer1.Layer.weight": "expand.weight",
    "NonLinearity1.Bias": "expand.bias",
    "LinearLayer2.Layer.weight": "mix.weight",
    "NonLinearity2.Bias": "mix.bias",
    "LinearLayer3.Layer.weight": "shrink.weight",
    "LinearLayer.Layer.weight": "change.weight",
    "LinearLayer.weight": "linear.weight",
    "Basis": "basis",
    "Basis.weight": "basis.weight",
}
_OUTSIDE = {
    "AggregationLayer.Layer.weight": "last.weight",
    "ExtractionLayer.Layer.weight": "first.weight",
    "EmbeddingLayer.weight": "embed.weight",
}


def read_r3gan(module: Inert) -> Part:
    """Reads a pickled generator, as `training.networks.Generator` or as `R3GAN.Networks.Generator`.

    Raises:
        ArtifactError: It is none, or another version of it.
    """
    state, kernels = _renamed(module_tensors(module))
    given = _shared(state, kernels)
    first = _shape(state, "stages.0.0.linear.weight", 2)
    widths = [first[0]]
    for stage in range(1, len(given["blocks"])):
        widths.append(_width(state, f"stages.{stage}.0.change.weight", widths[-1]))
    given["widths"] = tuple(widths)
    given["channels"] = _shape(state, "last.weight", 4)[0]
    given["latent_dim"] = first[1] - given["class_dim"]
    return Part(
        architecture="r3gan_official", settings=_settings(R3GANSettings, state, given), state=state
    )  # fmt: skip


def read_r3gan_discriminator(module: Inert) -> Part:
    """Reads a pickled discriminator, as `training.networks.Discriminator` or as `R3GAN.Networks.Discriminator`.

    Raises:
        ArtifactError: It is none, or another version of it.
    """
    state, kernels = _renamed(module_tensors(module))
    given = _shared(state, kernels)
    widths = list(_shape(state, "first.weight", 4)[:1])
    for stage, blocks in enumerate(given["blocks"][:-1]):
        widths.append(_width(state, f"stages.{stage}.{blocks}.change.weight", widths[-1]))
    given["widths"] = tuple(widths)
    given["channels"] = _shape(state, "first.weight", 4)[1]
    settings = _settings(R3GANDiscriminatorSettings, state, given)
    return Part(architecture="r3gan_official_discriminator", settings=settings, state=state)


def _renamed(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Returns the weights by this project's names, float32, and the resampling filters, which are constants here."""
    state, kernels = {}, []
    for full, tensor in tensors.items():
        name = full.removeprefix("Model.")
        match = _LAYER.fullmatch(name)
        if match and match[3] == _KERNEL:
            kernels.append(tensor)
            continue
        new = f"stages.{match[1]}.{match[2]}.{_IN_LAYER.get(match[3], '')}" if match else _OUTSIDE.get(name, "")
        if not new or new.endswith("."):
            raise ArtifactError(f"expected the tensors of an R3GAN network, found {full!r:.100}: another version of it")
        state[new] = tensor.float() if tensor.is_floating_point() else tensor
    if "embed.weight" in state:
        _shape(state, "embed.weight", 2)
        state["embed.weight"] = state["embed.weight"].t().contiguous()  # released as a linear layer of one-hot labels
    return state, kernels


def _shape(state: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    if name not in state or state[name].ndim != ndim:
        found = tuple(state[name].shape) if name in state else "none"
        raise ArtifactError(f"expected {name} of {ndim} dimensions in an R3GAN network, found {found}")
    return tuple(state[name].shape)


def _width(state: Mapping[str, Tensor], name: str, before: int) -> int:
    return _shape(state, name, 4)[0] if name in state else before


def _shared(state: Mapping[str, Tensor], kernels: list[Tensor]) -> dict[str, Any]:
    """Returns the settings that generator and discriminator are read alike for; the expansion comes with the widths."""
    stages = [name.split(".") for name in state if name.startswith("stages.")]
    count = 1 + max((int(parts[1]) for parts in stages), default=0)
    blocks, groups, sizes = [0] * count, [1] * count, {3}
    for parts in stages:
        if parts[3:] != ["mix", "weight"]:
            continue
        stage, shape = int(parts[1]), _shape(state, ".".join(parts), 4)
        blocks[stage] += 1
        groups[stage] = shape[0] // shape[1] if shape[1] else 0
        sizes = {shape[-1]}
    embed = tuple(state["embed.weight"].shape) if "embed.weight" in state else (0, 0)
    return {
        "blocks": tuple(blocks), "groups": tuple(groups), "kernel_size": sizes.pop(), "num_classes": embed[0],
        "class_dim": embed[1], "filter": _filter(kernels),
    }  # fmt: skip


def _filter(kernels: list[Tensor]) -> tuple[float, ...]:
    """Returns the weights w of which the kernels are the outer product of w * [1, 1] with itself, of sum 1."""
    if not kernels:
        return R3GANDiscriminatorSettings.filter
    for kernel in kernels:
        shape = tuple(kernel.shape)
        square = len(shape) == 2 and shape[0] == shape[1] and 2 <= shape[0] <= 16
        if not square or not kernel.is_floating_point() or kernel.shape != kernels[0].shape:
            raise ArtifactError(
                f"expected one square resampling filter of 2 to 16 cells a side, real numbers, found {kernel.dtype} "
                f"{shape}"
            )
    taps = kernels[0].double().sum(1)
    weights: list[float] = []
    for tap in taps.tolist()[:-1]:
        weights.append(tap - (weights[-1] if weights else 0.0))
    made = torch.tensor([0.0, *weights]).double() + torch.tensor([*weights, 0.0]).double()
    for found in kernels:
        if not torch.allclose(torch.outer(made, made), found.double(), atol=1e-5):
            raise ArtifactError("expected the resampling filter to be that of R3GAN, found another; it cannot be read")
    return tuple(2 * weight for weight in weights)


def _settings(
    kind: type[R3GANDiscriminatorSettings], state: Mapping[str, Tensor], given: dict[str, Any]
) -> R3GANDiscriminatorSettings:
    expansions = [
        tensor.shape[0] // max(1, tensor.shape[1])
        for name, tensor in state.items()
        if name.endswith(".expand.weight") and tensor.ndim == 4
    ]
    try:
        return kind(**given, expansion=expansions[0] if expansions else 2)
    except ConfigError as error:
        raise ArtifactError(f"expected an R3GAN network of sizes that this library builds: {error}") from None
