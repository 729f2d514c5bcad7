"""RandomSynthesize and BalancedSubjectsDataset, by the contracts that TorchIO's own transforms and datasets keep."""

import copy
import gc
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchio as tio
from PIL import Image
from torch.utils.data import DataLoader

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.integrations.torchio import RandomSynthesize, Synthesize
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView
from tests.transforms.sources import Mirror, live, spec_of

SHAPE = (10, 9, 8)
SPACING = (1.0, 1.5, 2.0)
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])
LABELS = (0, 0, 0, 1, 1, 1, 2, 2, 2)


def pool_of(
    dtype: str = "float32", shape: tuple[int, ...] = (1, *SHAPE), labels: Any = LABELS, **more: Any
) -> SyntheticPool:
    """Each image has a value of its own: 20 * label, and its number of the class."""
    numbers = np.array([20 * label + np.sum(np.array(labels[:at]) == label) for at, label in enumerate(labels)])
    images = np.broadcast_to(numbers.reshape(-1, *[1] * len(shape)), (len(labels), *shape)).astype(dtype)
    return SyntheticPool.from_arrays(images, list(labels), **more)


def subject_of(label: Any = 1, dtype: Any = torch.float32, shape: tuple[int, ...] = (1, *SHAPE), **more: Any) -> Any:
    image = tio.ScalarImage(tensor=(100 + torch.rand(*shape) * 100).to(dtype), affine=AFFINE)
    return tio.Subject(t1=image, label=label, **more)


def value(image: Any) -> float:
    """The one value that an image of `pool_of` has."""
    assert len(image.data.unique()) == 1
    return float(image.data.flatten()[0])


def values_of(transform: Any, subject: Any, count: int, seed: int = 0) -> list[float]:
    torch.manual_seed(seed)
    return [value(transform(subject).t1) for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pool_of().save(tmp_path / "pool", progress=False)


# -- what becomes of a subject ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_image_becomes_one_of_the_subjects_class(label: int) -> None:
    found = {int(number) for number in values_of(RandomSynthesize(pool_of()), subject_of(label), 30)}
    assert found == {20 * label, 20 * label + 1, 20 * label + 2}


def test_affine_class_and_other_entries_stay() -> None:
    subject = subject_of(1, age=61, name="a", site=torch.arange(3))
    made = RandomSynthesize(pool_of())(subject)
    assert type(made) is tio.Subject
    assert type(made.t1) is tio.ScalarImage
    assert list(made) == list(subject)
    assert (made["label"], made["age"], made.name) == (1, 61, "a")
    assert torch.equal(made["site"], torch.arange(3))
    np.testing.assert_array_equal(made.t1.affine, AFFINE)
    assert made.t1.orientation == subject.t1.orientation
    assert torch.equal(made["t1"].data, made.t1.data)


def test_the_input_is_not_changed() -> None:
    subject = subject_of(1, seg=tio.LabelMap(tensor=torch.ones(1, *SHAPE, dtype=torch.uint8), affine=AFFINE))
    before = copy.deepcopy(subject)
    RandomSynthesize(pool_of(masks=np.zeros((9, *SHAPE), np.uint8)))(subject)
    assert torch.equal(subject.t1.data, before.t1.data)
    assert torch.equal(subject.seg.data, before.seg.data)
    assert subject.history == []


def test_the_source_is_not_changed_by_what_becomes_of_an_image() -> None:
    pool = pool_of()
    torch.manual_seed(0)
    made = RandomSynthesize(pool)(subject_of(1))
    made.t1.data.fill_(-1)
    assert [float(pool.array(row).max()) for row in range(9)] == [0, 1, 2, 20, 21, 22, 40, 41, 42]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64"])
def test_every_type_stays(dtype: str) -> None:
    made = RandomSynthesize(pool_of(dtype))(subject_of(2, dtype=getattr(torch, dtype)))
    assert made.t1.data.dtype == getattr(torch, dtype)
    assert value(made.t1) in (40, 41, 42)
    assert made.t1.data.is_contiguous()


def test_the_seed_chooses_the_same_image_for_each_type() -> None:
    found = [values_of(RandomSynthesize(pool_of(dtype)), subject_of(1, getattr(torch, dtype)), 8) for dtype in
             ("uint8", "int16", "float32")]  # fmt: skip
    assert found[0] == found[1] == found[2]


def test_a_type_that_torchio_widens_is_widened_alike() -> None:
    own = tio.ScalarImage(tensor=np.full((1, *SHAPE), 40000, np.uint16))
    assert own.data.dtype == torch.int32
    made = RandomSynthesize(pool_of("uint16"))(tio.Subject(t1=own, label=2))
    assert made.t1.data.dtype == torch.int32


def test_several_channels_stay() -> None:
    images = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1, 1) * np.ones((1, 3, *SHAPE), np.float32)
    made = RandomSynthesize(SyntheticPool.from_arrays(images, [1]))(subject_of(1, shape=(3, *SHAPE)))
    assert made.t1.data.amax((1, 2, 3)).tolist() == [0, 1, 2]


def test_several_images_are_channels_of_one_synthetic_image() -> None:
    images = np.stack([np.full((3, *SHAPE), row) + np.arange(3).reshape(3, 1, 1, 1) * 100 for row in range(4)])
    pool = SyntheticPool.from_arrays(images.astype(np.float32), [1] * 4)
    subject = subject_of(1, flair=tio.ScalarImage(tensor=torch.rand(2, *SHAPE), affine=AFFINE))
    made = RandomSynthesize(pool)(subject)
    first, second, third = value(made.t1), *made.flair.data.amax((1, 2, 3)).tolist()
    assert (second, third) == (first + 100, first + 200)
    assert first in range(4)
    made.t1.data.fill_(7)
    assert 7 not in made.flair.data  # they share no memory
    with pytest.raises(DataError, match=r"images of 3 channels, those of t1, flair together, found 1; give include="):
        RandomSynthesize(pool_of())(subject)


def test_include_and_exclude_name_the_images() -> None:
    subject = subject_of(1, t2=tio.ScalarImage(tensor=torch.rand(1, *SHAPE), affine=AFFINE))
    for settings, changed in (({"include": ["t2"]}, "t2"), ({"exclude": ["t2"]}, "t1")):
        made = RandomSynthesize(pool_of(), **settings)(subject)
        kept = {"t1": "t2", "t2": "t1"}[changed]
        assert 20 <= value(made[changed]) <= 22
        assert torch.equal(made[kept].data, subject[kept].data)
        assert made.history[0].include == settings.get("include")
    assert RandomSynthesize(pool_of(), include=["none"])(subject).history == []


def test_keep_keeps_the_real_image() -> None:
    subject = subject_of(1)
    made = RandomSynthesize(pool_of(), keep={"t1": "real"})(subject)
    assert torch.equal(made.real.data, subject.t1.data)
    assert value(made.t1) >= 20


def test_p_is_the_probability_of_a_synthetic_image() -> None:
    torch.manual_seed(0)
    transform, subject = RandomSynthesize(pool_of(shape=(1, 4, 4, 4)), p=0.25), subject_of(1, shape=(1, 4, 4, 4))
    changed = sum(len(transform(subject).history) for _ in range(400))
    assert 70 < changed < 130


@pytest.mark.parametrize("label", [2, 2.0, np.int64(2), torch.tensor(2), torch.tensor([2])], ids=repr)
def test_classes_may_be_any_kind_of_whole_number(label: Any) -> None:
    made = RandomSynthesize(pool_of())(subject_of(label))
    assert value(made.t1) >= 40
    assert type(made["label"]) is type(label)


def test_classes_may_be_names() -> None:
    pool = pool_of(labels=(0, 1, 2), classes=["csf", "grey", "white"])
    assert value(RandomSynthesize(pool)(subject_of("white")).t1) == 40
    assert value(RandomSynthesize(pool, classes=["white", "grey"])(subject_of(0)).t1) == 40


def test_the_class_may_be_under_another_key() -> None:
    subject = subject_of(1)
    subject["tissue"] = 2
    assert value(RandomSynthesize(pool_of(), class_key="tissue")(subject).t1) >= 40


def test_a_class_that_the_source_has_no_image_of_stays() -> None:
    subject = subject_of(1)
    made = RandomSynthesize(pool_of(labels=(0, 0, 2)))(subject)
    assert torch.equal(made.t1.data, subject.t1.data)
    assert made.history == []


@pytest.mark.parametrize("start", ["numpy", "tensor", "image"])
def test_what_has_no_class_is_refused(start: str) -> None:
    image = subject_of().t1
    data = {"numpy": image.numpy(), "tensor": image.data, "image": image}[start]
    with pytest.raises(DataError, match="expected a subject with its class under 'label'"):
        RandomSynthesize(pool_of())(data)


def test_a_label_map_is_no_class() -> None:
    subject = tio.Subject(t1=subject_of().t1, label=tio.LabelMap(tensor=torch.ones(1, *SHAPE)))
    with pytest.raises(DataError, match="found an image under 'label'; give class_key="):
        RandomSynthesize(pool_of())(subject)


def test_a_dict_works_as_for_every_transform() -> None:
    made = RandomSynthesize(pool_of(), include=["t1"])({"t1": torch.rand(1, *SHAPE), "label": 1, "age": 3})
    assert type(made) is dict
    assert made["t1"].unique().item() in (20, 21, 22)
    assert made["age"] == 3


def test_a_planar_image_takes_planar_pools_of_other_libraries(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 12), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = tio.ScalarImage(tmp_path / "a.png")
    assert read.shape == (1, 12, 8, 1)
    subject = tio.Subject(x=tio.ScalarImage(tensor=torch.zeros_like(read.data)), label=0)
    planar = SyntheticPool.from_arrays(pixels[None, None], [0])
    made = RandomSynthesize(planar)(subject)
    assert torch.equal(made.x.data, read.data)
    deep = SyntheticPool.from_arrays(read.data[None].numpy(), [0])
    assert deep.form.shape == (12, 8, 1)
    assert torch.equal(RandomSynthesize(deep)(subject).x.data, read.data)
    assert made.x.data.is_contiguous()


def test_images_of_files_work(tmp_path: Path) -> None:
    subject_of().t1.save(tmp_path / "a.nii.gz")
    made = RandomSynthesize(pool_of(spacing=SPACING))(tio.Subject(t1=tio.ScalarImage(tmp_path / "a.nii.gz"), label=1))
    assert value(made.t1) >= 20
    np.testing.assert_allclose(made.t1.affine, AFFINE)


# -- what does not fit ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "told"),
    [
        ({"shape": (1, 10, 9, 7)}, r"t1's size, \(10, 9, 8\), found \(10, 9, 7\); use CropOrPad or Resize before"),
        ({"dtype": "int16"}, "t1's type, torch.float32, found torch.int16; put the transform first"),
        ({"shape": (2, *SHAPE)}, "images of 1 channels, those of t1 together, found 2"),
        ({"spacing": (1, 1, 2)}, "volumes, 1 x 1 x 2 mm, found 1 x 1.5 x 2 mm; use ToCanonical and Resample on t1"),
        ({"affine": AFFINE @ np.diag([-1, 1, 1, 1])}, "axes .*, found .*: a synthetic one would be mirrored or turned"),
        ({"shape": (1, 9, 10)}, r"t1's size, \(10, 9, 8\), found \(10, 9, 1\)"),
    ],
    ids=["size", "type", "channels", "spacing", "orientation", "plane"],
)
def test_images_that_are_no_twins_are_refused(pool: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        RandomSynthesize(pool_of(**pool))(subject_of())


def test_a_spacing_that_the_header_rounds_is_the_same() -> None:
    rounded = tuple(float(np.float32(width * 1.00001)) for width in SPACING)
    assert value(RandomSynthesize(pool_of(spacing=rounded))(subject_of()).t1) >= 20


def test_resampled_subjects_fit() -> None:
    subject = tio.Subject(
        t1=tio.ScalarImage(tensor=torch.rand(1, 10, 18, 16), affine=np.diag([1, 0.75, 1, 1])), label=1
    )
    made = tio.Compose([tio.Resample(SPACING), RandomSynthesize(pool_of(spacing=SPACING))])(subject)
    assert value(made.t1) >= 20
    assert made.spacing == SPACING


def with_map(**maps: Any) -> Any:
    subject = subject_of(1)
    for name, dtype in maps.items():
        subject.add_image(tio.LabelMap(tensor=torch.full((1, *SHAPE), 7).to(dtype), affine=AFFINE), name)
    return subject


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float32])
def test_the_label_map_becomes_the_sources_mask(dtype: Any) -> None:
    masks = np.stack([np.full(SHAPE, row) for row in range(9)])
    made = RandomSynthesize(pool_of(masks=masks))(with_map(seg=dtype))
    assert type(made.seg) is tio.LabelMap
    assert made.seg.data.dtype == dtype
    assert value(made.seg) - 3 == value(made.t1) - 20  # of the same row
    np.testing.assert_array_equal(made.seg.affine, AFFINE)


def test_a_label_map_without_a_mask_is_refused() -> None:
    with pytest.raises(DataError, match="expected a source with masks for the label map seg, found images alone"):
        RandomSynthesize(pool_of())(with_map(seg=torch.uint8))
    with pytest.raises(DataError, match="expected one label map, as a source has one mask an image, found a, b;"):
        RandomSynthesize(pool_of(masks=np.zeros((9, *SHAPE), np.uint8)))(with_map(a=torch.uint8, b=torch.uint8))


def test_a_label_map_that_is_excluded_stays() -> None:
    made = RandomSynthesize(pool_of(), exclude=["field"])(with_map(field=torch.uint8))
    assert value(made.field) == 7
    assert value(made.t1) >= 20
    again = made.get_composed_history()(with_map(field=torch.uint8))
    assert torch.equal(again.t1.data, made.t1.data)


def test_a_label_map_of_several_channels_is_refused() -> None:
    subject = subject_of(1, seg=tio.LabelMap(tensor=torch.ones(2, *SHAPE, dtype=torch.uint8)))
    with pytest.raises(DataError, match=r"the label map seg's shape, \(2, 10, 9, 8\), found \(1, 10, 9, 8\)"):
        RandomSynthesize(pool_of(masks=np.zeros((9, *SHAPE), np.uint8)))(subject)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: RandomSynthesize("nowhere"), "nowhere"),
        (lambda: RandomSynthesize(3), "expected a SyntheticPool, a Synthesizer, or the path of one, found int"),
        (lambda: RandomSynthesize(live(image_spec=None)), "expected a synthesizer with an image_spec"),
        (lambda: Synthesize(pool_of(), -1), "expected seed= from 0"),
        (lambda: Synthesize(pool_of(), True), "expected seed= from 0"),
    ],
)
def test_parameters_that_cannot_work_are_refused(make: Any, told: str) -> None:
    with pytest.raises((ConfigError, ArtifactError), match=told):
        make()


# -- history, replay, inversion ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "folder", "path", "view", "live"])
def test_the_history_makes_the_same_image_again(kind: str, folder: Path) -> None:
    subject = subject_of(1)
    source: Any
    if kind == "live":
        spec = spec_of(shape=SHAPE, dtype="float32")
        source, subject = live(shape=(1, *SHAPE), image_spec=spec), subject_of(1)
    else:
        opened = SyntheticPool.open(folder)
        source = {"memory": pool_of(), "folder": opened, "path": str(folder)}.get(
            kind, opened.filter(np.arange(9) % 3 > 0)
        )
    transform = tio.Compose([RandomSynthesize(source), tio.RandomFlip(axes=(0, 1, 2)), tio.RandomNoise()])
    for _ in range(5):
        made = transform(subject)
        assert type(made.history[0]) is Synthesize
        again = made.get_composed_history()(subject)
        assert torch.equal(again.t1.data, made.t1.data)
        assert [step.seed for step in again.history[:1]] == [step.seed for step in made.history[:1]]


def test_the_history_makes_the_same_image_of_several_images() -> None:
    pool = pool_of(shape=(2, *SHAPE))
    subject = subject_of(1, t2=tio.ScalarImage(tensor=torch.rand(1, *SHAPE), affine=AFFINE))
    made = RandomSynthesize(pool)(subject)
    again = made.get_composed_history()(subject)
    assert torch.equal(again.t1.data, made.t1.data)
    assert torch.equal(again.t2.data, made.t2.data)


def test_nothing_that_is_random_is_left_in_a_replay() -> None:
    pool, subject = pool_of(), subject_of(1)
    step = RandomSynthesize(pool)(subject).history[0]
    assert isinstance(step, Synthesize)
    assert len({value(step(subject).t1) for _ in range(10)}) == 1


def test_it_is_skipped_where_a_history_is_inverted() -> None:
    subject = subject_of(1)
    transform = tio.Compose([RandomSynthesize(pool_of()), tio.RandomFlip(axes=0, flip_probability=1)])
    made = transform(subject)
    assert not made.history[0].is_invertible()
    with pytest.warns(RuntimeWarning, match="Skipping Synthesize as it is not invertible"):
        back = made.apply_inverse_transform()
    assert value(back.t1) >= 20  # the real image is gone
    assert back.history == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.apply_inverse_transform(warn=False)
        made.apply_inverse_transform(ignore_intensity=True)
    with pytest.raises(RuntimeError, match="Synthesize is not invertible"):
        made.history[0].inverse()


def test_names_are_unlike_those_of_other_transforms() -> None:
    """A history is made again from the bare names of classes."""
    from torchio.utils import get_subclasses

    names = [kind.__name__ for kind in set(get_subclasses(tio.Transform))]
    assert names.count("Synthesize") == names.count("RandomSynthesize") == 1


def test_a_seed_makes_it_repeat() -> None:
    transform, subject = RandomSynthesize(pool_of()), subject_of(1)
    first = values_of(transform, subject, 12, seed=4)
    assert first == values_of(transform, subject, 12, seed=4)
    assert first == values_of(RandomSynthesize(pool_of()), subject, 12, seed=4)
    assert first != values_of(transform, subject, 12, seed=5)


def test_it_draws_from_torch_alone() -> None:
    state = np.random.get_state()[1].copy()
    RandomSynthesize(pool_of())(subject_of(1))
    assert (np.random.get_state()[1] == state).all()


def test_a_synthesizer_draws_anew_each_time_under_torchios_numpy_errors() -> None:
    """TorchIO calls transforms with numpy's floating-point errors raised."""
    for dtype in ("float32", "uint8"):
        source = live(shape=(1, *SHAPE), image_spec=spec_of(shape=SHAPE, dtype=dtype))
        subject = subject_of(2, dtype=getattr(torch, dtype))
        torch.manual_seed(0)
        made = [RandomSynthesize(source)(subject) for _ in range(3)]
        assert not torch.equal(made[0].t1.data, made[1].t1.data)
        assert made[0].t1.data.dtype == getattr(torch, dtype)


@pytest.mark.parametrize("shape", [SHAPE, (9, 8)], ids=["volume", "plane"])
def test_an_image_conditioned_synthesizer_sees_the_subjects_own_image(shape: tuple[int, ...]) -> None:
    own = torch.randint(0, 256, (1, *(SHAPE if len(shape) == 3 else (8, 9, 1)))).to(torch.uint8)
    subject = tio.Subject(t1=tio.ScalarImage(tensor=own), label=1)
    made = RandomSynthesize(Mirror(spec_of(shape=shape)))(subject)
    assert torch.equal(made.t1.data, 255 - own)
    assert torch.equal(made.get_composed_history()(subject).t1.data, made.t1.data)


@pytest.mark.parametrize("outer", ["OneOf", "Compose of Compose"])
def test_it_works_within_other_transforms(outer: str) -> None:
    inner = RandomSynthesize(pool_of())
    transform = tio.OneOf([inner]) if outer == "OneOf" else tio.Compose([tio.Compose([inner])])
    made = transform(subject_of(1))
    assert value(made.t1) >= 20
    assert [type(step).__name__ for step in made.history] == ["Synthesize"]


def test_it_says_what_it_is(folder: Path) -> None:
    made = RandomSynthesize(folder)(subject_of(1))
    seed = made.history[0].seed
    assert repr(made.history[0]) == f"Synthesize(source='{folder}', seed={seed}, class_key=label)"
    memory = RandomSynthesize(pool_of())(subject_of(1)).history[0]
    assert "source=SyntheticPool(9 of 9 candidates, 3 classes)" in repr(memory)


# -- in other processes -----------------------------------------------------------------------------------------------


def test_pickles_hold_no_images_that_lie_in_a_folder(folder: Path) -> None:
    transform = RandomSynthesize(SyntheticPool.open(folder))
    assert len(pickle.dumps(transform)) < 10_000
    assert values_of(pickle.loads(pickle.dumps(transform)), subject_of(1), 9) == values_of(transform, subject_of(1), 9)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_subjects_hold_no_pool(kind: str, folder: Path) -> None:
    pool = pool_of(shape=(1, 40, 40, 40)) if kind == "memory" else SyntheticPool.open(folder)
    subject = subject_of(1, shape=(1, *pool.form.shape))
    made = RandomSynthesize(pool)(subject)
    assert len(pickle.dumps(made)) < len(pickle.dumps(subject)) + 2000
    assert len(pickle.dumps(made.history)) < 2500
    back = pickle.loads(pickle.dumps(made))
    assert torch.equal(back.get_composed_history()(subject).t1.data, made.t1.data)


def test_copies_of_transforms_and_subjects_copy_no_pool() -> None:
    pool = pool_of()
    transform = RandomSynthesize(pool)
    assert copy.deepcopy(transform)._reference.found().pool is pool
    made = copy.deepcopy(copy.deepcopy(transform)(subject_of(1)))
    assert made.history[0]._reference.found().pool is pool


def test_a_history_finds_no_pool_that_was_built_anew_in_the_same_folder(folder: Path) -> None:
    subject = subject_of(1)
    stored = pickle.dumps(RandomSynthesize(folder)(subject).history)
    gc.collect()  # the source of the transform is gone, and is looked for in the folder
    again = pickle.loads(stored)[0](subject)
    assert value(again.t1) >= 20
    del again
    shutil.rmtree(folder)
    pool_of(spacing=SPACING, labels=(0, 0, 0, 1, 1, 1, 2, 2, 1)).save(folder, progress=False)
    gc.collect()
    with pytest.raises(DataError, match="as it was when items were made of it, found other rows or weights"):
        pickle.loads(stored)[0](subject)


ELSEWHERE = """
import pickle, sys, torch, torchio as tio
import gan_augment as ga
from gan_augment.integrations.torchio import RandomSynthesize
made, original = pickle.loads(open(sys.argv[1], "rb").read())
if len(sys.argv) > 2:
    pool = ga.SyntheticPool.open(sys.argv[2])
    transform = RandomSynthesize(pool.filter(pool.labels == 1))
print(torch.equal(made.get_composed_history()(original).t1.data, made.t1.data))
"""


def elsewhere(path: Path, *made: Any, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    path.write_bytes(pickle.dumps(made))
    command = [sys.executable, "-c", ELSEWHERE, str(path), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_history_is_found_again_in_another_process(folder: Path, tmp_path: Path) -> None:
    """By the folder of the pool; of one in memory, or that has changed since, it says so."""
    subject = subject_of(1)
    done = elsewhere(tmp_path / "a", RandomSynthesize(folder)(subject), subject)
    assert done.stdout.strip() == "True", done.stderr
    done = elsewhere(tmp_path / "b", RandomSynthesize(pool_of())(subject), subject)
    assert "DataError: expected SyntheticPool(9 of 9 candidates, 3 classes) in this process" in done.stderr
    pool = SyntheticPool.open(folder)
    view = RandomSynthesize(pool.filter(pool.labels == 1))(subject)
    done = elsewhere(tmp_path / "c", view, subject)
    assert "as it was when items were made of it, found other rows" in done.stderr
    done = elsewhere(tmp_path / "d", view, subject, more=(str(folder),))
    assert done.stdout.strip() == "True", done.stderr


METHODS = ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver"))]


def drawn_by_workers(transform: Any, method: str, seed: int) -> list[tuple[float, float]]:
    subjects = [subject_of(1, shape=(1, 4, 4, 4)) for _ in range(12)]
    torch.manual_seed(seed)
    context = {"multiprocessing_context": method, "num_workers": 2}
    loader = tio.SubjectsLoader(tio.SubjectsDataset(subjects, transform=transform), batch_size=6, **context)
    return [float(image.max()) for batch in loader for image in batch["t1"][tio.DATA]]


@pytest.mark.parametrize("method", METHODS)
def test_workers_draw_different_images_and_the_same_for_a_seed(method: str) -> None:
    pool = pool_of(shape=(1, 4, 4, 4), labels=[1] * 200)
    transform = tio.Compose([RandomSynthesize(pool)])
    found = drawn_by_workers(transform, method, 3)
    assert len(set(found)) > 8
    assert found == drawn_by_workers(transform, method, 3)
    if method == "fork":
        assert found != drawn_by_workers(transform, method, 4)


def histories(subjects: list[Any]) -> list[Any]:
    return subjects


@pytest.mark.parametrize("method", METHODS)
def test_a_history_from_a_worker_makes_the_same_image_here(method: str) -> None:
    originals = [subject_of(label, shape=(1, 4, 4, 4)) for label in (0, 1, 2)]
    pool = pool_of(shape=(1, 4, 4, 4))  # in memory
    dataset = tio.SubjectsDataset(originals, transform=RandomSynthesize(pool))
    loader = DataLoader(dataset, batch_size=3, collate_fn=histories, num_workers=1, multiprocessing_context=method)
    (made,) = list(loader)
    for original, subject in zip(originals, made, strict=True):
        assert torch.equal(subject.get_composed_history()(original).t1.data, subject.t1.data)


def test_batches_of_real_and_synthetic_subjects_collate() -> None:
    subjects = [subject_of(number % 3, age=number, name=str(number)) for number in range(8)]
    dataset = tio.SubjectsDataset(subjects, transform=RandomSynthesize(pool_of(), p=0.5))
    torch.manual_seed(1)
    (batch,) = list(tio.SubjectsLoader(dataset, batch_size=8))
    assert batch["t1"][tio.DATA].shape == (8, 1, *SHAPE)
    assert [int(label) for label in batch["label"]] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert 0 < sum(len(image.unique()) == 1 for image in batch["t1"][tio.DATA]) < 8
    again = tio.SubjectsDataset.from_batch(batch)
    assert torch.equal(again[3].t1.data, batch["t1"][tio.DATA][3])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_pool_built_for_subjects_fits_them(tmp_path: Path) -> None:
    """Fit aside, as a user goes: a synthesizer, a pool like the dataset, the transform; spacing is looked at."""
    subjects = [subject_of(label) for label in (0, 0, 0, 0, 1, 1)]
    base = tio.SubjectsDataset(subjects)
    view = RawView(base, progress=False)
    synthesizer = ga.wrap(_draw, num_classes=2, image_shape=(1, 10, 10, 8), image_spec=view.spec())
    counts, out = {0: 2, 1: 3}, tmp_path / "pool"
    pool = SyntheticPool.build(synthesizer, like=base, counts=counts, reserve=1, out=out, progress=False)
    assert pool.spacing == pytest.approx(SPACING)
    made = RandomSynthesize(pool)(subjects[5])
    assert made.t1.shape == (1, *SHAPE)
    other = tio.Subject(t1=tio.ScalarImage(tensor=torch.rand(1, *SHAPE)), label=1)
    with pytest.raises(DataError, match=r"volumes, 1 x 1\.5 x 2 mm, found 1 x 1 x 1 mm"):
        RandomSynthesize(pool)(other)


def _draw(labels: Any, seeds: Any) -> Any:
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    noise = torch.stack([torch.rand(1, 10, 10, 8, generator=generator) for generator in generators])
    return (noise + labels.reshape(-1, 1, 1, 1, 1)) / 2


# -- files of the page ------------------------------------------------------------------------------------------------


def page_files(root: Path) -> None:
    """Writes data/*.nii.gz of three tissues with labels.csv, and runs/pool."""
    import nibabel

    affine, rng = np.diag([1.0, 1.0, 2.0, 1.0]), np.random.default_rng(0)
    pool, lines = [], ["name,tissue"]
    (root / "data").mkdir()
    for tissue, (name, count) in enumerate((("csf", 18), ("grey", 6), ("white", 4))):
        volumes = np.asarray(200 + 300 * tissue + rng.normal(0, 20, (count + 8, 12, 11, 10)), np.float32)
        for number, volume in enumerate(volumes[:count]):
            nibabel.save(nibabel.Nifti1Image(volume, affine), root / f"data/{name}{number}.nii.gz")
            lines.append(f"{name}{number},{name}")
        pool.append(volumes[count:, None])
    (root / "data/labels.csv").write_text("\n".join(lines))
    names = np.repeat(["csf", "grey", "white"], 8)
    SyntheticPool.from_arrays(np.concatenate(pool), names, affine=affine).save(root / "runs/pool", progress=False)


def test_a_subject_in_other_units_than_the_source_is_told_so() -> None:
    volumes = np.random.default_rng(0).integers(0, 3000, (4, 1, 8, 8, 8)).astype(np.float32)
    pool = SyntheticPool.from_arrays(volumes, [0, 0, 1, 1])
    subject = tio.Subject(t1=tio.ScalarImage(tensor=torch.rand(1, 8, 8, 8) * 2000), label=1)
    assert RandomSynthesize(pool, p=1)(subject)["t1"].data.max() > 2000
    with pytest.raises(DataError, match=r"in the raw units of the synthetic images, which range over .* put the"):
        RandomSynthesize(pool, p=1)(tio.ZNormalization()(subject))
