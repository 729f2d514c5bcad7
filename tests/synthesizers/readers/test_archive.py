"""Files of torch.save: bit for bit what torch itself reads, and nothing out of hostile ones."""

import collections
import io
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from gan_augment.errors import ArtifactError
from gan_augment.synthesizers.readers.archive import globals_of, read_any, read_checkpoint
from gan_augment.synthesizers.readers.inert import Inert
from gan_augment.synthesizers.readers.tensors import DTYPES
from gan_augment.synthesizers.readers.unpickle import module_tensors
from tests.synthesizers.readers import hostile

FORMS = {"zip": True, "legacy": False}


def saved(tree: Any, path: Path, form: str = "zip") -> Path:
    torch.save(tree, path, _use_new_zipfile_serialization=FORMS[form])
    return path


def read(data: bytes, folder: Path) -> Any:
    path = folder / "file.pt"
    path.write_bytes(data)
    return read_checkpoint(path)


def bits(tensor: torch.Tensor) -> bytes:
    """The bytes of the elements in order."""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def assert_same(found: Any, wanted: Any) -> None:
    """The same values and types, tensors bit by bit with the same layout; parameters come as tensors."""
    if isinstance(wanted, torch.Tensor):
        assert type(found) is torch.Tensor
        assert not found.requires_grad
        assert (found.dtype, found.shape, found.stride()) == (wanted.dtype, wanted.shape, wanted.stride())
        assert found.storage_offset() == wanted.storage_offset()
        assert bits(found) == bits(wanted)
    elif isinstance(wanted, dict):
        assert type(found) is type(wanted)
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, list | tuple):
        assert type(found) is type(wanted)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert type(found) is type(wanted)
        assert found == wanted


def _trees() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.arange(24.0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Embedding(4, 2), nn.LSTM(2, 3))
    optimizer = torch.optim.Adam(network.parameters(), betas=(0.0, 0.99))
    torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum().backward()
    optimizer.step()
    tied = nn.Linear(3, 3)
    return {
        "state": network.state_dict(),
        "mobilenet": torchvision.models.mobilenet_v3_small(num_classes=3).state_dict(),
        "training": {"G": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5},
        "views": {"all": base, "part": base[3:9], "turned": base.view(4, 6).t(), "steps": base[::3], "one": base[5]},
        "numbers": {"a": torch.tensor(float("nan")), "b": torch.tensor([float("inf"), -0.0, 1e-45])},
        "parameters": [nn.Parameter(base), nn.Parameter(base.clone(), requires_grad=False), tied.weight, tied.weight],
        "empty": [torch.empty(0), torch.empty(0, 3), torch.empty(2, 0, 4).long(), torch.tensor(3)],
        "complex": [torch.randn(3, dtype=torch.complex64), torch.randn(3, dtype=torch.complex128).conj()],
        "negative": [torch.randn(3, dtype=torch.complex64).conj().imag],
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "plain": {"size": torch.Size([1, 2]), "dtype": torch.float16, "device": torch.device("cuda:1")},
        "ordered": collections.OrderedDict(b=1, a=collections.OrderedDict()),
        "sets": {"set": {1, 2}, "big": 2**70, "bytes": b"\x00\xff", "array": bytearray(b"ab"), "layout": torch.strided},
        "alone": torch.randn(3, 3),
        "nothing": None,
        "few": {"complex": 1j, "none": None, "text": "ä", "float": 0.1},
    }  # fmt: skip


TREES = _trees()
ARCHIVES = hostile.archives()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TREES)
def test_what_torch_reads(name: str, form: str, tmp_path: Path) -> None:
    path = saved(TREES[name], tmp_path / "file.pt", form)
    assert_same(read_checkpoint(path), torch.load(path, weights_only=True))
    assert_same(read_any(path), torch.load(path, weights_only=True))


OLD = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
]


@pytest.mark.parametrize(("name", "form"), [*((name, "zip") for name in DTYPES), *((name, "legacy") for name in OLD)])
def test_types_of_numbers(name: str, form: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    raw = generator.integers(0, 2 if name == "bool" else 256, 16 * 12, np.uint8)
    tensor = torch.from_numpy(raw).view(DTYPES[name]).reshape(4, -1)
    path = saved({"a": tensor, "b": tensor[1:3], "c": tensor.t()}, tmp_path / "file.pt", form)
    wanted = torch.load(path, weights_only=True)
    found = read_checkpoint(path)
    assert_same(found, wanted)
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()


@pytest.mark.parametrize("form", FORMS)
def test_views_share_memory_and_can_be_written_to(form: str, tmp_path: Path) -> None:
    base = torch.zeros(4, 4)
    found = read_checkpoint(saved({"base": base, "row": base[2]}, tmp_path / "file.pt", form))
    found["row"].fill_(3)
    assert found["base"].sum() == 12
    assert found["base"].untyped_storage().nbytes() == 64
    assert nn.Parameter(found["base"]).is_leaf


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol(form: str, protocol: int, tmp_path: Path) -> None:
    tree = {"net": nn.Linear(3, 2), "list": [1.5, "x"], "array": np.arange(3.0), "number": np.float64(2)}
    torch.save(tree, tmp_path / "file.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=FORMS[form])
    found = read_checkpoint(tmp_path / "file.pt")
    assert_same(module_tensors(found["net"]), dict(tree["net"].state_dict()))  # type: ignore[attr-defined]
    assert found["list"] == [1.5, "x"]
    np.testing.assert_array_equal(found["array"], np.arange(3.0))
    assert found["number"] == 2.0


@pytest.mark.parametrize("form", FORMS)
def test_whole_modules(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    normed = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)).state_dict()
    plain = nn.ModuleList([nn.BatchNorm2d(3), nn.TransformerEncoderLayer(8, 2), nn.MultiheadAttention(4, 2)])
    found = read_checkpoint(saved(plain, tmp_path / "file.pt", form))
    assert isinstance(found, Inert)
    assert found.origin == "torch.nn.modules.container.ModuleList"
    assert_same(module_tensors(found), dict(plain.state_dict()))
    assert_same(read_checkpoint(saved(normed, tmp_path / "state.pt", form)), normed)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_with_attributes_and_of_other_classes(form: str, tmp_path: Path) -> None:
    tensor, parameter = torch.ones(2), nn.Parameter(torch.zeros(2))
    tensor.note, parameter.note = "x", "y"  # type: ignore[attr-defined]
    buffer = nn.Buffer(torch.ones(1)) if hasattr(nn, "Buffer") else torch.ones(1)
    found = read_checkpoint(saved([tensor, parameter, buffer], tmp_path / "file.pt", form))
    assert_same(found, [torch.ones(2), torch.zeros(2), torch.ones(1)])
    others = [torch.eye(2).to_sparse(), torch.empty(2, device="meta")]
    sparse, meta = read_checkpoint(saved(others, tmp_path / "other.pt", form))
    assert isinstance(sparse, Inert)
    assert isinstance(meta, Inert)


def test_expanded_tensors_are_refused(tmp_path: Path) -> None:
    path = saved(torch.ones(1).expand(1000), tmp_path / "file.pt")
    with pytest.raises(ArtifactError, match=r"\.clone\(\)"):
        read_checkpoint(path)


def test_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = saved(TREES["state"], tmp_path / "file.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(read_checkpoint(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("form", FORMS)
def test_a_changed_byte_in_weights_is_noticed_where_there_is_a_checksum(form: str, tmp_path: Path) -> None:
    path = saved({"w": torch.ones(1000)}, tmp_path / "file.pt", form)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 1) * 100) + 57] ^= 1
    if form == "zip":
        with pytest.raises(ArtifactError, match="as it was stored"):
            read(bytes(data), tmp_path)
    else:
        assert read(bytes(data), tmp_path)["w"].ne(1).sum() == 1  # there is none


def test_zip64_archives(tmp_path: Path) -> None:
    """As written for members of more than 4 GiB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {
            "a/data.pkl": hostile.whole(hostile.tensor(0, (4,), (1,))),
            "a/data/0": bytes(16),
        }.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(content)
    assert_same(read(file.getvalue(), tmp_path), torch.zeros(4))
    path = saved(TREES["state"], tmp_path / "file.pt")
    data, extra = path.read_bytes(), struct.Struct("<HHQQQ")
    start, count = _directory(data)
    entries, at = b"", start
    for _ in range(count):  # every size and offset moved to the zip64 field
        head = bytearray(data[at : at + 46])
        named, more, comment = struct.unpack_from("<3H", head, 28)
        size, offset = struct.unpack_from("<I", head, 24)[0], struct.unpack_from("<I", head, 42)[0]
        head[20:28], head[42:46], head[30:32] = b"\xff" * 8, b"\xff" * 4, struct.pack("<H", extra.size)
        entries += bytes(head) + data[at + 46 : at + 46 + named] + extra.pack(1, 24, size, size, offset)
        at += 46 + named + more + comment
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(entries), start)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, start + len(entries), 1)
    end += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert_same(read(data[:start] + entries + end, tmp_path), TREES["state"])


def _directory(data: bytes) -> tuple[int, int]:
    at = data.rindex(b"PK\5\6")
    count, _, start = struct.unpack_from("<HII", data, at + 10)
    return start, count


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["os.system", "eval", "nested_bytes", "persistent_source", "getattr"])
def test_payloads_in_checkpoints_do_nothing(name: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    canary = tmp_path / "out" / "canary"
    payload = hostile.running(canary)[name]
    made = hostile.zipped(payload) if form == "zip" else hostile.legacy(payload, b"]", b"")
    found = read(made, tmp_path)
    assert isinstance(found, Inert)
    assert not canary.exists()
    assert found.origin in globals_of(tmp_path / "file.pt") or "persistent" in found.origin or "result" in found.origin


@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archives_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected .*found"):
        read(ARCHIVES[name], tmp_path)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("compressed", "compressed"),
        ("compressed_pickle", "compressed"),
        ("traversal", "stay in the zip archive"),
        ("absolute", "stay in the zip archive"),
        ("torchscript", r"TorchScript archive, which is a program.*trust=True"),
        ("pt2", r"torch\.export"),
        ("npz", "another kind"),
        ("duplicate", "twice"),
        ("overlapping", "in another"),
        ("encrypted", "encrypted"),
        ("big_endian", "big-endian"),
        ("legacy_big_endian", "big-endian"),
        ("missing_storage", "no such member"),
        ("storage_by_path", "no such member"),
        ("storage_huge", "16 bytes"),
        ("storage_of_wrong_bools", "bools"),
        ("storage_quantised", "dequantise"),
        ("stride_zero", "within its storage"),
        ("shape_too_large", "within its storage"),
        ("wrong_checksum", "as it was stored"),
        ("tar", "torch before 0.1.10"),
        ("truncated", "sha256"),
        ("legacy_truncated", "sha256"),
        ("legacy_huge_storage", "no larger than the file"),
    ],
)
def test_what_is_said_of_them(name: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=match):
        read(ARCHIVES[name], tmp_path)


def test_a_plain_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"such as a \.pt or \.pth"):
        read(hostile.whole(b"N"), tmp_path)
    assert read_any(tmp_path / "file.pt") is None


def test_good_ones_made_the_same_way_are_read(tmp_path: Path) -> None:
    """So that the hostile ones are refused for what is hostile in them."""
    fine = hostile.tensor(0, (2, 2), (2, 1))
    assert_same(read(hostile.zipped(hostile.whole(fine)), tmp_path), torch.zeros(2, 2))
    old = hostile.tensor(0, (2, 2), (2, 1), hostile.old_storage())
    assert_same(read(hostile.legacy(hostile.whole(old)), tmp_path), torch.zeros(2, 2))
    last = hostile.tensor(1, (3,), (1,))
    assert_same(read(hostile.zipped(hostile.whole(last)), tmp_path), torch.zeros(4)[1:])


def test_real_programs_and_exports_are_told_apart(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    program = torch.export.export(network, (torch.ones(1, 2),))
    torch.export.save(program, tmp_path / "net.pt2")
    with pytest.raises(ArtifactError, match=r"torch\.export"):
        read_checkpoint(tmp_path / "net.pt2")
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    with pytest.raises(ArtifactError, match="another kind"):
        read_checkpoint(tmp_path / "a.npz")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_real_torchscript_program(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "net.pt"))
    with pytest.raises(ArtifactError, match="trust=True"):
        read_checkpoint(tmp_path / "net.pt")


@pytest.mark.parametrize("form", FORMS)
def test_cut_anywhere(form: str, tmp_path: Path) -> None:
    path = saved({"a": torch.arange(50.0), "b": [1, 2]}, tmp_path / "file.pt", form)
    data = path.read_bytes()
    for at in [*range(1, len(data), max(1, len(data) // 100)), len(data) - 1]:
        with pytest.raises(ArtifactError, match="could not read"):
            read(data[:at], tmp_path)


def test_memory_is_taken_once(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = saved({"w": torch.zeros(30_000_000)}, tmp_path / "file.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = read_checkpoint(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert found["w"].shape == (30_000_000,)
    assert grown < 1.3 * 120_000_000
