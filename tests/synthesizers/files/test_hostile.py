"""load and convert, end to end, on files whose content is hostile: refused or read, never run, nothing left behind.

What the readers of pickles, archives and programs refuse by themselves is in `readers/hostile.py` and `programs/`. Here
files are well-formed, and what they describe is not what a reader expects. All are opened in one process of its own,
under a limit of memory and of time, where whatever a reader must not do is noted and forbidden.
"""

import codecs
import contextlib
import functools
import importlib
import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.networks.published import unfilled
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.report import write_report
from gan_augment.synthesizers import convert, load
from gan_augment.synthesizers.files.stored import read_program, store
from gan_augment.synthesizers.readers import biggan
from gan_augment.synthesizers.readers.archive import read_any
from gan_augment.synthesizers.readers.inert import Inert, Name
from tests.helpers import Pictures
from tests.networks.published.test_translators import reference as translating
from tests.synthesizers import released
from tests.synthesizers.readers import test_biggan as of_biggan
from tests.synthesizers.readers import test_network_pickle as of_stylegan2
from tests.synthesizers.readers import test_network_pickle_fastgan as of_fastgan
from tests.synthesizers.readers import test_network_pickle_r3gan as of_r3gan
from tests.synthesizers.readers import test_network_pickle_stylegan3 as of_stylegan3
from tests.synthesizers.readers import test_studiogan as of_studiogan

MEBIBYTES, SECONDS = 1024, 20
CANARY = "CANARY"
ESCAPE = "\x1b[31mred\x1b[0m\x07"


# -- writing trees ----------------------------------------------------------------------------------------------------


class Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes stand-ins as what they stand for, so that what was read can be changed and written again."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        """Saves one object."""
        if type(obj).__name__ == "Persistent":  # of the tests of readers
            meta = {"type": "class", "version": 6, "module_src": "1/0", "class_name": obj.class_name}
            obj = self._same(obj, Inert(f"persistent:{obj.class_name}", ({**meta, "state": obj.state},)))
        elif type(obj).__name__ == "EasyDict":
            obj = self._same(obj, plain_inert("dnnlib.util.EasyDict", items=dict(obj)))
        if not isinstance(obj, Inert):
            super().save(obj, save_persistent_id)
        elif (known := self.memo.get(id(obj))) is not None:
            self.write(self.get(known[0]))
        else:
            self._inert(obj)

    def _same(self, obj: Any, stands: Inert) -> Inert:
        """Returns one stand-in for one object, however often it is met."""
        kept = self.__dict__.setdefault("_kept", {})
        return kept.setdefault(id(obj), (stands, obj))[0]  # type: ignore[no-any-return]

    def _inert(self, obj: Inert) -> None:
        origin, args, state = obj.origin, obj.args, obj.state
        if origin.startswith("persistent:"):
            origin, meta = "torch_utils.persistence._reconstruct_persistent_obj", dict(args[0])
            state = meta.pop("state", state) if state is None else state
            args = ({key: value for key, value in meta.items() if key != "state"},)  # which may hold the object itself
        module, _, name = origin.rpartition(".")
        self.write(b"c" + (module or "builtins").encode() + b"\n" + name.encode() + b"\n")
        if type(obj) is Name:
            self.memoize(obj)
            return
        self.save(args)
        self.write(pickle.REDUCE)
        self.memoize(obj)
        for key, value in obj.items.items():
            self.save(key)
            self.save(value)
            self.write(pickle.SETITEM)
        for value in obj.elements:
            self.save(value)
            self.write(pickle.APPEND)
        if state is not None:
            self.save(state)
            self.write(pickle.BUILD)


def plain_inert(origin: str, args: tuple[Any, ...] = (), state: Any = None, items: Any = None) -> Inert:
    made = Inert(origin, args, state)
    made.items = items or {}
    return made


def write_pickle(tree: Any, path: Path) -> None:
    most = sys.getrecursionlimit()
    sys.setrecursionlimit(400_000)  # the reader may not need so much
    try:
        with open(path, "wb") as file:
            Pickler(file, 4).dump(tree)
    finally:
        sys.setrecursionlimit(most)


def write_checkpoint(tree: Any, path: Path) -> None:
    torch.save(tree, path, pickle_module=types.SimpleNamespace(Pickler=Pickler, __name__="pickle"))


def node(parameters: Any = None, modules: Any = None, buffers: Any = None, **own: Any) -> Inert:
    """A pickled module."""
    state = {"training": False, "_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {}}
    return Inert("training.networks.Module", (), {**state, **own})


def nested(tensors: dict[str, Tensor], **own: Any) -> Inert:
    """A pickled module with tensors of dotted names."""
    root = node(**own)
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        module = root
        for folder in folders:
            module = module.state["_modules"].setdefault(folder, node())
        module.state["_parameters"][last] = tensor
    return root


# -- valid files, which hostile ones are made of ----------------------------------------------------------------------


def stylegan2(folder: Path) -> None:
    tree = {"G_ema": of_stylegan2.generator_of(0)[1], "D": of_stylegan2.discriminator_of()[1], "cur_nimg": 7}
    write_pickle(tree, folder / "network.pkl")


def stylegan3(folder: Path) -> None:
    tree = {"G_ema": of_stylegan3.pickled(of_stylegan3.network(), lambda *_: None), "D": None}
    write_pickle(tree, folder / "network.pkl")


def fastgan(folder: Path) -> None:
    made = of_fastgan.generator("small", 4, True)
    own = {name: getattr(made, name) for name in ("z_dim", "c_dim", "img_resolution", "img_channels")}
    write_pickle({"G_ema": nested(dict(made.state_dict()), **own)}, folder / "network.pkl")


def r3gan(folder: Path) -> None:
    tree = {"G_ema": nested(of_r3gan.weights("generator")), "D": nested(of_r3gan.weights("discriminator"))}
    write_pickle(tree, folder / "network.pkl")


def lucidrains(folder: Path) -> None:
    settings = LucidrainsSettings(image_size=16, network_capacity=4, latent_dim=8, style_depth=2)
    state = released.filled(unfilled("stylegan2_lucidrains", settings), 0, 0.2).state_dict()
    gan = {f"{name[0]}E{name[1:]}": tensor for name, tensor in state.items()} | dict(state)
    for level in range(settings.levels - 1):
        for network in ("G", "GE"):
            gan[f"{network}.blocks.{level}.to_rgb.upsample.1.f"] = torch.tensor([1.0, 2.0, 1.0])
    torch.save({"GAN": gan, "version": "1.9.0"}, folder / "model_7.pt")
    told = {"image_size": 16, "network_capacity": 4, "lr_mlp": 0.1, "transparent": False, "attn_layers": []}
    (folder / ".config.json").write_text(json.dumps(told | {"no_const": False}))


def torchgan(folder: Path) -> None:
    trainer = {"loss_information": {}, "loss_objects": {}, "metric_objects": {}}
    torch.save({"generator": released.dcgan().network.state_dict(), "epoch": 3, **trainer}, folder / "gan.pth")


def resnet(folder: Path) -> None:
    torch.save(translating("resnet", "batch").state_dict(), folder / "latest_net_G_A.pth")


def unet(folder: Path) -> None:
    torch.save(translating("unet", "batch").state_dict(), folder / "latest_net_G.pth")


def studio(case: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        torch.manual_seed(0)
        how, model, _ = of_studiogan.CASES[case]
        state = of_studiogan.Naive(spectral=True, **how).state_dict()
        of_studiogan.written(folder, dict(state), of_studiogan.config(**model))

    return write


def biggan_deep(folder: Path) -> None:
    settings, state = biggan._settings(of_biggan.SMALL, folder), {}

    def take(left: Any, name: str, *shape: int) -> Tensor:
        state[name] = torch.rand(shape) * 0.2 + 0.5
        return state[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(biggan, "_take", take)
        biggan._state({}, settings)
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps(of_biggan.SMALL))


def own(folder: Path) -> None:
    gan = released.style(3, class_names=["a", "b", "c"], discriminator=released.discriminator(3))
    _stored(gan, folder)


def own_translator(folder: Path) -> None:
    _stored(released.translator(parents={"lesion": "healthy"}, image_size=32), folder)


def _stored(gan: Any, folder: Path) -> None:
    store(gan, folder / "made")
    for file in (folder / "made").iterdir():
        file.rename(folder / file.name)
    (folder / "made").rmdir()


def onnx_bytes(latents: int = 4, *, free: bool = False) -> bytes:
    """A generator of one grey image of 2x2 from latents, and labels that are added."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    width = "width" if free else latents
    nodes = [
        helper.make_node("Slice", ["z", "starts", "ends", "axes"], ["some"]),
        helper.make_node("Add", ["some", "y"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["images"]),
    ]
    numbers = {"shape": [-1, 1, 2, 2], "starts": [0], "ends": [4], "axes": [1]}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("z", kind, ["batch", width]),
            helper.make_tensor_value_info("y", kind, ["batch", 4]),
        ],
        [helper.make_tensor_value_info("images", kind, ["batch", 1, 2, 2])],
        [helper.make_tensor(name, onnx.TensorProto.INT64, [len(ints)], ints) for name, ints in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def program(folder: Path) -> None:
    (folder.parent / "g.onnx").write_bytes(onnx_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert(folder.parent / "g.onnx", folder / "made", latents="z", licence="mit", progress=False)
    (folder.parent / "g.onnx").unlink()
    for file in (folder / "made").iterdir():
        file.rename(folder / file.name)
    (folder / "made").rmdir()


VALID: dict[str, Callable[[Path], None]] = {
    "stylegan2": stylegan2, "stylegan3": stylegan3, "fastgan": fastgan, "r3gan": r3gan, "lucidrains": lucidrains,
    "torchgan": torchgan, "resnet": resnet, "unet": unet, "biggan": studio("biggan"),
    "studio_resnet": studio("resnet with tables"), "deep": studio("biggan-deep"), "biggan_deep": biggan_deep,
    "own": own, "own_translator": own_translator, "program": program,
}  # fmt: skip


_made: dict[str, dict[str, bytes]] = {}


def valid(base: str, folder: Path) -> None:
    """Writes something valid into a folder; it is made once."""
    if base not in _made:
        before = {file.name for file in folder.iterdir()}
        VALID[base](folder)
        _made[base] = {file.name: file.read_bytes() for file in folder.iterdir() if file.name not in before}
    for name, content in _made[base].items():
        (folder / name).write_bytes(content)


# -- hostile files ----------------------------------------------------------------------------------------------------

Case = Callable[[Path], tuple[str, dict[str, Any]]]
CASES: dict[str, Case] = {}


def case(function: Any) -> Any:
    """Registers a case, which writes into a folder and returns what in it to load, and with what options."""
    CASES[function.__name__] = function
    return function


def cases(base: str, values: dict[str, Any], change: Callable[[Path, Any], str]) -> None:
    """Registers changes of something valid."""

    def made(value: Any) -> Case:
        def write(folder: Path) -> tuple[str, dict[str, Any]]:
            valid(base, folder)
            return change(folder, value), {}

        return write

    CASES.update({f"{base} {name}": made(value) for name, value in values.items()})


def in_pickle(where: str) -> Callable[[Path, Any], str]:
    """Sets a value in a network pickle: of G_ema, or below it by the path of a module, and a name in its state."""

    def change(folder: Path, value: Any) -> str:
        tree = read_any(folder / "network.pkl")
        path, _, name = where.rpartition(" ")
        module = tree[path.partition(" ")[0]]
        for part in filter(None, path.partition(" ")[2].split(".")):
            module = module.state["_modules"][part]
        module.state[name] = value(tree, module) if callable(value) else value
        write_pickle(tree, folder / "network.pkl")
        return "network.pkl"

    return change


def in_json(file: str, *, whole: bool = False) -> Callable[[Path, Any], str]:
    def change(folder: Path, value: Any) -> str:
        path = folder / file
        path.write_text(json.dumps(value if whole else {**json.loads(path.read_text()), **value}))
        return "."

    return change


HUGE, LONG = 2**1500, 2**2040  # beyond floats
cases(
    "stylegan2",
    {
        "resolution 2**40": lambda _, m: {**m.state, "img_resolution": 2**40}["img_resolution"],
        "resolution negative": -16, "resolution float": 16.5, "resolution text": "16", "resolution nan": float("nan"),
        "resolution stand-in": node(), "resolution list": [[16]], "resolution itself": lambda tree, m: m,
        "resolution huge": HUGE,
    },
    in_pickle("G_ema img_resolution"),
)  # fmt: skip
cases(
    "stylegan2",
    {
        "arguments absurd": plain_inert("dnnlib.EasyDict", items={"channel_base": HUGE, "channel_max": -1}),
        "arguments nested": {"synthesis_kwargs": {"synthesis_kwargs": node()}, "channel_base": [1] * 10**5},
        "arguments cyclic": lambda tree, m: m,
        "arguments of odd keys": {3: 4, None: 5, b"x": 6, (1, 2): 3},
    },
    in_pickle("G_ema _init_kwargs"),
)
cases(
    "stylegan2",
    {"clamp huge": HUGE, "clamp nan": float("nan"), "clamp text": "256"},
    in_pickle("G_ema synthesis.b4.conv1 conv_clamp"),
)
cases(
    "stylegan2",
    {"gain huge": HUGE, "gain array": np.array([1, 2]), "gain nan": float("nan")},
    in_pickle("G_ema mapping.fc0 bias_gain"),
)
cases("stylegan2", {"discriminator gain huge": HUGE}, in_pickle("D mapping.fc0 bias_gain"))
cases(
    "stylegan2",
    {"discriminator group huge": HUGE, "discriminator group text": ESCAPE * 400},
    in_pickle("D b4.mbstd group_size"),
)


def _kernel(kernel: Tensor) -> Callable[[Any, Any], Any]:
    return lambda tree, module: {**module.state["_buffers"], "resample_filter": kernel}


cases(
    "stylegan2",
    {
        "kernel of whole numbers": _kernel(torch.ones(4, 4, dtype=torch.int64)),
        "kernel of bools": _kernel(torch.ones(4, 4, dtype=torch.bool)),
        "kernel complex": _kernel(torch.ones(4, 4, dtype=torch.complex64)),
        "kernel of no width": _kernel(torch.ones(4, 0)), "kernel oblong": _kernel(torch.ones(4, 3)),
        "kernel of nan": _kernel(torch.full((4, 4), float("nan"))), "kernel 0-d": _kernel(torch.ones(())),
        "kernel of eights": _kernel(torch.ones(4, 4).to(torch.float8_e4m3fn)),
    },
    in_pickle("G_ema synthesis.b8.conv0 _buffers"),
)  # fmt: skip


def _deep(tree: Any, module: Any, levels: int = 5000) -> Any:
    inner = module.state["_modules"]
    for _ in range(levels):
        inner = {"x": node(modules=inner)}
    return inner


def _wide(tree: Any, module: Any) -> Any:
    """Names that are long, at each of many levels, with many below each: all names together are too many bytes."""
    below = node({}, {})
    for _ in range(98):
        many = {f"{number:03}" + "n" * 190: below for number in range(2000)}
        below = node({}, many)
    return {**module.state["_modules"], "wide": below}


def _long(tree: Any, module: Any) -> Any:
    below = node({f"{number:04}": torch.zeros(()) for number in range(1)}, {})
    values = {f"{number:05}": torch.zeros(()) for number in range(60)}
    below = node({}, {str(number): node(values) for number in range(1500)})
    for _ in range(95):
        below = node({}, {"n" * 200: below})
    return {**module.state["_modules"], "long": below}


cases(
    "stylegan2",
    {
        "modules deep": _deep, "modules wide": _wide, "modules of long names": _long,
        "modules contain themselves": lambda tree, m: {**m.state["_modules"], "again": m},
        "modules are a list": lambda tree, m: list(m.state["_modules"].values()),
        "modules are themselves": lambda tree, m: m,
        "modules of odd names": lambda tree, m: {**m.state["_modules"], 7: m, None: m, ESCAPE: m, "a.b": m},
        "modules of text": lambda tree, m: dict.fromkeys(m.state["_modules"], "x"),
        "modules of none": lambda tree, m: dict.fromkeys(m.state["_modules"]),
    },
    in_pickle("G_ema _modules"),
)  # fmt: skip
cases("stylegan2", {"module of an escape": lambda tree, m: {ESCAPE: node()}}, in_pickle("G_ema _modules"))
cases(
    "stylegan3",
    {"resolution huge": HUGE, "resolution nan": float("nan"), "resolution array": np.ones(2)},
    in_pickle("G_ema img_resolution"),
)
cases("stylegan3", {"gain huge": HUGE, "gain bool": True}, in_pickle("G_ema mapping.fc0 bias_gain"))
cases(
    "stylegan3",
    {"bandwidth huge": HUGE, "bandwidth cyclic": lambda tree, m: m},
    in_pickle("G_ema synthesis.input bandwidth"),
)
cases("stylegan3", {"scale huge": HUGE, "scale complex": 1j}, in_pickle("G_ema synthesis output_scale"))
cases(
    "stylegan3",
    {"layers 2**40": 2**40, "layers negative": -1, "layers array": np.arange(3)},
    in_pickle("G_ema synthesis num_layers"),
)
cases(
    "stylegan3",
    {
        f"made with {name}": {
            "conv_kernel": value,
            "first_cutoff": value,
            "use_radial_filters": value,
            "filter_size": value,
            "channel_base": value,
            "lrelu_upsampling": value,
        }
        for name, value in (
            ("huge", HUGE),
            ("array", np.array([1, 2])),
            ("nan", float("nan")),
            ("tensor", torch.ones(2)),
        )
    },
    in_pickle("G_ema _init_kwargs"),
)
cases("fastgan", {"classes 2**40": 2**40, "classes bool": True, "classes negative": -1}, in_pickle("G_ema c_dim"))
cases(
    "fastgan",
    {"resolution 2**40": 2**40, "resolution huge": HUGE, "resolution 0": 0},
    in_pickle("G_ema img_resolution"),
)
R3GAN_KERNEL = "MainLayers.1.Layers.0.Resampler"
cases(
    "r3gan",
    {
        "kernel oblong": lambda tree, m: {"Kernel": torch.ones(4, 3)},
        "kernel of no width": lambda tree, m: {"Kernel": torch.ones(4, 0)},
        "kernel complex": lambda tree, m: {"Kernel": torch.ones(4, 4, dtype=torch.complex64)},
        "kernel of nan": lambda tree, m: {"Kernel": torch.full((4, 4), float("nan"))},
        "kernel 0-d": lambda tree, m: {"Kernel": torch.ones(())},
        "kernel vast": lambda tree, m: {"Kernel": torch.ones(2, 4000)},
    },
    in_pickle(f"G_ema Model.{R3GAN_KERNEL} _parameters"),
)  # fmt: skip


def in_checkpoint(file: str, *keys: str) -> Callable[[Path, Any], str]:
    """Changes a dict in a checkpoint with a function."""

    def change(folder: Path, function: Any) -> str:
        tree = read_any(folder / file)
        state = tree
        for key in keys:
            state = state[key]
        function(state)
        write_checkpoint(tree, folder / file)
        return file

    return change


def added(**named: Any) -> Callable[[Any], None]:
    return lambda state: state.update(named)


ODD_KEYS: dict[str, Any] = {
    "odd keys": lambda state: state.update({3: 4, None: 5, (1, 2): 6, b"x": torch.ones(1), 1.5: torch.ones(1)}),
    "key with an escape": lambda state: state.update({ESCAPE: torch.ones(1)}),
    "long keys": lambda state: state.update({f"{number}{'k' * 10**5}": torch.ones(1) for number in range(30)}),
    "many keys": lambda state: state.update({f"blocks.{number}.x": torch.zeros(()) for number in range(2000)}),
}
for name, file, keys in (
    ("lucidrains", "model_7.pt", ("GAN",)), ("torchgan", "gan.pth", ("generator",)), ("torchgan", "gan.pth", ()),
    ("resnet", "latest_net_G_A.pth", ()), ("unet", "latest_net_G.pth", ()), ("biggan_deep", "pytorch_model.bin", ()),
    ("biggan", of_studiogan.NAME, ("state_dict",)), ("biggan", of_studiogan.NAME, ()),
):  # fmt: skip
    cases(
        name,
        {f"{odd} in {'/'.join(keys) or 'the whole'}": v for odd, v in ODD_KEYS.items()},
        in_checkpoint(file, *keys),
    )
cases(
    "resnet",
    {
        "spectral norms": lambda state: (
            state.update({"model.10.conv_block.1.weight_orig": torch.ones(1)})
            or state.pop("model.10.conv_block.1.weight")
        ),
        "tied weights": lambda state: state.update(
            {"model.11.conv_block.2.running_mean": state["model.10.conv_block.2.running_mean"]}
        ),
        "two formats": lambda state: state.update({"GAN": {"G.x": torch.ones(1)}}),
        "weights of nan": lambda state: state["model.1.weight"].fill_(float("nan")),
        "too large": lambda state: state["model.1.weight"].fill_(3e38),
    },
    in_checkpoint("latest_net_G_A.pth"),
)
cases(
    "torchgan",
    {
        "two formats": added(
            GAN={"G.x": torch.ones(1)}, state_dict={"linear0.weight": torch.ones(1), "blocks.0.0.x": torch.ones(1)}
        ),
        "a generator that is a stand-in": added(G_ema=node()),
        "a generator that holds all": added(G_ema=node(modules={})),
    },
    in_checkpoint("gan.pth"),
)


# JSON and YAML


def text_of(file: str, then: str) -> Callable[[Path, Any], str]:
    def change(folder: Path, value: Any) -> str:
        (folder / file).unlink(missing_ok=True)
        if callable(value):
            value(folder / file)
        else:
            (folder / file).write_bytes(value if isinstance(value, bytes) else value.encode())
        return then

    return change


def model(**own: Any) -> str:
    return json.dumps(of_studiogan.config(**own))


def tagged(text: str) -> str:
    return model(z_dim=12345).replace("12345", text)


DEEP_JSON = '{"a":' * 50_000 + "1" + "}" * 50_000
cases(
    "biggan",
    {
        "yaml aliases": "a: &a [x,x,x,x,x,x,x,x]\n"
        + "".join(f"{c}: &{c} [{','.join(['*' + p] * 8)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)),
        "yaml object": tagged("!!python/object/apply:os.system ['touch CANARY']"),
        "yaml name": tagged("!!python/name:os.system"),
        "yaml of 10 MB": "MODEL: " + "x" * 10**7,
        "yaml binary": bytes(range(256)) * 4,
        "yaml huge": tagged("9" * 5000),
        "yaml deep": "[" * 60_000,
        "yaml negative": tagged("-1"),
        "yaml 2**40": tagged(str(2**40)),
        "yaml infinite": tagged(".inf"),
        "yaml list": "- 1\n- 2",
        "yaml many documents": "---\na: 1\n" * 500,
        "yaml bom": "\ufeff" + model(),
        "yaml utf-16": model().encode("utf-16"),
        "yaml nothing": "",
        "yaml many numbers": model(attn_g_loc=[2] * 10**4),
        "yaml bases": tagged("1" + ":59" * 5000),
        "yaml pipe": os.mkfifo,
        "yaml link": lambda path: path.symlink_to("/etc/passwd"),
        "yaml loop": lambda path: path.symlink_to(path),
        "yaml zeros": lambda path: path.symlink_to("/dev/zero"),
    },
    text_of("config.yaml", of_studiogan.NAME),
)
cases(
    "biggan",
    {f"yaml {tag}": tagged(tag) for tag in ("!!int ''", "!!float ''", "!!bool maybe", "!!timestamp x", "!!set {a}")},
    text_of("config.yaml", of_studiogan.NAME),
)
cases(
    "biggan",
    {
        "yaml hexadecimal": tagged("0x" + "f" * 9000),
        "yaml octal": tagged("0" + "7" * 20_000),
        "yaml binary number": tagged("0b" + "1" * 30_000),
    },
    text_of("config.yaml", of_studiogan.NAME),
)
cases(
    "biggan",
    {
        "yaml escape in a name": model(g_info_injection=ESCAPE),
        "yaml escape in info": model(info_type=ESCAPE),
        "yaml escape in a dataset": json.dumps(
            {**of_studiogan.config(), "DATA": {**of_studiogan.BIGGAN["DATA"], "name": ESCAPE, "num_classes": 7}}
        ),
    },
    text_of("config.yaml", of_studiogan.NAME),
)
cases(
    "lucidrains",
    {
        "config deep": DEEP_JSON,
        "config binary": b"\xff\xfe" * 9,
        "config of 10 MB": " " * 10**7,
        "config list": "[]",
        "config huge": '{"network_capacity": 1' + "0" * 4000 + "}",
        "config digits": '{"lr_mlp": 1' + "0" * 9000 + "}",
        "config rate huge": '{"lr_mlp": 1' + "0" * 400 + "}",
        "config rate nan": '{"lr_mlp": NaN}',
        "config layers": json.dumps({"attn_layers": [10**9] * 9000}),
        "config layers odd": '{"attn_layers": [null, true, "x"]}',
        "config size": '{"image_size": 1e999}',
        "config escape": json.dumps({"image_size": ESCAPE}),
        "config pipe": os.mkfifo,
        "config link": lambda path: path.symlink_to("/etc/passwd"),
    },
    text_of(".config.json", "model_7.pt"),
)
cases(
    "biggan_deep",
    {
        "config layers many": {"layers": [[False, 1, 1]] * 50_000},
        "config layers huge": {"layers": [[True, 2**40, 1]]},
        "config layers bool": {"layers": [[True, True, True]] * 3},
        "config layers text": {"layers": "abc"},
        "config layers nested": {"layers": [[[False], 1, 1]]},
        "config layers none": {"layers": []},
        "config eps huge": {"eps": 10**400},
        "config eps nan": {"eps": float("nan")},
        "config eps text": {"eps": "1"},
        "config width huge": {"channel_width": 10**400},
        "config width bool": {"channel_width": True},
        "config width 0": {"channel_width": 0},
        "config latents 2**40": {"z_dim": 2**40},
        "config classes": {"num_classes": 10**12},
        "config place bool": {"attention_layer_position": True},
        "config place huge": {"attention_layer_position": 10**400},
        "config place text": {"attention_layer_position": "x"},
        "config steps": {"n_stats": 10**9},
        "config size": {"output_dim": [HUGE]},
    },
    in_json("config.json"),
)
cases(
    "biggan_deep",
    {
        "config deep": DEEP_JSON,
        "config binary": b"\xff" * 99,
        "config pipe": os.mkfifo,
        "config link": lambda path: path.symlink_to("/etc/passwd"),
        "config digits": '{"z_dim": 1' + "0" * 9000 + "}",
    },
    text_of("config.json", "."),
)

OWN_CHANGES: dict[str, Any] = {
    "settings huge": lambda about: about["settings"].update(lr_multiplier=10**400),
    "settings nan": lambda about: about["settings"].update(lr_multiplier=float("nan")),
    "settings deep": lambda about: about["settings"].update(resample_filter=[[[1.0]]]),
    "settings taps": lambda about: about["settings"].update(resample_filter=[0.1] * 10**5),
    "settings classes": lambda about: about["settings"].update(c_dim=2**40),
    "architecture of a judge": lambda about: about.update(
        architecture="stylegan2_discriminator", settings=about["discriminator"]["settings"]
    ),
    "architecture path": lambda about: about.update(architecture="../../os.system"),
    "knobs huge": lambda about: about.update(knobs={"layers": 10**400, "truncation": 0.5}),
    "knobs truncation huge": lambda about: about.update(knobs={"truncation": 10**400}),
    "knobs truncation text": lambda about: about.update(knobs={"truncation": {"a": "x"}}),
    "knobs truncation nested": lambda about: about.update(knobs={"truncation": {"a": [1]}}),
    "knobs noise list": lambda about: about.update(knobs={"noise": []}),
    "knobs noise dict": lambda about: about.update(knobs={"noise": {"const": 1}}),
    "classes escape": lambda about: about.update(classes=[ESCAPE, "../../x", "<script>alert(1)</script>"]),
    "classes surrogate": lambda about: about.update(classes=["\ud800", "b", "c"]),
    "classes long": lambda about: about.update(classes=["a" * 10**6, "b", "c"]),
    "classes many": lambda about: about.update(classes=[f"{n}" * 50 for n in range(50_000)]),
    "classes number": lambda about: about.update(classes=7),
    "provenance escape": lambda about: about["provenance"].update(licence=ESCAPE),
    "provenance citation escape": lambda about: about["provenance"].update(citation=ESCAPE),
    "provenance notes": lambda about: about["provenance"].update(notes=[ESCAPE]),
    "provenance notes many": lambda about: about["provenance"].update(notes=["x"] * 10**5),
    "provenance markup": lambda about: about["provenance"].update(licence="[link](http://x) <b>non-commercial</b>"),
    "provenance number": lambda about: about["provenance"].update(licence=10**400),
    "provenance hash": lambda about: about["provenance"].update(sha256=["0"] * 64),
    "parents nested": lambda about: about.update(parents={"a": ["b"]}),
    "parents number": lambda about: about.update(parents=7),
    "size huge": lambda about: about.update(image_size=10**400),
    "size bool": lambda about: about.update(image_size=True),
    "size text": lambda about: about.update(image_size="64"),
    "size nested": lambda about: about.update(image_size=[[64], 64]),
    "size vast": lambda about: about.update(image_size=[2**40, 2**40]),
    "discriminator list": lambda about: about.update(discriminator=[]),
    "discriminator of a generator": lambda about: about.update(
        discriminator={"architecture": about["architecture"], "settings": about["settings"]}
    ),
    "discriminator huge": lambda about: about.update(
        discriminator={"architecture": "stylegan2_discriminator", "settings": {"img_resolution": 10**400}}
    ),
    "fingerprint deep": lambda about: about.update(fingerprint=[[]]),
    "kind list": lambda about: about.update(kind=["x"]),
    "kind escape": lambda about: about.update(kind=ESCAPE),
    "kind of a program": lambda about: about.update(kind="gan_augment program"),
    "version huge": lambda about: about.update(version=10**4000),
    "version escape": lambda about: about.update(version=ESCAPE),
    "version bool": lambda about: about.update(version=True),
}


def in_about(file: str) -> Callable[[Path, Any], str]:
    def change(folder: Path, function: Any) -> str:
        about = json.loads((folder / file).read_text())
        function(about)
        (folder / file).write_text(json.dumps(about))
        return "."

    return change


cases("own", OWN_CHANGES, in_about("pretrained.json"))
cases(
    "own_translator",
    {
        name: change
        for name, change in OWN_CHANGES.items()
        if not name.startswith(("settings", "architecture of", "discriminator"))
    },
    in_about("pretrained.json"),
)
cases(
    "own",
    {
        "digits": '{"kind": 1' + "0" * 9000 + "}",
        "deep": DEEP_JSON,
        "binary": b"\xff\x00" * 50,
        "pipe": os.mkfifo,
        "link": lambda path: path.symlink_to("/etc/passwd"),
        "zeros": lambda path: path.symlink_to("/dev/zero"),
        "folder": lambda path: path.mkdir(),
    },
    text_of("pretrained.json", "."),
)
PROGRAM_OPTIONS: dict[str, Any] = {
    "trust": {"trust": True},
    "module": {"module": "os"},
    "kind": {"kind": "torchscript"},
    "path": {"path": "/etc/passwd"},
    "package": {"package": "os"},
    "config": {"config": "/etc/passwd"},
    "sha256": {"sha256": "0" * 64},
    "memory": {"memory": 2**60},
    "memory text": {"memory": "x"},
    "memory negative": {"memory": -1},
    "threads": {"threads": 10**6},
    "threads huge": {"threads": 10**400},
    "batch": {"batch": 10**9},
    "batch list": {"batch": [1]},
    "latents list": {"latents": ["z"]},
    "latents dict": {"latents": {}},
    "label number": {"label": 7},
    "output list": {"output": [1]},
    "output number": {"output": 0},
    "classes huge": {"num_classes": 10**12},
    "classes text": {"num_classes": "x"},
    "classes nan": {"num_classes": float("nan")},
    "latent_dim huge": {"latent_dim": 10**12},
    "latent_dim list": {"latent_dim": [1, 2]},
    "shape huge": {"image_shape": [10**9, 10**9, 10**9]},
    "shape text": {"image_shape": "abc"},
    "shape number": {"image_shape": 7},
    "shape nan": {"image_shape": [float("nan")] * 3},
    "shape huge number": {"image_shape": [10**400] * 3},
    "shape nested": {"image_shape": [[1], 2, 2]},
    "shape null": {"image_shape": [None, 2, 2]},
    "range text": {"value_range": "ab"},
    "range one": {"value_range": [1]},
    "range number": {"value_range": 7},
    "range nested": {"value_range": [[0], [1]]},
    "range huge": {"value_range": [0, 10**400]},
    "range null": {"value_range": None},
    "labels": {"labels": "onehot"},
    "labels list": {"labels": []},
    "pairs": [[1, 2]],
    "pairs of text": ["ab"],
    "pairs of lists": [[["a"], 1]],
    "escape": {ESCAPE: 1},
    "number": 7,
    "null": None,
    "text": "ab",
    "empty": "",
    "key": {"key": "x"},
    "long": {"k" * 10**6: 1},
}
cases(
    "program",
    {f"option {name}": {"options": value} for name, value in PROGRAM_OPTIONS.items()},
    in_json("program.json"),
)
cases(
    "program",
    {
        "of torchscript": {"program": "torchscript"},
        "of medigan": {"program": "medigan"},
        "of a list": {"program": []},
        "of the folder": {"program": "folder"},
        "of pt2": {"program": "pt2"},
        "file": {"file": "/etc/passwd"},
        "classes escape": {"classes": [ESCAPE, "b", "c", "d"]},
        "classes long": {"classes": ["x" * 10**6] * 2},
        "classes two": {"classes": ["a", "b"]},
        "classes numbers": {"classes": [1, 2, 3, 4]},
        "provenance": {"provenance": None},
        "kind": {"kind": "gan_augment pretrained synthesizer"},
    },
    in_json("program.json"),
)


@case
def program_of_another_hash(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("program", folder)
    (folder / "program.onnx").write_bytes(onnx_bytes(5))
    return ".", {}


@case
def program_that_is_a_link(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("program", folder)
    (folder / "program.onnx").unlink()
    (folder / "program.onnx").symlink_to("/etc/passwd")
    return ".", {}


@case
def onnx_of_vast_latents(folder: Path) -> tuple[str, dict[str, Any]]:
    (folder / "g.onnx").write_bytes(onnx_bytes(2**40))
    return "g.onnx", {"latents": "z"}


@case
def onnx_of_free_latents(folder: Path) -> tuple[str, dict[str, Any]]:
    (folder / "g.onnx").write_bytes(onnx_bytes(free=True))
    return "g.onnx", {"latents": "z", "latent_dim": 10**12}


# folders, names and kinds


@case
def several_descriptions(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("own", folder)
    (folder / "synthesizer.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps(of_biggan.SMALL))
    (folder / "program.json").write_text("{}")
    return ".", {}


@case
def description_of_a_trained_one(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("own", folder)
    (folder / "pretrained.json").rename(folder / "synthesizer.json")
    return ".", {}


def empty_trained(**about: Any) -> Case:
    def write(folder: Path) -> tuple[str, dict[str, Any]]:
        whole = {"kind": "gan_augment synthesizer", "version": 1, **about}
        (folder / "synthesizer.json").write_text(json.dumps(whole))
        return ".", {}

    return write


for number, about in enumerate(
    [
        {},
        {"recipe": {"name": "x"}},
        {"spec": 7},
        {"recipe": [], "classes": {}},
        {"version": 10**400},
        {"version": 2},
        {"version": 3},
    ]
):
    CASES[f"trained {number}"] = empty_trained(**about)


def renamed(base: str, old: str, new: str, **options: Any) -> Case:
    def write(folder: Path) -> tuple[str, dict[str, Any]]:
        valid(base, folder)
        (folder / old).rename(folder / new)
        return new, options

    return write


for suffix in (".onnx", ".pt2", ".safetensors", ".zip", ".pt", ".bin", ".json", ""):
    CASES[f"pickle named {suffix}"] = renamed("stylegan2", "network.pkl", f"x{suffix}")
    CASES[f"checkpoint named {suffix}"] = renamed("torchgan", "gan.pth", f"x{suffix}")
    CASES[f"safetensors named {suffix}"] = renamed("own", "weights.safetensors", f"x{suffix}")
    CASES[f"onnx named {suffix}"] = renamed("program", "program.onnx", f"x{suffix}")
for kind in (
    "network_pickle",
    "lucidrains",
    "studiogan",
    "torchgan",
    "translation",
    "biggan",
    "onnx",
    "pt2",
    "torchscript",
    "medigan",
    "folder",
    "state_dict",
):
    CASES[f"pickle as {kind}"] = renamed("stylegan2", "network.pkl", "x.pkl", kind=kind)
    CASES[f"checkpoint as {kind}"] = renamed("torchgan", "gan.pth", "x.pth", kind=kind)
    CASES[f"state as {kind}"] = renamed("resnet", "latest_net_G_A.pth", "x.pth", kind=kind)
    CASES[f"onnx as {kind}"] = renamed("program", "program.onnx", "x.bin", kind=kind)


def special(make: Callable[[Path], Any], name: str, then: str = "") -> Case:
    def write(folder: Path) -> tuple[str, dict[str, Any]]:
        make(folder / name)
        return then or name, {}

    return write


ENDS = (".pkl", ".pt", ".safetensors", ".onnx", ".pt2", ".zip", "")
for suffix in ENDS:
    CASES[f"pipe {suffix}"] = special(os.mkfifo, f"x{suffix}")
    CASES[f"folder {suffix}"] = special(Path.mkdir, f"x{suffix}")
    CASES[f"zeros {suffix}"] = special(lambda path: path.symlink_to("/dev/zero"), f"x{suffix}")
    CASES[f"passwd {suffix}"] = special(lambda path: path.symlink_to("/etc/passwd"), f"x{suffix}")
    CASES[f"passwd in a folder {suffix}"] = special(lambda path: path.symlink_to("/etc/passwd"), f"x{suffix}", ".")
    CASES[f"loop {suffix}"] = special(lambda path: path.symlink_to(path), f"x{suffix}")
    CASES[f"empty {suffix}"] = special(Path.touch, f"x{suffix}")
    CASES[f"sparse {suffix}"] = special(lambda path: [path.touch(), os.truncate(path, 2**22)], f"x{suffix}")
CASES["socket"] = special(lambda path: os.mknod(path, 0o140600), "x.pkl")
CASES["loop of folders"] = special(lambda path: path.symlink_to("."), "x", ".")


def headed(header: Any, data: bytes = b"\0" * 16) -> Case:
    def write(folder: Path) -> tuple[str, dict[str, Any]]:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        (folder / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
        return "x.safetensors", {}

    return write


for name, header in {
    "vast": {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 16]}},
    "empty and vast": {
        "a": {"dtype": "F32", "shape": [0, 2**60], "data_offsets": [0, 0]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    },
    "overlapping": {c: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for c in "ab"},
    "of many dimensions": {"a": {"dtype": "U8", "shape": [1] * 200 + [16], "data_offsets": [0, 16]}},
    "of fours": {"a": {"dtype": "F4", "shape": [32], "data_offsets": [0, 16]}},
    "of sixes": {"a": {"dtype": "F6_E2M3", "shape": [64], "data_offsets": [0, 48]}},
    "of exponents": {"a": {"dtype": "F8_E8M0", "shape": [16], "data_offsets": [0, 16]}},
    "of unsigned": {"a": {"dtype": "U64", "shape": [2], "data_offsets": [0, 16]}},
    "of complex": {"a": {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]}},
    "of text": {"a": {"dtype": ESCAPE, "shape": [4], "data_offsets": [0, 16]}},
    "of a list": [],
    "of a name": {ESCAPE: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}},
    "of metadata": {
        "__metadata__": {"licence": ESCAPE},
        "model.1.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
    },
    "deep": DEEP_JSON.encode(),
}.items():
    CASES[f"safetensors {name}"] = headed(header)
CASES["safetensors of a long header"] = special(lambda path: path.write_bytes(b"\xff" * 8 + b"{}"), "x.safetensors")


@case
def a_hub_folder_with_code(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("torchgan", folder)
    for name in (
        "modeling.py",
        "__init__.py",
        "setup.py",
        "conftest.py",
        "torch.py",
        "yaml.py",
        "sitecustomize.py",
        "gan.py",
    ):
        (folder / name).write_text(f"open({str(folder / 'CANARY')!r}, 'w')")
    (folder / "config.json").write_text(
        json.dumps({"auto_map": {"AutoModel": "modeling.X"}, "trust_remote_code": True})
    )
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return ".", {}


def carded(text: Any) -> Case:
    def write(folder: Path) -> tuple[str, dict[str, Any]]:
        valid("torchgan", folder)
        if callable(text):
            text(folder / "README.md")
        else:
            (folder / "README.md").write_bytes(text if isinstance(text, bytes) else text.encode())
        return "gan.pth", {}

    return write


for name, text in {
    "escape": f"---\nlicense: {ESCAPE}\n---\n",
    "escape in a link": f"---\nlicense: other\nlicense_link: '{ESCAPE}'\n---\n",
    "object": "---\nlicense: !!python/object/apply:os.system ['touch CANARY']\n---\n",
    "lines": "---\n" + "license: x\n" * 5000 + "---\n",
    "long": "---\nlicense: " + "x" * 60_000 + "\n---\n",
    "controls": "---\nlicense: a\x85b\u2028c\x0bd\u202ee\n---\n",
    "binary": b"---\nlicense: \xff\xfe\x00\n---\n",
    "pipe": os.mkfifo,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "list": "---\nlicense:\n" + "".join(f"- x{number}\n" for number in range(9000)) + "---\n",
    "quotes": "---\nlicense: '" + "'" * 50_000 + "\n---\n",
    "spaces": "---\nlicense:" + " " * 60_000 + "x\n---\n",
    "commercial": "---\nlicense: " + "non-commercial and " * 25 + "\n---\n",
}.items():
    CASES[f"card {name}"] = carded(text)


@case
def names_of_files_with_escapes(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("torchgan", folder)
    shutil.copy(folder / "gan.pth", folder / f"{ESCAPE}.pth")
    return ".", {}


@case
def a_file_named_with_escapes(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("torchgan", folder)
    (folder / "gan.pth").rename(folder / f"{ESCAPE}.pth")
    return f"{ESCAPE}.pth", {}


@case
def a_file_named_in_bytes(folder: Path) -> tuple[str, dict[str, Any]]:
    valid("torchgan", folder)
    (folder / "gan.pth").rename(folder / os.fsdecode(b"\xff\xfe.pth"))
    return os.fsdecode(b"\xff\xfe.pth"), {}


@case
def torchscript_named_pkl(folder: Path) -> tuple[str, dict[str, Any]]:
    with zipfile.ZipFile(folder / "x.pkl", "w") as archive:
        archive.writestr("g/code/__torch__.py", "import os")
        archive.writestr("g/constants.pkl", pickle.dumps(()))
        archive.writestr("g/data.pkl", pickle.dumps({}))
    return "x.pkl", {}


@case
def a_zip_named_pkl(folder: Path) -> tuple[str, dict[str, Any]]:
    with zipfile.ZipFile(folder / "x.pkl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../x", "x" * 10**6)
    return "x.pkl", {}


@case
def a_zip_of_many(folder: Path) -> tuple[str, dict[str, Any]]:
    with zipfile.ZipFile(folder / "x.pt", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"x/{number}", "")
    return "x.pt", {}


# -- the watched process ----------------------------------------------------------------------------------------------

_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.putenv", "subprocess.", "socket.", "exec", "compile",
    "import", "pickle.", "marshal.", "ctypes.", "urllib.", "webbrowser.", "code.", "setopencodehook",
)  # fmt: skip
_CHANGING = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate",
             "shutil.", "tempfile.")  # fmt: skip
_WRITING = 0o3
_QUIET = ("import sre_", "import gan_augment.")
seen: list[str] = []
allowed: list[str] = []
"""The folder that may be written to, while something is watched."""


class LateError(BaseException):
    """It took too long; no handler of errors catches it."""


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not allowed:
        return
    told = f"{event} {args!r:.300}"
    if event == "open" and not (args[2] & _WRITING or set(str(args[1])) & set("wax+")):
        return
    if event == "open" or event.startswith(_CHANGING):
        path = os.fsdecode(args[0]) if isinstance(args[0], str | bytes) else allowed[0]
        if path.startswith(allowed[0]) or (
            not path.startswith("/") and event.startswith("os.")
        ):  # of a folder's handle
            return
    elif not event.startswith(_FORBIDDEN) or (event == "import" and str(args[0]).startswith("gan_augment.")):
        return
    seen.append(told)
    raise PermissionError(f"forbidden: {event}")


def _late(*_: Any) -> None:
    raise LateError("it took too long")


def _tried(what: Callable[[], Any], told: list[str], seconds: float) -> tuple[str, Any]:
    """Returns how it went and what came of it; what was told on the way goes to `told`."""
    out = io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stderr(out):
            warnings.simplefilter("always")
            try:
                return "read", what()
            finally:
                told += [out.getvalue(), *(str(one.message) for one in warned)]
                if odd := [one for one in warned if not issubclass(one.category, UserWarning | GanAugmentError)]:
                    told.append(f"warned: {odd[0].category.__name__}")
    except (ArtifactError, ConfigError) as error:
        told.append(str(error))
        return f"refused: {error}", None
    except SynthesizerError as error:
        return f"no images: {error}", None
    except BaseException as error:
        return f"leaked: {type(error).__name__}: {error!s:.300}", None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _outcome(
    path: Path, options: dict[str, Any], out: Path, seconds: float = SECONDS, *, again: bool = True
) -> dict[str, Any]:
    """Loads, draws and converts (what was refused only where it is to be tried again), and tells how each went."""
    seen.clear()
    told: list[str] = []
    begin = time.perf_counter()
    out.mkdir()
    allowed.append(str(out))
    found: dict[str, Any] = {}
    try:
        found["load"], gan = _tried(lambda: load(path, progress=False, **options), told, seconds)
        if gan is not None:
            found["draw"], _ = _tried(lambda: _drawn(gan), [], seconds)
        made = None
        if gan is not None or again:
            what = functools.partial(convert, path, out / "made", progress=False, **options)
            found["convert"], made = _tried(what, told, seconds)
        if made is not None:
            found["again"], _ = _tried(lambda: load(out / "made", progress=False), told, seconds)
    finally:
        allowed.clear()
    if made is None and any(out.iterdir()):
        found["left"] = [str(file) for file in out.rglob("*")]
    if seen:
        found["forbidden"] = list(seen)
    if any(not (letter.isprintable() or letter in "\n\t") for text in told for letter in text):
        found["unprintable"] = [text for text in told if not text.isprintable()]
    if longest := max(map(len, told), default=0):
        found["longest"] = longest
    shutil.rmtree(out)
    return {**found, "seconds": time.perf_counter() - begin}


def _drawn(gan: Any) -> None:
    if getattr(gan, "needs_parents", False):
        sides = gan.image_size or (64, 64)
        gan.sample([0], [1], conditions={"source": torch.zeros(1, gan.network.source_channels, *sides)})
    else:
        gan.sample([0], [1])


def watched(folder: str, seed: str = "", count: str = "0") -> None:
    """Prints as JSON how it went with each case in a folder, then with changed copies of what is in `valid` of it."""
    torch.set_num_threads(1)
    sys.addaudithook(_watch)
    import resource  # not on Windows

    signal.signal(signal.SIGALRM, _late)
    root = Path(folder)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for path in sorted((root / "valid").iterdir()):  # what is imported at first use is no reader's doing
            gan = load(path, progress=False)
            _drawn(gan)
            convert(path, root / "warm", progress=False)
            shutil.rmtree(root / "warm")
        for name in ("exported", "medigan", "torchscript"):
            importlib.import_module(f"gan_augment.synthesizers.programs.{name}")
        codecs.lookup("cp437")  # of names in archives
        for dtype in _KINDS:
            repr(torch.zeros(2).to(dtype))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (MEBIBYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found = {}
    for number, case in enumerate(sorted((root / "cases").iterdir()) if (root / "cases").is_dir() else []):
        about = json.loads((case / "case.json").read_text())
        found[case.name] = _outcome(
            case / about["path"], about["options"], root / "out", about["seconds"], again=number % 4 == 0
        )
    for number in range(int(count)):
        name, path, done = changed(root, int(seed), number)
        found[f"{number} {name} {done}"] = _outcome(path, {}, root / "out", again=number % 4 == 0)
    print(json.dumps(found))


# -- changing what is valid -------------------------------------------------------------------------------------------

_NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 64, 2**31, 2**40, 2**63, -(2**63), 2**1500, -(2**2000), True, False, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), 1e-320,
]  # fmt: skip
_TEXTS: list[Any] = ["", "x", "N/A", ESCAPE, "a" * 3000, "../../etc/passwd", "\ud800", "0x" + "f" * 9000, "lrelu"]


_KINDS = (
    torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64,
    torch.float8_e4m3fn,
)  # fmt: skip


def _json_value(draw: random.Random) -> Any:
    lists: list[Any] = [[], {}, None, [1], [[1, 2]], {"a": 1}, [None] * 40, {"trust": True}, list(range(20)), [[]] * 9]
    return draw.choice([*_NUMBERS, *_TEXTS[:6], *lists])


def _value(draw: random.Random, root: Any) -> Any:
    """A value that no reader expects."""
    makes: list[Callable[[], Any]] = [
        lambda: draw.choice(_NUMBERS), lambda: draw.choice(_TEXTS[:6]), lambda: _json_value(draw), lambda: root,
        lambda: _tensor(draw, torch.randn(draw.choice([(), (0,), (1,), (3, 4), (2, 0, 5), (4, 4), (1, 1, 3, 3)]))),
        lambda: np.array([1, 2]), lambda: np.float64("nan"), lambda: np.arange(6.0).reshape(2, 3), lambda: b"bytes",
        lambda: np.int64(2**62), node, lambda: Inert("os.system", ("touch CANARY",)),
        lambda: Name("os.system"), lambda: torch.float16, lambda: torch.Size([2**40]), lambda: 1j, lambda: {1, 2},
        lambda: plain_inert("dnnlib.util.EasyDict", items={"z_dim": 2**40, "channel_base": -1}),
        lambda: Inert("collections.Odd", (), {"_modules": root, "_parameters": {}, "_buffers": {}}),
    ]  # fmt: skip
    return draw.choice(makes)()


def _tensor(draw: random.Random, tensor: Tensor) -> Tensor:
    """A tensor like another, with something wrong."""
    flat = tensor.flatten()
    makes: list[Callable[[], Tensor]] = [
        lambda: tensor.to(draw.choice(_KINDS)),
        lambda: tensor[None],
        lambda: flat,
        lambda: flat[:0],
        lambda: flat[:1].reshape(()) if len(flat) else flat,
        lambda: tensor.transpose(0, -1) if tensor.ndim > 1 else flat,
        lambda: tensor[:1] if tensor.ndim else tensor,
        lambda: tensor[:0] if tensor.ndim else tensor,
        lambda: torch.full_like(tensor, draw.choice([0.0, float("nan"), float("inf"), -1e38])),
        lambda: torch.cat([tensor, tensor]) if tensor.ndim else tensor,
        lambda: tensor[..., :1] if tensor.ndim else tensor,
        lambda: torch.zeros(*[0] * max(1, tensor.ndim)),
        lambda: tensor * 1e30,
        lambda: flat.new_zeros(0).reshape(0, 2**20) if tensor.ndim == 2 else tensor.unsqueeze(-1),
    ]
    return draw.choice(makes)()


def _places(tree: Any, most: int = 20_000) -> Iterator[tuple[Any, Any, Any]]:
    """Yields containers, keys and values in them."""
    todo, met = [tree], set()
    while todo and most:
        value = todo.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, Inert):
            todo += [value.args, value.state, value.items, value.elements]
        elif isinstance(value, dict | list):
            for key, below in list(value.items() if isinstance(value, dict) else enumerate(value)):
                most -= 1
                yield value, key, below
                todo.append(below)
        elif isinstance(value, tuple):
            todo += value


def _change(draw: random.Random, tree: Any, value: Callable[[], Any]) -> str:
    """Changes one thing in a tree, and tells what."""
    places = list(_places(tree))
    if draw.random() < 0.6:  # attributes and settings, of which there are fewer
        places = [place for place in places if not isinstance(place[2], Tensor)] or places
    holder, key, old = draw.choice(places)
    kind = draw.choice(["set", "set", "set", "drop", "name", "swap", "tensor"])
    if isinstance(old, Tensor) and draw.random() < 0.7:
        holder[key] = _tensor(draw, old)
    elif kind == "drop":
        del holder[key]
    elif kind == "name" and isinstance(holder, dict):
        texts = [f"module.{key}", f"{key}_orig", f"{key}.{key}", str(key)[:-1], "weight", ESCAPE, 7, None]
        holder[draw.choice(texts)] = holder.pop(key) if draw.random() < 0.6 else old
    elif kind == "swap":
        other, there, _ = draw.choice(places)
        holder[key] = other[there] if there in other or isinstance(other, list) else old
    else:
        holder[key] = value()
    return f"{kind} {key!r:.60}"


def changed(root: Path, seed: int, number: int) -> tuple[str, Path, str]:
    """Writes a changed copy of something valid; returns what it was, where it is, and what was done to it."""
    draw = random.Random(f"{seed} {number}")
    torch.manual_seed(number)
    source = draw.choice(sorted((root / "valid").iterdir()))
    path = root / "changed"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, path)
    done: list[str] = []
    files = sorted(path.iterdir())
    file = draw.choice(files)
    times = draw.choice([1, 1, 2, 3])
    with contextlib.suppress(Exception):  # a change that cannot be written is none
        if file.suffix in (".json", ".yaml"):
            tree = json.loads(file.read_text())
            done = [_change(draw, tree, lambda: _json_value(draw)) for _ in range(times)]
            _write_text(draw, tree, file)
        elif file.suffix == ".safetensors":
            done = [_change_safetensors(draw, file)]
        elif file.suffix != ".onnx":
            tree = read_any(file)
            done = [_change(draw, tree, lambda: _value(draw, tree)) for _ in range(times)]
            (write_pickle if file.suffix == ".pkl" else write_checkpoint)(tree, file)
    if draw.random() < 0.05:
        suffix = draw.choice([".pt", ".pkl", ".pth", ".safetensors", ".onnx", ".pt2", ".bin", ".ckpt"])
        file.rename(file.with_suffix(suffix))
        done.append(f"renamed {suffix}")
    return source.name, path, "; ".join(done)


def _write_text(draw: random.Random, tree: Any, file: Path) -> None:
    text = json.dumps(tree)
    if file.suffix == ".yaml" and draw.random() < 0.2:
        tags = ["!!int ''", "!!float ''", "!!bool maybe", "!!timestamp x", "!!python/object:os.system {}", "!!binary x",
                "!!set {a}", "!!omap [a]", "!!pairs [a]", "&a [*a]", "0x" + "f" * 9000, "1:1:1:1", "2001-13-45",
                "!!null x", "? [a]", "<<: 3"]  # fmt: skip
        text = text.replace(": 20", ": " + draw.choice(tags), 1)
    file.write_text(text)


def _change_safetensors(draw: random.Random, file: Path) -> str:
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    done = _change(draw, header, lambda: draw.choice([_json_value(draw), "F8_E4M3", "BOOL", "F4", "F64", "I64"]))
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return f"header {done}"


MOST_TOLD = 4000


"""What fails, and why; a case that is mended is to be taken out."""

_LONG = "modules (wide|deep|of long names)|sparse|many keys|classes many|layers many|many numbers|nested|zip_of"
FAST = [name for name in CASES if not re.search(rf" named | as |^(passwd|loop|folder|empty) |{_LONG}", name)]
"""Those of the default run; the others take longer, or are of many suffixes and kinds."""


# -- tests ------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory, pipes, /proc")


def ran(root: Path, *arguments: str) -> dict[str, Any]:
    """Returns what the watched process tells, which must live to tell it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.synthesizers.files.test_hostile", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    assert not list(root.rglob(CANARY))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def base_files(root: Path, names: Any) -> None:
    for name in names:
        (root / "valid" / name).mkdir(parents=True)
        valid(name, root / "valid" / name)


def written_cases(root: Path, names: Any) -> None:
    for name in names:
        folder = root / "cases" / name.replace("/", "|")
        folder.mkdir(parents=True)
        path, options = CASES[name](folder)
        about = {"path": path, "options": options, "seconds": SECONDS}
        (folder / "case.json").write_text(json.dumps(about))


def faults(found: dict[str, Any]) -> list[str]:
    """Returns what went wrong: anything but a synthesizer, or a refusal that a terminal can show."""
    wrong = [
        f"{step} {found[step]}" for step in ("load", "draw", "convert") if found.get(step, "").startswith("leaked")
    ]
    if found.get("again", "read") != "read":
        wrong.append(f"again {found['again']}")
    if found["load"] == "read" != found["convert"]:
        wrong.append(f"convert {found['convert']}")
    wrong += [f"{what} {found[what]}" for what in ("left", "forbidden", "unprintable") if what in found]
    if found.get("longest", 0) > MOST_TOLD:
        wrong.append(f"a message of {found['longest']} characters")
    return wrong


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, Any]]:
    """Returns what became of the cases of the default run, or of the others; each run once."""

    @functools.cache
    def outcomes_of(fast: bool) -> dict[str, Any]:
        root = tmp_path_factory.mktemp("hostile")
        base_files(root, VALID)
        written_cases(root, [name for name in CASES if (name in FAST) == fast])
        found = ran(root)
        shutil.rmtree(root)
        return found

    return outcomes_of


@pytest.mark.parametrize("name", [name for name in CASES if name in FAST])
def test_hostile_files(name: str, outcomes: Any) -> None:
    assert faults(outcomes(True)[name.replace("/", "|")]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in FAST])
def test_further_hostile_files(name: str, outcomes: Any) -> None:
    assert faults(outcomes(False)[name.replace("/", "|")]) == []


def test_valid_files_are_read(outcomes: Any, tmp_path: Path) -> None:
    """What hostile files are made of is read: else they would be refused for nothing."""
    for name in VALID:
        (tmp_path / name).mkdir()
        valid(name, tmp_path / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _drawn(load(tmp_path / name, progress=False))
    counted = [found["load"] == "read" for found in outcomes(True).values()]
    assert 20 < sum(counted) < len(counted) / 2


def test_the_watch_sees_what_runs(tmp_path: Path) -> None:
    """A process that runs what it reads is told of."""
    text = (
        "import os, sys; from tests.synthesizers.files import test_hostile as t; sys.addaudithook(t._watch);"
        "import signal; signal.signal(signal.SIGALRM, t._late); import pathlib, subprocess, socket;"
        f"out = pathlib.Path({str(tmp_path)!r});"
        "acts = [lambda: os.system('true'), lambda: exec('1'), lambda: open(out / 'x', 'w'),"
        " lambda: os.mkdir(out / 'y'), lambda: subprocess.run(['true']), lambda: __import__('antigravity'),"
        " lambda: socket.socket()];\n"
        "for number, act in enumerate(acts):\n"
        "    t.load = lambda *a, **k: act(); t.convert = t.load\n"
        "    found = t._outcome(out, {}, out / 'out')\n"
        "    assert found['forbidden'] and t.faults(found), (number, found)\n"
        "t.load = lambda *a, **k: __import__('time').sleep(9)\n"
        "assert 'too long' in str(t.faults(t._outcome(out, {}, out / 'out', 0.1)))\n"
        "class Raw(t.ConfigError):\n"
        "    __str__ = Exception.__str__\n"
        "def convert(path, made, **k): made.mkdir(); raise Raw('\\x1b')\n"
        "t.load = lambda *a, **k: 3; t.convert = convert; t._drawn = print\n"
        "found = t._outcome(out, {}, out / 'out')\n"
        "assert {'left', 'unprintable'} <= set(found), found\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def fuzzed(root: Path, seed: int, count: int) -> None:
    base_files(root, VALID)
    found = ran(root, str(seed), str(count))
    wrong = {name: told for name, one in found.items() if (told := faults(one))}
    assert wrong == {}
    assert len(found) == count
    read = sum(one["load"] == "read" for one in found.values())
    assert 0.1 * count < read < 0.5 * count  # else changes change nothing, or all are refused for one reason


def test_changed_files(tmp_path: Path) -> None:
    fuzzed(tmp_path, 10, 60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_changed_files(seed: int, tmp_path: Path) -> None:
    fuzzed(tmp_path, seed, 3000)


NAMES = [ESCAPE, "../../evil", "<script>alert(1)</script>\u202e"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool drawn by a synthesizer whose folder tells hostile names, written out in every way."""
    root = tmp_path_factory.mktemp("names")
    (root / "gan").mkdir()
    valid("own", root / "gan")
    about = json.loads((root / "gan" / "pretrained.json").read_text())
    about["classes"] = NAMES
    about["provenance"] |= {"licence": "<b>x</b>](http://evil)", "citation": "<script>cite</script>"}
    (root / "gan" / "pretrained.json").write_text(json.dumps(about))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gan, train = load(root / "gan"), Pictures((6, 5, 4), channels=1, size=16, classes=NAMES)
        pool = ga.SyntheticPool.build(
            gan, train, selector=None, counts=dict.fromkeys(NAMES, 2), reserve=1, out=root / "pool", progress=False
        )
        write_report(root / "report.html", train=train, pool=pool, progress=False)
        pool.export(root / "folder", "folder", progress=False)
        pool.export(root / "tar", "webdataset", progress=False)
    return root


def test_hostile_names_of_classes_in_what_is_written(exported: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == ["folder", "gan", "pool", "report.html", "tar"]
    for path in exported.rglob("*"):
        assert path.name.isprintable(), path
        assert ".." not in path.name.split("/"), path
    page = (exported / "report.html").read_text()
    assert "<script" not in page
    assert all(letter.isprintable() or letter == "\n" for letter in page)
    for card in exported.rglob("README.md"):
        assert all(letter.isprintable() or letter == "\n" for letter in card.read_text())


def test_hostile_licences_in_cards(exported: Path) -> None:
    for card in exported.rglob("README.md"):
        plain = [line for line in card.read_text().splitlines() if not line.startswith(("{", "license"))]
        text = re.sub(r"`[^`]*`", "", "\n".join(plain))
        assert "<script>" not in text
        assert "](http" not in text


@pytest.mark.parametrize("option", [{"memory": 2**60}, {"threads": 1}], ids=lambda option: next(iter(option)))
def test_a_folder_does_not_lift_its_own_limits(option: dict[str, Any], tmp_path: Path) -> None:
    """What bounds memory and threads is the user's to say, not the file's."""
    valid("program", tmp_path)
    about = json.loads((tmp_path / "program.json").read_text())
    (tmp_path / "program.json").write_text(json.dumps({**about, "options": {**about["options"], **option}}))
    with pytest.raises(ArtifactError):
        read_program(tmp_path)


if __name__ == "__main__":
    watched(*sys.argv[1:])
