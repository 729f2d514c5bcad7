"""What programs share: what is known of one, which of its inputs is which, and calls in chunks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gan_augment.errors import ArtifactError, ConfigError, SynthesizerError, whole

__all__ = ["Binding", "Port", "Program", "bind", "file_size", "in_chunks", "read_error"]

_LATENTS = frozenset({"z", "zs", "latent", "latents", "latent_vector", "noise"})
_LABELS = frozenset(
    {"c", "y", "label", "labels", "class", "classes", "class_label", "class_labels", "cond", "condition"}
)
_MOST_ROWS = 64
_MOST_LATENTS = 2**20


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and what is known of it.

    Attributes:
        call: Takes latents `(N, latent_dim)` float32 and labels (None where it takes none), returns images as the
            program returns them, on the CPU or where the latents are. Where `latent_dim` is None its first argument
            is the samples' seeds `(N,)` int64 instead. It can be pickled, and then opens its file again.
        latent_dim: Length of the latents; None where the program draws from seeds.
        num_classes: Number of classes, 0 where it takes no label.
        labels: How `call` wants labels: "int" `(N,)` int64, "onehot" float32 `(N, num_classes)`, or "none".
        image_shape: Shape of one image as the program returns it; None where it is not known before the first call.
        form: "onnx", "torch.export", "torchscript" or "medigan".
        batch: The only batch size that the program itself takes; None for any. `call` pads and cuts, so that it takes
            any number of rows.
        notes: What a user should know.
        licence: Of the model, where that is told.
        citation: Whom to cite, where that is told.
        beside: Further files in the program's folder that hold weights of it.
    """

    call: Callable[[Tensor, Tensor | None], Tensor]
    latent_dim: int | None
    num_classes: int
    labels: Literal["int", "onehot", "none"]
    image_shape: tuple[int, ...] | None
    form: str
    batch: int | None = None
    notes: Sequence[str] = ()
    licence: str | None = None
    citation: str | None = None
    beside: Sequence[Path] = ()


@dataclass(frozen=True)
class Port:
    """An input of a program.

    Attributes:
        name: Its name.
        kind: What numbers it takes: "float", "int", or "other".
        shape: Its shape, None for a side that is free; None where nothing is known of it.
    """

    name: str
    kind: Literal["float", "int", "other"]
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        sides = "unknown shape" if self.shape is None else "x".join("?" if n is None else str(n) for n in self.shape)
        return f"{self.name} ({self.kind} {sides})"

    @property
    def width(self) -> int | None:
        """The length of a row `(N, D)`, `(N, D, 1)` or `(N, D, 1, 1)`; None where it is free, 1 for `(N,)`."""
        return 1 if self.shape is None or len(self.shape) < 2 else self.shape[1]

    @property
    def is_row(self) -> bool:
        """Whether it is `(N,)`, `(N, D)`, or that with sides of 1 after it."""
        return self.shape is None or (len(self.shape) > 0 and all(side in (1, None) for side in self.shape[2:]))


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Which input of a program is which.

    Attributes:
        ports: Every input, in order.
        latents: Index of the latents.
        label: Index of the label; None where there is none.
        latent_dim: Length of the latents.
        num_classes: Number of classes, 0 where there is no label.
        labels: How labels are passed to it.
        batch: The only batch size that the program takes; None for any.
    """

    ports: tuple[Port, ...]
    latents: int
    label: int | None
    latent_dim: int
    num_classes: int
    labels: Literal["int", "onehot", "none"]
    batch: int | None

    def inputs(self, latents: Tensor, labels: Tensor | None) -> list[Tensor]:
        """Returns the program's inputs in its own order and shapes.

        Raises:
            SynthesizerError: Latents or labels have another shape than the program takes.
        """
        rows = latents.shape[0] if latents.ndim else -1
        if tuple(latents.shape) != (rows, self.latent_dim):
            raise SynthesizerError(f"expected latents (N, {self.latent_dim}), found {tuple(latents.shape)}")
        placed = {self.latents: _shaped(latents, self.ports[self.latents])}
        if self.label is not None:
            expected = (rows,) if self.labels == "int" else (rows, self.num_classes)
            if labels is None or tuple(labels.shape) != expected:
                found = "none" if labels is None else tuple(labels.shape)
                raise SynthesizerError(f"expected labels {expected} for {rows} latents, found {found}")
            port = self.ports[self.label]
            placed[self.label] = _shaped(labels.float() if port.kind == "float" else labels.long(), port)
        return [placed[index] for index in sorted(placed)]


def _shaped(value: Tensor, port: Port) -> Tensor:
    """Adds the sides of 1 that a port has more, such as `(N, D, 1, 1)`."""
    missing = 0 if port.shape is None else len(port.shape) - value.ndim
    return value.reshape(*value.shape, *[1] * missing) if missing > 0 else value


def bind(
    ports: Sequence[Port],
    *,
    latents: str | None = None,
    label: str | None = None,
    latent_dim: int | None = None,
    num_classes: int | None = None,
    read_off: Mapping[str, int] | None = None,
) -> Binding:
    """Finds out which input takes the latents and which the label, by kinds, shapes and, where that leaves two, names.

    Args:
        ports: Every input of the program.
        latents: Name of the input that takes the latents; None to find it.
        label: Name of the input that takes the label; None to find it.
        latent_dim: Length of the latents, where the program leaves it free.
        num_classes: Number of classes, for a program that takes whole numbers.
        read_off: Number of classes by input, where the program's own tables tell it.

    Raises:
        ConfigError: It cannot be told, or what is given does not fit; the message lists the inputs.
    """
    told = f"the program's inputs are {', '.join(map(str, ports)) or 'none'}"
    names = [port.name for port in ports]
    for option, name in (("latents", latents), ("label", label)):
        if name is not None and name not in names:
            raise ConfigError(f"expected {option}= to name an input, found {name!r}; {told}")
    if not 1 <= len(ports) <= 2 or not all(port.is_row for port in ports):
        raise ConfigError(
            f"expected a program that takes latents (N, D) and perhaps a label (N,) or (N, classes), "
            f"found another; {told}. Export the generator with its other inputs fixed"
        )
    at = names.index(latents) if latents is not None else _find_latents(ports, label, told)
    other = next((index for index in range(len(ports)) if index != at), None)
    if ports[at].kind != "float" or (label is not None and (other is None or names[other] != label)):
        raise ConfigError(f"expected float latents= and another input as label=, found others; {told}")
    size = _agreed("latent_dim", latent_dim, ports[at].width if ports[at].shape else None, told)
    if size > _MOST_LATENTS:
        raise ConfigError(f"expected latents of at most {_MOST_LATENTS} numbers, found {size}; {told}")
    count, form = _classes(None if other is None else ports[other], num_classes, read_off or {}, told)
    batches = {port.shape[0] for port in ports if port.shape and port.shape[0] is not None}
    if len(batches) > 1:
        raise ConfigError(f"expected one batch size, found {' and '.join(map(str, sorted(batches)))}; {told}")
    return Binding(
        ports=tuple(ports),
        latents=at,
        label=other,
        latent_dim=size,
        num_classes=count,
        labels=form,
        batch=next(iter(batches), None),
    )


def _find_latents(ports: Sequence[Port], label: str | None, told: str) -> int:
    fits = [
        index for index, port in enumerate(ports) if port.kind == "float" and port.name != label and port.width != 1
    ]
    if len(fits) > 1:
        named = [index for index in fits if ports[index].name.lower() in _LATENTS]
        labelled = [index for index in fits if ports[index].name.lower() in _LABELS]
        fits = named if len(named) == 1 else [index for index in fits if index not in labelled]
    if len(fits) != 1:
        raise ConfigError(f"expected to find one input that takes latents, found {len(fits)}; {told}. Give latents=")
    return fits[0]


def _classes(
    port: Port | None, num_classes: int | None, read_off: Mapping[str, int], told: str
) -> tuple[int, Literal["int", "onehot", "none"]]:
    if port is None:
        return 0, "none"
    if port.kind == "other":
        raise ConfigError(f"expected a label of whole numbers or floats; {told}")
    if port.shape is not None and port.width != 1:
        return _agreed("num_classes", num_classes, port.width, told), "onehot"
    return _agreed("num_classes", num_classes, read_off.get(port.name), told), "int"


def _agreed(option: str, given: int | None, found: int | None, told: str) -> int:
    """Returns what was given or what was found, which may not disagree."""
    if given is None and found is None:
        raise ConfigError(f"expected {option}=, which the program does not tell; {told}")
    if given is not None and found is not None and whole(option, given) != found:
        raise ConfigError(f"expected {option}={found} as in the program, found {given}; {told}")
    return whole(option, found if given is None else given)


def in_chunks(
    run: Callable[[list[Tensor]], Any],
    inputs: list[Tensor],
    *,
    batch: int | None,
    most: int = _MOST_ROWS,
    least: int = 1,
) -> Tensor:
    """Calls a program chunk by chunk, pads each chunk to the size that it takes, and cuts what comes back.

    Args:
        run: Called with the rows of one chunk, returns its images.
        inputs: Each with N rows.
        batch: The only number of rows that `run` takes; None for any from `least` to `most`.
        most: Rows of a chunk at most.
        least: Rows of a chunk at least.

    Raises:
        SynthesizerError: What comes back is no tensor with a row for each row.
    """
    most = batch or most
    parts = []
    for chunk in _chunks(inputs, most):
        rows = chunk[0].shape[0]
        missing = (batch or max(least, rows)) - rows
        padded = [torch.cat([part, part[:1].expand(missing, *part.shape[1:])]) if missing else part for part in chunk]
        images = run(padded)
        if not isinstance(images, Tensor) or images.ndim < 1 or images.shape[0] != rows + missing:
            found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise SynthesizerError(f"expected the program to return {rows + missing} images, found {found}")
        parts.append(images[:rows])
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _chunks(inputs: list[Tensor], most: int) -> Iterator[list[Tensor]]:
    rows = inputs[0].shape[0]
    if rows == 0:
        raise SynthesizerError("expected at least one row of latents, found none")
    for start in range(0, rows, most):
        yield [part[start : start + most] for part in inputs]


def file_size(path: str | Path, what: str, most: int) -> int:
    """Returns the size of a file in bytes.

    Raises:
        ArtifactError: There is none, or it is larger than `most`.
    """
    try:
        path = Path(path)
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        size = None
    if size is None:
        raise ArtifactError(f"expected {what} at {path}, found no such file")
    if size > most:
        raise ArtifactError(f"expected {what} of at most {most} bytes, found {size} in {path}")
    return size


def read_error(what: str, path: str | Path, why: object) -> ArtifactError:
    """Returns the error for a file that is not what it should be."""
    return ArtifactError(f"expected {what} in {path}, found {why}; give another file, or export the generator again")
