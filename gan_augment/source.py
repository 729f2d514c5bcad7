"""RawView: the only reader of a user's dataset.

GANs, judges, pools and fingerprints see *raw* items, before the user's transform; the user's own pipeline runs
last, on real and synthetic images alike.
"""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset

from gan_augment.errors import ConfigError, DataError
from gan_augment.fingerprint import FittedOn, hash_array, hash_groups, hash_image
from gan_augment.forms import RawForm
from gan_augment.geometry import Affine, as_affine, common_affine
from gan_augment.hosts import FRAME, Frame, opened
from gan_augment.images import ImageSpec, network_grid
from gan_augment.items import ItemStructure, fresh, label_value
from gan_augment.pipelines import Pipeline, has_transforms, innermost, layers, preserved_rng, prove, stripped, twin
from gan_augment.scan import Scan, scan_images
from gan_augment.targets import agreeing, class_names, find_targets

__all__ = ["RawView"]

_LOADER_BYTES = 4 * 2**30
_SOME_ITEMS = 16
_FEW = 16
_NONE: Mapping[Any, Any] = {}


class RawView:
    """Reads a map-style dataset before its transforms, and finishes raw images as the dataset would have.

    Args:
        base: Any object with `__len__` and `__getitem__` whose items hold an image, and perhaps a label, a mask and
            more, in a tuple, a named tuple or a dict: torchvision's datasets, Subset and ConcatDataset of them,
            TensorDataset, those of Hugging Face, MedMNIST, MONAI and torchio, the user's own.
        targets: One class for each item; always wins over what is found in the base.
        groups: One group (patient, slide, scanner) for each item; optional.
        progress: Whether to show progress bars on a terminal.

    Attributes:
        base: The dataset, untouched.
        mode: "raw" where its transforms could be taken apart and put back, proven on an item; "as-is" where not:
            items are then read as the dataset gives them.
        targets: `(N,)` int64, class indices into `classes`.
        classes: Class names.
        values: The label that stands for each class in the items: a whole number or a string.
        groups: `(N,)`, or None.
        targets_given: Whether they were given, and the items may hold other labels.
        structure: Where image, label, mask and other parts stand in a raw item.
        form: The form of the raw images.
        mask_form: The form of the raw masks; None where items have none.

    Raises:
        DataError: The items cannot be read, or have no image or no usable label.
    """

    base: Any
    mode: Literal["raw", "as-is"]

    def __init__(
        self,
        base: Any,
        targets: npt.ArrayLike | None = None,
        groups: Sequence[Any] | npt.NDArray[Any] | None = None,
        *,
        progress: bool = True,
    ) -> None:
        if isinstance(base, str | os.PathLike):
            raise DataError(
                f"expected a dataset, found the path {str(base)!r}; open it with ga.open_folder({str(base)!r})"
            )
        if isinstance(base, IterableDataset) or not (hasattr(base, "__len__") and hasattr(base, "__getitem__")):
            raise DataError(
                f"expected a map-style dataset with __len__ and __getitem__, found {type(base).__name__}; "
                "collect its items into a list first, or rebalance a stream with ga.GANAugmentedIterableDataset"
            )
        if len(base) == 0:
            raise DataError(f"expected a dataset with images, found an empty {type(base).__name__}")
        self.base = base
        self.progress = progress
        self._source = opened(base)
        self._stripped: Any = self._source
        self._pipelines: dict[tuple[int, ...], Pipeline | None] = {}
        with preserved_rng():  # a dataset may draw random numbers where it is read
            self._take_apart()
            first = self._raw_item(0)
            self.structure = ItemStructure.of(first)
            self.form = RawForm.of(self.structure.split(first)[0])
            mask = self.structure.mask_of(first)
            self.mask_form = None if mask is None else RawForm.of(mask, mask=True)
            self._set_targets(targets)
        self.groups = None if groups is None else self._column(groups, "groups")
        self._examples: dict[int, tuple[Any, Pipeline | None]] = {}
        self._scan: Scan | None = None

    @classmethod
    def of(
        cls,
        dataset: Any,
        targets: npt.ArrayLike | None = None,
        groups: Sequence[Any] | npt.NDArray[Any] | None = None,
        *,
        progress: bool = True,
    ) -> Self:
        """Returns `dataset` itself where it is a view, else a view of it.

        Raises:
            ConfigError: It is a view, and targets or groups are given, which the view has already.
        """
        if not isinstance(dataset, cls):
            return cls(dataset, targets, groups, progress=progress)
        if targets is not None or groups is not None:
            raise ConfigError("expected no targets= or groups= beside a RawView, found some; give them to the RawView")
        return dataset

    def __len__(self) -> int:
        return len(self.base)

    # -- taking the base apart ------------------------------------------------------------------------------------

    def _take_apart(self) -> None:
        self.mode = "as-is"
        if not has_transforms(self._source):
            return
        pipeline = self._prove(0)
        if pipeline is not None:
            self.mode = "raw"
            self._stripped = stripped(self._source)
            self._pipelines[self._path(0)] = pipeline

    def _path(self, index: int) -> tuple[int, ...]:
        return tuple(map(id, layers(self._source, index)))

    def _prove(self, index: int) -> Pipeline | None:
        found: Pipeline | None = self._read(lambda: prove(self.base, index, self._source), index)
        return found

    def _pipeline(self, index: int) -> Pipeline | None:
        if self.mode == "as-is":
            return None
        path = self._path(index)
        if path not in self._pipelines:
            self._pipelines[path] = self._prove(index)
        if self._pipelines[path] is None:
            raise DataError(
                f"expected the transforms of item {index} to be callable as those of item 0 are, found others that "
                "could not be taken apart; give every part of a ConcatDataset its transforms in the same way"
            )
        return self._pipelines[path]

    def _read(self, read: Any, index: int) -> Any:
        try:
            return read()
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"expected item {index}{self._file(index)} to be readable, found {type(error).__name__}: {error}; "
                "remove or repair it"
            ) from error

    def _file(self, index: int) -> str:
        dataset, inner = innermost(self._source, index)
        samples = getattr(dataset, "samples", None)
        if inner is not None and isinstance(samples, list) and len(samples) == len(dataset):
            return f" ({samples[inner][0]})"
        return ""

    def _raw_item(self, index: int) -> Any:
        self._pipeline(index)  # proves that this part of the base can be taken apart
        return self._read(lambda: self._stripped[index], index)

    # -- labels ---------------------------------------------------------------------------------------------------

    def _column(self, values: Any, name: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
        if column.ndim == 0 or len(column) != len(self.base):
            raise DataError(
                f"expected {name}= with one value for each of {len(self.base)} items, found {column.size} values"
            )
        return column

    def _set_targets(self, given: Any) -> None:
        names = class_names(self._source)
        self.targets_given = given is not None
        if given is not None:
            values = [label_value(value) for value in self._column(given, "targets")]
        else:
            read_from = twin(self.base)
            if self.structure.extras:
                self.structure = agreeing(self._source, self.structure, lambda index: read_from[index])
            values, contradicted = find_targets(
                self._source,
                self.structure,
                read=lambda index: self._read(lambda: read_from[index], index),
                progress=self.progress,
            )
            if contradicted and len(set(values)) == len(values) > _FEW:
                raise DataError(
                    f"expected labels that several items share, found another one in each of {len(values)} items, "
                    f"read from part {self.structure.label!r} of an item, which the dataset's own targets contradict; "
                    "put the label second in the items, or give targets="
                )
            beyond = names is not None and any(isinstance(value, int) and value >= len(names) for value in values)
            if contradicted and names is not None and (beyond or len(set(values)) != len(names)):
                names = None  # the items' labels are not those that the names are for
        numbers = [value for value in values if isinstance(value, int)]
        indexed = names is not None and len(numbers) == len(values)
        if names is not None and indexed and max(numbers) >= len(names):
            if given is None:
                raise DataError(
                    f"expected labels from 0 to {len(names) - 1} ({len(names)} classes: {', '.join(names[:5])}...), "
                    f"found label {max(numbers)}; correct the dataset's targets or its classes"
                )
            indexed = False
        if names is not None and indexed:
            self.classes: list[str] = list(names)
            self.values: list[int | str] = list(range(len(names)))
            self.targets: npt.NDArray[np.int64] = np.array(numbers, dtype=np.int64)
            return
        distinct = sorted(set(values), key=lambda value: (isinstance(value, str), value))
        index = {value: i for i, value in enumerate(distinct)}
        self.classes = [str(value) for value in distinct]
        self.values = distinct
        self.targets = np.array([index[value] for value in values], dtype=np.int64)

    @property
    def num_classes(self) -> int:
        """Number of classes, empty ones included."""
        return len(self.classes)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of images of each class, `(num_classes,)`."""
        return np.bincount(self.targets, minlength=self.num_classes)

    def of_class(self, label: int) -> npt.NDArray[np.int64]:
        """Returns the indices of the items of a class."""
        return np.flatnonzero(self.targets == label)

    def subset(self, rows: npt.NDArray[np.int64]) -> "RawView":
        """Returns a view of some items, with the same classes as long as each has one of them."""
        targets = [self.values[label] for label in self.targets[rows]]
        groups = None if self.groups is None else self.groups[rows]
        return RawView(Subset(self.base, rows.tolist()), targets=targets, groups=groups, progress=False)

    # -- raw images out, finished items in ------------------------------------------------------------------------

    def raw(self, index: int) -> Any:
        """Returns the raw image of an item, before any transform."""
        return self.structure.split(self._raw_item(index))[0]

    def label(self, index: int) -> Any:
        """Returns the label of a raw item; None where it has none."""
        return self.structure.split(self._raw_item(index))[1]

    def finish(self, image: Any, label: int, mask: Any = None, extras: Mapping[Any, Any] = _NONE) -> Any:
        """Returns the item that the base would have given for the raw `image` of class `label`.

        The label object is that of the first real item of the class, so that its type is the base's own, and so are
        parts that are not given; where the parts of a ConcatDataset have different transforms, that item's are used.

        Args:
            image: A raw image, of the form of the base's own.
            label: A class index.
            mask: A raw mask, where the items have one.
            extras: Values of other parts of a raw item, by index or key.
        """
        raw, pipeline = self.raw_item(label), self._example(label)[1]
        parts = {self.structure.image: image, **extras}
        if self.structure.mask is not None and mask is not None:
            parts[self.structure.mask] = mask
        item = self.structure.replaced(raw, parts)
        return item if pipeline is None else pipeline(item, self.structure)

    @property
    def plain_pairs(self) -> bool:
        """Whether items are tuples (image, label) that no transform makes: a raw image and a label are an item."""
        none = self.structure.mask is None and not self.structure.extras and self.structure.label is not None
        pairs = none and self.structure.kind == "tuple" and self.structure.image == 0
        examples = [self._example(int(label))[1] for label in np.unique(self.targets)] if pairs else [None]
        return pairs and all(pipeline is None or pipeline.empty for pipeline in examples)

    def label_maker(self, label: int) -> Callable[[], Any]:
        """Returns what makes the label of a raw item of a class, an object of its own at each call."""
        value = self.structure.split(self._example(label)[0])[1]
        if isinstance(value, Tensor):
            return value.clone
        return functools.partial(fresh, value)

    def raw_item(self, label: int) -> Any:
        """Returns a raw item of a class, without its image, the label and other parts copied: a mould for new ones."""
        example = self._example(label)[0]
        names = {name for name in (self.structure.label, *self.structure.extras) if name is not None}
        return self.structure.replaced(example, {name: fresh(example[name]) for name in names})

    def _example(self, label: int) -> tuple[Any, Pipeline | None]:
        if label not in self._examples:
            members = self.of_class(label)
            if not len(members):
                raise DataError(f"expected a class with real images, found none of class {self.classes[label]!r}")
            index = int(members[0])
            with preserved_rng():  # a dataset may draw random numbers where it is read
                item = self._raw_item(index)
            parts: dict[Any, Any] = {self.structure.image: None}  # neither image nor file stays
            if FRAME in self.structure.extras and isinstance(item[FRAME], Frame):
                parts[FRAME] = item[FRAME].without_files()
            self._examples[label] = self.structure.replaced(item, parts), self._pipeline(index)
        return self._examples[label]

    # -- the whole set: form, range, hashes, images ---------------------------------------------------------------

    def _scanned(self) -> Scan:
        if self._scan is None:
            self._scan = scan_images(self._raw_item, self.structure, self.form, len(self), self._file, self.progress)
        return self._scan

    @property
    def hashes(self) -> npt.NDArray[np.int64]:
        """A hash of each raw image, `(N,)` int64."""
        return self._scanned().hashes

    @property
    def full_form(self) -> RawForm:
        """The raw form of all images, on the CPU; its shape is None where sizes are mixed."""
        return replace(self._scanned().form, device="cpu")

    @property
    def value_range(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Least and greatest raw value of each channel."""
        return self._scanned().low, self._scanned().high

    @property
    def group_hashes(self) -> npt.NDArray[np.int64]:
        """A hash of each distinct group, sorted; empty where there are no groups."""
        return np.empty(0, np.int64) if self.groups is None else hash_groups(self.groups)

    @property
    def fitted_on(self) -> FittedOn:
        """Hashes of the raw images and groups: what a thing fitted on this view was fitted on."""
        return FittedOn(np.unique(self.hashes), self.group_hashes)

    @property
    def identity(self) -> str:
        """A hash of all class indices and of 16 images, in their order: tells one dataset from another cheaply."""
        with preserved_rng():
            images = [hash_image(self.form.array(self.raw(row))) for row in self._some_rows()]
        return f"{hash_array(np.array([hash_array(self.targets), *images])):016x}"

    def _some_rows(self) -> list[int]:
        rows: list[int] = np.unique(np.linspace(0, len(self) - 1, _SOME_ITEMS).astype(np.int64)).tolist()
        return rows

    @functools.cached_property
    def affine(self) -> Affine | None:
        """From voxels to mm (RAS+), that of item 0; None where items tell none, or 16 of them have several spacings.

        Where these lie several ways, it is their spacing alone, on a diagonal.
        """
        if FRAME not in self.structure.extras:
            return None
        with preserved_rng():
            frames = [self._raw_item(row)[FRAME] for row in self._some_rows()]
        found = [frame.affine(self.structure.image) if isinstance(frame, Frame) else None for frame in frames]
        with contextlib.suppress(TypeError, ValueError):  # what a header holds need be no affine
            return common_affine([as_affine(value) for value in found])
        return None

    def spec(self, image_size: int | Sequence[int] | None = None) -> ImageSpec:
        """Returns the ImageSpec of the whole set; low and high of each channel are its least and greatest value.

        Args:
            image_size: Side, or spatial shape, that the network works at; None for the images' own size, padded to
                what a network can halve.

        Raises:
            DataError: The sizes are mixed and `image_size` is None, or a side is under 8.
        """
        scan = self._scanned()
        form, low, high = self.full_form, scan.low, scan.high
        if image_size is None:
            if form.shape is None:
                raise DataError(
                    f"expected images of one size, found mixed sizes such as {', '.join(map(str, scan.sizes))}; "
                    "give image_size= to have the networks see them all at one size"
                )
            grid = network_grid(form.shape)
            return ImageSpec(form=form, grid=grid, low=low, high=high, fit="pad", affine=self.affine)
        ndim = self.form.ndim - 1
        sides = [int(side) for side in np.atleast_1d(image_size)]
        shape = tuple(sides * ndim if np.ndim(image_size) == 0 else sides)
        if len(shape) != ndim:
            raise DataError(f"expected image_size= of {ndim} numbers, found {shape}")
        affine = None if form.shape is None else self.affine  # of mixed sizes the grid's spacing is not known
        return ImageSpec(form=form, grid=network_grid(shape), low=low, high=high, fit="resize", affine=affine)

    def images(self, indices: Sequence[int] | npt.NDArray[np.int64] | None = None, *, spec: ImageSpec) -> Tensor:
        """Returns raw images as `(n, C, *grid)` float32 in [-1, 1], in the order of `indices` (None: all)."""
        arrays = self._scanned().arrays
        indices = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        if not len(indices):
            return torch.empty(0, spec.channels, *spec.grid)
        read = [self.form.array(self.raw(int(i))) if arrays is None else arrays[int(i)] for i in indices]
        if len({array.shape for array in read}) == 1:
            return spec.decode(np.stack(read))
        return torch.cat([spec.decode(array[None]) for array in read])

    def loader(self, spec: ImageSpec) -> Callable[[npt.NDArray[np.int64]], Tensor]:
        """Returns a function of rows to images as `images` gives them; all are kept in memory where 4 GiB suffice."""
        size = len(self) * spec.channels * math.prod(spec.grid) * 4
        if size > _LOADER_BYTES:
            return functools.partial(self.images, spec=spec)
        kept = self.images(spec=spec)
        return lambda rows: kept[torch.from_numpy(np.ascontiguousarray(rows))]

    def __getstate__(self) -> dict[str, Any]:
        """Workers get no copy of the images."""
        scan = None if self._scan is None else replace(self._scan, arrays=None)
        return {**self.__dict__, "_scan": scan, "_pipelines": {}, "_examples": {}}
