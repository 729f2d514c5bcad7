"""Opens TorchScript files, which are programs: only with `trust=True`."""

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole
from gan_augment.synthesizers.programs.call import Binding, Port, Program, file_size, in_chunks, read_error

__all__ = ["ScriptedGenerator", "is_torchscript", "open_program"]

_WHAT = "a TorchScript program"


class ScriptedGenerator(nn.Module):
    """A scripted or traced module, called as `(latents, labels)`; made by `open_program`.

    Pickled, it is the path of its file, and opens it again.
    """

    def __init__(self, module: nn.Module, binding: Binding, output: int | None, origin: tuple[Any, ...]) -> None:
        super().__init__()
        self.module = module
        self._binding, self._output, self._origin = binding, output, origin

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._origin

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns images for latents `(N, latent_dim)` and labels.

        Raises:
            SynthesizerError: Latents or labels have another shape than the program takes, or it returns no images.
        """
        inputs = self._binding.inputs(latents, None if labels is None else labels.to(latents.device))
        return in_chunks(self._run, inputs, batch=self._binding.batch)

    def _run(self, inputs: list[Tensor]) -> Any:
        found = self.module(*inputs)
        if isinstance(found, Tensor):
            return found
        parts = list(found) if isinstance(found, tuple | list) else []
        images = [part for part in parts if isinstance(part, Tensor) and part.ndim in (4, 5)]
        if self._output is not None:
            images = parts[self._output : self._output + 1]
        if not images:
            raise SynthesizerError(f"expected images from the program, found {type(found).__name__}; give output=")
        return images[0]


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive, by the names of its entries; nothing in it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name).parts for name in archive.namelist()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, EOFError):
        return False
    return any(len(parts) > 1 and (parts[1] == "code" or parts[1:] == ("constants.pkl",)) for parts in names)


def open_program(
    path: str | Path,
    *,
    trust: bool = False,
    latent_dim: int | None = None,
    latent_shape: Sequence[int] | None = None,
    num_classes: int = 0,
    labels: Literal["int", "onehot", "none"] | None = None,
    latents: str | None = None,
    output: int | None = None,
    batch: int | None = None,
) -> Program:
    """Opens a generator that `torch.jit.save` wrote, on the CPU and in eval mode.

    Args:
        path: The file.
        trust: Whether you trust whoever made the file. It holds code, which runs when it is called.
        latent_dim: Length of the latents; the file does not tell.
        latent_shape: Shape of one latent, where it is not `(latent_dim,)`, such as `(100, 1, 1)`.
        num_classes: Number of classes, 0 where it takes no label.
        labels: How it takes labels; None for "int" with classes and "none" without.
        latents: Name of the input that takes the latents; None for the first.
        output: Index of the output that is the images; None for the first of 4 or 5 dimensions.
        batch: The only batch size that it takes; None for any.

    Raises:
        ArtifactError: `trust` is False, and nothing was opened; or the file is no TorchScript program.
        ConfigError: A parameter is missing or does not fit the program's inputs.
    """
    if trust is not True:
        raise ArtifactError(
            f"expected weights, found a TorchScript file: {path} is a program, whose code runs when it is used. "
            "Give trust=True if you trust whoever made it; better, export the generator with torch.export.save "
            "or as ONNX"
        )
    if latent_dim is None:
        raise ConfigError("expected latent_dim= for a TorchScript program, which does not tell it, found none")
    shape = tuple(latent_shape or (whole("latent_dim", latent_dim),))
    if shape[0] != latent_dim or any(side != 1 for side in shape[1:]):
        raise ConfigError(f"expected latent_shape= ({latent_dim},) or that with sides of 1 after it, found {shape}")
    labels = labels or ("int" if num_classes else "none")
    if labels not in ("int", "onehot", "none") or (labels == "none") != (num_classes == 0):
        raise ConfigError(f"expected labels= 'int' or 'onehot' with num_classes=, found {labels!r} and {num_classes}")
    options = {
        "latent_dim": latent_dim, "latent_shape": latent_shape, "num_classes": num_classes, "labels": labels,
        "latents": latents, "output": output, "batch": batch,
    }  # fmt: skip
    path = Path(path)
    size = file_size(path, _WHAT, 2**40)
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
        arguments = [one.name for one in module.forward.schema.arguments[1:] if not one.has_default_value()]
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        raise read_error(_WHAT, path, f"another file ({error!s:.200})") from None
    binding = _bind(arguments, shape, num_classes, labels, latents, batch)
    call = ScriptedGenerator(module, binding, output, (str(path.absolute()), size, options)).eval()
    return Program(
        call=call,
        latent_dim=latent_dim,
        num_classes=num_classes,
        labels=labels,
        image_shape=None,
        form="torchscript",
        batch=batch,
    )


def _bind(
    arguments: list[str],
    shape: tuple[int, ...],
    num_classes: int,
    labels: Literal["int", "onehot", "none"],
    latents: str | None,
    batch: int | None,
) -> Binding:
    expected = 1 if labels == "none" else 2
    if len(arguments) != expected or (latents is not None and latents not in arguments):
        raise ConfigError(
            f"expected a program of {expected} inputs for labels={labels!r} and latents={latents!r}, "
            f"found {', '.join(arguments) or 'none'}"
        )
    at = 0 if latents is None else arguments.index(latents)
    taken = Port("label", "int", (batch,)) if labels == "int" else Port("label", "float", (batch, num_classes))
    ports = [Port(name, "float", (batch, *shape)) if index == at else taken for index, name in enumerate(arguments)]
    return Binding(
        ports=tuple(ports),
        latents=at,
        label=None if labels == "none" else 1 - at,
        latent_dim=shape[0],
        num_classes=num_classes,
        labels=labels,
        batch=None if batch is None else whole("batch", batch),
    )


def _reopen(path: str, size: int, options: dict[str, Any]) -> ScriptedGenerator:
    opened = open_program(path, trust=True, **options).call
    if Path(path).stat().st_size != size:
        raise ArtifactError(f"expected {path} as it was when it was opened, found it changed; open it again")
    assert isinstance(opened, ScriptedGenerator)
    return opened
