"""Transforms taken apart and put back: over library classes, wrappers and the user's own datasets."""

import contextlib
import copy
import random
from collections import namedtuple

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import v2

from gan_augment import RawView
from gan_augment.errors import DataError
from gan_augment.items import same
from gan_augment.pipelines import innermost, layers, preserved_rng, prove, stripped
from tests.conftest import GrayImages, assert_finishes, untouched_rng

LABELS = [0, 1, 2, 0, 1, 0, 2, 0]
Pair = namedtuple("Pair", "image label")


def random_transform():
    """Random in torch's global state, changes size and type."""
    steps = [v2.RandomHorizontalFlip(), v2.RandomCrop(10), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([*steps, v2.GaussianNoise(), v2.Normalize([0.5], [0.5])])


class Transformed(Dataset):
    """The wrapper that half the forums advise."""

    def __init__(self, subset, transform=None):
        self.subset, self.transform = subset, transform

    def __len__(self):
        return len(self.subset)

    def __getitem__(self, index):
        image, label = self.subset[index]
        return (self.transform(image) if self.transform else image), label


class Own:
    """A user's dataset that derives from nothing: colour arrays, and `build` makes the item."""

    def __init__(self, transform, build=lambda image, label: (image, label), target_transform=None):
        self.images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
        self.transform, self.target_transform, self.build = transform, target_transform, build

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        label = LABELS[index] if self.target_transform is None else self.target_transform(LABELS[index])
        return self.build(self.transform(self.images[index]), label)


class Keyword(Own):
    """Calls an A.Compose as albumentations has it called."""

    def __getitem__(self, index):
        return self.transform(image=self.images[index])["image"], LABELS[index]


class WholeItem(Own):
    """Hands its transform the whole item."""

    def __getitem__(self, index):
        return self.transform({"image": self.images[index], "label": LABELS[index]})


def numpy_noise(image):
    """Random in numpy's and Python's global states."""
    return image[:: random.choice([1, -1])] + np.random.normal(size=image.shape)


def brighten_item(item):
    return {"image": item["image"] // 2 + np.uint8(torch.randint(9, ()).item()), "label": item["label"]}


def flip_pair(image, label):
    return (image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if torch.rand(()) < 0.5 else image), label + 10


def folder(root):
    for name, count in (("boot", 3), ("shirt", 2)):
        (root / name).mkdir()
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (12, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


BASES = {
    "FakeData": lambda: FakeData(5, (3, 12, 12), 3, transform=random_transform()),
    "FashionMNIST-like": lambda: GrayImages(LABELS, random_transform()),
    "target_transform": lambda: GrayImages(LABELS, random_transform(), lambda label: torch.tensor(label + 1)),
    "target_transform alone": lambda: GrayImages(LABELS, None, str),
    "joint transforms": lambda: GrayImages(LABELS, transforms=flip_pair),
    "no transform": lambda: GrayImages(LABELS),
    "Subset": lambda: Subset(GrayImages(LABELS, random_transform()), [6, 0, 1]),
    "nested": lambda: ConcatDataset(
        [
            Subset(
                ConcatDataset([GrayImages(LABELS, random_transform()), GrayImages(LABELS, random_transform())]), [9, 1]
            ),
            GrayImages(LABELS, random_transform()),
        ]
    ),
    "random_split": lambda: random_split(GrayImages(LABELS, random_transform()), [5, 3])[0],
    "TensorDataset": lambda: TensorDataset(torch.rand(8, 1, 12, 12), torch.tensor(LABELS)),
    "Subset of TensorDataset": lambda: Subset(TensorDataset(torch.rand(8, 1, 12, 12), torch.tensor(LABELS)), [6, 0]),
    "wrapper": lambda: Transformed(random_split(GrayImages(LABELS), [5, 3])[0], random_transform()),
    "wrapper over a transform": lambda: Transformed(GrayImages(LABELS, v2.RandomInvert()), random_transform()),
    "wrapper over nothing's child": lambda: Transformed(Own(v2.ToImage()), v2.RandomHorizontalFlip()),
    "own": lambda: Own(v2.Compose([v2.ToImage(), v2.RandomRotation(20)])),
    "own, numpy's state": lambda: Own(numpy_noise),
    "own, dict": lambda: Own(v2.ToImage(), lambda image, label: {"image": image, "label": label}),
    "own, named tuple": lambda: Own(v2.ToImage(), Pair),
    "own, list": lambda: Own(v2.ToImage(), lambda image, label: [image, label]),
    "own, labels (1,)": lambda: Own(v2.ToImage(), target_transform=lambda label: np.array([label])),
    "albumentations": lambda: Keyword(A.Compose([A.HorizontalFlip(p=0.5), A.GaussNoise(p=1)], seed=3)),
    "whole item": lambda: WholeItem(brighten_item),
}


@pytest.mark.parametrize("name", BASES)
def test_finishing_the_raw_image_gives_the_base_item(name):
    base = BASES[name]()
    untouched = copy.deepcopy(base)
    with untouched_rng():
        view = RawView(base, progress=False)
        hashes = view.hashes
    assert view.mode == "raw"
    assert len(hashes) == len(base)
    if name == "albumentations":  # its random state is its own, and is where it was
        assert same(untouched[1], view.finish(view.raw(1), 1))
    else:
        assert_finishes(view, base, range(len(base)))


def test_an_image_folder(tmp_path):
    base = ImageFolder(str(folder(tmp_path)), random_transform())
    with untouched_rng():
        view = RawView(base, progress=False)
    assert view.mode == "raw"
    assert (view.classes, view.values) == (["boot", "shirt"], [0, 1])
    assert isinstance(view.raw(0), Image.Image)
    assert_finishes(view, base, range(5))


def test_raw_images_are_those_before_the_transform():
    base = GrayImages(LABELS, random_transform())
    view = RawView(base, progress=False)
    for i in range(len(base)):
        assert np.array_equal(np.asarray(view.raw(i)), base.data[i])


def test_finish_augments_anew_each_time():
    view = RawView(GrayImages(LABELS, random_transform()), progress=False)
    image = view.raw(0)
    assert not same(view.finish(image, 0), view.finish(image, 0))


def test_a_synthetic_image_gets_the_label_object_of_its_class():
    view = RawView(Own(v2.ToImage(), target_transform=lambda label: np.array([label], np.uint8)), progress=False)
    image, label = view.finish(np.zeros((12, 12, 3), np.uint8), 2)
    assert torch.equal(image, torch.zeros(3, 12, 12, dtype=torch.uint8))
    assert same(label, np.array([2], np.uint8))
    labels = TensorDataset(torch.rand(4, 1, 8, 8), torch.tensor([[4], [4], [9], [9]]))
    view = RawView(labels, progress=False)
    first = view.finish(torch.zeros(1, 8, 8), 1)[1]
    assert same(first, torch.tensor([9]))
    first += 1
    assert same(view.finish(torch.zeros(1, 8, 8), 1)[1], torch.tensor([9])), (
        "a label that the user changes in place is his own copy"
    )


def test_parts_with_different_transforms_are_finished_by_the_part_that_holds_the_class():
    dark = GrayImages([0, 0], v2.Lambda(lambda image: np.asarray(image) // 2))
    bright = GrayImages([1, 1], v2.Lambda(lambda image: np.asarray(image) + 0))
    view = RawView(ConcatDataset([dark, bright]), progress=False)
    white = Image.new("L", (12, 12), 200)
    assert view.finish(white, 0)[0].max() == 100
    assert view.finish(white, 1)[0].max() == 200


def test_a_part_that_cannot_be_taken_apart_is_told():
    parts = [GrayImages([0, 0], v2.PILToTensor()), Tail([1, 1], v2.PILToTensor())]
    view = RawView(ConcatDataset(parts), progress=False)
    for read in (lambda: view.hashes, lambda: view.finish(Image.new("L", (12, 12)), 1)):
        with pytest.raises(DataError, match=r"transforms of item 2 .* could not be taken apart"):
            read()


class Tail(GrayImages):
    """Goes on with what its transform gives, as a raw image could not."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image.float() / 255, label


class Hidden(GrayImages):
    """Flips inside __getitem__, where no one can see it."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.1 else image), label


class HiddenInTensor(GrayImages):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return v2.functional.to_image(image) + torch.randint(3, (1, 12, 12), dtype=torch.uint8), label


def test_where_transforms_cannot_be_taken_apart_items_are_read_as_they_are():
    base = Tail(LABELS, v2.PILToTensor())
    view = RawView(base, progress=False)
    assert view.mode == "as-is"
    assert same(view.raw(1), base[1][0])
    assert same(view.finish(view.raw(1), 1), base[1])
    assert view.spec().form.dtype == "float32"


def test_a_list_is_read_as_it_is():
    base = [(np.full((8, 8), i, np.uint8), i % 2) for i in range(6)]
    view = RawView(base, progress=False)
    assert view.mode == "as-is"
    assert view.counts.tolist() == [3, 3]
    assert same(view.finish(view.raw(3), 1), base[3])


@pytest.mark.parametrize(
    "base",
    [
        Hidden(LABELS * 40),
        Hidden(LABELS * 40, v2.PILToTensor()),
        HiddenInTensor(LABELS),
        Tail(LABELS, v2.Compose([v2.PILToTensor(), v2.RandomErasing(p=1)])),
        Subset(Hidden(LABELS * 40), range(300)),
    ],
    ids=["rare flip", "rare flip beside a transform", "noise", "random transform as it is", "in a Subset"],
)
def test_randomness_that_cannot_be_taken_apart_is_refused(base):
    with untouched_rng():
        view = RawView(base, progress=False)
        for read in (lambda: view.hashes, view.spec, lambda: view.value_range):
            with pytest.raises(DataError, match=r"two different ones of item .* augments inside __getitem__"):
                read()


class Caching(GrayImages):
    """Keeps what it has transformed."""

    def __init__(self, *args):
        super().__init__(*args)
        self.cache = {}
        self.slots = [None] * len(self)

    def __getitem__(self, index):
        if index not in self.cache:
            self.cache[index] = self.slots[index] = super().__getitem__(index)
        return self.cache[index]


@pytest.mark.parametrize("make", [*BASES.values(), lambda: Caching(LABELS, v2.Resize(6))])
def test_the_base_is_never_changed(make):
    base = make()
    through = layers(base, 0)
    before = [dict(vars(layer)) for layer in through]
    contents = [copy.deepcopy({name: value for name, value in own.items() if name == "data"}) for own in before]
    view = RawView(base, progress=False)
    _ = view.hashes
    view.finish(view.raw(0), int(view.targets[0]))
    for layer, own, content in zip(through, before, contents, strict=True):
        assert vars(layer).keys() == own.keys()
        assert all(vars(layer)[name] is value for name, value in own.items())
        assert all(np.array_equal(own[name], value) for name, value in content.items())
    if isinstance(base, Caching):
        assert base.cache == {}, "what was read without the transform is not in the user's cache"
        assert base.slots == [None] * len(base)


def test_stripped_gives_raw_items_and_leaves_the_transforms():
    base = Transformed(Subset(GrayImages(LABELS, v2.PILToTensor(), str), [3, 1]), v2.ToDtype(torch.float32))
    image, label = stripped(base)[1]
    assert np.array_equal(np.asarray(image), base.subset.dataset.data[1])
    assert label == 1
    assert base[1][0].dtype == torch.float32
    assert base[1][1] == "1"


def test_layers_and_the_item_index_within():
    first, second = GrayImages([0, 1]), GrayImages([0, 1, 0])
    both = ConcatDataset([first, second])
    subset = Subset(both, [4, 0])
    wrapper = Transformed(subset)
    assert list(map(id, layers(wrapper, 0))) == list(map(id, [wrapper, subset, both, second]))
    assert layers(wrapper, 1)[-1] is first
    assert innermost(wrapper, 0) == (second, 2)
    assert innermost(wrapper, 1) == (first, 0)


def test_prove_refuses_what_does_not_give_the_item():
    assert prove(Tail(LABELS, v2.PILToTensor()), 0) is None
    assert prove(GrayImages(LABELS, v2.PILToTensor()), 0) is not None


def test_preserved_rng_seeds_inside_and_restores_also_after_an_error():
    with untouched_rng():
        draws = []
        for outer in (1, 2):
            with preserved_rng():
                random.seed(outer)
                np.random.seed(outer)
                torch.manual_seed(outer)
                with preserved_rng(seed=4):
                    draws.append((random.random(), np.random.rand(), torch.rand(()).item()))
        assert draws[0] == draws[1]
        with contextlib.suppress(KeyError), preserved_rng():
            torch.rand(3)
            raise KeyError
