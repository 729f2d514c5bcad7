"""Adaptive augmentation (Karras et al. 2020, "Training GANs with limited data", arXiv 2006.06676, section 3)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["AdaptiveProbability"]

_EVERY = 4


class AdaptiveProbability(nn.Module):
    """Probability of augmentation that rises while the discriminator is too sure of the reals, and falls otherwise.

    Every fourth step p moves by the sign of E[sign D(real)] - target. A recipe makes it one of its networks, so that
    checkpoints carry it. All parts of a batch, and all processes, see the same p.

    Args:
        target: Of E[sign D(real)], which is 0 for a discriminator that cannot tell and 1 for one that is never wrong.
        images: Seen while p moves from 0 to 1 at its fastest.
    """

    probability: Tensor
    signs: Tensor
    parts: Tensor
    last: Tensor

    def __init__(self, target: float, images: int) -> None:
        super().__init__()
        self.target, self.images = target, images
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("signs", torch.zeros(()))  # sum of the mean signs since the last move
        self.register_buffer("parts", torch.zeros(()))  # and of how many parts of batches
        self.register_buffer("last", torch.zeros((), dtype=torch.int64))  # step of the last move

    @torch.no_grad()
    def move(self, step: int, batch_size: int) -> float:
        """Moves p where it is due, once a step however often it is called, and returns it.

        Args:
            step: Steps done.
            batch_size: Images a step, of all parts.
        """
        steps = step - int(self.last)
        if steps >= _EVERY and self.parts:
            surplus = self.signs / self.parts - self.target
            moved = self.probability + surplus.sign() * (steps * batch_size / self.images)
            self.probability.copy_(moved.clamp(0, 1))
            self.signs.zero_()
            self.parts.zero_()
            self.last.fill_(step)
        return self.value

    @torch.no_grad()
    def observe(self, real: Tensor, average: Callable[[Tensor], Tensor] = Tensor.detach) -> None:
        """Takes logits of augmented reals into the next move.

        Args:
            real: `(N,)`.
            average: Returns the mean of a tensor over all processes; taken at once, so that each process has a state
                that any number of processes can go on with.
        """
        self.signs += average(real.sign().mean()).to(self.signs)
        self.parts += 1

    @property
    def value(self) -> float:
        """The probability now."""
        return float(self.probability)
