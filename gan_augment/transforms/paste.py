"""PasteSynthetic: patches of synthetic images of rare classes, pasted into a batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, probability
from gan_augment.pasting import label_shares, paste_patch
from gan_augment.pool import SyntheticPool
from gan_augment.transforms.batch import by_label
from gan_augment.transforms.collated import ForBatches
from gan_augment.transforms.samples import Batch, checked_getter
from gan_augment.types import Synthesizer

__all__ = ["PasteSynthetic"]


class PasteSynthetic(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Pastes a patch of a synthetic image into each image of a batch: CMO with synthetic foregrounds.

    CMO (Park et al. 2022, "The Majority Can Help the Minority", algorithm 1) pastes patches of images of rare classes
    onto whatever the batch holds, so that they are seen before many backgrounds. Here the patches are synthetic. Their
    classes are drawn in proportion to `1 / n_c`, and labels are mixed by area as `v2.CutMix` does it. Two dimensions
    only. What it is given is not changed; randomness is torch's global state.

    Args:
        source: A pool, of whose view rows are drawn, or a synthesizer that draws as it is asked; no submodule.
        counts: Training images of each class, by label, or a dict by label or class name; at least 1 each.
        p: Probability that a batch is pasted into; labels are shares `(N, num_classes)` in either case.
        labels_getter: "default" as in torchvision, or a callable on the sample that returns its tensor of labels.
        transform: Makes images ready for the batch; see `SynthesizeBatch`.
        classes: Names of the dataset's classes by label, to match classes by name; see `SynthesizeBatch`.

    Raises:
        ConfigError: A parameter has a value that cannot work; images are volumes; labels are soft; a batch has masks,
            boxes or more images.
        DataError: Synthetic images do not fit the batch, or labels are beyond `counts`.

    Example:
        >>> import torch
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> paste = PasteSynthetic(pool, counts=[90, 10])
        >>> images, shares = paste(torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 0, 1]))
        >>> shares.shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        source: SyntheticPool | Synthesizer,
        counts: Sequence[int] | Mapping[int | str, int],
        *,
        p: float = 0.5,
        labels_getter: str | Callable[[Any], Any] = "default",
        transform: Callable[..., Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.p = probability("p", p)
        self.labels_getter = checked_getter(labels_getter)
        self._source = ForBatches(source, classes, transform)
        found = by_label("counts", counts, self._source)
        if sorted(found) != list(range(len(found))) or min(found.values()) < 1:
            raise ConfigError(f"expected counts of at least 1 for each label from 0, found {counts!r}")
        self.num_classes = len(found)
        self._able = [label for label in self._source.labels() if label < self.num_classes]
        if not self._able:
            raise ConfigError(
                f"expected synthetic images of a class of counts, labels 0 to {self.num_classes - 1}, found those of "
                f"{self._source.labels()}"
            )
        self._weights = [1 / found[label] for label in self._able]

    def extra_repr(self) -> str:
        """Returns the settings, for repr."""
        return f"p={self.p:g}, num_classes={self.num_classes}, source={self._source!r}"

    def forward(self, *inputs: Any) -> Any:
        """Returns the batch with patches pasted in, and label shares `(N, num_classes)` for labels.

        Args:
            inputs: One sample, or images and labels.
        """
        batch = Batch.read(inputs, self.labels_getter, type(self).__name__)
        images, count = batch.images, len(batch.images)
        if images.ndim != 4:
            raise ConfigError(
                f"expected images of two dimensions (N, C, H, W), found shape {tuple(images.shape)}; for volumes use "
                "SynthesizeBatch"
            )
        if count and int(batch.labels.max()) >= self.num_classes:
            raise DataError(
                f"expected labels from 0 to {self.num_classes - 1}, the classes of counts, found "
                f"{int(batch.labels.max())}; give counts of every class"
            )
        if float(torch.rand((), device="cpu")) >= self.p or not count:
            return batch.softened(images, label_shares(batch.labels, self.num_classes, images))
        picks = torch.multinomial(torch.tensor(self._weights, device="cpu"), count, replacement=True).tolist()
        classes = torch.tensor([self._able[pick] for pick in picks])
        patches = self._source.batch(self._source.classes_of(classes.numpy()), images)
        return batch.softened(*paste_patch(images, batch.labels, patches, classes, self.num_classes))
