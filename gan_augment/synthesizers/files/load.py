"""load: a synthesizer out of a folder, a file of another project, or an address; nothing that is stored there runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.fingerprint import hash_json
from gan_augment.synthesizers.adapted import ClassMap, adapt
from gan_augment.synthesizers.fetching.download import SUFFIXES, fetch
from gan_augment.synthesizers.fetching.provenance import Provenance, announce, file_sha256, source_of
from gan_augment.synthesizers.files.opening import (
    PROGRAMS,
    READERS,
    card_licence,
    of_program,
    of_state,
    open_program,
    read,
    refuse,
)
from gan_augment.synthesizers.files.stored import (
    DESCRIPTION,
    PROGRAM,
    WEIGHTS,
    load_stored,
    made_of,
    read_program,
    weights_of,
)
from gan_augment.synthesizers.knobs import Knobs
from gan_augment.synthesizers.trained import load_trained

__all__ = ["FETCHING", "KINDS", "Loaded", "Wanted", "load", "opened"]

FETCHING: dict[str, Any] = {
    "sha256": None,
    "revision": None,
    "token": None,
    "cache_dir": None,
    "local_files_only": False,
    "progress": True,
}
"""Arguments of `load` that `fetch` takes, and what they are where they are not given."""

KINDS = ("folder", *READERS, "biggan", *PROGRAMS, "medigan", "state_dict")
_LONGEST = 1000
_OWN = (DESCRIPTION, PROGRAM.file, "synthesizer.json")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a file is to be opened; the fields are arguments of `load`."""

    kind: str | None = None
    module: nn.Module | None = None
    trust: bool = False
    class_names: Sequence[str] | None = None
    knobs: Knobs | Mapping[str, Any] | None = None
    parents: Mapping[str, str] | None = None
    image_size: int | Sequence[int] | None = None
    licence: str | None = None
    citation: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind is not None and self.kind not in KINDS:
            raise ConfigError(f"expected kind= one of {', '.join(KINDS)}, found {self.kind!r}")

    @property
    def given(self) -> dict[str, Any]:
        """What is said of the synthesizer itself."""
        own = {
            "class_names": self.class_names,
            "knobs": self._turned(),
            "parents": self.parents,
            "image_size": self.image_size,
        }
        return {name: value for name, value in own.items() if value is not None}

    def _turned(self) -> Knobs | None:
        if isinstance(self.knobs, Knobs) or self.knobs is None:
            return self.knobs
        try:
            return Knobs(**self.knobs)
        except TypeError as error:
            raise ConfigError(f"expected knobs= as truncation, layers, mixing, interpolation, noise; {error}") from None

    def told(self, known: Provenance, found: Any) -> Provenance:
        """Returns where something comes from: what a reader or a program says, unless the user knows better."""
        return replace(
            known,
            form=found.form,
            licence=self.licence or known.licence or found.licence,
            citation=self.citation or found.citation,
            notes=tuple(found.notes),
        )


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A synthesizer and what is known of the file that it came from.

    Attributes:
        synthesizer: Who draws.
        kind: Which of `KINDS` it was.
        provenance: Where it comes from; None for a synthesizer that was trained here.
        path: The file or folder.
        beside: Further files with weights of a program.
        options: Of the format, as they were given or stored.
    """

    synthesizer: Any
    kind: str
    provenance: Provenance | None
    path: Path
    beside: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


def load(
    path_or_id: str | Path,
    *,
    device: torch.device | str = "cpu",
    kind: str | None = None,
    module: nn.Module | None = None,
    trust: bool = False,
    class_names: Sequence[str] | None = None,
    class_map: ClassMap | None = None,
    like: Any = None,
    knobs: Knobs | Mapping[str, Any] | None = None,
    parents: Mapping[str, str] | None = None,
    image_size: int | Sequence[int] | None = None,
    licence: str | None = None,
    citation: str | None = None,
    sha256: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    progress: bool = True,
    **options: Any,
) -> Any:
    """Loads a synthesizer: one of `fit` or `convert`, or weights of another project, whose networks are built here.

    Taken are folders of this library; network pickles of StyleGAN2-ADA, StyleGAN3, R3GAN and projected GAN;
    checkpoints of StudioGAN, lucidrains' stylegan2_pytorch, torchgan, pix2pix and CycleGAN, and
    pytorch-pretrained-biggan; state dicts of a `module` of yours; ONNX and torch.export files; and, since these are
    programs, with `trust=True` only, TorchScript files and medigan's models. Nothing else that a file holds is run:
    pickles are read by a reader of this library's own that imports and calls nothing.

    Args:
        path_or_id: Folder or file; `hf://user/name` or `hf://user/name/file` on the Hugging Face Hub; `https://...`.
        device: Where the networks go.
        kind: Which of `KINDS` it is, where that cannot be seen.
        module: A module of yours whose state dict the file holds; `key="..."` says under which name.
        trust: Whether you trust whoever made a program. It is run.
        class_names: Names of the model's classes, in their order, where the file brings none.
        class_map: For each class of the dataset the model's, a number, a name, or several; see `adapt`.
        like: The training split: images come in its size and channels; see `adapt`.
        knobs: How it draws: `{"truncation": 0.7, "mixing": 0.5}`; see `Knobs`. Classes are those of `class_map` where
            there is one.
        parents: For a network that makes images of real ones, the class that each class's parents are of.
        image_size: For such a network, the size at which it works.
        licence: Of the weights, where you know it; else what the file or its model card says.
        citation: Whom to cite, where you know better.
        sha256: What the file's SHA-256 must be.
        revision: Branch, tag or commit on the Hub.
        token: Of the Hub; None for the one that `hf auth login` stored.
        cache_dir: Where downloads are kept.
        local_files_only: Take what was downloaded before and reach for no network.
        progress: Whether to show bars on a terminal.
        options: Of the format, such as `config=` for StudioGAN's YAML file; and those of `wrap` for modules and
            programs: `num_classes`, `image_shape`, `value_range`, `latent_dim`, `labels`.

    Returns:
        A `TrainedSynthesizer`, `PretrainedSynthesizer`, `TranslatingSynthesizer` or `WrappedSynthesizer`; with
        `class_map` or `like` an `AdaptedSynthesizer` of it.

    Raises:
        ArtifactError: It is missing, damaged, hostile, a program without `trust=True`, or no format that is read.
        ConfigError: A parameter has a value that cannot work, or an extra is not installed.
        StorageError: The disk refused a download.

    Warns:
        LicenceWarning: The licence forbids commercial use.
    """
    wanted = Wanted(
        kind=kind,
        module=module,
        trust=trust,
        class_names=class_names,
        knobs=knobs if class_map is None else None,
        parents=parents,
        image_size=image_size,
        licence=licence,
        citation=citation,
        options=options,
    )
    fetching = {
        "sha256": sha256,
        "revision": revision,
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
        "progress": progress,
    }
    found = opened(path_or_id, wanted, fetching)
    if found.provenance is not None:
        announce(found.provenance, stacklevel=2)
    synthesizer = found.synthesizer
    if str(device) != "cpu":
        synthesizer = synthesizer.to(device)
    if class_map is None and like is None:
        return synthesizer
    adapted = adapt(synthesizer, class_map=class_map, like=like)
    return adapted if knobs is None or class_map is None else adapted.tuned(**turned(knobs))


def turned(knobs: Knobs | Mapping[str, Any]) -> dict[str, Any]:
    """Returns knobs as arguments of `tuned`."""
    return dict(vars(knobs)) if isinstance(knobs, Knobs) else dict(knobs)


def opened(path_or_id: str | Path, wanted: Wanted, fetching: Mapping[str, Any]) -> Loaded:
    """Loads a synthesizer without telling of its licence; the errors are those of `load`.

    Args:
        path_or_id: See `load`.
        wanted: How.
        fetching: Arguments of `fetch`.
    """
    path = _weights_in(fetch(path_or_id, **fetching), wanted.kind)
    kind = wanted.kind or ("state_dict" if wanted.module is not None else _kind_of(path))
    if kind == "folder":
        return _own_folder(path, wanted)
    digest = None if path.is_dir() else file_sha256(path, bool(fetching.get("progress")))
    known = Provenance(source=source_of(path_or_id), sha256=digest, licence=card_licence(path))
    made: Any
    beside: tuple[Path, ...] = ()
    if kind == "state_dict":
        made = of_state(path, wanted.module, wanted.given, wanted.options)
        told = replace(known, form="state dict", licence=wanted.licence or known.licence, citation=wanted.citation)
        made.provenance, made.licence, made.citation = told, told.licence, told.citation
    elif kind in PROGRAMS or kind == "medigan":
        program = open_program(path, kind, wanted.trust, wanted.options, fetching)
        told = wanted.told(known, program)
        made = of_program(program, wanted.given, wanted.options)
        made.provenance, made.licence, made.citation = told, told.licence, told.citation
        beside = tuple(program.beside)
        made.weights = hash_json([weights_of(digest, beside), kind, _settled(wanted.options)])
    else:
        kind, found = read(path, kind, wanted.options)
        told = wanted.told(known, found)
        given = {"class_names": found.class_names, **wanted.given}
        made = made_of(found.generator, str(path), provenance=told, discriminator=found.discriminator, **given)
    return Loaded(synthesizer=made, kind=kind, provenance=told, path=path, beside=beside, options=wanted.options)


def _own_folder(path: Path, wanted: Wanted) -> Loaded:
    """Loads a folder that this library wrote; names, knobs and licence may be given anew."""
    if (path / PROGRAM.file).is_file():
        stored = read_program(path)
        again = replace(
            wanted,
            kind=stored.kind,
            class_names=wanted.class_names or stored.class_names,
            options={**stored.options, **wanted.options},
        )
        loaded = opened(stored.path, again, {"progress": False})
        kept = _known_better(stored.provenance, wanted)
        made = loaded.synthesizer
        made.provenance, made.licence, made.citation = kept, kept.licence, kept.citation
        return replace(loaded, provenance=kept)
    refuse(wanted.options, (), "a folder of this library")
    if (path / DESCRIPTION).is_file():
        pretrained = load_stored(path, anew=wanted.given)
        own = replace(pretrained.provenance, licence=_both(pretrained.licence, card_licence(path)))
        pretrained.provenance = _known_better(own, wanted)
        return Loaded(synthesizer=pretrained, kind="folder", provenance=pretrained.provenance, path=path)
    refuse(wanted.given, (), "a synthesizer that was trained here")
    trained = load_trained(path)
    trained.licence = wanted.licence or _both(trained.licence, card_licence(path))
    return Loaded(synthesizer=trained, kind="folder", provenance=None, path=path)


def _settled(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options as JSON values; of a file its hash."""
    is_file = {
        name: isinstance(value, str | Path) and len(str(value)) < _LONGEST and Path(value).is_file()
        for name, value in options.items()
    }
    return {name: file_sha256(value, False) if is_file[name] else value for name, value in options.items()}


def _known_better(kept: Provenance, wanted: Wanted) -> Provenance:
    return replace(kept, licence=wanted.licence or kept.licence, citation=wanted.citation or kept.citation)


def _both(own: str | None, card: str | None) -> str | None:
    """Returns a folder's own licence and that of its model card, both where they differ."""
    said = [licence for licence in (own, card) if licence is not None]
    alike = len({licence.lower() for licence in said}) < 2
    return (said[0] if said else None) if alike else f"{own} (its model card says {card})"


def _weights_in(path: Path, kind: str | None) -> Path:
    """Returns the folder where it is a synthesizer of some kind, else the only file of weights in it."""
    if not path.is_dir():
        return path
    if kind == "medigan" or any((path / name).is_file() for name in _OWN) or _is_biggan(path):
        return path
    if (path / "pool.json").is_file():
        raise ArtifactError(f"expected a synthesizer in {path}, found a pool; give the folder of fit or convert")
    if (path / WEIGHTS).is_file():
        raise ArtifactError(
            f"expected a synthesizer in {path}, found no synthesizer.json or {DESCRIPTION} beside {WEIGHTS}"
        )
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if len(files) == 1:
        return files[0]
    names = ", ".join(str(file.relative_to(path)) for file in files[:8])
    raise ArtifactError(
        f"expected a synthesizer in {path}: {', '.join(_OWN)}, or one file of weights, found "
        f"{f'{len(files)} files of weights ({names}); name one' if files else 'none'}"
    )


def _is_biggan(path: Path) -> bool:
    from gan_augment.synthesizers.readers import biggan

    return biggan.recognises_folder(path)


def _kind_of(path: Path) -> str:
    """Returns the kind of a folder or file, by what it holds; "" for a checkpoint that is to be looked at."""
    if path.is_dir():
        return "folder" if any((path / name).is_file() for name in _OWN) else "biggan"
    if path.name in _OWN:
        raise ArtifactError(f"expected a synthesizer's folder, found a file of it; give {path.parent}")
    if path.suffix in (".onnx", ".pt2"):
        return path.suffix[1:]
    if path.suffix == ".zip":
        return "medigan"
    from gan_augment.synthesizers.programs.torchscript import is_torchscript

    return "torchscript" if is_torchscript(path) else ""
