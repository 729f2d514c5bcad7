"""The cases that `benchmarks.integrations` measures: for each host its adapter, an idle transform, hand and a flip."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import albumentations as A
import kornia.augmentation as K
import numpy as np
import numpy.typing as npt
import torch
import torchio as tio
from imblearn.over_sampling import RandomOverSampler
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, RandFlipd, RandomizableTransform
from PIL import Image
from torchio.transforms.augmentation import RandomTransform
from torchvision.transforms import v2

from gan_augment.forms import RawForm
from gan_augment.integrations import albumentations as for_albumentations
from gan_augment.integrations import imblearn as for_imblearn
from gan_augment.integrations import kornia as for_kornia
from gan_augment.integrations import monai as for_monai
from gan_augment.integrations import torchio as for_torchio
from gan_augment.integrations import torchvision as for_torchvision
from gan_augment.pool import SyntheticPool

__all__ = ["HOSTS", "PACKAGES", "CaseOf"]

PACKAGES = ("torch", "torchvision", "albumentations", "imbalanced-learn", "kornia", "monai", "torchio")
Sides = dict[str, Callable[[list[int]], Any]]


@dataclass(frozen=True)
class CaseOf:
    """A case: how items look, and what makes its four sides, each called with the labels of a step."""

    name: str
    form: RawForm
    make: Callable[[Path, "CaseOf"], Sides]
    labels: int = 4


# -- what is common ---------------------------------------------------------------------------------------------------


def one_by_one(work: Callable[[int], Any], labels: Sequence[int]) -> Any:
    """Works off the items of a step; returns the last of what comes out."""
    for label in labels:
        made = work(label)
    return made


class ByHand:
    """Rows of a pool as anyone would read them: looked up by class beforehand, one picked at random."""

    def __init__(self, folder: Path) -> None:
        pool = SyntheticPool.open(folder)
        self.read = pool.reader()
        self.rows = {label: pool.rows[pool.labels == label].tolist() for label in range(len(pool.classes))}

    def __call__(self, label: int) -> npt.NDArray[Any]:
        """Returns a row of a class, `(C, *spatial)`, a view of the map."""
        return self.read(random.choice(self.rows[label]))


def form_of(kind: Any, dtype: str, *full: int, layout: Any = "channels_first", mode: str | None = None) -> RawForm:
    return RawForm(kind=kind, layout=layout, dtype=dtype, channels=full[0], shape=full[1:], mode=mode)


def item_of(case: CaseOf) -> npt.NDArray[Any]:
    """Returns an image `(C, *spatial)` of noise, in the units of the pool."""
    pixels = np.random.default_rng(3).integers(0, 256, (case.form.channels, *(case.form.shape or ())), np.uint8)
    return pixels if case.form.dtype == "uint8" else (pixels / 255).astype(case.form.dtype)


def channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


# -- albumentations ---------------------------------------------------------------------------------------------------


def albumentations(folder: Path, case: CaseOf) -> Sides:
    image, hand = channels_last(item_of(case)), ByHand(folder)

    def side(step: Any) -> Callable[[list[int]], Any]:
        compose = A.Compose([step])
        return partial(one_by_one, lambda label: compose(image=image, label=label)["image"])

    return {
        "adapter": side(for_albumentations.SynthesizeSameClass(str(folder), p=1.0)),
        "idle": side(A.NoOp(p=1.0)),
        "by hand": partial(one_by_one, lambda label: channels_last(hand(label))),
        "flip": side(A.HorizontalFlip(p=1.0)),
    }


# -- torchvision ------------------------------------------------------------------------------------------------------


def of_items(folder: Path, image: Any, by_hand: Callable[[int], Any], told: Callable[[Any], Any]) -> Sides:
    """Returns the sides of transforms of `(image, label)`; `told` says what a made image is."""

    def side(step: Any) -> Callable[[list[int]], Any]:
        return partial(one_by_one, lambda label: told(step(image, label)[0]))

    return {
        "adapter": side(for_torchvision.SynthesizeSameClass(SyntheticPool.open(folder), 1.0)),
        "idle": side(v2.Identity()),
        "by hand": partial(one_by_one, lambda label: told(by_hand(label))),
        "flip": side(v2.RandomHorizontalFlip(1.0)),
    }


def torchvision_items(folder: Path, case: CaseOf) -> Sides:
    hand = ByHand(folder)
    image = torch.from_numpy(item_of(case))
    return of_items(folder, image, lambda label: torch.from_numpy(hand(label).copy()), lambda made: made)


class Picture:
    """A PIL image told as arrays are."""

    def __init__(self, image: Image.Image) -> None:
        self.dtype, self.shape = image.mode, image.size


def torchvision_pictures(folder: Path, case: CaseOf) -> Sides:
    hand = ByHand(folder)
    image = Image.fromarray(channels_last(item_of(case)))
    return of_items(folder, image, lambda label: Image.fromarray(channels_last(hand(label))), Picture)


def torchvision_batches(folder: Path, case: CaseOf) -> Sides:
    image, hand = torch.from_numpy(item_of(case)), ByHand(folder)
    batches: dict[int, Any] = {}

    def side(step: Any) -> Callable[[list[int]], Any]:
        return lambda labels: step(repeated(image, labels, batches), torch.tensor(labels))[0]

    return {
        "adapter": side(for_torchvision.SynthesizeBatch(SyntheticPool.open(folder), share=1.0)),
        "idle": side(v2.Identity()),
        "by hand": lambda labels: torch.from_numpy(np.stack([hand(label) for label in labels])),
        "flip": side(v2.RandomHorizontalFlip(1.0)),
    }


def repeated(image: Any, labels: list[int], batches: dict[int, Any]) -> Any:
    """Returns a batch of one image for each label, made once."""
    if len(labels) not in batches:
        batches[len(labels)] = torch.stack([image] * len(labels))
    return batches[len(labels)]


# -- kornia -----------------------------------------------------------------------------------------------------------


class IdleMix(K.MixAugmentationBaseV2):  # type: ignore[misc]  # kornia is not looked into
    """A mix augmentation that changes nothing."""

    def __init__(self) -> None:
        super().__init__(1.0, 1.0, data_keys=["input", "class"])

    def apply_transform(self, input: Any, params: Any, flags: Any) -> Any:  # noqa: A002
        """Returns the batch."""
        return input

    def apply_transform_class(self, input: Any, params: Any, flags: Any) -> Any:  # noqa: A002
        """Returns the labels."""
        return input


def kornia(folder: Path, case: CaseOf) -> Sides:
    image, hand = torch.from_numpy(item_of(case)) / 255, ByHand(folder)
    batches: dict[int, Any] = {}
    flip = K.RandomHorizontalFlip(p=1.0)

    def side(step: Any) -> Callable[[list[int]], Any]:
        return lambda labels: step(repeated(image, labels, batches), torch.tensor(labels))[0]

    def by_hand(labels: list[int]) -> Any:
        return torch.from_numpy(np.stack([hand(label) for label in labels])).float().div_(255)

    return {
        "adapter": side(for_kornia.RandomSynthesize(folder, p=1.0)),
        "idle": side(IdleMix()),
        "by hand": by_hand,
        "flip": lambda labels: flip(repeated(image, labels, batches)),
    }


# -- MONAI ------------------------------------------------------------------------------------------------------------


class Idled(RandomizableTransform, MapTransform):  # type: ignore[misc]  # MONAI is not looked into
    """A random dictionary transform that changes nothing."""

    def __init__(self, keys: str) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, 1.0)

    def __call__(self, data: Any) -> Any:
        """Returns a shallow copy of the item, as MONAI's transforms do."""
        item = dict(data)
        self.randomize(None)
        return item


def monai(folder: Path, case: CaseOf) -> Sides:
    image, hand = MetaTensor(torch.from_numpy(item_of(case))), ByHand(folder)

    def side(step: Any) -> Callable[[list[int]], Any]:
        compose = Compose([step])
        return partial(one_by_one, lambda label: compose({"image": image, "label": label})["image"])

    def by_hand(label: int) -> Any:
        return MetaTensor(torch.from_numpy(hand(label).copy()), meta=image.meta)

    return {
        "adapter": side(for_monai.RandSynthesizedd("image", folder, prob=1.0)),
        "idle": side(Idled("image")),
        "by hand": partial(one_by_one, by_hand),
        "flip": side(RandFlipd("image", prob=1.0, spatial_axis=0)),
    }


# -- torchio ----------------------------------------------------------------------------------------------------------


class Idle(tio.IntensityTransform):  # type: ignore[misc]  # torchio's types are not read
    """A transform that changes nothing; what `RandomIdle` calls, as torchio's random transforms call plain ones."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.args_names: list[str] = []

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Returns the subject."""
        return subject


class RandomIdle(RandomTransform, tio.IntensityTransform):  # type: ignore[misc]  # torchio's types are not read
    """A random transform that changes nothing."""

    def apply_transform(self, subject: tio.Subject) -> tio.Subject:
        """Returns the subject with an idle transform in its history."""
        idle: tio.Subject = Idle(**self._get_base_args())(subject)
        return idle


def torchio(folder: Path, case: CaseOf) -> Sides:
    volume, hand = torch.from_numpy(item_of(case)), ByHand(folder)
    subjects = {label: tio.Subject(t1=tio.ScalarImage(tensor=volume), label=label) for label in range(case.labels)}

    def side(step: Any) -> Callable[[list[int]], Any]:
        return partial(one_by_one, lambda label: step(subjects[label]).t1.data)

    def by_hand(label: int) -> Any:
        return tio.ScalarImage(tensor=torch.from_numpy(hand(label).copy())).data  # rows are (C, W, H, D) already

    return {
        "adapter": side(for_torchio.RandomSynthesize(str(folder), p=1.0)),
        "idle": side(RandomIdle(p=1.0)),
        "by hand": partial(one_by_one, by_hand),
        "flip": side(tio.RandomFlip(axes=0, flip_probability=1.0)),
    }


# -- imbalanced-learn -------------------------------------------------------------------------------------------------


def imblearn(folder: Path, case: CaseOf) -> Sides:
    """Sides that resample a table whose rarer class gets as many rows as a step has items."""
    hand, width = ByHand(folder), item_of(case).size
    few = 8
    tables: dict[int, Any] = {}

    def table(count: int) -> Any:
        if count not in tables:
            values = np.random.default_rng(0).random((2 * few + count, width), np.float32)  # in the pool's units
            tables[count] = values, np.repeat([1, 2], [few + count, few])
        return tables[count]

    def side(make: Callable[[int], Any]) -> Callable[[list[int]], Any]:
        return lambda labels: make(len(labels)).fit_resample(*table(len(labels)))[0]

    def by_hand(labels: list[int]) -> Any:
        own, _ = table(len(labels))
        drawn = np.stack([hand(2) for _ in labels]).reshape(len(labels), -1).astype(np.float32)
        return np.concatenate([own, drawn])

    source = SyntheticPool.open(folder)
    return {
        "adapter": side(lambda _: for_imblearn.GANOverSampler(source=source, random_state=0)),
        "idle": side(lambda count: RandomOverSampler(sampling_strategy={2: few}, random_state=0)),
        "by hand": by_hand,
        "flip": side(lambda _: RandomOverSampler(random_state=0)),
    }


# -- all --------------------------------------------------------------------------------------------------------------

GREY, RGB, CUBE = (1, 28, 28), (3, 224, 224), (1, 64, 64, 64)


def _cases(*cases: CaseOf) -> dict[str, CaseOf]:
    return {case.name: case for case in cases}


HOSTS: dict[str, dict[str, CaseOf]] = {
    "albumentations": _cases(
        CaseOf("items, grey 28x28", form_of("array", "uint8", *GREY, layout="no_channel"), albumentations),
        CaseOf("items, RGB 224x224", form_of("array", "uint8", *RGB, layout="channels_last"), albumentations),
    ),
    "imblearn": _cases(CaseOf("rows, grey 28x28", form_of("tensor", "float32", *GREY), imblearn)),
    "kornia": _cases(
        CaseOf("batches, grey 28x28", form_of("tensor", "uint8", *GREY), kornia),
        CaseOf("batches, RGB 224x224", form_of("tensor", "uint8", *RGB), kornia),
    ),
    "monai": _cases(
        CaseOf("items, RGB 224x224", form_of("tensor", "float32", *RGB), monai),
        CaseOf("items, 64x64x64", form_of("tensor", "float32", *CUBE), monai),
    ),
    "torchio": _cases(CaseOf("subjects, 64x64x64", form_of("tensor", "float32", *CUBE), torchio)),
    "torchvision": _cases(
        CaseOf("items, grey tensors 28x28", form_of("tensor", "uint8", *GREY), torchvision_items),
        CaseOf("items, RGB tensors 224x224", form_of("tensor", "uint8", *RGB), torchvision_items),
        CaseOf("items, RGB PIL 224x224", form_of("pil", "uint8", *RGB, layout="channels_last", mode="RGB"),
               torchvision_pictures),
        CaseOf("batches, grey 28x28", form_of("tensor", "float32", *GREY), torchvision_batches),
        CaseOf("batches, RGB 224x224", form_of("tensor", "float32", *RGB), torchvision_batches),
    ),
}  # fmt: skip
"""The cases of each host, by name; the pool of a case has its form, and no image of class 0."""
