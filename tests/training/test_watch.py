"""What a training is watched by: planted faults are named, held-out reals are not, and nothing of a training moves."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

import gan_augment as ga
from gan_augment.metrics.distribution import kernel_distance
from gan_augment.metrics.manifold import manifold_scores
from gan_augment.networks import NetworkSpec
from gan_augment.recipes import RECIPES, SNGAN
from gan_augment.source import RawView
from gan_augment.training.log import draw_grid
from gan_augment.training.reference import References, class_measures, hold_out
from gan_augment.training.trainer import Trainer
from gan_augment.training.watch import Watch


def digits(counts: Mapping[int, int], seed: int = 0) -> tuple[list[tuple[np.ndarray, int]], dict[int, Tensor]]:
    """Returns a training set of digits, and the other images of each class in [-1, 1]."""
    found = load_digits()
    rng = np.random.default_rng(seed)
    train, rest = [], {}
    for label, count in counts.items():
        images = rng.permutation(found.images[found.target == label])
        train += [((image * 15).astype(np.uint8), label) for image in images[:count]]
        rest[label] = torch.from_numpy(images[count:] / 8 - 1).float()[:, None]
    return train, rest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planted(SNGAN):
    """Draws images that a test put there, in the order of the first latent, again and again where they are few."""

    bank: ClassVar[dict[int, Tensor]] = {}

    def draw(self, networks: Any, labels: Tensor, latents: Tensor, conditions: Any) -> Tensor:
        place = latents[:, 0].argsort().argsort().tolist()
        chosen = [self.bank[int(label)] for label in labels]
        return torch.stack([own[at % len(own)] for own, at in zip(chosen, place, strict=True)])


COUNTS = {0: 90, 1: 60, 2: 40, 3: 20, 4: 10, 5: 6, 6: 3, 7: 2}


def watched(bank: Mapping[int, Tensor], counts: Mapping[int, int] = COUNTS, seed: int = 0, **settings: Any) -> Watch:
    Planted.bank = dict(bank)
    view = RawView(digits(counts, seed)[0], progress=False)
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=len(counts))
    return Watch(Planted(steps=4), spec, view, view.spec(), **{"every": 2, **settings})


def networks() -> dict[str, torch.nn.Module]:
    return SNGAN().networks(NetworkSpec(channels=1, grid=(8, 8), num_classes=len(COUNTS)))


@pytest.mark.parametrize("seed", range(5))
def test_held_out_reals_are_not_accused(seed: int) -> None:
    watch = watched(digits(COUNTS, seed)[1], seed=seed)
    record = watch.look(networks()).record
    assert record["collapsed"] == []
    assert record["kid"] == pytest.approx(np.mean([record["classes"][name]["kid"] for name in "012345"]))
    assert abs(record["kid"]) < 0.4
    assert record["diversity"] == pytest.approx(1, abs=0.2)
    assert record["duplicates"] < 0.01


def test_one_image_of_a_class_is_named() -> None:
    bank = digits(COUNTS)[1]
    for label in (1, 5):
        bank[label] = bank[label][:1] + 0.02 * torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    watch = watched(bank)
    record = watch.look(networks()).record
    assert record["collapsed"] == ["1", "5"]
    assert record["classes"]["1"]["diversity"] < 0.1
    assert watch.note(2, record, {}).accused == []
    verdict = watch.note(4, record, {})
    assert verdict.accused == ["1", "5"]
    told = r"collapse after step 4: samples of 1 \(60 images\) vary 0\.0\d times.*samples of 5 \(6 images\).*dagan"
    with pytest.warns(ga.CollapseWarning, match=told):
        watch.warn(4, record, verdict.accused)
    assert watch.note(4, record, {}).accused == []


def test_a_few_images_again_and_again_are_duplicates() -> None:
    bank = digits(COUNTS)[1]
    bank[0] = bank[0][:4]
    record = watched(bank).look(networks()).record
    assert record["collapsed"] == ["0"]
    assert record["classes"]["0"]["duplicates"] == 1
    assert record["classes"]["0"]["diversity"] > 0.5


@pytest.mark.parametrize("fault", ["blurred", "another class", "towards the mean", "one image"])
def test_faults_raise_kid(fault: str) -> None:
    bank = digits(COUNTS)[1]
    clean = watched(bank).look(networks()).record["kid"]
    if fault == "another class":
        bank = {label: bank[(label + 1) % len(bank)] for label in bank}
    else:
        change = {
            "blurred": lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1),
            "towards the mean": lambda x: 0.5 * x + 0.5 * x.mean(0),
            "one image": lambda x: x[:1],
        }[fault]
        bank = {label: change(images) for label, images in bank.items()}
    assert watched(bank).look(networks()).record["kid"] > clean + 0.3


def test_measures_are_those_of_metrics() -> None:
    view = RawView(digits(COUNTS)[0], progress=False)
    references = References.of(view, view.spec())
    for label in (0, 3):
        real = references.classes[label]
        fake = references.space(digits(COUNTS)[1][label][:48])
        found = class_measures(real, fake)
        if label == 0:
            few = class_measures(dataclasses.replace(real, features=real.features[:48], rows=real.rows[:48],
                                                     radii=real.radii[:48]), fake)  # fmt: skip
            assert few["kid"] == pytest.approx(kernel_distance(real.features[:48], fake), rel=1e-4, abs=1e-5)
        assert found["coverage"] == pytest.approx(manifold_scores(real.features, fake).coverage)


def test_a_parent_is_not_what_its_sample_is_compared_with() -> None:
    view = RawView(digits(COUNTS)[0], progress=False)
    real = References.of(view, view.spec()).classes[0]
    lone = real.features.copy()
    lone[7] += 50  # only its own copy is near it
    real = dataclasses.replace(real, features=lone, radii=np.full(len(lone), 20, np.float32))
    assert class_measures(real, lone)["coverage"] == 1
    assert class_measures(real, lone, real.rows)["coverage"] == pytest.approx(1 - 1 / len(lone))
    assert class_measures(real, lone, real.rows)["kid"] > class_measures(real, lone)["kid"]


@pytest.mark.parametrize("name", ["sngan", "dagan"])
def test_a_look_moves_nothing(name: str) -> None:
    recipe = RECIPES[name](batch_size=8)
    view = RawView(digits(COUNTS)[0], progress=False)
    spec = NetworkSpec(channels=1, grid=(8, 8), num_classes=view.num_classes)
    trainer = Trainer(recipe, spec, seed=0, device=torch.device("cpu"))
    for network in trainer.networks.values():
        network.train()
    watch = Watch(recipe, spec, view, view.spec(), every=1)
    before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in trainer.result().items()}
    modes = [m.training for n in trainer.networks.values() for m in n.modules()]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (watch.look(trainer.result()) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])
    assert modes == [m.training for n in trainer.networks.values() for m in n.modules()]
    assert all(p.requires_grad for n in trainer.networks.values() for p in n.parameters())
    for n, network in trainer.result().items():
        assert all(torch.equal(value, before[n][key]) for key, value in network.state_dict().items())
    assert first.record == second.record
    assert all(torch.equal(first.images[label], second.images[label]) for label in first.images)


@pytest.mark.parametrize("shape", [(16, 24, 3), (8, 12, 10), (100, 80)])
def test_any_form_of_image_is_watched(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images = [(rng.normal(100 + 50 * (i % 2), 30, shape).clip(0, 255).astype(np.uint8), i % 2) for i in range(24)]
    view = RawView(
        images if shape != (8, 12, 10) else [(volume[None], label) for volume, label in images], progress=False
    )
    image_spec, recipe = view.spec(), SNGAN()
    spec = NetworkSpec(channels=image_spec.channels, grid=image_spec.grid, num_classes=2)
    torch.manual_seed(0)
    look = Watch(recipe, spec, view, image_spec, every=1).look(recipe.networks(spec))
    assert np.isfinite([look.record["kid"], look.record["coverage"], look.record["diversity"]]).all()
    assert look.record["kid"] > 1
    assert draw_grid(look.images, view.classes, view.counts.tolist(), "").width > 500


def test_what_is_held_out() -> None:
    targets = np.repeat([0, 1, 2], [200, 50, 49])
    rows = hold_out(targets, seed=1)
    assert np.bincount(targets[rows], minlength=3).tolist() == [40, 10, 0]
    assert not np.array_equal(rows, hold_out(targets, seed=2))
    groups = np.arange(len(targets)) // 4  # one of them has images of classes 1 and 2
    rows = hold_out(targets, groups, seed=1)
    out = np.zeros(len(targets), bool)
    out[rows] = True
    assert np.bincount(targets[rows], minlength=3).tolist() == [40, 8, 0]
    assert all(len(set(out[groups == group])) == 1 for group in np.unique(groups))


def test_held_out_images_are_not_trained_on_and_small_classes_are_whole() -> None:
    watch = watched({}, stop="quality")
    assert watch.training.counts.tolist() == [72, 48, 40, 20, 10, 6, 3, 2]
    kept = {image.tobytes() for image in (watch.training.raw(i) for i in range(len(watch.training)))}
    view = RawView(digits(COUNTS)[0], progress=False)
    told = watch.described()
    assert told["0"] == {"images": 18, "held_out": True}
    assert told["2"] == {"images": 40, "held_out": False}
    for row in watch.references.classes[0].rows:
        assert view.raw(int(row)).tobytes() not in kept
