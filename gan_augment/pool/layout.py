"""Where things lie in the folder of a pool; `FORMAT.md` beside this file tells it in full.

::

    pool.json                    last: a folder with it is whole
    part-00000/                  what one build or extend drew
        images-00000.npy ...     shards (rows, C, *raw_shape) in the raw dtype
        masks-00000.npy ...      where a synthesizer draws masks: (rows, 1, *raw_shape) int32
        label.npy seed.npy ...   one file a column
        fitted_on.safetensors    hashes of the images and groups that synthesizer and judge saw
        build.json               while it is drawn: what was asked for
        shard-00000.safetensors  while it is drawn: a shard that is finished
"""

from pathlib import Path
from typing import Any

from gan_augment.artifacts import exists, read_json
from gan_augment.errors import ArtifactError
from gan_augment.pool.columns import COLUMNS

__all__ = [
    "FITTED_ON",
    "JUDGE",
    "KIND",
    "LOCK",
    "MOST_PARTS",
    "MOST_SHARDS",
    "PLAN",
    "POOL",
    "VERSION",
    "column_file",
    "files_of_part",
    "part_name",
    "read_about",
    "shard_file",
    "shards_of",
]

KIND = "gan_augment pool"
VERSION = 2
POOL, PLAN, FITTED_ON, LOCK = "pool.json", "build.json", "fitted_on.safetensors", ".lock"
JUDGE = "judge-"
"""How the folder of a judge begins that the command line trains for a pool."""

MOST_SHARDS = 128
"""Of a part; each is a file held open."""

MOST_PARTS = 256


def part_name(number: int) -> str:
    """Returns the name of a part's folder."""
    return f"part-{number:05d}"


def shard_file(what: str, number: int) -> str:
    """Returns the name of a shard's file of images or masks."""
    return f"{what}-{number:05d}.npy"


def column_file(name: str) -> str:
    """Returns the name of a column's file."""
    return f"{name}.npy"


def shards_of(rows: int, shard_rows: int) -> list[int]:
    """Returns the number of rows of each shard of a part."""
    return [min(shard_rows, rows - start) for start in range(0, rows, shard_rows)]


def files_of_part(rows: int, shard_rows: int, masks: bool) -> list[str]:
    """Returns the names of all files that a whole part has."""
    numbers = range(len(shards_of(rows, shard_rows)))
    shards = [shard_file(what, n) for what in ("images", *(["masks"] if masks else [])) for n in numbers]
    return [*shards, *map(column_file, COLUMNS), FITTED_ON]


def read_about(folder: Path) -> dict[str, Any]:
    """Reads `pool.json`.

    Raises:
        ArtifactError: It is missing, damaged, or of a version that this library does not read.
    """
    begun = exists(folder) and folder.is_dir() and not exists(folder / POOL)
    plans = sorted(folder.glob(f"part-*/{PLAN}")) if begun else []
    if plans:
        done = len(list(plans[0].parent.glob("shard-*.safetensors")))
        raise ArtifactError(
            f"expected a whole pool in {folder}, found one that is still being drawn ({done} shards are finished); "
            "give the call or command that began it again, and it goes on from there"
        )
    return read_json(folder / POOL, KIND, VERSION, oldest=VERSION)
