"""LeCam regularisation: Tseng et al. 2021, "Regularizing generative adversarial networks under limited data".

arXiv 2104.03310.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["LeCam"]


class LeCam(nn.Module):
    """Mean (D(x) - a_fake)^2 + mean (D(G(z)) - a_real)^2, the anchors a being moving averages of D's logits.

    It draws reals and fakes of a discriminator that knows a small set by heart together again. A recipe makes it one
    of its networks, so that checkpoints carry the anchors, and adds its value to the discriminator's loss::

        networks["lecam"] = LeCam()
        terms["lecam"] = weight * networks["lecam"](real_logits, fake_logits, tools.step, tools.average)

    The anchors of a step are those of the steps before it, whatever the parts of the batch and however many
    processes; the first step has none, and its value is 0.

    Args:
        decay: Of the moving averages; less in the first steps, so that they are plain means at first.
    """

    anchors: Tensor
    pending: Tensor
    parts: Tensor
    last: Tensor
    steps: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("anchors", torch.zeros(2))  # of reals, of fakes
        self.register_buffer("pending", torch.zeros(2))  # sums of means over the parts of the last step
        self.register_buffer("parts", torch.zeros(()))
        self.register_buffer("last", torch.tensor(-1))  # the step that is pending
        self.register_buffer("steps", torch.zeros(()))  # that the anchors know of

    def forward(
        self, real: Tensor, fake: Tensor, step: int, average: Callable[[Tensor], Tensor] = Tensor.detach
    ) -> Tensor:
        """Returns the penalty, and takes the logits into the anchors of later steps.

        Args:
            real: Logits `(N,)` of real images.
            fake: Logits `(N,)` of generated images.
            step: Steps done: calls of one step are parts of one batch.
            average: Returns the mean of a tensor over all processes; taken at once, so that each process has a state
                that any number of processes can go on with.
        """
        with torch.no_grad():
            if int(self.last) != step:
                self._fold()
                self.last.fill_(step)
            self.pending += average(torch.stack([real.detach().mean(), fake.detach().mean()])).to(self.pending)
            self.parts += 1
        a_real, a_fake = self.anchors
        penalty: Tensor = (real - a_fake).square().mean() + (fake - a_real).square().mean()
        return penalty * (self.steps > 0)

    def _fold(self) -> None:
        if not self.parts:
            return
        decay = min(self.decay, float(self.steps / (self.steps + 1)))
        self.anchors.lerp_(self.pending / self.parts, 1 - decay)
        self.steps += 1
        self.pending.zero_()
        self.parts.zero_()
