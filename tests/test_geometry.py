"""Where voxels lie: read off datasets of TorchIO and MONAI, kept by GANs and pools, written to files."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gan_augment as ga
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.geometry import affine_from, as_affine, check_affine, same_spacing, spacing_of
from gan_augment.images import ImageSpec
from gan_augment.pool import SyntheticPool
from gan_augment.source import RawView
from tests.dataset import bases
from tests.helpers import toy_synthesizer
from tests.transforms.sources import spec_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # MONAI's own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::gan_augment.errors.SmallClassWarning"),
]
SHAPE = (8, 9, 10)
AFFINE = np.array([[0, -1.5, 0, 3], [1, 0, 0, -7.25], [0, 0, 2.5, 11], [0, 0, 0, 1]])
SPACING = (1.0, 1.5, 2.5)
MIRRORED = AFFINE @ np.diag([-1, 1, 1, 1])
TURNED = np.array([[0, 0, -1.5, 9], [2.0, 0, 0, 8], [0, 1, 0, 7], [0, 0, 0, 1]])


def subjects(*affines: Any) -> Any:
    """A torchio dataset of volumes with these affines in turn."""
    import torchio as tio

    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.random((1, *SHAPE), np.float32)) for _ in range(12)]
    return tio.SubjectsDataset(
        [
            tio.Subject(t1=tio.ScalarImage(tensor=image, affine=affines[number % len(affines)]), label=number % 3)
            for number, image in enumerate(images)
        ]
    )


def monai_set(*affines: Any) -> Any:
    from monai.data import Dataset, MetaTensor
    from monai.transforms import Compose

    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.random((1, *SHAPE), np.float32)) for _ in range(12)]
    items = [
        {"image": MetaTensor(image, affine=torch.tensor(affines[number % len(affines)])), "label": number % 3}
        for number, image in enumerate(images)
    ]
    return Dataset(items, Compose([]))


SETS = {"torchio": subjects, "MONAI": monai_set}


def view(dataset: Any) -> RawView:
    return RawView(dataset, progress=False)


def pool_of(**settings: Any) -> SyntheticPool:
    return SyntheticPool.from_arrays(np.zeros((4, 1, *SHAPE), np.float32), [0, 0, 1, 1], **settings)


# -- affines ----------------------------------------------------------------------------------------------------------


def test_the_spacing_of_an_affine_is_the_length_of_its_columns() -> None:
    assert spacing_of(AFFINE) == SPACING
    assert spacing_of(affine_from((0.5, 1, 2), None)) == (0.5, 1, 2)
    assert same_spacing(SPACING, np.float32(SPACING).tolist())
    assert not same_spacing(SPACING, (1.0, 1.5, 2.51))


@pytest.mark.parametrize(
    "wrong",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, 1, 1, 2]),
        np.diag([1.0, np.inf, 1, 1]),
        "identity",
        [[1, 2], [3]],
    ],
    ids=["3x3", "nan", "flat", "last row", "infinite", "word", "ragged"],
)
def test_what_is_no_affine_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected affine= of \(4, 4\)"):
        affine_from(None, wrong)
    with pytest.raises((TypeError, ValueError)):
        as_affine(wrong)


@pytest.mark.parametrize("wrong", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, float("nan")), 2, "1 1 1", ("a", "b", "c")])
def test_what_is_no_spacing_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="expected spacing= of three widths above 0 in mm"):
        pool_of(spacing=wrong)
    with pytest.raises(ConfigError, match="expected spacing= or affine=, found both"):
        pool_of(spacing=(1, 1, 1), affine=np.eye(4))


# -- datasets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", SETS)
def test_a_view_knows_where_the_voxels_of_its_volumes_lie(host: str) -> None:
    found = view(SETS[host](AFFINE))
    np.testing.assert_allclose(found.affine, AFFINE)
    np.testing.assert_allclose(found.spec().affine, AFFINE)
    assert spacing_of(found.affine) == pytest.approx(SPACING)


@pytest.mark.parametrize("host", SETS)
def test_volumes_of_several_spacings_have_none_in_common(host: str) -> None:
    assert view(SETS[host](AFFINE, np.diag([1.0, 1, 1, 1]))).affine is None
    assert view(SETS[host](AFFINE, np.diag([1.0, 1, 1, 1]))).spec().affine is None


@pytest.mark.parametrize("host", SETS)
def test_places_may_differ_where_spacings_agree(host: str) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] += 40
    np.testing.assert_allclose(view(SETS[host](AFFINE, moved)).affine, AFFINE)


@pytest.mark.parametrize("host", SETS)
def test_volumes_that_lie_several_ways_have_their_spacing_in_common(host: str) -> None:
    np.testing.assert_allclose(view(SETS[host](AFFINE, MIRRORED)).affine, np.diag([*SPACING, 1]))


@pytest.mark.parametrize(
    ("drawn", "item", "told"),
    [
        (None, TURNED, ""),
        (TURNED, None, ""),
        (TURNED, TURNED, ""),
        (np.diag([2, 1, 1.5, 1]), TURNED, ""),  # a spacing alone
        (TURNED, np.diag([2, 1, 1.5, 1]), "axes ASL, found RAS"),
        (TURNED @ np.diag([-1, 1, 1, 1]), TURNED, "axes PSL, found ASL"),
        (np.diag([2, 1, 1.6, 1]), TURNED, "2 x 1 x 1.6 mm, found 2 x 1 x 1.5 mm"),
        (TURNED, TURNED + 1e-5 * (TURNED != 0) * [[1], [1], [1], [0]], ""),
    ],
)
def test_voxels_must_agree_in_size_and_direction(drawn: Any, item: Any, told: str) -> None:
    if not told:
        check_affine(as_affine(drawn), item, "")
        return
    with pytest.raises(DataError, match=told):
        check_affine(as_affine(drawn), item, "")


@pytest.mark.parametrize("host", SETS)
def test_volumes_of_a_pool_that_lie_another_way_are_not_mixed_in(host: str) -> None:
    settings = {"synthetic_share": 1.0, "min_images": 0, "sampling_strategy": {1: 20}, "progress": False}
    for drawn, told in ((MIRRORED, "would be mirrored or turned"), (np.diag([1, 1, 1, 1]), "found 1 x 1.5 x 2.5 mm")):
        pool = SyntheticPool.from_arrays(np.zeros((3, 1, *SHAPE), np.float32), [0, 1, 2], affine=drawn)
        with pytest.raises(DataError, match=told):
            ga.GANAugmentedDataset(SETS[host](AFFINE), pool, **settings)
        ga.GANAugmentedDataset(SETS[host](np.eye(4)), pool, **settings)


def test_affines_are_read_off_files(tmp_path: Path) -> None:
    import torchio as tio

    base = tio.SubjectsDataset(bases.subjects(tmp_path))
    np.testing.assert_allclose(view(base).affine, np.diag([1, 1.5, 2, 1]))


def test_plain_arrays_tell_no_affine() -> None:
    pairs = [(np.zeros((1, *SHAPE), np.float32), number % 2) for number in range(4)]
    assert view(pairs).affine is None


def test_reading_an_affine_draws_no_random_numbers() -> None:
    base = view(subjects(AFFINE))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert base.affine is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_spec_keeps_it_as_json() -> None:
    spec = view(subjects(AFFINE)).spec()
    again = ImageSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.affine == spec.affine
    assert "affine" not in spec_of().to_json()


# -- GANs and pools ---------------------------------------------------------------------------------------------------


def built(out: Path | None, seed: int = 0, base: Any = None, **settings: Any) -> SyntheticPool:
    base = subjects(AFFINE) if base is None else base
    synthesizer = ga.adapt(toy_synthesizer(shape=(1, 8, 10, 10)), like=base)
    arguments = {"counts": {0: 3, 1: 3, 2: 3}, "reserve": 1, "progress": False, **settings}
    return SyntheticPool.build(synthesizer, like=base, out=out, seed=seed, **arguments)


def test_from_a_dataset_through_a_gan_into_a_pool_and_back(tmp_path: Path) -> None:
    base = subjects(AFFINE)
    gan = ga.fit(base, out=tmp_path / "gan", steps=2, progress=False)
    again = ga.load(tmp_path / "gan")
    assert gan.image_spec.affine == again.image_spec.affine == view(base).affine
    pool = SyntheticPool.build(
        again, like=base, counts={0: 2, 1: 2, 2: 2}, reserve=1, out=tmp_path / "pool", progress=False
    )
    opened = SyntheticPool.open(tmp_path / "pool")
    for found in (pool, opened, opened.candidates(), opened.sample(1)):
        np.testing.assert_allclose(found.affine, AFFINE)
        assert found.spacing == pytest.approx(SPACING)
    assert opened.check(progress=False)
    assert opened.verify(again, base, progress=False)


def test_a_pool_of_arrays_knows_what_it_is_told(tmp_path: Path) -> None:
    pool = pool_of(spacing=SPACING)
    assert pool.spacing == SPACING
    assert SyntheticPool.open(pool.save(tmp_path / "a", progress=False)).spacing == SPACING
    pool = pool_of(affine=AFFINE)
    assert pool.affine == as_affine(AFFINE)
    assert SyntheticPool.open(pool.save(tmp_path / "b", progress=False)).affine == as_affine(AFFINE)
    assert pool_of().spacing is None
    with pytest.raises(ConfigError, match="expected volumes beside spacing= or affine="):
        SyntheticPool.from_arrays(np.zeros((2, 1, 8, 8), np.float32), [0, 1], spacing=(1, 1, 1))


@pytest.mark.parametrize("out", [False, True], ids=["memory", "folder"])
def test_merged_pools_keep_what_they_have_in_common(out: bool, tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[:3, 3] = 0
    cases = [
        ([{"affine": AFFINE}, {"affine": moved}], as_affine(AFFINE)),
        ([{"affine": AFFINE}, {"affine": MIRRORED}], as_affine(np.diag([*SPACING, 1]))),
        ([{"affine": AFFINE}, {"spacing": (1, 1, 1)}], None),
        ([{"affine": AFFINE}, {}], None),
        ([{}, {}], None),
    ]
    for number, (settings, wanted) in enumerate(cases):
        where = tmp_path / str(number) if out else None
        merged = SyntheticPool.merge([pool_of(**own) for own in settings], where, progress=False)
        assert merged.affine == wanted


@pytest.mark.parametrize("memory", [False, True], ids=["folder", "memory"])
def test_an_extended_pool_keeps_it_where_the_new_images_have_it_too(memory: bool, tmp_path: Path) -> None:
    pool = built(None if memory else tmp_path / "pool")
    base = subjects(AFFINE)
    grown = pool.extend(
        ga.adapt(toy_synthesizer(shape=(1, 8, 10, 10)), like=base), base, counts={1: 2}, reserve=1, progress=False
    )
    assert len(grown) == len(pool) + 2
    assert grown.spacing == pytest.approx(SPACING)
    other = subjects(np.eye(4))
    mixed = grown.extend(
        ga.adapt(toy_synthesizer(shape=(1, 8, 10, 10)), like=other), other, counts={1: 2}, reserve=1, progress=False
    )
    assert mixed.spacing is None


@pytest.mark.parametrize(
    "hostile",
    [
        [[1, 0, 0, 0]],
        [[float("nan")] * 4] * 4,
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
        [[1e400, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        "eye",
        {"a": 1},
        [[["x"]]],
        7,
    ],
    ids=["rows", "nan", "flat", "infinite", "word", "dict", "nested", "number"],
)
def test_a_hostile_affine_in_a_pools_document_is_refused(hostile: Any, tmp_path: Path) -> None:
    folder = pool_of(affine=AFFINE).save(tmp_path / "pool", progress=False)
    about = json.loads((folder / "pool.json").read_text())
    about["affine"] = hostile
    (folder / "pool.json").write_text(json.dumps(about))
    with pytest.raises(ArtifactError):
        SyntheticPool.open(folder)


def test_a_pool_of_an_earlier_release_tells_none(tmp_path: Path) -> None:
    folder = pool_of(affine=AFFINE).save(tmp_path / "pool", progress=False)
    about = json.loads((folder / "pool.json").read_text())
    del about["affine"]
    (folder / "pool.json").write_text(json.dumps(about))
    assert SyntheticPool.open(folder).spacing is None


# -- files ------------------------------------------------------------------------------------------------------------


def test_exported_volumes_lie_where_the_pools_do(tmp_path: Path) -> None:
    import nibabel

    pool = pool_of(affine=AFFINE)
    for name, settings, wanted in (
        ("own", {}, AFFINE),
        ("spacing", {"spacing": (2, 2, 2)}, np.diag([2, 2, 2, 1])),
        ("affine", {"affine": np.diag([3, 3, 3, 1])}, np.diag([3, 3, 3, 1])),
    ):
        out = pool.export(tmp_path / name, "nifti", progress=False, **settings)
        image = nibabel.load(next(out.rglob("*.nii.gz")))
        np.testing.assert_allclose(image.affine, wanted, atol=1e-5)
        assert image.shape == SHAPE
    out = pool_of().export(tmp_path / "unknown", "nifti", progress=False)
    np.testing.assert_array_equal(nibabel.load(next(out.rglob("*.nii.gz"))).affine, np.eye(4))


def test_items_of_a_balanced_set_lie_where_real_ones_do() -> None:
    base = subjects(AFFINE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        pool = built(None, base=base)
        train = ga.GANAugmentedDataset(base, pool, sampling_strategy={0: 8}, synthetic_share=1, progress=False)
    np.testing.assert_allclose(train[len(train) - 1].t1.affine, AFFINE)
