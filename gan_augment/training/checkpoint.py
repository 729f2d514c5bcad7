"""Checkpoints of a training: one safetensors file, replaced as a whole; nothing is pickled."""

import copy
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from gan_augment.artifacts import load_state, write_bytes
from gan_augment.errors import ArtifactError, TrainingError
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Watch, Weights

__all__ = ["resume", "save_checkpoint"]

_SEPARATOR = "|"
_SCALER = ("scale", "_growth_tracker")


def save_checkpoint(trainer: Trainer, path: Path, settings: dict[str, Any], watch: Watch | None = None) -> None:
    """Writes networks, averages, optimisers, scaler, the step and what was watched.

    `settings` tells later which run it belongs to.

    Raises:
        StorageError: The disk refused; the checkpoint before it is kept.
        TrainingError: A weight became NaN or infinite; the checkpoint before it is kept.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in _tensors(trainer, watch)}
    wrong = [key for key, value in tensors.items() if not value.isfinite().all()]
    if wrong:
        raise TrainingError(
            f"expected finite weights after step {trainer.step}, found NaN or infinity in {len(wrong)} tensors, such "
            f"as {wrong[0].replace(_SEPARATOR, ' ')}; the training diverged. Lower the learning rate"
        )
    about = {"step": str(trainer.step), "settings": json.dumps(settings, sort_keys=True)}
    if watch is not None:
        about["watched"] = json.dumps(watch.state())
    write_bytes(path, save_bytes(tensors, metadata=about))


def _tensors(trainer: Trainer, watch: Watch | None) -> Iterator[tuple[str, Tensor]]:
    for group, networks in (("live", trainer.networks), ("average", trainer.averaged)):
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                yield _SEPARATOR.join((group, name, key)), value.clone()
    for name, weights in ((watch and watch.best_weights) or {}).items():
        for key, value in weights.items():
            yield _SEPARATOR.join(("best", name, key)), value.clone()
    for name, optimizer in trainer.optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                yield _SEPARATOR.join(("adam", name, str(index), key)), value.clone()
    for key in _SCALER if trainer.scaler.is_enabled() else ():
        yield _SEPARATOR.join(("scaler", key)), torch.tensor(trainer.scaler.state_dict()[key], dtype=torch.float64)


def resume(trainer: Trainer, path: Path, settings: dict[str, Any], watch: Watch | None = None) -> bool:
    """Puts a trainer where the checkpoint left off; returns whether there was one.

    Rank 0 reads it and hands it to the others; how many processes wrote it does not matter.

    Raises:
        ArtifactError: It is damaged, or of a run with other settings, which are shown.
    """
    content = trainer.ranks.share(_read(path) if trainer.ranks.first else None)
    if content is None:
        return False
    try:
        tensors, about = load_bytes(content), _metadata(content)
        found, step = json.loads(about["settings"]), int(about["step"])
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
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
    if trainer.scaler.is_enabled():
        _load_scaler(trainer.scaler, _below(tensors, "scaler"), path)
    if watch is not None:
        _restore(watch, trainer, tensors, about, path)
    trainer.step = step
    return True


def _load_scaler(scaler: torch.amp.GradScaler, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        scale, growth = (state[key].item() for key in _SCALER)
    except (KeyError, RuntimeError) as error:
        raise ArtifactError(f"expected the scaler of fp16 in {path}, found {error!r}; delete it") from None
    if not 0 < scale < math.inf or not 0 <= growth < math.inf:
        raise ArtifactError(f"expected a scaler of fp16 above 0 in {path}, found {scale}, {growth}; delete it")
    scaler.load_state_dict({**scaler.state_dict(), "scale": float(scale), "_growth_tracker": int(growth)})


def _restore(
    watch: Watch, trainer: Trainer, tensors: Mapping[str, Tensor], about: Mapping[str, str], path: Path
) -> None:
    best: Weights = {}
    if any(key.startswith(f"best{_SEPARATOR}") for key in tensors):
        for name, network in trainer.result().items():
            fitting = copy.deepcopy(network)
            load_state(fitting, _below(tensors, "best", name), f"the best {name} in {path}")
            best[name] = dict(fitting.state_dict())
    try:
        watch.restore(json.loads(about["watched"]), best or None)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"expected what was watched in {path}, found {error!r}; the file is damaged: delete it"
        ) from None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise ArtifactError(f"expected to read the checkpoint in {path}, found {error}") from None


def _metadata(content: bytes) -> dict[str, str]:
    """Returns what a safetensors file says besides its tensors."""
    length = int.from_bytes(content[:8], "little")
    about: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return about


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def _check_adam(trainer: Trainer, tensors: Mapping[str, Tensor], begun: set[str], path: Path) -> None:
    """Raises unless there is a finite state of the right shape for each parameter of each optimiser that has begun.

    Under fp16 the first steps of an optimiser may all have been skipped.
    """
    found = {key: tensor for key, tensor in tensors.items() if key.startswith(f"adam{_SEPARATOR}")}
    expected: dict[str, torch.Size] = {}
    for name, optimizer in trainer.optimizers.items():
        skipped = trainer.scaler.is_enabled() and not _below(found, "adam", name)
        if name not in begun or skipped:
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
    parameters = optimizer.param_groups[0]["params"]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(_SEPARATOR)
        if name != "step":  # in the parameter's memory format
            value = torch.empty_like(parameters[int(index)]).copy_(value)  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
