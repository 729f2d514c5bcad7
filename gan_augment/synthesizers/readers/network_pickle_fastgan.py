"""FastGAN's generator out of projected GAN's network pickles: settings from shapes, weights by this project's names.

The released networks are plain modules, so what they were built with is not in the pickle; shapes tell all of it.
Spectral normalisation stores a weight W and the vectors u and v of its largest singular value s = u W v; the weight
that the network uses is W / s, and that is what is read.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.fastgan import FastGANSettings
from gan_augment.synthesizers.readers.found import Part
from gan_augment.synthesizers.readers.unpickle import Inert, module_tensors

__all__ = ["read_fastgan"]

_PREFIX = "synthesis."
_FIRST = "init.init.0.weight"  # of a transposed convolution, whose outputs are its second dimension
_LEVEL = re.compile(r"feat_(\d{1,4})\.(.+)", re.ASCII)
_GATE = re.compile(r"se_(\d{1,4})\.main\.([13])\.weight", re.ASCII)
_NORM = ("weight", "bias", "running_mean", "running_var")
_OUTSIDE = {
    "embed.weight": "embed.weight", _FIRST: "first", "to_big.weight": "last.weight", "to_big.bias": "last.bias",
    **{f"init.init.1.{name}": f"first_norm.{name}" for name in _NORM},
}  # fmt: skip
_SMALL = {"1.weight": "0.weight", **{f"2.{name}": f"0.norm.{name}" for name in _NORM}}
_BIG = {
    "1.weight": "0.weight", "2.weight": "0.noise_strength", "5.weight": "1.weight", "6.weight": "1.noise_strength",
    **{f"{old}.{name}": f"{new}.norm.{name}" for old, new in ((3, 0), (7, 1)) for name in _NORM},
}  # fmt: skip
_CLASS_NORM = {
    "gain.weight": "gain.weight", "gain.bias": "gain.bias", "bias.weight": "shift.weight", "bias.bias": "shift.bias",
    "stored_mean": "running_mean", "stored_var": "running_var",
}  # fmt: skip
_CLASSES = {
    "conv.weight": "0.weight", "conv1.weight": "0.weight", "conv2.weight": "1.weight",
    **{
        f"{norm}.{old}": f"{new}.norm.{name}"
        for norm, new in (("bn", 0), ("bn1", 0), ("bn2", 1)) for old, name in _CLASS_NORM.items()
    },
}  # fmt: skip


def read_fastgan(module: Inert) -> Part:
    """Reads a pickled generator, `pg_modules.networks_fastgan.Generator` of projected GAN.

    Spectral normalisation is folded into the weights. Of the table of embeddings, which has 1000 rows, those of the
    classes are kept that the network was trained on. Levels beyond the image, which smaller networks have and do not
    use, are left out.

    Raises:
        ArtifactError: It is none, or another version of it.
    """
    tensors = _folded(
        {
            name.removeprefix(_PREFIX): _real(name, tensor)
            for name, tensor in module_tensors(module).items()
            if not name.endswith(".num_batches_tracked")
        }
    )
    settings = _settings(module, tensors)
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        for new in _renamed(name, settings, tensors):
            state[new] = tensor.clone() if name.endswith(".noise.weight") else tensor
    if settings.c_dim:
        state["embed.weight"] = state["embed.weight"][: settings.c_dim].clone()
    return Part(architecture="fastgan", settings=settings, state=state)


def _real(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise ArtifactError(f"expected {name:.100} of real numbers in a FastGAN, found {tensor.dtype}")
    return tensor.float()


def _folded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights as the network uses them: divided by their largest singular value, as the file estimates it."""
    folded = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight_orig"):
            stem = name.removesuffix("_orig")
            folded[stem] = _normalised(stem, tensor, tensors.get(f"{stem}_u"), tensors.get(f"{stem}_v"))
        elif not name.endswith((".weight_u", ".weight_v")):
            folded[name] = tensor
    return folded


def _normalised(name: str, weight: Tensor, u: Tensor | None, v: Tensor | None) -> Tensor:
    if weight.ndim < 2:
        raise ArtifactError(f"expected {name:.100} of 2 dimensions or more, found {tuple(weight.shape)}")
    rows = (weight.transpose(0, 1) if name == _FIRST else weight).flatten(1)
    if u is None or v is None or u.shape != rows.shape[:1] or v.shape != rows.shape[1:]:
        found = [None if vector is None else tuple(vector.shape) for vector in (u, v)]
        raise ArtifactError(
            f"expected the vectors of a spectral norm of {name:.100}, of shapes {tuple(rows.shape[:1])} and "
            f"{tuple(rows.shape[1:])}, found {found}"
        )
    largest = torch.dot(u, rows @ v)
    if not largest.isfinite() or largest == 0:
        raise ArtifactError(f"expected a spectral norm of {name:.100} that is not 0, found {float(largest)}")
    return weight / largest


def _settings(module: Inert, tensors: Mapping[str, Tensor]) -> FastGANSettings:
    first = _shape(tensors, _FIRST, 4)
    embedded = _shape(tensors, "embed.weight", 2)[0] if "embed.weight" in tensors else 0
    classes = _attribute(module, "c_dim") if embedded else 0
    if embedded and not 1 <= classes <= embedded:
        raise ArtifactError(f"expected a network with classes to know from 1 to {embedded}, found c_dim of {classes}")
    given = {
        "img_resolution": _attribute(module, "img_resolution"),
        "img_channels": _shape(tensors, "to_big.weight", 4)[0],
        "c_dim": classes,
        "z_dim": first[0],
        "ngf": first[1] // 32,
    }
    second = "conv2.weight" if embedded else "5.weight"
    try:
        for blocks in ("big", "small", "mixed"):
            settings = FastGANSettings.from_json({**given, "blocks": blocks})
            if all((f"feat_{n}.{second}" in tensors) == (settings.convolutions(n) == 2) for n in settings.levels()):
                return settings
    except ConfigError as error:
        raise ArtifactError(f"expected a FastGAN of sizes that this library builds: {error}") from None
    raise ArtifactError(
        "expected a FastGAN of two convolutions at each level, of one, or of two at 8, 32, 128 and 512, found others: "
        "another version of it"
    )


def _shape(tensors: Mapping[str, Tensor], name: str, ndim: int) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != ndim:
        found = tuple(tensors[name].shape) if name in tensors else "none"
        raise ArtifactError(f"expected {name} of {ndim} dimensions in a FastGAN, found {found}")
    return tuple(tensors[name].shape)


def _attribute(module: Inert, name: str) -> int:
    value: Any = module.state.get(name) if isinstance(module.state, dict) else None
    if type(value) is not int:
        raise ArtifactError(f"expected a FastGAN to tell its {name}, a whole number, found {value!r:.80}")
    return value


def _renamed(name: str, settings: FastGANSettings, tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns this project's names of a tensor; none for one that is not used."""
    if name in _OUTSIDE:
        return [_OUTSIDE[name]]
    if match := _GATE.fullmatch(name):
        return _within(settings, match[1], f"gates.{match[1]}.{'squeeze' if match[2] == '1' else 'excite'}")
    if match := _LEVEL.fullmatch(name):
        level, rest = match[1], match[2]
        if settings.c_dim and rest == "noise.weight":  # both convolutions of the level share it
            return [new for n in (0, 1) for new in _within(settings, level, f"blocks.{level}.{n}.noise_strength")]
        names = _CLASSES if settings.c_dim else _BIG if f"feat_{level}.5.weight" in tensors else _SMALL
        if rest in names:
            return _within(settings, level, f"blocks.{level}.{names[rest]}")
    raise ArtifactError(f"expected the tensors of a FastGAN, found {name!r:.100}: another version of it")


def _within(settings: FastGANSettings, level: str, name: str) -> list[str]:
    return [name] if int(level) <= settings.img_resolution else []
