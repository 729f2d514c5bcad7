"""albumentations: synthetic images of an item's label as a transform, and as references for its mixing transforms."""

from gan_augment.optional import needed

needed("albumentations", "albumentations", "gan_augment.integrations.albumentations", oldest="2.0.8", below="3")

import os
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import albumentations as A
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import get_worker_info

from gan_augment.errors import ConfigError, DataError, probability, whole
from gan_augment.items import is_number
from gan_augment.pool import SyntheticPool
from gan_augment.synthesizers.checks import from_items
from gan_augment.transforms.arrays import Fit, channels_first, fitted, like_image, like_mask, of_type
from gan_augment.transforms.batch import by_label
from gan_augment.transforms.fitting import class_label
from gan_augment.transforms.reference import SourceReference
from gan_augment.transforms.source import ByLabel
from gan_augment.types import Synthesizer

__all__ = ["SynthesizeSameClass", "SyntheticReference"]

Array = npt.NDArray[Any]
Label = int | str
Source = str | os.PathLike[str] | SyntheticPool | Synthesizer
Reader = Literal["FDA", "HistogramMatching", "OverlayElements", "Mosaic"]

_MASKS = {"image": "mask", "images": "masks", "volume": "mask3d", "volumes": "masks3d"}
"""The targets that hold images, and those that hold their masks."""

_MOST = 1000
"""Synthetic images for one item."""

_OBJECTS = ("bboxes", "keypoints")
_KEYS = dict(zip(get_args(Reader), ("fda", "hm", "overlay", "mosaic"), strict=True))
"""What the default `metadata_key` of each transform begins with."""


class InMemory(A.NoOp):  # type: ignore[misc]  # albumentations is not followed by mypy
    """Stands in a serialised pipeline for a transform whose source lies in memory, as a named `A.Lambda` does."""

    @classmethod
    def is_serializable(cls) -> bool:
        """Has albumentations look for it among `nonserializable=`."""
        return False


class _Drawing:
    """What both transforms share: the source, seeds out of albumentations' own randomness, and serialisation.

    It stands beside `A.BasicTransform`, as later releases refuse transforms that define 2.0.8's hook themselves.
    """

    _worker_seed: int | None = None

    def _open(self, source: Source, label_key: str, classes: Sequence[str] | None, name: str | None) -> None:
        for key, value in {"label_key": label_key, "name": "-" if name is None else name}.items():
            if not isinstance(value, str) or not value:
                raise ConfigError(f"expected {key}= a string, found {value!r}")
        self._held = SourceReference.of(source, classes)
        self._by_label = self._held.found()
        self._by_label.require_form()
        self._path = _path_of(source)
        self._known: dict[tuple[str, ...], tuple[str, str]] = {}
        self.label_key, self.classes, self.name = label_key, self._by_label.classes, name

    @property
    def source(self) -> Any:
        """The path of the source; where there is none the pool or synthesizer."""
        held = self._by_label
        return self._path or (held.synthesizer if held.pool is None else held.pool)

    def _sampled(self, data: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        raise NotImplementedError

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Returns labels and seeds: albumentations 2.0.8's hook."""
        return self._sampled(data, self.py_random)  # type: ignore[attr-defined]

    def sample_parameters(self, params: dict[str, Any], data: dict[str, Any], targets: Any, sampling: Any) -> Any:
        """Returns labels and seeds: the hook of later releases."""
        drawn = self._sampled(data, sampling.py_random)
        if "blend_ratio" in drawn:
            sampling.applied_overrides["blend_ratio"] = (drawn["blend_ratio"],) * 2
        return A.SampledParams(params=drawn)

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        """Takes further targets, and remembers those that must be refused, which 2.0.8 forgets."""
        super().add_targets(additional_targets)  # type: ignore[misc]
        self._additional_targets.update(additional_targets)  # type: ignore[attr-defined]
        self._known.clear()

    def should_apply(self, force_apply: bool = False) -> bool:
        """Tells whether to apply it, by a generator that differs in each worker and each epoch.

        Workers of 2.0.8 inherit one state and draw alike, each epoch anew. Later releases do not ask this.
        """
        now = _worker_seed()
        if now is not None and now != self._worker_seed:
            own = (now + (self.seed or 0)) % 2**32  # type: ignore[attr-defined]
            self.set_random_state(np.random.default_rng(own), random.Random(own))
        applied: bool = super().should_apply(force_apply)  # type: ignore[misc]
        return applied

    def set_random_seed(self, seed: int | None) -> None:
        """Seeds it; within a worker until the loader gives this another seed."""
        super().set_random_seed(seed)  # type: ignore[misc]
        self._worker_seed = _worker_seed()

    def set_random_state(self, *args: Any, **settings: Any) -> None:
        """Sets its generators; within a worker until the loader gives this another seed."""
        super().set_random_state(*args, **settings)  # type: ignore[misc]
        self._worker_seed = _worker_seed()

    def to_dict_private(self) -> dict[str, Any]:
        """Returns what is serialised: the path of the source, never an image.

        Raises:
            ConfigError: The source lies in memory, and there is no name.
        """
        if self._path is not None:
            told: dict[str, Any] = super().to_dict_private()  # type: ignore[misc]
            return told
        if self.name is None:
            raise ConfigError(
                f"expected a path as the source of {type(self).__name__}, to serialise or print the pipeline, found "
                f"{self.source!r} in memory; save it in a folder and give that, or give name= and, where the pipeline "
                "is read, A.from_dict(..., nonserializable={name: transform})"
            )
        return {"__class_fullname__": InMemory.get_class_fullname(), "__name__": self.name}

    def get_dict_with_id(self) -> dict[str, Any]:
        """Returns what `A.ReplayCompose` keeps: of a source in memory a name by which this process finds it again."""
        told = {**self.get_base_init_args(), **self.get_transform_init_args()}  # type: ignore[attr-defined]
        told |= {"source": self._path or self._held.brief, "id": id(self)}
        return {"__class_fullname__": self.get_class_fullname(), **told}  # type: ignore[attr-defined]

    def _kinds(self, data: Mapping[str, Any]) -> dict[str, str]:
        """Returns what albumentations takes each part of an item for."""
        more: Mapping[str, str] = self._additional_targets  # type: ignore[attr-defined]
        return {key: more.get(key, key) for key, value in data.items() if value is not None}

    def _labels(self, value: Any, count: int) -> list[Label]:
        """Returns the label of each of `count` images."""
        if count == 1 and type(value) is int and value >= 0:  # most labels, by the shortest way
            return [value]
        each = np.asarray(value).reshape(-1) if count > 1 else ()
        place = f"give under {self.label_key!r} the class of the image" + (", or of each" if count > 1 else "")
        if len(each) == count:
            return [class_label(one, place) for one in each]
        return [class_label(value, place)] * count

    def _made(self, label: Label, seed: int, item: Array, ndim: int) -> tuple[Array, Array | None] | None:
        """Returns image and mask `(C, *spatial)` of a label; None where the source has none of it."""
        source, own = self._by_label, None
        if (index := source.class_of(label)) < 0:
            return None
        if source.synthesizer is not None and from_items(source.synthesizer):
            own = of_type(channels_first(item, ndim), source.require_form().dtype, item)
        return source.made(index, seed, own)


class SynthesizeSameClass(_Drawing, A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations is not followed
    """Replace the image by a synthetic one of the item's label, or blend both.

    The label stays: `transform(image=image, label=3)`. Put the transform first, where images are as the pool has them.
    An image of whose label there is no synthetic one stays as it is. It cannot rebalance a dataset, in which each class
    keeps its number of items: for that take `gan_augment.GANAugmentedDataset`.

    Seeds come out of albumentations' own randomness and are the parameters, so `Compose(seed=)`, `ReplayCompose` and
    `save_applied_params` do what they do for any transform. Workers of a DataLoader draw differently from each other
    and in each epoch, also in 2.0.8. A pipeline is serialised with the path of the source.

    Args:
        source (str | SyntheticPool | Synthesizer): A pool or a synthesizer, or the path of one. An image-conditioned
            synthesizer makes its image of the item's.
        blend_ratio (tuple[float, float]): Range of the share of the synthetic image in the result; 1 replaces the
            image. Default: (1.0, 1.0).
        label_key (str): Key of the label, a whole number or a class name; for `images` and `volumes` one for all or
            one each. Default: "label".
        classes (Sequence[str] | None): The dataset's class names by label, to match classes by name. Default: None,
            for the labels that the pool was built for.
        fit (Literal["exact", "resize"]): Whether a synthetic image of another size than the item's is an error, or
            resized. Default: "exact".
        name (str | None): For a source in memory: what stands for the transform in a serialised pipeline, as for
            `A.Lambda`. Default: None.
        p (float): Probability of applying the transform. Default: 0.5.

    Targets:
        image, images, volume, volumes; mask, masks, mask3d, masks3d where the pool has masks

    Image types:
        uint8 and float32 (0 to 1) from a pool of either; any other from a pool of the same

    Note:
        Each of `images` or `volumes` gets its own synthetic image. A volume takes a pool of volumes `(D, H, W)`.

    Raises:
        ConfigError: A parameter has a value that cannot work; an item has boxes, keypoints, several images, or a mask
            where the pool has none.
        DataError: Synthetic images are of another type or size than the item's, or the source knows no such label.

    Example:
        >>> pool = SyntheticPool.from_arrays(np.full((2, 8, 8), 200, np.uint8), [0, 1])
        >>> transform = A.Compose([SynthesizeSameClass(pool, p=1.0), A.HorizontalFlip()], seed=0)
        >>> int(transform(image=np.zeros((8, 8), np.uint8), label=1)["image"].min())
        200
    """

    def __init__(
        self,
        source: Source,
        blend_ratio: tuple[float, float] = (1.0, 1.0),
        label_key: str = "label",
        classes: Sequence[str] | None = None,
        fit: Fit = "exact",
        name: str | None = None,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=probability("p", p))
        if fit not in get_args(Fit):
            raise ConfigError(f"expected fit= one of {', '.join(get_args(Fit))}, found {fit!r}")
        self.blend_ratio, self.fit = _range("blend_ratio", blend_ratio), fit
        self._open(source, label_key, classes, name)

    @property
    def targets_as_params(self) -> list[str]:
        """The key of the label."""
        return [self.label_key]

    @property
    def targets(self) -> dict[str, Any]:
        """What is changed: images, and their masks."""
        more = [key for key in (*_MASKS, *_MASKS.values()) if key != "image"]
        return {"image": self.apply, **{key: getattr(self, f"apply_to_{key}") for key in more}}

    def _sampled(self, data: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        key, kind = self._image_in(data)
        labels = self._labels(data[self.label_key], len(data[key]) if kind in ("images", "volumes") else 1)
        seeds = [rng.getrandbits(63) for _ in labels]
        least, most = self.blend_ratio
        return {"labels": labels, "seeds": seeds, "blend_ratio": most if least == most else rng.uniform(least, most)}

    def _image_in(self, data: Mapping[str, Any]) -> tuple[str, str]:
        """Returns the image's key and target, after asserting that no part of the item would be wrong afterwards."""
        given = tuple(key for key in data if data[key] is not None)
        if given not in self._known:
            self._known[given] = self._checked(self._kinds(data))
        return self._known[given]

    def _checked(self, kinds: Mapping[str, str]) -> tuple[str, str]:
        images = [(key, kind) for key, kind in kinds.items() if kind in _MASKS]
        masks = [key for key, kind in kinds.items() if kind in _MASKS.values()]
        allowed = [key for key in masks if images and kinds[key] == _MASKS[images[0][1]]][:1]
        wrong = [key for key, _ in images[1:]] + [key for key in masks if key not in allowed]
        wrong += [key for key, kind in kinds.items() if kind in _OBJECTS]
        if wrong or not images:
            raise ConfigError(
                f"expected one image, and one mask at most, found {', '.join(wrong) or 'no image'}: nothing says where "
                "the objects of a synthetic image are, and it has no partner; leave these out of the item"
            )
        if masks:
            self._check_mask(masks[0], self.blend_ratio[0])
        return images[0]

    def apply_with_params(self, params: Any, *args: Any, **data: Any) -> dict[str, Any]:
        """Returns the item with the new image, after asserting that a replay holds what was drawn."""
        if self.replay_mode:
            _check_recorded(params)
        item: dict[str, Any] = super().apply_with_params(params, *args, **data)
        return item

    def _check_mask(self, name: str, blend_ratio: float) -> None:
        if not self._by_label.has_masks:
            raise ConfigError(
                f"expected a pool with masks, for an item with {name}, found {self.source!r} without; leave the mask "
                "out, or build the pool with masks: SyntheticPool.from_arrays(..., masks=)"
            )
        if blend_ratio < 1:
            raise ConfigError(
                f"expected blend_ratio=(1.0, 1.0) for an item with {name}, found {self.blend_ratio}: neither mask is "
                "that of a blend"
            )

    def _new(self, item: Array, ndim: int, drawn: Mapping[str, Any], at: int = 0) -> Array:
        """Returns the new image of `(*spatial)` or `(*spatial, C)`."""
        found = self._made(drawn["labels"][at], drawn["seeds"][at], item, ndim)
        if found is None:
            return item
        made = like_image(fitted(found[0], item.shape[:ndim], self.fit), item, ndim)
        return made if drawn["blend_ratio"] >= 1 else _blended(item, made, drawn["blend_ratio"])

    def _new_mask(self, item: Array, ndim: int, drawn: Mapping[str, Any], at: int = 0) -> Array:
        """Returns the new mask of `(*spatial)` or `(*spatial, 1)`; asked again, as a replay is of another item."""
        self._check_mask("a mask", drawn["blend_ratio"])
        found = self._made(drawn["labels"][at], drawn["seeds"][at], item, ndim)
        if found is None or found[1] is None:
            return item
        made: Array = like_mask(fitted(found[1], item.shape[:ndim], self.fit, mask=True), item, ndim)
        return made

    def apply(self, img: Array, **drawn: Any) -> Array:
        """Returns the new image `(H, W)` or `(H, W, C)`."""
        return self._new(img, 2, drawn)

    def apply_to_images(self, images: Array, **drawn: Any) -> Array:
        """Returns new images `(N, H, W)` or `(N, H, W, C)`."""
        return _stacked(self._new, images, 2, drawn)

    def apply_to_volume(self, volume: Array, **drawn: Any) -> Array:
        """Returns the new volume `(D, H, W)` or `(D, H, W, C)`."""
        return self._new(volume, 3, drawn)

    def apply_to_volumes(self, volumes: Array, **drawn: Any) -> Array:
        """Returns new volumes `(N, D, H, W)` or `(N, D, H, W, C)`."""
        return _stacked(self._new, volumes, 3, drawn)

    def apply_to_mask(self, mask: Array, **drawn: Any) -> Array:
        """Returns the mask of the new image."""
        return self._new_mask(mask, 2, drawn)

    def apply_to_masks(self, masks: Array, **drawn: Any) -> Array:
        """Returns the masks of new images, one each."""
        return _stacked(self._new_mask, masks, 2, drawn)

    def apply_to_mask3d(self, mask3d: Array, **drawn: Any) -> Array:
        """Returns the mask of the new volume."""
        return self._new_mask(mask3d, 3, drawn)

    def apply_to_masks3d(self, masks3d: Array, **drawn: Any) -> Array:
        """Returns the masks of new volumes, one each."""
        return _stacked(self._new_mask, masks3d, 3, drawn)


class SyntheticReference(_Drawing, A.NoOp):  # type: ignore[misc]  # albumentations is not followed
    """Give each item synthetic images as the metadata that a later transform of albumentations reads.

    `A.Compose([SyntheticReference(pool, "FDA"), A.FDA(p=0.5)])`, or both in an `A.Sequential(..., p=0.5)`, which draws
    nothing in vain. The item stays; the metadata comes under `metadata_key`, in the item's type and channels and the
    source's size. Seeds, replay, workers and serialisation are as for `SynthesizeSameClass`.

    Of a label that there is no synthetic image of, FDA and its like are given the item itself, which changes nothing,
    the others an empty list.

    Args:
        source (str | SyntheticPool | Synthesizer): See `SynthesizeSameClass`, as for `label_key`, `classes`, `name`.
        transform (str): Who reads the metadata: "FDA" or "HistogramMatching" (images), "OverlayElements" or "Mosaic"
            (dicts with image, label and, where the pool has masks, mask).
        n (int | None): Number of synthetic images. Default: None, for 3 in "Mosaic" and 1 else.
        of (str | dict[int | str, float]): "same" for the item's class, "any" for each that the source has images of,
            or weights by label or class name. Default: "same".
        scale (tuple[float, float]): For "OverlayElements": range of the sides of what is pasted, as a share of the
            item's; its place is random. Default: (0.25, 0.5).
        metadata_key (str | None): Default: None, for that of the transform.
        p (float): Probability of applying the transform; where it is not, the metadata is missing. Default: 1.0.

    Targets:
        image; all others are let through

    Image types:
        uint8 and float32 (0 to 1), from a pool of either

    Raises:
        ConfigError: A parameter has a value that cannot work; an item for "OverlayElements" or "Mosaic" has boxes,
            keypoints, several masks, or a mask where the pool has none.
        DataError: Synthetic images are of another type than the item's, or the source knows no such label.
    """

    def __init__(
        self,
        source: Source,
        transform: Reader = "FDA",
        n: int | None = None,
        of: str | Mapping[Label, float] = "same",
        scale: tuple[float, float] = (0.25, 0.5),
        metadata_key: str | None = None,
        label_key: str = "label",
        classes: Sequence[str] | None = None,
        name: str | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=probability("p", p))
        if transform not in get_args(Reader):
            raise ConfigError(f"expected transform= one of {', '.join(_KEYS)}, found {transform!r}")
        self.transform, self.metadata_key = transform, metadata_key or f"{_KEYS[transform]}_metadata"
        if not isinstance(self.metadata_key, str) or self.metadata_key in ("image", "mask", label_key):
            raise ConfigError(f"expected metadata_key= a key of its own, found {metadata_key!r:.200}")
        self.n = whole("n", (3 if transform == "Mosaic" else 1) if n is None else n)
        if self.n > _MOST:
            raise ConfigError(f"expected n of at most {_MOST}, found {n}")
        self.scale = _range("scale", scale)
        self._open(source, label_key, classes, name)
        self._weights = _weights(of, self._by_label)
        self.of = of if isinstance(of, str) else {str(key): float(of[key]) for key in of}  # as JSON has keys

    @property
    def targets_as_params(self) -> list[str]:
        """The key of the label, where the item's own class is drawn."""
        return [] if self._weights else [self.label_key]

    def _sampled(self, data: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
        self._check(data)
        if self._weights:
            labels: list[Label] = rng.choices([*self._weights], [*self._weights.values()], k=self.n)
        else:
            labels = self._labels(data[self.label_key], 1) * self.n
        drawn: dict[str, Any] = {"labels": labels, "seeds": [rng.getrandbits(63) for _ in labels]}
        if self.transform == "OverlayElements":
            drawn["boxes"] = [_box(data["image"].shape, rng.uniform(*self.scale), rng) for _ in labels]
        return drawn

    def _check(self, data: Mapping[str, Any]) -> None:
        """Raises where what comes into the image would be missing in another part of the item."""
        if data.get("image") is None:
            raise ConfigError(f"expected image=, which {self.transform} reads, found {', '.join(data)}")
        refused = (*_OBJECTS, "masks") if self._by_label.has_masks else (*_OBJECTS, "masks", "mask")
        wrong = [key for key, kind in self._kinds(data).items() if kind in refused]
        if wrong and self.transform in ("OverlayElements", "Mosaic"):
            raise ConfigError(
                f"expected an item of image and label, and of a mask if the pool has masks, found {', '.join(wrong)}: "
                f"nothing says where the objects are that {self.transform} would put in; leave these out"
            )

    def apply_with_params(self, params: Any, *args: Any, **data: Any) -> dict[str, Any]:
        """Returns the item with the metadata; also in a replay, whose item may have other parts."""
        self._check(data)
        drawn = _check_recorded(params)
        item: dict[str, Any] = super().apply_with_params(params, *args, **data)
        boxes = drawn.get("boxes", [None] * len(drawn["labels"]))
        each = [self._reference(item, *one) for one in zip(drawn["labels"], drawn["seeds"], boxes, strict=True)]
        return {**item, self.metadata_key: [one for one in each if one is not None]}

    def _reference(self, item: Mapping[str, Any], label: Label, seed: int, box: list[float] | None) -> Any:
        image, mask = item["image"], item.get("mask")
        found, as_dict = self._made(label, seed, image, 2), self.transform in ("OverlayElements", "Mosaic")
        if found is None:
            return None if as_dict else image
        entry: dict[str, Any] = {"image": like_image(found[0], image, 2), self.label_key: label}
        if not as_dict:
            return entry["image"]
        if box is not None:
            entry["bbox"] = box
        if found[1] is not None and self.transform == "OverlayElements":
            entry["mask"] = (found[1][0] > 0).astype(np.uint8)
            if mask is not None:
                entry["mask_id"] = _only_value(found[1])
        elif found[1] is not None and mask is not None:
            entry["mask"] = like_mask(found[1], mask, 2)
        return entry


def _weights(of: str | Mapping[Label, float], source: ByLabel) -> dict[int, float]:
    """Returns weights by label; none for the item's own class."""
    drawable = source.labels()
    if of in ("same", "any"):
        return {} if of == "same" else dict.fromkeys(drawable, 1.0)
    if not isinstance(of, Mapping):
        raise ConfigError(f"expected of= 'same', 'any', or weights by label or class name, found {of!r}")
    keys = {int(key) if isinstance(key, str) and is_number(key) else key: weight for key, weight in of.items()}
    used = {label: weight for label, weight in by_label("of", keys, source).items() if weight}
    if without := sorted(set(used) - set(drawable)):
        raise ConfigError(f"expected of= weights of classes that there are images of, {drawable}, found {without}")
    return used


def _check_recorded(params: Any) -> dict[str, Any]:
    """Returns what was drawn, out of the parameters of a call or of a replay that may have been stored anywhere.

    Raises:
        ConfigError: It is not what these transforms draw.
    """
    drawn: dict[str, Any] = getattr(params, "params", params)
    labels, ratio = drawn.get("labels"), drawn.get("blend_ratio", 1.0)
    seeds: Any = drawn.get("seeds")
    boxes: Any = drawn.get("boxes")
    sound = (
        isinstance(labels, list | tuple)
        and isinstance(seeds, list | tuple)
        and len(labels) == len(seeds)
        and all(isinstance(label, int | str) for label in labels)
        and all(isinstance(seed, int) and 0 <= seed < 2**63 for seed in seeds)
        and isinstance(ratio, int | float)
        and 0 <= ratio <= 1
    )
    if sound and boxes is not None:
        sound = isinstance(boxes, list | tuple) and len(boxes) == len(seeds) and all(map(_is_box, boxes))
    if not sound:
        raise ConfigError(
            f"expected a label and a seed of each synthetic image, as they were drawn, found {drawn!r:.200}; replay "
            "what ReplayCompose recorded, unchanged"
        )
    return drawn


def _is_box(box: Any) -> bool:
    sides = box if isinstance(box, list | tuple) else ()
    return len(sides) == 4 and all(isinstance(side, int | float) and 0 <= side <= 1 for side in sides)


def _stacked(new: Callable[..., Array], items: Array, ndim: int, drawn: Mapping[str, Any]) -> Array:
    if len(items) != len(drawn["seeds"]):
        raise ConfigError(
            f"expected as many images as were drawn for, {len(drawn['seeds'])}, found {len(items)}; replay on a batch "
            "of the same size, and give one mask for each image"
        )
    return np.stack([new(item, ndim, drawn, at) for at, item in enumerate(items)])


def _blended(image: Array, made: Array, ratio: float) -> Array:
    mixed = image * np.float32(1 - ratio) + made * np.float32(ratio)
    blend: Array = (mixed if image.dtype.kind == "f" else np.rint(mixed)).astype(image.dtype)
    return blend


def _only_value(mask: Array) -> int:
    values = np.unique(mask[mask > 0]).tolist() or [1]
    if len(values) > 1:
        raise DataError(
            f"expected masks of one value besides 0, as OverlayElements writes one, found {values}; leave the mask out "
            "of the item, or use Mosaic"
        )
    return int(values[0])


def _box(shape: tuple[int, ...], scale: float, rng: random.Random) -> list[float]:
    """Returns a random place `[x_min, y_min, x_max, y_max]`, as shares of width and height."""
    ends = []
    for side in shape[:2]:
        long = max(1, round(scale * side))
        start = rng.randint(0, side - long)
        ends.append([(start + 0.5) / side, min(1.0, (start + long + 0.5) / side)])  # read as whole pixels, cut off
    return [ends[1][0], ends[0][0], ends[1][1], ends[0][1]]


def _range(name: str, value: Any) -> tuple[float, float]:
    """Returns a range within 0 to 1, written as albumentations does.

    Raises:
        ConfigError: It is none.
    """
    ends = tuple(value) if isinstance(value, tuple | list) else ()
    if len(ends) != 2 or probability(name, ends[0]) > probability(name, ends[1]):
        raise ConfigError(f"expected {name}= a range (least, most) within 0 to 1, found {value!r}")
    return float(ends[0]), float(ends[1])


def _path_of(source: Source | SourceReference) -> str | None:
    """Returns the path at which the same source is opened again; None where there is none."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if not isinstance(source, SyntheticPool) or source.folder is None:
        return None
    is_whole = np.array_equal(SyntheticPool.open(source.folder).rows, source.rows)  # no other view of the folder
    return os.fspath(source.folder) if is_whole else None


def _worker_seed() -> int | None:
    """Returns the seed of this worker in this epoch; None outside of workers."""
    return None if get_worker_info() is None else torch.initial_seed()
