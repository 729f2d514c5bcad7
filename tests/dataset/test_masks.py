"""Segmentation sets: image and mask travel together, or the set is refused."""

from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import DataError
from gan_augment.pool import SyntheticPool
from gan_augment.types import Samples
from tests.dataset.bases import COUNTS, LABELS, PIXELS
from tests.helpers import toy_synthesizer

MASKS = (np.median(PIXELS, axis=(1, 2), keepdims=True) < PIXELS).astype(np.uint8)
POOL = np.full((30, 12, 12), 200, np.uint8)
POOL_MASKS = np.triu(np.full((12, 12), 3, np.uint8))[None].repeat(30, 0)


class Segmented(Dataset[Any]):
    """Images with masks, in the form that `make` gives them; transforms as torchvision's and users' sets have them."""

    def __init__(self, make: Any, transform: Any = None, transforms: Any = None) -> None:
        self.make, self.transform, self.transforms = make, transform, transforms
        self.targets = LABELS.tolist()

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> Any:
        item = self.make(PIXELS[index].copy(), MASKS[index].copy(), int(LABELS[index]))
        if isinstance(self.transform, A.Compose):
            found = self.transform(image=item[0], mask=item[1])
            return found["image"], found["mask"], *item[2:]
        if self.transform is not None:
            image, mask = self.transform(item[0], item[1])
            return image, mask, *item[2:]
        return item if self.transforms is None else self.transforms(*item)


def pool(labels: list[int] | None = None) -> SyntheticPool:
    return SyntheticPool.from_arrays(POOL, labels or [1] * 15 + [2] * 15, masks=POOL_MASKS)


def wrapped(base: Any, **settings: Any) -> GANAugmentedDataset:
    return GANAugmentedDataset(base, pool(), synthetic_share=1, min_images=0, progress=False, **settings)


def with_palette(mask: Any) -> Image.Image:
    picture = Image.fromarray(mask)
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    return picture


MADE: dict[str, Any] = {
    "PIL": lambda image, mask, label: (Image.fromarray(image), Image.fromarray(mask), label),
    "PIL with a palette": lambda image, mask, label: (Image.fromarray(image), with_palette(mask), label),
    "array": lambda image, mask, label: (image, mask, label),
    "array with channel": lambda image, mask, label: (image, mask[..., None], label),
    "tensor": lambda image, mask, label: (torch.from_numpy(image)[None], torch.from_numpy(mask).long(), label),
    "boolean": lambda image, mask, label: (image, mask > 0, label),
    "tv": lambda image, mask, label: (
        tv_tensors.Image(torch.from_numpy(image)[None]),
        tv_tensors.Mask(torch.from_numpy(mask)[None]),
        label,
    ),
    "dict": lambda image, mask, label: {"image": image, "mask": mask, "label": label},
    "label first": lambda image, mask, label: (image, label, mask),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_image_and_mask_travel_together(make: Any) -> None:
    base = Segmented(make)
    masks = np.minimum(POOL_MASKS, 1 if base[0][1].dtype == bool else 3) if make is MADE["boolean"] else POOL_MASKS
    drawn_from = SyntheticPool.from_arrays(POOL, [1] * 15 + [2] * 15, masks=masks)
    train = GANAugmentedDataset(base, drawn_from, synthetic_share=1, min_images=0, progress=False)
    assert train.sampling_strategy_ == {1: 15, 2: 19}
    real, drawn = train[0], train[len(train) - 1]
    keys: Any = real if isinstance(real, dict) else range(len(real))
    for key in keys:
        assert type(drawn[key]) is type(real[key])
        assert getattr(drawn[key], "dtype", None) == getattr(real[key], "dtype", None)
        assert np.shape(drawn[key]) == np.shape(real[key])
    structure = train._view.structure
    mask = np.asarray(structure.mask_of(drawn)).reshape(12, 12)
    assert np.array_equal(mask, POOL_MASKS[0].astype(mask.dtype))
    assert structure.split(drawn)[1] == 2
    if "PIL" not in str(type(real[keys[0]] if isinstance(keys, range) else real["image"])):
        default_collate([real, drawn])


def test_single_bits_and_palettes_as_pil_has_them() -> None:
    palette = wrapped(Segmented(MADE["PIL with a palette"]))
    drawn, real = palette[70][1], palette[0][1]
    assert (drawn.mode, drawn.getpalette()) == ("P", real.getpalette())
    assert np.array_equal(np.asarray(drawn), POOL_MASKS[0])
    base = Segmented(lambda image, mask, label: (image, Image.fromarray(mask > 0), label))
    bits = SyntheticPool.from_arrays(POOL, [1] * 15 + [2] * 15, masks=POOL_MASKS > 0)
    train = GANAugmentedDataset(base, bits, synthetic_share=1, min_images=0, progress=False)
    assert (train[0][1].mode, train[70][1].mode) == ("1", "1")
    assert np.array_equal(np.asarray(train[70][1]), POOL_MASKS[0] > 0)


def test_values_that_a_mask_cannot_hold_are_refused() -> None:
    with pytest.raises(DataError, match="from 0 to 1, as bool ones of the dataset can hold, found 0 to 3"):
        wrapped(Segmented(MADE["boolean"]))
    large = SyntheticPool.from_arrays(POOL, [1] * 15 + [2] * 15, masks=POOL_MASKS.astype(np.int32) * 100)
    with pytest.raises(DataError, match="from 0 to 255"):
        GANAugmentedDataset(Segmented(MADE["array"]), large, min_images=0, progress=False)
    with pytest.raises(DataError, match="expected masks= from -2147483648"):
        SyntheticPool.from_arrays(POOL, [1] * 30, masks=POOL_MASKS.astype(np.uint32) + np.uint32(2**31))


def test_a_rare_flip_of_image_and_mask_turns_both() -> None:
    """Under the first seed it does nothing, as a transform of the image alone would."""
    base = Segmented(MADE["tv"], transform=v2.RandomHorizontalFlip(0.3))
    train = wrapped(base)
    rising = np.tile(np.arange(12, dtype=np.uint8) * 20, (30, 12, 1))
    source = SyntheticPool.from_arrays(rising, [1] * 15 + [2] * 15, masks=(rising > 100).astype(np.uint8))
    train = GANAugmentedDataset(base, source, synthetic_share=1, min_images=0, progress=False)
    turned = 0
    for index in range(38, len(train)):
        image, mask, _ = train[index]
        assert torch.equal(mask[0] > 0, image[0] > 100)
        turned += int(image[0, 0, 0] > 100)
    assert 0 < turned < 34


def test_image_and_mask_alone_with_targets() -> None:
    base = Segmented(lambda image, mask, label: (image, mask))
    del base.targets
    train = wrapped(base, targets=LABELS)
    assert len(train) == 3 * COUNTS[0]
    image, mask = train[len(train) - 1]
    assert (image == 200).all()
    assert np.array_equal(mask, POOL_MASKS[0])


def flip(image: Any, mask: Any) -> Any:
    return image[:, ::-1].copy(), mask[:, ::-1].copy()


def test_a_transform_of_the_pair_is_inherited() -> None:
    flipped = POOL_MASKS[0][:, ::-1]
    for transform in (flip, A.Compose([A.HorizontalFlip(p=1.0)])):
        train = wrapped(Segmented(MADE["array"], transform=transform))
        assert train._view.mode == "raw"
        assert np.array_equal(train[len(train) - 1][1], flipped)
    joint = v2.Compose([v2.RandomHorizontalFlip(p=1.0)])
    base = Segmented(lambda image, mask, label: MADE["tv"](image, mask, label)[:2], transforms=joint)
    assert np.array_equal(wrapped(base)[70][1][0].numpy(), flipped)
    given = wrapped(Segmented(MADE["array"]), transform=flip)
    assert np.array_equal(given[70][1], flipped)
    assert np.array_equal(wrapped(Segmented(MADE["array"], transform=flip), transform=None)[70][1], POOL_MASKS[0])


def test_masks_are_wanted_where_the_set_has_some() -> None:
    without = SyntheticPool.from_arrays(POOL, [1] * 15 + [2] * 15)
    with pytest.raises(DataError, match="expected synthetic images with masks"):
        GANAugmentedDataset(Segmented(MADE["array"]), without, min_images=0, progress=False)
    GANAugmentedDataset(Segmented(MADE["array"]), None, synthetic_share=0, progress=False)


@pytest.mark.parametrize(
    "masks", [POOL_MASKS[:5], POOL_MASKS / 2, POOL_MASKS[:, :5]], ids=["few", "fractions", "of another size"]
)
def test_masks_that_do_not_fit_their_images(masks: Any) -> None:
    with pytest.raises(DataError, match=r"expected masks= of whole numbers and shape \(30, 1, 12, 12\)"):
        SyntheticPool.from_arrays(POOL, [1] * 30, masks=masks)


class Segmenter:
    """A synthesizer that gives image and mask: the mask is where the image is bright."""

    num_classes, class_names, image_spec = 3, None, None

    def __init__(self) -> None:
        self.images = toy_synthesizer(shape=(1, 16, 16))
        self.fingerprint = self.images.fingerprint

    def sample(self, labels: Any, seeds: Any, *, conditions: Any = None) -> Samples:
        images = self.images.sample(labels, seeds).images
        means = images.mean(dim=(2, 3), keepdim=True)
        return Samples(images, masks=(images > means).long() * 5)


@pytest.mark.parametrize("place", ["memory", "folder", "live"])
def test_a_synthesizer_of_image_and_mask(tmp_path: Path, place: str) -> None:
    base = Segmented(MADE["array"])
    source: Any = Segmenter()
    if place == "folder":
        SyntheticPool.build(source, base, out=tmp_path / "pool", progress=False)
        source = SyntheticPool.open(tmp_path / "pool")
        assert source.has_masks
    train = GANAugmentedDataset(
        base, source, synthetic_share=1, live=place == "live", cache=None, min_images=0, progress=False
    )
    image, mask, _ = train[70]
    assert (image.dtype, image.shape, mask.dtype, mask.shape) == (np.uint8, (12, 12), np.uint8, (12, 12))
    assert set(np.unique(mask)) == {0, 5}
    assert image[mask == 5].mean() > image[mask == 0].mean()


def test_damaged_masks_are_refused(tmp_path: Path) -> None:
    from gan_augment.errors import ArtifactError

    SyntheticPool.build(Segmenter(), Segmented(MADE["array"]), out=tmp_path / "pool", progress=False)
    path = tmp_path / "pool" / "part-00000" / "masks-00000.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(ArtifactError, match=r"masks-00000\.npy"):
        SyntheticPool.open(tmp_path / "pool")
    path.unlink()
    with pytest.raises(ArtifactError, match="found none; the pool is damaged"):
        SyntheticPool.open(tmp_path / "pool")
