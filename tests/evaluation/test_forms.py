"""ga.evaluate on the datasets that users have: forms, labels, classes of the test set."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import Arm, EvaluationResult, Synthetic, evaluate, held_out_set
from gan_augment.evaluation.finished import as_tensors
from tests.conftest import untouched_rng
from tests.evaluation.problems import Log, problem, view
from tests.helpers import Pictures, noisy, pil_to_tensor, toy_synthesizer

SETTINGS: dict[str, Any] = {"seeds": 1, "steps": 3, "batch_size": 8, "min_images": 0, "progress": False}
ARMS = [Arm(name="plain"), Arm(name="chosen", sampling="balanced", synthetic=Synthetic())]


class SixteenBit:
    """PIL images of mode I;16, as microscopes give them."""

    def __init__(self, seed: int, counts: tuple[int, ...] = (12, 4, 3)) -> None:
        base = Pictures(counts, seed=seed)
        self.pixels, self.targets = base.pixels[:, 0].astype(np.uint16) * 250, base.targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(self.pixels[index]), self.targets[index]


class Sizes:
    """PIL images of two sizes."""

    def __init__(self, seed: int, transform: Any = None) -> None:
        self.base, self.transform = Pictures((12, 4, 3), "pil", size=16, seed=seed), transform
        self.targets = self.base.targets

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Any:
        image, label = self.base[index]
        image = image.resize((20, 12)) if index % 2 else image
        return (image if self.transform is None else self.transform(image)), label


def to_square(image: Image.Image) -> torch.Tensor:
    return pil_to_tensor(image.resize((8, 8)))


def sets(name: str, seed: int) -> Any:
    plain = Pictures((12, 4, 3), seed=seed)
    return {
        "PIL": lambda: Pictures((12, 4, 3), "pil", seed=seed),
        "PIL in colour": lambda: Pictures((12, 4, 3), "pil", channels=3, seed=seed),
        "PIL to tensor": lambda: Pictures((12, 4, 3), "pil", transform=pil_to_tensor, seed=seed),
        "random transform": lambda: Pictures((12, 4, 3), transform=noisy, seed=seed),
        "16-bit PIL": lambda: SixteenBit(seed),
        "array": lambda: Pictures((12, 4, 3), "array", seed=seed),
        "dict": lambda: Pictures((12, 4, 3), "dict", seed=seed),
        "column": lambda: Pictures((12, 4, 3), "column", seed=seed),
        "tensor labels": lambda: TensorDataset(
            torch.stack([plain[i][0] for i in range(19)]), torch.tensor(plain.targets, dtype=torch.uint8)
        ),
        "numpy labels": lambda: [(plain[i][0], np.int32(plain.targets[i])) for i in range(19)],
        "names": lambda: [(plain[i][0], ("cat", "ant", "bee")[plain.targets[i]]) for i in range(19)],
        "labels from ten": lambda: Pictures((12, 4, 3), labels=[10, 20, 30], seed=seed),
        "double": lambda: [(plain[i][0].double(), plain.targets[i]) for i in range(19)],
        "sizes to one": lambda: Sizes(seed, to_square),
    }[name]()


@pytest.mark.parametrize(
    "name",
    ["PIL", "PIL in colour", "PIL to tensor", "random transform", "16-bit PIL", "array", "dict", "column",
     "tensor labels", "numpy labels", "names", "labels from ten", "double"],
)  # fmt: skip
def test_forms(name: str) -> None:
    train, test = sets(name, 0), sets(name, 1)
    other = view(sets(name, 2))
    rare = [index for index in range(19) if other.targets[index] != other.targets[0]]
    arrays = np.stack([other.form.array(other.raw(index)) for index in rare])
    labels = [other.classes[other.targets[index]] for index in rare]
    pool = ga.SyntheticPool.from_arrays(arrays, labels, classes=other.classes)
    arms = [*ARMS, Arm(name="ceiling", sampling="balanced", synthetic=Synthetic(rows="unused"))]
    found = evaluate(train, test, arms, pool=pool, unused=sets(name, 3), **SETTINGS)
    assert sorted(found.counts) == [3, 4, 12]
    assert all(0 <= found.scores[arm]["balanced_accuracy"][0] <= 1 for arm in found.scores)


def test_mixed_sizes_need_a_size_where_no_transform_gives_one() -> None:
    arms = [Arm(name="plain")]
    evaluate(sets("sizes to one", 0), sets("sizes to one", 1), arms, **SETTINGS)
    evaluate(Sizes(0), Sizes(1), arms, image_size=8, **SETTINGS)
    with pytest.raises(ga.DataError, match="give image_size="):
        evaluate(Sizes(0), Sizes(1), arms, **SETTINGS)


def test_raw_images_are_scaled_by_the_training_set_on_both_sides() -> None:
    """Train holds 0 to 100, test 0 to 200: the test's 50 must be the training set's."""
    train = [(np.full((8, 8), value, np.uint8), label) for value, label in [(0, 0), (50, 0), (100, 1), (90, 1)]]
    test = [(np.full((8, 8), value, np.uint8), label) for value, label in [(51, 0), (75, 0), (200, 1)]]
    training = as_tensors(view(train))
    tested = held_out_set(view(test), training)
    assert tested.images[:, 0, 0, 0].tolist() == pytest.approx([0.02, 0.5, 1.0], abs=1e-6)


@pytest.mark.parametrize("kept", [(0, 1, 2), (0, 2), (1, 2), (2,)])
def test_a_test_set_of_fewer_classes_is_read_like_the_training_set(kept: tuple[int, ...]) -> None:
    """Float tensors stay as they are, though the labels 0 and 2 are no indices of two classes."""
    train, (images, labels) = problem(0), problem(9, (6, 5, 4)).tensors
    rows = torch.isin(labels, torch.tensor(kept))
    tested = held_out_set(view(TensorDataset(images[rows], labels[rows])), as_tensors(view(train)))
    assert torch.equal(tested.images, images[rows])
    assert tested.labels.tolist() == labels[rows].tolist()


def test_scores_of_the_classes_that_are_there_do_not_depend_on_the_others() -> None:
    images, labels = problem(9, (6, 5, 4)).tensors
    rows = labels != 1
    settings = {**SETTINGS, "steps": 20}
    whole = evaluate(problem(0), TensorDataset(images, labels), ARMS[:1], **settings)
    part = evaluate(problem(0), TensorDataset(images[rows], labels[rows]), ARMS[:1], **settings)
    first, second = np.array(whole.recalls["plain"][0]), np.array(part.recalls["plain"][0])
    assert first[[0, 2]] == pytest.approx(second[[0, 2]])
    assert np.isnan(second[1])
    assert part.scores["plain"]["balanced_accuracy"][0] == pytest.approx(second[[0, 2]].mean())


def named(data: TensorDataset, classes: list[str], order: list[int]) -> TensorDataset:
    images, labels = data.tensors
    found = TensorDataset(images, torch.tensor(order)[labels])
    found.classes = classes  # type: ignore[attr-defined]
    return found


def test_classes_are_matched_by_name() -> None:
    train = named(problem(0), ["a", "b", "c"], [0, 1, 2])

    def run(test: TensorDataset) -> EvaluationResult:
        return evaluate(train, test, ARMS[:1], **{**SETTINGS, "steps": 20})

    same = run(named(problem(9, (6, 5, 4)), ["a", "b", "c"], [0, 1, 2]))
    turned = run(named(problem(9, (6, 5, 4)), ["c", "a", "b"], [1, 2, 0]))
    assert same.recalls == turned.recalls


def test_a_test_set_of_other_classes_is_refused() -> None:
    test = named(problem(9, (6, 5, 4)), ["a", "b", "d"], [0, 1, 2])
    with pytest.raises(ga.DataError, match="a test set of the classes a, b, c, found also d"):
        evaluate(named(problem(0), ["a", "b", "c"], [0, 1, 2]), test, ARMS[:1], **SETTINGS)


def test_a_test_set_of_another_form_is_refused() -> None:
    train = Pictures((12, 4, 3), "pil")
    with pytest.raises(ga.DataError, match="test images like those of the training set"):
        evaluate(train, Pictures((5, 4, 3), seed=1), ARMS[:1], **SETTINGS)
    with pytest.raises(ga.DataError, match=r"ends in tensors of one shape|test images of shape"):
        evaluate(Pictures((12, 4, 3)), Pictures((5, 4, 3), "pil", seed=1), ARMS[:1], **SETTINGS)
    with pytest.raises(ga.DataError, match=r"test images of shape \(1, 8, 8\)"):
        evaluate(Pictures((12, 4, 3)), Pictures((5, 4, 3), size=10, seed=1), ARMS[:1], **SETTINGS)


def test_unused_images_of_the_rare_classes_alone_will_do() -> None:
    images, labels = problem(3, (0, 9, 9)).tensors
    images[..., 0, 0] = 77.0
    log, unused = Log(), TensorDataset(images, labels)
    arms = [Arm(name="plain"), Arm(name="top", sampling="balanced", synthetic=Synthetic(rows="unused", share=1.0))]
    evaluate(problem(0), problem(9, (6, 5, 4)), arms, unused=unused, classifier=log, **SETTINGS)
    assert (log.marks == 77.0).any()
    stranger = TensorDataset(images, labels + 1)
    with pytest.raises(ga.DataError, match="expected unused= of the classes 0, 1, 2, found also 3"):
        evaluate(problem(0), problem(9, (6, 5, 4)), arms, unused=stranger, **SETTINGS)


def test_small_classes_of_the_pool_are_told_of_in_the_notes() -> None:
    images, labels = problem(50, (0, 3, 3)).tensors
    pool = ga.SyntheticPool.from_arrays(images, labels)
    found = evaluate(problem(0), problem(9, (6, 5, 4)), ARMS, pool=pool, **{**SETTINGS, "min_images": 20})
    assert len([note for note in found.notes if "its 20 slots repeat reals" in note]) == 1


def test_random_transforms_repeat_and_leave_the_global_state() -> None:
    images, labels = problem(50, (0, 9, 9)).tensors
    pool = ga.SyntheticPool.from_arrays(images, labels)

    def run() -> Any:
        train, test = sets("random transform", 0), sets("random transform", 1)
        only = Arm(name="only", synthetic=Synthetic(), only=True)
        return evaluate(train, test, [*ARMS, only], pool=pool, **SETTINGS).to_json()

    torch.manual_seed(3)
    with untouched_rng():
        first = run()
    torch.manual_seed(4)
    assert run() == first


def test_targets_that_are_given_win_over_the_labels_of_the_items() -> None:
    images, labels = problem(0).tensors
    wrong = TensorDataset(images, labels.flip(0))
    training = as_tensors(view(wrong, targets=labels.numpy()))
    assert [int(training.base[index][1]) for index in range(len(labels))] == labels.tolist()
    bare = as_tensors(view([image for image in images], targets=labels.numpy()))  # noqa: C416
    assert [int(bare.base[index][1]) for index in range(len(labels))] == labels.tolist()


def test_a_pool_of_a_wrapped_generator_can_be_evaluated() -> None:
    train = Pictures((24, 8, 4))
    pool = ga.SyntheticPool.build(toy_synthesizer(), train, seed=1, progress=False)
    found = evaluate(train, Pictures((5, 5, 5), seed=1), ARMS, pool=pool, **SETTINGS)
    assert found.kinds["chosen"] == "selected"
