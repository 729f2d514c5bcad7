"""Pretrained synthesizers as folders of their own: what `convert` writes and `load` reads, safetensors and JSON."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gan_augment.artifacts import (
    check_names,
    load_state,
    new_folder,
    read_json,
    read_tensors,
    versions,
    write_json,
    write_tensors,
)
from gan_augment.errors import ArtifactError, ConfigError, GanAugmentError
from gan_augment.fingerprint import hash_json
from gan_augment.networks.published import Published, Translator, blank, settings_of
from gan_augment.synthesizers.fetching.provenance import Provenance, file_sha256
from gan_augment.synthesizers.knobs import Knobs
from gan_augment.synthesizers.pretrained import Pretrained, PretrainedSynthesizer
from gan_augment.synthesizers.readers.found import Part
from gan_augment.synthesizers.translating import TranslatingSynthesizer

__all__ = [
    "DESCRIPTION",
    "PROGRAM",
    "WEIGHTS",
    "StoredProgram",
    "built",
    "kept_options",
    "load_stored",
    "made_of",
    "read_program",
    "store",
    "write_into",
]

DESCRIPTION = "pretrained.json"
_PROGRAMS = {"onnx": "program.onnx", "pt2": "program.pt2"}
_KIND, _VERSION = "gan_augment pretrained synthesizer", 1
WEIGHTS = "weights.safetensors"
_MOST_VALUE = 1e30


def weights_of(digest: str | None, beside: Sequence[Path]) -> str | None:
    """Returns a hash of a program's file and of further files that hold weights of it."""
    return hash_json([digest, *(file_sha256(path, False) for path in beside)]) if beside else digest


class PROGRAM:
    """The description of a program that was stored."""

    file, kind, version = "program.json", "gan_augment program", 1


_TEXTS, _MOST_TEXT = ("latents", "label", "output"), 200
_MOST_CLASSES, _MOST_LATENTS, _MOST_CELLS = 10**6, 2**20, 2**31


def kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those options of a program that are stored with it: what it takes and gives, not what it may use.

    Raises:
        ValueError: One has a value that cannot be; options come out of files, too.
    """
    checks: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(_TEXTS, lambda value: isinstance(value, str) and len(value) <= _MOST_TEXT),
        "num_classes": lambda value: type(value) is int and 0 < value <= _MOST_CLASSES,
        "latent_dim": lambda value: type(value) is int and 0 < value <= _MOST_LATENTS,
        "labels": lambda value: value in ("int", "onehot", "none"),
        "image_shape": _is_shape,
        "value_range": _is_range,
    }
    kept = {name: value for name, value in options.items() if name in checks and value is not None}
    for name, value in kept.items():
        if not checks[name](value):
            raise ValueError(f"{name} {value!r:.80}")
    return kept


def _is_shape(value: Any) -> bool:
    whole = isinstance(value, list | tuple) and all(type(side) is int and 0 < side <= _MOST_CELLS for side in value)
    return whole and len(value) in (3, 4) and math.prod(value) <= _MOST_CELLS


def _is_range(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(type(end) in (int, float) and abs(end) < _MOST_VALUE for end in value) and value[0] < value[1]


class StoredProgram(NamedTuple):
    """A program that was stored: its file, kind, options, class names, and where it comes from."""

    path: Path
    kind: str
    options: dict[str, Any]
    class_names: list[str] | None
    provenance: Provenance


def read_program(folder: Path) -> StoredProgram:
    """Reads what `convert` tells of a program.

    Raises:
        ArtifactError: It is damaged, or the program is another than the one that was stored.
    """
    about = read_json(folder / PROGRAM.file, PROGRAM.kind, PROGRAM.version)
    try:
        path, kind = folder / _PROGRAMS[about["program"]], str(about["program"])
        options = kept_options(about["options"])
        if odd := [name for name in about["options"] if name not in options]:
            raise ValueError(f"options {odd!r:.80}")
        names = None if about["classes"] is None else check_names(about["classes"], "classes")
        beside = [folder / Path(check_names([name], "a file")[0]).name for name in about["beside"]]
        weights = str(about["weights"])
        provenance = Provenance.from_json(about["provenance"])
    except (GanAugmentError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ArtifactError(f"expected a whole {PROGRAM.file} in {folder}, found {error}; it is damaged") from None
    if not path.is_file() or weights_of(file_sha256(path, False), beside) != weights:
        raise ArtifactError(f"expected the program that was stored in {path}, found another or none; it is damaged")
    return StoredProgram(path, kind, options, names, provenance)


def built(part: Part, what: str) -> nn.Module:
    """Returns a part's network with its weights.

    Args:
        part: Out of a file.
        what: The file, for messages.

    Raises:
        ArtifactError: The weights are of another architecture.
        ConfigError: The settings cannot be.
    """
    network = blank(part.architecture, part.settings)
    own = network.state_dict()
    load_state(network, _as_types(part.state, own), f"{part.architecture} in {what}", adopt=True)
    return network


def _as_types(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a state whose floats are of a network's own types: halves are stored, and run in single precision."""
    return {
        name: value.to(own[name].dtype)
        if name in own and value.is_floating_point() and own[name].is_floating_point()
        else value
        for name, value in state.items()
    }


def made_of(
    generator: Part,
    what: str,
    *,
    class_names: Sequence[str] | None,
    provenance: Provenance,
    discriminator: Part | None = None,
    knobs: Knobs | None = None,
    parents: Mapping[str, str] | None = None,
    image_size: int | Sequence[int] | None = None,
) -> PretrainedSynthesizer | TranslatingSynthesizer:
    """Returns the synthesizer of a network out of a file.

    Raises:
        ArtifactError: The weights are of another architecture.
        ConfigError: A parameter has a value that cannot work, or this kind of network does not take it.
    """
    network = built(generator, what)
    if isinstance(network, Translator):
        if knobs is not None and knobs != Knobs():
            raise ConfigError(f"expected no knobs for {generator.architecture}, which draws no latents, found some")
        return TranslatingSynthesizer(
            network,
            generator.architecture,
            class_names=class_names,
            provenance=provenance,
            parents=parents,
            image_size=image_size,
        )
    if parents is not None or image_size is not None:
        raise ConfigError(
            f"expected no parents= and no image_size= for {generator.architecture}, which draws from latents, found "
            "one; like= makes its images of a dataset's size"
        )
    if not isinstance(network, Published):
        raise ArtifactError(f"expected a generator in {what}, found {generator.architecture}")
    return PretrainedSynthesizer(
        network,
        generator.architecture,
        class_names=class_names,
        provenance=provenance,
        discriminator=discriminator,
        knobs=knobs,
    )


def store(synthesizer: Pretrained, folder: str | Path) -> Path:
    """Writes a pretrained synthesizer into a new folder.

    Raises:
        ArtifactError: The folder exists.
        StorageError: The disk refused.
    """
    with new_folder(folder, "synthesizer") as work:
        write_into(synthesizer, work)
    return Path(folder)


def write_into(synthesizer: Pretrained, work: Path) -> None:
    """Writes the files of `store` into a folder that is there."""
    part = synthesizer.discriminator
    tensors = {f"generator/{name}": value for name, value in synthesizer.network.state_dict().items()}
    tensors |= {} if part is None else {f"discriminator/{name}": value for name, value in part.state.items()}
    about: dict[str, Any] = {
        "kind": _KIND,
        "version": _VERSION,
        "architecture": synthesizer.architecture,
        "settings": synthesizer.settings.to_json(),
        "discriminator": None
        if part is None
        else {"architecture": part.architecture, "settings": part.settings.to_json()},
        "classes": synthesizer.class_names,
        "provenance": synthesizer.provenance.to_json(),
        "knobs": None,
        "parents": None,
        "image_size": None,
    }
    if isinstance(synthesizer, TranslatingSynthesizer):
        about |= {"parents": synthesizer.parents or None, "image_size": synthesizer.image_size}
    if isinstance(synthesizer, PretrainedSynthesizer):
        about["knobs"] = synthesizer.knobs.to_json()
    write_tensors(work / WEIGHTS, tensors)
    write_json(work / DESCRIPTION, {**about, "fingerprint": synthesizer.fingerprint, "versions": versions()})


def load_stored(
    folder: str | Path, *, device: torch.device | str = "cpu", anew: Mapping[str, Any] | None = None
) -> PretrainedSynthesizer | TranslatingSynthesizer:
    """Loads what `store` wrote; runs nothing that is stored there.

    Args:
        folder: The folder.
        device: Where the network goes.
        anew: `class_names`, `knobs`, `parents` or `image_size` instead of what was stored.

    Raises:
        ConfigError: What is given anew cannot work.
        ArtifactError: It is missing, damaged, of a newer version, or its weights are of another architecture.
    """
    folder = Path(folder)
    about = read_json(folder / DESCRIPTION, _KIND, _VERSION)
    try:
        generator = {"architecture": about["architecture"], "settings": about["settings"]}
        parts = {"generator": generator, "discriminator": about["discriminator"]}
        settings = {
            name: settings_of(part["architecture"], part["settings"])
            for name, part in parts.items()
            if part is not None
        }
        provenance = Provenance.from_json(about["provenance"])
        names = None if about["classes"] is None else check_names(about["classes"], "classes")
        knobs = None if about["knobs"] is None else Knobs(**about["knobs"])
        weights = str(about["fingerprint"]["weights"])
        about["parents"], about["image_size"]
    except (GanAugmentError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ArtifactError(f"expected a whole {DESCRIPTION} in {folder}, found {error}; it is damaged") from None
    tensors = read_tensors(folder / WEIGHTS)
    found = {
        name: Part(architecture=parts[name]["architecture"], settings=own, state=_of(tensors, name))
        for name, own in settings.items()
    }
    if left := [name for name in tensors if name.partition("/")[0] not in found]:
        raise ArtifactError(f"expected tensors of {', '.join(found)} in {folder}, found {left[0]!r:.80}; it is damaged")
    kept = {"class_names": names, "knobs": knobs, "parents": about["parents"], "image_size": about["image_size"]}
    try:
        synthesizer = made_of(
            found["generator"],
            str(folder),
            provenance=provenance,
            discriminator=found.get("discriminator"),
            **{**kept, **(anew or {})},
        )
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if anew:
            raise
        raise ArtifactError(f"expected a whole {DESCRIPTION} in {folder}, found {error}; it is damaged") from None
    if synthesizer.fingerprint["weights"] != weights:
        raise ArtifactError(f"expected the weights that were saved in {folder}, found others; the file is damaged")
    return synthesizer.to(device)


def _of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.partition("/")[0] == name}
