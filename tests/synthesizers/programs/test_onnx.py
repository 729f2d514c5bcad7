"""ONNX models: the same images as the module, and what of a file is refused before the runtime sees it."""

import multiprocessing
import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.synthesizers.programs.onnx import open_program
from tests.synthesizers.programs.generators import ByNumber, ByVector, Unconditional, seeded

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, FLOAT, INT64, STRING = onnx.helper, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.STRING


def export(module: nn.Module, inputs: tuple[Any, ...], names: list[str], path: Path, **settings: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters
        torch.onnx.export(module, inputs, path, **{"dynamo": False, "input_names": names, "verbose": False, **settings})
    return path


def free(inputs: int) -> Any:
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in range(inputs))


@pytest.fixture(scope="module")
def by_number(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "g.onnx"
    inputs = (torch.randn(2, 8), torch.tensor([0, 1]))
    return export(seeded(ByNumber), inputs, ["z", "y"], path, dynamo=True, dynamic_shapes=free(2), external_data=True)


def test_images_equal_the_modules(by_number: Path) -> None:
    program = open_program(by_number)
    assert (program.latent_dim, program.num_classes, program.labels) == (8, 3, "int")
    assert (program.image_shape, program.batch, program.form) == ((3, 16, 16), None, "onnx")
    latents, labels = torch.randn(70, 8), torch.arange(70) % 3
    expected = seeded(ByNumber)(latents, labels)
    torch.testing.assert_close(program.call(latents, labels), expected, atol=1e-5, rtol=0)


def test_fixed_batch_one_hot_and_several_outputs(tmp_path: Path) -> None:
    module = seeded(ByVector)
    path = export(module, (torch.randn(4, 5), torch.randn(4, 6)), ["c", "z"], tmp_path / "g.onnx")
    program = open_program(path)
    assert (program.latent_dim, program.num_classes, program.labels, program.batch) == (6, 5, "onehot", 4)
    latents, labels = torch.randn(6, 6), torch.eye(5)[[4, 0, 2, 1, 1, 3]]
    torch.testing.assert_close(program.call(latents, labels), module(labels, latents)[1], atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match="batch=4 as in the model, found 3"):
        open_program(path, batch=3)


def test_latents_of_four_dimensions(tmp_path: Path) -> None:
    module = seeded(Unconditional)
    inputs = (torch.randn(2, 7, 1, 1),)
    path = export(module, inputs, ["x"], tmp_path / "g.onnx", dynamic_axes={"x": {0: "batch"}})
    program = open_program(path)
    assert (program.latent_dim, program.num_classes, program.labels) == (7, 0, "none")
    latents = torch.randn(5, 7)
    torch.testing.assert_close(program.call(latents, None), module(latents[..., None, None]), atol=1e-5, rtol=0)


def drawn(call: Any, latents: Any, labels: Any, queue: Any) -> None:
    queue.put(call(torch.tensor(latents), torch.tensor(labels)).tolist())


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_other_processes_open_a_session_of_their_own(by_number: Path, method: str) -> None:
    call = open_program(by_number, threads=2).call
    latents, labels = torch.randn(3, 8), torch.tensor([0, 1, 2])
    expected = call(latents, labels)
    assert len(pickle.dumps(call)) < 2000
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=drawn, args=(call, latents.tolist(), labels.tolist(), queue))
    process.start()
    found = torch.tensor(queue.get())
    process.join()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def saved(path: Path, nodes: list[Any], weights: list[Any] | None = None, **settings: Any) -> Path:
    """A model that takes z `(N, 4)` and returns image `(N, ...)`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("z", FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("image", FLOAT, ["N", 1, 2, 2])],
        weights or [],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, **settings)
    path.write_bytes(model.SerializeToString())
    return path


SHAPE = helper.make_tensor("shape", INT64, [4], [-1, 1, 2, 2])
RESHAPE = helper.make_node("Reshape", ["z", "shape"], ["image"])
IDENTITY = helper.make_function("custom", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [])


def test_a_small_model_opens(tmp_path: Path) -> None:
    program = open_program(saved(tmp_path / "g.onnx", [RESHAPE], [SHAPE]))
    latents = torch.randn(2, 4)
    assert torch.equal(program.call(latents, None), latents.reshape(2, 1, 2, 2))


@pytest.mark.parametrize(
    ("node", "match"),
    [
        (helper.make_node("Own", ["z"], ["w"], domain="custom"), "'Own' of 'custom'"),
        (helper.make_node("FusedConv", ["z"], ["w"], domain="com.microsoft"), "com.microsoft"),
        (helper.make_node("RandomNormalLike", ["z"], ["w"]), "RandomNormalLike, which draws random numbers"),
        (helper.make_node("Loop", ["z"], ["w"], body=helper.make_graph([], "body", [], [])), "Loop"),
        (
            helper.make_node("If", ["z"], ["w"], then_branch=helper.make_graph(
                [helper.make_node("Own", ["z"], ["w"], domain="custom")], "then", [], []
            )),
            "'Own' of 'custom'",
        ),
        (helper.make_node("Constant", [], ["w"], value=helper.make_tensor("t", STRING, [1], [b"x"])), "text"),
    ],
)  # fmt: skip
def test_operators_that_are_refused(tmp_path: Path, node: Any, match: str) -> None:
    with pytest.raises(ArtifactError, match=match):
        open_program(saved(tmp_path / "g.onnx", [node, RESHAPE], [SHAPE]))


def test_functions_and_deep_graphs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="inline them"):
        open_program(saved(tmp_path / "a.onnx", [RESHAPE], [SHAPE], functions=[IDENTITY]))
    node = helper.make_node("Relu", ["z"], ["w"])
    for _ in range(12):
        node = helper.make_node("If", ["z"], ["w"], then_branch=helper.make_graph([node], "then", [], []))
    with pytest.raises(ArtifactError, match="nested"):
        open_program(saved(tmp_path / "b.onnx", [node, RESHAPE], [SHAPE]))


def outside(location: str, **entries: str) -> Any:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


ADD = [helper.make_node("Add", ["z", "w"], ["sum"]), helper.make_node("Reshape", ["sum", "shape"], ["image"])]


def test_weights_beside_the_model_and_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    weights = np.arange(4, dtype=np.float32)
    for place in (tmp_path / "secret.bin", folder / "parts" / "w.bin"):
        place.write_bytes(weights.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    program = open_program(saved(folder / "g.onnx", ADD, [SHAPE, outside("parts/w.bin")]))
    assert program.call(torch.zeros(1, 4), None).flatten().tolist() == weights.tolist()
    places = ["../secret.bin", str(tmp_path / "secret.bin"), "parts/../../secret.bin", "link.bin", "", "..\\secret.bin"]
    for place in [*places, "C:secret.bin", "a\0b"]:
        with pytest.raises(ArtifactError, match="folder"):
            open_program(saved(folder / "g.onnx", ADD, [SHAPE, outside(place)]))
    with pytest.raises(ArtifactError, match="no such file"):
        open_program(saved(folder / "g.onnx", ADD, [SHAPE, outside("missing.bin")]))
    with pytest.raises(ArtifactError, match="past the end"):
        open_program(saved(folder / "g.onnx", ADD, [SHAPE, outside("parts/w.bin", offset="8", length="16")]))


def test_a_cache_of_links_is_read(tmp_path: Path) -> None:
    for name in ("blobs", "snapshot"):
        (tmp_path / name).mkdir()
    (tmp_path / "blobs" / "w").write_bytes(np.ones(4, dtype=np.float32).tobytes())
    saved(tmp_path / "blobs" / "g", [RESHAPE], [SHAPE])
    (tmp_path / "snapshot" / "g.onnx").symlink_to("../blobs/g")
    assert open_program(tmp_path / "snapshot" / "g.onnx").latent_dim == 4


def test_absurd_sizes(tmp_path: Path) -> None:
    empty = onnx.TensorProto(name="w", data_type=FLOAT, dims=[2**20, 2**20])
    with pytest.raises(ArtifactError, match="more than there are bytes"):
        open_program(saved(tmp_path / "a.onnx", ADD, [SHAPE, empty]))
    side = helper.make_tensor("side", INT64, [1], [2**18])
    nodes = [
        helper.make_node("Mul", ["side", "side"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["w"], keepdims=0),
        *ADD,
    ]
    program = open_program(saved(tmp_path / "b.onnx", nodes, [SHAPE, side]))
    with pytest.raises(SynthesizerError, match="failure"):
        program.call(torch.zeros(1, 4), None)
    with pytest.raises(ConfigError, match="first ONNX model of this process"):
        open_program(tmp_path / "b.onnx", memory=2**20)


def test_truncated_and_scrambled_files(tmp_path: Path) -> None:
    content = saved(tmp_path / "g.onnx", ADD, [SHAPE, helper.make_tensor("w", FLOAT, [4], [1, 2, 3, 4])]).read_bytes()
    path = tmp_path / "h.onnx"
    random = np.random.default_rng(0)
    scrambled = [content[:length] for length in range(0, len(content), 7)]
    for _ in range(150):
        draft = bytearray(content)
        for at in random.integers(len(draft), size=3):
            draft[at] = random.integers(256)
        scrambled.append(bytes(draft))
    for one in [*scrambled, b"PK\x03\x04" + content, b"\0" * 200, os.urandom(200)]:
        path.write_bytes(one)
        try:
            open_program(path).call(torch.zeros(1, 4), None)
        except GanAugmentError:
            continue
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="damaged"):
        open_program(path)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    call = open_program(saved(tmp_path / "g.onnx", [RESHAPE], [SHAPE])).call
    packed = pickle.dumps(call)
    saved(tmp_path / "g.onnx", ADD, [SHAPE, helper.make_tensor("w", FLOAT, [4], [1, 2, 3, 4])])
    with pytest.raises(ArtifactError, match="changed"):
        pickle.loads(packed)(torch.zeros(1, 4))


def test_without_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"gan_augment\[onnx\]"):
        open_program(saved(tmp_path / "g.onnx", [RESHAPE], [SHAPE]))
