"""Comparing arms over replicates: means, intervals, paired differences, and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan_augment.errors import ConfigError
from gan_augment.metrics import Interval, interval, paired_difference

__all__ = ["Comparison", "compare"]

MAIN_METRIC = "balanced_accuracy"


@dataclass(frozen=True)
class Comparison:
    """Arms over replicates.

    Attributes:
        arms: Arm to metric to interval.
        best_without_synthetic: The arm without synthetic images with the highest mean balanced accuracy.
        selected_minus_best: Metric to paired difference of the selected arm to that one.
        selected_minus_random: The same to the random arm, the selector's control.
    """

    arms: Mapping[str, Mapping[str, Interval]]
    best_without_synthetic: str
    selected_minus_best: Mapping[str, Interval]
    selected_minus_random: Mapping[str, Interval]

    def sentence(self) -> str:
        """Says whether the synthetic images helped, as plainly as the interval allows."""
        gain = self.selected_minus_best[MAIN_METRIC]
        told = (
            f"{gain.mean * 100:+.1f} points of balanced accuracy against {self.best_without_synthetic} "
            f"(95% interval {gain.low * 100:+.1f} to {gain.high * 100:+.1f}, {len(gain.values)} seeds)"
        )
        if gain.verdict > 0:
            return f"The selected synthetic images helped: {told}."
        if gain.verdict < 0:
            return f"The selected synthetic images did harm: {told}. Do not use them on this set."
        return (
            f"Whether the selected synthetic images help could not be shown on so small a set: {told}; the interval "
            "holds zero."
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as JSON values."""
        return {
            "arms": {arm: _json(metrics) for arm, metrics in self.arms.items()},
            "best_without_synthetic": self.best_without_synthetic,
            "selected_minus_best": _json(self.selected_minus_best),
            "selected_minus_random": _json(self.selected_minus_random),
            "sentence": self.sentence(),
        }


def _json(metrics: Mapping[str, Interval]) -> dict[str, Any]:
    return {metric: value.to_json() for metric, value in metrics.items()}


def compare(
    scores: Sequence[Mapping[str, Mapping[str, float]]],
    *,
    without_synthetic: Sequence[str],
    selected: str,
    random: str,
) -> Comparison:
    """Compares arms over replicates.

    Args:
        scores: For each replicate, arm to metric to value; the same arms in each.
        without_synthetic: The arms without synthetic images.
        selected: The arm with selected synthetic images.
        random: The arm with as many random ones.

    Raises:
        ConfigError: There is no replicate, or they differ in arms.
    """
    if not scores or any(replicate.keys() != scores[0].keys() for replicate in scores):
        raise ConfigError(f"expected the same arms in every replicate, found {[list(r) for r in scores]}")
    values = {
        arm: {metric: [replicate[arm][metric] for replicate in scores] for metric in metrics}
        for arm, metrics in scores[0].items()
    }
    best = max(without_synthetic, key=lambda arm: sum(values[arm][MAIN_METRIC]))

    def minus(other: str) -> dict[str, Interval]:
        return {metric: paired_difference(own, values[other][metric]) for metric, own in values[selected].items()}

    return Comparison(
        {arm: {metric: interval(series) for metric, series in metrics.items()} for arm, metrics in values.items()},
        best,
        minus(best),
        minus(random),
    )
