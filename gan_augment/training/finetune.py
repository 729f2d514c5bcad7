"""Fine-tuning: a training that starts from a synthesizer's networks, its classes matched by name."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Recipe
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.training.trainer import Trainer

__all__ = ["freeze_blocks", "start_from"]

_POWER_ITERATIONS = 30


def start_from(trainer: Trainer, init: Any, spec: NetworkSpec, classes: Sequence[str]) -> None:
    """Gives a trainer's networks the weights of a synthesizer.

    What belongs to a class (an embedding, a row of a head) is that of the class of the same name. A class that the
    synthesizer does not know starts from the mean of those that it knows, and away from it as they are: their
    standard deviation times the trainer's own first weights. From the mean alone, new classes took twice as long to
    part. Networks without weights (moving averages of a loss) start afresh. No phase hands weights over any more, which
    would overwrite these.

    Args:
        trainer: Before its first step.
        init: A TrainedSynthesizer of the same recipe; settings that change no shape may differ.
        spec: What the trainer's networks were built for.
        classes: Names of the trainer's classes.

    Raises:
        ConfigError: It brings no networks, or is of another recipe.
        ArtifactError: Image sizes, networks, keys or shapes differ; they are shown.
    """
    if not isinstance(init, TrainedSynthesizer):
        raise ConfigError(
            f"expected init= to bring its networks, as what fit and load return, found {type(init).__name__}"
        )
    if init.recipe.name != trainer.recipe.name:
        raise ConfigError(f"expected init= of recipe {trainer.recipe.name}, found one of {init.recipe.name}")
    if (init.spec.grid, init.spec.channels) != (spec.grid, spec.channels):
        theirs, own_sides = ("x".join(map(str, (one.channels, *one.grid))) for one in (init.spec, spec))
        raise ArtifactError(
            f"expected images of {theirs}, for which init= was trained, found {own_sides}; give "
            f"image_size={max(init.spec.grid)}, or train anew"
        )
    given, own = _with_weights(init.networks), _with_weights(trainer.networks)
    if given.keys() != own.keys():
        raise ArtifactError(f"expected init= with networks {', '.join(own)}, found {', '.join(given)}")
    axes = _class_axes(trainer.recipe, spec)
    for name, network in given.items():
        fresh = own[name].state_dict()
        state = _matched(network.state_dict(), fresh, axes[name], list(init.class_names), classes)
        for kind in (trainer.networks, trainer.averaged):
            if name in kind:
                load_state(kind[name], state, f"this dataset's {name}")
                _settle(kind[name], axes[name])
    trainer.hands_over = False


def freeze_blocks(trainer: Trainer, count: int) -> None:
    """Leaves the first blocks of the discriminator's trunk as they are (FreezeD, Mo et al. 2020, arXiv 2002.10964).

    Raises:
        ConfigError: There are fewer.
    """
    trunk = getattr(trainer.networks.get("discriminator"), "trunk", nn.Sequential())
    blocks = list(_with_weights(dict(trunk.named_children())).values())
    if count > len(blocks):
        raise ConfigError(
            f"expected freeze of at most {len(blocks)}, the blocks of the discriminator of {trainer.recipe.name} on "
            f"this grid, found {count}"
        )
    trainer.freeze(blocks[:count])


def _with_weights(networks: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: network for name, network in networks.items() if any(True for _ in network.parameters())}


def _class_axes(recipe: Recipe, spec: NetworkSpec) -> dict[str, dict[str, int]]:
    """Returns, by network and key, the axis of each tensor that has an entry for each class.

    They are those that grow by one when there is one class more.
    """
    more = dataclasses.replace(spec, num_classes=spec.num_classes + 1)
    with torch.random.fork_rng(), torch.device("meta"):
        few, many = recipe.networks(spec), recipe.networks(more)
    axes: dict[str, dict[str, int]] = {}
    for name, network in few.items():
        grown = many[name].state_dict()
        axes[name] = {
            key: axis
            for key, tensor in network.state_dict().items()
            for axis, (size, other) in enumerate(zip(tensor.shape, grown[key].shape, strict=True))
            if size == spec.num_classes != other
        }
    return axes


def _matched(
    state: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    axes: Mapping[str, int],
    there: Sequence[str],
    here: Sequence[str],
) -> dict[str, Tensor]:
    """Returns a state whose classes are those `here`; what does not fit is left for `load_state` to show."""
    matched = dict(state)
    known = {place: there.index(name) for place, name in enumerate(here) if name in there}
    for key, axis in axes.items():
        tensor, own = state.get(key), fresh[key]
        if tensor is None or _sizes(tensor, axis) != (len(there), *_sizes(own, axis)[1:]):
            continue
        own = own.to(tensor)
        spread = tensor.std(axis, correction=0, keepdim=True) / own.std(correction=0).clamp_min(1e-12)
        rows = (tensor.mean(axis, keepdim=True) + spread * own).unbind(axis)
        kept = tensor.unbind(axis)
        matched[key] = torch.stack([kept[known[p]] if p in known else row for p, row in enumerate(rows)], axis)
    return matched


def _sizes(tensor: Tensor, axis: int) -> tuple[int, ...]:
    """Returns a tensor's shape with an axis put first; () where it has no such axis."""
    return tuple(tensor.movedim(axis, 0).shape) if tensor.ndim > axis else ()


@torch.no_grad()
def _settle(network: nn.Module, axes: Mapping[str, int]) -> None:
    """Lets the power iterations of spectral norms find the largest singular value of weights that were rearranged."""
    for name, module in network.named_modules():
        if is_parametrized(module, "weight") and any(key.startswith(f"{name}.parametrizations.") for key in axes):
            was = module.training
            module.train()
            for _ in range(_POWER_ITERATIONS):
                _ = module.weight  # each access while training is one iteration
            module.train(was)
