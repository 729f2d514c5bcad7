"""Reads the generators of pix2pix and CycleGAN: `latest_net_G.pth`, `latest_net_G_A.pth` and their like."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.base import Settings
from gan_augment.networks.published.translators import Norm, ResnetSettings, UnetSettings
from gan_augment.synthesizers.readers.found import Found, Part

__all__ = ["read", "recognises"]

_PIX2PIX = "Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004"
_CYCLEGAN = "Zhu et al. 2017, Unpaired Image-to-Image Translation using Cycle-Consistent Networks, arXiv 1703.10593"
_RESNET, _UNET = "model.1.weight", "model.model.0.weight"
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_SPECTRAL = (".weight_orig", ".weight_u", ".parametrizations.weight.original")
_DEEPEST = 12


def recognises(tree: Any, path: Path) -> bool:
    """Tells whether a state dict looks like a generator of pix2pix or CycleGAN, or one of CUT, which `read` refuses."""
    state = _state(tree)
    if _UNET in state:
        return state[_UNET].ndim == 4 and state[_UNET].shape[2:] == (4, 4) and "model.model.3.weight" in state
    first = state.get(_RESNET)
    return first is not None and first.ndim == 4 and first.shape[2:] == (7, 7)


def read(tree: Any, path: Path, *, statistics: Literal["training", "image"] = "training") -> Found:
    """Reads a generator; which of the two networks it is, and its sizes, are read off the weights.

    Args:
        tree: What the file holds.
        path: Where it lies.
        statistics: What a batch norm normalises by: the statistics of the training, or those of each image, as
            pix2pix does at a batch of one when it is not told to evaluate.

    Raises:
        ArtifactError: It has antialiased layers (CUT, FastCUT), or other layers than those networks.
        ConfigError: `statistics` is neither.
    """
    if statistics not in ("training", "image"):
        raise ConfigError(f'expected statistics="training" or "image", found {statistics!r}')
    state = _state(tree)
    if any(name.endswith(".filt") for name in state):
        raise ArtifactError(
            f"expected a generator of pix2pix or CycleGAN in {path}, found one with antialiased layers (filt), of CUT "
            "or FastCUT, which is not read; train it with --no_antialias and --no_antialias_up, or export it to ONNX"
        )
    if spectral := [name for name in state if name.endswith(_SPECTRAL)]:
        raise ArtifactError(
            f"expected plain weights of a generator of pix2pix or CycleGAN in {path}, found spectral norms "
            f"({spectral[0]!r:.80}), which are not read; fold them in with torch.nn.utils.remove_spectral_norm and "
            "save the state dict again, or export the generator to ONNX or torch.export"
        )
    own = _unet(state) if _UNET in state else _resnet(state)
    if unknown := [name for name in own if name.startswith("model.")]:
        raise ArtifactError(
            "expected the layers of a residual network (2 halvings, blocks with mirrored borders, 2 doublings) or of a "
            f"U-Net in {path}, found others: {', '.join(unknown):.200}; the file holds a variant that is not read: "
            "export it to ONNX or torch.export"
        )
    layers = [name.removesuffix(".weight") for name in own if name.endswith(".conv.weight")]
    norm = _norm_of(own, layers, statistics)
    wanted = {name: tensor for name, tensor in own.items() if norm == "batch" or not name.endswith(_STATISTICS)}
    if norm == "batch":
        for layer in layers:  # written before PyTorch counted batches
            counter = layer.removesuffix("conv") + "norm.num_batches_tracked"
            wanted.setdefault(counter, torch.zeros((), dtype=torch.int64))
    settings = (_unet_settings if _UNET in state else _resnet_settings)(own, norm, path)
    return Found(
        form="pix2pix or CycleGAN generator",
        generator=Part(
            architecture="unet_translator" if _UNET in state else "resnet_translator", settings=settings, state=wanted
        ),
        citation=f"{_PIX2PIX}; {_CYCLEGAN}",
        notes=_notes(own, wanted, norm, path),
    )


def _state(tree: Any) -> dict[str, Tensor]:
    """Returns a state dict without the prefix of DataParallel; empty where it is none."""
    if not isinstance(tree, Mapping):
        return {}
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in tree.items()):
        return {}
    return {name.removeprefix("module."): value for name, value in tree.items()}


def _norm_of(own: Mapping[str, Tensor], layers: Iterable[str], statistics: str) -> Norm:
    """Tells the norm by what there is: a batch norm has weights; an instance norm has a bias before it."""
    if any(layer.removesuffix("conv") + "norm.weight" in own for layer in layers):
        return "batch" if statistics == "training" else "image"
    return "instance" if any(f"{layer}.bias" in own for layer in layers) else "none"


def _notes(own: Mapping[str, Tensor], wanted: Mapping[str, Tensor], norm: Norm, path: Path) -> list[str]:
    notes = []
    if norm == "instance" and len(wanted) < len(own):
        notes.append("running statistics of instance norms were dropped: images are normalised by their own")
    if norm == "batch":
        notes.append(
            'batch norms use the statistics of the training; statistics="image" uses those of each image, as pix2pix '
            "itself does where it is not told to evaluate"
        )
    notes.append("dropout, where the network was trained with it, is left out: an image is a function of its source")
    if found := re.search(r"_net_G_([AB])$", path.stem):
        notes.append(f"it makes images of domain {'B' if found[1] == 'A' else 'A'} of images of domain {found[1]}")
    return notes


def _renamed(state: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    """Returns tensors with the module that each belongs to renamed; names of modules that are not known stay."""
    split = {name: name.rpartition(".") for name in state}
    return {f"{prefixes.get(module, module)}.{leaf}": state[name] for name, (module, _, leaf) in split.items()}


def _resnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives a residual network's modules the names of ours: a sequence, whose blocks start at number 10."""
    found = [re.fullmatch(r"model\.(\d{1,3})\.conv_block\.(\d)\.weight", name) for name in state]
    numbers = {int(match[1]) for match in found if match}
    places = sorted({int(match[2]) for match in found if match and state[match[0]].ndim == 4})
    blocks, second = len(numbers), places[1] if len(places) == 2 else 5
    names = {"first": 1, "downs.0": 4, "downs.1": 7, "ups.0": 10 + blocks, "ups.1": 13 + blocks}
    prefixes = {f"model.{17 + blocks}": "last"}
    for name, place in names.items():
        prefixes |= {f"model.{place}": f"{name}.conv", f"model.{place + 1}": f"{name}.norm"}
    for block in range(blocks):
        for name, place in (("first", 1), ("second", second)):  # dropout moves the second by one
            for offset, part in enumerate(("conv", "norm")):
                prefixes[f"model.{10 + block}.conv_block.{place + offset}"] = f"blocks.{block}.{name}.{part}"
    return _renamed(state, prefixes)


def _resnet_settings(own: Mapping[str, Tensor], norm: Norm, path: Path) -> Settings:
    first, last = own.get("first.conv.weight"), own.get("last.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise ArtifactError(f"expected a first and a last layer in {path}, found none; the file is damaged")
    return ResnetSettings(
        source_channels=first.shape[1],
        channels=last.shape[0],
        width=first.shape[0],
        blocks=len({name.split(".")[1] for name in own if name.startswith("blocks.")}),
        norm=norm,
    )


def _unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives a U-Net's modules the names of ours: each level holds the next one in its middle."""
    levels: list[str] = []
    inside = "model.model.1.model"
    while f"{inside}.5.weight" in state and len(levels) < _DEEPEST:
        levels.append(inside)
        inside = f"{inside}.3.model"
    prefixes = {"model.model.0": "first", "model.model.3": "last"}
    prefixes |= {f"{inside}.1": "bottom", f"{inside}.3": "ups.0.conv", f"{inside}.4": "ups.0.norm"}
    for number, level in enumerate(levels):
        down, up = f"downs.{number}", f"ups.{len(levels) - number}"
        prefixes |= {f"{level}.1": f"{down}.conv", f"{level}.2": f"{down}.norm"}
        prefixes |= {f"{level}.5": f"{up}.conv", f"{level}.6": f"{up}.norm"}
    return _renamed(state, prefixes)


def _unet_settings(own: Mapping[str, Tensor], norm: Norm, path: Path) -> Settings:
    first, last = own.get("first.weight"), own.get("last.weight")
    if first is None or last is None or first.ndim != 4 or last.ndim != 4:
        raise ArtifactError(f"expected a first and a last layer in {path}, found none; the file is damaged")
    return UnetSettings(
        source_channels=first.shape[1],
        channels=last.shape[1],
        width=first.shape[0],
        depth=1 + len({name.split(".")[1] for name in own if name.startswith("ups.")}),
        norm=norm,
    )
