"""Balance as a list of dicts, for hosts that read such: real ones, then synthetic and repeated ones of rare classes."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gan_augment.balance import MIN_IMAGES, SamplingStrategy, numbers_to_add
from gan_augment.errors import ConfigError, DataError, SmallClassWarning, probability
from gan_augment.pool.references import references
from gan_augment.seeds import derive
from gan_augment.transforms.fitting import class_label
from gan_augment.transforms.source import ByLabel

__all__ = ["balanced_list"]

Item = Mapping[str, Any]


def balanced_list(
    data: Sequence[Item],
    source: ByLabel,
    keys: tuple[str, str, str | None],
    *,
    sampling_strategy: SamplingStrategy = "auto",
    synthetic_share: float = 0.5,
    fill: Mapping[str, Any] | Literal["like"] | None = None,
    min_images: int = MIN_IMAGES,
    seed: int = 0,
    stacklevel: int = 2,
) -> list[dict[str, Any]]:
    """Returns the real dicts, then class by class synthetic and repeated ones; a function of its arguments alone.

    Rows and repeated dicts are chosen by chance, none a second time before each came once.

    Args:
        data: The real dicts.
        source: A pool in a folder.
        keys: Of image, label and mask; None for no mask.
        sampling_strategy: How many dicts each class gets on top; see `balance.numbers_to_add`.
        synthetic_share: Share of them that is synthetic, 0 to 1, rounded class by class; the others repeat real ones.
        fill: What synthetic dicts hold under all other keys; "like" for what a real one of the class holds.
        min_images: A class with fewer dicts is filled up with repeats alone, unless it has at least as many rows.
        seed: Of all choices.
        stacklevel: Of the warning.

    Warns:
        SmallClassWarning: A class is filled up with repeats alone.

    Raises:
        ConfigError: A parameter has a value that cannot work; the pool is in memory, or has no masks.
        DataError: A dict lacks a key, its label is none, or beyond the classes of the pool.
    """
    if (pool := source.pool) is None:
        raise ConfigError(f"expected a SyntheticPool, found {source!r}; draw one with SyntheticPool.build")
    share, (image, label, mask) = probability("synthetic_share", synthetic_share), keys
    filled = _checked(data, keys, fill)
    labels = [
        class_label(item[label], f"leave out items without one, or name another key than {label!r}") for item in data
    ]
    values = sorted(set(labels), key=lambda value: (isinstance(value, str), value))
    known = [source.class_of(value, warn=False) for value in values]
    names = [str(value) if own < 0 else pool.classes[own] for value, own in zip(values, known, strict=True)]
    position = {value: place for place, value in enumerate(values)}
    targets = np.array([position[value] for value in labels], np.int64)
    found = [dict(item) for item in data]
    for own, number in sorted(numbers_to_add(sampling_strategy, targets, names, values).items()):
        items, rows = np.flatnonzero(targets == own), pool.rows[pool.labels == known[own]]
        drawn = math.floor(share * number + 0.5)
        if drawn and (not len(rows) or max(len(items), len(rows)) < min_images):
            has = ", ".join(pool.classes[label] for label in pool.counts)
            advice = (
                f"The pool has images of {has}: where it is one of these, give classes=, the dataset's class names"
                if known[own] < 0
                else "Draw more candidates (reserve=), keep more, or lower min_images="
            )
            warnings.warn(
                f"class {names[own]} has {len(items)} real images and {len(rows)} kept synthetic ones: its {number} "
                f"added items repeat reals. {advice}",
                SmallClassWarning,
                stacklevel=stacklevel,
            )
            drawn = 0
        rng = np.random.Generator(np.random.Philox(derive(seed, "balanced list", values[own])))
        chosen = _first(_in_turn(rows, rng), drawn)
        parts = {image: references(pool, chosen)}
        if mask is not None:
            parts[mask] = references(pool, chosen, masks=True)
        for at, item in enumerate(_first(_in_turn(items, rng), drawn)):
            found.append({**data[item], **filled, **{key: told[at] for key, told in parts.items()}})
        found += [dict(data[item]) for item in _first(_in_turn(items, rng), number - drawn)]
    return found


def _checked(data: Sequence[Item], keys: tuple[str, str, str | None], fill: Any) -> dict[str, Any]:
    """Returns what synthetic dicts hold under keys beside those of image, label and mask."""
    own = [key for key in keys if key is not None]
    for number, item in enumerate(data):
        if not isinstance(item, Mapping) or not all(key in item for key in own):
            raise DataError(f"expected dicts with the keys {', '.join(own)}, found {item!r:.200} as item {number}")
    if fill == "like":
        return {}
    others = {key for item in data for key in item} - set(own)
    if set(fill or ()) != others:
        told = ", ".join(map(repr, sorted(others, key=str))) or "there are none"
        raise ConfigError(
            f"expected fill= to say what synthetic items hold under the other keys ({told}), found {fill!r:.80}; give "
            "a value for each, or fill='like' for what a real item of the class holds. A mask goes into mask_key="
        )
    return dict(fill or {})


def _in_turn(choices: npt.NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    """Gives the choices in random order, over and over; none a second time before each came once."""
    while len(choices):
        yield from rng.permutation(choices).tolist()


def _first(numbers: Iterator[int], count: int) -> list[int]:
    return [next(numbers) for _ in range(count)]
