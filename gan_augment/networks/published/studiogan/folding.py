"""Turns StudioGAN's released weights into those of the generators here."""

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from gan_augment.errors import ArtifactError
from gan_augment.networks.published.studiogan.blocks import Foldable

__all__ = ["folded", "plain_names"]

_SPECTRAL: Final = ("weight_orig", "weight_u", "weight_v")
_SHOWN: Final = 6


def plain_names(released: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights without the traces of parallel training and of lists within lists in their names.

    The tables of classes that earlier releases of StudioGAN looked up, `embed0` and `embed1`, become the linear maps of
    one-hot labels that later ones have instead.
    """
    plain = {}
    for name, weight in released.items():
        short = re.sub(r"^blocks\.(\d+)\.0\.", r"blocks.\1.", re.sub(r"^(module\.)+", "", name))
        if not short.endswith("num_batches_tracked"):
            plain[short] = weight
    for name in list(plain):
        for old, new in (("embed0", "gain"), ("embed1", "bias")):
            table, _, kind = name.rpartition(".")
            if table.endswith(f".{old}") and kind in ("weight", *_SPECTRAL):
                weight = plain.pop(name)
                # the norm of a transposed matrix is the same with u and v exchanged
                kind = {"weight_u": "weight_v", "weight_v": "weight_u"}.get(kind, kind)
                plain[f"{table.removesuffix(old)}{new}.{kind}"] = weight.T if weight.ndim == 2 else weight
    return plain


def folded(network: nn.Module, released: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """Returns a network's state dict, made of released weights.

    Batch statistics, spectral norms and the gain of attention become part of the weights around them.

    Args:
        network: One of this package's generators; it may be on the meta device.
        released: StudioGAN's state dict.
        what: What it is, for messages.

    Raises:
        ArtifactError: The released weights are those of another network.
    """
    weights = plain_names(released)
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, Foldable)}
    shapes = {f"{at}.{name}": shape for at, layer in layers.items() for name, shape in layer.released().items()}
    _check(shapes, weights, what)
    state: dict[str, Tensor] = {}
    for at, layer in layers.items():
        own = {name: _divided(weights, f"{at}.{name}") for name in layer.released()}
        state |= {f"{at}.{name}": weight.float() for name, weight in layer.fold(own).items()}
    return state


def _check(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor], what: str) -> None:
    """Raises unless weights have these names and shapes, or are the parts of a spectral norm of such."""
    given = {name.removesuffix("_orig"): weight for name, weight in weights.items() if not name.endswith(("_u", "_v"))}
    parts = {
        "missing": sorted(shapes.keys() - given.keys()),
        "not expected": sorted(given.keys() - shapes.keys()),
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in given and given[name].shape != shape
        ],
        "not floating": [name for name, weight in weights.items() if not weight.is_floating_point()],
        "with a spectral norm that does not fit": [
            name for name in weights if name.endswith(_SPECTRAL) and not _whole(weights, name.rpartition("_")[0])
        ],
    }
    told = "; ".join(
        f"{len(names)} {why}: {', '.join(names[:_SHOWN])}{' ...' if len(names) > _SHOWN else ''}"
        for why, names in parts.items()
        if names
    )
    if told:
        raise ArtifactError(
            f"expected weights of the architecture that the settings of {what} describe, found others: {told}. Give "
            "the YAML file that these weights were trained with"
        )


def _whole(weights: Mapping[str, Tensor], name: str) -> bool:
    """Whether a weight that is stored with its spectral norm has all parts of it, of fitting lengths."""
    parts = [weights.get(f"{name}_{part}") for part in ("orig", "u", "v")]
    if any(part is None for part in parts) or name in weights:
        return False
    matrix, u, v = (part for part in parts if part is not None)
    if matrix.ndim < 2:
        return False
    rows = matrix.shape[_row(name)]
    return u.shape == (rows,) and v.shape == (matrix.numel() // max(1, rows),)


def _row(name: str) -> int:
    """Returns the dimension of a weight that its spectral norm takes as rows."""
    return 1 if "deconv" in name else 0


def _divided(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Returns a weight in float64, divided by its spectral norm u^T W v where one is stored (Miyato et al. 2018)."""
    if name in weights:
        return weights[name].double()
    weight, u, v = (weights[f"{name}_{part}"].double() for part in ("orig", "u", "v"))
    return weight / torch.dot(u, weight.movedim(_row(name), 0).flatten(1) @ v)
