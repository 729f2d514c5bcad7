"""A test image or patient that anything fitted has seen is an error."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import check_no_overlap
from tests.evaluation.problems import problem


def blobs(seed: int, counts: tuple[int, ...] = (40, 12)) -> TensorDataset:
    return problem(seed, counts)


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


def test_what_does_not_say_what_it_was_fitted_on_is_an_error() -> None:
    with pytest.raises(ga.ConfigError, match="says what it was fitted on"):
        check_no_overlap(blobs(1), torch.nn.Linear(2, 2))


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
    with pytest.warns(ga.DataMismatchWarning, match="48 images of which 48 are not in the dataset"):
        ga.SyntheticPool.build(gan, train, counts={0: 4}, progress=False)
