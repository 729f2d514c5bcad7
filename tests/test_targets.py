"""Labels found without loading images where that is possible, and never silently wrong."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from torchvision.datasets import ImageFolder

from gan_augment import RawView
from gan_augment.errors import DataError
from tests.conftest import GrayImages

CLASSES = ["boot", "shirt", "coat"]
LABELS = np.random.default_rng(0).integers(0, 3, 400).tolist()
FEW_READS = 3 + 3 + 4  # an item of each class, the proof of the transforms, the first item


class MedMNIST(Dataset):
    """Built as MedMNIST's classes: `labels` of shape (N, 1), items with labels of shape (1,)."""

    def __init__(self, labels, transform=None, target_transform=None):
        self.labels = np.asarray(labels, np.uint8)
        self.imgs = np.random.default_rng(0).integers(0, 256, (len(self.labels), 12, 12, 3), dtype=np.uint8)
        self.transform, self.target_transform = transform, target_transform

    def __len__(self):
        return len(self.imgs)

    def __getitem__(self, index):
        image, label = Image.fromarray(self.imgs[index]), self.labels[index].astype(int)
        image = image if self.transform is None else self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)


class Renamed(GrayImages):
    """Keeps its labels under an attribute of the test's choice."""

    def __init__(self, name, values, labels):
        super().__init__(labels)
        self.numbers = self.targets
        del self.targets
        setattr(self, name, values)

    def __getitem__(self, index):
        self.reads.append(index)
        return Image.fromarray(self.data[index]), int(self.numbers[index])


class Remapped(Dataset):
    """A wrapper that gives other labels than what it holds keeps."""

    def __init__(self, base, mapping, classes=None):
        self.base, self.mapping = base, mapping
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.base)

    def __getitem__(self, index):
        image, label = self.base[index]
        return image, self.mapping[label]


def found(view):
    return [view.values[target] for target in view.targets]


@pytest.mark.parametrize("name", ["targets", "labels", "_labels", "samples"])
@pytest.mark.parametrize("keep", [list, np.array, torch.tensor], ids=["list", "array", "tensor"])
def test_attributes_are_found_without_loading(name, keep):
    values = [("file.png", label) for label in LABELS] if name == "samples" else keep(LABELS)
    base = Renamed(name, values, LABELS)
    view = RawView(base, progress=False)
    assert found(view) == LABELS
    assert len(base.reads) <= FEW_READS


def test_through_subsets_concatenations_splits_and_wrappers():
    base = GrayImages(LABELS, classes=CLASSES)
    order = list(range(399, -1, -2))
    nested = ConcatDataset([Subset(Subset(base, order), range(50)), base])
    wanted = [LABELS[i] for i in order[:50]] + LABELS
    view = RawView(nested, progress=False)
    assert found(view) == wanted
    assert view.classes == CLASSES
    split = random_split(base, [300, 100])[1]
    assert found(RawView(split, progress=False)) == [LABELS[i] for i in split.indices]
    assert len(base.reads) <= 4 * FEW_READS
    tensors = TensorDataset(torch.rand(400, 1, 8, 8), torch.tensor(LABELS)[:, None])
    assert found(RawView(Subset(tensors, order), progress=False)) == [LABELS[i] for i in order]


def test_explicit_targets_win():
    base = GrayImages(LABELS)
    given = [2 - label for label in LABELS]
    for targets in (given, np.array(given), torch.tensor(given)[:, None], [float(label) for label in given]):
        view = RawView(base, targets=targets, progress=False)
        assert found(view) == given
    names = [CLASSES[label] for label in given]
    view = RawView(base, targets=names, progress=False)
    assert view.classes == ["boot", "coat", "shirt"]
    assert found(view) == names


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ([0, 1], "each of 400 items, found 2"),
        (7, "each of 400 items"),
        ([[0, 1]] * 400, "multi-label"),
        ([-1] * 400, "found .*-1"),
        ([0.5] * 400, "found .*0.5"),
        ([float("nan")] * 400, "found .*nan"),
    ],
)
def test_explicit_targets_that_cannot_be_are_refused(targets, told):
    with pytest.raises(DataError, match=told):
        RawView(GrayImages(LABELS), targets=targets, progress=False)


def test_labels_need_not_start_at_0():
    view = RawView(GrayImages([7, 3, 3, 7, 3]), progress=False)
    assert view.values == [3, 7]
    assert view.classes == ["3", "7"]
    assert view.targets.tolist() == [1, 0, 0, 1, 0]
    assert view.targets.dtype == np.int64
    assert view.counts.tolist() == [3, 2]
    assert view.of_class(1).tolist() == [0, 3]
    assert view.finish(view.raw(1), 1)[1] == 7


def test_string_labels():
    base = [(np.zeros((8, 8), np.uint8), name) for name in ("pneumonia", "normal", "normal")]
    view = RawView(base, progress=False)
    assert view.classes == view.values == ["normal", "pneumonia"]
    assert view.targets.tolist() == [1, 0, 0]
    assert view.finish(view.raw(0), 0)[1] == "normal"


def test_classes_without_images_count():
    view = RawView(Subset(GrayImages([0, 1, 2, 2], classes=CLASSES), [0, 2, 3]), progress=False)
    assert view.classes == CLASSES
    assert view.counts.tolist() == [1, 0, 2]
    with pytest.raises(DataError, match="none of class 'shirt'"):
        view.finish(view.raw(0), 1)


def test_labels_beyond_the_class_names_are_refused():
    with pytest.raises(DataError, match=r"labels from 0 to 2 .*found label 3"):
        RawView(GrayImages([0, 1, 3], classes=CLASSES), progress=False)


@pytest.mark.parametrize(
    ("target_transform", "values"),
    [
        (None, [0, 1]),
        (lambda label: int(label[0]) + 4, [4, 5]),
        (lambda label: label.astype(np.float32), [0, 1]),
        (lambda label: ("benign", "malignant")[label.item()], ["benign", "malignant"]),
    ],
)
def test_medmnist_labels(target_transform, values):
    labels = np.array([[0], [1], [1], [0], [0]])
    view = RawView(MedMNIST(labels, target_transform=target_transform), progress=False)
    assert view.values == values
    assert view.targets.tolist() == labels[:, 0].tolist()
    if target_transform is None:
        label = view.finish(view.raw(0), 1)[1]
        assert label.shape == (1,)
        assert label.dtype == np.int64


def test_target_transforms_of_two_layers_apply_innermost_first():
    class Wrapper(Subset):
        target_transform = None

        def __init__(self, dataset, indices, target_transform):
            super().__init__(dataset, indices)
            self.target_transform = target_transform

        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image, self.target_transform(label)

        def __getitems__(self, indices):
            return [self[i] for i in indices]

    base = GrayImages(LABELS, target_transform=lambda label: label + 10)
    view = RawView(Wrapper(base, range(400), str), progress=False)
    assert found(view) == [str(label + 10) for label in LABELS]
    assert len(base.reads) <= FEW_READS


def test_class_names_stay_only_where_labels_mean_the_same():
    kept = RawView(GrayImages(LABELS, target_transform=torch.tensor, classes=CLASSES), progress=False)
    assert kept.classes == CLASSES
    merged = GrayImages(LABELS, target_transform=lambda label: int(label == 2), classes=CLASSES)
    for base in (merged, Subset(merged, range(100))):
        view = RawView(base, progress=False)
        assert view.classes == ["0", "1"], "not boot and shirt"
        assert found(view) == [int(label == 2) for label in LABELS[: len(base)]]


def test_labels_changed_in_getitem_are_read_item_by_item():
    base = GrayImages(LABELS, classes=CLASSES)
    view = RawView(Remapped(base, {0: 0, 1: 0, 2: 1}), progress=False)
    assert found(view) == [int(label == 2) for label in LABELS]
    assert view.classes == ["0", "1"]
    for mapping in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        swapped = RawView(Remapped(base, mapping), progress=False)
        assert found(swapped) == [mapping[label] for label in LABELS], "whichever class is right"
    named = RawView(Remapped(base, {0: 0, 1: 0, 2: 1}, classes=["benign", "malignant"]), progress=False)
    assert named.classes == ["benign", "malignant"]
    assert named.targets.tolist() == [int(label == 2) for label in LABELS]


def test_targets_that_are_paths_are_no_classes():
    paths = [[f"gtFine/{i}.png"] for i in range(400)]
    assert found(RawView(Renamed("targets", paths, LABELS), progress=False)) == LABELS
    flat = [path for (path,) in paths]
    assert found(RawView(Renamed("labels", flat, LABELS), progress=False)) == LABELS


def test_a_segmentation_set_needs_classes():
    base = [(Image.new("L", (8, 8)), Image.new("L", (8, 8)))] * 3
    with pytest.raises(DataError, match="give targets= with one"):
        RawView(base, progress=False)
    view = RawView(base, targets=[0, 1, 1], progress=False)
    assert (view.mask_form.mode, found(view)) == ("L", [0, 1, 1])


def test_multi_label_sets_are_told_to_give_targets():
    labels = np.random.default_rng(1).integers(0, 2, (6, 14))
    with pytest.raises(DataError, match=r"found 14 values .* give targets="):
        RawView(MedMNIST(labels), progress=False)
    view = RawView(MedMNIST(labels), targets=labels[:, 0], progress=False)
    assert found(view) == labels[:, 0].tolist()
    one_hot = GrayImages(LABELS, target_transform=lambda label: torch.nn.functional.one_hot(torch.tensor(label), 3))
    with pytest.raises(DataError, match=r"found 3 values .* give targets="):
        RawView(one_hot, progress=False)
    assert found(RawView(one_hot, targets=LABELS, progress=False)) == LABELS


def test_items_without_labels():
    base = [np.zeros((8, 8), np.uint8)] * 3
    with pytest.raises(DataError, match="found none in the items of list; put a class into each"):
        RawView(base, progress=False)
    view = RawView(base, targets=[0, 1, 1], progress=False)
    assert isinstance(view.finish(view.raw(0), 1), np.ndarray)


def test_an_item_that_cannot_be_read_is_named_while_labels_are_read():
    class Broken:
        def __len__(self):
            return 30

        def __getitem__(self, index):
            if index == 17:
                raise OSError("truncated")
            return np.zeros((8, 8), np.uint8), index % 2

    base = Broken()
    with pytest.raises(DataError, match="item 17 to be readable, found OSError: truncated"):
        RawView(base, progress=False)


def test_image_folder_labels_load_nothing_but_a_few(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for i in range(30):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i:02}.png")
    opened = []

    def loader(path):
        opened.append(path)
        return Image.open(path).convert("L")

    view = RawView(ImageFolder(str(tmp_path), loader=loader), progress=False)
    assert view.classes == ["a", "b"]
    assert view.counts.tolist() == [30, 30]
    assert len(opened) <= FEW_READS
