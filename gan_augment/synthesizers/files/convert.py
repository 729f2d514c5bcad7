"""convert: weights of another project, or a program that is safe to run, as a folder of this library's own."""

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gan_augment.artifacts import new_folder, refuse_existing, storing, versions, write_json
from gan_augment.errors import ConfigError
from gan_augment.synthesizers.files.load import FETCHING, Loaded, Wanted, opened
from gan_augment.synthesizers.files.stored import PROGRAM, kept_options, weights_of, write_into

__all__ = ["convert"]

_SAFE = {"onnx": "program.onnx", "pt2": "program.pt2"}
_OWN = (*_SAFE.values(), PROGRAM.file, "samples.png")


def convert(
    path_or_id: str | Path, out: str | Path, *, look: Callable[[Any, Path], object] | None = None, **settings: Any
) -> Loaded:
    """Loads a synthesizer of another project and writes it as a folder that `load` takes without further settings.

    Of weights the folder holds `pretrained.json` and `weights.safetensors`, with the discriminator where the file has
    one that is known here; of an ONNX or torch.export file the program itself and `program.json`. Licence, origin,
    SHA-256 and citation are kept with it.

    Args:
        path_or_id: As `load` takes it.
        out: New folder.
        look: Called with the synthesizer and the unfinished folder, to leave a picture in it.
        settings: Those of `load`, but for `device`, `class_map` and `like`.

    Raises:
        ArtifactError: `out` exists; or what `load` raises.
        ConfigError: It is a synthesizer that was trained here, needs a module of yours, or runs code of others.
        StorageError: The disk refused.
    """
    refuse_existing(out, "synthesizer")
    fetching = {name: settings.pop(name, default) for name, default in FETCHING.items()}
    own = [field.name for field in fields(Wanted) if field.name != "options"]
    told = {name: settings.pop(name) for name in own if name in settings}
    if refused := [name for name in ("device", "class_map", "like") if name in settings]:
        raise ConfigError(f"expected no {', '.join(refused)} to convert, found it; give it to load")
    found = opened(path_or_id, Wanted(**told, options=settings), fetching)
    if found.kind in ("torchscript", "medigan", "state_dict") or found.provenance is None:
        raise ConfigError(
            f"expected weights or a program that is safe to run, to convert, found {found.kind}: "
            + {
                "folder": "it was trained here and needs none",
                "state_dict": "a module of yours cannot be stored; export it with torch.export.save",
            }.get(found.kind, "it runs code of others and stays what it is; load it with trust=True")
        )
    with new_folder(out, "synthesizer") as work:
        if found.kind in _SAFE:
            _write_program(found, work)
        else:
            write_into(found.synthesizer, work)
        if look is not None:
            look(found.synthesizer, work)
    return found


def _write_program(found: Loaded, work: Path) -> None:
    assert found.provenance is not None
    name = _SAFE[found.kind]
    if odd := [path for path in found.beside if path.parent != found.path.parent or path.name in _OWN]:
        raise ConfigError(
            f"expected weights beside {found.path.name}, found them in {odd[0]}; save the model as one file "
            "(external_data=False)"
        )
    for path, copy in ((found.path, name), *((path, path.name) for path in found.beside)):
        with storing(work / copy):
            shutil.copyfile(path, work / copy)
    about = {
        "kind": PROGRAM.kind,
        "version": PROGRAM.version,
        "file": name,
        "program": found.kind,
        "options": kept_options(found.options),
        "classes": found.synthesizer.class_names,
        "beside": [path.name for path in found.beside],
        "weights": weights_of(found.provenance.sha256, found.beside),
        "provenance": found.provenance.to_json(),
        "versions": versions(),
    }
    write_json(work / PROGRAM.file, about)
