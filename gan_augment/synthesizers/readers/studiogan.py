"""Reads StudioGAN's checkpoints, `model=G_ema-best-weights-step=....pth`, with the YAML file they were trained with."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.base import Settings
from gan_augment.networks.published.studiogan import (
    StudioBigGAN,
    StudioBigGANDeep,
    StudioBigGANDeepSettings,
    StudioBigGANSettings,
    StudioDCGAN,
    StudioDCGANSettings,
    StudioResNet,
    StudioResNetSettings,
    folded,
    plain_names,
)
from gan_augment.networks.published.stylegan2 import StyleGAN2Settings
from gan_augment.optional import needed
from gan_augment.synthesizers.fetching.provenance import plain
from gan_augment.synthesizers.readers.found import Found, Part
from gan_augment.synthesizers.readers.source import small

__all__ = ["read", "recognises"]

_STUDIO: Final = "Kang et al. 2022, StudioGAN: A Taxonomy and Benchmark of GANs for Image Synthesis, arXiv 2206.09479"
_MIT: Final = "StudioGAN's MIT licence"
_NVIDIA: Final = "NVIDIA's licence of StyleGAN2-ADA, which allows no commercial use"
_MAX_CONFIG_BYTES: Final = 2**16
_MAX_DEPTH: Final = 8
_CLASSES: Final = {
    "CIFAR10": 10, "CIFAR100": 100, "Tiny_ImageNet": 200, "CUB200": 200, "ImageNet": 1000, "Baby_ImageNet": 100,
    "Papa_ImageNet": 100, "Grandpa_ImageNet": 100,
}  # fmt: skip
_DEEP: Final = ("big_resnet_deep_studiogan", "big_resnet_deep_legacy", "big_resnet_deep", "deep_big_resnet")


def recognises(tree: Any, path: Path) -> bool:
    """Tells whether a checkpoint is one of StudioGAN: by its weights' names, or by the file's."""
    state = _weights(tree)
    if not state:
        return False
    if re.fullmatch(r"model=(G|D|G_ema)-(best|current)-weights-step=\d+\.pth", path.name):
        return True
    names = {re.sub(r"(^module\.)|(_orig$)", "", name) for name in state}
    return any(name.startswith("blocks.0.0.") for name in names) and bool({"linear0.weight", "linear1.weight"} & names)


def read(tree: Any, path: Path, *, config: str | Path | None = None) -> Found:
    """Reads the generator.

    Args:
        tree: What the file holds.
        path: Where it lies.
        config: StudioGAN's YAML file; None for the only one beside the checkpoint, or in the folder above, or in a
            folder `configs` in these.

    Raises:
        ArtifactError: It is a discriminator, a backbone that is not read, or weights that the YAML file does not
            describe; or that file is no such file.
        ConfigError: There is no YAML file, there are several, PyYAML is missing, or a setting has a value that cannot
            work.
    """
    state = _weights(tree) or {}
    weights = plain_names(state)
    if not any(name.startswith(("linear0.", "synthesis.")) for name in weights):
        raise ArtifactError(
            f"expected a generator of StudioGAN in {path}, found another network; give the file model=G_ema-... or, "
            "where there is none, model=G-..., beside it"
        )
    told = _Told.read(_config_beside(path) if config is None else Path(config))
    styled = told.backbone in ("stylegan2", "stylegan3")
    generator = _styled(told, weights) if styled else _plain(told, weights, path)
    step = re.search(r"weights-step=(\d{1,15})\.", path.name)
    return Found(
        form="StudioGAN checkpoint",
        generator=generator.part,
        citation=f"{generator.citation}; trained with StudioGAN: {_STUDIO}",
        notes=[
            *generator.notes,
            *_notes(told, path),
            f"the file names no licence; the code is under {_NVIDIA if styled else _MIT}: ask whoever made the weights",
        ],
        about={
            "backbone": told.backbone,
            "dataset": plain(told.text("DATA", "name", "CIFAR10")),
            **({"step": int(step[1])} if step else {}),
        },
    )


@dataclass(frozen=True)
class _Generator:
    part: Part
    citation: str
    notes: Sequence[str] = ()


def _weights(tree: Any) -> dict[str, Tensor] | None:
    """Returns the state dict in a checkpoint, None where there is none."""
    state = tree.get("state_dict") if isinstance(tree, Mapping) else None
    if not isinstance(state, Mapping):
        return None
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


# -- the YAML file ----------------------------------------------------------------------------------------------------


def _config_beside(path: Path) -> Path:
    """Returns the only YAML file near a checkpoint, the nearest folder first.

    Raises:
        ConfigError: There is none, or several in one folder.
    """
    near = [path.parent, path.parent / "configs", path.parent.parent, path.parent.parent / "configs"]
    for folder in near:
        found = sorted(file for ending in ("yaml", "yml") for file in folder.glob(f"*.{ending}") if file.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:5])
            raise ConfigError(f"expected one YAML file in {folder}, found {len(found)}: {names}; give config=...")
    raise ConfigError(f"expected StudioGAN's YAML file beside {path}, found none; give config=...")


def _yaml(path: Path) -> Any:
    """Reads YAML of plain values: small, not deep, and without aliases, which can ask for any amount of memory.

    Whole numbers are of at most 64 bits.

    Raises:
        ArtifactError: It is none, or asks for more.
        DependencyError: PyYAML is missing.
    """
    yaml = needed("yaml", "studiogan", "StudioGAN's YAML file")
    content = small(path, _MAX_CONFIG_BYTES)
    try:
        text, depth = content.decode(), 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _MAX_DEPTH:
                raise ValueError("an alias, or lists too deep")
        found = yaml.safe_load(text)
        if any(type(value) is int and value.bit_length() > 63 for value in _values(found)):
            raise ValueError("a whole number of more than 64 bits")
    except Exception as error:  # constructors of values raise whatever comes of their text
        told = plain(f"{type(error).__name__}: {error}", 300)
        raise ArtifactError(f"expected StudioGAN's YAML file in {path}, could not read it: {told}") from None
    return found


def _values(value: Any) -> Iterator[Any]:
    """Returns all that a value of YAML holds."""
    members = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(members, list | tuple | set):
        for member in members:
            yield from _values(member)
    yield value


@dataclass(frozen=True)
class _Told:
    """What a YAML file says; what it leaves out is as in StudioGAN's config.py."""

    path: Path
    sections: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "_Told":
        sections = _yaml(path)
        fits = isinstance(sections, dict) and all(isinstance(part, dict | None) for part in sections.values())
        if not fits or not isinstance(sections.get("MODEL"), dict):
            raise ArtifactError(f"expected sections DATA and MODEL, as StudioGAN's, in {path}, found others or none")
        return cls(path, {name: part or {} for name, part in sections.items()})

    @property
    def backbone(self) -> str:
        return self.text("MODEL", "backbone", "resnet")

    def text(self, section: str, name: str, default: str) -> str:
        fits = lambda value: isinstance(value, str) and len(value) < 200  # noqa: E731
        return str(self._checked(section, name, default, fits, "text"))

    def whole(self, section: str, name: str, default: int | None) -> int:
        return int(self._checked(section, name, default, lambda value: type(value) is int, "a whole number"))

    def flag(self, section: str, name: str) -> bool:
        return bool(self._checked(section, name, False, lambda value: isinstance(value, bool), "true or false"))

    def wholes(self, section: str, name: str) -> tuple[int, ...]:
        def fits(value: Any) -> bool:
            return isinstance(value, list) and len(value) <= 16 and all(type(item) is int for item in value)

        return tuple(self._checked(section, name, None, fits, "a list of whole numbers"))

    def _checked(self, section: str, name: str, default: Any, fits: Callable[[Any], bool], kind: str) -> Any:
        value = self.sections.get(section, {}).get(name, default)
        value = default if value == "N/A" else value
        if not fits(value):
            raise ArtifactError(f"expected {section}.{name} to be {kind} in {self.path}, found {value!r:.80}")
        return value


# -- generators -------------------------------------------------------------------------------------------------------


def _plain(told: _Told, weights: Mapping[str, Tensor], path: Path) -> _Generator:
    """Returns a generator of convolutions, its statistics folded into its weights."""
    _refuse_info(told)
    name, network, settings = _network(told, weights)
    with torch.device("meta"):
        empty = network(settings)
    return _Generator(
        Part(architecture=name, settings=settings, state=folded(empty, weights, f"{path.name}, {told.path.name},")),
        network.paper,
        [
            "batch normalisation uses the running averages that the file holds; scores that were reported with "
            "standing statistics, which are measured anew before drawing, belong to slightly other images"
        ],
    )


def _network(told: _Told, weights: Mapping[str, Tensor]) -> tuple[str, type[Any], Settings]:
    """Returns the architecture, its name first, and the settings that a YAML file describes."""
    common: dict[str, Any] = {
        "z_dim": told.whole("MODEL", "z_dim", 128),
        "num_classes": _num_classes(told, weights),
        "attn_g_loc": told.wholes("MODEL", "attn_g_loc") if told.flag("MODEL", "apply_attn") else (),
        "g_act_fn": told.text("MODEL", "g_act_fn", "ReLU"),
        "z_prior": told.text("MODEL", "z_prior", "gaussian"),
    }
    if told.backbone == "deep_conv":
        return "studiogan_dcgan", StudioDCGAN, StudioDCGANSettings(**common)
    common["img_size"] = told.whole("DATA", "img_size", 32)
    common["g_conv_dim"] = told.whole("MODEL", "g_conv_dim", 64)
    if told.backbone == "resnet":
        return "studiogan_resnet", StudioResNet, StudioResNetSettings(**common)
    if told.backbone == "big_resnet":
        shared = told.whole("MODEL", "g_shared_dim", None if common["num_classes"] else 1)
        return "studiogan_biggan", StudioBigGAN, StudioBigGANSettings(**common, g_shared_dim=shared)
    if told.backbone in _DEEP:
        deep = StudioBigGANDeepSettings(
            **common,
            g_shared_dim=told.whole("MODEL", "g_shared_dim", None),
            g_depth=told.whole("MODEL", "g_depth", None),
            skips=any(name.startswith("blocks.0.conv2d0.") for name in weights),  # releases differ under one name
        )
        return "studiogan_biggan_deep", StudioBigGANDeep, deep
    raise ArtifactError(
        f"expected a backbone of deep_conv, resnet, big_resnet, {', '.join(_DEEP[:2])} or stylegan2 in {told.path}, "
        f"found {told.backbone!r}; export the generator to ONNX or torch.export to use it"
    )


def _num_classes(told: _Told, weights: Mapping[str, Tensor]) -> int:
    """Returns the number of classes that the weights know, 0 for none.

    Raises:
        ArtifactError: The YAML file says another.
    """
    method = told.text("MODEL", "g_cond_mtd", "W/O")
    if method == "W/O":
        return 0
    if method not in ("cBN", "cAdaIN"):
        raise ArtifactError(f"expected MODEL.g_cond_mtd of W/O, cBN or cAdaIN in {told.path}, found {method!r}")
    sizes = {
        weights[name].shape[axis]
        for name, axis in (("shared.weight", 0), ("mapping.embed.weight", 1), *_class_maps(weights))
        if name in weights and weights[name].ndim == 2
    }
    if len(sizes) != 1:
        raise ArtifactError(f"expected weights of classes, as {told.path} says, found {len(sizes) or 'none'}")
    found = sizes.pop()
    dataset = told.text("DATA", "name", "CIFAR10")
    stated = told.whole("DATA", "num_classes", _CLASSES.get(dataset, found))
    if stated != found:
        raise ArtifactError(
            f"expected weights of {stated} classes, as {told.path} says of {plain(dataset, 80)}, found {found}; give "
            "the YAML file that these weights were trained with"
        )
    return found


def _class_maps(weights: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """Returns what tells the number of classes of a generator without a shared embedding, and along which axis."""
    if "shared.weight" in weights:
        return []
    return [(f"blocks.0.{norm}.gain.weight{kind}", 1) for norm in ("bn0", "bn1") for kind in ("", "_orig")]


def _refuse_info(told: _Told) -> None:
    for name in ("info_type", "g_info_injection"):
        if (value := told.text("MODEL", name, "N/A")) != "N/A":
            raise ArtifactError(
                f"expected a generator that takes latents and a class, found InfoGAN's {name} {plain(value, 80)}"
            )


def _styled(told: _Told, weights: Mapping[str, Tensor]) -> _Generator:
    """Returns StyleGAN2, whose weights StudioGAN names as NVIDIA does."""
    _refuse_info(told)
    if told.backbone == "stylegan3" or told.text("MODEL", "z_prior", "gaussian") != "gaussian":
        raise ArtifactError(
            f"expected the backbone stylegan2, with latents drawn from normals, found {told.backbone} and "
            f"{told.text('MODEL', 'z_prior', 'gaussian')}; export the generator to ONNX or torch.export to use it"
        )
    side, data = told.whole("DATA", "img_size", 32), told.text("DATA", "name", "CIFAR10")
    settings = StyleGAN2Settings(
        img_resolution=side,
        img_channels=told.whole("DATA", "img_channels", 3),
        c_dim=_num_classes(told, weights),
        channel_base=32768 if side >= 512 or data in ("CIFAR10", "CIFAR100") else 16384,
        z_dim=told.whole("MODEL", "z_dim", 128),
        w_dim=told.whole("MODEL", "w_dim", None),
        mapping_layers=told.whole("STYLEGAN", "mapping_network", None),
        mean_style="mapping.w_avg" in weights,
    )
    return _Generator(
        Part(architecture="stylegan2", settings=settings, state=dict(weights)),
        "Karras et al. 2020, arXiv 1912.04958",
        ["whether it was trained in mixed precision, which limits layers to 256, is in no file; no limit was taken"],
    )


def _notes(told: _Told, path: Path) -> list[str]:
    if path.name.startswith("model=G-") and told.flag("MODEL", "apply_g_ema"):
        return ["these are the weights of the last step; the moving averages are in the file model=G_ema-... beside it"]
    return []
