"""RandomSyntheticLesion, by the contracts that TorchIO's own transforms keep, and on a real brain."""

import copy
import importlib.util
import pickle
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import torchio as tio
from scipy import ndimage
from torch.utils.data import DataLoader

from gan_augment.errors import ConfigError, DataError
from gan_augment.integrations.torchio import RandomSyntheticLesion, SyntheticLesion
from gan_augment.pool import SyntheticPool
from tests.transforms.sources import live, marked_pool

SHAPE = (20, 22, 18)
OBLIQUE = np.array([[-0.8, -0.6, 0, 30], [0.6, -0.8, 0, -20], [0, 0, 1, 5], [0, 0, 0, 1]])
"""Turned in the plane, spacing 1 mm."""

METHODS = ["fork", *(pytest.param(method, marks=pytest.mark.slow) for method in ("spawn", "forkserver"))]


def pool_of(
    count: int = 4, channels: int = 1, side: int = 7, dtype: Any = np.float32, labels: Any = None, **more: Any
) -> SyntheticPool:
    """Cubes of 3 voxels that are `40 + 10 * row` within 20, their masks 1 + row % 2; channels differ by 100."""
    images = np.full((count, channels, side, side, side), 20.0)
    masks = np.zeros((count, side, side, side), np.uint8)
    inner = (slice(side // 2 - 1, side // 2 + 2),) * 3
    for row in range(count):
        images[(row, slice(None), *inner)] = 40 + 10 * row
        masks[(row, *inner)] = 1 + row % 2
    images += 100 * np.arange(channels).reshape(-1, 1, 1, 1)
    return SyntheticPool.from_arrays(
        images.astype(dtype), [0] * count if labels is None else labels, masks=masks, **more
    )


def subject_of(
    dtype: Any = torch.float32, affine: Any = OBLIQUE, shape: tuple[int, ...] = SHAPE, **more: Any
) -> tio.Subject:
    """Tissue of about 100, white matter in half of it, nothing drawn."""
    white = np.zeros((1, *shape), np.uint8)
    white[0, 2:-2, 3:-4, 2 : shape[2] // 2 + 2] = 2
    rng = np.random.default_rng(0)
    images = {
        "t1": tio.ScalarImage(tensor=torch.from_numpy(rng.uniform(90, 110, (1, *shape))).to(dtype), affine=affine),
        "white": tio.LabelMap(tensor=white, affine=affine),
        "lesions": tio.LabelMap(tensor=np.zeros((1, *shape), np.uint8), affine=affine),
    }
    return tio.Subject({**images, **more})


def insert(source: Any = None, masking_method: Any = "white", **settings: Any) -> RandomSyntheticLesion:
    return RandomSyntheticLesion(pool_of() if source is None else source, masking_method, "lesions", **settings)


def hard(source: Any = None, masking_method: Any = "white", **settings: Any) -> RandomSyntheticLesion:
    """Leaves the patches' own values, by which they are known."""
    return insert(source, masking_method, **{"blending": "alpha", "feather": 0, **settings})


def drawn(subject: Any) -> np.ndarray:
    return subject.lesions.data[0].numpy() > 0


def values(subject: Any, name: str = "t1") -> set[float]:
    return set(subject[name].data[0].numpy()[drawn(subject)].tolist())


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


# -- what becomes of a subject ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("blending", ["alpha", "offset", "poisson"])
def test_image_and_label_map_change_in_the_lesion_and_nowhere_else(blending: Any) -> None:
    subject = subject_of()
    for _ in range(10):
        made = insert(blending=blending)(subject)
        changed = (made.t1.data != subject.t1.data)[0].numpy()
        assert drawn(made).sum() == 27
        np.testing.assert_array_equal(changed, drawn(made))
        assert subject.white.data[0].numpy()[drawn(made)].all()
        assert torch.equal(made.white.data, subject.white.data)


def test_the_label_map_gets_the_masks_values_or_the_one_given() -> None:
    found = {int(hard()(subject_of()).lesions.data.max()) for _ in range(20)}
    assert found == {1, 2}
    assert {int(hard(label_value=9)(subject_of()).lesions.data.max()) for _ in range(5)} == {9}


def test_every_patch_is_drawn_and_each_with_its_own_mask() -> None:
    found = set()
    for _ in range(40):
        made = hard()(subject_of())
        (value,) = values(made)
        found.add((value, int(made.lesions.data.max())))
    assert found == {(40, 1), (50, 2), (60, 1), (70, 2)}


def test_the_input_is_not_changed_also_without_a_copy() -> None:
    subject = subject_of()
    before = copy.deepcopy(subject)
    tensor = subject.t1.data
    insert()(subject)
    assert all(torch.equal(subject[name].data, before[name].data) for name in subject)
    assert subject.history == []
    insert(copy=False)(subject)
    assert drawn(subject).any()  # as TorchIO has it, the subject is the same one
    assert torch.equal(tensor, before.t1.data)  # what others hold is not


def test_voxels_that_share_memory_are_changed_alone() -> None:
    flat = tio.ScalarImage(tensor=torch.full((1, 1, 1, 1), 100.0).expand(1, *SHAPE), affine=OBLIQUE)
    made = hard()(subject_of(t1=flat))
    assert (made.t1.data != 100).sum() == 27
    assert (flat.data == 100).all()


def test_keep_keeps_the_image_without_lesions() -> None:
    subject = subject_of()
    made = insert(keep={"t1": "before"})(subject)
    assert torch.equal(made.before.data, subject.t1.data)
    assert not torch.equal(made.t1.data, subject.t1.data)


def test_the_pool_is_not_changed() -> None:
    pool = pool_of(1)
    made = hard(pool)(subject_of())
    made.t1.data.fill_(-1)
    assert set(np.unique(pool.array(0))) == {20, 40}


def test_affine_entries_and_types_stay() -> None:
    subject = subject_of(age=61, name="a")
    made = insert()(subject)
    assert list(made) == list(subject)
    assert (made["age"], made.name) == (61, "a")
    assert type(made) is tio.Subject
    assert type(made.t1) is tio.ScalarImage
    assert type(made.lesions) is tio.LabelMap
    np.testing.assert_array_equal(made.t1.affine, OBLIQUE)
    assert torch.equal(made["lesions"].data, made.lesions.data)
    assert made.lesions.data.dtype == torch.uint8


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float16", "float32", "float64"])
def test_every_type_stays_and_gets_the_same_lesion(dtype: str) -> None:
    made = hard()(subject_of(getattr(torch, dtype)))
    assert made.t1.data.dtype == getattr(torch, dtype)
    assert made.t1.data.is_contiguous()
    assert values(made) == values(_seeded_anew(hard(), subject_of()))


def _seeded_anew(transform: Any, subject: Any) -> Any:
    torch.manual_seed(0)
    return transform(subject)


def test_a_ct_is_clipped_and_does_not_wrap() -> None:
    image = tio.ScalarImage(tensor=torch.full((1, *SHAPE), 32760, dtype=torch.int16), affine=OBLIQUE)
    pool = SyntheticPool.from_arrays(np.full((1, 1, 3, 3, 3), 9e4, np.float32), [0], masks=np.ones((1, 3, 3, 3), int))
    assert values(hard(pool)(subject_of(t1=image))) == {32767}
    image.set_data(torch.full((1, *SHAPE), 250, dtype=torch.uint8))
    assert values(hard(pool)(subject_of(t1=image))) == {255}


def test_the_level_of_the_image_is_kept_by_default() -> None:
    """Tissue of 20 in the patch and of 100 in the image: the lesion is 20 to 50 above it."""
    for blending in ("offset", "poisson"):
        made = insert(blending=blending, feather=0)(subject_of())
        assert all(110 < value < 160 for value in values(made))
    assert max(values(insert(blending="alpha")(subject_of()))) < 100


def test_feathering_shows_the_image_at_the_border() -> None:
    flat = tio.ScalarImage(tensor=torch.full((1, *SHAPE), 100.0), affine=OBLIQUE)
    made = insert(pool_of(1), blending="alpha", feather=1.0)(subject_of(t1=flat))
    assert values(made) == {40, 70}  # the middle voxel and those around
    (middle,) = np.argwhere(made.t1.data[0].numpy() == 40)
    assert ndimage.center_of_mass(drawn(made)) == tuple(middle)


# -- which images -----------------------------------------------------------------------------------------------------


def with_flair(**more: Any) -> tio.Subject:
    return subject_of(flair=tio.ScalarImage(tensor=torch.full((1, *SHAPE), 7.0), affine=OBLIQUE), **more)


def test_each_image_gets_its_own_channel() -> None:
    made = hard(pool_of(1, channels=2))(with_flair())
    assert (values(made), values(made, "flair")) == ({40}, {140})
    changed = [(made[name].data != with_flair()[name].data)[0].numpy() for name in ("t1", "flair")]
    np.testing.assert_array_equal(*changed)


def test_include_says_which_image_each_channel_goes_to() -> None:
    made = hard(pool_of(1, channels=2), include=["flair", "t1"])(with_flair())
    assert (values(made, "flair"), values(made)) == ({40}, {140})
    again = made.get_composed_history()(with_flair())
    assert torch.equal(again.t1.data, made.t1.data)


@pytest.mark.parametrize("settings", [{"include": ["flair"]}, {"exclude": ["t1"]}])
def test_an_image_that_is_left_out_stays(settings: Any) -> None:
    made = hard(pool_of(1), **settings)(with_flair())
    assert values(made, "flair") == {40}
    assert torch.equal(made.t1.data, with_flair().t1.data)


def test_an_image_of_several_channels_takes_as_many() -> None:
    both = tio.ScalarImage(tensor=torch.zeros(2, *SHAPE), affine=OBLIQUE)
    made = hard(pool_of(1, channels=3))(with_flair(t1=both))
    inside = drawn(made)
    assert [set(channel[inside].tolist()) for channel in made.t1.data.numpy()] == [{40}, {140}]
    assert values(made, "flair") == {240}


def test_a_dict_works_as_for_every_transform() -> None:
    subject = subject_of()
    given = {name: image.data for name, image in subject.items()} | {"age": 5}
    names = ["t1", "white", "lesions"]
    made = hard(include=names, label_keys=names[1:])(given)
    assert type(made) is dict
    assert made["age"] == 5
    assert (made["t1"] != given["t1"]).sum() == (made["lesions"] > 0).sum() == 27


def test_images_of_files_work(tmp_path: Path) -> None:
    for name, image in subject_of(torch.int16).items():
        image.save(tmp_path / f"{name}.nii.gz")
    subject = tio.Subject(
        t1=tio.ScalarImage(tmp_path / "t1.nii.gz"),
        white=tio.LabelMap(tmp_path / "white.nii.gz"),
        lesions=tio.LabelMap(tmp_path / "lesions.nii.gz"),
    )
    made = hard()(subject)
    assert made.t1.data.dtype == torch.int16
    assert drawn(made).sum() == 27
    made.t1.save(tmp_path / "made.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "made.nii.gz").affine, OBLIQUE, atol=1e-5)


def test_a_plane_takes_patches_of_depth_one() -> None:
    masks = np.zeros((1, 5, 5, 1), np.uint8)
    masks[:, 1:4, 1:4] = 1
    pool = SyntheticPool.from_arrays(np.full((1, 1, 5, 5, 1), 40.0, np.float32), [0], masks=masks)
    flat = {name: type(image)(tensor=image.data[..., 5:6], affine=OBLIQUE) for name, image in subject_of().items()}
    for blending in ("offset", "poisson"):
        assert drawn(insert(pool, blending=blending)(tio.Subject(flat))).sum() == 9


# -- the place --------------------------------------------------------------------------------------------------------


def halves(tensor: torch.Tensor) -> torch.Tensor:
    return torch.arange(tensor.shape[2])[None, None, :, None].expand(*tensor.shape) > 9


@pytest.mark.parametrize(
    ("method", "inside"),
    [
        (halves, np.s_[:, 10:, :]),
        ("Left", np.s_[:10, :, :]),
        ((8, 9, 7), np.s_[8:-8, 9:-9, 7:-7]),
        (None, np.s_[:, :, :]),
    ],
    ids=["callable", "side", "bounds", "anywhere"],
)
def test_masking_methods_are_those_of_torchio(method: Any, inside: Any) -> None:
    allowed = np.zeros(SHAPE, bool)
    allowed[inside] = True
    places = set()
    for _ in range(12):
        made = hard(masking_method=method)(subject_of())
        assert allowed[drawn(made)].all()
        places.add(tuple(made.history[0].center[0]))
    assert len(places) > 3


def test_values_of_the_label_map_say_where() -> None:
    tissue = torch.ones(1, *SHAPE, dtype=torch.uint8)
    tissue[:, 8:14] = 3
    subject = subject_of(tissue=tio.LabelMap(tensor=tissue, affine=OBLIQUE))
    for _ in range(8):
        made = hard(masking_method="tissue", masking_labels=[3, 4])(subject)
        assert (tissue[0].numpy()[drawn(made)] == 3).all()


def test_lesions_may_be_a_value_of_the_map_that_tells_where() -> None:
    subject = subject_of()
    transform = RandomSyntheticLesion(pool_of(), "white", "white", label_value=5, num_lesions=3)
    made = transform(subject)
    assert made.white.count_labels()[5] == 81
    assert (subject.white.data[made.white.data == 5] == 2).all()
    with pytest.raises(ConfigError, match="expected label_value= for lesions in the label map 'white'"):
        RandomSyntheticLesion(pool_of(), "white", "white")


def test_several_lesions_do_not_overlap() -> None:
    counts = set()
    for _ in range(20):
        made = hard(num_lesions=(1, 4))(subject_of())
        number = len(made.history[0].center)
        assert drawn(made).sum() == 27 * number
        counts.add(number)
    assert counts == {1, 2, 3, 4}


def test_a_lesion_that_is_there_is_not_covered_unless_that_is_asked_for() -> None:
    there = subject_of()
    there.lesions.data[there.white.data > 0] = 1
    there.lesions.data[:, 5:8, 5:8, 5:8] = 0
    made = hard()(there)
    assert made.history[0].center == [[6, 6, 6]]
    places = {tuple(hard(overlap=True)(there).history[0].center[0]) for _ in range(8)}
    assert len(places) > 4


def test_where_there_is_no_place_the_subject_stays_and_it_is_said() -> None:
    subject = subject_of()
    subject.white.data.zero_()
    with pytest.warns(RuntimeWarning, match="No place for a synthetic lesion in the mask"):
        made = insert()(subject)
    assert made.history == []
    assert not drawn(made).any()
    assert torch.equal(made.t1.data, subject.t1.data)


def test_fewer_lesions_are_inserted_where_no_more_find_a_place() -> None:
    subject = subject_of()
    subject.white.data.zero_()
    subject.white.data[:, 5:8, 5:8, 5:8] = 1
    made = insert(num_lesions=3)(subject)
    assert made.history[0].center == [[6, 6, 6]]


def test_p_is_the_probability_of_lesions() -> None:
    found = [bool(insert(p=0.3)(subject_of()).history) for _ in range(100)]
    assert 15 < sum(found) < 45
    none = sum(not insert(num_lesions=(0, 1))(subject_of()).history for _ in range(40))
    assert 8 < none < 32  # and no warning


# -- class and size of the patch --------------------------------------------------------------------------------------


def test_the_class_of_the_lesion_is_chosen_or_drawn_by_weights() -> None:
    pool = pool_of(4, labels=["ms", "tumour", "tumour", "stroke"])  # 40, 50 and 60, 70
    subject = subject_of()

    def found(label: Any, count: int) -> list[float]:
        transform = hard(pool, label=label)
        return [values(transform(subject)).pop() for _ in range(count)]

    assert set(found("tumour", 20)) == {50, 60}
    by_weight = found({"ms": 3, "stroke": 1, "tumour": 0}, 80)
    assert set(by_weight) == {40, 70}
    assert 45 < by_weight.count(40) < 75
    every = found(None, 90)
    assert set(every) == {40, 50, 60, 70}
    assert 15 < every.count(40) < 45
    assert hard(pool, label="ms")(subject).history[0].label == ["ms"]


@pytest.mark.parametrize("spacing", [(2, 2, 2), (1, 1, 2), (0.5, 0.8, 1.7)])
def test_a_lesion_has_the_same_size_in_mm_in_every_image(spacing: tuple[float, ...]) -> None:
    masks = np.zeros((1, 15, 15, 15), np.uint8)
    masks[:, 3:12, 3:12, 3:12] = 1
    pool = SyntheticPool.from_arrays(np.ones((1, 1, 15, 15, 15), np.float32), [0], masks=masks, spacing=(1, 1, 1))
    turned = OBLIQUE @ np.diag([*spacing, 1])
    made = hard(pool, masking_method=None)(subject_of(affine=turned, shape=(26, 26, 26)))
    for axis, width in enumerate(spacing):
        others = tuple(other for other in range(3) if other != axis)
        assert abs(drawn(made).any(axis=others).sum() * width - 9) <= width / 2 + 0.5


def test_a_pool_of_unknown_spacing_is_taken_voxel_by_voxel() -> None:
    assert drawn(hard()(subject_of(affine=np.diag([0.4, 1, 3, 1])))).sum() == 27


def test_a_lesion_too_small_for_the_voxels_is_left_out() -> None:
    masks = np.zeros((1, 6, 6, 6), np.uint8)
    masks[:, 0, 0, 0] = 1
    pool = SyntheticPool.from_arrays(np.ones((1, 1, 6, 6, 6), np.float32), [0], masks=masks, spacing=(1, 1, 1))
    with pytest.warns(RuntimeWarning, match="No place"):
        assert insert(pool)(subject_of(affine=np.diag([6, 6, 6, 1]))).history == []


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: insert(marked_pool(shape=(1, 5, 5, 5))), "expected a pool with masks, which tell what of a patch"),
        (lambda: insert(live()), "expected a pool with masks"),
        (lambda: insert("nowhere"), "nowhere"),
        (lambda: insert(marked_pool(masks=np.ones((6, 8, 8), int))), r"expected a pool of volumes .* found .*\(8, 8\)"),
        (lambda: insert(pool_of().filter(np.zeros(4, bool))), "expected a pool with a patch in it"),
        (lambda: insert(label=3), r"expected label= of classes that the pool has .*, \[0\], found 3"),
        (lambda: insert(pool_of(2, labels=["a", "b"]), label="c"), r"expected label= of classes .* found 'c'"),
        (lambda: insert(label={0: -1}), "expected weights of at least 0"),
        (lambda: insert(label={}), "expected label= of classes"),
        (lambda: insert(num_lesions=0), "expected num_lesions of at least 1"),
        (lambda: insert(num_lesions=(3, 1)), r"expected num_lesions= a number or a range"),
        (lambda: insert(num_lesions=1.5), "expected num_lesions of at least"),
        (lambda: insert(label_value=0), "expected label_value of at least 1"),
        (lambda: insert(blending="paste"), "expected blending= of alpha, offset, poisson"),
        (lambda: insert(feather=-1), "expected feather= of at least 0 mm"),
        (lambda: SyntheticLesion(pool_of(), 0, -1, (1, 2, 3), "lesions"), "expected seed= from 0"),
        (lambda: SyntheticLesion(pool_of(), 0, 2**63, (1, 2, 3), "lesions"), "expected seed= from 0"),
        (lambda: SyntheticLesion(pool_of(), 0, 0, (1.5, 2, 3), "lesions"), "of whole numbers of each lesion"),
        (lambda: SyntheticLesion(pool_of(), 0, 0, (1, 2), "lesions"), r"a center \(i, j, k\) of whole numbers"),
        (
            lambda: SyntheticLesion(pool_of(), [0, 0], [1], [(1, 2, 3)], "lesions"),
            "a label, a seed and a center",
        ),
    ],
)
def test_parameters_that_cannot_work_are_refused(make: Any, told: str) -> None:
    with pytest.raises((ConfigError, DataError, RuntimeError), match=told):
        make()


@pytest.mark.parametrize(
    ("subject", "settings", "told"),
    [
        (tio.Subject(t1=subject_of().t1), {}, "expected a LabelMap of one channel under 'lesions', found None"),
        (subject_of(lesions=subject_of().t1), {}, "expected a LabelMap of one channel under 'lesions', found Scalar"),
        (
            subject_of(lesions=tio.LabelMap(tensor=np.zeros((2, *SHAPE), np.uint8))),
            {},
            "expected a LabelMap of one channel",
        ),
        (with_flair(), {}, "expected images of 1 channels together, as the pool has, found 2 in t1, flair"),
        (subject_of(), {"include": ["pet"]}, "found 0 in no image; give include="),
        (
            subject_of(white=tio.LabelMap(tensor=np.ones((1, *SHAPE), np.uint8))),
            {},
            "expected images of one space, found white of .* or of different affines; use ToCanonical",
        ),
        (
            subject_of(t1=tio.ScalarImage(tensor=torch.rand(1, 9, 9, 9), affine=OBLIQUE)),
            {},
            r"expected images of one space, found t1 of \(9, 9, 9\) voxels",
        ),
        (subject_of(), {"label_value": 300}, "expected a label map that can hold 300, found one of uint8"),
        (subject_of(), {"masking_method": lambda tensor: tensor[..., :5] > 0}, "expected a mask of .* voxels"),
    ],
)
def test_subjects_that_do_not_fit_are_refused(subject: Any, settings: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        insert(**settings)(subject)


def test_a_masking_method_that_is_not_there_is_refused_in_torchios_words() -> None:
    with pytest.raises(ValueError, match="The name of a label map in the subject"):
        insert(masking_method="grey")(subject_of())


def test_a_lesion_outside_is_refused() -> None:
    with pytest.raises(DataError, match="expected a lesion inside the volume"):
        SyntheticLesion(pool_of(), 0, 3, (0, 5, 5), "lesions")(subject_of())


# -- history, replay, inversion ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return pool_of().save(tmp_path / "pool", progress=False)


@pytest.mark.parametrize("kind", ["memory", "folder", "path", "view"])
@pytest.mark.parametrize("blending", ["offset", "poisson"])
def test_the_history_makes_the_same_lesions_again(kind: str, blending: Any, folder: Path) -> None:
    opened = SyntheticPool.open(folder)
    views = {"memory": pool_of(), "folder": opened, "path": str(folder)}
    source = views.get(kind, opened.filter(np.arange(4) > 1))
    lesions = insert(source, num_lesions=(1, 3), blending=blending, masking_method=halves)
    transform = tio.Compose([tio.RandomFlip(axes=(0, 1, 2)), lesions, tio.RandomNoise()])
    subject = subject_of()
    for _ in range(5):
        made = transform(subject)
        assert [step.name for step in made.history][-2:] == ["SyntheticLesion", "Noise"]
        again = made.get_composed_history()(subject)
        assert all(torch.equal(again[name].data, made[name].data) for name in subject)


def test_nothing_that_is_random_is_left_in_a_replay() -> None:
    subject = subject_of()
    (step,) = insert(num_lesions=2)(subject).history
    one, other = step(subject), step(subject)
    assert torch.equal(one.t1.data, other.t1.data)
    assert torch.equal(one.lesions.data, other.lesions.data)


def test_one_lesion_is_inserted_at_a_place_of_the_users_own() -> None:
    for seed in (2, np.int64(2)):
        made = SyntheticLesion(pool_of(), label=0, seed=seed, center=(10, 9, 8), label_key="lesions")(subject_of())
        assert ndimage.center_of_mass(drawn(made)) == (10, 9, 8)
    assert made.lesions.data.max() == 1


def test_it_is_skipped_where_a_history_is_inverted() -> None:
    made = tio.Compose([insert(), tio.RandomFlip(axes=0, flip_probability=1)])(subject_of())
    with pytest.warns(RuntimeWarning, match="Skipping SyntheticLesion as it is not invertible"):
        back = made.apply_inverse_transform()
    assert drawn(back).any()  # what was there is gone
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.apply_inverse_transform(warn=False)


def test_names_are_unlike_those_of_other_transforms() -> None:
    from torchio.utils import get_subclasses

    names = [kind.__name__ for kind in set(get_subclasses(tio.Transform))]
    assert names.count("SyntheticLesion") == names.count("RandomSyntheticLesion") == 1


def test_a_seed_makes_it_repeat_and_it_draws_from_torch_alone() -> None:
    state = np.random.get_state()[1].copy()

    def found(seed: int) -> list[Any]:
        torch.manual_seed(seed)
        return [insert(num_lesions=(1, 3))(subject_of()).history[0].center for _ in range(6)]

    assert found(4) == found(4) != found(5)
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize("outer", ["compose", "one of", "queue"])
def test_it_works_within_other_transforms(outer: str) -> None:
    subject = subject_of()
    if outer == "queue":
        dataset = tio.SubjectsDataset([subject] * 3, transform=insert())
        sampler = tio.LabelSampler(8, label_name="lesions")
        queue = tio.Queue(dataset, max_length=6, samples_per_volume=2, sampler=sampler, num_workers=0)
        patches = [queue[index] for index in range(6)]
        assert all((patch["lesions"].data > 0).any() for patch in patches)
        return
    made = (tio.Compose([insert()]) if outer == "compose" else tio.OneOf([insert()]))(subject)
    assert [step.name for step in made.history] == ["SyntheticLesion"]


def test_it_says_what_it_is(folder: Path) -> None:
    made = insert(folder, label_value=4)(subject_of())
    step = made.history[0]
    assert repr(step).startswith(f"SyntheticLesion(source='{folder}', label=[0], seed=[{step.seed[0]}], center=[[")


# -- in other processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_subjects_hold_no_pool(kind: str, folder: Path) -> None:
    pool = pool_of(30, side=25) if kind == "memory" else SyntheticPool.open(folder)
    subject = subject_of()
    made = insert(pool)(subject)
    assert len(pickle.dumps(made)) < len(pickle.dumps(subject)) + 2500
    again = pickle.loads(pickle.dumps(made)).get_composed_history()(subject)
    assert torch.equal(again.t1.data, made.t1.data)
    if kind == "folder":
        assert len(pickle.dumps(insert(pool))) < 10_000


def drawn_by_workers(method: str, seed: int) -> list[tuple[int, ...]]:
    dataset = tio.SubjectsDataset([subject_of() for _ in range(8)], transform=insert(blending="alpha"))
    torch.manual_seed(seed)
    context = {"multiprocessing_context": method, "num_workers": 2}
    loader = tio.SubjectsLoader(dataset, batch_size=4, **context)
    batches = [batch["lesions"][tio.DATA].numpy() for batch in loader]
    return [tuple(np.argwhere(lesion > 0)[0].tolist()) for batch in batches for lesion in batch]


@pytest.mark.parametrize("method", METHODS)
def test_workers_draw_different_places_and_the_same_for_a_seed(method: str) -> None:
    found = drawn_by_workers(method, 3)
    assert len(set(found)) > 5
    assert found == drawn_by_workers("fork", 3)  # however workers are started
    assert found != drawn_by_workers("fork", 4)


def as_they_are(subjects: list[Any]) -> list[Any]:
    return subjects


@pytest.mark.parametrize("method", METHODS)
def test_a_history_from_a_worker_makes_the_same_lesion_here(method: str) -> None:
    subject = subject_of()
    dataset = tio.SubjectsDataset([subject] * 3, transform=insert())
    loader = DataLoader(dataset, batch_size=3, collate_fn=as_they_are, num_workers=1, multiprocessing_context=method)
    for made in next(iter(loader)):
        again = made.get_composed_history()(subject)
        assert torch.equal(again.t1.data, made.t1.data)
        assert torch.equal(again.lesions.data, made.lesions.data)


def test_subjects_with_and_without_lesions_collate() -> None:
    dataset = tio.SubjectsDataset([subject_of() for _ in range(8)], transform=insert(p=0.5))
    (batch,) = list(tio.SubjectsLoader(dataset, batch_size=8))
    counts = (batch["lesions"][tio.DATA] > 0).flatten(1).sum(1)
    assert set(counts.tolist()) == {0, 27}


# -- a real brain -----------------------------------------------------------------------------------------------------


def brain() -> tio.Subject:
    """The middle of the ICBM152 template, 1 mm, that nilearn ships, and its white matter."""
    spec = importlib.util.find_spec("nilearn")  # importing it takes seconds
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("expected nilearn, whose files are used")
    data = Path(spec.submodule_search_locations[0], "datasets", "data")
    t1, white = (
        tio.ScalarImage(data / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz") for name in ("t1", "wm")
    )
    subject = tio.Subject(
        t1=tio.ScalarImage(tensor=t1.data / t1.data.max(), affine=t1.affine),
        white=tio.LabelMap(tensor=white.data > 0.9 * white.data.max(), affine=t1.affine),
        lesions=tio.LabelMap(tensor=torch.zeros(t1.shape, dtype=torch.uint8), affine=t1.affine),
    )
    return tio.Crop((30, 30, 30, 30, 50, 50))(subject)


def blobs(count: int, level: float, seed: int = 0) -> SyntheticPool:
    """Dark, soft, uneven blobs in noisy tissue of a level, at 1 mm: toys, and no GAN's."""
    rng, side = np.random.default_rng(seed), 24
    images, masks = [], []
    for _ in range(count):
        axes = rng.uniform(4, 8, 3)
        grids = np.meshgrid(*[(np.arange(side) - (side - 1) / 2) / axis for axis in axes], indexing="ij")
        bumps = ndimage.gaussian_filter(rng.normal(size=(side,) * 3), 2)
        radius = np.sqrt(sum(grid**2 for grid in grids)) + 0.1 * bumps / bumps.std()
        tissue = level + 0.2 * ndimage.gaussian_filter(rng.normal(size=(side,) * 3), 1) * 0.1
        images.append(tissue - 0.3 / (1 + np.exp((radius - 0.8) * 8)))
        masks.append(radius < 1)
    return SyntheticPool.from_arrays(
        np.float32(images)[:, None], ["blob"] * count, masks=np.uint8(masks), spacing=(1, 1, 1)
    )


@pytest.mark.parametrize("blending", ["offset", "poisson"])
def test_lesions_in_a_real_brain_are_in_white_matter_darker_than_it_and_without_a_seam(blending: Any) -> None:
    subject, pool = brain(), blobs(6, level=0.5)  # of another scanner: white matter is 0.87 here
    made = RandomSyntheticLesion(pool, "white", "lesions", num_lesions=4, blending=blending)(subject)
    lesion, before, after = drawn(made), subject.t1.data[0].numpy(), made.t1.data[0].numpy()
    assert lesion.sum() > 1000  # mm³
    assert subject.white.data[0].numpy()[lesion].all()
    np.testing.assert_array_equal(before[~lesion], after[~lesion])
    core = ndimage.binary_erosion(lesion)
    assert (after[core] - before[core]).mean() < -0.1
    border = lesion & ~core
    assert abs((after[border] - before[border]).mean()) < 0.12  # of 0.37 between the two levels


def page_files(folder: Path) -> None:
    """What the section on lesions of docs/integrations/torchio.md opens."""
    (folder / "brain").mkdir()
    for name, new in (("t1", "t1"), ("white", "white_matter"), ("lesions", "lesions")):
        brain()[name].save(folder / "brain" / f"{new}.nii.gz")
    blobs(6, level=0.5).save(folder / "runs" / "lesions", progress=False)
