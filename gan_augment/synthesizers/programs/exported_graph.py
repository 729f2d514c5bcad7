"""Runs the graph of a torch.export file: an allow-list of aten operators without side effects, called one by one.

The graph is JSON: each node names an operator, its arguments, which are values or names of earlier results, and its
results. An operator's name is looked up in `exported_operators` before it is looked up in torch.
"""

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, SynthesizerError
from gan_augment.synthesizers.programs.exported_arguments import DEVICE, Device, Name, argument, result
from gan_augment.synthesizers.programs.exported_operators import OPERATORS, RANDOM

__all__ = ["Graph", "parse"]


_SIZES = frozenset({"sym_size.int", "sym_stride.int", "sym_numel.default", "sym_storage_offset.default"})

_SKIPPED = frozenset(
    {
        "torch.ops.aten._assert_scalar.default",
        "torch.ops.aten._assert_tensor_metadata.default",
        "torch.ops.aten.sym_constrain_range.default",
        "torch.ops.aten.sym_constrain_range_for_size.default",
    }
)

_SCALARS: Mapping[str, Callable[..., Any]] = {
    **{
        f"_operator.{name}": getattr(operator, name)
        for name in (
            *("add", "sub", "mul", "floordiv", "truediv", "mod", "neg"),
            *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
        )
    },
    "math.floor": math.floor,
    "math.ceil": math.ceil,
    "math.trunc": math.trunc,
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
}

_ENUMS: Mapping[str, type] = {
    "ScalarType": torch.dtype,
    "MemoryFormat": torch.memory_format,
    "Layout": torch.layout,
    "Device": Device,
}
"""What stands for arguments that are numbers to torch's dispatcher."""

_WINDOWS = {"stride": 64, "dilation": 256, "output_padding": 64, "padding": 1024, "kernel_size": 1024, "groups": 2**16}
"""Most of what arguments of convolutions and pools may be."""

_MOST_NODES = 20_000
_MOST_NUMBER = 2**62


@dataclass
class _Node:
    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    results: list[Any]
    scalar: bool
    target: str
    changes: str | None = None
    last: list[str] = field(default_factory=list)


@dataclass
class Graph:
    """A graph that was found to hold only operators on the list.

    Attributes:
        nodes: What it does, in order.
        changes: Whether a node writes into one of its arguments.
    """

    nodes: list[_Node]
    changes: bool

    def run(
        self,
        values: dict[str, Any],
        outputs: Sequence[str],
        device: torch.device,
        fixed: Sequence[Tensor] = (),
        watch: Callable[[str, Mapping[str, Any]], None] | None = None,
    ) -> list[Any]:
        """Computes the outputs.

        Args:
            values: The graph's inputs by name; emptied as they are used up.
            outputs: Names of what is returned.
            device: Where new tensors are made.
            fixed: Tensors that no node may write into.
            watch: Called after each node with its operator and the values that are alive.

        Raises:
            SynthesizerError: A node would write into `fixed`.
        """
        kept = {tensor.untyped_storage()._cdata for tensor in fixed} if self.changes else set()
        for node in self.nodes:
            args = [_resolve(arg, values, device) for arg in node.args]
            kwargs = {name: _resolve(arg, values, device) for name, arg in node.kwargs.items()}
            if node.changes is not None and args[0].untyped_storage()._cdata in kept:
                raise SynthesizerError(
                    f"expected a program that leaves its weights as they are, found {node.target} on them"
                )
            found = node.function(*args, **kwargs)
            if node.scalar and not (isinstance(found, bool | int | float) and abs(found) < _MOST_NUMBER):
                raise ArtifactError(
                    f"expected sizes of a usable magnitude in the program, found {node.target} past them"
                )
            _store(found, node.results, values)
            if watch is not None:
                watch(node.target, values)
            for name in node.last:
                values.pop(name, None)
        return [values[name] for name in outputs]


def _resolve(arg: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if type(arg) is Name:
        return values[arg.name]
    if type(arg) is list:
        return [_resolve(part, values, device) for part in arg]
    return device if arg is DEVICE else arg


def _store(found: Any, results: list[Any], values: dict[str, Any]) -> None:
    if len(results) == 1 and not isinstance(results[0], list):
        found = (found,)
    elif len(results) == 1:
        (results,) = results
    if len(found) != len(results):
        raise ArtifactError(f"expected {len(results)} results of an operator in the program, found {len(found)}")
    for name, value in zip(results, found, strict=True):
        if name is not None:
            values[name] = value


def parse(graph: Mapping[str, Any], outputs: Sequence[str]) -> Graph:
    """Returns the graph, after checking every node.

    Args:
        graph: The JSON.
        outputs: Names of the values that are wanted; what they do not need is left out.

    Raises:
        ArtifactError: There are too many nodes, or an operator that is not on the list.
        KeyError, TypeError, ValueError: The JSON is malformed.
    """
    if len(graph["nodes"]) > _MOST_NODES:
        raise ArtifactError(f"expected at most {_MOST_NODES} steps in the program, found {len(graph['nodes'])}")
    nodes = [_parse_node(node) for node in graph["nodes"] if node["target"] not in _SKIPPED]
    used = set(outputs)
    for node in reversed(nodes):  # the last that uses a value lets go of it
        names = {*_names([*node.args, *node.kwargs.values()]), *_names(node.results)}
        node.last = sorted(names - used)
        used |= names
    return Graph(nodes, any(node.changes is not None for node in nodes))


def _names(args: Sequence[Any]) -> Iterator[str]:
    for arg in args:
        if isinstance(arg, Name):
            yield arg.name
        elif isinstance(arg, str):
            yield arg
        elif isinstance(arg, list):
            yield from _names(arg)


def _parse_node(node: Mapping[str, Any]) -> _Node:
    target = node["target"]
    arguments = [(part["name"], argument(part["arg"])) for part in node["inputs"]]
    results = [result(part) for part in node["outputs"]]
    if target in _SCALARS:
        return _Node(_SCALARS[target], [value for _, value in arguments], {}, results, True, target)
    found = re.fullmatch(r"torch\.ops\.aten\.(\w+)\.(\w+)", target) if isinstance(target, str) else None
    if found is None:
        raise _refused(target)
    name, overload = found.groups()
    if f"{name}.{overload}" in _SIZES:
        return _Node(_operator(name, overload), [value for _, value in arguments], {}, results, True, target)
    plain = name.removesuffix("_") if name.endswith("_") and not name.endswith("__") else name
    if plain in RANDOM:
        raise ArtifactError(
            f"expected a program whose images depend on its inputs alone, found {target}, which draws random numbers; "
            "export the generator with its noise switched off or constant (such as noise_mode='const')"
        )
    if plain not in OPERATORS:
        raise _refused(target)
    function = _operator(name, overload)
    schema = function._schema
    tensors = all(str(one.type) in ("Tensor", "List[Tensor]") for one in schema.returns)
    writes = [one.name for one in schema.arguments if one.alias_info is not None and one.alias_info.is_write]
    if not tensors or not schema.returns or (writes and (plain == name or writes != [schema.arguments[0].name])):
        raise _refused(target)
    _check_mode(dict(arguments), target)
    _check_windows(dict(arguments), target)
    _check_types(schema, dict(arguments), target)
    order = [one.name for one in schema.arguments if not one.kwarg_only]
    given = dict(arguments)
    args = []
    for one in order:
        if one not in given:
            break
        args.append(given.pop(one))
    return _Node(function, args, given, results, False, target, writes[0] if writes else None)


def _operator(name: str, overload: str) -> Any:
    packet = getattr(torch.ops.aten, name)
    if overload not in packet.overloads() or overload.startswith("prim"):  # these take types as unchecked numbers
        raise _refused(f"torch.ops.aten.{name}.{overload}")
    return getattr(packet, overload)


def _refused(target: Any) -> ArtifactError:
    return ArtifactError(
        f"expected a program of tensor operators that are known to be harmless, found {target!r:.120}; "
        "export the generator without it, or open it in your own code and pass it to wrap"
    )


def _check_windows(arguments: Mapping[str, Any], target: str) -> None:
    """Refuses steps of convolutions and pools that no network has: some of torch's kernels crash on them."""
    for name, most in _WINDOWS.items():
        value = arguments.get(name)
        for side in value if isinstance(value, list) else [value]:
            if isinstance(side, Name) or (type(side) is int and not 0 <= side <= most):
                raise ArtifactError(
                    f"expected {name} of at most {most} in the program, found {value!r:.60} for {target}"
                )


def _check_types(schema: Any, arguments: Mapping[str, Any], target: str) -> None:
    """Refuses numbers in the place of types, layouts and devices, which torch takes unchecked and crashes on."""
    for one in schema.arguments:
        value, kind = arguments.get(one.name), str(one.real_type)
        wanted = next((made for name, made in _ENUMS.items() if name in kind), None)
        odd = isinstance(value, tuple(_ENUMS.values())) if wanted is None else not isinstance(value, wanted)
        if value is not None and odd:
            raise ArtifactError(f"expected {kind} as {one.name} of {target} in the program, found {value!r:.60}")
    if arguments.get("pin_memory"):
        raise ArtifactError(f"expected plain memory in the program, found pin_memory of {target}")


def _check_mode(arguments: Mapping[str, Any], target: str) -> None:
    """Refuses layers in training mode, whose images depend on the other images of the batch."""
    training = any(arguments.get(flag) is True for flag in ("training", "train")) and "no_stats" not in target
    learning = arguments.get("use_input_stats") is True and arguments.get("running_mean") is not None
    if training or learning or arguments.get("dropout_p"):
        raise ArtifactError(
            f"expected a program exported in eval mode, found {target} in training mode; "
            "call .eval() on the generator and export it again"
        )
