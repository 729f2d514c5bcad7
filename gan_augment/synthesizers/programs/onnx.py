"""Opens ONNX models with onnxruntime on the CPU, after a look through the file.

An ONNX file describes a graph of standard operators, and onnxruntime runs no code that the file brings: libraries of
custom operators are loaded only where a caller registers them, and none is registered here. Before the runtime sees the
file, `onnx_model.vet` walks through it and refuses operators outside the standard, functions, loops, random numbers,
tensors that are larger than the file, and weights in files outside the model's folder.

Memory is bounded by the runtime's own allocator, which is limited to `memory` bytes for all models of a process (for
instance, ConstantOfShape can ask for any size with a few bytes): beyond it a call fails. Time is not bounded. The
runtime itself is trusted to be free of memory errors.
"""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.optional import needed
from gan_augment.synthesizers.programs.call import Binding, Port, Program, bind, in_chunks, read_error
from gan_augment.synthesizers.programs.onnx_model import WHAT, vet

__all__ = ["OnnxGenerator", "open_program"]

_MEMORY = 2**32
_PER_CALL = 2**28
_BYTES_PER_PIXEL = 128
_TYPES = {
    "tensor(float)": ("float", np.float32),
    "tensor(double)": ("float", np.float64),
    "tensor(float16)": ("float", np.float16),
    "tensor(int64)": ("int", np.int64),
    "tensor(int32)": ("int", np.int32),
}
_limit: int | None = None


class OnnxGenerator:
    """A session, called as `(latents, labels)`; made by `open_program`.

    The session is opened by each process at its first call, so that none is shared with a fork, and pickled is only the
    path.
    """

    def __init__(
        self,
        path: str,
        seen: tuple[int, int],
        binding: Binding,
        dtypes: tuple[Any, ...],
        output: str,
        settings: tuple[int | None, int],
    ) -> None:
        self._path, self._seen, self._binding, self._dtypes, self._output = path, seen, binding, dtypes, output
        self._settings = settings
        self._rows = 1
        self._sessions: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sessions": {}}

    def __repr__(self) -> str:
        return f"OnnxGenerator({', '.join(map(str, self._binding.ports))} -> {self._output})"

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images for latents `(N, latent_dim)` and labels, all on the CPU.

        Raises:
            SynthesizerError: Latents or labels have another shape than the model takes, or it fails.
            ArtifactError: The file changed since it was opened.
        """
        inputs = self._binding.inputs(latents.detach().cpu(), None if labels is None else labels.detach().cpu())
        return in_chunks(self._run, inputs, batch=self._binding.batch, most=self._rows)

    def _session(self) -> Any:
        """The session of this process. One that a fork inherited is kept: it hangs when it is let go of there."""
        if os.getpid() not in self._sessions:
            if _seen(Path(self._path)) != self._seen:
                raise ArtifactError(
                    f"expected {self._path} as it was when it was opened, found it changed; open it again"
                )
            self._sessions[os.getpid()] = _session(Path(self._path), *self._settings)
        return self._sessions[os.getpid()]

    def _run(self, inputs: list[Tensor]) -> Tensor:
        session = self._session()
        names = [port.name for port in self._binding.ports]
        arrays = [part.numpy().astype(dtype, copy=False) for part, dtype in zip(inputs, self._dtypes, strict=True)]
        try:
            (images,) = session.run([self._output], dict(zip(names, arrays, strict=True)))
        except Exception as error:  # the runtime has a tree of its own
            raise SynthesizerError(
                f"expected images from {self._path} for {len(inputs[0])} latents, found a failure: {error!s:.300}. "
                "Where the model was exported for one batch size give batch=, where it lacks memory give memory="
            ) from None
        return torch.from_numpy(images)


def open_program(
    path: str | Path,
    *,
    trust: bool = False,
    latents: str | None = None,
    label: str | None = None,
    latent_dim: int | None = None,
    num_classes: int | None = None,
    output: str | None = None,
    batch: int | None = None,
    threads: int | None = None,
    memory: int = _MEMORY,
) -> Program:
    """Opens a generator in ONNX form. Nothing in the file is executed as code, trusted or not.

    Args:
        path: The file; weights may lie beside it.
        trust: Makes no difference.
        latents: Name of the input that takes the latents, `(N, D)` or `(N, D, 1, 1)`; None to find it.
        label: Name of the input that takes the label; None to find it.
        latent_dim: Length of the latents, where the model leaves it free.
        num_classes: Number of classes, where it takes them as whole numbers and no table in it tells.
        output: Name of the output that is the images; None for the first of 4 or 5 dimensions.
        batch: The only batch size that it takes, where the file does not tell.
        threads: Of the session; None for torch's own number, which is 1 in a DataLoader's worker.
        memory: Bytes that all ONNX models of a process may take together. The first model that a process opens sets it.

    Raises:
        ArtifactError: The file is damaged, or holds what is not run.
        DependencyError: onnxruntime is not installed.
        ConfigError: Latents, label or output cannot be told; what is given does not fit.
    """
    path = Path(path)
    _runtime()
    threads = None if threads is None else whole("threads", threads)
    found = vet(path)
    session = _session(path, threads, whole("memory", memory))
    inputs = session.get_inputs()
    ports = [Port(one.name, _TYPES.get(one.type, ("other",))[0], _sides(one.shape)) for one in inputs]  # type: ignore[arg-type]
    binding = bind(
        ports, latents=latents, label=label, latent_dim=latent_dim, num_classes=num_classes, read_off=found.tables
    )
    if batch is not None:
        if binding.batch not in (None, batch):
            raise ConfigError(f"expected batch={binding.batch} as in the model, found {batch}")
        binding = replace(binding, batch=whole("batch", batch))
    chosen = _chosen(session.get_outputs(), output)
    dtypes = tuple(_TYPES[one.type][1] for one in inputs)
    call = OnnxGenerator(str(path.absolute()), _seen(path), binding, dtypes, chosen.name, (threads, memory))
    call._sessions[os.getpid()] = session
    shape = tuple(chosen.shape[1:])
    if len(shape) < 2 or not all(isinstance(side, int) for side in shape):
        shape = tuple(call(*_blank(binding)).shape[1:])
    if len(shape) < 2:
        raise ConfigError(f"expected an output of images (N, C, H, W), found {chosen.name} (N, {shape}); give output=")
    # layers before the last hold about so much for each of its numbers
    call._rows = max(1, min(64, _PER_CALL // (_BYTES_PER_PIXEL * math.prod(shape))))
    return Program(
        call=call,
        latent_dim=binding.latent_dim,
        num_classes=binding.num_classes,
        labels=binding.labels,
        image_shape=shape,
        form="onnx",
        batch=binding.batch,
        beside=sorted(found.external),
    )


def _blank(binding: Binding) -> tuple[Tensor, Tensor | None]:
    """One row of latents and labels, to see what comes out."""
    latents = torch.zeros(1, binding.latent_dim)
    if binding.labels == "none":
        return latents, None
    onehot = torch.eye(1, binding.num_classes)
    return latents, onehot if binding.labels == "onehot" else torch.zeros(1, dtype=torch.int64)


def _seen(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _sides(shape: list[Any] | None) -> tuple[int | None, ...] | None:
    sides = tuple(side if isinstance(side, int) and side > 0 else None for side in shape or ())
    return sides or None


def _chosen(outputs: list[Any], name: str | None) -> Any:
    told = ", ".join(f"{one.name} {one.shape}" for one in outputs)
    if name is not None:
        named = [one for one in outputs if one.name == name]
        if not named:
            raise ConfigError(
                f"expected output= to name an output of the model, found {name!r}; its outputs are {told}"
            )
        return named[0]
    images = [one for one in outputs if len(one.shape or ()) in (4, 5)] or (outputs if len(outputs) == 1 else [])
    if not images:
        raise ConfigError(
            f"expected an output of images (N, C, H, W), found none; the outputs are {told}. Give output="
        )
    return images[0]


def _runtime() -> Any:
    return needed("onnxruntime", "onnx", "ONNX models")


def _session(path: Path, threads: int | None, memory: int) -> Any:
    runtime = _runtime()
    _bound(runtime, memory)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has a tree of its own
        raise read_error(WHAT, path, f"one that onnxruntime does not open ({error!s:.300})") from None


def _bound(runtime: Any, memory: int) -> None:
    """Limits the memory of every session of this process that asks for the shared allocator."""
    global _limit  # noqa: PLW0603  (the runtime's allocator is one for the process, too)
    if _limit is None:
        kind, place = runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, runtime.OrtMemType.DEFAULT
        settings = runtime.OrtArenaCfg({"max_mem": memory, "arena_extend_strategy": 1})
        runtime.create_and_register_allocator(runtime.OrtMemoryInfo("Cpu", kind, 0, place), settings)
        _limit = memory
    if memory != _limit:
        raise ConfigError(f"expected memory={_limit} as for the first ONNX model of this process, found {memory}")
