"""Reads `.pt` files of the package stylegan2_pytorch, with the `.config.json` beside them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from gan_augment.errors import ArtifactError
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.synthesizers.fetching.provenance import plain
from gan_augment.synthesizers.readers.found import Found, Part
from gan_augment.synthesizers.readers.source import small

__all__ = ["read", "recognises"]

_CITATION = (
    "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv 1912.04958; "
    "trained with the package stylegan2_pytorch (P. Wang)"
)
_MAX_CONFIG_BYTES = 2**16
_WIDTH = r"G\.blocks\.\d+\.conv2\.weight"


def recognises(tree: Any, path: Path) -> bool:
    """Tells whether a checkpoint is one of stylegan2_pytorch or its sister lightweight_gan, which `read` refuses."""
    return isinstance(tree, Mapping) and any(name.startswith(("G.", "GE.")) for name in _tensors(tree))


def read(tree: Any, path: Path, *, ema: bool = True, lr_mlp: float | None = None) -> Found:
    """Reads the generator.

    Args:
        tree: What the file holds.
        path: Where it lies.
        ema: Whether to take the moving averages of the weights, which the package makes its own images with.
        lr_mlp: What multiplies the weights of the mapping, where no `.config.json` lies beside the file and it was
            trained with another than 0.1: the weights alone do not tell.

    Raises:
        ArtifactError: It is no such checkpoint, one of lightweight_gan or of an old release, it lacks weights, or the
            config beside it belongs to others.
    """
    if not recognises(tree, path):
        raise ArtifactError(
            f"expected a checkpoint of stylegan2_pytorch in {path}, a dict whose 'GAN' holds the networks S, G, SE and "
            "GE, found something else; leave out kind= to have its format told by what it holds"
        )
    tensors = _tensors(tree)
    if not any(name.startswith(("S.", "SE.")) for name in tensors):
        raise ArtifactError(
            f"expected a checkpoint of stylegan2_pytorch in {path}, with a mapping network (S, SE), found none: this "
            "looks like lightweight_gan, which is not read; of that author's packages stylegan2_pytorch is. Export the "
            "generator to ONNX or torch.export to use it"
        )
    notes = []
    if ema and not any(name.startswith("GE.") for name in tensors):
        ema = False
        notes.append("the file holds no moving averages of the weights; the weights themselves were taken")
    state = _networks(tensors, *(("SE.", "GE.") if ema else ("S.", "G.")), path)
    config = _config(path)
    multiplier = lr_mlp if config is None or "lr_mlp" not in config else config["lr_mlp"]
    if lr_mlp is not None and lr_mlp != multiplier:
        raise ArtifactError(f"expected lr_mlp={multiplier!r}, as in {path.parent / '.config.json'}, found {lr_mlp!r}")
    if multiplier is None:
        multiplier = 0.1
        notes.append("lr_mlp is in no .config.json beside the file; the package's default of 0.1 was taken")
    settings = _settings(state, multiplier, path)
    if config is not None:
        _check(config, settings, path)
    version = tree.get("version")
    return Found(
        form="stylegan2_pytorch checkpoint",
        generator=Part(architecture="stylegan2_lucidrains", settings=settings, state=state),
        citation=_CITATION,
        notes=notes,
        about={"version": plain(version, 100)} if isinstance(version, str) else {},
    )


def _tensors(tree: Any) -> dict[str, Tensor]:
    state = tree.get("GAN") if isinstance(tree, Mapping) else None
    if not isinstance(state, Mapping):
        return {}
    return {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _networks(tensors: Mapping[str, Tensor], mapping: str, synthesis: str, path: Path) -> dict[str, Tensor]:
    """Returns the two networks' weights by the names of our own, without the filters of the blurs, which are fixed."""
    state = {"S." + name.removeprefix(mapping): value for name, value in tensors.items() if name.startswith(mapping)}
    state |= {
        "G." + name.removeprefix(synthesis): value for name, value in tensors.items() if name.startswith(synthesis)
    }
    blurs = [state.pop(name) for name in list(state) if name.endswith(".to_rgb.upsample.1.f")]
    same = all(blur.shape == (3,) and blur.tolist() == [1, 2, 1] for blur in blurs)
    rezero = any(re.fullmatch(r"G\.attns\.\d+\.0\.fn\.g", name) for name in state)
    if len(blurs) != _count(state, _WIDTH) - 1 or not same or rezero or "G.initial_conv.weight" not in state:
        raise ArtifactError(
            f"expected the networks of stylegan2_pytorch 1.x in {path}, found others, perhaps of an older release; "
            "load the file with the release that wrote it and export the generator to ONNX or torch.export"
        )
    return state


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _settings(state: Mapping[str, Tensor], lr_mlp: Any, path: Path) -> LucidrainsSettings:
    """Infers the settings from the weights' shapes; whether all of them fit is seen when they are loaded."""
    levels = _count(state, _WIDTH)
    first, image = state.get("S.net.0.weight"), state.get(f"G.blocks.{levels - 1}.to_rgb.conv.weight")
    kernels = [state.get(f"G.blocks.{level}.conv2.weight") for level in range(levels)]
    widths = [kernel.shape[0] for kernel in kernels if kernel is not None and kernel.ndim == 4]
    known = 1 <= levels <= 11 and len(widths) == levels and first is not None and first.ndim == 2
    if not known or first is None or image is None or image.ndim != 4 or image.shape[0] not in (3, 4):
        raise ArtifactError(
            f"expected the weights of a generator of stylegan2_pytorch in {path}: a mapping, and 1 to 11 levels that "
            f"make images of 3 or 4 channels; found {levels} levels. The file is damaged or of another release"
        )
    attention = {int(found[1]) for name in state if (found := re.match(r"G\.attns\.(\d{1,2})\.", name))}
    return LucidrainsSettings(
        image_size=2 ** (levels + 1),
        network_capacity=widths[-1] // 2,
        fmap_max=max(widths),
        latent_dim=first.shape[1],
        style_depth=_count(state, r"S\.net\.\d+\.weight"),
        lr_mlp=lr_mlp,
        transparent=image.shape[0] == 4,
        attn_layers=tuple(sorted(levels - level for level in attention)),
        no_const="G.to_initial_block.weight" in state,
    )


def _config(path: Path) -> Mapping[str, Any] | None:
    """Returns what the package wrote of its settings beside the file; None where there is nothing."""
    beside = path.parent / ".config.json"
    if not beside.is_file():
        return None
    try:
        config = json.loads(small(beside, _MAX_CONFIG_BYTES).decode())
    except (ArtifactError, ValueError, RecursionError) as error:
        config = error
    if not isinstance(config, dict):
        raise ArtifactError(
            f"expected the settings of {path.name} as JSON in {beside}, found {config!r:.80}; delete it"
        )
    return config


def _check(config: Mapping[str, Any], settings: LucidrainsSettings, path: Path) -> None:
    """Raises where the config beside the file does not tell of these weights."""
    own = settings.to_json()
    told = {name: config[name] for name in ("image_size", "transparent", "no_const") if name in config}
    capacity, layers = config.get("network_capacity"), config.get("attn_layers")
    if isinstance(capacity, int):
        told["network_capacity"] = min(capacity, settings.fmap_max // 2)
    if isinstance(layers, list):  # the package passes over numbers of levels that there are not
        told["attn_layers"] = tuple(sorted({n for n in layers if isinstance(n, int) and 1 <= n <= settings.levels}))
    wrong = [f"{name} {value!r:.80} instead of {own[name]!r}" for name, value in told.items() if value != own[name]]
    if wrong:
        raise ArtifactError(
            f"expected {path.parent / '.config.json'} to tell of the weights in {path.name}, found {'; '.join(wrong)}; "
            "move the file into the folder it was trained in, or into one without that config"
        )
