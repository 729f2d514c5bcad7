"""The rows of an audit's table: what is measured of a class, beside the same of real images."""

from typing import Any

import numpy as np
import torch

from gan_augment.errors import ConfigError
from gan_augment.metrics.copies import c_t
from gan_augment.metrics.distribution import frechet_distance, kernel_distance
from gan_augment.metrics.diversity import ms_ssim, spread, vendi
from gan_augment.metrics.manifold import manifold_scores, realism
from gan_augment.quality.closeness import Closeness
from gan_augment.quality.material import Features, Material, Side, Space
from gan_augment.quality.spaces import agreement
from gan_augment.seeds import derive
from gan_augment.types import FloatArray, IntArray

__all__ = ["FEW", "OVERALL", "row"]

OVERALL = "all"
FEW = 10
_MOST_VENDI = 300
_IN_SPACE = ("fid", "kid", "precision", "recall", "density", "coverage", "realism", "vendi")
_NEIGHBOURS = 5


def row(material: Material, close: Closeness, label: int | None, seed: int) -> dict[str, Any]:
    """Returns the row of a class, or of all for None; a value that cannot be had is None, and `notes` says why."""
    pool, train = material.pool.of_class(label), material.train.of_class(label)
    notes: list[str] = []
    values: dict[str, Any] = {
        "class": OVERALL if label is None else material.classes[label],
        "n": len(pool),
        "n_real": len(train),
        "n_unseen": sum(len(space.reals.of_class(label)) for space in material.spaces if not space.seen),
    }
    values |= _in_spaces(material, label, seed, notes)
    values |= _likeness(material, label, seed, notes)
    values |= _judged(material, label, notes)
    values |= _close(close, label, pool, train, notes)
    if min(values["n"], values["n_real"]) < FEW:
        notes.append(f"fewer than {FEW} images: nothing is sure")
    return {**{name: _rounded(value) for name, value in values.items()}, "notes": notes}


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 5) if np.isfinite(value) else None


# -- in the judges' features ------------------------------------------------------------------------------------------


def _in_spaces(material: Material, label: int | None, seed: int, notes: list[str]) -> dict[str, float | None]:
    """Returns each measure as the mean over the spaces that have it."""
    found: dict[str, list[float]] = {}
    said: set[str] = set()
    for number, space in enumerate(material.spaces):
        rng = np.random.Generator(np.random.Philox(derive(seed, "halves", number, -1 if label is None else label)))
        for name, value in _in_space(space, label, rng, said).items():
            found.setdefault(name, []).append(value)
    names = [name + suffix for name in _IN_SPACE for suffix in ("", "_real")]
    lacking = [name for name in _IN_SPACE if name not in found]
    if lacking:
        said.add(f"no {', '.join(lacking)}: too few images, or too few real ones that no judge has seen")
    notes += sorted(said)
    return {name: float(np.mean(found[name])) if name in found else None for name in names}


def _in_space(space: Space, label: int | None, rng: np.random.Generator, said: set[str]) -> dict[str, float]:
    """Returns the measures of synthetic images, and of as many real ones where there are enough to take a half away.

    Both are compared with the same real images, and have as many images of each class, so that the values of a
    measure can be read side by side.
    """
    reals, pool = space.reals, space.pool
    real = rng.permutation(np.flatnonzero(np.isin(reals.labels, pool.labels if label is None else [label])))
    fake = rng.permutation(np.arange(len(pool.labels)) if label is None else np.flatnonzero(pool.labels == label))
    halved = len(real) >= 2 * FEW and not space.seen
    base, others = (real[: len(real) // 2], real[len(real) // 2 :]) if halved else (real, real)
    others, matched = _as_many(others, reals.labels, fake, pool.labels)
    values = _against(reals.features[base], pool.features[matched if halved else fake], said)
    if halved:
        beside = _against(reals.features[base], reals.features[others], said)
        values |= {f"{name}_real": value for name, value in beside.items()}
    elif len(real) and not space.seen:
        said.add("no value of real images beside it: too few that no judge has seen")
    others, matched = (rows[:_MOST_VENDI] for rows in _as_many(real, reals.labels, fake, pool.labels))
    if len(others) >= 2 and (bandwidth := spread(reals.features[others])) > 0:
        values["vendi"] = vendi(pool.features[matched], bandwidth)
        values["vendi_real"] = vendi(reals.features[others], bandwidth)
    return values


def _as_many(real: IntArray, real_labels: IntArray, fake: IntArray, fake_labels: IntArray) -> tuple[IntArray, IntArray]:
    """Returns rows of both with as many of each class, in the order of the real ones."""
    used: dict[int, int] = {}
    queues = {int(label): fake[fake_labels[fake] == label] for label in np.unique(real_labels[real])}
    pairs = []
    for row in real.tolist():
        label = int(real_labels[row])
        place = used.get(label, 0)
        if place < len(queues[label]):
            pairs.append((row, int(queues[label][place])))
            used[label] = place + 1
    one, other = np.array(pairs, np.int64).reshape(-1, 2).T
    return one, other


def _against(real: FloatArray, fake: FloatArray, said: set[str]) -> dict[str, float]:
    least = min(len(real), len(fake))
    values: dict[str, float] = {}
    if least >= 2:
        values |= {"fid": frechet_distance(real, fake), "kid": kernel_distance(real, fake)}
    if 2 <= least <= real.shape[1]:
        said.add(f"FID of {least} images with {real.shape[1]} features is biased: compare values of as many images")
    k = min(_NEIGHBOURS, least // 2)
    if k >= 1 and least > k:
        values |= manifold_scores(real, fake, k)._asdict()
        values["realism"] = float(np.median(realism(real, fake, k)))
        if k < _NEIGHBOURS:
            said.add(f"neighbourhoods of {k} in place of {_NEIGHBOURS} images")
    return values


# -- in pixels --------------------------------------------------------------------------------------------------------


def _likeness(material: Material, label: int | None, seed: int, notes: list[str]) -> dict[str, float | None]:
    """Returns MS-SSIM inside the class, of pool and reals; overall the mean over classes, by the pool's counts."""
    labels = np.unique(material.pool.labels).tolist() if label is None else [label]
    values: dict[str, float | None] = {}
    for name, side in (("ms_ssim", material.pool), ("ms_ssim_real", material.train)):
        known = [(v, len(material.pool.of_class(c))) for c in labels if (v := _ms_ssim(side, c, seed)) is not None]
        if not known:
            notes.append(f"no {name}: fewer than two images")
        values[name] = sum(v * n for v, n in known) / max(1, sum(n for _, n in known)) if known else None
    return values


def _ms_ssim(side: Side, label: int, seed: int) -> float | None:
    rows = torch.from_numpy(side.of_class(label))
    try:
        return ms_ssim(side.pixels[rows], seed=derive(seed, "pairs", label))
    except ConfigError:
        return None


def _close(close: Closeness, label: int | None, pool: Any, train: Any, notes: list[str]) -> dict[str, float | None]:
    reference = close.reference
    rows = np.arange(len(reference.labels)) if label is None else np.flatnonzero(reference.labels == label)
    values = {
        "duplicates": _mean(close.duplicates[pool]),
        "duplicates_real": _mean(close.duplicates_real[train]),
        "far": _mean(close.far[pool]),
        "far_real": _mean(close.far_real[train]),
        "copies": _mean(close.pool.copies[pool]),
        "copies_real": _mean(reference.copies[rows]),
        "authentic": _mean(close.pool.authentic[pool]),
        "authentic_real": _mean(reference.authentic[rows]),
        "c_t": _c_t(close, label),
    }
    if close.holdout is None:
        notes.append("no C_T: it needs holdout=")
    elif values["c_t"] is None:
        notes.append("no C_T: the class has too few images, held out or synthetic")
    return values


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _c_t(close: Closeness, label: int | None) -> float | None:
    """Returns C_T with the classes for cells, weighted by their held-out images."""
    if close.holdout is None:
        return None
    total, weight = 0.0, 0
    for cell in np.unique(close.pool.labels) if label is None else [label]:
        fake = close.pool.distance[close.pool.labels == cell]
        held = close.holdout.distance[close.holdout.labels == cell]
        if min(len(fake), len(held)) >= FEW:
            total, weight = total + len(held) * c_t(fake, held), weight + len(held)
    return total / weight if weight else None


# -- labels -----------------------------------------------------------------------------------------------------------


def _judged(material: Material, label: int | None, notes: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"agreement": None, "agreement_real": None, "taken_for": None}
    pool, real = agreement(material.spaces, "pool", label), agreement(material.spaces, "reals", label)
    if pool is None or real is None:
        notes.append("no agreement: the extractor names no classes")
        return values
    values["agreement"] = pool[0] / pool[1] if pool[1] else None
    if label is None:
        known = [(c, agreement(material.spaces, "reals", c)) for c in np.unique(material.pool.labels).tolist()]
        shares = [(r[0] / r[1], len(material.pool.of_class(c))) for c, r in known if r is not None and r[1]]
        number = sum(n for _, n in shares)
        values["agreement_real"] = sum(p * n for p, n in shares) / number if number else None
    else:
        values["agreement_real"] = real[0] / real[1] if real[1] else None
        values["taken_for"] = _taken_for([space.pool for space in material.spaces], label, material.classes)
    if values["agreement_real"] is None:
        notes.append("no agreement of real images: every judge was trained on them")
    return values


def _taken_for(seen: list[Features], label: int, classes: list[str]) -> str | None:
    """Returns the other class that most of a class's images are taken for; None where none is for another."""
    counts = np.zeros(len(classes), np.int64)
    for features in seen:
        assert features.predicted is not None
        counts += np.bincount(features.predicted[features.labels == label], minlength=len(classes))
    counts[label] = 0
    return classes[int(counts.argmax())] if counts.any() else None
