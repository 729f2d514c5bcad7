"""Shares of counted things and what can be said of their difference."""

import math

__all__ = ["excess", "wilson"]


def wilson(count: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """Returns Wilson's interval of a share `count / total`, 0 to 1; (0, 1) where there is nothing to count.

    Args:
        count: How many, not more than `total`; a fraction where each adds a share.
        total: Out of how many.
        z: Standard deviations; 1.96 for 95%.
    """
    if not total:
        return 0.0, 1.0
    share = min(1.0, max(0.0, count / total))
    weight = z * z / total
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def excess(count: float, total: int, reference: float, reference_total: int, z: float = 1.96) -> float:
    """Returns a lower bound of how much one share exceeds another (Newcombe 1998, method 10).

    Args:
        count: Of the first.
        total: Of the first.
        reference: Count of the second.
        reference_total: Total of the second.
        z: Standard deviations; 1.96 leaves 2.5% below.
    """
    if not total or not reference_total:
        return -1.0
    share, other = count / total, reference / reference_total
    low, high = wilson(count, total, z)[0], wilson(reference, reference_total, z)[1]
    return share - other - math.hypot(share - low, high - other)
