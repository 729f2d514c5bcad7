"""StyleGAN2's networks out of a network pickle: settings from shapes and attributes of their parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.filters import fir
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.networks.published.stylegan2_discriminator import StyleGAN2DiscriminatorSettings
from gan_augment.networks.published.stylegan2_layers import SharedSettings
from gan_augment.synthesizers.readers.found import Part
from gan_augment.synthesizers.readers.network_pickle import child, real
from gan_augment.synthesizers.readers.unpickle import Inert, module_tensors

__all__ = ["read_stylegan2", "read_stylegan2_discriminator"]

_LEVELS = tuple(2**level for level in range(2, 12))
_MOST_LAYERS = 64


def read_stylegan2(module: Inert) -> Part:
    """Reads a pickled generator of StyleGAN2-ADA, of StyleGAN3's `training.networks_stylegan2`, or of projected GAN.

    Raises:
        ArtifactError: It is none, or a variant that this library does not build.
    """
    state = _weights(module)
    levels = _levels(state, "synthesis.b{}.conv1.weight", 4)
    top = f"synthesis.b{levels[-1]}"
    convs = [f"synthesis.b{level}.{name}" for level in levels for name in ("conv0", "conv1")][1:]
    shown = [f"synthesis.b{level}.torgb" for level in levels if f"synthesis.b{level}.torgb.weight" in state]
    _lrelu(module, convs)
    style = _shape(state, "synthesis.b4.conv1.affine.weight", 2)[1]
    given = _mapping(module, state, outputs=style) | {
        "img_resolution": levels[-1],
        "img_channels": _shape(state, f"{top}.torgb.weight", 4)[0],
        "w_dim": style,
        "architecture": _architecture(state, "synthesis.b4.torgb.weight", f"{top}.skip.weight"),
        "resample_filter": _taps(state, f"{convs[1]}.resample_filter" if len(levels) > 1 else f"{top}.resample_filter"),
        "conv_clamp": _clamp(module, [*convs, *shown]),
        "noise": "synthesis.b4.conv1.noise_const" in state,
        "mean_style": "mapping.w_avg" in state,
    }
    given |= _widths(module, {level: _shape(state, f"synthesis.b{level}.conv1.weight", 4)[0] for level in levels})
    _agree(module, given, ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels"))
    return Part(architecture="stylegan2", settings=_settings(StyleGAN2Settings, given), state=state)


def read_stylegan2_discriminator(module: Inert) -> Part:
    """Reads a pickled discriminator of StyleGAN2-ADA or StyleGAN3, which share it.

    Raises:
        ArtifactError: It is none, or a variant that this library does not build.
    """
    state = _weights(module)
    levels = _levels(state, "b{}.conv0.weight", 8)
    top = f"b{levels[-1]}"
    convs = [f"b{level}.{name}" for level in levels for name in ("conv0", "conv1")]
    seen = [f"b{level}.fromrgb" for level in levels if f"b{level}.fromrgb.weight" in state]
    _lrelu(module, [*convs, *seen, "b4.conv", "b4.fc"])
    outputs, inputs = _shape(state, "b4.conv.weight", 4)[:2]
    compared = _shape(state, "b4.out.weight", 2)[0]
    conditional = "mapping.embed.weight" in state
    given: dict[str, Any] = {
        "img_resolution": levels[-1],
        "img_channels": _shape(state, f"{top}.fromrgb.weight", 4)[1],
        "architecture": _architecture(state, "b4.fromrgb.weight", f"{top}.skip.weight"),
        "resample_filter": _taps(state, f"{top}.conv1.resample_filter"),
        "conv_clamp": _clamp(module, [*convs, *seen, "b4.conv"]),
        "cmap_dim": compared if conditional else None,
        "mbstd_group_size": _attribute(module, "b4.mbstd", "group_size", None if inputs > outputs else 4),
        "mbstd_num_channels": inputs - outputs,
    }
    if conditional:
        given |= _mapping(module, state, outputs=compared)
        if given.pop("z_dim"):
            raise ArtifactError("expected the mapping of a discriminator to take a class only, found one with latents")
    widths = {level: _shape(state, f"b{level}.conv0.weight", 4)[0] for level in levels}
    given |= _widths(module, widths | {4: outputs})
    _agree(module, given, ("c_dim", "img_resolution", "img_channels"))
    settings = _settings(StyleGAN2DiscriminatorSettings, given)
    return Part(architecture="stylegan2_discriminator", settings=settings, state=state)


def _weights(module: Inert) -> dict[str, Tensor]:
    """Returns the state dict as float32: what ran in float16 is stored so only by tools that made files smaller."""
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in module_tensors(module).items()
    }


def _shape(state: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    if name not in state or state[name].ndim != ndim:
        found = tuple(state[name].shape) if name in state else "none"
        raise ArtifactError(f"expected {name} of {ndim} dimensions in a StyleGAN2 network, found {found}")
    return tuple(state[name].shape)


def _levels(state: Mapping[str, Tensor], name: str, first: int) -> list[int]:
    """Returns the sides that there are layers for, from `first` on, each twice the one before."""
    levels = [level for level in _LEVELS if name.format(level) in state]
    if not levels or levels != [first * 2**number for number in range(len(levels))]:
        raise ArtifactError(f"expected levels {first}, {2 * first}, ... of a StyleGAN2 network, found {levels}")
    return levels


def _attribute(module: Inert, path: str, name: str, missing: Any = None) -> Any:
    """Returns a plain attribute of a part of a module."""
    part = child(module, path)
    value = part.state.get(name, missing) if part is not None and isinstance(part.state, dict) else missing
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ArtifactError(f"expected a plain value as {name} of {path}, found {value!r:.80}")
    return value


def _lrelu(module: Inert, paths: Sequence[str]) -> None:
    for path in paths:
        if (found := _attribute(module, path, "activation", "lrelu")) != "lrelu":
            raise ArtifactError(f"expected {path} with the activation lrelu, which is built here, found {found!r:.80}")


def _clamp(module: Inert, paths: Sequence[str]) -> float | None:
    clamps = [_attribute(module, path, "conv_clamp") for path in paths]
    if any(clamp != clamps[0] for clamp in clamps):
        raise ArtifactError(f"expected one conv_clamp in all layers, found {clamps!r:.200}")
    clamp = clamps[0]
    if isinstance(clamp, str | bool):
        raise ArtifactError(f"expected conv_clamp to be a number or None, found {clamp!r:.80}")
    return None if clamp is None else real(clamp)


def _architecture(state: Mapping[str, Tensor], skip: str, resnet: str) -> str:
    return "resnet" if resnet in state else "skip" if skip in state else "orig"


def _taps(state: Mapping[str, Tensor], name: str) -> tuple[float, ...]:
    """Returns the taps of a filter, of sum 1, that gives the stored one."""
    kernel = state.get(name)
    known = kernel is not None and kernel.is_floating_point() and kernel.ndim in (1, 2)
    if kernel is None or not known or not 1 <= max(kernel.shape) <= 64:
        found = None if kernel is None else f"{kernel.dtype} {tuple(kernel.shape)}"
        raise ArtifactError(f"expected a filter {name} of 1 to 64 taps, real numbers, found {found}")
    taps = tuple((kernel if kernel.ndim == 1 else kernel.sum(0)).tolist())
    if not sum(taps) or fir(taps).shape != kernel.shape or not torch.allclose(fir(taps), kernel, atol=1e-5):
        raise ArtifactError(f"expected {name} to be a filter of one axis times itself, of sum 1, found another")
    return taps


def _mapping(module: Inert, state: Mapping[str, Tensor], outputs: int) -> dict[str, Any]:
    """Returns the settings of a mapping network, and what it takes besides a class."""
    layers = [f"mapping.fc{number}" for number in range(_MOST_LAYERS) if f"mapping.fc{number}.weight" in state]
    _lrelu(module, layers)
    embed = _shape(state, "mapping.embed.weight", 2) if "mapping.embed.weight" in state else (0, 0)
    width, inputs = _shape(state, "mapping.fc0.weight", 2)
    rate = _attribute(module, "mapping.fc0", "bias_gain")
    if isinstance(rate, str | bool | None):
        raise ArtifactError(f"expected mapping.fc0 to tell its learning rate as bias_gain, found {rate!r:.80}")
    return {
        "mapping_layers": len(layers), "embed_features": embed[0] or None, "c_dim": embed[1],
        "layer_features": width if len(layers) > 1 else None, "lr_multiplier": real(rate),
        "z_dim": inputs - embed[0],
    }  # fmt: skip


def _widths(module: Inert, widths: Mapping[int, int]) -> dict[str, int]:
    """Returns the two numbers that the widths of all levels come from: those that it was made with, if they do."""
    made = _kwargs(module)
    made = made | _entries(made.get("synthesis_kwargs"))
    top = max(widths)
    told = (made.get("channel_base", 32768), made.get("channel_max", 512))
    for base, most in (told, (top * widths[top], max(widths.values()))):
        whole = type(base) is int and type(most) is int
        if whole and all(min(base // level, most) == width for level, width in widths.items()):
            return {"channel_base": base, "channel_max": most}
    raise ArtifactError(
        f"expected widths of min(channel_base / side, channel_max) in a StyleGAN2 network, found {dict(widths)}"
    )


def _kwargs(module: Inert) -> dict[Any, Any]:
    return _entries(module.state.get("_init_kwargs") if isinstance(module.state, dict) else None)


def _entries(value: Any) -> dict[Any, Any]:
    """Returns the entries of a dict, or of the stand-in of a subclass of it."""
    return dict(value) if isinstance(value, dict) else dict(value.items) if isinstance(value, Inert) else {}


def _agree(module: Inert, given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises where what a network says of itself is not what the shapes of its tensors say."""
    own = module.state if isinstance(module.state, dict) else {}
    for name in names:
        said, found = own.get(name, _kwargs(module).get(name)), given.get(name, 0)
        if said is not None and (not isinstance(said, int | np.integer) or said != found):
            raise ArtifactError(f"expected {name} of {said!r:.80}, as the network says, found weights for {found}")


def _settings(kind: type[SharedSettings], given: Mapping[str, Any]) -> SharedSettings:
    try:
        return kind(**given)
    except ConfigError as error:
        raise ArtifactError(f"expected a StyleGAN2 network of sizes that this library builds: {error}") from None
