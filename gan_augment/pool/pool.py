"""SyntheticPool: the candidates that a synthesizer drew, with what was decided about each, as a view of rows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from gan_augment.balance import SamplingStrategy
from gan_augment.errors import ConfigError
from gan_augment.geometry import affine_from, as_affine
from gan_augment.pool.read import read_store
from gan_augment.pool.store import Store
from gan_augment.pool.view import PoolView
from gan_augment.seeds import derive
from gan_augment.types import Selector, Synthesizer

if TYPE_CHECKING:
    import os

    from gan_augment.pool.verify import Verified

__all__ = ["SyntheticPool"]


class SyntheticPool(PoolView):
    """A read-only view of the rows of a pool: the kept ones, unless it says otherwise.

    The folder holds every candidate, kept or not; `candidates()`, `rejected()`, `filter()` and `sample()` are other
    views of it. Rows are numbered in the folder, not in the view.

    Make one with `build`, `open`, `from_arrays`, `from_folder` or `merge`; its attributes are those of `PoolView`.
    """

    # -- making one -----------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        synthesizer: Synthesizer,
        like: Any,
        selector: Selector | None = None,
        sampling_strategy: SamplingStrategy = "auto",
        counts: Mapping[Any, int] | None = None,
        reserve: float = 2.0,
        out: "str | os.PathLike[str] | None" = None,
        seed: int = 0,
        *,
        domains: Sequence[Any] | npt.NDArray[Any] | None = None,
        floor: float = 0.01,
        licence: str | None = None,
        distributed: bool = False,
        progress: bool = True,
    ) -> "SyntheticPool":
        """Draws candidates, has the selector decide, and stores all of them.

        The same arguments give the same pool, bit for bit, on one machine with as many threads. A build that was
        stopped, or killed, goes on from its last finished shard when it is called again with the same arguments and
        `out`; the pool is then the same as if it had never been stopped. A pool that is there already, built with the
        same arguments, is opened; also one that was extended since.

        Args:
            synthesizer: Who draws; from `fit`, `load` or `wrap`. An image-conditioned one is bound to `like`.
            like: The training split, or a RawView of it: says which classes need images, and what raw images look like.
            selector: Decides which candidates are kept; None keeps all. It is fitted on `like`.
            sampling_strategy: Which classes need how many images; see `balance.numbers_to_add`.
            counts: Number of images needed of each class instead, by label or class name.
            reserve: Candidates drawn for each needed image, at least 1.
            out: Folder; None to keep the pool in memory.
            seed: Of all draws.
            domains: Site or scanner of each item of `like`, for a `DomainSelector`.
            floor: Least share of candidates, 0 to 1, that a selector must keep of a class in a first draw of 128; of
                others no more than 128 are drawn, to look at. Selectors of whole sets are not asked.
            licence: Of the images, such as "CC-BY-4.0"; by default the synthesizer's, where it tells one.
            distributed: Whether all processes that accelerate launch or torchrun started call this together and share
                the work in one folder. The pool is the same for any number of them.
            progress: Whether to show a bar on a terminal.

        Returns:
            The view of the kept candidates.

        Warns:
            DataMismatchWarning: The synthesizer was fitted on images that are not in `like`.
            SmallClassWarning: No candidate of a class was kept, or a class is below the floor.

        Raises:
            SynthesizerError: The synthesizer lacks a class, or draws images that do not fit.
            ConfigError: A parameter has a value that cannot work.
            DataError: The dataset cannot be used.
            ArtifactError: `out` holds something else, a pool of other arguments, or another process works on it.
            StorageError: The disk refused; finished shards are kept, nothing else is left.
        """
        from gan_augment.pool.build import build_store
        from gan_augment.pool.order import Order

        order = Order.of(
            synthesizer,
            like,
            selector=selector,
            sampling_strategy=sampling_strategy,
            counts=counts,
            domains=domains,
            reserve=reserve,
            floor=floor,
            licence=licence,
            seed=seed,
            progress=progress,
        )
        if distributed and out is None:
            raise ConfigError("expected out= a folder that all processes share, found none beside distributed=True")
        return cls(build_store(order, out, progress=progress, distributed=distributed, stacklevel=2))

    def extend(
        self,
        synthesizer: Synthesizer,
        like: Any,
        selector: Selector | None = None,
        sampling_strategy: SamplingStrategy = "auto",
        counts: Mapping[Any, int] | None = None,
        reserve: float = 2.0,
        seed: int | None = None,
        *,
        domains: Sequence[Any] | npt.NDArray[Any] | None = None,
        floor: float = 0.01,
        licence: str | None = None,
        distributed: bool = False,
        progress: bool = True,
    ) -> "SyntheticPool":
        """Draws further candidates, of the same or other classes, behind those that are there, which stay as they are.

        A pool in a folder grows there, as a part of its own: until that is whole, the pool is as before. One that was
        stopped goes on as `build` does, and a call after one that ended draws further images. A pool in memory gives a
        new one. Of a view with other decisions (`filter`) the folder's own count.

        Args:
            synthesizer: Who draws; may be another one.
            like: The training split; classes that the pool does not know come behind those that it does.
            selector: As in `build`.
            sampling_strategy: Which classes need how many images, beyond those that the pool keeps of them.
            counts: Number of images needed on top of those of the pool instead, by label or class name.
            reserve: As in `build`.
            seed: Of all draws; by default one of which the pool holds no rows.
            domains: As in `build`.
            floor: As in `build`.
            licence: As in `build`.
            distributed: As in `build`.
            progress: As in `build`.

        Returns:
            The view of the kept candidates, old and new.

        Warns, Raises:
            As `build`; DataError where the images are of another type or size than the pool's.
        """
        from gan_augment.pool.build import extend_store
        from gan_augment.pool.order import Order

        if distributed and self._store.folder is None:
            raise ConfigError("expected a pool in a folder that all processes share, found one in memory")
        parts = self._store.document["parts"]
        kept = np.bincount(self._store.columns.label[self._store.columns.keep], minlength=len(self.classes))
        order = Order.of(
            synthesizer,
            like,
            selector=selector,
            sampling_strategy=sampling_strategy,
            counts=counts,
            domains=domains,
            reserve=reserve,
            floor=floor,
            licence=licence,
            seed=derive(parts[0].get("seed") or 0, "part", len(parts)) if seed is None else seed,
            progress=progress,
            held=dict(zip(self.classes, kept.tolist(), strict=True)),
        )
        grown = extend_store(self._store, order, progress=progress, distributed=distributed, stacklevel=2)
        return type(self)(grown)

    @classmethod
    def merge(
        cls, pools: "Sequence[SyntheticPool]", out: "str | os.PathLike[str] | None" = None, *, progress: bool = True
    ) -> "SyntheticPool":
        """Puts pools together, one behind the other; all candidates of each, a row that a view leaves out as not kept.

        Classes are matched by name. Each part keeps its seeds, fingerprints and licence.

        Args:
            pools: Views of pools of images of one type and size.
            out: New folder; None to keep it in memory, where images that are mapped stay so.
            progress: Whether to show a bar on a terminal.

        Raises:
            DataError: Their images are of other types or sizes, or some have names of classes and others have not.
            ArtifactError: `out` exists, or a file of a pool is not what it was written as.
            StorageError: The disk refused; nothing is left.
        """
        from gan_augment.pool.grow import joined, write_stores

        stores = [pool._as_seen() for pool in pools]
        if out is None:
            return cls(joined(stores))
        return cls.open(write_stores(stores, out, progress=progress))

    def save(self, out: "str | os.PathLike[str]", *, progress: bool = True) -> Path:
        """Writes this pool as a new folder: all candidates, those that this view leaves out as not kept.

        Raises:
            ArtifactError: The folder exists.
            StorageError: The disk refused; nothing is left.
        """
        from gan_augment.pool.grow import write_stores

        return write_stores([self._as_seen()], out, progress=progress)

    def export(
        self,
        out: "str | os.PathLike[str]",
        format: str = "folder",  # noqa: A002  (what other libraries call it)
        *,
        progress: bool = True,
        **settings: Any,
    ) -> Path:
        """Writes the images of this view for other tools; every image says that it is synthetic.

        Args:
            out: New folder.
            format: "folder" (images and metadata.csv), "webdataset", "huggingface" or "nifti" (volumes).
            progress: Whether to show a bar on a terminal.
            settings: Of the format; see `gan_augment.pool.exports`.

        Raises:
            ConfigError: There is no such format or setting, or a library for it is missing.
            DataError: The format cannot hold the images without loss.
            ArtifactError: The folder exists.
            StorageError: The disk refused; nothing is left.
        """
        from gan_augment.pool.exports import export

        return export(self, out, format, progress=progress, **settings)

    @classmethod
    def from_folder(
        cls, folder: "str | os.PathLike[str]", *, classes: Sequence[str] | None = None, progress: bool = True
    ) -> "SyntheticPool":
        """Makes a pool of a folder of images, made elsewhere or exported from here and sorted by hand.

        What metadata.csv tells of a row (seed, score, decision, parent, weight, review) is kept; a row whose image was
        deleted is gone, and one that was moved to another class has that class.

        Args:
            folder: `folder/class_name/*.png` (or tif, jpg, ...), with or without metadata.csv.
            classes: Class names; None for those of the export, or of the folders.
            progress: Whether to show a bar on a terminal.

        Raises:
            DataError: It is no such folder, or one of its files cannot be used.
        """
        from gan_augment.pool.exports import read_folder

        return read_folder(Path(folder), classes=classes, progress=progress).pool()

    def __deepcopy__(self, memo: Any) -> Self:
        """Returns itself: it is read-only, and hosts copy what they hold with each item."""
        return self

    def _as_seen(self) -> Store:
        """Returns a store that keeps the rows of this view alone; the others have a reason."""
        from gan_augment.pool.redecide import LEFT_OUT, seen_otherwise

        store, keep = self._store, np.zeros(len(self._store), bool)
        keep[self.rows] = True
        columns, reasons = store.columns, list(store.document["reasons"])
        if (columns.keep == keep).all():
            return store
        reasons += [LEFT_OUT] * (LEFT_OUT not in reasons)
        reason = np.where(~keep & (columns.reason == 0), reasons.index(LEFT_OUT), columns.reason)
        reason[keep] = 0
        own = replace(columns, keep=keep, reason=reason.astype(np.uint16))
        parts = [seen_otherwise(part, "rows left out") for part in store.document["parts"]]
        return store.decided(own, {**store.document, "reasons": reasons, "parts": parts})

    @classmethod
    def open(cls, folder: "str | os.PathLike[str]") -> "SyntheticPool":
        """Opens the folder that `build` wrote; images are mapped, not read.

        Raises:
            ArtifactError: It is missing, damaged, still being drawn or of another version.
        """
        return cls(read_store(Path(folder)))

    @classmethod
    def from_arrays(
        cls,
        images: npt.ArrayLike,
        labels: npt.ArrayLike,
        classes: Sequence[str] | None = None,
        *,
        masks: npt.ArrayLike | None = None,
        spacing: Sequence[float] | None = None,
        affine: npt.ArrayLike | None = None,
    ) -> "SyntheticPool":
        """Makes a pool of images that the user already has, all of them kept.

        Args:
            images: `(N, H, W)`, `(N, C, H, W)`, `(N, H, W, C)` or volumes, in the raw dtype and units of the dataset
                that they will be mixed into.
            labels: `(N,)`: the dataset's labels, or class names.
            classes: Class names that integer labels index; None to match labels to the dataset's own.
            masks: `(N, H, W)`, `(N, 1, H, W)` or of volumes, a segmentation mask of whole numbers for each image.
            spacing: Width of a voxel in mm along each axis of volumes; None where it is not known.
            affine: `(4, 4)` from voxels to mm (RAS+) instead.

        Raises:
            ConfigError: Spacing or affine has a value that cannot work, or images are no volumes.
            DataError: The lengths or sizes differ, or a label is none of the classes.
        """
        from gan_augment.pool.arrays import store_of_arrays

        known = None if spacing is None and affine is None else as_affine(affine_from(spacing, affine))
        pool = cls(store_of_arrays(images, labels, classes, masks, affine=known))
        if known is not None and len(pool.form.shape or ()) != 3:
            raise ConfigError(f"expected volumes beside spacing= or affine=, found images of {pool.form.shape}")
        return pool

    # -- other decisions ------------------------------------------------------------------------------------------

    def filter(self, by: npt.ArrayLike | Selector, like: Any = None, *, progress: bool = True) -> Self:
        """Returns a view of some rows of this view; nothing is drawn or written.

        Args:
            by: `(n,)` booleans, or a selector, which decides anew about the rows of this view: give that of all
                candidates (`pool.candidates().filter(selector, train)`) to have it decide as if it had built the pool.
            like: The training split to fit the selector on; its limits are then set by the first 128 rows of each
                class. None for one that is fitted.
            progress: Whether to show a bar on a terminal.

        Raises:
            ConfigError: The booleans are not as many as the rows, or the selector has seen no real images.
            DataError: The training split lacks a class of the pool, or has images of another form.
        """
        if hasattr(by, "decide"):
            return self._decided(by, like, progress)  # type: ignore[arg-type]  # a selector
        mask = np.asarray(by)
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise ConfigError(f"expected a mask of {len(self)} booleans, found {mask.dtype} of shape {mask.shape}")
        return self._view(self.rows[mask])

    def _decided(self, selector: Selector, like: Any, progress: bool) -> Self:
        from gan_augment.pool.matching import check_form, labels_in
        from gan_augment.pool.redecide import check_calibrated, redecided
        from gan_augment.source import RawView

        view = None if like is None else RawView.of(like, progress=progress)
        spec, labels, classes = self.image_spec, self.labels, self.classes
        if view is None:
            check_calibrated(selector)
        else:
            spec = spec or view.spec()
            check_form(self, view, spec)
            labels, classes = labels_in(self, view), view.classes
        if spec is None:
            raise ConfigError("expected like= the training split, to tell which values are black and white, found None")
        if not len(self):
            return self
        store = redecided(
            self._store, self.rows, labels, selector, view=view, spec=spec, classes=classes, progress=progress
        )
        return type(self)(store)

    # -- whether it is what it says -------------------------------------------------------------------------------

    def check(self, *, progress: bool = True) -> int:
        """Compares each file with its SHA-256 in `pool.json`, reviews aside; returns how many files were read.

        Raises:
            ConfigError: The pool is in memory.
            ArtifactError: Names the files that are missing or damaged.
        """
        from gan_augment.pool.verify import check_files

        return check_files(self._store, progress=progress)

    def verify(
        self, synthesizer: Synthesizer, like: Any = None, *, sample: int = 1000, seed: int = 0, progress: bool = True
    ) -> "Verified":
        """Draws rows again from their seeds, in the chunks that they were drawn in, and compares them.

        On the machine that drew them they are the same bit for bit, on another within one quantisation level.

        Args:
            synthesizer: The one that drew them.
            like: The dataset that the pool was built for, where rows were made from its images.
            sample: Rows to draw again, about; whole chunks are drawn, chosen at random.
            seed: Of that choice.
            progress: Whether to show a bar on a terminal.

        Returns:
            What was found; false where a row differs by more than a level.

        Raises:
            ConfigError: No row was drawn by a synthesizer.
            SynthesizerError: The synthesizer lacks a class.
            DataError: `like` is another dataset than the one that the pool was built for.
        """
        from gan_augment.pool.verify import verify_rows

        return verify_rows(self._store, synthesizer, like, sample, seed, progress)
