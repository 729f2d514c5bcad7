"""Scores that are kept are read again, and only where nothing that they depend on has changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, Synthetic, evaluate
from tests.evaluation.problems import Log, candidates, problem
from tests.helpers import Pictures, noisy

PLAIN, CHOSEN = Arm(name="plain"), Arm(name="chosen", sampling="balanced", synthetic=Synthetic())


def run(folder: Path, **settings: Any) -> Any:
    options: dict[str, Any] = {
        "train": problem(0), "test": problem(9, (6, 5, 4)), "arms": [PLAIN], "seeds": 2, "steps": 2, "batch_size": 8,
        "min_images": 0, "progress": False, "keep": folder,
    }  # fmt: skip
    return evaluate(**{**options, **settings}).to_json()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.json")}


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    first = run(tmp_path)
    kept = files(tmp_path)
    assert len(kept) == 2
    assert run(tmp_path) == first
    assert files(tmp_path) == kept
    assert run(tmp_path / "fresh") == first
    run(tmp_path, seeds=3)
    assert len(files(tmp_path)) == 3


def jitter(image: torch.Tensor) -> torch.Tensor:
    return image + torch.rand(1)


def pool(images: torch.Tensor, labels: torch.Tensor, keep: int = 20) -> Any:
    return candidates(images, labels, [i < keep for i in range(len(labels))], [""] * len(labels))


def changes() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    images, labels = problem(0).tensors
    drawn, known = problem(50, (0, 12, 12)).tensors
    swapped = images.clone()
    swapped[[0, 30]] = images[[30, 0]]
    turned = drawn.clone()
    turned[[0, 20]] = drawn[[20, 0]]
    arms = {"arms": [PLAIN, CHOSEN]}
    return {
        "steps": ({}, {"steps": 3}),
        "another label": ({}, {"train": TensorDataset(images, labels.flip(0).sort(descending=True)[0])}),
        "two images swapped": ({}, {"train": TensorDataset(swapped, labels)}),
        "transform of the training set": (
            {"train": Pictures((12, 4, 3), transform=noisy), "test": Pictures((4, 4, 4), seed=1)},
            {"train": Pictures((12, 4, 3), transform=jitter), "test": Pictures((4, 4, 4), seed=1)},
        ),
        "labels of the pool": ({"pool": pool(drawn, known), **arms}, {"pool": pool(drawn, known.flip(0)), **arms}),
        "order of the pool": ({"pool": pool(drawn, known), **arms}, {"pool": pool(turned, known), **arms}),
        "decisions": ({"pool": pool(drawn, known), **arms}, {"pool": pool(drawn, known, 18), **arms}),
        "augmentation": ({}, {"augmentation": ga.Augmentation(flip=True)}),
    }


@pytest.mark.parametrize("name", changes())
def test_what_changed_is_trained_anew(tmp_path: Path, name: str) -> None:
    before, after = changes()[name]
    run(tmp_path, **before)
    kept = files(tmp_path)
    run(tmp_path, **before)
    assert files(tmp_path) == kept
    run(tmp_path, **after)
    assert len(files(tmp_path)) == 2 * len(kept)


def test_what_code_does_is_not_kept(tmp_path: Path) -> None:
    log = Log()
    run(tmp_path, classifier=log)
    run(tmp_path, arms=[Arm(name="own", data=problem(3))])
    run(tmp_path, arms=[Arm(name="own", loss=lambda logits, labels: logits.logsumexp(1).mean())])
    assert not files(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"kind": "gan_augment scored arm", "version": 1}'])
def test_a_damaged_file_is_told_of(tmp_path: Path, text: str) -> None:
    run(tmp_path)
    (tmp_path / next(iter(files(tmp_path)))).write_text(text)
    with pytest.raises(ga.ArtifactError):
        run(tmp_path)


def test_what_is_not_known_comes_back_as_nan(tmp_path: Path) -> None:
    told: list[Any] = []
    for _ in range(2):
        run(tmp_path, seeds=1, on_result=lambda arm, seed, scored: told.append(scored))
    first, second = told
    assert np.array_equal(list(first.scores.values()), list(second.scores.values()), equal_nan=True)
    assert np.array_equal(first.correct, second.correct)
    assert np.isnan(second.scores["many_recall"])
