"""How many images each class gets, in imbalanced-learn's vocabulary, and how batches draw classes."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError, SmallClassWarning

__all__ = [
    "MIN_IMAGES",
    "SamplingStrategy",
    "check_classes",
    "class_index",
    "item_weights",
    "long_tail_counts",
    "numbers_to_add",
]

SamplingStrategy = str | float | Mapping[Any, int] | Callable[..., Mapping[Any, int]]

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
            labels that returns one, or a float in (0, 1] for two classes.
        targets: Class indices.
        classes: Class names.
        values: The label that stands for each class; None where that is its index.

    Raises:
        ConfigError: The strategy is none of these, or asks for fewer images than there are.
    """
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
    try:
        if not isinstance(strategy, str | Real | Mapping):
            raise TypeError("it is no string, number, dict or callable")
        wanted = check_sampling_strategy(strategy, targets, "over-sampling")
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"expected sampling_strategy= in imbalanced-learn's over-sampling vocabulary, found {strategy!r}: {error}"
        ) from None
    return {int(label): int(number) for label, number in wanted.items() if number > 0}


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
