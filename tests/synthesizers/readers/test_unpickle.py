"""Plain pickles: what comes out of good ones, and that nothing comes of bad ones."""

import argparse
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers import limits, opcodes
from gan_augment.synthesizers.readers.archive import globals_of, read_any
from gan_augment.synthesizers.readers.unpickle import Inert, module_tensors, read_pickle
from tests.synthesizers.readers import hostile

PROTOCOLS = range(6)


def read(data: bytes, folder: Path) -> Any:
    path = folder / "file.pkl"
    path.write_bytes(data)
    return read_pickle(path)


def assert_same_tensors(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor, other[name]), name


class Colour:
    """A class that nobody else knows."""

    made = 0

    def __init__(self) -> None:
        Colour.made += 1
        self.red = 1

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("it ran")


class Slotted:
    __slots__ = ("value",)


class Table(dict[str, int]):
    pass


class Sequence(list[int]):
    pass


PLAIN: list[Any] = [
    None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**100), 0.0, -0.5, 1e300,
    float("inf"), "", "text", "ä\n\\u0041 \u20ac \U0001f600 'quoted\"", b"", b"\x00\xff bytes", 1 + 2j, (), (1,),
    (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2, [3]]], {}, {"a": 1, 2: "b", None: 3, (1, 2): 4, 1.5: b"x"}, set(),
    {1, "a"}, frozenset(), frozenset([1, 2]), collections.OrderedDict(b=1, a=2), collections.OrderedDict(),
    bytearray(b"ab"), bytearray(), list(range(3000)), "x" * 70_000, b"x" * 70_000, {str(i): i for i in range(2000)},
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_the_standard_unpickler_reads(protocol: int, tmp_path: Path) -> None:
    found = read(pickle.dumps(PLAIN, protocol), tmp_path)
    assert found == PLAIN
    assert [type(value) for value in found] == [type(value) for value in PLAIN]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_values_stay_shared(protocol: int, tmp_path: Path) -> None:
    shared: list[int] = [1]
    found = read(pickle.dumps([shared, shared, {"a": shared}], protocol), tmp_path)
    assert found[0] is found[1] is found[2]["a"]


ARRAYS = [
    np.arange(6).astype(dtype).reshape(2, 3)
    for dtype in ("u1", "i1", "<i2", ">i4", "i8", "u8", "f2", ">f4", "f8", "c8", "c16", "?")
] + [
    np.arange(6.0).reshape(2, 3).T, np.array(3.5), np.zeros((0, 3)), np.array(["ab", "ä€"]), np.array([b"a", b"bc"]),
    np.array(["x"], dtype=">U3"),
]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_arrays(protocol: int, array: np.ndarray[Any, Any], tmp_path: Path) -> None:
    one, again, kind = read(pickle.dumps((array, array, array.dtype), protocol), tmp_path)
    assert one is again
    assert one.dtype == kind == array.dtype
    assert one.flags.f_contiguous == array.flags.f_contiguous
    np.testing.assert_array_equal(one, array)
    one.reshape(-1)[:1] = one.reshape(-1)[-1:]  # it can be written to


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_numbers(protocol: int, tmp_path: Path) -> None:
    values = [
        np.float32(1.5),
        np.int64(-3),
        np.bool_(True),
        np.float16(2),
        np.complex64(1j),
        np.str_("ä"),
        np.bytes_(b"x"),
    ]
    found = read(pickle.dumps(values, protocol), tmp_path)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_pickles_of_python_2_and_old_numpy(tmp_path: Path) -> None:
    """Names, types and text as Python 2 wrote them."""
    array = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
        b"U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
    ) + np.array([1.5, -2], "<f4").tobytes() + b"tb."  # fmt: skip
    np.testing.assert_array_equal(read(array, tmp_path), np.array([1.5, -2], "f4"))
    assert read(b"c__builtin__\nset\n((lp0\nI1\naI01\natR.", tmp_path) == {1}
    assert read(
        b"ccopy_reg\n_reconstructor\n(cold\nThing\nc__builtin__\nobject\nNtR(dS'a'\nI1\nsb.", tmp_path
    ).state == {"a": 1}
    assert read(b"\x80\x02U\x03a\xe4bT\x01\x00\x00\x00x\x86.", tmp_path) == ("aäb", "x")
    assert read(b"(L3L\nI00\nF0.5\nS'a\\n\"'\nVa\\u00e4\nl.", tmp_path) == [3, False, 0.5, 'a\n"', "aä"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects_and_fields_stay_inert(protocol: int, tmp_path: Path) -> None:
    objects, fields = np.array([Colour(), None, 3], dtype=object), np.zeros(2, dtype=[("a", "f4"), ("b", "O")])
    found, other, kind = read(pickle.dumps((objects, fields, fields.dtype), protocol), tmp_path)
    assert isinstance(found, Inert)
    assert found.origin == "numpy.ndarray"
    assert found.elements[0].origin.endswith("Colour")
    assert found.elements[1:] == [None, 3]
    assert isinstance(other, Inert)
    assert isinstance(kind, Inert)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_classes_become_inert(protocol: int, tmp_path: Path) -> None:
    made = Colour.made + 1
    table, sequence = Table(a=1), Sequence([1, 2])
    table.extra = sequence.extra = 3  # type: ignore[attr-defined]
    values = [Colour(), argparse.Namespace(batch=8), table, sequence, Path("/a/b"), nn.functional.relu, Colour, print]
    colour, options, table_, sequence_, path, *names = read(pickle.dumps(values, protocol), tmp_path)
    assert Colour.made == made
    assert (colour.origin, colour.state) == (f"{__name__}.Colour", {"red": 1})
    assert (options.origin, options.state) == ("argparse.Namespace", {"batch": 8})
    assert (table_.items, table_.state) == ({"a": 1}, {"extra": 3})
    assert (sequence_.elements, sequence_.state) == ([1, 2], {"extra": 3})
    assert path.origin.startswith("pathlib")
    assert [name.origin for name in names] == ["torch.nn.functional.relu", f"{__name__}.Colour", "builtins.print"]
    assert repr(colour) == f"<Inert {__name__}.Colour>"
    assert {colour: 1, names[0]: 2}[colour] == 1


def test_slots_and_keyword_arguments(tmp_path: Path) -> None:
    thing = Slotted()
    thing.value = 3  # type: ignore[attr-defined]
    assert read(pickle.dumps(thing), tmp_path).state == (None, {"value": 3})
    found = read(
        hostile.whole(hostile.named("a", "b") + b"K\x01\x85}X\x01\x00\x00\x00cK\x02s\x92", protocol=4), tmp_path
    )
    assert (found.origin, found.args) == ("a.b", ((1,), {"c": 2}))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_cycles_by_way_of_objects_are_kept(protocol: int, tmp_path: Path) -> None:
    one = Colour()
    one.red = [one]  # type: ignore[assignment]
    found = read(pickle.dumps(one, protocol), tmp_path)
    assert found.state["red"][0] is found


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer("filter", torch.arange(4.0).outer(torch.ones(4)))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("missing", None)
        self.register_parameter("none", None)
        self.scale = nn.Parameter(torch.randn(3).double())
        self.same = self.conv


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Sequential(Block(), nn.Linear(2, 2, bias=False)), "b": Block().half()})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_state_dict_of_a_pickled_module(protocol: int, network: nn.Module, tmp_path: Path) -> None:
    network.a[0].conv.weight.requires_grad_(False)  # type: ignore[union-attr, index]
    found = read(pickle.dumps({"net": network, "tensor": torch.arange(6.0).reshape(2, 3).t()}, protocol), tmp_path)
    assert_same_tensors(module_tensors(found["net"]), network.state_dict())
    assert torch.equal(found["tensor"], torch.arange(6.0).reshape(2, 3).t())
    assert found["tensor"].stride() == (1, 3)
    assert not any(tensor.requires_grad for tensor in module_tensors(found["net"]).values())


def test_a_module_that_contains_itself_is_refused(network: nn.Module, tmp_path: Path) -> None:
    found = read(pickle.dumps(network), tmp_path)
    found.state["_modules"]["a"].state["_modules"]["0"] = found
    with pytest.raises(ArtifactError, match="contains itself"):
        module_tensors(found)
    deep = Inert("leaf", state={"_parameters": {}, "_buffers": {}, "_modules": {}})
    for _ in range(60):  # 2**60 names
        deep = Inert("node", state={"_parameters": {}, "_buffers": {}, "_modules": {"a": deep, "b": deep}})
    with pytest.raises(ArtifactError, match="at most 100000 parts"):
        module_tensors(deep)
    for other in (Inert("a.b"), Inert("a.b", state={"_parameters": {}}), Inert("a", state={"_parameters": {1: 2}}), 3):
        with pytest.raises(ArtifactError, match="expected a pickled module"):
            module_tensors(other)  # type: ignore[arg-type]


class FakeNvlabs:
    """Modules with the names that NVlabs' network pickles have, with the same structure, for a while."""

    def __init__(self) -> None:
        self.source_ran = 0
        persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
        fake = self

        class EasyDict(dict):  # type: ignore[type-arg]
            def __getattr__(self, name: str) -> Any:
                try:
                    return self[name]
                except KeyError:
                    raise AttributeError(name) from None

            def __setattr__(self, name: str, value: Any) -> None:
                self[name] = value

        def _reconstruct_persistent_obj(meta: Any) -> Any:
            fake.source_ran += 1
            raise AssertionError("source of a pickle would have run")

        EasyDict.__module__, EasyDict.__qualname__ = "dnnlib.util", "EasyDict"
        _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
        _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
        util.EasyDict, self.easy_dict = EasyDict, EasyDict  # type: ignore[attr-defined]
        persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
        self.reconstruct = _reconstruct_persistent_obj
        self.modules = {
            "torch_utils": types.ModuleType("torch_utils"), "torch_utils.persistence": persistence,
            "dnnlib": types.ModuleType("dnnlib"), "dnnlib.util": util,
        }  # fmt: skip

    def persistent(self, kind: type) -> type:
        """A subclass that is pickled as NVlabs' decorator has it."""

        def reduce(obj: Any) -> Any:
            state = obj.__dict__.copy()
            meta = {"type": "class", "version": 6, "module_src": "raise SystemExit('ran')", "class_name": kind.__name__,
                    "state": state}  # fmt: skip
            return self.reconstruct, (meta,), None

        return type(kind.__name__, (kind,), {"__reduce__": reduce, "_init_args": (), "_init_kwargs": {}})


@pytest.fixture
def nvlabs() -> Iterator[FakeNvlabs]:
    fake = FakeNvlabs()
    before = {name: sys.modules.get(name) for name in fake.modules}
    sys.modules.update(fake.modules)
    yield fake
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


def test_a_network_pickle_as_nvlabs_writes_them(nvlabs: FakeNvlabs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    kind, block = nvlabs.persistent(nn.Sequential), nvlabs.persistent(Block)
    networks = {name: kind(block(), nn.Linear(3, 3), block()) for name in ("G", "D", "G_ema")}
    for network in networks.values():
        network._init_args, network._init_kwargs = (512,), nvlabs.easy_dict(c_dim=3, mapping=nvlabs.easy_dict(layers=8))
    options = nvlabs.easy_dict(
        class_name="training.dataset.ImageFolderDataset", path="x.zip", use_labels=True, xflip=False
    )
    data = pickle.dumps({"training_set_kwargs": dict(options), "easy": options, "augment_pipe": None, **networks})
    assert b"_load_from_bytes" in data
    assert b"raise SystemExit" in data
    found = read(data, tmp_path)
    assert nvlabs.source_ran == 0
    assert found["training_set_kwargs"] == found["easy"] == dict(options)
    assert type(found["easy"]) is dict
    for name, network in networks.items():
        assert found[name].origin == "persistent:Sequential"
        assert found[name].state["_init_kwargs"] == {"c_dim": 3, "mapping": {"layers": 8}}
        assert found[name].args[0]["module_src"] == "raise SystemExit('ran')"
        assert_same_tensors(module_tensors(found[name]), network.state_dict())


def test_the_names_in_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps([torch.ones(1), os.system, {"a": Colour()}]))
    assert globals_of(path) == sorted([
        "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.storage._load_from_bytes",
        "torch.FloatStorage", "posix.system" if os.name == "posix" else "nt.system", f"{__name__}.Colour",
    ])  # fmt: skip


def test_a_pickle_cannot_leave_anything_for_the_next(tmp_path: Path) -> None:
    """State set on what the allow list makes, or on names of it, is neither kept nor seen later."""
    ordered = hostile.called("collections", "OrderedDict") + b"}" + hostile.text("items") + b"Nsb"
    found = read(hostile.whole(ordered), tmp_path)
    assert type(found) is collections.OrderedDict
    assert vars(found) == {}
    assert list(found.items()) == []
    for module, name in [("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("builtins", "set")]:
        with pytest.raises(ArtifactError):
            read(
                hostile.whole(hostile.named(module, name) + b"}" + hostile.text("origin") + hostile.text("x") + b"sb"),
                tmp_path,
            )
    same = hostile.whole(hostile.named("a", "b") + b"q\x00)R(" + hostile.text("x") + b"K\x01dbh\x00)R\x86")
    one, other = read(same, tmp_path)
    assert (one.state, other.state) == ({"x": 1}, None)


@pytest.mark.parametrize("name", ["folder", "missing", "empty", "nul"])
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    path = {"folder": tmp_path, "missing": tmp_path / "x", "empty": tmp_path / "e", "nul": f"{tmp_path}/a\0b"}[name]
    (tmp_path / "e").touch()
    with pytest.raises(ArtifactError, match="expected"):
        read_pickle(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.timeout(20)
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero"), Path("/dev/stdin")):
        with pytest.raises(ArtifactError, match="expected"):
            read_pickle(path)


def test_files_with_holes_are_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    for size, start in [(100 * 2**30, b"\x80\x04N."), (2**33, b""), (100 * 2**30, b"PK\3\4")]:
        path.write_bytes(start)
        with open(path, "r+b") as file:
            file.truncate(size)
        with pytest.raises(ArtifactError, match="expected"):
            read_any(path)


def test_too_many_steps_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "_MOST_STEPS", 1000)
    assert read(b"(" + b"N" * 900 + b"l.", tmp_path) == [None] * 900
    for data in hostile.endless().values():
        with pytest.raises(ArtifactError, match="at most 1000 steps"):
            read(data, tmp_path)


def test_every_error_is_an_artifact_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for error in (
        MemoryError,
        RecursionError,
        OverflowError,
        AttributeError,
        IndexError,
        OSError,
        RuntimeError,
        KeyError,
    ):

        def fail(*args: Any, error: type[Exception] = error) -> None:
            raise error("x")

        monkeypatch.setitem(opcodes._OPERATIONS, b"N", fail)
        with pytest.raises(ArtifactError, match="expected"):
            read(b"N.", tmp_path)


def _good() -> dict[str, bytes]:
    """Files whose damaged copies are tried."""
    torch.manual_seed(0)
    state = {"state": nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).state_dict(), "step": 3, "names": ["a", "b"]}
    whole = {"net": nn.Conv2d(1, 2, 3), "array": np.arange(4.0), "number": np.float32(1), "set": {1, 2}, "z": 1j}
    made = {f"pickle{protocol}": pickle.dumps(whole, protocol) for protocol in (0, 2, 4, 5)}
    for name, new in (("zip", True), ("legacy", False)):
        for what, tree in (("state", state), ("net", whole["net"])):
            file = io.BytesIO()
            torch.save(tree, file, _use_new_zipfile_serialization=new)
            made[f"{name}_{what}"] = file.getvalue()
    made["unchecked_zip"] = _without_checksums(made["zip_net"])
    return made


def _without_checksums(data: bytes) -> bytes:
    """As torch writes with `set_crc32_options(False)`: damage goes on to the pickle."""
    copy = bytearray(data)
    at = -1
    while (at := copy.find(b"PK\1\2", at + 1)) >= 0:
        copy[at + 16 : at + 20] = bytes(4)
    return bytes(copy)


def _watched(folder: Path, *args: str) -> dict[str, str]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "error", "-m", "tests.synthesizers.readers.watched", str(folder), *args]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    slow = {name: taken for name, taken in found["seconds"].items() if taken > 60}
    assert not slow
    outcomes: dict[str, str] = found["outcomes"]
    return outcomes


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _mutants(count: int, seed: int) -> dict[str, bytes]:
    made = {}
    for name, data in _good().items():
        made |= {f"{name}_{i}": copy for i, copy in enumerate(hostile.mutated(data, count, seed))}
        made |= {f"{name}_cut_{at}": data[:at] for at in range(0, len(data), max(1, 12 * len(data) // count))}
    return made


GROUPS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "running": lambda folder: hostile.running(folder / "canary"),
    "swelling": lambda _: hostile.swelling(),
    "malformed": lambda _: hostile.malformed(),
    "archives": lambda _: hostile.archives(),
    "mutants": lambda _: _mutants(40, seed=0),
    "warm": lambda _: _good(),
    "trap": lambda folder: {"os.system": hostile.running(folder / "canary")["os.system"]},
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of all hostile files, read in a process that is watched and has 600 MiB."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "files").mkdir()
    for group, make in GROUPS.items():
        _write(folder / "files", {f"{group}.{name}": data for name, data in make(folder).items()})
    found = _watched(folder / "files", *(["600"] if sys.platform == "linux" else []))
    assert not (folder / "canary").exists()
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_nothing_runs_and_nothing_leaks(group: str, outcomes: dict[str, str]) -> None:
    found = {name: told for name, told in outcomes.items() if name.startswith(f"{group}.")}
    if group == "trap":
        assert all(told.startswith("forbidden: pickle.find_class") for told in found.values())
        return
    assert len(found) >= 8
    bad = {name: told for name, told in found.items() if not told.startswith(("read", "refused: "))}
    assert not bad, bad
    if group == "warm":
        assert set(found.values()) == {"read"}
    if group == "archives":
        read_after_all = {name for name, told in found.items() if told == "read"}
        assert not read_after_all
    assert all("expected" in told and "found" in told for told in found.values() if told != "read")


def test_what_would_have_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    canary = tmp_path / "out" / "canary"
    origins = {}
    for name, data in hostile.running(canary).items():
        try:
            found = read(data, tmp_path)
        except ArtifactError:
            continue
        origins[name] = found.origin if isinstance(found, Inert) else None
    assert not canary.exists()
    assert origins["os.system"] == origins["inst"] == origins["obj"] == origins["newobj"] == "posix.system"
    assert origins["eval"] == "builtins.eval"
    assert origins["subprocess"] == "subprocess.Popen"
    assert origins["persistent_source"] == "persistent:Generator"
    assert origins["getattr"] == "(result of builtins.getattr)"
    assert origins["torch.load"] == "torch.load"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("tensorflow", "legacy.py"),
        ("text", "web page"),
        ("lfs", "git lfs pull"),
        ("gzip", "gzip"),
        ("persid", "data outside of it"),
        ("ext1", "extension"),
        ("next_buffer", "buffers are elsewhere"),
        ("no_stop", "sha256"),
    ],
)
def test_messages_say_what_to_do(name: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=match):
        read(hostile.malformed()[name], tmp_path)


@pytest.mark.parametrize("name", ["laughs", "list_laughs", "deep_lists", "itself", "itself_in_dict", "laughs_as_state"])
def test_containers_that_nobody_could_walk_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nested at most|contains itself"):
        read(hostile.swelling()[name], tmp_path)


def test_a_pickle_where_a_checkpoint_is_expected_and_back(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "file.pt")
    with pytest.raises(ArtifactError, match=r"a file of torch\.save"):
        read_pickle(tmp_path / "file.pt")


@pytest.mark.slow
def test_thousands_of_damaged_files(tmp_path: Path) -> None:
    for seed in range(2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        _write(folder, {f"warm.{name}": data for name, data in _good().items()} | _mutants(1000, seed + 1))
        bad = {n: told for n, told in _watched(folder).items() if not told.startswith(("read", "refused: "))}
        assert not bad


@pytest.mark.slow
def test_memory_stays_bounded_however_many_containers(tmp_path: Path) -> None:
    _write(tmp_path, {f"warm.{name}": data for name, data in _good().items()} | hostile.endless())
    found = _watched(tmp_path, *(["1200"] if sys.platform == "linux" else []))
    assert all("at most 4000000 steps" in found[name] for name in hostile.endless())
