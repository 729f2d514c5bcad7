"""Precision of a training: which numbers the networks compute in."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from gan_augment.errors import ConfigError

__all__ = ["PRECISIONS", "lower_precision", "pick_precision"]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_precision(precision: str, device: torch.device) -> str:
    """Returns "fp32", "bf16" or "fp16"; "auto" is what `accelerate launch --mixed_precision` says, else "fp32".

    Raises:
        ConfigError: There is no such precision, or not on this device.
    """
    if precision == "auto":
        launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
        precision = "fp32" if launched == "no" else launched
    if precision not in PRECISIONS:
        raise ConfigError(f"expected precision auto, {', '.join(PRECISIONS)}, found {precision!r}")
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"expected a CUDA device for precision fp16, found {device.type}; use bf16 or fp32 there")
    return precision


@contextmanager
def lower_precision(networks: Mapping[str, nn.Module], device: torch.device, precision: str) -> Iterator[None]:
    """Has networks compute in a lower precision for a while; losses, penalties and augmentation stay in float32.

    Weights stay float32 and are cast in the forward pass (`torch.autocast`); what a network returns is float32 again.
    Spectral norms and other parametrisations of weights are computed in float32.
    """
    if precision == "fp32":
        yield
        return

    def lower() -> Any:
        return torch.autocast(device.type, PRECISIONS[precision])

    def full() -> Any:
        return torch.autocast(device.type, enabled=False)

    with ExitStack() as undo:
        for network in networks.values():
            _within(network, lower, undo, _to_float32)
            for module in network.modules():
                if isinstance(module, ParametrizationList):
                    _within(module, full, undo)
        yield


def _within(
    module: nn.Module, context: Callable[[], Any], undo: ExitStack, after: Callable[[Any], Any] | None = None
) -> None:
    """Runs the forward pass of a module within a context, and `after` on what it returns, until it is undone."""
    entered: list[Any] = []

    def enter(_: nn.Module, __: Any) -> None:
        entered.append(context())
        entered[-1].__enter__()

    def leave(_: nn.Module, __: Any, output: Any) -> Any:
        entered.pop().__exit__(None, None, None)
        return output if after is None else after(output)

    undo.callback(module.register_forward_pre_hook(enter).remove)
    undo.callback(module.register_forward_hook(leave, always_call=True).remove)


def _to_float32(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, tuple):
        return tuple(_to_float32(part) for part in output)
    return output
