"""Other projects' generators, imported without what they depend on: stand-ins take the place of what drawing needs not.

A stand-in that drawing does need is a few plain torch operations. stylegan2_torch would compile an extension for its
filter, which has no code for a CPU; the stand-in is one depthwise convolution, the fastest found.
"""

import functools
import importlib
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PEERS", "peer"]

Stubs = Mapping[str, Mapping[str, Any]]


def _upfirdn2d(image: Tensor, kernel: Tensor, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Tensor:
    """Returns `(N, C, H', W')`: zeros between cells and around, the filter, every `down`-th cell."""
    n, c, h, w = image.shape
    if up > 1:
        image = functional.pad(image.reshape(n, c, h, 1, w, 1), [0, up - 1, 0, 0, 0, up - 1])
        image = image.reshape(n, c, h * up, w * up)
    own = min(pad)
    if pad != (own, own):
        image = functional.pad(image, [pad[0] - own, pad[1] - own] * 2)
    return functional.conv2d(image, kernel.flip(0, 1).expand(c, 1, -1, -1), stride=down, padding=own, groups=c)


def _fused_leaky_relu(image: Tensor, bias: Tensor) -> Tensor:
    return functional.leaky_relu(image + bias.reshape(1, -1, *[1] * (image.ndim - 2)), 0.2) * 2**0.5


class _FusedLeakyReLU(nn.Module):
    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, image: Tensor) -> Tensor:
        return _fused_leaky_relu(image, self.bias)


def _filter2d(images: Tensor, kernel: Tensor, *, normalized: bool) -> Tensor:
    """What kornia.filters.filter2d does with its default border, "reflect"."""
    if not normalized:
        raise NotImplementedError("expected normalized=True, found False")
    weight = (kernel / kernel.abs().sum()).expand(images.shape[1], 1, -1, -1)
    return functional.conv2d(functional.pad(images, [1] * 4, mode="reflect"), weight, groups=images.shape[1])


STUBS: Mapping[str, Stubs] = {
    "stylegan2_torch": {
        "torch_conv_gradfix": {
            "conv2d": functional.conv2d,
            "conv_transpose2d": functional.conv_transpose2d,
            "no_weight_grad": torch.no_grad,
        },
        "stylegan2_torch.op": {},
        "stylegan2_torch.op.upfirdn2d": {"upfirdn2d": _upfirdn2d},
        "stylegan2_torch.op.fused_act": {"fused_leaky_relu": _fused_leaky_relu, "FusedLeakyReLU": _FusedLeakyReLU},
    },
    "stylegan2_pytorch": {
        "fire": {},
        "aim": {},
        "kornia": {},
        "kornia.filters": {"filter2d": _filter2d},
        "vector_quantize_pytorch": {"VectorQuantize": nn.Module},
    },
    "pytorch_pretrained_biggan": {
        "boto3": {},
        "botocore": {},
        "botocore.exceptions": {"ClientError": Exception},
        "requests": {},
    },
    "torchgan": {},
}
PEERS = {
    "stylegan2_torch": "stylegan2_torch",
    "stylegan2_pytorch": "stylegan2_pytorch.stylegan2_pytorch",
    "pytorch_pretrained_biggan": "pytorch_pretrained_biggan.model",
    "torchgan": "torchgan.models",
}
"""Packages, and which module of theirs has the generators."""


@functools.cache
def peer(name: str) -> Any:
    """Returns the module of a package, one of `PEERS`, that has its generators; nobody else sees the stand-ins.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if name == "stylegan2_pytorch":  # it refuses to be imported without
            stack.enter_context(mock.patch.object(torch.cuda, "is_available", return_value=True))
        if STUBS[name]:
            stack.enter_context(_stubbed(name, STUBS[name]))
        return importlib.import_module(PEERS[name])


@contextmanager
def _stubbed(name: str, stubs: Stubs) -> Iterator[None]:
    """Has stand-ins be found by imports; takes them and what the package brought away again."""
    before = {stub: sys.modules.get(stub) for stub in stubs}
    for stub, content in stubs.items():
        sys.modules[stub] = types.ModuleType(stub)
        sys.modules[stub].__dict__.update(content)
    try:
        yield
    finally:
        for own in [own for own in sys.modules if own.split(".")[0] == name]:
            del sys.modules[own]
        for stub, module in before.items():
            sys.modules.pop(stub, None)
            if module is not None:
                sys.modules[stub] = module
