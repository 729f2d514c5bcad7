"""A pool that is built once for a synthesizer and a dataset, and found again by their fingerprints."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan_augment.artifacts import storing
from gan_augment.errors import ArtifactError
from gan_augment.fingerprint import hash_items, hash_json
from gan_augment.locks import exclusive
from gan_augment.pool.layout import POOL
from gan_augment.pool.order import seen_by
from gan_augment.pool.pool import SyntheticPool
from gan_augment.source import RawView
from gan_augment.types import Synthesizer

__all__ = ["cache_folder", "cached_pool"]

_NEWEST = 3
"""To be raised when pools are drawn in another way than before."""


def cache_folder() -> Path:
    """Returns where pools are kept by default: $GAN_AUGMENT_CACHE, else gan_augment in the user's cache."""
    given = os.environ.get("GAN_AUGMENT_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_augment" / "pools"


def cached_pool(
    synthesizer: Synthesizer,
    view: RawView,
    counts: Mapping[Any, int],
    *,
    folder: str | os.PathLike[str] | None,
    seed: int = 0,
    progress: bool = True,
) -> SyntheticPool:
    """Returns the pool of a synthesizer for a dataset, drawn now or found from before; nothing is selected.

    Processes that ask for the same pool at once wait for the first to draw it.

    Args:
        synthesizer: Who draws.
        view: The dataset.
        counts: Images of each class, by label.
        folder: Where pools are kept; None to keep it in memory. So is that of a function, whose fingerprint is not
            known.
        seed: Of all draws.
        progress: Whether to show a bar on a terminal.

    Warns:
        DataMismatchWarning: The synthesizer was fitted on images that are not in the dataset.

    Raises:
        ArtifactError: The pool that was kept is damaged.
        StorageError: The disk refused.
    """
    own = getattr(synthesizer, "fingerprint", None)
    known = isinstance(own, Mapping) and "unknown" not in own.values()

    def build(out: Path | None) -> SyntheticPool:
        return SyntheticPool.build(synthesizer, view, counts=counts, reserve=1.0, out=out, seed=seed, progress=progress)

    if folder is None or not known:
        return build(None)
    seen = [hash_items(view.hashes), view.identity, view.group_hashes.tolist(), view.classes, view.values]
    spec = synthesizer.image_spec
    drawn = [own, synthesizer.num_classes, synthesizer.class_names, None if spec is None else spec.to_json()]
    form = [vars(view.full_form), view.value_range]
    key = hash_json([_NEWEST, drawn, seen, form, {str(label): number for label, number in counts.items()}, seed])
    path = Path(folder) / key
    if not (path / POOL).exists():
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path.with_name(f".{key}.lock"), f"the pool {path}", wait=True):
            if not (path / POOL).exists():
                with contextlib.suppress(ArtifactError):  # where there are no locks, another may have been faster
                    return build(path)
    pool = SyntheticPool.open(path)
    seen_by(synthesizer, view, None, stacklevel=5)  # warns as the build did
    return pool
