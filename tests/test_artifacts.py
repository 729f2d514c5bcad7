"""Folders that appear whole or not at all, and files that are refused when damaged or disguised."""

import json
import os
import pickle
import resource
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save
from torch import nn

from gan_augment.artifacts import (
    load_state,
    new_folder,
    read_json,
    read_tensors,
    refuse_existing,
    storing,
    versions,
    write_bytes,
    write_json,
    write_tensors,
)
from gan_augment.errors import ArtifactError, StorageError

KIND = "gan_augment test"


class Payload:
    """What a malicious checkpoint does when it is unpickled."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.fixture
def little_space():
    """Makes writes beyond 64 kB fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "deep" / "gan"
    with new_folder(target, "synthesizer") as work:
        assert not target.exists()
        assert work.parent == target.parent
        assert work.name.startswith(".gan.")
        write_json(work / "about.json", {"kind": KIND, "version": 1})
        write_tensors(work / "weights.safetensors", {"a": torch.arange(3)})
        (work / "sub").mkdir()
    assert everything(tmp_path) == [
        "deep",
        "deep/gan",
        "deep/gan/about.json",
        "deep/gan/sub",
        "deep/gan/weights.safetensors",
    ]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode, "readable by whom the umask says, not by the owner only"


@pytest.mark.parametrize("error", [KeyError("bug"), KeyboardInterrupt(), ArtifactError("other"), SystemExit(1)])
def test_an_exception_leaves_nothing(tmp_path, error):
    def write():
        with new_folder(tmp_path / "gan", "synthesizer") as work:
            write_json(work / "about.json", {})
            raise error

    with pytest.raises(type(error)):
        write()
    assert everything(tmp_path) == []


def test_an_empty_folder_may_be_filled(tmp_path):
    with new_folder(tmp_path, "pool") as work:
        (work / "file").write_text("x")
    assert everything(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["file", "filled folder"])
def test_nothing_of_the_users_is_overwritten(tmp_path, kind):
    target = tmp_path / "gan"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(ArtifactError, match=rf"{target} not to exist yet.*for the synthesizer"):
        new_folder(target, "synthesizer").__enter__()
    with pytest.raises(ArtifactError, match="for the pool"):
        refuse_existing(target, "pool")
    assert everything(tmp_path) == before


def test_what_came_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "gan"

    def write():
        with new_folder(target, "synthesizer") as work:
            (work / "ours").write_text("ours")
            target.mkdir()
            (target / "theirs").write_text("theirs")

    with pytest.raises(ArtifactError, match="not to exist yet"):
        write()
    assert everything(tmp_path) == ["gan", "gan/theirs"]


@pytest.mark.usefixtures("little_space")
def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path):
    def write():
        with new_folder(tmp_path / "gan", "synthesizer") as work:
            write_json(work / "about.json", {})
            write_tensors(work / "weights.safetensors", {"a": torch.zeros(40_000)})

    with pytest.raises(StorageError, match="Free some space") as caught:
        write()
    assert isinstance(caught.value, OSError)
    assert caught.value.errno
    assert everything(tmp_path) == []


@pytest.mark.usefixtures("little_space")
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "about.json"
    write_json(path, {"a": 1})
    with pytest.raises(StorageError, match=str(path)):
        write_bytes(path, b"x" * 100_000)
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    write_json(path, {"b": 2})
    assert json.loads(path.read_text()) == {"b": 2}
    assert everything(tmp_path) == ["about.json"]


def test_a_place_that_cannot_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="could not write"):
        new_folder(tmp_path / "file" / "gan", "pool").__enter__()
    with pytest.raises(StorageError, match="Not a directory"):
        write_bytes(tmp_path / "file" / "x", b"")
    with pytest.raises(StorageError, match="first") as caught, storing("outer"):
        raise StorageError(5, "first")
    assert "outer" not in str(caught.value), "told once, by who was nearest"


def test_json_round_trip(tmp_path):
    value = {"kind": KIND, "version": 2, "classes": ["Ä", "b"], "counts": {"a": [1, 2.5, None]}}
    write_json(tmp_path / "about.json", value)
    assert read_json(tmp_path / "about.json", KIND, 2) == value
    assert read_json(str(tmp_path / "about.json"), KIND, 3) == value


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected JSON"),
        (b'{"kind": "gan_augment te', "expected JSON .* damaged"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "found kind None"),
        (b'"text"', "found kind None"),
        (b'{"version": 1}', "found kind None"),
        (b'{"kind": "gan_augment pool", "version": 1}', "describe a gan_augment test, found kind 'gan_augment pool'"),
        (b'{"kind": "gan_augment test"}', "version 1 to 2, found None"),
        (b'{"kind": "gan_augment test", "version": 3}', "version 1 to 2, found 3; a newer release"),
        (b'{"kind": "gan_augment test", "version": 0}', "found 0"),
        (b'{"kind": "gan_augment test", "version": "1"}', "found '1'"),
    ],
)
def test_damaged_or_other_json_is_refused(tmp_path, content, told):
    path = tmp_path / "about.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=told):
        read_json(path, KIND, 2)


def test_missing_and_huge_json_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"expected a gan_augment test in .*, found no about.json"):
        read_json(tmp_path / "about.json", KIND, 1)
    with open(tmp_path / "huge.json", "wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(ArtifactError, match="at most 16 MiB, found 268435457 bytes"):
        read_json(tmp_path / "huge.json", KIND, 1)


def test_tensors_round_trip(tmp_path):
    tensors = {
        "float": torch.randn(3, 4, requires_grad=True),
        "strided": torch.arange(12).reshape(3, 4).t(),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "scalar": torch.tensor(7),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_damaged_tensors_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(ArtifactError, match="found no such file"):
        read_tensors(path)
    whole = save({"a": torch.arange(100)})
    for content in (
        b"",
        whole[:5],
        whole[:-1],
        whole[:60],
        b"\xff" * 8 + whole[8:],
        whole + b"more",
        b"PK\x03\x04" * 9,
    ):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match="found a damaged file"):
            read_tensors(path)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_disguised_as_safetensors_is_refused_and_not_run(tmp_path, write):
    proof, path = tmp_path / "hacked", tmp_path / "x.safetensors"
    write({"weights": Payload(proof)}, path)
    with pytest.raises(ArtifactError):
        read_tensors(path)
    with pytest.raises(ArtifactError):
        read_json(path, KIND, 1)
    assert not proof.exists()
    if path.read_bytes()[:2] != b"PK":
        pickle.loads(path.read_bytes())
        assert proof.exists(), "the payload would have worked"


def test_load_state_loads():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    load_state(target, source.state_dict(), "the generator")
    assert torch.equal(source.weight, target.weight)


def test_load_state_shows_how_the_architecture_differs():
    small = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    large = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False))
    before = {name: value.clone() for name, value in small.state_dict().items()}
    with pytest.raises(ArtifactError) as caught:
        load_state(small, large.state_dict(), "the generator")
    told = str(caught.value)
    assert "architecture of the generator" in told
    assert "2 missing: 2.bias, 2.weight" in told
    assert "1 not expected: 1.weight" in told
    assert "2 of another shape: 0.bias (4,) instead of (2,), 0.weight (4, 3) instead of (2, 3)" in told
    assert all(torch.equal(small.state_dict()[name], value) for name, value in before.items()), "nothing half-loaded"
    assert "Give weights that were saved with the same recipe" in told


@pytest.mark.parametrize(
    ("layers", "told"),
    [(5, r"10 missing: 0\.bias, .*4\.weight\. Give"), (6, r"12 missing: .*4\.weight and 2 more\. Give")],
)
def test_load_state_shows_at_most_ten_keys_and_counts_the_rest(layers, told):
    many = nn.ModuleList(nn.Linear(1, 1) for _ in range(layers))
    with pytest.raises(ArtifactError, match=told):
        load_state(many, {}, "the generator")


def test_load_state_shows_both_types_and_what_is_not_finite():
    layer = nn.Linear(1, 2)
    state = {"weight": torch.zeros(2, 1, dtype=torch.float16), "bias": torch.tensor([0.0, torch.nan])}
    with pytest.raises(ArtifactError, match=r"weight torch.float16 instead of torch.float32; 1 not finite: bias"):
        load_state(layer, state, "the generator")


def test_versions_are_what_runs():
    found = versions()
    assert found["torch"] == torch.__version__
    assert found.keys() == {"python", "gan_augment", "torch", "numpy"}


HOLDER = """
import sys, time
from pathlib import Path
from gan_augment.artifacts import new_folder
with new_folder(Path(sys.argv[1]) / "pool", "pool") as work:
    (work / "half").write_text("half")
    print(work.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        dead = tmp_path / killed.stdout.readline().strip()
        killed.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as living:
        alive = tmp_path / living.stdout.readline().strip()
        try:
            assert not dead.exists()
            with new_folder(tmp_path / "pool", "pool") as work:
                (work / "whole").write_text("whole")
                assert sorted(path for path in tmp_path.iterdir()) == sorted([alive, work])
            assert [path.name for path in (tmp_path / "pool").iterdir()] == ["whole"]
        finally:
            living.kill()


def test_an_error_of_the_callers_own_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="mine"), new_folder(tmp_path / "pool", "pool"):
        raise FileNotFoundError("mine")
    assert list(tmp_path.iterdir()) == []
