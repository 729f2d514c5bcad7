"""BalancedSubjectsDataset in the places where TorchIO's users put a SubjectsDataset."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader, DistributedSampler

import gan_augment as ga
from gan_augment.errors import ConfigError, DataError
from gan_augment.integrations.torchio import BalancedSubjectsDataset, RandomSynthesize
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView
from tests.integrations.test_torchio import AFFINE, METHODS, SHAPE
from tests.transforms.sources import MARK, live, marked

COUNTS = (12, 4, 2)
SYNTHETIC = {label: np.float32((MARK + label) / 255) for label in range(3)}


def subjects_of(counts: tuple[int, ...] = COUNTS, *, masks: bool = False, folder: Path | None = None) -> list[Any]:
    torch.manual_seed(1)
    found = []
    for number, label in enumerate(np.repeat(range(len(counts)), counts).tolist()):
        t1 = tio.ScalarImage(tensor=torch.rand(1, *SHAPE) / 4, affine=AFFINE)
        if folder is not None:
            t1.save(folder / f"{number}.nii.gz")
            t1 = tio.ScalarImage(folder / f"{number}.nii.gz")
        lesion = torch.zeros(1, *SHAPE, dtype=torch.uint8)
        lesion[0, 4:6, 4:6, 4:6] = 1
        images = {"t1": t1, **({"lesion": tio.LabelMap(tensor=lesion, affine=AFFINE)} if masks else {})}
        found.append(tio.Subject(**images, label=label))
    return found


def pool_of(*, masks: bool = False) -> SyntheticPool:
    labels = np.repeat([0, 1, 2], 8)
    drawn = np.zeros((24, *SHAPE), np.uint8)
    drawn[:, 2:8, 2:7, 2:6] = 1
    return SyntheticPool.from_arrays(marked(labels, (1, *SHAPE), np.float32), labels, masks=drawn if masks else None)


def balanced(*, masks: bool = False, folder: Path | None = None, **settings: Any) -> BalancedSubjectsDataset:
    subjects = subjects_of(masks=masks, folder=folder)
    return BalancedSubjectsDataset(
        subjects, pool_of(masks=masks), **{"min_images": 1, "progress": False, "synthetic_share": 0.7, **settings}
    )


def kinds(train: BalancedSubjectsDataset) -> list[str]:
    return [train.origin(index).kind for index in range(len(train))]


def test_a_users_own_attributes_do_not_make_a_dataset_a_mixed_one() -> None:
    class Subjects(tio.SubjectsDataset):
        origin = "hospital A"

    assert len(BalancedSubjectsDataset(Subjects(subjects_of()), pool_of(), min_images=1, progress=False)) == 36


# -- what it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", [False, True], ids=["tensors", "NIfTI"])
def test_real_subjects_come_first_then_those_that_balance(files: bool, tmp_path: Path) -> None:
    train = balanced(folder=tmp_path if files else None)
    assert isinstance(train, tio.SubjectsDataset)
    assert isinstance(train, ga.GANAugmentedDataset)
    assert len(train) == 3 * COUNTS[0]
    plain = tio.SubjectsDataset(subjects_of(folder=tmp_path if files else None))
    for index in range(sum(COUNTS)):
        assert torch.equal(train[index].t1.data, plain[index].t1.data)
        assert train[index]["label"] == plain[index]["label"]
    assert np.bincount([train[index]["label"] for index in range(len(train))]).tolist() == [12] * 3
    assert {"synthetic", "repeat"} == set(kinds(train)[sum(COUNTS) :])


@pytest.mark.parametrize("files", [False, True], ids=["tensors", "NIfTI"])
def test_synthetic_subjects_are_like_real_ones(files: bool, tmp_path: Path) -> None:
    train = balanced(folder=tmp_path if files else None)
    real = train[0]
    for index, kind in enumerate(kinds(train)):
        subject = train[index]
        assert type(subject) is tio.Subject
        assert type(subject.t1) is tio.ScalarImage
        assert list(subject) == list(real)
        assert set(subject.t1) == set(real.t1)
        assert {key: type(part) for key, part in subject.t1.items()} == {
            key: type(part) for key, part in real.t1.items()
        }
        assert subject.t1.data.dtype == torch.float32
        assert type(subject["label"]) is int
        np.testing.assert_allclose(subject.t1.affine, AFFINE)
        if kind == "synthetic":
            assert subject.t1.data.unique().tolist() == [SYNTHETIC[subject["label"]]]
            assert "nii" not in subject.t1["path"]


def test_label_maps_travel_with_their_images() -> None:
    train = balanced(masks=True)
    for index, kind in enumerate(kinds(train)):
        subject = train[index]
        assert type(subject.lesion) is tio.LabelMap
        assert subject.lesion.data.dtype == torch.uint8
        assert int(subject.lesion.data.sum()) == (120 if kind == "synthetic" else 8)
    with pytest.raises(DataError, match="expected synthetic images with masks"):
        BalancedSubjectsDataset(subjects_of(masks=True), pool_of(), min_images=1, progress=False)


def test_the_transform_runs_on_all_and_stays_in_the_history() -> None:
    train = balanced(transform=tio.Compose([tio.Clamp(0, 2), tio.Pad(1), tio.RandomNoise(std=(0.1, 0.1))]))
    for index in (0, *range(sum(COUNTS), len(train))):
        subject = train[index]
        assert subject.spatial_shape == tuple(side + 2 for side in SHAPE)
        assert [type(step).__name__ for step in subject.history] == ["Clamp", "Pad", "Noise"]


def test_the_dataset_that_was_given_stays_as_it_is() -> None:
    base = tio.SubjectsDataset(subjects_of(), transform=tio.Pad(1))
    train = BalancedSubjectsDataset(base, pool_of(), min_images=1, progress=False)
    assert train[-1].spatial_shape == tuple(side + 2 for side in SHAPE)
    train.set_transform(tio.Crop(1))
    for index in (0, len(train) - 1):
        assert train[index].spatial_shape == tuple(side - 2 for side in SHAPE)
    assert base[0].spatial_shape == tuple(side + 2 for side in SHAPE)
    train.set_transform(None)
    assert {train[index].spatial_shape for index in range(len(train))} == {SHAPE}
    with pytest.raises(ValueError, match="callable"):
        train.set_transform(3)  # type: ignore[arg-type]
    assert train.load_getitem is True


def test_subjects_without_loading() -> None:
    train = balanced()
    found = train.dry_iter()
    assert len(found) == len(train)
    assert [subject["label"] for subject in found] == train.targets.tolist()
    for index, kind in enumerate(kinds(train)):
        if kind == "repeat":
            assert torch.equal(found[index].t1.data, train[index].t1.data)
    assert all(subject.history == [] for subject in found)
    assert len(balanced(sampling_strategy={}).dry_iter()) == sum(COUNTS)


def test_subjects_without_loading_load_nothing(tmp_path: Path) -> None:
    train = balanced(folder=tmp_path)
    assert not any(subject.t1._loaded for subject in train.dry_iter())


def test_phases_and_epochs_work() -> None:
    train = balanced(schedule=ga.PhaseOut(epochs=2, until=0.5))
    assert "synthetic" in kinds(train)
    before = kinds(train)
    train.set_epoch(1)
    assert "synthetic" not in kinds(train)
    train.set_epoch(0)
    assert kinds(train) == before


def test_what_each_subject_is_can_be_told_in_the_batch() -> None:
    train = balanced(extras=ga.Extras(source=True), transform=tio.CropOrPad(6))
    (batch,) = list(tio.SubjectsLoader(train, batch_size=len(train)))
    assert [int(value) for value in batch["source"]] == [int(kind == "synthetic") for kind in kinds(train)]
    patch = next(tio.UniformSampler(4)(train[-1], 1))
    assert patch["source"] in (0, 1)  # crops keep it


def test_pools_drawn_for_the_dataset_and_live_ones_work() -> None:
    spec = RawView(tio.SubjectsDataset(subjects_of()), progress=False).spec()
    synthesizer = live(shape=(1, *spec.grid), image_spec=spec)
    for settings in ({"live": True}, {"cache": None}):
        train = BalancedSubjectsDataset(subjects_of(), synthesizer, min_images=1, progress=False, **settings)
        index = kinds(train).index("synthetic")
        assert train[index].spatial_shape == SHAPE
        np.testing.assert_allclose(train[index].t1.affine, AFFINE)


def test_subjects_of_different_keys_are_refused() -> None:
    subjects = subjects_of()
    subjects[3]["age"] = 4
    with pytest.raises(DataError, match="subject 3 and subject 0 differ in age"):
        BalancedSubjectsDataset(subjects, pool_of(), progress=False)


def test_other_entries_need_a_value_for_synthetic_subjects() -> None:
    subjects = subjects_of()
    for number, subject in enumerate(subjects):
        subject["age"] = 50.0 + number
    with pytest.raises(ConfigError, match="fill="):
        BalancedSubjectsDataset(subjects, pool_of(), min_images=1, progress=False)
    train = BalancedSubjectsDataset(subjects, pool_of(), fill={"age": float("nan")}, min_images=1, progress=False)
    assert np.isnan(train[kinds(train).index("synthetic")]["age"])


def test_two_intensity_images_are_refused() -> None:
    subjects = [tio.Subject(t1=s.t1, t2=s.t1, label=s["label"]) for s in subjects_of()]
    with pytest.raises(DataError, match="expected a dict of one image"):
        BalancedSubjectsDataset(subjects, pool_of(), progress=False)


def test_it_is_no_data_to_fit_on() -> None:
    train = balanced()
    with pytest.raises(
        DataError, match=r"found a BalancedSubjectsDataset, which mixes synthetic ones in; give its \.base"
    ):
        RawView(train, progress=False)
    assert len(RawView(train.base, progress=False)) == sum(COUNTS)


def test_a_batch_becomes_a_plain_dataset() -> None:
    (batch,) = list(tio.SubjectsLoader(balanced(), batch_size=36))
    again = BalancedSubjectsDataset.from_batch(batch)
    assert type(again) is tio.SubjectsDataset
    assert len(again) == 36


def test_any_index_that_torchio_takes() -> None:
    train = balanced()
    assert torch.equal(train[-1].t1.data, train[len(train) - 1].t1.data)
    assert train[torch.tensor(3)]["label"] == 0
    with pytest.raises(IndexError):
        train[len(train)]


# -- loaders, queues, samplers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["uniform", "label", "weighted"])
def test_a_queue_of_patches(kind: str, workers: int) -> None:
    train = balanced(masks=True)
    sampler = {
        "uniform": tio.UniformSampler(4),
        "label": tio.LabelSampler(4, "lesion"),
        "weighted": tio.WeightedSampler(4, "lesion"),
    }[kind]
    queue = tio.Queue(train, max_length=24, samples_per_volume=2, sampler=sampler, num_workers=workers)
    assert len(queue) == 2 * len(train)
    for _ in range(2):
        labels, synthetic = [], 0
        for batch in tio.SubjectsLoader(queue, batch_size=8, num_workers=0):
            assert batch["t1"][tio.DATA].shape[1:] == (1, 4, 4, 4)
            assert batch["lesion"][tio.DATA].shape == batch["t1"][tio.DATA].shape
            labels += [int(label) for label in batch["label"]]  # a list in TorchIO 1.0
            synthetic += sum(float(image.max()) > 0.5 for image in batch["t1"][tio.DATA])
        assert np.bincount(labels).tolist() == [24] * 3
        assert synthetic == 2 * kinds(train).count("synthetic")


def test_a_queue_follows_a_sampler_of_subjects() -> None:
    train = balanced()
    sampler = DistributedSampler(train, num_replicas=2, rank=1, shuffle=True)
    queue = tio.Queue(train, 12, 1, tio.UniformSampler(4), subject_sampler=sampler, shuffle_subjects=False)
    assert len(queue) == len(train) // 2
    assert sum(len(batch["label"]) for batch in tio.SubjectsLoader(queue, batch_size=4)) == len(train) // 2


def test_grids_of_patches_go_together_again() -> None:
    train = balanced(transform=tio.Pad(2))
    subject = train[-1]
    sampler = tio.GridSampler(subject, 6, patch_overlap=2)
    aggregator = tio.GridAggregator(sampler)
    for batch in tio.SubjectsLoader(sampler, batch_size=5):
        aggregator.add_batch(batch["t1"][tio.DATA], batch[tio.LOCATION])
    assert torch.equal(aggregator.get_output_tensor(), subject.t1.data)


@pytest.mark.parametrize(
    "transform",
    [
        tio.Crop(1),
        tio.Pad(1),
        tio.CropOrPad((6, 12, 8)),
        tio.Resample(2),
        tio.ToCanonical(),
        tio.EnsureShapeMultiple(4),
    ],
    ids=lambda step: type(step).__name__,
)
def test_spatial_transforms_treat_real_and_synthetic_subjects_alike(transform: Any) -> None:
    train = balanced(transform=transform, masks=True)
    first = train[0]
    for index in (kinds(train).index("synthetic"), kinds(train).index("repeat")):
        subject = train[index]
        subject.check_consistent_space()
        assert subject.spatial_shape == first.spatial_shape
        np.testing.assert_allclose(subject.t1.affine, first.t1.affine)


def contents(loader: Any) -> list[float]:
    return [round(float(image.sum()), 3) for batch in loader for image in batch["t1"][tio.DATA]]


@pytest.mark.parametrize("method", METHODS)
def test_workers_of_every_start_method_give_the_same_subjects(method: str) -> None:
    train = balanced()
    here = contents(tio.SubjectsLoader(train, batch_size=6))
    there = tio.SubjectsLoader(train, batch_size=6, num_workers=2, multiprocessing_context=method)
    assert contents(there) == here


def test_random_transforms_differ_in_workers_and_repeat_by_seed() -> None:
    train = balanced(transform=tio.RandomNoise(std=(1, 1)), sampling_strategy="all")
    settings = {"batch_size": 6, "num_workers": 2, "multiprocessing_context": "fork"}
    torch.manual_seed(7)
    first = contents(tio.SubjectsLoader(train, **settings))
    torch.manual_seed(7)
    assert contents(tio.SubjectsLoader(train, **settings)) == first
    assert len(set(first)) == len(first)


def test_persistent_workers_see_the_epoch() -> None:
    train = balanced(schedule=ga.PhaseOut(epochs=2, until=0.5))
    loader = tio.SubjectsLoader(train, batch_size=36, num_workers=1, persistent_workers=True)
    first = contents(loader)
    train.set_epoch(1)
    second = contents(loader)
    assert first[: sum(COUNTS)] == second[: sum(COUNTS)]
    assert first != second
    assert second == contents(tio.SubjectsLoader(train, batch_size=36))
    del loader


def test_pickles_hold_no_images_that_lie_in_folders(tmp_path: Path) -> None:
    pool = SyntheticPool.open(pool_of().save(tmp_path / "pool", progress=False))
    (tmp_path / "images").mkdir()
    subjects, transform = subjects_of(folder=tmp_path / "images"), RandomSynthesize(pool)
    train = BalancedSubjectsDataset(subjects, tmp_path / "pool", transform=transform, min_images=1, progress=False)
    there = pickle.dumps(train)
    assert len(there) < 40_000
    found = []
    for dataset in (train, pickle.loads(there)):
        torch.manual_seed(2)
        found.append([dataset[index].t1.data for index in (0, len(train) - 1)])
    assert all(map(torch.equal, *found))


def test_a_plain_loader_takes_it_too() -> None:
    train = balanced()
    loader = DataLoader(train, batch_size=4, collate_fn=tio.utils.history_collate, shuffle=True)
    assert sum(len(batch["label"]) for batch in loader) == len(train)


def test_balanced_batches_have_their_share_of_slots() -> None:
    train = balanced()
    sampler = ga.BalancedBatchSampler(train, 6, synthetic_share=0.5)
    for indices in sampler:
        assert sum(index >= sum(COUNTS) for index in indices) == 3
    assert contents(tio.SubjectsLoader(train, batch_sampler=sampler))
