"""SynthesizeSameClass for albumentations: what it puts in, and what its host asks of every transform."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch

from gan_augment.errors import ConfigError, DataError
from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.integrations.albumentations import SynthesizeSameClass, SyntheticReference
from gan_augment.pool import SyntheticPool
from gan_augment.transforms.source import ByLabel
from tests.conftest import untouched_rng
from tests.helpers import run_python, toy_synthesizer
from tests.transforms.sources import MARK, Mirror, live, marked, marked_pool, spec_of

REPLAY = pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode:UserWarning")
"""albumentations says it of every transform that reads a target."""

QUIET = {"NO_ALBUMENTATIONS_UPDATE": "1"}


def varied(shape: tuple[int, ...] = (8, 8), dtype: Any = np.uint8, count: int = 60, **settings: Any) -> SyntheticPool:
    """A pool in which every image is another one."""
    rng = np.random.default_rng(3)
    images = rng.random((count, *shape)) if np.dtype(dtype).kind == "f" else rng.integers(0, 256, (count, *shape))
    return SyntheticPool.from_arrays(images.astype(dtype), np.arange(count) % 3, **settings)


def saved(folder: Path, **settings: Any) -> SyntheticPool:
    pool = varied(**settings)
    pool.save(folder)
    return SyntheticPool.open(folder)


def blank(shape: tuple[int, ...] = (8, 8), dtype: Any = np.uint8) -> np.ndarray:
    return np.zeros(shape, dtype)


def drawn(transform: Any, count: int = 12, shape: tuple[int, ...] = (8, 8), dtype: Any = np.uint8) -> list[bytes]:
    return [transform(image=blank(shape, dtype), label=k % 3)["image"].tobytes() for k in range(count)]


# -- what is put in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int16", "uint16"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (8, 6, 3)])
def test_a_synthetic_image_of_the_label_has_the_items_type(shape: tuple[int, ...], dtype: str) -> None:
    channels = shape[2] if len(shape) == 3 else 1
    pool = SyntheticPool.from_arrays(torch.from_numpy(marked([0, 1, 2], (channels, *shape[:2]), dtype)), [0, 1, 2])
    transform = A.Compose([SynthesizeSameClass(pool, p=1.0)], strict=True)
    for label in range(3):
        item = blank(shape, dtype)
        out = transform(image=item, label=label)
        image = out["image"]
        assert (image.shape, image.dtype, out["label"]) == (shape, np.dtype(dtype), label)
        assert image.flags.c_contiguous
        assert image.flags.writeable
        assert np.array_equal(image, np.broadcast_to(marked([label], (1,), dtype)[0], shape))
        assert not item.any()  # what is given is not changed


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_have_any_number_of_channels(dtype: str) -> None:
    form = RawForm(kind="tensor", layout="channels_first", dtype="uint8", channels=7, shape=(8, 8))
    spec = ImageSpec(form=form, grid=(8, 8), low=(0.0,) * 7, high=(255.0,) * 7)
    source = toy_synthesizer(shape=(7, 8, 8), image_spec=spec)
    transform = SynthesizeSameClass(source, p=1.0)
    image = transform(image=blank((8, 8, 7), dtype), label=2)["image"]
    assert (image.shape, image.dtype) == ((8, 8, 7), np.dtype(dtype))
    told = transform.get_applied_params()
    wanted = ByLabel(source).made(2, told.get("params", told)["seeds"][0])[0].transpose(1, 2, 0)
    assert len(np.unique(wanted, axis=2)) > 1
    np.testing.assert_allclose(image, wanted if dtype == "uint8" else wanted / np.float32(255), rtol=1e-6)


def test_what_is_given_out_is_a_copy_of_the_pool() -> None:
    pool = marked_pool(dtype=np.uint8)
    transform = SynthesizeSameClass(pool, p=1.0)
    transform(image=blank(), label=0)["image"][:] = 0
    assert (transform(image=blank(), label=0)["image"] == MARK).all()


def test_grey_images_go_into_rgb_items() -> None:
    image = SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)(image=blank((8, 8, 3)), label=2)["image"]
    assert image.shape == (8, 8, 3)
    assert (image == MARK + 2).all()
    with pytest.raises(DataError, match="expected synthetic images of 4 channels"):
        SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)(image=blank((8, 8, 4)), label=2)


@pytest.mark.parametrize("pool_type", ["uint8", "float32"])
def test_a_float32_run_is_the_uint8_run_divided_by_255(pool_type: str) -> None:
    pool = varied((1, 8, 8), pool_type)
    transform = A.Compose([SynthesizeSameClass(pool, p=0.7, blend_ratio=(0.3, 1.0))])
    runs = []
    for dtype in (np.uint8, np.float32):
        transform.set_random_seed(4)
        runs.append([transform(image=blank(dtype=dtype), label=k % 3)["image"] for k in range(20)])
    assert all(image.dtype == np.float32 for image in runs[1])
    assert len({image.tobytes() for image in runs[0]}) > 10
    np.testing.assert_allclose(np.array(runs[1]), np.array(runs[0]) / 255, atol=1.01 / 255)


@pytest.mark.parametrize("item_type", ["uint8", "float32"])
def test_other_types_are_an_error_that_says_so(item_type: str) -> None:
    with pytest.raises(DataError, match=f"expected synthetic images of {item_type}, as the item's, found int16"):
        SynthesizeSameClass(marked_pool(dtype=np.int16), p=1.0)(image=blank(dtype=item_type), label=0)


def test_normalised_items_are_an_error_beside_a_uint8_pool() -> None:
    pipeline = A.Compose([A.Normalize(mean=(0.5,), std=(0.2,)), SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1)])
    with pytest.raises(DataError, match=r"from 0 to 1 beside uint8 ones, found values from -2\.5.*before normal"):
        pipeline(image=blank((8, 8, 1)), label=0)


def test_a_float32_pool_that_is_not_from_0_to_1_is_an_error_for_uint8_items() -> None:
    pool = SyntheticPool.from_arrays(np.full((2, 8, 8), 1.5, np.float32), [0, 1])
    with pytest.raises(DataError, match=r"from 0 to 1 beside uint8 ones, found values from 1\.5"):
        SynthesizeSameClass(pool, p=1.0)(image=blank(), label=0)
    assert (SynthesizeSameClass(pool, p=1.0)(image=blank(dtype="float32"), label=0)["image"] == 1.5).all()


@pytest.mark.parametrize("label", [1, np.int64(1), np.array([1]), np.array(1), [1], "b", np.array(["b"])])
def test_a_label_may_be_written_in_many_ways(label: Any) -> None:
    pool = marked_pool(dtype=np.uint8, classes=["a", "b", "c"])
    out = A.Compose([SynthesizeSameClass(pool, p=1.0)])(image=blank(), label=label)
    assert (out["image"] == MARK + 1).all()
    assert np.array_equal(np.ravel(out["label"]), np.ravel(label))


def test_the_label_may_stand_under_another_key_and_be_matched_by_name() -> None:
    pool = marked_pool(dtype=np.uint8, classes=["a", "b", "c"])
    transform = SynthesizeSameClass(pool, label_key="diagnosis", classes=["c", "x", "a"], p=1.0)
    assert (transform(image=blank(), diagnosis=0)["image"] == MARK + 2).all()
    assert (transform(image=blank(), diagnosis="a")["image"] == MARK).all()
    assert not transform(image=blank(), diagnosis=1)["image"].any()


@pytest.mark.parametrize("label", [7, -1, 0.5, [1, 2], np.eye(3)[0], None])
def test_a_label_that_is_none_is_an_error(label: Any) -> None:
    transform = SynthesizeSameClass(marked_pool(dtype=np.uint8, classes=["a", "b", "c"]), p=1.0)
    with pytest.raises(DataError, match="expected"):
        transform(image=blank(), label=label)


def test_an_item_without_a_label_is_the_hosts_own_error() -> None:
    with pytest.raises(ValueError, match=r"SynthesizeSameClass requires \['label'\]"):
        A.Compose([SynthesizeSameClass(marked_pool(), p=1.0)])(image=blank())


def test_the_image_of_a_label_that_there_is_no_synthetic_one_of_stays() -> None:
    pool = marked_pool(labels=(0, 0), dtype=np.uint8, classes=["a", "b"])
    item = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    assert np.array_equal(A.Compose([SynthesizeSameClass(pool, p=1.0)])(image=item, label=1)["image"], item)


def test_a_share_p_is_replaced() -> None:
    transform = A.Compose([SynthesizeSameClass(marked_pool(dtype=np.uint8), p=0.3)], seed=1)
    replaced = [transform(image=blank(), label=0)["image"].any() for _ in range(400)]
    assert 0.24 < np.mean(replaced) < 0.36
    never = SynthesizeSameClass(marked_pool(dtype=np.uint8), p=0.0)
    assert not any(never(image=blank(), label=0)["image"].any() for _ in range(20))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_blend_lies_between_both_images(dtype: str) -> None:
    transform = A.Compose([SynthesizeSameClass(marked_pool(dtype=dtype), blend_ratio=(0.25, 0.5), p=1.0)], seed=0)
    unit = 255 if dtype == "float32" else 1
    values = {float(transform(image=blank(dtype=dtype), label=0)["image"].max()) * unit for _ in range(50)}
    assert len(values) > 20
    assert MARK / 4 - 1 <= min(values) < MARK / 3
    assert MARK / 2.5 < max(values) <= MARK / 2 + 1


def test_another_size_is_an_error_or_resized() -> None:
    pool = marked_pool(dtype=np.uint8, masks=np.ones((6, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"the item's size \(12, 10\), found \(8, 8\); put the transform first"):
        A.Compose([A.Resize(12, 10), SynthesizeSameClass(pool, p=1.0)])(image=blank((8, 8, 1)), label=0)
    transform = A.Compose([SynthesizeSameClass(pool, fit="resize", p=1.0)])
    out = transform(image=blank((12, 10, 3)), mask=blank((12, 10)), label=1)
    assert out["image"].shape == (12, 10, 3)
    assert (out["image"] == MARK + 1).all()
    assert (out["mask"] == 1).all()


def test_a_synthesizer_draws_as_it_is_asked() -> None:
    source = live()
    transform = A.Compose([SynthesizeSameClass(source, p=1.0)], seed=2)
    images = [transform(image=blank(), label=label)["image"] for label in (0, 0, 2)]
    assert not np.array_equal(images[0], images[1])
    assert images[2].mean() > images[0].mean() + 50
    transform.set_random_seed(2)
    assert np.array_equal(transform(image=blank(), label=0)["image"], images[0])
    with pytest.raises(ConfigError, match="expected a synthesizer with an image_spec"):
        SynthesizeSameClass(toy_synthesizer())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_image_conditioned_synthesizer_is_given_the_item(dtype: str) -> None:
    item = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    given = item if dtype == "uint8" else item / np.float32(255)
    image = SynthesizeSameClass(Mirror(spec_of()), p=1.0)(image=given, label=0)["image"]
    wanted = 255 - item if dtype == "uint8" else 1 - given
    np.testing.assert_allclose(image.astype(float), wanted, atol=1 if dtype == "uint8" else 1 / 255)


# -- batches and volumes ----------------------------------------------------------------------------------------------


def test_an_item_and_a_batch_of_one_are_alike() -> None:
    transform = A.Compose([SynthesizeSameClass(varied(), blend_ratio=(0.2, 1.0), p=0.8)])
    for key, again in (("image", "images"), ("volume", "volumes")):
        pool = varied() if key == "image" else varied((6, 8, 8))
        shape = pool.form.shape
        transform = A.Compose([SynthesizeSameClass(pool, blend_ratio=(0.2, 1.0), p=0.8)])
        runs = []
        for name, item in ((key, blank(shape)), (again, blank((1, *shape)))):
            transform.set_random_seed(8)
            found = [transform(**{name: item}, label=k % 3)[name] for k in range(8)]
            runs.append(np.array(found).reshape(8, *shape))
        assert runs[0].any()
        assert np.array_equal(*runs)


def test_each_target_of_images_and_their_masks_is_changed() -> None:
    transform = SynthesizeSameClass(marked_pool(), p=1.0)
    assert set(transform.targets) == {"image", "images", "volume", "volumes", "mask", "masks", "mask3d", "masks3d"}
    assert set(transform.targets) <= transform.available_keys


def test_each_image_of_a_batch_is_another_one() -> None:
    transform = A.Compose([SynthesizeSameClass(varied(), p=1.0)], seed=0)
    images = transform(images=blank((6, 8, 8)), label=1)["images"]
    assert images.flags.c_contiguous
    assert len({image.tobytes() for image in images}) > 3
    marks = A.Compose([SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)])
    out = marks(images=blank((3, 8, 8, 1)), label=np.array([2, 0, 1]))
    assert out["images"][:, 0, 0, 0].tolist() == [MARK + 2, MARK, MARK + 1]
    with pytest.raises(DataError, match="give under 'label' the class of the image, or of each"):
        marks(images=blank((3, 8, 8, 1)), label=[0, 1])


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 8, 1), (6, 8, 8, 3)])
def test_volumes_take_a_pool_of_volumes(shape: tuple[int, ...], dtype: str) -> None:
    pool = marked_pool(shape=(1, 6, 8, 8), dtype=np.uint8)
    transform = A.Compose([SynthesizeSameClass(pool, p=1.0)])
    volume = transform(volume=blank(shape, dtype), label=2)["volume"]
    assert (volume.shape, volume.dtype) == (shape, np.dtype(dtype))
    np.testing.assert_allclose(volume * (255 if dtype == "float32" else 1), MARK + 2, rtol=1e-6)
    assert transform(volumes=blank((2, *shape), dtype), label=[0, 1])["volumes"].shape == (2, *shape)


def test_images_and_volumes_are_not_mistaken_for_each_other() -> None:
    flat, deep = marked_pool(dtype=np.uint8), marked_pool(shape=(1, 6, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match="expected synthetic images of 3 dimensions"):
        SynthesizeSameClass(flat, fit="resize", p=1.0)(volume=blank((6, 8, 8)), label=0)
    with pytest.raises(DataError, match="expected synthetic images of 2 dimensions"):
        SynthesizeSameClass(deep, fit="resize", p=1.0)(image=blank((8, 8)), label=0)


# -- masks, boxes and further images ----------------------------------------------------------------------------------


def masked(shape: tuple[int, ...] = (1, 8, 8), **settings: Any) -> SyntheticPool:
    """A pool whose masks hold 10 + label in their upper half."""
    labels = [0, 0, 1, 1, 2, 2]
    masks = np.zeros((6, *shape[1:]), np.uint8)
    masks[:, : shape[1] // 2] = 10 + np.array(labels).reshape(-1, *[1] * (len(shape) - 1))
    return marked_pool(labels, shape, np.uint8, masks=masks, **settings)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
@pytest.mark.parametrize("channel", [(), (1,)])
def test_a_mask_becomes_that_of_the_pool(channel: tuple[int, ...], dtype: str) -> None:
    transform = A.Compose([SynthesizeSameClass(masked(), p=1.0)])
    mask = np.full((8, 8, *channel), 3, dtype)
    out = transform(image=blank((8, 8, 3)), mask=mask, label=1)
    assert (out["mask"].shape, out["mask"].dtype) == (mask.shape, mask.dtype)
    assert (out["mask"][:4] == 11).all()
    assert not out["mask"][4:].any()
    assert (mask == 3).all()


def test_masks_of_volumes_and_batches_are_those_of_their_images() -> None:
    deep = A.Compose([SynthesizeSameClass(masked((1, 6, 8, 8)), p=1.0)])
    out = deep(volume=blank((6, 8, 8)), mask3d=blank((6, 8, 8)), label=2)
    assert (out["mask3d"][:3] == 12).all()
    flat = A.Compose([SynthesizeSameClass(masked(), p=1.0)])
    out = flat(images=blank((2, 8, 8, 1)), masks=blank((2, 8, 8)), label=[2, 0])
    assert [int(mask[0].max()) for mask in out["masks"]] == [12, 10]
    assert out["images"][:, 0, 0, 0].tolist() == [MARK + 2, MARK]
    out = deep(volumes=blank((2, 6, 8, 8)), masks3d=blank((2, 6, 8, 8)), label=[1, 0])
    assert [int(mask.max()) for mask in out["masks3d"]] == [11, 10]


def test_a_mask_is_refused_where_nothing_is_known_of_it() -> None:
    item = {"image": blank(), "label": 0}
    with pytest.raises(ConfigError, match=r"expected a pool with masks, for an item with mask, found .* without"):
        A.Compose([SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)])(**item, mask=blank())
    with pytest.raises(ConfigError, match="neither mask is that of a blend"):
        A.Compose([SynthesizeSameClass(masked(), blend_ratio=(0.5, 1.0), p=1.0)])(**item, mask=blank())
    with pytest.raises(ConfigError, match="expected a mask of one channel"):
        A.Compose([SynthesizeSameClass(masked(), p=1.0)])(**item, mask=blank((8, 8, 2)))
    with pytest.raises(ConfigError, match="found masks: nothing says where"):
        A.Compose([SynthesizeSameClass(masked(), p=1.0)])(**item, masks=blank((2, 8, 8)))


def test_targets_that_are_told_later_are_refused_too() -> None:
    transform = SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)
    item = {"image": blank((8, 8, 1)), "other": blank((8, 8, 1)), "label": 0}
    transform(**item)  # of which nothing says that it is an image
    with pytest.raises(ConfigError, match="found other"):
        A.Compose([transform], additional_targets={"other": "image"})(**item)


def test_boxes_keypoints_and_second_images_are_refused() -> None:
    box_format = {"format" if A.__version__.startswith("2.0.") else "coord_format": "pascal_voc"}
    boxes = A.BboxParams(label_fields=[], **box_format)
    item: dict[str, Any] = {"image": blank((8, 8, 1)), "label": 0}
    transform = SynthesizeSameClass(masked(), p=1.0)
    with pytest.raises(ConfigError, match="found bboxes: nothing says where the objects"):
        A.Compose([transform, A.HorizontalFlip()], bbox_params=boxes)(**item, bboxes=np.array([[1.0, 1, 4, 4]]))
    with pytest.raises(ConfigError, match="found keypoints"):
        transform(**item, keypoints=np.array([[1.0, 2]]))
    more = A.Compose([SynthesizeSameClass(masked(), p=1.0), A.HorizontalFlip()], additional_targets={"other": "image"})
    with pytest.raises(ConfigError, match="found other"):
        more(**item, other=blank((8, 8, 1)))
    assert (more(**item)["image"] == MARK).all()
    more = A.Compose([SynthesizeSameClass(masked(), p=1.0), A.HorizontalFlip()], additional_targets={"box2": "bboxes"},
                     bbox_params=boxes)  # fmt: skip
    with pytest.raises(ConfigError, match=r"found .*box2"):
        more(**item, bboxes=np.zeros((0, 4)), box2=np.array([[1.0, 1, 4, 4]]))


# -- randomness -------------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_images_and_global_randomness_has_no_part_in_it() -> None:
    pool = varied()
    with untouched_rng():
        runs = [drawn(A.Compose([SynthesizeSameClass(pool, p=0.5)], seed=seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    unseeded = [drawn(A.Compose([SynthesizeSameClass(pool, p=0.5)])) for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_set_random_seed_begins_anew() -> None:
    transform = A.Compose([A.OneOf([SynthesizeSameClass(varied(), p=1.0), A.NoOp(p=1.0)], p=1.0)], seed=1)
    first, second = drawn(transform), drawn(transform)
    transform.set_random_seed(1)
    assert drawn(transform) == first != second


@REPLAY
def test_a_replay_gives_the_very_same_image() -> None:
    pipeline = A.ReplayCompose([SynthesizeSameClass(varied(), p=0.5, blend_ratio=(0.2, 1.0)), A.HorizontalFlip()])
    pipeline.set_random_seed(0)
    applied = set()
    for _ in range(12):
        out = pipeline(image=blank((8, 8, 1)), label=2)
        again = A.ReplayCompose.replay(out["replay"], image=blank((8, 8, 1)), label=2)
        assert np.array_equal(again["image"], out["image"])
        applied.add(out["replay"]["transforms"][0]["applied"])
        assert len(pickle.dumps(out["replay"])) < 4000  # it names the pool, and does not hold it
    assert applied == {True, False}


@REPLAY
def test_a_replay_refuses_what_a_first_run_would() -> None:
    out = A.ReplayCompose([SynthesizeSameClass(varied(), p=1.0)])(image=blank((8, 8, 1)), label=2)
    with pytest.raises(ConfigError, match="expected a pool with masks"):
        A.ReplayCompose.replay(out["replay"], image=blank((8, 8, 1)), mask=blank(), label=2)


@pytest.mark.slow
@REPLAY
def test_a_replay_of_a_pool_in_a_folder_is_plain_json_and_works_in_another_process(tmp_path: Path) -> None:
    saved(tmp_path / "pool")
    pipeline = A.ReplayCompose([SynthesizeSameClass(str(tmp_path / "pool"), p=1.0)])
    out = pipeline(images=blank((2, 8, 8, 1)), label=[0, 2])
    (tmp_path / "replay.json").write_text(json.dumps(out["replay"]))
    code = """
import json, sys, warnings
from pathlib import Path
import albumentations as A, numpy as np
import gan_augment.integrations.albumentations
told = json.loads(Path(sys.argv[1], "replay.json").read_text())
out = A.ReplayCompose.replay(told, images=np.zeros((2, 8, 8, 1), np.uint8), label=[0, 2])
np.save(Path(sys.argv[1], "again.npy"), out["images"])
"""
    done = run_python(code, tmp_path, env=QUIET)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "again.npy"), out["images"])
    with pytest.raises(ConfigError, match="as many images as were drawn for, 2, found 3"):
        A.ReplayCompose.replay(out["replay"], images=blank((3, 8, 8, 1)), label=[0, 2])


def test_the_history_holds_labels_and_seeds_and_no_image() -> None:
    inner = SynthesizeSameClass(varied(), p=1.0, blend_ratio=(0.5, 1.0))
    inner(image=blank(), label=1)
    told = inner.get_applied_params()
    told = told.get("params", told)
    assert told["labels"] == [1]
    assert 0 <= told["seeds"][0] < 2**63
    json.dumps({name: told[name] for name in ("labels", "seeds", "blend_ratio")})
    pipeline = A.Compose([inner], save_applied_params=True)
    name, values = pipeline(image=blank(), label=1)["applied_transforms"][0]
    assert name.endswith("SynthesizeSameClass")
    assert not any(isinstance(value, np.ndarray) for value in values.values())
    ratio = values["blend_ratio"]
    assert 0.5 <= (ratio[0] if isinstance(ratio, tuple) else ratio) <= 1
    assert ratio != inner.blend_ratio


# -- serialisation ----------------------------------------------------------------------------------------------------


def settings_of(transform: Any) -> dict[str, Any]:
    names = ("source", "blend_ratio", "label_key", "classes", "fit", "name", "p")
    return {name: getattr(transform, name) for name in names}


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("given", ["path", "pool"])
def test_a_pipeline_is_saved_and_read_again(tmp_path: Path, given: str, form: Any) -> None:
    pool = saved(tmp_path / "pool")
    source = str(tmp_path / "pool") if given == "path" else pool
    settings: Any = {"label_key": "y", "classes": ["0", "1", "2"], "fit": "resize", "p": 0.25}
    pipeline = A.Compose([A.OneOf([SynthesizeSameClass(source, (0.5, 0.75), **settings), A.NoOp()])])
    A.save(pipeline, tmp_path / "pipeline", data_format=form)
    assert str(tmp_path / "pool") in (tmp_path / "pipeline").read_text()
    again = A.load(tmp_path / "pipeline", data_format=form)
    inner = again.transforms[0].transforms[0]
    assert settings_of(inner) == settings_of(pipeline.transforms[0].transforms[0])
    assert settings_of(inner)["blend_ratio"] == (0.5, 0.75)
    assert repr(again) == repr(pipeline)


def test_a_pipeline_that_is_read_again_draws_the_same(tmp_path: Path) -> None:
    saved(tmp_path / "pool")
    pipeline = A.Compose([SynthesizeSameClass(tmp_path / "pool", p=0.5)], seed=3)
    again = A.from_dict(A.to_dict(pipeline))
    assert isinstance(again[0], SynthesizeSameClass)
    pipeline.set_random_seed(5)
    again.set_random_seed(5)
    assert drawn(again) == drawn(pipeline)


def test_a_source_in_memory_takes_a_name_as_a_lambda_does() -> None:
    transform = SynthesizeSameClass(varied(), p=1.0, name="rare")
    told = A.to_dict(A.Compose([transform, A.HorizontalFlip()]))
    assert len(json.dumps(told)) < 2000
    assert A.from_dict(json.loads(json.dumps(told)), nonserializable={"rare": transform})[0] is transform
    with pytest.raises(ValueError, match="with name rare"):
        A.from_dict(told)
    unnamed = SynthesizeSameClass(varied())
    assert "in memory" not in repr(unnamed)
    for act in (A.to_dict, repr):
        with pytest.raises(ConfigError, match="expected a path as the source of SynthesizeSameClass, to serialise"):
            act(A.Compose([unnamed]))


def test_another_view_of_a_folder_is_not_taken_for_the_folder(tmp_path: Path) -> None:
    pool = saved(tmp_path / "pool")
    assert SynthesizeSameClass(pool).source == str(pool.folder)
    assert SynthesizeSameClass(pool.candidates()).source == str(pool.folder)  # all were kept
    view = pool.sample(1)
    assert SynthesizeSameClass(view).source is view
    with pytest.raises(ConfigError, match="expected a path"):
        A.to_dict(SynthesizeSameClass(view))


def test_pickles_and_copies_hold_no_images(tmp_path: Path) -> None:
    pool = saved(tmp_path / "pool", shape=(64, 64))
    for source in (pool, str(tmp_path / "pool")):
        transform = A.Compose([SynthesizeSameClass(source, p=1.0)], seed=1)
        pickled = pickle.dumps(transform)
        assert len(pickled) < 60 * 64 * 64 / 10
        assert drawn(pickle.loads(pickled), 3, (64, 64)) == drawn(transform, 3, (64, 64))
    transform = SynthesizeSameClass(varied())
    assert copy.deepcopy(transform)._by_label.pool is transform._by_label.pool
    assert isinstance(transform._by_label, ByLabel)


# -- parameters, versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"p": 1.5}, "p from 0 to 1"),
        ({"p": True}, "p from 0 to 1"),
        ({"blend_ratio": 0.5}, r"blend_ratio= a range \(least, most\)"),
        ({"blend_ratio": (0.6, 0.5)}, "blend_ratio= a range"),
        ({"blend_ratio": (0, 2)}, "blend_ratio from 0 to 1"),
        ({"blend_ratio": (0, 0.5, 1)}, "blend_ratio= a range"),
        ({"fit": "pad"}, "fit= one of exact, resize"),
        ({"label_key": 3}, "label_key= a string"),
        ({"name": 3}, "name= a string"),
        ({"source": 3}, "a SyntheticPool, a Synthesizer, or the path of one"),
        ({"classes": ["x"]}, "classes= to name classes of the source"),
    ],
)
def test_parameters_that_cannot_work_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"expected {told}"):
        SynthesizeSameClass(**{"source": marked_pool(classes=["a", "b", "c"]), **settings})


def test_items_without_an_image_or_with_several_are_told() -> None:
    transform = SynthesizeSameClass(marked_pool(dtype=np.uint8), p=1.0)
    with pytest.raises(ConfigError, match="expected one image, and one mask at most, found images"):
        transform(image=blank(), images=blank((1, 8, 8)), label=0)


def test_the_library_does_not_import_albumentations_and_the_adapter_tells_of_versions_that_do_not_work() -> None:
    """Another version stands in for the real one: the error must come before anything of it is used."""
    code = """
import sys, types
import gan_augment
assert "albumentations" not in sys.modules, "the library imports albumentations"
for version in ("2.0.7", "1.4.0", "3.0.0", "2.9"):
    sys.modules["albumentations"] = types.ModuleType("albumentations")
    sys.modules["albumentations"].__version__ = version
    try:
        import gan_augment.integrations.albumentations
    except gan_augment.errors.DependencyError as error:
        print(error)
    except AttributeError as error:
        print("went on with", version)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    wanted = "expected albumentations from 2.0.8 and below 3 for gan_augment.integrations.albumentations, found"
    install = "pip install 'gan_augment[albumentations]' --upgrade"
    told = [f"{wanted} {version}; {install}" for version in ("2.0.7", "1.4.0", "3.0.0")]
    assert done.stdout.splitlines() == [*told, "went on with 2.9"]


def test_both_transforms_are_all_that_is_given() -> None:
    import gan_augment.integrations.albumentations as room

    assert room.__all__ == ["SynthesizeSameClass", "SyntheticReference"]
    assert issubclass(SynthesizeSameClass, A.ImageOnlyTransform)
    assert issubclass(SyntheticReference, A.BasicTransform)
