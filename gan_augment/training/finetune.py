"""Fine-tuning: a training that starts from a synthesizer's networks, its classes matched by name."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError, DataMismatchWarning
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import Continued, Recipe
from gan_augment.synthesizers import PretrainedSynthesizer, TrainedSynthesizer
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
        init: A TrainedSynthesizer of the same recipe, settings that change no shape may differ; or a
            PretrainedSynthesizer whose training the recipe `continued` goes on with.
        spec: What the trainer's networks were built for.
        classes: Names of the trainer's classes.

    Raises:
        ConfigError: It brings no networks, or is of another recipe.
        ArtifactError: Image sizes, networks, keys or shapes differ; they are shown.
    """
    if isinstance(init, PretrainedSynthesizer) and isinstance(trainer.recipe, Continued):
        _continue(trainer, init, spec, classes)
        return
    if not isinstance(init, TrainedSynthesizer):
        raise ConfigError(
            "expected init= to bring its networks, as what fit and load return (without class_map=, like=, module=), "
            f"found {type(init).__name__}"
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
        state = _matched(network.state_dict(), own[name].state_dict(), axes[name], list(init.class_names), classes)
        _put(trainer, name, state, axes[name])
    trainer.hands_over = False


def _put(trainer: Trainer, name: str, state: Mapping[str, Tensor], axes: Mapping[str, int]) -> None:
    """Gives a network, and its average, a state."""
    for kind in (trainer.networks, trainer.averaged):
        if name in kind:
            load_state(kind[name], state, f"this dataset's {name}")
            _settle(kind[name], axes)


def _continue(trainer: Trainer, init: PretrainedSynthesizer, spec: NetworkSpec, classes: Sequence[str]) -> None:
    """Gives a trainer the released weights; what a released network lacks for classes starts as the recipe has it."""
    every = _class_axes(trainer.recipe, spec)
    there = _names_of(init, classes)
    given = {"generator": init.network.state_dict()}
    if init.discriminator is not None:
        given["discriminator"] = dict(init.discriminator.state)
    for name, released in given.items():
        fresh = trainer.networks[name].state_dict()
        axes = {key: axis for key, axis in every[name].items() if key.startswith("inner.")}
        own = {f"inner.{key}": value for key, value in released.items()}
        own = {key: value.to(fresh[key].dtype) if key in fresh else value for key, value in own.items()}
        added = {key: value for key, value in fresh.items() if not key.startswith("inner.")}
        if "as_class" in added and init.network.num_classes:
            added["as_class"] = _as_classes(added["as_class"], there, classes)
        _put(trainer, name, {**added, **_matched(own, fresh, axes, there, classes)}, axes)
    trainer.hands_over = False


def _names_of(init: PretrainedSynthesizer, classes: Sequence[str]) -> list[str]:
    """Returns the names of a synthesizer's classes; without any, they are the dataset's where there are as many."""
    if init.class_names is not None or init.network.num_classes < 2:
        return init.names
    if init.num_classes == len(classes):
        return list(classes)
    warnings.warn(
        f"the {init.num_classes} classes of {init!r} have no names, and the dataset has {len(classes)}: all start "
        "anew. Give class_names= where it is loaded, to go on with those that are the same",
        DataMismatchWarning,
        stacklevel=5,
    )
    return init.names


def _as_classes(default: Tensor, there: Sequence[str], here: Sequence[str]) -> Tensor:
    """Returns for each class here that of the same name there; others keep theirs."""
    known = {name: index for index, name in enumerate(there)}
    return torch.tensor([known.get(name, int(default[at])) for at, name in enumerate(here)])


def freeze_blocks(trainer: Trainer, count: int) -> None:
    """Leaves the first blocks of the discriminator's trunk as they are (FreezeD, Mo et al. 2020, arXiv 2002.10964).

    Raises:
        ConfigError: There are fewer.
    """
    if count and isinstance(trainer.recipe, Continued) and trainer.recipe.judge is None:
        raise ConfigError(
            f"expected freeze=0 with a new discriminator, found {count}: random weights are not worth keeping, and the "
            "synthesizer brings none of its own"
        )
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
            if key in grown
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
