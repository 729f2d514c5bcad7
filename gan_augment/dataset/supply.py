"""Where the images of synthetic slots come from: the rows of a pool, or a synthesizer that draws them live."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.errors import ConfigError, DataError, SmallClassWarning
from gan_augment.forms import RawForm
from gan_augment.pool import SyntheticPool
from gan_augment.pool.cached import cached_pool
from gan_augment.pool.draw import Drawer, drawn_spec
from gan_augment.pool.matching import names_in
from gan_augment.pool.opened import opened_source
from gan_augment.pool.order import seen_by
from gan_augment.source import RawView
from gan_augment.synthesizers.checks import Home, from_items, match_classes
from gan_augment.types import IntArray, NeedsParents, Origin, Synthesizer

__all__ = ["LiveSupply", "PoolSupply", "Supplied", "rows_of", "supply_of"]


class Supplied(NamedTuple):
    """An image `(C, *raw_shape)` in the raw dtype, and its mask `(1, *raw_shape)` where there is one."""

    array: npt.NDArray[Any]
    mask: npt.NDArray[Any] | None


class PoolSupply:
    """The rows of a pool's view.

    Args:
        pool: The pool.
        names: The dataset's class names.
        values: The label that stands for each class.

    Raises:
        DataError: The pool has none of the classes.
    """

    def __init__(self, pool: SyntheticPool, names: Sequence[str], values: Sequence[int | str]) -> None:
        self.pool, self.form, self.has_masks = pool, pool.form, pool.has_masks
        self.fitted_on = pool.fitted_on
        names = names_in(pool, names, values)
        index = {name: i for i, name in enumerate(pool.classes)}
        self.position = {label: index[name] for label, name in enumerate(names) if name in index}
        if not self.position:
            raise DataError(
                f"expected a pool of the classes {', '.join(names)}, found {', '.join(pool.classes)}; build the pool "
                "with like=this dataset"
            )

    def rows(self, label: int) -> IntArray:
        """Returns the rows of a class of the dataset."""
        own: IntArray = self.pool.rows[self.pool.labels == self.position.get(label, -1)]
        return own

    def get(self, origins: Sequence[Origin]) -> list[Supplied]:
        """Returns the image and mask of the row of each origin."""
        rows = [origin.row for origin in origins]
        return [Supplied(self.pool.array(row), self.pool.mask(row)) for row in rows if row is not None]


class LiveSupply:
    """A synthesizer that draws when an item is asked for; an image-conditioned one from a real image of the class.

    Args:
        synthesizer: Who draws.
        view: The dataset.
        labels: The classes that are drawn.

    Raises:
        SynthesizerError: It lacks a class, or draws images that do not fit.
    """

    def __init__(self, synthesizer: Synthesizer, view: RawView, labels: Sequence[int]) -> None:
        self._view, self._home = view, Home()
        self.fitted_on = seen_by(synthesizer, view, None, stacklevel=5)
        self.from_items = from_items(synthesizer)
        mapping = match_classes(view.classes, synthesizer.num_classes, synthesizer.class_names, sorted(labels))
        if isinstance(synthesizer, NeedsParents) and synthesizer.needs_parents:
            synthesizer.bind(view)  # for the sample that tells the form
        spec = drawn_spec(synthesizer, view, int(mapping[min(labels)]))
        self._drawer = Drawer(synthesizer, mapping, spec, [], view.classes)
        first = self._drawer.draw(np.array([min(labels)]), np.zeros(1, np.int64), padded=False)
        self.has_masks = first.masks is not None
        self.form: RawForm = spec.form if spec.form.shape is not None else replace(spec.form, shape=spec.raw_shape)

    def get(self, origins: Sequence[Origin]) -> list[Supplied]:
        """Draws an image, and a mask where there is one, for each origin, in one call.

        Raises:
            SynthesizerError: This is a forked process, and the synthesizer is not on the CPU.
        """
        self._home.check(self._drawer.synthesizer)
        labels = np.array([origin.label for origin in origins], np.int64)
        seeds = np.array([origin.seed for origin in origins], np.int64)
        sources: Tensor | None = None
        if self.from_items:
            sources = self._view.images(np.array([origin.parent for origin in origins]), spec=self._drawer.spec)
        drawn = self._drawer.draw(labels, seeds, sources, padded=False)
        if drawn.masks is None:
            return [Supplied(array, None) for array in drawn.arrays]
        return [Supplied(array, mask) for array, mask in zip(drawn.arrays, drawn.masks, strict=True)]


def supply_of(
    source: Any,
    view: RawView,
    wanted: Mapping[int, int],
    *,
    live: bool,
    folder: Any,
    seed: int,
    progress: bool,
) -> PoolSupply | LiveSupply | None:
    """Returns where synthetic images come from; None for no source.

    Args:
        source: A pool, a synthesizer, the path of one, or None.
        view: The dataset.
        wanted: Slots of each class.
        live: Whether a synthesizer draws anew each time.
        folder: Where the pool of a synthesizer is kept; None for memory.
        seed: Of that pool.
        progress: Whether to show a bar.

    Raises:
        ConfigError: It is none of these.
    """
    if source is None:
        return None
    source = opened_source(source)
    if isinstance(source, SyntheticPool) and not live:
        return PoolSupply(source, view.classes, view.values)
    if isinstance(source, SyntheticPool):
        raise ConfigError("expected a Synthesizer, which draws with live=True, found a SyntheticPool; give live=False")
    if live:
        return LiveSupply(source, view, list(wanted))
    counts = {view.values[label]: number for label, number in wanted.items()}
    pool = cached_pool(source, view, counts, folder=folder, seed=seed, progress=progress)
    return PoolSupply(pool, view.classes, view.values)


def rows_of(
    supply: PoolSupply | LiveSupply | None, view: RawView, wanted: Mapping[int, int], min_images: int
) -> tuple[list[IntArray], dict[int, str]]:
    """Returns for each class what its synthetic slots are drawn from, and a note where they repeat reals.

    Rows of the pool; where images are drawn live, the items of the base that they may be drawn from.
    """
    rows = [np.empty(0, np.int64)] * view.num_classes
    notes: dict[int, str] = {}
    for label, number in wanted.items() if supply is not None else ():
        if isinstance(supply, LiveSupply):
            rows[label] = view.of_class(label)
            continue
        assert supply is not None
        own, real = supply.rows(label), int(view.counts[label])
        if len(own) and not (real < min_images and len(own) < min_images):
            rows[label] = own
            continue
        notes[label] = "repeats reals"
        warnings.warn(
            f"class {view.classes[label]} has {real} real images and {len(own)} kept synthetic ones: its {number} "
            "slots repeat reals. Draw more candidates (reserve=), keep more, or lower min_images=",
            SmallClassWarning,
            stacklevel=4,
        )
    return rows, notes
