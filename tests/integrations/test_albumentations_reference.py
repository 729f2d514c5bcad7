"""SyntheticReference for albumentations: what its mixing transforms are given, and what comes of it."""

import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest

from gan_augment.errors import ConfigError, DataError
from gan_augment.integrations.albumentations import SynthesizeSameClass, SyntheticReference
from gan_augment.pool import SyntheticPool
from tests.transforms.sources import MARK, live, marked_pool

REPLAY = pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode:UserWarning")
"""albumentations says it of every transform that reads a target."""

BETA = "beta_limit" if "beta_limit" in inspect.signature(A.FDA).parameters else "beta_range"
"""What releases after 2.0.8 call it."""

READERS: dict[str, Any] = {
    "FDA": A.FDA(**{BETA: (0.3, 0.5)}, p=1.0),
    "HistogramMatching": A.HistogramMatching(blend_ratio=(1.0, 1.0), p=1.0),
    "OverlayElements": A.OverlayElements(p=1.0),
    "Mosaic": A.Mosaic(target_size=(16, 16), cell_shape=(16, 16), p=1.0),
}
KEYS = {name: f"{key}_metadata" for name, key in zip(READERS, ("fda", "hm", "overlay", "mosaic"), strict=True)}


def pool_of(channels: int = 3, **settings: Any) -> SyntheticPool:
    return marked_pool(shape=(channels, 16, 16), dtype=np.uint8, **settings)


def noise(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 120, shape or (16, 16, 3))
    return pixels.astype(np.uint8) if dtype == np.uint8 else (pixels / 255).astype(dtype)


def with_reader(name: str, source: Any, seed: int | None = 0, **settings: Any) -> Any:
    return A.Compose([SyntheticReference(source, name, **settings), READERS[name]], seed=seed)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", READERS)
def test_each_reader_works_with_what_it_is_given(name: str, dtype: Any) -> None:
    item = noise(dtype=dtype)
    out = with_reader(name, pool_of())(image=item, label=2)
    assert (out["image"].shape, out["image"].dtype, out["label"]) == (item.shape, item.dtype, 2)
    assert not np.array_equal(out["image"], item)
    assert np.array_equal(item, noise(dtype=dtype))  # what is given is not changed
    given = out[KEYS[name]]
    assert len(given) == (3 if name == "Mosaic" else 1)
    for one in given:
        image = one["image"] if isinstance(one, dict) else one
        assert (image.shape, image.dtype) == (item.shape, item.dtype)
        assert image.flags.c_contiguous
        np.testing.assert_allclose(image * (1 if dtype == np.uint8 else 255), MARK + 2, rtol=1e-6)
        assert isinstance(one, dict) == (name in ("OverlayElements", "Mosaic"))


@pytest.mark.parametrize("name", ["FDA", "HistogramMatching"])
def test_images_take_over_the_style_of_the_reference(name: str) -> None:
    """The references are as bright as MARK + 1 everywhere, the item is dark."""
    out = with_reader(name, pool_of())(image=noise(), label=1)
    assert noise().mean() < 65
    assert out["image"].mean() > 150


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 1)])
def test_grey_items_are_given_grey_references(shape: tuple[int, ...]) -> None:
    out = with_reader("HistogramMatching", pool_of(1))(image=noise(*shape), label=0)
    assert out["image"].shape == shape
    rgb = with_reader("HistogramMatching", pool_of(1))(image=noise(), label=0)
    assert rgb["hm_metadata"][0].shape == (16, 16, 3)


def test_an_overlay_lies_at_a_random_place_and_of_the_asked_size() -> None:
    pipeline = with_reader("OverlayElements", pool_of(), scale=(0.25, 0.5))
    places = set()
    for _ in range(30):
        pasted = (pipeline(image=noise(), label=1)["image"] == MARK + 1).all(axis=2)
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert pasted.sum() == height * width
        assert height == width
        assert 4 <= height <= 8
        places.add((rows[0], columns[0], height))
    assert len(places) > 15
    assert {place[2] for place in places} == {4, 5, 6, 7, 8}
    assert {0, 16} <= {place[0] for place in places} | {place[0] + place[2] for place in places}
    out = with_reader("OverlayElements", pool_of(), scale=(1, 1))(image=noise(), label=1)
    assert (out["image"] == MARK + 1).all()


def masked(values: tuple[int, ...] = (5, 5, 5)) -> SyntheticPool:
    """The middle of each image is an object, of another value for each label."""
    masks = np.zeros((6, 16, 16), np.uint8)
    masks[:, 4:12, 4:12] = np.repeat(values, 2).reshape(-1, 1, 1)
    return pool_of(masks=masks)


def test_with_masks_only_the_object_is_pasted_and_the_items_mask_follows() -> None:
    pipeline = with_reader("OverlayElements", masked((5, 6, 7)), scale=(0.5, 0.5))
    out = pipeline(image=noise(), mask=np.zeros((16, 16), np.int64), label=1)
    pasted = (out["image"] == MARK + 1).all(axis=2)
    assert pasted.sum() == 16  # half the side of 8
    assert np.array_equal(out["mask"], np.where(pasted, 6, 0))
    assert pipeline(image=noise(), label=1)["overlay_metadata"][0].keys() == {"image", "label", "bbox", "mask"}


def test_masks_of_several_values_are_no_overlay() -> None:
    masks = np.zeros((6, 16, 16), np.uint8)
    masks[:, :4], masks[:, 4:8] = 1, 2
    pipeline = with_reader("OverlayElements", pool_of(masks=masks))
    with pytest.raises(DataError, match=r"masks of one value besides 0.*found \[1, 2\]"):
        pipeline(image=noise(), mask=np.zeros((16, 16), np.uint8), label=1)
    assert pipeline(image=noise(), label=1)["image"].max() == MARK + 1  # without a mask it is no matter


def test_a_mosaic_is_of_images_and_masks_of_the_class() -> None:
    reader = A.Mosaic(target_size=(32, 32), cell_shape=(16, 16), center_range=(0.5, 0.5), p=1.0)
    pipeline = A.Compose([SyntheticReference(masked((5, 6, 7)), "Mosaic"), reader], seed=0)
    out = pipeline(image=noise(), mask=np.zeros((16, 16), np.uint8), label=2)
    drawn = (out["image"] == MARK + 2).all(axis=2)
    assert out["image"].shape == (32, 32, 3)
    assert drawn.sum() == 3 * 16 * 16
    assert set(np.unique(out["mask"])) == {0, 7}
    assert (out["mask"] > 0).sum() == 3 * 8 * 8
    assert drawn[out["mask"] > 0].all()
    assert [entry["label"] for entry in out["mosaic_metadata"]] == [2, 2, 2]


@pytest.mark.parametrize("name", ["OverlayElements", "Mosaic"])
def test_items_whose_other_parts_would_be_wrong_are_refused(name: str) -> None:
    item: dict[str, Any] = {"image": noise(), "label": 0}
    pipeline = with_reader(name, pool_of())
    with pytest.raises(ConfigError, match=f"found mask: nothing says where the objects are that {name} would"):
        pipeline(**item, mask=np.zeros((16, 16), np.uint8))
    with pytest.raises(ConfigError, match="found keypoints"):
        SyntheticReference(pool_of(), name)(**item, keypoints=np.array([[1.0, 2]]))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected image="):
        SyntheticReference(pool_of(), name)(images=noise(1, 16, 16, 3), label=0)  # type: ignore[arg-type]


def test_the_style_transforms_leave_masks_and_boxes_alone() -> None:
    mask = np.arange(256).reshape(16, 16).astype(np.uint8)
    out = with_reader("FDA", pool_of())(image=noise(), mask=mask, label=0)
    assert np.array_equal(out["mask"].reshape(16, 16), mask)


# -- of which classes -------------------------------------------------------------------------------------------------


def labels_of(pipeline: Any, count: int = 200) -> np.ndarray:
    """Labels of what is drawn for items of label 0."""
    found = [pipeline(image=noise(), label=0)["fda_metadata"][0][0, 0, 0] - MARK for _ in range(count)]
    return np.bincount(found, minlength=3) / count


def test_references_are_of_the_same_of_any_or_of_weighted_classes() -> None:
    draw = {of: labels_of(A.Compose([SyntheticReference(pool_of(), of=of)], seed=0)) for of in ("same", "any")}
    assert draw["same"].tolist() == [1, 0, 0]
    assert (abs(draw["any"] - 1 / 3) < 0.12).all()
    for weights in ({1: 3, 2: 1}, {"1": 0.75, "2": 0.25, "0": 0}):
        found = labels_of(A.Compose([SyntheticReference(pool_of(), of=weights)], seed=0))  # type: ignore[arg-type]
        assert found[0] == 0
        assert abs(found[1] - 0.75) < 0.1
    named = pool_of(classes=["a", "b", "c"])
    assert labels_of(A.Compose([SyntheticReference(named, of={"c": 1})], seed=0), 5).tolist() == [0, 0, 1]


def test_of_other_classes_no_label_is_needed() -> None:
    assert "fda_metadata" in A.Compose([SyntheticReference(pool_of(), of="any")], strict=True)(image=noise())
    with pytest.raises(ValueError, match=r"requires \['label'\]"):
        A.Compose([SyntheticReference(pool_of())])(image=noise())


@pytest.mark.parametrize("name", READERS)
def test_an_item_of_a_label_without_synthetic_images_stays_or_stands_alone(name: str) -> None:
    pool = pool_of(labels=(0, 0), classes=["a", "b"])
    out = with_reader(name, pool)(image=noise(), label=1)
    if name in ("OverlayElements", "Mosaic"):
        assert out[KEYS[name]] == []
    else:
        assert np.array_equal(out[KEYS[name]][0], noise())
    if name != "Mosaic":  # which puts the item's own image into all cells
        assert np.abs(out["image"].astype(int) - noise()).max() <= 1


def test_the_number_and_the_key_are_free() -> None:
    pipeline = A.Compose([SyntheticReference(pool_of(), n=4, metadata_key="style"), A.FDA(metadata_key="style", p=1.0)])
    assert len(pipeline(image=noise(), label=0)["style"]) == 4


def test_nothing_is_drawn_in_vain_in_a_sequential() -> None:
    pipeline = A.Compose([A.Sequential([SyntheticReference(pool_of(), "Mosaic"), READERS["Mosaic"]], p=0.5)], seed=0)
    found = ["mosaic_metadata" in pipeline(image=noise(), label=0) for _ in range(40)]
    assert 8 < sum(found) < 32


def test_it_stands_beside_a_synthesized_image() -> None:
    pipeline = A.Compose(
        [SynthesizeSameClass(pool_of(), p=1.0), SyntheticReference(pool_of(), "Mosaic"), READERS["Mosaic"]]
    )
    assert (pipeline(image=noise(), label=2)["image"] == MARK + 2).all()


# -- its host's contracts ---------------------------------------------------------------------------------------------


def varied() -> SyntheticPool:
    images = np.random.default_rng(3).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    return SyntheticPool.from_arrays(images, np.arange(60) % 3)


def drawn(pipeline: Any, count: int = 8) -> list[bytes]:
    return [pipeline(image=noise(), label=k % 3)["image"].tobytes() for k in range(count)]


@pytest.mark.parametrize("name", READERS)
def test_a_seed_gives_the_same_images(name: str) -> None:
    pool = varied()
    runs = [drawn(with_reader(name, pool, seed)) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@REPLAY
def test_a_replay_gives_the_very_same_references(tmp_path: Path) -> None:
    varied().save(tmp_path / "pool")
    for source in (varied(), str(tmp_path / "pool")):
        pipeline = A.ReplayCompose([SyntheticReference(source, "OverlayElements", n=2), A.HorizontalFlip()])
        out = pipeline(image=noise(), label=2)
        told = json.loads(json.dumps(out["replay"])) if isinstance(source, str) else out["replay"]
        assert len(pickle.dumps(told)) < 4000
        again = A.ReplayCompose.replay(told, image=noise(), label=2)
        for one, other in zip(out["overlay_metadata"], again["overlay_metadata"], strict=True):
            assert np.array_equal(one["image"], other["image"])
            assert one["bbox"] == other["bbox"]


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    varied().save(tmp_path / "pool")
    settings: dict[str, Any] = {"transform": "OverlayElements", "n": 2, "of": {1: 1.0, 2: 3.0}, "scale": (0.1, 0.9)}
    settings |= {"metadata_key": "other", "label_key": "y", "classes": ["0", "1", "2"], "name": "x", "p": 0.9}
    transform = SyntheticReference(tmp_path / "pool", **settings)
    A.save(A.Compose([transform]), tmp_path / "pipeline.json")
    again = A.load(tmp_path / "pipeline.json")[0]
    for key in settings:
        assert getattr(again, key) == getattr(transform, key)
    again.set_random_seed(1)
    transform.set_random_seed(1)
    one, other = (t(image=noise(), y=1)["other"] for t in (again, transform))
    assert [entry["y"] for entry in one] == [entry["y"] for entry in other]
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(one, other, strict=True))
    named = SyntheticReference(varied(), name="here")
    assert A.from_dict(A.to_dict(named), nonserializable={"here": named}) is named


def test_a_synthesizer_may_give_references() -> None:
    out = A.Compose([SyntheticReference(live(), "HistogramMatching", n=2)])(image=noise(8, 8, 1), label=2)
    assert [image.shape for image in out["hm_metadata"]] == [(8, 8, 1)] * 2
    assert not np.array_equal(*out["hm_metadata"])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"transform": "CutMix"}, "transform= one of FDA, HistogramMatching"),
        ({"n": 0}, "n of at least 1"),
        ({"of": "rare"}, "of= 'same', 'any', or weights"),
        ({"of": 3}, "of= 'same', 'any', or weights"),
        ({"of": {}}, "of for each class, once, and not all 0"),
        ({"of": {0: 0.0}}, "of for each class, once, and not all 0"),
        ({"of": {0: -1.0}}, "of that are finite numbers from 0"),
        ({"of": {9: 1.0}}, r"of= weights of classes that there are images of, \[0, 1, 2\], found \[9\]"),
        ({"of": {"x": 1.0}}, "classes as labels from 0 or names of a, b, c"),
        ({"scale": (0.5, 1.5)}, "scale from 0 to 1"),
        ({"p": 2}, "p from 0 to 1"),
    ],
)
def test_parameters_that_cannot_work_are_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"expected {told}"):
        SyntheticReference(pool_of(classes=["a", "b", "c"]), **settings)
