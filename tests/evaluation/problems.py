"""Small problems, pools whose rows are marked, and a classifier that tells what it was given."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import gan_augment as ga
from gan_augment.evaluation import HeldOut, Protocol, TrainingSet
from gan_augment.fingerprint import FittedOn, hash_image
from gan_augment.forms import RawForm
from gan_augment.networks import NetworkSpec
from gan_augment.pool.columns import Columns
from gan_augment.pool.document import new_document
from gan_augment.pool.store import Store
from gan_augment.source import RawView

COUNTS = (24, 8, 4)
DISAGREES = "judge disagrees"


def problem(
    seed: int, counts: Sequence[int] = COUNTS, *, signal: float = 1.0, shape: tuple[int, ...] = (8, 8)
) -> TensorDataset:
    """Noise with a bright band, in a place of its own for each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    images = 0.3 * torch.randn(len(labels), 1, *shape, generator=generator)
    for label in range(len(counts)):
        images[labels == label, :, 2 * label : 2 * label + 2] += signal
    return TensorDataset(images, labels)


def view(data: Any, **settings: Any) -> RawView:
    return RawView(data, progress=False, **settings)


def held_out(data: TensorDataset) -> HeldOut:
    images, labels = data.tensors
    return HeldOut(images, labels.numpy())


def candidates(images: Tensor, labels: Tensor, keep: Sequence[bool], reasons: Sequence[str], classes: int = 3) -> Any:
    """A pool as a selector leaves it: candidates, decisions and reasons."""
    texts = ["", DISAGREES, "far from its class"]
    arrays, count = images.numpy(), len(images)
    columns = Columns.of(
        labels.numpy().astype(np.int64),
        keep=np.array(keep, bool),
        reason=np.array([texts.index(reason) for reason in reasons], np.int64),
    )
    document = new_document(
        classes=[str(label) for label in range(classes)],
        named=True,
        values=list(range(classes)),
        form=vars(RawForm.of(images[0])),
        image_spec=None,
        reasons=texts,
        parts=[{"rows": count, "masks": False}],
    )
    fitted = FittedOn(np.unique(np.array([hash_image(array) for array in arrays], np.int64)))
    return ga.SyntheticPool(Store([arrays], columns, document, fitted))


def drawn_pool(seed: int = 50, each: int = 30, *, shape: tuple[int, ...] = (8, 8), signal: float = 1.0) -> Any:
    """Candidates of classes 1 and 2: a third kept, a third of a wrong class, a third far off."""
    images, labels = problem(seed, (0, each, each), signal=signal, shape=shape).tensors
    decided = [("", DISAGREES, "far from its class")[i % 3] for i in range(2 * each)]
    return candidates(images, labels, [not reason for reason in decided], decided)


# -- what classifiers are given ------------------------------------------------------------------------------------

REAL = -5.0
"""The corner of a real image; that of a pool's row is its number, the next pixel is the class."""


def marked(images: Tensor, labels: Tensor, marks: Tensor) -> Tensor:
    images = images.clone()
    images[..., 0, 0], images[..., 0, 1] = marks.float()[:, None], labels.float()[:, None]
    return images


def marked_training(counts: Sequence[int] = COUNTS, each: int = 30, min_images: int = 0) -> TrainingSet:
    images, labels = problem(0, counts).tensors
    reals = TensorDataset(marked(images, labels, torch.full((len(labels),), REAL)), labels)
    images, labels = problem(50, (0, each, each)).tensors
    decided = [("", DISAGREES, "far from its class")[i % 3] for i in range(2 * each)]
    drawn = marked(images, labels, torch.arange(2 * each))
    unused, known = problem(70, (20, 20, 20)).tensors
    return TrainingSet(
        view=view(reals),
        pool=candidates(drawn, labels, [not reason for reason in decided], decided),
        unused=view(TensorDataset(marked(unused, known, 1000 + torch.arange(60)), known)),
        min_images=min_images,
    )


class Recorder(nn.Module):
    """A linear classifier that keeps its first weights and every batch that it was trained on."""

    def __init__(self, spec: NetworkSpec, log: "Log") -> None:
        super().__init__()
        self.linear = nn.Linear(int(np.prod((spec.channels, *spec.grid))), spec.num_classes)
        self._log = log
        log.initial.append(self.linear.weight.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self._log.batches.append(images.detach().clone())
        logits: Tensor = self.linear(images.flatten(1).clamp(-2, 2))
        return logits


class Log:
    """What the recorders of one or more trainings saw."""

    def __init__(self) -> None:
        self.initial: list[Tensor] = []
        self.batches: list[Tensor] = []

    def __call__(self, spec: NetworkSpec) -> nn.Module:
        return Recorder(spec, self)

    @property
    def marks(self) -> Tensor:
        """The mark of every training image, `(steps, batch_size)`."""
        return torch.stack([batch[:, 0, 0, 0] for batch in self.batches])

    @property
    def classes(self) -> Tensor:
        return torch.stack([batch[:, 0, 0, 1] for batch in self.batches]).round().long()


def protocol(steps: int = 5, batch_size: int = 16, classifier: Callable[..., Any] | None = None) -> Protocol:
    return Protocol(steps=steps, batch_size=batch_size, classifier=classifier)
