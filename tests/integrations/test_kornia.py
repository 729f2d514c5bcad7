"""kornia: images and labels of each mode, parameters that repeat, containers, dtypes and devices, workers, versions."""

import copy
import importlib
import math
import pickle
import random
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import kornia
import kornia.augmentation as K
import numpy as np
import pytest
import torch
from packaging.version import Version
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, default_collate
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, DependencyError, SynthesizerError
from gan_augment.integrations.kornia import LabelledSequential, RandomSynthesize
from gan_augment.pool import SyntheticPool
from tests.helpers import ROOT, toy_synthesizer
from tests.transforms.sources import MARK, Mirror, ModuleSynthesizer, live, marked, marked_pool, spec_of, to_unit

FORK = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
POOL = marked_pool(dtype=np.uint8)
LABELS = torch.tensor([0, 1, 2, 1, 0, 2, 2, 1])


def batch(labels: Any = LABELS, shape: tuple[int, ...] = (1, 8, 8), dtype: torch.dtype = torch.float32) -> Any:
    labels = torch.as_tensor(labels)
    return torch.zeros(len(labels), *shape, dtype=dtype), labels


def always(source: Any = POOL, *args: Any, **settings: Any) -> RandomSynthesize:
    return RandomSynthesize(source, *args, p=1.0, **settings)


def marks(images: Tensor) -> list[int]:
    """The class whose mark each image bears everywhere; -1 for an image that is black."""
    values = (images.double() * 255).round().flatten(1)
    assert (values == values[:, :1]).all()
    return [int(value) - MARK if value else -1 for value in values[:, 0].tolist()]


# -- modes ------------------------------------------------------------------------------------------------------------


def test_images_become_synthetic_ones_of_their_class_and_labels_stay() -> None:
    images, labels = batch()
    made, found = always()(images, labels)
    assert marks(made) == labels.tolist()
    assert found is labels
    assert not images.any()


def test_each_image_has_its_own_chance() -> None:
    torch.manual_seed(0)
    aug, hits = RandomSynthesize(POOL, p=0.3), torch.zeros(len(LABELS))
    for _ in range(500):
        found = torch.tensor(marks(aug(*batch())[0]))
        assert ((found == LABELS) | (found < 0)).all()
        hits += found >= 0
    assert hits.tolist() == pytest.approx([150] * len(LABELS), abs=40)


def test_partners_of_any_class_bring_their_labels_and_are_balanced() -> None:
    torch.manual_seed(0)
    images, labels = batch(torch.zeros(3000, dtype=torch.int32))
    made, found = RandomSynthesize(marked_pool((0, 1, 1, 1, 1, 7), dtype=np.uint8), partner="any", p=0.5)(
        images, labels
    )
    assert (found.dtype, found.shape) == (labels.dtype, labels.shape)
    classes = torch.tensor(marks(made))
    assert torch.equal(torch.where(classes < 0, 0, classes), found.long())
    assert torch.bincount(classes[classes >= 0])[[0, 1, 7]].tolist() == pytest.approx([500] * 3, abs=70)


@pytest.mark.parametrize("partner", ["same", "any"])
def test_images_and_labels_are_mixed_as_mixup_mixes_them(partner: Any) -> None:
    torch.manual_seed(0)
    images, labels = batch()
    images = images + 0.2
    aug = RandomSynthesize(POOL, (0.25, 0.75), partner, p=0.7)
    made, found = aug(images, labels)
    own, other, strength = found.unbind(1)
    assert torch.equal(own, labels.float())
    selected = aug._params["batch_prob"] > 0.5
    assert 0 < selected.sum() < len(labels)
    assert not strength[~selected].any()
    assert ((strength[selected] >= 0.25) & (strength[selected] <= 0.75)).all()
    assert torch.equal(other[~selected], own[~selected])
    assert partner == "any" or torch.equal(other, own)
    wanted = (1 - strength) * 0.2 + strength * (MARK + other) / 255
    torch.testing.assert_close(made, wanted.reshape(-1, 1, 1, 1).expand_as(made))


def test_labels_of_a_mix_have_the_format_of_mixup() -> None:
    images, labels = batch()
    theirs = K.RandomMixUpV2(data_keys=["input", "class"], p=1.0)(images, labels)[1]
    for p in (0.0, 1.0):
        ours = RandomSynthesize(POOL, (0.0, 1.0), "any", p=p)(images, labels)[1]
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    logits = torch.randn(len(labels), 3)
    one, two = (functional.cross_entropy(logits, ours[:, i].long(), reduction="none") for i in (0, 1))
    assert ((1 - ours[:, 2]) * one + ours[:, 2] * two).mean().isfinite()


def test_images_of_a_class_without_synthetic_ones_stay() -> None:
    source = marked_pool((1, 2), dtype=np.uint8)
    made, labels = always(source)(*batch([0, 1, 2, 0]))
    assert marks(made) == [-1, 1, 2, -1]
    made, labels = always(source, (1.0, 1.0))(*batch([0, 1, 2, 0]))
    assert marks(made) == [-1, 1, 2, -1]
    assert labels[:, 2].tolist() == [0, 1, 1, 0]


def test_classes_match_by_name() -> None:
    named = marked_pool((0, 1, 2), dtype=np.uint8, classes=["cat", "dog", "owl"])
    assert marks(always(named, classes=["owl", "eel", "cat"])(*batch([0, 1, 2]))[0]) == [2, -1, 0]


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [POOL, live()], ids=["pool", "live"])
@pytest.mark.parametrize("settings", [{}, {"lambda_val": (0.2, 0.9), "partner": "any"}])
def test_recorded_parameters_repeat_a_call(source: Any, settings: Any) -> None:
    aug = RandomSynthesize(source, p=0.6, **settings)
    first, labels = aug(*batch())
    recorded = copy.deepcopy(aug._params)
    aug(*batch())  # draws anew
    again, found = aug(*batch(), params=recorded)
    assert torch.equal(again, first)
    assert torch.equal(found, labels)
    assert torch.equal(aug(batch()[0], params=recorded, data_keys=["input"]), first)
    assert set(recorded) >= {"batch_prob", "seeds", "labels", "forward_input_shape"}


def test_parameters_hold_seeds_and_no_images() -> None:
    aug = always()
    aug(*batch(shape=(1, 8, 8)))
    assert sum(value.numel() for value in aug._params.values()) < 50


def test_parameters_can_be_drawn_beforehand() -> None:
    aug = RandomSynthesize(POOL, p=0.5)
    params = aug.forward_parameters(torch.Size((8, 1, 8, 8)))
    made = [aug(*batch(), params=params)[0] for _ in range(2)]
    assert torch.equal(*made)
    assert "labels" not in params


def test_the_seed_of_torch_reproduces_and_is_the_only_randomness() -> None:
    for source in (POOL, live()):
        before = random.getstate(), str(np.random.get_state())
        made = []
        for _ in range(2):
            torch.manual_seed(3)
            made.append(RandomSynthesize(source, (0.1, 0.9), "any")(*batch()))
        assert torch.equal(made[0][0], made[1][0])
        assert torch.equal(made[0][1], made[1][1])
        assert (random.getstate(), str(np.random.get_state())) == before


def test_an_image_of_a_batch_is_the_same_alone() -> None:
    aug = RandomSynthesize(marked_pool(range(3), dtype=np.uint8), (0.2, 0.8), "any", p=0.7)
    images, labels = batch()
    made, found = aug(images, labels)
    recorded = aug._params
    for row in range(len(labels)):
        params = {name: recorded[name][row : row + 1] for name in ("batch_prob", "seeds", "lambdas", "partners")}
        alone, label = aug(images[row : row + 1], labels[row : row + 1], params=params)
        assert torch.equal(alone[0], made[row])
        assert torch.equal(label[0], found[row])


def test_one_draw_for_a_batch() -> None:
    values = np.arange(40, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.uint8)
    source = SyntheticPool.from_arrays(values, np.repeat([0, 1], 20))
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        aug = RandomSynthesize(source, (0.0, 1.0), same_on_batch=True, p=0.5)
        made, labels = aug(*batch([0, 1, 0, 0, 1, 1]))
        assert made[[0, 2, 3]].unique().numel() == 1
        assert labels[:, 2].unique().numel() == 1
        seen.add(round(float(labels[0, 2]), 6))
    assert len(seen) > 10


# -- containers -------------------------------------------------------------------------------------------------------


def steps(aug: RandomSynthesize) -> tuple[Any, ...]:
    return aug, K.RandomHorizontalFlip(p=0.5), K.RandomBrightness((0.5, 0.9), p=1.0)


@pytest.mark.parametrize("keys", [["input", "class"], ["image", "label"]])
@pytest.mark.parametrize("settings", [{}, {"partner": "any"}, {"lambda_val": (1.0, 1.0), "partner": "any"}])
def test_a_labelled_container_augments_and_repeats(keys: list[str], settings: Any) -> None:
    torch.manual_seed(0)
    container = LabelledSequential(*steps(RandomSynthesize(POOL, p=0.6, **settings)), data_keys=keys)
    images, labels = container(*batch())
    assert images.flatten(1).any(1).any()
    assert labels.shape == ((8, 3) if "lambda_val" in settings else (8,))
    again = container(*batch(), params=container._params)
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], labels)
    assert not torch.equal(container(*batch())[0], images)


def test_a_labelled_container_does_what_its_parts_do() -> None:
    aug = RandomSynthesize(POOL, p=0.6)
    made, labels = LabelledSequential(aug, data_keys=["input", "class"])(*batch())
    assert torch.equal(aug(*batch(), params=aug._params)[0], made)
    assert labels is not None
    assert {(c, m) for c, m in zip(labels.tolist(), marks(made), strict=True)} <= {
        (c, m) for c in range(3) for m in (c, -1)
    }


def test_a_labelled_container_takes_dicts_masks_and_no_labels() -> None:
    container = LabelledSequential(always(partner="any"), K.RandomHorizontalFlip(p=1.0), data_keys=None)
    images, labels = batch()
    made = container({"image": images, "label": labels, "path": "a.png"})
    assert list(made) == ["image", "label", "path"]
    assert marks(made["image"]) == made["label"].tolist()
    assert made["path"] == "a.png"
    plain = LabelledSequential(K.RandomHorizontalFlip(p=1.0), data_keys=["input", "mask"])
    ramp = torch.arange(8.0).expand(2, 1, 8, 8)
    assert all(torch.equal(part, ramp.flip(-1)) for part in plain(ramp, ramp))
    with pytest.raises(ConfigError, match="the labels of the images, found none"):
        LabelledSequential(always(), data_keys=["input"])(images)


def test_a_labelled_container_sees_into_containers_and_random_order() -> None:
    inner = K.ImageSequential(always(partner="any"), K.RandomHorizontalFlip(p=1.0))
    made, labels = LabelledSequential(inner, K.RandomVerticalFlip(), data_keys=["input", "class"])(*batch())
    assert marks(made) == labels.tolist()
    torch.manual_seed(0)
    some = LabelledSequential(
        always(), K.RandomHorizontalFlip(), K.RandomVerticalFlip(), data_keys=["input", "class"], random_apply=1
    )
    found = [marks(some(*batch())[0]) for _ in range(20)]
    assert {tuple(each) for each in found} == {tuple(LABELS.tolist()), (-1,) * 8}


def test_kornias_own_container_is_told_what_to_use_instead() -> None:
    for keys in (["input"], ["input", "class"]):
        container = K.AugmentationSequential(RandomSynthesize(POOL, p=0.0), data_keys=keys)
        with pytest.raises(ConfigError, match="within a container use LabelledSequential"):
            container(*batch()[: len(keys)])
    ours = LabelledSequential(always(), data_keys=["input", "class"])
    made = ours(*batch())[0]
    theirs = K.AugmentationSequential(*ours.children(), data_keys=["input"])
    assert torch.equal(theirs(batch()[0], params=ours._params), made)


def test_other_mixes_come_after_a_labelled_container() -> None:
    with pytest.raises(ConfigError, match="the only mix augmentation, found RandomMixUpV2, which"):
        LabelledSequential(always(), K.RandomMixUpV2(), data_keys=["input", "class"])
    made, labels = always()(*batch())
    mixed, shares = K.RandomMixUpV2(data_keys=["input", "class"])(made, labels)
    assert shares.shape == (8, 3)
    assert mixed.shape == made.shape


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_stay_and_bytes_match_floats(dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and Version(kornia.__version__) < Version("0.8.1"):
        pytest.skip("this kornia takes no bfloat16")
    for source in (POOL, marked_pool(dtype=np.float32), live()):
        made, labels = always(source, (1.0, 1.0))(*batch(dtype=dtype))
        assert made.dtype == dtype
        assert labels[:, 0].tolist() == LABELS.tolist()
        if source is not POOL:
            continue
        wanted = (MARK + LABELS).to(dtype) / 255
        torch.testing.assert_close(made[:, 0, 0, 0], wanted)
    torch.manual_seed(0)
    bytes_ = always(POOL)(*batch())[0]
    torch.manual_seed(0)
    torch.testing.assert_close(always(marked_pool(dtype=np.float32))(*batch())[0], bytes_)


def test_many_channels_and_grey_pools() -> None:
    for channels, own in ((4, 4), (3, 3), (3, 1)):
        made, labels = always(marked_pool(shape=(own, 8, 8), dtype=np.uint8))(*batch(shape=(channels, 8, 8)))
        assert made.shape == (8, channels, 8, 8)
        assert marks(made) == labels.tolist()
    made, _ = always(toy_synthesizer(shape=(7, 8, 8)))(*batch([0, 2], shape=(7, 8, 8)))
    assert (made[1].mean((1, 2)) - made[0].mean((1, 2)) > 0.3).all()


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_memory_formats_stay(p: float) -> None:
    torch.manual_seed(0)
    aug = RandomSynthesize(marked_pool(shape=(3, 8, 8), dtype=np.uint8), p=p)
    images, labels = batch(shape=(3, 8, 8))
    assert aug(images, labels)[0].is_contiguous()
    last = images.to(memory_format=torch.channels_last)
    assert aug(last, labels)[0].is_contiguous(memory_format=torch.channels_last)


def test_an_image_without_a_batch() -> None:
    for keepdim, shape in ((True, (1, 8, 8)), (False, (1, 1, 8, 8))):
        for label in (torch.tensor(1), torch.tensor([1])):
            made, found = always(keepdim=keepdim)(torch.zeros(1, 8, 8), label)
            assert made.shape == shape
            assert found is label
            assert always(partner="any", keepdim=keepdim)(torch.zeros(1, 8, 8), label)[1].shape == label.shape


def test_an_empty_batch_stays() -> None:
    made, labels = RandomSynthesize(POOL, (0.1, 0.2))(*batch(torch.zeros(0, dtype=torch.int64)))
    assert (len(made), labels.shape) == (0, (0, 3))


def test_other_ranges_need_a_transform() -> None:
    kelvin = SyntheticPool.from_arrays(marked(range(3), dtype=np.float32) * 300, [0, 1, 2])
    with pytest.raises(
        DataError, match=r"expected images of the pool from 0 to 1, .* found values from 235 to 238; give"
    ):
        always(kelvin)(*batch([0, 1, 2]))
    assert marks(always(kelvin, transform=lambda image: torch.from_numpy(image) / 300)(*batch([0, 1, 2]))[0]) == [
        0,
        1,
        2,
    ]
    with pytest.raises(DataError, match=r"like those of the batch, torch.float32 .* found torch.uint16"):
        always(marked_pool(dtype=np.uint16))(*batch())
    for source in (POOL, marked_pool(), live()):
        with pytest.raises(DataError, match=r"expected a float batch from 0 to 1, .* values from -2 to -2; give"):
            always(source)(batch()[0] - 2, LABELS)
    with pytest.raises(DataError, match="like those of the batch"):
        always(POOL)(*batch(shape=(1, 4, 4)))


def test_a_transform_of_a_synthesizer_sees_all_images_at_once() -> None:
    seen: list[tuple[int, ...]] = []

    def ready(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape))
        return to_unit(images)

    made, _ = always(live(), transform=ready)(*batch([0, 2]))
    assert seen == [(2, 1, 8, 8)]
    assert made[0].mean() < 0.4 < 0.6 < made[1].mean()


# -- synthesizers, gradients, devices ---------------------------------------------------------------------------------


def test_the_synthesizer_is_no_part_of_the_module_and_gets_no_gradient() -> None:
    synthesizer = ModuleSynthesizer()
    aug = RandomSynthesize(synthesizer, (0.5, 0.5), p=1.0)
    assert not aug.state_dict()
    assert not list(aug.parameters())
    assert list(aug.modules()) == [aug]
    images, labels = batch([0, 1])
    images.requires_grad_()
    made, _ = aug(images, labels)
    made.sum().backward()
    assert images.grad is not None
    assert torch.equal(images.grad, torch.full_like(images, 0.5))
    assert all(weight.grad is None for weight in synthesizer.parameters())
    aug.to(torch.float64).train()
    assert next(synthesizer.parameters()).dtype == torch.float32


def test_images_come_on_the_device_of_the_batch() -> None:
    for source in (POOL, live()):
        aug = always(source)
        params = aug.params_from_labels(aug.forward_parameters(torch.Size((8, 1, 8, 8))), LABELS)
        made = aug.apply_transform(torch.zeros(8, 1, 8, 8, device="meta"), params, aug.flags)
        assert made.device.type == "meta"
        assert made.shape == (8, 1, 8, 8)
    labels = always(lambda_val=(0.1, 0.2), partner="any").apply_transform_class(
        torch.zeros(8, dtype=torch.int64, device="meta"),
        {**params, "lambdas": torch.rand(8)},
        {"lambda_val": (0.1, 0.2)},
    )
    assert (labels.device.type, labels.shape) == ("meta", (8, 3))


@FORK
def test_networks_on_another_device_do_not_draw_in_a_forked_worker() -> None:
    synthesizer = toy_synthesizer()
    aug = always(synthesizer)
    synthesizer._module.to("meta")
    aug._source._home._process = -1  # as in a worker that was forked
    with pytest.raises(SynthesizerError, match="forked worker"):
        aug(*batch())


def test_a_synthesizer_that_needs_images_must_be_bound() -> None:
    with pytest.raises(TypeError):
        always(Mirror(spec_of()))(*batch())


# -- processes --------------------------------------------------------------------------------------------------------


class Augmented:
    """A collate_fn that applies a kornia augmentation to images and labels."""

    def __init__(self, augment: Any) -> None:
        self.augment = augment

    def __call__(self, items: list[Any]) -> Any:
        return self.augment(*default_collate(items))


@FORK
@pytest.mark.parametrize(
    "method",
    ["fork", pytest.param("spawn", marks=pytest.mark.slow), pytest.param("forkserver", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("source", ["folder", "live"])
def test_workers_reproduce_and_draw_differently(source: str, method: str, tmp_path: Path) -> None:
    values = np.arange(240, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 1, 8, 8), np.uint8)
    if source == "folder":
        SyntheticPool.from_arrays(values, np.zeros(240, int)).save(tmp_path / "pool", progress=False)
    made = live() if source == "live" else tmp_path / "pool"
    augment = LabelledSequential(always(made), K.RandomHorizontalFlip(p=0.0), data_keys=["input", "class"])

    def images() -> Tensor:
        torch.manual_seed(5)
        items = TensorDataset(torch.zeros(16, 1, 8, 8), torch.zeros(16, dtype=torch.int64))
        loader = DataLoader(
            items, 4, num_workers=2, collate_fn=Augmented(augment), multiprocessing_context=method, shuffle=True
        )
        return torch.cat([batch[0] for batch in loader])

    found = images()
    assert torch.equal(found, images())
    assert len(found.flatten(1).unique(dim=0)) > 10


def test_it_pickles_and_copies_without_the_images_of_a_folder(tmp_path: Path) -> None:
    big = np.zeros((300, 1, 64, 64), np.uint8)
    SyntheticPool.from_arrays(big, np.arange(300) % 3).save(tmp_path / "pool", progress=False)
    assert len(pickle.dumps(RandomSynthesize(tmp_path / "pool"))) < big.nbytes / 10
    for source in (POOL, live()):
        aug = RandomSynthesize(source, (0.1, 0.9), "any")
        made = []
        for one in (aug, pickle.loads(pickle.dumps(aug)), copy.deepcopy(aug)):
            torch.manual_seed(4)
            made.append(one(*batch())[0])
        assert torch.equal(made[0], made[1])
        assert torch.equal(made[0], made[2])
    assert repr(RandomSynthesize(POOL, p=0.25)) == (
        "RandomSynthesize(p=0.25, p_batch=1.0, same_on_batch=False, lambda_val=None, partner=same, "
        "source=SyntheticPool(6 of 6 candidates, 3 classes))"
    )


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.5}, "p from 0 to 1"),
        ({"partner": "other"}, "partner of same, any, found 'other'"),
        ({"lambda_val": (0.5, 0.2)}, "lambda_val of two numbers from 0 to 1, the least first"),
        ({"lambda_val": (0.5,)}, "lambda_val of two numbers"),
        ({"lambda_val": torch.tensor([0.0, math.nan])}, "lambda_val of two numbers"),
        ({"source": None}, "a SyntheticPool, a Synthesizer, or the path of one"),
        ({"source": marked_pool(shape=(1, 4, 8, 8))}, r"found volumes of \(4, 8, 8\); kornia has no mix"),
        ({"source": marked_pool().filter(np.zeros(6, bool)), "partner": "any"}, "with synthetic images for partner"),
    ],
)
def test_settings_that_cannot_work(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RandomSynthesize(**{"source": POOL, **settings})


def test_batches_that_are_refused() -> None:
    images, labels = batch()
    with pytest.raises(ConfigError, match=r"found shape \(8, 1, 4, 8, 8\); kornia has no mix augmentation for volumes"):
        always()(torch.zeros(8, 1, 4, 8, 8), labels)
    with pytest.raises(ConfigError, match="put RandomSynthesize before MixUp/CutMix"):
        always()(images, torch.ones(8, 3) / 3)
    with pytest.raises(DataError, match=r"labels of shape \(8,\)"):
        always()(images, labels[:5])
    with pytest.raises(DataError, match=r"labels among \[0, 1, 2\], found 3"):
        always(marked_pool(classes=["a", "b", "c"]))(images, labels + 1)
    with pytest.raises(ConfigError, match="data_keys input and class, found mask besides"):
        always(data_keys=["input", "mask", "class"])(images, images, labels)
    with pytest.raises(ConfigError, match="the labels of the images, found none"):
        always(data_keys=["input"])(images)
    with pytest.raises(TypeError, match="float"):
        always()(images.byte(), labels)


@pytest.mark.parametrize("version", ["0.7.3", "0.10.0", None])
def test_versions_that_are_not_supported_are_told(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = None if version is None else types.ModuleType("kornia")
    if stub is not None:
        stub.__version__ = version  # type: ignore[attr-defined]
    name = "gan_augment.integrations.kornia"
    monkeypatch.setitem(sys.modules, "kornia", stub)
    monkeypatch.delitem(sys.modules, name)
    wanted = f"expected kornia from 0.7.4 and below 0.10 for {name}, found {version}; pip install 'gan_augment[kornia]'"
    if version is None:
        wanted = f"expected kornia for {name}, found that it is not installed; pip install 'gan_augment[kornia]'"
    with pytest.raises(DependencyError) as caught:
        importlib.import_module(name)
    assert str(caught.value).startswith(wanted)
    assert isinstance(caught.value, ImportError)


# -- in use -----------------------------------------------------------------------------------------------------------


def test_a_network_trains_on_what_comes_out() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(24, 1, 8, 8), torch.arange(24) % 3
    augment = LabelledSequential(
        RandomSynthesize(POOL, (0.3, 0.7), "any", p=0.5), K.RandomHorizontalFlip(), data_keys=["input", "class"]
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    losses = []
    for _ in range(30):
        made, mixed = augment(images, labels)
        logits = network(made)
        one, two = (functional.cross_entropy(logits, mixed[:, i].long(), reduction="none") for i in (0, 1))
        loss = ((1 - mixed[:, 2]) * one + mixed[:, 2] * two).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_pools_of_images_go_through_torchvisions_transforms() -> None:
    pool = SyntheticPool.from_arrays(marked(range(3), (6, 6)), [0, 1, 2])
    ready = v2.Compose([v2.ToImage(), v2.Resize((8, 8)), v2.ToDtype(torch.float32, scale=True)])
    assert marks(always(pool, transform=ready)(*batch([0, 1, 2]))[0]) == [0, 1, 2]


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "docs.examples.kornia_batches", "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines() if "accuracy" in line] == [
        "as they are",
        "half synthetic",
    ]
