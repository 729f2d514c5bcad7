"""RawView: forms, ranges, hashes and images of a whole set, and what it says of sets that cannot be used."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from gan_augment import RawView
from gan_augment.errors import DataError
from gan_augment.fingerprint import hash_array
from tests.conftest import GrayImages, assert_finishes, untouched_rng

LABELS = [0, 1, 0, 1, 0, 0]


def pairs(images):
    return [(image, i % 2) for i, image in enumerate(images)]


def random_images(count=6, shape=(12, 12), dtype=np.uint8):
    rng = np.random.default_rng(3)
    if np.dtype(dtype).kind == "f":
        return [rng.normal(100, 50, shape).astype(dtype) for _ in range(count)]
    limits = np.iinfo(dtype)
    return [rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True) for _ in range(count)]


@pytest.mark.parametrize(
    ("make", "channels", "spatial"),
    [
        (lambda: [Image.fromarray(a) for a in random_images()], 1, (12, 12)),
        (lambda: [Image.fromarray(a) for a in random_images(shape=(12, 14, 3))], 3, (12, 14)),
        (lambda: [Image.fromarray(a) for a in random_images(shape=(12, 12, 4))], 4, (12, 12)),
        (lambda: [Image.fromarray(a) for a in random_images(dtype=np.uint16)], 1, (12, 12)),
        (lambda: random_images(shape=(12, 14, 3)), 3, (12, 14)),
        (lambda: random_images(dtype=np.int16), 1, (12, 12)),
        (lambda: random_images(shape=(1, 9, 10, 12), dtype=np.float32), 1, (9, 10, 12)),
        (lambda: random_images(shape=(9, 10, 12), dtype=np.uint16), 1, (9, 10, 12)),
        (lambda: [torch.from_numpy(a) for a in random_images(shape=(2, 12, 12), dtype=np.float32)], 2, (12, 12)),
        (lambda: [tv_tensors.Image(torch.from_numpy(a)) for a in random_images(shape=(3, 12, 12))], 3, (12, 12)),
    ],
    ids=["L", "RGB", "RGBA", "I;16", "array", "int16", "volume", "volume without channel", "tensor", "tv_image"],
)
def test_images_come_out_in_the_network_range_and_go_back(make, channels, spatial):
    images = make()
    view = RawView(pairs(images), progress=False)
    spec = view.spec()
    seen = view.images(spec=spec)
    assert tuple(seen.shape) == (6, channels, *spec.grid)
    assert seen.dtype == torch.float32
    for channel in range(channels):
        assert seen[:, channel].min() == -1
        assert seen[:, channel].max() == 1
    back = spec.encode(seen)
    arrays = [view.form.array(image) for image in images]
    for i, array in enumerate(arrays):
        if array.dtype.kind == "f":
            assert np.allclose(back[i], array, atol=1e-3)
        else:
            assert np.array_equal(back[i], array)
    stacked = np.stack(arrays)
    axes = (0, *range(2, stacked.ndim))
    assert np.array_equal(view.value_range[0], stacked.min(axis=axes))
    assert np.array_equal(view.value_range[1], stacked.max(axis=axes))
    assert view.full_form.shape == spatial


def test_images_in_the_order_asked_for():
    view = RawView(pairs(random_images()), progress=False)
    spec = view.spec()
    everything = view.images(spec=spec)
    assert torch.equal(view.images([4, 0, 4], spec=spec), everything[[4, 0, 4]])
    assert tuple(view.images([], spec=spec).shape) == (0, 1, *spec.grid)


def test_a_constant_channel_has_a_range():
    view = RawView(pairs([np.full((8, 8), 255, np.uint8)] * 3), progress=False)
    spec = view.spec()
    assert spec.low < spec.high
    assert np.array_equal(spec.encode(view.images(spec=spec)), np.full((3, 1, 8, 8), 255))


def test_hashes_are_of_raw_content():
    images = random_images(4)
    images[3] = images[0].copy()
    base = pairs(images)
    view = RawView(base, progress=False)
    assert view.hashes.dtype == np.int64
    assert view.hashes[0] == view.hashes[3]
    assert len(set(view.hashes.tolist())) == 3
    assert view.hashes[1] == hash_array(images[1][None])
    as_pil = RawView(pairs([Image.fromarray(image) for image in images]), progress=False)
    assert np.array_equal(as_pil.hashes, view.hashes), "an image is the same one in another container"
    fashion, plain = GrayImages(LABELS, v2.Compose([v2.PILToTensor(), v2.RandomErasing(p=1)])), GrayImages(LABELS)
    assert np.array_equal(RawView(fashion, progress=False).hashes, RawView(plain, progress=False).hashes)


def test_each_image_is_read_a_bounded_number_of_times():
    base = GrayImages([0, 1] * 100, v2.PILToTensor())
    view = RawView(base, progress=False)
    spec = view.spec()
    _ = view.hashes, view.value_range, view.images(spec=spec), view.images([3], spec=spec)
    assert len(base.reads) <= 200 + 2 * 32 + 10
    assert set(base.reads) == set(range(200))


def test_mixed_sizes_need_image_size():
    images = [Image.new("L", (10 + i, 20), 40 * i) for i in range(4)]
    view = RawView(pairs(images), progress=False)
    with pytest.raises(DataError, match=r"found mixed sizes such as \(20, 10\), \(20, 11\).*image_size="):
        view.spec()
    assert view.full_form.shape is None
    spec = view.spec(image_size=16)
    assert spec.fit == "resize"
    assert tuple(view.images(spec=spec).shape) == (4, 1, 16, 16)
    assert view.images(spec=spec)[3].min() > 0.999


@pytest.mark.parametrize("size", [16, np.int64(16), (16, 16), [16, 16], np.array([16, 16])])
def test_image_size_in_all_its_forms(size):
    spec = RawView(pairs(random_images()), progress=False).spec(image_size=size)
    assert spec.grid == (16, 16)
    assert spec.raw_shape == (12, 12)


@pytest.mark.parametrize(
    ("size", "told"), [((16, 16, 16), "of 2 numbers"), (4, "at least 8 pixels"), (0, "at least 8")]
)
def test_an_image_size_that_cannot_be_is_refused(size, told):
    with pytest.raises(DataError, match=told):
        RawView(pairs(random_images()), progress=False).spec(image_size=size)


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (Image.new("RGB", (12, 12)), "channels 1 against 3"),
        (Image.new("I;16", (12, 12)), "dtype uint8 against uint16"),
        (np.zeros((12, 12), np.uint8), "kind pil against array"),
        (np.zeros((9, 12, 12), np.uint8), "differs"),
    ],
)
def test_images_of_several_forms_are_refused(odd, told):
    images = [Image.fromarray(image) for image in random_images()]
    view = RawView(pairs([*images, odd]), progress=False)
    with pytest.raises(DataError, match=f"item 6 differs from item 0 .*{told}" if told != "differs" else "item 6"):
        view.spec()


def test_a_picture_beside_a_volume_is_refused():
    view = RawView(pairs([torch.rand(1, 8, 8), torch.rand(1, 8, 8, 8)]), progress=False)
    with pytest.raises(DataError, match=r"item 1 differs from item 0 .*dimensions 2 against 3"):
        view.spec()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_item(value):
    images = random_images(dtype=np.float32)
    images[4][3, 3] = value
    view = RawView(pairs(images), progress=False)
    with pytest.raises(DataError, match="found NaN or infinity in item 4"):
        view.spec()


def folder(root):
    for name in ("a", "b"):
        (root / name).mkdir()
        for i in range(4):
            Image.fromarray(random_images(8)[i]).save(root / name / f"{i}.png")
    return root


WRAPPERS = {
    "itself": lambda base: (base, 6),
    "a split": lambda base: (Subset(base, [0, 7, 6, 1]), 2),
    "a concatenation": lambda base: (ConcatDataset([Subset(base, [0, 5]), base]), 8),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_an_unreadable_or_odd_file_is_named(tmp_path, wrap):
    base, item = wrap(ImageFolder(str(folder(tmp_path)), loader=lambda path: Image.open(path).copy()))
    odd = tmp_path / "b" / "2.png"
    Image.new("RGB", (12, 12)).save(odd)
    with pytest.raises(DataError, match=rf"item {item} \({odd}\) differs from item 0"):
        RawView(base, progress=False).spec()
    odd.write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"item {item} \({odd}\) to be readable, found UnidentifiedImageError"):
        RawView(base, progress=False).spec()


def test_an_unreadable_first_item_is_named():
    class Broken(GrayImages):
        def __getitem__(self, index):
            raise OSError("disk is gone")

    with pytest.raises(DataError, match="item 0 to be readable, found OSError: disk is gone") as caught:
        RawView(Broken(LABELS), progress=False)
    assert isinstance(caught.value.__cause__, OSError)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs(random_images()))


@pytest.mark.parametrize(
    ("base", "told"),
    [
        (Stream(), "found Stream; collect its items into a list"),
        (DataLoader(pairs(random_images())), "found DataLoader"),
        (iter([]), "found list_iterator"),
        ([], "found an empty list"),
        ([("a.png", 0)], r"found \(str, int\)"),
        ([7, 8], "found int"),
        (pairs([Image.new("P", (8, 8))]), "found 'P'"),
        (TensorDataset(torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)), r"found \(Tensor, Tensor\)"),
    ],
)
def test_what_is_no_usable_dataset_is_refused(base, told):
    with pytest.raises(DataError, match=told):
        RawView(base, progress=False)


def test_groups():
    base = pairs(random_images())
    patients = ["anna", "anna", "ben", "ben", "carl", "carl"]
    view = RawView(base, groups=patients, progress=False)
    assert view.groups.tolist() == patients
    assert len(view.group_hashes) == 3
    assert len(RawView(base, progress=False).group_hashes) == 0
    with pytest.raises(DataError, match="groups= with one value for each of 6 items, found 2"):
        RawView(base, groups=["anna", "ben"], progress=False)


class FinishedInWorkers(Dataset):
    """Reads a view inside a worker."""

    def __init__(self, view):
        self.view = view

    def __len__(self):
        return len(self.view)

    def __getitem__(self, index):
        return self.view.finish(self.view.raw(index), int(self.view.targets[index]))


def test_a_view_is_pickled_without_images_and_works_on():
    base = random_split(GrayImages([0, 1] * 50, v2.Compose([v2.RandomCrop(10), v2.PILToTensor()]), size=64), [60, 40])[
        0
    ]
    view = RawView(base, progress=False)
    bare = len(pickle.dumps(view))
    spec, hashes = view.spec(), view.hashes
    view.finish(view.raw(0), 0)
    content = pickle.dumps(view)
    assert len(content) < bare + 10_000, "60 images of 4 kB are not in it a second time"
    with untouched_rng():
        again = pickle.loads(content)
        assert again.spec() == spec
        assert np.array_equal(again.hashes, hashes)
    assert torch.equal(again.images([5], spec=spec), view.images([5], spec=spec))
    assert_finishes(again, base, range(5))


def test_a_view_in_workers():
    base = GrayImages(LABELS, v2.PILToTensor())
    view = RawView(base, progress=False)
    _ = view.hashes
    loaded = list(DataLoader(FinishedInWorkers(view), batch_size=3, num_workers=1))
    assert torch.equal(torch.cat([images for images, _ in loaded])[:, 0], torch.from_numpy(base.data))
    assert torch.cat([labels for _, labels in loaded]).tolist() == LABELS


def test_large_sets_are_not_kept_in_memory(monkeypatch):
    kept = RawView(pairs(random_images()), progress=False)
    monkeypatch.setattr("gan_augment.scan._KEEP_BYTES", 300)
    read = RawView(pairs(random_images()), progress=False)
    spec = read.spec()
    assert read._scanned().arrays is None
    assert spec == kept.spec()
    assert torch.equal(read.images([2, 0], spec=spec), kept.images([2, 0], spec=spec))
