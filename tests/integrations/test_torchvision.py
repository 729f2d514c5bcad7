"""torchvision v2: transforms among the host's own, wrapped datasets, `Collate` in workers, and what stays as it is."""

import copy
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

import gan_augment
from gan_augment.errors import ConfigError, DataError
from gan_augment.integrations.torchvision import (
    BalancedBatchSampler,
    Collate,
    PasteSynthetic,
    SynthesizeBatch,
    SynthesizeSameClass,
)
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from tests.helpers import ROOT, Pictures
from tests.transforms.sources import MARK, live, marked, marked_pool

FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
BYTES, FLOATS = marked_pool(dtype=np.uint8), marked_pool()
WORKERS = ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver"))]


def always(source: Any = BYTES, **settings: Any) -> SynthesizeSameClass:
    return SynthesizeSameClass(source, 1.0, **settings)


def grey(size: int = 8) -> Image.Image:
    return Image.fromarray(np.zeros((size, size), np.uint8))


def mark(image: Any) -> int:
    """The class whose mark an image bears everywhere; -1 for one that is black."""
    array = np.asarray(image)
    assert array.min() == array.max()
    value = round(float(array.max()) * (1 if array.dtype == np.uint8 else 255))
    return value - MARK if value else -1


def test_the_transforms_are_those_of_the_package() -> None:
    assert SynthesizeSameClass is gan_augment.SynthesizeSameClass
    assert SynthesizeBatch is gan_augment.SynthesizeBatch
    assert PasteSynthetic is gan_augment.PasteSynthetic
    assert BalancedBatchSampler is gan_augment.BalancedBatchSampler
    assert all(issubclass(kind, v2.Transform) for kind in (SynthesizeSameClass, SynthesizeBatch, PasteSynthetic))


# -- among torchvision's transforms -----------------------------------------------------------------------------------

FINISH = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "step",
    [
        v2.AutoAugment(),
        v2.RandAugment(),
        v2.TrivialAugmentWide(),
        v2.AugMix(),
        v2.RandomHorizontalFlip(),
        v2.RandomResizedCrop(8, antialias=True),
        v2.RandomErasing(p=0.0),
    ],
    ids=lambda step: type(step).__name__,
)
def test_it_stands_beside_other_transforms(step: Any, place: int) -> None:
    torch.manual_seed(0)
    whole = SyntheticPool.from_arrays(marked(range(3), (8, 8, 3)), [0, 1, 2])
    steps = [step]
    steps.insert(place, always(whole))
    picture = tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8))
    image, label = v2.Compose([*steps, *FINISH])(picture, 2)
    assert (type(image), image.dtype, image.shape, label) == (tv_tensors.Image, torch.float32, (3, 8, 8), 2)
    if place == 1:  # last, so nothing has changed it
        assert mark(image) == 2
    assert not picture.any()


def test_it_stands_before_and_after_pictures_become_tensors() -> None:
    before, _ = v2.Compose([always(), *FINISH])(grey(), 1)
    after, _ = v2.Compose([v2.ToImage(), always(), FINISH[1]])(grey(), 1)
    floats, _ = v2.Compose([*FINISH, always(FLOATS)])(grey(), 1)
    assert type(before) is type(after) is type(floats) is tv_tensors.Image
    assert torch.equal(before, after)
    torch.testing.assert_close(before, floats)
    assert mark(before) == 1


def test_it_is_applied_or_chosen_as_any_transform() -> None:
    torch.manual_seed(0)
    never = always(marked_pool((7,), dtype=np.uint8))
    for host in (
        v2.RandomApply([always()], p=0.5),
        v2.RandomChoice([always(), never]),
        v2.RandomOrder([always(), never]),
    ):
        found = {mark(host(grey(), label)[0]) == label for label in (0, 1, 2) * 10}
        assert found == ({True} if isinstance(host, v2.RandomOrder) else {True, False})
        batches = type(host)([SynthesizeBatch(FLOATS, share=1.0)] + ([v2.Identity()] * (len(host.transforms) - 1)))
        made = [batches(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))[0].any() for _ in range(20)]
        assert any(made)


@pytest.mark.parametrize(
    "structure",
    [
        lambda images, labels: (images, labels),
        lambda images, labels: [images, labels],
        lambda images, labels: {"images": images, "labels": labels},
        lambda images, labels: {"images": images, "class_label": labels, "label_names": labels},
        lambda images, labels: (images, {"labels": labels}),
    ],
)
def test_labels_are_found_where_mixup_finds_them(structure: Any) -> None:
    images, labels = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 1, 2])
    sample = structure(images, labels)
    v2.MixUp(num_classes=3)(sample)  # which raises where it finds none
    made = SynthesizeBatch(FLOATS, share=1.0, keep_others=True)(sample)
    drawn = next(part for part in torch.utils._pytree.tree_flatten(made)[0] if part.ndim > 2)
    assert [mark(image) for image in drawn] == labels.tolist()
    assert type(made) is type(sample)


# -- wrapped datasets -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, count in enumerate((6, 3, 3)):
        (tmp_path / "images" / "abc"[label]).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / "images" / "abc"[label] / f"{number}.png")
    return tmp_path / "images"


@FORK
@pytest.mark.parametrize("method", WORKERS)
def test_a_wrapped_dataset_takes_it_as_joint_transforms(folder: Path, method: str) -> None:
    base = ImageFolder(str(folder))
    base.transforms = v2.Compose([always(marked_pool(classes=["a", "b", "c"], dtype=np.uint8)), *FINISH])
    loader = DataLoader(
        wrap_dataset_for_transforms_v2(base), batch_size=4, num_workers=1, multiprocessing_context=method
    )
    found = [
        (mark(image), label) for images, labels in loader for image, label in zip(images, labels.tolist(), strict=True)
    ]
    assert [label for _, label in found] == base.targets
    assert all(bears == label for bears, label in found)


def test_items_of_detection_and_segmentation_sets_are_refused() -> None:
    boxes = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=(8, 8))
    mask = tv_tensors.Mask(torch.zeros(8, 8, dtype=torch.uint8))
    for step in (always(), SynthesizeBatch(FLOATS)):
        with pytest.raises(ConfigError, match="found BoundingBoxes: of a synthetic image nothing says where"):
            step(torch.zeros(1, 8, 8), {"boxes": boxes, "labels": torch.tensor([1])})
    with pytest.raises(ConfigError, match="found Mask"):
        always()(grey(), mask)


# -- a collate_fn -----------------------------------------------------------------------------------------------------

MIX = v2.RandomChoice([v2.MixUp(num_classes=3), v2.CutMix(num_classes=3)])


@FORK
@pytest.mark.parametrize("method", WORKERS)
@pytest.mark.parametrize("source", ["folder", "live"])
def test_batches_are_balanced_and_mixed_in_workers(source: str, method: str, tmp_path: Path) -> None:
    if source == "folder":
        marked_pool().save(tmp_path / "pool", progress=False)
    made = tmp_path / "pool" if source == "folder" else live()
    collate = Collate(SynthesizeBatch(made, mode="rebalance"), MIX)

    def batches() -> list[Any]:
        torch.manual_seed(1)
        loader = DataLoader(
            Pictures((20, 6, 4)), 10, True, num_workers=2, collate_fn=collate, multiprocessing_context=method
        )
        return list(loader)

    found = batches()
    assert len(found) == 3
    for images, shares in found:
        assert (images.shape, images.dtype) == ((10, 1, 8, 8), torch.float32)
        assert shares.sum(0).min() > 2  # of 10, balanced: 3, 3 and 4 before they were mixed within the batch
    assert same(found, batches())


def test_collate_keeps_the_structure_of_items() -> None:
    items = [{"image": torch.zeros(1, 8, 8), "label": label} for label in (0, 1, 2)]
    made = Collate(SynthesizeBatch(FLOATS, share=1.0))(items)
    assert list(made) == ["image", "label"]
    assert [mark(image) for image in made["image"]] == [0, 1, 2]
    pairs = [(item["image"], item["label"]) for item in items]
    assert same(Collate(v2.Identity())(pairs), default_collate(pairs))
    images, shares = Collate(PasteSynthetic(FLOATS, [5, 3, 1], p=1.0))(pairs)
    assert (images.shape, shares.shape) == ((3, 1, 8, 8), (3, 3))


def stacked(items: list[Any]) -> Any:
    return torch.stack([image for image, _ in items]) + 0.5, torch.tensor([label for _, label in items])


def test_collate_takes_another_collate_fn_and_any_callable() -> None:
    items = [(torch.zeros(1, 8, 8), label) for label in (0, 1)]
    images, labels = Collate(lambda batch: batch, collate_fn=stacked)(items)
    assert images.min() == 0.5
    assert labels.tolist() == [0, 1]
    collate = Collate(SynthesizeBatch(FLOATS), collate_fn=stacked)
    torch.manual_seed(0)
    made = collate(items)
    torch.manual_seed(0)
    assert same(pickle.loads(pickle.dumps(collate))(items), made)


def test_what_collate_refuses() -> None:
    with pytest.raises(ConfigError, match="expected transforms of batches, found none"):
        Collate()
    with pytest.raises(ConfigError, match="found 'rebalance'"):
        Collate(SynthesizeBatch(FLOATS), "rebalance")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="found None"):
        Collate(SynthesizeBatch(FLOATS), collate_fn=None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="put SynthesizeBatch before MixUp/CutMix"):
        Collate(MIX, SynthesizeBatch(FLOATS))([(torch.zeros(1, 8, 8), 0)] * 2)
    with pytest.raises(DataError, match="after collation"):
        Collate(SynthesizeBatch(FLOATS), collate_fn=list)([(grey(), 0)] * 2)
    assert repr(Collate(SynthesizeBatch(FLOATS), v2.Identity())) == (
        "Collate(SynthesizeBatch(mode='replace', share=0.5, p=1, "
        "source=SyntheticPool(6 of 6 candidates, 3 classes)), Identity())"
    )


# -- what stays as it is ----------------------------------------------------------------------------------------------


def test_randomness_is_that_of_torch_alone() -> None:
    images, labels = torch.zeros(6, 1, 8, 8), torch.tensor([0, 0, 0, 0, 1, 2])
    for step, sample in (
        (SynthesizeSameClass(FLOATS), (images[0], 1)),
        (SynthesizeBatch(FLOATS, mode="rebalance"), (images, labels)),
        (SynthesizeBatch(live(), mode="append"), (images, labels)),
        (PasteSynthetic(FLOATS, [4, 1, 1]), (images, labels)),
    ):
        before = random.getstate(), str(np.random.get_state())
        made = []
        for _ in range(2):
            torch.manual_seed(2)
            made.append([step(*sample) for _ in range(5)])
        assert same(made[0], made[1])
        assert (random.getstate(), str(np.random.get_state())) == before
        assert not images.any()


def test_a_batch_holds_what_items_would() -> None:
    one_each = marked_pool((0, 1, 2))
    labels = [2, 0, 1, 1]
    items = [always(one_each)(torch.zeros(1, 8, 8), label)[0] for label in labels]
    made, _ = SynthesizeBatch(one_each, share=1.0)(torch.zeros(4, 1, 8, 8), torch.tensor(labels))
    assert torch.equal(torch.stack(items), made)
    torch.manual_seed(0)
    drawn = SynthesizeBatch(live(), share=1.0)(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor(labels))[0]
    light = drawn.float().mean((1, 2, 3))
    assert light[1] < light[2:].min() <= light[2:].max() < light[0]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_memory_formats_stay(share: float) -> None:
    swap = SynthesizeBatch(marked_pool(shape=(3, 8, 8)), share=share)
    images, labels = torch.zeros(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    assert swap(images, labels)[0].is_contiguous()
    last = images.to(memory_format=torch.channels_last)
    made = swap(last, labels)[0]
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert made.any()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_items_come_contiguous(channels: int) -> None:
    pool = marked_pool(shape=(channels, 8, 8), dtype=np.uint8)
    for image in (torch.zeros(channels, 8, 8, dtype=torch.uint8), np.zeros((8, 8, channels), np.uint8)):
        made = always(pool)(image, 0)[0]
        assert made.is_contiguous() if isinstance(made, Tensor) else made.flags.c_contiguous
        assert made.flags.writeable if isinstance(made, np.ndarray) else made.add_(1).any()
    assert mark(always(pool)(torch.zeros(channels, 8, 8, dtype=torch.uint8), 0)[0]) == 0  # the pool has not changed


def test_images_of_a_folder_are_not_pickled(tmp_path: Path) -> None:
    big = np.zeros((300, 1, 64, 64), np.uint8)
    pool = SyntheticPool.from_arrays(big, np.arange(300) % 3).save(tmp_path / "pool", progress=False)
    for step in (SynthesizeSameClass(pool), SynthesizeBatch(pool), Collate(SynthesizeBatch(pool))):
        assert len(pickle.dumps(step)) < big.nbytes / 10
        assert len(pickle.dumps(copy.deepcopy(step))) < big.nbytes / 10


def test_a_composition_has_no_state_and_no_weights() -> None:
    steps = v2.Compose([SynthesizeBatch(live()), MIX])
    assert not steps.state_dict()
    assert not list(steps.parameters())


# -- in use -----------------------------------------------------------------------------------------------------------


class Numbers(Dataset[Any]):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 8, 8), index / 40), int(index >= 36)


def recalls(*steps: Any) -> list[float]:
    """Shares of each class that a network finds which was trained on batches after some transforms."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    loader = DataLoader(Numbers(), 10, True, collate_fn=Collate(*steps, v2.MixUp(num_classes=2, alpha=0.1)))
    for _ in range(15):
        for images, shares in loader:
            loss = torch.nn.functional.cross_entropy(network(images), shares)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = [[int(network(image[None]).argmax()) == label for image, label in map(Numbers().__getitem__, rows)]
             for rows in (range(36), range(36, 40))]  # fmt: skip
    return [float(np.mean(each)) for each in found]


def test_balanced_batches_find_the_rare_class() -> None:
    pool = SyntheticPool.from_arrays(torch.rand(20, 1, 8, 8) * 0.1 + 0.9, np.ones(20, int), classes=["low", "high"])
    large, rare = recalls(SynthesizeBatch(pool, mode="rebalance"))
    assert rare == 1
    assert large > 0.5
    assert recalls()[1] < 0.5


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "docs.examples.torchvision_collate", "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "accuracy" in line] == [
        "as they are",
        "rebalanced",
    ]
