"""The verbs export and import of the command line."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gan_augment.errors import ConfigError
from gan_augment.options import Json, Quiet, example, show

__all__ = ["EXPORT_EXAMPLE", "IMPORT_EXAMPLE", "export", "import_"]

EXPORT_EXAMPLE = example(
    "gan-augment export runs/pool runs/images",
    "gan-augment export runs/pool runs/all --which candidates --format webdataset",
    "gan-augment export runs/pool runs/hub --format huggingface",
    "gan-augment export runs/pool runs/volumes --format nifti --spacing 0.8,0.8,2.5",
)
IMPORT_EXAMPLE = example(
    "gan-augment import runs/images runs/reviewed",
    "gan-augment import downloads/synthetic runs/pool --classes nevus,melanoma",
)


class Format(StrEnum):
    """Formats that a pool can be exported in."""

    folder = "folder"
    webdataset = "webdataset"
    huggingface = "huggingface"
    nifti = "nifti"


class Which(StrEnum):
    """Views of a pool."""

    kept = "kept"
    candidates = "candidates"
    rejected = "rejected"


def export(
    pool: Annotated[Path, typer.Argument(help="Folder of the pool that build wrote.")],
    out: Annotated[Path, typer.Argument(help="New folder.")],
    format: Annotated[  # noqa: A002  (the name of the option)
        Format, typer.Option(help="folder and huggingface hold images, nifti volumes, webdataset both.")
    ] = Format.folder,
    which: Annotated[Which, typer.Option(help="The kept images, all candidates, or those not kept.")] = Which.kept,
    spacing: Annotated[
        str | None,
        typer.Option(help="Of nifti: X,Y,Z, the width of a voxel in mm.", show_default="1,1,1"),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(help="Of nifti: xyz, or zyx where arrays are stacks of slices (D, H, W).", show_default="xyz"),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a pool for other tools: ImageFolder, WebDataset, Hugging Face, NIfTI.

    Values are kept exactly. Every image, and a card beside them, says that it is synthetic.
    """
    from gan_augment.pool import SyntheticPool
    from gan_augment.pool.exports.export import export as write

    began = time.monotonic()
    drawn = SyntheticPool.open(pool)
    view = {"kept": drawn, "candidates": drawn.candidates(), "rejected": drawn.rejected()}[which]
    settings: dict[str, Any] = {} if spacing is None else {"spacing": _widths(spacing)}
    settings |= {} if axes is None else {"axes": axes}
    write(view, out, format.value, progress=not quiet, **settings)
    result = {
        "out": str(out),
        "format": format.value,
        "which": which.value,
        "images": len(view),
        "classes": {view.classes[label]: number for label, number in view.counts.items()},
        "seconds": round(time.monotonic() - began, 1),
    }
    told = f"{len(view)} images ({which.value}) in {out}, format {format.value}. Read {out / 'README.md'}."
    show(result, told, as_json)


def import_(
    folder: Annotated[Path, typer.Argument(help="Folder of images, a folder a class; one that export wrote, or any.")],
    out: Annotated[Path, typer.Argument(help="New folder for the pool.")],
    classes: Annotated[
        str | None,
        typer.Option(help="NAME,NAME,... in the order of the labels.", show_default="the pool's, or sorted"),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a pool of a folder of synthetic images.

    Delete bad images from an exported folder, or move them to the class that they show, and import what is left.
    """
    from gan_augment.artifacts import refuse_existing
    from gan_augment.pool.exports.reading import read_folder

    began = time.monotonic()
    refuse_existing(out, "pool")
    found = read_folder(folder, classes=None if classes is None else classes.split(","), progress=not quiet)
    pool = found.pool()
    pool.save(out, progress=not quiet)
    counts = {pool.classes[label]: number for label, number in pool.counts.items()}
    result = {
        "out": str(out),
        "images": len(pool),
        "classes": counts,
        "notes": found.notes,
        "seconds": round(time.monotonic() - began, 1),
    }
    lines = [f"{name:<20}{number:>8}" for name, number in counts.items()]
    lines += [f"note: {note}" for note in found.notes]
    lines.append(f"Next, in Python: ga.GANAugmentedDataset(train_set, ga.SyntheticPool.open({str(out)!r}))")
    show(result, "\n".join(lines), as_json)


def _widths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"expected --spacing X,Y,Z in mm, found {text!r}") from None
