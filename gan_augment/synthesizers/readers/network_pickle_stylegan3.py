"""StyleGAN3's generator out of a network pickle: settings from what it was made with, checked against its parts."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published import blank
from gan_augment.networks.published.stylegan3 import FourierInput, StyleGAN3Settings, SynthesisLayer
from gan_augment.synthesizers.readers.found import Part
from gan_augment.synthesizers.readers.network_pickle import child, real
from gan_augment.synthesizers.readers.unpickle import Inert, module_tensors

__all__ = ["read_stylegan3"]

_OWN = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
_OF_SYNTHESIS = ("num_layers", "num_critical", "margin_size", "output_scale")
_MADE_WITH = (
    "channel_base", "channel_max", "first_cutoff", "first_stopband", "last_stopband_rel", "conv_kernel", "filter_size",
    "lrelu_upsampling", "use_radial_filters", "conv_clamp",
)  # fmt: skip
_MISSING = object()


def read_stylegan3(module: Inert) -> Part:
    """Reads a pickled generator of StyleGAN3, configuration T, R, or another that its training script makes.

    What a network keeps as attributes is read from these, the rest from the arguments that it was made with, which
    pickles of persistent classes hold; what is in neither has its default. The network that these settings describe is
    then compared with the tensors' shapes, and the layers' paddings, factors and limits.

    Raises:
        ArtifactError: It is none, or a variant that this library does not build.
    """
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in module_tensors(module).items()
    }
    settings = _settings(_given(module))
    network = blank("stylegan3", settings)
    _same_shapes({name: tensor.shape for name, tensor in network.state_dict().items()}, state)
    for name, layer in network.named_modules():
        _same(module, name, _says(name, layer))
    return Part(architecture="stylegan3", settings=settings, state=state)


def _given(module: Inert) -> dict[str, Any]:
    made = module.state.get("_init_kwargs") if isinstance(module.state, dict) else None
    made = made.items if isinstance(made, Inert) else made
    made = made if isinstance(made, dict) else {}
    told = {
        **{name: made.get(name, _MISSING) for name in _MADE_WITH},
        **{name: _attribute(module, "synthesis", name) for name in _OF_SYNTHESIS},
        **{name: _attribute(module, "", name) for name in _OWN},
        "mapping_layers": _attribute(module, "mapping", "num_layers"),
        "lr_multiplier": _attribute(module, "mapping.fc0", "bias_gain"),
    }
    found = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in told.items()
        if value is not _MISSING
    }
    if isinstance(found.get("lr_multiplier"), int):
        found["lr_multiplier"] = real(found["lr_multiplier"])
    return found


def _settings(given: Mapping[str, Any]) -> StyleGAN3Settings:
    try:
        return StyleGAN3Settings.from_json(given)
    except ConfigError as error:
        raise ArtifactError(f"expected a StyleGAN3 network of sizes that this library builds: {error}") from None


def _attribute(module: Inert, path: str, name: str) -> Any:
    """Returns an attribute of a part of a module, `_MISSING` where there is none."""
    part = child(module, path) if path else module
    value = part.state.get(name, _MISSING) if part is not None and isinstance(part.state, dict) else _MISSING
    return value.item() if isinstance(value, np.generic) else value


def _same_shapes(own: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    for name in sorted(own.keys() | state.keys()):
        expected = tuple(own[name]) if name in own else "none"
        found = tuple(state[name].shape) if name in state else "none"
        if expected != found:
            _refuse(name, f"of shape {expected}", found)


def _says(name: str, layer: nn.Module) -> dict[str, Any]:
    """Returns what the original's part of that name says of itself."""
    if isinstance(layer, FourierInput):
        return {"bandwidth": layer.band.cutoff, "sampling_rate": layer.band.rate}
    if isinstance(layer, SynthesisLayer):
        return {
            "up_factor": layer.up, "down_factor": layer.down, "padding": list(layer.padding), "conv_clamp": layer.clamp
        }  # fmt: skip
    return {"activation": "lrelu"} if name.startswith("mapping.fc") else {}


def _same(module: Inert, path: str, own: Mapping[str, Any]) -> None:
    """Raises where a part of the network has another attribute than it would have here."""
    for name, expected in own.items():
        found = _attribute(module, path, name)
        if found is not _MISSING and not _equal(found, expected):
            _refuse(f"{path}.{name}", expected, found)


def _equal(found: Any, expected: Any) -> bool:
    """Compares plain values; tensors and arrays, which do not compare as values do, are equal to none."""
    if isinstance(expected, float) and isinstance(found, int | float):
        return math.isclose(real(found), expected, rel_tol=1e-9)
    members = found if isinstance(found, list) else [found]
    plain = all(member is None or isinstance(member, bool | int | float | str) for member in members)
    return plain and bool(found == expected)


def _refuse(name: str, expected: Any, found: Any) -> None:
    told = "none" if found is _MISSING else f"{found!r:.80}"
    raise ArtifactError(
        f"expected {name:.100} {expected} in a StyleGAN3 network of these settings, found {told}: it is of another "
        "version, which is not built here. Export it as ONNX or with torch.export.save, or give module="
    )
