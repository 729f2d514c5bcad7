"""Losses for classifiers of imbalanced sets."""

from torch import Tensor
from torch.nn import functional

__all__ = ["balanced_softmax"]


def balanced_softmax(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """Returns the cross-entropy of logits shifted by the log prior (Ren et al. 2020, "Balanced meta-softmax").

    Args:
        logits: `(N, num_classes)`.
        labels: `(N,)` int64.
        prior: `(num_classes,)` class shares of the batches as they are sampled; need not sum to 1.
    """
    return functional.cross_entropy(logits + prior.to(logits).clamp_min(1e-12).log(), labels)
