"""Network pickles as StyleGAN2-ADA's training loop saves them: read without running the source that they bring."""

import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_augment.artifacts import load_state
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.networks.published.stylegan2 import StyleGAN2, StyleGAN2Settings
from gan_augment.networks.published.stylegan2_discriminator import (
    StyleGAN2Discriminator,
    StyleGAN2DiscriminatorSettings,
)
from gan_augment.synthesizers.readers.found import Found, Part
from gan_augment.synthesizers.readers.network_pickle import read, recognises
from gan_augment.synthesizers.readers.unpickle import Inert, read_pickle

RAN: list[str] = []
SOURCE = "raise SystemExit('the source of a pickle was run')"
SETTINGS = StyleGAN2Settings(
    img_resolution=16, img_channels=2, c_dim=3, channel_base=200, channel_max=20, architecture="resnet",
    conv_clamp=256.0, mapping_layers=2, embed_features=6, layer_features=9, lr_multiplier=0.02, z_dim=7, w_dim=8,
    resample_filter=(0.125, 0.375, 0.375, 0.125),
)  # fmt: skip
JUDGE = StyleGAN2DiscriminatorSettings(
    img_resolution=16, img_channels=2, c_dim=3, channel_base=200, channel_max=20, conv_clamp=256.0, mapping_layers=2,
    embed_features=20, layer_features=20, cmap_dim=20, mbstd_group_size=2, resample_filter=(0.125, 0.375, 0.375, 0.125),
)  # fmt: skip


def _reconstruct_persistent_obj(meta: Any) -> None:
    RAN.append(meta["class_name"])


class EasyDict(dict[str, Any]):
    """The training loops' dict with attributes."""


class Persistent:
    """Pickles like an instance of a class that `torch_utils.persistence` decorated, with its state and source."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name, "state": self.state}
        return (_reconstruct_persistent_obj, (meta,), None)


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets what this file pickles name the modules of the training loops."""
    for name, thing in (("torch_utils.persistence", _reconstruct_persistent_obj), ("dnnlib.util", EasyDict)):
        for module in (name.split(".")[0], name):
            monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
        setattr(sys.modules[name], thing.__name__, thing)
        monkeypatch.setattr(thing, "__module__", name)
    RAN.clear()
    yield
    assert RAN == []


def attributes(path: str, settings: Any, own: dict[str, Any]) -> dict[str, Any]:
    """What the original's layers say of themselves."""
    last = path.rpartition(".")[2]
    if path == "":
        return own
    if last == "mbstd":
        return {"group_size": settings.mbstd_group_size, "num_channels": settings.mbstd_num_channels}
    if last.startswith("fc") or last in ("affine", "embed", "out"):
        mapped = path.startswith("mapping.fc")
        activation = "lrelu" if last.startswith("fc") else "linear"
        return {"activation": activation, "bias_gain": settings.lr_multiplier if mapped else 1}
    if last.startswith(("conv", "fromrgb")):
        return {"activation": "lrelu", "conv_clamp": settings.conv_clamp}
    return {"conv_clamp": settings.conv_clamp} if last == "torgb" else {}


def pickled(
    module: nn.Module, settings: Any, own: dict[str, Any], change: Callable[[str, dict[str, Any]], None], path: str = ""
) -> Persistent:
    """A module of this project as the original one of the same names."""
    children = dict(module.named_children())
    if path == "b4" and isinstance(settings, StyleGAN2DiscriminatorSettings):
        children["mbstd"] = nn.Module()
    state = {
        "training": False,
        "_parameters": {name: nn.Parameter(tensor) for name, tensor in module.named_parameters(recurse=False)},
        "_buffers": dict(module.named_buffers(recurse=False)),
        "_non_persistent_buffers_set": set(),
        "_modules": {
            name: pickled(child, settings, own, change, f"{path}.{name}".lstrip("."))
            for name, child in children.items()
        },
        **attributes(path, settings, own),
    }
    change(path, state)
    return Persistent(type(module).__name__, state)


def generator_of(
    seed: int, change: Callable[[str, dict[str, Any]], None] = lambda *_: None
) -> tuple[StyleGAN2, Persistent]:
    torch.manual_seed(seed)
    network = StyleGAN2(SETTINGS).eval()
    with torch.no_grad():
        network.get_buffer("mapping.w_avg").fill_(0.5)
    own = {
        **{name: getattr(SETTINGS, name) for name in ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")},
        "num_ws": network.style_layers,
        "_init_args": (),
        "_init_kwargs": EasyDict(
            c_dim=3, synthesis_kwargs=EasyDict(channel_base=200, channel_max=20, num_fp16_res=4, conv_clamp=256)
        ),
    }
    return network, pickled(network, SETTINGS, own, change)


def discriminator_of(change: Callable[[str, dict[str, Any]], None] = lambda *_: None) -> tuple[Any, Persistent]:
    torch.manual_seed(2)
    network = StyleGAN2Discriminator(JUDGE).eval()
    own = {
        "c_dim": 3,
        "img_resolution": 16,
        "img_channels": 2,
        "_init_kwargs": EasyDict(channel_base=200, channel_max=20),
    }
    return network, pickled(network, JUDGE, own, change)


def tree_of(path: Path, **networks: Any) -> Any:
    file = path / "network-snapshot-000200.pkl"
    content = {
        "training_set_kwargs": EasyDict(
            class_name="training.dataset.ImageFolderDataset", path="/home/someone/cases.zip"
        ),
        "augment_pipe": None,
        **networks,
    }
    file.write_bytes(pickle.dumps(content))
    return read_pickle(file)


def build(kind: Any, part: Part) -> Any:
    with torch.device("meta"):
        network = kind(part.settings)
    load_state(network, part.state, "a test", adopt=True)
    return network.eval()


def read_one(tmp_path: Path, **networks: Any) -> Found:
    tree = tree_of(tmp_path, **networks)
    assert recognises(tree, tmp_path)
    return read(tree, tmp_path)


def test_networks_are_read_and_make_the_same_images(tmp_path: Path) -> None:
    (mean, g_ema), (_, g), (judge, d) = generator_of(0), generator_of(1), discriminator_of()
    found = read_one(tmp_path, G=g, D=d, G_ema=g_ema, cur_nimg=200_000)
    assert found.form == "StyleGAN2 network pickle"
    assert (found.generator.architecture, found.generator.settings) == ("stylegan2", SETTINGS)
    assert found.discriminator is not None
    assert (found.discriminator.architecture, found.discriminator.settings) == ("stylegan2_discriminator", JUDGE)
    assert found.licence is None
    assert found.class_names is None
    assert any("non-commercial" in note for note in found.notes)
    assert found.about == {"cur_nimg": 200_000}
    assert "someone" not in repr(found)
    latents, labels = torch.randn(3, 7), torch.tensor([0, 1, 2])
    own, own_judge = build(StyleGAN2, found.generator), build(StyleGAN2Discriminator, found.discriminator)
    with torch.no_grad():
        images = mean(latents, labels)
        torch.testing.assert_close(own(latents, labels), images)
        torch.testing.assert_close(own_judge(images, labels), judge(images, labels))
    assert own.get_buffer("mapping.w_avg").unique().tolist() == [0.5]


def test_which_weights(tmp_path: Path) -> None:
    (_, g_ema), (plain, g) = generator_of(0), generator_of(1)
    tree = tree_of(tmp_path, G=g, G_ema=g_ema)
    const = "synthesis.b4.const"
    assert torch.equal(read(tree, tmp_path, which="G").generator.state[const], plain.state_dict()[const])
    assert not torch.equal(read(tree, tmp_path).generator.state[const], plain.state_dict()[const])
    with pytest.raises(ConfigError, match="expected which to be G_ema or G"):
        read(tree, tmp_path, which="D")
    found = read_one(tmp_path, G=g)
    assert "the file holds no G_ema; G was taken" in found.notes
    alone = tree["G_ema"]
    assert recognises(alone, tmp_path)
    assert read(alone, tmp_path).generator.settings == SETTINGS


@pytest.mark.parametrize("architecture", ["skip", "orig"])
def test_other_architectures(tmp_path: Path, architecture: Any) -> None:
    settings = StyleGAN2Settings(
        img_resolution=8, channel_base=64, channel_max=16, architecture=architecture, mapping_layers=1, z_dim=4,
        w_dim=4, noise=False, mean_style=False, resample_filter=(0.25, 0.75),
    )  # fmt: skip
    network = StyleGAN2(settings)
    tree = tree_of(tmp_path, G_ema=pickled(network, settings, {}, lambda *_: None))
    found = read(tree, tmp_path)
    assert found.generator.settings == settings
    build(StyleGAN2, found.generator)
    assert found.discriminator is None


def half(path: str, state: dict[str, Any]) -> None:
    state["_parameters"] = {name: nn.Parameter(tensor.half()) for name, tensor in state["_parameters"].items()}


def test_weights_in_half_precision_are_widened(tmp_path: Path) -> None:
    found = read_one(tmp_path, G_ema=generator_of(0, half)[1])
    assert {tensor.dtype for tensor in found.generator.state.values()} == {torch.float32}
    build(StyleGAN2, found.generator)


def changing(where: str, **values: Any) -> Callable[[str, dict[str, Any]], None]:
    def change(path: str, state: dict[str, Any]) -> None:
        if path == where:
            state.update(values)

    return change


def without(where: str, kind: str, name: str, instead: Tensor | None = None) -> Callable[[str, dict[str, Any]], None]:
    def change(path: str, state: dict[str, Any]) -> None:
        if path == where:
            del state[kind][name]
            if instead is not None:
                state[kind][name] = instead

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (changing("synthesis.b8.conv0", activation="relu"), "synthesis.b8.conv0 with the activation lrelu"),
        (changing("synthesis.b8.conv0", conv_clamp=3), "one conv_clamp in all layers"),
        (changing("synthesis.b8.conv0", conv_clamp=[3]), "a plain value as conv_clamp"),
        (changing("", img_resolution=64), "expected img_resolution of 64, as the network says, found weights for 16"),
        (changing("", c_dim=4), "expected c_dim of 4, as the network says, found weights for 3"),
        (changing("", z_dim=torch.zeros(3)), "expected z_dim of tensor"),
        (changing("mapping.fc0", bias_gain=None), "its learning rate as bias_gain"),
        (changing("mapping.fc0", bias_gain=-1.0), "lr_multiplier"),
        (without("synthesis.b8.conv1", "_parameters", "weight"), "expected levels 4, 8, ..."),
        (without("synthesis.b4", "_parameters", "const"), None),
        (without("synthesis.b16.torgb", "_parameters", "weight"), "b16.torgb.weight of 4 dimensions"),
        (without("synthesis.b4.conv1.affine", "_parameters", "weight", torch.zeros(3)), "weight of 2 dimensions"),
        (
            without("synthesis.b8.conv1", "_parameters", "weight", torch.zeros(7, 7, 3, 3)),
            "expected widths of min\\(channel_base / side, channel_max\\)",
        ),
        (without("synthesis.b8.conv0", "_buffers", "resample_filter", torch.zeros(4, 4)), "a filter of one axis"),
        (without("synthesis.b8.conv0", "_buffers", "resample_filter", torch.ones(99)), "1 to 64 taps"),
        (without("mapping.embed", "_parameters", "weight", torch.zeros(6, 1).expand(6, 10**6).clone()), None),
    ],
)  # fmt: skip
def test_what_is_no_such_network_is_refused(
    tmp_path: Path, change: Callable[[str, dict[str, Any]], None], told: str | None
) -> None:
    tree = tree_of(tmp_path, G_ema=generator_of(0, change)[1])
    if told is not None:
        with pytest.raises(ArtifactError, match=told):
            read(tree, tmp_path)
    else:
        with pytest.raises(ArtifactError, match="expected"):
            build(StyleGAN2, read(tree, tmp_path).generator)


def test_a_discriminator_of_another_kind_is_left_out(tmp_path: Path) -> None:
    generator = generator_of(0)[1]
    other = Persistent("ProjectedDiscriminator", {"_parameters": {}, "_buffers": {}, "_modules": {}})
    found = read_one(tmp_path, G_ema=generator, D=other)
    assert found.discriminator is None
    assert any("of no kind that is known here" in note for note in found.notes)
    changed = discriminator_of(changing("b8.conv0", activation="swish"))[1]
    found = read_one(tmp_path, G_ema=generator, D=changed)
    assert found.discriminator is None
    assert any("b8.conv0 with the activation lrelu" in note for note in found.notes)


def test_what_holds_no_generator_is_refused(tmp_path: Path) -> None:
    other = Persistent("Generator", {"_parameters": {}, "_buffers": {}, "_modules": {"backbone": generator_of(0)[1]}})
    tree = tree_of(tmp_path, G_ema=other)
    with pytest.raises(
        ArtifactError, match=r"expected a generator of StyleGAN2, .*R3GAN.*found 'persistent:Generator' made of"
    ):
        read(tree, tmp_path)
    assert not recognises({"G": torch.zeros(1)}, tmp_path)
    assert not recognises([1, 2], tmp_path)
    assert not recognises({"model": {}}, tmp_path)
    with pytest.raises(ArtifactError, match="expected a generator G_ema or G"):
        read({"D": 1}, tmp_path)


def test_networks_of_tensorflow_are_refused(tmp_path: Path) -> None:
    network = Inert("dnnlib.tflib.network.Network", (), {"version": 4})
    for tree in ((network, network, network), network, {"G": network, "D": network, "G_ema": network}):
        assert recognises(tree, tmp_path)
        with pytest.raises(ArtifactError, match="found those of TensorFlow"):
            read(tree, tmp_path)


def shaped(*paths: str) -> Inert:
    """A pickled module that has parts of these names and nothing else."""
    top = Inert("persistent:Generator", (), {"_parameters": {}, "_buffers": {}, "_modules": {}})
    for path in paths:
        module = top
        for name in path.split("."):
            empty = Inert("persistent:Part", (), {"_parameters": {}, "_buffers": {}, "_modules": {}})
            module = module.state["_modules"].setdefault(name, empty)
    return top


@pytest.mark.parametrize(
    ("module", "kind", "form"),
    [
        (shaped("mapping", "synthesis.input", "synthesis.L0_36_512"), "stylegan3", "StyleGAN3"),
        (
            shaped("mapping", "synthesis.init", "synthesis.feat_8", "synthesis.to_big"),
            "fastgan",
            "projected GAN (FastGAN)",
        ),
        (shaped("Model.MainLayers"), "r3gan", "R3GAN"),
    ],
)
def test_other_kinds_go_to_their_own_readers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: Inert, kind: str, form: str
) -> None:
    given: list[Inert] = []

    def reader(part: Inert) -> Part:
        given.append(part)
        return Part(architecture=kind, settings=SETTINGS, state={})

    names = {f"read_{kind}": reader, f"read_{kind}_discriminator": reader}
    fake = types.SimpleNamespace(**names)
    monkeypatch.setitem(sys.modules, f"gan_augment.synthesizers.readers.network_pickle_{kind}", fake)
    found = read({"G_ema": module, "D": shaped("Model.MainLayers")} if kind == "r3gan" else module, tmp_path)
    assert (found.form, found.generator.architecture) == (f"{form} network pickle", kind)
    assert given[0] is module
    assert (found.discriminator is not None) == (kind == "r3gan")
