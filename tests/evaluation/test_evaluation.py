"""Arms are paired, the comparison's arithmetic has known answers, and a leak is an error."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, check_no_overlap, compare, score_arm


def blobs(seed: int, counts: tuple[int, ...] = (40, 12)) -> TensorDataset:
    """Two classes: bright left or bright right half, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    images = torch.randn(len(labels), 1, 8, 8, generator=generator) * 0.5
    images[labels == 0, :, :, :4] += 1
    images[labels == 1, :, :, 4:] += 1
    return TensorDataset(images, labels)


def score(arm: Arm, seed: int = 0, steps: int = 30) -> dict[str, float]:
    return score_arm(arm, blobs(99, (50, 50)), num_classes=2, rare=[1], steps=steps, seed=seed)


def test_learns_and_repeats() -> None:
    arm = Arm(name="as_is", data=blobs(0))
    first = score(arm)
    assert first["balanced_accuracy"] > 0.9
    assert first == score(arm)
    images, labels = blobs(0).tensors
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    assert score(Arm(name="shuffled", data=TensorDataset(images, shuffled)))["balanced_accuracy"] < 0.75


def test_balanced_softmax_trades_the_common_class_for_the_rare_one() -> None:
    """On pure noise the prior decides: cross-entropy says the common class, balanced softmax does not."""
    images = torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(images, torch.tensor([0] * 90 + [1] * 10))

    def rare_recall(prior: list[float] | None) -> float:
        arm = Arm(name="noise", data=data, prior=prior)
        noise = TensorDataset(
            torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1] * 100)
        )
        return score_arm(arm, noise, num_classes=2, rare=[1], steps=10, seed=0)["rare_recall"]

    assert rare_recall(None) < 0.15
    assert rare_recall([90.0, 10.0]) > 0.3


def test_the_schedule_is_told_of_epochs() -> None:
    base = blobs(0)
    pool = ga.SyntheticPool.from_arrays(torch.rand(40, 1, 8, 8), torch.ones(40, dtype=torch.int64))
    mixed = ga.GANAugmentedDataset(base, pool, synthetic_share=1.0, schedule=ga.PhaseOut(epochs=2), min_images=0)
    score(Arm(name="phased", data=mixed), steps=4)
    assert mixed.epoch == 3


def test_images_that_are_no_tensors_are_refused() -> None:
    data = [(np.zeros((8, 8), np.uint8), 0), (np.ones((8, 8), np.uint8), 1)]
    with pytest.raises(ga.DataError, match="ends in a tensor"):
        score(Arm(name="arrays", data=data))


def replicate(selected: float, random: float, plain: float) -> dict[str, dict[str, float]]:
    return {
        "plain": {"balanced_accuracy": plain},
        "worse": {"balanced_accuracy": plain - 0.2},
        "random": {"balanced_accuracy": random},
        "selected": {"balanced_accuracy": selected},
    }


def compared(*values: tuple[float, float, float]) -> object:
    scores = [replicate(*value) for value in values]
    return compare(scores, without_synthetic=("plain", "worse"), selected="selected", random="random")


def test_differences_have_known_answers() -> None:
    found = compared((0.9, 0.85, 0.8), (0.7, 0.75, 0.6))
    assert found.best_without_synthetic == "plain"
    assert found.selected_minus_best["balanced_accuracy"].values == pytest.approx((0.1, 0.1))
    assert found.selected_minus_random["balanced_accuracy"].mean == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ((0.05, 0.06, 0.055), "helped: +5.5 points"),
        ((-0.05, -0.06, -0.055), "did harm: -5.5 points"),
        ((0.05, -0.06, 0.01), "could not be shown on so small a set"),
    ],
)
def test_the_sentence_says_what_the_interval_allows(gains: tuple[float, ...], told: str) -> None:
    assert told in compared(*[(0.5 + gain, 0.5, 0.5) for gain in gains]).sentence()


def test_replicates_with_other_arms_are_refused() -> None:
    with pytest.raises(ga.ConfigError, match="same arms"):
        compare([replicate(1, 1, 1), {}], without_synthetic=("plain",), selected="selected", random="random")


def test_a_test_image_in_training_is_an_error() -> None:
    train, test = blobs(0), blobs(1)
    check_no_overlap(ga.RawView(test), ga.RawView(train))
    images, labels = test.tensors
    images[3] = train.tensors[0][7]
    with pytest.raises(ga.DataError, match="found 1 of 52"):
        check_no_overlap(TensorDataset(images, labels), train)


def test_a_patient_on_both_sides_is_an_error() -> None:
    train = ga.RawView(blobs(0), groups=[f"patient {i // 4}" for i in range(52)])
    test = ga.RawView(blobs(1), groups=[f"patient {100 + i // 4}" for i in range(52)])
    check_no_overlap(test, train)
    shared = ga.RawView(blobs(1), groups=["patient 3"] * 52)
    with pytest.raises(ga.DataError, match="groups"):
        check_no_overlap(shared, train)


def test_what_was_fitted_on_a_test_image_is_found_through_every_artifact(tmp_path: Path) -> None:
    train, test = blobs(0, (24, 24)), blobs(1, (24, 24))
    groups = [f"patient {i // 4}" for i in range(48)]
    gan = ga.fit(train, "sngan", steps=1, groups=groups, out=tmp_path / "gan", progress=False)
    judge = ga.TrainedExtractor.fit(train, steps=1, progress=False)
    ga.SyntheticPool.build(gan, train, counts={0: 4}, out=tmp_path / "pool", progress=False)
    judge.save(tmp_path / "judge")
    artifacts = (
        ga.load(tmp_path / "gan"),
        ga.TrainedExtractor.load(tmp_path / "judge"),
        ga.SyntheticPool.open(tmp_path / "pool"),
    )
    ga.check_no_overlap(test, train, *artifacts)
    for artifact in artifacts:
        with pytest.raises(ga.DataError, match="found 48 of 48"):
            ga.check_no_overlap(train, artifact)
    same_patient = ga.RawView(test, groups=["patient 3"] * 48)
    for artifact in (artifacts[0], artifacts[2]):
        with pytest.raises(ga.DataError, match="groups"):
            ga.check_no_overlap(same_patient, artifact)


def test_a_gan_of_the_test_set_is_told_of_when_a_pool_is_built() -> None:
    train, test = blobs(0, (24, 24)), blobs(1, (24, 24))
    gan = ga.fit(test, "sngan", steps=1, progress=False)
    with pytest.warns(ga.DataMismatchWarning, match="48 images of which 48 are not in like="):
        ga.SyntheticPool.build(gan, train, counts={0: 4}, progress=False)
