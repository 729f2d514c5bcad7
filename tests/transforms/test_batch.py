"""SynthesizeBatch: what each mode does to batches, in every structure, and what it refuses."""

import copy
import pickle
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, SynthesizerError
from gan_augment.items import same
from gan_augment.pool import SyntheticPool
from gan_augment.synthesizers import wrap
from gan_augment.transforms import SynthesizeBatch
from gan_augment.transforms.collated import ForBatches
from tests.helpers import Pictures, toy_synthesizer
from tests.transforms.sources import MARK, Collated, ModuleSynthesizer, first, live, marked_pool, spec_of, to_unit

FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
POOL = marked_pool()


def batch(labels: Any, shape: tuple[int, ...] = (1, 8, 8), dtype: torch.dtype = torch.float32) -> Any:
    return torch.zeros(len(labels), *shape, dtype=dtype), torch.tensor(labels)


def check_marked(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns which images are synthetic, after asserting that these are of their labels."""
    drawn = images.flatten(1).amax(1) > 0
    scale = 255 if images.is_floating_point() else 1
    assert ((images[drawn].flatten(1).double() * scale).round() == labels[drawn, None].cpu() + MARK).all()
    return drawn


# -- modes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 4, 6, 8)])
def test_replace_swaps_a_share_and_keeps_labels(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    pool = marked_pool(shape=shape, dtype=str(dtype).removeprefix("torch."))
    images, labels = batch([0, 1, 2, 1] * 5, shape, dtype)
    made, found = SynthesizeBatch(pool, share=0.25)(images, labels)
    assert not images.any()
    assert torch.equal(found, labels)
    assert made.dtype == dtype
    assert check_marked(made, found).sum() == 5


def test_the_share_holds_on_average_and_every_item_has_its_turn() -> None:
    torch.manual_seed(0)
    swap, hits = SynthesizeBatch(POOL, share=0.3), torch.zeros(3)
    for _ in range(1000):
        hits += check_marked(*swap(*batch([0, 1, 2])))
    assert hits.tolist() == pytest.approx([300] * 3, abs=60)


def test_classes_without_images_stay() -> None:
    made, labels = SynthesizeBatch(marked_pool((1, 2)), share=1.0)(*batch([0, 1, 2, 0]))
    assert check_marked(made, labels).tolist() == [False, True, True, False]
    made, labels = SynthesizeBatch(marked_pool((7,)))(*batch([0, 1, 2, 0]))
    assert not made.any()


@given(st.lists(st.integers(0, 2), min_size=1, max_size=24), st.integers(0, 1000))
def test_rebalance_makes_classes_equal_with_the_fewest_changes(labels: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    images, own = batch(labels)
    made, found = SynthesizeBatch(POOL, mode="rebalance")(images, own)
    counts = found.bincount(minlength=3)
    assert counts.max() - counts.min() <= 1
    drawn = check_marked(made, found)
    assert torch.equal(own != found, drawn)
    least = min(
        int((own.bincount(minlength=3) - torch.tensor(goal)).clamp(min=0).sum())
        for goal in np.ndindex(25, 25, 25)
        if sum(goal) == len(labels) and max(goal) - min(goal) <= 1
    )
    assert drawn.sum() == least


def test_rebalance_to_given_shares() -> None:
    images, labels = batch([0] * 10)
    for shares in ([0.5, 0.3, 0.2], {0: 5, 2: 2, 1: 3}):
        made, found = SynthesizeBatch(POOL, mode="rebalance", class_shares=shares)(images, labels)
        assert found.bincount().tolist() == [5, 3, 2]
        assert check_marked(made, found).sum() == 5
    named = marked_pool(classes=["a", "b", "c"])
    found = SynthesizeBatch(named, mode="rebalance", class_shares={"c": 1, "a": 1, "b": 0})(images, labels)[1]
    assert found.bincount().tolist() == [5, 0, 5]
    own = ["c", "b", "x"]
    found = SynthesizeBatch(named, mode="rebalance", class_shares={"c": 1, "x": 1, "b": 0}, classes=own)(images, labels)
    assert found[1].bincount().tolist() == [10]  # there is nothing of class x


def test_a_class_without_images_keeps_its_share_in_a_rebalanced_batch() -> None:
    found = SynthesizeBatch(marked_pool((1, 2)), mode="rebalance")(*batch([0] * 9))[1]
    assert found.bincount().tolist() == [3, 3, 3]
    found = SynthesizeBatch(marked_pool((1, 2)), mode="rebalance")(*batch([1] * 9))[1]
    assert sorted(found.bincount().tolist()) == [0, 4, 5]


def test_rebalance_picks_at_random() -> None:
    torch.manual_seed(0)
    hits = torch.zeros(4)
    for _ in range(400):
        hits += check_marked(*SynthesizeBatch(marked_pool((1,)), mode="rebalance")(*batch([0, 0, 0, 0])))
    assert hits.sum() == 800
    assert hits.tolist() == pytest.approx([200] * 4, abs=60)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_append_adds_at_most_a_share(labels: list[int], share: float) -> None:
    images, own = batch(labels)
    made, found = SynthesizeBatch(POOL, mode="append", share=share)(images, own)
    assert len(made) == len(found) <= len(labels) * (1 + share)
    assert torch.equal(made[: len(labels)], images)
    assert torch.equal(found[: len(labels)], own)
    assert check_marked(made, found)[len(labels) :].all()


def test_append_balances_where_it_may() -> None:
    images, labels = batch([0, 0, 0, 0, 1, 1, 2, 2])
    found = SynthesizeBatch(POOL, mode="append")(images, labels)[1]
    assert found.bincount().tolist() == [4, 4, 4]
    found = SynthesizeBatch(POOL, mode="append", share=0.25)(images, labels)[1]
    assert found.bincount().tolist() == [4, 3, 3]
    found = SynthesizeBatch(POOL, mode="append", share=1.0, class_shares=[0.4, 0.4, 0.2])(images, labels)[1]
    assert found.bincount().tolist() == [4, 4, 2]
    found = SynthesizeBatch(marked_pool((2,)), mode="append")(images, labels)[1]
    assert found.bincount()[:2].tolist() == [4, 2]


def test_nothing_is_done_with_probability_one_minus_p() -> None:
    torch.manual_seed(0)
    often = SynthesizeBatch(POOL, share=1.0, p=0.3)
    assert np.mean([bool(often(*batch([0, 1]))[0].any()) for _ in range(1000)]) == pytest.approx(0.3, abs=0.06)


# -- structures -------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "image label")


def structures(images: Any, labels: Any) -> dict[str, Any]:
    return {
        "tuple": (images, labels),
        "list": [images, labels],
        "named tuple": Pair(images, labels),
        "dict": {"label": labels, "image": images, "name": ["a.png", "b.png"]},
        "target": {"image": images, "target": labels},
        "nested": (images, {"labels": labels, "index": torch.arange(2)}),
    }


@pytest.mark.parametrize("structure", structures(0, 0))
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("whole", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("tv", [False, True])
def test_structure_and_dtypes_stay(structure: str, column: bool, whole: torch.dtype, tv: bool) -> None:
    images, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 0], dtype=whole)
    images, labels = (tv_tensors.Image(images) if tv else images), (labels[:, None] if column else labels)
    sample = structures(images, labels)[structure]
    made = SynthesizeBatch(marked_pool((0, 1)), mode="rebalance", keep_others=True)(sample)
    leaves, spec = torch.utils._pytree.tree_flatten(made)
    assert spec == torch.utils._pytree.tree_flatten(sample)[1]
    drawn = next(x for x in leaves if isinstance(x, torch.Tensor) and x.ndim > 2)
    found = next(x for x in leaves if isinstance(x, torch.Tensor) and x.ndim <= 2 and x.dtype == whole)
    assert type(drawn) is type(images)
    assert found.shape == labels.shape
    assert sorted(found.reshape(-1).tolist()) == [0, 1]
    assert not images.any()
    assert not labels.any()


def test_a_getter_gives_the_labels_of_the_batch() -> None:
    sample = {"x": torch.zeros(4, 1, 8, 8), "kinds": torch.zeros(4, dtype=torch.int64)}
    made = SynthesizeBatch(POOL, mode="rebalance", labels_getter=lambda s: s["kinds"])(sample)
    assert check_marked(made["x"], made["kinds"]).sum() == 2 or made["kinds"].bincount().max() == 2
    with pytest.raises(ConfigError, match="a tensor that is a part of the batch"):
        SynthesizeBatch(POOL, labels_getter=lambda s: s["kinds"].clone())(sample)


@pytest.mark.parametrize("mode", ["replace", "rebalance", "append"])
@pytest.mark.parametrize("mix", [v2.MixUp, v2.CutMix])
def test_mixup_and_cutmix_come_after(mode: Any, mix: Any) -> None:
    train = Pictures((20, 6, 4))
    steps = v2.Compose([SynthesizeBatch(POOL, mode=mode), mix(num_classes=3)])
    for images, labels in DataLoader(train, batch_size=10, shuffle=True):
        mixed, shares = steps(images, labels)
        assert shares.shape == (len(mixed), 3)
        torch.testing.assert_close(shares.sum(1), torch.ones(len(mixed)))
    with pytest.raises(ConfigError, match="put SynthesizeBatch before MixUp/CutMix"):
        SynthesizeBatch(POOL, mode=mode)(mixed, shares)


@FORK
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("source", [POOL, toy_synthesizer()], ids=["pool", "live"])
def test_it_works_within_a_collate_fn_in_workers(source: Any, method: str) -> None:
    def batches() -> list[Any]:
        torch.manual_seed(2)
        collate = Collated(SynthesizeBatch(source, mode="rebalance"))
        loader = DataLoader(
            Pictures((20, 6, 4)),
            batch_size=12,
            shuffle=True,
            num_workers=2,
            collate_fn=collate,
            multiprocessing_context=method,
        )
        return list(loader)

    found = batches()
    assert same(found, batches())
    for _, labels in found:
        counts = labels.bincount(minlength=3)
        assert counts.max() - counts.min() <= 1


@FORK
def test_networks_on_another_device_do_not_draw_in_a_forked_worker() -> None:
    synthesizer = live()
    collate = Collated(SynthesizeBatch(synthesizer))
    synthesizer._module.to("meta")
    loader = DataLoader(Pictures((4, 4)), 4, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    with pytest.raises(SynthesizerError, match="forked worker"):
        first(loader)


def test_the_seed_of_torch_reproduces() -> None:
    for source in (POOL, toy_synthesizer()):
        for mode in ("replace", "rebalance", "append"):
            torch.manual_seed(3)
            first = SynthesizeBatch(source, mode=mode)(*batch([0, 0, 0, 1, 2, 0, 0]))
            torch.manual_seed(3)
            assert same(first, SynthesizeBatch(source, mode=mode)(*batch([0, 0, 0, 1, 2, 0, 0])))


# -- values -----------------------------------------------------------------------------------------------------------


def constant(value: float, **settings: Any) -> Any:
    def draw(labels: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        light = torch.where(labels == 2, 0.3, value)  # a generator that does not look at its label is refused
        return light[:, None, None, None].expand(-1, 1, 8, 8)

    return wrap(draw, num_classes=3, image_shape=(1, 8, 8), **settings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_values_of_live_images(dtype: torch.dtype) -> None:
    def value(source: Any, to: torch.dtype, **settings: Any) -> float:
        made = SynthesizeBatch(source, share=1.0, **settings)(*batch([0, 1], dtype=to))[0]
        assert made.dtype == to
        return made.double().unique().item()

    assert value(constant(-1.0), dtype) == 0
    assert value(constant(1.0), dtype) == 1
    assert value(constant(0.5), dtype) == 0.75
    assert [value(constant(v), torch.uint8) for v in (-1.0, 0.5, 1.0)] == [0, 191, 255]
    half = constant(1.0, image_spec=spec_of(high=51))  # white is what it is in the raw images
    assert value(half, torch.uint8) == 51
    assert value(half, dtype) == pytest.approx(0.2, abs=1e-3)
    assert value(constant(1.0, image_spec=spec_of(dtype="float32", high=4)), dtype) == 4
    assert value(half, dtype, transform=lambda x: x.to(dtype) * 8) == 8


def test_live_images_come_at_the_raw_size() -> None:
    spec = spec_of(shape=(6, 7))
    padded = type(spec)(form=spec.form, grid=(8, 8), low=spec.low, high=spec.high)
    for settings in ({}, {"transform": to_unit}):
        made = SynthesizeBatch(live(image_spec=padded), share=1.0, **settings)(*batch([0, 2], (1, 6, 7)))[0]
        assert made.shape == (2, 1, 6, 7)
        assert made[0].mean() < 0.4 < 0.6 < made[1].mean()


@pytest.mark.parametrize("source", [POOL, toy_synthesizer()], ids=["pool", "live"])
def test_images_go_to_the_device_of_the_batch(source: Any) -> None:
    for mode in ("replace", "append"):
        images, labels = SynthesizeBatch(source, mode=mode, share=1.0)(
            torch.zeros(3, 1, 8, 8, device="meta"), torch.tensor([0, 0, 1])
        )
        assert images.device.type == "meta"
        assert labels.device.type == "cpu"
        assert len(images) == len(labels)


def test_a_pool_without_rows_leaves_batches_as_they_are() -> None:
    empty = POOL.filter(np.zeros(6, bool))
    images, labels = batch([0, 0, 0, 1])
    for mode in ("replace", "rebalance", "append"):
        assert SynthesizeBatch(empty, mode=mode)(images, labels)[0] is images


def test_a_grey_pool_goes_into_rgb_batches() -> None:
    made, labels = SynthesizeBatch(POOL, share=1.0)(*batch([0, 2], (3, 8, 8)))
    assert check_marked(made, labels).all()


def test_a_transform_makes_raw_images_ready() -> None:
    pool = SyntheticPool.from_arrays(np.full((3, 5, 5), 51, np.uint8), [0, 1, 2])
    ready = v2.Compose([v2.ToImage(), v2.Resize((8, 8)), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0], [2])])
    made = SynthesizeBatch(pool, share=1.0, transform=ready)(*batch([0, 1, 2]))[0]
    assert type(made) is torch.Tensor
    torch.testing.assert_close(made, torch.full((3, 1, 8, 8), 0.1))


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        (marked_pool(dtype=np.uint8), {}),
        (marked_pool(shape=(1, 4, 4)), {}),
        (marked_pool(shape=(2, 8, 8)), {}),
        (POOL, {"transform": lambda image: Image.new("L", (8, 8))}),
        (POOL, {"transform": v2.Identity()}),  # an array
        (POOL, {"transform": lambda image: torch.from_numpy(image)[:, :4]}),
        (POOL, {"transform": lambda image: torch.from_numpy(image).double()}),
        (toy_synthesizer(shape=(1, 4, 4)), {}),
        (live(image_spec=spec_of(dtype="uint16")), {}),
        (toy_synthesizer(), {"transform": lambda images: images[0]}),
        (toy_synthesizer(), {"transform": lambda images: images.byte()}),
    ],
)
def test_images_that_do_not_fit(source: Any, settings: Any) -> None:
    with pytest.raises(DataError, match=r"like those of the batch, torch.float32 of shape .* give a transform="):
        SynthesizeBatch(source, **settings)(*batch([0, 1, 2]))


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "swap"}, "mode of replace, rebalance, append, found 'swap'"),
        ({"share": 1.5}, "share from 0 to 1"),
        ({"p": -1}, "p from 0 to 1"),
        ({"mode": "rebalance", "share": 0.5}, "no share="),
        ({"class_shares": [1, 1, 1]}, "no class_shares="),
        ({"mode": "rebalance", "class_shares": [1, -1, 1]}, "finite numbers from 0, found -1 for class 1"),
        ({"mode": "rebalance", "class_shares": {0: float("nan")}}, "finite numbers from 0"),
        ({"mode": "rebalance", "class_shares": [0, 0]}, "not all 0"),
        ({"mode": "rebalance", "class_shares": [0, 0, 0, 1]}, "above 0 for a class that the source has"),
        ({"mode": "rebalance", "class_shares": {"cat": 1}}, "labels from 0; give classes= to use names, found 'cat'"),
        ({"labels_getter": None}, "labels_getter="),
    ],
)
def test_settings_that_cannot_work(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SynthesizeBatch(POOL, **settings)


def test_batches_that_are_refused() -> None:
    images, labels = batch([0, 1])
    swap = SynthesizeBatch(POOL)
    mask = tv_tensors.Mask(torch.zeros(2, 8, 8))
    with pytest.raises(ConfigError, match="found Mask: of a synthetic image"):
        swap(images, {"labels": labels, "masks": mask})
    boxes = tv_tensors.BoundingBoxes(torch.zeros(2, 4), format="XYXY", canvas_size=(8, 8))
    with pytest.raises(ConfigError, match="found BoundingBoxes"):
        swap(images, {"labels": labels, "boxes": boxes})
    with pytest.raises(ConfigError, match="found 2 tensors of three or more dimensions"):
        swap((images, images), {"labels": labels}["labels"])
    with pytest.raises(ConfigError, match=r"give labels.long\(\)"):
        swap(images, labels.double())
    with pytest.raises(ConfigError, match="expected a sample"):
        swap(images)
    with pytest.raises(DataError, match="use SynthesizeBatch after collation"):
        swap(Image.new("L", (8, 8)), labels)
    with pytest.raises(DataError, match="use SynthesizeBatch on batches"):
        swap(images[0], labels[0])
    with pytest.raises(DataError, match=r"uint8 or float, found torch\.int64"):
        swap(images.long(), labels)
    for wrong in (labels[:1], torch.zeros(2, 3, dtype=torch.int64), labels > 0):
        with pytest.raises(DataError, match=r"labels of shape \(2,\) or \(2, 1\)"):
            swap(images, wrong)
    with pytest.raises(DataError, match="labels from 0, found -1"):
        swap(images, labels - 1)
    with pytest.raises(ConfigError, match="images and labels alone, found 1 more"):
        SynthesizeBatch(POOL, mode="append")({"image": images, "label": labels, "weight": torch.ones(2)})
    with pytest.raises(DataError, match=r"class_shares for every class of the batch, found none for \[1\]"):
        SynthesizeBatch(POOL, mode="rebalance", class_shares={0: 1})(images, labels)
    with pytest.raises(DataError, match=r"labels among \[0, 1, 2\], found 4"):
        SynthesizeBatch(marked_pool(classes=["a", "b", "c"]), mode="rebalance")(*batch([4]))


def test_an_empty_batch_stays() -> None:
    images, labels = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)
    assert SynthesizeBatch(POOL, mode="append")(images, labels)[0] is images


# -- as a module ------------------------------------------------------------------------------------------------------


def test_the_synthesizer_is_no_part_of_the_module() -> None:
    synthesizer = ModuleSynthesizer()
    transform = SynthesizeBatch(synthesizer, share=1.0)
    model = torch.nn.Sequential(transform, torch.nn.Identity())
    assert not model.state_dict()
    assert not list(model.parameters())
    assert synthesizer not in list(model.modules())
    images, labels = batch([0, 2])
    made, _ = transform(images, labels)
    assert not made.requires_grad
    assert made[0].mean() < 0.4 < 0.6 < made[1].mean()
    assert "mode='replace', share=1, p=1, source=ModuleSynthesizer(" in repr(transform)


@pytest.mark.parametrize("source", [POOL, toy_synthesizer(), ModuleSynthesizer()], ids=["pool", "wrapped", "module"])
def test_it_pickles_and_copies(source: Any) -> None:
    transform = SynthesizeBatch(source, mode="append")
    found = []
    for one in (transform, pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
        torch.manual_seed(4)
        found.append(one(*batch([0, 0, 1, 0])))
    assert same(found[0], found[1])
    assert same(found[0], found[2])


def test_given_seeds_make_what_they_make_of_items() -> None:
    values = np.arange(60, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.uint8)
    pool = SyntheticPool.from_arrays(values, np.arange(60) % 3)
    source = ForBatches(pool.filter(np.arange(60) % 5 > 0))
    classes, seeds = np.array([2, 0, 1, 1, 2]), np.array([5, 2**63 - 1, 0, 77, 123456789])
    made = source.batch(classes, torch.zeros(9, 1, 8, 8, dtype=torch.uint8), seeds)
    items = [source.made(*pair)[0] for pair in zip(classes.tolist(), seeds.tolist(), strict=True)]
    assert np.array_equal(made.numpy(), np.stack(items))
    assert source.rows(classes, seeds).tolist() == [int(image.max()) for image in items]


def test_rows_in_other_units_than_the_batch_are_refused() -> None:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8)).astype(np.uint8)
    pool = SyntheticPool.from_arrays(rows, [0, 0, 0, 1, 1, 1])
    unscaled = SynthesizeBatch(pool, share=1.0, transform=lambda image: torch.from_numpy(image).float())
    blank, labels = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    assert unscaled(blank, labels)[0].max() > 100  # a blank batch tells nothing
    with pytest.raises(DataError, match=r"units of the batch, whose values go to 0\.9\d+, found ones that go to 25"):
        unscaled(torch.rand(4, 1, 8, 8) * 2 - 1, labels)
    scaled = SynthesizeBatch(pool, share=1.0, transform=lambda image: torch.from_numpy(image).float() / 255)
    assert scaled(torch.rand(4, 1, 8, 8), labels)[0].max() <= 1
