"""Checkpoints of a training: one safetensors file, replaced as a whole; nothing is pickled."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes
from torch import Tensor

from gan_augment.artifacts import load_state, write_bytes
from gan_augment.errors import ArtifactError
from gan_augment.training.trainer import Trainer

__all__ = ["resume", "save_checkpoint"]

_SEPARATOR = "|"


def save_checkpoint(trainer: Trainer, path: Path, settings: dict[str, Any]) -> None:
    """Writes networks, averages, optimisers and the step; `settings` tells later which run it belongs to.

    Raises:
        StorageError: The disk refused; the checkpoint before it is kept.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in _tensors(trainer)}
    about = {"step": str(trainer.step), "settings": json.dumps(settings, sort_keys=True)}
    write_bytes(path, save_bytes(tensors, metadata=about))


def _tensors(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    for group, networks in (("live", trainer.networks), ("average", trainer.averaged)):
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                yield _SEPARATOR.join((group, name, key)), value.clone()
    for name, optimizer in trainer.optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                yield _SEPARATOR.join(("adam", name, str(index), key)), value.clone()


def resume(trainer: Trainer, path: Path, settings: dict[str, Any]) -> bool:
    """Puts a trainer where the checkpoint left off; returns whether there was one.

    Raises:
        ArtifactError: It is damaged, or of a run with other settings, which are shown.
    """
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        found, step = json.loads(about["settings"]), int(about["step"])
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"expected a checkpoint in {path}, found a damaged file ({error}); delete it") from None
    if not isinstance(found, dict) or not 0 < step <= trainer.recipe.steps:
        raise ArtifactError(f"expected a checkpoint in {path}, found one without settings or of step {step}; delete it")
    there, now = _flat(found), _flat(json.loads(json.dumps(settings)))  # as stored: tuples are lists
    different = [
        f"{key} {there.get(key)} there, {now.get(key)} now"
        for key in sorted(there.keys() | now.keys())
        if there.get(key) != now.get(key)
    ]
    if different:
        raise ArtifactError(
            f"expected the unfinished training in {path} to have the same settings, found {'; '.join(different)}; "
            "use the same settings to go on with it, delete it, or give another out="
        )
    _check_adam(trainer, tensors, trainer.begun(step), path)
    for group, networks in (("live", trainer.networks), ("average", trainer.averaged)):
        for name, network in networks.items():
            load_state(network, _below(tensors, group, name), f"{name} in {path}")
    for name, optimizer in trainer.optimizers.items():
        _load_adam(optimizer, _below(tensors, "adam", name))
    trainer.step = step
    return True


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _check_adam(trainer: Trainer, tensors: Mapping[str, Tensor], begun: set[str], path: Path) -> None:
    """Raises unless there is a finite state of the right shape for each parameter of each optimiser that has begun."""
    found = {key: tensor for key, tensor in tensors.items() if key.startswith(f"adam{_SEPARATOR}")}
    expected: dict[str, torch.Size] = {}
    for name, optimizer in trainer.optimizers.items():
        if name not in begun:
            continue
        for index, parameter in enumerate(optimizer.param_groups[0]["params"]):
            shapes = {"exp_avg": parameter.shape, "exp_avg_sq": parameter.shape, "step": torch.Size([])}
            expected.update({_SEPARATOR.join(("adam", name, str(index), key)): s for key, s in shapes.items()})
    fits = {key: tensor.shape for key, tensor in found.items()} == expected
    if not fits or not all(_is_state(key, tensor) for key, tensor in found.items()):
        raise ArtifactError(f"expected the optimisers' state in {path}, found another; the file is damaged: delete it")


def _is_state(key: str, tensor: Tensor) -> bool:
    least = 0.0 if key.endswith(("exp_avg_sq", "step")) else -torch.inf
    return tensor.dtype == torch.float32 and bool(tensor.isfinite().all()) and bool((tensor >= least).all())


def _below(tensors: Mapping[str, Tensor], *names: str) -> dict[str, Tensor]:
    prefix = _SEPARATOR.join(names) + _SEPARATOR
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _load_adam(optimizer: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(_SEPARATOR)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
