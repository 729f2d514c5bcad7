"""Makers of files that mean harm: each has to be refused, or read to values of which nothing ran."""

import io
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}X\x0d\x00\x00\x00little_endian\x88s."


def text(value: str) -> bytes:
    """The opcode that pushes text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """The opcode that pushes a whole number."""
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def named(module: str, name: str) -> bytes:
    """The opcode that looks a name up."""
    return f"c{module}\n{name}\n".encode()


def called(module: str, name: str, *args: bytes) -> bytes:
    """The opcodes that call something; `args` are opcodes."""
    return named(module, name) + b"(" + b"".join(args) + b"tR"


def stacked(module: str, name: str) -> bytes:
    """The opcode of protocol 4 that looks a name up, which may have dots."""
    return text(module) + text(name) + b"\x93"


def whole(*opcodes: bytes, protocol: int = 2) -> bytes:
    """A pickle of these opcodes."""
    return b"\x80" + bytes([protocol]) + b"".join(opcodes) + b"."


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage") -> bytes:
    """The opcodes of a reference to a storage."""
    return b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"


def old_storage(key: str = "0", count: int = 4, kind: str = "FloatStorage") -> bytes:
    """The same of the format before zip archives."""
    return b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(count) + b"NtQ"


def numbers(*values: int) -> bytes:
    """The opcodes of a tuple of whole numbers."""
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(offset: int, size: tuple[int, ...], stride: tuple[int, ...], kept: bytes | None = None) -> bytes:
    """The opcodes of a tensor."""
    kept = storage() if kept is None else kept
    rest = [number(offset), numbers(*size), numbers(*stride), b"\x89", b"N"]
    return called("torch._utils", "_rebuild_tensor_v2", kept, *rest)


def zipped(
    data: bytes, members: dict[str, bytes] | None = None, *, top: str = "archive/", method: int = zipfile.ZIP_STORED
) -> bytes:
    """A zip archive of torch.save with this pickle and, unless others are given, one storage of 4 floats."""
    file = io.BytesIO()
    members = {"data/0": bytes(16)} if members is None else members
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in {"data.pkl": data, "version": b"3\n", **members}.items():
            archive.writestr(top + name if not name.startswith("!") else name[1:], content)
    return file.getvalue()


def legacy(data: bytes, keys: bytes = b"(U\x010l", storages: bytes = struct.pack("<q", 4) + bytes(16)) -> bytes:
    """A file of torch.save before zip archives."""
    return MAGIC + PROTOCOL + SYSTEM + data + b"\x80\x02" + keys + b"." + storages


class _Calls:
    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.made = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made


def running(canary: Path) -> dict[str, bytes]:
    """Pickles that make a file `canary` where they are believed."""
    import functools
    import operator
    import os
    import subprocess
    import sys

    command, code = f"echo > {canary}", f"open({str(canary)!r}, 'w').close()"
    run = whole(called("posix", "system", text(command)))
    nested = io.BytesIO()
    torch.save(_Calls(os.system, command), nested, _use_new_zipfile_serialization=False)
    zip_nested = io.BytesIO()
    torch.save(_Calls(os.system, command), zip_nested)
    made = {
        "os.system": pickle.dumps(_Calls(os.system, command)),
        "subprocess": pickle.dumps(_Calls(subprocess.Popen, ["/bin/sh", "-c", command])),
        "eval": pickle.dumps(_Calls(eval, f"__import__('os').system({command!r})")),
        "exec": pickle.dumps(_Calls(exec, code)),
        "partial": pickle.dumps(_Calls(functools.partial(os.system, command))),
        "attrgetter": pickle.dumps(_Calls(operator.attrgetter("__class__.__base__"), 3)),
        "getattr": whole(called("builtins", "getattr", called("builtins", "__import__", text("os")), text("system"))
                         + b"(" + text(command) + b"tR"),
        "methodcaller": whole(named("operator", "methodcaller") + b"(" + text("system") + text(command) + b"tR("
                              + called("importlib", "import_module", text("os")) + b"tR"),
        "hub": whole(called("torch.hub", "load", text("nobody/nothing"), text("net"))),
        "torch.load": whole(called("torch", "load", text("/dev/zero"))),
        "nested bytes": whole(called("torch.storage", "_load_from_bytes", _bytes(nested.getvalue()))),
        "nested zip bytes": whole(called("torch.storage", "_load_from_bytes", _bytes(zip_nested.getvalue()))),
        "nested by a dotted name": whole(
            stacked("torch", "storage._load_from_bytes") + b"(" + _bytes(nested.getvalue()) + b"tR", protocol=4),
        "pickle.loads": whole(called("pickle", "loads", _bytes(run))),
        "numpy.load": whole(called("numpy", "load", text(str(canary)))),
        "inst": b"(S" + repr(command).encode() + b"\niposix\nsystem\n.",
        "obj": whole(b"(" + named("posix", "system") + text(command) + b"o"),
        "newobj": whole(named("posix", "system") + b"(" + text(command) + b"t\x81"),
        "newobj_ex": whole(named("posix", "system") + b"(" + text(command) + b"t}\x92", protocol=4),
        "globals": whole(stacked("collections", "OrderedDict.__init__.__globals__"), protocol=4),
        "dunder": whole(stacked("torch._utils", "_rebuild_tensor_v2.__globals__") + b"(" + text(code) + b"tR",
                        protocol=4),
        "setstate": whole(named("collections", "OrderedDict") + b")R}" + text("__reduce__") + named("posix", "system")
                          + b"sb"),
        "class state": whole(named("collections", "OrderedDict") + b"}" + text("__init__") + named("posix", "system")
                             + b"sb"),
        "function state": whole(named("torch._utils", "_rebuild_tensor_v2") + b"}" + text("__code__") + text("x")
                                + b"sb"),
        "module state": whole(called("builtins", "__import__", text("sys")) + b"}" + text("modules") + b"}sb"),
        "persistent source": whole(called(
            "torch_utils.persistence", "_reconstruct_persistent_obj",
            b"(" + text("type") + text("class") + text("version") + number(6) + text("module_src") + text(code)
            + text("class_name") + text("Generator") + text("state") + b"}d")),
        "warnings": whole(called("logging.config", "fileConfig", text(str(canary)))),
        "open": whole(called("io", "open", text(str(canary)), text("w"))),
        "protocol 0": pickle.dumps(_Calls(os.system, command), protocol=0),
        "path": whole(called("sys", "path.append", text("/tmp"))),
        "many": pickle.dumps([_Calls(os.system, command), {"a": _Calls(sys.exit, 3)}, _Calls(exit)]),
    }  # fmt: skip
    return {name.replace(" ", "_"): data for name, data in made.items()}


def _bytes(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def swelling() -> dict[str, bytes]:
    """Short pickles that ask for much memory or time."""
    deep, wide = 5_000, 64
    laughs = b"(lp0\n0" + b"".join(b"(g%d\ng%d\ntp%d\n0" % (i, i, i + 1) for i in range(wide)) + b"g%d\n" % wide
    lists = b"]q\x00" + b"".join(b"]q%c(h%ch%ce0" % (i + 1, i, i) for i in range(wide)) + b"h%c" % wide
    far = 2**32 - 1
    return {
        "memo": whole(b"Nr" + struct.pack("<I", far) + b"0Nr" + struct.pack("<I", far - 1)),
        "memo_text": b"Np4294967295\n0Np99999999999999999\n.",
        "laughs": b"".join((laughs, b".")),
        "list_laughs": whole(lists),
        "laughs_as_key": b"}" + laughs + b"Ns.",
        "laughs_in_set": whole(b"\x8f(" + laughs + b"\x90", protocol=4),
        "laughs_as_args": b"cnowhere\nnothing\n" + laughs + b"R.",
        "laughs_as_device": b"ctorch\ndevice\n(" + laughs + b"I0\ntR.",
        "laughs_as_dtype": b"cnumpy\ndtype\n(" + laughs + b"tR(I3\n" + laughs + b"NNNtb.",
        "laughs_as_shape": b"ctorch\nSize\n(" + laughs + b"tR.",
        "laughs_as_names": laughs + laughs + b"\x93.",
        "laughs_as_meta": b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(" + laughs + b"tR.",
        "laughs_as_storage": b"ctorch._utils\n_rebuild_tensor_v2\n(" + (laughs * 6) + b"tR.",
        "laughs_as_number": b"cnumpy.core.multiarray\nscalar\n(" + (laughs * 2) + b"tR.",
        "laughs_as_pairs": b"ccollections\nOrderedDict\n(" + laughs + b"tR.",
        "laughs_as_state": b"cnowhere\nnothing\n)R" + laughs + b"b.",
        "deep_tuples": b")" + b"\x85" * deep + b".",
        "deep_lists": b"]" * deep + b"a" * (deep - 1) + b".",
        "deep_calls": named("a", "b") + b")R" + b")R" * deep + b".",
        "deep_states": (named("a", "b") + b")R") * deep + b"b" * (deep - 1) + b".",
        "deep_marks": b"(" * deep + b"t" * deep + b".",
        "long": whole(b"\x8b" + struct.pack("<i", 2**31 - 1)),
        "negative_long": whole(b"\x8b" + struct.pack("<i", -1)),
        "digits": b"L" + b"9" * 100_000 + b"L\n.",
        "bytes8": whole(b"\x8e" + struct.pack("<Q", 2**62), protocol=4),
        "bytearray8": whole(b"\x96" + struct.pack("<Q", 2**63), protocol=5),
        "unicode8": whole(b"\x8d" + struct.pack("<Q", 2**63 - 1), protocol=4),
        "string": whole(b"T" + struct.pack("<i", -5)),
        "frame": whole(b"\x95" + struct.pack("<Q", 2**60) + b"N", protocol=4),
        "itself": b"]p0\ng0\na.",
        "itself_in_dict": b"}p0\nS'a'\ng0\ns.",
        "itself_in_tuple": whole(b"]q\x00(h\x00tq\x01h\x01a0h\x01"),
        "bytearray_of_size": whole(called("builtins", "bytearray", number(2**40))),
        "bytes_of_size": whole(called("builtins", "bytes", number(2**40))),
        "range": whole(called("builtins", "list", called("builtins", "range", number(2**40)))),
        "same_bytes_again": whole(_bytes(bytes(100_000)) + b"q\x00(" + b"".join(
            named("builtins", "bytearray") + b"(h\x00tR" for _ in range(20_000)) + b"l"),
        "same_text_again": whole(text("a" * 100_000) + b"q\x00(" + b"".join(
            named("_codecs", "encode") + b"(h\x00" + text("latin1") + b"tR" for _ in range(20_000)) + b"l"),
        "same_list_again": whole(b"(" + b"N" * 10_000 + b"lq\x00(" + b"".join(
            named("builtins", "tuple") + b"(h\x00tR" for _ in range(20_000)) + b"l"),
        "colliding_keys": whole(b"}(" + b"".join(
            number(i * (2**61 - 1)) + b"N" for i in range(16)) + b"u"),
        "many_keys": whole(b"}(" + b"".join(number(i) + b"N" for i in range(100_000)) + b"u"),
        "big_key": whole(b"}\x8a\x20" + b"\x01" * 32 + b"Ns"),
        "list_as_key": whole(b"}]Ns"),
        "dict_in_set": whole(b"\x8f(}\x90", protocol=4),
        "array": _array((2**40,), b"f4", b""),
        "array_of_nothing": _array((2**40, 0, 2**40), b"f4", b""),
        "array_negative": _array((-1,), b"f4", bytes(4)),
        "array_of_long_text": _array((1,), b"U999999999", b""),
        "array_of_wrong_letters": _array((1,), b"U1", b"\xff" * 4),
        "array_of_wrong_bools": _array((4,), b"b1", b"\x02" * 4),
        "array_of_objects": _array((1,), b"O8", None),
        "array_of_fields": _array((1,), b"V8", bytes(8)),
        "dtype": whole(called("numpy", "dtype", text("(2147483647,)f8,O"), b"\x89", b"\x88")),
        "dtype_of_a_dict": whole(
            called("numpy", "dtype", b"}" + text("names") + b"(" + text("a") + b"ls", b"\x89", b"\x88")),
    }  # fmt: skip


def endless() -> dict[str, bytes]:
    """Pickles of a few megabytes that ask for a gigabyte, a container a byte."""
    return {
        "marks": b"(" * 5_000_000,
        "dicts": b"}" * 5_000_000 + b".",
        "sets": b"\x80\x04" + b"\x8f" * 5_000_000 + b".",
        "instances": b"(" + b"(ia\nb\n" * 900_000 + b"l.",
    }


def _array(shape: tuple[int, ...], kind: bytes, data: bytes | None) -> bytes:
    dtype = called("numpy", "dtype", text(kind.decode()), b"\x89", b"\x88") + b"(" + number(3) + text("<") + b"NNN"
    dtype += number(-1) * 2 + number(0) + b"tb"
    made = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), numbers(0), b"C\x01b")
    content = b"(" + called("posix", "system", text("true")) + b"l" if data is None else _bytes(data)
    return whole(made + b"(" + number(1) + numbers(*shape) + dtype + b"\x89" + content + b"tb")


def malformed() -> dict[str, bytes]:
    """Files that are no pickles, or end too early."""
    return {
        "empty": b"",
        "zeros": bytes(1000),
        "text": b"<!DOCTYPE html><html>404</html>",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
        "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
        "stop": b".",
        "no_stop": whole(b"N")[:-1],
        "protocol_9": b"\x80\x09N.",
        "ext1": whole(b"\x82\x01"),
        "ext2": whole(b"\x83\x01\x00"),
        "ext4": whole(b"\x84\x01\x00\x00\x00"),
        "persid": b"P0\n.",
        "binpersid": whole(b"K\x01Q"),
        "next_buffer": whole(b"\x97", protocol=5),
        "readonly_buffer": whole(b"N\x98", protocol=5),
        "pop_below_mark": b"N(0000.",
        "no_mark": b"Nt.",
        "get": b"g5\n.",
        "odd_items": whole(b"}(Nu"),
        "append_to_none": whole(b"NNa"),
        "setitem_on_tuple": whole(b")NNs"),
        "add_to_list": whole(b"](N\x90", protocol=4),
        "build_none": whole(b"N}b"),
        "build_int": whole(b"K\x01}b"),
        "reduce_int": whole(b"K\x01)R"),
        "reduce_no_tuple": whole(named("a", "b") + b"]R"),
        "reduce_laughs": whole(named("builtins", "set") + b"K\x01\x85R"),
        "name_of_number": whole(b"K\x01K\x01\x93", protocol=4),
        "name_of_lists": whole(b"]]\x93", protocol=4),
        "name_with_escapes": whole(stacked("a\x1b[2J", "b"), protocol=4),
        "name_too_long": whole(stacked("a" * 10_000, "b"), protocol=4),
        "bad_utf8": whole(b"X\x02\x00\x00\x00\xff\xfe"),
        "bad_int": b"Ixyz\n.",
        "bad_float": b"Fxyz\n.",
        "bad_string": b"Sxyz\n.",
        "bad_escape": b"V\\uZZZZ\n.",
        "wrong_arguments": whole(called("torch._utils", "_rebuild_tensor_v2", b"N")),
        "wrong_storage": whole(called("torch._utils", "_rebuild_tensor_v2", *[b"N"] * 6)),
        "wrong_bytes": whole(called("torch.storage", "_load_from_bytes", _bytes(b"junk"))),
        "wrong_size": whole(called("torch", "Size", b"(" + text("a") + b"l")),
        "wrong_device": whole(called("torch", "device", text("cpu\x00"))),
        "unknown_device": whole(called("torch", "device", text("toaster"))),
        "wrong_ordered_dict": whole(called("collections", "OrderedDict", b"(K\x01l")),
        "inert_state": whole(called("a", "b") + b"Nb" + b"K\x01b"),
        "inert_items": whole(called("a", "b") + b"NNs(NNu]a(]]e"),
        "inert_called": whole(called("a", "b") + b")R)R)\x81"),
        "inert_as_key": whole(b"}" + called("a", "b") + b"Ns"),
        "name_as_value": whole(named("torch.nn.functional", "relu")),
        "tensorflow": whole(named("dnnlib.tflib.network", "Network") + b")\x81"),
        "opcode": b"\xff.",
    }


def archives() -> dict[str, bytes]:
    """Hostile files of torch.save, zip archives and older ones, that are to be refused."""
    fine = tensor(0, (2, 2), (2, 1))
    bomb = zipped(whole(fine), {"data/0": bytes(10_000_000)}, method=zipfile.ZIP_DEFLATED)
    good = zipped(whole(fine))
    return {
        "compressed": bomb,
        "compressed_pickle": zipped(whole(fine), method=zipfile.ZIP_DEFLATED),
        "traversal": zipped(whole(fine), {"data/0": bytes(16), "!archive/../../evil": b"x"}),
        "absolute": zipped(whole(fine), {"data/0": bytes(16), "!/etc/evil": b"x"}),
        "backslash": zipped(whole(fine), {"data/0": bytes(16), "!archive\\..\\evil": b"x"}),
        "drive": zipped(whole(fine), {"data/0": bytes(16), "!C:evil": b"x"}),
        "torchscript": zipped(whole(fine), {"data/0": bytes(16), "code/__torch__.py": b"x", "constants.pkl": b"."}),
        "pt2": zipped(whole(fine), {"archive_format": b"pt2", "models/model.json": b"{}"}),
        "npz": _plain_zip({"arr_0.npy": b"x"}),
        "docx": _plain_zip({"word/document.xml": b"x"}),
        "two_tops": zipped(whole(fine), {"data/0": bytes(16), "!other/data.pkl": whole(b"N")}),
        "no_pickle": _plain_zip({"archive/data/0": b"x"}),
        "big_endian": zipped(whole(fine), {"data/0": bytes(16), "byteorder": b"big"}),
        "missing_storage": zipped(whole(fine), {}),
        "storage_by_path": zipped(whole(tensor(0, (1,), (1,), storage("../../../etc/passwd", 4)))),
        "storage_too_short": zipped(whole(fine), {"data/0": bytes(8)}),
        "storage_too_long": zipped(whole(fine), {"data/0": bytes(32)}),
        "storage_huge": zipped(whole(tensor(0, (1,), (1,), storage("0", 2**60)))),
        "storage_negative": zipped(whole(tensor(0, (1,), (1,), storage("0", -1)))),
        "storage_of_objects": zipped(whole(tensor(0, (1,), (1,), storage("0", 4, "nn.Module")))),
        "storage_quantised": zipped(whole(tensor(0, (1,), (1,), storage("0", 16, "QInt8Storage")))),
        "storage_of_wrong_bools": zipped(
            whole(tensor(0, (16,), (1,), storage("0", 16, "BoolStorage"))), {"data/0": b"\x07" * 16}),
        "shape_too_large": zipped(whole(tensor(0, (3, 2), (2, 1)))),
        "offset_too_large": zipped(whole(tensor(1, (2, 2), (2, 1)))),
        "stride_too_large": zipped(whole(tensor(0, (2, 2), (4, 1)))),
        "stride_zero": zipped(whole(tensor(0, (2**40,), (0,)))),
        "shape_negative": zipped(whole(tensor(0, (-2, -2), (2, 1)))),
        "stride_negative": zipped(whole(tensor(3, (2,), (-1,)))),
        "offset_negative": zipped(whole(tensor(-1, (2,), (1,)))),
        "shape_overflows": zipped(whole(tensor(0, (2**33, 2**33), (0, 0)))),
        "empty_but_vast": zipped(whole(tensor(0, (0, 2**47, 2**47), (1, 1, 1)))),
        "stride_overflows": zipped(whole(tensor(0, (2, 1), (1, 2**63)))),
        "too_many_dims": zipped(whole(tensor(0, (1,) * 1000, (1,) * 1000))),
        "dims_differ": zipped(whole(tensor(0, (2, 2), (1,)))),
        "no_storage": zipped(whole(tensor(0, (2, 2), (2, 1), b"N"))),
        "truncated": good[: len(good) // 2],
        "no_directory": good[:-22],
        "prefix": b"PK\3\4",
        "end_alone": b"PK\5\6" + bytes(18),
        "spanned": good[:-18] + b"\x01\x00" + good[-16:],
        "many_members_claimed": good[:-12] + struct.pack("<H", 0xFFFF) + good[-10:],
        "duplicate": _duplicate(),
        "overlapping": _overlapping(),
        "encrypted": _patched(good, 8, b"\x01\x00"),
        "size_beyond_file": _patched(good, 20, struct.pack("<II", 2**31, 2**31)),
        "offset_beyond_file": _patched(good, 42, struct.pack("<I", 2**31)),
        "wrong_checksum": _patched(good, 16, b"\x01\x02\x03\x04"),
        "legacy_no_storages": legacy(whole(tensor(0, (2, 2), (2, 1), old_storage())), b"]", b""),
        "legacy_huge_storage": legacy(whole(tensor(0, (1,), (1,), old_storage("0", 2**40)))),
        "legacy_negative_storage": legacy(whole(tensor(0, (1,), (1,), old_storage("0", -4)))),
        "legacy_other_count": legacy(whole(tensor(0, (1,), (1,), old_storage())), storages=struct.pack("<q", 2**60)),
        "legacy_truncated": legacy(
            whole(tensor(0, (1,), (1,), old_storage())), storages=struct.pack("<q", 4) + bytes(9)),
        "legacy_wrong_key": legacy(whole(tensor(0, (1,), (1,), old_storage("7")))),
        "legacy_keys_of_lists": legacy(whole(tensor(0, (1,), (1,), old_storage())), b"(]l"),
        "legacy_key_twice": legacy(whole(tensor(0, (1,), (1,), old_storage())), b"(" + text("0") * 2 + b"l"),
        "legacy_two_kinds": legacy(whole(old_storage() + old_storage("0", 4, "IntStorage"))),
        "legacy_shape": legacy(whole(tensor(0, (3, 3), (3, 1), old_storage()))),
        "legacy_version": MAGIC + whole(b"K\x05") + SYSTEM + whole(b"N") + whole(b"]"),
        "legacy_version_laughs": MAGIC + swelling()["list_laughs"] + SYSTEM + whole(b"N") + whole(b"]"),
        "legacy_big_endian":
            MAGIC + PROTOCOL + whole(b"}" + text("little_endian") + b"\x89s") + whole(b"N") + whole(b"]"),
        "legacy_alone": MAGIC,
        "tar": bytes(257) + b"ustar" + bytes(500),
    }  # fmt: skip


def _plain_zip(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def _duplicate() -> bytes:
    first, second = b"archive/data.pkl", b"archive/data.pkx"
    return _plain_zip({first.decode(): whole(b"N"), second.decode(): whole(b"N")}).replace(second, first)


def _overlapping() -> bytes:
    """Two members at one place."""
    data = bytearray(zipped(whole(b"N"), {"data/0": bytes(16)}))
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"]
    data[entries[2] + 42 : entries[2] + 46] = data[entries[0] + 42 : entries[0] + 46]
    return bytes(data)


def _patched(data: bytes, offset: int, content: bytes) -> bytes:
    """Changes bytes of the first member's entry in the directory."""
    at = data.index(b"PK\1\2") + offset
    return data[:at] + content + data[at + len(content) :]


def mutated(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: cut, with bits and bytes changed, and with pieces moved."""
    generator = random.Random(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(generator.choice([1, 1, 2, 8, 50])):
            at = generator.randrange(len(copy))
            what = generator.randrange(5)
            if what == 0:
                copy[at] ^= 1 << generator.randrange(8)
            elif what == 1:
                copy[at] = generator.randrange(256)
            elif what == 2:
                copy[at : at + 4] = generator.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"])
            elif what == 3:
                other = generator.randrange(len(copy))
                copy[at : at + 8] = copy[other : other + 8]
            else:
                copy[at:at] = generator.choice([b"(", b"t", b"R", b"b", b".", b"0", b"2", b"u", b"\x81", b"\x93", b"Q"])
        yield bytes(copy)
