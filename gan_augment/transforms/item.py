"""SynthesizeSameClass: an item's image becomes a synthetic one of its class."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy.typing as npt
import torch
from torchvision.transforms import v2

from gan_augment.errors import ConfigError, DataError, probability
from gan_augment.forms import RawForm
from gan_augment.pipelines import call_on_pair, call_transform
from gan_augment.pool import SyntheticPool
from gan_augment.pool.matching import raw_mask, twin_form
from gan_augment.transforms.samples import Item, checked_getter
from gan_augment.transforms.source import ByLabel, drawn_seeds
from gan_augment.types import Synthesizer

__all__ = ["SynthesizeSameClass"]


class SynthesizeSameClass(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Replaces the image of an item by a synthetic one of the same label, with probability `p`.

    Use it where labels are seen: as a torchvision dataset's joint `transforms=`, or first in a `v2.Compose` on samples
    (tuples, dicts, nested ones). The synthetic image is a twin of the real one: same type, layout, dtype, size, device,
    so that all later transforms work on it alike. The image of a label that `source` has no image of stays.

    It cannot rebalance: labels stay, so each class has as many items as before. To rebalance use
    `GANAugmentedDataset`, or `SynthesizeBatch(mode="rebalance")` on batches.

    All randomness is that of torch's global state, which the DataLoader seeds in each worker.

    Args:
        source: A pool, of whose view the rows are drawn; or a synthesizer that draws as it is asked. An
            image-conditioned synthesizer makes its image from the item's own.
        p: Probability, 0 to 1.
        labels_getter: "default" for the second part of a tuple or a dict's key like "label" or "target"; or a callable
            on the sample.
        transform: A callable on the raw synthetic image, for example one that resizes; after it any size goes. The
            image has the item's type where dtype and channels agree, else the pool's. For an item with a mask it is
            called with image and mask and returns both. None to demand the item's size.
        classes: Names of the dataset's classes by label, to match by name; None for the labels that the pool was
            built for, and those of a synthesizer by position, or by value where its class names are numbers.

    Raises:
        ConfigError: A parameter has a value that cannot work; a sample has boxes, several images or masks, or a mask
            where the pool has none.
        DataError: Synthetic images are no twins of the item's.
        SynthesizerError: A synthesizer on an accelerator is to draw in a forked worker.

    Example:
        >>> import torch
        >>> pool = SyntheticPool.from_arrays(torch.rand(6, 1, 8, 8), [0, 0, 0, 1, 1, 1])
        >>> train = SynthesizeSameClass(pool, p=0.5)
        >>> image, label = train(torch.rand(1, 8, 8), 1)
        >>> image.shape, label
        (torch.Size([1, 8, 8]), 1)
    """

    def __init__(
        self,
        source: SyntheticPool | Synthesizer,
        p: float = 0.5,
        *,
        labels_getter: str | Callable[[Any], Any] = "default",
        transform: Callable[..., Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.p = probability("p", p)
        self.labels_getter = checked_getter(labels_getter)
        self._source = ByLabel(source, classes, transform)
        self._form = self._source.require_form()

    def extra_repr(self) -> str:
        """Returns the settings, for repr."""
        return f"p={self.p:g}, source={self._source!r}"

    def forward(self, *inputs: Any) -> Any:
        """Returns the sample, as it is or with a synthetic image.

        Args:
            inputs: One sample, or image and target.
        """
        item = Item.read(inputs, self.labels_getter, masks=self._source.has_masks)
        index = self._source.class_of(item.label)
        if float(torch.rand((), device="cpu")) >= self.p or index < 0:
            return inputs if len(inputs) > 1 else inputs[0]
        image = item.flat[item.at]
        own = RawForm.of(image).array(image) if self._source.pool is None else None
        array, mask = self._source.made(index, int(drawn_seeds(1)[0]), own)
        if item.mask_at is None:
            return item.assemble(self._twin(image, array)[0])
        return item.assemble(*self._twin(image, array, _mask(item.flat[item.mask_at], mask)))

    def _twin(self, image: Any, array: npt.NDArray[Any], mask: Any = None) -> tuple[Any, Any]:
        """Returns a raw array `(C, *spatial)` as a twin of the item's image, and its mask."""
        form, transform = RawForm.of(image), self._source.transform
        drawn = self._form if self._form.shape == array.shape[1:] else replace(self._form, shape=array.shape[1:])
        if transform is not None:
            alike = (form.dtype, form.channels) == (drawn.dtype, drawn.channels)
            made = (form if alike else drawn).raw(array)
            if mask is None:
                made = call_transform(transform, made)
            else:
                made, mask = call_on_pair(transform, made, mask)
            drawn = RawForm.of(made)
            array = drawn.array(made)
        twin = _twin_form(form, drawn)
        if twin.shape != form.shape and transform is None:
            raise DataError(
                f"expected synthetic images of the item's size, {form.shape}, found {drawn.shape}; give transform=, "
                "such as v2.Resize, on the raw synthetic image. Where sizes differ anyhow and a later step makes them "
                "one, transform=v2.Identity() will do"
            )
        return twin.raw(array), mask


@lru_cache(maxsize=256)  # the same for all items of one size
def _twin_form(form: RawForm, drawn: RawForm) -> RawForm:
    return twin_form(form, drawn, "the item's")


def _mask(own: Any, array: npt.NDArray[Any] | None) -> Any:
    """Returns the mask `(1, *spatial)` of a pool in the layout, dtype and place of an item's."""
    assert array is not None
    form = RawForm.of(own, mask=True)
    if form.channels != 1 or len(form.shape or ()) != array.ndim - 1:
        raise ConfigError(
            f"expected a mask (H, W) or (1, H, W), found {tuple(own.shape)}; masks of several instances cannot be "
            "replaced: leave them out of the sample"
        )
    return raw_mask(array, form)
