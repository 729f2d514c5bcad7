"""What an evaluation found: arms over seeds, paired differences, and a sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import read_json, write_json
from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.evaluation.training import Scored
from gan_augment.metrics import Interval, holm, interval, paired_difference

__all__ = ["MAIN_METRIC", "EvaluationResult", "by_rank"]

MAIN_METRIC = "balanced_accuracy"
_KIND, _VERSION = "gan_augment evaluation", 1
_SMALL_CEILING = 0.01
"""A set on which unused real images gain less than this judges nobody."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationResult:
    """Arms over seeds.

    Attributes:
        kinds: Arm to its kind: "free" (no synthetic images), "selected", "random", "prefiltered", "all", "oracle"
            (unused reals), "only".
        scores: Arm to metric to one value for each seed, 0 to 1.
        recalls: Arm to `(seeds, num_classes)`.
        seeds: The replicates.
        classes: Class names.
        counts: Real training images of each class.
        test_errors: Arm to metric to the standard error, from the number of test items, of the difference to
            `reference`; 0 where the replicates have test sets of their own.
        overlap: n_test / n_train where replicates are folds of one set.
        settings: What was the same for every arm.
        half_steps: Balanced accuracy of `reference` with half of the steps minus that with all: near zero says that the
            steps are enough. None where it was not measured.
        notes: What a reader must know.
    """

    kinds: Mapping[str, str]
    scores: Mapping[str, Mapping[str, Sequence[float]]]
    recalls: Mapping[str, Sequence[Sequence[float]]]
    seeds: Sequence[int]
    classes: Sequence[str]
    counts: Sequence[int]
    test_errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    overlap: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    half_steps: Interval | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        lengths = {len(values) for arm in self.scores.values() for values in arm.values()}
        if not self.scores or lengths != {len(self.seeds)} or self.kinds.keys() != self.scores.keys():
            raise ConfigError(
                f"expected the same arms, each with a score for each of {len(self.seeds)} seeds, found "
                f"{', '.join(self.scores) or 'no arm'} with {sorted(lengths)} scores"
            )
        if MAIN_METRIC not in self.metrics or any(arm.keys() != set(self.metrics) for arm in self.scores.values()):
            raise ConfigError(f"expected the same metrics of every arm, {MAIN_METRIC} among them, found others")
        shape = (len(self.seeds), len(self.classes))
        wrong = [arm for arm in self.scores if _shape(self.recalls.get(arm, ())) != shape]
        if wrong or len(self.counts) != len(self.classes):
            raise ConfigError(
                f"expected counts of {len(self.classes)} classes and recalls of shape {shape} for every arm, found "
                f"{len(self.counts)} counts and others for {', '.join(wrong) or 'no arm'}"
            )
        if "free" not in self.kinds.values():
            raise ConfigError(f"expected an arm without synthetic images to compare with, found {dict(self.kinds)}")

    @classmethod
    def of(
        cls,
        runs: Mapping[str, Sequence[Scored]],
        *,
        kinds: Mapping[str, str],
        labels: npt.NDArray[np.int64] | None = None,
        **about: Any,
    ) -> Self:
        """Gathers runs.

        Args:
            runs: Arm to one run for each seed.
            kinds: Arm to its kind.
            labels: `(N,)` classes of the test set that all runs share; None where each has its own.
            about: The other attributes.
        """
        scores = {
            arm: {metric: [run.scores[metric] for run in series] for metric in series[0].scores}
            for arm, series in runs.items()
        }
        recalls = {arm: [run.recalls.tolist() for run in series] for arm, series in runs.items()}
        result = cls(kinds=kinds, scores=scores, recalls=recalls, **about)
        if labels is None:
            return result
        errors = _test_errors(runs, result.reference, labels, np.asarray(result.counts))
        return cls(kinds=kinds, scores=scores, recalls=recalls, test_errors=errors, **about)

    # -- reading it -----------------------------------------------------------------------------------------------

    @property
    def metrics(self) -> list[str]:
        """The metrics that every arm has."""
        return list(next(iter(self.scores.values())))

    @property
    def reference(self) -> str:
        """The free arm with the highest mean balanced accuracy; picking it on the test set favours it."""
        free = [arm for arm, kind in self.kinds.items() if kind == "free"]
        return max(free, key=lambda arm: sum(self.scores[arm][MAIN_METRIC]))

    @property
    def main(self) -> str | None:
        """The arm that the sentence is about: the first with selected images, else the first with any."""
        for kinds in (("selected",), ("all", "random", "prefiltered")):
            for arm, kind in self.kinds.items():
                if kind in kinds:
                    return arm
        return None

    def control(self, kind: str = "random") -> str | None:
        """Returns the first arm of the selector's control, "random" or "prefiltered"."""
        return next((arm for arm, own in self.kinds.items() if own == kind), None)

    def interval(self, arm: str, metric: str = MAIN_METRIC) -> Interval:
        """Returns the mean and 95% interval of an arm over the seeds."""
        return interval(self.scores[arm][metric], overlap=self.overlap)

    def difference(self, arm: str, other: str | None = None, metric: str = MAIN_METRIC) -> Interval:
        """Returns the paired difference of an arm to another (None: to `reference`) with its 95% interval.

        For balanced accuracy and the recalls of many, medium and few, the interval to `reference` holds the uncertainty
        from the seeds and that from the test items; to another arm, or of another metric, that from the seeds alone.
        """
        error = self.test_errors.get(arm, {}).get(metric, 0.0) if other in (None, self.reference) else 0.0
        own, others = self.scores[arm][metric], self.scores[other or self.reference][metric]
        return paired_difference(own, others, overlap=self.overlap, test_error=error)

    def corrected(self, metric: str = MAIN_METRIC) -> dict[str, float]:
        """Returns for each arm the p-value of its difference to `reference`, corrected for the arms (Holm 1979)."""
        return holm({arm: self.difference(arm, metric=metric).p for arm in self.scores if arm != self.reference})

    def gain_by_class(self, arm: str) -> list[dict[str, Any]]:
        """Returns for each class, the rarest first, its training images and the gain in recall over `reference`.

        The intervals hold the seeds' spread alone: they do not know that a class may have few test items.
        """
        own, others = np.asarray(self.recalls[arm]), np.asarray(self.recalls[self.reference])
        rows = []
        for label in np.argsort(self.counts, kind="stable").tolist():
            gain = interval((own - others)[:, label].tolist(), overlap=self.overlap)
            rows.append({"class": self.classes[label], "images": int(self.counts[label]), "gain": gain})
        return rows

    @property
    def ceiling(self) -> Interval | None:
        """What unused real images in the slots gain over `reference`; None where there is no such arm."""
        oracle = next((arm for arm, kind in self.kinds.items() if kind == "oracle"), None)
        return None if oracle is None else self.difference(oracle)

    def share_of_ceiling(self, arm: str) -> float | None:
        """Returns the gain of an arm as a share of the ceiling; None where that is not known or under a point."""
        ceiling = self.ceiling
        if ceiling is None or ceiling.mean < _SMALL_CEILING:
            return None
        return self.difference(arm).mean / ceiling.mean

    # -- telling it -----------------------------------------------------------------------------------------------

    def sentence(self) -> str:
        """Says whether the synthetic images helped, as plainly as the interval allows."""
        arm = self.main
        if arm is None:
            return f"No arm had synthetic images; the best free one was {self.reference}."
        gain, few = self.difference(arm), len(self.seeds) < 2
        spread = "one seed, no interval" if few else f"95% interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        told = (
            f"{100 * gain.mean:+.1f} points of balanced accuracy against {self.reference}"
            f" ({spread}{'' if few else f', {len(self.seeds)} seeds'})"
        )
        ceiling = self.ceiling
        small = ceiling is not None and ceiling.mean < _SMALL_CEILING
        tail = (
            " Even unused real images gained less than a point here: this set can judge no synthetic image."
            if small
            else ""
        )
        if gain.verdict > 0:
            return f"The synthetic images of {arm} helped: {told}.{tail}"
        if gain.verdict < 0:
            return f"The synthetic images of {arm} did harm: {told}. Do not use them on this set.{tail}"
        why = "one seed tells nothing" if few else "the interval holds zero"
        return f"Whether the synthetic images of {arm} help could not be shown: {told}; {why}.{tail}"

    # -- keeping it -----------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Returns everything as JSON values; what is not known is None."""
        corrected = self.corrected()
        return {
            "kind": _KIND,
            "version": _VERSION,
            "sentence": self.sentence(),
            "reference": self.reference,
            "main": self.main,
            "seeds": list(self.seeds),
            "classes": list(self.classes),
            "counts": [int(count) for count in self.counts],
            "overlap": self.overlap,
            "settings": dict(self.settings),
            "half_steps": None if self.half_steps is None else self.half_steps.to_json(),
            "notes": list(self.notes),
            "arms": {
                arm: {
                    "kind": self.kinds[arm],
                    "metrics": {metric: self.interval(arm, metric).to_json() for metric in self.metrics},
                    "recalls": _jsonable(self.recalls[arm]),
                    "difference": {metric: self.difference(arm, metric=metric).to_json() for metric in self.metrics},
                    "test_error": dict(self.test_errors.get(arm, {})),
                    "corrected_p": _jsonable(corrected.get(arm)),
                    "share_of_ceiling": self.share_of_ceiling(arm),
                }
                for arm in self.scores
            },
        }

    def save(self, path: str | Path) -> Path:
        """Writes the result as one JSON file, whole or not at all.

        Raises:
            StorageError: The disk refused.
        """
        path = Path(path)
        write_json(path, self.to_json())
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ArtifactError: It is missing, damaged or of a newer version.
        """
        return cls.from_json(read_json(path, _KIND, _VERSION), str(path))

    @classmethod
    def from_json(cls, about: Mapping[str, Any], where: str = "the result") -> Self:
        """Reads what `to_json` gave.

        Raises:
            ArtifactError: It is damaged.
        """
        try:
            arms, half = about["arms"], about["half_steps"]
            known = {
                arm: {name: _numbers(m["values"]) for name, m in found["metrics"].items()}
                for arm, found in arms.items()
            }
            return cls(
                kinds={str(arm): str(found["kind"]) for arm, found in arms.items()},
                scores=known,
                recalls={arm: [_numbers(row) for row in found["recalls"]] for arm, found in arms.items()},
                test_errors={arm: {k: float(v) for k, v in found["test_error"].items()} for arm, found in arms.items()},
                seeds=[int(seed) for seed in about["seeds"]],
                classes=[str(name) for name in about["classes"]],
                counts=[int(count) for count in about["counts"]],
                overlap=float(about["overlap"]),
                settings=dict(about["settings"]),
                half_steps=None if half is None else interval(_numbers(half["values"])),
                notes=[str(note) for note in about["notes"]],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"expected a whole evaluation in {where}, found {error!r}; it is damaged") from None


def by_rank(recalls: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> list[float]:
    """Returns recalls `(num_classes,)` ordered by the size of the class, the largest first.

    For replicates whose classes differ in size from one to the next.
    """
    return [float(value) for value in recalls[np.argsort(-counts, kind="stable")]]


def _shape(rows: Sequence[Sequence[float]]) -> tuple[int, int]:
    lengths = {len(row) for row in rows}
    return len(rows), lengths.pop() if len(lengths) == 1 else -1


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]


def _jsonable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return None if value is None or math.isnan(value) else float(value)


def _test_errors(
    runs: Mapping[str, Sequence[Scored]],
    reference: str,
    labels: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> dict[str, dict[str, float]]:
    """Returns arm to metric to the standard error of its mean difference to `reference` from the test items.

    An item's difference is averaged over the seeds; balanced accuracy is the mean over classes of the items' mean, so
    its variance is sum_c (s_c^2 / n_c) / C^2. For a class of one test item, s_c^2 is the mean square of all items.
    """
    from gan_augment.metrics import shots

    held = np.mean([run.correct for run in runs[reference]], axis=0)
    errors: dict[str, dict[str, float]] = {}
    for arm, series in runs.items():
        difference = np.mean([run.correct for run in series], axis=0) - held
        variances = np.full(len(counts), np.nan)
        for label in np.unique(labels):
            own = difference[labels == label]
            variances[label] = own.var(ddof=1) / len(own) if len(own) > 1 else np.mean(difference**2)
        groups = {MAIN_METRIC: np.arange(len(counts)), **{f"{k}_recall": v for k, v in shots(counts).items()}}
        errors[arm] = {}
        for metric, members in groups.items():
            known = variances[members][~np.isnan(variances[members])]
            errors[arm][metric] = float(np.sqrt(known.sum()) / len(known)) if len(known) else 0.0
    return errors
