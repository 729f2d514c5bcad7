"""Drawing candidates in the dataset's own raw form, and seeing them as the judge does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import SynthesizerError
from gan_augment.images import ImageSpec, as_channels, batch_rows
from gan_augment.selection.eyes import Eye, Seen, group_numbers
from gan_augment.source import RawView
from gan_augment.types import Candidates, Extractor, IntArray, Synthesizer

__all__ = ["Drawer", "Drawn", "Sight", "drawn_spec"]


class Drawn(NamedTuple):
    """Rows that were drawn: raw arrays `(n, C, *raw_shape)`, parents `(n,)` (-1: none), masks `(n, 1, *raw_shape)`."""

    arrays: npt.NDArray[Any]
    parents: IntArray
    masks: npt.NDArray[np.int32] | None


def drawn_spec(synthesizer: Synthesizer, view: RawView, label: int) -> ImageSpec:
    """Returns the spec that turns what a synthesizer draws into raw images of a dataset.

    The grid is what the synthesizer draws; the range is its own where it has one, else the dataset's; images are
    cropped or resized to the dataset's size, where it has one size.

    Args:
        synthesizer: Who draws.
        view: The dataset.
        label: A class of the synthesizer, for one sample.

    Raises:
        SynthesizerError: It draws images of other dimensions, or was fitted on another raw type.
    """
    drawn = synthesizer.sample([label], [0]).images
    own, form = synthesizer.image_spec, view.full_form
    if drawn.ndim != 1 + view.form.ndim:
        raise SynthesizerError(
            f"expected samples of {view.form.ndim - 1} spatial dimensions as in the dataset, found {tuple(drawn.shape)}"
        )
    low, high = view.value_range
    affine = None if form.shape is None else view.affine
    if own is None:
        grid = tuple(drawn.shape[2:])
        return ImageSpec(form=form, grid=grid, low=low, high=high, fit="resize", affine=affine)
    if different := own.form.differences(form, ("dtype", "channels")):
        raise SynthesizerError(
            f"expected a synthesizer fitted on images of the dataset's own type, found another: {different}"
        )
    fit = own.fit if own.form.shape == form.shape else "resize"
    return ImageSpec(form=form, grid=own.grid, low=own.low, high=own.high, fit=fit, affine=affine)


class Sight:
    """Gives the columns that a selector sees, of rows of raw arrays and of real images.

    Args:
        spec: How raw images map to [-1, 1].
        extractors: The selector's, the main one first; none where it needs none.
        classes: The dataset's class names.

    Attributes:
        chunk: Rows seen together: fixed by the grid, and padded.

    Raises:
        ConfigError: An extractor was fitted on images of another type, or lacks a class.
    """

    def __init__(self, spec: ImageSpec, extractors: Sequence[Extractor], classes: Sequence[str]) -> None:
        self.spec, self.chunk = spec, batch_rows(spec.grid)
        self._eyes = [Eye(extractor, spec, classes) for extractor in extractors]

    def candidates(
        self, arrays: npt.NDArray[Any], labels: IntArray, seeds: IntArray, parents: IntArray | None = None
    ) -> Candidates:
        """Returns the columns of drawn rows, seen as they are stored, after rounding to the raw dtype."""
        count = len(arrays)
        padded = np.minimum(np.arange(-(-count // self.chunk) * self.chunk), count - 1)

        def see(eye: Eye) -> Seen:
            return eye.see(eye.spec.decode(arrays[padded]), labels[padded])

        return self._table(see, self.spec.decode(arrays) if not self._eyes else None, count, labels, parents, seeds)

    def real(self, view: RawView, domain: IntArray | None = None) -> Candidates:
        """Returns the columns of a dataset's real images; `domain` `(N,)` is that of each, where it is known."""
        parts = []
        for rows in np.array_split(np.arange(len(view)), -(-len(view) // self.chunk)):

            def see(eye: Eye, rows: IntArray = rows) -> Seen:
                return eye.see(view.images(rows, spec=eye.spec), view.targets[rows], view.hashes[rows])

            images = view.images(rows, spec=self.spec) if not self._eyes else None
            parts.append(self._table(see, images, len(rows), view.targets[rows]))
        return replace(Candidates.concatenate(parts), groups=group_numbers(view), domain=domain)

    def _table(
        self,
        see: Callable[[Eye], Seen],
        images: Tensor | None,
        count: int,
        labels: IntArray,
        parents: IntArray | None = None,
        seeds: IntArray | None = None,
    ) -> Candidates:
        if images is not None:
            return Candidates(images.flatten(1).numpy(), labels, parents=parents, seeds=seeds)
        seen = [see(eye) for eye in self._eyes]
        first = seen[0][0][:count]
        logits = next((found[:count] for _, found in seen if found is not None), None)
        several = zip(self._eyes, seen, strict=True) if len(seen) > 1 else ()
        also = {eye.fingerprint: features[:count] for eye, (features, _) in several}
        return Candidates(
            first.features, labels, first.probs, first.entropy, logits,
            seeds=seeds, parents=parents, fold=first.fold, also=also,
        )  # fmt: skip


class Drawer(Sight):
    """Draws rows as raw arrays, and gives the columns that a selector sees.

    Args:
        synthesizer: Who draws.
        mapping: For each class of the dataset, the synthesizer's class.
        spec: From `drawn_spec`.
        extractors: The selector's, the main one first; none where it needs none.
        classes: The dataset's class names.

    Attributes:
        chunk: Rows drawn together: fixed by the grid, and padded, so that a row drawn again is the same bit for bit on
            one machine.

    Raises:
        ConfigError: An extractor was fitted on images of another type, or lacks a class.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        mapping: IntArray,
        spec: ImageSpec,
        extractors: Sequence[Extractor],
        classes: Sequence[str],
    ) -> None:
        super().__init__(spec, extractors, classes)
        self.synthesizer, self.mapping = synthesizer, mapping

    def draw(self, labels: IntArray, seeds: IntArray, sources: Tensor | None = None, *, padded: bool = True) -> Drawn:
        """Draws rows in chunks of the same size, filled up with the last row.

        Args:
            labels: `(n,)` classes of the dataset.
            seeds: `(n,)`.
            sources: `(n, C, *grid)`, real images to draw from, for an image-conditioned synthesizer.
            padded: Whether to fill up: a row drawn again is the same bit for bit only so.

        Raises:
            SynthesizerError: It draws NaN, or images of other channels.
        """
        parts = []
        for start in range(0, len(labels), self.chunk):
            count = min(self.chunk, len(labels) - start)
            rows = np.minimum(np.arange(start, start + (self.chunk if padded else count)), len(labels) - 1)
            given = None if sources is None else {"source": sources[torch.from_numpy(rows)]}
            drawn = self.synthesizer.sample(self.mapping[labels[rows]], seeds[rows], conditions=given)
            if not _finite(drawn.images):
                raise SynthesizerError(
                    "expected finite images from the synthesizer, found NaN; its weights are no good"
                )
            arrays = self.spec.encode(as_channels(drawn.images[:count], self.spec.channels))
            parents = np.full(count, -1, np.int64) if drawn.parents is None else drawn.parents[:count]
            masks = None if drawn.masks is None else self.spec.encode_masks(drawn.masks[:count])
            parts.append(Drawn(arrays, parents, masks))
        arrays, parents = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
        found = [part.masks for part in parts if part.masks is not None]
        return Drawn(arrays, parents, np.concatenate(found) if found else None)


def _finite(images: Tensor) -> bool:
    """Tells whether all values are finite; a finite sum says so in a fraction of the time."""
    return bool(images.sum().isfinite()) or bool(images.isfinite().all())
