"""Opens `.pt2` files of `torch.export.save`, and runs their graphs with an interpreter of our own.

`torch.export.load` is not called, because it trusts its file: it unpickles sample inputs, constants and weights that
say so (`torch.load(weights_only=False)`, `pickle.loads`), evaluates symbolic sizes (`sympy.sympify`) and guards as
Python, follows dotted names to functions, imports the types that tree descriptions name, and loads compiled libraries
that lie in the archive. None of those parts is read here. What is read:

- the graph, JSON of at most 64 MiB, whose operators must be on an allow-list (`exported_graph`). Symbolic sizes are
  not evaluated: the one that matters, the batch, is matched by a pattern.
- weights, raw numbers whose sizes are held against the bytes in the archive, which must be stored uncompressed.
  The state dicts of torch 2.6 and 2.7 go through the unpickler of `torch.load(weights_only=True)`.

The graph is first run on the meta device, which computes shapes and takes no memory: a graph that needs more than
`memory` bytes for one image is refused before it runs. Arguments are held to their operator's own types, and steps of
convolutions to bounds, because some of torch's kernels crash on what no exporter writes (a number in place of a type, a
transposed convolution with a stride of 8192). What is left to a hostile file is to take time, and whatever mistakes
torch's kernels still have: it computes, but it calls nothing.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.synthesizers.programs.call import Binding, Port, Program, bind, in_chunks, read_error
from gan_augment.synthesizers.programs.exported_archive import DTYPES, WHAT, Archive, damaged
from gan_augment.synthesizers.programs.exported_graph import Graph, parse

__all__ = ["ExportedGenerator", "open_program"]

_MEMORY = 2**31
_MOST_ROWS = 64
_PER_CALL = 2**28
_MOST_ALIVE = 500


class ExportedGenerator(nn.Module):
    """A graph with its weights, called as `(latents, labels)`; made by `open_program`.

    A module, so that it moves between devices; pickled, it is the path of its file and opens it again.
    """

    def __init__(
        self,
        graph: Graph,
        weights: Mapping[str, Tensor],
        constants: Mapping[str, Any],
        binding: Binding,
        output: str,
        rows: tuple[int, int],
        dtypes: Sequence[torch.dtype],
        origin: tuple[str, tuple[int, int], dict[str, Any]],
    ) -> None:
        super().__init__()
        self._graph, self._constants, self._binding, self._output = graph, dict(constants), binding, output
        (self._least, self._most), self._dtypes = rows, tuple(dtypes)
        self._origin = origin
        self._names = list(weights)
        for index, weight in enumerate(weights.values()):
            if weight.is_floating_point():  # as a parameter, so that the module's device can be seen
                self.register_parameter(f"weight_{index}", nn.Parameter(weight, requires_grad=False))
            else:
                self.register_buffer(f"weight_{index}", weight)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._origin

    def extra_repr(self) -> str:
        """Names what it takes and returns."""
        return f"{', '.join(map(str, self._binding.ports))} -> {self._output}"

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images `(N, *image_shape)` for latents `(N, latent_dim)` and labels.

        Raises:
            SynthesizerError: Latents or labels have another shape than the program takes, or it fails.
        """
        inputs = self._binding.inputs(latents, None if labels is None else labels.to(latents.device))
        return in_chunks(self._run, inputs, batch=self._binding.batch, most=self._most, least=self._least)

    def _run(self, inputs: list[Tensor]) -> Tensor:
        weights = [getattr(self, f"weight_{index}") for index in range(len(self._names))]
        inputs = [part.to(dtype, copy=self._graph.changes) for part, dtype in zip(inputs, self._dtypes, strict=True)]
        values = {**self._constants, **dict(zip(self._names, weights, strict=True))}
        values |= {port.name: part for port, part in zip(self._binding.ports, inputs, strict=True)}
        try:
            (images,) = self._graph.run(values, [self._output], inputs[0].device, weights)
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
            if isinstance(error, GanAugmentError):
                raise
            raise SynthesizerError(
                f"expected images for {len(inputs[0])} latents, found a failure: {error!s:.300}"
            ) from None
        return images  # type: ignore[no-any-return]


def open_program(
    path: str | Path,
    *,
    trust: bool = False,
    latents: str | None = None,
    label: str | None = None,
    num_classes: int | None = None,
    output: str | None = None,
    memory: int = _MEMORY,
) -> Program:
    """Opens a generator that `torch.export.save` wrote. Nothing in the file is executed as code, trusted or not.

    Args:
        path: The file.
        trust: Makes no difference.
        latents: Name of the input that takes the latents `(N, D)`; None to find it.
        label: Name of the input that takes the label; None to find it.
        num_classes: Number of classes, where it takes them as whole numbers and no embedding tells.
        output: Name of the output that is the images; None for the first of 4 or 5 dimensions.
        memory: Bytes that the program may take for one image, or for one batch where it has a fixed one.

    Raises:
        ArtifactError: The file is damaged, or holds what is not run: operators that are not on the list, random
            numbers, layers in training mode, sizes beyond `memory`.
        ConfigError: Latents, label or output cannot be told, or what is given does not fit.
    """
    path = Path(path)
    archive = Archive(path)
    options = {"latents": latents, "label": label, "num_classes": num_classes, "output": output, "memory": memory}
    with damaged(path):
        weights, constants, free = _inputs(archive, path)
        outputs = _outputs(archive, path)
        metas = archive.graph["tensor_values"]
        ports = [_port(name, metas[name], path) for name in free]
        binding = bind(
            ports, latents=latents, label=label, num_classes=num_classes, read_off=_tables(archive.graph, weights)
        )
        chosen = _chosen(outputs, metas, output)
        graph = parse(archive.graph, [chosen])
        least, most = _rows(archive, metas, binding)
        dtypes = [DTYPES[metas[port.name]["dtype"]] for port in ports]
        rows = binding.batch or min(max(2, least), most)
        shape, peak = _rehearse(graph, weights, constants, dtypes, binding, chosen, rows, memory, path)
        each = max(1, peak // rows)
        most = max(least, min(most, _MOST_ROWS, max(1, _PER_CALL // each)))
        stat = path.stat()
        origin = (str(path.absolute()), (stat.st_size, stat.st_mtime_ns), options)
        call = ExportedGenerator(graph, weights, constants, binding, chosen, (least, most), dtypes, origin)
    return Program(
        call=call.eval(),
        latent_dim=binding.latent_dim,
        num_classes=binding.num_classes,
        labels=binding.labels,
        image_shape=shape,
        form="torch.export",
        batch=binding.batch,
    )


def _reopen(path: str, seen: tuple[int, int], options: dict[str, Any]) -> ExportedGenerator:
    opened = open_program(path, **options).call
    stat = Path(path).stat()
    if (stat.st_size, stat.st_mtime_ns) != seen:
        raise ArtifactError(f"expected {path} as it was when it was opened first, found it changed; open it again")
    assert isinstance(opened, ExportedGenerator)
    return opened


def _inputs(archive: Archive, path: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Returns weights by their names in the graph, plain constants, and the names of what a caller gives."""
    weights: dict[str, Tensor] = {}
    constants: dict[str, Any] = {}
    free: list[str] = []
    for spec in archive.signature["input_specs"]:
        ((kind, value),) = spec.items()
        if kind in ("parameter", "buffer", "tensor_constant"):
            weights[value["arg"]["name"]] = archive.weights[value[f"{kind}_name"]]
        elif kind == "constant_input":
            constants[value["name"]] = None
        elif kind == "user_input":
            ((form, arg),) = value["arg"].items()
            if form == "as_tensor":
                free.append(arg["name"])
            elif form in ("as_sym_int", "as_sym_float", "as_custom_obj"):
                raise read_error(WHAT, path, f"an input {form!r} that is neither latents nor a label")
        else:
            raise read_error(WHAT, path, f"an input of kind {kind!r:.40}")
    return weights, constants, free


def _outputs(archive: Archive, path: Path) -> list[str]:
    names = []
    for spec in archive.signature["output_specs"]:
        ((kind, value),) = spec.items()
        if kind in ("buffer_mutation", "parameter_mutation"):
            raise read_error(WHAT, path, "a program that changes its own weights; call .eval() before the export")
        if kind == "user_output" and "as_tensor" in value["arg"]:
            names.append(value["arg"]["as_tensor"]["name"])
    return names


def _chosen(outputs: list[str], metas: Mapping[str, Any], output: str | None) -> str:
    told = ", ".join(f"{name} ({len(metas[name]['sizes'])} dimensions)" for name in outputs) or "none"
    if output is not None and output not in outputs:
        raise ConfigError(
            f"expected output= to name an output of the program, found {output!r}; its outputs are {told}"
        )
    images = [name for name in outputs if len(metas[name]["sizes"]) in (4, 5)]
    if output is None and not images:
        raise ConfigError(
            f"expected an output of images (N, C, H, W), found none; the outputs are {told}. Give output="
        )
    return images[0] if output is None else output


def _port(name: str, meta: Mapping[str, Any], path: Path) -> Port:
    dtype = DTYPES[meta["dtype"]]
    whole = dtype in (torch.int64, torch.int32)
    kind: Literal["float", "int", "other"] = "float" if dtype.is_floating_point else "int" if whole else "other"
    sides = [side.get("as_int") for side in meta["sizes"]]
    if any(side is None for side in sides[1:]):
        raise read_error(WHAT, path, f"an input {name!r:.40} of which more than the batch is left free")
    if not all(side is None or (type(side) is int and 1 <= side < 2**31) for side in sides):
        raise ValueError(f"sizes {sides!r:.80}")
    return Port(name, kind, tuple(sides))


def _rows(archive: Archive, metas: Mapping[str, Any], binding: Binding) -> tuple[int, int]:
    """Returns the least and the most rows of a call."""
    if binding.batch is not None:
        return binding.batch, binding.batch
    expression = metas[binding.ports[binding.latents].name]["sizes"][0]["as_expr"]["expr_str"]
    symbol = re.fullmatch(r"(?:Symbol\(')?(\w+)(?:'[\w\s,=]*\))?", expression)
    if symbol is None:
        raise ConfigError(
            f"expected a batch that is free or fixed, found the expression {expression!r:.80}; "
            "export the generator with a plain torch.export.Dim for the batch, or with a fixed one"
        )
    limits = archive.ranges.get(symbol[1], {})
    least, most = limits.get("min_val") or 1, limits.get("max_val") or math.inf
    return max(1, int(least)), int(min(most, _MOST_ROWS))


def _tables(graph: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Returns how many rows the embeddings have in which an input is looked up."""
    rows = {}
    for node in graph["nodes"]:
        if node["target"] == "torch.ops.aten.embedding.default":
            table, index = (part["arg"].get("as_tensor", {}).get("name") for part in node["inputs"][:2])
            if table in weights and weights[table].ndim == 2:
                rows[index] = weights[table].shape[0]
    return rows


def _rehearse(
    graph: Graph,
    weights: Mapping[str, Tensor],
    constants: Mapping[str, Any],
    dtypes: Sequence[torch.dtype],
    binding: Binding,
    output: str,
    rows: int,
    memory: int,
    path: Path,
) -> tuple[tuple[int, ...], int]:
    """Runs the graph on the meta device; returns the shape of an image and the most bytes alive at once."""
    limit = memory * (1 if binding.batch else rows)
    peak = 0

    def watch(target: str, values: Mapping[str, Any]) -> None:
        nonlocal peak
        tensors = [value for name, value in values.items() if isinstance(value, Tensor) and name not in weights]
        largest = max((tensor.numel() * tensor.element_size() for tensor in tensors), default=0)
        alive = sum({one.untyped_storage()._cdata: one.untyped_storage().nbytes() for one in tensors}.values())
        peak = max(peak, largest, alive)
        if len(tensors) > _MOST_ALIVE:
            raise read_error(WHAT, path, f"more than {_MOST_ALIVE} tensors that are kept for later steps")
        if peak > limit:
            raise read_error(WHAT, path, f"a step {target} after which {peak} bytes are needed, more than {limit}")

    device = torch.device("meta")
    values = {**constants}
    for name, weight in weights.items():
        values[name] = torch.empty_strided(weight.shape, weight.stride(), dtype=weight.dtype, device=device)
    for port, dtype in zip(binding.ports, dtypes, strict=True):
        sides = [side for side in (port.shape or ())[1:] if side is not None]
        values[port.name] = torch.empty(rows, *sides, dtype=dtype, device=device)
    fixed = [values[name] for name in weights]
    with torch.no_grad():
        (images,) = graph.run(values, [output], device, fixed, watch)
    if not isinstance(images, Tensor) or images.ndim < 2 or images.shape[0] != rows:
        raise read_error(WHAT, path, f"an output of shape {tuple(getattr(images, 'shape', ()))} for {rows} images")
    return tuple(images.shape[1:]), peak
