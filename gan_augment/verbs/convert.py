"""The verb convert of the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gan_augment.errors import printable
from gan_augment.options import Json, Quiet, example, pairs, show

if TYPE_CHECKING:
    from gan_augment.synthesizers.files.load import Loaded

__all__ = ["CONVERT_EXAMPLE", "convert"]

CONVERT_EXAMPLE = example(
    "gan-augment convert network-snapshot-005000.pkl runs/skin/gan --class nevus --class melanoma",
    "gan-augment convert hf://user/name/gan.pkl runs/gan --sha256 4f1e...",
    "gan-augment convert model=G_ema-best-weights-step=100000.pth runs/gan --option config=biggan.yaml",
    "gan-augment convert latest_net_G_A.pth runs/gan --class lesion --parent lesion=healthy",
    "gan-augment convert generator.onnx runs/gan --option num_classes=7 --licence cc-by-4.0",
)

_CLASSES, _COLUMNS = 12, 8


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="File, folder, hf://user/name, hf://user/name/file, or https://...")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder, for build and ga.load.")],
    kind: Annotated[
        str | None, typer.Option(help="What IN is, where that cannot be seen; a wrong one lists all.")
    ] = None,
    class_name: Annotated[
        list[str] | None, typer.Option("--class", help="Name of a class of the model, once for each, in their order.")
    ] = None,
    parent: Annotated[
        list[str] | None,
        typer.Option(help="CLASS=CLASS: of a network that makes images of real ones, whose images it takes."),
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Side at which such a network works.")] = None,
    truncation: Annotated[float | None, typer.Option(help="From 1, all it knows, to 0, one image a class.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE of the format, such as config=FILE, num_classes=7, value_range=0:1, image_shape=3x64x64."
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights, where you know it.")] = None,
    citation: Annotated[str | None, typer.Option(help="Whom to cite, where you know better.")] = None,
    sha256: Annotated[str | None, typer.Option(help="What the file's SHA-256 must be.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Take what was downloaded before.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Convert a generator of another project into a folder of this library's own. Nothing that it holds is run.

    Taken are network pickles of StyleGAN2-ADA, StyleGAN3, R3GAN and projected GAN; checkpoints of StudioGAN,
    stylegan2_pytorch, torchgan, pix2pix, CycleGAN and pytorch-pretrained-biggan; ONNX and torch.export files. Look at
    samples.png in the folder: it shows what was made of it.
    """
    from gan_augment.synthesizers.fetching.provenance import announce
    from gan_augment.synthesizers.files.convert import convert as convert_to

    settings: dict[str, Any] = {
        "kind": kind,
        "class_names": class_name or None,
        "parents": pairs(parent, "--parent"),
        "image_size": image_size,
        "knobs": None if truncation is None else {"truncation": truncation},
        "licence": licence,
        "citation": citation,
        "sha256": sha256,
        "revision": revision,
        "local_files_only": offline,
        "progress": not quiet,
        **{name: _value(text) for name, text in (pairs(option, "--option") or {}).items()},
    }
    found = convert_to(
        source, out, look=_look, **{name: value for name, value in settings.items() if value is not None}
    )
    assert found.provenance is not None
    announce(found.provenance, tell=lambda line: typer.echo(f"note: {line}", err=True))
    _tell(found, out, as_json)


def _value(text: Any) -> Any:
    """Returns a number, a shape such as 3x64x64, a range such as 0:1, or the text."""
    if isinstance(text, int):
        return text
    text = text.strip("()[] ").replace(", ", ",")
    parts = text.split("x")
    if len(parts) > 1 and all(part.isdigit() for part in parts):
        return tuple(map(int, parts))
    low, sign, high = text.partition("," if "," in text else ":")
    try:
        return (float(low), float(high)) if sign else float(text)
    except ValueError:
        return text


def _look(synthesizer: Any, folder: Path) -> None:
    """Leaves a picture of some samples of the first classes."""
    import numpy as np

    from gan_augment.seeds import row_seeds
    from gan_augment.training.log import draw_grid

    if getattr(synthesizer, "needs_parents", False):
        return
    names = synthesizer.class_names or [str(label) for label in range(synthesizer.num_classes)]
    labels = range(min(_CLASSES, synthesizer.num_classes))
    images = {
        label: synthesizer.sample(np.full(_COLUMNS, label), row_seeds(0, label, _COLUMNS)).images for label in labels
    }
    draw_grid(images, names, None, "first seeds of the first classes").save(folder / "samples.png")


def _tell(found: "Loaded", out: Path, as_json: bool) -> None:
    made, known = found.synthesizer, found.provenance
    assert known is not None
    classes = None if made.class_names is None else list(made.class_names)
    picture = out / "samples.png"
    network = getattr(made, "network", None)
    count = None if network is None else sum(tensor.numel() for tensor in network.state_dict().values())
    result = {
        "out": str(out),
        "kind": found.kind,
        "synthesizer": repr(made),
        "classes": classes,
        "num_classes": made.num_classes,
        "parameters": count,
        "provenance": known.to_json(),
        "samples": str(picture) if picture.exists() else None,
    }
    lines = [printable(repr(made)), known.show()]
    if classes is None and made.num_classes > 1:
        lines.append(
            "Its classes have no names: give --class for each, or class_map={'your class': number} to ga.load."
        )
    lines.append(f"Look at {picture}: samples of its classes, none picked." if picture.exists() else "")
    mapped = " --map CLASS=NUMBER ..." if classes is None and made.num_classes > 1 else ""
    lines.append(
        f"Next: gan-augment build {out} --like TRAIN --out POOL{mapped}, or ga.load({str(out)!r}, like=train_set)"
    )
    show(result, "\n".join(line for line in lines if line), as_json)
