"""What is made of a file, by its kind: networks rebuilt from weights, modules of the user's, programs."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gan_augment.artifacts import load_state, read_tensors
from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError, SynthesizerError
from gan_augment.synthesizers.fetching.provenance import licence_of_card
from gan_augment.synthesizers.programs.call import Program
from gan_augment.synthesizers.readers.found import Found
from gan_augment.synthesizers.readers.inert import told
from gan_augment.synthesizers.readers.source import telling
from gan_augment.synthesizers.wrapped import WrappedSynthesizer, wrap

__all__ = ["PROGRAMS", "READERS", "card_licence", "of_program", "of_state", "open_program", "read", "refuse"]

READERS = ("network_pickle", "lucidrains", "studiogan", "torchgan", "translation")
"""Modules of `readers` that look at what a checkpoint holds, in this order."""

PROGRAMS = {"onnx": "onnx", "pt2": "exported", "torchscript": "torchscript"}

_CARD, _MOST_OF_CARD = "README.md", 2**16
_WRAPPED = ("num_classes", "image_shape", "value_range", "latent_dim", "labels")


def read(path: Path, kind: str, options: Mapping[str, Any]) -> tuple[str, Found]:
    """Reads a checkpoint with the reader of its kind, or, where that is "", with the first that recognises it.

    Returns:
        The kind, and what was found.
    """
    from gan_augment.synthesizers.readers import biggan

    if kind == "biggan" or (not kind and biggan.recognises_folder(path)):
        refuse(options, (), "pytorch-pretrained-biggan")
        with _telling(path):
            return "biggan", biggan.read_folder(path)
    tree = _tree(path)
    modules = {name: importlib.import_module(f"gan_augment.synthesizers.readers.{name}") for name in READERS}
    with _telling(path):
        own = kind or next((name for name, module in modules.items() if module.recognises(tree, path)), None)
    if own is None:
        raise ArtifactError(
            "expected weights of a format that is read (StyleGAN2-ADA, StyleGAN3, R3GAN, projected GAN, StudioGAN, "
            "stylegan2_pytorch, torchgan, pix2pix, CycleGAN, pytorch-pretrained-biggan) in "
            f"{path}, found {_told(tree)}. "
            "If you have the generator's class, give module=; else export it as ONNX or with torch.export.save"
        )
    known = inspect.signature(modules[own].read).parameters
    refuse(options, [name for name in known if name not in ("tree", "path")], own)
    with _telling(path):
        found: Found = modules[own].read(tree, path, **options)
    return own, found


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a reader looks at hostile content into an ArtifactError."""
    try:
        yield
    except GanAugmentError:
        raise
    except (Exception, MemoryError):
        with telling(path):
            raise


def _tree(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    from gan_augment.synthesizers.readers.archive import read_any

    return read_any(path)


def _told(tree: Any) -> str:
    if isinstance(tree, Mapping):
        names = ", ".join(told(name) for name in list(tree)[:6])
        return f"a dict with {names}{' and more' if len(tree) > 6 else ''}"
    return told(tree)


def refuse(options: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Raises a ConfigError where an option is none that is known."""
    if unknown := [name for name in options if name not in known]:
        raise ConfigError(
            f"expected options {', '.join(known) or 'none'} for {what}, found {', '.join(unknown)}; it may be another "
            "format than you think: kind= says which"
        )


def card_licence(path: Path) -> str | None:
    """Returns the licence that a model card beside a file states."""
    card = (path if path.is_dir() else path.parent) / _CARD
    try:
        if not card.is_file():  # a pipe would wait for its writer
            return None
        with open(card, encoding="utf-8", errors="replace") as file:
            return licence_of_card(file.read(_MOST_OF_CARD))
    except OSError:
        return None


def of_state(path: Path, module: nn.Module | None, given: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """Returns a synthesizer of the user's module with the weights of a file."""
    if module is None:
        raise ConfigError("expected module=, a module whose state dict the file holds, found none")
    refuse(given, ("class_names",), "a module of yours")
    refuse(options, (*_WRAPPED, "key"), "a module of yours")
    key = options.get("key")
    tree = _tree(path)
    state = _state_in(tree, key, path)
    load_state(module, _like(state, module), f"{type(module).__name__} in {path}")
    settings = {name: value for name, value in options.items() if name != "key"}
    return wrap(module, class_names=given.get("class_names"), **settings)


def _like(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Returns a state without the prefix that DataParallel puts before its keys, where the module has none."""
    own = module.state_dict().keys()
    prefixed = all(name.startswith("module.") for name in state) and not all(n.startswith("module.") for n in own)
    return {name.removeprefix("module.") if prefixed else name: value for name, value in state.items()}


def _state_in(tree: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    """Returns the state dict in a checkpoint: the one under `key`, the checkpoint itself, or the only one in it."""
    if key is not None:
        for part in key.split("/"):
            if not isinstance(tree, Mapping) or part not in tree:
                raise ArtifactError(f"expected {key!r} in {path}, found {_told(tree)}")
            tree = tree[part]
    states = {"": tree} if _is_state(tree) else {}
    if not states and isinstance(tree, Mapping):
        states = {str(name): value for name, value in tree.items() if _is_state(value)}
    if len(states) != 1:
        names = ", ".join(map(repr, states)) or "none"
        raise ArtifactError(
            f"expected one state dict (names and tensors) in {path}, found {names}"
            + ("; give key= to say which" if states else f" but {_told(tree)}")
        )
    return dict(next(iter(states.values())))


def _is_state(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())


def open_program(
    path: Path, kind: str, trust: bool, options: Mapping[str, Any], fetching: Mapping[str, Any]
) -> Program:
    """Opens a program; those that run code of others only with `trust`."""
    if kind == "medigan":
        from gan_augment.synthesizers.programs.medigan import open_medigan

        if trust is not True:
            raise ArtifactError(
                f"expected weights, found a package in {path}: medigan's models are programs, whose code runs when "
                "they draw. Give trust=True if you trust whoever made it, and sha256= of the file that you looked at"
            )
        if lacking := [name for name in ("config", "model_id") if options.get(name) is None]:
            raise ConfigError(
                f"expected {' and '.join(f'{name}=' for name in lacking)} for a medigan model, found none"
            )
        opening: Callable[..., Program] = open_medigan
        pinned = {"sha256": fetching.get("sha256")}
    else:
        opening = importlib.import_module(f"gan_augment.synthesizers.programs.{PROGRAMS[kind]}").open_program
        pinned = {}
    known = [
        name for name in inspect.signature(opening).parameters if name not in ("path", "package", "trust", "sha256")
    ]
    refuse(options, [*known, *(name for name in _WRAPPED if name not in known)], kind)
    own = {name: value for name, value in options.items() if name in known}
    return opening(path, trust=trust, **own, **pinned)


def of_program(program: Program, given: Mapping[str, Any], options: Mapping[str, Any]) -> WrappedSynthesizer:
    """Returns a synthesizer that calls a program."""
    if odd := [name for name in given if name != "class_names"]:
        raise ConfigError(
            f"expected no {', '.join(odd)} for a program of form {program.form}, which tells nothing of it"
        )
    settings = {name: options[name] for name in ("image_shape", "value_range") if name in options}
    if program.form == "medigan":
        settings.setdefault("value_range", (0.0, 255.0))
    shape = settings.pop("image_shape", None) or program.image_shape
    call: Any = _BySeed(program) if program.latent_dim is None else program.call
    try:
        return wrap(
            call,
            num_classes=max(1, program.num_classes),
            image_shape=shape,
            latent_dim=program.latent_dim,
            labels=program.labels,
            class_names=given.get("class_names"),
            **settings,
        )
    except SynthesizerError as error:
        raise ArtifactError(f"expected a generator of images, found a program that is none: {error}") from error


class _BySeed:
    def __init__(self, program: Program) -> None:
        self.program = program

    def __call__(self, labels: Tensor, seeds: Tensor) -> Tensor:
        return self.program.call(seeds, labels if self.program.num_classes else None)
