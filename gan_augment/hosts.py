"""Datasets of other libraries, opened: raw items as plain dicts, the library's own transform behind them.

Hugging Face `datasets`, MONAI and torchio keep their transforms where `pipelines` does not look, or read image files by
them. Here each becomes a dataset with a `transform`, which `pipelines` takes apart and proves like any other. Classes
are known by their names: nothing is imported that the user has not imported.

The seam between raw item and transform: for Hugging Face's the decoded columns before `set_transform` or a format; for
MONAI's the first random transform, as in its own CacheDataset; for torchio's the loaded subject.
"""

import contextlib
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset

from gan_augment.errors import DataError
from gan_augment.items import LABEL_KEYS, label_value

__all__ = ["FRAME", "Frame", "opened"]

FRAME = "\0frame"
"""Key of a raw item under which lies what its library keeps beside the values of the images."""

_SYNTHETIC = "synthetic"


class Frame(dict[Any, Any]):
    """What a library keeps beside the values of an item's images (affine, metadata, names of files), by key."""

    @property
    def label_maps(self) -> list[Any]:
        """Keys of the images that the library says are label maps."""
        return [key for key, kept in self.items() if isinstance(kept, dict) and kept.get("is_mask")]

    def affine(self, key: Any) -> Any:
        """Returns the affine `(4, 4)` that is kept of an image, from voxels to mm (RAS+); None where there is none."""
        kept = self.get(key)
        kept = kept.get("meta", kept) if isinstance(kept, dict) else {}
        return kept.get("affine")

    def __deepcopy__(self, memo: Any) -> "Frame":
        """Returns itself: what makes items of it copies what it puts in them."""
        return self

    def without_files(self) -> "Frame":
        """Returns a copy that names no file: an image that was drawn comes from none."""
        return Frame({key: _nameless(copy.deepcopy(value)) for key, value in self.items()})


def _nameless(kept: Any) -> Any:
    if not isinstance(kept, dict):
        return kept
    named = ("path", "stem", "filename_or_obj")
    return {
        key: _SYNTHETIC if key in named and isinstance(value, str) else _nameless(value) for key, value in kept.items()
    }


class _Held:
    """Holds a dataset where those who look for datasets in attributes do not see it: it is opened, and stays whole."""

    __slots__ = ("dataset",)

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __deepcopy__(self, memo: Any) -> "_Held":
        return self


class Opened(Dataset[Any]):
    """A dataset of another library: `transform(read(i))` is its item i.

    Attributes:
        transform: Makes its item of a raw one.
        targets: Its labels, where they are known without reading images.
        classes: Its class names, where it has them.
    """

    by_contract = True
    """Whether the library says how its transform is called, so that nobody has to find out."""

    def __init__(self, base: Any, transform: Callable[[Any], Any]) -> None:
        self._held, self.transform = _Held(base), transform
        self.targets: list[int | str] | None = None
        self.classes: list[str] | None = None

    @property
    def base(self) -> Any:
        """The dataset."""
        return self._held.dataset

    def __len__(self) -> int:
        return len(self.base)

    def read(self, index: int) -> Any:
        """Returns a raw item."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        return self.transform(self.read(index))


def _labels(items: Any) -> list[int | str] | None:
    """Returns the labels of a list of dicts, None where they are not there."""
    if not isinstance(items, Sequence) or not len(items) or not isinstance(items[0], Mapping):
        return None
    key = next((key for key in LABEL_KEYS if key in items[0]), None)
    with contextlib.suppress(DataError, KeyError, TypeError, ValueError):
        return None if key is None else [label_value(item[key]) for item in items]
    return None


# -- Hugging Face datasets --------------------------------------------------------------------------------------------


class _HuggingFace(Opened):
    """Columns as Python objects and PIL images; behind them the function of `set_transform`, or the format."""

    def __init__(self, base: Any) -> None:
        super().__init__(base, _Format(_Held(base)))
        columns = base.column_names if base._output_all_columns else base._format_columns
        self._plain = base.with_format(None, columns=columns)
        features = base.features
        key = next((key for key in LABEL_KEYS if key in features), None)
        names = getattr(features.get(key), "names", None)
        self.classes = list(names) if names else None
        if key is not None and _holds_one_value(features[key]):
            values = base.with_format(None).select_columns([key])[:][key]  # no image is decoded
            with contextlib.suppress(DataError):
                self.targets = [label_value(value) for value in values]

    def read(self, index: int) -> Any:
        return self._plain[int(index)]


def _holds_one_value(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint", "bool", "string"))


class _Format:
    """What `set_transform` or a format of the dataset makes of one item; looked up at each call, as it may change."""

    def __init__(self, held: _Held) -> None:
        self._held = held
        self._known: tuple[Any, Any, Any] = (None, None, None)

    def __call__(self, item: Mapping[str, Any]) -> Any:
        base = self._held.dataset
        kind, settings = base._format_type, base._format_kwargs
        if kind is None:
            return item
        if kind == "custom":
            made = settings["transform"]({key: [item[key]] for key in item})
            return {key: values[0] for key, values in made.items()}
        if self._known[:2] != (kind, settings):
            self._known = kind, settings, _Formatted(_formatter(base))
        return self._known[2](item)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": (None, None, None)}


def _formatter(base: Any) -> Any:
    from datasets.formatting import get_formatter

    formatter = get_formatter(base._format_type, features=base.features, **base._format_kwargs)
    if not hasattr(formatter, "recursive_tensorize"):
        raise DataError(
            f"expected a dataset in the format torch, numpy or none, found {base._format_type!r}; use with_format(None)"
        )
    return formatter


class _Formatted:
    """Formats one item as the dataset does, whose columns give numbers as numpy's scalars."""

    def __init__(self, formatter: Any) -> None:
        self.formatter = formatter

    def __call__(self, item: Mapping[str, Any]) -> Any:
        numbers = {key: np.array(value)[()] for key, value in item.items() if isinstance(value, bool | int | float)}
        return self.formatter.recursive_tensorize({**item, **numbers})


# -- MONAI ------------------------------------------------------------------------------------------------------------


class _Behind:
    """The transform that a library's dataset has now; of a copy the one that it had when it was copied.

    Attributes:
        transforms: What is called, for who gives random transforms a seed.
    """

    name = "transform"

    def __init__(self, held: _Held) -> None:
        self._held: _Held | None = held
        self._copied: Any = None

    @property
    def transforms(self) -> list[Any]:
        return [self._copied if self._held is None else getattr(self._held.dataset, self.name)]

    def __deepcopy__(self, memo: Any) -> "_Behind":
        new = copy.copy(self)
        new._copied, new._held = copy.deepcopy(self.transforms[0], memo), None
        return new


def _seam(compose: Any) -> int | None:
    """Returns the place of the first transform that may be random, as MONAI's CacheDataset finds it; None for none."""
    from monai.transforms import RandomizableTrait, Transform

    found: int | None = compose.get_index_of_first(
        lambda step: isinstance(step, RandomizableTrait) or not isinstance(step, Transform)
    )
    return found


class _Monai(Opened):
    """Items after the transforms that are not random, which read the files; behind them the random ones."""

    def __init__(self, base: Any) -> None:
        super().__init__(base, _FromSeam(_Held(base)))
        self.targets = _labels(base.data)

    def read(self, index: int) -> Any:
        item = self._deterministic(int(index))
        if not isinstance(item, Mapping):
            return item
        frame = Frame({key: {"meta": value.meta, "applied": value.applied_operations}
                       for key, value in item.items() if hasattr(value, "applied_operations")})  # fmt: skip
        plain = {key: item[key].as_tensor() if key in frame else item[key] for key in item}
        return {**plain, FRAME: frame} if frame else plain

    def _deterministic(self, index: int) -> Any:
        base = self.base
        if hasattr(
            base, "_cachecheck"
        ):  # PersistentDataset, whose first reading may keep metadata that its cache drops
            base._cachecheck(base.data[index])
            return base._cachecheck(base.data[index])
        cached = base._cache[index] if hasattr(base, "_cache") and index < base.cache_num else None
        if cached is not None:  # CacheDataset
            return copy.deepcopy(cached)
        return base.transform(copy.deepcopy(base.data[index]), end=_seam(base.transform))


class _FromSeam(_Behind):
    """MONAI's transforms from the seam on."""

    def __call__(self, item: Any) -> Any:
        if isinstance(item, Mapping) and FRAME in item:
            from monai.data import MetaTensor

            frame = item[FRAME]
            item = {key: value for key, value in item.items() if key != FRAME}
            for key, kept in frame.items():
                meta, applied = copy.deepcopy(kept["meta"]), copy.deepcopy(kept["applied"])
                item[key] = MetaTensor(item[key], meta=meta, applied_operations=applied)
        compose = self.transforms[0]
        seam = _seam(compose)
        return item if seam is None else compose(item, start=seam)


# -- torchio ----------------------------------------------------------------------------------------------------------


class _Torchio(Opened):
    """The values of a loaded subject's images, `(C, W, H, D)`, and its other entries; behind them its transform."""

    def __init__(self, base: Any) -> None:
        if hasattr(base, "sampling_strategy_"):
            raise DataError(
                f"expected a dataset of real subjects, found a {type(base).__name__}, which mixes synthetic ones in; "
                "give its .base"
            )
        super().__init__(base, _AsSubject(_Held(base)))
        self.targets = _labels(list(base.dry_iter()))

    def read(self, index: int) -> Any:
        subject = copy.deepcopy(self.base.dry_iter()[int(index)])
        subject.load()
        images = subject.get_images_dict(intensity_only=False)
        frame = Frame({key: _described(image) for key, image in images.items()})
        frame[FRAME] = {"type": type(subject), "applied": subject.applied_transforms}
        return {**{key: images[key].data if key in images else subject[key] for key in subject}, FRAME: frame}


def _described(image: Any) -> dict[str, Any]:
    rest = {key: value for key, value in image.items() if key not in ("data", "affine")}
    told = {"affine": image.affine, "check_nans": image.check_nans, "is_mask": image.type == "label"}
    return {"kind": type(image), **told, "rest": rest}


class _AsSubject(_Behind):
    """Makes a subject of a raw item and calls torchio's transform on it."""

    name = "_transform"

    def __call__(self, item: Mapping[str, Any]) -> Any:
        if not isinstance(item, Mapping):  # torch warns of a tensor that is asked for a key
            raise TypeError(f"expected the raw item of a subject, found {type(item).__name__}")
        frame, entries = item[FRAME], {key: value for key, value in item.items() if key != FRAME}
        for key, kept in frame.items():
            if key != FRAME:
                image = kept["kind"](tensor=entries[key], affine=kept["affine"], check_nans=kept["check_nans"])
                image.update(copy.deepcopy(kept["rest"]))
                entries[key] = image
        subject = frame[FRAME]["type"](entries)
        subject.applied_transforms = copy.copy(frame[FRAME]["applied"])
        transform = self.transforms[0]
        return subject if transform is None else transform(subject)


# -- finding them -----------------------------------------------------------------------------------------------------

_HOSTS: dict[tuple[str, str], Callable[[Any], Opened]] = {
    ("datasets.arrow_dataset", "Dataset"): _HuggingFace,
    ("monai.data.dataset", "Dataset"): _Monai,
    ("torchio.data.dataset", "SubjectsDataset"): _Torchio,
}


def _host(dataset: Any) -> Callable[[Any], Opened] | None:
    names = [(kind.__module__, kind.__name__) for kind in type(dataset).__mro__]
    found = next((_HOSTS[name] for name in names if name in _HOSTS), None)
    if found is _Monai and not hasattr(getattr(dataset, "transform", None), "get_index_of_first"):
        return None
    return found


def opened(dataset: Any) -> Any:
    """Returns `dataset` with the datasets of other libraries in it opened: a copy, or itself where there are none."""
    if hasattr(dataset, "update_cache") and (type(dataset).__module__ or "").startswith("monai."):
        raise DataError(
            f"expected a dataset whose items stay the same, found {type(dataset).__name__}, which replaces them; use "
            "CacheDataset"
        )
    if (host := _host(dataset)) is not None:
        return host(dataset)
    held = vars(dataset) if hasattr(dataset, "__dict__") else {}
    changed: dict[str, Any] = {}
    for name, value in held.items():
        if _host(value) is not None or isinstance(value, Subset | ConcatDataset):
            changed[name] = opened(value)
        elif isinstance(dataset, ConcatDataset) and name == "datasets":
            changed[name] = [opened(part) for part in value]
    if all(_unchanged(held[name], value) for name, value in changed.items()):
        return dataset
    new = copy.copy(dataset)
    new.__dict__.update(changed)
    return new


def _unchanged(old: Any, new: Any) -> bool:
    if isinstance(new, list):
        return all(a is b for a, b in zip(old, new, strict=True))
    return old is new
