"""StyleGAN3's generator out of pickles that are built as its training loop saves them."""

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError
from gan_augment.networks.published import blank
from gan_augment.networks.published.stylegan3 import FourierInput, StyleGAN3, StyleGAN3Settings, SynthesisLayer
from gan_augment.synthesizers.readers.network_pickle import read
from gan_augment.synthesizers.readers.network_pickle_stylegan3 import read_stylegan3
from gan_augment.synthesizers.readers.unpickle import Inert, read_pickle

RAN: list[str] = []
MADE_WITH: dict[str, Any] = {
    "conv_kernel": 1, "use_radial_filters": True, "channel_base": 128, "channel_max": 10, "first_cutoff": 1.5,
    "first_stopband": 4, "last_stopband_rel": 1.3, "filter_size": 4,
}  # fmt: skip
SETTINGS = StyleGAN3Settings(
    img_resolution=16, img_channels=2, c_dim=3, z_dim=7, w_dim=9, mapping_layers=3, lr_multiplier=0.02, num_layers=5,
    num_critical=1, margin_size=4, output_scale=0.5, **MADE_WITH,
)  # fmt: skip
Change = Callable[[str, dict[str, Any]], None]


def _reconstruct_persistent_obj(meta: Any) -> None:
    RAN.append(meta["class_name"])


class EasyDict(dict[str, Any]):
    """The training loops' dict with attributes."""


class Persistent:
    """Pickles like an instance of a class that `torch_utils.persistence` decorated, with its state and source."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        source = "raise SystemExit('the source of a pickle was run')"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": self.class_name, "state": self.state}
        return (_reconstruct_persistent_obj, (meta,), None)


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets what this file pickles name the modules of the training loop."""
    for name, thing in (("torch_utils.persistence", _reconstruct_persistent_obj), ("dnnlib.util", EasyDict)):
        for module in (name.split(".")[0], name):
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        setattr(sys.modules[name], thing.__name__, thing)
        monkeypatch.setattr(thing, "__module__", name)
    RAN.clear()
    yield
    assert RAN == []


def attributes(path: str, module: nn.Module, settings: StyleGAN3Settings) -> dict[str, Any]:
    """What the original's parts say of themselves."""
    if path == "":
        own = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")
        mapping = EasyDict(num_layers=settings.mapping_layers)
        made = EasyDict(mapping_kwargs=mapping, magnitude_ema_beta=0.9988, num_fp16_res=4, **MADE_WITH)
        return {name: getattr(settings, name) for name in own} | {"_init_args": (), "_init_kwargs": made}
    if path == "synthesis":
        own = ("num_layers", "num_critical", "margin_size", "output_scale", "img_resolution")
        return {name: getattr(settings, name) for name in own}
    if path == "mapping":
        return {"num_layers": settings.mapping_layers}
    if path.startswith("mapping.fc"):
        return {"activation": "lrelu", "bias_gain": settings.lr_multiplier}
    if isinstance(module, FourierInput):
        return {"bandwidth": np.float64(module.band.cutoff), "sampling_rate": np.float64(module.band.rate)}
    if isinstance(module, SynthesisLayer):
        return {
            "conv_clamp": 256, "up_factor": module.up, "down_factor": module.down, "padding": list(module.padding),
            "in_size": np.array([1, 1]),
        }  # fmt: skip
    return {}


def pickled(module: nn.Module, change: Change, path: str = "") -> Persistent:
    """A module of this project as the original one of the same names."""
    children = dict(module.named_children())
    state = {
        "training": False,
        "_parameters": {name: nn.Parameter(tensor) for name, tensor in module.named_parameters(recurse=False)},
        "_buffers": dict(module.named_buffers(recurse=False)),
        "_non_persistent_buffers_set": set(),
        "_modules": {name: pickled(child, change, f"{path}.{name}".lstrip(".")) for name, child in children.items()},
        **attributes(path, module, SETTINGS),
    }
    if isinstance(module, SynthesisLayer):
        state["_buffers"] = {"up_filter": None, "down_filter": None, **state["_buffers"]}
    change(path, state)
    return Persistent(type(module).__name__, state)


def network() -> StyleGAN3:
    torch.manual_seed(0)
    made = StyleGAN3(SETTINGS).eval()
    with torch.no_grad():
        for name, tensor in made.named_buffers():
            if name.endswith(("magnitude_ema", "w_avg")):
                tensor.add_(torch.rand_like(tensor))
    return made


def module_of(path: Path, change: Change = lambda *_: None) -> Inert:
    (path / "g.pkl").write_bytes(pickle.dumps(pickled(network(), change)))
    module = read_pickle(path / "g.pkl")
    assert isinstance(module, Inert)
    return module


def test_a_network_is_read_and_makes_the_same_images(tmp_path: Path) -> None:
    original = network()
    (tmp_path / "n.pkl").write_bytes(pickle.dumps({"G_ema": pickled(original, lambda *_: None), "D": None}))
    found = read(read_pickle(tmp_path / "n.pkl"), tmp_path / "n.pkl")
    part = found.generator
    assert found.form == "StyleGAN3 network pickle"
    assert (part.architecture, part.settings) == ("stylegan3", SETTINGS)
    own = blank(part.architecture, part.settings)
    load_state(own, part.state, "a test", adopt=True)
    for name, tensor in original.state_dict().items():
        assert torch.equal(part.state[name], tensor), name
    latents, labels = torch.randn(3, 7), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(own.eval()(latents, labels), original(latents, labels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in MADE_WITH if name != "last_stopband_rel"])  # seen in filters only
def test_arguments_that_were_not_given_have_their_defaults(name: str, tmp_path: Path) -> None:
    def change(path: str, state: dict[str, Any]) -> None:
        if path == "":
            del state["_init_kwargs"][name]

    with pytest.raises(ArtifactError, match="of another version"):  # which the weights are not of
        read_stylegan3(module_of(tmp_path, change))


def test_numbers_of_numpy_and_half_weights(tmp_path: Path) -> None:
    def change(path: str, state: dict[str, Any]) -> None:
        if path == "":
            state["_init_kwargs"]["first_cutoff"] = np.float64(1.5)
            state["_init_kwargs"]["channel_base"] = np.int64(128)
        if path == "mapping":
            state["_buffers"]["w_avg"] = state["_buffers"]["w_avg"].half()

    part = read_stylegan3(module_of(tmp_path, change))
    assert part.settings == SETTINGS
    assert part.state["mapping.w_avg"].dtype == torch.float32


@pytest.mark.parametrize(
    ("where", "name", "value", "told"),
    [
        ("", "img_resolution", 10**9, "sizes that this library builds: expected img_resolution"),
        ("", "img_resolution", torch.ones(3), "img_resolution of type int"),
        ("", "w_dim", 8, r"synthesis.*affine.weight of shape \(\d+, 8\)|mapping.*of shape \(.*8"),
        ("", "c_dim", 4, r"mapping.embed.weight of shape \(9, 4\)"),
        ("synthesis", "num_layers", 10**9, "num_layers from 2 to 64"),
        ("synthesis", "num_layers", 6, "of another version"),
        ("synthesis", "margin_size", 5, "of another version"),
        ("synthesis", "output_scale", "0.5", "output_scale of type float"),
        ("mapping", "num_layers", 2, "mapping.fc2.bias none|mapping.fc2.bias of shape none|of another version"),
        ("mapping.fc1", "activation", "relu", "mapping.fc1.activation lrelu"),
        ("mapping.fc1", "activation", np.array(["lrelu", "lrelu"]), "mapping.fc1.activation lrelu"),
        (
            "synthesis.L0",
            "conv_clamp",
            128,
            "conv_clamp 256.0 in a StyleGAN3 network of these settings, found 128",
        ),
        ("synthesis.L0", "padding", [1, 2, 3, 4], "L0_16_10.padding"),
        ("synthesis.L0", "padding", [torch.ones(2)], "L0_16_10.padding"),
        ("synthesis.input", "bandwidth", np.float64(1.6), "synthesis.input.bandwidth 1.5 .* found 1.6"),
        ("synthesis.input", "sampling_rate", 9.0, "synthesis.input.sampling_rate 8"),
        ("synthesis.L0", "up_factor", 4, "L0_16_10.up_factor 2"),
    ],
)
def test_what_is_another_network(where: str, name: str, value: Any, told: str, tmp_path: Path) -> None:
    changed = []

    def change(path: str, state: dict[str, Any]) -> None:
        if path.partition("_")[0] == where and name in state:
            changed.append(state[name])
            state[name] = value

    with pytest.raises(ArtifactError, match=told):
        read_stylegan3(module_of(tmp_path, change))
    assert len(changed) == 1


def test_tensors_that_are_missing_or_too_many(tmp_path: Path) -> None:
    def drop(path: str, state: dict[str, Any]) -> None:
        if path == "synthesis.input":
            del state["_buffers"]["freqs"]

    def add(path: str, state: dict[str, Any]) -> None:
        if path == "synthesis.input":
            state["_buffers"]["more"] = torch.ones(2)

    with pytest.raises(ArtifactError, match=r"synthesis.input.freqs of shape \(10, 2\) .* found 'none'"):
        read_stylegan3(module_of(tmp_path, drop))
    with pytest.raises(ArtifactError, match=r"synthesis.input.more of shape none .* found \(2,\)"):
        read_stylegan3(module_of(tmp_path, add))
