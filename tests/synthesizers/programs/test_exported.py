"""torch.export files: the same images as the module, and hostile files that run nothing."""

import json
import pickle
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.synthesizers.programs.exported import open_program
from tests.synthesizers.programs.generators import ByNumber, ByVector, Payload, Unconditional, seeded


def export(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, free: bool = True) -> Path:
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = tuple({0: batch} for _ in inputs) if free else None
    torch.export.save(torch.export.export(module, inputs, dynamic_shapes=shapes), path)
    return path


@pytest.fixture(scope="module")
def by_number(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "g.pt2"
    return export(seeded(ByNumber), (torch.randn(2, 8), torch.tensor([0, 1])), path)


def changed(path: Path, to: Path, name: str, change: Callable[[Any], Any], **settings: Any) -> Path:
    """A copy of an archive, one JSON or binary entry of which is changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(to, "w", **settings) as sink:
        for entry in source.namelist():
            content = source.read(entry)
            if entry.endswith(name):
                content = change(content) if not name.endswith("json") else json.dumps(change(json.loads(content)))
            sink.writestr(entry, content)
    return to


def graph_change(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(program: Any) -> Any:
        change(program["graph_module"])
        return program

    return apply


def test_images_equal_the_modules(by_number: Path) -> None:
    program = open_program(by_number)
    assert (program.latent_dim, program.num_classes, program.labels) == (8, 3, "int")
    assert (program.image_shape, program.batch, program.form) == ((3, 16, 16), None, "torch.export")
    torch.manual_seed(1)
    latents, labels = torch.randn(70, 8), torch.arange(70) % 3
    with torch.no_grad():
        expected = seeded(ByNumber)(latents, labels)
        torch.testing.assert_close(program.call(latents, labels), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(program.call(latents[:1], labels[:1]), expected[:1], atol=1e-5, rtol=0)


def test_fixed_batches_are_padded_and_cut(tmp_path: Path) -> None:
    path = export(seeded(ByNumber), (torch.randn(4, 8), torch.tensor([0, 1, 2, 0])), tmp_path / "g.pt2", free=False)
    program = open_program(path)
    assert program.batch == 4
    latents, labels = torch.randn(7, 8), torch.arange(7) % 3
    expected = seeded(ByNumber)(latents, labels)
    torch.testing.assert_close(program.call(latents, labels), expected, atol=1e-5, rtol=0)


def test_one_hot_labels_other_order_several_outputs_and_writing_in_place(tmp_path: Path) -> None:
    module = seeded(ByVector)
    path = export(module, (torch.randn(2, 5), torch.randn(2, 6)), tmp_path / "g.pt2")
    program = open_program(path)
    assert (program.latent_dim, program.num_classes, program.labels) == (6, 5, "onehot")
    latents, labels = torch.randn(3, 6), torch.eye(5)[[4, 0, 2]]
    kept = latents.clone()
    for _ in range(2):
        torch.testing.assert_close(program.call(latents, labels), module(labels, latents)[1], atol=1e-5, rtol=0)
    assert torch.equal(latents, kept)
    swapped = open_program(path, latents="c")
    assert (swapped.latent_dim, swapped.num_classes) == (5, 6)
    with pytest.raises(ConfigError, match="found 'x'; its outputs are") as told:
        open_program(path, output="x")
    features = re.search(r"outputs are (\w+)", str(told.value))
    assert features is not None
    assert open_program(path, output=features[1]).image_shape == (128,)


def test_latents_of_four_dimensions(tmp_path: Path) -> None:
    module = seeded(Unconditional)
    program = open_program(export(module, (torch.randn(2, 7, 1, 1),), tmp_path / "g.pt2"))
    assert (program.latent_dim, program.num_classes, program.labels) == (7, 0, "none")
    latents = torch.randn(5, 7)
    expected = module(latents[..., None, None])
    torch.testing.assert_close(program.call(latents, None), expected, atol=1e-5, rtol=0)


def test_decomposed_graphs(tmp_path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    inputs = (torch.randn(2, 8), torch.tensor([0, 1]))
    exported = torch.export.export(seeded(ByNumber), inputs, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(exported.run_decompositions(), tmp_path / "g.pt2")
    latents, labels = torch.randn(5, 8), torch.arange(5) % 3
    images = open_program(tmp_path / "g.pt2").call(latents, labels)
    torch.testing.assert_close(images, seeded(ByNumber)(latents, labels), atol=1e-5, rtol=0)


def test_pickled_it_opens_its_file_again(by_number: Path) -> None:
    call = open_program(by_number).call
    packed = pickle.dumps(call)
    assert len(packed) < 2000
    latents, labels = torch.randn(2, 8), torch.tensor([0, 2])
    assert torch.equal(pickle.loads(packed)(latents, labels), call(latents, labels))


def test_requests_that_do_not_fit(by_number: Path) -> None:
    call = open_program(by_number).call
    with pytest.raises(SynthesizerError, match=r"latents \(N, 8\), found \(2, 7\)"):
        call(torch.randn(2, 7), torch.tensor([0, 1]))
    with pytest.raises(SynthesizerError, match="found none"):
        call(torch.randn(2, 8), None)
    with pytest.raises(ConfigError, match="num_classes=3 as in the program, found 4"):
        open_program(by_number, num_classes=4)
    with pytest.raises(ConfigError, match=r"expected latents= to name an input, found 'w'; .* z \(float \?x8\), y"):
        open_program(by_number, latents="w")


class Noisy(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z[:, :, None, None] + torch.randn(1, 1, 2, 2)


@pytest.mark.parametrize("kind", ["noise", "training", "transcendental"])
def test_what_is_not_run_is_named(kind: str, tmp_path: Path) -> None:
    if kind == "noise":
        path, match = export(Noisy(), (torch.randn(2, 3),), tmp_path / "g.pt2"), r"aten\.randn\S*, which draws random"
    elif kind == "training":
        inputs = (torch.randn(2, 8), torch.tensor([0, 1]))
        path, match = export(seeded(ByNumber).train(), inputs, tmp_path / "g.pt2"), r"eval"
    else:
        module = nn.Sequential(nn.Unflatten(1, (2, 2, 2)), Gamma())
        path, match = export(module, (torch.randn(2, 8),), tmp_path / "g.pt2"), r"'torch\.ops\.aten\.lgamma\.default'"
    with pytest.raises(ArtifactError, match=match):
        open_program(path)


class Gamma(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.lgamma(x)


TARGETS = [
    "os.system",
    "torch.ops.aten.tanh.__init__",
    "torch.ops.aten.__class__.default",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.as_strided.default",
    "torch.ops.aten.set_.source_Tensor",
    "torch.ops.aten.tanh.out",
    "torch.ops.aten.mul.left_t",
    "torch.ops.aten.save.default",
    "torch.ops.prim.device.default",
    "torch.hub.load",
    "torch.load",
    "builtins.eval",
    "#AOTI",
]


@pytest.mark.parametrize("target", TARGETS)
def test_operators_that_are_not_on_the_list(by_number: Path, tmp_path: Path, target: str) -> None:
    def change(module: Any) -> None:
        module["graph"]["nodes"][-1]["target"] = target

    path = changed(by_number, tmp_path / "g.pt2", "model.json", graph_change(change))
    with pytest.raises(ArtifactError, match=re.escape(repr(target))):
        open_program(path)


def test_nothing_is_unpickled_or_evaluated(by_number: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"__import__('os').system('touch {canary}')"

    def poison(module: Any) -> None:
        for meta in module["graph"]["tensor_values"].values():
            for side in meta["sizes"]:
                if "as_expr" in side:
                    side["as_expr"]["expr_str"] = code
        module["module_call_graph"][0]["signature"]["in_spec"] = code
        module["graph"]["nodes"][0]["metadata"] = {"nn_module_stack": code, "torch_fn": code}

    def guards(program: Any) -> Any:
        program["guards_code"] = [code]
        return program

    path = changed(by_number, tmp_path / "a.pt2", "model.json", graph_change(poison))
    with pytest.raises(ConfigError, match="expected a batch that is free or fixed"):
        open_program(path)
    path = changed(by_number, tmp_path / "b.pt2", "sample_inputs/model.pt", lambda old: pickle.dumps(Payload(canary)))
    path = changed(path, tmp_path / "c.pt2", "model.json", guards)
    open_program(path).call(torch.randn(2, 8), torch.tensor([0, 1]))

    def pickled(config: Any) -> Any:
        config["config"]["last.bias"]["use_pickle"] = True
        return config

    path = changed(by_number, tmp_path / "d.pt2", "weight_0", lambda old: pickle.dumps(Payload(canary)))
    path = changed(path, tmp_path / "e.pt2", "model_weights_config.json", pickled)
    with pytest.raises(ArtifactError, match="Python object"):
        open_program(path)
    assert not canary.exists()


def old_layout(path: Path, to: Path, state: Any) -> Path:
    """The layout of torch 2.6 and 2.7."""
    with zipfile.ZipFile(path) as source:
        program = source.read(next(name for name in source.namelist() if name.endswith("models/model.json")))
    torch.save(state, to.with_suffix(".state"))
    with zipfile.ZipFile(to, "w") as sink:
        sink.writestr("version", "8.2")
        sink.writestr("serialized_exported_program.json", program)
        sink.writestr("serialized_state_dict.pt", to.with_suffix(".state").read_bytes())
        sink.writestr("serialized_constants.pt", b"")
    return to


def test_the_older_layout(by_number: Path, tmp_path: Path) -> None:
    module = seeded(ByNumber)
    path = old_layout(by_number, tmp_path / "g.pt2", module.state_dict())
    latents, labels = torch.randn(5, 8), torch.arange(5) % 3
    images = open_program(path).call(latents, labels)
    torch.testing.assert_close(images, module(latents, labels), atol=1e-5, rtol=0)
    canary = tmp_path / "canary"
    with pytest.raises(ArtifactError, match="else than tensors"):
        open_program(old_layout(by_number, tmp_path / "h.pt2", {"last.bias": Payload(canary)}))
    assert not canary.exists()


def test_archives_that_are_not_as_torch_writes_them(by_number: Path, tmp_path: Path) -> None:
    squeezed = changed(by_number, tmp_path / "a.pt2", "none", bytes, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactError, match="compressed"):
        open_program(squeezed)
    content = by_number.read_bytes()
    path = tmp_path / "b.pt2"
    for length in [0, 1, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            open_program(path)
    with pytest.raises(ArtifactError, match="found no such file"):
        open_program(tmp_path / "missing.pt2")

    def outside(config: Any) -> Any:
        config["config"]["last.bias"]["path_name"] = "../../../../etc/passwd"
        return config

    with pytest.raises(ArtifactError, match="etc/passwd"):
        open_program(changed(by_number, tmp_path / "c.pt2", "model_weights_config.json", outside))


@pytest.mark.parametrize(
    "meta",
    [
        {"sizes": [{"as_int": 2**40}]},
        {"sizes": [{"as_int": 3}], "strides": [{"as_int": 2**50}]},
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": -1}},
        {"strides": [{"as_int": -1}]},
        {"dtype": 8},
        {"dtype": 99},
        {"sizes": [{"as_expr": {"expr_str": "1"}}]},
    ],
)
def test_weights_that_do_not_lie_in_the_file(by_number: Path, tmp_path: Path, meta: dict[str, Any]) -> None:
    def change(config: Any) -> Any:
        config["config"]["last.bias"]["tensor_meta"].update(meta)
        return config

    with pytest.raises(ArtifactError, match="damaged"):
        open_program(changed(by_number, tmp_path / "g.pt2", "model_weights_config.json", change))


def test_absurd_sizes_take_no_memory(by_number: Path, tmp_path: Path) -> None:
    def grow(module: Any) -> None:
        node = next(node for node in module["graph"]["nodes"] if "upsample" in node["target"])
        node["inputs"][-1]["arg"] = {"as_floats": [60000.0, 60000.0]}

    start = time.perf_counter()
    with pytest.raises(ArtifactError, match=r"upsample.* bytes are needed"):
        open_program(changed(by_number, tmp_path / "a.pt2", "model.json", graph_change(grow)))
    assert time.perf_counter() - start < 5
    with pytest.raises(ArtifactError, match="bytes are needed, more than"):
        open_program(by_number, memory=1000)

    def numbers(module: Any) -> None:
        nodes = [
            {
                "target": "_operator.mul",
                "inputs": [{"name": "a", "arg": {"as_sym_int": side}}, {"name": "b", "arg": {"as_sym_int": side}}],
                "outputs": [{"as_sym_int": {"as_name": "n"}}],
            }
            for side in [{"as_int": 10}, *[{"as_name": "n"}] * 60]
        ]
        module["graph"]["nodes"][:0] = nodes
        node = next(node for node in module["graph"]["nodes"] if "reshape" in node["target"])
        node["inputs"][-1]["arg"] = {"as_sym_ints": [{"as_name": "n"}, {"as_int": 4}]}

    with pytest.raises(ArtifactError, match="usable magnitude"):
        open_program(changed(by_number, tmp_path / "b.pt2", "model.json", graph_change(numbers)))


CRASHES = [
    ("torch.ops.aten.view.dtype", {"self": {"as_tensor": {"name": "z"}}, "dtype": {"as_int": 2**31 - 1}}),
    ("torch.ops.aten.to.prim_dtype", {"self": {"as_tensor": {"name": "z"}}, "dtype": {"as_int": -2}}),
    ("torch.ops.aten.zeros_like.default", {"self": {"as_tensor": {"name": "z"}}, "memory_format": {"as_int": 99}}),
    ("torch.ops.aten.zeros_like.default", {"self": {"as_tensor": {"name": "z"}}, "pin_memory": {"as_bool": True}}),
    (
        "torch.ops.aten.conv_transpose2d.input",
        {
            "input": {"as_tensor": {"name": "reshape"}},
            "weight": {"as_tensor": {"name": "p_up_weight"}},
            "bias": {"as_none": True},
            "stride": {"as_ints": [2, 32768]},
        },
    ),
]
"""Found by fuzzing: each crashes the process where torch runs it."""


@pytest.mark.parametrize(("target", "arguments"), CRASHES)
def test_arguments_that_crash_torch(by_number: Path, tmp_path: Path, target: str, arguments: dict[str, Any]) -> None:
    def insert(module: Any) -> None:
        inputs = [{"name": name, "arg": arg, "kind": 1} for name, arg in arguments.items()]
        node = {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": "other"}}]}
        module["graph"]["nodes"].insert(-1, node)

    with pytest.raises(ArtifactError, match=re.escape(target)):
        open_program(changed(by_number, tmp_path / "g.pt2", "model.json", graph_change(insert)))


def test_weights_are_not_written_to(by_number: Path, tmp_path: Path) -> None:
    def write(module: Any) -> None:
        module["graph"]["nodes"].insert(
            0,
            {
                "target": "torch.ops.aten.relu_.default",
                "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "p_last_bias"}}, "kind": 1}],
                "outputs": [{"as_tensor": {"name": "other"}}],
            },
        )

    with pytest.raises(GanAugmentError, match="leaves its weights as they are"):
        open_program(changed(by_number, tmp_path / "g.pt2", "model.json", graph_change(write)))


def scrambled(value: Any, draw: Callable[[int], int]) -> Any:
    """The same JSON with a number, name or list exchanged here and there."""
    odd = [0, -1, 1, 2**31, 2**63, 2**70, 1e308, "", "z", "last", None, [], {}, True, [[]] * 3]
    if draw(60) == 0:
        return odd[draw(len(odd))]
    if isinstance(value, dict):
        return {key: scrambled(part, draw) for key, part in value.items()}
    if isinstance(value, list):
        return [scrambled(part, draw) for part in value]
    return value


@pytest.mark.parametrize("name", ["model.json", "model_weights_config.json"])
def test_scrambled_files_are_refused_or_opened(by_number: Path, tmp_path: Path, name: str) -> None:
    generator = torch.Generator().manual_seed(5)

    def draw(most: int) -> int:
        return int(torch.randint(most, (), generator=generator))

    refused = 0
    for _ in range(60):
        path = changed(by_number, tmp_path / "g.pt2", name, lambda value: scrambled(value, draw))
        try:
            program = open_program(path)
            program.call(torch.randn(2, program.latent_dim or 1), torch.tensor([0, 1]))
        except GanAugmentError:
            refused += 1
        except (RuntimeError, IndexError) as error:  # of an operator that the rehearsal let through
            pytest.fail(f"{type(error).__name__}: {error}")
    assert refused > 20
