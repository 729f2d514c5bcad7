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

_TRANSPOSED = "init.init.0.weight"
_UP = re.compile(r"feat_(8|16|32|64|128|256|512|1024)\.(.+)", re.ASCII)
_GATE = re.compile(r"se_(64|128|256|512)\.main\.([13])\.weight", re.ASCII)
_OUTSIDE = {
    "embed.weight": "embed.weight",
    "init.init.0.weight": "first",
    "init.init.1.weight": "first_norm.weight",
    "init.init.1.bias": "first_norm.bias",
    "init.init.1.running_mean": "first_norm.running_mean",
    "init.init.1.running_var": "first_norm.running_var",
    "to_big.weight": "last.weight",
    "to_big.bias": "last.bias",
}
_NORM = ("weight", "bias", "running_mean", "running_var")
_PLAIN = {  # in a block without classes, a sequence of layers; the second convolution and the noise are in big ones
    "1.weight": "0.weight", "2.weight": "0.noise_strength", "5.weight": "1.weight", "6.weight": "1.noise_strength",
    **{f"3.{name}": f"0.norm.{name}" for name in _NORM}, **{f"7.{name}": f"1.norm.{name}" for name in _NORM},
}  # fmt: skip
_SMALL = {"1.weight": "0.weight", **{f"2.{name}": f"0.norm.{name}" for name in _NORM}}
_CLASS_NORM = {
    "gain.weight": "gain.weight", "gain.bias": "gain.bias", "bias.weight": "shift.weight", "bias.bias": "shift.bias",
    "stored_mean": "running_mean", "stored_var": "running_var",
}  # fmt: skip
_CONDITIONAL = {
    "conv.weight": "0.weight", "conv1.weight": "0.weight", "conv2.weight": "1.weight",
    **{f"{norm}.{old}": f"{place}.norm.{new}" for norm, place in (("bn", 0), ("bn1", 0), ("bn2", 1))
       for old, new in _CLASS_NORM.items()},
}  # fmt: skip


def read_fastgan(module: Inert) -> Part:
    """Reads a pickled generator, `pg_modules.networks_fastgan.Generator` of projected GAN.

    Spectral normalisation is folded into the weights. Classes are as many as the network was made for, though its
    table of embeddings has 1000 rows. Levels that a smaller network keeps and does not use are left out.

    Raises:
        ArtifactError: It is none, or another version of it.
    """
    tensors = _folded(module_tensors(module))
    resolution = _attribute(module, "img_resolution")
    classes = _classes(module, tensors)
    state = {}
    for name, tensor in tensors.items():
        for new in _renamed(name, tensors):
            state[new] = tensor.clone() if new in state else tensor
    return Part(architecture="fastgan", settings=FastGANSettings(), state=state)
