"""What adapters open or are configured by, made to hurt: each ends in an error of this library, before memory goes."""

import copy
import json
import os
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
import torchio as tio

from gan_augment.errors import ArtifactError, ConfigError, DataError, GanAugmentError
from gan_augment.insertion import checked_border, find_place, insert, resampled
from gan_augment.integrations.albumentations import SynthesizeSameClass, SyntheticReference
from gan_augment.integrations.huggingface import GANAugmentTrainerCallback
from gan_augment.integrations.torchio import RandomSyntheticLesion
from gan_augment.pool import SyntheticPool
from gan_augment.pool.references import Pools, is_reference, references
from gan_augment.synthesizers import load
from gan_augment.transforms import SynthesizeBatch
from gan_augment.transforms.flattened import FlatSource
from gan_augment.transforms.lesions import checked_patches, patch_at, patch_weights
from gan_augment.transforms.source import ByLabel
from tests.helpers import set_in
from tests.transforms.sources import marked_pool

REPLAY = pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode:UserWarning")
LONG = "x" * 5000
SIDE = 6


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A pool of images `(1, 8, 8)` uint8."""
    folder: Path = tmp_path / "images"
    marked_pool(dtype=np.uint8).save(folder, progress=False)
    return folder


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    """A pool of lesion patches of voxels of 1 mm."""
    masks = np.zeros((4, SIDE, SIDE, SIDE), np.int32)
    masks[:, 2:4, 2:4, 2:4] = 1
    volumes = np.random.default_rng(0).random((4, 1, SIDE, SIDE, SIDE), np.float32)
    folder: Path = tmp_path / "patches"
    SyntheticPool.from_arrays(volumes, [0, 0, 1, 1], masks=masks, spacing=(1, 1, 1)).save(folder, progress=False)
    return folder


def with_value(folder: Path, value: float, what: str = "images") -> Path:
    """Writes a value into the middle of each image or mask."""
    for path in folder.glob(f"part-*/{what}-*.npy"):
        array = np.load(path)
        array[(..., *(side // 2 for side in array.shape[2:]))] = value
        np.save(path, array)
    return folder


def subject(map_type: torch.dtype = torch.uint8) -> tio.Subject:
    zeros = torch.zeros((1, 12, 12, 12))
    return tio.Subject(t1=tio.ScalarImage(tensor=zeros), seg=tio.LabelMap(tensor=zeros.to(map_type)), label=0)


# -- pipelines of albumentations --------------------------------------------------------------------------------------


def written(transform: Any, /, **changed: Any) -> dict[str, Any]:
    """A serialised pipeline of one transform, some of whose parameters are others."""
    told: dict[str, Any] = A.to_dict(A.Compose([transform]))
    told["transform"]["transforms"][0].update(changed)
    return told


def _pickle(folder: Path) -> Path:
    (folder / "weights.pkl").write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % os.fsencode(folder / "ran"))
    return folder / "weights.pkl"


def _pipe(folder: Path) -> Path:
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe" / "pool.json")
    return folder / "pipe"


def _huge(folder: Path) -> Path:
    with open(folder / "huge.safetensors", "wb") as file:
        file.truncate(2**40)
    return folder / "huge.safetensors"


@pytest.mark.parametrize("place", [_pickle, _pipe, _huge])
def test_a_pipeline_leads_to_no_file_that_is_run_waited_for_or_read_whole(
    place: Callable[[Path], Path], images: Path, tmp_path: Path
) -> None:
    pipeline = written(SynthesizeSameClass(str(images)), source=str(place(tmp_path)))
    with pytest.raises(GanAugmentError, match="expected"):
        A.from_dict(pipeline)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("source", [LONG, "a\0b", "\ud800", "/dev/zero", "file:///etc/passwd", 1, None, {}, ["a"]])
def test_a_pipeline_names_a_source_that_cannot_be(source: Any, images: Path) -> None:
    with pytest.raises(GanAugmentError, match="expected"):
        A.from_dict(written(SynthesizeSameClass(str(images)), source=source))


@pytest.mark.parametrize(
    "changed",
    [
        {"n": 2**40},
        {"n": 2**70},
        {"transform": []},
        {"transform": {}},
        {"of": {"0": 1e308, "1": 1e308}},
        {"of": {"0": 10**400}},
        {"of": {"9" * 5000: 1}},
        {"classes": 5},
        {"classes": "ab"},
        {"classes": {}},
        {"label_key": ""},
        {"metadata_key": 1},
        {"metadata_key": "image"},
        {"metadata_key": "label"},
    ],
)
def test_a_pipeline_has_parameters_that_cannot_be(changed: dict[str, Any], images: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        A.from_dict(written(SyntheticReference(str(images)), **changed))


@REPLAY
@pytest.mark.parametrize(
    "changed",
    [
        {"labels": []},
        {"labels": 5},
        {"labels": [None]},
        {"labels": [1.5]},
        {"seeds": []},
        {"seeds": None},
        {"seeds": ["a"]},
        {"seeds": [1.5]},
        {"seeds": [-1]},
        {"seeds": [2**100]},
        {"blend_ratio": float("nan")},
        {"blend_ratio": -3},
        {"blend_ratio": "x"},
        {"boxes": []},
        {"boxes": ["x"]},
        {"boxes": [[0, 0, 1e300, float("nan")]]},
    ],
)
@pytest.mark.parametrize("kind", [SynthesizeSameClass, SyntheticReference])
def test_a_replay_holds_what_was_never_drawn(kind: Any, changed: dict[str, Any], images: Path) -> None:
    item = {"image": np.zeros((8, 8), np.uint8), "label": 1}
    replay = A.ReplayCompose([kind(str(images), p=1.0)])(**item)["replay"]
    assert A.ReplayCompose.replay(copy.deepcopy(replay), **item)["image"].shape == (8, 8)
    replay["transforms"][0]["params"].update(changed)
    with pytest.raises(ConfigError, match="replay what ReplayCompose recorded"):
        A.ReplayCompose.replay(replay, **item)


# -- references -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["a\0b", "\ud800", LONG, "/dev/zero", "https://host", "."])
def test_a_reference_leads_to_no_folder(folder: str) -> None:
    name = f"{folder}/000001-0123456789abcdef.synthetic"
    assert is_reference(name)
    with pytest.raises(ArtifactError, match="expected"):
        Pools().find(name)


@pytest.mark.parametrize("name", [5, None, b"x", [], {}, 1.5, "", "..", "\0", LONG])
def test_what_is_no_reference_is_not_looked_up(name: Any) -> None:
    assert not is_reference(name)
    with pytest.raises(DataError, match="expected a reference to a row"):
        Pools().find(name)


def test_a_reference_is_not_followed_by_way_of_other_folders_or_odd_numbers(images: Path) -> None:
    (name,) = references(SyntheticPool.open(images), [1])
    row, rest = Path(name).name[:6], Path(name).name[6:]
    assert Pools().find(name)[1] == 1
    for other in (f"{images}/../images/{row}{rest}", f"{name}\n", f"{name}\0", f"{images}/{chr(0x661) * 6}{rest}"):
        with pytest.raises(DataError, match="expected a reference to a row"):
            Pools().find(other)
    with pytest.raises(DataError, match="found another"):
        Pools().find(f"{images}/{'9' * 18}{rest}")


def test_a_pool_that_becomes_another_between_two_calls_is_seen(images: Path) -> None:
    (name,), pools = references(SyntheticPool.open(images), [1]), Pools()
    pools.find(name)
    set_in("parts", 0, "files", "images-00000.npy", name="pool.json")(images)
    with pytest.raises(ArtifactError, match="damaged"):
        pools.find(name)


# -- pools ------------------------------------------------------------------------------------------------------------


def diagonal(*widths: float) -> list[list[float]]:
    return np.diag([*widths, 1.0]).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "affine",
    [
        diagonal(np.nan, 1, 1),
        diagonal(np.inf, 1, 1),
        diagonal(1e300, 1e300, 1e300),
        diagonal(1e-200, 1e100, 1e100),
        diagonal(1e12, 1, 1),
        diagonal(0, 1, 1),
        [[10**400] * 4] * 4,
        [[None] * 4] * 4,
        [[1]],
        "abc",
        {},
        1,
    ],
)
def test_a_pool_tells_an_affine_that_no_volume_has(affine: Any, patches: Path) -> None:
    set_in("affine", affine, name="pool.json")(patches)
    with pytest.raises(ArtifactError, match="expected a whole pool"):
        SyntheticPool.open(patches)


def test_a_pool_of_rows_that_no_memory_holds_is_not_opened(patches: Path) -> None:
    set_in("form", "shape", [2**14, 2**14, 2**12], name="pool.json")(patches)
    with pytest.raises(ArtifactError, match="images of 1 channels"):
        SyntheticPool.open(patches)


def test_class_names_of_thousands_of_digits_are_no_labels(images: Path) -> None:
    document = json.loads((images / "pool.json").read_text())
    for named in (True, False):
        changed = {**document, "named": named, "classes": ["9" * 5000, "1", "2"]}
        (images / "pool.json").write_text(json.dumps(changed))
        source = ByLabel(str(images))
        assert source.labels() == ([0, 1, 2] if named else [1, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_come_into_no_image(value: float, patches: Path) -> None:
    source = ByLabel(str(with_value(patches, value)))
    with pytest.raises(DataError, match="expected finite values in the pool"):
        source.made(0, 1)
    with pytest.raises(DataError, match="expected finite values in the pool"):
        FlatSource(str(patches), None, SIDE**3).rows(np.array([0]), 0, like=(np.zeros((1, SIDE**3)), np.array([0])))
    with pytest.raises(DataError, match="expected finite values in the pool"):
        SynthesizeBatch(str(patches), p=1.0)(torch.zeros(2, 1, SIDE, SIDE, SIDE), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="expected finite values in the pool"):
        RandomSyntheticLesion(str(patches), None, "seg", blending="poisson")(subject())


# -- lesions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1e-9, 1e-3, 1e-320, 0, -1, np.nan, np.inf])
def test_a_patch_is_not_resampled_to_a_size_that_no_lesion_has(width: float, patches: Path) -> None:
    source = checked_patches(ByLabel(str(patches)))
    with pytest.raises(DataError, match="correct the affine that is wrong"):
        patch_at(source, 0, 1, (width,) * 3)


def test_the_width_of_voxels_of_the_pool_may_be_the_lie(patches: Path) -> None:
    set_in("affine", diagonal(1e5, 1e5, 1e5), name="pool.json")(patches)
    with pytest.raises(DataError, match="correct the affine that is wrong"):
        RandomSyntheticLesion(str(patches), None, "seg")(subject())


def test_channels_count_too_where_a_patch_is_resampled() -> None:
    image, mask = np.broadcast_to(np.float32(0), (2**10, 8, 8, 8)), np.ones((8, 8, 8), np.uint8)
    with pytest.raises(DataError, match="at most 67108864"):
        resampled(image, mask, (1, 1, 1), (0.1, 0.1, 0.1))


def test_a_lesion_larger_than_the_volume_finds_no_place_before_its_voxels_are_listed() -> None:
    lesion = np.ones((2**9, 2**9, 2**7), bool)
    tracemalloc.start()
    assert find_place(np.ones((8, 8, 8), bool), lesion, np.random.default_rng(0)) is None
    assert tracemalloc.get_traced_memory()[1] < 2**24  # the places of all its voxels take 2**29.6
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.float16, torch.bool])
def test_a_mask_holds_values_that_a_label_map_cannot(kind: torch.dtype, patches: Path) -> None:
    transform = RandomSyntheticLesion(str(with_value(patches, 2**31 - 1, "masks")), None, "seg")
    with pytest.raises(DataError, match="expected a label map that can hold 2147483647"):
        transform(subject(kind))


@pytest.mark.parametrize("value", [2**8, 2**63, 2**70, 10**400])
def test_a_label_value_is_more_than_a_label_map_can_hold(value: int) -> None:
    labels, mask = np.zeros((4, 4, 4), np.uint8), np.ones((2, 2, 2), np.uint8)
    patch = np.ones((1, 2, 2, 2), np.float32)
    with pytest.raises(DataError, match="expected a label map that can hold"):
        insert([np.zeros((1, 4, 4, 4))], labels, patch, mask, (2, 2, 2), spacing=(1, 1, 1), label_value=value)
    assert not labels.any()


@pytest.mark.parametrize("weights", [{0: 10**400}, {0: 1e39}, {0: 1e-60}, {0: "a"}, {0: None}, [0]])
def test_weights_that_the_host_cannot_draw_by(weights: Any, patches: Path) -> None:
    with pytest.raises(ConfigError, match="expected"):
        patch_weights(checked_patches(ByLabel(str(patches))), weights)


def test_a_border_of_no_width_that_a_float_has() -> None:
    with pytest.raises(ConfigError, match="expected feather="):
        checked_border("offset", 10**400)


# -- GANs and checkpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [np.nan, np.inf, 1e300, 10**400, -1, "a", ["a"]])
def test_a_checkpoint_of_transformers_tells_an_epoch_that_cannot_be(epoch: Any) -> None:
    with pytest.raises(ConfigError, match="its checkpoint is damaged"):
        GANAugmentTrainerCallback().on_train_begin(None, types.SimpleNamespace(epoch=epoch), None)


def test_a_source_by_a_name_that_no_file_can_have_is_refused_everywhere() -> None:
    for opened in (ByLabel, SynthesizeSameClass, load, SyntheticPool.open):
        with pytest.raises(GanAugmentError, match="expected"):
            opened(LONG)
