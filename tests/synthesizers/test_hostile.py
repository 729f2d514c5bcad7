"""load and convert, end to end, on files whose content is hostile: refused or read, never run, and nothing left behind.

What the readers of pickles, archives and programs refuse for themselves is in `readers/hostile.py` and `programs/`. Here
files are well-formed, and what they describe is not what a reader expects. All are opened in one process of its own,
under a limit of memory and of time, where whatever a reader must not do is noted and forbidden.
"""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_augment.artifacts import load_state, write_json
from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.networks.published import unfilled
from gan_augment.networks.published.lucidrains import LucidrainsSettings
from gan_augment.synthesizers import convert, load
from gan_augment.synthesizers.readers import biggan
from gan_augment.synthesizers.readers.archive import read_any
from gan_augment.synthesizers.readers.inert import Inert, Name
from gan_augment.synthesizers.stored import store
from tests.networks.published.test_translators import reference as translating
from tests.synthesizers import released
from tests.synthesizers.readers import test_biggan as of_biggan
from tests.synthesizers.readers import test_network_pickle as of_stylegan2
from tests.synthesizers.readers import test_network_pickle_fastgan as of_fastgan
from tests.synthesizers.readers import test_network_pickle_r3gan as of_r3gan
from tests.synthesizers.readers import test_network_pickle_stylegan3 as of_stylegan3
from tests.synthesizers.readers import test_studiogan as of_studiogan

MEBIBYTES, SECONDS = 1024, 20
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
            origin, state = "torch_utils.persistence._reconstruct_persistent_obj", None
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
    with open(path, "wb") as file:
        Pickler(file, 4).dump(tree)


def write_checkpoint(tree: Any, path: Path) -> None:
    torch.save(tree, path, pickle_module=types.SimpleNamespace(Pickler=Pickler))


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
        if path.startswith(allowed[0]) or (not path.startswith("/") and event.startswith("os.")):  # of a folder's handle
            return
    elif not event.startswith(_FORBIDDEN) or (event == "import" and str(args[0]).startswith("gan_augment.")):
        return
    seen.append(told)
    raise PermissionError(f"forbidden: {event}")


def _late(*_: Any) -> None:
    raise LateError(f"took more than {SECONDS} seconds")


def _tried(what: Callable[[], Any], told: list[str]) -> tuple[str, Any]:
    """Returns how it went and what came of it; what was told on the way goes to `told`."""
    out = io.StringIO()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
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
        if os.environ.get("SHOW"):
            import traceback

            traceback.print_exc()
        return f"leaked: {type(error).__name__}: {error!s:.300}", None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _outcome(path: Path, options: dict[str, Any], out: Path) -> dict[str, Any]:
    """Loads, draws and converts, and tells of each how it went."""
    seen.clear()
    told: list[str] = []
    out.mkdir()
    allowed.append(str(out))
    found: dict[str, Any] = {}
    try:
        found["load"], gan = _tried(lambda: load(path, progress=False, **options), told)
        if gan is not None:
            found["draw"], _ = _tried(lambda: _drawn(gan), [])
        found["convert"], made = _tried(lambda: convert(path, out / "made", progress=False, **options), told)
        if made is not None:
            found["again"], _ = _tried(lambda: load(out / "made", progress=False), told)
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
    return found


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
    signal.signal(signal.SIGALRM, _late)
    root = Path(folder)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for path in sorted((root / "valid").iterdir()):  # what is imported at first use is no reader's doing
            load(path, progress=False)
            convert(path, root / "warm", progress=False)
            shutil.rmtree(root / "warm")
        for name in ("network.pkl", "nothing.safetensors"):
            with contextlib.suppress(ArtifactError):
                load(root / name, module=nn.Linear(1, 1), num_classes=1, latent_dim=1, progress=False)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (MEBIBYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found = {}
    for case in sorted((root / "cases").iterdir()) if (root / "cases").is_dir() else []:
        about = json.loads((case / "case.json").read_text())
        found[case.name] = _outcome(case / about["path"], about["options"], root / "out")
    for number in range(int(count)):
        name, path, done = changed(root, int(seed), number)
        found[f"{number} {name} {done}"] = _outcome(path, {}, root / "out")
    print(json.dumps(found))


# -- changing what is valid -------------------------------------------------------------------------------------------

_NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 64, 2**31, 2**40, 2**63, -(2**63), 2**1500, -(2**2000), True, False, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), 1e-320,
]  # fmt: skip
_TEXTS: list[Any] = ["", "x", "N/A", ESCAPE, "a" * 3000, "../../etc/passwd", "\ud800", "0x" + "f" * 9000, "lrelu"]


def _json_value(draw: random.Random) -> Any:
    lists: list[Any] = [[], {}, None, [1], [[1, 2]], {"a": 1}, [None] * 40, {"trust": True}, list(range(20)), [[]] * 9]
    return draw.choice([*_NUMBERS, *_TEXTS[:6], *lists])


def _value(draw: random.Random, root: Any) -> Any:
    """A value that no reader expects."""
    makes: list[Callable[[], Any]] = [
        lambda: draw.choice(_NUMBERS), lambda: draw.choice(_TEXTS[:6]), lambda: _json_value(draw), lambda: root,
        lambda: _tensor(draw, torch.randn(draw.choice([(), (0,), (1,), (3, 4), (2, 0, 5), (4, 4), (1, 1, 3, 3)]))),
        lambda: np.array([1, 2]), lambda: np.float64("nan"), lambda: np.arange(6.0).reshape(2, 3), lambda: b"bytes",
        lambda: np.int64(2**62), lambda: node(), lambda: Inert("os.system", ("touch /tmp/attack/canary",)),
        lambda: Name("os.system"), lambda: torch.float16, lambda: torch.Size([2**40]), lambda: 1j, lambda: {1, 2},
        lambda: plain_inert("dnnlib.util.EasyDict", items={"z_dim": 2**40, "channel_base": -1}),
        lambda: Inert("collections.Odd", (), {"_modules": root, "_parameters": {}, "_buffers": {}}),
    ]  # fmt: skip
    return draw.choice(makes)()


def _tensor(draw: random.Random, tensor: Tensor) -> Tensor:
    """A tensor like another, with something wrong."""
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64,
             torch.float8_e4m3fn)  # fmt: skip
    flat = tensor.flatten()
    makes: list[Callable[[], Tensor]] = [
        lambda: tensor.to(draw.choice(kinds)), lambda: tensor[None], lambda: flat, lambda: flat[:0],
        lambda: flat[:1].reshape(()) if len(flat) else flat, lambda: tensor.transpose(0, -1) if tensor.ndim > 1 else flat,
        lambda: tensor[:1] if tensor.ndim else tensor, lambda: tensor[:0] if tensor.ndim else tensor,
        lambda: torch.full_like(tensor, draw.choice([0.0, float("nan"), float("inf"), -1e38])),
        lambda: torch.cat([tensor, tensor]) if tensor.ndim else tensor, lambda: tensor[..., :1] if tensor.ndim else tensor,
        lambda: torch.zeros(*[0] * max(1, tensor.ndim)), lambda: tensor * 1e30,
        lambda: flat.new_zeros(0).reshape(0, 2**20) if tensor.ndim == 2 else tensor.unsqueeze(-1),
    ]  # fmt: skip
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
    done = []
    files = sorted(path.iterdir())
    file = draw.choice(files)
    for _ in range(draw.choice([1, 1, 2, 3])):
        with contextlib.suppress(KeyError, IndexError, TypeError):
            if file.suffix in (".json", ".yaml"):
                tree = json.loads(file.read_text())
                done.append(_change(draw, tree, lambda: _json_value(draw)))
                _write_text(draw, tree, file)
            elif file.suffix == ".safetensors":
                done.append(_change_safetensors(draw, file))
            elif file.suffix != ".onnx":
                tree = read_any(file)
                done.append(_change(draw, tree, lambda tree=tree: _value(draw, tree)))
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


if __name__ == "__main__":
    watched(*sys.argv[1:])
