"""GANAugmentedDataset: reals first, then slots; the same for every loader; twins only."""

import copy
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, default_collate, random_split
from torchvision.transforms import v2

from gan_augment.dataset import GANAugmentedDataset, PhaseOut
from gan_augment.dataset.slots import SharedEpoch
from gan_augment.errors import ConfigError, DataError, DataMismatchWarning, SmallClassWarning
from gan_augment.evaluation import check_no_overlap
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.training import fit
from tests.helpers import Pictures, noisy, pil_to_tensor, plus_ten, toy_synthesizer, view

COUNTS = (60, 25, 22)
SLOTS = {1: 35, 2: 38}


def pool_for(base: Any, synthesizer: Any = None, **settings: Any) -> SyntheticPool:
    return SyntheticPool.build(synthesizer or toy_synthesizer(), base, progress=False, **settings)


def augmented(base: Any = None, source: Any = "pool", **settings: Any) -> GANAugmentedDataset:
    base = Pictures(COUNTS) if base is None else base
    source = pool_for(base) if isinstance(source, str) else source
    return GANAugmentedDataset(base, source, progress=False, **settings)


@pytest.fixture(scope="module")
def tensors() -> GANAugmentedDataset:
    return augmented()


# -- reals, then slots ------------------------------------------------------------------------------------------------


class Counting(Pictures):
    """Hands out the very same object each time an item is read, and counts the reads."""

    def __init__(self) -> None:
        super().__init__(COUNTS)
        self.items = [super(Counting, self).__getitem__(i) for i in range(len(self.targets))]
        self.reads: list[int] = []

    def __getitem__(self, index: int) -> Any:
        self.reads.append(index)
        return self.items[index]


def test_the_reals_are_the_bases_own_items() -> None:
    base = Counting()
    train = augmented(base)
    base.reads.clear()
    assert all(train[i] is base.items[i] for i in range(len(base)))
    assert base.reads == list(range(len(base)))


def test_every_class_is_filled_up_to_the_largest(tensors: GANAugmentedDataset) -> None:
    assert tensors.sampling_strategy_ == SLOTS
    assert len(tensors) == 180
    assert Counter(tensors.targets.tolist()) == {0: 60, 1: 60, 2: 60}
    assert [tensors[i][1] for i in range(len(tensors))] == tensors.targets.tolist()
    assert tensors.classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("strategy", "slots"),
    [
        ("minority", {2: 38}),
        ("all", SLOTS),
        ("not minority", {1: 35}),
        ({1: 30}, {1: 5}),
        ({0: 70, 2: 22}, {0: 10}),
        (lambda labels: {2: int((labels == 0).sum()) - 10}, {2: 28}),
    ],
)
def test_sampling_strategies(strategy: Any, slots: dict[int, int]) -> None:
    base = Pictures(COUNTS)
    source = pool_for(base, counts=dict.fromkeys(range(3), 40))
    assert augmented(base, source, sampling_strategy=strategy).sampling_strategy_ == slots


def test_labels_of_the_dataset_and_of_arrays() -> None:
    base = Pictures((30, 20), "array", labels=[3, 7])
    images = np.full((25, 8, 8), 9, np.uint8)
    train = augmented(base, SyntheticPool.from_arrays(images, [7] * 25), synthetic_share=1, sampling_strategy={7: 30})
    assert train.sampling_strategy_ == {7: 10}
    assert set(train.targets.tolist()) == {3, 7}
    assert all(train[i][1] == 7 and (train[i][0] == 9).all() for i in range(50, 60))


def test_names_of_the_dataset_and_of_arrays() -> None:
    base = Pictures((30, 20), "array", classes=["cat", "dog"])
    images = np.full((25, 8, 8), 9, np.uint8)
    for source in (
        SyntheticPool.from_arrays(images, ["dog"] * 25),
        SyntheticPool.from_arrays(images, [0] * 25, ["dog", "cat"]),
        SyntheticPool.from_arrays(images, [1] * 25),
    ):
        train = augmented(base, source, synthetic_share=1)
        assert all((train[i][0] == 9).all() and train[i][1] == 1 for i in range(50, 60))
    with pytest.raises(DataError, match="expected a pool of the classes cat, dog, found bird"):
        augmented(base, SyntheticPool.from_arrays(images, ["bird"] * 25))


def test_share_0_is_random_oversampling() -> None:
    base = Pictures(COUNTS)
    with_pool, without = augmented(base, synthetic_share=0), augmented(base, None, synthetic_share=0)
    drawn = Counter()
    for i in range(len(base), len(without)):
        origin = without.origin(i)
        assert origin == with_pool.origin(i)
        assert origin.kind == "repeat"
        assert origin.index is not None
        assert base.targets[origin.index] == origin.label == without.targets[i]
        assert same(without[i], base[origin.index])
        drawn[origin.label] += 1
    assert drawn == SLOTS
    repeated = [without.origin(i).index for i in range(107, 142)]
    assert 12 <= len(set(repeated)) <= 25  # 35 draws with replacement from 25


def test_share_1_fills_up_with_synthetic_images() -> None:
    train = augmented(synthetic_share=1)
    origins = [train.origin(i) for i in range(len(train))]
    assert Counter(origin.kind for origin in origins) == {"real": 107, "synthetic": 73}
    train.set_epoch(5)
    assert all(train.origin(i).kind == "synthetic" for i in range(107, 180))


@given(share=st.floats(0, 1), seed=st.integers(-(2**70), 2**70), epoch=st.integers(0, 2**40))
def test_the_share_of_synthetic_slots_is_the_one_asked_for(
    tensors: GANAugmentedDataset, share: float, seed: int, epoch: int
) -> None:
    train = copy.copy(tensors)
    train.synthetic_share, train.seed = share, seed
    train._epoch = SharedEpoch(epoch)
    kinds = [train.origin(i).kind for i in range(107, 180)]
    assert set(kinds) <= {"repeat", "synthetic"}
    spread = 6 * np.sqrt(share * (1 - share) * len(kinds)) + 1
    assert abs(kinds.count("synthetic") - share * len(kinds)) <= spread


def test_choices_depend_on_seed_epoch_and_index_alone(tensors: GANAugmentedDataset) -> None:
    base, pool = tensors.base, tensors.pool
    origins = [tensors.origin(i) for i in range(180)]
    again = augmented(base, pool)
    assert [again.origin(i) for i in reversed(range(180))] == origins[::-1]
    assert [augmented(base, pool, seed=1).origin(i) for i in range(180)] != origins
    assert [augmented(base, pool, seed=np.int64(0)).origin(np.int64(i)) for i in range(180)] == origins
    again.set_epoch(1)
    assert again.epoch == 1
    assert [again.origin(i) for i in range(180)] != origins
    assert [again.origin(i) for i in range(107)] == origins[:107]
    again.set_epoch(0)
    assert [again.origin(i) for i in range(180)] == origins


@pytest.mark.parametrize("kind", ["tensor", "array", "dict", "column"])
def test_origin_agrees_with_what_is_returned(kind: str) -> None:
    base = Pictures(COUNTS, kind)
    train = augmented(base, pool_for(base, reserve=1))
    pool = train.pool
    assert pool is not None
    seen = Counter()
    for i in range(len(train)):
        origin, item = train.origin(i), train[i]
        seen[origin.kind] += 1
        assert origin.label == train.targets[i]
        if origin.kind != "synthetic":
            assert origin.index is not None
            assert (origin.row, origin.seed, origin.parent) == (None, None, None)
            assert same(item, base[origin.index])
            continue
        assert origin.index is None
        assert origin.row is not None
        assert pool.labels[origin.row] == origin.label
        assert pool.seeds[origin.row] == origin.seed
        image = item["image"] if kind == "dict" else item[0]
        assert same(image, pool.raw(origin.row))
        assert type(item) is type(base[0])
        assert same(
            item["label"] if kind == "dict" else item[1],
            base[base.targets.index(origin.label)]["label" if kind == "dict" else 1],
        )
    assert seen["real"] == 107
    assert seen["repeat"] > 15
    assert seen["synthetic"] > 15


def test_only_rows_of_the_view_given_are_used(tensors: GANAugmentedDataset) -> None:
    assert tensors.pool is not None
    part = tensors.pool.sample(20, seed=3)
    train = augmented(tensors.base, part, synthetic_share=1, min_images=0)
    rows = {train.origin(i).row for i in range(107, 180)}
    assert rows <= set(part.rows.tolist())
    assert len(rows) > 20


def test_a_parent_is_told() -> None:
    base = Pictures(COUNTS)
    gan = fit(base, "dagan", steps=1, progress=False)
    train = augmented(base, pool_for(base, gan), synthetic_share=1)
    origins = [train.origin(i) for i in range(107, 180)]
    assert all(origin.parent is not None and base.targets[origin.parent] == origin.label for origin in origins)


# -- schedules --------------------------------------------------------------------------------------------------------


def test_phase_out_ends_in_reals_only() -> None:
    train = augmented(synthetic_share=0.8, schedule=PhaseOut(epochs=10, until=0.6))
    assert [train.share(epoch) for epoch in range(10)] == [0.8] * 6 + [0.0] * 4
    for epoch, synthetic in ((5, True), (6, False), (9, False), (0, True)):
        train.set_epoch(epoch)
        assert any(train.origin(i).kind == "synthetic" for i in range(len(train))) is synthetic
    assert len(train) == 180


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"epochs": 3, "until": 1.1}, {"epochs": 3, "until": -0.1}])
def test_schedules_that_cannot_work(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="found PhaseOut"):
        PhaseOut(**settings)


# -- loaders ----------------------------------------------------------------------------------------------------------


def loaded(train: Dataset[Any], **settings: Any) -> list[Any]:
    return list(DataLoader(train, batch_size=30, **settings))


def reference(train: GANAugmentedDataset) -> list[Any]:
    return [default_collate([train[i] for i in range(start, start + 30)]) for start in range(0, len(train), 30)]


def folder_dataset(folder: Path) -> GANAugmentedDataset:
    base = Pictures(COUNTS, "pil", transform=pil_to_tensor, target_transform=plus_ten)
    pool_for(base, out=folder / "pool")
    return augmented(base, SyntheticPool.open(folder / "pool"))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_items_do_not_depend_on_the_number_of_workers(tmp_path: Path, workers: int) -> None:
    train = folder_dataset(tmp_path)
    context = {"multiprocessing_context": "fork"} if workers else {}
    assert same(loaded(train, num_workers=workers, **context), reference(train))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("place", ["memory", "folder"])
def test_items_do_not_depend_on_how_workers_start(tmp_path: Path, method: str, place: str) -> None:
    train = folder_dataset(tmp_path) if place == "folder" else augmented()
    train.set_epoch(3)
    assert same(loaded(train, num_workers=2, multiprocessing_context=method), reference(train))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_set_epoch_reaches_workers_that_are_already_running(method: str) -> None:
    train = augmented(synthetic_share=1, schedule=PhaseOut(epochs=4, until=0.5))
    loader = DataLoader(
        train, batch_size=30, num_workers=2, persistent_workers=True, multiprocessing_context=method, prefetch_factor=2
    )
    expected = []
    for epoch in range(4):
        train.set_epoch(epoch)
        expected.append(reference(train))
        assert same(list(loader), expected[-1])
    assert not same(expected[0], expected[1])
    assert not same(expected[1], expected[2])


def test_it_pickles_with_its_epoch(tmp_path: Path) -> None:
    train = folder_dataset(tmp_path)
    train.set_epoch(4)
    again = pickle.loads(pickle.dumps(train))
    assert again.epoch == 4
    assert all(same(again[i], train[i]) for i in range(len(train)))


# -- transforms -------------------------------------------------------------------------------------------------------

BASES: dict[str, Any] = {
    "pil": lambda: Pictures(COUNTS, "pil", transform=pil_to_tensor),
    "pil rgb": lambda: Pictures(COUNTS, "pil", channels=3, transform=pil_to_tensor),
    "pil v2": lambda: Pictures(
        COUNTS, "pil", transform=v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    ),
    "array": lambda: Pictures(COUNTS, "array"),
    "array rgb": lambda: Pictures(COUNTS, "array", channels=3),
    "tensor": lambda: Pictures(COUNTS),
    "noise": lambda: Pictures(COUNTS, transform=noisy),
    "dict": lambda: Pictures(COUNTS, "dict"),
    "column": lambda: Pictures(COUNTS, "column"),
    "column pil": lambda: Pictures(COUNTS, "column", transform=noisy),
    "target transform": lambda: Pictures(COUNTS, "pil", transform=pil_to_tensor, target_transform=plus_ten),
    "tensor dataset": lambda: TensorDataset(
        torch.stack([Pictures(COUNTS)[i][0] for i in range(107)]), torch.tensor(Pictures(COUNTS).targets)
    ),
    "concat": lambda: ConcatDataset([Pictures(COUNTS), Pictures((3, 1, 1), seed=9)]),
    "subset": lambda: Subset(Pictures(COUNTS), range(3, 107)),
}


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_mixed_batches_collate_without_promotion(make: Any) -> None:
    base = make()
    channels = 3 if isinstance(base, Pictures) and base.pixels.shape[1] == 3 else 1
    train = augmented(base, pool_for(base, toy_synthesizer(shape=(channels, 8, 8))))
    kinds = {train.origin(i).kind for i in range(len(train))}
    assert kinds == {"real", "repeat", "synthetic"}
    reals = default_collate([base[i] for i in range(len(base))])
    mixed = default_collate([train[i] for i in range(len(train))])
    parts = ("image", "label") if isinstance(mixed, dict) else (0, 1)
    assert type(mixed) is type(reals)
    for part in parts:
        assert mixed[part].dtype == reals[part].dtype
        assert mixed[part].shape[1:] == reals[part].shape[1:]
    assert mixed[parts[1]].reshape(-1).tolist() == train.targets.tolist()
    for i in range(len(base), len(train)):
        first, item = base[0], train[i]
        assert type(item) is type(first)
        assert type(item[parts[0]]) is type(first[parts[0]])
        assert type(item[parts[1]]) is type(first[parts[1]])


def test_the_bases_transform_is_inherited_and_the_base_is_left_alone() -> None:
    base = Pictures(COUNTS, "pil", transform=pil_to_tensor, target_transform=plus_ten)
    before = dict(vars(base))
    content = pickle.dumps(base)
    train = augmented(base, synthetic_share=1)
    items = [train[i] for i in range(len(train))]
    assert train.base is base
    assert vars(base) == before
    assert pickle.dumps(base) == content
    assert train.pool is not None
    for i in range(107, 180):
        origin = train.origin(i)
        assert origin.row is not None
        assert torch.equal(items[i][0], pil_to_tensor(train.pool.raw(origin.row)))
        assert items[i][1] == base[base.targets.index(origin.label)][1] == origin.label + 10


def test_random_augmentation_is_drawn_anew_for_synthetic_images() -> None:
    train = augmented(Pictures(COUNTS, transform=noisy), synthetic_share=1)
    torch.manual_seed(0)
    first, second = train[150][0], train[150][0]
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(train[150][0], first)


def test_building_leaves_the_users_random_state_alone() -> None:
    base = Pictures(COUNTS, transform=noisy)
    torch.manual_seed(1)
    np.random.seed(1)
    state = torch.get_rng_state()
    train = augmented(base, transform=noisy)
    _ = [train.origin(i) for i in range(len(train))]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("transform", [None, "callable"])
def test_another_transform_keeps_the_labels_of_the_reals(transform: str | None) -> None:
    base = Pictures(COUNTS, "pil", transform=pil_to_tensor, target_transform=plus_ten)
    train = augmented(base, synthetic_share=1, transform=None if transform is None else inverted)
    assert train.pool is not None
    for i in (110, 150, 179):
        image, label = train[i]
        raw = train.pool.raw(train.origin(i).row or 0)
        assert same(image, raw if transform is None else inverted(raw))
        assert label == train.targets[i] == train.origin(i).label + 10


def inverted(image: Any) -> torch.Tensor:
    return 1 - pil_to_tensor(image)


def test_labels_handed_out_are_not_shared() -> None:
    train = augmented(Pictures(COUNTS, "column"), synthetic_share=1, transform=noisy)
    train[150][1][:] = 99
    assert train[150][1].tolist() == [2]
    train = augmented(Pictures(COUNTS, "column"), synthetic_share=1)
    train[150][1][:] = 99
    assert train[150][1].tolist() == [2]


# -- indices and wrappers ---------------------------------------------------------------------------------------------


def test_indices(tensors: GANAugmentedDataset) -> None:
    assert same(tensors[-1], tensors[179])
    assert tensors.origin(-180) == tensors.origin(0)
    for index in (180, -181, 10**20):
        with pytest.raises(IndexError, match="below 180"):
            tensors[index]
    with pytest.raises(TypeError):
        tensors[1.5]  # type: ignore[index]
    assert len(list(iter(tensors))) == 180  # the old protocol ends by IndexError
    assert same(tensors[torch.tensor(150)], tensors[150])  # type: ignore[index]


def test_subsets_of_it(tensors: GANAugmentedDataset) -> None:
    part = Subset(tensors, [179, 0, 120])
    assert same([part[i] for i in range(3)], [tensors[179], tensors[0], tensors[120]])
    left, right = random_split(tensors, [100, 80], generator=torch.Generator().manual_seed(0))
    assert sorted([*left.indices, *right.indices]) == list(range(180))
    batches = loaded(right)
    assert sum(len(labels) for _, labels in batches) == 80
    assert same(batches[0], default_collate([tensors[i] for i in right.indices[:30]]))


def test_a_view_may_be_the_base() -> None:
    base = Pictures(COUNTS)
    train = augmented(view(base))
    assert train.base is base
    assert same(train[3], base[3])


# -- twins ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_tensors", [True, False])
@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        ((1, 8, 8), torch.float64, "dtype float32 against float64"),
        ((1, 8, 8), torch.uint8, "dtype float32 against uint8"),
        ((3, 8, 8), torch.float32, "channels 1 against 3"),
        ((1, 16, 16), torch.float32, r"shape \(8, 8\) against \(16, 16\)"),
        ((1, 8, 8, 8), torch.float32, r"shape \(8, 8\) against \(8, 8, 8\)"),
    ],
)
def test_images_that_are_no_twins_are_refused(shape: Any, dtype: torch.dtype, told: str, as_tensors: bool) -> None:
    pictures = Pictures(COUNTS)
    stacked = torch.stack([pictures[i][0] for i in range(107)])
    base = TensorDataset(stacked, torch.tensor(pictures.targets)) if as_tensors else pictures
    pool = SyntheticPool.from_arrays(torch.zeros(60, *shape, dtype=dtype), torch.arange(60) % 3)
    with pytest.raises(DataError, match=told):
        augmented(base, pool)


def halved(image: Any) -> torch.Tensor:
    return pil_to_tensor(image.resize((4, 4)))


def test_another_size_is_welcome_where_the_transform_makes_one_size() -> None:
    pool = SyntheticPool.from_arrays(np.zeros((60, 12, 12), np.uint8), np.arange(60) % 3)
    train = augmented(Pictures(COUNTS, "pil", transform=halved), pool, synthetic_share=1)
    assert default_collate([train[i] for i in range(180)])[0].shape == (180, 1, 4, 4)
    for transform in ("inherit", None, pil_to_tensor):
        with pytest.raises(DataError, match=r"shape \(8, 8\) against \(12, 12\)"):
            augmented(Pictures(COUNTS, "pil", transform=pil_to_tensor), pool, transform=transform)
    assert len(augmented(Pictures(COUNTS, "pil", transform=pil_to_tensor), pool, transform=resized)) == 180


def resized(image: Any) -> torch.Tensor:
    return pil_to_tensor(image.resize((8, 8)))


class MixedSizes(Dataset[Any]):
    targets = [0] * 30 + [1] * 24

    def __len__(self) -> int:
        return 54

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 8 + index % 2, 8), index / 54), self.targets[index]


def test_mixed_sizes_take_any_size() -> None:
    pool = SyntheticPool.from_arrays(torch.zeros(30, 1, 10, 10), torch.ones(30, dtype=torch.int64))
    assert augmented(MixedSizes(), pool, synthetic_share=1)[53 + 2][0].shape == (1, 10, 10)


# -- small classes and sources ----------------------------------------------------------------------------------------


def test_small_classes_repeat_reals_with_a_warning() -> None:
    base = Pictures((40, 24, 5))
    pool = pool_for(base, counts={1: 30, 2: 19}, reserve=1)
    with pytest.warns(SmallClassWarning, match="class 2 has 5 real images and 19 kept synthetic ones: its 35 slots"):
        train = augmented(base, pool, synthetic_share=1)
    kinds = Counter((origin.label, origin.kind) for origin in map(train.origin, range(69, len(train))))
    assert kinds == {(1, "synthetic"): 16, (2, "repeat"): 35}
    assert augmented(base, pool, synthetic_share=1, min_images=5).origin(len(train) - 1).kind == "synthetic"
    enough = pool_for(base, counts={1: 30, 2: 20}, reserve=1)
    assert augmented(base, enough, synthetic_share=1).origin(len(train) - 1).kind == "synthetic"


def test_a_class_without_synthetic_images_repeats_reals_with_a_warning() -> None:
    base = Pictures(COUNTS)
    with pytest.warns(SmallClassWarning, match="class 2 has 22 real images and 0 kept synthetic ones"):
        train = augmented(base, pool_for(base, counts={1: 40}), synthetic_share=1)
    assert train.origin(179).kind == "repeat"


def test_a_synthesizer_is_drawn_from_once() -> None:
    base, synthesizer = Pictures(COUNTS), toy_synthesizer()
    train = augmented(base, synthesizer, synthetic_share=1, seed=7)
    assert train.pool is not None
    assert train.pool.counts == SLOTS
    again = augmented(base, pool_for(base, synthesizer, counts=SLOTS, reserve=1, seed=7), synthetic_share=1, seed=7)
    assert all(same(train[i], again[i]) for i in range(180))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"synthetic_share": 1.2}, "from 0 to 1, found 1.2"),
        ({"synthetic_share": float("nan")}, "from 0 to 1, found nan"),
        ({"source": None}, "or synthetic_share=0"),
        ({"source": [1, 2]}, "a SyntheticPool, a Synthesizer, or the path of one, found list"),
        ({"transform": "inverted"}, "found 'inverted'"),
        ({"sampling_strategy": {1: 3}}, "sampling_strategy"),
        ({"sampling_strategy": {9: 300}}, "found 9"),
    ],
)
def test_parameters_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        augmented(Pictures(COUNTS), **settings)


def test_a_balanced_set_gets_no_slots() -> None:
    base = Pictures((20, 20))
    assert len(augmented(base, SyntheticPool.from_arrays(torch.zeros(2, 1, 8, 8), [0, 1]))) == 40


@pytest.mark.filterwarnings("ignore:the pool was built like another")
def test_a_grey_pool_goes_into_a_set_of_rgb_images() -> None:
    """As from `gan-augment build` on grey files, into an ImageFolder whose loader converts them to RGB."""
    grey, rgb = Pictures(COUNTS, "pil"), Pictures(COUNTS, "pil", channels=3)
    train = augmented(rgb, pool_for(grey), synthetic_share=1, transform=None)
    image, _ = train[150]
    assert train.origin(150).kind == "synthetic"
    assert (image.mode, image.size) == ("RGB", (8, 8))
    row = train.origin(150).row
    assert row is not None
    assert train.pool is not None
    assert same(image, train.pool.raw(row).convert("RGB"))
    with pytest.raises(DataError, match="channels 1 against 3"):
        augmented(grey, pool_for(rgb, toy_synthesizer(shape=(3, 8, 8))))


def test_an_albumentations_transform_is_called_its_own_way() -> None:
    albumentations = pytest.importorskip("albumentations")
    transform = albumentations.Compose([albumentations.InvertImg(p=1.0)])
    base = Pictures(COUNTS, "array")
    plain, changed = augmented(base, transform=None), augmented(base, transform=transform)
    index = next(i for i in range(107, 180) if plain.origin(i).kind == "synthetic")
    assert np.array_equal(changed[index][0], 255 - plain[index][0])
    floats = albumentations.Compose([albumentations.Normalize(mean=0.0, std=1.0, max_pixel_value=127.5)])
    with pytest.raises(DataError, match="dtype uint8 against float32"):
        augmented(base, transform=floats)


def test_targets_beside_a_view_are_refused() -> None:
    with pytest.raises(ConfigError, match="give them to the RawView"):
        augmented(view(Pictures(COUNTS)), toy_synthesizer(), targets=[0] * 107)


def test_a_pool_built_like_another_dataset_is_told_of_and_its_parents_are_not() -> None:
    """A pool of the whole set over a part of it: its parents are numbered in the whole set, and may be held out."""
    whole = Pictures(COUNTS)
    gan = fit(whole, "dagan", steps=1, min_images=2, progress=False)
    pool = pool_for(whole, gan)
    here = augmented(whole, pool, synthetic_share=1)
    origins = [here.origin(i) for i in range(107, 180)]
    assert all(o.parent is not None and whole.targets[o.parent] == o.label for o in origins)
    part = Subset(whole, list(range(106, 10, -1)))
    with pytest.warns(DataMismatchWarning, match=r"107 items, 96 here"):
        there = augmented(part, pool, synthetic_share=1)
    assert all(there.origin(i).parent is None for i in range(96, len(there)))


def test_the_parents_are_items_of_the_dataset_that_the_pool_is_built_like() -> None:
    whole = Pictures(COUNTS)
    gan = fit(whole, "dagan", steps=1, min_images=2, progress=False)
    part = Subset(whole, list(range(20, 107)))
    with pytest.warns(DataMismatchWarning, match="107 images of which 20 are not in the dataset"):
        pool = pool_for(part, gan)
    assert pool.parents.max() < 87


def test_a_rebalanced_set_over_a_subset_can_be_read_as_a_dataset() -> None:
    base = Subset(Pictures(COUNTS), list(range(10, 107)))
    train = augmented(base, pool_for(base))
    assert len(view(train).hashes) == len(train)


def test_a_pool_of_another_fold_is_told_of() -> None:
    """Folds of a set that is sorted by class have the same labels in the same order."""
    base = Pictures((50, 30))
    folds = [[i for i in range(80) if i % 5 != fold] for fold in (0, 1)]
    one, other = (Subset(base, fold) for fold in folds)
    assert view(one).targets.tolist() == view(other).targets.tolist()
    pool = pool_for(one, toy_synthesizer(2))
    augmented(one, pool)
    with pytest.warns(DataMismatchWarning, match="another dataset"):
        train = augmented(other, pool)
    held_out = Subset(base, [i for i in range(80) if i % 5 == 1])
    check_no_overlap(held_out, other)
    with pytest.raises(DataError, match="found 16 of 16"):
        check_no_overlap(held_out, train)


def test_what_says_nothing_of_what_it_was_fitted_on_is_not_taken_for_clean() -> None:
    base = Pictures(COUNTS)
    for thing in (toy_synthesizer(), None):
        with pytest.raises(ConfigError, match="says what it was fitted on"):
            check_no_overlap(base, thing)
    images = np.stack([np.asarray(base[i][0]) for i in range(30)])
    with pytest.raises(DataError, match="found 30 of 107"):
        check_no_overlap(base, SyntheticPool.from_arrays(images, [0] * 30))
