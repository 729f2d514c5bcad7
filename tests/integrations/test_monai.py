import importlib
import json
import pickle
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from gan_augment.dataset import GANAugmentedDataset
from gan_augment.errors import ArtifactError, ConfigError, DataError, DependencyError, SmallClassWarning
from gan_augment.pool import SyntheticPool
from gan_augment.pool.references import references
from tests.dataset import bases
from tests.helpers import Pictures, run_python, toy_synthesizer
from tests.transforms.sources import MARK, Mirror, live, marked, marked_pool, spec_of

with warnings.catch_warnings():  # MONAI 1.5 uses what torch has deprecated since
    warnings.simplefilter("ignore", FutureWarning)
    import monai
    from monai import data as md
    from monai import transforms as mt
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.transforms.traits import RandomizableTrait, ThreadUnsafe
    from monai.utils import convert_to_dst_type, set_determinism

    import gan_augment.integrations.monai as adapter
    from gan_augment.integrations.monai import PoolReader, RandSynthesized, RandSynthesizedd, balance_datalist

pytestmark = [  # MONAI's own, on import and in each collation or worker
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:monai.*"),
]
CUBE = (1, 8, 8, 8)
RAS = np.array([[2.0, 0, 0, -8], [0, 2, 0, -8], [0, 0, 3, -12], [0, 0, 0, 1]])


def cubes(**settings: Any) -> SyntheticPool:
    """Volumes of int16; those of label c are MARK + c everywhere."""
    return marked_pool(shape=CUBE, dtype=np.int16, **settings)


def in_folder(pool: SyntheticPool, folder: Path) -> SyntheticPool:
    pool.save(folder, progress=False)
    return SyntheticPool.open(folder)


def item(label: Any = 1, **more: Any) -> dict[str, Any]:
    return {"image": real(), "label": label, **more}


def real(dtype: Any = np.float32, shape: tuple[int, ...] = CUBE) -> np.ndarray:
    """A real image from 0 to 99, no value of which a synthetic one has."""
    return (np.arange(np.prod(shape)).reshape(shape) % 100).astype(dtype)


def is_synthetic(image: Any, label: int = 1) -> bool:
    return bool((image == MARK + label).all())


def firsts(batches: Any) -> list[int]:
    """The first voxel of each image of a loader's batches."""
    return [round(float(image.flatten()[0])) for batch in batches for image in batch["image"]]


# -- an item ----------------------------------------------------------------------------------------------------------


def as_meta(image: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(image), affine=torch.from_numpy(RAS), meta={"filename_or_obj": "patient.nii"})


KINDS: dict[str, Callable[[np.ndarray], Any]] = {"array": np.asarray, "tensor": torch.from_numpy, "MetaTensor": as_meta}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.int32, np.uint8])
@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_image_has_the_items_type_and_the_item_stays(kind: str, dtype: Any) -> None:
    image = KINDS[kind](real(dtype))
    before = {"image": image, "label": 1, "age": 50}
    after = RandSynthesizedd("image", cubes(), prob=1.0)(before)
    assert is_synthetic(after["image"])
    assert type(after["image"]) is type(image)
    assert (after["image"].dtype, tuple(after["image"].shape)) == (image.dtype, CUBE)
    assert list(after) == ["image", "label", "age"]
    assert (after["label"], after["age"]) == (1, 50)
    assert before["image"] is image
    assert np.array_equal(np.asarray(image), real(dtype))


def test_a_tensor_may_be_of_bfloat16() -> None:
    made = RandSynthesized(cubes(), prob=1.0)(torch.zeros(CUBE, dtype=torch.bfloat16), 1)
    assert made.dtype == torch.bfloat16
    assert is_synthetic(made.float())


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_is_contiguous_and_its_own(kind: str, tmp_path: Path) -> None:
    pool = in_folder(cubes(), tmp_path / "pool")
    transform = RandSynthesized(pool, prob=1.0)
    made = transform(KINDS[kind](real(np.int16)), 1)  # the pool's dtype: nothing had to be converted
    assert made.flags.c_contiguous if kind == "array" else made.is_contiguous()
    made[...] = 0
    assert is_synthetic(pool.array(2))
    assert is_synthetic(transform(KINDS[kind](real(np.int16)), 1))


def test_a_meta_tensor_keeps_its_place_but_not_its_file(tmp_path: Path) -> None:
    pool = in_folder(cubes(affine=RAS), tmp_path / "pool")
    image = as_meta(real())
    image.push_applied_operation({"class": "Orientation"})
    made = RandSynthesized(pool, prob=1.0)(image, 1)
    assert np.array_equal(made.affine, RAS)
    assert made.applied_operations == [{"class": "Orientation"}]
    assert made.applied_operations is not image.applied_operations
    assert md.decollate_batch(md.list_data_collate([made, image]))[0].meta.keys() == image.meta.keys()
    assert image.meta["filename_or_obj"] == "patient.nii"
    assert is_synthetic(mt.LoadImage(reader=PoolReader)(made.meta["filename_or_obj"]))  # it names the row
    in_memory = RandSynthesized(cubes(), prob=1.0)(image, 1)
    assert in_memory.meta["filename_or_obj"] == "synthetic"


def test_metadata_may_be_switched_off() -> None:
    md.set_track_meta(False)
    try:
        made = mt.Compose([RandSynthesizedd("image", cubes(), prob=1.0), mt.RandFlipd("image", prob=1.0)])(item())
    finally:
        md.set_track_meta(True)
    assert type(made["image"]) is torch.Tensor


def test_what_came_before_is_inverted_and_what_comes_after() -> None:
    steps = [mt.Orientationd("image", "LAS"), RandSynthesizedd("image", cubes(), prob=1.0),
             mt.RandFlipd("image", prob=1.0, spatial_axis=0), mt.SpatialPadd("image", (10, 8, 8))]  # fmt: skip
    chain = mt.Compose(steps)
    found = chain({"image": as_meta(real()), "label": 1})
    assert found["image"].shape == (1, 10, 8, 8)
    assert len(found["image"].applied_operations) == 3  # it is none of them, as no intensity transform is
    undone = chain.inverse(found)["image"]
    assert is_synthetic(undone)
    assert np.allclose(undone.affine, RAS)
    assert undone.applied_operations == []


def test_lazy_resampling_is_done_before() -> None:
    synthesized = RandSynthesizedd("image", marked_pool(shape=(1, 15, 15, 15)), prob=1.0)
    steps = [mt.Spacingd("image", (1.0, 1.0, 1.5)), synthesized, mt.RandRotate90d("image", prob=1.0)]
    found = mt.Compose(steps, lazy=True)({"image": as_meta(real() / 99), "label": 1})
    assert found["image"].shape == (1, 15, 15, 15)
    assert float(found["image"].mean()) == pytest.approx((MARK + 1) / 255)


# -- units, size, place -----------------------------------------------------------------------------------------------


def fails(source: Any, image: Any, error: type[Exception] = DataError, **settings: Any) -> str:
    with pytest.raises(error) as found:
        RandSynthesizedd("image", source, prob=1.0, **settings)({"image": image, "label": 1})
    return str(found.value)


def test_uint8_and_float32_pools_agree() -> None:
    floats = SyntheticPool.from_arrays(marked([0, 1], CUBE, np.uint8).astype(np.float32), [0, 1])
    whole = SyntheticPool.from_arrays(marked([0, 1], CUBE, np.uint8), [0, 1])
    made = [RandSynthesized(pool, prob=1.0).set_random_state(3)(real(), 1) for pool in (floats, whole)]
    assert np.array_equal(*made)
    assert made[0].dtype == made[1].dtype == np.float32


def test_a_pool_of_fractions_does_not_go_into_whole_numbers() -> None:
    told = fails(marked_pool(shape=CUBE), real(np.int16))
    assert "int16 items can hold, found float32 ones with fractions; make the item's dtype float32" in told


def test_values_must_fit_the_items_type() -> None:
    pool = SyntheticPool.from_arrays(np.full((2, *CUBE), 300, np.int16), [0, 1])
    assert "uint8 items can hold, found int16 ones with values from 300 to 300" in fails(pool, real(np.uint8))


def test_scaled_items_are_told_from_raw_ones() -> None:
    told = fails(SyntheticPool.from_arrays(np.stack([real(np.int16) * 2] * 2), [0, 1]), real() / 99)
    assert "range over 198, found an item that ranges over 1; put the transform before ScaleIntensityd" in told
    assert "range over 1, found an item that ranges over 990" in fails(
        SyntheticPool.from_arrays(np.stack([real() / 99] * 2), [0, 1]), real() * 10
    )
    blank = np.zeros(CUBE, np.float32)
    transform = RandSynthesized(SyntheticPool.from_arrays(np.stack([real(np.int16) * 2] * 2), [0, 1]), prob=1.0)
    transform(blank, 1)
    with pytest.raises(DataError, match="found an item that ranges over 1;"):  # the blank one told nothing
        transform(real() / 99, 1)


def test_another_size_is_told_with_the_place_to_put_it() -> None:
    told = fails(cubes(), real(shape=(1, 8, 8, 9)))
    assert "(1, 8, 8, 9), found (1, 8, 8, 8); put the transform where" in told
    assert "after Spacingd, Resized" in told
    assert "(8, 8, 8), found (1, 8, 8, 8)" in fails(cubes(), real(shape=(8, 8, 8)))
    assert "found str; put the transform after LoadImaged" in fails(cubes(), "brain.nii.gz")


def test_another_spacing_or_orientation_is_an_error_where_both_are_known() -> None:
    image = as_meta(real())
    assert "2 x 2 x 2 mm, found 2 x 2 x 3 mm" in fails(cubes(spacing=(2, 2, 2)), image)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ RAS
    told = fails(cubes(affine=mirrored), image)
    assert "axes LAS, found RAS: a synthetic one would be mirrored or turned" in told
    assert "before random spatial transforms" in told
    for known in (cubes(), cubes(affine=RAS), cubes(spacing=(2, 2, 3))):  # of a spacing alone no orientation is known
        assert is_synthetic(RandSynthesized(known, prob=1.0)(image, 1))
    for unknown in (real(), MetaTensor(torch.from_numpy(real()))):
        assert is_synthetic(RandSynthesized(cubes(spacing=(2, 2, 2)), prob=1.0)(unknown, 1))


def test_several_channels_stay_and_grey_goes_into_colour() -> None:
    images = np.stack([np.stack([np.full((8, 8), 10 * label + c) for c in range(4)]) for label in range(2)])
    pool = SyntheticPool.from_arrays(images.astype(np.uint8), [0, 1])
    made = RandSynthesized(pool, prob=1.0)(real(shape=(4, 8, 8)), 1)
    assert made[:, 0, 0].tolist() == [10, 11, 12, 13]
    assert is_synthetic(RandSynthesized(marked_pool(dtype=np.uint8), prob=1.0)(real(shape=(3, 8, 8)), 1))
    assert "(2, 8, 8), found (1, 8, 8)" in fails(marked_pool(dtype=np.uint8), real(shape=(2, 8, 8)))


def picture_pool() -> SyntheticPool:
    """A pool that was built for a dataset of PIL images, which are height by width."""
    base = Pictures((30, 20), kind="pil")
    return SyntheticPool.build(toy_synthesizer(2), base, sampling_strategy="all", counts={1: 20}, progress=False)


def png(folder: Path, channels: int = 1) -> str:
    picture = np.arange(48 * channels, dtype=np.uint8).reshape(6, 8, channels)
    Image.fromarray(picture.squeeze()).save(folder / "a.png")
    return str(folder / "a.png")


def test_a_pool_of_pictures_lies_as_pil_reader_reads_them(tmp_path: Path) -> None:
    pool = picture_pool()
    Image.fromarray(pool.array(0)[0] // 2).save(tmp_path / "a.png")
    rows = [pool.array(int(row)) for row in pool.rows]

    def is_row(image: MetaTensor) -> bool:
        return any(np.array_equal(image.numpy(), row) for row in rows)

    loaded = mt.LoadImage(ensure_channel_first=True)(tmp_path / "a.png")
    assert np.array_equal(loaded.numpy()[0], (pool.array(0)[0] // 2).T)
    for turn in (None, True):
        made = RandSynthesized(pool, 1.0, reverse_indexing=turn)(loaded, 1)
        assert is_row(made.transpose(1, 2))
        assert not is_row(made)
    assert is_row(RandSynthesized(pool, 1.0, reverse_indexing=False)(loaded, 1))
    masked = SyntheticPool.from_arrays(
        np.stack([pool.raw(0)] * 2), [0, 1], masks=np.stack([np.triu(np.ones((8, 8), np.uint8))] * 2)
    )
    turned = RandSynthesizedd("image", masked, prob=1.0, mask_key="seg", reverse_indexing=True)
    found = turned({"image": loaded, "label": 1, "seg": torch.zeros(1, 8, 8)})  # a mask that is from no picture
    assert torch.equal(found["seg"][0], torch.ones(8, 8).tril())
    assert is_row(RandSynthesized(pool, 1.0)(MetaTensor(torch.from_numpy(real(shape=(1, 8, 8)))), 1))  # from no file
    pool = in_folder(pool, tmp_path / "pool")
    read = loader()({"image": references(pool, [int(pool.rows[0])])[0]})["image"]
    assert is_row(read.transpose(1, 2))
    assert not is_row(read)


# -- masks and other parts --------------------------------------------------------------------------------------------


def masked_pool() -> SyntheticPool:
    masks = np.zeros((6, 8, 8, 8), np.uint8)
    masks[:, :4] = [[[[1]]], [[[1]]], [[[2]]], [[[2]]], [[[3]]], [[[3]]]]
    return cubes(masks=masks)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_a_mask_is_replaced_with_its_image(kind: str, dtype: Any) -> None:
    mask = KINDS[kind](np.ones(CUBE, dtype))
    made = RandSynthesizedd("image", masked_pool(), prob=1.0, mask_key="seg")(item(seg=mask))
    assert type(made["seg"]) is type(mask)
    assert made["seg"].dtype == mask.dtype
    assert np.unique(np.asarray(made["seg"])).tolist() == [0, 2]
    assert (np.asarray(mask) == 1).all()


def test_a_mask_stays_where_its_image_stays() -> None:
    mask = np.ones(CUBE, np.uint8)
    transform = RandSynthesizedd("image", masked_pool(), prob=0.0, mask_key="seg")
    assert transform(item(seg=mask))["seg"] is mask


def test_masks_need_a_pool_with_masks_and_a_key() -> None:
    with pytest.raises(ConfigError, match="expected a pool with masks beside mask_key='seg'"):
        RandSynthesizedd("image", cubes(), mask_key="seg")
    with pytest.raises(ConfigError, match=r"found 'seg' of shape \(1, 8, 8, 8\).*name a mask in mask_key="):
        RandSynthesizedd("image", cubes(), prob=0.0)(item(seg=np.ones(CUBE)))
    transform = RandSynthesized(cubes(), prob=1.0)
    transform.randomize(1)
    with pytest.raises(ConfigError, match="expected a pool with masks, as an item's mask"):
        transform.mask(np.ones(CUBE))
    with pytest.raises(DataError, match=r"\(3, 8, 8, 8\), found \(1, 8, 8, 8\)"):  # one-hot
        RandSynthesizedd("image", masked_pool(), prob=1.0, mask_key="seg")(item(seg=np.ones((3, 8, 8, 8))))


def test_one_image_is_replaced_and_no_other_may_stand_beside_it() -> None:
    with pytest.raises(ConfigError, match="found t1, t2: several images of one patient belong into the channels"):
        RandSynthesizedd(["t1", "t2"], cubes())
    with pytest.raises(ConfigError, match="leave it out with DeleteItemsd"):
        RandSynthesizedd("image", cubes())(item(points=torch.zeros(4, 3)))


def test_keys_may_lack_where_that_is_allowed() -> None:
    for key in ("image", "label"):
        lacking = {name: value for name, value in item().items() if name != key}
        with pytest.raises(KeyError, match=f"expected the key '{key}'"):
            RandSynthesizedd("image", cubes(), prob=1.0)(lacking)
    lenient = RandSynthesizedd("image", masked_pool(), prob=1.0, mask_key="seg", allow_missing_keys=True)
    assert lenient({"label": 1}) == {"label": 1}
    assert is_synthetic(lenient(item())["image"])
    with pytest.raises(KeyError, match="expected the key 'seg'"):
        RandSynthesizedd("image", masked_pool(), mask_key="seg")(item())


# -- labels and sources -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [1, np.int64(1), np.array([1]), torch.tensor(1), torch.tensor([1]), 1.0])
def test_labels_are_whole_numbers_of_any_type(label: Any) -> None:
    assert is_synthetic(RandSynthesizedd("image", cubes(), prob=1.0)(item(label))["image"])


def test_names_are_labels_too() -> None:
    pool = SyntheticPool.from_arrays(marked([0, 1], CUBE, np.int16), ["nevus", "melanoma"], ["nevus", "melanoma"])
    assert is_synthetic(RandSynthesizedd("image", pool, prob=1.0)(item("melanoma"))["image"])
    by_name = RandSynthesizedd("image", pool, "kind", prob=1.0, classes=["melanoma", "nevus"])
    assert is_synthetic(by_name({"image": real(), "kind": 0})["image"])


def test_a_class_without_synthetic_images_stays_real() -> None:
    pool = SyntheticPool.from_arrays(marked([0, 0], CUBE, np.int16), [0, 0], ["a", "b"])
    given = item(1)
    assert RandSynthesizedd("image", pool, prob=1.0)(given)["image"] is given["image"]


@pytest.mark.parametrize("label", [torch.tensor([0.0, 1.0]), -1, 0.5, np.zeros(CUBE), None])
def test_what_is_no_class_is_told(label: Any) -> None:
    with pytest.raises(DataError, match=r"expected one class an item.*segmentation goes into mask_key="):
        RandSynthesizedd("image", cubes(), prob=1.0)(item(label))


def test_a_label_beyond_the_classes_is_told() -> None:
    pool = SyntheticPool.from_arrays(marked([0, 1], CUBE, np.int16), ["a", "b"], ["a", "b"])
    with pytest.raises(DataError, match=r"expected labels among \[0, 1\], found 7"):
        RandSynthesizedd("image", pool, prob=1.0)(item(7))


def test_a_synthesizer_draws_as_it_is_asked() -> None:
    transform = RandSynthesized(live(), prob=1.0).set_random_state(0)
    first, second = (transform(real(shape=(1, 8, 8)), 1) for _ in range(2))
    assert first.shape == (1, 8, 8)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, transform.set_random_state(0)(real(shape=(1, 8, 8)), 1))


def test_a_synthesizer_makes_its_image_from_the_items_own() -> None:
    transform = RandSynthesized(Mirror(spec_of()), prob=1.0)
    image = real(shape=(1, 8, 8))  # float32, as LoadImaged gives uint8
    assert np.array_equal(transform(image, 1), 255 - image)
    with pytest.raises(DataError, match="expected items that hold raw uint8 values"):
        transform(image / 99, 1)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="expected prob from 0 to 1, found 2"):
        RandSynthesized(cubes(), prob=2)
    with pytest.raises(ConfigError, match="expected a SyntheticPool, a Synthesizer, or the path of one"):
        RandSynthesizedd("image", 7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="with an image_spec"):
        RandSynthesizedd("image", live(image_spec=None))
    with pytest.raises(ConfigError, match="call it first"):
        RandSynthesized(cubes(), prob=1.0)(real(), 1, randomize=False)


# -- randomness -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> SyntheticPool:
    """A pool in a folder whose row r of 400 has the value 1000 + r; rows 200 and on are of class 1."""
    values = np.broadcast_to(np.arange(1000, 1400).reshape(-1, 1, 1, 1, 1), (400, *CUBE))
    pool = SyntheticPool.from_arrays(values.astype(np.int16), np.repeat([0, 1], 200))
    return in_folder(pool, tmp_path_factory.mktemp("varied") / "pool")


def draws(transform: Any, number: int = 20) -> list[int]:
    return [int(transform(item())["image"].flat[0]) for _ in range(number)]


def test_a_seed_gives_the_same_images_again(varied: SyntheticPool) -> None:
    transform = RandSynthesizedd("image", varied, prob=0.5)
    first = draws(transform.set_random_state(seed=1))
    assert first == draws(transform.set_random_state(seed=1))
    assert first == draws(RandSynthesizedd("image", varied, prob=0.5).set_random_state(state=None, seed=1))
    assert first != draws(transform.set_random_state(seed=2))
    assert len(set(first)) > 5
    assert all(value == 0 or value >= 1200 for value in first)


def test_no_other_randomness_is_used(varied: SyntheticPool) -> None:
    transform = RandSynthesizedd("image", varied, prob=0.5)
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    first = draws(transform.set_random_state(seed=1))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    torch.manual_seed(5)
    assert draws(transform.set_random_state(seed=1)) == first


def test_the_probability_is_kept(varied: SyntheticPool) -> None:
    for prob, least, most in ((0.0, 0, 0), (0.3, 90, 150), (1.0, 400, 400)):
        transform = RandSynthesizedd("image", varied, prob=prob).set_random_state(seed=0)
        assert least <= sum(value > 0 for value in draws(transform, 400)) <= most


def test_the_dictionary_version_draws_as_the_array_version(varied: SyntheticPool) -> None:
    by_item = RandSynthesizedd("image", varied, prob=1.0).set_random_state(seed=4)
    by_array = RandSynthesized(varied, prob=1.0).set_random_state(seed=4)
    assert draws(by_item) == [int(by_array(real(), 1).flat[0]) for _ in range(20)]


def test_what_was_drawn_can_be_used_again(varied: SyntheticPool) -> None:
    transform = RandSynthesized(varied, prob=1.0).set_random_state(seed=0)
    first = transform(real(), 1)
    assert np.array_equal(first, transform(real(), 1, randomize=False))
    assert not np.array_equal(first, transform(real(), 1))


def test_compositions_seed_it(varied: SyntheticPool) -> None:
    for compose in (mt.Compose, mt.OneOf, mt.RandomOrder):
        chain = compose([RandSynthesizedd("image", varied, prob=0.7), mt.RandFlipd("image", prob=0.5)])
        seen = []
        for seed in (3, 3, 4):
            chain.set_random_state(seed=seed)
            seen.append([int(chain(item())["image"].flatten()[0]) for _ in range(10)])
        assert seen[0] == seen[1] != seen[2]


def test_a_copy_draws_alike_and_a_pickle_is_small(varied: SyntheticPool) -> None:
    transform = RandSynthesizedd("image", varied, prob=0.7).set_random_state(seed=9)
    sent = pickle.dumps(transform)
    assert len(sent) < 30_000  # the pool has 410 kB of images
    assert draws(pickle.loads(sent)) == draws(transform)


def test_it_is_named_and_typed_as_monais_own() -> None:
    assert adapter.RandSynthesizedD is adapter.RandSynthesizedDict is RandSynthesizedd
    for kind in (RandSynthesized, RandSynthesizedd):
        assert issubclass(kind, mt.RandomizableTransform)
        assert issubclass(kind, RandomizableTrait)
        assert issubclass(kind, ThreadUnsafe)
        assert set(kind.backend) == {mt.utils.TransformBackends.TORCH, mt.utils.TransformBackends.NUMPY}
    assert issubclass(RandSynthesizedd, mt.MapTransform)
    assert not isinstance(RandSynthesizedd("image", cubes()), mt.InvertibleTransform)


# -- datasets and loaders ---------------------------------------------------------------------------------------------


def dataset(kind: str, pool: SyntheticPool, folder: Path, prob: float = 1.0) -> Any:
    steps = mt.Compose([mt.CastToTyped("image", np.float32), RandSynthesizedd("image", pool, prob=prob)])
    more: dict[str, Any] = {"progress": False} if "Cache" in kind else {}
    if kind == "PersistentDataset":
        more = {"cache_dir": folder / "cache", "hash_transform": md.utils.pickle_hashing}
    return getattr(md, kind)([item(i % 2, name=f"p{i}") for i in range(12)], steps, **more)


@pytest.mark.parametrize("kind", ["Dataset", "CacheDataset", "PersistentDataset", "SmartCacheDataset"])
def test_no_cache_freezes_what_was_drawn(kind: str, varied: SyntheticPool, tmp_path: Path) -> None:
    base = dataset(kind, varied, tmp_path)
    seen = {round(float(base[0]["image"].flatten()[0])) for _ in range(10)}
    assert len(seen) > 5
    assert min(seen) >= 1000


def epochs(base: Any, number: int = 2, **settings: Any) -> list[list[int]]:
    set_determinism(seed=0)
    try:
        loader = md.DataLoader(base, batch_size=3, **settings)
        return [firsts(loader) for _ in range(number)]
    finally:
        set_determinism(seed=None)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_and_epochs_differ_and_can_be_reproduced(varied: SyntheticPool, tmp_path: Path) -> None:
    base = dataset("CacheDataset", varied, tmp_path)
    first, second = epochs(base, num_workers=2, multiprocessing_context="fork")
    assert epochs(base, num_workers=2, multiprocessing_context="fork") == [first, second]
    assert first != second
    assert len(set(first)) > 8  # of 12: workers do not draw alike
    assert all((value >= 1200) == bool(i % 2) for i, value in enumerate(first))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("context", ["spawn", "forkserver"])
def test_workers_of_all_start_methods_draw_alike(context: str, varied: SyntheticPool, tmp_path: Path) -> None:
    base = dataset("CacheDataset", varied, tmp_path)
    found = epochs(base, 1, num_workers=2, multiprocessing_context=context)
    assert found == epochs(base, 1, num_workers=2, multiprocessing_context="fork")


def test_the_main_process_is_reproduced_too(varied: SyntheticPool, tmp_path: Path) -> None:
    seen = [epochs(dataset("Dataset", varied, tmp_path)) for _ in range(2)]
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]


@pytest.mark.parametrize("threads", [0, 2])
def test_threads_draw_too(threads: int, varied: SyntheticPool, tmp_path: Path) -> None:
    base = dataset("CacheDataset", varied, tmp_path)
    loader = md.ThreadDataLoader(base, batch_size=4, num_workers=threads, use_thread_workers=threads > 0)
    found = firsts(loader)
    assert all(1000 <= value < 1400 for value in found)
    assert len(set(found)) > 6


@pytest.mark.parametrize("text", ["json", "yaml"])
def test_a_bundle_holds_it_in_its_configuration(text: str, varied: SyntheticPool, tmp_path: Path) -> None:
    target = "gan_augment.integrations.monai.RandSynthesizedd"
    config = {"train": {"_target_": "Compose", "transforms": [
        {"_target_": target, "keys": "image", "source": str(varied.folder), "prob": 0.5},
        {"_target_": "RandFlipd", "keys": "image", "prob": 0.5}]}}  # fmt: skip
    path = tmp_path / f"train.{text}"
    ConfigParser.export_config_file(config, str(path), fmt=text)
    parser = ConfigParser()
    parser.read_config(str(path))
    chain = parser.get_parsed_content("train")
    assert type(chain.transforms[0]) is RandSynthesizedd
    chain.set_random_state(seed=0)
    assert any(float(chain(item())["image"].max()) >= 1200 for _ in range(10))


def test_an_error_in_a_chain_says_why() -> None:
    with pytest.raises(RuntimeError, match="applying transform") as found:
        mt.Compose([RandSynthesizedd("image", cubes(), prob=1.0)])({"image": real(shape=(1, 9, 9, 9)), "label": 1})
    assert isinstance(found.value.__cause__, DataError)


# -- reading rows -----------------------------------------------------------------------------------------------------


def loader(*keys: str, **settings: Any) -> Any:
    load = mt.LoadImaged(list(keys) or "image", ensure_channel_first=True)
    load.register(PoolReader(**settings))
    return load


def files(folder: Path, count: int, label: int = 0, first: int = 0) -> list[dict[str, Any]]:
    """Dicts of NIfTI files of int16 with the affine RAS; the images of a class are 10 + label everywhere."""
    found = []
    for number in range(first, first + count):
        path = folder / f"{number:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.full(CUBE[1:], 10 + label, np.int16), RAS), path)
        found.append({"image": str(path), "label": label})
    return found


def reals_of(folder: Path) -> list[dict[str, Any]]:
    return [*files(folder, 6), *files(folder, 2, 1, 6), *files(folder, 1, 2, 8)]


def test_a_row_is_read_beside_files(tmp_path: Path) -> None:
    pool = in_folder(cubes(affine=RAS), tmp_path / "pool")
    listed = balance_datalist(reals_of(tmp_path), pool, synthetic_share=1.0, min_images=0)
    for load in (loader(), mt.LoadImaged("image", reader=PoolReader, ensure_channel_first=True)):
        one, other = load(listed[0])["image"], load(listed[-1])["image"]
        assert is_synthetic(other, 2)
        assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
        assert torch.equal(one.affine, other.affine)
        assert torch.equal(one.pixdim, other.pixdim)
        assert {"affine", "original_affine", "spatial_shape", "original_channel_dim", "space"} <= set(
            map(str, other.meta)
        )
        batch = md.list_data_collate([load(listed[0]), load(listed[-1])])
        assert batch["image"].shape == (2, *CUBE)
        assert batch["image"].meta["filename_or_obj"][1] == listed[-1]["image"]
    chain = mt.Compose([loader(), mt.Orientationd("image", "LPS"), mt.Spacingd("image", (1.0, 1.0, 1.5))])
    assert len({chain(one)["image"].shape for one in (listed[0], listed[-1])}) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_rows_lie_alike(channels: int, tmp_path: Path) -> None:
    path = png(tmp_path, channels)
    picture = np.asarray(Image.open(path))
    pool = in_folder(SyntheticPool.from_arrays(np.stack([picture] * 20), [0] * 20), tmp_path / "pool")
    found = [loader(reverse_indexing=True)({"image": name})["image"]
             for name in (path, references(pool, [3])[0])]  # fmt: skip
    assert torch.equal(found[0].as_tensor(), found[1].as_tensor())
    assert found[0].shape == (channels, 8, 6)
    assert md.list_data_collate(found).shape == (2, channels, 8, 6)
    plain = mt.LoadImage()
    plain.register(PoolReader(channel_dim=0))
    assert plain(references(pool, [3])[0]).shape == (channels, 6, 8)


def test_what_is_read_is_nobodys_memory(tmp_path: Path) -> None:
    pool = in_folder(marked_pool(shape=CUBE), tmp_path / "pool")  # float32, which LoadImaged need not convert
    (name,) = references(pool, [2])
    image = loader()({"image": name})["image"]
    image[...] = 0
    assert float(loader()({"image": name})["image"].max()) > 0


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("{pool}/000002-0123456789abcdef.synthetic", DataError, "found another; make the list again"),
        ("{pool}/000099-{hash}.synthetic", DataError, "found another; make the list again"),
        ("{pool}/000002-{hash}.synthetic-mask", DataError, "found another; make the list again"),
        ("{pool}/../pool/000002-{hash}.synthetic", DataError, "expected a reference to a row"),
        ("{folder}/000002-{hash}.synthetic", ArtifactError, "pool.json"),
        ("{pool}/pool.json/000002-{hash}.synthetic", ArtifactError, "pool.json"),
        ("/etc/passwd", DataError, "expected a reference to a row"),
        ("{pool}/2.synthetic", DataError, "expected a reference to a row"),
        ("{pool}/-00002-{hash}.synthetic", DataError, "expected a reference to a row"),
    ],
)
def test_a_hostile_reference_is_an_error(name: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    pool = in_folder(cubes(), tmp_path / "pool")
    code = Path(references(pool, [2])[0]).name.partition("-")[2].removesuffix(".synthetic")
    path = name.format(pool=pool.folder, folder=tmp_path, hash=code)
    with pytest.raises(error, match=told):
        PoolReader().read(path)
    with pytest.raises(DataError, match="found 2; put channels into the pool"):
        PoolReader().read([path, path])


def test_other_readers_are_asked_for_what_is_no_reference() -> None:
    reader = PoolReader()
    assert reader.verify_suffix("/pool/000012-0123456789abcdef.synthetic")
    assert reader.verify_suffix(("/pool/000012-0123456789abcdef.synthetic-mask",))
    for name in ("a.nii.gz", "000012-0123456789abcdef.synthetic.nii.gz", "dicom", "x.synthetic"):
        assert not reader.verify_suffix(name)
    with pytest.raises(ConfigError, match="expected channel_dim=0 or None, found -1"):
        PoolReader(channel_dim=-1)


def test_a_pool_that_is_built_anew_is_told(tmp_path: Path) -> None:
    listed = balance_datalist(reals_of(tmp_path), in_folder(cubes(), tmp_path / "pool"), min_images=0)
    names = [one["image"] for one in listed if one["image"].endswith(".synthetic")]
    load = loader()
    before = load({"image": names[0]})["image"]
    shutil.rmtree(tmp_path / "pool")
    in_folder(cubes(), tmp_path / "pool")  # the same images
    assert torch.equal(load({"image": names[0]})["image"], before)
    shutil.rmtree(tmp_path / "pool")
    in_folder(marked_pool(shape=CUBE, dtype=np.uint8), tmp_path / "pool")
    with pytest.raises(DataError, match="found another; make the list again"):
        load({"image": names[0]})


# -- a balanced list --------------------------------------------------------------------------------------------------


def test_reals_come_first_then_what_each_class_lacks(tmp_path: Path) -> None:
    reals = reals_of(tmp_path)
    given = json.dumps(reals)
    listed = balance_datalist(reals, in_folder(cubes(), tmp_path / "pool"), min_images=0)
    assert json.dumps(reals) == given
    assert listed[:9] == reals
    assert np.bincount([one["label"] for one in listed]).tolist() == [6, 6, 6]
    synthetic = [one for one in listed if one["image"].endswith(".synthetic")]
    assert [one["label"] for one in synthetic] == [1, 1, 2, 2, 2]  # half of 4 and of 5
    json.dumps(listed)
    images = [loader()(one)["image"] for one in synthetic]
    assert all(is_synthetic(image, one["label"]) for image, one in zip(images, synthetic, strict=True))


@pytest.mark.filterwarnings("ignore::gan_augment.errors.SmallClassWarning")
def test_the_list_can_be_partitioned_and_cached(tmp_path: Path) -> None:
    pool = in_folder(cubes(affine=RAS), tmp_path / "pool")
    reals = reals_of(tmp_path)
    listed = balance_datalist(reals, str(pool.folder), synthetic_share=1.0, min_images=0)
    assert listed == balance_datalist(reals, pool, synthetic_share=1.0, min_images=0)  # as every rank has it
    parts = md.partition_dataset(listed, num_partitions=2, shuffle=True, seed=0)
    assert sorted(one["image"] for part in parts for one in part) == sorted(one["image"] for one in listed)
    chain = mt.Compose([loader(), mt.ScaleIntensityRanged("image", 0, 255, 0, 1), mt.RandFlipd("image", prob=0.5)])
    for base in (
        md.CacheDataset(listed, chain, progress=False, num_workers=2),
        md.CacheDataset(listed, chain, progress=False, hash_as_key=True),
        md.PersistentDataset(listed, chain, tmp_path / "cache"),
        md.PersistentDataset(listed, chain, tmp_path / "cache"),  # from its files
        md.SmartCacheDataset(listed, chain, cache_num=18, replace_rate=0.1, progress=False),
    ):
        batches = list(md.DataLoader(base, batch_size=6))
        labels = torch.cat([batch["label"] for batch in batches])
        light = torch.cat([batch["image"] for batch in batches]).amax((1, 2, 3, 4)) * 255
        order = {10: 0, 11: 1, 12: 2, 200: 0, 201: 1, 202: 2}
        assert [order[round(value)] for value in light.tolist()] == labels.tolist()


def test_masks_come_with_their_images(tmp_path: Path) -> None:
    pool = in_folder(masked_pool(), tmp_path / "pool")
    reals = [{**one, "seg": one["image"]} for one in reals_of(tmp_path)]
    with pytest.raises(ConfigError, match=r"fill= to say .* \('seg'\), found None.*A mask goes into mask_key="):
        balance_datalist(reals, pool)
    listed = balance_datalist(reals, pool, mask_key="seg", synthetic_share=1.0, min_images=0)
    last = loader("image", "seg")(listed[-1])
    assert is_synthetic(last["image"], 2)
    assert last["seg"].unique().tolist() == [0, 3]
    with pytest.raises(ConfigError, match="expected a pool with masks"):
        balance_datalist(reals, in_folder(cubes(), tmp_path / "bare"), mask_key="seg", min_images=0)


def test_a_pool_in_memory_and_a_synthesizer_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found one in memory; save it first"):
        balance_datalist(reals_of(tmp_path), cubes(), min_images=0)
    with pytest.raises(ConfigError, match="expected a SyntheticPool"):
        balance_datalist(reals_of(tmp_path), live())  # type: ignore[arg-type]


def test_small_classes_repeat_reals_and_that_is_told_where_it_is_called(tmp_path: Path) -> None:
    pool = in_folder(cubes(), tmp_path / "pool")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        listed = balance_datalist(reals_of(tmp_path), pool)
    assert [str(one.message).partition(":")[0] for one in told if one.category is SmallClassWarning] == [
        "class 1 has 2 real images and 2 kept synthetic ones",
        "class 2 has 1 real images and 2 kept synthetic ones",
    ]
    assert {warning.filename for warning in told} == {__file__}
    assert not [one for one in listed if one["image"].endswith(".synthetic")]
    assert len(listed) == 18


# -- the core's dataset, speed, versions ------------------------------------------------------------------------------


def test_the_transform_goes_on_behind_the_cores_dataset() -> None:
    pool = SyntheticPool.from_arrays(marked([1, 2] * 3, CUBE, np.float32), [1, 2] * 3)
    base = md.CacheDataset(bases.monai_items(), RandSynthesizedd("image", pool, prob=0.5), progress=False)
    base.data = [{"image": one["image"], "label": one["label"]} for one in base.data]
    train = GANAugmentedDataset(base, pool, synthetic_share=1.0, min_images=0, progress=False)
    assert len(train) > len(base)
    assert train[len(train) - 1]["image"].shape == CUBE


@pytest.mark.slow
def test_the_example_runs_on_a_real_brain(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nilearn")
    from docs.examples.monai_volumes import main

    try:
        main(["--quick"])
    finally:
        set_determinism(seed=None)
    told = capsys.readouterr().out
    assert "half of them synthetic: 72 patches, balanced accuracy" in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_costs_little_more_than_reading_and_converting_by_hand(kind: str, tmp_path: Path) -> None:
    shape = (1, 96, 96, 96)  # beside MetaTensors, of smaller ones twenty microseconds an item would count
    pool = in_folder(
        SyntheticPool.from_arrays(np.random.default_rng(0).integers(0, 99, (8, *shape), np.uint8), [0, 1] * 4),
        tmp_path / "pool",
    )
    transform = RandSynthesizedd("image", pool, prob=1.0)
    image = KINDS[kind](real(shape=shape))
    own = {"image": image, "label": 1}

    def by_hand() -> Any:
        return {**own, "image": convert_to_dst_type(np.array(pool.array(int(np.random.randint(8)))), image)[0]}

    def seconds(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    taken = np.array([(seconds(lambda: transform(own)), seconds(by_hand)) for _ in range(500)])
    ours, theirs = np.quantile(taken, 0.2, axis=0)  # the quiet moments of a busy machine
    assert ours <= 1.5 * theirs, f"{ours * 1e6:.0f} against {theirs * 1e6:.0f} microseconds"


@pytest.mark.parametrize("version", ["1.4.1", "2.0.0"])
def test_another_version_of_monai_is_told(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monai, "__version__", version)
    with pytest.raises(DependencyError, match=f"expected monai from 1.5 and below 2 for .*, found {version}; pip inst"):
        importlib.reload(adapter)


@pytest.mark.slow
def test_a_missing_monai_is_told() -> None:
    code = "import sys; sys.modules['monai'] = None\nimport gan_augment.integrations.monai"
    assert "found that it is not installed; pip install 'gan_augment[monai]'" in run_python(code).stderr
