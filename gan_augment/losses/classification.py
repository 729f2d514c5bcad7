"""Losses for classifiers of imbalanced sets; labels are indices `(N,)` or, where it says so, shares `(N, num_classes)`.

Shares need not sum to 1: a row whose shares sum to w counts w times.
"""

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LDAM", "balanced_softmax", "effective_weights", "focal"]


def balanced_softmax(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """Returns the cross-entropy of logits shifted by the log prior (Ren et al. 2020, "Balanced meta-softmax").

    With the natural prior it is the logit-adjusted loss of Menon et al. 2021 at tau = 1 (equation 10).

    Args:
        logits: `(N, num_classes)`.
        labels: `(N,)` int64, or shares `(N, num_classes)`.
        prior: `(num_classes,)` class shares of the batches as they are sampled; need not sum to 1.
    """
    return functional.cross_entropy(logits + prior.to(logits).clamp_min(1e-12).log(), labels)


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Returns the mean of -(1 - p)^gamma log p, p the probability of the label (Lin et al. 2017, over classes).

    Args:
        logits: `(N, num_classes)`.
        labels: `(N,)` int64, or shares `(N, num_classes)`.
        gamma: 0 is cross-entropy.
    """
    log_probs = functional.log_softmax(logits, dim=1)
    weighted = -((1 - log_probs.exp()) ** gamma) * log_probs
    shares = labels if labels.is_floating_point() else functional.one_hot(labels, logits.shape[1]).to(logits)
    return (weighted * shares).sum(1).mean()


def effective_weights(counts: Tensor, beta: float = 0.999) -> Tensor:
    """Returns class weights `(num_classes,)` of mean 1: the inverse of (1 - beta^n) / (1 - beta) (Cui et al. 2019).

    Args:
        counts: `(num_classes,)` images of each class; one without images gets 0.
        beta: 0 for no weights, near 1 for the inverse of the counts.
    """
    counts = counts.to(torch.float64)
    weights = torch.where(counts > 0, (1 - beta) / (1 - beta**counts), torch.zeros_like(counts))
    return (weights / weights.sum() * (counts > 0).sum()).to(torch.float32)


class LDAM:
    """Label-distribution-aware margins, with deferred re-weighting (Cao et al. 2019, equation 13 and algorithm 1).

    The logit of the label is lowered by C / n_c^(1/4), the largest margin being `most`; logits are scaled by `scale`.
    Class weights by effective number come in at a share `defer` of the training. One object serves one training: it
    counts its calls.

    The paper normalises features and weights; here the logits are taken as they are, so `scale` is 1 by default.

    Args:
        counts: `(num_classes,)` images of each class.
        steps: Optimiser steps of the training.
        defer: Share of the steps before weights come in; 1 for never.
        most: Margin of the rarest class.
        scale: Of the logits.
    """

    def __init__(
        self, counts: Tensor, steps: int, *, defer: float = 0.8, most: float = 0.5, scale: float = 1.0
    ) -> None:
        inverse = counts.to(torch.float64).clamp_min(1) ** -0.25
        self.margins = (inverse * (most / inverse.max())).to(torch.float32)
        self.weights = effective_weights(counts)
        self.from_step, self.scale, self.calls = round(defer * steps), scale, 0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of logits `(N, num_classes)` and labels `(N,)`."""
        weights = self.weights.to(logits) if self.calls >= self.from_step else None
        self.calls += 1
        margins = self.margins.to(logits) * functional.one_hot(labels, logits.shape[1])
        return functional.cross_entropy(self.scale * (logits - margins), labels, weight=weights)
