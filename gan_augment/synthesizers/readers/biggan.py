"""Reads BigGAN-deep as the package pytorch-pretrained-biggan stores it: a config.json beside a pytorch_model.bin."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan_augment.artifacts import read_tensors
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.biggan_deep import BigGANDeepSettings, doubling
from gan_augment.synthesizers.fetching.provenance import plain
from gan_augment.synthesizers.readers.archive import read_checkpoint
from gan_augment.synthesizers.readers.found import Found, Part
from gan_augment.synthesizers.readers.source import small

__all__ = ["read_folder", "recognises_folder"]

_CONFIG = "config.json"
_WEIGHTS = ("pytorch_model.bin", "pytorch_model.safetensors", "model.safetensors")
_OWN_KEYS = {"channel_width", "layers", "attention_layer_position"}
_MOST_CONFIG_BYTES = 2**20
_SETTINGS = {
    "z_dim": "latent_dim", "num_classes": "num_classes", "channel_width": "width", "layers": "layers", "eps": "eps",
    "n_stats": "steps",
}  # fmt: skip
_LICENCE = (
    "pytorch-pretrained-biggan, which released the files of BigGAN-deep-128, -256 and -512, is MIT licensed by its "
    "LICENSE file, Apache licensed by its page on PyPI; the weights are DeepMind's, converted from "
    "TensorFlow Hub, whose pages name no licence for them and say that they were released to allow the work to be "
    "verified"
)
_CITATION = (
    "Andrew Brock, Jeff Donahue, Karen Simonyan: Large Scale GAN Training for High Fidelity Natural Image Synthesis. "
    "ICLR 2019, arXiv 1809.11096"
)


def recognises_folder(path: str | Path) -> bool:
    """Whether a folder, or one of the two files, looks like BigGAN-deep: by the names, and the keys of the JSON."""
    try:
        return any(_config(config).keys() >= _OWN_KEYS for config, _ in _pairs(Path(path)))
    except (ArtifactError, OSError, ValueError):
        return False


def read_folder(path: str | Path) -> Found:
    """Reads BigGAN-deep.

    Args:
        path: A folder with config.json and pytorch_model.bin (or safetensors), or with both under one prefix, such as
            `biggan-deep-128-config.json`; or one of the two files.

    Raises:
        ArtifactError: There is no such pair or more than one, or it is damaged or asks for absurd sizes.
    """
    try:
        pairs = _pairs(Path(path))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"expected a folder that can be read, found {error}; check the path") from None
    if len(pairs) != 1:
        found = ", ".join(config.name for config, _ in pairs[:5]) or "none"
        raise ArtifactError(
            f"expected one {_CONFIG} beside one {_WEIGHTS[0]} in {path}, found {found}; give the folder of one model, "
            "or the path of its configuration"
        )
    config, weights = pairs[0]
    given = _config(config)
    settings = _settings(given, config)
    tree = read_tensors(weights) if weights.suffix == ".safetensors" else read_checkpoint(weights)
    if not isinstance(tree, Mapping):
        raise ArtifactError(f"expected a state dict in {weights}, found {type(tree).__name__}")
    left = dict(tree)
    state = _state(left, settings)
    notes = ["latents are meant to be cut: draw with a truncation of at most 1"]
    if settings.num_classes == 1000:
        notes.append("1000 classes: those of ImageNet-1k in their usual order, if these are the released weights")
    if given.get("output_dim", settings.side()) != settings.side():
        notes.append(f"the configuration names another size; the layers give images of {settings.side()} cells a side")
    if left:
        first = plain(min(map(str, left)), 300)
        notes.append(f"left out: {len(left)} tensors that BigGAN-deep has no place for, such as {first}")
    return Found(
        form="BigGAN-deep of pytorch-pretrained-biggan",
        generator=Part(architecture="biggan_deep", settings=settings, state=state),
        citation=_CITATION,
        notes=[*notes, f"licence: {_LICENCE}"],
    )


def _pairs(path: Path) -> list[tuple[Path, Path]]:
    """Returns each configuration with the weights of the same prefix beside it."""
    if path.is_dir():
        configs = sorted(path.glob(f"*{_CONFIG}"))
    else:
        ends = [end for end in (_CONFIG, *_WEIGHTS) if path.name.endswith(end)]
        configs = [path.with_name(path.name.removesuffix(ends[0]) + _CONFIG)] if ends else []
    pairs = []
    for config in configs:
        beside = [config.with_name(config.name.removesuffix(_CONFIG) + name) for name in _WEIGHTS]
        weights = [other for other in ([path] if path in beside else beside) if other.is_file()]
        if config.is_file() and weights:
            pairs.append((config, weights[0]))
    return pairs


def _config(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(small(path, _MOST_CONFIG_BYTES).decode())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"expected JSON in {path}, found something else ({error}); the file is damaged") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"expected {path} to hold a JSON object of at most 1 MiB, found something else")
    return value


def _settings(given: dict[str, Any], path: Path) -> BigGANDeepSettings:
    """Returns the settings; those that the file does not name are BigGAN-deep-128's, as in the package."""
    named = {own: given[name] for name, own in _SETTINGS.items() if name in given}
    place, layers = given.get("attention_layer_position", 8), named.get("layers", BigGANDeepSettings.layers)
    outside = isinstance(place, int) and isinstance(layers, list | tuple) and not 0 <= place < len(layers)
    try:
        return BigGANDeepSettings.from_json({**named, "attention": None if outside else place})
    except ConfigError as error:
        raise ArtifactError(f"expected {path} to describe BigGAN-deep: {error}") from None


def _take(left: dict[Any, Any], name: str, *shape: int) -> Tensor:
    """Takes a tensor of this shape out of what the file holds, as float32."""
    tensor = left.pop(name, None)
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tuple(tensor.shape) != shape:
        found = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else "no tensor"
        raise ArtifactError(
            f"expected {name} {shape} of BigGAN-deep, found {found}; the weights do not belong to this {_CONFIG}"
        )
    return tensor.detach().float()


def _weight(left: dict[Any, Any], name: str, *shape: int) -> Tensor:
    """Takes a weight divided by its spectral norm, sigma = u^T W v with the u and v that the file stores."""
    if f"{name}.weight_orig" not in left:
        return _take(left, f"{name}.weight", *shape)
    weight = _take(left, f"{name}.weight_orig", *shape)
    matrix = weight.flatten(1)
    u, v = (_take(left, f"{name}.weight_{end}", size) for end, size in zip("uv", matrix.shape, strict=True))
    return weight / torch.dot(u, torch.mv(matrix, v))


def _state(left: dict[Any, Any], settings: BigGANDeepSettings) -> dict[str, Tensor]:
    """Takes the weights by this project's names out of what the file holds."""
    latent, width, steps = settings.latent_dim, settings.width, settings.steps
    start = _weight(left, "generator.gen_z", 256 * width, 2 * latent).unflatten(0, (16, -1))
    bias = _take(left, "generator.gen_z.bias", 256 * width).unflatten(0, (16, -1))
    last = _weight(left, "generator.conv_to_rgb", width, width, 3, 3)
    state = {
        "embed.weight": _take(left, "embeddings.weight", latent, settings.num_classes).t().contiguous(),
        "start.weight": start.transpose(0, 1).flatten(0, 1).contiguous(),  # released with the channels last
        "start.bias": bias.t().flatten().contiguous(),
        "statistics.means": _take(left, "generator.bn.running_means", steps, width),
        "statistics.variances": _take(left, "generator.bn.running_vars", steps, width),
        "weight": _take(left, "generator.bn.weight", width),
        "bias": _take(left, "generator.bn.bias", width),
        "last.weight": last[:3].clone(),  # the other channels are never shown
        "last.bias": _take(left, "generator.conv_to_rgb.bias", width)[:3].clone(),
    }
    place = len(settings.layers) if settings.attention is None else settings.attention
    for layer in range(len(settings.layers)):
        there = f"generator.layers.{layer + (layer >= place)}"  # attention is counted among the layers there
        block = _block(left, there, settings, layer)
        state |= {f"blocks.{layer}.{name}": tensor for name, tensor in block.items()}
    if settings.attention is not None:
        attention = _attention(left, f"generator.layers.{place}", width * settings.layers[place][1])
        state |= {f"attention.{name}": tensor for name, tensor in attention.items()}
    return state


def _block(left: dict[Any, Any], there: str, settings: BigGANDeepSettings, layer: int) -> dict[str, Tensor]:
    doubles, inputs, outputs = settings.layers[layer]
    inputs, outputs, inner = settings.width * inputs, settings.width * outputs, settings.width * inputs // 4
    condition, steps = 2 * settings.latent_dim, settings.steps
    norms = {f"{there}.bn_{number}": size for number, size in enumerate((inputs, inner, inner, inner))}
    shapes = [(inner, inputs, 1, 1), (inner, inner, 3, 3), (inner, inner, 3, 3), (outputs, inner, 1, 1)]
    state = {
        f"{end}.weight": torch.cat([_weight(left, f"{norm}.{end}", size, condition) for norm, size in norms.items()])
        for end in ("scale", "offset")
    }
    for own, end in (("means", "running_means"), ("variances", "running_vars")):
        rows = [_take(left, f"{norm}.{end}", steps, size) for norm, size in norms.items()]
        state[f"statistics.{own}"] = torch.cat(rows, dim=1)
    for number, shape in enumerate(shapes):
        weight = _weight(left, f"{there}.conv_{number}", *shape)
        state[f"convs.{number}.weight"] = doubling(weight) if doubles and number == 1 else weight
        state[f"convs.{number}.bias"] = _take(left, f"{there}.conv_{number}.bias", shape[0])
    return state


def _attention(left: dict[Any, Any], there: str, width: int) -> dict[str, Tensor]:
    few, half = width // 8, width // 2
    query, key, value = (
        _weight(left, f"{there}.snconv1x1_{name}", size, width, 1, 1)
        for name, size in (("theta", few), ("phi", few), ("g", half))
    )
    out = _weight(left, f"{there}.snconv1x1_o_conv", width, half, 1, 1)
    return {
        "query.weight": query,
        "key_value.weight": torch.cat([key, value]),
        "out.weight": out * _take(left, f"{there}.gamma", 1),
    }
