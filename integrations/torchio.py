"""Synthetic volumes in TorchIO: subjects of a class, a balanced dataset of them, and lesions inserted into others."""

from gan_augment.optional import needed

needed("torchio", "torchio", "gan_augment.integrations.torchio", oldest="1.0.0", below="2")

import copy
import functools
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from torch import Tensor
from torchio.transforms.augmentation import RandomTransform
from torchio.transforms.intensity_transform import IntensityTransform

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.dataset.seeding import WorkerSeeds
from gan_augment.errors import ConfigError, DataError, whole
from gan_augment.forms import RawForm
from gan_augment.geometry import Affine, check_affine
from gan_augment.insertion import Blending, checked_border, find_place, insert, windows
from gan_augment.items import label_value
from gan_augment.pool import SyntheticPool
from gan_augment.pool.matching import raw_mask
from gan_augment.synthesizers.checks import from_items
from gan_augment.transforms.fitting import check_scale
from gan_augment.transforms.lesions import checked_patches, patch_at, patch_weights
from gan_augment.transforms.reference import SourceReference
from gan_augment.transforms.source import ByLabel, drawn_seeds
from gan_augment.types import Synthesizer

__all__ = ["BalancedSubjectsDataset", "RandomSynthesize", "RandomSyntheticLesion", "Synthesize", "SyntheticLesion"]

_STEP = 4
_MOST_LESIONS = 1000
_LARGEST_VALUE = 2**31 - 1


# -- the transform ----------------------------------------------------------------------------------------------------


class RandomSynthesize(RandomTransform, IntensityTransform):  # type: ignore[misc]  # torchio's types are not read
    """Replace the image of a subject by a random synthetic one of the subject's class.

    Affine, class and all other entries of the subject stay. The synthetic image has the dtype, channels, size, spacing
    and orientation of the subject's own, so put this transform where intensities are still those of the files, after
    ToCanonical at most. Several intensity images in a subject become the channels of *one* synthetic image, in the
    subject's order; give `include` where the source has images of one of them alone. A subject of a class that
    `source` has no image of stays as it is, without history.

    Label maps show the real anatomy. Where the source has masks, the subject's one label map becomes that of the
    synthetic image; else a subject with label maps is refused, unless they are named in `exclude`.

    It cannot rebalance: a subject keeps its class. For that see `BalancedSubjectsDataset`.

    Args:
        source: A pool, of whose view rows are drawn, or a synthesizer, which draws as it is asked (an
            image-conditioned one from the subject's own image); or the path of one.
        class_key: Key of the subject's class: a whole number or a string.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was built
            for, and those of a synthesizer by position, or by value where its class names are numbers.
        **kwargs: See `torchio.transforms.Transform` for additional keyword arguments.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: A subject has no class, or images that no synthetic one can stand for.

    Example::

        transform = tio.Compose([RandomSynthesize("runs/pool", p=0.5), tio.RandomFlip(), tio.ZNormalization()])
        dataset = tio.SubjectsDataset(subjects, transform=transform)
    """

    def __init__(
        self,
        source: SyntheticPool | Synthesizer | str | os.PathLike[str],
        class_key: str = "label",
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._reference, self.class_key = SourceReference.of(source, classes), class_key
        self._reference.found().require_form()

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Replaces the image, as a `Synthesize` of a random seed does."""
        if not self.get_images(subject) or _class(subject, self.class_key, self._reference.found()) < 0:
            return subject
        seed = int(drawn_seeds(1)[0])
        transform = Synthesize(self._reference, seed, self.class_key, **self._get_base_args())
        return transform(subject)


class Synthesize(IntensityTransform):  # type: ignore[misc]  # torchio's types are not read
    """Replace the image of a subject by the synthetic one of the subject's class that a seed stands for.

    It is what the history of a subject holds after `RandomSynthesize`; the same seed and class give the same image.
    It cannot be inverted: the real image is gone.

    Args:
        source: See `RandomSynthesize`.
        seed: From 0 to 2**63 - 1. Of a pool it chooses the row, of a synthesizer it is that of the sample.
        class_key: See `RandomSynthesize`.
        classes: See `RandomSynthesize`.
        **kwargs: See `torchio.transforms.Transform` for additional keyword arguments.
    """

    def __init__(
        self,
        source: SyntheticPool | Synthesizer | SourceReference | str | os.PathLike[str],
        seed: int,
        class_key: str = "label",
        classes: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._reference = SourceReference.of(source, classes)
        self.source, self.seed, self.class_key = self._reference.brief, _checked_seed(seed), class_key
        self.args_names = ["source", "seed", "class_key"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Replaces the image, and the label map where the source has masks."""
        source, images = self._reference.found(), self.get_images_dict(subject)
        index = _class(subject, self.class_key, source) if images else -1
        if index < 0:
            return subject
        form = source.require_form()
        maps = _label_maps(subject, self.exclude, source)
        _check_twins(images, form, source.affine)
        own = None
        if source.synthesizer is not None and from_items(source.synthesizer):
            own = _array(torch.cat([image.data for image in images.values()]), form)
        array, mask = source.made(index, self.seed, own)
        _check_units(next(iter(images.values())), array, source)
        parts = tio.ScalarImage(tensor=_volume(array)).data.split([image.num_channels for image in images.values()])
        for image, part in zip(images.values(), parts, strict=True):
            image.set_data(part if len(parts) == 1 else part.clone())
        for name, image in maps.items():
            assert mask is not None
            _put_mask(name, image, _volume(mask))
        return subject


def _class(subject: tio.Subject, key: str, source: ByLabel) -> int:
    """Returns the source's class of a subject; -1 where it has no images of it."""
    value = subject.get(key)
    if value is None or isinstance(value, tio.Image):
        found = f"an image under {key!r}" if value is not None else f"the keys {', '.join(subject)}"
        raise DataError(
            f"expected a subject with its class under {key!r}, found {found}; give class_key=, the key that it is under"
        )
    return source.class_of(label_value(value))


def _label_maps(subject: tio.Subject, exclude: Sequence[str] | None, source: ByLabel) -> dict[str, tio.LabelMap]:
    """Returns the label maps that a synthetic image brings anew.

    Raises:
        DataError: There are none of them.
    """
    images = subject.get_images_dict(intensity_only=False, exclude=exclude)
    maps = {name: image for name, image in images.items() if isinstance(image, tio.LabelMap)}
    if maps and not source.has_masks:
        raise DataError(
            f"expected a source with masks for the label map {', '.join(maps)}, found images alone in {source!r}: the "
            "map would show another anatomy than the synthetic image; give a pool with masks, or exclude= a label map "
            "that holds for any image"
        )
    if len(maps) > 1:
        raise DataError(
            f"expected one label map, as a source has one mask an image, found {', '.join(maps)}; leave the others out "
            "of the subject, or exclude= those that hold for any image"
        )
    return maps


def _array(volume: Tensor, form: RawForm) -> npt.NDArray[Any]:
    """Returns a volume `(C, W, H, D)` as the source has images: of two dimensions `(C, H, W)`."""
    array: npt.NDArray[Any] = volume.numpy()
    return array[..., 0].swapaxes(1, 2) if len(form.shape or ()) == 2 else array


def _volume(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a copy of a source's image as `(C, W, H, D)`; of a plane `(C, H, W)` with a depth of 1."""
    return np.array(array.swapaxes(1, 2)[..., None] if array.ndim == 3 else array, order="C")


def _check_twins(images: dict[str, tio.ScalarImage], form: RawForm, affine: Affine | None) -> None:
    """Raises unless synthetic images are like those of the subject, whose channels they bring together."""
    channels = sum(image.num_channels for image in images.values())
    if channels != form.channels:
        raise DataError(
            f"expected a source with images of {channels} channels, those of {', '.join(images)} together, found "
            f"{form.channels}; give include= the images that it was made for"
        )
    shape = form.shape or ()
    shape = (*shape[::-1], 1) if len(shape) == 2 else shape
    dtype = _widened(form.dtype)
    for name, image in images.items():
        if (found := tuple(image.spatial_shape)) != shape:
            raise DataError(
                f"expected synthetic images of {name}'s size, {found}, found {shape}; use CropOrPad or Resize before, "
                "or build the pool with like=this dataset"
            )
        place = f"use ToCanonical and Resample on {name} before, or build the pool with like=this dataset"
        check_affine(affine, image.affine, place)
        if image.data.dtype != dtype:
            raise DataError(
                f"expected synthetic images of {name}'s type, {image.data.dtype}, found {dtype}; put the transform "
                "first, where images are still raw, or build the pool with like=this dataset"
            )


@functools.cache
def _widened(dtype: str) -> torch.dtype:
    """Returns the type that torchio has arrays of numpy's type in."""
    found: torch.dtype = tio.ScalarImage(tensor=np.zeros((1, 1, 1, 1), dtype)).data.dtype
    return found


def _check_units(image: tio.ScalarImage, array: npt.NDArray[Any], source: ByLabel) -> None:
    """Raises where an image is plainly in other units than the synthetic one in its place."""
    some = image.data[:, ::_STEP]  # part of the voxels tells units
    check_scale(
        array[:, ::_STEP],
        source.image_spec,
        float(some.max()) - float(some.min()),
        "put the transform first, before intensities are changed",
    )


def _put_mask(name: str, image: tio.LabelMap, array: npt.NDArray[Any]) -> None:
    """Sets the data of a label map to a mask, `(1, W, H, D)`, in the map's own type."""
    if tuple(image.shape) != array.shape:
        raise DataError(
            f"expected masks of the label map {name}'s shape, {tuple(image.shape)}, found {array.shape}; label maps of "
            "several channels cannot be replaced: put the transform before OneHot"
        )
    image.set_data(raw_mask(array, RawForm.of(image.data, mask=True)))


# -- the dataset ------------------------------------------------------------------------------------------------------


class BalancedSubjectsDataset(GANAugmentedDataset, tio.SubjectsDataset):  # type: ignore[misc]  # torchio's are not read
    """Dataset of subjects, rebalanced with synthetic ones of the rare classes.

    First the real subjects, unchanged; then the slots that the strategy adds, each a synthetic subject or a repeated
    real one: a `GANAugmentedDataset` that is a `torchio.SubjectsDataset` too, for `Queue`, `SubjectsLoader`, patch
    samplers and all else. A synthetic subject has the keys, types, affine and class of a real one of its class, and
    goes through the same transform.

    Args:
        subjects: A dataset of subjects, which is copied and not changed; or a sequence of subjects. Each has one
            intensity image, a class under "label" (or give `targets`), and perhaps one label map.
        source: A pool, or a synthesizer whose pool is drawn once and cached; or the path of one. None for repeated
            subjects alone, beside `synthetic_share=0`.
        transform: Runs last, on all subjects; None for the dataset's own.
        **settings: Of `GANAugmentedDataset`: sampling_strategy, synthetic_share, schedule, targets, groups, seed, fill,
            extras, live, cache, min_images, progress.

    Raises:
        DataError: Subjects have different keys, or synthetic images do not fit.
        ConfigError: A parameter has a value that cannot work.

    Example::

        train = BalancedSubjectsDataset(subjects, pool, transform=tio.RandomFlip())
        loader = tio.SubjectsLoader(train, batch_size=4, shuffle=True)
    """

    def __init__(
        self,
        subjects: tio.SubjectsDataset | Sequence[tio.Subject],
        source: SyntheticPool | Synthesizer | str | os.PathLike[str] | None,
        transform: Callable[[tio.Subject], tio.Subject] | None = None,
        **settings: Any,
    ) -> None:
        known = isinstance(subjects, tio.SubjectsDataset)
        dataset: Any = copy.copy(subjects) if known else tio.SubjectsDataset(list(subjects))
        if transform is not None:
            dataset.set_transform(transform)
        _check_keys(dataset.dry_iter())
        super().__init__(dataset, source, **settings)

    def dry_iter(self) -> list[tio.Subject]:
        """Returns the subjects without loading images or applying transforms.

        Of a slot it is a real subject of the class, whose class and other entries the slot has too; the image of a
        synthetic one is not read here, and is in the dataset's item alone.
        """
        reals = list(self.base.dry_iter())
        if len(self) == len(reals):
            return reals
        codes = self._codes(range(len(reals), len(self)))[1]
        labels = self.targets
        first = {label: int(np.flatnonzero(labels == label)[0]) for label in np.unique(labels[len(reals) :]).tolist()}
        slots = zip(codes, labels[len(reals) :].tolist(), strict=True)
        return reals + [reals[-1 - code if code < 0 else first[label]] for code, label in slots]

    def set_transform(self, transform: Callable[[tio.Subject], tio.Subject] | None) -> None:
        """Sets the transform of all subjects, real and synthetic."""
        self.base.set_transform(transform)
        self._seeds = WorkerSeeds(self.base)

    @property
    def load_getitem(self) -> bool:
        """Whether real images are loaded before an item is returned."""
        return bool(self.base.load_getitem)

    @property
    def _subjects(self) -> list[tio.Subject]:
        return self.dry_iter()

    @property
    def _transform(self) -> Any:
        return self.base._transform

    @classmethod
    def from_batch(cls, batch: dict[str, Any]) -> tio.SubjectsDataset:
        """Returns a plain dataset of the subjects in a batch."""
        return tio.SubjectsDataset.from_batch(batch)


def _check_keys(subjects: Sequence[tio.Subject]) -> None:
    """Raises unless all subjects have the same keys, as batches need them, with the synthetic ones in between."""
    for number, subject in enumerate(subjects):
        if different := set(subject) ^ set(subjects[0]):
            raise DataError(
                f"expected subjects that all have the same keys, found that subject {number} and subject 0 differ in "
                f"{', '.join(sorted(different))}; give every subject each entry"
            )


# -- lesions ----------------------------------------------------------------------------------------------------------


class RandomSyntheticLesion(RandomTransform):  # type: ignore[misc]  # torchio's types are not read
    """Insert synthetic lesions at random places that a mask allows, into images and a label map together.

    A patch is drawn of the pool, and a place uniformly among those at which the lesion, all voxels of the patch's mask
    above 0, lies in the mask. Where there is none the subject stays as it is, with a warning and without history.

    It is neither an intensity nor a spatial transform: images and one label map change, and nothing moves.

    Args:
        source: A pool of lesion patches, volumes with masks, or the path of one. A patch shows some tissue around its
            lesion, in the units that images have where this transform stands. Patches are resampled to the spacing of
            the images, which a pool that does not know its spacing is taken to have; their axes are those of the
            images, whatever the orientation.
        masking_method: Where lesions may be: the name of a label map, such as one of white matter, a callable on the
            tensor of the first image, an anatomical side or bounds, as for `torchio.ZNormalization`; None for anywhere.
        label_key: Name of the label map, of one channel, that lesions are drawn into. It is there in each subject, all
            zeros in one without lesions.
        masking_labels: Values of the masking label map to use; None for all above 0.
        label: Class of the pool, by label or name; or a dict of weights by class. None for all classes alike.
        label_value: Value of lesions in the label map; None for that of the pool's mask.
        num_lesions: Number of lesions, or a range `(a, b)` with both ends; fewer where no more find a place.
        overlap: Whether a lesion may lie on another, or on one that the label map has: voxels of `label_value` there,
            or where that is None, all above 0.
        blending: "alpha" mixes the patch into the image as it is. "offset" first shifts its intensity so that the
            tissue next to the lesion agrees with the image's. "poisson" keeps the patch's gradients and the image's
            intensity at the border (Pérez et al. 2003). In each case only voxels of the lesion change.
        feather: Depth in mm, from the outermost voxels of a lesion, over which the image fades into the patch; 0 for a
            hard border. Not for "poisson".
        **kwargs: See `torchio.transforms.Transform` for additional keyword arguments. Channels of the pool go to the
            intensity images of `include`, in its order; without it to all, in the order of the subject.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: A subject's images and label map are not of one space, or not of as many channels as the pool.

    Example::

        insert = RandomSyntheticLesion("runs/lesions", masking_method="white_matter", label_key="lesions")
        transform = tio.Compose([insert, tio.RandomAffine(), tio.ZNormalization()])
    """

    def __init__(
        self,
        source: SyntheticPool | str,
        masking_method: Any,
        label_key: str,
        masking_labels: Sequence[int] | None = None,
        label: int | str | Mapping[int | str, float] | None = None,
        label_value: int | None = None,
        num_lesions: int | tuple[int, int] = 1,
        overlap: bool = False,
        blending: Blending = "offset",
        feather: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._reference = SourceReference.of(source)
        self._labels, self._weights = patch_weights(checked_patches(self._reference.found()), label)
        self.masking_method, self.masking_labels = masking_method, masking_labels
        self.label_key, self.label_value, self.overlap = label_key, _checked_value(label_value), overlap
        self.num_lesions_range = _checked_range("num_lesions", num_lesions)
        self.blending, self.feather = checked_border(blending, feather)
        if label_value is None and not overlap and isinstance(masking_method, str) and masking_method == label_key:
            raise ConfigError(
                f"expected label_value= for lesions in the label map {label_key!r} that tells where they may be, found "
                "None; all its voxels above 0 would be lesions already"
            )

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Inserts lesions, as a `SyntheticLesion` of the seeds and places drawn does."""
        source = self._reference.found()
        images, label_map = _lesion_images(self, subject, source, self.masking_method)
        free, lesions = self._free(subject, images[0], label_map), []
        number = int(torch.randint(self.num_lesions_range[0], self.num_lesions_range[1] + 1, (1,)))
        for _ in range(number):
            label = self._labels[int(torch.multinomial(torch.tensor(self._weights), 1))]
            seed, rng = int(drawn_seeds(1)[0]), np.random.default_rng(int(drawn_seeds(1)[0]))
            lesion = patch_at(source, label, seed, label_map.spacing)[1] > 0
            if (center := find_place(free, lesion, rng)) is None:
                continue
            lesions.append((label, seed, center))
            if not self.overlap:
                there, here = windows(lesion, free.shape, center)
                free[there] &= ~lesion[here]
        if number and not lesions:
            message = "No place for a synthetic lesion in the mask. Leaving the subject as it is"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        if not lesions:
            return subject
        labels, seeds, centers = (list(values) for values in zip(*lesions, strict=True))
        transform = SyntheticLesion(
            self._reference,
            labels,
            seeds,
            centers,
            self.label_key,
            self.label_value,
            self.blending,
            self.feather,
            **self._get_base_args(),
        )
        return transform(subject)

    def _free(self, subject: tio.Subject, image: tio.ScalarImage, label_map: tio.LabelMap) -> npt.NDArray[np.bool_]:
        """Returns where lesions may be, `(W, H, D)`."""
        mask = self.get_mask_from_masking_method(self.masking_method, subject, image.data, self.masking_labels)
        free: npt.NDArray[np.bool_] = (mask[0] if len(mask) == 1 else mask.any(dim=0)).bool().numpy()
        if free.shape != tuple(label_map.spatial_shape):
            raise DataError(
                f"expected a mask of {tuple(label_map.spatial_shape)} voxels, as the images have, found {free.shape}"
            )
        if not self.overlap:
            drawn = label_map.data.numpy()[0]
            free = free & (drawn == 0 if self.label_value is None else drawn != self.label_value)
        return free


class SyntheticLesion(tio.Transform):  # type: ignore[misc]  # torchio's types are not read
    """Insert the synthetic lesions that seeds stand for, at given places.

    It is what the history of a subject holds after `RandomSyntheticLesion`. It cannot be inverted: what was there is
    gone.

    Args:
        source: See `RandomSyntheticLesion`.
        label: Class of each lesion, by label or name: one for all, or one for each.
        seed: Chooses a patch of the class, from 0 to 2**63 - 1: one, or one for each lesion.
        center: The voxel `(i, j, k)` at which the middle voxel of the patch lies, `(w // 2, h // 2, d // 2)` of its
            size at the images' spacing: one, or one for each lesion.
        label_key: See `RandomSyntheticLesion`.
        label_value: See `RandomSyntheticLesion`.
        blending: See `RandomSyntheticLesion`.
        feather: See `RandomSyntheticLesion`.
        **kwargs: See `torchio.transforms.Transform` for additional keyword arguments.

    Raises:
        ConfigError: A parameter has a value that cannot work.
        DataError: A lesion would be outside, or a subject does not fit; see `RandomSyntheticLesion`.
    """

    def __init__(
        self,
        source: SyntheticPool | SourceReference | str,
        label: int | str | Sequence[int | str],
        seed: int | Sequence[int],
        center: Sequence[int] | Sequence[Sequence[int]],
        label_key: str,
        label_value: int | None = None,
        blending: Blending = "offset",
        feather: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._reference = SourceReference.of(source)
        self.source = self._reference.brief
        centers = np.atleast_2d(np.asarray(center))
        self.center: list[list[int]] = centers.tolist()
        count = len(self.center)
        self.label: list[int | str] = np.array([label] * count if np.ndim(label) == 0 else label, object).tolist()
        self.seed = [_checked_seed(one) for one in ([seed] * count if np.ndim(seed) == 0 else np.array(seed, object))]
        lengths = {count, len(self.label), len(self.seed)}
        if len(lengths) > 1 or centers.shape[1:] != (3,) or centers.dtype.kind not in "iu":
            raise ConfigError(
                "expected a label, a seed and a center (i, j, k) of whole numbers of each lesion, found "
                f"{label!r}, {seed} and {center}"
            )
        self.label_key, self.label_value = label_key, _checked_value(label_value)
        self.blending, self.feather = checked_border(blending, feather)
        self.args_names = ["source", "label", "seed", "center", "label_key", "label_value", "blending", "feather"]

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Inserts the lesions, one after the other."""
        source = checked_patches(self._reference.found())
        images, label_map = _lesion_images(self, subject, source)
        for image in (*images, label_map):
            if not self.copy or not image.data.is_contiguous():  # others may share its memory, or voxels may (expand)
                image.set_data(image.data.clone(memory_format=torch.contiguous_format))
        volumes, drawn = [image.data.numpy() for image in images], label_map.data.numpy()[0]
        spacing = label_map.spacing
        for label, seed, center in zip(self.label, self.seed, self.center, strict=True):
            insert(
                volumes,
                drawn,
                *patch_at(source, label, seed, spacing),
                center,
                spacing=spacing,
                label_value=self.label_value,
                blending=self.blending,
                feather=self.feather,
            )
        return subject


def _lesion_images(
    transform: tio.Transform, subject: tio.Subject, source: ByLabel, masking_method: Any = None
) -> tuple[list[tio.ScalarImage], tio.LabelMap]:
    """Returns the images that lesions are inserted into, in the order of the pool's channels, and the label map.

    Raises:
        DataError: They do not fit the pool, or one another.
    """
    key = transform.label_key
    label_map = subject.get(key)
    if not isinstance(label_map, tio.LabelMap) or label_map.num_channels != 1:
        raise DataError(
            f"expected a LabelMap of one channel under {key!r}, found {label_map!r} and the keys {', '.join(subject)}; "
            "give a subject without lesions a map of zeros, and use OneHot later"
        )
    found = subject.get_images_dict(intensity_only=True, include=transform.include, exclude=transform.exclude)
    images = {name: found[name] for name in transform.include or found if name in found}
    channels, wanted = sum(image.num_channels for image in images.values()), source.require_form().channels
    if channels != wanted:
        raise DataError(
            f"expected images of {wanted} channels together, as the pool has, found {channels} in "
            f"{', '.join(images) or 'no image'}; give include= the images that the pool was made for"
        )
    place = subject.get(masking_method) if isinstance(masking_method, str) else None
    others = {**images, masking_method: place} if isinstance(place, tio.LabelMap) else images
    for name, image in others.items():
        size, affine = tuple(image.spatial_shape), image.affine
        if size != tuple(label_map.spatial_shape) or not np.allclose(affine, label_map.affine, atol=1e-3):
            raise DataError(
                f"expected images of one space, found {name} of {size} voxels and {key} of "
                f"{tuple(label_map.spatial_shape)}, or of different affines; use ToCanonical and Resample first"
            )
    return list(images.values()), label_map


def _checked_seed(seed: Any) -> int:
    """Returns the seed of a synthetic image.

    Raises:
        ConfigError: It is no whole number from 0 to 2**63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise ConfigError(f"expected seed= from 0 to 2**63 - 1, found {seed!r:.200}")
    return int(seed)


def _checked_value(value: int | None) -> int | None:
    """Returns the value of lesions in a label map.

    Raises:
        ConfigError: It is no whole number above 0.
    """
    if value is not None and whole("label_value", value) > _LARGEST_VALUE:
        raise ConfigError(f"expected label_value= of at most {_LARGEST_VALUE}, found {value!r:.100}")
    return None if value is None else int(value)


def _checked_range(name: str, value: Any) -> tuple[int, int]:
    """Returns a number, or a range of numbers, as a range.

    Raises:
        ConfigError: It is neither.
    """
    first, last = value if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    least, most = whole(name, first, 0), whole(name, last)
    if not least <= most <= _MOST_LESIONS:
        raise ConfigError(
            f"expected {name}= a number or a range (a, b) with a <= b, up to {_MOST_LESIONS}, found {value!r:.100}"
        )
    return least, most
