"""M2m: rare-class images made of common ones by a gradient (Kim, Jeong and Shin 2020, "M2m", algorithm 1)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MajorityToMinority"]


@dataclass(kw_only=True)
class MajorityToMinority:
    """Replaces rare images of class-balanced batches by common images that a fixed network takes for the rare class.

    From call `first` on (the paper defers it). Each image of class k gets a partner of the batch, of class k0, from
    which it is made with probability 1 - beta^(n_k0 - n_k), never where k0 is no larger. Ten steps go down the gradient
    of L(g; x, k) + weight * f_k0(x); it is taken where g then holds k with at least the probability `accept`.

    Attributes:
        network: f, the classifier in training.
        guide: g, trained before on the set as it is, fixed.
        counts: `(num_classes,)`.
        first: Call from which on images are replaced.
    """

    network: nn.Module
    guide: nn.Module
    counts: Tensor
    first: int
    beta: float = 0.999
    accept: float = 0.9
    weight: float = 0.5
    steps: int = 10
    step_size: float = 0.1
    calls: int = 0

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns images `(N, C, *spatial)`, some replaced, and the labels as they were."""
        self.calls += 1
        if self.calls <= self.first:
            return images, labels
        counts = self.counts.to(images.device)
        order = torch.randperm(len(images)).to(images.device)
        larger = counts[labels[order]] - counts[labels]
        chance = 1 - self.beta ** larger.clamp_min(0)
        rows = torch.nonzero(torch.rand(len(images)).to(images.device) < chance)[:, 0]
        if not len(rows):
            return images, labels
        made, accepted = self._translate(images[order[rows]], labels[order[rows]], labels[rows])
        mixed = images.clone()
        mixed[rows[accepted]] = made[accepted]
        return mixed, labels

    def _translate(self, start: Tensor, from_class: Tensor, to_class: Tensor) -> tuple[Tensor, Tensor]:
        training = self.network.training
        self.network.eval()
        low, high = float(start.min()), float(start.max())
        made = (start + 0.05 * torch.randn_like(start)).clamp(low, high)
        for _ in range(self.steps):
            made.requires_grad_(True)
            of_origin = self.network(made).gather(1, from_class[:, None]).sum()
            loss = functional.cross_entropy(self.guide(made), to_class, reduction="sum") + self.weight * of_origin
            (gradient,) = torch.autograd.grad(loss, made)
            norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).reshape(-1, *[1] * (made.ndim - 1))
            made = (made.detach() - self.step_size * gradient / norm).clamp(low, high)
        with torch.no_grad():
            sure = self.guide(made).softmax(1).gather(1, to_class[:, None])[:, 0] >= self.accept
        self.network.train(training)
        return made.detach(), sure
