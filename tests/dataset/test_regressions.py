"""What went wrong once: each was found by somebody who tried to break it."""

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, TensorDataset
from torchvision.transforms import v2

from gan_augment.dataset import GANAugmentedDataset, GANAugmentedIterableDataset
from gan_augment.dataset.seeding import random_transforms
from gan_augment.errors import ConfigError, DataError, DataMismatchWarning
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView
from gan_augment.synthesizers import wrap
from gan_augment.transforms import SynthesizeBatch, SynthesizeSameClass
from tests.conftest import untouched_rng
from tests.dataset import bases
from tests.helpers import Pictures, ToyGenerator, toy_synthesizer

FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
COUNTS = (60, 25, 22)


def pool_of(value: float, labels: Any = (1,), count: int = 25) -> SyntheticPool:
    images = np.full((count * len(labels), 1, 8, 8), value, np.float32)
    return SyntheticPool.from_arrays(images, np.repeat(labels, count))


# -- a pool that is found again is the one that would be drawn --------------------------------------------------------


def test_other_settings_of_a_synthesizer_are_another_pool(tmp_path: Any) -> None:
    base = Pictures((60, 40), labels=[0, 1], classes=["a", "b"])

    def mean(names: list[str]) -> float:
        gan = wrap(ToyGenerator(num_classes=2), num_classes=2, image_shape=(1, 8, 8), latent_dim=6, class_names=names)
        train = GANAugmentedDataset(base, gan, synthetic_share=1, cache=tmp_path, progress=False)
        return float(np.mean([train[i][0].mean() for i in range(100, 120)]))

    right, turned = mean(["a", "b"]), mean(["b", "a"])
    assert right > turned + 0.3


def test_classes_of_other_names_are_another_pool(tmp_path: Any) -> None:
    for names in (["a", "b"], ["x", "y"]):
        base = Pictures((30, 22), classes=names)
        train = GANAugmentedDataset(base, toy_synthesizer(2), cache=tmp_path, progress=False)
        assert train.pool is not None
        assert train.pool.classes == names


# -- transforms are the user's, as they are now -----------------------------------------------------------------------


def test_a_transform_that_is_put_in_place_later_is_inherited() -> None:
    base = Pictures(COUNTS, transform=v2.Resize(8))
    train = GANAugmentedDataset(base, pool_of(0.5, (1, 2)), synthetic_share=1, progress=False)
    assert train[110][0].shape == (1, 8, 8)
    base.transform = v2.Resize(16)
    assert train[0][0].shape == train[110][0].shape == (1, 16, 16)
    base.transform = None
    assert train[110][0].shape == (1, 8, 8)


def test_a_format_that_hugging_face_changes_later_is_inherited() -> None:
    base = bases.hugging_face("set_transform")
    pool = SyntheticPool.from_arrays(np.full((48, 12, 12), 200, np.uint8), ["b"] * 24 + ["c"] * 24)
    train = GANAugmentedDataset(base, pool, synthetic_share=1, min_images=0, progress=False)
    assert set(train[50]) == {"pixel_values", "label"}
    base.set_transform(lambda batch: {"mean": [np.asarray(i).mean() for i in batch["image"]], "label": batch["label"]})
    assert train[50] == {"mean": 200.0, "label": 1}
    base.reset_format()
    assert isinstance(train[50]["image"], Image.Image)


def test_hugging_faces_transform_with_a_generator_of_its_own() -> None:
    aug = A.Compose([A.RandomBrightnessContrast(p=1.0)])

    def transform(batch: Any) -> Any:
        return {"x": [aug(image=np.asarray(i))["image"] for i in batch["image"]], "label": batch["label"]}

    base = bases.hugging_face()
    base.set_transform(transform)
    assert RawView(base, progress=False).mode == "raw"
    assert random_transforms(base) == [aug]


# -- keys, labels, targets --------------------------------------------------------------------------------------------


def test_a_users_key_called_frame_is_a_part_like_any_other() -> None:
    items = [{"image": np.full((8, 8), i, np.uint8), "label": int(i > 40), "frame": i} for i in range(62)]
    pool = SyntheticPool.from_arrays(np.zeros((20, 8, 8), np.uint8), [1] * 20)
    with pytest.raises(ConfigError, match="'frame'"):
        GANAugmentedDataset(items, pool, progress=False)
    train = GANAugmentedDataset(items, pool, synthetic_share=1, fill={"frame": -1}, transform=None, progress=False)
    assert train[70]["frame"] == -1


def test_a_filling_for_parts_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="there are none"):
        GANAugmentedDataset(Pictures(COUNTS), pool_of(0.5, (1, 2)), fill={"typo": -1}, progress=False)


def test_fillings_are_not_shared_between_items() -> None:
    items = [{"image": np.full((8, 8), i, np.uint8), "label": int(i > 40), "box": torch.zeros(4)} for i in range(62)]
    pool = SyntheticPool.from_arrays(np.zeros((20, 8, 8), np.uint8), [1] * 20)
    for fill in ("like", {"box": torch.zeros(4)}):
        for transform in ("inherit", None):
            train = GANAugmentedDataset(
                items, pool, synthetic_share=1, fill=fill, transform=transform, progress=False
            )  # fmt: skip
            train[70]["box"].add_(5)
            assert train[71]["box"].tolist() == [0] * 4


class Numbered(Dataset[Any]):
    """Items (image, index, label)."""

    targets = [0] * 30 + [1] * 10

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return np.full((8, 8), index, np.uint8), index, self.targets[index]


def test_an_index_is_not_taken_for_a_label() -> None:
    assert RawView(Numbered(), progress=False).structure.label == 2

    class Unlabelled(Numbered):
        def __getitem__(self, index: int) -> Any:
            return np.full((8, 8), index, np.uint8), index

    with pytest.raises(DataError, match="put the label second"):
        RawView(Unlabelled(), progress=False)


def test_coarse_targets_do_not_make_wrong_labels() -> None:
    base = [(np.full((8, 8), i, np.uint8), i % 4) for i in range(60)]
    coarse = [int(i % 4 == 3) for i in range(60)]
    pool = SyntheticPool.from_arrays(np.zeros((30, 8, 8), np.uint8), [1] * 30)
    with pytest.raises(ConfigError, match="items of one label in class 0"):
        GANAugmentedDataset(base, pool, targets=coarse, progress=False)


def test_labels_that_do_not_begin_at_0() -> None:
    base = Pictures((40, 25, 22), labels=[1, 2, 3])
    pool = SyntheticPool.build(toy_synthesizer(), base, counts={1: 5, 2: 5, 3: 5}, progress=False)
    assert pool.values == [1, 2, 3]
    same_class = SynthesizeSameClass(pool, p=1.0)
    means = [float(same_class(torch.rand(1, 8, 8), label)[0].mean()) for label in (1, 2, 3)]
    assert means == sorted(means)
    assert means[1] - means[0] > 0.1
    images, _ = SynthesizeBatch(pool, share=1.0)(torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))
    assert images.flatten(1).mean(1).tolist() == sorted(images.flatten(1).mean(1).tolist())
    stream = GANAugmentedIterableDataset([base[i] for i in range(0, 87, 3)], pool)
    assert {label for _, label in stream} == {1, 2, 3}


def test_a_gan_of_labels_that_do_not_begin_at_0() -> None:
    gan = toy_synthesizer(class_names=["1", "2", "3"])
    images, _ = SynthesizeBatch(gan, share=1.0)(torch.rand(3, 1, 8, 8), torch.tensor([1, 2, 3]))
    means = images.flatten(1).mean(1).tolist()
    assert means == sorted(means)
    assert means[1] - means[0] > 0.2
    shares = SynthesizeBatch(gan, mode="rebalance", class_shares={"1": 1, "3": 2, "2": 0}).class_shares
    assert shares == {1: pytest.approx(1 / 3), 3: pytest.approx(2 / 3), 2: 0}


def test_masks_are_given_as_the_images_lie() -> None:
    with pytest.raises(DataError, match="expected masks= of whole numbers and shape"):
        SyntheticPool.from_arrays(np.zeros((5, 8, 12), np.uint8), [1] * 5, masks=np.zeros((5, 12, 8), np.uint8))


# -- streams ----------------------------------------------------------------------------------------------------------


class Dicts(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        for number in range(40):
            yield {"image": torch.full((1, 8, 8), 2.0), "label": int(number % 8 == 7)}


def test_what_a_consumer_does_to_an_item_is_its_own_affair() -> None:
    train = GANAugmentedIterableDataset(Dicts(), pool_of(2.0, (0, 1)), synthetic_share=0.5, counts=(35, 5))
    for item in train:
        assert item["image"].unique().tolist() == [2.0]
        item["image"].mul_(7)
        item.pop("image")


class Contrast:
    """A transform that keeps its own generator."""

    def __init__(self) -> None:
        self.inner = A.Compose([A.RandomBrightnessContrast(p=1.0)])

    def __call__(self, image: Any) -> Any:
        return torch.from_numpy(self.inner(image=image)["image"])


@FORK
def test_a_streams_own_transform_is_seeded_in_workers() -> None:
    base = [(torch.full((8, 8), 0.4), 0)] * 10
    pool = SyntheticPool.from_arrays(np.full((30, 8, 8), 0.4, np.float32), [1] * 30)
    train = GANAugmentedIterableDataset(base, pool, classes=["0", "1"], transform=Contrast(), counts=(10, 0))
    loader = DataLoader(train, batch_size=4, num_workers=2, multiprocessing_context="fork")
    drawn = [image.numpy().tobytes() for _ in range(2) for images, labels in loader for image in images[labels == 1]]
    assert len(set(drawn)) == len(drawn) == 40


# -- processes --------------------------------------------------------------------------------------------------------


@FORK
def test_the_epoch_of_a_copy_reaches_workers_too() -> None:
    train = copy.deepcopy(
        GANAugmentedDataset(Pictures(COUNTS), pool_of(0.5, (1, 2)), synthetic_share=1, progress=False)
    )
    train.pool = None
    loader = DataLoader(
        Epochs(train), batch_size=1, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    seen = []
    for epoch in range(3):
        train.set_epoch(epoch)
        seen.append(int(next(iter(loader))))
    assert seen == [0, 1, 2]


class Epochs(Dataset[Any]):
    def __init__(self, train: GANAugmentedDataset) -> None:
        self.train = train

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return self.train.epoch


class Config(dict[str, Any]):
    __getattr__ = dict.__getitem__


def test_the_search_for_transforms_is_not_led_astray() -> None:
    base = Pictures(COUNTS)
    base.cfg, base.np, base.torch = Config(lr=1), np, torch  # type: ignore[attr-defined]
    assert random_transforms(base) == []
    many = [Pictures((2, 1), "array", transform=Contrast()) for _ in range(70)]
    assert len(random_transforms(ConcatDataset(many))) == 70


def test_reading_moves_no_random_state() -> None:
    class Noisy(Pictures):
        def __getitem__(self, index: int) -> Any:
            torch.rand(1)
            return super().__getitem__(index)

    train = GANAugmentedDataset(Noisy(COUNTS), pool_of(0.5, (1, 2)), synthetic_share=1, progress=False)
    train._view._examples.clear()
    with untouched_rng():
        train[120]


def test_torchs_seed_is_monais_too() -> None:
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        transform = A.Compose([A.RandomBrightnessContrast(p=1.0)])
        train = GANAugmentedDataset(Pictures(COUNTS, "array"), None, synthetic_share=0, progress=False)
        train.transform = transform
        train._seeds = type(train._seeds)(transform, [transform])
        train.set_random_state()
        drawn.append(transform(image=np.full((8, 8), 0.4, np.float32))["image"])
    assert np.array_equal(*drawn)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_live_images_of_a_class_conditional_gan_have_no_parent() -> None:
    train = GANAugmentedDataset(Pictures(COUNTS), toy_synthesizer(), live=True, synthetic_share=1, progress=False)
    assert train.origin(150).parent is None


def test_a_base_that_gives_batches_is_read_one_by_one() -> None:
    class Batched(Pictures):
        def __getitems__(self, indices: list[int]) -> Any:
            return {"x": 1, "y": 2}

    train = GANAugmentedDataset(Batched(COUNTS), None, synthetic_share=0, progress=False)
    assert len(train.__getitems__([0, 1])[0]) == 2


def test_a_pool_in_memory_is_handed_to_spawned_workers_not_copied() -> None:
    from multiprocessing.reduction import ForkingPickler

    images = np.random.default_rng(0).random((4000, 1, 28, 28)).astype(np.float32)
    base = Pictures(COUNTS, size=28)
    train = GANAugmentedDataset(base, SyntheticPool.from_arrays(images, [1, 2] * 2000), progress=False)
    content = bytes(ForkingPickler.dumps(train))
    assert len(content) < len(ForkingPickler.dumps(base)) + 600_000  # columns and labels; the images are 12.5 MB
    for other in (pickle.loads(pickle.dumps(train)), copy.deepcopy(train)):
        assert same([other[i] for i in range(107, 180)], [train[i] for i in range(107, 180)])


def test_a_pool_names_no_device(tmp_path: Any) -> None:
    import json

    SyntheticPool.build(toy_synthesizer(), Pictures(COUNTS), out=tmp_path / "pool", progress=False)
    path = tmp_path / "pool" / "pool.json"
    about = json.loads(path.read_text())
    about["form"]["device"] = "meta"
    path.write_text(json.dumps(about))
    assert SyntheticPool.open(tmp_path / "pool").raw(0).device.type == "cpu"


def test_a_normalised_batch_wants_a_transform() -> None:
    with pytest.raises(DataError, match="expected a float batch from 0 to 1"):
        SynthesizeBatch(toy_synthesizer(), share=1.0)(torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64))
    images, _ = SynthesizeBatch(toy_synthesizer(), share=1.0, transform=torch.neg)(
        torch.randn(8, 1, 8, 8), torch.zeros(8, dtype=torch.int64)
    )
    assert images.min() < 1


def test_a_default_device_does_not_matter() -> None:
    transform = SynthesizeBatch(pool_of(0.5, (0, 1)), mode="rebalance")
    images, labels = torch.rand(8, 1, 8, 8), torch.tensor([0] * 6 + [1] * 2)
    with torch.device("meta"):
        found = transform(images, labels)
    assert found[1].bincount().tolist() == [4, 4]


# -- what users do ----------------------------------------------------------------------------------------------------


class Hidden(Dataset[Any]):
    """A wrapper with its transform in an attribute of another name."""

    def __init__(self, tf: Any) -> None:
        self.tf, self.targets = tf, [0] * 40 + [1] * 20

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        return self.tf(Image.fromarray(np.full((8, 8), index, np.uint8))), self.targets[index]


def test_a_callable_stands_in_for_a_hidden_transform() -> None:
    tf = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    pool = SyntheticPool.from_arrays(torch.full((20, 1, 8, 8), 51, dtype=torch.uint8), [1] * 20)
    with pytest.raises(DataError, match="in an attribute named `transform`, or give it here as transform="):
        GANAugmentedDataset(Hidden(tf), pool, progress=False)
    train = GANAugmentedDataset(Hidden(tf), pool, synthetic_share=1, transform=tf, progress=False)
    with pytest.raises(DataError, match="expected transform= to make images like the dataset's finished ones"):
        GANAugmentedDataset(Hidden(tf), pool, transform=lambda image: image, progress=False)
    assert train[70][0].unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize("p", [0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
def test_rare_flips_that_are_hidden_are_found(p: float) -> None:
    flip, pictures = v2.RandomHorizontalFlip(p), np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)

    class Flipping(Dataset[Any]):
        targets = [0] * 40 + [1] * 20

        def __len__(self) -> int:
            return 60

        def __getitem__(self, index: int) -> Any:
            return flip(torch.from_numpy(pictures[index])), self.targets[index]

    with pytest.raises(ConfigError, match="differs each time it is read"):
        GANAugmentedDataset(Flipping(), pool_of(0.5), progress=False)


class Sites(Dataset[Any]):
    """Items (image, site, label)."""

    targets, classes = [0] * 60 + [1] * 24, ["cat", "dog"]

    def __len__(self) -> int:
        return 84

    def __getitem__(self, index: int) -> Any:
        return np.full((8, 8), index, np.uint8), index % 3, self.targets[index]


def test_the_part_that_agrees_with_the_targets_is_the_label() -> None:
    view = RawView(Sites(), progress=False)
    assert (view.structure.label, view.structure.extras) == (2, (1,))
    assert view.classes == ["cat", "dog"]
    pool = SyntheticPool.from_arrays(np.zeros((30, 8, 8), np.uint8), [1] * 30)
    train = GANAugmentedDataset(Sites(), pool, synthetic_share=1, fill={1: -1}, progress=False)
    assert train[90][1:] == (-1, 1)


def test_columns_of_pandas_are_labels() -> None:
    pandas = pytest.importorskip("pandas")
    base = Pictures(COUNTS)
    base.labels, base.targets = pandas.Series(["a"] * 60 + ["b"] * 25 + ["c"] * 22), None  # type: ignore[attr-defined, assignment]

    class Frame(Dataset[Any]):
        labels = pandas.Series(["a"] * 60 + ["b"] * 25)
        reads = 0

        def __len__(self) -> int:
            return 85

        def __getitem__(self, index: int) -> Any:
            type(self).reads += 1
            return np.full((8, 8), index, np.uint8), self.labels[index]

    view = RawView(Frame(), progress=False)
    assert view.classes == ["a", "b"]
    assert Frame.reads < 10


def test_numbers_of_numpy_are_filled_by_numbers() -> None:
    items = [{"image": np.full((8, 8), i, np.uint8), "label": int(i > 40), "age": np.float64(i)} for i in range(62)]
    pool = SyntheticPool.from_arrays(np.zeros((20, 8, 8), np.uint8), [1] * 20)
    train = GANAugmentedDataset(items, pool, synthetic_share=1, fill={"age": float("nan")}, progress=False)
    assert type(train[70]["age"]) is np.float64
    boxes = [{"image": np.full((8, 8), i, np.uint8), "label": int(i > 40), "box": np.zeros(5)} for i in range(62)]
    with pytest.raises(ConfigError, match="the part 'box'"):
        GANAugmentedDataset(boxes, pool, synthetic_share=1, fill={"box": np.zeros(3)}, progress=False)


def test_a_streams_filling_is_checked_at_the_first_item() -> None:
    stream = [(torch.rand(1, 8, 8), 0, "p1"), (torch.rand(1, 8, 8), 1, "p2")]
    for wrong in (0, lambda origin: "synthetic"):
        with pytest.raises(ConfigError, match="with a str for the part 2"):
            list(GANAugmentedIterableDataset(stream, pool_of(0.5, (0, 1)), fill={2: wrong}))


@pytest.mark.filterwarnings("ignore")
def test_monais_tutorials_of_segmentation() -> None:
    from monai import data as md
    from monai import transforms as mt

    items = [
        {**item, "seg": (item["image"] > 100).astype(np.float32), "class": item["label"]}
        for item in bases.monai_items()
    ]
    for item in items:
        item.pop("label")
    crops = mt.RandCropByPosNegLabeld(["image", "seg"], label_key="seg", spatial_size=(6, 6, 6), num_samples=2)
    masks = np.ones((24, 1, 8, 8, 8), np.uint8)
    pool = SyntheticPool.from_arrays(np.full((24, 1, 8, 8, 8), 7, np.float32), [1] * 12 + [2] * 12, masks=masks)
    train = GANAugmentedDataset(
        md.CacheDataset(items, crops, progress=False), pool, synthetic_share=1, min_images=0, progress=False
    )
    batch = next(iter(md.DataLoader(train, batch_size=len(train))))
    assert batch["image"].shape == batch["seg"].shape == (2 * len(train), 1, 6, 6, 6)
    assert batch["seg"][-1].unique().tolist() == [1]


def test_tensors_of_a_pool_are_tensors_for_transforms() -> None:
    pool = SyntheticPool.from_arrays(torch.full((20, 3, 8, 8), 51, dtype=torch.uint8), [0] * 10 + [1] * 10)
    scale = v2.ToDtype(torch.float32, scale=True)
    images, _ = SynthesizeBatch(pool, share=1.0, transform=scale)(torch.rand(4, 3, 8, 8), torch.tensor([0, 0, 1, 1]))
    assert images.unique().tolist() == [pytest.approx(0.2)]
    with pytest.raises(DataError, match="bfloat16"):
        SyntheticPool.from_arrays(torch.zeros(2, 1, 8, 8, dtype=torch.bfloat16), [0, 1])


def test_epochs_reach_a_set_within_a_set() -> None:
    inner = GANAugmentedDataset(Pictures(COUNTS), pool_of(0.5, (1, 2)), sampling_strategy="sqrt", progress=False)
    GANAugmentedDataset(inner, pool_of(0.5, (1, 2)), transform=None, progress=False).set_epoch(4)
    assert inner.epoch == 4


@pytest.mark.parametrize("mode", ["replace", "rebalance", "append"])
def test_what_belongs_to_a_replaced_image_is_not_kept_in_silence(mode: Any) -> None:
    images, labels = torch.rand(8, 1, 8, 8), torch.tensor([0] * 6 + [1] * 2)
    pool = pool_of(0.5, (0, 1))
    for others in ([f"p{i}" for i in range(8)], torch.arange(8.0)):
        with pytest.raises(ConfigError, match="1 more parts with a value for each image"):
            SynthesizeBatch(pool, mode=mode)((images, labels, others))
        if mode != "append":
            found = SynthesizeBatch(pool, mode=mode, keep_others=True)((images, labels, others))
            assert same(found[2], others)


def test_a_subject_of_another_size_than_the_pool_is_told_so() -> None:
    tio = pytest.importorskip("torchio")
    subjects = [tio.Subject(t1=tio.ScalarImage(tensor=torch.rand(1, 8, 8, 8)), label=i // 5) for i in range(8)]
    pool = SyntheticPool.from_arrays(np.random.default_rng(0).random((6, 1, 10, 10, 10), np.float32), [1] * 6)
    base = tio.SubjectsDataset(subjects)
    with pytest.raises(DataError, match=r"shape \(8, 8, 8\) against \(10, 10, 10\)"):
        GANAugmentedDataset(base, pool, min_images=1)
    even = tio.SubjectsDataset(subjects, transform=tio.CropOrPad(8))
    train = GANAugmentedDataset(even, pool, min_images=1, synthetic_share=1)
    assert train[len(train) - 1]["t1"].shape == (1, 8, 8, 8)


def test_a_source_may_be_a_path(tmp_path: Path) -> None:
    pool = SyntheticPool.from_arrays(torch.rand(30, 1, 8, 8), torch.ones(30, dtype=int))
    pool.save(tmp_path / "pool")
    base = TensorDataset(torch.rand(9, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1]))
    train = GANAugmentedDataset(base, str(tmp_path / "pool"), synthetic_share=1)
    assert train.pool is not None
    assert train.origin(9).kind == "synthetic"


def test_a_pool_in_other_units_is_told_of() -> None:
    base = TensorDataset(torch.rand(9, 1, 8, 8), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1]))
    pool = SyntheticPool.from_arrays(torch.rand(30, 1, 8, 8) * 255, torch.ones(30, dtype=int))
    with pytest.warns(DataMismatchWarning, match=r"in other units .* of class 1 range over 25\d.* real ones over 0\.9"):
        GANAugmentedDataset(base, pool)
