"""SynthesizeSameClass: twins in every structure, and what it refuses."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, DataMismatchWarning, SynthesizerError
from gan_augment.items import same
from gan_augment.networks import NetworkSpec
from gan_augment.pool import SyntheticPool
from gan_augment.recipes import RECIPES
from gan_augment.synthesizers import TrainedSynthesizer
from gan_augment.transforms import SynthesizeBatch, SynthesizeSameClass
from tests.conftest import GrayImages
from tests.helpers import toy_synthesizer, untrained_judge
from tests.transforms.sources import MARK, Mirror, first, joint_halves, live, marked, marked_pool, spec_of

FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def grey(value: int = 7, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.fromarray(np.full(size, value, np.uint8))


def always(source: Any, **settings: Any) -> SynthesizeSameClass:
    return SynthesizeSameClass(source, 1.0, **settings)


PLAIN = np.arange(64, dtype=np.uint8).reshape(8, 8)
RGB = np.stack([PLAIN] * 3, axis=-1)
TWINS: dict[str, tuple[Any, tuple[int, ...], Any]] = {
    "pil L": (Image.fromarray(PLAIN), (1, 8, 8), np.uint8),
    "pil RGB": (Image.fromarray(RGB), (3, 8, 8), np.uint8),
    "pil RGB of a grey pool": (Image.fromarray(RGB), (1, 8, 8), np.uint8),
    "pil I;16": (Image.fromarray(PLAIN.astype(np.uint16)), (1, 8, 8), np.uint16),
    "pil F": (Image.fromarray(PLAIN.astype(np.float32)), (1, 8, 8), np.float32),
    "array": (PLAIN, (1, 8, 8), np.uint8),
    "array channels last": (RGB, (3, 8, 8), np.uint8),
    "uint8 tensor": (torch.from_numpy(PLAIN.copy())[None], (1, 8, 8), np.uint8),
    "float tensor": (torch.rand(3, 8, 8), (3, 8, 8), np.float32),
    "double tensor": (torch.rand(1, 8, 8).double(), (1, 8, 8), np.float64),
    "tensor without channel": (torch.rand(8, 8), (1, 8, 8), np.float32),
    "tv image": (tv_tensors.Image(torch.from_numpy(RGB.copy()).movedim(-1, 0)), (3, 8, 8), np.uint8),
    "volume tensor": (torch.rand(1, 6, 8, 8), (1, 6, 8, 8), np.float32),
    "volume array": (np.zeros((6, 8, 8), np.int16), (1, 6, 8, 8), np.int16),
}


@pytest.mark.parametrize(("image", "shape", "dtype"), TWINS.values(), ids=TWINS)
def test_the_synthetic_image_is_a_twin(image: Any, shape: tuple[int, ...], dtype: Any) -> None:
    before = copy.deepcopy(image)
    pool = marked_pool(shape=shape, dtype=dtype)
    made, label = always(pool)(image, 1)
    assert label == 1
    assert same(image, before)
    assert type(made) is type(image)
    expected = np.full(np.shape(image), marked([1], (1,), dtype).item(), dtype)
    assert np.array_equal(np.asarray(made), expected)
    assert np.asarray(made).dtype == np.asarray(image).dtype
    if isinstance(image, Image.Image):
        assert (made.mode, made.size) == (image.mode, image.size)


def nested(image: Any, label: Any) -> dict[str, Any]:
    return {
        "pair": (image, label),
        "list": [image, label],
        "dict": {"image": image, "label": label},
        "target": {"image": image, "target": label, "index": 4},
        "tuple of dicts": (image, {"labels": label, "size": torch.tensor([8, 8])}),
        "deep": {"data": [{"image": image}], "meta": "a.png", "Class_Label": label},
    }


@pytest.mark.parametrize("structure", nested(0, 0))
@pytest.mark.parametrize(
    "label", [2, "2", np.int64(2), np.array([2]), torch.tensor(2), torch.tensor([2])], ids=lambda x: type(x).__name__
)
def test_structures_and_kinds_of_labels(structure: str, label: Any) -> None:
    image = torch.zeros(1, 8, 8)
    made = always(marked_pool())(nested(image, label)[structure])
    wanted = torch.full((1, 8, 8), (MARK + 2) / 255)
    assert same(made, nested(wanted, label)[structure])
    assert not image.any()


def test_a_getter_finds_labels_elsewhere() -> None:
    sample = {"picture": torch.zeros(1, 8, 8), "info": {"kind": 1}}
    made = always(marked_pool(), labels_getter=lambda item: item["info"]["kind"])(sample)
    assert made["picture"].unique().item() == pytest.approx((MARK + 1) / 255)


def test_plain_tensors_beside_an_image_stay() -> None:
    attributes = torch.arange(5)
    made = always(marked_pool(dtype=np.uint8))(grey(), {"label": 0, "attributes": attributes})
    assert made[1]["attributes"] is attributes


def test_as_joint_transforms_of_a_dataset_and_in_compose() -> None:
    pool = marked_pool(shape=(1, 12, 12), dtype=np.uint8)
    steps = v2.Compose([always(pool), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    base = GrayImages([0, 1, 2, 1], transforms=steps)
    for index, label in enumerate([0, 1, 2, 1]):
        image, found = base[index]
        assert found == label
        assert isinstance(image, tv_tensors.Image)
        torch.testing.assert_close(image.as_subclass(torch.Tensor), torch.full((1, 12, 12), (MARK + label) / 255))


def test_it_is_drawn_with_probability_p() -> None:
    torch.manual_seed(0)
    once = SynthesizeSameClass(marked_pool(dtype=np.uint8), 0.3)
    drawn = [np.asarray(once(grey(), 0)[0]).max() == MARK for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(0.3, abs=0.05)
    never = SynthesizeSameClass(marked_pool(dtype=np.uint8), 0.0)
    image = grey()
    assert all(never(image, 0)[0] is image for _ in range(50))


def test_rows_are_those_of_the_view_and_all_are_drawn() -> None:
    values = np.arange(40, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.uint8)
    pool = SyntheticPool.from_arrays(values, np.repeat([0, 1], 20))
    view = pool.filter(np.arange(40) % 2 == 0)
    torch.manual_seed(0)
    found = {int(always(view)(torch.zeros(1, 8, 8, dtype=torch.uint8), 1)[0].max()) for _ in range(300)}
    assert found == set(range(20, 40, 2))


def test_the_seed_of_torch_reproduces() -> None:
    for source in (marked_pool(dtype=np.uint8), live()):
        torch.manual_seed(3)
        half = SynthesizeSameClass(source)
        first = [half(torch.zeros(1, 8, 8, dtype=torch.uint8), i % 3) for i in range(20)]
        torch.manual_seed(3)
        assert same(first, [half(torch.zeros(1, 8, 8, dtype=torch.uint8), i % 3) for i in range(20)])


# -- classes ----------------------------------------------------------------------------------------------------------


def test_labels_match_by_position_name_or_value() -> None:
    image = torch.zeros(1, 8, 8)

    def value(source: Any, label: Any, **settings: Any) -> int:
        made = always(source, **settings)(image, label)[0]
        return round(float(made.max()) * 255) - MARK if made.max() else -1

    named = marked_pool((0, 1, 2), classes=["cat", "dog", "owl"])
    assert [value(named, label) for label in (0, 2, "dog")] == [0, 2, 1]
    with pytest.warns(DataMismatchWarning, match=r"no class 'eel' \(it has cat, dog, owl\): items of it stay"):
        assert value(named, "eel") == -1
    assert [value(named, label, classes=["owl", "eel", "cat"]) for label in (0, 1, 2, "dog")] == [2, -1, 0, 1]
    by_value = marked_pool((10, 12))
    assert [value(by_value, label) for label in (10, 11, 12, 0, "12")] == [10, -1, 12, -1, 12]
    with pytest.raises(DataError, match=r"labels among \[0, 1, 2\], found 3; give classes="):
        value(named, 3)
    with pytest.raises(DataError, match="labels from 0 to 1, found 2"):
        value(named, 2, classes=["owl", "cat"])
    with pytest.raises(ConfigError, match="classes= to name classes of the source, cat, dog, owl, found Katze"):
        value(named, 0, classes=["Katze"])


def test_labels_match_a_synthesizers_classes() -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)

    def light(source: Any, label: Any, **settings: Any) -> float:
        return float(always(source, **settings)(image, label)[0].float().mean())

    assert light(live(), 0) < 80 < light(live(), 1) < 160 < light(live(), 2)
    assert light(live(class_names=["a", "b", "c"]), "c") > 160
    assert light(live(class_names=["a", "b", "c"]), 0, classes=["c", "b", "x"]) > 160
    assert light(live(class_names=["a", "b", "c"]), 2, classes=["c", "b", "x"]) == 0
    assert light(live(), "x", classes=["x", "y", "z"]) < 80
    with pytest.raises(DataError, match="whole numbers, for a synthesizer without class names, found 'x'"):
        light(live(), "x")
    with pytest.raises(ConfigError, match="classes= of 3 names"):
        light(live(), 0, classes=["x"])


# -- live synthesis ---------------------------------------------------------------------------------------------------


def test_a_synthesizer_draws_twins() -> None:
    made, _ = always(live(image_spec=spec_of("pil")))(grey(), 2)
    assert made.mode == "L"
    assert np.asarray(made).mean() > 160
    array, _ = always(live())(PLAIN, 0)
    assert (array.dtype, array.shape) == (np.uint8, (8, 8))
    assert np.unique(array).size > 10


def test_an_image_conditioned_synthesizer_draws_from_the_item() -> None:
    made, _ = always(Mirror(spec_of("pil")))(Image.fromarray(PLAIN), 1)
    assert np.array_equal(np.asarray(made), 255 - PLAIN)
    with pytest.raises(DataError, match="1 channels of uint8, as the synthesizer was fitted on, found 1 of float32"):
        always(Mirror(spec_of()))(torch.rand(1, 8, 8), 1)


def test_a_trained_synthesizer_needs_no_bound_parents() -> None:
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=3)
    recipe = RECIPES["dagan"](width=32)  # type: ignore[call-arg]
    synthesizer = TrainedSynthesizer(
        recipe, recipe.networks(spec), spec, class_names=["a", "b", "c"], image_spec=spec_of("pil")
    )
    assert synthesizer.needs_parents
    torch.manual_seed(0)
    first, _ = always(synthesizer)(Image.fromarray(PLAIN), 1)
    torch.manual_seed(0)
    other, _ = always(synthesizer)(Image.fromarray(255 - PLAIN), 1)
    assert first.mode == other.mode == "L"
    assert not same(first, other)
    with pytest.raises(SynthesizerError, match="Call bind"):
        SynthesizeBatch(synthesizer)(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))


class Items:
    def __init__(self, transform: Any) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        return self.transform(torch.zeros(1, 8, 8, dtype=torch.uint8), index % 3)


@FORK
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("source", [marked_pool(dtype=np.uint8), live()], ids=["pool", "live"])
def test_it_draws_in_workers(source: Any, method: str) -> None:
    def images() -> torch.Tensor:
        torch.manual_seed(1)
        loader = DataLoader(Items(always(source)), batch_size=3, num_workers=2, multiprocessing_context=method)
        return torch.cat([batch for batch, _ in loader])

    drawn = images()
    assert torch.equal(drawn, images())
    light = drawn.float().mean(dim=(1, 2, 3)).reshape(2, 3)
    assert (light.diff(dim=1) > 0).all()


@FORK
def test_networks_on_another_device_do_not_draw_in_a_forked_worker() -> None:
    synthesizer = live()
    transform = always(synthesizer)
    synthesizer._module.to("meta")
    loader = DataLoader(Items(transform), num_workers=1, multiprocessing_context="fork")
    with pytest.raises(SynthesizerError, match=r"networks on meta; draw into a pool first"):
        first(loader)
    inherited = copy.deepcopy(transform)
    inherited._source._home._process = -1
    with pytest.raises(SynthesizerError, match="forked worker"):
        copy.deepcopy(inherited)(torch.zeros(1, 8, 8, dtype=torch.uint8), 0)


# -- sizes and masks --------------------------------------------------------------------------------------------------


def test_another_size_needs_a_transform() -> None:
    pool = marked_pool(shape=(1, 5, 5), dtype=np.uint8)
    with pytest.raises(DataError, match=r"item's size, \(8, 8\), found \(5, 5\); give transform="):
        always(pool)(grey(), 0)
    made, _ = always(pool, transform=v2.Resize((8, 8)))(torch.zeros(1, 8, 8, dtype=torch.uint8), 0)
    assert made.shape == (1, 8, 8)
    mixed, _ = always(pool, transform=v2.Identity())(grey(), 0)
    assert mixed.size == (5, 5)


def test_a_transform_brings_raw_images_to_where_the_item_is() -> None:
    pool = SyntheticPool.from_arrays(marked([0, 1, 2], (8, 8)), [0, 1, 2])
    finish = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    made, _ = always(pool, transform=finish)(torch.zeros(1, 8, 8), 0)
    assert type(made) is torch.Tensor
    assert made.max() == pytest.approx(MARK / 255)
    with pytest.raises(DataError, match="dtype float32 against uint8"):
        always(pool)(torch.zeros(1, 8, 8), 0)


def masked_pool() -> SyntheticPool:
    masks = np.arange(6).repeat(64).reshape(6, 8, 8)
    return SyntheticPool.from_arrays(marked(range(6), dtype=np.uint8), [0, 0, 1, 1, 2, 2], masks=masks)


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_a_mask_changes_with_its_image(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    own = tv_tensors.Mask(torch.full(shape, 9, dtype=dtype))
    for _ in range(5):
        made, target = always(masked_pool())(grey(), {"mask": own, "label": 1})
        assert isinstance(target["mask"], tv_tensors.Mask)
        assert (target["mask"].dtype, target["mask"].shape) == (dtype, own.shape)
        assert np.asarray(made).max() == MARK + target["mask"].max()
        assert target["mask"].max() in (2, 3)
    assert own.unique().tolist() == [9]


def test_a_transform_for_masks_is_joint() -> None:
    sample = torch.zeros(1, 4, 4, dtype=torch.uint8), {"mask": tv_tensors.Mask(torch.zeros(4, 4)), "label": 1}
    image, target = always(masked_pool(), transform=joint_halves)(sample)
    assert image.shape == (1, 4, 4)
    assert target["mask"].shape == (4, 4)
    with pytest.raises(DataError, match="item's size"):
        always(masked_pool())(sample)


def test_masks_boxes_and_second_images_are_refused() -> None:
    mask = tv_tensors.Mask(torch.zeros(8, 8))
    boxes = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=(8, 8))
    for pool, found in ((marked_pool(), "Mask"), (live(), "Mask")):
        with pytest.raises(ConfigError, match=f"found {found}: of a synthetic image nothing says where"):
            always(pool)(grey(), {"mask": mask, "label": 0})
    with pytest.raises(ConfigError, match="found BoundingBoxes"):
        always(masked_pool())(grey(), {"boxes": boxes, "labels": torch.tensor([0])})
    with pytest.raises(ConfigError, match="found 2 and 0: a synthetic image has no partner"):
        always(marked_pool())((grey(), grey()), 0)
    with pytest.raises(ConfigError, match="found 1 and 2"):
        always(masked_pool())(grey(), {"masks": [mask, mask], "label": 0})
    with pytest.raises(ConfigError, match="masks of several instances"):
        always(masked_pool())(grey(), {"mask": tv_tensors.Mask(torch.zeros(3, 8, 8)), "label": 0})


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), True, "1", None])
def test_p_is_a_probability(p: Any) -> None:
    with pytest.raises(ConfigError, match="expected p from 0 to 1"):
        SynthesizeSameClass(marked_pool(), p)


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="a SyntheticPool, a Synthesizer, or the path of one, found NoneType"):
        always(None)
    with pytest.raises(ConfigError, match="found TrainedExtractor"):
        always(untrained_judge())
    with pytest.raises(ConfigError, match="with an image_spec"):
        always(toy_synthesizer())
    with pytest.raises(ConfigError, match="labels_getter='default' or a callable"):
        always(marked_pool(), labels_getter="label")
    with pytest.raises(ConfigError, match="transform= a callable"):
        always(marked_pool(), transform="inherit")
    with pytest.raises(ConfigError, match="different names"):
        always(marked_pool(classes=["a", "b", "c"]), classes=["a", "a"])


@pytest.mark.parametrize(
    "sample", [(grey(),), ({"image": grey()},), ({"image": grey(), "info": 1},), ((grey(), {"size": 3}),), ()]
)
def test_samples_without_a_label(sample: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigError, match="expected a sample"):
        always(marked_pool())(*sample)


def test_samples_that_are_no_classification() -> None:
    with pytest.raises(DataError, match="expected an image in the sample"):
        always(marked_pool())("a.png", 0)
    with pytest.raises(DataError, match="one label an image, found 3 values"):
        always(marked_pool())(torch.zeros(1, 8, 8), torch.tensor([0, 1, 1]))
    with pytest.raises(DataError, match="whole numbers from 0"):
        always(marked_pool())(torch.zeros(1, 8, 8), -1)


# -- as a module ------------------------------------------------------------------------------------------------------


def test_it_pickles_copies_and_tells_its_settings() -> None:
    for source in (marked_pool(dtype=np.uint8), live()):
        transform = SynthesizeSameClass(source, 0.25)
        again = [pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)]
        found = []
        for one in [transform, *again]:
            torch.manual_seed(4)
            found.append([one(torch.zeros(1, 8, 8, dtype=torch.uint8), i % 3) for i in range(12)])
            assert not one.state_dict()
            assert list(one.modules()) == [one]
        assert same(found[0], found[1])
        assert same(found[0], found[2])
    assert repr(SynthesizeSameClass(marked_pool(), 0.25)) == (
        "SynthesizeSameClass(p=0.25, source=SyntheticPool(6 of 6 candidates, 3 classes))"
    )
