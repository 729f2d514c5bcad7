"""Training the classifier of an arm, and its scores."""

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, RandomSampler

from gan_augment.augmentation import Augmentation
from gan_augment.dataset import GANAugmentedDataset, PhaseOut
from gan_augment.errors import ConfigError, DataError
from gan_augment.evaluation.arms import Arm, Loss
from gan_augment.evaluation.data import TrainingSet, WithWeights
from gan_augment.evaluation.finished import HeldOut
from gan_augment.evaluation.last_layer import retrain_last_layer
from gan_augment.evaluation.m2m import MajorityToMinority
from gan_augment.evaluation.mixing import CMO_SHARE, mixer
from gan_augment.losses import LDAM, balanced_softmax, effective_weights, focal
from gan_augment.metrics import classification_scores, recalls
from gan_augment.networks import Classifier, NetworkSpec
from gan_augment.pipelines import preserved_rng
from gan_augment.seeds import derive
from gan_augment.source import RawView
from gan_augment.supervised import endless, predict_probs, train_classifier, weighted_batches

__all__ = ["Protocol", "Scored", "score_arm", "score_network", "train_arm"]

_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is the same for every arm.

    Attributes:
        classifier: Returns a fresh network for a `NetworkSpec`; None for a small convolutional one.
        steps: Optimiser steps.
        batch_size: Images a step.
        learning_rate: At the start; AdamW, cosine to zero.
        augmentation: Of the arms with `augment=True`.
        device: Where networks run.
    """

    classifier: Callable[[NetworkSpec], nn.Module] | None = None
    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 5e-3
    augmentation: Augmentation = field(default_factory=Augmentation)
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Scored:
    """What one training of one arm gave.

    Attributes:
        scores: Metric to value, 0 to 1; those called `adjusted_` are after post-hoc logit adjustment (Menon et al.
            2021, equation 9): probabilities divided by the class shares of the batches, where the loss has not done so.
        recalls: `(num_classes,)`, NaN for classes without test images.
        correct: `(N,)`, which test items were right.
    """

    scores: dict[str, float]
    recalls: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]


def train_arm(
    arm: Arm, training: TrainingSet, protocol: Protocol, *, seed: int, description: str | None = None
) -> tuple[nn.Module, npt.NDArray[np.float64]]:
    """Trains the classifier of an arm; returns it and the class shares that are left in its outputs.

    The initial weights, and the order of items where the length is the same, depend on `seed` only, so arms of one seed
    are paired. The shares are those of the batches as sampled, or flat where the loss corrects for them.

    Args:
        arm: How to train.
        training: On what.
        protocol: What is the same for every arm.
        seed: Of weights, order, augmentation and dropout.
        description: Shown on a progress bar; None for no bar.

    Raises:
        DataError: The items are not tensors of one shape.
        TrainingError: The loss became NaN or infinite.
    """
    with preserved_rng():  # the data may draw where they are read
        data = training.data(arm, seed=seed)
        item = data[0]
    first = item[0] if isinstance(item, tuple | list) and len(item) > 1 else item
    if not isinstance(first, Tensor):
        raise DataError(
            f"expected items whose image is a tensor, found {type(first).__name__}; give the dataset a transform "
            "that ends in a tensor"
        )
    shares = _class_shares(data, training)
    if arm.mix == "cmo":
        shares = (1 - CMO_SHARE) * shares + CMO_SHARE * _inverse(training.counts)
    network = _fresh(protocol, first, len(training.counts), seed)
    first_stage = protocol.steps if arm.last_layer is None else min(round(0.8 * protocol.steps), protocol.steps - 1)
    loss, corrected = _loss(arm, shares, training.counts, first_stage)
    batches = _Batches(arm, training, protocol, data, network, seed, first_stage)
    with preserved_rng(derive(seed, "items") % 2**32):  # a transform may draw from Python's or numpy's state
        train_classifier(
            network,
            iter(batches),
            steps=first_stage,
            learning_rate=protocol.learning_rate,
            loss=loss,
            seed=seed,
            device=protocol.device,
            description=description,
        )
        if arm.last_layer is not None:
            retrain_last_layer(
                network,
                arm.last_layer,
                training,
                steps=protocol.steps - first_stage,
                batch_size=protocol.batch_size,
                learning_rate=protocol.learning_rate,
                augmentation=_augmentation(arm, protocol),
                seed=seed,
                device=protocol.device,
            )
            corrected = True
    return network, np.full(len(shares), 1 / len(shares)) if corrected else shares


def _fresh(protocol: Protocol, image: Tensor, num_classes: int, seed: int) -> nn.Module:
    spec = NetworkSpec(channels=image.shape[0], grid=tuple(image.shape[1:]), num_classes=num_classes)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "initial weights"))
        network = Classifier(spec, _WIDTH) if protocol.classifier is None else protocol.classifier(spec)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"expected classifier= to return a torch module, found {type(network).__name__}")
    return network


def _class_shares(data: Any, training: TrainingSet) -> npt.NDArray[np.float64]:
    """Returns the class shares of batches drawn from `data`, shuffled, as the loss weighs them."""
    mixed = data.data if isinstance(data, WithWeights) else data
    if isinstance(mixed, GANAugmentedDataset):
        labels = mixed.targets.tolist()
    else:
        own = RawView.of(mixed, progress=False)
        labels = [own.values[label] for label in own.targets]
    wrong = sorted({str(label) for label in labels if label not in range(len(training.counts))})
    if wrong:
        raise DataError(
            f"expected class indices from 0 to {len(training.counts) - 1} in data=, found {', '.join(wrong[:5])}"
        )
    weights = [data.weight_of(index) for index in range(len(data))] if isinstance(data, WithWeights) else None
    counts = np.bincount(np.array(labels, np.int64), weights, minlength=len(training.counts))
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def _inverse(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Returns class shares in proportion to 1 / n_c, as CMO draws its foregrounds."""
    inverse = np.where(counts > 0, 1 / np.maximum(counts, 1), 0.0)
    shares: npt.NDArray[np.float64] = inverse / inverse.sum()
    return shares


def _augmentation(arm: Arm, protocol: Protocol) -> Augmentation | None:
    if isinstance(arm.augment, Augmentation):
        return arm.augment
    return protocol.augmentation if arm.augment else None


def _loss(arm: Arm, shares: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], steps: int) -> tuple[Loss, bool]:
    """Returns the loss, and whether it corrects for the class shares of the batches."""
    if callable(arm.loss):
        return arm.loss, False
    if arm.loss == "balanced_softmax":
        return functools.partial(balanced_softmax, prior=torch.tensor(shares, dtype=torch.float32)), True
    if arm.loss == "class_weights":
        weights = effective_weights(torch.from_numpy(shares * counts.sum()), beta=0.999)
        return _Weighted(weights), True
    if arm.loss == "focal":
        return focal, False
    if arm.loss == "ldam_drw":
        return LDAM(torch.from_numpy(counts), steps), True
    return functional.cross_entropy, False


class _Weighted:
    """Cross-entropy with class weights."""

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, weight=self.weights.to(logits))


@dataclass
class _Batches:
    """The batches of an arm: drawn, augmented, mixed, weighted."""

    arm: Arm
    training: TrainingSet
    protocol: Protocol
    data: Any
    network: nn.Module
    seed: int
    steps: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        augmentation, mix = _augmentation(self.arm, self.protocol), self._mix()
        counts, device = len(self.training.counts), self.protocol.device
        epochs, last = endless(self._epoch), self._last_synthetic_step()
        for step in itertools.count():
            if step == last:
                self._mixed.schedule = PhaseOut(epochs=1, until=0.0)  # from here on slots repeat reals
            drawn, classes, *weights = next(epochs)
            images, labels = drawn.to(device, torch.float32), classes.to(device, torch.int64).reshape(-1)
            if augmentation is not None:
                images = augmentation(images)
            if mix is not None:
                images, labels = mix(images, labels)
            if weights:
                shares = labels if labels.is_floating_point() else functional.one_hot(labels, counts).to(images)
                labels = shares * weights[0].to(images)[:, None]  # cross-entropy sums them
            yield images, labels

    @property
    def _mixed(self) -> Any:
        return self.data.data if isinstance(self.data, WithWeights) else self.data

    def _last_synthetic_step(self) -> int | None:
        dose = self.arm.synthetic
        if dose is None or dose.until >= 1 or self.arm.data is not None or self.arm.only:
            return None
        return round(dose.until * self.protocol.steps)

    @functools.cached_property
    def _loader(self) -> Any:
        """Batches without replacement; a set smaller than a batch is gone through again to fill it."""
        order, size = torch.Generator().manual_seed(derive(self.seed, "order")), self.protocol.batch_size
        sampler = RandomSampler(self.data, num_samples=max(len(self.data), size), generator=order)
        return DataLoader(self.data, batch_size=size, sampler=sampler, drop_last=True, generator=order)

    def _epoch(self, number: int) -> Iterable[Any]:
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(number)
        return self._loader  # type: ignore[no-any-return]

    def _mix(self) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
        counts = torch.from_numpy(self.training.counts)
        if self.arm.mix is None:
            return None
        if self.arm.mix == "m2m":
            plain = Arm(name="guide of m2m", augment=self.arm.augment)
            guide, _ = train_arm(plain, self.training, self.protocol, seed=self.seed)
            guide = copy.deepcopy(guide).requires_grad_(False).eval()
            return MajorityToMinority(
                network=self.network, guide=guide, counts=counts.float(), first=round(0.6 * self.steps)
            )
        augmentation, takes = _augmentation(self.arm, self.protocol), self.training.takes()
        rare = weighted_batches(
            takes if augmentation is None else lambda rows: augmentation(takes(rows)),
            self.training.view.targets,
            batch_size=self.protocol.batch_size,
            power=-1.0,
            seed=derive(self.seed, "foreground"),
        )
        return mixer(self.arm.mix, counts, rare, ndim=self.training.view.form.ndim - 1)


def score_arm(
    arm: Arm, training: TrainingSet, protocol: Protocol, tested: HeldOut, *, seed: int, description: str | None = None
) -> Scored:
    """Trains the classifier of an arm and scores it; arguments and errors are those of the two steps."""
    network, shares = train_arm(arm, training, protocol, seed=seed, description=description)
    return score_network(network, tested, training.counts, shares, training.drawn())


def score_network(
    network: nn.Module,
    test: HeldOut,
    counts: npt.NDArray[np.int64],
    shares: npt.NDArray[np.float64],
    drawn: HeldOut | None = None,
) -> Scored:
    """Scores a classifier on the test set.

    Args:
        network: Trained.
        test: Held-out images.
        counts: `(num_classes,)` real training images.
        shares: `(num_classes,)` class shares left in its outputs, from `train_arm`.
        drawn: Images of the pool, for `recall_on_synthetic`: mean recall of a classifier on synthetic images. That of
            an arm trained on reals says whether the images show their classes.
    """
    probs = predict_probs(network, test.images).astype(np.float64)
    scores = classification_scores(test.labels, probs, counts)
    adjusted = probs * np.divide(1.0, shares, out=np.zeros_like(shares), where=shares > 0)  # one never seen stays out
    adjusted /= np.maximum(adjusted.sum(axis=1, keepdims=True), 1e-300)
    after = classification_scores(test.labels, adjusted, counts)
    scores |= {f"adjusted_{name}": after[name] for name in ("balanced_accuracy", "few_recall", "calibration_error")}
    scores["recall_on_synthetic"] = math.nan
    if drawn is not None:
        held = predict_probs(network, drawn.images).argmax(axis=1)
        scores["recall_on_synthetic"] = float(np.nanmean(recalls(drawn.labels, held, len(counts))))
    predicted = probs.argmax(axis=1)
    return Scored(scores, recalls(test.labels, predicted, len(counts)), predicted == test.labels)
