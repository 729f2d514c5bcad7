"""PrecomputedFeatures and PixelExtractor: known answers, images that are not known, damaged folders."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from gan_augment.errors import ArtifactError, ConfigError, DataError, SynthesizerError
from gan_augment.features import PixelExtractor, PrecomputedFeatures
from gan_augment.features.keys import image_keys
from gan_augment.fingerprint import FittedOn
from gan_augment.pool import SyntheticPool
from gan_augment.quality import audit
from tests.helpers import Pictures, set_in, view

IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
FEATURES = np.arange(24, dtype=np.float32).reshape(6, 4)
PROBS = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)


def test_images_are_found_by_content_in_any_order() -> None:
    table = PrecomputedFeatures(IMAGES, FEATURES, PROBS, classes=["a", "b", "c"])
    rows = [4, 4, 0, 2]
    seen = table.extract(IMAGES[rows].clone())
    assert np.array_equal(seen.features, FEATURES[rows])
    assert np.array_equal(seen.probs, PROBS[rows])
    assert seen.entropy == pytest.approx(-(PROBS[rows] * np.log(PROBS[rows])).sum(1), abs=1e-6)
    assert len(table) == 6
    keys = np.frombuffer(b"".join(image_keys(IMAGES)), np.uint8).reshape(6, 16)
    by_key = PrecomputedFeatures(keys, FEATURES, PROBS, classes=["a", "b", "c"])
    assert by_key.fingerprint == table.fingerprint
    assert np.array_equal(by_key.extract(IMAGES).features, FEATURES)


def test_an_image_that_is_not_in_the_table_is_an_error() -> None:
    table = PrecomputedFeatures(IMAGES[:4], FEATURES[:4])
    with pytest.raises(DataError, match=r"of all 6 images in the table of 4, found none of 2 \(at 4, 5\)"):
        table.extract(IMAGES)
    with pytest.raises(DataError, match=r"found none of 1 \(at 0\)"):
        table.extract(IMAGES[:1] + 1e-6)
    with pytest.raises(DataError, match=r"found none of 1 \(at 0\)"):
        table.extract(IMAGES[:1].reshape(1, 1, 4, 16))


def test_a_table_of_a_dataset_and_of_a_pool_in_an_audit() -> None:
    base = Pictures((9, 9, 9), "array")
    fresh = Pictures((10, 10, 10), "array", seed=5)
    pool = SyntheticPool.from_arrays(fresh.pixels[:, 0], fresh.targets)
    spec = view(base).spec()

    def mine(pixels: Any) -> Any:
        flat = pixels.reshape(len(pixels), -1).astype(np.float32)
        return np.stack([flat.mean(1), flat.std(1), flat[:, :32].mean(1)], axis=1)

    table = PrecomputedFeatures.of(base, mine(base.pixels))
    assert table.image_spec == spec
    assert np.array_equal(table.extract(view(base).images([7, 3], spec=spec)).features, mine(base.pixels[[7, 3]]))
    with pytest.raises(DataError, match="found none of 30"):
        audit(pool, base, extractor=table, progress=False)
    both = table.joined(PrecomputedFeatures.of(fresh, mine(fresh.pixels), image_spec=spec))
    assert len(both) == 57
    assert audit(pool, base, extractor=both, progress=False).table[0]["n"] == 30


def test_a_memory_mapped_table_stays_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", FEATURES)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    table = PrecomputedFeatures(IMAGES, mapped)
    assert isinstance(table._features, np.memmap)
    assert np.array_equal(table.extract(IMAGES[2:3]).features, FEATURES[2:3])
    again = PrecomputedFeatures.load(table.save(tmp_path / "table"))
    assert again.fingerprint == table.fingerprint == PrecomputedFeatures(IMAGES, FEATURES).fingerprint


def test_images_that_stand_twice() -> None:
    twice = torch.cat([IMAGES, IMAGES[:1]])
    close = PrecomputedFeatures(twice, np.concatenate([FEATURES, FEATURES[:1] + 1e-6]))
    assert np.array_equal(close.extract(twice[6:]).features, FEATURES[:1])
    with pytest.raises(ConfigError, match="found two that differ, 0 and 6"):
        PrecomputedFeatures(twice, np.concatenate([FEATURES, FEATURES[1:2]]))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"features": FEATURES[:5]}, r"expected features \(6, D\), a row for each image, found \(5, 4\)"),
        ({"features": FEATURES[:, 0]}, r"found \(6,\)"),
        ({"features": FEATURES * np.nan}, "finite features"),
        ({"probs": PROBS[:2]}, r"expected probs \(6, D\)"),
        ({"probs": PROBS * 3}, "rows sum to 1"),
        ({"probs": PROBS - 1}, "rows sum to 1"),
        ({"classes": ["a"]}, "expected probs= beside classes="),
        ({"probs": PROBS, "classes": ["a", "b"]}, "3 distinct class names"),
        ({"images": np.zeros((6, 3))}, r"or their keys \(N, 16\) in uint8"),
    ],
)
def test_tables_that_cannot_be(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PrecomputedFeatures(**{"images": IMAGES, "features": FEATURES, **values})


def test_tables_that_cannot_be_joined() -> None:
    one = PrecomputedFeatures(IMAGES, FEATURES)
    for other in (
        PrecomputedFeatures(IMAGES, FEATURES[:, :2]),
        PrecomputedFeatures(IMAGES, FEATURES, PROBS),
        PrecomputedFeatures(IMAGES, FEATURES, image_spec=view(Pictures()).spec()),
    ):
        with pytest.raises(ConfigError, match="tables of the same length"):
            one.joined(other)


def in_table(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    return lambda folder: save_file(change(load_file(folder / "table.safetensors")), folder / "table.safetensors")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no table": (lambda folder: (folder / "table.safetensors").unlink(), "found no such file"),
    "no json": (lambda folder: (folder / "extractor.json").unlink(), "found no extractor.json"),
    "other features": (in_table(lambda t: {**t, "features": t["features"] + 1}), "found another"),
    "keys swapped": (in_table(lambda t: {**t, "keys": t["keys"].flip(0)}), "found another"),
    "keys are floats": (in_table(lambda t: {**t, "keys": t["keys"].float()}), "damaged"),
    "keys missing": (in_table(lambda t: {"features": t["features"]}), "damaged"),
    "fewer rows": (in_table(lambda t: {**t, "features": t["features"][:2].clone()}), "damaged"),
    "features in bfloat16": (in_table(lambda t: {**t, "features": t["features"].bfloat16()}), "damaged"),
    "probs missing": (in_table(lambda t: {k: v for k, v in t.items() if k != "probs"}), "damaged"),
    "classes are a number": (set_in("classes", 3), "damaged"),
    "image_spec is text": (set_in("image_spec", "x"), "damaged"),
    "another fingerprint": (set_in("fingerprint", None), "found another"),
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_table_is_refused(tmp_path: Path, damage: Callable[[Path], Any], told: str) -> None:
    fitted = FittedOn(np.array([3, 4]), np.array([9]))
    table = PrecomputedFeatures(IMAGES, FEATURES, PROBS, classes=["a", "b", "c"], fitted_on=fitted)
    folder = table.save(tmp_path / "table")
    shutil.copytree(folder, tmp_path / "damaged")
    damage(tmp_path / "damaged")
    with pytest.raises(ArtifactError, match=told):
        PrecomputedFeatures.load(tmp_path / "damaged")
    assert PrecomputedFeatures.load(folder).fitted_on.groups.tolist() == [9]


# -- pixels -----------------------------------------------------------------------------------------------------------


def test_pixels_are_the_image() -> None:
    assert np.array_equal(PixelExtractor(8).extract(IMAGES).features, IMAGES.flatten(1).numpy())
    halves = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)])
    assert PixelExtractor(2).extract(halves).features == pytest.approx(np.repeat([[0.0], [1.0]], 4, 1), abs=1e-6)
    assert PixelExtractor(2).stores_images
    assert PixelExtractor((2, 4)).extract(torch.zeros(0, 3, 9, 9)).features.shape == (0, 24)
    assert PixelExtractor(2).fingerprint != PixelExtractor((2, 2)).fingerprint


def test_pixels_that_cannot_be(tmp_path: Path) -> None:
    for size in (0, (), (2, 2, 2, 2), (2.5,)):
        with pytest.raises(ConfigError, match="image_size"):
            PixelExtractor(size)  # type: ignore[arg-type]
    for shape in ((2, 1, 8, 8, 8), (2, 8, 8)):
        with pytest.raises(SynthesizerError, match="to be resized to"):
            PixelExtractor((4, 4)).extract(torch.zeros(shape))
    folder = PixelExtractor(4).save(tmp_path / "pixels")
    for size in ("x", None, [0], [4, 4, 4, 4]):
        set_in("image_size", size)(folder)
        with pytest.raises(ArtifactError, match="damaged"):
            PixelExtractor.load(folder)
