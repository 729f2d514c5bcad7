"""The verbs check and merge of the command line."""

from pathlib import Path
from typing import Annotated

import typer

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.options import Json, Quiet, Seed, example, pairs, show

__all__ = ["CHECK_EXAMPLE", "MERGE_EXAMPLE", "check", "merge"]

CHECK_EXAMPLE = example(
    "gan-augment check runs/pool",
    "gan-augment check runs/pool --gan runs/gan --like data/train --sample 2000",
)

MERGE_EXAMPLE = example("gan-augment merge runs/pool runs/other-pool --out runs/both")


def check(
    pool: Annotated[Path, typer.Argument(help="Folder of the pool.")],
    gan: Annotated[
        str | None, typer.Option(help="The synthesizer that drew it, as for build: rows are drawn again and compared.")
    ] = None,
    class_map: Annotated[list[str] | None, typer.Option("--map", help="CLASS=CLASS, as for build.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="Training images that it was built for, where the synthesizer draws from them.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Rows to draw again, about.")] = 1000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Tell whether a pool is as it was written: its checksums, and rows drawn again from their seeds."""
    from gan_augment.folders import open_folder
    from gan_augment.machine import pick_device
    from gan_augment.pool import SyntheticPool
    from gan_augment.source import RawView
    from gan_augment.synthesizers import load

    opened = SyntheticPool.open(pool)
    files = opened.check(progress=not quiet)
    result = {"pool": str(pool), "files": files, "candidates": len(opened.candidates()), "drawn_again": None}
    lines = [f"{pool}: {files} files are as they were written, {len(opened.candidates())} candidates"]
    if gan is not None:
        view = None if like is None else RawView(open_folder(like), progress=not quiet)
        synthesizer = load(gan, device=pick_device(device), class_map=pairs(class_map, "--map"))
        if view is None and getattr(synthesizer, "needs_parents", False):
            raise ConfigError("expected --like, the training images that this synthesizer draws from, found none")
        found = opened.verify(synthesizer, view, sample=sample, seed=seed, progress=not quiet)
        if not found:
            raise ArtifactError(
                f"expected the rows of {pool} from their seeds, found others: {found}; another synthesizer drew them, "
                "or the images were changed"
            )
        result["drawn_again"] = vars(found)
        lines.append(str(found))
    show(result, "\n".join(lines), as_json)


def merge(
    pools: Annotated[list[Path], typer.Argument(help="Folders of pools of images of one type and size.")],
    out: Annotated[Path, typer.Option(help="New folder.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put pools together, one behind the other; each part keeps its seeds, fingerprints and licence."""
    from gan_augment.pool import SyntheticPool

    merged = SyntheticPool.merge([SyntheticPool.open(pool) for pool in pools], out, progress=not quiet)
    result = {"out": str(out), "candidates": len(merged.candidates()), "kept": len(merged), "classes": merged.table()}
    show(result, f"{out}: {len(merged)} kept of {len(merged.candidates())} candidates of {len(pools)} pools", as_json)
