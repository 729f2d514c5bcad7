"""What of a user's network is saved and fingerprinted: its tensors, and how its parts are set; never its code."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan_augment.artifacts import load_state, pop_fitted_on, read_tensors, write_tensors
from gan_augment.errors import ConfigError
from gan_augment.fingerprint import FittedOn

__all__ = ["architecture_of", "read_module", "state_of", "write_module"]

_PREFIX = "module."


def write_module(folder: Path, module: nn.Module, fitted_on: FittedOn) -> None:
    """Writes a network's weights, and what it was fitted on, as `weights.safetensors`.

    Raises:
        ConfigError: Its state has values that are no finite tensors.
    """
    state = {f"{_PREFIX}{name}": value.cpu().clone() for name, value in state_of(module).items()}  # none shared
    if wrong := [name.removeprefix(_PREFIX) for name, value in state.items() if not value.isfinite().all()]:
        raise ConfigError(f"expected finite weights to save, found NaN or infinity in {', '.join(wrong[:10])}")
    write_tensors(folder / "weights.safetensors", {**state, **fitted_on.tensors()})


def read_module(folder: str | Path, module: nn.Module) -> FittedOn:
    """Reads what `write_module` wrote into a network.

    Raises:
        ArtifactError: It is missing, damaged or of another architecture.
    """
    tensors = read_tensors(Path(folder) / "weights.safetensors")
    fitted_on = pop_fitted_on(tensors, folder)
    state = {name.removeprefix(_PREFIX): value for name, value in tensors.items()}
    load_state(module, state, f"the network in {folder}")
    return fitted_on


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Returns weights and buffers by name.

    Raises:
        ConfigError: The state has values that are no tensors.
    """
    state = module.state_dict()
    if wrong := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ConfigError(f"expected a network whose state are tensors, found others: {', '.join(wrong[:10])}")
    return {name: value.detach() for name, value in state.items()}


def architecture_of(module: nn.Module) -> list[Any]:
    """Returns name, type and plain settings (strides, paddings) of each part."""
    return [
        [name, type(part).__qualname__, {key: value for key, value in sorted(vars(part).items()) if _plain(key, value)}]
        for name, part in module.named_modules()
    ]


def _plain(key: str, value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(key, inner) for inner in value)
    return key != "training" and not key.startswith("_") and isinstance(value, bool | int | float | str)
