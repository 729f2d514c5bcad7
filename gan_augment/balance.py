"""How many images each class gets, in imbalanced-learn's vocabulary, and how batches draw classes."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError, SmallClassWarning, whole

__all__ = [
    "MIN_IMAGES",
    "Balance",
    "SamplingStrategy",
    "check_classes",
    "class_index",
    "item_weights",
    "long_tail_counts",
    "numbers_to_add",
]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How many images each class gets, with caps; goes wherever a `sampling_strategy` goes.

    Attributes:
        strategy: imbalanced-learn's over-sampling vocabulary, or "sqrt" or "effective".
        beta: Of "effective", from 0 (no images are added) to below 1 (towards 1: every class is filled up).
        max_ratio: At most so many images are added for each real one of the class; None for no such cap.
        max_total: No class is filled up beyond this total; None for no such cap.

    Raises:
        ConfigError: A value cannot work.

    Example:
        >>> numbers_to_add(Balance(max_ratio=3), np.repeat([0, 1, 2], [50, 20, 4]), ["a", "b", "c"])
        {1: 30, 2: 12}
    """

    strategy: "SamplingStrategy" = "auto"
    beta: float = 0.999
    max_ratio: float | None = None
    max_total: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.strategy, Balance):
            raise ConfigError("expected a strategy such as 'auto' within a Balance, found another Balance")
        if not 0 <= self.beta < 1:
            raise ConfigError(f"expected beta= from 0 to below 1, found {self.beta}")
        if self.max_ratio is not None and not 0 <= self.max_ratio < math.inf:
            raise ConfigError(f"expected max_ratio= of at least 0, found {self.max_ratio}")
        if self.max_total is not None:
            whole("max_total=", self.max_total)

    def capped(self, label: int, number: int, counts: npt.NDArray[np.int64]) -> int:
        """Returns how many of the `number` wanted images of a class the caps leave."""
        own = int(counts[label])
        if self.max_ratio is not None:
            number = min(number, math.floor(self.max_ratio * own))
        return number if self.max_total is None else max(0, min(number, self.max_total - own))


SamplingStrategy = str | float | Mapping[Any, int] | Callable[..., Mapping[Any, int]] | Balance

MIN_IMAGES = 20
"""Below this many images a class is small: GAN augmentation was seen to harm somewhere under 20 to 50 a class."""


def numbers_to_add(
    strategy: SamplingStrategy,
    targets: npt.NDArray[np.int64],
    classes: Sequence[str],
    values: Sequence[int | str] | None = None,
) -> dict[int, int]:
    """Returns how many images each class gets on top of its own, `{class index: number}`, zeros left out.

    Args:
        strategy: As in imbalanced-learn's over-sampling: "auto" (the same as "not majority"), "minority",
            "not minority", "not majority", "all", a dict of final totals by label or class name, a callable of the
            labels that returns one, or a float in (0, 1] for two classes. Beside it "sqrt": totals of
            sqrt(n_c n_max), so that an imbalance of 100 becomes one of 10 (Mahajan et al. 2018); and "effective":
            totals of n_c E_max / E_c with the effective numbers E_n = (1 - beta^n) / (1 - beta) (Cui et al. 2019,
            equation 2), which is what their class weights 1 / E_n ask of sampling. A `Balance` adds caps and sets beta.
        targets: Class indices.
        classes: Class names.
        values: The label that stands for each class; None where that is its index.

    Raises:
        ConfigError: The strategy is none of these, or asks for fewer images than there are.
    """
    if isinstance(strategy, Balance):
        balance, counts = strategy, np.bincount(targets, minlength=len(classes))
        wanted = _uncapped(balance.strategy, targets, classes, values, balance.beta)
        capped = {label: balance.capped(label, number, counts) for label, number in wanted.items()}
        return {label: number for label, number in capped.items() if number > 0}
    return _uncapped(strategy, targets, classes, values, Balance.beta)


def _uncapped(
    strategy: Any,
    targets: npt.NDArray[np.int64],
    classes: Sequence[str],
    values: Sequence[int | str] | None,
    beta: float,
) -> dict[int, int]:
    from imblearn.utils import check_sampling_strategy

    values = list(range(len(classes))) if values is None else list(values)
    if callable(strategy):
        strategy = strategy(np.asarray(values)[targets])
    if isinstance(strategy, Mapping):
        strategy = {
            class_index(key, classes, values, "sampling_strategy="): _total(key, total)
            for key, total in strategy.items()
        }
    if len(np.unique(targets)) < 2:
        raise DataError("expected at least two classes with images to balance, found one; nothing can be rebalanced")
    if isinstance(strategy, str) and strategy in _TOTALS:
        counts = np.bincount(targets, minlength=len(classes))
        totals = _TOTALS[strategy](counts[counts > 0].astype(np.float64), beta)
        strategy = dict(
            zip(
                np.flatnonzero(counts).tolist(),
                np.maximum(np.rint(totals).astype(int), counts[counts > 0]).tolist(),
                strict=True,
            )
        )
    if isinstance(strategy, str) and strategy not in _WORDS:
        raise ConfigError(
            f"expected sampling_strategy= of {', '.join([*_WORDS[:-1], *_TOTALS])}, a dict of totals, a function or a "
            f"Balance, found {strategy!r}"
        )
    try:
        if not isinstance(strategy, str | Real | Mapping):
            raise TypeError("it is no string, number, dict or callable")
        wanted = check_sampling_strategy(strategy, targets, "over-sampling")
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "expected sampling_strategy= in imbalanced-learn's over-sampling vocabulary, 'sqrt' or 'effective', found "
            f"{strategy!r}: {error}"
        ) from None
    return {int(label): int(number) for label, number in wanted.items() if number > 0}


def _sqrt(counts: npt.NDArray[np.float64], beta: float) -> npt.NDArray[np.float64]:
    totals: npt.NDArray[np.float64] = np.sqrt(counts * counts.max())
    return totals


def _effective(counts: npt.NDArray[np.float64], beta: float) -> npt.NDArray[np.float64]:
    numbers = 1 - beta**counts  # but for a factor that cancels
    totals: npt.NDArray[np.float64] = counts * numbers.max() / numbers
    return totals


_WORDS = ("auto", "minority", "not minority", "not majority", "all", "majority")
"""imbalanced-learn's, which refuses the last one for over-sampling."""

_TOTALS = {"sqrt": _sqrt, "effective": _effective}
"""Final totals of the classes that have images, by the name of the rule."""


def class_index(key: Any, classes: Sequence[str], values: Sequence[int | str], where: str) -> int:
    """Returns the index of a class that a user named by its label or its name.

    Args:
        key: The label or name.
        classes: Class names.
        values: The label that stands for each class.
        where: The parameter it was given in, for the message.

    Raises:
        ConfigError: There is no such class.
    """
    for names in (values, classes):
        if key in names:
            return list(names).index(key)
    raise ConfigError(f"expected one of the classes {', '.join(classes)} in {where}, found {key!r}")


def _total(key: Any, total: Any) -> int:
    if not isinstance(total, int | np.integer):
        raise ConfigError(f"expected a whole number of images in sampling_strategy= for class {key!r}, found {total!r}")
    return int(total)


def long_tail_counts(most: int, classes: int, imbalance_ratio: float) -> list[int]:
    """Returns the images of each class of a long tail, the largest first: n_max ratio^(-c / (C - 1)) (Cui et al. 2019).

    Args:
        most: n_max.
        classes: C.
        imbalance_ratio: Largest over smallest.
    """
    return [round(most * imbalance_ratio ** (-place / (classes - 1))) for place in range(classes)]


def item_weights(targets: npt.NDArray[np.int64], power: float) -> npt.NDArray[np.float64]:
    """Returns the probability of drawing each item if classes are drawn in proportion to n_c^`power`.

    1 is the data's own distribution, 0 draws all classes alike, 0.5 stands between.
    """
    counts = np.bincount(targets).astype(np.float64)
    weights: npt.NDArray[np.float64] = np.where(counts > 0, np.maximum(counts, 1) ** (power - 1), 0)[targets]
    weights /= weights.sum()
    return weights


def check_classes(
    counts: npt.NDArray[np.int64], classes: Sequence[str], min_images: int = MIN_IMAGES, *, stacklevel: int = 3
) -> None:
    """Refuses classes that nothing can be learned of, and warns of small ones.

    Raises:
        DataError: There is one class only, or a class has no image or one.
    """
    if len(classes) < 2:
        raise DataError(
            f"expected at least two classes, found one ({', '.join(classes)}); a class-conditional GAN needs more: "
            "for a folder, put the images of each class into a folder of its own"
        )
    for number, told in ((0, "no image"), (1, "a single image")):
        found = [classes[i] for i in np.flatnonzero(counts == number).tolist()]
        if found:
            raise DataError(
                f"expected at least two images of each class, found {told} of {', '.join(found)}; add images or "
                "leave the class out"
            )
    small = [f"{classes[i]} ({counts[i]})" for i in np.flatnonzero(counts < min_images).tolist()]
    if small:
        warnings.warn(
            f"fewer than {min_images} images of {', '.join(small)}: expect samples of these classes to vary little "
            "and to help little or to harm; compare against oversampling before you use them",
            SmallClassWarning,
            stacklevel=stacklevel,
        )
