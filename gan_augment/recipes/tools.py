"""What a loss function is handed: augmentation, random numbers, how far the training is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gan_augment.augmentation import Augmentation
from gan_augment.types import IntArray

__all__ = ["Part", "Tools"]


@dataclass(frozen=True)
class Part:
    """One of the equal parts that a batch is cut into: by processes, and by gradient accumulation within each.

    Random numbers are drawn for the whole batch and cut like it, so however many parts there are, every image sees
    the numbers that it would see in one.

    Attributes:
        index: Which part.
        count: Of how many.
        rows: Images in this part.
    """

    index: int = 0
    count: int = 1
    rows: int = 0

    def cut(self, whole: IntArray) -> IntArray:
        """Returns this part's rows of `(count * rows,)`."""
        return whole[self.index * self.rows : (self.index + 1) * self.rows] if self.count > 1 else whole

    def uniforms(self, *shape: int) -> Tensor:
        """Returns numbers in [0, 1) on the CPU; `shape[0]` is a number of images: of this part, or a multiple of it."""
        return self._drawn(torch.rand, shape)

    def normals(self, *shape: int) -> Tensor:
        """Returns standard normals; see `uniforms`."""
        return self._drawn(torch.randn, shape)

    def _drawn(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        if self.count == 1:
            return draw(*shape)
        blocks = max(1, shape[0] // self.rows)  # two where reals and fakes are augmented together
        return draw(blocks, self.count, shape[0] // blocks, *shape[1:])[:, self.index].reshape(shape)


@dataclass(frozen=True)
class Tools:
    """What a loss function is handed besides networks and batch.

    Attributes:
        augmentation: The recipe's.
        progress: Share of all steps done, 0 to 1.
        step: Steps done.
        part: Which part of the batch this is; every random number of a loss comes from here.
        average: Returns the mean of a tensor over all processes; no gradient flows through.
    """

    augmentation: Augmentation = field(default_factory=Augmentation.none)
    progress: float = 0.0
    step: int = 0
    part: Part = field(default_factory=Part)
    average: Callable[[Tensor], Tensor] = Tensor.detach

    def augment(self, images: Tensor, probability: float = 1.0) -> Tensor:
        """Returns images augmented with fresh random numbers; gradients flow through.

        Args:
            images: Of this part, or a multiple of its rows.
            probability: That an operation is applied to an image.
        """
        return self.augmentation(images, self.part.uniforms, probability)

    def latents(self, like: Tensor, length: int) -> Tensor:
        """Returns standard normals `(len(like), length)` on the device of `like`."""
        return self.part.normals(len(like), length).to(like.device)
